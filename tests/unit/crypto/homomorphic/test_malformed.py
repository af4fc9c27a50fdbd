"""What a hostile node can send as an encrypted vector: refused with its own error, before the sum changes."""

import tracemalloc
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import tenseal as ts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedseal_crypto.encoding import Layout, RingVector
from fedseal_crypto.homomorphic import (
    HEADER_BYTES,
    Adder,
    CiphertextRefused,
    CiphertextTruncated,
    CoefficientRefused,
    NotACiphertext,
    OtherKey,
    OtherLayout,
    OtherParameters,
    SecretContext,
    SlotPlan,
    WrongAddends,
    WrongSize,
    bundle_header,
    check_bundle,
    encrypt_vector,
    generate_keys,
)
from fedseal_crypto.homomorphic._frames import write_chunk
from fedseal_crypto.homomorphic._residues import pack

Plans = Callable[..., tuple[Layout, SlotPlan]]
Contributions = Callable[[Layout, int], Sequence[tuple[Mapping[str, NDArray[np.float64]], RingVector]]]
Change = Callable[[bytes], bytes]


@pytest.fixture
def sender(
    keys: Mapping[str, SecretContext], small_plan: Plans, contributions: Contributions
) -> tuple[SlotPlan, SecretContext, bytes]:
    """A plan, its key, and an honest contribution."""
    layout, plan = small_plan()
    secret = keys[plan.parameters.name]
    ((_, vector),) = contributions(layout, 1)
    return plan, secret, encrypt_vector(vector, plan=plan, public=secret.public)


def patched(at: int, new: bytes) -> Change:
    return lambda data: data[:at] + new + data[at + len(new) :]


MODULUS = 1152921504606830593
# Fifteen words hold sixteen residues: the first word's low 60 bits are the first residue.
FIRST_TOO_LARGE = (MODULUS).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        pytest.param(lambda _: b"", NotACiphertext, "not an encrypted vector", id="nothing"),
        pytest.param(lambda _: b"\x80\x04junk" * 30, NotACiphertext, "begin otherwise", id="junk"),
        pytest.param(lambda data: data[:7], CiphertextTruncated, "7 came", id="within the magic"),
        pytest.param(lambda data: data[: HEADER_BYTES - 1], CiphertextTruncated, "83 came", id="within the header"),
        pytest.param(lambda data: data[:HEADER_BYTES], CiphertextTruncated, "ends after", id="header only"),
        pytest.param(lambda data: data[:-1], CiphertextTruncated, "ends after", id="one byte short"),
        pytest.param(lambda data: data + b"\0", WrongSize, "1 bytes follow", id="one byte more"),
        pytest.param(patched(8, b"\x00\x02"), OtherParameters, "bfv-4096-46", id="other parameters"),
        pytest.param(patched(8, b"\x00\x63"), NotACiphertext, "does not exist", id="no parameters"),
        pytest.param(patched(10, b"\x00\x02"), OtherLayout, "another layout", id="other kind"),
        pytest.param(patched(10, b"\x00\x09"), NotACiphertext, "does not exist", id="no kind"),
        pytest.param(patched(12, b"\x00\x00\x00\x02"), WrongAddends, "sum of 2", id="counts twice"),
        pytest.param(patched(12, b"\x00\x00\x00\x00"), WrongAddends, "sum of 0", id="counts nothing"),
        pytest.param(patched(16, b"\x7f\xff\xff\xff"), WrongSize, "2147483647 ciphertexts", id="too many"),
        pytest.param(patched(16, b"\x00\x00\x00\x01"), WrongSize, "1 ciphertexts", id="too few"),
        pytest.param(patched(20, b"\x00" * 32), OtherKey, "under the key 0000", id="other key"),
        pytest.param(patched(52, b"\x00" * 32), OtherLayout, "another layout", id="other layout"),
        pytest.param(patched(HEADER_BYTES, FIRST_TOO_LARGE), CoefficientRefused, "ciphertext 0", id="too large"),
        pytest.param(patched(HEADER_BYTES + 61_440, b"\xff" * 16), CoefficientRefused, "ciphertext 1", id="later"),
        pytest.param(
            patched(HEADER_BYTES + 30_720, bytes(30_720)), CoefficientRefused, "transparent", id="transparent"
        ),
    ],
)
def test_each_has_its_error_and_leaves_the_sum_alone(
    change: Change, error: type[CiphertextRefused], says: str, sender: tuple[SlotPlan, SecretContext, bytes]
) -> None:
    plan, secret, bundle = sender
    adder = Adder(plan, secret.public)
    adder.add(bundle)
    before = adder.to_bytes()
    bad = change(bundle)
    assert bad != bundle
    with pytest.raises(error, match=says):
        adder.add(bad)
    assert (adder.addends, adder.to_bytes()) == (1, before)
    with pytest.raises(error, match=says):
        check_bundle(bad, plan=plan, public=secret.public)
    with pytest.raises(error, match=says):
        secret.decrypt_sum(bad, plan=plan, count=1)


def test_the_residue_one_below_the_prime_is_accepted(sender: tuple[SlotPlan, SecretContext, bytes]) -> None:
    plan, secret, bundle = sender
    residues = np.full((2, 1, 4096), MODULUS - 1, np.uint64)
    largest = write_chunk(residues, plan.parameters)
    assert largest[:30_720] == pack(residues[0, 0], MODULUS)
    adder = Adder(plan, secret.public)
    adder.add(bundle[:HEADER_BYTES] + largest + bundle[HEADER_BYTES + len(largest) :])
    assert adder.addends == 1


def test_a_vector_under_another_key_of_the_same_set(
    sender: tuple[SlotPlan, SecretContext, bytes], small_plan: Plans, contributions: Contributions
) -> None:
    plan, secret, bundle = sender
    ((_, vector),) = contributions(small_plan()[0], 1)
    stranger = generate_keys(plan.parameters)
    adder = Adder(plan, secret.public)
    with pytest.raises(OtherKey, match=stranger.public.key_digest[:16]):
        adder.add(encrypt_vector(vector, plan=plan, public=stranger.public))
    with pytest.raises(OtherKey):
        stranger.decrypt_sum(bundle, plan=plan, count=1)


@pytest.mark.parametrize("changed", ["cohort", "masked", "length"])
def test_a_vector_of_another_plan(
    changed: str, sender: tuple[SlotPlan, SecretContext, bytes], small_plan: Plans
) -> None:
    plan, secret, bundle = sender
    _, other = {
        "cohort": lambda: small_plan(6),
        "masked": lambda: small_plan(5, masked=True),
        "length": lambda: small_plan(5, length=9_001),
    }[changed]()
    assert other.parameters is plan.parameters
    with pytest.raises(OtherLayout):
        Adder(other, secret.public).add(bundle)


def test_what_the_library_itself_writes_is_not_a_bundle(sender: tuple[SlotPlan, SecretContext, bytes]) -> None:
    plan, secret, _ = sender
    foreign = ts.bfv_vector(secret.public.library.context, [1, 2, 3]).serialize()
    with pytest.raises(NotACiphertext):
        Adder(plan, secret.public).add(foreign)


@given(data=st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_any_bytes_have_a_typed_answer(data: bytes) -> None:
    with pytest.raises(CiphertextRefused):
        bundle_header(data)


@given(
    changes=st.lists(st.tuples(st.integers(0, 123_000), st.integers(1, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 123_000),
)
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bundles_are_refused_or_decrypt_to_what_decoding_refuses(
    changes: list[tuple[int, int]], cut: int, sender: tuple[SlotPlan, SecretContext, bytes]
) -> None:
    """Whatever happens to the bytes, the answer is a typed error or a sum; never a crash, never a changed sum."""
    plan, secret, bundle = sender
    bad = bytearray(bundle)
    for at, flip in changes:
        bad[at % len(bad)] ^= flip
    adder = Adder(plan, secret.public)
    adder.add(bundle)
    before = adder.to_bytes()
    for one in (bytes(bad), bytes(bad[: cut % len(bad)])):
        try:
            check_bundle(one, plan=plan, public=secret.public)
        except CiphertextRefused:
            with pytest.raises(CiphertextRefused):
                adder.add(one)
            assert adder.to_bytes() == before


def test_memory_does_not_grow_with_contributions_or_with_what_a_header_claims(
    keys: Mapping[str, SecretContext], small_plan: Plans, contributions: Contributions
) -> None:
    layout, plan = small_plan(length=200_000)
    secret = keys[plan.parameters.name]
    ((_, vector),) = contributions(layout, 1)
    bundle = encrypt_vector(vector, plan=plan, public=secret.public)
    huge = bundle[:16] + b"\x7f\xff\xff\xff" + bundle[20:]
    adder = Adder(plan, secret.public)
    adder.add(bundle)
    tracemalloc.start()
    try:
        for _ in range(4):
            adder.add(bundle)
            with pytest.raises(WrongSize):
                check_bundle(huge, plan=plan, public=secret.public)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One ciphertext's scratch arrays: far below one contribution.
    assert peak < len(bundle) / 3
