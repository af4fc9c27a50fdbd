"""Recovering a committed secret when some shares may be wrong, and naming who sent them.

The owner committed to the secret before it was shared out, so a candidate can be checked. In order:

1. interpolate the first t shares, with holders already found wrong put last: the usual case;
2. decode as a Reed-Solomon code, which corrects up to (m - t) / 2 wrong shares among m (Gao, "A new algorithm
   for decoding Reed-Solomon codes", 2003);
3. leave out small sets of holders in turn: with the commitment as a check one wrong share can be found from
   m = t + 1 on; bounded, so that nobody can make the server search for ever.

If all fail, either too many holders or the owner itself lied; the two cannot be told apart from shares alone.

A secret that matches is the right one, but the polynomial behind it need not be: colluding holders can choose
errors that cancel at 0. That holders are wrong is proven only if so many shares lie on the polynomial that,
without c of them, a threshold is left: those determine it.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain, combinations, islice
from typing import final

from fedseal_crypto.shamir import PRIME, ShareInvalid, lagrange_at, recover_secret, share_value

_MOST_SUBSETS = 500  # about half a second at 100 holders

Polynomial = list[int]  # coefficients modulo the prime, constant term first, no leading zero


@final
@dataclass(frozen=True, slots=True)
class Recovered:
    """A secret that matches its commitment.

    Attributes:
        secret: 32 bytes.
        odd: Holders whose shares do not lie on the polynomial that was found; empty if none had to be looked for.
        proven: Whether enough shares lie on it that those of `odd` must be wrong.
    """

    secret: bytes
    odd: frozenset[int] = frozenset()
    proven: bool = True


def recover_committed(
    shares: Mapping[int, bytes],
    *,
    threshold: int,
    corrupted: int,
    matches: Callable[[bytes], bool],
    distrusted: AbstractSet[int] = frozenset(),
) -> Recovered | None:
    """The secret behind `shares`, or None if none that matches the commitment was found.

    Args:
        shares: By evaluation point; at least `threshold` of them.
        threshold: t.
        corrupted: c, holders that may collude.
        matches: Whether a candidate is what the owner committed to.
        distrusted: Points whose shares were wrong for another owner; tried last.
    """
    points = sorted(shares, key=lambda x: (x in distrusted, x))
    first = _candidate({x: shares[x] for x in points[:threshold]})
    if first is not None and matches(first):
        return Recovered(first)
    usable = {x: share_value(shares[x]) for x in points if _in_range(shares[x])}
    for subset in _likely_subsets(usable, threshold):
        candidate = _candidate({x: shares[x] for x in subset})
        if candidate is not None and matches(candidate):
            odd = _off_polynomial(shares, subset)
            return Recovered(candidate, odd, proven=len(shares) - len(odd) >= threshold + corrupted)
    return None


def _likely_subsets(values: Mapping[int, int], threshold: int) -> Iterator[tuple[int, ...]]:
    decoded = _decode(values, threshold)
    if decoded is not None:
        yield decoded
    points = tuple(values)
    spare = len(points) - threshold
    sets = chain.from_iterable(combinations(points, left_out) for left_out in range(1, spare + 1))
    for gone in islice(sets, _MOST_SUBSETS):
        yield tuple(x for x in points if x not in gone)[:threshold]


def _candidate(shares: Mapping[int, bytes]) -> bytes | None:
    try:
        return recover_secret(shares)
    except ShareInvalid:
        return None


def _in_range(share: bytes) -> bool:
    try:
        share_value(share)
    except ShareInvalid:
        return False
    return True


def _off_polynomial(shares: Mapping[int, bytes], good: tuple[int, ...]) -> frozenset[int]:
    """Points whose share is not the value of the polynomial through the good ones."""
    basis = tuple(sorted(good))
    values = [int.from_bytes(shares[x], "big") for x in basis]
    wrong = set()
    for x in shares.keys() - set(good):
        expected = sum(a * b for a, b in zip(lagrange_at(basis, x), values, strict=True)) % PRIME
        if int.from_bytes(shares[x], "big") != expected:
            wrong.add(x)
    return frozenset(wrong)


def _decode(values: Mapping[int, int], threshold: int) -> tuple[int, ...] | None:
    """Gao's decoder: `threshold` points that lie on one polynomial with most of the others, or None."""
    points = tuple(values)
    if len(points) - threshold < 2:
        return None
    locator: Polynomial = [1]
    for x in points:
        locator = _multiply(locator, [-x % PRIME, 1])
    before, now = locator, _interpolate(values)
    cofactor_before: Polynomial = []
    cofactor: Polynomial = [1]
    # Euclid's algorithm, stopped half-way: deg now < (m + t) / 2.
    while 2 * (len(now) - 1) >= len(points) + threshold:
        quotient, rest = _divide(before, now)
        before, now = now, rest
        cofactor_before, cofactor = cofactor, _subtract(cofactor_before, _multiply(quotient, cofactor))
    message, rest = _divide(now, cofactor)
    if rest or len(message) > threshold:
        return None
    good = [x for x in points if _value_at(message, x) == values[x]]
    return tuple(good[:threshold]) if len(good) >= threshold else None


def _interpolate(values: Mapping[int, int]) -> Polynomial:
    """Newton's form, expanded: the polynomial through all points."""
    points = list(values)
    result: Polynomial = []
    base: Polynomial = [1]
    for x in points:
        step = (values[x] - _value_at(result, x)) * pow(_value_at(base, x), -1, PRIME) % PRIME
        result = _subtract(result, [-step * c % PRIME for c in base])
        base = _multiply(base, [-x % PRIME, 1])
    return result


def _value_at(polynomial: Polynomial, x: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % PRIME
    return value


def _multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    if not a or not b:
        return []
    out = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] += x * y
    return _trimmed([value % PRIME for value in out])


def _subtract(a: Polynomial, b: Polynomial) -> Polynomial:
    size = max(len(a), len(b))
    left, right = a + [0] * (size - len(a)), b + [0] * (size - len(b))
    return _trimmed([(x - y) % PRIME for x, y in zip(left, right, strict=True)])


def _divide(a: Polynomial, b: Polynomial) -> tuple[Polynomial, Polynomial]:
    rest = a[:]
    quotient = [0] * max(0, len(a) - len(b) + 1)
    lead = pow(b[-1], -1, PRIME)
    for shift in range(len(a) - len(b), -1, -1):
        factor = rest[shift + len(b) - 1] * lead % PRIME
        quotient[shift] = factor
        if factor:
            for i, coefficient in enumerate(b):
                rest[shift + i] = (rest[shift + i] - factor * coefficient) % PRIME
    return _trimmed(quotient), _trimmed(rest)


def _trimmed(polynomial: Polynomial) -> Polynomial:
    while polynomial and polynomial[-1] == 0:
        polynomial.pop()
    return polynomial
