"""Encoding and decoding: exactness, bounds, carries, unbiased rounding, clip counts, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedseal_crypto.encoding import Layout, RingVector, SumInconsistent, ValuesInvalid, VectorSpec

Floats = NDArray[np.float64]


def layout_of(*, bound: float, resolution: float, cohort: int, length: int = 7) -> Layout:
    return Layout.plan([VectorSpec(name="v", length=length, bound=bound, resolution=resolution)], cohort=cohort)


def total_of(layout: Layout, rows: list[Floats], seed: int = 0) -> RingVector:
    generator = np.random.default_rng(seed)
    total = RingVector.zeros(layout)
    for row in rows:
        total.add_in_place(layout.encode({"v": row}, generator=generator).words)
    return total


@settings(deadline=None)
@given(
    levels=st.integers(1, 1 << 30),
    cohort=st.integers(1, 300),
    length=st.integers(1, 60),
    data=st.data(),
)
def test_sums_of_whole_steps_are_exact(levels: int, cohort: int, length: int, data: st.DataObject) -> None:
    layout = layout_of(bound=float(levels), resolution=1.0, cohort=cohort, length=length)
    count = data.draw(st.integers(1, min(cohort, 5)))
    rows = [
        np.array(data.draw(st.lists(st.integers(-levels, levels), min_size=length, max_size=length)), float)
        for _ in range(count)
    ]
    sums = layout.decode(total_of(layout, rows), count=count)["v"]
    assert np.array_equal(sums, np.sum(rows, axis=0))


@pytest.mark.parametrize("levels", [1, 2, 3, 7, 8, 100, 2**15, 2**20, 2**33, 2**40])
@pytest.mark.parametrize("cohort", [1, 2, 3, 50, 100, 128, 1000])
def test_extremes_never_wrap_or_carry(levels: int, cohort: int) -> None:
    """All members at a bound, and neighbours in one word at opposite bounds."""
    layout = layout_of(bound=float(levels), resolution=1.0, cohort=cohort, length=23)
    for pattern in (np.ones(23), -np.ones(23), np.where(np.arange(23) % 2, 1.0, -1.0), np.eye(23)[11]):
        row = pattern * levels
        words = layout.encode({"v": row}, generator=np.random.default_rng(0)).words
        total = RingVector.zeros(layout)
        for _ in range(cohort):
            total.add_in_place(words)
        assert np.array_equal(layout.decode(total, count=cohort)["v"], row * cohort)


def test_rounding_is_unbiased_and_between_neighbours() -> None:
    """The mean of many roundings is the value, to five standard errors; each is one of two neighbours."""
    draws = 200_000
    for value in (0.1, -0.1, 0.5, 0.9999, -2.75, 1e-3, -1e-3):
        layout = layout_of(bound=4.0, resolution=1.0, cohort=1, length=draws)
        decoded = layout.decode(total_of(layout, [np.full(draws, value)], seed=5), count=1)["v"]
        low = np.floor(value)
        fraction = value - low
        assert set(np.unique(decoded)) <= {low, low + 1}
        error = np.sqrt(fraction * (1 - fraction) / draws)
        assert abs(decoded.mean() - value) < 5 * error


@pytest.mark.parametrize("levels", [2**3, 2**21, 2**25, 2**26, 2**29, 2**31, 2**45])
def test_rounding_is_unbiased_at_every_width(levels: int) -> None:
    draws = 100_000
    layout = layout_of(bound=float(levels), resolution=1.0, cohort=1, length=draws)
    decoded = layout.decode(total_of(layout, [np.full(draws, 0.25)], seed=6), count=1)["v"]
    assert abs(decoded.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / draws)


def test_whole_numbers_are_never_moved_by_rounding() -> None:
    values = np.arange(-50_000, 50_000, dtype=np.float64)
    layout = layout_of(bound=50_000.0, resolution=1.0, cohort=2, length=values.size)
    for seed in range(5):
        assert np.array_equal(layout.decode(total_of(layout, [values], seed), count=1)["v"], values)


@pytest.mark.parametrize("resolution", [0.1, 0.25, 1 / 3, 7.0])
@pytest.mark.parametrize("levels", [1000, 2**22, 2**27, 2**33])
def test_multiples_of_any_resolution_are_never_moved_by_rounding(resolution: float, levels: int) -> None:
    """Also where dividing by the resolution is not exact."""
    steps = np.random.default_rng(2).integers(-levels, levels, 20_000)
    values: Floats = np.asarray(steps * resolution, np.float64)
    layout = layout_of(bound=levels * resolution, resolution=resolution, cohort=2, length=values.size)
    assert np.array_equal(np.rint(layout.decode(total_of(layout, [values]), count=1)["v"] / resolution), steps)


def test_clipping_is_counted_and_clips_to_the_bound() -> None:
    layout = layout_of(bound=1.0, resolution=0.25, cohort=3, length=6)
    row = np.array([1.0, -1.0, 1.0001, -7.0, 0.5, 1e30])
    encoded = layout.encode({"v": row}, generator=np.random.default_rng(0))
    assert encoded.clipped == {"v": 3}
    decoded = layout.decode(encoded.words, count=1)["v"]
    assert np.array_equal(decoded, [1.0, -1.0, 1.0, -1.0, 0.5, 1.0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint16"])
def test_real_types_are_accepted(dtype: str) -> None:
    layout = layout_of(bound=100.0, resolution=1.0, cohort=3, length=3)
    words = layout.encode({"v": np.array([1, 2, 100], dtype)}, generator=np.random.default_rng(0)).words
    assert np.array_equal(layout.decode(words, count=1)["v"], [1.0, 2.0, 100.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 16_384, 39_999])
def test_a_value_that_is_no_number_is_refused(bad: float, place: int) -> None:
    layout = layout_of(bound=1.0, resolution=0.01, cohort=3, length=40_000)
    row = np.zeros(40_000, np.float32)
    row[place] = bad
    with pytest.raises(ValuesInvalid, match="'v' holds a value that is not a finite number"):
        layout.encode({"v": row}, generator=np.random.default_rng(0))


def test_wrong_names_shapes_and_types_are_refused() -> None:
    layout = layout_of(bound=1.0, resolution=0.1, cohort=3, length=4)
    generator = np.random.default_rng(0)
    with pytest.raises(ValuesInvalid, match="'v' is missing"):
        layout.encode({}, generator=generator)
    with pytest.raises(ValuesInvalid, match="'w' is not part"):
        layout.encode({"v": np.zeros(4), "w": np.zeros(4)}, generator=generator)
    with pytest.raises(ValuesInvalid, match=r"shape \(2, 2\)"):
        layout.encode({"v": np.zeros((2, 2))}, generator=generator)
    with pytest.raises(ValuesInvalid, match="type complex128"):
        layout.encode({"v": np.zeros(4, complex)}, generator=generator)
    with pytest.raises(ValuesInvalid, match="type bool"):
        layout.encode({"v": np.zeros(4, bool)}, generator=generator)


def nine_lanes() -> Layout:
    """44 values in 5 words of 64 bits, each of 9 lanes of 7 bits: one lane and the top bit of each are unused."""
    layout = layout_of(bound=1.0, resolution=1.0, cohort=50, length=44)
    lanes = layout.segments[0].lanes
    assert (layout.segments[0].word_bits, lanes.words, lanes.per_word, lanes.bits) == (64, 5, 9, 7)
    return layout


def test_sums_that_cannot_be_are_refused() -> None:
    layout = nine_lanes()
    total = total_of(layout, [np.zeros(44), np.ones(44)])
    with pytest.raises(SumInconsistent, match="check word"):
        layout.decode(total, count=1)
    with pytest.raises(SumInconsistent, match="check word"):
        layout.decode(total, count=3)
    with pytest.raises(ValuesInvalid, match="1 to 50"):
        layout.decode(total, count=51)
    other = layout_of(bound=1.0, resolution=0.2, cohort=50, length=44)
    with pytest.raises(ValuesInvalid, match="another layout"):
        other.decode(total, count=2)


@pytest.mark.parametrize("bit", [2, 8 * 7 + 2, 63])
def test_lanes_out_of_range_are_refused(bit: int) -> None:
    """A lane above its largest sum, a lane that no value uses, and the bit above all lanes."""
    layout = nine_lanes()
    total = total_of(layout, [np.zeros(44)])
    layout.decode(total, count=1)
    # Word 0 of the run is the check word, so this is the last word of the vector.
    total.segments[0][5] |= np.uint64(1 << bit)
    with pytest.raises(SumInconsistent, match="'v' is larger than 1 contributions"):
        layout.decode(total, count=1)


def test_weighted_means_are_exact_to_the_declared_resolution() -> None:
    generator = np.random.default_rng(3)
    weights = np.array([120.0, 75.0, 3000.0, 1.0])
    updates = generator.uniform(-0.5, 0.5, (4, 1000))
    layout = Layout.plan(
        [
            VectorSpec(name="update", length=1000, bound=0.5 * 3000, resolution=2**-10),
            VectorSpec(name="weight", length=1, bound=3000, resolution=1),
        ],
        cohort=4,
    )
    total = RingVector.zeros(layout)
    for weight, update in zip(weights, updates, strict=True):
        values = {"update": update * weight, "weight": np.array([weight])}
        total.add_in_place(layout.encode(values, generator=generator).words)
    sums = layout.decode(total, count=4)
    assert sums["weight"][0] == weights.sum()
    mean = sums["update"] / sums["weight"]
    expected = weights @ updates / weights.sum()
    # Each of the four roundings is less than one step away.
    assert np.abs(mean - expected).max() < 4 * 2**-10 / weights.sum()
