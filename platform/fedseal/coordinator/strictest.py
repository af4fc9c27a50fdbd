"""What the policies that nodes show ask of a round: the strictest of all, since every node checks its own.

A node whose policy cannot be read counts as one that asks for the defaults; it refuses the round itself if its own copy
asks for more.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from fedseal.coordinator.attendance import Session
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.errors import CryptoError
from fedseal_governance.errors import GovernanceError
from fedseal_governance.policy import (
    DEFAULT_CORRUPTED_FRACTION,
    DEFAULT_DROPOUT_FRACTION,
    HistoryScope,
    PolicyDocument,
    load_policy,
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What the masks of a round must withstand.

    Attributes:
        corrupted_fraction: share of the nodes that may collude with the coordinator, 0 to below 1.
        dropout_fraction: share that may leave, 0 to below 1.
    """

    corrupted_fraction: float = DEFAULT_CORRUPTED_FRACTION
    dropout_fraction: float = DEFAULT_DROPOUT_FRACTION


def strictest(policies: Iterable[PolicyDocument | None]) -> Assumptions:
    """The highest fractions of all policies; None stands for one that is not known."""
    found = [Assumptions() if policy is None else _assumptions(policy) for policy in policies] or [Assumptions()]
    return Assumptions(
        corrupted_fraction=max(item.corrupted_fraction for item in found),
        dropout_fraction=max(item.dropout_fraction for item in found),
    )


def compares_every_round(policies: Iterable[PolicyDocument | None]) -> bool:
    """Whether some policy compares the sites of all sums of a job: a round over others would be refused."""
    return any(policy is not None and policy.protection.history.scope is not HistoryScope.MODEL for policy in policies)


def policy_for(dataset: str, session: Session) -> PolicyDocument | None:
    """The policy that a node shows for a dataset; what cannot be read is as good as not shown.

    One node's bad file must not keep everybody's jobs away; the node itself decides by its own copy.
    """
    for data in session.policies:
        try:
            policy = load_policy(SignedDocument.from_json(data).payload, f"policy of {session.node}")
        except (CryptoError, GovernanceError) as error:
            _log.warning("unreadable policy", node=session.node, sentence=str(error))
            continue
        if dataset in policy.datasets:
            return policy
    return None


def _assumptions(policy: PolicyDocument) -> Assumptions:
    rules = policy.protection
    return Assumptions(corrupted_fraction=rules.corrupted_fraction, dropout_fraction=rules.dropout_fraction)
