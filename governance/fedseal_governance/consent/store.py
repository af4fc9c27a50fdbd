"""Consents at a node: recorded one by one, withdrawn, looked up, and asked for a whole dataset at once.

Rules kept here:

1. A withdrawal ends every consent of the person that includes the purpose or lies within it, takes effect
   at once, and leaves a tombstone. Nothing is deleted.
2. A consent given before a withdrawal never counts again, whichever file brings it back; one given
   afterwards does.
3. What counts is decided by one query over the whole dataset (`in_force`); a clock that was set back can
   hide a consent but never revive a withdrawn one.
4. The log holds counts and digests; a pseudonym appears in no log, error or `repr` of this module.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fedseal_crypto import merkle
from fedseal_crypto.digests import Digest
from fedseal_governance.acts import Act
from fedseal_governance.consent.model import Consent, day_of, first_flaw, is_related
from fedseal_governance.consent.tables import OPEN_ENDED, ConsentRow, WithdrawalRow
from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError
from fedseal_governance.purposes import covering, label_of, problem_with


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedConsent:
    """A consent as it stands.

    Attributes:
        state: "in force", "withdrawn", "expired" or "not yet valid" on the day that was asked for.
    """

    consent: Consent = field(repr=False)
    recorded_at: datetime
    withdrawn_at: datetime | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a person's consents: "given" or "withdrawn", for a purpose (None: all)."""

    at: datetime
    what: str
    purpose: str | None
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PurposeCount:
    """How many consents there are for a purpose; people are counted once each."""

    purpose: str
    in_force: int
    withdrawn: int
    expired: int


def record(act: Act, dataset: str, consent: Consent) -> None:
    """Record one consent.

    Raises:
        RefusedError: a value is wrong, or it was given before the person withdrew.
        AlreadyDone: exactly this consent is in force already.
    """
    flaw = first_flaw(consent, today=day_of(act.now))
    if flaw is not None:
        raise RefusedError(f"the consent's `{flaw.column}` cannot be used: {flaw.fault}; {flaw.remedy}")
    for tombstone in _tombstones(act.session, dataset, consent.pseudonym):
        withdrawn_on = day_of(tombstone.withdrawn_at)
        if is_related(consent.purpose, tombstone.purpose) and consent.given_on < withdrawn_on:
            raise RefusedError(
                f"the person withdrew on {withdrawn_on}, after this consent of {consent.given_on}; "
                "record a consent that was given since"
            )
    same = _equal_rows(act.session, dataset, consent)
    if any(row.withdrawn_at is None for row in same):
        raise AlreadyDone("exactly this consent is recorded and in force; nothing was changed")
    act.session.add(
        ConsentRow(
            dataset=dataset,
            pseudonym=consent.pseudonym,
            purpose=consent.purpose,
            given_on=consent.given_on,
            valid_until=consent.last_day,
            form_version=consent.form_version,
            recorded_by=consent.recorded_by,
            recorded_at=act.now,
            repetition=len(same),
        )
    )
    act.session.flush()
    act.note("consent.recorded", f"dataset/{dataset}", consents=1, purpose=consent.purpose, form=consent.form_version)


def withdraw(
    act: Act, dataset: str, pseudonym: str, *, purpose: str | None = None, even_if_unknown: bool = False
) -> int:
    """End a person's consents at once.

    Args:
        act: who enters the withdrawal, and when.
        dataset: in which dataset.
        pseudonym: whose.
        purpose: for which purpose, None for all.
        even_if_unknown: keep the withdrawal for consents that a later import may bring, when none is
            known yet.

    Returns:
        How many consents ended.

    Raises:
        RefusedError: the purpose does not exist.
        NotFound: the person has no consent here.
    """
    problem = None if purpose is None else problem_with(purpose)
    if problem is not None:
        raise RefusedError(f"{problem[0]}; {problem[1]}")
    query = select(ConsentRow).where(ConsentRow.dataset == dataset, ConsentRow.pseudonym == pseudonym)
    known = act.session.scalars(query).all()
    if not known and not even_if_unknown:
        raise NotFound(
            f"no consent is recorded under this pseudonym in {dataset}; check its spelling, or say that the "
            "withdrawal is to be kept for consents that come later"
        )
    ended = [row for row in known if row.withdrawn_at is None and is_related(row.purpose, purpose)]
    for row in ended:
        row.withdrawn_at = act.now
    act.session.add(
        WithdrawalRow(
            dataset=dataset, pseudonym=pseudonym, purpose=purpose, withdrawn_at=act.now, recorded_by=act.actor
        )
    )
    act.session.flush()
    act.note("consent.withdrawn", f"dataset/{dataset}", consents=len(ended), purpose=purpose)
    return len(ended)


def in_force(session: Session, *, dataset: str, purpose: str, now: datetime) -> frozenset[str]:
    """Pseudonyms of the records that may be used for ``purpose`` now; empty when the purpose is not known."""
    today = day_of(now)
    query = select(ConsentRow.pseudonym).where(
        ConsentRow.dataset == dataset,
        ConsentRow.purpose.in_(sorted(covering(purpose))),
        ConsentRow.withdrawn_at.is_(None),
        ConsentRow.valid_until >= today,
        ConsentRow.given_on <= today,
    )
    return frozenset(session.connection().execute(query).scalars())


def status(session: Session, dataset: str, pseudonym: str, *, now: datetime) -> tuple[RecordedConsent, ...]:
    """Every consent of a person in a dataset, oldest first."""
    query = (
        select(ConsentRow)
        .where(ConsentRow.dataset == dataset, ConsentRow.pseudonym == pseudonym)
        .order_by(ConsentRow.given_on, ConsentRow.id)
    )
    return tuple(_recorded(row, day_of(now)) for row in session.scalars(query))


def history(session: Session, dataset: str, pseudonym: str) -> tuple[Event, ...]:
    """What happened to a person's consents, in order."""
    query = select(ConsentRow).where(ConsentRow.dataset == dataset, ConsentRow.pseudonym == pseudonym)
    events = [
        Event(at=row.recorded_at, what="given", purpose=row.purpose, by=row.recorded_by)
        for row in session.scalars(query)
    ]
    events += [
        Event(at=row.withdrawn_at, what="withdrawn", purpose=row.purpose, by=row.recorded_by)
        for row in _tombstones(session, dataset, pseudonym)
    ]
    return tuple(sorted(events, key=lambda event: (event.at, event.what)))


def summary(session: Session, dataset: str, *, now: datetime) -> tuple[PurposeCount, ...]:
    """Counts for each purpose of a dataset, by purpose."""
    today = day_of(now)
    people = func.count(ConsentRow.pseudonym.distinct())
    active = ConsentRow.withdrawn_at.is_(None)
    query = (
        select(
            ConsentRow.purpose,
            people.filter(active, ConsentRow.valid_until >= today, ConsentRow.given_on <= today),
            people.filter(~active),
            people.filter(active, ConsentRow.valid_until < today),
        )
        .where(ConsentRow.dataset == dataset)
        .group_by(ConsentRow.purpose)
        .order_by(ConsentRow.purpose)
    )
    return tuple(
        PurposeCount(purpose=purpose, in_force=current, withdrawn=withdrawn, expired=expired)
        for purpose, current, withdrawn, expired in session.execute(query)
    )


def snapshot_digest(pseudonyms: Iterable[str], *, salt: bytes) -> Digest:
    """Digest of a set of records: the Merkle root over salted leaves in sorted order.

    Args:
        pseudonyms: the records used; order and repetition do not matter.
        salt: at least 16 random bytes that stay at the node; without them a digest of few likely
            pseudonyms could be found by trying.
    """
    if len(salt) < 16:
        raise ValueError(f"a snapshot's salt needs 16 random bytes, this one has {len(salt)}")
    leaves = sorted(hmac.digest(salt, pseudonym.encode(), "sha256") for pseudonym in set(pseudonyms))
    return Digest(merkle.root([merkle.leaf_hash(leaf) for leaf in leaves]).hex())


def describe(count: PurposeCount) -> str:
    """One line for people."""
    return (
        f"{label_of(count.purpose)} ({count.purpose}): {count.in_force} in force, {count.withdrawn} "
        "withdrawn, "
        f"{count.expired} expired"
    )


def _tombstones(session: Session, dataset: str, pseudonym: str) -> tuple[WithdrawalRow, ...]:
    query = select(WithdrawalRow).where(WithdrawalRow.dataset == dataset, WithdrawalRow.pseudonym == pseudonym)
    return tuple(session.scalars(query.order_by(WithdrawalRow.id)))


def _equal_rows(session: Session, dataset: str, consent: Consent) -> tuple[ConsentRow, ...]:
    query = select(ConsentRow).where(
        ConsentRow.dataset == dataset,
        ConsentRow.pseudonym == consent.pseudonym,
        ConsentRow.purpose == consent.purpose,
        ConsentRow.given_on == consent.given_on,
        ConsentRow.valid_until == consent.last_day,
        ConsentRow.form_version == consent.form_version,
    )
    return tuple(session.scalars(query))


def _recorded(row: ConsentRow, today: date) -> RecordedConsent:
    if row.withdrawn_at is not None:
        state = "withdrawn"
    elif row.valid_until < today:
        state = "expired"
    else:
        state = "in force" if row.given_on <= today else "not yet valid"
    return RecordedConsent(
        consent=Consent(
            pseudonym=row.pseudonym,
            purpose=row.purpose,
            given_on=row.given_on,
            valid_until=None if row.valid_until == OPEN_ENDED else row.valid_until,
            form_version=row.form_version,
            recorded_by=row.recorded_by,
        ),
        recorded_at=row.recorded_at,
        withdrawn_at=row.withdrawn_at,
        state=state,
    )
