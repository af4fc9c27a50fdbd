"""``recess``: probes, who is judged how, and whole simulations with attackers that are found and that are not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedseal.errors import PeerFault
from fedseal.learning import use_deterministic_torch
from fedseal.learning.tensors import flatten, group_of
from fedseal.methods import CohortSum, NodeContext
from fedseal.methods.contract import Plan
from fedseal.methods.judging import numbers_in_the_clear, scalars_of
from fedseal.methods.recess import ANSWER_NORM, CHANGE_NORM, PROBE, RESPONSE, Recess, RecessSettings
from fedseal.methods.trust import Trust
from fedseal.simulation.engine import Simulation, State
from fedseal.simulation.setting import Setting, make_setting
from fedseal_crypto.homomorphic import Operation
from tests.unit.simulation.attackers import experiment, source

MLP = {"name": "tabular-mlp", "settings": {"hidden_width": 8, "classes": 3, "learning_rate": 0.05, "batch_size": 8}}
SPREAD = {"kind": "dirichlet", "alpha": 0.5, "nodes": 8}
ROUNDS = 12
UNBOUNDED = {"norm_factor": 0.0}
"""Nothing but probes finds an attacker."""


def setting(attack: dict[str, Any] | None = None, rounds: int = ROUNDS, **settings: object) -> Setting:
    method = {"name": "recess", "rounds": rounds, "settings": {**UNBOUNDED, **settings}}
    chosen = experiment(attack, method, partition=SPREAD, learner=MLP, measures={"every": 100})
    return make_setting(chosen, source(240), 1)


def states(chosen: Setting) -> list[State]:
    use_deterministic_torch()
    return [result.state for result in Simulation(setting=chosen).rounds()]


def trust_of(state: State) -> Trust:
    return Trust.of(group_of("trust", state.coordinator))


def model_of(state: State) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return flatten(group_of("model", state.coordinator))


def test_attackers_that_turn_against_the_aggregate_are_removed_and_nobody_else() -> None:
    """Mean cosine of the honest above 0.3, of attackers below -0.7, and none but them removed."""
    after = states(setting({"name": "reverse", "settings": {"factor": 3.0}}))
    trust = trust_of(after[-1])
    assert trust.alive.tolist() == [False, False] + [True] * 6
    assert trust.removed[:2].tolist() == [4.0, 4.0]
    cosines = trust.consistency / trust.answers
    assert cosines[2:].mean() > 0.3
    assert cosines[:2].max() < -0.7
    scores = [trust_of(state).score[0] for state in after]
    falls = [before - now for before, now in zip([1.0, *scores], scores, strict=False)]
    assert all(fall > 0 for fall in falls[1:8:2]), "at each probe"
    assert not any(falls[0:8:2]), "and only there"


@pytest.mark.parametrize("attack", [{"name": "sign-flip"}, {"name": "lie", "settings": {"deviations": 0.7}}, None])
def test_the_same_poison_every_time_is_not_seen(attack: dict[str, Any] | None) -> None:
    """The method's limit, kept here so that nobody claims otherwise; and nobody is removed for nothing."""
    trust = trust_of(states(setting(attack, rounds=8))[-1])
    assert trust.probes.tolist() == [3.0]
    assert trust.alive.all()
    assert (trust.consistency / trust.answers).min() > 0.3


def test_a_probe_starts_where_the_last_round_did_and_leaves_the_model() -> None:
    chosen = setting(rounds=4)
    method, plan = Recess(RecessSettings()), chosen.plan
    one, two, three, _ = states(chosen)
    start = flatten(group_of("model", method.initial_state(plan)))
    np.testing.assert_array_equal(flatten(group_of("before", one.coordinator)), start)
    probe = method.broadcast(plan.for_round(1), one.coordinator)
    assert probe[PROBE][0] == np.float32(0.1)
    np.testing.assert_array_equal(
        flatten({name: value for name, value in probe.items() if name != PROBE}), start.astype(np.float32)
    )
    np.testing.assert_array_equal(model_of(two), model_of(one))
    assert method.broadcast(plan.for_round(2), two.coordinator)[PROBE][0] == 0
    assert (model_of(three) != model_of(two)).any()


def test_the_node_steps_along_its_own_last_change() -> None:
    chosen = setting(rounds=4)
    method, plan = Recess(RecessSettings(probe_scale=0.25)), chosen.plan
    state = dict(method.initial_state(plan))
    earlier = np.linspace(-1, 1, model_of(State(rounds=0, coordinator=state)).size)
    ordinary = method.broadcast(plan, state)
    probe = {**ordinary, PROBE: np.array([0.25], np.float32)}
    model = flatten({name: value for name, value in ordinary.items() if name != PROBE})
    np.testing.assert_allclose(flatten(method.start(plan, probe, earlier)), model + 0.25 * earlier, atol=1e-6)
    np.testing.assert_array_equal(flatten(method.start(plan, ordinary, earlier)), model)
    np.testing.assert_array_equal(flatten(method.start(plan, probe, None)), model)
    with pytest.raises(PeerFault, match=r"step of 0\.5; 0\.25 is agreed"):
        method.start(plan, {**ordinary, PROBE: np.array([0.5], np.float32)}, earlier)
    context = NodeContext(plan=plan, broadcast=probe, data=chosen.nodes["node-03"], node="node-03", earlier=earlier)
    without = replace(context, broadcast=ordinary)
    sent, other = (method.contribute(one).values["update"] for one in (context, without))
    assert np.abs(sent).max() < 0.25, "the answer is the change from the probe, without the probe itself"
    assert (sent != other).any()


def test_numbers_that_are_asked() -> None:
    method, plan = Recess(RecessSettings(norm_factor=0.0)), setting(rounds=6).plan
    state = method.initial_state(plan)
    ordinary = scalars_of(method, plan, method.broadcast(plan, state))
    probe = scalars_of(method, plan.for_round(1), method.broadcast(plan.for_round(1), {**state, "probing": np.ones(1)}))
    assert ordinary is not None
    assert probe is not None
    assert [(one.name, one.operation) for one in ordinary.scalars] == [(CHANGE_NORM, Operation.SQUARED_NORM)]
    assert [(one.name, one.operation) for one in probe.scalars] == [
        (ANSWER_NORM, Operation.SQUARED_NORM),
        (RESPONSE, Operation.INNER_PRODUCT),
    ]
    assert ordinary.keep
    assert not probe.keep
    g, h = np.full(probe.length, 0.01), np.full(probe.length, -0.02)
    numbers = numbers_in_the_clear(probe, {"update": h}, g)
    assert numbers == pytest.approx({ANSWER_NORM: 4e-4 * probe.length, RESPONSE: -2e-4 * probe.length})


Told = Mapping[str, Mapping[str, float | None]]


def judged_twice(ordinary: Told, probe: Told, **settings: float) -> tuple[dict[str, str], dict[str, str], Trust]:
    """Reasons at a probe, in the ordinary round after it, and trust."""
    chosen = setting(rounds=6)
    method, plan = Recess(RecessSettings.model_validate(settings)), chosen.plan
    first = method.judge(plan, method.initial_state(plan), ordinary)
    second = method.judge(plan.for_round(1), {**first.state, "probing": np.ones(1)}, probe)
    third = method.judge(plan.for_round(2), {**second.state, "probing": np.zeros(1)}, ordinary)
    for told, judgement in ((probe, second), (ordinary, third)):
        assert judgement.accepted | judgement.reasons.keys() == told.keys()
    return dict(second.reasons), dict(third.reasons), Trust.of(group_of("trust", third.state))


def names(count: int = 8) -> list[str]:
    return [f"node-{number:02}" for number in range(count)]


def test_who_is_left_out_and_why() -> None:
    ordinary: dict[str, dict[str, float | None]] = {name: {CHANGE_NORM: 1.0} for name in names()}
    probe: dict[str, dict[str, float | None]] = {name: {ANSWER_NORM: 1.0, RESPONSE: 0.6} for name in names()}
    probe["node-00"] = {ANSWER_NORM: 0.01, RESPONSE: -0.1}  # turns fully, and a tenth as long: alpha = 4
    probe["node-01"] = {ANSWER_NORM: 1.0}  # had no vector in the round before
    probe["node-02"] = {ANSWER_NORM: None, RESPONSE: None}
    del probe["node-03"]  # did not come
    probe["node-04"] = {ANSWER_NORM: 16.0, RESPONSE: 2.4}
    at_probe, after, trust = judged_twice(ordinary, probe)
    assert at_probe.keys() == {"node-00", "node-01", "node-02", "node-04"}
    assert "no trust is left since probe 1" in at_probe["node-00"]
    assert "did not answer the last probe" in at_probe["node-01"]
    assert "longer than any" in at_probe["node-02"]
    assert "norm 4 and 3 is the most" in at_probe["node-04"]
    assert after.keys() == {"node-00", "node-01", "node-02", "node-03"}, "until they have answered a probe"
    assert trust.alive.tolist() == [False] + [True] * 7


def test_a_node_without_rows_is_not_missed() -> None:
    ordinary: dict[str, dict[str, float | None]] = {name: {CHANGE_NORM: 1.0} for name in names()}
    probe: dict[str, dict[str, float | None]] = {name: {ANSWER_NORM: 1.0, RESPONSE: 0.6} for name in names()}
    ordinary["node-05"], probe["node-05"] = {CHANGE_NORM: 0.0}, {ANSWER_NORM: 0.0, RESPONSE: 0.0}
    at_probe, after, _ = judged_twice(ordinary, probe)
    assert not at_probe
    assert not after


def test_errors_of_the_size_that_encryption_has_change_no_trust_by_a_thousandth() -> None:
    generator = np.random.default_rng(3)
    ordinary: dict[str, dict[str, float | None]] = {name: {CHANGE_NORM: 0.3} for name in names()}
    probe: dict[str, dict[str, float | None]] = {
        name: {ANSWER_NORM: 0.3, RESPONSE: float(product)}
        for name, product in zip(names(), generator.uniform(-0.25, 0.25, 8), strict=True)
    }

    def rough(told: Told) -> dict[str, dict[str, float | None]]:
        return {
            name: {key: value + generator.uniform(-2e-5, 2e-5) for key, value in own.items() if value is not None}
            for name, own in told.items()
        }

    _, _, exact = judged_twice(ordinary, probe, decrease=0.1)
    _, _, near = judged_twice(rough(ordinary), rough(probe), decrease=0.1)
    assert np.abs(exact.score - near.score).max() < 1e-3
    assert exact.score.min() < 0.95


def schedule(plan: Plan, method: Recess, rounds: int) -> str:
    """P for a probe; the model is another one each round."""
    state, letters = dict(method.initial_state(plan)), ""
    for index in range(rounds):
        now = plan.for_round(index)
        letters += "P" if method.broadcast(now, state)[PROBE][0] else "o"
        moving = {name: value + 1 / (index + 1) for name, value in state.items() if name.startswith("model/")}
        specs = {spec.name: np.zeros(spec.length) for spec in method.vectors(now)}
        total = CohortSum(values={**specs, "weight": np.array([3.0])}, cohort=3)
        state = dict(method.aggregate(now, {**state, **moving}, total))
    return letters


def test_the_schedule() -> None:
    plan = setting(rounds=12).plan
    assert schedule(plan, Recess(RecessSettings()), 12) == "oPoPoPoPoPoo", "the last round would be wasted"
    assert schedule(plan, Recess(RecessSettings(probe_every=3)), 12) == "oooPoooPoooo"
    drawn = schedule(plan, Recess(RecessSettings(probe_chance=0.5)), 12)
    assert "P" in drawn
    assert "PP" not in drawn
    assert drawn == schedule(plan, Recess(RecessSettings(probe_chance=0.5)), 12), "everybody draws alike"
    assert schedule(plan, Recess(RecessSettings(probe_chance=1.0)), 12) == "oPoPoPoPoPoo"
