"""``lie``, ``min-max``, ``min-sum``: updates that ruin the model and look like the others.

All attackers send one update, written g + gamma * p or mu - z * sigma below; each keeps its own weight and loss.
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import norm

from fedseal.methods.contract import Contribution
from fedseal.simulation.attacks.attack import Attack, AttackRound
from fedseal.simulation.attacks.bending import Vector, all_send, update_matrix, update_spec
from fedseal.simulation.errors import ExperimentUnsuitable


class LieSettings(BaseModel):
    """How far from the mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deviations: Annotated[
        float, Field(ge=0, le=100, description="standard deviations from the mean (z); 0 for the paper's formula")
    ] = 0.0


def lie_deviations(nodes: int, attackers: int) -> float:
    """z_max = Phi^-1((n - m - s) / (n - m)) with s = floor(n / 2 + 1) - m honest supporters needed for a majority.

    Baruch et al. 2019, the attack that prevents convergence. (Some write (n - s) / n, which gives a larger z.)

    Raises:
        ExperimentUnsuitable: The attackers are the majority, or too few for any z above 0.
    """
    supporters = math.floor(nodes / 2 + 1) - attackers
    share = (nodes - attackers - supporters) / (nodes - attackers)
    if not 0.5 < share < 1:
        raise ExperimentUnsuitable(
            f"With {attackers} of {nodes} nodes the formula of lie gives no usable number of deviations; write "
            "`deviations` in the attack's settings."
        )
    return float(norm.ppf(share))


class Lie(Attack):
    """u := mu - z sigma in every coordinate, mean and deviation over the attackers' own honest updates."""

    settings: LieSettings
    name: ClassVar[str] = "lie"
    title: ClassVar[str] = "A little is enough: a small shift of every coordinate"
    reference: ClassVar[str] = "Baruch, Baruch, Goldberg 2019, A Little Is Enough (NeurIPS)"
    knows: ClassVar[str] = "what all attackers would honestly contribute"
    settings_model: ClassVar[type[BaseModel]] = LieSettings

    def distort(self, turn: AttackRound) -> Mapping[str, Contribution]:
        """See the class docstring."""
        update_spec(turn)
        known = update_matrix(turn.own)
        if len(known) < 2:
            raise ExperimentUnsuitable("The attack lie estimates a deviation; it needs two attackers with rows.")
        z = self.settings.deviations or lie_deviations(len(turn.own) + len(turn.others), len(turn.own))
        return all_send(turn, known.mean(axis=0) - z * known.std(axis=0))


class KnowledgeSettings(BaseModel):
    """What attackers know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    knowledge: Annotated[
        Literal["honest", "own"],
        Field(description="updates that attackers know: the honest nodes', or what they would contribute themselves"),
    ] = "honest"


class DistanceSettings(KnowledgeSettings):
    """Direction and knowledge."""

    direction: Annotated[
        Literal["unit", "deviation", "sign"],
        Field(description="p: against the mean, against every coordinate's deviation, or against its sign"),
    ] = "unit"


def direction_of(kind: str, known: Vector) -> Vector:
    """The p of Shejwalkar and Houmansadr 2021: -g / |g|, -std, or -sign(g), with g the mean.

    Args:
        kind: ``unit``, ``deviation`` or ``sign``.
        known: Updates, shape (nodes, parameters).
    """
    mean: Vector = known.mean(axis=0)
    if kind == "deviation":
        deviation: Vector = known.std(axis=0)
        return -deviation
    if kind == "sign":
        return np.negative(np.sign(mean))
    length = math.sqrt(float(np.square(mean).sum()))
    return np.negative(mean) / (length or 1.0)


def squared_distances(known: Vector) -> Vector:
    """|x_i - x_j|^2, shape (nodes, nodes)."""
    centred = known - known.mean(axis=0)
    products = centred @ centred.T
    squares = np.diag(products)
    return np.asarray(np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0))


def farthest(known: Vector, direction: Vector) -> float:
    """The largest gamma with max_i |mean + gamma p - x_i| <= max_ij |x_i - x_j|; 0 where p is zero."""
    square = float(direction @ direction)
    if square == 0:
        return 0.0
    gaps = known.mean(axis=0) - known
    slopes, excess = gaps @ direction, squared_distances(known).max() - np.square(gaps).sum(axis=1)
    roots = (-slopes + np.sqrt(np.square(slopes) + square * np.maximum(excess, 0.0))) / square
    return float(max(roots.min(), 0.0))


class MinMax(Attack):
    """u := g + gamma p with the largest gamma for which max_i |u - x_i| <= max_ij |x_i - x_j|.

    Shejwalkar and Houmansadr 2021, the attack that knows no defence. The paper searches gamma by halving; the
    condition is one quadratic inequality for each i, so here it is solved.
    """

    settings: DistanceSettings
    name: ClassVar[str] = "min-max"
    title: ClassVar[str] = "As far as the two most distant honest updates (Min-Max)"
    reference: ClassVar[str] = "Shejwalkar, Houmansadr 2021, Manipulating the Byzantine (NDSS)"
    knows: ClassVar[str] = "the honest nodes' contributions"
    settings_model: ClassVar[type[BaseModel]] = DistanceSettings

    def distort(self, turn: AttackRound) -> Mapping[str, Contribution]:
        """See the class docstring."""
        update_spec(turn)
        known = update_matrix(turn.others if self.settings.knowledge == "honest" else turn.own)
        if not len(known):
            return turn.own
        direction = direction_of(self.settings.direction, known)
        return all_send(turn, known.mean(axis=0) + self.gamma(known, direction) * direction)

    def gamma(self, known: Vector, direction: Vector) -> float:
        """The largest that the condition allows; 0 where p is zero."""
        return farthest(known, direction)


class MinSum(MinMax):
    """u := g + gamma p with the largest gamma for which sum_i |u - x_i|^2 <= max_i sum_j |x_i - x_j|^2.

    Shejwalkar and Houmansadr 2021, likewise.
    """

    name: ClassVar[str] = "min-sum"
    title: ClassVar[str] = "As far in sum as the most distant honest update (Min-Sum)"

    def gamma(self, known: Vector, direction: Vector) -> float:
        """The gaps to the mean add up to zero, so gamma^2 = (bound - sum of their squares) / (n p.p)."""
        square = float(direction @ direction)
        if square == 0:
            return 0.0
        gaps = known.mean(axis=0) - known
        bound = float(squared_distances(known).sum(axis=1).max())
        return math.sqrt(max(bound - float(np.square(gaps).sum()), 0.0) / (len(known) * square))
