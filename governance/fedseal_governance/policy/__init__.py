"""Policies: the file an organisation writes, what it means in plain English, what it decides."""

from fedseal_governance.policy.decision import Decision, NodeFacts, Reason, decide
from fedseal_governance.policy.difference import Change, Direction, diff
from fedseal_governance.policy.explanation import explain
from fedseal_governance.policy.model import PolicyDocument, load_policy

__all__ = [
    "Change",
    "Decision",
    "Direction",
    "NodeFacts",
    "PolicyDocument",
    "Reason",
    "decide",
    "diff",
    "explain",
    "load_policy",
]
