"""Encrypted sums against plain ring sums."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedseal_crypto.encoding import Layout, RingVector, SumInconsistent, VectorSpec
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic import (
    Adder,
    PublicContext,
    SecretContext,
    SlotPlan,
    SumTooLarge,
    WrongAddends,
    bundle_header,
    check_bundle,
    encrypt_vector,
    parameters_for_sums,
    plan_slots,
)
from fedseal_crypto.homomorphic._frames import new_chunk, read_chunk

Plans = Callable[..., tuple[Layout, SlotPlan]]
Values = Mapping[str, NDArray[np.float64]]
Contributions = Callable[[Layout, int], Sequence[tuple[Values, RingVector]]]


@pytest.mark.parametrize("cohort", [5, 17, 300])
def test_sums_are_exact_under_every_set(
    cohort: int, keys: Mapping[str, SecretContext], small_plan: Plans, contributions: Contributions
) -> None:
    layout, plan = small_plan(cohort)
    secret = keys[plan.parameters.name]
    adder = Adder(plan, secret.public)
    members = contributions(layout, 4)
    for _, vector in members:
        adder.add(encrypt_vector(vector, plan=plan, public=secret.public))
    total = secret.decrypt_sum(adder.to_bytes(), plan=plan, count=4)
    ring = RingVector.zeros(layout)
    for _, vector in members:
        ring.add_in_place(vector)
    assert total == ring
    sums = layout.decode(total, count=4)
    for spec in layout.specs:
        assert sums[spec.name] == pytest.approx(np.sum([values[spec.name] for values, _ in members], axis=0), abs=1e-9)


def test_known_values(keys: Mapping[str, SecretContext]) -> None:
    """1 + 2 + 4 in one slot with 10 + 20 + 40, which lie in its other lane."""
    spec = VectorSpec(name="v", length=2, bound=100.0, resolution=1.0)
    layout, plan = plan_slots([spec], cohort=3, parameters=parameters_for_sums(3), masked=False)
    assert layout.segments[0].lanes.per_word == 2
    public, adder = keys["bfv-4096-48"].public, Adder(plan, keys["bfv-4096-48"].public)
    for one in ([1.0, 10.0], [2.0, 20.0], [4.0, 40.0]):
        words = layout.encode({"v": np.array(one)}, generator=np.random.default_rng(0)).words
        adder.add(encrypt_vector(words, plan=plan, public=public))
    sums = layout.decode(keys["bfv-4096-48"].decrypt_sum(adder.to_bytes(), plan=plan, count=3), count=3)
    assert sums["v"].tolist() == [7.0, 70.0]


def test_the_full_cohort_at_the_bound(keys: Mapping[str, SecretContext]) -> None:
    """Sixteen members, each with the bound in every lane: carries fill the slots to the last bit."""
    spec = VectorSpec(name="v", length=8_192, bound=(2**19 - 1) / 1.0, resolution=1.0)
    layout, plan = plan_slots([spec], cohort=16, parameters=parameters_for_sums(16), masked=False)
    secret = keys["bfv-4096-48"]
    lanes = layout.segments[0].lanes
    assert lanes.bits * lanes.per_word == plan.parameters.slot_bits
    one = layout.encode({"v": np.full(8_192, spec.bound)}, generator=np.random.default_rng(0)).words
    adder = Adder(plan, secret.public)
    for _ in range(16):
        adder.add(encrypt_vector(one, plan=plan, public=secret.public))
    sums = layout.decode(secret.decrypt_sum(adder.to_bytes(), plan=plan, count=16), count=16)
    assert (sums["v"] == 16 * spec.bound).all()
    with pytest.raises(SumTooLarge, match="16 contributions"):
        adder.add(encrypt_vector(one, plan=plan, public=secret.public))


@given(values=st.lists(st.lists(st.integers(-1000, 1000), min_size=3, max_size=3), min_size=1, max_size=5))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_integers(values: list[list[int]], keys: Mapping[str, SecretContext]) -> None:
    spec = VectorSpec(name="v", length=3, bound=1000.0, resolution=1.0)
    layout, plan = plan_slots([spec], cohort=5, parameters=parameters_for_sums(5), masked=False)
    secret = keys["bfv-4096-48"]
    adder = Adder(plan, secret.public)
    for one in values:
        words = layout.encode({"v": np.array(one)}, generator=np.random.default_rng(0)).words
        adder.add(encrypt_vector(words, plan=plan, public=secret.public))
    sums = layout.decode(secret.decrypt_sum(adder.to_bytes(), plan=plan, count=len(values)), count=len(values))
    assert sums["v"].tolist() == np.sum(values, axis=0).tolist()


def test_order_makes_no_difference_and_the_library_adds_the_same(
    keys: Mapping[str, SecretContext], small_plan: Plans, contributions: Contributions
) -> None:
    """So the custodian can recompute a sum and compare digests; and our addition is the scheme's."""
    layout, plan = small_plan()
    secret = keys[plan.parameters.name]
    bundles = [encrypt_vector(vector, plan=plan, public=secret.public) for _, vector in contributions(layout, 3)]
    sums = []
    for order in ((0, 1, 2), (2, 0, 1)):
        adder = Adder(plan, secret.public)
        for index in order:
            adder.add(bundles[index])
        sums.append(adder.to_bytes())
    assert sums[0] == sums[1]

    library, chunk = secret.public.library, new_chunk(plan.parameters)
    for index in range(plan.chunks):
        vectors = []
        for bundle in bundles:
            read_chunk(bundle, index, plan.parameters, chunk)
            vectors.append(library.vector(chunk))
        theirs = library.residues(vectors[0].add(vectors[1]).add(vectors[2]))
        read_chunk(sums[0], index, plan.parameters, chunk)
        assert (theirs == chunk).all()


def test_encryption_is_randomised_and_of_the_promised_size(
    keys: Mapping[str, SecretContext], small_plan: Plans, contributions: Contributions
) -> None:
    layout, plan = small_plan()
    public = keys[plan.parameters.name].public
    ((_, vector),) = contributions(layout, 1)
    one, other = (encrypt_vector(vector, plan=plan, public=public) for _ in range(2))
    assert one != other
    assert len(one) == len(other) == plan.bundle_bytes
    header = bundle_header(one)
    assert (header.addends, header.chunks, header.key_digest) == (1, plan.chunks, public.key_digest)
    check_bundle(one, plan=plan, public=public)


def test_the_count_is_checked_before_and_after_decryption(
    keys: Mapping[str, SecretContext], small_plan: Plans, contributions: Contributions
) -> None:
    layout, plan = small_plan()
    secret = keys[plan.parameters.name]
    adder = Adder(plan, secret.public)
    for _, vector in contributions(layout, 3):
        adder.add(encrypt_vector(vector, plan=plan, public=secret.public))
    bundle = bytearray(adder.to_bytes())
    with pytest.raises(WrongAddends, match="3 contributions; 2"):
        secret.decrypt_sum(bundle, plan=plan, count=2)
    # A lie about the count is found by the check word under the encryption.
    bundle[15] = 4
    with pytest.raises(SumInconsistent, match="check word"):
        layout.decode(secret.decrypt_sum(bundle, plan=plan, count=4), count=4)


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview])
def test_bundles_are_taken_in_any_buffer(
    view: Callable[[bytes], bytes | bytearray | memoryview],
    keys: Mapping[str, SecretContext],
    small_plan: Plans,
    contributions: Contributions,
) -> None:
    """Also from a mapped file, which is a memoryview."""
    layout, plan = small_plan()
    secret = keys[plan.parameters.name]
    ((_, vector),) = contributions(layout, 1)
    bundle = view(encrypt_vector(vector, plan=plan, public=secret.public))
    adder = Adder(plan, secret.public)
    adder.add(bundle)
    check_bundle(bundle, plan=plan, public=secret.public)
    assert secret.decrypt_sum(bundle, plan=plan, count=1) == vector
    assert adder.to_bytes() == bytes(bundle)


def test_a_sum_of_nothing_is_not_a_ciphertext(keys: Mapping[str, SecretContext], small_plan: Plans) -> None:
    _, plan = small_plan()
    with pytest.raises(SumTooLarge, match="nothing"):
        Adder(plan, keys[plan.parameters.name].public).to_bytes()


def test_plan_and_key_must_be_of_one_set(keys: Mapping[str, SecretContext], small_plan: Plans) -> None:
    layout, plan = small_plan(5)
    with pytest.raises(MisuseError, match="bfv-4096-46"):
        encrypt_vector(RingVector.zeros(layout), plan=plan, public=keys["bfv-4096-46"].public)


def test_nothing_is_printed(
    keys: Mapping[str, SecretContext],
    small_plan: Plans,
    contributions: Contributions,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The library warns on standard output about vectors longer than a ciphertext; ours never are."""
    layout, plan = small_plan()
    secret = keys[plan.parameters.name]
    ((_, vector),) = contributions(layout, 1)
    with caplog.at_level(logging.DEBUG):
        bundle = encrypt_vector(vector, plan=plan, public=secret.public)
        secret.decrypt_sum(bundle, plan=plan, count=1)
    assert (*capfd.readouterr(), caplog.text) == ("", "", "")


def test_a_public_context_from_the_wire_encrypts_for_the_same_key(
    keys: Mapping[str, SecretContext], small_plan: Plans, contributions: Contributions
) -> None:
    layout, plan = small_plan()
    secret = keys[plan.parameters.name]
    public = PublicContext.from_bytes(
        secret.public.to_bytes(), parameters=plan.parameters, key_digest=secret.public.key_digest
    )
    ((_, vector),) = contributions(layout, 1)
    bundle = encrypt_vector(vector, plan=plan, public=public)
    assert secret.decrypt_sum(bundle, plan=plan, count=1) == vector
