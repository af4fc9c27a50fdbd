"""The kernels of the encoding: clip, round stochastically, shift into lanes; and back.

Values are placed lane by lane: lane 0 holds the first `words` values, lane 1 the next, and so on. Every
operation is then on contiguous memory. Work goes in blocks that stay in cache.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fedseal_crypto.encoding._noise import Noise
from fedseal_crypto.encoding._ring import RunView, Words

_BLOCK = 1 << 15  # values: scratch arrays and noise for one block are three quarters of a megabyte
_SHIFT = 1.5 * 2.0**52
_SHIFTED_BITS = int(np.float64(_SHIFT).view(np.int64))
_ENOUGH_BITS = 24  # of a fraction, for the quick way


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
    itself. F is 32 for up to 2^18 levels and no less than 24 up to 2^26, then 32 again up to 2^29, and less as
    levels take more of the 64 bits, down to 9 at 2^51.

    The quick way to a whole number is to add 1.5 * 2^52, which leaves it in the lowest bits of the float; that
    has room for 51 bits. Beyond, a conversion, which no machine instruction does four at a time, has 62.
    """

    def __init__(self, job: LaneValues, generator: np.random.Generator) -> None:
        self._job = job
        self._noise = Noise(generator)
        self._value = np.empty(_BLOCK, np.float64)
        self._level = np.empty(_BLOCK, np.int64)
        level_bits = job.levels.bit_length()
        self._quick = 50 - level_bits >= _ENOUGH_BITS
        bits = min(32, 50 - level_bits if self._quick else 61 - level_bits)
        self._fraction_bits = bits
        self._zero = (job.levels << bits) - (_SHIFTED_BITS if self._quick else 0)
        # Dividing by step / 2^F is dividing by the step and then scaling exactly. A power of two has an exact
        # inverse, and multiplying is quicker.
        step = job.step * 2.0**-bits
        self._inverse = 1 / step if math.frexp(step)[0] == 0.5 else None
        self._step = step
        self.clipped = 0

    def levels(self, values: NDArray[Any]) -> NDArray[np.int64] | None:
        """The levels of one block, or None if a value is not finite."""
        low, high = float(values.min()), float(values.max())
        # min and max propagate NaN, so these two tests see every value.
        if not (math.isfinite(low) and math.isfinite(high)):
            return None
        value, bound = self._value[: values.size], self._job.bound
        np.copyto(value, values)
        if high > bound or low < -bound:
            self.clipped += int(np.count_nonzero(np.abs(value) > bound))
            np.clip(value, -bound, bound, out=value)
        if self._inverse is None:
            np.divide(value, self._step, out=value)
        else:
            np.multiply(value, self._inverse, out=value)
        level = self._whole(value)
        level += self._zero
        level += self._noise.below(self._fraction_bits, values.size)
        level >>= self._fraction_bits
        return level

    def _whole(self, value: NDArray[np.float64]) -> NDArray[np.int64]:
        """Whole numbers, too large by `_SHIFTED_BITS` if they came the quick way."""
        if self._quick:
            np.add(value, _SHIFT, out=value)
            return value.view(np.int64)
        level = self._level[: value.size]
        np.copyto(level, value, casting="unsafe")
        return level


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
