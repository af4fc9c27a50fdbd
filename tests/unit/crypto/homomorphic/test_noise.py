"""The noise bound against the noise that is there."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from fedseal_crypto.homomorphic import PARAMETERS, SecretContext
from fedseal_crypto.homomorphic._noise import usual_noise, worst_noise
from fedseal_crypto.homomorphic._residues import Residues, add_residues

BFV = [name for name in PARAMETERS if name.startswith("bfv")]


def noise_of(secret: SecretContext, residues: Residues) -> float:
    """The largest coefficient of the noise, from the library's noise budget: the budget is log2(q / 2t / noise)."""
    library, parameters = secret.library, secret.parameters
    decryptor = library.context.data.decryptor()
    budget = decryptor.invariant_noise_budget(library.vector(residues).ciphertext()[0])
    # The budget is a whole number of bits, rounded down: the noise is at most this.
    return float(parameters.primes[0] / (2 * parameters.plain_modulus) / 2**budget)


@pytest.mark.parametrize("name", BFV)
def test_measured_noise_of_sums_is_between_usual_and_worst(name: str, keys: Mapping[str, SecretContext]) -> None:
    secret = keys[name]
    parameters, public = secret.parameters, secret.public.library
    rng = np.random.default_rng(1)
    total = public.encrypt(rng.integers(0, 2**20, parameters.slots)).copy()
    for addends in range(1, 17):
        if addends in {1, 4, 16}:
            measured = noise_of(secret, total)
            bound = worst_noise(degree=parameters.degree, special_prime=parameters.primes[-1], addends=addends)
            # Of 4096 coefficients the largest is well out. The budget is rounded down, which gives a factor 2.
            assert 2.5 * usual_noise(degree=parameters.degree, addends=addends) <= measured
            assert measured <= 2 * bound
        add_residues(total, public.encrypt(rng.integers(0, 2**20, parameters.slots)), parameters.data_primes)


@pytest.mark.parametrize("name", BFV)
def test_a_large_cohort_is_exact_with_room_to_spare(name: str, keys: Mapping[str, SecretContext]) -> None:
    """The whole cohort of the first two sets; of the third, as many as there is time for."""
    secret = keys[name]
    parameters, public = secret.parameters, secret.public.library
    addends = min(parameters.maximum_cohort, 256)
    values = np.arange(parameters.slots) * (2**parameters.slot_bits // (parameters.slots * addends))
    total = public.encrypt(values).copy()
    for _ in range(addends - 1):
        add_residues(total, public.encrypt(values), parameters.data_primes)
    assert (secret.library.decrypt(total) % parameters.plain_modulus == addends * values).all()
    # Decryption fails at q / 2t; the library rounds its budget down, so this says at most half of that.
    assert noise_of(secret, total) <= parameters.primes[0] / (2 * parameters.plain_modulus) / 2


def test_the_bound_says_when_decryption_fails(keys: Mapping[str, SecretContext]) -> None:
    """Noise beyond q / 2t does ruin a sum, so the margin that the bound leaves is not idle."""
    secret = keys["bfv-4096-48"]
    parameters = secret.parameters
    total, addends = secret.public.library.encrypt(np.zeros(parameters.slots, np.int64)).copy(), 1
    while not secret.library.decrypt(total).any():
        add_residues(total, total.copy(), parameters.data_primes)
        addends *= 2
    usual = usual_noise(degree=parameters.degree, addends=1)
    expected = parameters.primes[0] / (2 * parameters.plain_modulus) / (4 * usual)
    assert expected / 4 <= addends <= expected * 4


def test_the_formula() -> None:
    """By hand, for one ciphertext of N = 4096: 0.5 + a millionth + sqrt(4097/2 · ln(2^165))."""
    by_hand = 0.5 + math.sqrt(4097 / 2 * 165 * math.log(2))
    assert worst_noise(degree=4096, special_prime=2**49, addends=1) == pytest.approx(by_hand, rel=1e-6)
    assert usual_noise(degree=4096, addends=1) == pytest.approx(15.09, abs=0.01)
