"""What an attack is: how malicious nodes change their data, their training, or what they contribute.

Rules this module keeps:
- An attacker is a node: it holds its own data, sees what nodes see, and contributes vectors inside the bounds that the
  method declares (the platform clips and encodes; a value out of bounds would be refused before it leaves).
- Attackers work together: they know each other's contributions. What a paper grants them beyond that (the honest
  nodes' contributions, say) its attack says, and asks for.
- Everything follows from the seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fedseal.learning.data import LocalData
from fedseal.learning.plugins import load_plugin, plugin_names, validated_settings
from fedseal.learning.tensors import NamedTensors
from fedseal.methods.contract import Contribution, Method, Plan
from fedseal_crypto.encoding import VectorSpec

ATTACK_GROUP = "fedseal.attacks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacker:
    """One malicious node.

    Attributes:
        name: Of the node.
        number: Its place among the attackers, from 0.
        count: How many attackers there are.
        seed: For its own random choices.
    """

    name: str
    number: int
    count: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackRound:
    """What attackers may look at before they contribute.

    Attributes:
        plan: Of the round.
        specs: The vectors that are summed, with their bounds.
        broadcast: What every node received.
        own: What the attackers would contribute if they followed the method on the data they have.
        others: What the honest nodes contribute: for attacks whose paper grants that knowledge.
        before: What each attacker received last, for an attack that `remembers`; nobody is in it at first.
        earlier: The attackers' vectors of the round before, where the method judges by products with them.
    """

    plan: Plan
    specs: tuple[VectorSpec, ...]
    broadcast: NamedTensors
    own: Mapping[str, Contribution]
    others: Mapping[str, Contribution]
    before: Mapping[str, NamedTensors] = field(default_factory=dict)
    earlier: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


class NoSettings(BaseModel):
    """An attack with nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Attack:
    """Base: an attacker that behaves; made as ``AttackClass(settings)``. A subclass overrides what it changes.

    Attributes:
        name: As experiments write it.
        title: For lists.
        reference: Its paper.
        knows: What the attackers are granted, in a few words.
        remembers: Whether it looks at what its nodes received last.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    knows: ClassVar[str]
    remembers: ClassVar[bool] = False
    settings_model: ClassVar[type[BaseModel]] = NoSettings

    def __init__(self, settings: Any) -> None:
        """Bind the attack to its validated settings."""
        self.settings = settings

    def poison(self, rows: LocalData, attacker: Attacker) -> LocalData:  # noqa: ARG002 - for overriding
        """The attacker's training rows, as it trains on them in the rounds in which it attacks; worked out once."""
        return rows

    def method(self, method: Method, attacker: Attacker) -> Method:  # noqa: ARG002 - for overriding
        """What the attacker runs in place of the job's method; its vectors are the same."""
        return method

    def distort(self, turn: AttackRound) -> Mapping[str, Contribution]:
        """What the attackers contribute, given what they would contribute."""
        return turn.own

    def trigger(self, rows: LocalData) -> LocalData | None:  # noqa: ARG002 - for overriding
        """Test rows with the backdoor's trigger; None if the attack has no backdoor."""
        return None

    def target(self) -> int | None:
        """The class that triggered rows shall be taken for; None if the attack has no backdoor."""
        return None


def attack_names() -> tuple[str, ...]:
    """Installed attacks, sorted."""
    return plugin_names(ATTACK_GROUP)


def attack_class(name: str) -> type[Attack]:
    """The attack's class, with what it says of itself.

    Raises:
        UnknownPlugin: Not installed here.
    """
    chosen = load_plugin(ATTACK_GROUP, "attack", name)
    if not (isinstance(chosen, type) and issubclass(chosen, Attack)):
        raise TypeError(f"the attack {name} is not a class derived from Attack")
    return chosen


def make_attack(name: str, settings: Mapping[str, object]) -> Attack:
    """An attack bound to an experiment's settings.

    Raises:
        UnknownPlugin: Not installed here.
        SettingsRefused: A setting is unknown or out of range.
    """
    chosen = attack_class(name)
    return chosen(validated_settings(chosen.settings_model, settings, what=f'attack "{name}"'))
