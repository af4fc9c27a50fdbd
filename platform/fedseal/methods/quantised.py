"""``fedavg-quantised``: stochastic rounding to a few levels on a grid that all nodes share.

With M = 2^(bits - 1) - 1 and the step C / M, a number u within +-C is sent as the whole number floor(u / step) or the
next one, with the probability that makes the mean right: E[q] step = u. Summed levels decode exactly, because the
grid is the same for all; QSGD (Alistarh et al. 2017) and TernGrad (Wen et al. 2017) scale by each node's own norm
instead, and messages with different scales do not add up.

Under masks a number takes about log2(2 M n + 1) bits with n nodes, so few bits are fewer for small cohorts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fedseal.methods.averaging import Message, averaging_statement
from fedseal.methods.compression import Compressed, CompressionSettings, Floats, clipped_to
from fedseal.methods.contract import DisclosureStatement, Plan, Quantity
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec

LEVELS = "levels"


class QuantisedSettings(CompressionSettings):
    """The grid."""

    clip: Annotated[float, Field(gt=0, le=1e6, description="largest change of one parameter a round (C)")] = 0.25
    bits: Annotated[int, Field(ge=2, le=16, description="2^bits - 1 levels from -C to C")] = 8


@dataclass(frozen=True, slots=True)
class FedAvgQuantised(Compressed):
    """See the module docstring."""

    settings: QuantisedSettings = field(default_factory=QuantisedSettings)

    name: ClassVar[str] = "fedavg-quantised"
    title: ClassVar[str] = "Federated averaging, rounded to few levels"
    reference: ClassVar[str] = "Stochastic rounding on a common grid; cf. Alistarh et al. 2017, QSGD (NeurIPS)"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "Changes are rounded at random to a few levels on a grid that is the same for all nodes, which makes the sum "
        "small, not private: it is the secure sum that hides a node's change.",
        update=Quantity(
            name=LEVELS,
            party="coordinator",
            description="row-weighted sum of the model changes of the cohort, in levels",
        ),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Rounds changes to few levels before they are added.",
        meets={
            Need.SCARCE_BANDWIDTH: "Few bits a parameter go up.",
        },
        cost=(
            "A fraction of averaging's bytes up (4 bits: about a third under masks), a whole model down; "
            "rounding costs some accuracy."
        ),
    )
    settings_model: ClassVar[type[BaseModel]] = QuantisedSettings

    @property
    def most(self) -> int:
        """M."""
        return (1 << (self.settings.bits - 1)) - 1

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """Whole numbers within +-M."""
        return (VectorSpec(name=LEVELS, length=self.size(plan), bound=self.most, resolution=1.0),)

    def compress(self, plan: Plan, update: Floats, seed: int) -> Message:  # noqa: ARG002 - the contract
        """Round up with the probability of the fraction."""
        kept, clipped = clipped_to(update, self.settings.clip)
        scaled = kept * (self.most / self.settings.clip)
        below = np.floor(scaled)
        draws = np.random.Generator(np.random.Philox(seed)).random(scaled.size)
        return Message(values={LEVELS: below + (draws < scaled - below)}, clipped=clipped)

    def expand(self, plan: Plan, values: Mapping[str, Floats]) -> Floats:  # noqa: ARG002 - the contract
        """Levels times the step."""
        return values[LEVELS] * (self.settings.clip / self.most)
