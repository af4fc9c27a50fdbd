"""``fedavg``: federated averaging, McMahan et al. 2017 (AISTATS, Algorithm 1), in one secure sum a round.

With W the job's public maximum of rows, node k sends clip(Delta_k, C) * n_k / W and n_k, where Delta_k is
what E local epochs changed and n_k its number of training rows; the coordinator adds (sum of the first) * W /
(sum of n_k), which is the average of the updates weighted by rows. Dividing by W keeps each coordinate inside
the public bound C.

Rules this module keeps:
- Weight, mean training loss and number of clipped coordinates are vectors of the same sum.
- The average is over whoever is in the sum: a node that dropped out counts neither above nor below the line.
- Clipping is per coordinate and reported, never silent.

It leaves out server momentum and adaptive servers (other methods) and differential privacy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fedseal.errors import PeerFault
from fedseal.learning.learner import FitRequest
from fedseal.learning.tensors import NamedTensors, Shapes, flatten, group_of, grouped, size_of, unflatten
from fedseal.methods.contract import CohortSum, Contribution, DisclosureStatement, NodeContext, Plan, Quantity
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.vocabulary import Disclosure

MODEL = "model"
REPORT = "report"  # figures of the last round, kept in the state beside the model
WORST_LOSS = 30.0  # a mean training loss above is reported as this; bounds the summed loss
LOSS_RESOLUTION = 2.0**-20

STATEMENT = DisclosureStatement(
    level=Disclosure.SUM,
    paragraph=(
        "Every node trains the current model on its own rows and contributes how the model changed, "
        "weighted by its number of rows. The coordinator learns the weighted sum of the changes over all "
        "nodes of the cohort together, the cohort's number of training rows, its summed training loss and "
        "how many numbers were clipped, and sends the new model to every node. No node's change, number of "
        "rows or loss is sent. But if one node alone leaves or joins between two rounds, its number of rows "
        "follows by subtraction from the cohort's numbers, and its loss roughly so."
    ),
    quantities=(
        Quantity(
            name="update",
            party="coordinator",
            description="row-weighted sum of the model changes of the cohort",
        ),
        Quantity(name="weight", party="coordinator", description="training rows of the whole cohort"),
        Quantity(name="loss", party="coordinator", description="row-weighted sum of the mean training losses"),
        Quantity(
            name="clipped",
            party="coordinator",
            description="how many numbers were clipped in the whole cohort",
        ),
        Quantity(name="model", party="every node", description="the averaged model after each round"),
    ),
)


class FedAvgSettings(BaseModel):
    """What a job may set under ``method.settings``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    local_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over a node's rows a round (E)")] = 1
    clip: Annotated[float, Field(gt=0, le=1e6, description="largest change of one parameter a round (C)")] = 1.0
    resolution: Annotated[
        float, Field(ge=2**-40, le=1, description="smallest step in which summed values are encoded")
    ] = 2**-20


@dataclass(frozen=True, slots=True)
class FedAvg:
    """State: ``model/...`` in float64, and ``report`` = loss, rows and clipped share of the last round."""

    settings: FedAvgSettings = field(default_factory=FedAvgSettings)

    name: ClassVar[str] = "fedavg"
    title: ClassVar[str] = "Federated averaging"
    reference: ClassVar[str] = "McMahan et al. 2017, Communication-Efficient Learning of Deep Networks (AISTATS)"
    statement: ClassVar[DisclosureStatement] = STATEMENT
    settings_model: ClassVar[type[BaseModel]] = FedAvgSettings

    def initial_state(self, plan: Plan) -> NamedTensors:
        """The learner's initial parameters for the job's seed."""
        parameters = plan.require_learner().initial_parameters(plan.input_width, plan.job.seed)
        start = {name: np.asarray(value, dtype=np.float64) for name, value in parameters.items()}
        return {**grouped(MODEL, start), REPORT: np.zeros(3)}

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """The learner's parameters."""
        return plan.require_learner().parameter_shapes(plan.input_width)

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:  # noqa: ARG002 - the same every round
        """The current model, in float32."""
        return {name: value.astype(np.float32) for name, value in group_of(MODEL, state).items()}

    def vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """The weighted update, and three numbers."""
        size, rows = size_of(self.broadcast_shapes(plan)), float(plan.maximum_rows)
        return (
            VectorSpec(
                name="update",
                length=size,
                bound=self.settings.clip,
                resolution=min(self.settings.resolution, self.settings.clip),
            ),
            VectorSpec(name="weight", length=1, bound=rows, resolution=1.0),
            VectorSpec(name="loss", length=1, bound=WORST_LOSS, resolution=LOSS_RESOLUTION),
            VectorSpec(name="clipped", length=1, bound=float(size), resolution=1.0),
        )

    def contribute(self, context: NodeContext) -> Contribution:
        """Train E epochs from the broadcast; a node without training rows contributes zeros."""
        plan, rows = context.plan, context.data.training.row_count
        if rows == 0:
            return Contribution(values={spec.name: np.zeros(spec.length) for spec in self.vectors(plan)})
        request = FitRequest(
            parameters=context.broadcast,
            examples=plan.examples(context.data.training),
            epochs=self.settings.local_epochs,
            seed=context.seed,
        )
        fitted = plan.require_learner().fit(request)
        update = flatten(fitted.parameters) - flatten(context.broadcast)
        share = rows / plan.maximum_rows
        return Contribution(
            values={
                "update": np.clip(update, -self.settings.clip, self.settings.clip) * share,
                "weight": np.array([float(rows)]),
                "loss": np.array([min(fitted.loss, WORST_LOSS) * share]),
                "clipped": np.array([float(np.sum(np.abs(update) > self.settings.clip))]),
            }
        )

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:
        """Add the weighted mean of the updates.

        Raises:
            PeerFault: The summed weight is not one that this cohort can have.
        """
        rows = float(total.values["weight"][0])
        if not 0 <= rows <= total.cohort * plan.maximum_rows:
            raise PeerFault(f"The summed weight is {rows:g}; {total.cohort} nodes cannot have that many rows.")
        if rows == 0:
            return state
        to_mean = plan.maximum_rows / rows
        shapes = self.broadcast_shapes(plan)
        step = unflatten(total.values["update"] * to_mean, shapes)
        model = group_of(MODEL, state)
        clipped_share = float(total.values["clipped"][0]) / (total.cohort * size_of(shapes))
        report = np.array([float(total.values["loss"][0]) * to_mean, rows, clipped_share])
        return {**grouped(MODEL, {name: model[name] + step[name] for name in shapes}), REPORT: report}

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:  # noqa: ARG002 - all in the state
        """Mean training loss, rows and share of clipped coordinates of the last round."""
        loss, rows, clipped_share = (float(value) for value in state[REPORT])
        return {"loss": loss, "rows": rows, "clipped_share": clipped_share}

    def export_shapes(self, plan: Plan) -> Shapes:
        """The model."""
        return self.broadcast_shapes(plan)

    def export(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """The model, in float32."""
        return self.broadcast(plan, state)

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:  # noqa: ARG002
        """The one model of all."""
        return exported
