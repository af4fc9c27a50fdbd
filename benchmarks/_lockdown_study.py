"""The paper's own Fashion-MNIST setting, as far as one machine goes, beside the paper's table. Hours; resumes.

    make study-lockdown             every arm to its end: fifteen hours of one processor or more
    make study-lockdown ROUNDS=5    five more rounds of each arm, then the table as it stands
    make study-lockdown ARM=lockdown-iid
    make study-lockdown WIDE=1      a network of the paper's size (16 million parameters): days

As in the paper: all 60 000 images at 40 nodes, IID or by Dirichlet(0.5), 4 attackers that poison half of their images
of other classes, 200 rounds of two local epochs, batches of 64, rate 0.1, weight decay 1e-4, a quarter of the
parameters, alpha_0 = 1e-4, theta half of the nodes. Other than in the paper: the network is that of the benchmark (the
paper's has 32 and 64 filters with batch normalisation and a hidden layer of 4096; WIDE=1 comes near), the last, smaller
batch of an epoch is used, and images are not standardised beyond 0 to 1.

Results lie in benchmarks/out/lockdown-study; an arm goes on where it stopped.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from _lockdown_arms import LEARNER
from rich.console import Console
from rich.table import Table

from fedseal.learning import use_deterministic_torch
from fedseal.simulation.runs import Runs
from fedseal.simulation.workers import Serial

OUT = Path(__file__).parent / "out" / "lockdown-study"
ROUNDS = 200
WIDE = {"filters": [32, 64], "normalisation": "batch", "hidden_width": 4096}
PARTITIONS = {"iid": {"kind": "iid", "nodes": 40}, "dirichlet": {"kind": "dirichlet", "nodes": 40, "alpha": 0.5}}
METHODS = {"fedavg": {"local_epochs": 2}, "lockdown": {"local_epochs": 2, "mask_rate": 1e-4, "vote_every_round": True}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the paper's headline table says of an arm after 200 rounds, in per cent; None where it has no such arm."""

    accuracy: float | None = None
    attack_success: float | None = None


PAPER = {
    "fedavg-iid": Published(accuracy=90.0, attack_success=85.1),
    "lockdown-iid": Published(accuracy=88.7, attack_success=4.4),
    "fedavg-dirichlet": Published(accuracy=89.2, attack_success=87.9),
    "lockdown-dirichlet": Published(accuracy=87.1, attack_success=15.6),
    "fixmask-iid": Published(),  # Lockdown against FixMask: the paper has it for CIFAR-10 only
}


def experiment(arm: str, *, wide: bool) -> dict[str, Any]:
    """An arm's experiment file."""
    name, partition = arm.split("-")
    attack, method = ("fixmask", "lockdown") if name == "fixmask" else ("badnet", name)
    learner = {**LEARNER, "settings": {**LEARNER["settings"], **WIDE}} if wide else LEARNER  # type: ignore[dict-item]
    return {
        "experiment": f"study-{arm}",
        "seeds": [1],
        "data": {"source": "fashion-mnist"},
        "partition": PARTITIONS[partition],
        "method": {"name": method, "rounds": ROUNDS, "settings": METHODS[method]},
        "learner": learner,
        "attack": {"name": attack, "nodes": 4, "settings": {"share": 0.5, "target": 7}},
        "measures": {"every": 5},
    }


def advance(arm: str, rounds: int, *, wide: bool) -> Iterator[int]:
    """Run up to ``rounds`` more rounds (0: all that are left); gives each round's number."""
    name = f"{arm}-wide" if wide else arm
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / f"{name}.yaml"
    file.write_text(yaml.safe_dump(experiment(arm, wide=wide), sort_keys=False))
    for number, step in enumerate(Runs(file, OUT / name).run(Serial()), start=1):
        yield step.result.round
        if number == rounds:
            return


def standing(arm: str, *, wide: bool) -> tuple[int, dict[str, float]]:
    """How many rounds are done, and the figures of the last evaluated one; empty if there is none yet."""
    lines = OUT / (f"{arm}-wide" if wide else arm) / "seed-1" / "rounds.jsonl"
    rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    return len(rows), next((row for row in reversed(rows) if "attack_success" in row), {})


def table(*, wide: bool) -> Table:
    """Every arm as it stands, and the paper's figures."""
    title = "Lockdown on Fashion-MNIST, the paper's setting"
    found = Table(title=title, caption="per cent; the paper's after 200 rounds")
    for heading in ("arm", "rounds", "accuracy", "paper", "attack success", "paper"):
        found.add_column(heading, justify="left" if heading == "arm" else "right")
    for arm, paper in PAPER.items():
        rounds, row = standing(arm, wide=wide)
        accuracy, success = (f"{100 * row[key]:.1f}" if row else "-" for key in ("accuracy", "attack_success"))
        theirs = ("-" if value is None else f"{value}" for value in (paper.accuracy, paper.attack_success))
        found.add_row(arm, f"{rounds}", accuracy, next(theirs), success, next(theirs))
    return found


def main() -> int:
    """Go on with the chosen arms, and print the table."""
    use_deterministic_torch()
    console, wide = Console(), bool(os.environ.get("WIDE"))
    rounds, chosen = int(os.environ.get("ROUNDS") or 0), os.environ.get("ARM")
    if chosen and chosen not in PAPER:
        console.print(f"There is no arm {chosen}; choose one of {', '.join(PAPER)}.")
        return 2
    for arm in [chosen] if chosen else PAPER:
        with console.status(f"{arm}") as status:
            for number in advance(arm, rounds, wide=wide):
                status.update(f"{arm}: round {number} of {ROUNDS}")
    console.print(table(wide=wide))
    return 0


if __name__ == "__main__":
    sys.exit(main())
