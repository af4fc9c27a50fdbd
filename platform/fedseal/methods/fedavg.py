"""``fedavg``: federated averaging, McMahan et al. 2017 (AISTATS, Algorithm 1), in one secure sum a round.

The model moves by the average of what local training changed, weighted by rows. See `fedseal.methods.averaging` for
how an average becomes one sum. It leaves out server momentum, adaptive servers and personal layers (other methods).
"""

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import BaseModel

from fedseal.methods.averaging import Averaging, AveragingSettings, averaging_statement
from fedseal.methods.contract import DisclosureStatement
from fedseal.methods.suitability import Suitability


class FedAvgSettings(AveragingSettings):
    """Only what every averaging method can be told."""


@dataclass(frozen=True, slots=True)
class FedAvg(Averaging):
    """See the module docstring."""

    settings: FedAvgSettings = field(default_factory=FedAvgSettings)

    name: ClassVar[str] = "fedavg"
    title: ClassVar[str] = "Federated averaging"
    reference: ClassVar[str] = "McMahan et al. 2017, Communication-Efficient Learning of Deep Networks (AISTATS)"
    statement: ClassVar[DisclosureStatement] = averaging_statement("")
    suits: ClassVar[Suitability] = Suitability(
        purpose="Averages what local training changed; the place to start, and the yardstick for everything else.",
        cost="One model up and one down a round.",
        baseline=True,
    )
    settings_model: ClassVar[type[BaseModel]] = FedAvgSettings
