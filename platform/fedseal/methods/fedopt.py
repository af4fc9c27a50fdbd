"""``fedavgm``, ``fedadagrad``, ``fedadam``, ``fedyogi``: an optimiser at the coordinator takes the mean update.

FedAvgM (Hsu et al. 2019): v <- beta v + D, w <- w + eta v, with D the mean update.
FedOpt (Reddi et al. 2021, ICLR, Algorithm 2): m <- beta1 m + (1 - beta1) D, then
- Adagrad: v <- v + D^2
- Adam: v <- beta2 v + (1 - beta2) D^2
- Yogi: v <- v - (1 - beta2) D^2 sign(v - D^2)
and w <- w + eta m / (sqrt(v) + tau). There is no bias correction; v starts at tau^2, the least that the paper allows.

All of it happens after the sum, so what the coordinator learns is what it learns in `fedavg`.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning.tensors import NamedTensors, group_of, grouped
from fedseal.methods.averaging import MODEL, Averaging, AveragingSettings, MeanUpdate, averaging_statement, moved
from fedseal.methods.contract import DisclosureStatement, Plan
from fedseal.methods.suitability import Suitability

VELOCITY, SECOND = "velocity", "second"


class FedAvgMSettings(AveragingSettings):
    """Averaging, and the coordinator's momentum."""

    server_rate: Annotated[float, Field(gt=0, le=100, description="step of the coordinator (eta)")] = 1.0
    server_momentum: Annotated[float, Field(ge=0, lt=1, description="of the mean update over rounds (beta)")] = 0.9


class AdaptiveSettings(AveragingSettings):
    """Averaging, and the coordinator's adaptive step."""

    server_rate: Annotated[float, Field(gt=0, le=100, description="step of the coordinator (eta)")] = 0.01
    first_decay: Annotated[float, Field(ge=0, lt=1, description="of the mean update over rounds (beta1)")] = 0.9
    second_decay: Annotated[float, Field(ge=0, lt=1, description="of its square (beta2)")] = 0.99
    floor: Annotated[float, Field(gt=0, le=1, description="degree of adaptivity (tau)")] = 1e-3


class AdagradSettings(AdaptiveSettings):
    """As the others; the paper uses no first momentum here."""

    first_decay: Annotated[float, Field(ge=0, lt=1, description="of the mean update over rounds (beta1)")] = 0.0


@dataclass(frozen=True, slots=True)
class FedAvgM(Averaging):
    """See the module docstring."""

    settings: FedAvgMSettings = field(default_factory=FedAvgMSettings)

    name: ClassVar[str] = "fedavgm"
    title: ClassVar[str] = "Federated averaging with momentum at the coordinator"
    reference: ClassVar[str] = "Hsu et al. 2019, Measuring the Effects of Non-Identical Data Distribution"
    statement: ClassVar[DisclosureStatement] = averaging_statement("")
    suits: ClassVar[Suitability] = Suitability(
        purpose="Gives the averaged step momentum, which smooths it where few nodes take part in a round.",
        cost="As averaging, and one more setting at the coordinator.",
    )
    settings_model: ClassVar[type[BaseModel]] = FedAvgMSettings

    def more_state(self, plan: Plan) -> NamedTensors:
        """V = 0."""
        return grouped(VELOCITY, {name: np.zeros(shape) for name, shape in self.shared_shapes(plan).items()})

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:  # noqa: ARG002 - the contract
        """V <- beta v + D; w <- w + eta v."""
        old, beta = group_of(VELOCITY, state), self.settings.server_momentum
        velocity = {name: beta * old[name] + change for name, change in mean.change.items()}
        model = moved(group_of(MODEL, state), velocity, by=self.settings.server_rate)
        return {**grouped(MODEL, model), **grouped(VELOCITY, velocity)}


class Adaptive(Averaging):
    """What the three adaptive optimisers share; they differ in `second`."""

    settings: AdaptiveSettings

    def second(self, old: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
        """V from its old value and the squared mean update."""
        raise NotImplementedError

    def more_state(self, plan: Plan) -> NamedTensors:
        """M = 0, v = tau^2."""
        shapes, least = self.shared_shapes(plan), self.settings.floor**2
        return {
            **grouped(VELOCITY, {name: np.zeros(shape) for name, shape in shapes.items()}),
            **grouped(SECOND, {name: np.full(shape, least) for name, shape in shapes.items()}),
        }

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:  # noqa: ARG002 - the contract
        """See the module docstring."""
        beta, tau = self.settings.first_decay, self.settings.floor
        old_first, old_second = group_of(VELOCITY, state), group_of(SECOND, state)
        first = {name: beta * old_first[name] + (1 - beta) * change for name, change in mean.change.items()}
        second = {name: self.second(old_second[name], change**2) for name, change in mean.change.items()}
        direction = {name: first[name] / (np.sqrt(second[name]) + tau) for name in first}
        model = moved(group_of(MODEL, state), direction, by=self.settings.server_rate)
        return {**grouped(MODEL, model), **grouped(VELOCITY, first), **grouped(SECOND, second)}


@dataclass(frozen=True, slots=True)
class FedAdagrad(Adaptive):
    """See the module docstring."""

    settings: AdagradSettings = field(default_factory=AdagradSettings)

    name: ClassVar[str] = "fedadagrad"
    title: ClassVar[str] = "Federated Adagrad"
    reference: ClassVar[str] = "Reddi et al. 2021, Adaptive Federated Optimization (ICLR)"
    statement: ClassVar[DisclosureStatement] = averaging_statement("")
    suits: ClassVar[Suitability] = Suitability(
        purpose="Adapts the step of each parameter at the coordinator, by all steps so far; for sparse features.",
        cost="As averaging, and the coordinator's step size and floor have to be tuned.",
    )
    settings_model: ClassVar[type[BaseModel]] = AdagradSettings

    def second(self, old: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
        """V + D^2."""
        return old + square


@dataclass(frozen=True, slots=True)
class FedAdam(Adaptive):
    """See the module docstring."""

    settings: AdaptiveSettings = field(default_factory=AdaptiveSettings)

    name: ClassVar[str] = "fedadam"
    title: ClassVar[str] = "Federated Adam"
    reference: ClassVar[str] = "Reddi et al. 2021, Adaptive Federated Optimization (ICLR)"
    statement: ClassVar[DisclosureStatement] = averaging_statement("")
    suits: ClassVar[Suitability] = Suitability(
        purpose="Adapts the step of each parameter at the coordinator; often learns in fewer rounds.",
        cost="As averaging, and the coordinator's step size and floor have to be tuned.",
    )
    settings_model: ClassVar[type[BaseModel]] = AdaptiveSettings

    def second(self, old: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
        """beta2 v + (1 - beta2) D^2."""
        beta = self.settings.second_decay
        return beta * old + (1 - beta) * square


@dataclass(frozen=True, slots=True)
class FedYogi(Adaptive):
    """See the module docstring."""

    settings: AdaptiveSettings = field(default_factory=AdaptiveSettings)

    name: ClassVar[str] = "fedyogi"
    title: ClassVar[str] = "Federated Yogi"
    reference: ClassVar[str] = "Reddi et al. 2021, Adaptive Federated Optimization (ICLR)"
    statement: ClassVar[DisclosureStatement] = averaging_statement("")
    suits: ClassVar[Suitability] = Suitability(
        purpose="As FedAdam, with a second moment that grows more slowly; steadier where steps vary much.",
        cost="As averaging, and the coordinator's step size and floor have to be tuned.",
    )
    settings_model: ClassVar[type[BaseModel]] = AdaptiveSettings

    def second(self, old: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
        """V - (1 - beta2) D^2 sign(v - D^2)."""
        return old - (1 - self.settings.second_decay) * square * np.sign(old - square)
