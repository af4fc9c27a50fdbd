"""The experiments behind ``make bench-lockdown``: one file and folder for each arm and seed, so that runs resume."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROUNDS = 40
SEEDS = (1, 2, 3)
NODES, ATTACKERS = 20, 4
MAIN = {"local_epochs": 2, "mask_rate": 0.1, "vote_every_round": True}
LEARNER = {
    "name": "small-cnn",
    "settings": {
        "filters": [16, 32],
        "kernel": 5,
        "hidden_width": 128,
        "classes": 10,
        "learning_rate": 0.1,
        "weight_decay": 0.0001,
        "batch_size": 64,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One line of the table.

    Attributes:
        name: Of its folders.
        title: Of its line.
        method: Of the job.
        settings: Of the method.
        attack: Its name.
        attack_settings: Beside the target and the share of poisoned rows.
        seeds: Runs.
    """

    name: str
    title: str
    method: str = "lockdown"
    settings: Mapping[str, Any] = field(default_factory=lambda: dict(MAIN))
    attack: str = "badnet"
    attack_settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = SEEDS


ARMS = (
    Arm(name="fedavg", title="FedAvg", method="fedavg", settings={"local_epochs": 2}),
    Arm(name="lockdown", title="Lockdown, alpha_0 = 0.1"),
    Arm(name="static", title="Lockdown, alpha_0 = 0 (masks never move)", settings={**MAIN, "mask_rate": 0.0}),
)

SLOW = {**MAIN, "mask_rate": 1e-4}
MORE = (
    Arm(name="slow", title="BadNet, alpha_0 = 1e-4, the default", settings=SLOW, seeds=(1,)),
    Arm(name="fixmask-slow", title="FixMask, alpha_0 = 1e-4", attack="fixmask", settings=SLOW, seeds=(1,)),
    Arm(name="fixmask", title="FixMask, alpha_0 = 0.1", attack="fixmask", seeds=(1,)),
    Arm(name="omniscience", title="Omniscience", attack="omniscience", seeds=(1,)),
    Arm(name="neurotoxin", title="Neurotoxin", attack="neurotoxin", seeds=(1,)),
    Arm(name="dba", title="DBA", attack="dba", seeds=(1,)),
    Arm(name="sinusoidal", title="Sinusoidal", attack="sinusoidal", seeds=(1,)),
    Arm(name="scaling", title="Scaling by 5, norms free", attack="scaling", seeds=(1,)),
    Arm(
        name="scaling-clipped",
        title="Scaling by 5, every norm held to 2",
        attack="scaling",
        attack_settings={"enforced_norm": 2.0},
        settings={**MAIN, "norm_clip": 2.0},
        seeds=(1,),
    ),
)


def experiment(arm: Arm, seed: int) -> dict[str, Any]:
    """The experiment file of one run."""
    return {
        "experiment": f"lockdown-{arm.name}",
        "description": arm.title,
        "seeds": [seed],
        "data": {"source": "fashion-mnist"},
        "partition": {"kind": "iid", "nodes": NODES, "rows_per_node": 500},
        "method": {"name": arm.method, "rounds": ROUNDS, "settings": dict(arm.settings)},
        "learner": LEARNER,
        "attack": {
            "name": arm.attack,
            "nodes": ATTACKERS,
            "settings": {"share": 0.9, "target": 7, **arm.attack_settings},
        },
        "measures": {"every": 10},
    }


def write_experiment(arm: Arm, seed: int, folder: Path) -> tuple[Path, Path]:
    """Write the file; gives it and the folder for its results."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{arm.name}-{seed}.yaml"
    file.write_text(yaml.safe_dump(experiment(arm, seed), sort_keys=False))
    return file, folder / f"{arm.name}-{seed}"
