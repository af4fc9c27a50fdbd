"""The kernels of the encoding: clip, round stochastically, shift into lanes; and back.

Values are placed lane by lane: lane 0 holds the first `words` values, lane 1 the next, and so on. Every
operation is then on contiguous memory. Work goes in blocks that stay in cache.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fedseal_crypto.encoding._ring import RunView, Words

_BLOCK = 1 << 14  # values: four float64 scratch arrays of this length are half a megabyte


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """How many lanes of which width a word has.

    Attributes:
        bits: Width of a lane, 1 to 64.
        per_word: Lanes in a word, at least 1.
        length: Number of values.
    """

    bits: int
    per_word: int
    length: int

    @property
    def words(self) -> int:
        """Number of words that hold all values."""
        return -(-self.length // self.per_word)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LaneValues:
    """What `encode_lanes` must know: lanes, clip bound, step, and M, the level of zero."""

    lanes: Lanes
    bound: float
    step: float
    levels: int


@final
class _Rounder:
    """Turns blocks of values into levels; keeps its scratch arrays between blocks.

    A value is scaled to a whole number of 2^-F steps, M steps and a random number below 2^F are added, and
    the lowest F bits are dropped: it goes up with the probability of its fraction, and a whole number stays
    itself. F is 32 for up to 2^29 levels, and less as levels take more of the 64 bits, down to 10 at 2^51.
    """

    def __init__(self, job: LaneValues, generator: np.random.Generator) -> None:
        self._job = job
        self._generator = generator
        self._value = np.empty(_BLOCK, np.float64)
        self._level = np.empty(_BLOCK, np.int64)
        self._fraction_bits = min(32, 62 - (2 * job.levels).bit_length())
        self.clipped = 0

    def levels(self, values: NDArray[Any]) -> NDArray[np.int64] | None:
        """The levels of one block, or None if a value is not finite."""
        value, level = self._value[: values.size], self._level[: values.size]
        np.copyto(value, values)
        low, high = float(value.min()), float(value.max())
        # min and max propagate NaN, so these two tests see every value.
        if not (math.isfinite(low) and math.isfinite(high)):
            return None
        job, shift = self._job, self._fraction_bits
        if high > job.bound or low < -job.bound:
            self.clipped += int(np.count_nonzero(np.abs(value) > job.bound))
            np.clip(value, -job.bound, job.bound, out=value)
        # Dividing by step / 2^F is dividing by the step and then scaling exactly.
        np.divide(value, job.step * 2.0**-shift, out=value)
        np.copyto(level, value, casting="unsafe")
        level += job.levels << shift
        level += self._random(values.size, shift)
        level >>= shift
        return level

    def _random(self, size: int, bits: int) -> NDArray[np.uint32]:
        """Uniform numbers of up to 32 bits; straight from the bit generator, which is the quickest."""
        raw: NDArray[np.uint64] = self._generator.bit_generator.random_raw((size + 1) // 2)
        words = raw.view(np.uint32)[:size]
        return words if bits == 32 else np.right_shift(words, np.uint32(32 - bits))


def encode_lanes(
    job: LaneValues,
    values: NDArray[Any],
    *,
    view: RunView,
    first_word: int,
    generator: np.random.Generator,
) -> int | None:
    """Write all values into their words.

    Returns:
        The number of values that were clipped, or None if one is not a finite number.
    """
    lanes = job.lanes
    rounder = _Rounder(job, generator)
    scratch: Words
    scratch, shifted = np.empty((2, _BLOCK), view.run.compute_dtype)
    for start in range(0, lanes.words, _BLOCK):
        stop = min(lanes.words, start + _BLOCK)
        word = scratch[: stop - start]
        for lane in range(lanes.per_word):
            part = values[lane * lanes.words + start : min(lane * lanes.words + stop, lanes.length)]
            if part.size == 0:
                break
            level = rounder.levels(part)
            if level is None:
                return None
            if lane == 0:
                # Lane 0 always reaches the end of the block, so it needs no zeros below it.
                np.copyto(word, level, casting="unsafe")
                continue
            lifted = shifted[: part.size]
            np.copyto(lifted, level, casting="unsafe")
            np.left_shift(lifted, lane * lanes.bits, out=lifted)
            np.bitwise_or(word[: part.size], lifted, out=word[: part.size])
        view.store(first_word + start, first_word + stop, word)
    return rounder.clipped


def decode_lanes(lanes: Lanes, words: Words, *, count: int, levels: int) -> NDArray[np.float64] | None:
    """The sums of levels, less `count * levels`, as float64; None if one is out of range.

    Float64 holds every sum below 2^53 exactly; larger ones (only from single-lane 64-bit words) are rounded
    once, to 53 bits.
    """
    out = np.empty(lanes.length, np.float64)
    mask = (1 << lanes.bits) - 1
    most = 2 * levels * count
    for start in range(0, lanes.words, _BLOCK):
        stop = min(lanes.words, start + _BLOCK)
        block = words[start:stop].astype(np.uint64)
        for lane in range(lanes.per_word):
            first = lane * lanes.words + start
            size = max(0, min(lane * lanes.words + stop, lanes.length) - first)
            level = block if lanes.per_word == 1 else (block >> np.uint64(lane * lanes.bits)) & np.uint64(mask)
            if int(level.max()) > most or level[size:].any():
                return None
            # Subtract as whole numbers: |sum| < 2^63, so two's complement gives the signed difference.
            signed = (level[:size] - np.uint64(count * levels)).view(np.int64)
            out[first : first + size] = signed
        top = lanes.per_word * lanes.bits
        # Bits above the last lane are never used, so they must be zero.
        if top < words.dtype.itemsize * 8 and bool((block >> np.uint64(top)).any()):
            return None
    return out
