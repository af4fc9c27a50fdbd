"""The maths of ``fedsep``: a small common variable x, models y decoded from it, and gradients sent back through that.

A node's lower problem is g(x, y) = 1/2 ||S y - x||^2 + beta/2 ||y - a||^2; its solution y(x) is the decoded model. For
h(x) = f(y(x)) the chain rule through the minimisation gives
    grad h = - d2g/dxdy . [d2g/dydy]^-1 . grad f(y)
so the node solves a linear system in the model's space, or knows its solution in closed form.

S is a hashed matrix, p x d: coordinate j goes to bucket b(j) with sign s(j), buckets as equal as can be. So
S S' = diag(counts), everything costs O(d), and
    y(x) = a + S' (S S' + beta)^-1 (x - S a)        grad h = (S S' + beta)^-1 S grad f.

Source: implicit differentiation as in Grazzi et al. 2020 (ICML); S as in feature hashing, Weinberger et al. 2009
(ICML).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.tensors import NamedTensors, Shapes, Tensor
from fedseal.methods.compression import common_generator

Floats: TypeAlias = NDArray[np.float64]
Estimator: TypeAlias = Literal["closed-form", "conjugate-gradients", "neumann", "tracking"]


class LowerProblem(Protocol):
    """g at a solved point, as far as hypergradients need it."""

    @property
    def steepest(self) -> float:
        """An upper bound on the eigenvalues of d2g/dydy (L_g)."""

    def curvature(self, vector: Floats) -> Floats:
        """d2g/dydy times a vector of the model's space."""

    def back(self, vector: Floats) -> Floats:
        """- d2g/dxdy times a vector of the model's space: a vector of the common space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """The lower problem with hashed S.

    Attributes:
        buckets: b(j), shape (d,), each in 0 .. p - 1; every bucket has a member.
        signs: s(j), +1 or -1, shape (d,).
        dimension: p, at most d.
        ridge: beta, at least 0; with 0 the decoded model is the one nearest to the anchor.
    """

    buckets: NDArray[np.intp]
    signs: Floats
    dimension: int
    ridge: float

    @property
    def counts(self) -> Floats:
        """Coordinates in each bucket, shape (p,)."""
        return np.bincount(self.buckets, minlength=self.dimension).astype(np.float64)

    @property
    def steepest(self) -> float:
        """See `LowerProblem`."""
        return float(self.counts.max()) + self.ridge

    def measure(self, model: Floats) -> Floats:
        """S y, shape (p,)."""
        summed = np.bincount(self.buckets, weights=self.signs * model, minlength=self.dimension)
        return np.asarray(summed, dtype=np.float64)

    def spread(self, common: Floats) -> Floats:
        """S' x, shape (d,); elementwise, so that every party gets the same to the bit."""
        return self.signs * common[self.buckets]

    def decode(self, common: Floats, anchor: Floats) -> Floats:
        """y(x)."""
        return anchor + self.spread((common - self.measure(anchor)) / (self.counts + self.ridge))

    def encode(self, gradient: Floats) -> Floats:
        """Grad h for a gradient of f, in closed form."""
        return self.measure(gradient) / (self.counts + self.ridge)

    def curvature(self, vector: Floats) -> Floats:
        """See `LowerProblem`: (S' S + beta) v."""
        return self.spread(self.measure(vector)) + self.ridge * vector

    def back(self, vector: Floats) -> Floats:
        """See `LowerProblem`: S v."""
        return self.measure(vector)

    def model_step(self, common_gradient: Floats) -> Floats:
        """How y moves when x moves by diag(counts) times this gradient, which makes steps of both comparable."""
        return self.spread(self.counts / (self.counts + self.ridge) * common_gradient)


def hashed(dimension: int, size: int, ridge: float, *key: object) -> Hashed:
    """S for a public key such as (seed, round): the same for every party."""
    generator = common_generator("fedsep", *key)
    buckets = np.asarray(generator.permutation(size) % dimension, dtype=np.intp)
    signs = np.asarray(generator.integers(0, 2, size=size) * 2.0 - 1.0, dtype=np.float64)
    return Hashed(buckets=buckets, signs=signs, dimension=dimension, ridge=ridge)


def by_conjugate_gradients(problem: LowerProblem, gradient: Floats, steps: int) -> Floats:
    """Grad h by ``steps`` conjugate-gradient steps on d2g/dydy u = grad f, from u = 0."""
    solution, rest = np.zeros_like(gradient), gradient.copy()
    direction, length = rest.copy(), float(rest @ rest)
    for _ in range(steps):
        if length < 1e-30 * float(gradient @ gradient) or not length:
            break
        bent = problem.curvature(direction)
        step = length / float(direction @ bent)
        solution, rest = solution + step * direction, rest - step * bent
        former, length = length, float(rest @ rest)
        direction = rest + (length / former) * direction
    return problem.back(solution)


def by_neumann(problem: LowerProblem, gradient: Floats, steps: int) -> Floats:
    """Grad h by the first ``steps`` terms of u = t sum_q (I - t d2g/dydy)^q grad f, with t = 1 / L_g."""
    rate, term = 1 / problem.steepest, gradient
    solution = np.zeros_like(gradient)
    for _ in range(steps):
        solution = solution + rate * term
        term = term - rate * problem.curvature(term)
    return problem.back(solution)


@dataclass(slots=True)
class Tracker:
    """Grad h by one step a call: u <- u - t (d2g/dydy u - grad f), u kept from call to call; t = 1 / L_g."""

    problem: LowerProblem
    solution: Floats | None = field(default=None)

    def __call__(self, gradient: Floats) -> Floats:
        """The estimate after one more step."""
        if self.solution is None:
            self.solution = np.zeros_like(gradient)
        rest = self.problem.curvature(self.solution) - gradient
        self.solution = self.solution - rest / self.problem.steepest
        return self.problem.back(self.solution)


def estimator(name: Estimator, problem: Hashed, steps: int) -> Callable[[Floats], Floats]:
    """Grad h as a function of grad f; a new one for each local training, since `Tracker` remembers."""
    if name == "closed-form":
        return problem.encode
    if name == "tracking":
        return Tracker(problem)
    iterate = by_conjugate_gradients if name == "conjugate-gradients" else by_neumann
    return lambda gradient: iterate(problem, gradient, steps)


def corner(tensors: NamedTensors, shapes: Shapes) -> dict[str, Tensor]:
    """P x: of each tensor the leading block of the given shape."""
    return {name: tensors[name][tuple(slice(side) for side in shape)] for name, shape in shapes.items()}


def padded(tensors: NamedTensors, shapes: Shapes) -> dict[str, Tensor]:
    """P' y: each tensor as the leading block of one of the given shape, zero elsewhere."""
    grown: dict[str, Tensor] = {name: np.zeros(shape, dtype=tensors[name].dtype) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        grown[name][tuple(slice(side) for side in tensor.shape)] = tensor
    return grown


def support(tensor: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """1 where a tensor is among the ``ceil(share * size)`` largest by magnitude, first ones first; else 0."""
    kept = np.zeros(tensor.size, dtype=np.float32)
    kept[np.argsort(-np.abs(tensor.ravel()), kind="stable")[: int(np.ceil(share * tensor.size - 1e-9))]] = 1
    return kept.reshape(tensor.shape)


def thresholded(tensor: NDArray[np.float32], share: float, *, shrink: bool) -> NDArray[np.float32]:
    """The largest numbers of a tensor; ``shrink`` makes them smaller by the largest left out (a 1-norm penalty)."""
    kept = support(tensor, share)
    left = np.abs(np.where(kept > 0, 0, tensor)).max(initial=0.0) if shrink else 0.0
    return np.asarray(kept * np.sign(tensor) * (np.abs(tensor) - np.float32(left)), dtype=np.float32)
