"""pFedHR on Fashion-MNIST: four architectures on twelve nodes, beside the controls that any claim needs.

    make bench-pfedhr            runs what is missing, prints tables, writes benchmarks/out/pfedhr.png
    make bench-pfedhr JSON=FILE  also writes rows {case, metric, unit, ours, peer, floor}

Three nodes an architecture; 2,000 labelled public images that no node holds; eight turns of the four groups; three
seeds; twice: alike nodes with 300 images, and nodes of two classes with 200. The figure is the mean over nodes of each
one's own network on test images dealt out like its own. In the rows ``ours`` is the case, ``peer`` training alone. An
interrupted benchmark goes on where it was (benchmarks/out/pfedhr); TURNS=2 SEEDS=1 makes a short one of its own.
The learning rate is 0.01, the only other one tried, because with 0.05 a run of two turns with seed 1 had training
alone at 82 % where nodes differ (96 % with 0.01). So that choice has seen one of the seeds; where nodes are alike
0.05 was faster.

Promised, on means over seeds; the script exits 1 if one does not hold:
- pfedhr is at most 1.5 points below training alone, for alike and for different nodes;
- there are candidates from the first turn on, and every round sums over one group of exactly three nodes.
No promise is made that reassembling or matching beats a teacher of public rows: the table shows it.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from _rows import Row
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from safetensors.numpy import save_file

mpl.use("Agg")  # no display needed; must come before pyplot
from matplotlib import pyplot as plt

from fedseal.learning import use_deterministic_torch
from fedseal.learning.public_rows import PublicRows, use_public_rows
from fedseal.simulation.comparing import read_results
from fedseal.simulation.experiment import Data
from fedseal.simulation.runs import Runs
from fedseal.simulation.sources import load_source
from fedseal.simulation.workers import Serial

OUT = Path(__file__).parent / "out"
TURNS, SEEDS = int(os.environ.get("TURNS", "8")), int(os.environ.get("SEEDS", "3"))
FOLDER = OUT / ("pfedhr" if (TURNS, SEEDS) == (8, 3) else f"pfedhr-{TURNS}-{SEEDS}")
PUBLIC_FIRST, PUBLIC_COUNT = 50_000, 2_000  # nodes hold some of the first 12,000
ARCHITECTURES = ("conv5x8 fc32", "conv5x8 conv5x16 fc32", "conv3x16 fc48", "conv3x8 conv3x16 conv3x16 fc32")
GROUPS, GROUP = len(ARCHITECTURES), 3
SKEWS = {
    "alike": "{kind: iid, nodes: 12, rows_per_node: 300}",
    "two classes each": "{kind: classes, nodes: 12, classes_per_node: 2, rows_per_node: 200}",
}
CASES = {
    "none": "training alone",
    "matched": "pfedhr (group sums)",
    "random": "random candidate",
    "public": "teacher of public rows alone",
    "individual": "pfedhr-individual (as published)",
}
BAND = 0.015
EXPERIMENT = """
experiment: pfedhr-{name}
seeds: {seeds}
data: {{source: fashion-mnist, training_rows: 12000, test_rows: 4000}}
partition: {partition}
method:
  name: {method}
  rounds: {rounds}
  settings:
    public_rows: {public}
    teacher: {teacher}
    distillation: 1.0
    local_epochs: 2
    candidate_size: 120000
learner:
  name: network-family
  settings:
    architectures: {architectures}
    height: 28
    width: 28
    classes: 10
    learning_rate: 0.01
    momentum: 0.9
    weight_decay: 0.0
    batch_size: 16
protection: none
measures: {{every: {every}, own_rows: true}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One case under one skew; ``results`` has one line a seed and round."""

    skew: str
    case: str
    results: pd.DataFrame

    @property
    def last(self) -> pd.DataFrame:
        """The last evaluation of each seed."""
        known = self.results.dropna(subset=["own_accuracy_mean"]).sort_values("round")
        return known.groupby("seed").tail(1)

    @property
    def accuracy(self) -> float:
        return float(self.last["own_accuracy_mean"].mean())

    @property
    def spread(self) -> str:
        values = self.last["own_accuracy_mean"]
        return f"{values.min():.3f}-{values.max():.3f}"


def admit_public() -> str:
    """The file of public images, admitted for this process; its digest."""
    rows = load_source(Data(source="fashion-mnist", training_rows=PUBLIC_FIRST + PUBLIC_COUNT), Path())
    every = rows.training["all"]
    chosen = every.rows(np.arange(every.row_count) >= PUBLIC_FIRST)
    inputs = chosen.images["image"].reshape(chosen.row_count, -1).astype(np.float32) / 255
    labels = chosen.labels(rows.schema.column("garment")).astype(np.float32)
    file, store = FOLDER / "public.safetensors", PublicRows.of_party(FOLDER)
    save_file({"inputs": inputs, "labels": labels}, file)
    use_public_rows(store)
    return store.admit(file)


def run(skew: str, case: str, public: str, console: Console) -> Outcome:
    """Run what is missing of one case."""
    name = f"{skew}-{case}".replace(" ", "-")
    file = FOLDER / f"{name}.yaml"
    individual = case == "individual"
    text = EXPERIMENT.format(
        name=name,
        seeds=list(range(1, SEEDS + 1)),
        partition=SKEWS[skew],
        method="pfedhr-individual" if individual else "pfedhr",
        rounds=TURNS * GROUPS,
        public=public,
        teacher="matched" if individual else case,
        architectures=json.dumps(ARCHITECTURES),
        every=GROUPS,
    )
    file.write_text(text, encoding="utf-8")
    runs = Runs(file, FOLDER / name)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=SEEDS * TURNS * GROUPS, completed=runs.done())
        for _ in runs.run(Serial()):
            bar.advance(task)
    return Outcome(skew=skew, case=case, results=read_results(runs.folder))


def table(skew: str, outcomes: dict[tuple[str, str], Outcome]) -> Table:
    """All cases of one skew."""
    shown = Table(
        title=f"Fashion-MNIST, 12 nodes, {skew}, {TURNS} turns, {SEEDS} seeds", box=None, padding=(0, 1, 0, 0)
    )
    for heading in ("who teaches", "own network", "seeds", "worst node", "teachers"):
        shown.add_column(heading, justify="left" if heading == "who teaches" else "right", no_wrap=True)
    for case, label in CASES.items():
        one = outcomes[skew, case]
        teacher = float(one.last["training_candidate_accuracy"].mean())
        worst = float(one.last["own_accuracy_worst"].mean())
        shown.add_row(label, f"{one.accuracy:.3f}", one.spread, f"{worst:.3f}", f"{teacher:.3f}" if teacher else "")
    return shown


def promises(outcomes: dict[tuple[str, str], Outcome]) -> list[tuple[str, bool]]:
    """Each promise with its figures, and whether it is kept."""
    found = []
    for skew in SKEWS:
        ours, alone = outcomes[skew, "matched"], outcomes[skew, "none"]
        sentence = f"{skew}: {ours.accuracy:.3f}, alone {alone.accuracy:.3f} (at most {BAND} lower)"
        found.append((sentence, ours.accuracy >= alone.accuracy - BAND))
        made = ours.results[ours.results["round"] >= GROUPS]["training_candidates"]
        found.append((f"{skew}: at least {made.min():.0f} candidates after the first turn", bool((made >= 1).all())))
        cohorts = ours.results["cohort"]
        found.append((f"{skew}: {cohorts.min()} to {cohorts.max()} nodes in a sum (3)", bool((cohorts == GROUP).all())))
    return found


def plot(outcomes: dict[tuple[str, str], Outcome], path: Path) -> None:
    """Own accuracy against turns; lines are means over seeds, bands from least to greatest."""
    figure, axes = plt.subplots(1, len(SKEWS), figsize=(9, 3.8), layout="constrained")
    for place, skew in zip(axes, SKEWS, strict=True):
        for case, label in CASES.items():
            known = outcomes[skew, case].results.dropna(subset=["own_accuracy_mean"])
            grouped = known.groupby("round")["own_accuracy_mean"]
            turns = grouped.mean().index.to_numpy() / GROUPS
            (line,) = place.plot(turns, grouped.mean().to_numpy(), label=label)
            place.fill_between(
                turns, grouped.min().to_numpy(), grouped.max().to_numpy(), color=line.get_color(), alpha=0.15
            )
        place.set_title(skew, loc="left", fontsize=11)
        place.set_xlabel("turns of the four groups")
        place.set_ylabel("accuracy of each node's own network, mean")
        place.grid(alpha=0.3)
    axes[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def json_rows(outcomes: dict[tuple[str, str], Outcome]) -> list[Row]:
    """The rows for JSON=FILE."""
    return [
        Row(
            case=f"{CASES[case]}, {skew}",
            metric="accuracy of own networks, mean over nodes and seeds",
            unit="1",
            ours=one.accuracy,
            peer=outcomes[skew, "none"].accuracy,
            floor=None,
        )
        for (skew, case), one in outcomes.items()
    ]


def main() -> int:
    """Run ten experiments; 0 when every promise is kept."""
    use_deterministic_torch()
    console = Console()
    FOLDER.mkdir(parents=True, exist_ok=True)
    public = admit_public()
    outcomes = {(skew, case): run(skew, case, public, console) for skew in SKEWS for case in CASES}
    for skew in SKEWS:
        console.print(table(skew, outcomes))
    plot(outcomes, FOLDER.with_suffix(".png"))
    console.print(f"plot: {FOLDER.with_suffix('.png')}")
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(json_rows(outcomes), indent=2) + "\n", encoding="utf-8")
    found = promises(outcomes)
    for sentence, kept in found:
        console.print(f"{'kept  ' if kept else 'BROKEN'} {sentence}")
    return 0 if all(kept for _, kept in found) else 1


if __name__ == "__main__":
    sys.exit(main())
