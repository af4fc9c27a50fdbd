"""Methods that judge single contributions by named numbers about them, before any is summed.

    every party  asked = scalars_of(method, plan, broadcast)     which numbers, about which vector
    platform     numbers per node                                opened under encryption, or computed here in the clear
    coordinator  judgement = method.judge(plan, state, numbers)  who enters the sum

A number is about the vector that a node contributes under one name: its squared norm, its inner product with a
public vector that follows from the broadcast, so that every party computes the same one, or its inner product with the
vector that the same node contributed in the round before. The coordinator learns these numbers of each node and the
sum of those that it accepts; the method's disclosure is `Disclosure.SCALARS` and names each of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fedseal.errors import PeerFault
from fedseal.learning.tensors import NamedTensors
from fedseal.methods.contract import Method, Plan
from fedseal.methods.errors import MethodUnsuitable
from fedseal_crypto.homomorphic import Operation

Numbers = Mapping[str, float | None]
"""Name of a scalar -> its value; None where none could be released, because the vector is longer than it may be. A
product with the vector of the round before is missing where the node has no such vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One number about a node's contribution.

    Attributes:
        name: As the method's disclosure names it.
        operation: Which number it is; `Operation.INNER_PRODUCT` is with this node's vector of the round before.
        public: The other vector of an inner product with a public one, float64; None otherwise.
    """

    name: str
    operation: Operation
    public: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarsAsked:
    """The numbers of one round.

    Attributes:
        vector: Name of the contributed vector that they are about.
        length: Its length.
        largest: No value of it is beyond [-largest, largest].
        norm: An honest node's vector is no longer; what is longer has no numbers and cannot be accepted.
        scalars: The numbers; squared norms first, and at least one of them.
        keep: Whether the next round may ask for products with this round's vectors; ``vector``, ``length``,
            ``largest`` and ``norm`` are then the same in both.
    """

    vector: str
    length: int
    largest: float
    norm: float
    scalars: tuple[Scalar, ...]
    keep: bool = False

    @property
    def paired(self) -> bool:
        """Whether a number is a product with the vector of the round before."""
        return any(scalar.operation is Operation.INNER_PRODUCT for scalar in self.scalars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Who enters the sum.

    Attributes:
        accepted: Names of nodes.
        reasons: For each other node, why not, in plain English.
        state: The method's state from here on.
    """

    accepted: frozenset[str]
    reasons: Mapping[str, str]
    state: NamedTensors = field(default_factory=dict)


@runtime_checkable
class JudgingMethod(Method, Protocol):
    """A method with scalars; what it needs beside `Method`."""

    SCALARS: ClassVar[tuple[str, ...]]

    def scalars(self, plan: Plan, broadcast: NamedTensors) -> ScalarsAsked:
        """Every party: the numbers of this round, a subset of ``SCALARS``."""

    def judge(self, plan: Plan, state: NamedTensors, numbers: Mapping[str, Numbers]) -> Judgement:
        """Coordinator: who enters the sum; every node is either accepted or has a reason."""


def scalars_of(method: Method, plan: Plan, broadcast: NamedTensors) -> ScalarsAsked | None:
    """The numbers of a round; None for a method that needs only the sum.

    Raises:
        MethodUnsuitable: The method asks for numbers that it does not name, for none that bounds the vector, or in
            the first round of its stage for a product with the vector of the round before.
    """
    if not isinstance(method, JudgingMethod):
        return None
    asked = method.scalars(plan, broadcast)
    unnamed = sorted({scalar.name for scalar in asked.scalars} - set(method.SCALARS))
    if unnamed:
        raise MethodUnsuitable(f'Method "{method.name}" asks for the number "{unnamed[0]}", which it does not name.')
    if all(scalar.operation is not Operation.SQUARED_NORM for scalar in asked.scalars):
        raise MethodUnsuitable(
            f'Method "{method.name}" asks for no squared norm, without which nothing bounds the vector of its numbers.'
        )
    if asked.paired and plan.round == 0:
        raise MethodUnsuitable(
            f'Method "{method.name}" asks for a product with the vector of the round before in the first round of its '
            "stage."
        )
    return asked


def exact_norm(vector: NDArray[np.float64]) -> float:
    """The Euclidean norm, rounded once, so that every machine gets the same bits."""
    return math.sqrt(math.fsum((vector * vector).tolist()))


def true_number(scalar: Scalar, vector: NDArray[np.float64], earlier: NDArray[np.float64] | None) -> float | None:
    """A number about a vector that lies open; None for a product with a vector that there is not."""
    match scalar.operation:
        case Operation.SQUARED_NORM:
            other: NDArray[np.float64] | None = vector
        case Operation.INNER_PRODUCT:
            other = earlier
        case Operation.INNER_PRODUCT_WITH_PUBLIC:
            other = scalar.public
    return None if other is None else float(vector @ other)


def numbers_in_the_clear(
    asked: ScalarsAsked, values: NamedTensors, earlier: NDArray[np.float64] | None = None
) -> dict[str, float | None]:
    """What the platform opens under encryption, computed from a contribution that lies open.

    Args:
        asked: The numbers.
        values: The contribution.
        earlier: The same node's vector of the round before, if there is one.
    """
    vector = np.asarray(values[asked.vector], np.float64)
    numbers = {scalar.name: true_number(scalar, vector, earlier) for scalar in asked.scalars}
    numbers = {name: value for name, value in numbers.items() if value is not None}
    return numbers if exact_norm(vector) <= asked.norm else dict.fromkeys(numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributed:
    """What arrived in a round that is played in one process, by node.

    Attributes:
        values: The contributions.
        earlier: Each node's vector of the round before, where it has one.
    """

    values: Mapping[str, NamedTensors]
    earlier: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRound:
    """A round in one process, judged.

    Attributes:
        judgement: Who enters the sum.
        vectors: What the next round's products are with, by node.
    """

    judgement: Judgement
    vectors: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def judged_in_the_clear(
    method: Method, plan: Plan, state: NamedTensors, broadcast: NamedTensors, contributed: Contributed
) -> JudgedRound:
    """Who enters the sum, in one process; everybody, for a method that needs only the sum."""
    asked, values = scalars_of(method, plan, broadcast), contributed.values
    if asked is None or not isinstance(method, JudgingMethod):
        return JudgedRound(judgement=Judgement(accepted=frozenset(values), reasons={}, state=state))
    numbers = {name: numbers_in_the_clear(asked, part, contributed.earlier.get(name)) for name, part in values.items()}
    judgement = method.judge(plan, state, numbers)
    require_accepted(judgement, plan.job.minimum_cohort)
    kept = (name for name in values if asked.keep and None not in numbers[name].values())
    return JudgedRound(
        judgement=judgement, vectors={name: np.asarray(values[name][asked.vector], np.float64) for name in kept}
    )


def require_accepted(judgement: Judgement, least: int) -> None:
    """Refuse a sum over too few.

    Raises:
        PeerFault: Fewer were accepted than a sum must have.
    """
    if len(judgement.accepted) < least:
        reasons = " ".join(f"{name}: {reason}." for name, reason in sorted(judgement.reasons.items()))
        sentence = f"{len(judgement.accepted)} contributions were accepted and a sum needs {least}. {reasons}"
        raise PeerFault(sentence)
