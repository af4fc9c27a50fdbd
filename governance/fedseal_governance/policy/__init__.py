"""Policies: the file an organisation writes, what it means in plain English, what it decides."""

from fedseal_governance.policy.decision import Decision, NodeFacts, Reason, decide
from fedseal_governance.policy.difference import Change, Direction, diff
from fedseal_governance.policy.explanation import explain
from fedseal_governance.policy.lifecycle import PolicyState
from fedseal_governance.policy.model import (
    DEFAULT_CORRUPTED_FRACTION,
    DEFAULT_DROPOUT_FRACTION,
    HistoryRules,
    HistoryScope,
    PolicyDocument,
    load_policy,
)
from fedseal_governance.policy.store import (
    POLICY_TYPE,
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
    "HistoryRules",
    "HistoryScope",
    "NodeFacts",
    "PolicyDocument",
    "PolicyState",
    "Reason",
    "StoredPolicy",
    "approve",
    "decide",
    "diff",
    "due",
    "explain",
    "in_force",
    "list_policies",
    "load_policy",
    "propose",
    "revoke",
    "settle",
    "show",
]
