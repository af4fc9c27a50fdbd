"""Inner products and norms of vectors that nobody sees."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.encoding import ValuesInvalid
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic import (
    PARAMETERS,
    CiphertextRefused,
    ContextRefused,
    DecryptionInconsistent,
    EvaluationContext,
    Flooding,
    Operation,
    OtherLayout,
    RealPlan,
    SecretContext,
    decrypt_scalar,
    encrypt_reals,
    find_secret_key,
    scalar_content,
    scalar_error_bound,
)
from fedseal_crypto.homomorphic._frames import HEADER_BYTES

SET = PARAMETERS["ckks-8192-scalars"]
FLOODING = Flooding(decryptions=3_000)  # ten nodes, a hundred rounds, three numbers each
PLAN = RealPlan(parameters=SET, length=9_000, cohort=10, largest=1.0, norm=6.0)
Vector = NDArray[np.float64]


@pytest.fixture(scope="module")
def evaluation(keys: Mapping[str, SecretContext]) -> EvaluationContext:
    data = keys[SET.name].evaluation_keys()
    return EvaluationContext.from_bytes(data, public=keys[SET.name].public, digest=sha256_hex(data))


@pytest.fixture
def secret(keys: Mapping[str, SecretContext]) -> SecretContext:
    return keys[SET.name]


def updates(*seeds: int) -> list[Vector]:
    """Realistic: small normal values, of norm 4.7."""
    return [np.random.default_rng(seed).normal(size=PLAN.length) * 0.05 for seed in seeds]


def encrypted(secret: SecretContext, *vectors: Vector) -> list[bytes]:
    return [encrypt_reals(vector, plan=PLAN, public=secret.public) for vector in vectors]


def test_squared_norm(secret: SecretContext, evaluation: EvaluationContext) -> None:
    (x,) = updates(1)
    (bundle,) = encrypted(secret, x)
    operation = Operation.SQUARED_NORM
    scalar = evaluation.squared_norm(bundle, PLAN)
    assert len(scalar) == HEADER_BYTES + SET.chunk_bytes
    content = scalar_content(operation, PLAN, bundle)
    found = decrypt_scalar(secret, scalar, operation=operation, content=content, plan=PLAN, flooding=FLOODING)
    bound = scalar_error_bound(operation, PLAN, FLOODING)
    assert abs(found - x @ x) < bound
    # The bound itself, and so every result, is within a relative 1e-4.
    assert bound < 1e-4 * (x @ x)


@pytest.mark.parametrize("cosine", [1.0, -0.5, 0.01, 0.0])
def test_inner_products_at_every_angle(cosine: float, secret: SecretContext, evaluation: EvaluationContext) -> None:
    """Near 0 no relative error is possible; the error is absolute, and within 1e-4 of |x|·|y| at every angle."""
    x, other = updates(1, 2)
    other -= (other @ x) / (x @ x) * x
    y = cosine * x + np.sqrt(1 - cosine**2) * other * np.linalg.norm(x) / np.linalg.norm(other)
    one, two = encrypted(secret, x, y)
    true = float(x @ y)
    operation = Operation.INNER_PRODUCT_WITH_PUBLIC
    found = decrypt_scalar(
        secret,
        evaluation.inner_product_with_public(one, y, PLAN),
        operation=operation,
        content=scalar_content(operation, PLAN, one, y),
        plan=PLAN,
        flooding=FLOODING,
        public_vector=y,
    )
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    assert abs(found - true) < min(scalar_error_bound(operation, PLAN, FLOODING, y), 1e-4 * size)

    operation = Operation.INNER_PRODUCT
    found = decrypt_scalar(
        secret,
        evaluation.inner_product(one, two, PLAN),
        operation=operation,
        content=scalar_content(operation, PLAN, one, two),
        plan=PLAN,
        flooding=FLOODING,
    )
    assert abs(found - true) < min(scalar_error_bound(operation, PLAN, FLOODING), 1e-4 * size)


@pytest.mark.parametrize("scale", [1e-9, 0.3, 1.0, 2.0**20])
def test_precision_is_relative_to_the_plan_whatever_its_unit(
    scale: float, secret: SecretContext, evaluation: EvaluationContext
) -> None:
    """Tiny and huge vectors use the same room; the largest norm that the plan allows does not wrap around."""
    plan = RealPlan(parameters=SET, length=500, cohort=10, largest=6.0 * scale, norm=6.0 * scale)
    x = np.zeros(500)
    x[7] = -6.0 * scale
    bundle = encrypt_reals(x, plan=plan, public=secret.public)
    operation = Operation.SQUARED_NORM
    found = decrypt_scalar(
        secret,
        evaluation.squared_norm(bundle, plan),
        operation=operation,
        content=scalar_content(operation, plan, bundle),
        plan=plan,
        flooding=FLOODING,
    )
    assert abs(found - x @ x) < scalar_error_bound(operation, plan, FLOODING) < 1e-4 * (x @ x)
    operation = Operation.INNER_PRODUCT_WITH_PUBLIC
    found = decrypt_scalar(
        secret,
        evaluation.inner_product_with_public(bundle, x / scale**2, plan),
        operation=operation,
        content=scalar_content(operation, plan, bundle, x / scale**2),
        plan=plan,
        flooding=FLOODING,
        public_vector=x / scale**2,
    )
    assert found == pytest.approx(36.0, rel=1e-4)


def test_the_error_of_evaluation_itself(secret: SecretContext, evaluation: EvaluationContext) -> None:
    """With the least flooding the numbers are right to ten digits: products, key switching and rotation add little."""
    x, y = updates(3, 4)
    one, two = encrypted(secret, x, y)
    least = Flooding(decryptions=1)

    def quiet(count: int) -> bytes:  # uniform numbers of 1/2 in the radius and 1/4 turn: a cosine of 0
        half = count // 2
        return b"\xff" * half + b"\xff" * 7 + b"\x3f" + b"\xff" * (count - half - 8)

    for operation, scalar, operands, true in (
        (Operation.SQUARED_NORM, evaluation.squared_norm(one, PLAN), (one,), x @ x),
        (Operation.INNER_PRODUCT, evaluation.inner_product(one, two, PLAN), (one, two), x @ y),
    ):
        content = scalar_content(operation, PLAN, *operands)
        found = decrypt_scalar(
            secret, scalar, operation=operation, content=content, plan=PLAN, flooding=least, entropy=quiet
        )
        assert found == pytest.approx(true, abs=1e-9)


def test_anyone_with_the_keys_computes_the_same_bytes(secret: SecretContext, evaluation: EvaluationContext) -> None:
    """So the custodian can recompute what it is asked to decrypt."""
    x, y = updates(1, 2)
    one, two = encrypted(secret, x, y)
    again = secret.evaluation_keys()
    other = EvaluationContext.from_bytes(again, public=secret.public, digest=sha256_hex(again))
    assert evaluation.squared_norm(one, PLAN) == other.squared_norm(one, PLAN)
    assert evaluation.inner_product(one, two, PLAN) == other.inner_product(one, two, PLAN)
    assert evaluation.inner_product_with_public(one, y, PLAN) == other.inner_product_with_public(one, y, PLAN)


def test_a_scalar_is_bound_to_its_operation_and_operands(secret: SecretContext, evaluation: EvaluationContext) -> None:
    one, two = encrypted(secret, *updates(1, 2))
    scalar = evaluation.squared_norm(one, PLAN)
    for operation, operands in (
        (Operation.SQUARED_NORM, (two,)),
        (Operation.INNER_PRODUCT, (one, one)),
        (Operation.INNER_PRODUCT, (one, two)),
    ):
        content = scalar_content(operation, PLAN, *operands)
        with pytest.raises(OtherLayout):
            decrypt_scalar(secret, scalar, operation=operation, content=content, plan=PLAN, flooding=FLOODING)


def test_a_contribution_is_no_scalar(secret: SecretContext) -> None:
    """A vector that fits one ciphertext, handed over as if it were a number."""
    plan = RealPlan(parameters=SET, length=10, cohort=10, largest=1.0, norm=6.0)
    bundle = encrypt_reals(np.ones(10), plan=plan, public=secret.public)
    content = scalar_content(Operation.SQUARED_NORM, plan, bundle)
    with pytest.raises(CiphertextRefused):
        decrypt_scalar(secret, bundle, operation=Operation.SQUARED_NORM, content=content, plan=plan, flooding=FLOODING)


def test_a_vector_larger_than_planned_shows_and_is_not_released(
    secret: SecretContext, evaluation: EvaluationContext
) -> None:
    generous = RealPlan(parameters=SET, length=9_000, cohort=10, largest=1.0, norm=8.0)
    bundle = encrypt_reals(np.full(9_000, 7.9 / np.sqrt(9_000)), plan=generous, public=secret.public)
    forged = PLAN.header(secret.public, addends=1).to_bytes() + bundle[HEADER_BYTES:]
    content = scalar_content(Operation.SQUARED_NORM, PLAN, forged)
    with pytest.raises(DecryptionInconsistent, match="not released") as caught:
        decrypt_scalar(
            secret,
            evaluation.squared_norm(forged, PLAN),
            operation=Operation.SQUARED_NORM,
            content=content,
            plan=PLAN,
            flooding=FLOODING,
        )
    assert "62.4" not in str(caught.value)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_chunks_of_zeros_in_the_public_vector_are_left_out(
    part: int, secret: SecretContext, evaluation: EvaluationContext
) -> None:
    (x,) = updates(1)
    y = np.zeros(9_000)
    y[part * 4_096 :][:50] = 0.3
    (bundle,) = encrypted(secret, x)
    operation = Operation.INNER_PRODUCT_WITH_PUBLIC
    found = decrypt_scalar(
        secret,
        evaluation.inner_product_with_public(bundle, y, PLAN),
        operation=operation,
        content=scalar_content(operation, PLAN, bundle, y),
        plan=PLAN,
        flooding=FLOODING,
        public_vector=y,
    )
    assert abs(found - x @ y) < scalar_error_bound(operation, PLAN, FLOODING, y)


@pytest.mark.parametrize(
    ("vector", "error"),
    [(np.zeros(9_000), MisuseError), (np.full(9_000, np.nan), MisuseError), (np.ones(8_999), ValuesInvalid)],
)
def test_public_vectors_that_give_no_product(
    vector: Vector, error: type[Exception], secret: SecretContext, evaluation: EvaluationContext
) -> None:
    (bundle,) = encrypted(secret, *updates(1))
    with pytest.raises(error):
        evaluation.inner_product_with_public(bundle, vector, PLAN)


def test_a_public_vector_belongs_to_its_operation() -> None:
    with pytest.raises(MisuseError, match="public vector"):
        scalar_error_bound(Operation.SQUARED_NORM, PLAN, FLOODING, np.ones(9_000))
    with pytest.raises(MisuseError, match="public vector"):
        scalar_error_bound(Operation.INNER_PRODUCT_WITH_PUBLIC, PLAN, FLOODING)


@pytest.mark.parametrize("operation", ["squared_norm", "inner_product", "other operand"])
def test_malformed_operands_are_refused(operation: str, secret: SecretContext, evaluation: EvaluationContext) -> None:
    (bundle,) = encrypted(secret, *updates(1))
    with pytest.raises(CiphertextRefused):
        {
            "squared_norm": lambda: evaluation.squared_norm(bundle[:-1], PLAN),
            "inner_product": lambda: evaluation.inner_product(bundle[:-1], bundle, PLAN),
            "other operand": lambda: evaluation.inner_product(bundle, bundle[:-1], PLAN),
        }[operation]()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: b"X" + data[1:], "begin otherwise"),
        (lambda data: data[:8] + bytes(32) + data[40:], "another public key"),
        (lambda data: data + b"\0", "bytes, not"),
        (lambda data: data[:48] + b"\xff" * 2000 + data[2048:], "does not accept"),
        (lambda _: b"", "digest"),
    ],
)
def test_other_evaluation_keys_are_refused(change: Callable[[bytes], bytes], says: str, secret: SecretContext) -> None:
    data = change(secret.evaluation_keys())
    with pytest.raises(ContextRefused, match=says):
        EvaluationContext.from_bytes(data, public=secret.public, digest=sha256_hex(data))


def test_evaluation_keys_are_taken_by_their_digest_only(
    secret: SecretContext, keys: Mapping[str, SecretContext]
) -> None:
    data = secret.evaluation_keys()
    assert not find_secret_key(data)
    assert not secret.appears_in(data)
    with pytest.raises(ContextRefused, match="not those with digest"):
        EvaluationContext.from_bytes(data, public=secret.public, digest=Digest("0" * 64))
    with pytest.raises(ContextRefused, match="have no evaluation keys"):
        EvaluationContext.from_bytes(data, public=keys["bfv-4096-48"].public, digest=sha256_hex(data))
