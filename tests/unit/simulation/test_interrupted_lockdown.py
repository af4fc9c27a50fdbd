"""A run of Lockdown that was interrupted: masks and votes are taken up again, and the end is the same to the bit."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import yaml

from fedseal.learning import use_deterministic_torch
from fedseal.simulation import runs as runs_module
from fedseal.simulation.runs import Runs
from fedseal.simulation.workers import Serial
from tests.unit.methods.conftest import EXAMPLE, HOSPITALS

EXPERIMENT = {
    "experiment": "hospitals",
    "seeds": [1],
    "data": {
        "source": "files",
        "folder": str(EXAMPLE),
        "schema_file": "schema.yaml",
        "files": {name: f"{name}.csv" for name in HOSPITALS},
    },
    "partition": {"kind": "natural"},
    "method": {"name": "lockdown", "rounds": 3, "settings": {"mask_rate": 0.3}},
    "learner": {"name": "tabular-mlp"},
    "attack": {"name": "label-flip", "nodes": 1},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    use_deterministic_torch()
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return path


def test_long_rounds_are_saved_at_once_and_masks_come_back(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Runs(file, tmp_path / "whole")
    assert [step.result.round for step in whole.run(Serial())] == [1, 2, 3]
    stopped = Runs(file, tmp_path / "stopped")
    assert len(list(islice(stopped.run(Serial()), 2))) == 2
    assert stopped.state(1) is None  # short rounds are saved every ten
    monkeypatch.setattr(runs_module, "SLOW_SECONDS", 0.0)
    assert len(list(islice(stopped.run(Serial()), 2))) == 2
    kept = stopped.state(1)
    assert kept is not None
    assert kept.rounds == 2
    assert kept.nodes.keys() == set(HOSPITALS)
    assert [step.result.round for step in stopped.run(Serial())] == [3]
    one, two = whole.state(1), stopped.state(1)
    assert one is not None
    assert two is not None
    for name, value in one.coordinator.items():
        np.testing.assert_array_equal(two.coordinator[name], value)
    for name, own in one.nodes.items():
        np.testing.assert_array_equal(two.nodes[name]["mask"], own["mask"])
