"""A change with its evidence: who changes what, when, in which transaction, and the log entry beside it.

Every function of this layer that changes what matters takes an `Act` and notes the change in the audit
log within the same session, so that either both are committed or neither. Details hold names, counts and
digests only: no pseudonym, no update value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import Session


class Journal(Protocol):
    """What an `Act` needs of the audit log."""

    def append(
        self,
        session: Session,
        *,
        time: datetime,
        type: str,  # noqa: A002 - the entry's field is called that
        actor: str,
        subject: str,
        details: Mapping[str, object],
    ) -> int:
        """Append one entry in the session's transaction and return its number in the log."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One person's or process's change.

    Attributes:
        session: the write transaction the change belongs to.
        journal: the party's audit log.
        actor: who acts, as in the log: ``person/alice``, ``node/cleveland``.
        now: the present, aware.
    """

    session: Session
    journal: Journal
    actor: str
    now: datetime

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise ValueError("Act.now has no time zone; pass an aware UTC time")

    def note(self, kind: str, subject: str, **details: object) -> int:
        """Write the log entry of this change.

        Args:
            kind: dotted type, such as ``policy.proposed``.
            subject: what was changed, by name or digest.
            details: JSON values.

        Returns:
            The entry's number in the log.
        """
        return self.journal.append(
            self.session, time=self.now, type=kind, actor=self.actor, subject=subject, details=details
        )
