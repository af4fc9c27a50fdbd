"""``fedsep``: what is communicated is apart from what is learnt, in the style of Li and Huang 2023 (NeurIPS).

All parties share a variable x; node m learns a model y_m = Dec_m(x), trains through that decoder (a gradient in y is
encoded into one in x), and sends how x changed. The coordinator averages in the space of x, whatever models nodes have:

    node    y <- Dec_m(x);  E epochs: x <- x - eta Enc_m(grad f_m(y)), y <- Dec_m(x);  sends n_m (x_m - x)
    coordinator    x <- x + eta_g sum n_m (x_m - x) / sum n_m

    compression   x has p numbers, y d: y = a + S' (x - S a) / (counts + beta), S hashed (`fedseal.methods.separation`)
    slices        weak nodes train a narrower network, the leading channels of the common one
    sparse        weak nodes train the largest numbers of each tensor of the common model

Dec is linear, or fixed on its support, within a round; so stepping y by Dec(Enc(gradient)) in the learner is
stepping x, momentum included, and any learner serves.

Rules this module keeps:
- Messages of compression are S (y_m - y) / counts: the step of x in units of a step of y, so `clip` means the same.
- Who is weak is public and in the job. What only the others hold is summed over them alone, so at least
  `SMALLEST_PROTECTED_COHORT` of them must be in every possible cohort, or the job is refused. So must as many weak
  nodes, if their rows are summed.
- Running statistics are not moved by gradients and are refused; so is any normalisation where networks are narrowed.

Named "-style" because of the paper only title and abstract could be read: docs/methods/fedsep.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from fedseal.errors import PeerFault
from fedseal.learning.learner import (
    FitRequest,
    FitResult,
    GradientCorrection,
    Learner,
    NarrowableLearner,
    ParameterRole,
)
from fedseal.learning.tensors import NamedTensors, Shapes, flatten, group_of, grouped, size_of, unflatten
from fedseal.methods.averaging import (
    MODEL,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
    Message,
    averaging_statement,
    difference,
    moved,
)
from fedseal.methods.contract import CohortSum, DisclosureStatement, NodeContext, Plan, Quantity
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.separation import (
    Estimator,
    Floats,
    Hashed,
    corner,
    estimator,
    hashed,
    padded,
    support,
    thresholded,
)
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.jobs import SMALLEST_PROTECTED_COHORT
from fedseal_governance.vocabulary import Name, Protection

COMMON, CORNER, KEPT, WEAK = "common", "corner", "kept", "weak_weight"


class FedSepSettings(AveragingSettings):
    """Averaging, the application, and the decoder."""

    application: Annotated[
        Literal["compression", "slices", "sparse"],
        Field(description="fewer numbers for all; or narrower, or sparser models for weak nodes"),
    ] = "compression"
    dimension: Annotated[int, Field(ge=1, le=2**31, description="compression: numbers sent (p); at most d")] = 1024
    anchor: Annotated[
        Literal["moving", "fixed"],
        Field(description="compression: a new S each round; or one, and p numbers travel down as well as up"),
    ] = "moving"
    ridge: Annotated[float, Field(ge=0, le=1000, description="compression: pull to the anchor (beta)")] = 0.0
    estimator: Annotated[Estimator, Field(description="compression: how gradients pass the decoder")] = "closed-form"
    estimator_steps: Annotated[int, Field(ge=1, le=1000, description="of the estimators that iterate (Q)")] = 10
    through_decoder: Annotated[
        bool, Field(description="compression: train through the decoder; false: train all, compress afterwards")
    ] = True
    weak_nodes: Annotated[
        tuple[Name, ...], Field(max_length=100, description="nodes that train a smaller model; public")
    ] = ()
    weak_share: Annotated[
        float, Field(gt=0, lt=1, description="of the channels (slices) or numbers (sparse) that weak nodes train")
    ] = 0.5
    shrink: Annotated[bool, Field(description="sparse: soft threshold; false: kept numbers keep their value")] = False
    divide_by: Annotated[
        Literal["all", "holders"],
        Field(description="a change is the mean over all, or over those that hold the number"),
    ] = "all"
    server_rate: Annotated[float, Field(gt=0, le=100, description="step of the coordinator (eta_g)")] = 1.0

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "FedSepSettings":
        if (self.application == "compression") == bool(self.weak_nodes):
            raise ValueError("name weak_nodes for slices and sparse, and none for compression")
        if self.application == "compression" and self.divide_by == "holders":
            raise ValueError("with compression every node holds every number; leave divide_by out")
        if self.estimator != "closed-form" and not self.ridge:
            raise ValueError("estimators other than closed-form need a ridge above 0; set ridge")
        return self


@dataclass(frozen=True, slots=True)
class FedSep(Averaging):
    """See the module docstring; with a fixed anchor the state holds x, shape (p,), as ``common``."""

    settings: FedSepSettings = field(default_factory=FedSepSettings)

    name: ClassVar[str] = "fedsep"
    title: ClassVar[str] = "Communication apart from learning (FedSep-style)"
    reference: ClassVar[str] = "after the abstract of Li and Huang 2023, Resolving the Tug-of-War (NeurIPS)"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "A change travels in the space that all share: as a few numbers that every party can decode, or as the part of "
        "the common model that a weak node holds; that makes it small, not private: it is the secure sum that hides a "
        "node's change. Which nodes are weak stands in the job; if changes are divided by those who hold a number, the "
        "coordinator also learns how many rows the weak nodes have together.",
        Quantity(name=WEAK, party="coordinator", description="training rows of the cohort's weak nodes together"),
        update=Quantity(
            name="update", party="coordinator", description="row-weighted sum of the changes in the common space"
        ),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Averages in a space of its own, from which every node decodes the model that it trains.",
        meets={
            Need.SCARCE_BANDWIDTH: "A tenth of the numbers or fewer go up, trained through what decodes them, and with "
            "a fixed anchor as few come down.",
            Need.DIFFERENT_MODELS: "Weak nodes train a narrower or a sparser model of the same kind; every cohort "
            "needs three nodes that train all of it.",
        },
        cost="Less accurate than averaging all numbers, more so the fewer there are; everyone with the small model is "
        "hard to beat.",
    )
    settings_model: ClassVar[type[BaseModel]] = FedSepSettings

    @property
    def compresses(self) -> bool:
        """Whether x is smaller than the model."""
        return self.settings.application == "compression"

    def dimension(self, plan: Plan) -> int:
        """P: as set, and at most the model's size."""
        return min(self.settings.dimension, size_of(self.shared_shapes(plan)))

    def measurement(self, plan: Plan) -> Hashed:
        """Every party: S of this round."""
        settings, dimension = self.settings, self.dimension(plan)
        key = (plan.job.seed, plan.round if settings.anchor == "moving" else "fixed")
        return hashed(dimension, size_of(self.shared_shapes(plan)), settings.ridge, *key)

    def initial_state(self, plan: Plan) -> NamedTensors:
        """`Averaging`'s, and x."""
        self._check(plan)
        return Averaging.initial_state(self, plan)

    def more_state(self, plan: Plan) -> NamedTensors:
        """X, as a difference to the start, if it is what is broadcast."""
        return {COMMON: np.zeros(self.dimension(plan))} if self._sends_common() else {}

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """X, or the model."""
        return {COMMON: (self.dimension(plan),)} if self._sends_common() else self.shared_shapes(plan)

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """X, or the model, in float32."""
        if self._sends_common():
            return {COMMON: state[COMMON].astype(np.float32)}
        return Averaging.broadcast(self, plan, state)

    def start(self, plan: Plan, broadcast: NamedTensors) -> NamedTensors:
        """Every party: the common model that a broadcast stands for."""
        if not self._sends_common():
            return broadcast
        initial = plan.require_learner().initial_parameters(plan.input_width, plan.job.seed)
        change = self.measurement(plan).spread(broadcast[COMMON].astype(np.float64))
        shapes = self.shared_shapes(plan)
        return {name: value.astype(np.float32) for name, value in unflatten(flatten(initial) + change, shapes).items()}

    def train(self, context: NodeContext) -> LocalUpdate:
        """Decode, train through the decoder, and keep what the node needs to decode later."""
        self._check(context.plan)
        if self.compresses:
            start = self.start(context.plan, context.broadcast)
            correct = self._through(context.plan) if self.settings.through_decoder else None
            fitted = self.fit(context, start, correction=correct)
            return LocalUpdate(change=difference(fitted.parameters, start), loss=fitted.loss)
        if context.node not in self.settings.weak_nodes:
            local = Averaging.train(self, context)
            extra, kept = {WEAK: np.zeros(1)}, None
        else:
            local, kept = self._train_weak(context)
            extra = {WEAK: np.array([float(context.data.training.row_count)])}
        counted = extra if self.settings.divide_by == "holders" else None
        return LocalUpdate(change=local.change, loss=local.loss, local_state=kept, extra=counted)

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """P numbers, or the model's."""
        (whole,) = Averaging.update_vectors(self, plan)
        if not self.compresses:
            return (whole,)
        return (VectorSpec(name="update", length=self.dimension(plan), bound=whole.bound, resolution=whole.resolution),)

    def more_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """Rows of weak nodes, if changes are divided by holders."""
        if self.settings.divide_by == "all":
            return ()
        return (VectorSpec(name=WEAK, length=1, bound=float(plan.maximum_rows), resolution=1.0),)

    def message(self, context: NodeContext, local: LocalUpdate, share: float) -> Message:
        """How x changed, in units of the model."""
        if not self.compresses:
            return Averaging.message(self, context, local, share)
        measurement, clip = self.measurement(context.plan), self.settings.clip
        step = measurement.measure(flatten(local.change)) / measurement.counts
        clipped = int(np.sum(np.abs(step) > clip))
        return Message(values={"update": np.clip(step, -clip, clip) * share}, clipped=clipped)

    def mean_change(self, plan: Plan, total: CohortSum, to_mean: float) -> Mapping[str, Floats]:
        """How the decoded model moves."""
        if self.compresses:
            return unflatten(self.measurement(plan).spread(total.values["update"] * to_mean), self.shared_shapes(plan))
        return Averaging.mean_change(self, plan, total, to_mean)

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """The model, and with a fixed anchor x, move by the mean times eta_g.

        Raises:
            PeerFault: Weak nodes have more rows than all.
        """
        rate = self.settings.server_rate
        if not self._sends_common():
            change = mean.change if self.settings.divide_by == "all" else self._per_holder(plan, state, mean)
            return grouped(MODEL, moved(group_of(MODEL, state), change, by=rate))
        to_mean = self.heaviest(plan) / mean.weight
        common = state[COMMON] + rate * mean.total.values["update"] * to_mean
        model = self.start(plan, {COMMON: common.astype(np.float32)})
        decoded = {name: value.astype(np.float64) for name, value in model.items()}
        return {COMMON: common, **grouped(MODEL, decoded)}

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:
        """What the node decodes from the common model: a narrower one is embedded in zeros, and predicts the same."""
        sides = group_of(CORNER, local_state)
        if sides:
            shapes = {name: tuple(int(side) for side in value) for name, value in sides.items()}
            return padded(corner(exported, shapes), {name: value.shape for name, value in exported.items()})
        if KEPT in local_state:
            share, shrink = (float(value) for value in local_state[KEPT])
            return {name: thresholded(value, share, shrink=bool(shrink)) for name, value in exported.items()}
        return exported

    def narrow_learner(self, plan: Plan) -> Learner:
        """What weak nodes train with slices.

        Raises:
            MethodUnsuitable: The learner cannot be narrowed, or normalises.
        """
        learner = plan.require_learner()
        roles = learner.roles(plan.input_width).values()
        if not isinstance(learner, NarrowableLearner) or ParameterRole.NORMALISATION in roles:
            raise MethodUnsuitable(
                f'Method "fedsep" with slices needs a learner that can be narrowed and does not normalise, and '
                f'"{learner.name}" with these settings is none; choose tabular-mlp, or small-cnn without normalisation.'
            )
        return learner.narrowed(self.settings.weak_share)

    def _train_weak(self, context: NodeContext) -> tuple[LocalUpdate, NamedTensors]:
        plan, settings, start = context.plan, self.settings, context.broadcast
        if settings.application == "slices":
            learner = self.narrow_learner(plan)
            shapes = learner.parameter_shapes(plan.input_width)
            own = corner(start, shapes)
            after = self._fit_with(learner, context, own, None)
            change = padded(difference(after.parameters, own), self.shared_shapes(plan))
            sides = {name: np.array(shape, dtype=np.float64) for name, shape in shapes.items()}
            return LocalUpdate(change=change, loss=after.loss), grouped(CORNER, sides)
        share = settings.weak_share
        kept = {name: support(value, share) for name, value in start.items()}
        own = {name: thresholded(value, share, shrink=settings.shrink) for name, value in start.items()}
        after = self.fit(context, own, correction=within(kept))
        state = {KEPT: np.array([share, float(settings.shrink)])}
        return LocalUpdate(change=difference(after.parameters, own), loss=after.loss), state

    def _fit_with(
        self, learner: Learner, context: NodeContext, start: NamedTensors, correct: GradientCorrection | None
    ) -> FitResult:
        return learner.fit(
            FitRequest(
                parameters=start,
                examples=context.plan.examples(context.data.training),
                epochs=self.settings.local_epochs,
                seed=context.seed,
                correct_gradients=correct,
            )
        )

    def _through(self, plan: Plan) -> GradientCorrection:
        """Replaces a gradient of the model by the step that x makes of it, decoded."""
        measurement, shapes = self.measurement(plan), self.shared_shapes(plan)
        encode = estimator(self.settings.estimator, measurement, self.settings.estimator_steps)

        def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:  # noqa: ARG001
            stepped = unflatten(measurement.model_step(encode(flatten(gradients))), shapes)
            for name, gradient in gradients.items():
                gradient[...] = stepped[name]

        return correct

    def _per_holder(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> Mapping[str, Floats]:
        """The mean change, where weak nodes hold nothing over the others alone."""
        weak = float(mean.total.values[WEAK][0])
        if not 0 <= weak <= mean.weight:
            raise PeerFault(f"Weak nodes have {weak:g} rows of {mean.weight:g} in all, which is impossible.")
        if weak == mean.weight:
            return mean.change  # only weak nodes trained: nothing else has moved
        factor, held = mean.weight / (mean.weight - weak), self._held_by_all(plan, state)
        return {name: np.where(held[name] > 0, change, change * factor) for name, change in mean.change.items()}

    def _held_by_all(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """1 for each number that weak nodes hold, too; as they see it, from the broadcast."""
        if self.settings.application == "sparse":
            model = Averaging.broadcast(self, plan, state)
            return {name: support(value, self.settings.weak_share) for name, value in model.items()}
        inner = self.narrow_learner(plan).parameter_shapes(plan.input_width)
        return padded({name: np.ones(shape) for name, shape in inner.items()}, self.shared_shapes(plan))

    def _sends_common(self) -> bool:
        return self.compresses and self.settings.anchor == "fixed"

    def _check(self, plan: Plan) -> None:
        """Refuse what cannot work, or would show a few nodes' changes.

        Raises:
            MethodUnsuitable: Running statistics, weak nodes that are not the job's, or too few others in a cohort.
        """
        roles = plan.require_learner().roles(plan.input_width)
        if ParameterRole.STATISTICS in roles.values():
            raise MethodUnsuitable(
                'Method "fedsep" trains through gradients, which do not move the running statistics of batch '
                "normalisation; use `normalisation: group` or none."
            )
        if self.compresses:
            return
        if self.settings.application == "slices":
            self.narrow_learner(plan)
        weak, job = set(self.settings.weak_nodes), plan.job
        unknown = sorted(weak - set(job.nodes))
        if unknown:
            raise MethodUnsuitable(f"weak_nodes names {', '.join(unknown)}, which the job's nodes do not; correct it.")
        if job.protection is Protection.NONE:
            return
        least = job.minimum_cohort - len(weak)
        if least < SMALLEST_PROTECTED_COHORT:
            raise MethodUnsuitable(
                f"A cohort of {job.minimum_cohort} could hold {max(least, 0)} of the nodes that train the whole model, "
                f"and what only they hold would show their changes; at least {SMALLEST_PROTECTED_COHORT} are needed: "
                f"raise minimum_cohort to {len(weak) + SMALLEST_PROTECTED_COHORT}, or name fewer weak_nodes."
            )
        fewest = job.minimum_cohort - (len(job.nodes) - len(weak))
        if self.settings.divide_by == "holders" and fewest < SMALLEST_PROTECTED_COHORT:
            raise MethodUnsuitable(
                f"divide_by: holders sums the rows of weak nodes, and a cohort of {job.minimum_cohort} could hold "
                f"{max(fewest, 0)} of them, which would show row counts; at least {SMALLEST_PROTECTED_COHORT} are "
                "needed: write divide_by: all, or name more weak_nodes."
            )


def within(kept: NamedTensors) -> GradientCorrection:
    """Multiplies gradients by what is kept, so that the rest stays zero."""

    def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:  # noqa: ARG001
        for name, gradient in gradients.items():
            np.multiply(gradient, kept[name], out=gradient)

    return correct
