"""The noise that hides the noise: formula, errors that it must cover, and its distribution."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic import PARAMETERS, Flooding, SecretContext
from fedseal_crypto.homomorphic._flooding import gaussians, scalar_error, sum_error
from fedseal_crypto.homomorphic._residues import add_residues

SUMS, SCALARS = PARAMETERS["ckks-8192-sums"], PARAMETERS["ckks-8192-scalars"]


def test_the_formula_of_the_paper() -> None:
    """sqrt(12 · 1000) · 2^15 · t, and the divergence that it leaves."""
    flooding = Flooding(decryptions=1000)
    assert flooding.deviation(1.0) == pytest.approx(109.5445 * 32_768, rel=1e-6)
    divergence = 1000 * 1.0 / (2 * flooding.deviation(1.0) ** 2)
    assert divergence == pytest.approx(2.0**-30 / 24)
    assert Flooding(decryptions=1000, statistical_bits=40).deviation(1.0) == pytest.approx(32 * flooding.deviation(1.0))


@pytest.mark.parametrize(("decryptions", "bits"), [(0, 30), (2**40 + 1, 30), (10, 29), (10, 129)])
def test_less_cannot_be_configured(decryptions: int, bits: int) -> None:
    with pytest.raises(MisuseError, match="possible"):
        Flooding(decryptions=decryptions, statistical_bits=bits)


@pytest.mark.parametrize("addends", [1, 8])
def test_the_error_of_a_sum_is_below_its_bound_and_not_far_below(
    addends: int, keys: Mapping[str, SecretContext]
) -> None:
    """Of encrypted zeros, because with values in it float64 rounds more than the encryption errs."""
    secret = keys[SUMS.name]
    total = secret.public.library.encrypt(np.zeros(SUMS.slots)).copy()
    for _ in range(addends - 1):
        add_residues(total, secret.public.library.encrypt(np.zeros(SUMS.slots)), SUMS.data_primes)
    measured = float(np.linalg.norm(secret.library.decrypt(total)))
    assert sum_error(SUMS, addends) / 8 < measured < sum_error(SUMS, addends)


def test_the_error_of_an_inner_product_is_below_its_bound(keys: Mapping[str, SecretContext]) -> None:
    """Fourteen standard deviations hold many samples, and one deviation does not."""
    secret, weight = keys[SCALARS.name], 3.0
    rng = np.random.default_rng(5)
    direction = rng.normal(size=SCALARS.slots)
    direction *= weight / np.linalg.norm(direction)
    library = secret.public.library
    errors = [
        abs(float(direction @ secret.library.decrypt(library.encrypt(np.zeros(SCALARS.slots))))) for _ in range(40)
    ]
    assert max(errors) < scalar_error(SCALARS, weight)
    assert max(errors) > scalar_error(SCALARS, weight) / 14 / 3


def test_noise_is_normal_and_of_its_deviation() -> None:
    values = gaussians(200_001, deviation=3.0, entropy=np.random.default_rng(1).bytes)
    assert values.shape == (200_001,)
    assert abs(values.mean()) < 5 * 3 / math.sqrt(values.size)
    assert values.std() == pytest.approx(3.0, rel=0.01)
    # Tails: 2.28 % beyond two deviations on either side, some beyond four, none beyond the end of 53 bits.
    assert np.mean(values > 6.0) == pytest.approx(0.02275, rel=0.1)
    assert np.mean(values < -6.0) == pytest.approx(0.02275, rel=0.1)
    assert 12 < np.abs(values).max() < 3 * 8.6


def test_the_extremes_of_entropy_give_finite_noise() -> None:
    for byte in (b"\x00", b"\xff"):
        assert np.isfinite(gaussians(6, deviation=1.0, entropy=byte.__mul__)).all()
