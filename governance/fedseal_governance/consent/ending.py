"""Ending consents: the one place where their content goes and a tombstone takes its place.

Rules kept here:

1. The row of an ended consent is deleted; who and what it was stay as digests under the node's key. SQLite overwrites
   what it deletes (``secure_delete``). Copies outside the database (backups, the imported file) are not reached.
2. The withdrawal itself is kept, so that an old file never brings the consent back.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from itertools import islice
from typing import TypeVar

from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from fedseal_governance.acts import Act
from fedseal_governance.consent.model import Consent, Denial, content_of, is_related
from fedseal_governance.consent.persons import Register, require_key
from fedseal_governance.consent.tables import OPEN_ENDED, ConsentRow, TombstoneRow, WithdrawalRow

T = TypeVar("T")

Blocks = Mapping[str, Collection[tuple[str | None, date]]]
"""By the digest of a person: for which purpose (None: all), and until which day, a consent does not count."""

_AT_ONCE = 500
"""Rows named in one statement; SQLite takes 32 766 values."""


def blocks(session: Session, dataset: str) -> Blocks:
    """Every withdrawal in a dataset."""
    query = select(WithdrawalRow.person, WithdrawalRow.purpose, WithdrawalRow.until).where(
        WithdrawalRow.dataset == dataset
    )
    found: dict[str, set[tuple[str | None, date]]] = {}
    for person, purpose, until in session.execute(query):
        found.setdefault(person, set()).add((purpose, until))
    return found


def is_blocked(consent: Consent, withdrawn: Iterable[tuple[str | None, date]]) -> bool:
    """Whether a consent was given before one of these withdrawals and concerns the same purpose."""
    return any(consent.given_on <= until and is_related(consent.purpose, purpose) for purpose, until in withdrawn)


def bury(act: Act, register: Register, rows: Iterable[ConsentRow]) -> int:
    """Put a tombstone in place of each consent; returns how many.

    Raises:
        TamperError: the database's digests were made with another key.
    """
    require_key(act.session, register.key, adopt=True)
    if act.session.connection().dialect.name == "sqlite":
        act.session.connection().execute(text("PRAGMA secure_delete = ON"))
    count = 0
    for group in _groups(rows, _AT_ONCE):
        act.session.connection().execute(insert(TombstoneRow), [_tombstone(row, register, act.now) for row in group])
        act.session.execute(delete(ConsentRow).where(ConsentRow.id.in_([row.id for row in group])))
        count += len(group)
    return count


def deny(act: Act, register: Register, denials: Iterable[Denial]) -> tuple[int, int]:
    """Store what people refused, as far as it is new, and end the consents it concerns.

    Returns:
        How many denials were new, and how many consents ended.
    """
    known, new, ended = blocks(act.session, register.dataset), 0, 0
    for group in _groups(dict.fromkeys(denials), _AT_ONCE):
        by_person = {denial.pseudonym: register.key.leaf(denial.pseudonym).hex() for denial in group}
        fresh = [d for d in group if (d.purpose, d.until) not in known.get(by_person[d.pseudonym], ())]
        if not fresh:
            continue
        require_key(act.session, register.key, adopt=True)
        new += len(fresh)
        act.session.execute(
            insert(WithdrawalRow),
            [
                {
                    "dataset": register.dataset,
                    "person": by_person[denial.pseudonym],
                    "purpose": denial.purpose,
                    "until": denial.until,
                    "withdrawn_at": act.now,
                    "recorded_by": act.actor,
                }
                for denial in fresh
            ],
        )
        ended += bury(act, register, _concerned(act.session, register.dataset, fresh))
    return new, ended


def _concerned(session: Session, dataset: str, denials: list[Denial]) -> list[ConsentRow]:
    whose: dict[str, list[tuple[str | None, date]]] = {}
    for denial in denials:
        whose.setdefault(denial.pseudonym, []).append((denial.purpose, denial.until))
    query = select(ConsentRow).where(ConsentRow.dataset == dataset, ConsentRow.pseudonym.in_(sorted(whose)))
    return [row for row in session.scalars(query) if is_blocked(consent_of(row), whose[row.pseudonym])]


def consent_of(row: ConsentRow) -> Consent:
    """A stored consent as a value."""
    return Consent(
        pseudonym=row.pseudonym,
        purpose=row.purpose,
        given_on=row.given_on,
        valid_from=row.valid_from,
        valid_until=None if row.valid_until == OPEN_ENDED else row.valid_until,
        form_version=row.form_version,
        recorded_by=row.recorded_by,
    )


def _tombstone(row: ConsentRow, register: Register, now: datetime) -> dict[str, object]:
    return {
        "dataset": row.dataset,
        "person": register.key.leaf(row.pseudonym).hex(),
        "purpose": row.purpose,
        "content": register.key.seal(content_of(consent_of(row), row.dataset)),
        "recorded_at": row.recorded_at,
        "withdrawn_at": now,
    }


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
