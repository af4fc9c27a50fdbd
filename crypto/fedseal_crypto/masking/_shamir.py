"""Shamir's secret sharing of 32-byte secrets over the prime field of 2^256 + 297 elements.

2^256 + 297 is the smallest prime above 2^256, so every 32-byte string is one field element; a share takes 33
bytes. A secret is the constant term of a random polynomial of degree t - 1; holder x gets its value at x >=
1. Any t shares give the secret, fewer say nothing about it.

Rules it keeps: coefficients come from the caller's entropy, 48 bytes each reduced modulo the prime (within
2^-127 of uniform); holders are distinct and never 0; a share or result out of range is refused.
Reference: Shamir, "How to Share a Secret", CACM 22(11), 1979. Not constant time: each share is made and used
once, locally, and no one can ask for a second try. Integrity of the result is the caller's commitment check.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from fedseal_crypto.errors import MisuseError, PeerError

PRIME = 2**256 + 297
SECRET_SIZE = 32
SHARE_SIZE = 33
_COEFFICIENT_BYTES = 48  # 384 bits: the bias of reducing them modulo a 257-bit prime is below 2^-127
_REDUCE_EVERY = 16  # Horner steps between reductions; multiplying by a small x grows a number by 16 bits at most


class ShareInvalid(PeerError):
    """A share is out of range, or shares do not give a 32-byte secret."""


def split_secret(
    secret: bytes, *, threshold: int, holders: Sequence[int], entropy: Callable[[int], bytes]
) -> dict[int, bytes]:
    """Shares of `secret` by holder.

    Args:
        secret: 32 bytes.
        threshold: Shares that recover it; 1 <= threshold <= len(holders).
        holders: The evaluation points, distinct, each 1 to 65535.
        entropy: Source of `48 * (threshold - 1)` bytes, asked once.

    Raises:
        MisuseError: One of these does not hold.
    """
    if len(secret) != SECRET_SIZE:
        raise MisuseError(f"a secret to share has {SECRET_SIZE} bytes, not {len(secret)}.")
    if not 1 <= threshold <= len(holders):
        raise MisuseError(f"a threshold of {threshold} is impossible with {len(holders)} holders.")
    if len(set(holders)) != len(holders) or not all(1 <= x < 1 << 16 for x in holders):
        raise MisuseError("share holders must be distinct numbers from 1 to 65535.")
    noise = entropy(_COEFFICIENT_BYTES * (threshold - 1))
    coefficients = [
        int.from_bytes(noise[at : at + _COEFFICIENT_BYTES], "big") % PRIME
        for at in range(0, len(noise), _COEFFICIENT_BYTES)
    ]
    # Highest power first, the secret last.
    coefficients.append(int.from_bytes(secret, "big"))
    return {x: _evaluate(coefficients, x).to_bytes(SHARE_SIZE, "big") for x in holders}


def recover_secret(shares: Mapping[int, bytes]) -> bytes:
    """The secret behind exactly the threshold's number of shares, by Lagrange interpolation at 0.

    Raises:
        ShareInvalid: A share is out of range, or the result is not a 32-byte string: some share is wrong.
    """
    holders = tuple(sorted(shares))
    return secret_bytes(
        sum(weight * share_value(shares[x]) for x, weight in zip(holders, lagrange_at(holders, 0), strict=True))
    )


def share_value(share: bytes) -> int:
    """The field element of a share.

    Raises:
        ShareInvalid: It is not 33 bytes below the prime.
    """
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_SIZE or value >= PRIME:
        raise ShareInvalid(f"a share is {SHARE_SIZE} bytes that encode a number below 2^256 + 297.")
    return value


def secret_bytes(value: int) -> bytes:
    """The 32 bytes of a recovered element, after reduction.

    Raises:
        ShareInvalid: It is one of the 297 elements that no secret has.
    """
    value %= PRIME
    if value >> (8 * SECRET_SIZE):
        raise ShareInvalid("the shares do not give a 32-byte secret; at least one of them is wrong.")
    return value.to_bytes(SECRET_SIZE, "big")


@lru_cache(maxsize=256)
def lagrange_at(holders: tuple[int, ...], point: int) -> tuple[int, ...]:
    """Lagrange weights of `holders` at `point`; they depend on the set of holders only, so they are kept."""
    # Differences of evaluation points are short numbers, so that whole products are cheaper than reduced ones.
    if point in holders:
        return tuple(int(x == point) for x in holders)
    whole = math.prod([point - x for x in holders])
    below = [(point - x) * math.prod([x - other for other in holders if other != x]) % PRIME for x in holders]
    return tuple(whole * inverse % PRIME for inverse in _invert_all(below))


def _invert_all(values: list[int]) -> list[int]:
    """Montgomery's trick: all inverses for the price of one and three products each."""
    prefix = [1]
    for value in values:
        prefix.append(prefix[-1] * value % PRIME)
    inverse = pow(prefix[-1], -1, PRIME)
    out = [0] * len(values)
    for i in range(len(values) - 1, -1, -1):
        out[i] = inverse * prefix[i] % PRIME
        inverse = inverse * values[i] % PRIME
    return out


def _evaluate(coefficients: list[int], x: int) -> int:
    """Horner's rule; reduces only now and then because x is small."""
    value = 0
    for step, coefficient in enumerate(coefficients):
        value = value * x + coefficient
        if step % _REDUCE_EVERY == 0:
            value %= PRIME
    return value % PRIME
