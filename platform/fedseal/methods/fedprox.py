"""``fedprox``: federated averaging with a proximal term, Li et al. 2020 (MLSys, eq. 2).

Node k minimises its loss plus (mu / 2) * |y - w|^2, so that local training does not run far from the model w that it
started from: each gradient is increased by mu * (y - w). With mu = 0 it is `fedavg`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning.learner import GradientCorrection
from fedseal.learning.tensors import NamedTensors
from fedseal.methods.averaging import Averaging, AveragingSettings, averaging_statement
from fedseal.methods.contract import DisclosureStatement, NodeContext
from fedseal.methods.suitability import Need, Suitability


class FedProxSettings(AveragingSettings):
    """Averaging, and the proximal term."""

    proximal: Annotated[float, Field(ge=0, le=100, description="strength of the pull to the broadcast model (mu)")] = (
        0.01
    )


def proximal_term(centre: NamedTensors, strength: float) -> GradientCorrection:
    """Adds strength * (y - centre) to each gradient."""

    def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:
        for name, gradient in gradients.items():
            np.add(gradient, np.float32(strength) * (parameters[name] - centre[name]), out=gradient)

    return correct


@dataclass(frozen=True, slots=True)
class FedProx(Averaging):
    """See the module docstring."""

    settings: FedProxSettings = field(default_factory=FedProxSettings)

    name: ClassVar[str] = "fedprox"
    title: ClassVar[str] = "Federated averaging with a proximal term"
    reference: ClassVar[str] = "Li et al. 2020, Federated Optimization in Heterogeneous Networks (MLSys)"
    statement: ClassVar[DisclosureStatement] = averaging_statement("")
    suits: ClassVar[Suitability] = Suitability(
        purpose="Holds local training near the common model; the first thing to try where nodes drift apart.",
        meets={
            Need.DIFFERENT_DATA: (
                "One common model drifts less, because each node is pulled back to it while it trains."
            ),
        },
        cost="As averaging, and one more setting; too strong a pull slows learning.",
    )
    settings_model: ClassVar[type[BaseModel]] = FedProxSettings

    def correction(self, context: NodeContext) -> GradientCorrection:
        """Pull to the broadcast."""
        return proximal_term(context.broadcast, self.settings.proximal)
