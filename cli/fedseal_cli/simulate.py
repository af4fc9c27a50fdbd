"""``fedseal simulate``: experiments with virtual nodes, and comparisons of their results."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from fedseal_cli.commands import JsonOption, command
from fedseal_cli.output import note, print_json, print_table, say

if TYPE_CHECKING:
    from fedseal.simulation.comparing import Difference
    from fedseal.simulation.runs import Runs
    from fedseal.simulation.study import StudyRuns

EXAMPLE = "fedseal simulate run examples/fashion-mnist/fedavg.yaml"


class _RunByDefault(TyperGroup):
    """``simulate FILE`` means ``simulate run FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` in front of what is not the name of a command or an option of the group."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    name="simulate",
    cls=_RunByDefault,
    help="Run experiments with virtual nodes: `simulate EXPERIMENT.yaml`; compare their results.",
    epilog=f"Example: {EXAMPLE}",
    no_args_is_help=True,
)

OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Where results go; default: the file's name beside it.")
]


@command(app, "run", example=EXAMPLE)
def run(
    file: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="What to simulate.")],
    out: OutOption = None,
    engine: Annotated[
        str, typer.Option("--engine", help="serial, or ray for all processors of a Ray cluster; same results.")
    ] = "serial",
    parquet: Annotated[bool, typer.Option("--parquet", help="Write results.parquet as well.")] = False,
    plot: Annotated[bool, typer.Option("--plot/--no-plot", help="Draw results.png.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Run an experiment, or go on with one that was interrupted.

    `protection` in the file is none, encoded, masking, homomorphic or hybrid; the last three play the whole protocol.

    Every seed is a run of its own. The folder keeps the experiment file, every round's figures and the state
    to go on from; a finished seed is not run again.
    """
    from fedseal.learning import use_deterministic_torch
    from fedseal.simulation.runs import Runs
    from fedseal.simulation.workers import make_workers

    use_deterministic_torch()
    runs = Runs(file, out or file.with_suffix(""))
    workers = make_workers(engine)
    total = len(runs.experiment.seeds) * runs.experiment.method.rounds
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rounds", total=total, completed=runs.done())
        for step in runs.run(workers):
            bar.update(task, advance=1, description=f"seed {step.seed}")
    if parquet:
        runs.write_parquet()
    drawn = plot and _plot(runs)
    written = [
        "results.csv",
        "timings.csv",
        *(["results.parquet"] if parquet else []),
        *(["results.png"] if drawn else []),
    ]
    _show(runs, written, as_json=as_json)


@command(app, "study", example="fedseal simulate study examples/fashion-mnist/study.yaml")
def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="Methods, skews, attacks and seeds.")],
    out: OutOption = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Run nothing; report on what has been run so far.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare all installed methods in one report: each under every skew and attack, from every seed.

    May take hours. Stop it at any moment and run it again: finished runs are kept, and only those whose settings
    have changed are done anew. Writes report.html and study.csv; a run that fails is named there with its reason.
    """
    from fedseal.learning import use_deterministic_torch
    from fedseal.simulation.study import StudyRuns
    from fedseal.simulation.study_report import write_report

    use_deterministic_torch()
    runs = StudyRuns(file, out or file.with_suffix(""))
    if not report_only:
        _run_study(runs)
    page, table = write_report(runs)
    failed = [cell for cell in runs.cells if not cell.is_done and cell.failure]
    if as_json:
        print_json(
            {
                "study": runs.study.study,
                "report": str(page),
                "table": str(table),
                "cells": len(runs.cells),
                "done": sum(cell.is_done for cell in runs.cells),
                "failures": [
                    {key: getattr(cell, key) for key in ("method", "skew", "attack", "seed", "failure")}
                    for cell in failed
                ],
            }
        )
        return
    for cell in failed:
        note(f"{cell.method} ({cell.skew}, {cell.attack}, seed {cell.seed}) failed: {cell.failure}")
    say(f"{sum(cell.is_done for cell in runs.cells)} of {len(runs.cells)} runs done. Report: {page}; table: {table}")


def _run_study(runs: "StudyRuns") -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done, total = runs.rounds()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rounds", total=total, completed=done)
        for step in runs.run():
            cell = step.cell
            bar.update(task, advance=step.rounds, description=f"{cell.method}, {cell.skew}, {cell.attack}")


@command(app, "compare", example="fedseal simulate compare fedavg scaffold --rounds 10")
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of an experiment's results.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of another's.")],
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    rounds: Annotated[int, typer.Option(min=1, help="Average each seed over its last evaluated rounds.")] = 1,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw both: PNG, PDF or SVG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two experiments, with confidence intervals over seeds.

    Seeds that both have are paired. An interval that does not contain 0 means that the difference is more than
    what seeds alone do, at that confidence.
    """
    from fedseal.simulation.comparing import compare as differences
    from fedseal.simulation.comparing import read_results

    one, two = read_results(first), read_results(second)
    found = differences(one, two, confidence=confidence, rounds=rounds)
    names = _names(first, second)
    if plot is not None:
        from fedseal.simulation.plotting import plot as draw

        draw(dict(zip(names, (one, two), strict=True)), plot)
    if as_json:
        print_json({"confidence": confidence, "figures": [_json(item) for item in found]})
        return
    print_table(
        ("Figure", *(name[-14:] for name in names), "B - A", f"{confidence * 100:g}% interval", "n"),
        [_row(item) for item in found],
        empty="The two experiments have no figure in common.",
    )


def _names(first: Path, second: Path) -> tuple[str, str]:
    """What two folders are called side by side."""
    one, two = first.resolve(), second.resolve()
    return (one.name, two.name) if one.name != two.name else (str(first), str(second))


def _plot(runs: "Runs") -> bool:
    from fedseal.errors import SetupError
    from fedseal.simulation.comparing import read_results
    from fedseal.simulation.plotting import plot as draw

    try:
        draw({runs.experiment.experiment: read_results(runs.folder)}, runs.folder / "results.png")
    except SetupError as error:
        note(str(error))
        return False
    return True


def _show(runs: "Runs", written: list[str], *, as_json: bool) -> None:
    from fedseal.simulation.comparing import KEYS, interval_of_mean, last_values, read_results

    results = read_results(runs.folder)
    rows = []
    for name in results.columns:
        if name in KEYS:
            continue
        values = last_values(results, str(name), rounds=1)
        low, high = interval_of_mean([float(value) for value in values], 0.95)
        rows.append((str(name), float(values.mean()), float(values.min()), float(values.max()), low, high))
    if as_json:
        print_json(
            {
                "experiment": runs.experiment.experiment,
                "folder": str(runs.folder),
                "files": written,
                "seeds": list(runs.experiment.seeds),
                "figures": {
                    name: {"mean": mean, "least": least, "greatest": most} for name, mean, least, most, _, _ in rows
                },
            }
        )
        return
    print_table(
        ("Last round", "mean", "least", "greatest", "95% interval"),
        [
            (name, _short(mean), _short(least), _short(most), _interval(low, high))
            for name, mean, least, most, low, high in rows
        ],
        empty="There are no results.",
    )
    say(f"Results in {runs.folder}: {', '.join(written)}")


def _row(item: "Difference") -> tuple[str, ...]:
    return (
        item.figure,
        _short(item.first),
        _short(item.second),
        _short(item.difference),
        _interval(item.low, item.high),
        str(item.pairs or "none"),
    )


def _json(item: "Difference") -> dict[str, object]:
    interval = None if math.isnan(item.low) else [item.low, item.high]
    return {
        "figure": item.figure,
        "first": item.first,
        "second": item.second,
        "difference": item.difference,
        "interval": interval,
        "pairs": item.pairs,
    }


def _short(value: float) -> str:
    return f"{value:.4g}"


def _interval(low: float, high: float) -> str:
    return "one seed" if math.isnan(low) else f"{low:.4g} to {high:.4g}"
