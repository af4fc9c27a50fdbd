"""``evaluation``: how the trained model does on the held-out rows of all nodes together, from one secure sum.

Rules this module keeps:
- A node contributes sums over its held-out rows (see `fedseal.learning.metrics`), never a prediction or a
  metric.
- The model evaluated is the one that the training stage published, joined with what the node keeps for
  itself, and fitted to its own training rows if the method does that; a method that adapts does so last, to the
  held-out rows without their labels, on a copy.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from fedseal.errors import PeerFault
from fedseal.learning.metrics import (
    BINS,
    CALIBRATION_BINS,
    WORST_LOG_LOSS,
    PredictionSums,
    metrics_of,
    prediction_sums,
)
from fedseal.learning.tensors import NamedTensors, Shapes
from fedseal.methods.contract import (
    NOTHING,
    TRAINING_STAGE,
    CohortSum,
    Contribution,
    DisclosureStatement,
    Method,
    NodeContext,
    Plan,
    Quantity,
    predicting_model,
)
from fedseal.methods.fedavg import FedAvg
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.vocabulary import Disclosure

RESOLUTION = 2.0**-20

STATEMENT = DisclosureStatement(
    level=Disclosure.SUM,
    paragraph=(
        "Every node predicts its own held-out rows and counts, separately for rows with and without the "
        "outcome (where there are several classes: for rows predicted rightly and wrongly), how many predictions "
        f"fall into each of {BINS} equal intervals, and adds up predictions and errors. The coordinator learns "
        "these counts and sums over all nodes of the cohort together, and from them the figures of the model. "
        "No node's predictions, counts or figures are seen by anyone."
    ),
    quantities=(
        Quantity(
            name="positives",
            party="coordinator",
            description="held-out rows with the outcome (of several classes: predicted rightly), by prediction",
        ),
        Quantity(
            name="negatives",
            party="coordinator",
            description="held-out rows without it (predicted wrongly), by prediction",
        ),
        Quantity(name="confidence", party="coordinator", description="sums of predictions, by interval"),
        Quantity(name="log_loss", party="coordinator", description="summed logarithmic loss of the cohort"),
        Quantity(name="squared_error", party="coordinator", description="summed squared error of the cohort"),
    ),
)


class EvaluationSettings(BaseModel):
    """There is nothing to set: bins are fixed, so that figures of different jobs compare."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One round; the state is the sums.

    Attributes:
        settings: Empty.
        trainer: The method of the training stage; it knows how a node joins the model with its local state.
    """

    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    trainer: Method = field(default_factory=FedAvg)

    name: ClassVar[str] = "evaluation"
    title: ClassVar[str] = "Figures of the model on held-out rows"
    reference: ClassVar[str] = "Class-wise histograms of predictions; see fedseal.learning.metrics"
    statement: ClassVar[DisclosureStatement] = STATEMENT
    settings_model: ClassVar[type[BaseModel]] = EvaluationSettings

    def initial_state(self, plan: Plan) -> NamedTensors:
        """No patients yet."""
        return {name: np.zeros(shape) for name, shape in self.export_shapes(plan).items()}

    def broadcast_shapes(self, plan: Plan) -> Shapes:  # noqa: ARG002 - the model is already published
        """Nothing beside what the training stage published."""
        return {}

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:  # noqa: ARG002 - as above
        """Nothing beside what the training stage published."""
        return NOTHING

    def vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """Counts in steps of 1, sums in fine steps, all bounded by the maximum of rows."""
        rows = float(plan.maximum_rows)
        return (
            VectorSpec(name="positives", length=BINS, bound=rows, resolution=1.0, signed=False),
            VectorSpec(name="negatives", length=BINS, bound=rows, resolution=1.0, signed=False),
            VectorSpec(name="confidence", length=CALIBRATION_BINS, bound=rows, resolution=RESOLUTION, signed=False),
            VectorSpec(name="log_loss", length=1, bound=rows * WORST_LOG_LOSS, resolution=RESOLUTION),
            # Of several classes a row adds (1 - p)^2 and the squares of the others, at most 2.
            VectorSpec(name="squared_error", length=1, bound=rows * min(plan.classes - 1, 2), resolution=RESOLUTION),
        )

    def contribute(self, context: NodeContext) -> Contribution:
        """Predict this node's held-out rows and sum up."""
        plan = context.plan
        examples = plan.examples(context.data.held_out)
        model = predicting_model(self.trainer, context, plan.published[TRAINING_STAGE], examples.inputs)
        sums = prediction_sums(plan.require_learner().predict(model, examples.inputs), examples.labels)
        return Contribution(
            values={
                "positives": sums.positives,
                "negatives": sums.negatives,
                "confidence": sums.confidence,
                "log_loss": np.array([sums.log_loss]),
                "squared_error": np.array([sums.squared_error]),
            },
        )

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:  # noqa: ARG002
        """The sums themselves.

        Raises:
            PeerFault: A count is negative.
        """
        counts = np.concatenate([total.values["positives"], total.values["negatives"]])
        if (counts < 0).any():
            raise PeerFault("The summed evaluation is impossible: a number of patients is negative.")
        return dict(total.values)

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:
        """The figures; those that are undefined are left out."""
        figures = metrics_of(sums_of(state), classes=plan.classes).as_dict()
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def export_shapes(self, plan: Plan) -> Shapes:
        """The sums."""
        return {spec.name: (spec.length,) for spec in self.vectors(plan)}

    def export(self, plan: Plan, state: NamedTensors) -> NamedTensors:  # noqa: ARG002 - the state is the result
        """The sums."""
        return state

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:  # noqa: ARG002
        """There is no model."""
        return exported


def sums_of(tensors: NamedTensors) -> PredictionSums:
    """The sums in their typed form."""
    return PredictionSums(
        positives=tensors["positives"],
        negatives=tensors["negatives"],
        confidence=tensors["confidence"],
        log_loss=float(tensors["log_loss"][0]),
        squared_error=float(tensors["squared_error"][0]),
    )
