"""All versions of a policy with who did what and when, as the audit log has it.

The log is the source, not the policies' table: the table shows where things stand, the log how they came there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from fedseal_governance.audit import Entry

_WORDS = {
    "policy.proposed": "proposed",
    "policy.signed": "signed",
    "policy.approved": "approved",
    "policy.in_force": "came into force",
    "policy.superseded": "superseded",
    "policy.revoked": "revoked",
    "policy.expired": "expired",
    "federation.policy.pinned": "pinned here",
    "federation.policy.ended": "ended here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEvent:
    """One step in the life of a version.

    Attributes:
        seq: number of the entry in the log.
        what: the step, in words.
        who: who did it, as the log names them.
        digest: of the policy file.
        note: the reason, where one was given.
    """

    seq: int
    time: datetime
    what: str
    who: str
    policy: str
    version: int
    digest: str
    note: str


def policy_history(entries: Iterable[Entry], *, name: str | None = None) -> tuple[PolicyEvent, ...]:
    """The steps of all policies, or of one, in the order of the log."""
    found = []
    for entry in entries:
        what = _WORDS.get(entry.type)
        details = entry.details
        if what is None or (name is not None and details.get("name") != name):
            continue
        version = details.get("version")
        found.append(
            PolicyEvent(
                seq=entry.seq,
                time=entry.time,
                what=what,
                who=str(details.get("officer") or entry.actor),
                policy=str(details.get("name", "")),
                version=version if isinstance(version, int) else 0,
                digest=entry.subject.partition("/")[2],
                note=str(details.get("reason") or ""),
            )
        )
    return tuple(found)
