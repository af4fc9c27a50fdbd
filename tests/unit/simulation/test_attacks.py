"""Attackers in whole simulations: when they attack, what they train in, and what they vote for."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedseal.errors import PeerFault
from fedseal.learning import use_deterministic_torch
from fedseal.learning.tensors import NamedTensors, flatten
from fedseal.methods.lockdown import Lockdown
from fedseal.methods.masks import unpacked
from fedseal.simulation.attacks import attack_names, make_attack
from fedseal.simulation.attacks.neurotoxin import quiet
from fedseal.simulation.engine import RoundResult, Simulation, simulate
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.setting import Setting, make_setting
from tests.unit.simulation.attackers import experiment, source

VOTING = {"name": "lockdown", "settings": {"mask_rate": 0.3, "vote_every_round": True, "local_epochs": 1}}
REPORTING = {**VOTING, "settings": {**VOTING["settings"], "vote_check": "report"}}  # type: ignore[dict-item]
FEDAVG = {"name": "fedavg", "settings": {"local_epochs": 1}}
ATTACKERS = ("node-00", "node-01")


@pytest.fixture(autouse=True, scope="module")
def repeatable() -> None:
    use_deterministic_torch()


def setting_of(attack: dict[str, Any] | None, method: dict[str, Any], **other: Any) -> Setting:
    return make_setting(experiment(attack, method, **other), source(), 1)


def masks(setting: Setting, results: list[RoundResult], node: str) -> list[NDArray[np.float64]]:
    method = setting.method
    assert isinstance(method, Lockdown)
    shapes = method.masked_shapes(setting.plan)
    return [flatten(unpacked(result.state.nodes[node]["mask"], shapes)) for result in results]


def model_of(result: RoundResult) -> NDArray[np.float64]:
    return flatten({name: value for name, value in result.state.coordinator.items() if name.startswith("model/")})


@cache
def clean_model(method: str) -> NDArray[np.float64]:
    return model_of(simulate(setting_of(None, REPORTING if method == "lockdown" else FEDAVG))[-1])


UNTARGETED = ("label-flip", "lie", "min-max", "min-sum", "min-max-reverse", "reverse", "sign-flip")


@pytest.mark.parametrize("name", attack_names())
def test_every_attack_runs_and_changes_the_model(name: str) -> None:
    method = REPORTING if name in ("fixmask", "omniscience") else FEDAVG
    settings = {} if name in UNTARGETED else {"target": 1, "share": 1.0}
    settings |= {"deviations": 1.5} if name == "lie" else {}
    attacked = simulate(setting_of({"name": name, "settings": settings}, method))
    assert not np.array_equal(model_of(attacked[-1]), clean_model(str(method["name"])))
    assert ("attack_success" in attacked[-1].figures) == (make_attack(name, settings).target() is not None)


def test_attackers_behave_outside_their_rounds() -> None:
    attack = {"name": "badnet", "settings": {"target": 1, "share": 1.0}}
    always = simulate(setting_of(attack, FEDAVG))
    clean = simulate(setting_of(None, FEDAVG))
    late = simulate(setting_of({**attack, "from_round": 2}, FEDAVG))
    brief = simulate(setting_of({**attack, "until_round": 1}, FEDAVG))
    for place in (0, 1):
        np.testing.assert_array_equal(model_of(late[place]), model_of(clean[place]))
    assert not np.array_equal(model_of(late[2]), model_of(clean[2]))
    np.testing.assert_array_equal(model_of(brief[0]), model_of(always[0]))
    assert not np.array_equal(model_of(brief[1]), model_of(always[1]))


def test_a_plain_fixmask_keeps_its_mask_and_is_refused() -> None:
    attack: dict[str, Any] = {"name": "fixmask", "settings": {"target": 1, "evasive": False}}
    setting = setting_of(attack, REPORTING)
    results = simulate(setting)
    first, *later = masks(setting, results, ATTACKERS[0])
    assert all(np.array_equal(first, mask) for mask in later)
    method, plan = setting.method, setting.plan
    assert isinstance(method, Lockdown)
    extra = sum(method.full_counts(plan).values()) - sum(method.kept_counts(plan).values())
    assert results[0].summary["miscounted_votes"] == 2 * extra > 0
    with pytest.raises(PeerFault, match="The votes of 6 nodes do not fit together"):
        simulate(setting_of(attack, VOTING))


@pytest.mark.parametrize("name", ["fixmask", "omniscience", "neurotoxin"])
def test_evasive_attackers_pass_every_check(name: str) -> None:
    results = simulate(setting_of({"name": name, "settings": {"target": 1}}, VOTING))
    assert all(result.summary["miscounted_votes"] == result.summary["stray_changes"] == 0 for result in results)


@pytest.mark.parametrize("evasive", [True, False])
def test_omniscience_trains_and_votes_where_the_consensus_is(evasive: bool) -> None:
    setting = setting_of({"name": "omniscience", "settings": {"target": 1, "evasive": evasive}}, REPORTING)
    results = simulate(setting)
    one, two = (masks(setting, results, node) for node in ATTACKERS)
    for place, result in enumerate(results):
        np.testing.assert_array_equal(one[place], two[place])
        kept = result.state.coordinator["votes"] >= 3
        if evasive:
            assert one[place][kept].mean() > 0.9
        else:  # two votes more cannot lift what had fewer than three, and nothing that had three is left out
            np.testing.assert_array_equal(one[place] == 1, kept)


def test_omniscience_needs_a_vote_to_learn_from() -> None:
    silent: dict[str, Any] = {"name": "lockdown", "settings": {"mask_rate": 0.3, "local_epochs": 1}}
    setting = setting_of({"name": "omniscience", "settings": {"target": 1}}, silent)
    results = simulate(setting)
    before = masks(setting, results[:2], ATTACKERS[0])
    np.testing.assert_array_equal(before[0], before[1])
    assert not np.array_equal(masks(setting, results, ATTACKERS[0])[2], before[0])


def test_masks_can_only_be_cheated_with_where_there_are_masks() -> None:
    for name in ("fixmask", "omniscience"):
        with pytest.raises(ExperimentUnsuitable, match='masks of lockdown; "fedavg" has none'):
            simulate(setting_of({"name": name, "settings": {"target": 1}}, FEDAVG))


def test_quiet_coordinates_by_hand() -> None:
    found = quiet({"a": np.array([[3.0, -1.0], [0.5, 2.0]]), "b": np.array([1.0, 1.0])}, {"a": 2, "b": 1})
    assert found["a"].tolist() == [[0, 1], [1, 0]]
    assert found["b"].tolist() == [1, 0]


def updates_in(setting: Setting, rounds: int) -> tuple[NamedTensors, NamedTensors, Mapping[str, NDArray[np.float64]]]:
    """The last two broadcasts, and every node's update of the last round."""
    simulation = Simulation(setting=setting)
    found: list[NamedTensors] = [setting.method.broadcast(setting.plan, simulation.start().coordinator)]
    nodes: Mapping[str, NamedTensors] = {}
    for result in simulation.rounds():
        if result.round == rounds:
            break
        found.append(setting.method.broadcast(setting.plan, result.state.coordinator))
        nodes = result.state.nodes
    plan = setting.plan.for_round(rounds - 1)
    parts = {}
    for name in ("node-00", "node-05"):
        context = setting.context(name, plan, found[rounds - 1], nodes.get(name, {}))
        parts[name] = setting.method_of(name, hurried=False).contribute(context).values["update"]
    return found[rounds - 2], found[rounds - 1], parts


def test_neurotoxin_moves_quiet_coordinates_only() -> None:
    setting = setting_of({"name": "neurotoxin", "settings": {"target": 1, "fraction": 0.25}}, FEDAVG)
    before, now, parts = updates_in(setting, 2)
    change = {name: now[name] - before[name] for name in now}
    mask = flatten(quiet(change, {name: round(0.25 * value.size) for name, value in change.items()}))
    assert (parts["node-00"][mask == 0] == 0).all()
    assert np.count_nonzero(parts["node-00"]) > 0.5 * mask.sum()
    assert np.count_nonzero(parts["node-05"][mask == 0]) > 0.5 * (mask == 0).sum()


def test_neurotoxin_votes_for_quiet_coordinates_against_lockdown() -> None:
    setting = setting_of({"name": "neurotoxin", "settings": {"target": 1, "evasive": False}}, REPORTING)
    results = simulate(setting)
    change = {
        name: results[1].state.coordinator[f"model/{name}"].astype(np.float32)
        - results[0].state.coordinator[f"model/{name}"].astype(np.float32)
        for name in setting.method.broadcast_shapes(setting.plan)
    }
    expected = quiet(change, {name: round(0.25 * value.size) for name, value in change.items()})
    np.testing.assert_array_equal(masks(setting, results, ATTACKERS[0])[2], flatten(expected))
