"""How many colluding members a round withstands, and how many may leave: the numbers behind a cohort.

Complete graph (up to 128 members), server active and colluding with c members: a server that shows one half
of the members one list of survivors and the other half another can collect shares from every corrupted member
for both lists, and from each honest member for one. It must not reach t for both: n - c honest and 2c
corrupted answers give n + c < 2t, so `t = floor((n + c) / 2) + 1`, and n - t members may leave.

- c = max(1, floor(corrupted_fraction · n)); below 10 members c = max(that, ceil(n / 3) - 1), the largest
  number below a third, since a fraction of so few says little.
- Fewer than 3 members cannot hide from each other.

Source: Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017,
section 6.2 (t > 2n/3 for c < n/3); the general form above is re-derived here. Sparse graphs: see
`_graph_finder`.
"""

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import final

from fedseal_crypto.masking._errors import ParametersInvalid
from fedseal_crypto.masking._graph_finder import GraphNotFound, GraphRequest, find_graph

COMPLETE_GRAPH_LIMIT = 128  # above it shares and agreements of all pairs cost more than the masks themselves
SMALLEST_ROSTER = 3
LARGEST_ROSTER = 65_535  # members are numbered with 16 bits on the wire
_SMALL = 10


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupParameters:
    """What follows from a roster's size.

    Attributes:
        threshold: Shares that recover a secret (t).
        neighbours: Neighbours of each member (k, even), or None for the complete graph.
        corrupted: Members that may collude with the server (c) without learning another's input.
        tolerated_dropouts: Members that may leave: n - t on the complete graph, floor(δ·n) on a sparse one.
    """

    threshold: int
    neighbours: int | None
    corrupted: int
    tolerated_dropouts: int


def choose_parameters(n: int, *, corrupted_fraction: float, dropout_fraction: float) -> GroupParameters:
    """Threshold and neighbours for a roster of `n` members.

    Args:
        n: Size of the roster.
        corrupted_fraction: γ, in [0, 1): the share of members that may collude with the server.
        dropout_fraction: δ, in [0, 1): the share that may leave. It shapes the sparse graph; on the complete
            graph the number that may leave follows from the threshold.

    Raises:
        ParametersInvalid: Fewer than 3 members, more than 65535, a fraction outside its range, or no graph
            that keeps 40 bits of security with these fractions.
    """
    check_size(n)
    for name, value in (("corrupted_fraction", corrupted_fraction), ("dropout_fraction", dropout_fraction)):
        if not 0 <= value < 1:
            raise ParametersInvalid(f"{name} is {value}; it must be at least 0 and below 1.")
    corrupted = corrupted_members(n, corrupted_fraction)
    if n > COMPLETE_GRAPH_LIMIT:
        request = GraphRequest(n=n, corrupted=corrupted, dropouts=math.floor(dropout_fraction * n))
        try:
            graph = find_graph(request)
        except GraphNotFound as error:
            raise ParametersInvalid(str(error)) from error
        return GroupParameters(
            threshold=graph.threshold,
            neighbours=graph.neighbours,
            corrupted=corrupted,
            tolerated_dropouts=request.dropouts,
        )
    threshold = complete_threshold(n, corrupted)
    if corrupted + 2 > n:
        raise ParametersInvalid(
            f"{corrupted} of {n} members may be corrupted, which leaves fewer than two honest ones to hide each "
            "other; lower the corrupted fraction or add members."
        )
    return GroupParameters(threshold=threshold, neighbours=None, corrupted=corrupted, tolerated_dropouts=n - threshold)


def check_size(n: int) -> None:
    """Refuse a roster that is too small or too large.

    Raises:
        ParametersInvalid: It is.
    """
    if n < SMALLEST_ROSTER:
        raise ParametersInvalid(
            f"a roster of {n} cannot be masked: of two members each learns the other's input from the sum, so "
            f"at least {SMALLEST_ROSTER} are needed."
        )
    if n > LARGEST_ROSTER:
        raise ParametersInvalid(f"a roster of {n} is too large; {LARGEST_ROSTER} is the most.")


def corrupted_members(n: int, fraction: float) -> int:
    """c: the number of members that may collude with the server, at least 1."""
    # The tolerance keeps 0.3 * 10 from becoming 2.
    stated = max(1, math.floor(fraction * n + 1e-9))
    return max(stated, math.ceil(n / 3) - 1) if n < _SMALL else stated


def complete_threshold(n: int, corrupted: int) -> int:
    """The smallest t with 2t > n + c."""
    return (n + corrupted) // 2 + 1


def smallest_sum(*, threshold: int, minimum_cohort: int, corrupted: int) -> int:
    """Contributions that a sum must have: threshold, minimum cohort, and two honest members at worst."""
    return max(threshold, minimum_cohort, corrupted + 2)


def attempt_is_dead(declared: AbstractSet[str], *, holders: AbstractSet[str], corrupted: int, threshold: int) -> bool:
    """Whether an attempt can never be unmasked any more.

    The `silent` members are those of `declared` that hold shares of the attempt; they have signed that they
    will never answer its unmasking step. A declaration of somebody who holds none, such as a member that joined
    later, silences nobody and does not count. At most `corrupted` of the silent lie, so at least
    `silent - corrupted` honest holders stay silent for ever, and at most `holders - (silent - corrupted)`
    shares of any secret can still be collected. If that is below the threshold, no secret of the attempt that
    was not recovered already ever will be:

        holders - (silent - corrupted) < threshold   iff   silent > holders - threshold + corrupted

    Only then may a node put the same update into a new attempt: otherwise the server might complete both and
    learn the difference of two sums.

    Args:
        declared: Members that signed the abandonment, this node included, as
            `MaskingClient.roster_abandonments` of the new attempt gives them.
        holders: Members that hold shares of one secret in that attempt: its whole roster, on the complete graph.
        corrupted: c of that attempt.
        threshold: t of that attempt.
    """
    return len(declared & holders) > len(holders) - threshold + corrupted
