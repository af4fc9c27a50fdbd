"""Policies: the file an organisation writes, what it means in plain English, what it decides."""

from fedseal_governance.policy import pinning
from fedseal_governance.policy.decision import Decision, NodeFacts, Reason, decide
from fedseal_governance.policy.difference import Change, Direction, diff
from fedseal_governance.policy.explanation import explain
from fedseal_governance.policy.levels import Rules, decide_at_both_levels
from fedseal_governance.policy.lifecycle import PolicyState
from fedseal_governance.policy.model import (
    DEFAULT_CORRUPTED_FRACTION,
    DEFAULT_DROPOUT_FRACTION,
    HistoryRules,
    HistoryScope,
    PolicyDocument,
    load_policy,
)
from fedseal_governance.policy.officers import POLICY_TYPE
from fedseal_governance.policy.pinning import FederationStanding, PinnedPolicy
from fedseal_governance.policy.store import (
    Owner,
    StoredPolicy,
    approve,
    due,
    in_force,
    list_policies,
    propose,
    revoke,
    settle,
    show,
)

__all__ = [
    "DEFAULT_CORRUPTED_FRACTION",
    "DEFAULT_DROPOUT_FRACTION",
    "POLICY_TYPE",
    "Change",
    "Decision",
    "Direction",
    "FederationStanding",
    "HistoryRules",
    "HistoryScope",
    "NodeFacts",
    "Owner",
    "PinnedPolicy",
    "PolicyDocument",
    "PolicyState",
    "Reason",
    "Rules",
    "StoredPolicy",
    "approve",
    "decide",
    "decide_at_both_levels",
    "diff",
    "due",
    "explain",
    "in_force",
    "list_policies",
    "load_policy",
    "pinning",
    "propose",
    "revoke",
    "settle",
    "show",
]
