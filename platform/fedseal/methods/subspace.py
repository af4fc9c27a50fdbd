"""``fedavg-subspace``: the update's projection onto a random subspace that all nodes draw alike, anew each round.

``coordinates``: p of the D numbers (random-k with a shared mask). ``hashed``: each number goes to one of p buckets
with a random sign, buckets as equal as can be, and counts 1 / sqrt(size of the bucket). Both are P'P with orthonormal
rows of P: a node sends P u, the coordinator adds and expands by P'. So messages add up exactly: P a + P b = P (a + b).

Without error feedback the expansion is scaled by D / p, which makes it unbiased and, at small p, noisy; with it the
projection is a contraction, whose residual stays bounded.

Reference: sketched and random-mask updates, Konecny et al. 2016; error feedback as in `compression`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.methods.averaging import Message, averaging_statement
from fedseal.methods.compression import Compressed, CompressionSettings, Floats, clipped_to, common_generator
from fedseal.methods.contract import DisclosureStatement, Plan, Quantity
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec

PROJECTION = "projection"


class SubspaceSettings(CompressionSettings):
    """The subspace."""

    dimension: Annotated[int, Field(ge=1, le=2**31, description="numbers sent (p); at most the model's")] = 1024
    kind: Annotated[Literal["coordinates", "hashed"], Field(description="what the subspace is spanned by")] = "hashed"


@dataclass(frozen=True, slots=True)
class FedAvgSubspace(Compressed):
    """See the module docstring."""

    settings: SubspaceSettings = field(default_factory=SubspaceSettings)

    name: ClassVar[str] = "fedavg-subspace"
    title: ClassVar[str] = "Federated averaging in a random subspace"
    reference: ClassVar[str] = "Konecny et al. 2016, Strategies for Improving Communication Efficiency"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "A change is sent as its projection onto a random subspace that every party knows; that makes it small, not "
        "private: it is the secure sum that hides a node's change.",
        update=Quantity(
            name=PROJECTION,
            party="coordinator",
            description="row-weighted sum of the projected model changes of the cohort",
        ),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Sends a random projection of the change, drawn anew each round.",
        meets={
            Need.SCARCE_BANDWIDTH: "Only as many numbers go up as the projection has.",
        },
        cost="Bytes up follow the projection's size, a whole model goes down; more rounds than averaging.",
    )
    settings_model: ClassVar[type[BaseModel]] = SubspaceSettings

    def dimension(self, plan: Plan) -> int:
        """p, at most D."""
        return min(self.settings.dimension, self.size(plan))

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """The projection."""
        clip, resolution = self.settings.clip, min(self.settings.resolution, self.settings.clip)
        return (VectorSpec(name=PROJECTION, length=self.dimension(plan), bound=clip, resolution=resolution),)

    def compress(self, plan: Plan, update: Floats, seed: int) -> Message:  # noqa: ARG002 - nothing is drawn alone
        """P u, clipped."""
        kept, clipped = clipped_to(self.project(plan, update), self.settings.clip)
        return Message(values={PROJECTION: kept}, clipped=clipped)

    def project(self, plan: Plan, update: Floats) -> Floats:
        """P u, shape (p,)."""
        places, factors = self._basis(plan)
        chosen = places >= 0
        return np.bincount(
            places[chosen], weights=update[chosen] * factors[chosen], minlength=self.dimension(plan)
        ).astype(np.float64)

    def expand(self, plan: Plan, values: Mapping[str, Floats]) -> Floats:
        """P' y; without error feedback times D / p."""
        places, factors = self._basis(plan)
        scale = 1.0 if self.settings.error_feedback else self.size(plan) / self.dimension(plan)
        return np.where(places >= 0, values[PROJECTION][places] * factors * scale, 0.0)

    def _basis(self, plan: Plan) -> tuple[NDArray[np.intp], Floats]:
        """Of each coordinate: which number it goes into (-1 for none), and its factor in it."""
        size, dimension = self.size(plan), self.dimension(plan)
        generator = common_generator("subspace", plan.job.seed, plan.round)
        order = generator.permutation(size)
        if self.settings.kind == "coordinates":
            places = np.full(size, -1, dtype=np.intp)
            places[order[:dimension]] = np.arange(dimension)
            return places, np.ones(size)
        places = np.asarray(order % dimension, dtype=np.intp)
        counts = np.bincount(places, minlength=dimension)
        signs = generator.integers(0, 2, size=size) * 2.0 - 1.0
        return places, signs / np.sqrt(counts[places])
