"""Both levels at once: the node's policy and the federation's, of which each must allow a job.

A pure function again; what is in force where, the caller establishes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy.decision import Decision, NodeFacts, Reason, decide
from fedseal_governance.policy.model import PolicyDocument
from fedseal_governance.vocabulary import PolicyLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The policies that govern a job at one place.

    Attributes:
        node: the node's own policy; None where the node has none, and at the coordinator.
        federation: the federation's policies for the dataset.
        missing: why the federation's level refuses every job; empty if it does not.
    """

    node: PolicyDocument | None
    federation: Sequence[PolicyDocument] = ()
    missing: str = ""

    @property
    def documents(self) -> tuple[PolicyDocument, ...]:
        """All of them, the federation's first."""
        return (*self.federation, *(() if self.node is None else (self.node,)))

    @property
    def minimum_cohort(self) -> int:
        """Fewest sites whose sum may be released: the strictest demand.

        Raises:
            ValueError: no policy is in force, so nothing may be released at all.
        """
        if not self.documents:
            raise ValueError("no policy is in force")
        return max(policy.protection.minimum_cohort for policy in self.documents)

    @property
    def consent_required(self) -> bool:
        """Whether any of them wants a consent in force for each record."""
        return any(policy.consent.required for policy in self.documents)


def decide_at_both_levels(job: JobDocument, rules: Rules, facts: NodeFacts) -> Decision:
    """Judge ``job`` by every policy of ``rules``; it is allowed when all of them allow it, and there is one at all."""
    known = replace(facts, federation_policy=bool(rules.federation))
    reasons: list[Reason] = []
    if rules.missing:
        reasons.append(
            Reason(clause="policy", sentence=rules.missing, allowed=False, level=PolicyLevel.FEDERATION),
        )
    for policy in rules.documents:
        reasons += decide(job, policy, known).reasons
    allowed = bool(rules.documents) and all(reason.allowed for reason in reasons)
    return Decision(allowed=allowed, reasons=tuple(reasons))
