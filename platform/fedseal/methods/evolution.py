"""Evolution strategies as a code for model changes: shared noise, fitness of its members, and the way back.

With Z the (M, width) matrix of a round's noise, M half the population, and delta a part of a model change:
- members come in mirrored pairs, w + sigma eps_i and w - sigma eps_i (eps_i the rows of Z);
- the fitness of a member is minus its squared distance to the trained model, and within a pair
  f_i - f_{i+M} = 4 sigma eps_i . delta exactly;
- so Z' Z delta / M, the decoded change, follows from the pairs' differences alone. It is unbiased and linear in
  delta; its error is that of a random projection: cos(decoded, delta) is about sqrt(M / (M + width)).

Rules this module keeps:
- Everyone draws the same noise: Philox keyed by SHA-256 of the job's seed and the round. The same rows serve every
  part of a partitioned model.
- Noise is streamed in blocks of rows. Only where a round's noise is small (`KEPT_VALUES`, as 16-bit numbers) are the
  last two rounds kept, since a round's noise is drawn once to encode and once to replay.
- Noise is rounded to multiples of 2^-12 and summed fitness comes in whole levels, so that decoding is arithmetic of
  whole numbers, exact in float64 in whatever order a machine's linear algebra adds. That is why replicas stay equal
  to the bit. It holds while levels of one part add up to less than 2^38 in absolute value.

Reference: Rahimi et al. 2023, EvoFed (NeurIPS); mirrored sampling as usual in evolution strategies.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats: TypeAlias = NDArray[np.float64]
Shaping: TypeAlias = Literal["none", "z-score", "centred-rank"]

GRAIN = 4096.0  # noise is a whole number of 1/4096
FURTHEST = 7.5  # beyond which a normal draw practically never lies; bounds the whole numbers
BLOCK_VALUES = 1 << 20
KEPT_VALUES = 1 << 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """A round's noise.

    Attributes:
        seed: The job's.
        round: From 0.
        pairs: M, at least 1.
        width: Coordinates of a part, at least 1.
    """

    seed: int
    round: int
    pairs: int
    width: int

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Rows of GRAIN * Z, whole numbers in float64, some rows at a time; which rows, and the block."""
        if self.pairs * self.width > KEPT_VALUES:
            yield from _drawn(self)
            return
        kept, rows = _kept(self), max(1, BLOCK_VALUES // self.width)
        for start in range(0, self.pairs, rows):
            yield slice(start, start + rows), kept[start : start + rows].astype(np.float64)


def _drawn(noise: Noise) -> Iterator[tuple[slice, Floats]]:
    text = f"fedseal.evolution-noise.v1 {noise.seed} {noise.round}"
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    generator = np.random.Generator(np.random.Philox(key=key))
    rows = max(1, BLOCK_VALUES // noise.width)
    for start in range(0, noise.pairs, rows):
        block = generator.standard_normal((min(rows, noise.pairs - start), noise.width))
        np.clip(block, -FURTHEST, FURTHEST, out=block)
        np.multiply(block, GRAIN, out=block)
        np.rint(block, out=block)
        yield slice(start, start + len(block)), block


@lru_cache(maxsize=2)
def _kept(noise: Noise) -> NDArray[np.int16]:
    """A round's noise in whole numbers, at most FURTHEST * GRAIN = 30,720."""
    return np.concatenate([block for _, block in _drawn(noise)]).astype(np.int16)


def parts_of(flat: Floats, count: int) -> Floats:
    """A flat vector as ``count`` parts of equal width, shape (count, width), filled up with zeros."""
    width = -(-flat.size // count)
    padded = np.zeros(count * width)
    padded[: flat.size] = flat
    return padded.reshape(count, width)


def fitness(noise: Noise, change: Floats, *, sigma: float, shaping: Shaping = "none") -> Floats:
    """Each member's fitness in each part.

    Args:
        noise: Of this round.
        change: delta, shape (parts, width).
        sigma: Scale of the noise, > 0.
        shaping: ``none``: minus the squared distance, without what is the same for both members of a pair
            (sigma^2 ||eps||^2 + ||delta||^2), which would only cancel: +-2 sigma eps . delta. Otherwise as in the
            authors' code: minus the distance itself, made comparable within the population.

    Returns:
        Shape (2 M, parts): members w + sigma eps_i, then their mirror images in the same order.
    """
    along, square = np.empty((noise.pairs, len(change))), np.empty((noise.pairs, 1))
    for rows, block in noise.blocks():
        along[rows] = block @ change.T / GRAIN
        square[rows, 0] = np.einsum("ij,ij->i", block, block) / GRAIN**2
    both = np.concatenate([along, -along]) * (2 * sigma)
    if shaping == "none":
        return both
    common = np.concatenate([square, square]) * sigma**2 + np.einsum("ij,ij->i", change, change)
    distance = np.sqrt(np.maximum(common - both, 0.0))
    return _ranked(-distance) if shaping == "centred-rank" else _standardised(-distance)


def decoded(noise: Noise, differences: Floats) -> Floats:
    """Sum over pairs of difference_i * eps_i, exact for whole numbers.

    Args:
        noise: Of the round in which the differences were measured.
        differences: Shape (M, parts).

    Returns:
        Shape (parts, width).
    """
    total = np.zeros((differences.shape[1], noise.width))
    for rows, block in noise.blocks():
        total += differences[rows].T @ block
    return total / GRAIN


def _standardised(values: Floats) -> Floats:
    spread = values.std(axis=0)
    standard: Floats = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return standard


def _ranked(values: Floats) -> Floats:
    """Ranks from -0.5 (worst) to 0.5; equal values share theirs."""
    ranks = np.asarray(rankdata(values, axis=0), dtype=np.float64) - 1
    scaled: Floats = ranks / max(1, len(values) - 1) - 0.5
    return scaled
