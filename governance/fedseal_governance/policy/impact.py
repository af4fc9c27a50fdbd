"""What a new version of a policy would have said to the jobs of the past. Pure; the past is handed in."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time

from fedseal_crypto.digests import Digest
from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy.decision import NodeFacts, Reason, decide
from fedseal_governance.policy.model import PolicyDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class PastJob:
    """A job that was decided on, as far as it is recorded.

    Attributes:
        allowed: what was decided at the level of the new policy.
        refusals: the clauses that refused it then.
        facts: what was known then, or is known of then; None where nothing is recorded, which counts as no.
    """

    digest: Digest
    document: JobDocument
    decided_at: datetime
    allowed: bool
    refusals: tuple[Reason, ...]
    facts: NodeFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What becomes of one job.

    Attributes:
        before: whether it was allowed.
        after: whether the new version would allow it.
        reasons: what refuses it now, or, where it becomes allowed, what refused it then.
    """

    job: PastJob
    before: bool
    after: bool
    reasons: tuple[Reason, ...]

    @property
    def changed(self) -> bool:
        """Whether the verdict changes."""
        return self.before is not self.after


def replay(past: Iterable[PastJob], policy: PolicyDocument, *, today: date) -> tuple[Impact, ...]:
    """Judge each past job by ``policy``, as if it came again today, or on the policy's first day if that is later."""
    day = max(today, policy.valid.start)
    moment = datetime.combine(day, time(12), UTC)
    found = []
    for job in past:
        decision = decide(job.document, policy, replace(job.facts, now=moment))
        reasons = job.refusals if decision.allowed else decision.refusals
        found.append(Impact(job=job, before=job.allowed, after=decision.allowed, reasons=reasons))
    return tuple(found)
