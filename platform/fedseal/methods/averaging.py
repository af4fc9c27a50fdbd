"""What methods that average local updates share, so that each of them is a page about its own idea.

With W the job's public maximum of rows, node k sends clip(Delta_k, C) * n_k / W and n_k, where Delta_k is what local
training changed and n_k its number of training rows; the coordinator adds (sum of the first) * W / (sum of n_k),
which is the average of the updates weighted by rows. Dividing by W keeps each coordinate inside the public bound C.

Rules this module keeps:
- Weight, mean training loss and number of clipped coordinates are vectors of the same sum.
- The average is over whoever is in the sum: a node that dropped out counts neither above nor below the line.
- Clipping is per coordinate and reported, never silent.

A method may give every node the same weight (`by_rows` false): then the weight is 1 for a node that trained, and
nothing about rows is summed. A method overrides `correction` (what bends local training), `train` (what else happens
at the node), `step` (what the coordinator makes of the mean update), `shared_shapes` (what travels at all), or
`update_vectors`, `message` and `mean_change` together (how an update travels).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fedseal.errors import PeerFault
from fedseal.learning.learner import FitRequest, FitResult, GradientCorrection
from fedseal.learning.tensors import NamedTensors, Shapes, flatten, group_of, grouped, size_of, unflatten
from fedseal.methods.contract import CohortSum, Contribution, DisclosureStatement, NodeContext, Plan, Quantity
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.vocabulary import Disclosure

MODEL = "model"
REPORT = "report"  # figures of the last round, kept in the state beside the model
WORST_LOSS = 30.0  # a mean training loss above is reported as this; bounds the summed loss
LOSS_RESOLUTION = 2.0**-20

WEIGHTED = (
    "But if one node alone leaves or joins between two rounds, its number of rows follows by subtraction from the "
    "cohort's numbers, and its loss roughly so."
)

UPDATE = Quantity(name="update", party="coordinator", description="row-weighted sum of the model changes of the cohort")
FIGURES = (
    Quantity(name="weight", party="coordinator", description="training rows of the whole cohort"),
    Quantity(name="loss", party="coordinator", description="row-weighted sum of the mean training losses"),
    Quantity(name="clipped", party="coordinator", description="how many numbers were clipped in the whole cohort"),
)
PUBLISHED_MODEL = Quantity(name="model", party="every node", description="the averaged model after each round")


def unweighted_statement(what_differs: str, *quantities: Quantity) -> DisclosureStatement:
    """`averaging_statement` of a method that gives every node the same weight."""
    paragraph = (
        "Every node trains the current model on its own rows and contributes how the model changed. The coordinator "
        "learns the sum of the changes over all nodes of the cohort together, how many of them trained, their summed "
        "training loss and how many numbers were clipped, and sends the new model to every node. "
        f"{what_differs + ' ' if what_differs else ''}No node's change or loss is sent, and nothing about its number "
        "of rows. But if one node alone leaves or joins between two rounds, its loss follows roughly by subtraction "
        "from the cohort's."
    )
    weight, loss, clipped = FIGURES
    return DisclosureStatement(
        level=Disclosure.SUM,
        paragraph=paragraph,
        quantities=(
            replace(UPDATE, description="sum of the model changes of the cohort"),
            replace(weight, description="how many nodes of the cohort trained"),
            replace(loss, description="sum of the mean training losses"),
            clipped,
            *quantities,
            PUBLISHED_MODEL,
        ),
    )


def averaging_statement(what_differs: str, *quantities: Quantity, update: Quantity = UPDATE) -> DisclosureStatement:
    """The statement of a method that averages weighted updates.

    Args:
        what_differs: Sentences between what nodes do and what nobody sees.
        quantities: Seen beside update, weight, loss, clipped and the model.
        update: As what the summed change travels.
    """
    paragraph = (
        "Every node trains the current model on its own rows and contributes how the model changed, weighted by its "
        "number of rows. The coordinator learns the weighted sum of the changes over all nodes of the cohort "
        "together, the cohort's number of training rows, its summed training loss and how many numbers were "
        f"clipped, and sends the new model to every node. {what_differs + ' ' if what_differs else ''}No node's "
        f"change, number of rows or loss is sent. {WEIGHTED}"
    )
    return DisclosureStatement(
        level=Disclosure.SUM,
        paragraph=paragraph,
        quantities=(update, *FIGURES, *quantities, PUBLISHED_MODEL),
    )


class AveragingSettings(BaseModel):
    """What a job may set under ``method.settings`` of every method that averages updates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    local_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over a node's rows a round (E)")] = 1
    clip: Annotated[float, Field(gt=0, le=1e6, description="largest change of one parameter a round (C)")] = 1.0
    resolution: Annotated[
        float, Field(ge=2**-40, le=1, description="smallest step in which summed values are encoded")
    ] = 2**-20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalUpdate:
    """What local training gave.

    Attributes:
        change: Of each shared tensor, unclipped.
        loss: Mean training loss.
        local_state: Replaces the node's own state once the round completed with it in the sum; None keeps it.
        extra: Further vectors of the contribution, by name.
    """

    change: NamedTensors
    loss: float
    local_state: NamedTensors | None = None
    extra: Mapping[str, NDArray[np.float64]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A weighted update as it travels.

    Attributes:
        values: One vector per `Averaging.update_vectors`.
        clipped: How many of their numbers were clipped.
        local_state: As in `LocalUpdate`.
    """

    values: Mapping[str, NDArray[np.float64]]
    clipped: int
    local_state: NamedTensors | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanUpdate:
    """What the coordinator knows after a round.

    Attributes:
        change: Row-weighted mean of the clipped updates, by shared tensor, float64.
        total: The whole sum, for a method's further vectors.
        weight: Training rows of the cohort, or nodes that trained; more than 0.
    """

    change: Mapping[str, NDArray[np.float64]]
    total: CohortSum
    weight: float


class Averaging:
    """Base of the methods that average updates; state: ``model/...`` in float64, and ``report``."""

    settings: AveragingSettings
    name: ClassVar[str]
    by_rows: ClassVar[bool] = True

    def heaviest(self, plan: Plan) -> float:
        """Public bound on a node's weight."""
        return float(plan.maximum_rows) if self.by_rows else 1.0

    def shared_shapes(self, plan: Plan) -> Shapes:
        """The tensors that travel and are averaged; all of the learner's unless a method keeps some at home."""
        return plan.require_learner().parameter_shapes(plan.input_width)

    def correction(self, context: NodeContext) -> GradientCorrection | None:  # noqa: ARG002 - for overriding
        """Node: what changes the gradients of each local step; nothing here."""
        return None

    def train(self, context: NodeContext) -> LocalUpdate:
        """Node: train E epochs from the broadcast; there is at least one row."""
        fitted = self.fit(context, context.broadcast, correction=self.correction(context))
        return LocalUpdate(change=difference(fitted.parameters, context.broadcast), loss=fitted.loss)

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:  # noqa: ARG002 - as above
        """Coordinator: groups of the state that change; here the model moves by the mean update."""
        return grouped(MODEL, moved(group_of(MODEL, state), mean.change))

    def more_state(self, plan: Plan) -> NamedTensors:  # noqa: ARG002 - for overriding
        """Coordinator: what the state starts with beside model and report."""
        return {}

    def more_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:  # noqa: ARG002 - for overriding
        """Every party: vectors summed beside update, weight, loss and clipped."""
        return ()

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """Every party: as what vectors the weighted update travels; here as itself."""
        clip, resolution = self.settings.clip, min(self.settings.resolution, self.settings.clip)
        return (VectorSpec(name="update", length=size_of(self.shared_shapes(plan)), bound=clip, resolution=resolution),)

    def message(self, context: NodeContext, local: LocalUpdate, share: float) -> Message:  # noqa: ARG002 - as above
        """Node: the values of `update_vectors`; ``share`` is the node's weight over the heaviest one, at most 1."""
        update, clip = flatten(local.change), self.settings.clip
        return Message(
            values={"update": np.clip(update, -clip, clip) * share},
            clipped=int(np.sum(np.abs(update) > clip)),
            local_state=local.local_state,
        )

    def mean_change(self, plan: Plan, total: CohortSum, to_mean: float) -> Mapping[str, NDArray[np.float64]]:
        """Coordinator: the mean update; ``to_mean`` makes the sum over shares a weighted mean."""
        return unflatten(total.values["update"] * to_mean, self.shared_shapes(plan))

    def fit(
        self, context: NodeContext, start: NamedTensors, *, correction: GradientCorrection | None, epochs: int = 0
    ) -> FitResult:
        """Node: local training of ``epochs`` (0: the settings' number) from ``start``, all the learner's tensors."""
        return context.plan.require_learner().fit(
            FitRequest(
                parameters=start,
                examples=context.plan.examples(context.data.training),
                epochs=epochs or self.settings.local_epochs,
                seed=context.seed,
                correct_gradients=correction,
            )
        )

    def initial_state(self, plan: Plan) -> NamedTensors:
        """The learner's initial parameters for the job's seed."""
        parameters = plan.require_learner().initial_parameters(plan.input_width, plan.job.seed)
        start = {name: np.asarray(value, dtype=np.float64) for name, value in parameters.items()}
        return {**grouped(MODEL, start), **self.more_state(plan), REPORT: np.zeros(3)}

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """The shared tensors."""
        return self.shared_shapes(plan)

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """The current model, in float32."""
        model = group_of(MODEL, state)
        return {name: model[name].astype(np.float32) for name in self.shared_shapes(plan)}

    def vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """The weighted update, and three numbers."""
        update = self.update_vectors(plan)
        size = sum(spec.length for spec in update)
        return (
            *update,
            VectorSpec(name="weight", length=1, bound=self.heaviest(plan), resolution=1.0),
            VectorSpec(name="loss", length=1, bound=WORST_LOSS, resolution=LOSS_RESOLUTION),
            VectorSpec(name="clipped", length=1, bound=float(size), resolution=1.0),
            *self.more_vectors(plan),
        )

    def contribute(self, context: NodeContext) -> Contribution:
        """Train and weight by rows; a node without training rows contributes zeros."""
        plan, rows = context.plan, context.data.training.row_count
        if rows == 0:
            return Contribution(values={spec.name: np.zeros(spec.length) for spec in self.vectors(plan)})
        local = self.train(context)
        weight = float(rows) if self.by_rows else 1.0
        share = weight / self.heaviest(plan)
        message = self.message(context, local, share)
        values = {
            **message.values,
            "weight": np.array([weight]),
            "loss": np.array([min(local.loss, WORST_LOSS) * share]),
            "clipped": np.array([float(message.clipped)]),
        }
        return Contribution(values={**values, **(local.extra or {})}, local_state=message.local_state)

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:
        """Make the step that the mean update calls for.

        Raises:
            PeerFault: The summed weight is not one that this cohort can have.
        """
        weight, heaviest = float(total.values["weight"][0]), self.heaviest(plan)
        if not 0 <= weight <= total.cohort * heaviest:
            raise PeerFault(f"The summed weight is {weight:g}; {total.cohort} nodes cannot have that much.")
        if weight == 0:
            return state
        to_mean = heaviest / weight
        change = self.mean_change(plan, total, to_mean)
        changed = self.step(plan, state, MeanUpdate(change=change, total=total, weight=weight))
        size = sum(spec.length for spec in self.update_vectors(plan))
        clipped_share = float(total.values["clipped"][0]) / (total.cohort * size)
        report = np.array([float(total.values["loss"][0]) * to_mean, weight, clipped_share])
        return {**state, **changed, REPORT: report}

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:  # noqa: ARG002 - all in the state
        """Mean training loss, rows (or nodes that trained) and share of clipped coordinates of the last round."""
        loss, weight, clipped_share = (float(value) for value in state[REPORT])
        return {"loss": loss, "rows" if self.by_rows else "nodes": weight, "clipped_share": clipped_share}

    def export_shapes(self, plan: Plan) -> Shapes:
        """The whole model; tensors that stay at home are in it as they started."""
        return plan.require_learner().parameter_shapes(plan.input_width)

    def export(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """The model, in float32."""
        model = group_of(MODEL, state)
        return {name: model[name].astype(np.float32) for name in self.export_shapes(plan)}

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:  # noqa: ARG002
        """The one model of all."""
        return exported


def difference(after: NamedTensors, before: NamedTensors) -> dict[str, NDArray[np.float64]]:
    """After - before in float64, for the tensors of ``before``."""
    return {name: after[name].astype(np.float64) - before[name].astype(np.float64) for name in before}


def moved(model: NamedTensors, change: NamedTensors, *, by: float = 1.0) -> dict[str, NDArray[np.float64]]:
    """Model + by * change, for the tensors of ``change``."""
    return {name: model[name] + by * change[name] for name in change}
