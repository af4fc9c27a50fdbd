"""Shamir sharing: subsets, published arithmetic, and finding wrong shares."""

import hashlib
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_crypto.errors import MisuseError
from fedseal_crypto.masking._correction import recover_committed
from fedseal_crypto.shamir import (
    PRIME,
    SHARE_SIZE,
    ShareInvalid,
    lagrange_at,
    recover_secret,
    share_value,
    split_secret,
)

Seeded = Callable[[object], Callable[[int], bytes]]


def test_the_field_is_the_smallest_prime_above_256_bits() -> None:
    def probably_prime(number: int) -> bool:
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in range(2, 42):
            power = pow(base, odd, number)
            if power in (1, number - 1):
                continue
            for _ in range(twos - 1):
                power = power * power % number
                if power == number - 1:
                    break
            else:
                return False
        return True

    assert probably_prime(PRIME)
    assert not any(probably_prime(number) for number in range(2**256, PRIME))


def test_shamirs_own_arithmetic() -> None:
    """The textbook example: secret 1234, polynomial 1234 + 166 x + 94 x^2 (the field is larger than all values)."""
    coefficients = (94).to_bytes(48, "big") + (166).to_bytes(48, "big")
    secret = (1234).to_bytes(32, "big")
    shares = split_secret(secret, threshold=3, holders=range(1, 7), entropy=lambda size: coefficients[:size])
    assert [share_value(shares[x]) for x in range(1, 7)] == [1494, 1942, 2578, 3402, 4414, 5614]
    assert int.from_bytes(recover_secret({x: shares[x] for x in (2, 4, 5)}), "big") == 1234


def test_every_subset_of_the_threshold_recovers(seeded: Seeded) -> None:
    secret = seeded("secret")(32)
    for holders in (range(1, 6), (3, 17, 200, 65_535, 9)):
        shares = split_secret(secret, threshold=3, holders=tuple(holders), entropy=seeded("split"))
        for subset in combinations(shares, 3):
            assert recover_secret({x: shares[x] for x in subset}) == secret


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.binary(min_size=32, max_size=32), st.integers(0, 2**32))
def test_any_threshold_recovers(threshold: int, spare: int, secret: bytes, seed: int) -> None:
    generator = np.random.default_rng(seed)
    holders = (1 + generator.choice(65_535, threshold + spare, replace=False)).tolist()
    shares = split_secret(secret, threshold=threshold, holders=holders, entropy=generator.bytes)
    chosen = generator.permutation(holders)[:threshold].tolist()
    assert recover_secret({x: shares[x] for x in chosen}) == secret


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, bytes(31) + b"\x01"])
def test_extreme_secrets(secret: bytes, seeded: Seeded) -> None:
    shares = split_secret(secret, threshold=2, holders=(1, 2, 3), entropy=seeded("x"))
    assert all(len(share) == SHARE_SIZE for share in shares.values())
    assert recover_secret({1: shares[1], 3: shares[3]}) == secret


def test_fewer_shares_fit_every_secret(seeded: Seeded) -> None:
    """With t - 1 shares each other secret has a polynomial through them, so they say nothing."""
    shares = split_secret(seeded("s")(32), threshold=3, holders=(1, 2, 3, 4), entropy=seeded("x"))
    for other in (bytes(32), seeded("o")(32)):
        # The value at 3 that makes the polynomial through points 0, 1, 2 meet `other` at 0.
        basis = lagrange_at((0, 1, 2), 3)
        values = (int.from_bytes(other, "big"), share_value(shares[1]), share_value(shares[2]))
        forged = sum(a * b for a, b in zip(basis, values, strict=True)) % PRIME
        assert recover_secret({1: shares[1], 2: shares[2], 3: forged.to_bytes(33, "big")}) == other


def test_misuse_is_refused(seeded: Seeded) -> None:
    for secret, threshold, holders in (
        (bytes(31), 2, (1, 2)),
        (bytes(32), 0, (1, 2)),
        (bytes(32), 3, (1, 2)),
        (bytes(32), 2, (0, 1)),
        (bytes(32), 2, (1, 1)),
        (bytes(32), 2, (1, 65_536)),
    ):
        with pytest.raises(MisuseError):
            split_secret(secret, threshold=threshold, holders=holders, entropy=seeded("x"))


@pytest.mark.parametrize("share", [b"", bytes(32), bytes(34), PRIME.to_bytes(33, "big"), b"\xff" * 33])
def test_shares_out_of_range_are_refused(share: bytes) -> None:
    with pytest.raises(ShareInvalid):
        share_value(share)


def spoiled(shares: dict[int, bytes], wrong: set[int]) -> dict[int, bytes]:
    return {x: b"\0" + hashlib.sha256(share).digest() if x in wrong else share for x, share in shares.items()}


@pytest.mark.parametrize(
    ("holders", "threshold", "wrong", "proven"),
    [
        (5, 3, {1}, True),  # within half the distance: decoded
        (5, 4, {2}, False),  # one spare share: found by leaving one out
        (7, 4, {1, 2, 3}, False),  # as many as are spare
        (10, 7, {1, 5}, True),
        (40, 20, set(range(1, 11)), True),
        (40, 30, {1, 4, 7, 11, 30}, True),
    ],
)
def test_wrong_shares_are_found(seeded: Seeded, holders: int, threshold: int, wrong: set[int], proven: bool) -> None:
    secret = seeded("secret")(32)
    shares = split_secret(secret, threshold=threshold, holders=range(1, holders + 1), entropy=seeded("split"))
    found = recover_committed(spoiled(shares, wrong), threshold=threshold, corrupted=1, matches=secret.__eq__)
    assert found is not None
    assert (found.secret, set(found.odd), found.proven) == (secret, wrong, proven)


def test_nobody_is_named_on_a_polynomial_that_liars_could_have_made(seeded: Seeded) -> None:
    """Four holders add 1: through them and three honest ones goes another polynomial with the same secret."""
    secret = seeded("secret")(32)
    shares = split_secret(secret, threshold=7, holders=range(1, 11), entropy=seeded("split"))
    for x in range(1, 5):
        shares[x] = ((share_value(shares[x]) + 1) % PRIME).to_bytes(33, "big")
    found = recover_committed(shares, threshold=7, corrupted=2, matches=secret.__eq__)
    assert found is not None
    assert found.secret == secret
    assert found.odd == {5, 6, 10}  # all honest
    assert not found.proven


def test_shares_out_of_range_are_named_too(seeded: Seeded) -> None:
    secret = seeded("secret")(32)
    shares = split_secret(secret, threshold=3, holders=range(1, 6), entropy=seeded("split"))
    shares[2] = b"\xff" * 33
    found = recover_committed(shares, threshold=3, corrupted=1, matches=secret.__eq__)
    assert found is not None
    assert found.odd == {2}
    assert found.proven


def test_distrusted_holders_are_tried_last(seeded: Seeded) -> None:
    secret = seeded("secret")(32)
    shares = split_secret(secret, threshold=3, holders=range(1, 6), entropy=seeded("split"))
    asked: list[bytes] = []

    def matches(candidate: bytes) -> bool:
        asked.append(candidate)
        return candidate == secret

    assert recover_committed(spoiled(shares, {1}), threshold=3, corrupted=1, matches=matches, distrusted={1})
    assert len(asked) == 1


def test_too_many_wrong_shares_end_without_a_secret(seeded: Seeded) -> None:
    secret = seeded("secret")(32)
    shares = split_secret(secret, threshold=4, holders=range(1, 7), entropy=seeded("split"))
    assert recover_committed(spoiled(shares, {1, 2, 3}), threshold=4, corrupted=1, matches=secret.__eq__) is None
