"""``feddyn``: dynamic regularisation, Acar et al. 2021 (ICLR, Algorithm 1).

Node k minimises f_k(y) - <h_k, y> + (alpha / 2) |y - w|^2 from y = w, then h_k <- h_k - alpha Delta_k. The coordinator
makes h <- h - (alpha / N) sum(Delta_k) and w <- w + mean(Delta_k) - h / alpha, with N the nodes named in the job.
All nodes weigh the same; both follow from one sum.

Rules this module keeps:
- h_k lives in the node's local state; the platform keeps a new one only when the node was in the sum, so that h
  stays the mean of all h_k.
- h_k moves by the clipped update, the one that was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning.learner import GradientCorrection
from fedseal.learning.tensors import NamedTensors, group_of, grouped
from fedseal.methods.averaging import (
    MODEL,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
    difference,
    moved,
    unweighted_statement,
)
from fedseal.methods.contract import DisclosureStatement, NodeContext, Plan
from fedseal.methods.fedprox import proximal_term
from fedseal.methods.suitability import Need, Suitability

MULTIPLIER = "multiplier"


class FedDynSettings(AveragingSettings):
    """Averaging, and the strength of the regulariser."""

    strength: Annotated[float, Field(gt=0, le=100, description="of the dynamic regulariser (alpha)")] = 0.01


@dataclass(frozen=True, slots=True)
class FedDyn(Averaging):
    """See the module docstring."""

    settings: FedDynSettings = field(default_factory=FedDynSettings)

    by_rows: ClassVar[bool] = False
    name: ClassVar[str] = "feddyn"
    title: ClassVar[str] = "Averaging with dynamic regularisation (FedDyn)"
    reference: ClassVar[str] = "Acar et al. 2021, Federated Learning Based on Dynamic Regularization (ICLR)"
    statement: ClassVar[DisclosureStatement] = unweighted_statement("")
    suits: ClassVar[Suitability] = Suitability(
        purpose=(
            "Gives each node a penalty of its own that moves with training, so that local and common optimum agree."
        ),
        meets={
            Need.DIFFERENT_DATA: "The common model heads for the optimum of all rows, although nodes differ.",
        },
        cost="As averaging in bytes; a node keeps a second model, and the penalty has to be tuned.",
    )
    settings_model: ClassVar[type[BaseModel]] = FedDynSettings

    def more_state(self, plan: Plan) -> NamedTensors:
        """H = 0."""
        return grouped(MULTIPLIER, {name: np.zeros(shape) for name, shape in self.shared_shapes(plan).items()})

    def train(self, context: NodeContext) -> LocalUpdate:
        """Regularised local training, and the new multiplier."""
        start, alpha, clip = context.broadcast, self.settings.strength, self.settings.clip
        own = group_of(MULTIPLIER, context.local_state) or {name: np.zeros(v.shape) for name, v in start.items()}
        pull = proximal_term(start, alpha)

        def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:
            pull(parameters, gradients)
            for name, gradient in gradients.items():
                np.subtract(gradient, own[name].astype(np.float32), out=gradient)

        correction: GradientCorrection = correct
        fitted = self.fit(context, start, correction=correction)
        change = difference(fitted.parameters, start)
        sent = {name: np.clip(value, -clip, clip) for name, value in change.items()}
        state = grouped(MULTIPLIER, moved(own, sent, by=-alpha))
        return LocalUpdate(change=change, loss=fitted.loss, local_state=state)

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """h, then w, as in the module docstring."""
        alpha = self.settings.strength
        multiplier = moved(group_of(MULTIPLIER, state), mean.change, by=-alpha * mean.weight / plan.node_count)
        model = moved(group_of(MODEL, state), mean.change)
        model = {name: model[name] - multiplier[name] / alpha for name in model}
        return {**grouped(MODEL, model), **grouped(MULTIPLIER, multiplier)}
