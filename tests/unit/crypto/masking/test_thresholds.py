"""Thresholds and graphs against the published tables, and the reasoning behind them by brute force."""

import math
from itertools import product

import pytest

from fedseal_crypto.masking import ParametersInvalid, attempt_is_dead, choose_parameters
from fedseal_crypto.masking._graph_finder import GraphRequest, find_graph, private_threshold, stays_connected
from fedseal_crypto.masking._thresholds import complete_threshold, corrupted_members

SIZES = (50, 100, 200, 500, 1000)
# Computed by the reference implementation, see the docstring of `_graph_finder`: (k, t) for each size.
REFERENCE = [
    (0.05, 0.05, False, [(6, 3), (12, 6), (20, 11), (28, 16), (30, 17)]),
    (0.05, 0.05, True, [(8, 6), (16, 11), (30, 21), (44, 31), (52, 37)]),
    (0.10, 0.10, True, [(16, 11), (32, 22), (56, 39), (82, 57), (96, 67)]),
    (0.10, 0.20, True, [(26, 16), (52, 32), (88, 55), (152, 97), (194, 124)]),
    (0.20, 0.20, True, [(32, 22), (62, 42), (118, 80), (220, 150), (302, 206)]),
    (0.33, 0.10, True, [(28, 23), (54, 44), (98, 78), (168, 132), (218, 171)]),
]


@pytest.mark.parametrize(("corrupted", "dropouts", "active", "expected"), REFERENCE)
def test_graphs_of_the_reference(
    corrupted: float, dropouts: float, active: bool, expected: list[tuple[int, int]]
) -> None:
    found = []
    for n in SIZES:
        request = GraphRequest(
            n=n,
            corrupted=math.floor(corrupted * n + 1e-9),
            dropouts=n - math.ceil((1 - dropouts) * n - 1e-9),
            active=active,
            own_share=False,
        )
        choice = find_graph(request)
        found.append((choice.neighbours, choice.threshold))
    assert found == expected


@pytest.mark.parametrize(
    ("dropouts", "expected"),
    [(0.10, [(32, 22), (56, 39), (104, 76), (132, 97)]), (0.20, [(52, 32), (88, 55), (172, 112), (246, 163)])],
)
def test_graphs_of_the_reference_at_104_bits(dropouts: float, expected: list[tuple[int, int]]) -> None:
    found = [
        find_graph(GraphRequest(n=n, corrupted=n // 10, dropouts=int(dropouts * n), own_share=False, security_bits=104))
        for n in SIZES[1:]
    ]
    assert [(choice.neighbours, choice.threshold) for choice in found] == expected


@pytest.mark.parametrize("n", [129, 200, 500, 1000])
def test_our_threshold_counts_the_own_share(n: int) -> None:
    """2t > holders + corrupted holders, where the k + 1 holders include the owner."""
    request = GraphRequest(n=n, corrupted=n // 10, dropouts=n // 10)
    choice = find_graph(request)
    reference = private_threshold(
        GraphRequest(n=n, corrupted=n // 10, dropouts=n // 10, own_share=False), choice.neighbours
    )
    assert reference <= choice.threshold <= reference + 1
    assert stays_connected(request, choice.neighbours)


@pytest.mark.parametrize(
    ("n", "threshold", "dropouts"), [(3, 3, 0), (4, 3, 1), (5, 4, 1), (10, 7, 3), (20, 13, 7), (50, 31, 19)]
)
def test_complete_graphs(n: int, threshold: int, dropouts: int) -> None:
    group = choose_parameters(n, corrupted_fraction=0.2, dropout_fraction=0.1)
    assert (group.threshold, group.tolerated_dropouts, group.neighbours) == (threshold, dropouts, None)


@pytest.mark.parametrize(
    ("n", "threshold", "dropouts"), [(5, 4, 1), (10, 7, 3), (20, 14, 6), (50, 34, 16), (100, 67, 33)]
)
def test_complete_graphs_with_just_under_a_third_corrupted(n: int, threshold: int, dropouts: int) -> None:
    group = choose_parameters(n, corrupted_fraction=(math.ceil(n / 3) - 1) / n, dropout_fraction=0)
    assert (group.threshold, group.tolerated_dropouts) == (threshold, dropouts)


@pytest.mark.parametrize("n", range(3, 129))
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.2, 0.33])
def test_every_complete_threshold_stops_the_split_view(n: int, fraction: float) -> None:
    group = choose_parameters(n, corrupted_fraction=fraction, dropout_fraction=0)
    assert 2 * group.threshold > n + group.corrupted  # both kinds of shares of one member are out of reach
    assert 2 * (group.threshold - 1) <= n + group.corrupted  # and one less would not do
    assert group.threshold > group.corrupted
    assert group.threshold - group.corrupted >= 2  # a sum always has two honest members
    assert group.corrupted >= 1


def test_the_split_view_by_brute_force() -> None:
    """Honest holders answer one way, corrupted ones both ways: no split reaches the threshold twice."""
    for n in range(3, 9):
        for corrupted in range(1, n - 1):
            t = complete_threshold(n, corrupted)
            reached = any(
                views.count(0) + corrupted >= t and views.count(1) + corrupted >= t
                for views in product((0, 1), repeat=n - corrupted)
            )
            assert not reached


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_members_cannot_hide(n: int) -> None:
    with pytest.raises(ParametersInvalid, match="at least 3 are needed"):
        choose_parameters(n, corrupted_fraction=0.2, dropout_fraction=0.1)


def test_impossible_demands_are_refused() -> None:
    with pytest.raises(ParametersInvalid, match="lower the corrupted fraction"):
        choose_parameters(20, corrupted_fraction=0.95, dropout_fraction=0)
    with pytest.raises(ParametersInvalid, match="no graph on 200 members"):
        choose_parameters(200, corrupted_fraction=0.5, dropout_fraction=0.3)
    with pytest.raises(ParametersInvalid, match="65535 is the most"):
        choose_parameters(65_536, corrupted_fraction=0.1, dropout_fraction=0.1)
    for fractions in ((-0.1, 0.1), (1.0, 0.1), (0.1, 1.0), (0.1, math.nan)):
        with pytest.raises(ParametersInvalid, match="at least 0 and below 1"):
            choose_parameters(10, corrupted_fraction=fractions[0], dropout_fraction=fractions[1])


def test_fractions_are_counted_without_rounding_surprises() -> None:
    assert corrupted_members(10, 0.3) == 3
    assert corrupted_members(100, 0.29) == 29


def test_an_attempt_is_dead_exactly_when_no_liars_can_complete_it() -> None:
    """By brute force: the most answers that can still come are those of the silent and of corrupted liars."""
    for holders in range(3, 12):
        for corrupted in range(holders):
            for threshold in range(1, holders + 1):
                for declared in range(holders + 1):
                    liars = min(corrupted, declared)
                    still_possible = holders - declared + liars
                    dead = still_possible < threshold
                    names = [f"node-{i}" for i in range(holders)]
                    assert dead == attempt_is_dead(
                        frozenset(names[:declared]),
                        holders=frozenset(names),
                        corrupted=corrupted,
                        threshold=threshold,
                    )


def test_members_that_were_not_in_an_attempt_cannot_help_to_declare_it_dead() -> None:
    holders = frozenset({"node-0", "node-1", "node-2", "node-3"})
    newcomers = frozenset({"node-4", "node-5", "node-6"})
    assert attempt_is_dead(holders - {"node-3"}, holders=holders, corrupted=1, threshold=3)
    assert not attempt_is_dead(frozenset({"node-0"}) | newcomers, holders=holders, corrupted=1, threshold=3)
