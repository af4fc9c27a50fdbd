"""How long documents are kept: the rules of policies, legal holds, and the tombstones of what was deleted.

The log itself is never shortened: its entries hold no personal data, and proofs need all of them. What is deleted are
documents and models that entries name by digest; the digest stays, and an entry `document.removed` says when, by whom
and under which rule. Rules kept here:

1. A document is kept for the longest time that any policy which decided about its job asks for; where such a policy
   cannot be read any more, it is kept.
2. A legal hold is an entry `hold.placed` about one job, or about everything; while it is not followed by
   `hold.released`, nothing that it covers is deleted. Holds are read from the log, so that a hold cannot be lifted
   without a trace.
3. The entry is written before the document is deleted, in the transaction that takes it out of the tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from fedseal_crypto.certificates import Member
from fedseal_crypto.digests import Digest
from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog
from fedseal_governance.audit.entries import REMOVED
from fedseal_governance.errors import RefusedError
from fedseal_governance.policy.model import PolicyDocument

EVERYTHING = "log"
"""Subject of a hold that covers all jobs and documents of a party."""

PLACED, RELEASED = "hold.placed", "hold.released"
_MAX_REASON = 500
_NAMED_JOBS = 8  # more would only fill the entry; the log names the document in each job's own entries


class HoldRefused(RefusedError):
    """The hold cannot be placed or released as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold in force.

    Attributes:
        subject: `job/<digest>`, or `EVERYTHING`.
        entry: The entry that placed it.
    """

    subject: str
    reason: str
    placed_by: str
    placed_at: datetime
    entry: int

    def covers(self, job: str) -> bool:
        """Whether it keeps the documents of this job, named by its digest."""
        return self.subject in (EVERYTHING, f"job/{job}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A document to delete.

    Attributes:
        kind: What it is: `model`, `policy`.
        jobs: Digests of the jobs it belongs to.
        rule: Under which rule, for people.
    """

    digest: Digest
    kind: str
    jobs: tuple[Digest, ...]
    rule: str


def holds_in_force(session: Session, log: AuditLog) -> tuple[Hold, ...]:
    """The holds that were placed and not released, in the order of their entries."""
    found: dict[str, Hold] = {}
    for entry in log.entries(session):
        if entry.type == PLACED:
            found[entry.subject] = Hold(
                subject=entry.subject,
                reason=str(entry.details.get("reason", "")),
                placed_by=entry.actor,
                placed_at=entry.time,
                entry=entry.seq,
            )
        elif entry.type == RELEASED:
            found.pop(entry.subject, None)
    return tuple(found.values())


def place_hold(act: Act, log: AuditLog, *, subject: str, reason: str, officer: Member, owner: str | None) -> int:
    """Place a legal hold; returns its entry's number.

    Args:
        act: When, and by whom.
        log: The party's audit log.
        subject: `job/<digest>`, or `EVERYTHING`.
        reason: For the log and for people, without personal data.
        officer: A verified compliance officer.
        owner: The organisation that the officer must belong to; None for any.

    Raises:
        HoldRefused: The subject is held already, or the person or the reason will not do.
    """
    _require_officer(officer, owner)
    _require_reason(reason)
    if any(hold.subject == subject for hold in holds_in_force(act.session, log)):
        raise HoldRefused(f"{_named(subject)} is held already; see `fedseal retention holds`")
    return act.note(PLACED, subject, reason=reason)


def release_hold(act: Act, log: AuditLog, *, subject: str, reason: str, officer: Member, owner: str | None) -> int:
    """Release a legal hold; returns the entry's number.

    Raises:
        HoldRefused: There is no such hold, the same person placed it, or the person or the reason will not do.
    """
    _require_officer(officer, owner)
    _require_reason(reason)
    held = [hold for hold in holds_in_force(act.session, log) if hold.subject == subject]
    if not held:
        raise HoldRefused(f"{_named(subject)} is not held; see `fedseal retention holds`")
    if held[0].placed_by == officer.label:
        raise HoldRefused(f"{officer.label} placed this hold and cannot also release it; ask another officer")
    return act.note(RELEASED, subject, reason=reason, placed_in_entry=held[0].entry)


def note_removals(act: Act, log: AuditLog, removals: Iterable[Removal], *, officer: Member, owner: str | None) -> int:
    """Write the tombstones of documents that are about to be deleted; returns how many.

    Raises:
        HoldRefused: One of them is held, or the person may not do this; nothing was written.
    """
    _require_officer(officer, owner)
    holds, count = holds_in_force(act.session, log), 0
    for removal in removals:
        for hold in holds:
            if not removal.jobs or any(hold.covers(job) for job in removal.jobs):
                raise HoldRefused(f"{_named(hold.subject)} is held since entry {hold.entry}; nothing was deleted")
        jobs = list(removal.jobs[:_NAMED_JOBS])
        act.note(REMOVED, f"document/{removal.digest}", what=removal.kind, jobs=jobs, reason=removal.rule)
        count += 1
    return count


def kept_until(ended: datetime, years: Iterable[int]) -> datetime | None:
    """When the longest of these durations is over; None where there is none, because then no rule allows deleting."""
    longest = max(years, default=None)
    return None if longest is None else _years_later(ended, longest)


def model_years(policies: Iterable[PolicyDocument]) -> list[int]:
    """For how many years each policy wants models kept."""
    return [policy.retention.model_years for policy in policies]


def audit_years(policies: Iterable[PolicyDocument]) -> list[int]:
    """For how many years each policy wants evidence kept."""
    return [policy.retention.audit_years for policy in policies]


def _years_later(moment: datetime, years: int) -> datetime:
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:  # 29 February, and that year has none
        return moment.replace(year=moment.year + years, month=3, day=1)


def _require_officer(officer: Member, owner: str | None) -> None:
    if officer.kind is not PartyKind.PERSON or Role.COMPLIANCE_OFFICER not in officer.roles:
        raise HoldRefused(f"{officer.label} is no compliance officer; holds and deletions are theirs")
    if owner is not None and officer.organisation != owner:
        raise HoldRefused(f"{officer.label} is an officer of {officer.organisation}; this is for those of {owner}")


def _require_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > _MAX_REASON or not reason.isprintable():
        raise HoldRefused(f"a reason of 1 to {_MAX_REASON} printable characters is needed, without personal data")


def _named(subject: str) -> str:
    return "everything" if subject == EVERYTHING else f"job {subject.removeprefix('job/')[:12]}"
