"""``fedicon``: contrastive representation, and adaptation of a copy to shifted rows, Tan et al. 2023 (NeurIPS).

Encoder e, projection head p, last layer c; z(x) = p(e(x)) of length 1. Rounds 0..R-1, the last H of them for the head:

    contrast   E epochs of the supervised contrastive loss over two views of each row; e and p move and are averaged
    head       E epochs of cross-entropy on one view, e and p frozen; c moves and is averaged
    at a node  c as its own rows left it in the last round (its personal head); it is never sent
    to predict rows of another kind, at a node, without labels: a copy of its model, a few steps of the
               unsupervised form of the same loss on these rows (``ucl``), then the predictions

Rules this module keeps:
- Embeddings never leave: the others that a row is compared with are those of the node's own batch.
- Only what can have moved travels: all but the last layer in the contrast rounds, the last layer in head rounds, and
  running statistics in both (frozen weights do not stop them), unless they are kept local.
- Adaptation is a function of the node's model and the rows to predict. It sends nothing and changes neither the common
  model nor what the node keeps.
- ``objective: cross-entropy`` is the control: plain averaging on the same views, with the same adaptation.

The paper's body could not be read; what comes from where, and what is ours: docs/methods/fedicon.md.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning.learner import ParameterRole
from fedseal.learning.representation import AdaptRequest, Objective, RepresentationLearner, ViewRecipe, ViewsRequest
from fedseal.learning.tensors import NamedTensors, Shapes, group_of, grouped
from fedseal.methods.averaging import (
    MODEL,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    averaging_statement,
    difference,
)
from fedseal.methods.contract import DisclosureStatement, NodeContext, Plan
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.suitability import Need, Suitability
from fedseal_governance.datasets import Column, ColumnType

OWN, PROJECTION = "own", "projection"


class FedIconSettings(AveragingSettings):
    """Averaging, the two phases, the views, and adaptation."""

    objective: Annotated[
        Objective, Field(description="contrastive; or cross-entropy, plain averaging on the same views")
    ] = "contrastive"
    head_rounds: Annotated[
        int, Field(ge=1, le=1000, description="last rounds, for the last layer alone; at most a third of all")
    ] = 5
    projection: Annotated[int, Field(ge=0, le=4096, description="numbers compared; 0: the features themselves")] = 128
    temperature: Annotated[float, Field(gt=0, le=10, description="of the contrastive loss (tau)")] = 0.1
    contrast_rate: Annotated[float, Field(gt=0, le=10, description="step size of the contrastive rounds")] = 0.05
    personal_head: Annotated[bool, Field(description="a node predicts with its own last layer, not the common one")] = (
        True
    )
    local_statistics: Annotated[
        bool, Field(description="running statistics of normalisation stay at each node, as in FedBN")
    ] = False
    shift: Annotated[float, Field(ge=0, le=1, description="views of images: largest move, share of a side")] = 0.15
    zoom: Annotated[float, Field(ge=0, lt=1, description="views of images: largest change of size")] = 0.1
    flip: Annotated[bool, Field(description="views of images: mirror half of them; false where sides matter")] = True
    contrast: Annotated[
        float, Field(ge=0, le=1, description="views of images: largest change of contrast and brightness")
    ] = 0.3
    noise: Annotated[float, Field(ge=0, le=10, description="views: deviation of the noise added")] = 0.05
    masked: Annotated[float, Field(ge=0, lt=1, description="views of table rows: share of numbers left out")] = 0.2
    adaptation: Annotated[
        Literal["none", "statistics", "ucl", "tent"],
        Field(description="to rows to be predicted: contrastive (ucl), by entropy (tent), running statistics alone"),
    ] = "ucl"
    adapt_epochs: Annotated[int, Field(ge=1, le=100, description="passes; stops when the loss no longer falls")] = 1
    adapt_steps: Annotated[int, Field(ge=1, le=10_000, description="optimiser steps, at most")] = 100
    adapt_rate: Annotated[float, Field(gt=0, le=10, description="step size of adaptation")] = 0.005
    adapt_batch: Annotated[int, Field(ge=32, le=65_536, description="rows a step of adaptation")] = 128
    adapt_rows: Annotated[int, Field(ge=2, le=65_536, description="fewer rows are predicted without adaptation")] = 32
    adapt_blend: Annotated[float, Field(ge=0, le=1, description="share of the adapted weights (rho)")] = 1.0


@dataclass(frozen=True, slots=True)
class FedIcon(Averaging):
    """See the module docstring; the state's model holds the projection head beside the learner's tensors."""

    settings: FedIconSettings = field(default_factory=FedIconSettings)

    name: ClassVar[str] = "fedicon"
    title: ClassVar[str] = "Contrastive representation and adaptation to shifted rows (FedICON)"
    reference: ClassVar[str] = "Tan et al. 2023, Taming Heterogeneity to Handle Test-Time Shift in FL (NeurIPS)"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "In most rounds everything but the last layer is trained and summed, in the last rounds the last layer alone. "
        "Each node keeps a last layer of its own, and fits a copy of its model to rows before it predicts them; "
        "neither is sent."
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Learns features that ignore how sites differ, and fits a copy of the model to rows of another kind, "
        "without labels, where they are predicted.",
        meets={
            Need.DIFFERENT_DATA: "Rows that look different from those of training are met by fitting a copy of the "
            "model to them, at the node.",
        },
        cost="Bytes as averaging or fewer; about twice the rounds and computing, and passes over what is predicted; "
        "most of the gain is had from fresh running statistics alone.",
    )
    settings_model: ClassVar[type[BaseModel]] = FedIconSettings

    def in_head_phase(self, plan: Plan) -> bool:
        """Whether only the last layer learns in this round."""
        if self.settings.objective == "cross-entropy":
            return False
        return plan.round >= plan.rounds - min(self.settings.head_rounds, max(1, plan.rounds // 3))

    def learner(self, plan: Plan) -> RepresentationLearner:
        """The job's learner.

        Raises:
            MethodUnsuitable: It has no encoder that could be trained apart from its last layer.
        """
        learner = plan.require_learner()
        if not isinstance(learner, RepresentationLearner):
            raise MethodUnsuitable(
                f'Method "{self.name}" trains an encoder apart from the last layer, which the learner '
                f'"{learner.name}" does not offer; choose tabular-mlp or small-cnn.'
            )
        return learner

    def all_shapes(self, plan: Plan) -> Shapes:
        """The learner's tensors and the projection head's."""
        learner, size = self.learner(plan), self.settings.projection
        shapes = learner.parameter_shapes(plan.input_width)
        if self.settings.objective == "cross-entropy" or not size:
            return shapes
        return {**shapes, **learner.projection_shapes(plan.input_width, size)}

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """All that is common."""
        kept = self._statistics(plan) if self.settings.local_statistics else frozenset()
        return {name: shape for name, shape in self.all_shapes(plan).items() if name not in kept}

    def shared_shapes(self, plan: Plan) -> Shapes:
        """What moves in this round, and is summed."""
        common = self.broadcast_shapes(plan)
        if self.settings.objective == "cross-entropy":
            return common
        head, statistics = self._head(plan), self._statistics(plan)
        if self.in_head_phase(plan):
            return {name: shape for name, shape in common.items() if name in head | statistics}
        return {name: shape for name, shape in common.items() if name not in head}

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """All that is common, in float32."""
        model = group_of(MODEL, state)
        return {name: model[name].astype(np.float32) for name in self.broadcast_shapes(plan)}

    def initial_state(self, plan: Plan) -> NamedTensors:
        """`Averaging`'s, with the projection head."""
        state = Averaging.initial_state(self, plan)
        size = self.settings.projection
        if self.settings.objective == "cross-entropy" or not size:
            return state
        start = self.learner(plan).initial_projection(plan.input_width, size, plan.job.seed)
        return {**state, **grouped(MODEL, {name: value.astype(np.float64) for name, value in start.items()})}

    def train(self, context: NodeContext) -> LocalUpdate:
        """One round of its phase."""
        plan, settings = context.plan, self.settings
        learner, start = self.learner(plan), {**self._own_statistics(context), **context.broadcast}
        only_head = self.in_head_phase(plan)
        as_classes = only_head or settings.objective == "cross-entropy"
        fitted = learner.fit_views(
            ViewsRequest(
                parameters=start,
                examples=plan.examples(context.data.training),
                epochs=settings.local_epochs,
                seed=context.seed,
                recipe=self.recipe(plan),
                objective="cross-entropy" if as_classes else "contrastive",
                moving=frozenset(self.shared_shapes(plan)) - self._statistics(plan),
                learning_rate=None if as_classes else settings.contrast_rate,
                temperature=settings.temperature,
            )
        )
        sent = {name: context.broadcast[name] for name in self.shared_shapes(plan)}
        kept = self._kept(plan, fitted.parameters) if only_head or settings.local_statistics else None
        return LocalUpdate(change=difference(fitted.parameters, sent), loss=fitted.loss, local_state=kept)

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:
        """The common model with what the node keeps for itself."""
        return {**exported, **group_of(OWN, local_state)}

    def adapted_model(self, context: NodeContext, model: NamedTensors, inputs: NDArray[np.float32]) -> NamedTensors:
        """Node: a copy of ``model`` fitted to rows that are to be predicted; see `AdaptingMethod`.

        With fewer rows than `FedIconSettings.adapt_rows` the model itself, since small batches spoil both statistics
        and comparisons.
        """
        settings = self.settings
        if settings.adaptation == "none" or len(inputs) < settings.adapt_rows:
            return model
        result = self.learner(context.plan).adapt(
            AdaptRequest(
                parameters={**model, **group_of(PROJECTION, context.local_state)},
                inputs=inputs,
                kind=settings.adaptation,
                epochs=settings.adapt_epochs,
                most_steps=settings.adapt_steps,
                batch_size=settings.adapt_batch,
                learning_rate=settings.adapt_rate,
                temperature=settings.temperature,
                recipe=self.recipe(context.plan),
                seed=context.seed,
            )
        )
        share = np.float32(settings.adapt_blend)
        return {name: model[name] + share * (value - model[name]) for name, value in result.parameters.items()}

    def recipe(self, plan: Plan) -> ViewRecipe:
        """How views of this job's rows are made.

        Raises:
            MethodUnsuitable: The job mixes an image with other columns.
        """
        settings = self.settings
        return ViewRecipe(
            image=_image(plan.features),
            shift=settings.shift,
            zoom=settings.zoom,
            flip=settings.flip,
            contrast=settings.contrast,
            noise=settings.noise,
            masked=settings.masked,
        )

    def _kept(self, plan: Plan, after: NamedTensors) -> NamedTensors:
        own = self._statistics(plan) if self.settings.local_statistics else frozenset()
        if self.settings.personal_head and self.in_head_phase(plan):
            own |= self._head(plan)
        head = self.all_shapes(plan).keys() - plan.require_learner().parameter_shapes(plan.input_width).keys()
        return {
            **grouped(OWN, {name: after[name] for name in own}),
            **grouped(PROJECTION, {name: after[name] for name in head}),
        }

    def _own_statistics(self, context: NodeContext) -> NamedTensors:
        if not self.settings.local_statistics:
            return {}
        known, plan = group_of(OWN, context.local_state), context.plan
        initial = plan.require_learner().initial_parameters(plan.input_width, plan.job.seed)
        return {name: known.get(name, initial[name]) for name in self._statistics(plan)}

    def _statistics(self, plan: Plan) -> frozenset[str]:
        return _with_role(plan, ParameterRole.STATISTICS)

    def _head(self, plan: Plan) -> frozenset[str]:
        return _with_role(plan, ParameterRole.HEAD)


def _with_role(plan: Plan, role: ParameterRole) -> frozenset[str]:
    roles = plan.require_learner().roles(plan.input_width)
    return frozenset(name for name, found in roles.items() if found is role)


def _image(features: tuple[Column, ...]) -> tuple[int, int, int] | None:
    images = [column for column in features if column.type is ColumnType.IMAGE]
    if not images:
        return None
    if len(features) > 1:
        raise MethodUnsuitable(
            'Method "fedicon" makes views of one image or of a table; name one image column alone, or none.'
        )
    channels, height, width = images[0].shape if len(images[0].shape) == 3 else (1, *images[0].shape)
    return channels, height, width
