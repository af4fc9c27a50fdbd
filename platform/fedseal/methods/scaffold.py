"""``scaffold``: control variates against client drift, Karimireddy et al. 2020 (ICML, Algorithm 1, option II).

Node k keeps c_k and corrects each local gradient by - c_k + c; after tau steps of rate eta
    c_k+ = c_k - c + (w - y_k) / (tau eta)
and the coordinator, which keeps c, makes w <- w + eta_g mean(Delta_k), c <- c + (1 / N) sum(c_k+ - c_k), with N the
nodes named in the job. All nodes weigh the same.

Rules this module keeps:
- c_k lives in the node's local state; the platform keeps a new one only when the node was in the sum, so that c
  stays the mean of all c_k.
- What of c_k+ - c_k is beyond the clip is not sent, and not kept either, for the same reason.
- Plain gradient descent only: with momentum the estimate of c_k+ is wrong by about 1 / (1 - momentum).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning.learner import GradientCorrection
from fedseal.learning.tensors import NamedTensors, Shapes, flatten, group_of, grouped, size_of, unflatten
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
from fedseal.methods.contract import DisclosureStatement, NodeContext, Plan, Quantity
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec

CONTROL = "control"


class ScaffoldSettings(AveragingSettings):
    """Averaging, the coordinator's step, and the bound of a control variate's change."""

    server_rate: Annotated[float, Field(gt=0, le=100, description="step of the coordinator (eta_g)")] = 1.0
    control_clip: Annotated[
        float, Field(gt=0, le=1e6, description="largest change of one number of a control variate a round")
    ] = 10.0


def control_correction(mean: NamedTensors, own: NamedTensors) -> GradientCorrection:
    """Adds mean - own to each gradient."""

    def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:  # noqa: ARG001
        for name, gradient in gradients.items():
            np.add(gradient, (mean[name] - own[name]).astype(np.float32), out=gradient)

    return correct


@dataclass(frozen=True, slots=True)
class Scaffold(Averaging):
    """See the module docstring."""

    settings: ScaffoldSettings = field(default_factory=ScaffoldSettings)

    by_rows: ClassVar[bool] = False
    name: ClassVar[str] = "scaffold"
    title: ClassVar[str] = "Averaging with control variates (SCAFFOLD)"
    reference: ClassVar[str] = "Karimireddy et al. 2020, SCAFFOLD: Stochastic Controlled Averaging (ICML)"
    statement: ClassVar[DisclosureStatement] = unweighted_statement(
        "The sum of the nodes' changed control variates is learnt, too, and their mean is sent to every node.",
        Quantity(name="control", party="coordinator", description="sum of the changes of the control variates"),
        Quantity(name="mean control", party="every node", description="the mean control variate after each round"),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose=(
            "Corrects each local step by what the others' gradients were; for many local steps on data that differ."
        ),
        meets={
            Need.DIFFERENT_DATA: "Control variates take the drift of each node out of the common model.",
        },
        cost="Twice averaging's bytes both ways, and nodes must take part often.",
    )
    settings_model: ClassVar[type[BaseModel]] = ScaffoldSettings

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """Model and mean control variate."""
        shapes = self.shared_shapes(plan)
        return {**_named(MODEL, shapes), **_named(CONTROL, shapes)}

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """Model and mean control variate, in float32."""
        return {name: state[name].astype(np.float32) for name in self.broadcast_shapes(plan)}

    def more_state(self, plan: Plan) -> NamedTensors:
        """C = 0."""
        return grouped(CONTROL, _zeros(self.shared_shapes(plan)))

    def more_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """The change of the control variate."""
        bound = self.settings.control_clip
        size, resolution = size_of(self.shared_shapes(plan)), min(self.settings.resolution, bound)
        return (VectorSpec(name="control", length=size, bound=bound, resolution=resolution),)

    def train(self, context: NodeContext) -> LocalUpdate:
        """Corrected local training, and the new control variate."""
        shapes = self.shared_shapes(context.plan)
        start, mean = group_of(MODEL, context.broadcast), group_of(CONTROL, context.broadcast)
        own = group_of(CONTROL, context.local_state) or _zeros(shapes)
        fitted = self.fit(context, start, correction=control_correction(mean, own))
        if fitted.momentum:
            raise MethodUnsuitable('Method "scaffold" needs plain gradient descent; set the learner\'s momentum to 0.')
        change, pace = difference(fitted.parameters, start), fitted.steps * fitted.learning_rate
        wanted = flatten({name: -mean[name].astype(np.float64) - change[name] / pace for name in shapes})
        kept = np.clip(wanted, -self.settings.control_clip, self.settings.control_clip)
        control = moved(own, unflatten(kept, shapes))
        return LocalUpdate(
            change=change, loss=fitted.loss, local_state=grouped(CONTROL, control), extra={"control": kept}
        )

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """Move the model by the mean update, and c by the summed changes over all N nodes of the job."""
        summed = unflatten(mean.total.values["control"], self.shared_shapes(plan))
        model = moved(group_of(MODEL, state), mean.change, by=self.settings.server_rate)
        control = moved(group_of(CONTROL, state), summed, by=1 / plan.node_count)
        return {**grouped(MODEL, model), **grouped(CONTROL, control)}


def _named(group: str, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {f"{group}/{name}": shape for name, shape in shapes.items()}


def _zeros(shapes: Shapes) -> dict[str, NDArray[np.float64]]:
    return {name: np.zeros(shape) for name, shape in shapes.items()}
