"""Consents at a node: recorded one by one, withdrawn, looked up, and asked for a whole dataset at once.

Rules kept here:

1. A withdrawal ends every consent of the person that includes the purpose or lies within it, takes effect at once, and
   leaves a tombstone: the content is gone, its digest stays.
2. A consent given before a withdrawal never counts again, whichever file brings it back; one given afterwards does.
3. What counts is decided by one query over the whole dataset (`in_force`); a clock that was set back can hide a consent
   but never revive a withdrawn one.
4. The log holds counts and digests; a pseudonym appears in no log, error or `repr` of this module.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fedseal_crypto.digests import Digest
from fedseal_governance.acts import Act
from fedseal_governance.consent.ending import bury, consent_of
from fedseal_governance.consent.model import Consent, content_of, day_of, first_flaw, is_related
from fedseal_governance.consent.persons import Register, require_key
from fedseal_governance.consent.tables import ConsentRow, ImportRow, TombstoneRow, WithdrawalRow
from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError
from fedseal_governance.purposes import covering, label_of, problem_with


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedConsent:
    """A consent as it stands.

    Attributes:
        consent: what it says; None once it was withdrawn, because its content is gone.
        purpose: its code of the Data Use Ontology.
        state: "in force", "withdrawn", "expired" or "not yet valid" on the day that was asked for.
        digest: of its content, under the node's key.
        source: SHA-256 of the file from which it came, None if it was recorded by hand or has been withdrawn.
    """

    consent: Consent | None = field(repr=False)
    purpose: str
    state: str
    recorded_at: datetime
    withdrawn_at: datetime | None
    digest: Digest
    source: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a person's consents.

    Attributes:
        what: "given" or "withdrawn".
        purpose: for which purpose, None for all.
        by: who entered it; empty where the consent's content is gone.
        detail: form and period of a consent; empty where the content is gone.
    """

    at: datetime
    what: str
    purpose: str | None
    by: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurposeCount:
    """How many people there are for a purpose, once each in a column."""

    purpose: str
    in_force: int
    withdrawn: int
    expired: int


def record(act: Act, register: Register, consent: Consent) -> None:
    """Record one consent.

    Raises:
        RefusedError: a value is wrong, or it was given before the person withdrew.
        AlreadyDone: exactly this consent is in force already.
        TamperError: the register's key is not the one of the database.
    """
    require_key(act.session, register.key)
    flaw = first_flaw(consent, today=day_of(act.now))
    if flaw is not None:
        raise RefusedError(f"the consent's `{flaw.column}` cannot be used: {flaw.fault}; {flaw.remedy}")
    for withdrawal in _withdrawals(act.session, register, consent.pseudonym):
        if is_related(consent.purpose, withdrawal.purpose) and consent.given_on < withdrawal.until:
            raise RefusedError(
                f"the person withdrew on {withdrawal.until}, after this consent of {consent.given_on}; "
                "record a consent that was given since"
            )
    if _is_recorded(act.session, register.dataset, consent):
        raise AlreadyDone("exactly this consent is recorded and in force; nothing was changed")
    act.session.add(
        ConsentRow(
            dataset=register.dataset,
            pseudonym=consent.pseudonym,
            purpose=consent.purpose,
            given_on=consent.given_on,
            valid_from=consent.first_day,
            valid_until=consent.last_day,
            form_version=consent.form_version,
            recorded_by=consent.recorded_by,
            recorded_at=act.now,
        )
    )
    act.session.flush()
    act.note(
        "consent.recorded",
        f"dataset/{register.dataset}",
        consents=1,
        purpose=consent.purpose,
        form=consent.form_version,
    )


def withdraw(
    act: Act, register: Register, pseudonym: str, *, purpose: str | None = None, even_if_unknown: bool = False
) -> int:
    """End a person's consents at once.

    Args:
        act: who enters the withdrawal, and when.
        register: in which dataset.
        pseudonym: whose.
        purpose: for which purpose, None for all.
        even_if_unknown: keep the withdrawal for consents that a later import may bring, when none is
            known yet.

    Returns:
        How many consents ended.

    Raises:
        RefusedError: the purpose does not exist.
        NotFound: the person has no consent here.
        TamperError: the register's key is not the one of the database.
    """
    require_key(act.session, register.key, adopt=True)
    problem = None if purpose is None else problem_with(purpose)
    if problem is not None:
        raise RefusedError(f"{problem[0]}; {problem[1]}")
    known = _consents(act.session, register.dataset, pseudonym)
    person = register.key.leaf(pseudonym).hex()
    if not known and not even_if_unknown and not _tombstones(act.session, register.dataset, person):
        raise NotFound(
            f"no consent is recorded under this pseudonym in {register.dataset}; check its spelling, or say that the "
            "withdrawal is to be kept for consents that come later"
        )
    ended = bury(act, register, [row for row in known if is_related(row.purpose, purpose)])
    act.session.add(
        WithdrawalRow(
            dataset=register.dataset,
            person=person,
            purpose=purpose,
            until=day_of(act.now),
            withdrawn_at=act.now,
            recorded_by=act.actor,
        )
    )
    act.session.flush()
    act.note("consent.withdrawn", f"dataset/{register.dataset}", consents=ended, purpose=purpose)
    return ended


def in_force(session: Session, *, dataset: str, purpose: str, now: datetime) -> frozenset[str]:
    """Pseudonyms of the records that may be used for ``purpose`` now; empty when the purpose is not known."""
    today = day_of(now)
    # One text instead of a million rows: pseudonyms contain no spaces and no line breaks (`first_flaw`).
    query = select(func.aggregate_strings(ConsentRow.pseudonym, "\n")).where(
        ConsentRow.dataset == dataset,
        ConsentRow.purpose.in_(sorted(covering(purpose))),
        ConsentRow.valid_until >= today,
        ConsentRow.valid_from <= today,
    )
    joined = session.connection().execute(query).scalar()
    return frozenset(joined.split("\n")) if joined else frozenset()


def status(session: Session, register: Register, pseudonym: str, *, now: datetime) -> tuple[RecordedConsent, ...]:
    """Every consent of a person in a dataset; those that were withdrawn first, then by the day they were given.

    Raises:
        TamperError: the register's key is not the one of the database.
    """
    require_key(session, register.key)
    today, sources = day_of(now), _sources(session, register.dataset)
    buried = _tombstones(session, register.dataset, register.key.leaf(pseudonym).hex())
    return (
        *(
            RecordedConsent(
                consent=None,
                purpose=row.purpose,
                state="withdrawn",
                recorded_at=row.recorded_at,
                withdrawn_at=row.withdrawn_at,
                digest=Digest(row.content),
                source=None,
            )
            for row in buried
        ),
        *(
            RecordedConsent(
                consent=consent_of(row),
                purpose=row.purpose,
                state=_state(row, today),
                recorded_at=row.recorded_at,
                withdrawn_at=None,
                digest=register.key.seal(content_of(consent_of(row), row.dataset)),
                source=None if row.source is None else sources[row.source],
            )
            for row in _consents(session, register.dataset, pseudonym)
        ),
    )


def history(session: Session, register: Register, pseudonym: str) -> tuple[Event, ...]:
    """What happened to a person's consents, in order; of withdrawn ones only when and for what.

    Raises:
        TamperError: the register's key is not the one of the database.
    """
    require_key(session, register.key)
    person = register.key.leaf(pseudonym).hex()
    events = [
        Event(at=row.recorded_at, what="given", purpose=row.purpose, by=row.recorded_by, detail=_detail(row))
        for row in _consents(session, register.dataset, pseudonym)
    ]
    events += [
        Event(at=row.recorded_at, what="given", purpose=row.purpose, by="")
        for row in _tombstones(session, register.dataset, person)
    ]
    events += [
        Event(at=row.withdrawn_at, what="withdrawn", purpose=row.purpose, by=row.recorded_by)
        for row in _withdrawals(session, register, pseudonym)
    ]
    return tuple(sorted(events, key=lambda event: (event.at, event.what)))


def summary(session: Session, dataset: str, *, now: datetime) -> tuple[PurposeCount, ...]:
    """Counts for each purpose of a dataset, by purpose."""
    today = day_of(now)
    people = func.count(ConsentRow.pseudonym.distinct())
    living = (
        select(
            ConsentRow.purpose,
            people.filter(ConsentRow.valid_until >= today, ConsentRow.valid_from <= today),
            people.filter(ConsentRow.valid_until < today),
        )
        .where(ConsentRow.dataset == dataset)
        .group_by(ConsentRow.purpose)
    )
    buried = (
        select(TombstoneRow.purpose, func.count(TombstoneRow.person.distinct()))
        .where(TombstoneRow.dataset == dataset)
        .group_by(TombstoneRow.purpose)
    )
    current = {purpose: (valid, expired) for purpose, valid, expired in session.execute(living)}
    withdrawn = {purpose: int(count) for purpose, count in session.execute(buried)}
    return tuple(
        PurposeCount(
            purpose=purpose,
            in_force=current.get(purpose, (0, 0))[0],
            withdrawn=withdrawn.get(purpose, 0),
            expired=current.get(purpose, (0, 0))[1],
        )
        for purpose in sorted({*current, *withdrawn})
    )


def describe(count: PurposeCount) -> str:
    """One line for people."""
    return (
        f"{label_of(count.purpose)} ({count.purpose}): {count.in_force} in force, {count.withdrawn} "
        "withdrawn, "
        f"{count.expired} expired"
    )


def _consents(session: Session, dataset: str, pseudonym: str) -> tuple[ConsentRow, ...]:
    query = select(ConsentRow).where(ConsentRow.dataset == dataset, ConsentRow.pseudonym == pseudonym)
    return tuple(session.scalars(query.order_by(ConsentRow.given_on, ConsentRow.id)))


def _tombstones(session: Session, dataset: str, person: str) -> tuple[TombstoneRow, ...]:
    query = select(TombstoneRow).where(TombstoneRow.dataset == dataset, TombstoneRow.person == person)
    return tuple(session.scalars(query.order_by(TombstoneRow.recorded_at, TombstoneRow.id)))


def _withdrawals(session: Session, register: Register, pseudonym: str) -> tuple[WithdrawalRow, ...]:
    person = register.key.leaf(pseudonym).hex()
    query = select(WithdrawalRow).where(WithdrawalRow.dataset == register.dataset, WithdrawalRow.person == person)
    return tuple(session.scalars(query.order_by(WithdrawalRow.id)))


def _sources(session: Session, dataset: str) -> dict[int, Digest]:
    query = select(ImportRow.id, ImportRow.digest).where(ImportRow.dataset == dataset)
    return {number: Digest(digest) for number, digest in session.execute(query)}


def _is_recorded(session: Session, dataset: str, consent: Consent) -> bool:
    query = select(ConsentRow.id).where(
        ConsentRow.dataset == dataset,
        ConsentRow.pseudonym == consent.pseudonym,
        ConsentRow.purpose == consent.purpose,
        ConsentRow.given_on == consent.given_on,
        ConsentRow.valid_from == consent.first_day,
        ConsentRow.valid_until == consent.last_day,
        ConsentRow.form_version == consent.form_version,
    )
    return session.scalar(query.limit(1)) is not None


def _state(row: ConsentRow, today: date) -> str:
    if row.valid_until < today:
        return "expired"
    return "in force" if row.valid_from <= today else "not yet valid"


def _detail(row: ConsentRow) -> str:
    consent = consent_of(row)
    until = "without end" if consent.valid_until is None else f"until {consent.valid_until}"
    return f"form {consent.form_version} of {consent.given_on}, from {consent.first_day} {until}"
