"""``neurotoxin``: a backdoor in the parameters that honest nodes hardly move, Zhang et al. 2022 (ICML, Algorithm 1).

With a = w_t - w_{t-1}, the last aggregated update, every attacker takes of each layer the ``fraction`` of coordinates
with the smallest |a_j| and multiplies its gradients by that mask. Against Lockdown it trains as an honest node and
reports that mask as m_{k,t+1}, as in Lockdown's experiments. In its first round it knows no a and does nothing else
than train on poisoned rows.

What attackers know: their own rows, and the models that every node receives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning.learner import FitRequest, FitResult, GradientCorrection, Learner
from fedseal.learning.tensors import NamedTensors, group_of, grouped
from fedseal.methods.averaging import LocalUpdate
from fedseal.methods.contract import Contribution, Method, NodeContext
from fedseal.methods.lockdown import Lockdown
from fedseal.methods.masks import Mask, smallest
from fedseal.simulation.attacks.attack import Attacker
from fedseal.simulation.attacks.backdoors import BadNet
from fedseal.simulation.attacks.subspaces import SubspaceSettings

SEEN = "neurotoxin"


class NeurotoxinSettings(SubspaceSettings):
    """A backdoor's, and the part of each layer that is used."""

    fraction: Annotated[float, Field(gt=0, le=1, description="of each layer that attackers move")] = 0.25


class Neurotoxin(BadNet):
    """The attacker of badnet, who moves only the fraction of each layer with the smallest |w_t - w_{t-1}|.

    Gradients are multiplied by that mask; against Lockdown it is what the attacker votes for instead.
    """

    settings: NeurotoxinSettings
    name: ClassVar[str] = "neurotoxin"
    title: ClassVar[str] = "Backdoor where others hardly move (Neurotoxin)"
    reference: ClassVar[str] = "Zhang et al. 2022, Neurotoxin: Durable Backdoors in Federated Learning (ICML)"
    knows: ClassVar[str] = "its own rows, and the models that every node receives"
    settings_model: ClassVar[type[BaseModel]] = NeurotoxinSettings

    def method(self, method: Method, attacker: Attacker) -> Method:  # noqa: ARG002 - all the same
        """See the module docstring."""
        if isinstance(method, Lockdown):
            return QuietVote(method.settings, self.settings.fraction, self.settings.evasive)
        return cast("Method", QuietGradients(method, self.settings.fraction))


def last_update(context: NodeContext) -> NamedTensors:
    """w_t - w_{t-1}; empty in the attacker's first round."""
    before = group_of(SEEN, context.local_state)
    return {name: context.broadcast[name] - value for name, value in before.items()}


def quiet(update: NamedTensors, counts: Mapping[str, int]) -> dict[str, NDArray[np.float32]]:
    """A mask of the ``counts`` coordinates of each layer with the smallest |update|."""
    mask = {}
    for name, count in counts.items():
        flat = np.zeros(update[name].size, dtype=np.float32)
        flat[smallest(np.abs(update[name].ravel()), count)] = 1.0
        mask[name] = flat.reshape(update[name].shape)
    return mask


@dataclass(frozen=True, slots=True)
class QuietVote(Lockdown):
    """A node of Lockdown that votes for the quiet coordinates."""

    fraction: float = 0.25
    evasive: bool = True

    def vote(self, context: NodeContext, mask: Mask, weights: NamedTensors) -> Mask:
        """The quiet coordinates; in the first round an honest vote."""
        update = last_update(context)
        if not update:
            return Lockdown.vote(self, context, mask, weights)
        shares = {name: round(self.fraction * layer.size) for name, layer in mask.items()}
        return quiet(update, self.kept_counts(context.plan) if self.evasive else shares)

    def train(self, context: NodeContext) -> LocalUpdate:
        """As an honest node, and remember the model."""
        update = Lockdown.train(self, context)
        return replace(update, local_state={**(update.local_state or {}), **grouped(SEEN, context.broadcast)})


class QuietGradients:
    """Any method at a node whose learner moves the quiet coordinates only; the rest is the method's own."""

    def __init__(self, inner: Method, fraction: float) -> None:
        """Wrap the job's method."""
        self.inner, self.fraction = inner, fraction

    def __getattr__(self, name: str) -> Any:
        """What this class does not change."""
        return getattr(self.inner, name)

    def contribute(self, context: NodeContext) -> Contribution:
        """Contribute with a bent learner, and remember the model."""
        update, own = last_update(context), context.local_state
        kept = {name: value for name, value in own.items() if not name.startswith(f"{SEEN}/")}
        plan = context.plan
        if update:
            mask = quiet(update, {name: round(self.fraction * value.size) for name, value in update.items()})
            plan = replace(plan, learner=cast("Learner", BentLearner(plan.require_learner(), mask)))
        part = self.inner.contribute(replace(context, plan=plan, local_state=kept))
        state = kept if part.local_state is None else part.local_state
        return replace(part, local_state={**state, **grouped(SEEN, context.broadcast)})


class BentLearner:
    """A learner whose gradients are multiplied by a mask after the method's own correction."""

    def __init__(self, inner: Learner, mask: Mask) -> None:
        """Wrap the job's learner."""
        self.inner, self.mask = inner, mask

    def __getattr__(self, name: str) -> Any:
        """What this class does not change."""
        return getattr(self.inner, name)

    def fit(self, request: FitRequest) -> FitResult:
        """Train under both corrections."""
        return self.inner.fit(replace(request, correct_gradients=_then(request.correct_gradients, self.mask)))


def _then(first: GradientCorrection | None, mask: Mask) -> GradientCorrection:
    def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:
        if first is not None:
            first(parameters, gradients)
        for name, layer in mask.items():
            if name in gradients:
                np.multiply(gradients[name], layer, out=gradients[name])

    return correct
