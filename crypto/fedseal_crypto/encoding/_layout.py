"""How named vectors of real numbers become one ring vector, and how their sum comes back.

A value v in [-B, B] with step r is stored as the level `round(v / r) + M`, a whole number in [0, 2M] with
M = ceil(B / r). The sum over a cohort of n is at most 2·M·n, so a lane of `bit_length(2·M·n)` bits never
overflows, and several lanes share a word without carries between them. Whoever decodes the sum knows how many
contributions it has, and takes `count · M` away.

Rules it keeps:
- The layout follows from the specifications and the cohort alone, so that every party computes the same one;
  its digest is bound into every key of a round.
- A value outside the bound is clipped and counted, never wrapped; a value that is not finite is refused.
- Rounding is stochastic and unbiased: a value between two levels goes to either with the probability that
  makes the mean right (Gupta et al., ICML 2015, section 3), to within 2^-24 of a step for up to 2^37 levels and
  2^-9 at 2^51.
- Every contribution adds 1 to a hidden 64-bit check word. A sum whose check word is not the number of
  contributions, or with a lane out of range, is refused: masks that did not cancel pass with probability
  2^-64.

Reference: secure-aggregation practice of Bonawitz et al. (CCS 2017) section 7 for the ring; packing into
lanes after Zhang et al. (BatchCrypt, ATC 2020). It leaves out weights and clipping by norm: methods do these.
"""

import hashlib
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fedseal_crypto.encoding._errors import LayoutInvalid, SumInconsistent, ValuesInvalid
from fedseal_crypto.encoding._lanes import Lanes, LaneValues, decode_lanes, encode_lanes
from fedseal_crypto.encoding._ring import WORD_WIDTHS, RingShape, RingVector, WordRun

_LABEL = b"fedseal/encoding/v1/layout"
_NAME = re.compile(r"[!-~]{1,128}")
MAXIMUM_COHORT = 65_535  # members are numbered with 16 bits on the wire
MAXIMUM_LEVELS = 1 << 51  # levels are exact in float64 arithmetic
MAXIMUM_VECTORS = 65_535
MAXIMUM_LENGTH = 1 << 33


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSpec:
    """One named vector that every member contributes.

    Attributes:
        name: 1 to 128 printable ASCII characters without spaces.
        length: Number of values, 1 to 2^33.
        bound: Values lie in [-bound, bound]; beyond it they are clipped and counted. Finite, positive.
        resolution: The step between two levels, in the same unit; positive, at most `bound`.

    Raises:
        LayoutInvalid: One of these does not hold.
    """

    name: str
    length: int
    bound: float
    resolution: float

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise LayoutInvalid(
                f"{self.name[:80]!r} cannot name a vector; use 1 to 128 printable ASCII characters without spaces."
            )
        if not 1 <= self.length <= MAXIMUM_LENGTH:
            raise LayoutInvalid(f"vector {self.name!r} has length {self.length}; 1 to {MAXIMUM_LENGTH} is possible.")
        if not (math.isfinite(self.bound) and 0 < self.resolution <= self.bound):
            raise LayoutInvalid(
                f"vector {self.name!r} has bound {self.bound} and resolution {self.resolution}; the bound must be "
                "finite and the resolution positive and not larger than the bound."
            )
        if self.bound / self.resolution > MAXIMUM_LEVELS:
            raise LayoutInvalid(
                f"vector {self.name!r} asks for {self.bound / self.resolution:.3g} levels; choose a coarser "
                f"resolution, so that bound / resolution is at most 2^51."
            )

    @property
    def levels(self) -> int:
        """M: the number of steps between 0 and the bound."""
        return math.ceil(self.bound / self.resolution)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Where one vector lies: in which run, from which word on, in how many lanes.

    Attributes:
        spec: The vector.
        lanes: Width and number of lanes of a word, and the number of words.
        word_bits: Width of the run it lies in.
        first_word: Index of its first word in that run.
    """

    spec: VectorSpec
    lanes: Lanes
    word_bits: int
    first_word: int


@final
@dataclass(frozen=True, slots=True)
class Encoded:
    """The result of encoding: the ring vector, and how many values of each vector were clipped."""

    words: RingVector
    clipped: Mapping[str, int]


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """The common plan of all members of a cohort for one contribution; make it with `plan`.

    Attributes:
        specs: The vectors, in the order given.
        cohort: The largest number of contributions that one sum can have.
        segments: Where each vector lies, in the order of `specs`.
        shape: The runs of the ring vector.
    """

    specs: tuple[VectorSpec, ...]
    cohort: int
    segments: tuple[Segment, ...]
    shape: RingShape

    @classmethod
    def plan(cls, specs: Sequence[VectorSpec], *, cohort: int) -> "Layout":
        """Lay out `specs` for sums of up to `cohort` contributions.

        Raises:
            LayoutInvalid: A name repeats, there is no vector, the cohort is not 1 to 65535, or a vector's
                sum does not fit in 64 bits.
        """
        if not 1 <= cohort <= MAXIMUM_COHORT:
            raise LayoutInvalid(f"a cohort of {cohort} is not possible; use 1 to {MAXIMUM_COHORT}.")
        if not 1 <= len(specs) <= MAXIMUM_VECTORS:
            raise LayoutInvalid(f"a contribution has 1 to {MAXIMUM_VECTORS} vectors, not {len(specs)}.")
        names = [spec.name for spec in specs]
        repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if repeated:
            raise LayoutInvalid(f"the vector {repeated[0]!r} is described twice; give each its own name.")
        # The first 64-bit word is the check word, see the module's docstring.
        used = {bits: int(bits == 64) for bits in WORD_WIDTHS}
        segments = []
        for spec in specs:
            word_bits, lanes = _pack(spec, cohort)
            segments.append(Segment(spec=spec, lanes=lanes, word_bits=word_bits, first_word=used[word_bits]))
            used[word_bits] += lanes.words
        runs = tuple(WordRun(bits=bits, count=count) for bits, count in used.items() if count)
        shape = RingShape(layout_digest=_digest(specs, cohort), runs=runs)
        return cls(tuple(specs), cohort, tuple(segments), shape)

    @property
    def digest(self) -> bytes:
        """32 bytes that name this layout."""
        return self.shape.layout_digest

    @property
    def wire_bytes(self) -> int:
        """Size of one encoded contribution."""
        return self.shape.wire_bytes

    def encode(self, values: Mapping[str, NDArray[Any]], *, generator: np.random.Generator) -> Encoded:
        """Clip, round and pack one member's values.

        Args:
            values: For each vector, an array of shape `(length,)` of a floating or integer type.
            generator: The source of the random rounding; it need not be cryptographic.

        Raises:
            ValuesInvalid: A vector is missing, unknown, has another shape or holds NaN or infinity.
        """
        self._check_values(values)
        words = RingVector.zeros(self.shape)
        clipped = {}
        for segment in self.segments:
            view = words.views[self._run_index(segment)]
            job = LaneValues(
                lanes=segment.lanes,
                bound=segment.spec.bound,
                step=segment.spec.resolution,
                levels=segment.spec.levels,
            )
            count = encode_lanes(
                job, values[segment.spec.name], view=view, first_word=segment.first_word, generator=generator
            )
            if count is None:
                raise ValuesInvalid(
                    f"vector {segment.spec.name!r} holds a value that is not a finite number; training diverged "
                    "or the data has a gap. Nothing was encoded."
                )
            clipped[segment.spec.name] = count
        words.segments[0][0] = 1  # the check word; 64-bit runs are never copies
        return Encoded(words, clipped)

    def decode(self, words: RingVector, *, count: int) -> dict[str, NDArray[np.float64]]:
        """The sums of `count` contributions, as float64 arrays of shape `(length,)`.

        Raises:
            ValuesInvalid: `words` is of another layout, or `count` is not 1 to `cohort`.
            SumInconsistent: The sum cannot be one of `count` contributions.
        """
        if words.shape != self.shape:
            raise ValuesInvalid("the sum belongs to another layout.")
        if not 1 <= count <= self.cohort:
            raise ValuesInvalid(f"a sum of {count} contributions; this layout holds 1 to {self.cohort}.")
        runs = words.segments
        check = int(runs[0][0])
        if check != count:
            raise SumInconsistent(
                f"the check word of the sum is not {count}, the number of contributions: the masks did not cancel."
            )
        sums = {}
        for segment in self.segments:
            sums[segment.spec.name] = self._decode_segment(segment, runs[self._run_index(segment)], count)
        return sums

    def _decode_segment(self, segment: Segment, run: NDArray[Any], count: int) -> NDArray[np.float64]:
        part = run[segment.first_word : segment.first_word + segment.lanes.words]
        total = decode_lanes(segment.lanes, part, count=count, levels=segment.spec.levels)
        if total is None:
            raise SumInconsistent(
                f"the sum of vector {segment.spec.name!r} is larger than {count} contributions can give: "
                "a contribution was out of range or the masks did not cancel."
            )
        return total * segment.spec.resolution

    def _run_index(self, segment: Segment) -> int:
        return next(i for i, run in enumerate(self.shape.runs) if run.bits == segment.word_bits)

    def _check_values(self, values: Mapping[str, NDArray[Any]]) -> None:
        names = {spec.name for spec in self.specs}
        for name in sorted(names - values.keys()):
            raise ValuesInvalid(f"the vector {name!r} is missing from the contribution.")
        for name in sorted(values.keys() - names):
            raise ValuesInvalid(f"the vector {name!r} is not part of this layout.")
        for spec in self.specs:
            array = values[spec.name]
            if array.shape != (spec.length,):
                raise ValuesInvalid(f"vector {spec.name!r} has shape {array.shape}, expected ({spec.length},).")
            if array.dtype.kind not in "fiu":
                raise ValuesInvalid(f"vector {spec.name!r} has type {array.dtype}, expected real numbers.")


def _pack(spec: VectorSpec, cohort: int) -> tuple[int, Lanes]:
    """The word width and lanes that need the fewest bytes; of equals the machine's own widths first."""
    lane_bits = (2 * spec.levels * cohort).bit_length()
    best: tuple[tuple[int, bool], int, Lanes] | None = None
    for bits in (32, 64, 16, 24):
        per_word = min(bits // lane_bits, spec.length)
        if per_word == 0:
            continue
        lanes = Lanes(bits=lane_bits, per_word=per_word, length=spec.length)
        cost = (lanes.words * bits, bits == 24)
        if best is None or cost < best[0]:
            best = (cost, bits, lanes)
    if best is None:
        raise LayoutInvalid(
            f"the sum of vector {spec.name!r} over {cohort} members needs {lane_bits} bits; 64 is the most. "
            "Choose a coarser resolution or a smaller bound."
        )
    return best[1], best[2]


def _digest(specs: Sequence[VectorSpec], cohort: int) -> bytes:
    out = hashlib.sha256(_LABEL)
    out.update(struct.pack(">II", cohort, len(specs)))
    for spec in specs:
        name = spec.name.encode("ascii")
        out.update(struct.pack(">H", len(name)) + name)
        out.update(struct.pack(">Qdd", spec.length, spec.bound, spec.resolution))
    return out.digest()
