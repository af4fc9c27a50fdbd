"""The guide's method is run as it stands: in the simulator, under every kind of sum, and against what it says."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fedseal.learning import use_deterministic_torch
from fedseal.methods import registry
from fedseal.simulation.engine import simulate
from fedseal.simulation.experiment import load_experiment
from fedseal.simulation.setting import make_setting
from fedseal.simulation.sources import load_source

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "guides" / "own-method.md"
EXPERIMENT = """
experiment: own
seeds: [1]
data:
  source: files
  folder: FOLDER
  schema_file: schema.yaml
  files: {a: cleveland.csv, b: hungary.csv}
  features: [age, sex]
partition: {kind: iid, nodes: 4}
method: {name: norm-clipped, rounds: 2, settings: {length: 0.01}}
learner: {name: logistic-regression}
"""


def code() -> str:
    found: list[str] = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    return found[0]


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    file = tmp_path / "norm_clipped.py"
    file.write_text(code())
    spec = importlib.util.spec_from_file_location("norm_clipped", file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["norm_clipped"] = made
    spec.loader.exec_module(made)
    yield made
    del sys.modules["norm_clipped"]


def test_it_is_about_forty_lines() -> None:
    lines = [line for line in code().splitlines() if line.strip() and not line.startswith(('"""', "from", "import"))]
    assert len(lines) <= 40


@pytest.mark.parametrize("protection", ["none", "masking"])
def test_the_guides_method_runs_in_the_simulator(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, protection: str
) -> None:
    use_deterministic_torch()
    known = registry.method_class
    monkeypatch.setattr(
        registry, "method_class", lambda name: module.NormClipped if name == "norm-clipped" else known(name)
    )
    text = EXPERIMENT.replace("FOLDER", str(ROOT / "examples" / "heart-disease")) + f"protection: {protection}\n"
    experiment = load_experiment(text.encode(), "own.yaml")
    setting = make_setting(experiment, load_source(experiment.data, Path()), 1)
    results = simulate(setting)
    start = setting.method.initial_state(setting.plan)
    moved = np.concatenate(
        [np.ravel(results[0].state.coordinator[name] - start[name]) for name in start if name.startswith("model/")]
    )
    assert 0 < np.linalg.norm(moved) <= 0.01 + 1e-4, "a mean of updates is no longer than each of them"
    named = {item.name for item in module.NormClipped.statement.quantities if item.party == "coordinator"}
    assert {spec.name for spec in setting.method.vectors(setting.plan)} == named
