"""Both levels at once: the node's policy and the federation's, of which each must allow a job.

A pure function again; what is in force where, the caller establishes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy.decision import Decision, NodeFacts, Reason, decide
from fedseal_governance.policy.model import HistoryRules, PolicyDocument, ProtectionRules
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
    def protection(self) -> ProtectionRules:
        """The strictest demand of all policies on each figure; what their lists have in common.

        Raises:
            ValueError: no policy is in force, so nothing may leave at all.
        """
        if not self.documents:
            raise ValueError("no policy is in force")
        rules = [policy.protection for policy in self.documents]
        history = HistoryRules.model_construct(
            scope=max((item.history.scope for item in rules), key=lambda scope: scope.width),
            minimum_difference=max(item.minimum_difference for item in rules),
        )
        # Not validated: each policy is consistent in itself, and both together may be stricter than can be met, which
        # the round then finds out.
        return ProtectionRules.model_construct(
            allowed=tuple(way for way in rules[0].allowed if all(way in item.allowed for item in rules)),
            coordinator_may_learn=min(item.coordinator_may_learn for item in rules),
            minimum_cohort=max(item.minimum_cohort for item in rules),
            corrupted_fraction=max(item.corrupted_fraction for item in rules),
            dropout_fraction=max(item.dropout_fraction for item in rules),
            history=history,
        )

    @property
    def consent_required(self) -> bool:
        """Whether any of them wants a consent in force for each record."""
        return any(policy.consent.required for policy in self.documents)

    @property
    def max_rows_changed_percent(self) -> float:
        """The least drift that any of them tolerates; none where there is no policy."""
        return min((policy.data.max_rows_changed_percent for policy in self.documents), default=0.0)


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
