"""Methods that judge single contributions by named numbers about them, before any is summed.

    every party  asked = scalars_of(method, plan, broadcast)     which numbers, about which vector
    platform     numbers per node                                opened under encryption, or computed here in the clear
    coordinator  judgement = method.judge(plan, state, numbers)  who enters the sum

A number is about the vector that a node contributes under one name: its squared norm, or its inner product with a
public vector that follows from the broadcast, so that every party computes the same one. The coordinator learns these
numbers of each node and the sum of those that it accepts; the method's disclosure is `Disclosure.SCALARS` and names
each of them.
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
from fedseal_crypto.homomorphic import Operation

Numbers = Mapping[str, float | None]
"""Name of a scalar -> its value; None where none could be released, because the vector is longer than it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One number about a node's contribution.

    Attributes:
        name: As the method's disclosure names it.
        operation: Which number it is.
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
    """

    vector: str
    length: int
    largest: float
    norm: float
    scalars: tuple[Scalar, ...]


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
    """The numbers of a round; None for a method that needs only the sum."""
    return method.scalars(plan, broadcast) if isinstance(method, JudgingMethod) else None


def exact_norm(vector: NDArray[np.float64]) -> float:
    """The Euclidean norm, rounded once, so that every machine gets the same bits."""
    return math.sqrt(math.fsum((vector * vector).tolist()))


def numbers_in_the_clear(asked: ScalarsAsked, values: NamedTensors) -> dict[str, float | None]:
    """What the platform opens under encryption, computed from a contribution that lies open."""
    vector = np.asarray(values[asked.vector], np.float64)
    if exact_norm(vector) > asked.norm:
        return {scalar.name: None for scalar in asked.scalars}
    return {
        scalar.name: float(vector @ (vector if scalar.public is None else scalar.public)) for scalar in asked.scalars
    }


def judged_in_the_clear(
    method: Method, plan: Plan, state: NamedTensors, broadcast: NamedTensors, values: Mapping[str, NamedTensors]
) -> Judgement:
    """Who enters the sum, in one process; everybody, for a method that needs only the sum."""
    asked = scalars_of(method, plan, broadcast)
    if asked is None or not isinstance(method, JudgingMethod):
        return Judgement(accepted=frozenset(values), reasons={}, state=state)
    judgement = method.judge(plan, state, {name: numbers_in_the_clear(asked, part) for name, part in values.items()})
    require_accepted(judgement, plan.job.minimum_cohort)
    return judgement


def require_accepted(judgement: Judgement, least: int) -> None:
    """Refuse a sum over too few.

    Raises:
        PeerFault: Fewer were accepted than a sum must have.
    """
    if len(judgement.accepted) < least:
        reasons = " ".join(f"{name}: {reason}." for name, reason in sorted(judgement.reasons.items()))
        sentence = f"{len(judgement.accepted)} contributions were accepted and a sum needs {least}. {reasons}"
        raise PeerFault(sentence)
