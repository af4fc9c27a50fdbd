"""Words into slots and sums of slots back into words: at the extremes of cohort and bounds, without encryption.

A BFV sum is the sum of the slots as long as it stays below the plaintext modulus, so adding slots as plain integers
is what happens under encryption; that it really is, the tests of sums show.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_crypto.encoding import Layout, LayoutInvalid, RingMismatch, RingShape, RingVector, VectorSpec, WordRun
from fedseal_crypto.homomorphic import (
    PARAMETERS,
    DecryptionInconsistent,
    SlotPlan,
    WordsOutOfRange,
    lift_masks,
    parameters_for_sums,
    plan_slots,
)

COHORTS = st.sampled_from([1, 2, 3, 15, 16, 17, 31, 255, 256, 257, 1000, 65_535])
SPECS = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 46)),
    min_size=1,
    max_size=4,
)


def planned(cohort: int, sizes: list[tuple[int, int]], *, masked: bool) -> tuple[Layout, SlotPlan]:
    """Vectors of lengths and levels 2^bits, as far as 64 bits hold their sum."""
    specs = [
        VectorSpec(name=f"v{i}", length=length, bound=float(2 ** min(bits, 62 - cohort.bit_length())), resolution=1.0)
        for i, (length, bits) in enumerate(sizes)
    ]
    return plan_slots(specs, cohort=cohort, parameters=parameters_for_sums(cohort), masked=masked)


@given(cohort=COHORTS, sizes=SPECS, high=st.booleans())
@settings(deadline=None, max_examples=150)
def test_sums_of_extreme_values_come_back(cohort: int, sizes: list[tuple[int, int]], high: bool) -> None:
    """Every member sends the bound (or its negative) everywhere: the largest carries that there can be."""
    layout, plan = planned(cohort, sizes, masked=False)
    sign = 1.0 if high else -1.0
    values = {spec.name: np.full(spec.length, sign * spec.bound) for spec in layout.specs}
    slots = plan.to_slots(layout.encode(values, generator=np.random.default_rng(0)).words)
    total = slots * np.uint64(cohort)
    assert int(slots.max()) * cohort < 2**plan.parameters.slot_bits
    sums = layout.decode(plan.from_slots(total, count=cohort), count=cohort)
    for spec in layout.specs:
        assert (sums[spec.name] == sign * spec.bound * cohort).all()


@given(cohort=COHORTS, sizes=SPECS, seed=st.integers(0, 2**32), count=st.integers(1, 6))
@settings(deadline=None, max_examples=150)
def test_masked_sums_are_ring_sums(cohort: int, sizes: list[tuple[int, int]], seed: int, count: int) -> None:
    """Words uniform modulo 2^64: the sum of slots gives the ring sum, wide words in full, narrow ones reduced."""
    layout, plan = planned(cohort, sizes, masked=True)
    rng = np.random.default_rng(seed)
    vectors = [RingVector.from_bytes(layout, rng.bytes(layout.wire_bytes)) for _ in range(min(count, cohort))]
    expected = RingVector.zeros(layout)
    total = np.zeros(plan.slot_count, np.uint64)
    for vector in vectors:
        expected.add_in_place(vector)
        total += plan.to_slots(vector)
    assert plan.from_slots(total, count=len(vectors)) == plan.reduce(expected)


@given(cohort=COHORTS, sizes=SPECS)
@settings(deadline=None, max_examples=60)
def test_masked_slots_of_a_full_cohort_leave_room_for_the_carries(cohort: int, sizes: list[tuple[int, int]]) -> None:
    layout, plan = planned(cohort, sizes, masked=True)
    slots = plan.to_slots(RingVector.from_bytes(layout, b"\xff" * layout.wire_bytes))
    assert int(slots.max()) * cohort < 2**plan.parameters.slot_bits < plan.parameters.plain_modulus
    expected = RingVector.zeros(layout)
    expected.segments[0][:] = 2**64 - cohort  # cohort times 2^64 - 1
    assert plan.from_slots(slots * np.uint64(cohort), count=cohort) == plan.reduce(expected)


def test_masks_are_lifted() -> None:
    layout, plan = planned(5, [(30, 15), (2, 45)], masked=True)
    rng = np.random.default_rng(1)
    values = {spec.name: rng.integers(-10, 10, spec.length).astype(np.float64) for spec in layout.specs}
    words = layout.encode(values, generator=rng).words
    mask, minus = (RingVector.from_bytes(layout, bytearray(rng.bytes(layout.wire_bytes))) for _ in range(2))
    minus.segments[0][:] = 0 - mask.segments[0]
    mask.add_in_place(words)
    hidden = plan.from_slots(plan.to_slots(mask), count=1)
    sums = layout.decode(lift_masks(hidden, minus, plan), count=1)
    assert all((sums[name] == value).all() for name, value in values.items())


@pytest.mark.parametrize(
    ("cohort", "masked", "ratio"),
    [(10, False, 2.2), (10, True, 2.2), (100, False, 2.2), (100, True, 4.2)],
)
def test_size_at_16_bits(cohort: int, masked: bool, ratio: float) -> None:
    """A million values at 16-bit resolution, against their float32 size."""
    spec = VectorSpec(name="update", length=1_000_000, bound=1.0, resolution=1 / 32_767)
    _, plan = plan_slots([spec], cohort=cohort, parameters=parameters_for_sums(cohort), masked=masked)
    assert plan.bundle_bytes <= ratio * 4 * spec.length


def test_many_small_tensors_cost_no_more_than_one() -> None:
    """Tensors are packed across layers: forty of 25,000 need at most one ciphertext more than one of a million."""
    one = [VectorSpec(name="update", length=1_000_000, bound=1.0, resolution=1 / 32_767)]
    forty = [VectorSpec(name=f"layer-{i}", length=25_000, bound=1.0, resolution=1 / 32_767) for i in range(40)]
    chunks = [
        plan_slots(specs, cohort=10, parameters=parameters_for_sums(10), masked=False)[1].chunks
        for specs in (one, forty)
    ]
    assert chunks[1] <= chunks[0] + 1


def test_narrow_words_with_stray_bits_are_not_encrypted() -> None:
    layout, plan = planned(5, [(30, 15)], masked=False)
    vector = RingVector.zeros(layout)
    vector.segments[0][-1] = np.uint64(1) << np.uint64(plan.narrow_bits)
    with pytest.raises(WordsOutOfRange, match="does not fit"):
        plan.to_slots(vector)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("slot", [0, 1, -1])
def test_impossible_slots_are_noticed(slot: int, masked: bool) -> None:
    """A wide limb, a later limb and a narrow word beyond what two contributions can give."""
    _layout, plan = planned(2, [(30, 15)], masked=masked)
    slots = np.zeros(plan.slot_count, np.uint64)
    slots[slot] = plan.parameters.plain_modulus - 1
    with pytest.raises(DecryptionInconsistent, match="2 contributions"):
        plan.from_slots(slots, count=2)


def test_vectors_of_another_layout_are_refused() -> None:
    layout, plan = planned(2, [(30, 15)], masked=True)
    other, unmasked = planned(2, [(31, 15)], masked=False)
    for act in (plan.to_slots, plan.reduce):
        with pytest.raises(RingMismatch):
            act(RingVector.zeros(other))
    with pytest.raises(LayoutInvalid, match="without masks"):
        lift_masks(RingVector.zeros(other), RingVector.zeros(other), unmasked)
    assert layout.digest != other.digest


@pytest.mark.parametrize(
    ("runs", "wide"),
    [((WordRun(bits=32, count=4),), 1), ((WordRun(bits=64, count=4),), 0), ((WordRun(bits=64, count=4),), 5)],
)
def test_a_plan_of_another_shape_cannot_exist(runs: tuple[WordRun, ...], wide: int) -> None:
    shape = RingShape(layout_digest=bytes(32), runs=runs)
    with pytest.raises(LayoutInvalid, match="one run of 64-bit words"):
        SlotPlan(parameters=PARAMETERS["bfv-4096-48"], shape=shape, cohort=3, wide_words=wide, masked=True)


@pytest.mark.parametrize("bits", [0, 64])
def test_slots_of_impossible_width(bits: int) -> None:
    with pytest.raises(LayoutInvalid, match="1 to 63"):
        Layout.plan([VectorSpec(name="v", length=1, bound=1.0, resolution=1.0)], cohort=2, slot_bits=bits)


def test_the_layout_digest_binds_the_packing() -> None:
    specs = [VectorSpec(name="v", length=9, bound=1.0, resolution=0.5)]
    digests = {Layout.plan(specs, cohort=3, slot_bits=bits).digest for bits in (None, 44, 46)}
    assert len(digests) == 3
