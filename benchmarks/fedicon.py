"""FedICON under shifts that no site has seen, on Fashion-MNIST, beside the controls that explain most of its gain.

    make bench-fedicon            runs what has not run yet, prints tables, draws benchmarks/out/fedicon.png
    make bench-fedicon JSON=FILE  also writes rows {case, metric, unit, ours, peer, floor}

Four sites with 1,500 training images each, one plain, one grainy, one pale, one soft; 2,000 test images, plain and
under four other shifts. Ways to train: federated averaging; the same on the views that FedICON trains on; FedICON with
as many rounds; FedICON with 30 contrastive rounds. Ways to adapt a copy of the common model to each shift's images,
without labels, one pass: none, running statistics alone, contrastive (ucl), by entropy (tent); on all images before any
is predicted, and the contrastive one also batch by batch. ``ours`` is the row's way to train, ``peer`` FedAvg under the
same adaptation, ``floor`` FedAvg without adaptation.

Runs are ordinary simulations in benchmarks/out/fedicon; they go on where they were interrupted, and a finished one is
not run again. Needs the Debian package dataset-fashion-mnist and about half an hour of one processor. Exits 1 if a
check fails.
"""

import json
import os
import socket
import sys
from pathlib import Path
from unittest import mock

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from _fedicon_arms import ARMS, SEEDS, write_experiment
from _fedicon_checks import (
    KINDS,
    MEAN,
    ONLINE,
    PLAIN,
    Accuracies,
    Check,
    accuracies_of,
    checks,
)
from _fedicon_shifts import UNSEEN, write_sites
from _rows import Row
from matplotlib import pyplot as plt

from fedseal.learning import use_deterministic_torch
from fedseal.simulation.runs import Runs
from fedseal.simulation.workers import Serial

OUT = Path(__file__).parent / "out"
FOLDER = OUT / "fedicon"
LABELS = {"none": "no adaptation", "statistics": "statistics", "ucl": "contrastive", "tent": "entropy"}
COLOURS = {"none": "#8a8a8a", "statistics": "#a86a00", "ucl": "#0b6e8f", "tent": "#b3261e"}


def run_all(console: Console) -> dict[str, list[Runs]]:
    """Every arm's runs, seed by seed across the arms, so that an interrupted benchmark has whole comparisons."""
    if not (FOLDER / "data" / "schema.yaml").exists():
        write_sites(FOLDER / "data")
    jobs = [(arm, seed) for seed in SEEDS for arm in ARMS]
    found: dict[str, list[Runs]] = {arm.name: [] for arm in ARMS}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("rounds", total=sum(arm.rounds for arm, _ in jobs))
        for arm, seed in jobs:
            runs = Runs(*write_experiment(arm, seed, FOLDER))
            bar.update(task, advance=runs.done(), description=f"{arm.name}, seed {seed}")
            for _ in runs.run(Serial()):
                bar.update(task, advance=1)
            found[arm.name].append(runs)
    return found


def measured(results: dict[str, list[Runs]]) -> dict[str, list[Accuracies]]:
    """Accuracies of every run; kept in its folder, since adapting takes a while. No socket may be opened meanwhile."""
    found: dict[str, list[Accuracies]] = {}
    forbidden = AssertionError("adaptation opened a network connection")
    for name, of in results.items():
        found[name] = []
        for runs in of:
            kept = runs.folder / "adapted.json"
            if not kept.exists():
                with mock.patch.object(socket, "socket", side_effect=forbidden):
                    kept.write_text(json.dumps(accuracies_of(runs)))
            found[name].append(json.loads(kept.read_text()))
    return found


def table_of(found: dict[str, list[Accuracies]]) -> Table:
    """One line for each way to train and to adapt."""
    table = Table(
        title="Accuracy on 2,000 test images, per cent: mean of three seeds (least to greatest)",
        caption="batch by batch: adapt to a hundred images, predict these, go on with the next hundred",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for heading in ("training", "adaptation", "plain", "four shifts", *UNSEEN):
        table.add_column(heading, justify="left" if heading in ("training", "adaptation") else "right", no_wrap=True)
    for arm in ARMS:
        for kind in (*KINDS, ONLINE):
            of = [one[kind] for one in found[arm.name]]
            label = "contr., batches" if kind == ONLINE else LABELS[kind]
            first = [spread([one[PLAIN] for one in of]) if PLAIN in of[0] else ""]
            shifts = [f"{100 * float(np.mean([one[name] for one in of])):.0f}" for name in UNSEEN]
            table.add_row(
                arm.title if kind == "none" else "", label, *first, spread([one[MEAN] for one in of]), *shifts
            )
    return table


def spread(values: list[float]) -> str:
    """Mean, least and greatest, in per cent."""
    low, high = 100 * min(values), 100 * max(values)
    return f"{100 * float(np.mean(values)):.1f} ({low:.1f}-{high:.1f})"


def table_of_checks(found: list[Check]) -> Table:
    """What must hold, and whether it does."""
    table = Table(title="Checks", box=None, padding=(0, 1, 0, 0))
    for heading in ("", "check", "points, by seed"):
        table.add_column(heading)
    for check in found:
        state = "" if check.holds is None else "[green]holds[/]" if check.holds else "[red]FAILS[/]"
        table.add_row(state, check.what, ", ".join(f"{value:+.1f}" for value in check.measured))
    return table


def plot(found: dict[str, list[Accuracies]], path: Path) -> None:
    """Mean accuracy over the four shifts; bars by way to train, lines from least to greatest seed."""
    figure, axis = plt.subplots(figsize=(8, 3.8), layout="constrained")
    places, width = np.arange(len(ARMS)), 0.8 / len(KINDS)
    for number, kind in enumerate(KINDS):
        values = 100 * np.array([[one[kind][MEAN] for one in found[arm.name]] for arm in ARMS])
        mean = values.mean(axis=1)
        reach = np.stack([mean - values.min(axis=1), values.max(axis=1) - mean])
        axis.bar(places + number * width, mean, width, yerr=reach, color=COLOURS[kind], label=LABELS[kind])
    axis.set_xticks(places + 1.5 * width, [arm.title for arm in ARMS], fontsize=8)
    axis.set_ylabel("per cent")
    axis.set_ylim(0, 100)
    axis.grid(axis="y", alpha=0.3)
    axis.set_title("Accuracy under four shifts that no site has seen", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8, ncols=4, loc="upper left")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def json_rows(found: dict[str, list[Accuracies]]) -> list[Row]:
    """The rows for JSON=FILE."""
    rows = list[Row]()
    for place, seed in enumerate(SEEDS):
        for kind in KINDS:
            for arm in ("views", "short", "long"):
                ours, peer = (found[name][place][kind][MEAN] for name in (arm, "fedavg"))
                floor = found["fedavg"][place]["none"][MEAN]
                metric = f"accuracy under shift, {LABELS[kind]}"
                rows.append(Row(case=f"{arm}, seed {seed}", metric=metric, unit="1", ours=ours, peer=peer, floor=floor))
    return rows


def main() -> int:
    """Run, print, draw; 0 when every check holds."""
    use_deterministic_torch()
    console = Console()
    found = measured(run_all(console))
    console.print(table_of(found))
    told = checks(found)
    console.print(table_of_checks(told))
    plot(found, OUT / "fedicon.png")
    console.print(f"plot: {OUT / 'fedicon.png'}")
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(json_rows(found), indent=2) + "\n", encoding="utf-8")
    return 1 if any(check.holds is False for check in told) else 0


if __name__ == "__main__":
    sys.exit(main())
