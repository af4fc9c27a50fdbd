"""Attacks that turn something around: their formulas, and what an attacker takes for the aggregate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedseal.learning.tensors import unflatten
from fedseal.methods.recess import PROBE
from fedseal.simulation import runs as runs_module
from fedseal.simulation.attacks import AttackRound, make_attack
from fedseal.simulation.attacks.reversing import received_step
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.runs import Runs
from fedseal.simulation.setting import Setting, make_setting
from fedseal.simulation.workers import Serial
from tests.unit.simulation.attackers import experiment, source, turn
from tests.unit.simulation.conftest import text

SIZE = 4 * 9 + 4 + 3 * 4 * 36 + 3
"""Parameters of the small network."""


def setting(method: str = "fedavg", attack: str | None = None) -> Setting:
    return make_setting(experiment(None if attack is None else {"name": attack}, {"name": method}), source(30), 1)


def received(before: float, now: float, **more: object) -> AttackRound:
    """Two attackers with honest updates 0.1, four others with 0.2; the model moved from ``before`` to ``now``."""
    plan = setting().plan
    shapes = plan.require_learner().parameter_shapes(plan.input_width)
    own, others = np.full((2, SIZE), 0.1), np.full((4, SIZE), 0.2)
    models = (unflatten(np.full(SIZE, value), shapes) for value in (before, now))
    old, new = ({name: value.astype(np.float32) for name, value in model.items()} for model in models)
    return replace(turn(plan, own, others), before={"a0": old, "a1": old}, broadcast=new, **more)  # type: ignore[arg-type]


def test_sign_flip_is_the_own_update_turned() -> None:
    sent = make_attack("sign-flip", {"factor": 2.0}).distort(received(0.0, 0.5))
    np.testing.assert_allclose(sent["a1"].values["update"], np.full(SIZE, 0.1 * -2 * 2))  # weight 2


def test_reverse_has_the_length_of_the_honest_and_points_against_the_step() -> None:
    attack = make_attack("reverse", {"factor": 5.0})
    sent = attack.distort(received(0.5, 0.25))["a0"].values["update"]
    np.testing.assert_allclose(sent, np.full(SIZE, 5 * 0.2), rtol=1e-6)
    same = received(0.5, 0.5)
    assert attack.distort(same) == same.own, "nothing to turn around"
    first = replace(same, before={})
    assert attack.distort(first) == first.own


def test_min_max_reverse_is_as_far_as_the_honest_are_apart() -> None:
    turned = received(0.0, 0.5)
    spread = dict(turned.others)
    far = np.zeros(SIZE)
    far[0] = 3.0
    spread["h0"] = replace(spread["h0"], values={**spread["h0"].values, "update": 0.2 + far})
    turned = replace(turned, others=spread)
    sent = make_attack("min-max-reverse", {}).distort(turned)["a0"].values["update"]
    known = np.stack([part.values["update"] for part in spread.values()])
    distances = np.linalg.norm(known - sent, axis=1)
    assert distances.max() == pytest.approx(3.0, rel=1e-5)
    step = sent - known.mean(axis=0)
    np.testing.assert_allclose(step / np.linalg.norm(step), np.full(SIZE, -(SIZE**-0.5)), rtol=1e-6)


def test_a_probe_is_taken_for_the_aggregate() -> None:
    plan = setting("recess").plan
    turned = received(0.5, 0.5)
    earlier = np.linspace(-1, 1, SIZE)
    broadcast = {**turned.broadcast, PROBE: np.array([0.1], np.float32)}
    turned = replace(turned, plan=plan, broadcast=broadcast, earlier={"a0": earlier})
    np.testing.assert_allclose(received_step(turned, "a0"), 0.1 * earlier, atol=1e-7)
    assert not received_step(turned, "a1").any(), "it has no vector of the round before"


def test_only_methods_that_send_a_model_can_be_reversed() -> None:
    turned = replace(received(0.0, 0.5), plan=setting("evofed").plan, broadcast={"sums": np.zeros(3)})
    with pytest.raises(ExperimentUnsuitable, match="sends none"):
        make_attack("reverse", {}).distort(turned)


def test_an_interrupted_run_remembers_what_was_received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "KEPT_EVERY", 1)
    file = tmp_path / "reversed.yaml"
    method = "{name: recess, rounds: 4, settings: {norm_factor: 0}}"
    file.write_text(text(seeds="[1]", method=method, attack="{name: reverse, nodes: 1}"))
    results = []
    for stop in (4, 1, 2):
        folder = tmp_path / f"stopped-{stop}"
        steps = Runs(file, folder).run(Serial())
        for _ in range(stop):
            next(steps)
        steps.close()
        list(Runs(file, folder).run(Serial()))
        results.append((folder / "results.csv").read_bytes())
    assert len(set(results)) == 1
    assert pd.read_csv(folder / "results.csv")["training_least_trust"].iloc[-1] < 1, "it did attack"
