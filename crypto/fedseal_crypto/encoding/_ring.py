"""Vectors over rings of integers modulo a power of two, in the exact byte form that travels.

A ring vector is a list of runs; a run is a number of equally wide words. Words are 16, 24, 32 or 64 bits
wide, so that addition modulo 2^width is one machine operation and needs no rejection sampling.

Rules it keeps:
- One byte form: runs in the order 64, 32, 16, 24 bits (each then starts aligned), words little-endian. A
  24-bit run is two planes, all low 16 bits and then all high 8 bits, which converts at memory speed.
- Reading a buffer copies nothing; a vector over a read-only buffer cannot be added to.
- A vector never shows its words in `repr`.

It leaves out what the words mean; that is the layout's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self, final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fedseal_crypto.encoding._errors import LayoutInvalid, RingBytesInvalid, RingMismatch

Words = NDArray[np.unsignedinteger[Any]]

WORD_WIDTHS = (64, 32, 16, 24)  # the order of runs in the byte form
MAXIMUM_WIRE_BYTES = 1 << 36  # 64 GiB: far above any model here, far below overflow of a file offset
DIGEST_SIZE = 32
BLOCK_BYTES = 128 << 10  # a block of words and its keystream both stay in a 2 MB second-level cache

_NATIVE: dict[int, np.dtype[Any]] = {64: np.dtype("<u8"), 32: np.dtype("<u4"), 16: np.dtype("<u2")}
_PLANE_LOW = np.dtype("<u2")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WordRun:
    """A number of words of one width.

    Attributes:
        bits: Width of a word: 16, 24, 32 or 64.
        count: Number of words, at least 1.

    Raises:
        LayoutInvalid: The width is not one of these, or the count is not positive.
    """

    bits: int
    count: int

    def __post_init__(self) -> None:
        if self.bits not in WORD_WIDTHS:
            raise LayoutInvalid(f"ring words are 16, 24, 32 or 64 bits wide, not {self.bits}.")
        if self.count < 1:
            raise LayoutInvalid(f"a run of {self.bits}-bit words has {self.count} words; at least 1 is needed.")

    @property
    def wire_bytes(self) -> int:
        """Size of the run in its byte form."""
        return self.count * self.bits // 8

    @property
    def compute_dtype(self) -> np.dtype[Any]:
        """The machine word in which the run is added; 24-bit words are added in 32 bits."""
        return _NATIVE[32 if self.bits == 24 else self.bits]


class Shaped(Protocol):
    """Anything that knows the shape of a ring vector: a `RingShape` or a `Layout`."""

    @property
    def shape(self) -> "RingShape":
        """The runs and the layout they belong to."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RingShape:
    """The runs of a ring vector, and the digest of the layout that gives them meaning.

    Attributes:
        layout_digest: 32 bytes.
        runs: At least one, each width at most once, in the order 64, 32, 16, 24.

    Raises:
        LayoutInvalid: One of these does not hold, or the vector would be larger than 64 GiB.
    """

    layout_digest: bytes
    runs: tuple[WordRun, ...]

    def __post_init__(self) -> None:
        if len(self.layout_digest) != DIGEST_SIZE:
            raise LayoutInvalid(f"a layout digest has {DIGEST_SIZE} bytes, not {len(self.layout_digest)}.")
        order = [WORD_WIDTHS.index(run.bits) for run in self.runs]
        if not order or order != sorted(set(order)):
            raise LayoutInvalid("the runs of a ring vector come once each, in the order 64, 32, 16, 24 bits.")
        if self.wire_bytes > MAXIMUM_WIRE_BYTES:
            raise LayoutInvalid(f"a ring vector of {self.wire_bytes} bytes is larger than {MAXIMUM_WIRE_BYTES}.")

    @property
    def shape(self) -> "RingShape":
        """Itself, so that a shape can be passed wherever a layout can."""
        return self

    @property
    def wire_bytes(self) -> int:
        """Exact size of the byte form."""
        return sum(run.wire_bytes for run in self.runs)


class RunView(Protocol):
    """Access to one run of a vector, block by block, in machine words."""

    @property
    def run(self) -> WordRun:
        """Width and number of the words."""
        ...

    def load(self, start: int, stop: int, scratch: Words) -> Words:
        """Words `start` to `stop`; possibly a view of the vector, possibly `scratch` filled."""
        ...

    def store(self, start: int, stop: int, words: Words) -> None:
        """Write back what `load` gave, after it was changed in place."""
        ...


@final
@dataclass(frozen=True, slots=True)
class _NativeRun:
    """A run whose words are machine words: blocks are views, storing back is nothing."""

    run: WordRun
    words: Words

    def load(self, start: int, stop: int, scratch: Words) -> Words:  # noqa: ARG002  # see RunView
        return self.words[start:stop]

    def store(self, start: int, stop: int, words: Words) -> None:
        view = self.words[start:stop]
        if not np.may_share_memory(view, words):
            np.copyto(view, words)


@final
@dataclass(frozen=True, slots=True)
class _PlanarRun:
    """A 24-bit run, joined into 32-bit words on loading and cut back on storing."""

    run: WordRun
    low: NDArray[np.uint16]
    high: NDArray[np.uint8]

    def load(self, start: int, stop: int, scratch: Words) -> Words:
        block = scratch[: stop - start]
        np.copyto(block, self.high[start:stop])
        np.left_shift(block, 16, out=block)
        np.bitwise_or(block, self.low[start:stop], out=block)
        return block

    def store(self, start: int, stop: int, words: Words) -> None:
        np.copyto(self.low[start:stop], words, casting="unsafe")
        np.copyto(self.high[start:stop], words >> 16, casting="unsafe")


@final
class RingVector:
    """One vector over the ring, in its byte form.

    Make one with `zeros` or `from_bytes`; a memory-mapped file is read with
    `RingVector.from_bytes(layout, numpy.memmap(path, dtype="uint8", mode="r"))`.
    """

    __slots__ = ("_buffer", "_views", "shape")
    # Equality compares words, which change: no hash.
    __hash__ = None  # type: ignore[assignment]  # the documented way to make a class unhashable

    def __init__(self, shape: RingShape, buffer: NDArray[np.uint8]) -> None:
        self.shape = shape
        self._buffer = buffer
        self._views = tuple(_views(shape, buffer))

    @classmethod
    def zeros(cls, shaped: Shaped) -> Self:
        """The neutral element of addition."""
        shape = shaped.shape
        return cls(shape, np.zeros(shape.wire_bytes, np.uint8))

    @classmethod
    def from_bytes(cls, shaped: Shaped, buffer: bytes | bytearray | memoryview | NDArray[np.uint8]) -> Self:
        """Read the byte form without copying it.

        Raises:
            RingBytesInvalid: The buffer is not exactly as long as the shape says.
        """
        shape = shaped.shape
        flat = np.frombuffer(buffer, np.uint8)
        if flat.size != shape.wire_bytes:
            raise RingBytesInvalid(
                f"a vector of this layout has {shape.wire_bytes} bytes, not {flat.size}; it is from another "
                "layout or was cut short."
            )
        return cls(shape, flat)

    @property
    def views(self) -> tuple[RunView, ...]:
        """The runs in order, for work block by block."""
        return self._views

    @property
    def segments(self) -> tuple[Words, ...]:
        """Each run as machine words; a copy for 24-bit runs, otherwise a view."""
        return tuple(
            view.load(0, view.run.count, np.empty(view.run.count, view.run.compute_dtype)) for view in self._views
        )

    @property
    def buffer(self) -> memoryview:
        """The byte form, without a copy."""
        return self._buffer.data

    def to_bytes(self) -> bytes:
        """The byte form, copied."""
        return self._buffer.tobytes()

    def iter_chunks(self, size: int) -> Iterator[memoryview]:
        """The byte form in pieces of `size` bytes (the last may be shorter), without copies."""
        whole = self.buffer
        for start in range(0, len(whole), size):
            yield whole[start : start + size]

    def digest(self) -> bytes:
        """BLAKE3 of the byte form, 32 bytes: three times as quick as SHA-256, which would be a third of a sum."""
        return blake3(self.buffer).digest()

    def copy(self) -> "RingVector":
        """A vector of its own with the same words."""
        return RingVector(self.shape, self._buffer.copy())

    def add_in_place(self, other: "RingVector") -> None:
        """Add `other`, word by word modulo the width, in blocks.

        Raises:
            RingMismatch: The shapes or layouts differ.
        """
        if self.shape != other.shape:
            raise RingMismatch("the two vectors have different layouts and cannot be added.")
        for mine, theirs in zip(self._views, other.views, strict=True):
            _add_run(mine, theirs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RingVector):
            return NotImplemented
        return self.shape == other.shape and bool(np.array_equal(self._buffer, other._buffer))

    def __repr__(self) -> str:
        runs = ", ".join(f"{run.count}x{run.bits}" for run in self.shape.runs)
        return f"RingVector({runs} bits)"


def block_ranges(run: WordRun) -> Iterator[tuple[int, int]]:
    """The run cut into blocks of `BLOCK_BYTES` machine words: (start, stop) word indices."""
    step = BLOCK_BYTES // run.compute_dtype.itemsize
    for start in range(0, run.count, step):
        yield start, min(run.count, start + step)


def _add_run(mine: RunView, theirs: RunView) -> None:
    size = min(mine.run.count, BLOCK_BYTES // mine.run.compute_dtype.itemsize)
    scratch = np.empty((2, size), mine.run.compute_dtype)
    for start, stop in block_ranges(mine.run):
        total = mine.load(start, stop, scratch[0])
        np.add(total, theirs.load(start, stop, scratch[1]), out=total)
        mine.store(start, stop, total)


def _views(shape: RingShape, buffer: NDArray[np.uint8]) -> Iterator[RunView]:
    offset = 0
    for run in shape.runs:
        part = buffer[offset : offset + run.wire_bytes]
        offset += run.wire_bytes
        if run.bits == 24:
            low = 2 * run.count
            yield _PlanarRun(run, part[:low].view(_PLANE_LOW), part[low:])
        else:
            yield _NativeRun(run, part.view(run.compute_dtype))
