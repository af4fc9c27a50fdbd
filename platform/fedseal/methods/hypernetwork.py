"""Log variances of one layer from a node's embedding, and gradients back through that, in NumPy.

    u = H_psi(e),    lambda = clamp(u, -8.5, 8.5) - 8.5

H is Linear - LeakyReLU(0.1), three times, and a last Linear; e is the embedding of one node. `SharedRates` is a
control: the same without a network, u is psi itself and there is no embedding.

Rules this module keeps:
- All are pure functions; `pulled_back` multiplies a direction by the transposed Jacobian of lambda at (psi, e), the
  clamp included: entries beyond it get no gradient.
- A node needs nothing but psi and its own embedding for both, so that neither embedding nor lambda leaves it.

Source: Jeon et al. 2023 (NeurIPS), form and initial values as in the authors' code.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.tensors import NamedTensors, Shapes

Floats = NDArray[np.float64]

HIGHEST = 8.5
SLOPE = 0.1
LAYERS = 4
BIAS_SPREAD = 1e-3
RATES = "rates"


class Rates(Protocol):
    """What gives the log variances."""

    @property
    def embedding(self) -> int:
        """Length of a node's embedding; 0 for none."""

    @property
    def shapes(self) -> Shapes:
        """Of psi."""

    def initial(self, seed: int) -> NamedTensors:
        """Psi before the first round."""

    def log_variances(self, psi: NamedTensors, embedding: Floats) -> Floats:
        """Lambda, flat, in [-17, 0]."""

    def pulled_back(self, psi: NamedTensors, embedding: Floats, direction: Floats) -> tuple[dict[str, Floats], Floats]:
        """Transposed Jacobian of lambda times ``direction``: for psi, and for the embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypernetwork:
    """A network for each weight's log variance.

    Attributes:
        embedding: Length of e, at least 1.
        hidden: Units of each of the three hidden layers, at least 1.
        outputs: How many log variances.
    """

    embedding: int
    hidden: int
    outputs: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """``layer<i>.weight`` of shape (out, in) and ``layer<i>.bias`` of shape (out,)."""
        sizes = (self.embedding, *[self.hidden] * (LAYERS - 1), self.outputs)
        shapes: dict[str, tuple[int, ...]] = {}
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            shapes[f"layer{index}.weight"] = (outputs, inputs)
            shapes[f"layer{index}.bias"] = (outputs,)
        return shapes

    def initial(self, seed: int) -> dict[str, Floats]:
        """Weights normal with variance 2 / (in + out) (Xavier), biases with standard deviation 0.001."""
        generator = np.random.Generator(np.random.Philox(seed))
        made = {}
        for name, shape in sorted(self.shapes.items()):
            spread = np.sqrt(2 / sum(shape)) if name.endswith("weight") else BIAS_SPREAD
            made[name] = generator.normal(scale=spread, size=shape)
        return made

    def log_variances(self, psi: NamedTensors, embedding: Floats) -> Floats:
        """See `Rates`."""
        return clamped(self._passed(psi, embedding)[-1])

    def pulled_back(self, psi: NamedTensors, embedding: Floats, direction: Floats) -> tuple[dict[str, Floats], Floats]:
        """See `Rates`."""
        values = self._passed(psi, embedding)
        back = direction * unclamped(values[-1])
        found = {}
        for index in reversed(range(LAYERS)):
            before = values[index]
            entered = before if index == 0 else _bent(before)
            found[f"layer{index}.weight"], found[f"layer{index}.bias"] = np.outer(back, entered), back
            back = _matrix(psi, index).T @ back
            if index:
                back = back * np.where(before > 0, 1.0, SLOPE)
        return found, back

    def _passed(self, psi: NamedTensors, embedding: Floats) -> list[Floats]:
        """The embedding, then what each layer gives before it is bent."""
        values = [np.asarray(embedding, dtype=np.float64)]
        for index in range(LAYERS):
            entered = values[-1] if index == 0 else _bent(values[-1])
            values.append(_matrix(psi, index) @ entered + np.asarray(psi[f"layer{index}.bias"], dtype=np.float64))
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRates:
    """One set of log variances for all nodes."""

    outputs: int
    embedding: int = 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """One number for each weight."""
        return {RATES: (self.outputs,)}

    def initial(self, seed: int) -> dict[str, Floats]:  # noqa: ARG002 - see `Rates`
        """0: the smallest variance that counts."""
        return {RATES: np.zeros(self.outputs)}

    def log_variances(self, psi: NamedTensors, embedding: Floats) -> Floats:  # noqa: ARG002 - see `Rates`
        """See `Rates`."""
        return clamped(np.asarray(psi[RATES], dtype=np.float64))

    def pulled_back(self, psi: NamedTensors, embedding: Floats, direction: Floats) -> tuple[dict[str, Floats], Floats]:
        """See `Rates`."""
        return {RATES: direction * unclamped(psi[RATES])}, np.zeros_like(embedding)


def clamped(output: Floats) -> Floats:
    """Lambda from u."""
    return np.clip(output, -HIGHEST, HIGHEST) - HIGHEST


def unclamped(output: Floats) -> Floats:
    """1 where the clamp lets a gradient through, else 0."""
    return (np.abs(output) <= HIGHEST).astype(np.float64)


def _bent(values: Floats) -> Floats:
    return np.where(values > 0, values, SLOPE * values)


def _matrix(psi: NamedTensors, index: int) -> Floats:
    return np.asarray(psi[f"layer{index}.weight"], dtype=np.float64)
