"""The experiments behind ``make bench-fedicon``: one file and folder for each arm and seed, so that runs resume."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from _fedicon_shifts import HELD_OUT, SITES

SEEDS = (1, 2, 3)
HEAD_ROUNDS = 5
LEARNER = {
    "name": "small-cnn",
    "settings": {
        "filters": [16, 32],
        "normalisation": "batch",
        "hidden_normalisation": True,
        "hidden_width": 128,
        "classes": 10,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "batch_size": 64,
    },
}
COMMON = {"clip": 16.0, "personal_head": False, "projection": 64, "adaptation": "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train.

    Attributes:
        name: Of its folders.
        title: Of its lines.
        method: Of the job.
        rounds: In all.
        settings: Of the method.
    """

    name: str
    title: str
    method: str
    rounds: int
    settings: Mapping[str, Any]


ARMS = (
    Arm(name="fedavg", title="FedAvg", method="fedavg", rounds=17, settings={"clip": 16.0}),
    Arm(
        name="views",
        title="FedAvg, same augmentation",
        method="fedicon",
        rounds=17,
        settings={**COMMON, "objective": "cross-entropy"},
    ),
    Arm(name="short", title="FedICON 12 + 5", method="fedicon", rounds=17, settings=COMMON),
    Arm(name="long", title="FedICON 30 + 5", method="fedicon", rounds=35, settings=COMMON),
)


def write_experiment(arm: Arm, seed: int, folder: Path) -> tuple[Path, Path]:
    """Write the file; gives it and the folder for its results."""
    file = folder / f"{arm.name}-{seed}.yaml"
    content = {
        "experiment": f"fedicon-{arm.name}",
        "description": f"{arm.title}; four sites whose images differ",
        "seeds": [seed],
        "data": {
            "source": "files",
            "folder": "data",
            "schema_file": "schema.yaml",
            "files": {name: f"{name}.csv" for name in SITES},
            "features": ["image"],
            "test_share": HELD_OUT,
        },
        "partition": {"kind": "natural"},
        "method": {"name": arm.method, "rounds": arm.rounds, "settings": dict(arm.settings)},
        "learner": LEARNER,
        "protection": "encoded",
        "measures": {"every": 5},
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file, folder / f"{arm.name}-{seed}"
