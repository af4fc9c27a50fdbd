"""``fednova``: normalised averaging, Wang et al. 2020 (NeurIPS, eq. 6 and Table 1).

Nodes that take more local steps than others pull the plain average to themselves. Node k sends Delta_k / |a_k|_1,
weighted by rows, and |a_k|_1, weighted by rows; the coordinator moves by tau_eff = mean(|a_k|_1) times the mean of
the normalised updates. For plain gradient descent |a_k|_1 is the number of steps tau; with momentum rho it is
(tau - rho (1 - rho^tau) / (1 - rho)) / (1 - rho). With equal steps everywhere it is `fedavg`.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fedseal.learning.errors import TrainingFailed
from fedseal.learning.tensors import NamedTensors, group_of, grouped
from fedseal.methods.averaging import (
    MODEL,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
    averaging_statement,
    difference,
    moved,
)
from fedseal.methods.contract import DisclosureStatement, NodeContext, Plan, Quantity
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec

STEP_RESOLUTION = 2.0**-20


class FedNovaSettings(AveragingSettings):
    """Averaging, and a public bound on local steps."""

    max_steps: Annotated[
        int, Field(ge=1, le=1_000_000, description="no node may take more local steps a round; bounds what is summed")
    ] = 10_000


def accumulated(steps: int, momentum: float) -> float:
    """|a|_1 of ``steps`` steps of gradient descent with ``momentum``, 0 <= momentum < 1."""
    return (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)


@dataclass(frozen=True, slots=True)
class FedNova(Averaging):
    """The clip bounds the normalised update, so it is reached later than in `fedavg`."""

    settings: FedNovaSettings = field(default_factory=FedNovaSettings)

    name: ClassVar[str] = "fednova"
    title: ClassVar[str] = "Normalised averaging (FedNova)"
    reference: ClassVar[str] = "Wang et al. 2020, Tackling the Objective Inconsistency Problem (NeurIPS)"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "Each change is divided by the number of local steps; the row-weighted sum of these numbers is learnt, too.",
        Quantity(name="steps", party="coordinator", description="row-weighted sum of the local steps of the cohort"),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Divides each change by the steps that made it, so that nodes with many rows do not bend the goal.",
        meets={
            Need.DIFFERENT_DATA: "Nodes that differ in size or steps count by their rows alone.",
        },
        cost="As averaging, and the numbers of steps are summed as well.",
    )
    settings_model: ClassVar[type[BaseModel]] = FedNovaSettings

    def more_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:  # noqa: ARG002 - the contract
        """The weighted number of accumulated steps."""
        return (VectorSpec(name="steps", length=1, bound=float(self.settings.max_steps), resolution=STEP_RESOLUTION),)

    def train(self, context: NodeContext) -> LocalUpdate:
        """Train, and divide by the accumulated steps."""
        fitted = self.fit(context, context.broadcast, correction=self.correction(context))
        norm = accumulated(fitted.steps, fitted.momentum)
        if norm > self.settings.max_steps:
            raise TrainingFailed(
                f"Local training took {fitted.steps} steps, accumulated {norm:.0f}; the job's max_steps is "
                f"{self.settings.max_steps}. Raise it, or choose a larger batch."
            )
        change = difference(fitted.parameters, context.broadcast)
        share = context.data.training.row_count / self.heaviest(context.plan)
        return LocalUpdate(
            change={name: value / norm for name, value in change.items()},
            loss=fitted.loss,
            extra={"steps": np.array([norm * share])},
        )

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """W <- w + tau_eff mean(Delta_k / |a_k|_1)."""
        effective = float(mean.total.values["steps"][0]) * self.heaviest(plan) / mean.weight
        return grouped(MODEL, moved(group_of(MODEL, state), mean.change, by=effective))
