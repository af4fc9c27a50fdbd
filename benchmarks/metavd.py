"""MetaVD on Fashion-MNIST with few images a node: calibration and accuracy, on training nodes and on unseen ones.

    make bench-metavd             runs what has not run yet, prints tables, draws benchmarks/out/metavd.png
    make bench-metavd JSON=FILE   also writes rows {case, metric, unit, ours, peer, floor}
    MORE=1 make bench-metavd      also averaging instead of Reptile, and strong skew, one seed each

Forty nodes with about 25 images each train, eight a round, and twelve never do; a hundred rounds of five local epochs.
Arms: Reptile, MetaVD, and the controls: one rate for all from the same network, one rate for all without a network,
rates held at the least. ``ours`` is MetaVD, ``peer`` Reptile, ``floor`` the one shared rate from the network. Each
node's model is the common one after one step on its own images, tested on 100 images with its classes. The runs are
ordinary simulations in benchmarks/out/metavd; they go on where they were interrupted. Needs the Debian package
dataset-fashion-mnist and about forty minutes of one processor. Exits 1 if a check fails.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from _metavd_arms import ARMS, MORE, ROUNDS, SEEDS, Arm, write_experiment
from _rows import Row
from matplotlib import pyplot as plt

from fedseal.learning import use_deterministic_torch
from fedseal.simulation.comparing import read_results
from fedseal.simulation.runs import Runs
from fedseal.simulation.workers import Serial

OUT = Path(__file__).parent / "out"
FOLDER = OUT / "metavd"
GROUPS = {"own": "training nodes", "unseen": "unseen nodes"}
CALIBRATED, LOST, CLOSE = 0.8, 0.015, 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise."""

    what: str
    measured: str
    holds: bool


def run_all(arms: tuple[Arm, ...], console: Console) -> dict[str, pd.DataFrame]:
    """Every arm's rounds, seed by seed across the arms, so that an interrupted benchmark has whole comparisons."""
    jobs = [(arm, seed) for seed in SEEDS for arm in arms if seed in arm.seeds]
    found: dict[str, list[pd.DataFrame]] = {arm.name: [] for arm in arms}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("rounds", total=len(jobs) * ROUNDS)
        for arm, seed in jobs:
            runs = Runs(*write_experiment(arm, seed, FOLDER))
            bar.update(task, advance=runs.done(), description=f"{arm.name}, seed {seed}")
            for _ in runs.run(Serial()):
                bar.update(task, advance=1)
            found[arm.name].append(read_results(runs.folder))
    return {name: pd.concat(frames) for name, frames in found.items()}


def last(results: pd.DataFrame, figure: str) -> list[float]:
    """A figure of the last round, by seed."""
    ends = results[results["round"] == ROUNDS].sort_values("seed")
    return [float(value) for value in ends[figure]]


def spread(values: list[float]) -> str:
    """Mean and, with several seeds, least and greatest, in per cent."""
    text = f"{100 * float(np.mean(values)):.1f}"
    return text if len(values) == 1 else f"{text} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def table_of(arms: tuple[Arm, ...], results: dict[str, pd.DataFrame], title: str) -> Table:
    """One line an arm."""
    table = Table(title=title, caption="per cent; mean (least to greatest) over seeds; ECE: expected calibration error")
    table.add_column("arm")
    for label in GROUPS.values():
        table.add_column(f"{label}: accuracy", justify="right")
        table.add_column("ECE", justify="right")
    for arm in arms:
        figures = [
            spread(last(results[arm.name], f"{label}_{figure}"))
            for label in GROUPS
            for figure in ("accuracy_mean", "calibration_error")
        ]
        table.add_row(arm.title, *figures)
    return table


def checks(results: dict[str, pd.DataFrame]) -> list[Check]:
    """Every promise, on means over seeds."""
    found = []
    for label, where in GROUPS.items():
        error = {name: float(np.mean(last(frame, f"{label}_calibration_error"))) for name, frame in results.items()}
        accuracy = {name: float(np.mean(last(frame, f"{label}_accuracy_mean"))) for name, frame in results.items()}
        ratio, lost = error["metavd"] / error["reptile"], accuracy["reptile"] - accuracy["metavd"]
        apart = max(abs(figures["silent"] - figures["reptile"]) for figures in (error, accuracy))
        found += [
            Check(
                what=f"{where}: ECE at most {CALIBRATED} of Reptile's",
                measured=f"{ratio:.2f}",
                holds=ratio <= CALIBRATED,
            ),
            Check(
                what=f"{where}: accuracy at most {100 * LOST:g} points lower",
                measured=f"{100 * lost:.1f}",
                holds=lost <= LOST,
            ),
            Check(
                what=f"{where}: rates held at the least come within {100 * CLOSE:g} points of Reptile",
                measured=f"{100 * apart:.1f}",
                holds=apart <= CLOSE,
            ),
        ]
    rates = results["metavd"].pivot_table(
        index="round", columns="seed", values=["training_dropout_rate", "training_divergence"]
    )
    rise = rates["training_dropout_rate"].loc[ROUNDS] - rates["training_dropout_rate"].loc[ROUNDS // 50 + 1]
    fall = rates["training_divergence"].loc[ROUNDS // 50 + 1] - rates["training_divergence"].loc[ROUNDS]
    found.append(
        Check(
            what="after the warm-up the mean dropout rate rises and the divergence falls, with every seed",
            measured=f"by {float(rise.min()):.2f} and {float(fall.min()):.2f} at least",
            holds=bool((rise > 0).all() and (fall > 0).all()),
        )
    )
    return found


def table_of_checks(found: list[Check]) -> Table:
    """What must hold, and whether it does."""
    table = Table(title="Checks")
    for heading in ("", "check", "measured"):
        table.add_column(heading)
    for one in found:
        table.add_row("[green]holds[/]" if one.holds else "[red]FAILS[/]", one.what, one.measured)
    return table


def plot(results: dict[str, pd.DataFrame], path: Path) -> None:
    """Calibration error over accuracy at the last round: one point a seed, one panel for each group of nodes."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    for axes, (label, where) in zip(panels, GROUPS.items(), strict=True):
        for arm in ARMS:
            frame = results[arm.name]
            accuracy, error = (
                np.array(last(frame, f"{label}_{name}")) for name in ("accuracy_mean", "calibration_error")
            )
            axes.scatter(100 * accuracy, 100 * error, label=arm.title, s=28)
        axes.set_xlabel("accuracy, per cent")
        axes.set_title(where, loc="left", fontsize=11)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("expected calibration error, per cent")
    panels[1].legend(fontsize=7.5, frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def json_rows(results: dict[str, pd.DataFrame]) -> list[Row]:
    """The rows for JSON=FILE."""
    rows = []
    for label, where in GROUPS.items():
        for figure, metric in (("accuracy_mean", "accuracy"), ("calibration_error", "expected calibration error")):
            ours, peer, floor = (
                float(np.mean(last(results[name], f"{label}_{figure}"))) for name in ("metavd", "reptile", "shared")
            )
            rows.append(
                Row(case=where, metric=f"{metric}, mean over seeds", unit="1", ours=ours, peer=peer, floor=floor)
            )
    return rows


def main() -> int:
    """Run what is missing; 0 when every check holds."""
    use_deterministic_torch()
    console = Console()
    results = run_all(ARMS, console)
    console.print(table_of(ARMS, results, f"Fashion-MNIST, 40 + 12 nodes, 25 images each, {ROUNDS} rounds"))
    if os.environ.get("MORE"):
        console.print(table_of(MORE, run_all(MORE, console), "Averaging, and strong skew; one seed"))
    plot(results, OUT / "metavd.png")
    console.print(f"plot: {OUT / 'metavd.png'}")
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(json_rows(results), indent=2) + "\n", encoding="utf-8")
    found = checks(results)
    console.print(table_of_checks(found))
    return 0 if all(one.holds for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
