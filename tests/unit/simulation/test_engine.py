"""A run follows from experiment and seed alone: whoever computes it, under whichever protection."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from fedseal.learning import SettingsRefused
from fedseal.simulation.engine import RoundResult, Simulation, draw, simulate
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.setting import Setting, make_setting
from fedseal.simulation.sources import Source
from fedseal.simulation.workers import make_workers
from tests.unit.simulation.conftest import experiment

Make = Callable[..., Setting]
ROUGH = "{participation: 0.8, dropouts: 0.25, stragglers: 0.5}"
EVERY_METHOD = (
    *("fedavg", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "fedprox", "scaffold", "feddyn", "fednova"),
    *("ditto", "fedper", "fedrep"),
)
TABULAR = "{name: tabular-mlp, settings: {hidden_width: 4}}"


def model_of(results: list[RoundResult]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    state = results[-1].state.coordinator
    return np.concatenate([np.ravel(state[name]) for name in sorted(state) if name.startswith("model/")])


def of(name: str, **settings: object) -> str:
    return f"{{name: {name}, rounds: 2, settings: {json.dumps(settings)}}}"


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_same_seed_same_bits_and_secure_sums_agree_for_every_method(setting: Make, name: str) -> None:
    method = of(name, resolution=2**-16)
    one, two, encoded, masked = (
        simulate(setting(method=method, learner=TABULAR, circumstances=ROUGH, protection=protection))
        for protection in ("none", "none", "encoded", "masking")
    )
    assert model_of(one).tobytes() == model_of(two).tobytes()
    assert {name: list(state) for name, state in one[-1].state.nodes.items()} == {
        name: list(state) for name, state in two[-1].state.nodes.items()
    }
    assert [item.figures for item in one] == [item.figures for item in two]
    assert model_of(encoded).tobytes() == model_of(masked).tobytes(), "masks add nothing"
    assert [item.cohort for item in one] == [item.cohort for item in masked]
    # adaptive steps divide by the root of the update, which magnifies rounding where updates are tiny
    assert np.abs(model_of(one) - model_of(masked)).max() < (
        0.05 if name.startswith("fedad") or name == "fedyogi" else 1e-3
    )


def test_another_seed_is_another_run(source: Source) -> None:
    first, second = (simulate(make_setting(experiment(method=of("fedavg")), source, seed)) for seed in (1, 2))
    assert model_of(first).tobytes() != model_of(second).tobytes()


@pytest.mark.timeout(600)
def test_ray_gives_the_same_bits(setting: Make) -> None:
    where = setting(method=of("scaffold"), circumstances=ROUGH)
    serial = simulate(where)
    ray = make_workers("ray")
    spread = simulate(where, ray)
    assert model_of(serial).tobytes() == model_of(spread).tobytes()
    assert [item.figures for item in serial] == [item.figures for item in spread]
    assert all(item.training_seconds > 0 for item in spread)
    for name, state in serial[-1].state.nodes.items():
        assert all(np.array_equal(state[key], spread[-1].state.nodes[name][key]) for key in state)
    # an error of a method arrives as itself, not as a worker's traceback
    wild = setting(
        learner="{name: logistic-regression, settings: {learning_rate: 10, weight_decay: 1}}",
        method=of("fedavg", local_epochs=200),
    )
    raised = []
    for workers in (make_workers("serial"), ray):
        with pytest.raises(Exception, match="diverged") as caught:
            simulate(wild, workers)
        raised.append((type(caught.value).__name__, str(caught.value)))
    assert raised[0] == raised[1]


def test_unknown_engine_is_refused() -> None:
    with pytest.raises(Exception, match="serial or ray"):
        make_workers("spark")


def test_who_is_asked_lost_and_slow(setting: Make) -> None:
    where = setting(circumstances=ROUGH)
    casts = [draw(where, index) for index in range(30)]
    for cast in casts:
        assert len(cast.asked) == 4
        assert len(cast.lost) == 1
        assert len(cast.hurried) == 2
        assert cast.lost <= set(cast.asked)
        assert cast.hurried <= set(cast.asked) - cast.lost
    assert {name for cast in casts for name in cast.asked} == set(where.nodes)
    assert casts[0] == draw(where, 0)
    assert len(set(casts)) > 5


def test_a_lost_node_keeps_its_old_local_state(setting: Make) -> None:
    where = setting(method=of("scaffold"), circumstances=ROUGH)
    for index, result in enumerate(simulate(where)):
        cast = draw(where, index)
        assert result.cohort == 3
        if index == 0:
            assert set(result.state.nodes) == set(cast.asked) - cast.lost


def test_stragglers_train_one_epoch(setting: Make) -> None:
    slow = setting(circumstances="{stragglers: 1}", method=of("fedavg", local_epochs=2))
    quick = setting(method=of("fedavg", local_epochs=1))
    assert model_of(simulate(slow)).tobytes() == model_of(simulate(quick)).tobytes()


def test_masks_report_what_a_node_really_sends(setting: Make) -> None:
    sent = {
        protection: simulate(setting(protection=protection, method=of("fedavg")))[0].bytes_up
        for protection in ("encoded", "masking")
    }
    assert sent["masking"] > sent["encoded"] + 500, "keys, shares and signatures"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"partition": "{kind: iid, nodes: 2}", "protection": "masking"}, "asks 2 nodes"),
        ({"circumstances": "{dropouts: 0.6}", "protection": "masking"}, "lower `dropouts`"),
        ({"attack": "{name: x, nodes: 5}"}, "so that at least one does not"),
        ({"partition": "{kind: iid, nodes: 900}"}, "ask fewer"),
        ({"method": "{name: fedavg, rounds: 1, settings: {locl_epochs: 1}}"}, "local_epochs"),
    ],
)
def test_what_cannot_be_simulated_is_refused(setting: Make, changes: dict[str, str], word: str) -> None:
    with pytest.raises((ExperimentUnsuitable, SettingsRefused), match=word):
        simulate(setting(**changes))


def test_two_nodes_need_no_masks(setting: Make) -> None:
    results = simulate(setting(partition="{kind: iid, nodes: 2}", method=of("fedavg")))
    assert [item.cohort for item in results] == [2, 2]


def test_natural_sites_with_own_rows(setting: Make) -> None:
    where = setting(partition="{kind: natural}", measures="{own_rows: true}", method=of("ditto"), learner=TABULAR)
    assert set(where.nodes) == {"cleveland", "hungary", "va", "zurich"}
    figures = Simulation(setting=where)
    last = list(figures.rounds())[-1].figures
    assert 0 < last["own_accuracy_worst"] <= last["own_accuracy_mean"] <= 1
    assert {"accuracy", "auc", "log_loss"} <= set(last)


def test_nodes_that_never_train_are_dealt_rows_like_the_others_and_measured(setting: Make) -> None:
    where = setting(
        partition="{kind: iid, nodes: 5, unseen: 2}",
        measures="{own_rows: true, own_count: 40}",
        method="{name: metavd, rounds: 2, settings: {local_epochs: 1, hidden: 4}}",
        learner=TABULAR,
    )
    assert set(where.unseen) == {"unseen-00", "unseen-01"}
    assert len(where.nodes) == 5 == len(where.job.nodes)
    ids = [set(data.training.record_ids) for data in (*where.nodes.values(), *where.unseen.values())]
    assert sum(len(one) for one in ids) == len(set.union(*ids))
    assert all(36 <= data.held_out.row_count <= 40 for data in where.unseen.values())
    last = list(Simulation(setting=where).rounds())[-1]
    assert set(last.state.nodes) == set(where.nodes)
    for label in ("own", "unseen"):
        assert 0 < last.figures[f"{label}_accuracy_worst"] <= last.figures[f"{label}_accuracy_mean"] <= 1
        assert 0 < last.figures[f"{label}_calibration_error"] < 1
