"""Real vectors under CKKS: sums, their stated precision, and what is refused."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from fedseal_crypto.encoding import ValuesInvalid
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic import (
    PARAMETERS,
    CiphertextRefused,
    CoefficientRefused,
    DecryptionInconsistent,
    Flooding,
    OtherLayout,
    OtherParameters,
    RealAdder,
    RealPlan,
    SecretContext,
    SumTooLarge,
    WrongAddends,
    WrongSize,
    decrypt_real_sum,
    encrypt_reals,
)
from fedseal_crypto.homomorphic._frames import HEADER_BYTES

SUMS = PARAMETERS["ckks-8192-sums"]


def planned(**changes: object) -> RealPlan:
    fields: dict[str, object] = {
        "parameters": SUMS,
        "length": 5_000,
        "cohort": 10,
        "largest": 1.0,
        "norm": 20.0,
        **changes,
    }
    return RealPlan(**fields)  # type: ignore[arg-type]  # a table of fields


@pytest.fixture
def secret(keys: Mapping[str, SecretContext]) -> SecretContext:
    return keys[SUMS.name]


def test_sums_are_within_the_stated_precision_and_a_millionth(secret: SecretContext) -> None:
    """Flooded for a hundred rounds of a million values, as a real job would be."""
    plan, rng = planned(), np.random.default_rng(1)
    flooding = Flooding(decryptions=245 * 100)
    updates = [rng.normal(size=plan.length) * 0.05 for _ in range(10)]
    adder = RealAdder(plan, secret.public)
    for update in updates:
        adder.add(encrypt_reals(update, plan=plan, public=secret.public))
    total = decrypt_real_sum(secret, adder.to_bytes(), plan=plan, count=10, flooding=flooding)
    error = np.abs(total - np.sum(updates, axis=0))
    bound = plan.error_bound(10, flooding)
    assert error.max() < bound < 1e-6
    # The flooding is really there: an unflooded sum would be off by a few 1e-15 only.
    assert error.max() > bound / 1000
    spread = float(np.sqrt(np.mean(error**2)))
    assert spread == pytest.approx(flooding.deviation(1) / flooding.bound(1, largest=0) * bound, rel=0.1)


def test_noise_comes_from_the_entropy_and_differs_each_time(secret: SecretContext) -> None:
    plan, flooding = planned(), Flooding(decryptions=1000)
    bundle = encrypt_reals(np.zeros(plan.length), plan=plan, public=secret.public)

    def opened(*entropy: Callable[[int], bytes]) -> list[float]:
        chosen = {"entropy": entropy[0]} if entropy else {}
        values = decrypt_real_sum(secret, bundle, plan=plan, count=1, flooding=flooding, **chosen)
        return [float(value) for value in values]

    assert opened() != opened()
    one, other = (opened(np.random.default_rng(3).bytes) for _ in range(2))
    assert one == other


def test_a_round_counts_its_ciphertexts() -> None:
    assert planned().flooding(rounds=7) == Flooding(decryptions=14)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"parameters": PARAMETERS["bfv-4096-48"]}, "for integers"),
        ({"length": 0}, "not possible"),
        ({"cohort": 0}, "not possible"),
        ({"cohort": 65_536}, "not possible"),
        ({"largest": float("inf")}, "finite and positive"),
        ({"largest": 0.0}, "finite and positive"),
        ({"norm": float("nan")}, "finite and positive"),
        ({"largest": 2.0**18, "norm": 2.0**30}, "do not fit"),
    ],
)
def test_a_plan_that_could_wrap_around_cannot_exist(changes: dict[str, object], says: str) -> None:
    with pytest.raises(MisuseError, match=says):
        planned(**changes)


def test_the_largest_sums_of_a_plan_do_not_wrap_around(secret: SecretContext) -> None:
    plan = planned(largest=2.0**17, cohort=8, norm=2.0**30)
    with pytest.raises(MisuseError, match="do not fit"):
        planned(largest=2.0**17, cohort=9, norm=2.0**30)
    adder = RealAdder(plan, secret.public)
    for _ in range(8):
        adder.add(encrypt_reals(np.full(plan.length, -(2.0**17)), plan=plan, public=secret.public))
    total = decrypt_real_sum(secret, adder.to_bytes(), plan=plan, count=8, flooding=Flooding(decryptions=2))
    assert np.abs(total + 2.0**20).max() < plan.error_bound(8, Flooding(decryptions=2))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros(4_999), "4999"),
        (np.zeros(5_000, complex), "complex"),
        (np.full(5_000, 1.01), "clip first"),
        (np.full(5_000, 0.9), "clip first"),  # the norm
        (np.full(5_000, np.nan), "clip first"),
        (np.array([np.inf] + [0.0] * 4_999), "clip first"),
    ],
)
def test_values_outside_the_plan_are_not_encrypted(values: np.ndarray, says: str, secret: SecretContext) -> None:
    with pytest.raises(ValuesInvalid, match=says):
        encrypt_reals(values, plan=planned(), public=secret.public)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: data[:-1], CiphertextRefused),
        (lambda data: data + b"\0", WrongSize),
        (lambda data: data[:8] + b"\0\x05" + data[10:], OtherParameters),
        (lambda data: data[:15] + b"\x02" + data[16:], WrongAddends),
        (lambda data: data[:HEADER_BYTES] + b"\xff" * 6 + data[HEADER_BYTES + 6 :], CoefficientRefused),
    ],
)
def test_malformed_vectors_are_refused(
    change: Callable[[bytes], bytes], error: type[CiphertextRefused], secret: SecretContext
) -> None:
    plan = planned()
    bundle = encrypt_reals(np.ones(plan.length) / 10, plan=plan, public=secret.public)
    adder = RealAdder(plan, secret.public)
    adder.add(bundle)
    before = adder.to_bytes()
    for act in (
        adder.add,
        lambda bad: decrypt_real_sum(secret, bad, plan=plan, count=1, flooding=Flooding(decryptions=2)),
    ):
        with pytest.raises(error):
            act(change(bundle))
    assert adder.to_bytes() == before


def test_vectors_of_another_plan_or_key_are_refused(secret: SecretContext, keys: Mapping[str, SecretContext]) -> None:
    bundle = encrypt_reals(np.zeros(5_000), plan=planned(), public=secret.public)
    with pytest.raises(OtherLayout):
        RealAdder(planned(largest=0.5), secret.public).add(bundle)
    with pytest.raises(MisuseError, match="the key for"):
        encrypt_reals(np.zeros(5_000), plan=planned(), public=keys["ckks-8192-scalars"].public)


def test_no_more_contributions_than_planned(secret: SecretContext) -> None:
    plan = planned(cohort=1)
    adder = RealAdder(plan, secret.public)
    bundle = encrypt_reals(np.zeros(5_000), plan=plan, public=secret.public)
    adder.add(bundle)
    with pytest.raises(SumTooLarge):
        adder.add(bundle)


def test_a_sum_beyond_its_bound_is_not_released(secret: SecretContext) -> None:
    """A hostile node encrypts what its plan forbids, under the header of the plan."""
    plan, generous = planned(), planned(largest=1000.0, norm=1e6)
    bundle = encrypt_reals(np.full(5_000, 500.0), plan=generous, public=secret.public)
    honest = plan.header(secret.public, addends=1).to_bytes()
    with pytest.raises(DecryptionInconsistent, match="1 contributions"):
        decrypt_real_sum(secret, honest + bundle[HEADER_BYTES:], plan=plan, count=1, flooding=Flooding(decryptions=2))
