"""``sign-flip``, ``reverse``, ``min-max-reverse``: updates that turn something around.

``sign-flip`` turns the attacker's own update. The other two turn the aggregate as the attacker received it: the
difference between the model that it starts from now and the one that it was sent last. To an attacker
that RECESS probes, the probe is that aggregate: it does not look whether the step is along its own last update.
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fedseal.learning.tensors import NamedTensors, flatten
from fedseal.methods.averaging import Averaging
from fedseal.methods.contract import Contribution
from fedseal.methods.recess import Recess
from fedseal.methods.registry import make_method
from fedseal.simulation.attacks.attack import Attack, AttackRound
from fedseal.simulation.attacks.bending import Vector, update_matrix, update_spec, weight_of, with_update
from fedseal.simulation.attacks.untargeted import KnowledgeSettings, farthest
from fedseal.simulation.errors import ExperimentUnsuitable


class FactorSettings(BaseModel):
    """How far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factor: Annotated[float, Field(gt=0, le=1e4, description="multiple of the length that is turned around")] = 1.0


class SignFlip(Attack):
    """u := -factor u: the same poison whatever is received."""

    settings: FactorSettings
    name: ClassVar[str] = "sign-flip"
    title: ClassVar[str] = "The attacker's own update, turned around"
    reference: ClassVar[str] = "as in Li et al. 2019, RSA: Byzantine-Robust Stochastic Aggregation (AAAI)"
    knows: ClassVar[str] = "its own contribution"
    settings_model: ClassVar[type[BaseModel]] = FactorSettings

    def distort(self, turn: AttackRound) -> Mapping[str, Contribution]:
        """See the class docstring."""
        update_spec(turn)
        return {
            name: with_update(turn, part, -self.settings.factor * part.values["update"] / (weight_of(part) or 1.0))
            for name, part in turn.own.items()
        }


def received_step(turn: AttackRound, name: str) -> Vector:
    """From the model that the attacker was sent last to where it starts now; zero in its first round.

    Raises:
        ExperimentUnsuitable: The method's broadcast is no model.
    """
    choice = turn.plan.job.method
    method: object = make_method(choice.name, choice.settings) if choice else None
    if not isinstance(method, Averaging) or not method.shared_shapes(turn.plan).keys() <= turn.broadcast.keys():
        raise ExperimentUnsuitable("The attack turns the model's last step around, and the job's method sends none.")
    shapes = method.shared_shapes(turn.plan)
    start: NamedTensors = turn.broadcast
    if isinstance(method, Recess):
        start = method.start(turn.plan, turn.broadcast, turn.earlier.get(name))
    now = flatten({tensor: start[tensor] for tensor in shapes})
    before = turn.before.get(name)
    return np.zeros_like(now) if before is None else now - flatten({tensor: before[tensor] for tensor in shapes})


def unit(vector: Vector) -> Vector:
    """Of length 1, or zero."""
    length = math.sqrt(float(vector @ vector))
    return vector / length if length > 0 else vector


class ReverseSettings(FactorSettings):
    """Length over the honest updates' mean length."""

    factor: Annotated[float, Field(gt=0, le=1e4, description="length over the mean length of honest updates")] = 5.0


class Reverse(Attack):
    """u := -factor m a / |a|, with a the aggregate as received and m the mean length of honest updates."""

    settings: ReverseSettings
    name: ClassVar[str] = "reverse"
    title: ClassVar[str] = "Against the aggregate that was received"
    reference: ClassVar[str] = "the kind that RECESS (Yan et al. 2023, NeurIPS) is made for; formula of this project"
    knows: ClassVar[str] = "the honest nodes' contributions, for their length"
    remembers: ClassVar[bool] = True
    settings_model: ClassVar[type[BaseModel]] = ReverseSettings

    def distort(self, turn: AttackRound) -> Mapping[str, Contribution]:
        """See the class docstring; as the job says while nothing was received."""
        update_spec(turn)
        known = update_matrix(turn.others)
        length = self.settings.factor * float(np.linalg.norm(known, axis=1).mean()) if len(known) else 0.0
        sent = dict(turn.own)
        for name, part in turn.own.items():
            step = received_step(turn, name)
            if step.any() and length:
                sent[name] = with_update(turn, part, -length * unit(step))
        return sent


class MinMaxReverse(Attack):
    """Min-Max with p := -a / |a|, a the aggregate as received; agnostic to the defence, within the honest spread."""

    settings: KnowledgeSettings
    name: ClassVar[str] = "min-max-reverse"
    title: ClassVar[str] = "As far as honest updates are apart, against the aggregate that was received"
    reference: ClassVar[str] = "Shejwalkar, Houmansadr 2021 (NDSS), with the direction taken from the aggregate"
    knows: ClassVar[str] = "the honest nodes' contributions"
    remembers: ClassVar[bool] = True
    settings_model: ClassVar[type[BaseModel]] = KnowledgeSettings

    def distort(self, turn: AttackRound) -> Mapping[str, Contribution]:
        """See the class docstring; as the job says while nothing was received."""
        update_spec(turn)
        known = update_matrix(turn.others if self.settings.knowledge == "honest" else turn.own)
        sent = dict(turn.own)
        for name, part in turn.own.items():
            direction = -unit(received_step(turn, name))
            if direction.any() and len(known):
                sent[name] = with_update(turn, part, known.mean(axis=0) + farthest(known, direction) * direction)
        return sent
