"""``sign-vote``: each node votes on the direction of every parameter, the majority decides, Bernstein et al. 2018.

signSGD with majority vote (ICML 2018), on updates: node k sends sign(Delta_k), one of -1, 0, 1 for each parameter;
the coordinator adds the votes, w <- w + eta sign(sum). The tally is a sum, so the coordinator sees by how many votes
each parameter was carried, and nobody's vote. Taking the sign is not linear: it happens after the sum. The method is
biased: what one node alone learns is outvoted, so it does badly where nodes differ much.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning.tensors import NamedTensors, flatten, group_of, grouped, size_of, unflatten
from fedseal.methods.averaging import (
    FIGURES,
    MODEL,
    PUBLISHED_MODEL,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
    Message,
    moved,
)
from fedseal.methods.contract import CohortSum, DisclosureStatement, NodeContext, Plan, Quantity
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.vocabulary import Disclosure

VOTES = "votes"


class SignVoteSettings(AveragingSettings):
    """The common step."""

    server_rate: Annotated[float, Field(gt=0, le=100, description="how far each parameter moves a round (eta)")] = 0.001


@dataclass(frozen=True, slots=True)
class SignVote(Averaging):
    """See the module docstring."""

    settings: SignVoteSettings = field(default_factory=SignVoteSettings)

    by_rows: ClassVar[bool] = False
    name: ClassVar[str] = "sign-vote"
    title: ClassVar[str] = "Majority vote on directions (signSGD)"
    reference: ClassVar[str] = "Bernstein et al. 2018, signSGD (ICML)"
    statement: ClassVar[DisclosureStatement] = DisclosureStatement(
        level=Disclosure.SUM,
        paragraph=(
            "Every node trains the current model on its own rows and votes, for each number of the model, whether it "
            "should rise or fall. The coordinator learns the tally of the votes of the cohort together, how many nodes "
            "trained and their summed training loss, and moves each number the way the majority wants. No node's vote "
            "or loss is sent, and nothing about its number of rows. But where all nodes agree the tally says what "
            "each voted, and if one node alone leaves or joins between two rounds, its loss follows roughly by "
            "subtraction from the cohort's."
        ),
        quantities=(
            Quantity(name=VOTES, party="coordinator", description="votes up minus votes down, for each parameter"),
            Quantity(name="weight", party="coordinator", description="how many nodes of the cohort trained"),
            Quantity(name="loss", party="coordinator", description="sum of the mean training losses"),
            FIGURES[-1],
            PUBLISHED_MODEL,
        ),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Every node votes on the direction of each parameter, and all votes weigh the same.",
        meets={
            Need.SCARCE_BANDWIDTH: "One vote a parameter goes up.",
            Need.UNTRUSTED_NODES: (
                "No node's say is larger than one vote a parameter, so single nodes cannot outweigh the rest; a "
                "majority can."
            ),
        },
        cost="Few bits a parameter up under masks, a whole model down; slower and less accurate than averaging.",
    )
    settings_model: ClassVar[type[BaseModel]] = SignVoteSettings

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """One vote a parameter."""
        return (VectorSpec(name=VOTES, length=size_of(self.shared_shapes(plan)), bound=1.0, resolution=1.0),)

    def message(self, context: NodeContext, local: LocalUpdate, share: float) -> Message:  # noqa: ARG002 - one vote each
        """The sign of each change; nothing is clipped."""
        return Message(values={VOTES: np.sign(flatten(local.change))}, clipped=0)

    def mean_change(self, plan: Plan, total: CohortSum, to_mean: float) -> Mapping[str, NDArray[np.float64]]:  # noqa: ARG002
        """Where the majority wants to go: -1, 0 or 1. Votes are whole numbers, whatever rounding the sum brought."""
        return unflatten(np.sign(np.rint(total.values[VOTES])), self.shared_shapes(plan))

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:  # noqa: ARG002 - the contract
        """W <- w + eta sign(sum)."""
        return grouped(MODEL, moved(group_of(MODEL, state), mean.change, by=self.settings.server_rate))
