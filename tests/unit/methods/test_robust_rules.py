"""Robust rules by hand."""

import numpy as np
import pytest

from fedseal.errors import PeerFault
from fedseal.learning.tensors import flatten, group_of
from fedseal.methods import CohortSum
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.robust_rules import RULES, RobustRules, RobustSettings, multi_krum, norm_bounding
from fedseal.simulation.setting import make_setting
from tests.unit.simulation.attackers import experiment, source


def test_trimmed_mean_and_median_by_hand() -> None:
    updates = np.array([[1.0, -9.0], [2.0, 0.0], [3.0, 1.0], [100.0, 2.0]])
    assert RULES["trimmed-mean"](updates, 1).tolist() == [2.5, 0.5]
    assert RULES["median"](updates, 1).tolist() == [2.5, 0.5]
    assert RULES["trimmed-mean"](updates, 0).tolist() == [26.5, -1.5]


def test_multi_krum_by_hand() -> None:
    """Places 0, 1, 2, 3 and 50 on a line with f = 1: two nearest each, sums 5, 2, 2, 5, 4514; without the farthest."""
    updates = np.array([[0.0], [1.0], [2.0], [3.0], [50.0]])
    assert multi_krum(updates, 1).tolist() == [1.5]


def test_norm_bounding_by_hand() -> None:
    """Lengths 1, 2 and 10: the median is 2."""
    updates = np.array([[1.0, 0.0], [0.0, 2.0], [-6.0, 8.0]])
    np.testing.assert_allclose(norm_bounding(updates, 0), [(1 - 1.2) / 3, (2 + 1.6) / 3])
    assert not norm_bounding(np.zeros((3, 2)), 0).any()


def test_a_round_moves_by_the_rule_over_those_that_trained() -> None:
    chosen = experiment(None, {"name": "robust-rules", "settings": {"rule": "median"}})
    plan = make_setting(chosen, source(30), 1).plan
    method = RobustRules(RobustSettings(rule="median"))
    state = method.initial_state(plan)
    size = sum(spec.length for spec in method.update_vectors(plan))
    figures = {"loss": np.array([0.5]), "clipped": np.zeros(1)}
    parts = [
        {"update": np.full(size, value), "weight": np.array([weight]), **figures}
        for value, weight in ((0.1, 1.0), (0.2, 1.0), (0.9, 1.0), (0.0, 0.0))
    ]
    after = method.aggregate_each(plan, state, parts)
    moved = flatten(group_of("model", after)) - flatten(group_of("model", state))
    np.testing.assert_allclose(moved, 0.2)
    with pytest.raises(MethodUnsuitable, match="by itself"):
        method.aggregate(plan, state, CohortSum(values={}, cohort=3))
    with pytest.raises(PeerFault, match=r"3 nodes trained, and trimmed-mean with 2 needs 5"):
        RobustRules(RobustSettings(rule="trimmed-mean", poisoned=2)).aggregate_each(plan, state, parts)
