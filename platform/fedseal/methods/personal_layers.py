"""``fedper``, ``fedrep``, ``fedbn``: some tensors are averaged, the others stay at the node that trained them.

- FedPer (Arivazhagan et al. 2019): the head stays; base and head are trained together.
- FedRep (Collins et al. 2021, ICML, Algorithm 1): the head stays; it is trained first with the base frozen, then the
  base with the head frozen.
- FedBN (Li et al. 2021, ICLR): normalisation layers stay, with their running statistics.

Which tensor is which follows from the type of its layer (`fedseal.learning.learner.ParameterRole`), not its name. The
exported model has the personal tensors as they started; a node joins its own.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning.learner import GradientCorrection, ParameterRole
from fedseal.learning.tensors import NamedTensors, Shapes, group_of, grouped
from fedseal.methods.averaging import Averaging, AveragingSettings, LocalUpdate, averaging_statement, difference
from fedseal.methods.contract import DisclosureStatement, NodeContext, Plan
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.suitability import Need, Suitability

PERSONAL = "personal"
HEAD_STAYS = "The last layer stays at each node and is not summed."
NORMALISING = frozenset({ParameterRole.NORMALISATION, ParameterRole.STATISTICS})


class PersonalLayers(Averaging):
    """Base of the three: averages the tensors whose role is not in `personal`."""

    personal: ClassVar[frozenset[ParameterRole]]

    def personal_names(self, plan: Plan) -> frozenset[str]:
        """Tensors that stay at the node.

        Raises:
            MethodUnsuitable: The learner has none, or nothing else.
        """
        roles = plan.require_learner().roles(plan.input_width)
        found = frozenset(name for name, role in roles.items() if role in self.personal)
        if not found or len(found) == len(roles):
            what = "layers of the kind that it keeps at the node" if not found else "nothing that nodes could share"
            raise MethodUnsuitable(f'Method "{self.name}" does not fit this learner, which has {_none(found)}{what}.')
        return found

    def shared_shapes(self, plan: Plan) -> Shapes:
        """All but the personal tensors."""
        own = self.personal_names(plan)
        return {name: shape for name, shape in super().shared_shapes(plan).items() if name not in own}

    def train(self, context: NodeContext) -> LocalUpdate:
        """Join shared and personal tensors, train, and part them again."""
        start = {**self._personal(context), **context.broadcast}
        after, loss = self.train_joined(context, start)
        own = {name: after[name] for name in self.personal_names(context.plan)}
        return LocalUpdate(change=difference(after, context.broadcast), loss=loss, local_state=grouped(PERSONAL, own))

    def train_joined(self, context: NodeContext, start: NamedTensors) -> tuple[NamedTensors, float]:
        """Local training of the whole model; gives its parameters and the mean loss."""
        fitted = self.fit(context, start, correction=None)
        return fitted.parameters, fitted.loss

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:
        """The shared tensors with the node's own; of a node that never trained, as exported."""
        return {**exported, **group_of(PERSONAL, local_state)}

    def _personal(self, context: NodeContext) -> NamedTensors:
        known = group_of(PERSONAL, context.local_state)
        if known:
            return known
        plan = context.plan
        initial = plan.require_learner().initial_parameters(plan.input_width, plan.job.seed)
        return {name: initial[name] for name in self.personal_names(plan)}


@dataclass(frozen=True, slots=True)
class FedPer(PersonalLayers):
    """See the module docstring."""

    settings: AveragingSettings = field(default_factory=AveragingSettings)

    personal: ClassVar[frozenset[ParameterRole]] = frozenset({ParameterRole.HEAD})
    name: ClassVar[str] = "fedper"
    title: ClassVar[str] = "Personal last layer (FedPer)"
    reference: ClassVar[str] = "Arivazhagan et al. 2019, Federated Learning with Personalization Layers"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "The last layer stays at each node and is not summed."
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="The last layer stays at the node, the rest is averaged.",
        meets={
            Need.DIFFERENT_DATA: "Each node has a last layer of its own, so labels may mean different things.",
        },
        cost="A little less than averaging; a newcomer must train a last layer before it can predict.",
    )
    settings_model: ClassVar[type[BaseModel]] = AveragingSettings


class FedRepSettings(AveragingSettings):
    """Averaging (``local_epochs`` are those of the base), and the head's epochs."""

    head_epochs: Annotated[int, Field(ge=1, le=1000, description="passes for the head alone a round")] = 10


@dataclass(frozen=True, slots=True)
class FedRep(PersonalLayers):
    """See the module docstring."""

    settings: FedRepSettings = field(default_factory=FedRepSettings)

    personal: ClassVar[frozenset[ParameterRole]] = frozenset({ParameterRole.HEAD})
    name: ClassVar[str] = "fedrep"
    title: ClassVar[str] = "Shared representation, personal last layer (FedRep)"
    reference: ClassVar[str] = "Collins et al. 2021, Exploiting Shared Representations for Personalized FL (ICML)"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "The last layer stays at each node and is not summed."
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="As FedPer, but trains the last layer first and the shared layers against it.",
        meets={
            Need.DIFFERENT_DATA: "Each node has a last layer of its own over a shared representation.",
        },
        cost="More local passes than averaging; a newcomer must train a last layer first.",
    )
    settings_model: ClassVar[type[BaseModel]] = FedRepSettings

    def train_joined(self, context: NodeContext, start: NamedTensors) -> tuple[NamedTensors, float]:
        """The head first, then the base; the loss is that of the base's passes."""
        shared = frozenset(context.broadcast)
        head = self.fit(context, start, correction=frozen(shared), epochs=self.settings.head_epochs)
        # Weights do not move under zero gradients, but running statistics do: the frozen base keeps its own.
        turned = {**head.parameters, **context.broadcast}
        base = self.fit(context, turned, correction=frozen(self.personal_names(context.plan)))
        return base.parameters, base.loss


@dataclass(frozen=True, slots=True)
class FedBn(PersonalLayers):
    """See the module docstring."""

    settings: AveragingSettings = field(default_factory=AveragingSettings)

    personal: ClassVar[frozenset[ParameterRole]] = NORMALISING
    name: ClassVar[str] = "fedbn"
    title: ClassVar[str] = "Local normalisation layers (FedBN)"
    reference: ClassVar[str] = "Li et al. 2021, FedBN: Federated Learning on Non-IID Features (ICLR)"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "Normalisation layers and their running statistics stay at each node and are not summed."
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose=(
            "Normalisation layers stay at the node; for inputs that look different, such as scanners or laboratories."
        ),
        meets={
            Need.DIFFERENT_DATA: "Each node scales its inputs' features itself.",
        },
        cost="A little less than averaging; needs a network with normalisation layers.",
    )
    settings_model: ClassVar[type[BaseModel]] = AveragingSettings


def frozen(names: Collection[str]) -> GradientCorrection:
    """Sets the gradients of ``names`` to zero; weight decay is among them, so these tensors do not move."""

    def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:  # noqa: ARG001
        for name in names:
            if name in gradients:
                gradients[name][...] = 0.0

    return correct


def _none(found: Collection[str]) -> str:
    return "" if found else "no "
