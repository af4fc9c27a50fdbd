"""Neighbours and threshold of a sparse graph: the smallest that keeps 40 bits of security.

The graph is a random k-regular Harary graph: members on a ring in random order, each joined to the k/2
nearest on either side. Members that are corrupted or leave are taken as random positions; what a server could
gain by choosing whom to drop is stopped by the checks of `_graph`.

Reference: Bell et al., "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead", CCS 2020, sections
3 and 4, with the search and constants of Google's `fcp/secagg/server/graph_parameter_finder.cc`:

1. A corrupted members, D that leave, S = n - D that stay. Try k = 2, 4, 6, …
2. Connectivity. To split the ring two separate runs of k/2 members must be bad. With B = A + D bad members,
   unless k > B: n(n-k-1)/2 · [B! (n-k)!] / [n! (B-k)!] < 2^-(σ+1).
3. t1: the smallest number with Pr[Hypergeom(n, A, k) > t1] <= 2^-(σ+1) / n.
4. An active server: t1 becomes ceil((t1 + k - 1.25) / 2). With t = t1 + 1 this is 2t > k + t1. Each member
   also holds a share of its own secret, so that there are k + 1 holders; we ask 2t > k + 1 + t1, which is one
   more when t1 + k is odd. `own_share=False` gives the reference's numbers.
5. t2: the smallest number with Pr[Hypergeom(n, S, k) <= t2] >= 2^-η / n.
6. Accept k if t2 > t1; then t = max(t1 + 1, 2).

σ = 40 bits of security, η = 20 bits of correctness, both per round. Probabilities are exact integers.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import comb, prod
from typing import final

SECURITY_BITS = 40
CORRECTNESS_BITS = 20


class GraphNotFound(Exception):  # never leaves the package; translated by `choose_parameters`
    """No sparse graph keeps the promised security for these numbers."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRequest:
    """What the graph must withstand.

    Attributes:
        n: Members.
        corrupted: A, members that collude with the server.
        dropouts: D, members that leave.
        active: Whether the server may lie about who left.
        own_share: Whether a member's own share counts as one of those a lying server may collect.
        security_bits: σ.
    """

    n: int
    corrupted: int
    dropouts: int
    active: bool = True
    own_share: bool = True
    security_bits: int = SECURITY_BITS


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GraphChoice:
    """The graph found: `neighbours` (k) and `threshold` (t)."""

    neighbours: int
    threshold: int


def find_graph(request: GraphRequest) -> GraphChoice:
    """The smallest k, and its t.

    Raises:
        GraphNotFound: None below n - 1 fits.
    """
    n = request.n
    weight = (2 if request.active else 1) * request.dropouts + request.corrupted
    if 10 * weight <= 9 * n:  # the feasibility rule of the reference, γ + 2δ <= 0.9
        for k in range(2, n - 1, 2):
            if not stays_connected(request, k):
                continue
            t1 = private_threshold(request, k) - 1
            if _surviving_neighbours(request, k) > t1:
                return GraphChoice(neighbours=k, threshold=max(t1 + 1, 2))
    raise GraphNotFound(
        f"no graph on {n} members withstands {request.corrupted} corrupted members and {request.dropouts} "
        "dropouts; lower the fractions."
    )


def stays_connected(request: GraphRequest, k: int) -> bool:
    """Whether, except with probability 2^-(σ+1), the honest survivors stay connected."""
    n, bad = request.n, request.corrupted + request.dropouts
    if k > bad:
        return True
    # B! (n-k)! / (n! (B-k)!): the chance that k given positions are all bad.
    all_bad = Fraction(prod(range(bad - k + 1, bad + 1)), prod(range(n - k + 1, n + 1)))
    return Fraction(n * (n - k - 1), 2) * all_bad < Fraction(1, 1 << (request.security_bits + 1))


def private_threshold(request: GraphRequest, k: int) -> int:
    """The smallest t that keeps every member's secrets from the server and its neighbours."""
    t1 = _corrupted_neighbours(request, k)
    if request.active and request.own_share:
        return (k + 1 + t1) // 2 + 1
    if request.active:
        # ceil((t1 + k - 1.25) / 2) in whole numbers.
        t1 = -((-4 * (t1 + k) + 5) // 8)
    return t1 + 1


def _corrupted_neighbours(request: GraphRequest, k: int) -> int:
    n = request.n
    # Pr[X > t1] <= 2^-(σ+1) / n, with both sides times comb(n, k).
    allowed = Fraction(comb(n, k), n << (request.security_bits + 1))
    tail = 0
    for hits in range(min(k, request.corrupted), -1, -1):
        tail += comb(request.corrupted, hits) * comb(n - request.corrupted, k - hits)
        if tail > allowed:
            return hits
    return 0


def _surviving_neighbours(request: GraphRequest, k: int) -> int:
    n, stay = request.n, request.n - request.dropouts
    needed = Fraction(comb(n, k), n << CORRECTNESS_BITS)
    total = 0
    for hits in range(k + 1):
        total += comb(stay, hits) * comb(n - stay, k - hits)
        if total >= needed:
            return hits
    return k
