"""The experiments behind ``make bench-metavd``: one file and folder for each arm and seed, so that runs resume."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROUNDS = 100
SEEDS = (1, 2, 3)
NODES, UNSEEN, ROWS, TEST_ROWS = 40, 12, 25, 100
REPTILE = {"local_epochs": 5, "server_rate": 0.9, "server_momentum": 0.9, "hidden": 200}
AVERAGING = {**REPTILE, "server_rate": 1.0, "server_momentum": 0.0, "adapt_rows": 0}
LEARNER = {
    "name": "small-cnn",
    "settings": {
        "filters": [16, 32],
        "kernel": 3,
        "hidden_width": 128,
        "more_hidden": [64],
        "classes": 10,
        "learning_rate": 0.02,
        "weight_decay": 0.0,
        "batch_size": 64,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One line of the table.

    Attributes:
        name: Of its folders.
        title: Of its line.
        settings: Of the method.
        alpha: Concentration of the classes over nodes; small is skewed.
        rows: Training images a node.
        seeds: Runs.
    """

    name: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    alpha: float = 5.0
    rows: int = ROWS
    seeds: tuple[int, ...] = SEEDS


ARMS = (
    Arm(name="reptile", title="Reptile (no noise)", settings={**REPTILE, "rates": "none"}),
    Arm(name="metavd", title="MetaVD", settings={**REPTILE, "rates": "personal"}),
    Arm(name="shared", title="one shared rate, from the network", settings={**REPTILE, "rates": "shared"}),
    Arm(name="shared-free", title="one shared rate, without one", settings={**REPTILE, "rates": "shared-free"}),
    Arm(
        name="silent",
        title="rates held at the least, beta = 0",
        settings={**REPTILE, "rates": "shared-free", "divergence": 0.0},
    ),
)

MORE = (
    Arm(name="fedavg", title="FedAvg, alpha 0.5", settings={**AVERAGING, "rates": "none"}, alpha=0.5, seeds=(1,)),
    Arm(name="fedavg-metavd", title="FedAvg + MetaVD, alpha 0.5", settings=AVERAGING, alpha=0.5, seeds=(1,)),
    Arm(
        name="skewed",
        title="Reptile, alpha 0.1, 60 images",
        settings={**REPTILE, "rates": "none"},
        alpha=0.1,
        rows=60,
        seeds=(1,),
    ),
    Arm(name="skewed-metavd", title="MetaVD, alpha 0.1, 60 images", settings=REPTILE, alpha=0.1, rows=60, seeds=(1,)),
)


def experiment(arm: Arm, seed: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """The experiment file of one run: rows per node are equal on average, as many as the classes' shares give."""
    return {
        "experiment": f"metavd-{arm.name}",
        "description": arm.title,
        "seeds": [seed],
        "data": {"source": "fashion-mnist", "training_rows": (NODES + UNSEEN) * arm.rows},
        "partition": {
            "kind": "dirichlet",
            "nodes": NODES,
            "unseen": UNSEEN,
            "alpha": arm.alpha,
            "minimum_rows": 5,
        },
        "method": {"name": "metavd", "rounds": rounds, "settings": dict(arm.settings)},
        "learner": LEARNER,
        "circumstances": {"participation": 0.2},
        "measures": {"every": 50, "own_rows": True, "own_count": TEST_ROWS},
    }


def write_experiment(arm: Arm, seed: int, folder: Path) -> tuple[Path, Path]:
    """Write the file; gives it and the folder for its results."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{arm.name}-{seed}.yaml"
    file.write_text(yaml.safe_dump(experiment(arm, seed), sort_keys=False))
    return file, folder / f"{arm.name}-{seed}"
