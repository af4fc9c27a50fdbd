"""``fedavg-topk`` and ``fedavg-sign``: compression that cannot be added up, for where disclosure allows it.

With u = share * Delta + e and error feedback as in `compression`:
- ``fedavg-topk`` sends the k largest numbers of u in absolute value and their places (Aji and Heafield 2017; Stich et
  al. 2018). Places differ between nodes, so sums of places mean nothing.
- ``fedavg-sign`` sends sign(u) and the scale ||u||_1 / D of its own (EF-signSGD, Karimireddy et al. 2019). The sum of
  signs and the sum of scales do not tell the sum of their products.

So the coordinator must get each node's message by itself: these are `IndividualMethod`s, and their level is
INDIVIDUAL. They serve as yardsticks in simulations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fedseal.learning.tensors import NamedTensors
from fedseal.methods.averaging import FIGURES, PUBLISHED_MODEL, Averaging, Message
from fedseal.methods.compression import Compressed, CompressionSettings, Floats, clipped_to
from fedseal.methods.contract import CohortSum, DisclosureStatement, Plan, Quantity
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.vocabulary import Disclosure

PLACES, VALUES = "places", "values"
SIGNS, SCALE = "signs", "scale"
UPDATE_VECTOR = "update"


def individual_statement(what_is_sent: str, *quantities: Quantity) -> DisclosureStatement:
    """Of a method whose messages the coordinator sees one by one."""
    seen = (
        Quantity(name=item.name, party="coordinator", description=f"of each node alone: {text}")
        for item, text in zip(
            FIGURES,
            ("its training rows", "its row-weighted mean training loss", "how many of its numbers were clipped"),
            strict=True,
        )
    )
    return DisclosureStatement(
        level=Disclosure.INDIVIDUAL,
        paragraph=(
            f"Every node trains the current model on its own rows and sends {what_is_sent}. Such messages cannot be "
            "added up without opening them, so the coordinator sees what each node alone sends, with its number of "
            "training rows and its training loss, and can learn from it what that node's records look like. No masks "
            "or encryption can hide it. A federation accepts this method only where every policy lets the coordinator "
            "learn what each site contributed, and this version does not run it outside of simulations."
        ),
        quantities=(*quantities, *seen, PUBLISHED_MODEL),
    )


class Individual(Compressed):
    """Base: expands each message, then averages as always."""

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:  # noqa: ARG002
        """Refuse.

        Raises:
            MethodUnsuitable: Always; a sum of these messages means nothing.
        """
        raise MethodUnsuitable(f'Method "{self.name}" needs each contribution by itself; sums of them mean nothing.')

    def aggregate_each(self, plan: Plan, state: NamedTensors, contributions: Sequence[NamedTensors]) -> NamedTensors:
        """Expand each message, and average.

        Raises:
            PeerFault: The weights are not ones that this cohort can have.
        """
        values = {item.name: np.sum([part[item.name] for part in contributions], axis=0) for item in FIGURES}
        values[UPDATE_VECTOR] = np.sum([self.expand(plan, part) for part in contributions], axis=0)
        return Averaging.aggregate(self, plan, state, CohortSum(values=values, cohort=len(contributions)))

    def mean_change(self, plan: Plan, total: CohortSum, to_mean: float) -> Mapping[str, Floats]:
        """Of what was expanded already."""
        return Averaging.mean_change(self, plan, total, to_mean)


class TopKSettings(CompressionSettings):
    """How much is sent."""

    top: Annotated[int, Field(ge=1, le=2**31, description="numbers sent (k); at most the model's")] = 64


@dataclass(frozen=True, slots=True)
class FedAvgTopK(Individual):
    """See the module docstring."""

    settings: TopKSettings = field(default_factory=TopKSettings)

    name: ClassVar[str] = "fedavg-topk"
    title: ClassVar[str] = "Federated averaging of each node's largest changes"
    reference: ClassVar[str] = "Aji and Heafield 2017; Stich et al. 2018, Sparsified SGD with Memory (NeurIPS)"
    statement: ClassVar[DisclosureStatement] = individual_statement(
        "the changes that are largest, and of which numbers of the model they are",
        Quantity(name=PLACES, party="coordinator", description="of each node alone: which parameters it changes most"),
        Quantity(name=VALUES, party="coordinator", description="of each node alone: by how much, weighted by rows"),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Sends the largest changes only.",
        meets={
            Need.SCARCE_BANDWIDTH: "Only the largest numbers and their places go up.",
        },
        cost="Very few bytes up, but no sum hides who sent what; a yardstick for simulations.",
    )
    settings_model: ClassVar[type[BaseModel]] = TopKSettings

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """Places and values."""
        size, clip = self.size(plan), self.settings.clip
        count, resolution = min(self.settings.top, size), min(self.settings.resolution, clip)
        return (
            VectorSpec(name=PLACES, length=count, bound=float(max(1, size - 1)), resolution=1.0),
            VectorSpec(name=VALUES, length=count, bound=clip, resolution=resolution),
        )

    def compress(self, plan: Plan, update: Floats, seed: int) -> Message:  # noqa: ARG002 - nothing is drawn
        """The largest, and where they are."""
        count = min(self.settings.top, self.size(plan))
        places = np.sort(np.argsort(-np.abs(update), kind="stable")[:count])
        kept, clipped = clipped_to(update[places], self.settings.clip)
        return Message(values={PLACES: places.astype(np.float64), VALUES: kept}, clipped=clipped)

    def expand(self, plan: Plan, values: Mapping[str, Floats]) -> Floats:
        """Zero elsewhere."""
        flat = np.zeros(self.size(plan))
        flat[values[PLACES].astype(np.intp)] = values[VALUES]
        return flat


@dataclass(frozen=True, slots=True)
class FedAvgSign(Individual):
    """See the module docstring."""

    settings: CompressionSettings = field(default_factory=CompressionSettings)

    name: ClassVar[str] = "fedavg-sign"
    title: ClassVar[str] = "Federated averaging of signs, each node with its own scale (EF-signSGD)"
    reference: ClassVar[str] = "Karimireddy et al. 2019, Error Feedback Fixes SignSGD (ICML)"
    statement: ClassVar[DisclosureStatement] = individual_statement(
        "the direction of each change, and one number for how large they are on average",
        Quantity(name=SIGNS, party="coordinator", description="of each node alone: the direction of each change"),
        Quantity(name=SCALE, party="coordinator", description="of each node alone: their mean size, weighted by rows"),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Sends directions and one scale.",
        meets={
            Need.SCARCE_BANDWIDTH: "One bit a parameter goes up.",
        },
        cost="One bit a parameter up, but no sum hides who sent what; a yardstick for simulations.",
    )
    settings_model: ClassVar[type[BaseModel]] = CompressionSettings

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """Signs, and the node's own scale."""
        clip, resolution = self.settings.clip, min(self.settings.resolution, self.settings.clip)
        return (
            VectorSpec(name=SIGNS, length=self.size(plan), bound=1.0, resolution=1.0),
            VectorSpec(name=SCALE, length=1, bound=clip, resolution=resolution),
        )

    def compress(self, plan: Plan, update: Floats, seed: int) -> Message:  # noqa: ARG002 - nothing is drawn
        """sign(u), ||u||_1 / D."""
        scale, clipped = clipped_to(np.array([np.abs(update).mean()]), self.settings.clip)
        return Message(values={SIGNS: np.sign(update), SCALE: scale}, clipped=clipped)

    def expand(self, plan: Plan, values: Mapping[str, Floats]) -> Floats:  # noqa: ARG002 - the contract
        """Scale times signs; a product, so not linear in the message."""
        return np.asarray(values[SCALE][0] * values[SIGNS])
