"""Attacks on contributions: their formulas, and the bounds that they keep."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedseal.methods import Plan
from fedseal.simulation.attacks import make_attack
from fedseal.simulation.attacks.untargeted import MinMax, MinSum, direction_of, lie_deviations, squared_distances
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.setting import make_setting
from tests.unit.simulation.attackers import experiment, source, turn

KINDS = ("unit", "deviation", "sign")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_setting(experiment(None, {"name": "fedavg"}), source(30), 1).plan


def drawn(seed: int, nodes: int, size: int = 6) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(1.0, 0.5, size=(nodes, size))


def test_scaling_multiplies_and_keeps_to_the_bound(plan: Plan) -> None:
    own = np.array([[0.1, -0.2, 30.0]])
    sent = make_attack("scaling", {"factor": 5.0}).distort(turn(plan, own, own, bound=100.0))
    np.testing.assert_allclose(sent["a0"].values["update"], [0.5, -1.0, 100.0])
    assert sent["a0"].values["loss"].tolist() == [0.5]
    held = make_attack("scaling", {"factor": 5.0, "enforced_norm": 2.0}).distort(turn(plan, own, own))
    np.testing.assert_allclose(held["a0"].values["update"], own[0] * 2 / np.linalg.norm(own))
    free = make_attack("scaling", {"factor": 5.0, "enforced_norm": 1000.0}).distort(turn(plan, own, own, bound=200.0))
    np.testing.assert_allclose(free["a0"].values["update"], own[0] * 5)


def test_lies_deviations_by_hand() -> None:
    """Of 50 nodes 24: s = 26 - 24 = 2, so Phi(z) = 24 / 26; of 20 nodes 4: s = 7, so Phi(z) = 9 / 16."""
    assert lie_deviations(50, 24) == pytest.approx(1.4261, abs=1e-4)
    assert lie_deviations(20, 4) == pytest.approx(0.1573, abs=1e-4)
    with pytest.raises(ExperimentUnsuitable, match="write `deviations`"):
        lie_deviations(5, 3)


def test_lie_shifts_every_coordinate_by_its_own_deviation(plan: Plan) -> None:
    own, others = drawn(1, 3), drawn(2, 5)
    sent = make_attack("lie", {}).distort(turn(plan, own, others))
    expected = own.mean(axis=0) - lie_deviations(8, 3) * own.std(axis=0)
    for number in range(3):
        np.testing.assert_allclose(sent[f"a{number}"].values["update"], expected * (number + 1))
    more = make_attack("lie", {"deviations": 2.0}).distort(turn(plan, own, others))
    np.testing.assert_allclose(more["a0"].values["update"], own.mean(axis=0) - 2 * own.std(axis=0))
    with pytest.raises(ExperimentUnsuitable, match="needs two attackers"):
        make_attack("lie", {}).distort(turn(plan, own[:1], others))


def test_directions_by_hand() -> None:
    known = np.array([[1.0, -2.0], [5.0, -6.0]])
    np.testing.assert_allclose(direction_of("unit", known), [-0.6, 0.8])
    np.testing.assert_allclose(direction_of("deviation", known), [-2.0, -2.0])
    np.testing.assert_allclose(direction_of("sign", known), [-1.0, 1.0])
    np.testing.assert_allclose(squared_distances(known), [[0, 32], [32, 0]])


def test_min_max_and_min_sum_by_hand() -> None:
    """Updates 0 and 2 on a line: at most 2 from both is 0 to 2, from the mean 1 down: gamma 1. Squares add up to at
    most 4: (1 + g)^2 + (1 - g)^2 = 4, gamma 1."""
    known, down = np.array([[0.0], [2.0]]), np.array([-1.0])
    assert MinMax(None).gamma(known, down) == pytest.approx(1.0)
    assert MinSum(None).gamma(known, down) == pytest.approx(1.0)
    three = np.array([[0.0], [1.0], [2.0]])  # distances 5, 2, 5: 3 g^2 + 2 = 5
    assert MinSum(None).gamma(three, down) == pytest.approx(1.0)
    assert MinMax(None).gamma(three, down) == pytest.approx(1.0)
    assert MinMax(None).gamma(np.ones((3, 2)), direction_of("deviation", np.ones((3, 2)))) == 0.0


@given(st.integers(0, 2**32), st.integers(2, 8), st.sampled_from(KINDS))
def test_the_distance_conditions_hold_and_are_used_up(seed: int, nodes: int, kind: str) -> None:
    known = drawn(seed, nodes)
    direction = direction_of(kind, known)
    squares = squared_distances(known)
    np.testing.assert_allclose(squares[0], np.square(known - known[0]).sum(axis=1), atol=1e-9)

    def gaps(gamma: float) -> NDArray[np.float64]:
        return np.asarray(np.square(known.mean(axis=0) + gamma * direction - known).sum(axis=1))

    furthest = MinMax(None).gamma(known, direction)
    assert gaps(furthest).max() == pytest.approx(squares.max(), rel=1e-6)
    assert gaps(furthest * 1.001 + 1e-6).max() > squares.max()
    in_sum = MinSum(None).gamma(known, direction)
    assert gaps(in_sum).sum() == pytest.approx(squares.sum(axis=1).max(), rel=1e-6)
    assert gaps(in_sum * 1.001 + 1e-6).sum() > squares.sum(axis=1).max()


@pytest.mark.parametrize("name", ["min-max", "min-sum"])
def test_distance_attacks_know_what_they_are_granted(plan: Plan, name: str) -> None:
    own, others = drawn(1, 3), drawn(2, 5)
    for knowledge, known in (("honest", others), ("own", own)):
        attack = make_attack(name, {"knowledge": knowledge, "direction": "sign"})
        sent = attack.distort(turn(plan, own, others))["a1"].values["update"] / 2
        shift = (sent - known.mean(axis=0)) / direction_of("sign", known)
        assert shift.min() == pytest.approx(shift.max())
        assert shift.min() > 0
    lost = make_attack(name, {}).distort(turn(plan, own, np.zeros((0, 6))))
    np.testing.assert_array_equal(lost["a0"].values["update"], own[0])


def test_a_method_without_updates_is_refused(plan: Plan) -> None:
    with_other = turn(plan, drawn(1, 2), drawn(2, 3))
    other = [spec for spec in with_other.specs if spec.name != "update"]
    with pytest.raises(ExperimentUnsuitable, match="sums none; it sums: weight, loss"):
        make_attack("lie", {}).distort(replace(with_other, specs=tuple(other)))
