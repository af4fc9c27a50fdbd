"""Lockdown against a backdoor, on Fashion-MNIST: attack success and accuracy, with spread, and what must hold.

    make bench-lockdown             runs what has not run yet, prints tables, draws benchmarks/out/lockdown.png
    make bench-lockdown JSON=FILE   also writes rows {case, metric, unit, ours, peer, floor}
    MORE=1 make bench-lockdown      also other attacks, one seed each

Twenty nodes with 500 images each, four of which plant a backdoor in nine tenths of their images of other classes;
forty rounds of two local epochs. Arms: FedAvg, Lockdown, and Lockdown whose masks never move. ``ours`` is Lockdown,
``peer`` FedAvg, ``floor`` the static masks. The runs are ordinary simulations in benchmarks/out/lockdown; they go on
where they were interrupted, and a finished one is not run again. Needs the Debian package dataset-fashion-mnist and
about an hour of one processor. Exits 1 if a check fails.
"""

import json
import os
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

mpl.use("Agg")  # no display needed; must come before pyplot
from _lockdown_arms import ARMS, MORE, ROUNDS, SEEDS, Arm, write_experiment
from _lockdown_checks import Check, Outcome, SecureRound, checks, outcome_of, secure_rounds
from matplotlib import pyplot as plt

from fedseal.learning import use_deterministic_torch
from fedseal.simulation.comparing import read_results
from fedseal.simulation.runs import Runs
from fedseal.simulation.workers import Serial

OUT = Path(__file__).parent / "out"
FOLDER = OUT / "lockdown"
COLOURS = {"fedavg": "#b3261e", "lockdown": "#0b6e8f", "static": "#a86a00"}


def run_all(arms: tuple[Arm, ...], console: Console) -> dict[str, list[Runs]]:
    """Every arm's runs, seed by seed across the arms, so that an interrupted benchmark has whole comparisons."""
    jobs = [(arm, seed) for seed in SEEDS for arm in arms if seed in arm.seeds]
    found: dict[str, list[Runs]] = {arm.name: [] for arm in arms}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("rounds", total=len(jobs) * ROUNDS)
        for arm, seed in jobs:
            runs = Runs(*write_experiment(arm, seed, FOLDER))
            bar.update(task, advance=runs.done(), description=f"{arm.name}, seed {seed}")
            for _ in runs.run(Serial()):
                bar.update(task, advance=1)
            found[arm.name].append(runs)
    return found


def spread(values: list[float]) -> str:
    """Mean and, with several seeds, least and greatest, in per cent."""
    text = f"{100 * float(np.mean(values)):.1f}"
    return text if len(values) == 1 else f"{text} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def table_of(arms: tuple[Arm, ...], outcomes: dict[str, list[Outcome]], title: str) -> Table:
    """One line an arm."""
    table = Table(title=title, caption="per cent; mean (least to greatest) over seeds")
    for heading in (
        "arm",
        "accuracy",
        "attack success",
        "keeps its label",
        "before fusion: accuracy",
        "attack success",
    ):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for arm in arms:
        of = outcomes[arm.name]
        masked = arm.method == "lockdown"
        table.add_row(
            arm.title,
            spread([one.accuracy for one in of]),
            spread([one.attack_success for one in of]),
            spread([one.backdoor_accuracy for one in of]),
            spread([one.unfused_accuracy for one in of]) if masked else "",
            spread([one.unfused_success for one in of]) if masked else "",
        )
    return table


def table_of_checks(found: list[Check]) -> Table:
    """What must hold, and whether it does."""
    table = Table(title="Checks")
    for heading in ("", "check", "measured"):
        table.add_column(heading)
    for check in found:
        table.add_row("[green]holds[/]" if check.holds else "[red]FAILS[/]", check.what, check.measured)
    return table


def plot(results: dict[str, list[Runs]], path: Path) -> None:
    """Accuracy and attack success over rounds; bands from least to greatest seed."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for axis, figure_name, title in zip(
        axes, ("accuracy", "attack_success"), ("Accuracy on test images", "Attack success"), strict=True
    ):
        for arm in ARMS:
            frames = [read_results(runs.folder).dropna(subset=[figure_name]) for runs in results[arm.name]]
            values = np.array([frame[figure_name] for frame in frames]) * 100
            rounds = frames[0]["round"]
            axis.plot(rounds, values.mean(axis=0), "o-", color=COLOURS[arm.name], label=arm.title)
            axis.fill_between(rounds, values.min(axis=0), values.max(axis=0), color=COLOURS[arm.name], alpha=0.2)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("round")
        axis.set_ylabel("per cent")
        axis.set_ylim(0, 100)
        axis.grid(axis="y", alpha=0.3)
    axes[1].legend(frameon=False, fontsize=8)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


def json_rows(outcomes: dict[str, list[Outcome]], secure: list[SecureRound]) -> list[dict[str, object]]:
    """The rows for JSON=FILE."""
    rows: list[dict[str, object]] = []
    for metric in ("accuracy", "attack_success", "backdoor_accuracy"):
        for place, seed in enumerate(SEEDS):
            ours, peer, floor = (getattr(outcomes[name][place], metric) for name in ("lockdown", "fedavg", "static"))
            rows.append(_row(f"seed {seed}", metric, ours, peer, floor))
        ours, peer, floor = (
            float(np.mean([getattr(one, metric) for one in outcomes[name]]))
            for name in ("lockdown", "fedavg", "static")
        )
        rows.append(_row(f"mean of {len(SEEDS)} seeds", metric, ours, peer, floor))
    for arm in MORE:
        for one in outcomes.get(arm.name, []):
            rows.append(_row(arm.title, "attack_success", one.attack_success, None, None))
            rows.append(_row(arm.title, "accuracy", one.accuracy, None, None))
    rows += [
        _row(f"round {each.round}, {each.protection}", "largest difference", each.difference, None, None)
        for each in secure
    ]
    return rows


def _row(case: str, metric: str, ours: float, peer: float | None, floor: float | None) -> dict[str, object]:
    return {"case": case, "metric": metric, "unit": "1", "ours": ours, "peer": peer, "floor": floor}


def main() -> int:
    """Run, print, draw; 0 when every check holds."""
    use_deterministic_torch()
    console = Console()
    more = MORE if os.environ.get("MORE") else ()
    results = run_all((*ARMS, *more), console)
    outcomes = {name: [outcome_of(runs) for runs in of] for name, of in results.items()}
    secure = secure_rounds(FOLDER)
    console.print(table_of(ARMS, outcomes, f"Fashion-MNIST, 4 of 20 nodes attack, after {ROUNDS} rounds"))
    if more:
        console.print(table_of(more, outcomes, f"Other attacks on Lockdown, after {ROUNDS} rounds, seed {SEEDS[0]}"))
    found = checks(outcomes, secure)
    console.print(table_of_checks(found))
    plot(results, OUT / "lockdown.png")
    console.print(f"plot: {OUT / 'lockdown.png'}")
    if os.environ.get("JSON"):
        Path(os.environ["JSON"]).write_text(json.dumps(json_rows(outcomes, secure), indent=2) + "\n", encoding="utf-8")
    return 0 if all(check.holds for check in found) else 1


if __name__ == "__main__":
    sys.exit(main())
