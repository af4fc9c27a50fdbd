"""Lockdown under each protection: the same masks and votes, and the same model up to the resolution."""

import numpy as np
import pytest

from fedseal.learning import use_deterministic_torch
from fedseal.simulation.engine import Simulation, State
from fedseal.simulation.setting import Setting, make_setting
from tests.unit.simulation.attackers import experiment, source

METHOD = {"name": "lockdown", "settings": {"mask_rate": 0.3, "vote_every_round": True, "local_epochs": 1}}


@pytest.fixture(autouse=True, scope="module")
def repeatable() -> None:
    use_deterministic_torch()


def setting_of(protection: str, **other: object) -> Setting:
    return make_setting(experiment(None, METHOD, protection=protection, **other), source(), 1)


@pytest.fixture(scope="module")
def moved() -> State:
    """After a round in the clear, so that the next one recovers and prunes."""
    return next(Simulation(setting=setting_of("none")).rounds()).state


@pytest.mark.parametrize("protection", ["encoded", "masking"])
def test_masks_votes_and_model_do_not_depend_on_the_protection(moved: State, protection: str) -> None:
    plain = next(Simulation(setting=setting_of("none")).rounds(moved)).state
    other = next(Simulation(setting=setting_of(protection)).rounds(moved)).state
    np.testing.assert_array_equal(other.coordinator["votes"], plain.coordinator["votes"])
    for name, own in plain.nodes.items():
        np.testing.assert_array_equal(other.nodes[name]["mask"], own["mask"])
    gaps = [
        np.abs(other.coordinator[key] - plain.coordinator[key]).max()
        for key in plain.coordinator
        if key.startswith("model/")
    ]
    assert 0 < max(gaps) <= 2**-20


def test_nodes_that_are_lost_under_masks_keep_their_masks_and_do_not_vote(moved: State) -> None:
    result = next(Simulation(setting=setting_of("masking", circumstances={"dropouts": 0.17})).rounds(moved))
    assert result.summary["nodes"] == result.cohort == 5
    assert result.summary["miscounted_votes"] == 0
    same = [np.array_equal(own["mask"], moved.nodes[name]["mask"]) for name, own in result.state.nodes.items()]
    assert same.count(True) == 1


def test_running_statistics_are_averaged_and_never_voted_out() -> None:
    plain = experiment(None, METHOD)
    settings = {**plain.learner.settings, "normalisation": "batch"}
    chosen = plain.model_copy(update={"learner": plain.learner.model_copy(update={"settings": settings})})
    setting = make_setting(chosen, source(), 1)
    result = list(Simulation(setting=setting).rounds())[-1]
    assert result.summary["miscounted_votes"] == result.summary["stray_changes"] == 0
    model = setting.method.export(setting.plan.for_round(2), result.state.coordinator)
    statistics = [name for name in model if "running" in name]
    assert len(statistics) == 2
    for name in statistics:
        np.testing.assert_array_equal(model[name], result.state.coordinator[f"model/{name}"].astype(np.float32))
        assert np.all(model[name] != 0)
    assert (model["layer0.weight"] == 0).mean() > 0.5
