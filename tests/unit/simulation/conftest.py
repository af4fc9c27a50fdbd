"""Small experiments over the four hospitals of the example."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedseal.learning import use_deterministic_torch
from fedseal.simulation.experiment import Experiment, load_experiment
from fedseal.simulation.setting import Setting, make_setting
from fedseal.simulation.sources import Source, load_source

HEART = Path(__file__).parents[3] / "examples" / "heart-disease"

EXPERIMENT = """\
experiment: small
seeds: [1, 2]
data:
  source: files
  folder: FOLDER
  schema_file: schema.yaml
  files: {cleveland: cleveland.csv, hungary: hungary.csv, va: va-long-beach.csv, zurich: switzerland.csv}
  features: [age, sex, chol, exang]
partition: {kind: iid, nodes: 5}
method: {name: fedavg, rounds: 4, settings: {local_epochs: 2, clip: 1.0}}
learner: {name: logistic-regression, settings: {learning_rate: 0.1}}
measures: {every: 2}
"""

Write = Callable[..., str]


def text(**changes: str) -> str:
    """The experiment with whole lines replaced or added, by their key."""
    lines = EXPERIMENT.replace("FOLDER", str(HEART)).splitlines()
    for key, value in changes.items():
        lines = [line for line in lines if not line.startswith(f"{key}:")] + [f"{key}: {value}"]
    return "\n".join(lines) + "\n"


def experiment(**changes: str) -> Experiment:
    return load_experiment(text(**changes).encode(), "small.yaml")


@pytest.fixture(scope="session", autouse=True)
def deterministic_torch() -> None:
    use_deterministic_torch()


@pytest.fixture(scope="session")
def source() -> Source:
    return load_source(experiment().data, Path())


@pytest.fixture
def setting(source: Source) -> Callable[..., Setting]:
    """A setting of the experiment with changes, for seed 1."""

    def make(**changes: str) -> Setting:
        return make_setting(experiment(**changes), source, 1)

    return make
