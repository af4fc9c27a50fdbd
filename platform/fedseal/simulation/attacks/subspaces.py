"""``fixmask``, ``omniscience``: backdoors that know Lockdown and cheat with their masks (Huang et al. 2023).

With ``evasive`` attackers vote for exactly as many parameters of each layer as honest nodes do, so that the
coordinator's check of the sums finds nothing; without, they do what the paper's attackers do, and a job with
``vote_check: refuse`` stops.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fedseal.learning.tensors import NamedTensors, flatten, unflatten
from fedseal.methods.averaging import LocalUpdate
from fedseal.methods.contract import Contribution, Method, NodeContext
from fedseal.methods.lockdown import MASK, VOTES, Lockdown
from fedseal.methods.masks import Mask, packed, pruned
from fedseal.methods.registry import make_method
from fedseal.simulation.attacks.attack import Attacker, AttackRound
from fedseal.simulation.attacks.backdoors import BackdoorSettings, BadNet
from fedseal.simulation.attacks.bending import UPDATE
from fedseal.simulation.errors import ExperimentUnsuitable


class SubspaceSettings(BackdoorSettings):
    """A backdoor's, and how careful the attackers are."""

    evasive: Annotated[
        bool, Field(description="vote for as many parameters as honest nodes do, so that no check finds it")
    ] = True


def require_lockdown(method: Method, attack: str) -> Lockdown:
    """The method, if it has masks.

    Raises:
        ExperimentUnsuitable: It has none.
    """
    if not isinstance(method, Lockdown):
        raise ExperimentUnsuitable(f'The attack {attack} cheats with the masks of lockdown; "{method.name}" has none.')
    return method


@dataclass(frozen=True, slots=True)
class StandingMask(Lockdown):
    """A node that trains in the mask it has, for ever."""

    evasive: bool = True

    def recovered(self, context: NodeContext, mask: Mask) -> Mask:  # noqa: ARG002 - nothing is recovered
        """The mask as it is."""
        return mask

    def vote(self, context: NodeContext, mask: Mask, weights: NamedTensors) -> Mask:
        """The mask as it is, or without as many of its smallest weights as honest nodes prune."""
        return pruned(mask, weights, self.kept_counts(context.plan)) if self.evasive else mask

    def train(self, context: NodeContext) -> LocalUpdate:
        """As an honest node, but the mask stays."""
        return replace(Lockdown.train(self, context), local_state={MASK: packed(self.own_mask(context))})


class FixMask(BadNet):
    """Attackers keep m_{k,0}: they neither prune nor recover, and train on poisoned rows inside it."""

    settings: SubspaceSettings
    name: ClassVar[str] = "fixmask"
    title: ClassVar[str] = "Backdoor in a mask that never moves (FixMask, against Lockdown)"
    reference: ClassVar[str] = "Huang et al. 2023, Lockdown (NeurIPS)"
    settings_model: ClassVar[type[BaseModel]] = SubspaceSettings

    def method(self, method: Method, attacker: Attacker) -> Method:  # noqa: ARG002 - all the same
        """See the class docstring."""
        return StandingMask(require_lockdown(method, self.name).settings, self.settings.evasive)


class Omniscience(FixMask):
    """Attackers set m_{k,t+1} := 1[v >= theta]: they train and vote where the consensus is.

    v is the vote of the same round, the attackers' own included; so rounds without a vote teach them nothing
    (``vote_every_round``). With ``evasive`` it is the right number of parameters with the most votes.
    """

    name: ClassVar[str] = "omniscience"
    title: ClassVar[str] = "Backdoor in the consensus (Omniscience, against Lockdown)"
    knows: ClassVar[str] = "every node's vote before the coordinator knows the sum"

    def method(self, method: Method, attacker: Attacker) -> Method:
        """Train in the mask that the last vote taught."""
        return FixMask.method(self, method, attacker)

    def distort(self, turn: AttackRound) -> Mapping[str, Contribution]:
        """Vote for the consensus, contribute inside it, and keep it."""
        choice = turn.plan.job.method
        method = require_lockdown(make_method(choice.name, choice.settings), self.name) if choice else None
        if method is None or not method.votes_in(turn.plan):
            return turn.own
        everyone = [*turn.own.values(), *turn.others.values()]
        consensus = self._consensus(method, turn, np.sum([part.values[VOTES] for part in everyone], axis=0))
        return {name: self._within(method, turn, part, consensus) for name, part in turn.own.items()}

    def _consensus(
        self, method: Lockdown, turn: AttackRound, votes: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    ) -> Mask:
        shapes = method.masked_shapes(turn.plan)
        by_layer = unflatten(votes, shapes)
        if not self.settings.evasive:
            theta = method.threshold(len(turn.own) + len(turn.others))
            return {name: (count >= theta).astype(np.float32) for name, count in by_layer.items()}
        everything = {name: np.ones(shape, dtype=np.float32) for name, shape in shapes.items()}
        return pruned(everything, by_layer, method.kept_counts(turn.plan))

    def _within(self, method: Lockdown, turn: AttackRound, part: Contribution, mask: Mask) -> Contribution:
        shapes = method.shared_shapes(turn.plan)
        update = unflatten(part.values[UPDATE], shapes)
        inside = {name: value * mask[name] if name in mask else value for name, value in update.items()}
        values = {**part.values, UPDATE: flatten(inside), VOTES: flatten(mask)}
        return Contribution(values=values, local_state={MASK: packed(mask)})
