"""The four-eyes rule: what one person may not do alone, and which roles one person may not hold together.

Whoever asks for data does not also allow it, and whoever checks the evidence has no other part in making it.
"""

from collections.abc import Iterable
from itertools import combinations

from fedseal_crypto.identity import Role
from fedseal_governance.errors import RefusedError

INCOMPATIBLE: frozenset[frozenset[Role]] = frozenset(
    {
        frozenset({Role.DATA_SCIENTIST, Role.COMPLIANCE_OFFICER}),
        # A policy may want the operator's agreement to each job, so that nobody may agree to a job of their own.
        frozenset({Role.DATA_SCIENTIST, Role.NODE_OPERATOR}),
        *(frozenset({Role.AUDITOR, role}) for role in Role if role is not Role.AUDITOR),
    }
)
"""Pairs of roles of which one person may hold only one."""


def require_compatible(person: str, roles: Iterable[Role]) -> None:
    """Refuse a set of roles in which one person would hold both sides of a rule.

    Raises:
        RefusedError: names the first such pair.
    """
    for pair in combinations(sorted(set(roles)), 2):
        if frozenset(pair) in INCOMPATIBLE:
            first, second = (role.value.replace("_", " ") for role in pair)
            raise RefusedError(f"{person} cannot be both {first} and {second}; give one of the roles to another person")


def require_another(actor: str, *, earlier: str, duty: str) -> None:
    """Refuse a second step by the person who did the first.

    Args:
        actor: who acts now.
        earlier: who did the first step.
        duty: the second step, as in "approve the policy".

    Raises:
        RefusedError: they are the same person.
    """
    if actor == earlier:
        raise RefusedError(f"{actor} did the first step and cannot also {duty}; ask another person")
