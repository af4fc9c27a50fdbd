"""``scaling``: a backdoor whose updates are multiplied, u := factor * u, so that they outweigh the honest ones.

Bagdasaryan et al. 2020 (there factor = number of nodes, which replaces the model); 5 in Lockdown's
experiments. What attackers know: their own rows and contributions.

Under a secure sum no one but the node can bound the norm of its update. ``enforced_norm`` says what an attacker could
do whose encoder is not under its control: u := u / max(1, |u| / bound) after the scaling.
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fedseal.methods.contract import Contribution
from fedseal.simulation.attacks.attack import AttackRound
from fedseal.simulation.attacks.backdoors import BackdoorSettings, BadNet
from fedseal.simulation.attacks.bending import UPDATE, update_spec, weight_of, with_update


class ScalingSettings(BackdoorSettings):
    """A backdoor's, and the factor."""

    factor: Annotated[float, Field(gt=1, le=1e4, description="by which updates are multiplied")] = 5.0
    enforced_norm: Annotated[
        float, Field(ge=0, le=1e6, description="Euclidean norm that the attacker cannot exceed; 0 for any")
    ] = 0.0


class Scaling(BadNet):
    """The attacker of badnet, whose updates are multiplied: u := factor * u, cut to what the platform lets through."""

    settings: ScalingSettings
    name: ClassVar[str] = "scaling"
    title: ClassVar[str] = "Backdoor with multiplied updates"
    reference: ClassVar[str] = "Bagdasaryan et al. 2020, How To Backdoor Federated Learning (AISTATS)"
    knows: ClassVar[str] = "its own rows and contribution"
    settings_model: ClassVar[type[BaseModel]] = ScalingSettings

    def distort(self, turn: AttackRound) -> Mapping[str, Contribution]:
        """Multiply, and shorten if a norm is enforced."""
        update_spec(turn)
        return {name: self._scaled(turn, part) for name, part in turn.own.items()}

    def _scaled(self, turn: AttackRound, part: Contribution) -> Contribution:
        weight = weight_of(part)
        if weight == 0:
            return part
        update, bound = part.values[UPDATE] / weight * self.settings.factor, self.settings.enforced_norm
        length = math.sqrt(float(np.square(update).sum()))
        return with_update(turn, part, update / max(1.0, length / bound) if bound else update)
