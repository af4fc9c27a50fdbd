"""Ring vectors: the byte form, wrap-around, and what must not be combined."""

from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from fedseal_crypto.encoding import (
    Layout,
    LayoutInvalid,
    RingBytesInvalid,
    RingMismatch,
    RingShape,
    RingVector,
    VectorSpec,
    WordRun,
)

ALL_WIDTHS = RingShape(
    layout_digest=bytes(32),
    runs=tuple(WordRun(bits=bits, count=count) for bits, count in ((64, 3), (32, 5), (16, 7), (24, 40_001))),
)


def filled(seed: int, shape: RingShape = ALL_WIDTHS) -> RingVector:
    return RingVector.from_bytes(shape, bytearray(np.random.default_rng(seed).bytes(shape.wire_bytes)))


def as_integers(vector: RingVector) -> list[list[int]]:
    return [[int(word) for word in run] for run in vector.segments]


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_addition_is_modulo_each_width(one: int, other: int) -> None:
    shape = RingShape(layout_digest=bytes(32), runs=tuple(WordRun(bits=bits, count=9) for bits in (64, 32, 16, 24)))
    a, b = filled(one, shape), filled(other, shape)
    expected = [
        [(x + y) % (1 << run.bits) for x, y in zip(left, right, strict=True)]
        for run, left, right in zip(shape.runs, as_integers(a), as_integers(b), strict=True)
    ]
    a.add_in_place(b)
    assert as_integers(a) == expected


def test_bytes_round_trip_without_copies() -> None:
    raw = filled(1).to_bytes()
    vector = RingVector.from_bytes(ALL_WIDTHS, raw)
    assert vector.to_bytes() == raw
    assert b"".join(vector.iter_chunks(1000)) == raw
    assert max(len(chunk) for chunk in vector.iter_chunks(1000)) == 1000
    assert vector.digest() == blake3(raw).digest()
    assert np.shares_memory(np.frombuffer(vector.buffer, np.uint8), np.frombuffer(raw, np.uint8))


def test_the_byte_form_is_little_endian_and_planar() -> None:
    shape = RingShape(
        layout_digest=bytes(32),
        runs=(
            WordRun(bits=64, count=1),
            WordRun(bits=32, count=1),
            WordRun(bits=16, count=1),
            WordRun(bits=24, count=2),
        ),
    )
    raw = bytes.fromhex("0102030405060708 11121314 2122 3132 4142 33 43")
    assert as_integers(RingVector.from_bytes(shape, raw)) == [
        [0x0807060504030201],
        [0x14131211],
        [0x2221],
        [0x333231, 0x434241],
    ]


def test_a_memory_mapped_file_is_added(tmp_path: Path) -> None:
    source = filled(2)
    path = tmp_path / "words"
    path.write_bytes(source.to_bytes())
    mapped = RingVector.from_bytes(ALL_WIDTHS, np.memmap(path, dtype=np.uint8, mode="r"))
    total = RingVector.zeros(ALL_WIDTHS)
    total.add_in_place(mapped)
    assert total == source


def test_reading_the_wrong_size_is_refused() -> None:
    raw = filled(1).to_bytes()
    for wrong in (raw[:-1], raw + b"\0", b""):
        with pytest.raises(RingBytesInvalid, match="another layout or was cut short"):
            RingVector.from_bytes(ALL_WIDTHS, wrong)


def test_other_layouts_are_not_added() -> None:
    one = Layout.plan([VectorSpec(name="a", length=3, bound=1, resolution=1)], cohort=3)
    other = Layout.plan([VectorSpec(name="b", length=3, bound=1, resolution=1)], cohort=3)
    with pytest.raises(RingMismatch):
        RingVector.zeros(one).add_in_place(RingVector.zeros(other))


def test_a_vector_over_read_only_bytes_is_not_added_to() -> None:
    vector = RingVector.from_bytes(ALL_WIDTHS, filled(1).to_bytes())
    before = vector.to_bytes()
    with pytest.raises(ValueError, match="read-only"):
        vector.add_in_place(filled(2))
    assert vector.to_bytes() == before


@pytest.mark.parametrize(
    "runs",
    [
        (),
        (WordRun(bits=32, count=1), WordRun(bits=64, count=1)),
        (WordRun(bits=32, count=1), WordRun(bits=32, count=1)),
        (WordRun(bits=64, count=1 << 34),),
    ],
)
def test_impossible_shapes_are_refused(runs: tuple[WordRun, ...]) -> None:
    with pytest.raises(LayoutInvalid):
        RingShape(layout_digest=bytes(32), runs=runs)
    with pytest.raises(LayoutInvalid):
        RingShape(layout_digest=bytes(31), runs=(WordRun(bits=16, count=1),))


def test_impossible_runs_are_refused() -> None:
    for bits, count in ((8, 1), (0, 1), (48, 1), (32, 0), (32, -1)):
        with pytest.raises(LayoutInvalid):
            WordRun(bits=bits, count=count)


def test_words_are_not_shown() -> None:
    assert repr(filled(1)) == "RingVector(3x64, 5x32, 7x16, 40001x24 bits)"
