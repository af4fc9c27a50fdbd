"""The table of parameter sets: 128 bits, exact sums, and nothing weaker by any way."""

import dataclasses
import math

import numpy as np
import pytest
import zstandard
from tenseal.sealapi import SEC_LEVEL_TYPE, CoeffModulus

from fedseal_crypto.encoding import VectorSpec
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic import (
    PARAMETERS,
    CohortUnsupported,
    Parameters,
    ParametersUnknown,
    Scheme,
    parameters_for_sums,
    parameters_named,
    plan_slots,
)
from fedseal_crypto.homomorphic._noise import decrypts_exactly
from fedseal_crypto.homomorphic._parameters import MAXIMUM_MODULUS_BITS
from fedseal_crypto.homomorphic._residues import pack, packed_bytes, unpack

SETS = list(PARAMETERS.values())
P40, P40B, P48, P60 = 1099511480321, 1099510890497, 281474976694273, 1152921504606830593


def is_prime(number: int) -> bool:
    """Miller-Rabin with the bases that decide every number below 3.3e24."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41):
        power = pow(base, odd, number)
        if power in {1, number - 1}:
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


@pytest.mark.parametrize("degree", sorted(MAXIMUM_MODULUS_BITS))
def test_the_security_table_is_the_library_s(degree: int) -> None:
    assert MAXIMUM_MODULUS_BITS[degree] == CoeffModulus.MaxBitCount(degree, SEC_LEVEL_TYPE.TC128)


@pytest.mark.parametrize("parameters", SETS, ids=lambda one: one.name)
def test_every_set_is_of_128_bits_and_of_primes(parameters: Parameters) -> None:
    assert math.prod(parameters.primes).bit_length() <= MAXIMUM_MODULUS_BITS[parameters.degree]
    assert parameters.modulus_bits <= MAXIMUM_MODULUS_BITS[parameters.degree]
    assert all(map(is_prime, parameters.primes))
    if parameters.scheme is Scheme.BFV:
        assert is_prime(parameters.plain_modulus)
        assert parameters.plain_modulus > 2**parameters.slot_bits
    assert parameters_named(parameters.name) is parameters


def test_numbers_on_the_wire_are_distinct() -> None:
    assert len({one.number for one in SETS}) == len(SETS)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"degree": 2048}, "weaker than 128 bits"),
        ({"degree": 1000}, "weaker than 128 bits"),
        ({"primes": (P60, P60)}, "weaker than 128 bits"),
        ({"primes": (P40, P40)}, "distinct"),
        ({"primes": (P40, P40 + 2)}, "1 modulo"),
        ({"plain_modulus": 281474976768001 - 8192 * 8}, "above"),
        ({"slot_bits": 46}, "above"),
        ({"maximum_cohort": 18}, "noise of 18"),
        ({"primes": (P48, P40)}, "noise of 16"),
        ({"primes": (P40, P48)}, "data primes have"),
    ],
)
def test_a_weaker_or_inexact_set_cannot_exist(changes: dict[str, object], says: str) -> None:
    with pytest.raises(MisuseError, match=says):
        dataclasses.replace(PARAMETERS["bfv-4096-48"], **changes)  # type: ignore[arg-type]  # each is of its type


def test_a_special_prime_smaller_than_a_data_prime_cannot_have_products() -> None:
    """(60, 40, 40) gives products that are off in the first digit; it cannot be configured."""
    with pytest.raises(MisuseError, match="key-switching noise"):
        dataclasses.replace(PARAMETERS["ckks-8192-scalars"], primes=(P60, P40, P40B))


def test_a_scale_beyond_the_modulus_cannot_exist() -> None:
    with pytest.raises(MisuseError, match="out of range"):
        dataclasses.replace(PARAMETERS["ckks-8192-sums"], scale_bits=96)
    with pytest.raises(MisuseError, match="products at the scale 52"):
        dataclasses.replace(PARAMETERS["ckks-8192-scalars"], scale_bits=52)


@pytest.mark.parametrize(
    ("cohort", "name"),
    [(1, "48"), (16, "48"), (17, "46"), (100, "46"), (256, "46"), (257, "41"), (65_535, "41")],
)
def test_the_widest_slots_that_are_exact(cohort: int, name: str) -> None:
    assert parameters_for_sums(cohort).name == f"bfv-4096-{name}"


@pytest.mark.parametrize("cohort", [0, -1, 65_536])
def test_a_cohort_out_of_range(cohort: int) -> None:
    with pytest.raises(CohortUnsupported, match=str(cohort)):
        parameters_for_sums(cohort)


@pytest.mark.parametrize(("name", "cohort"), [("bfv-4096-48", 17), ("bfv-4096-48", 0), ("ckks-8192-sums", 3)])
def test_a_plan_needs_parameters_that_hold_its_cohort(name: str, cohort: int) -> None:
    spec = VectorSpec(name="v", length=1, bound=1.0, resolution=0.5)
    with pytest.raises(CohortUnsupported, match="parameters_for_sums"):
        plan_slots([spec], cohort=cohort, parameters=PARAMETERS[name], masked=False)


def test_an_unknown_name() -> None:
    with pytest.raises(ParametersUnknown, match="bfv-4096-48"):
        parameters_named("bfv-2048-20")


@pytest.mark.parametrize("one", [one for one in SETS if one.scheme is Scheme.BFV], ids=lambda one: one.name)
def test_one_bit_more_of_plaintext_would_not_be_exact(one: Parameters) -> None:
    """The slots are as wide as the bound allows for the set's cohort: the margin is computed, not generous."""
    facts = {"degree": one.degree, "addends": one.maximum_cohort}
    assert decrypts_exactly(primes=one.primes, plain_modulus=one.plain_modulus, **facts)
    assert not decrypts_exactly(primes=one.primes, plain_modulus=2 * one.plain_modulus, **facts)


@pytest.mark.parametrize("prime", sorted({prime for one in SETS for prime in one.data_primes}))
def test_residues_come_back_from_the_wire(prime: int) -> None:
    residues = np.random.default_rng(prime).integers(0, prime, 4096, dtype=np.uint64)
    residues[:3] = 0, 1, prime - 1
    packed = pack(residues, prime)
    assert len(packed) == packed_bytes(4096, prime)
    again = np.full(4096, 2**64 - 1, np.uint64)
    assert unpack(packed, prime, again)
    assert (again == residues).all()
    residues[77] = prime
    assert not unpack(pack(residues, prime), prime, again)


def test_ciphertexts_are_dense() -> None:
    """Residues have no bits left to compress: a compressor gains nothing."""
    rng = np.random.default_rng(0)
    packed = pack(rng.integers(0, P60, 4096, dtype=np.uint64), P60)
    assert len(zstandard.compress(packed, 19)) >= len(packed)
