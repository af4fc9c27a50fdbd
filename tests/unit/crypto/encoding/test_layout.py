"""Layouts: what is packed where, what is refused, and that the digest covers everything."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal_crypto.encoding import Layout, LayoutInvalid, VectorSpec


def spec(name: str = "v", *, length: int = 10, bound: float = 1.0, resolution: float = 0.01) -> VectorSpec:
    return VectorSpec(name=name, length=length, bound=bound, resolution=resolution)


@pytest.mark.parametrize(
    ("levels_bits", "cohort", "bytes_per_value"),
    [
        (16, 100, 3.0),  # 16-bit resolution at 100 nodes: 23 bits, three bytes
        (16, 1000, 4.0),
        (8, 100, 2.0),
        (4, 100, 1.5),  # 11 bits: two in a 24-bit word
        (3, 100, 8 / 6),  # 10 bits: six in a 64-bit word
        (1, 4, 8 / 16),
        (1, 10, 8 / 12),  # three levels, ten nodes: five bits, twelve in a 64-bit word
        (24, 100, 4.0),
        (40, 100, 8.0),
    ],
)
def test_upload_is_no_larger_than_needed(levels_bits: int, cohort: int, bytes_per_value: float) -> None:
    length = 100_000
    # 2M + 1 levels just below 2^levels_bits, the largest number that such a resolution has.
    resolution = 1.0 / (2 ** (levels_bits - 1) - 1) if levels_bits > 1 else 1.0
    layout = Layout.plan([spec(length=length, bound=1.0, resolution=resolution)], cohort=cohort)
    assert layout.wire_bytes == pytest.approx(length * bytes_per_value + 8, rel=1e-3)


@given(
    levels=st.integers(1, 1 << 40),
    cohort=st.integers(1, 65_535),
    length=st.integers(1, 1000),
)
def test_lanes_hold_every_sum(levels: int, cohort: int, length: int) -> None:
    if (2 * levels * cohort).bit_length() > 64:
        return
    layout = Layout.plan([spec(length=length, bound=float(levels), resolution=1.0)], cohort=cohort)
    lanes = layout.segments[0].lanes
    assert 2 * levels * cohort < 1 << lanes.bits
    assert lanes.per_word * lanes.bits <= layout.segments[0].word_bits
    assert lanes.words * lanes.per_word >= length > (lanes.words - 1) * lanes.per_word


def test_digest_covers_every_field_and_the_order() -> None:
    base = [spec("a"), spec("b")]
    digests = [
        Layout.plan(specs, cohort=cohort).digest
        for specs, cohort in [
            (base, 5),
            (base, 6),
            (base[::-1], 5),
            (base[:1], 5),
            ([spec("a", length=11), spec("b")], 5),
            ([spec("a", bound=2.0), spec("b")], 5),
            ([spec("a", resolution=0.02), spec("b")], 5),
            ([spec("c"), spec("b")], 5),
        ]
    ]
    assert len(set(digests)) == len(digests)
    assert Layout.plan(base, cohort=5).digest == digests[0]
    assert all(len(digest) == 32 for digest in digests)


def test_many_vectors_share_few_runs() -> None:
    specs = [spec(f"layer{i}", length=i + 1, bound=2.0 ** (i % 30), resolution=0.5) for i in range(100)]
    layout = Layout.plan(specs, cohort=10)
    assert [run.bits for run in layout.shape.runs] == sorted(
        {run.bits for run in layout.shape.runs}, key=[64, 32, 16, 24].index
    )
    assert layout.wire_bytes == sum(run.wire_bytes for run in layout.shape.runs)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "cannot name"),
        ({"name": "a b"}, "cannot name"),
        ({"name": "x" * 129}, "cannot name"),
        ({"length": 0}, "length 0"),
        ({"bound": math.inf}, "must be finite"),
        ({"bound": math.nan}, "must be finite"),
        ({"bound": -1.0}, "not larger than the bound"),
        ({"resolution": 0.0}, "resolution positive"),
        ({"resolution": math.nan}, "resolution positive"),
        ({"bound": 1.0, "resolution": 2.0}, "not larger than the bound"),
        ({"bound": 1e20, "resolution": 1.0}, "coarser resolution"),
    ],
)
def test_impossible_vectors_are_refused(fields: dict[str, float | str], said: str) -> None:
    values = {"name": "v", "length": 3, "bound": 1.0, "resolution": 0.1, **fields}
    with pytest.raises(LayoutInvalid, match=said):
        VectorSpec(**values)  # type: ignore[arg-type]  # a table of fields


def test_impossible_layouts_are_refused() -> None:
    with pytest.raises(LayoutInvalid, match="described twice"):
        Layout.plan([spec("a"), spec("a")], cohort=3)
    with pytest.raises(LayoutInvalid, match="1 to 65535"):
        Layout.plan([spec()], cohort=0)
    with pytest.raises(LayoutInvalid, match="1 to 65535"):
        Layout.plan([spec()], cohort=65_536)
    with pytest.raises(LayoutInvalid, match="vectors, not 0"):
        Layout.plan([], cohort=3)
    with pytest.raises(LayoutInvalid, match="64 is the most"):
        Layout.plan([spec(bound=2.0**50, resolution=1.0)], cohort=65_535)
