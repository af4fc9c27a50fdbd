"""A study's figures as a table, a CSV file and one page of HTML with its plots inside. Needs the extra ``plots``.

What is not there is shown as such: cells that failed with their reason, cells not yet run, methods left out.
"""

import importlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from fedseal.errors import SetupError
from fedseal.files import write_atomic
from fedseal.methods.contract import IndividualMethod
from fedseal.report.rendering import render_template
from fedseal.simulation.comparing import last_values, read_results
from fedseal.simulation.runs import TIMINGS
from fedseal.simulation.study import Cell, StudyRuns
from fedseal_governance.vocabulary import Disclosure

FIGURES = {
    "accuracy": "Accuracy",
    "own_accuracy_mean": "Mean node",
    "own_accuracy_worst": "Worst node",
    "calibration_error": "Calibration error",
    "attack_success": "Attack success",
    "kilobytes": "kB a node and round",
    "cpu": "CPU s a round",
}
"""Columns of the table; the first five are shares from 0 to 1."""
REPORT, TABLE = "report.html", "study.csv"
INK, COLOURS = "#1c2430", ("#0b6e8f", "#b3261e", "#5b7f2b", "#7a4fa3")
DISCLOSURES = {level: level.name.lower().replace("_", " ") for level in Disclosure}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One method under one skew and attack.

    Attributes:
        mean: By figure, over the seeds that are done.
        spread: Greatest minus least over those seeds.
        seeds: How many are done.
        failures: Reasons, each once.
        missing: Seeds neither done nor failed.
    """

    method: str
    skew: str
    attack: str
    disclosure: str
    mean: Mapping[str, float]
    spread: Mapping[str, float]
    seeds: int
    failures: tuple[str, ...]
    missing: int

    @property
    def shown(self) -> dict[str, str]:
        """Mean and, with several seeds, half the spread."""
        return {
            name: _figure(self.mean.get(name, math.nan), self.spread.get(name, 0.0), self.seeds) for name in FIGURES
        }


def lines_of(runs: StudyRuns) -> tuple[Line, ...]:
    """The figures that are there now, in the order of the study file."""
    study = runs.study
    return tuple(
        _line(runs, [cell for cell in runs.cells if (cell.method, cell.skew, cell.attack) == (name, skew, attack)])
        for skew in study.skews
        for attack in study.attacks
        for name in runs.methods
    )


def write_report(runs: StudyRuns) -> tuple[Path, Path]:
    """Write the page and the table into the study's folder.

    Raises:
        SetupError: matplotlib is not installed.
    """
    lines = lines_of(runs)
    frame = pd.DataFrame([_record(line) for line in lines])
    write_atomic(runs.folder / TABLE, frame.to_csv(index=False).encode())
    write_atomic(runs.folder / REPORT, _page(runs, lines))
    return runs.folder / REPORT, runs.folder / TABLE


def _line(runs: StudyRuns, cells: Sequence[Cell]) -> Line:
    first = cells[0]
    frame = pd.DataFrame([_figures(cell) for cell in cells if cell.is_done])
    failed = [cell.failure for cell in cells if not cell.is_done and cell.failure]
    means = {str(name): float(frame[name].mean()) for name in frame}
    return Line(
        method=first.method,
        skew=first.skew,
        attack=first.attack,
        disclosure=DISCLOSURES[runs.methods[first.method].statement.level],
        mean={name: value for name, value in means.items() if math.isfinite(value)},
        spread={str(name): float(frame[name].max() - frame[name].min()) for name in frame},
        seeds=len(frame),
        failures=tuple(dict.fromkeys(failed)),
        missing=len(cells) - len(frame) - len(failed),
    )


def _figures(cell: Cell) -> dict[str, float]:
    results, timings = read_results(cell.folder), pd.read_csv(cell.folder / TIMINGS)
    known = {name: last_values(results, name, rounds=1) for name in FIGURES if name in results}
    found = {name: float(values.iloc[0]) for name, values in known.items() if len(values)}
    seconds = timings["training_seconds"] + timings["overhead_seconds"]
    return {**found, "kilobytes": float(results["bytes_up"].mean()) / 1000, "cpu": float(seconds.median())}


def _record(line: Line) -> dict[str, object]:
    return {
        "method": line.method,
        "skew": line.skew,
        "attack": line.attack,
        "disclosure": line.disclosure,
        "seeds": line.seeds,
        **{name: line.mean.get(name, math.nan) for name in FIGURES},
        **{f"{name}_spread": line.spread.get(name, math.nan) for name in FIGURES},
        "failure": "; ".join(line.failures),
    }


def _page(runs: StudyRuns, lines: Sequence[Line]) -> bytes:
    study = runs.study
    tables = [
        {
            "skew": skew,
            "attack": attack,
            "lines": [line for line in lines if (line.skew, line.attack) == (skew, attack)],
            "has": [name for name in FIGURES if any(name in line.mean for line in lines if line.attack == attack)],
        }
        for skew in study.skews
        for attack in study.attacks
    ]
    context = {
        "study": study,
        "tables": tables,
        "figures": FIGURES,
        "plots": _plots(lines),
        "done": sum(cell.is_done for cell in runs.cells),
        "cells": len(runs.cells),
        "failures": [line for line in lines if line.failures],
        "left_out": {name: row.left_out for name, row in study.methods.items() if row.left_out},
        "notes": {name: row.note for name, row in study.methods.items() if row.note and not row.left_out},
        "rounds": {cell.method: cell.rounds for cell in runs.cells if cell.rounds != study.rounds},
        "learners": {name: row.learner.name for name, row in study.methods.items() if row.learner is not None},
        "unlisted": [name for name in runs.methods if name not in study.methods],
        "individual": [
            name for name, made in runs.methods.items() if hasattr(made, IndividualMethod.aggregate_each.__name__)
        ],
    }
    return render_template("study.html.j2", **context)


def _plots(lines: Sequence[Line]) -> list[tuple[str, Markup]]:
    """Title and inline SVG of each plot that has anything to show."""
    drawn: list[tuple[str, Callable[[Any, Sequence[Line]], None], str]] = [
        ("Accuracy by method and disclosure", _bars("accuracy", "accuracy on common test rows"), "accuracy"),
        ("Accuracy and bytes", _bytes, "accuracy"),
        (
            "The worst node, with its own model",
            _bars("own_accuracy_worst", "accuracy on own test rows"),
            "own_accuracy_worst",
        ),
        ("Calibration", _bars("calibration_error", "expected calibration error; less is better"), "calibration_error"),
        (
            "Attack success",
            _bars("attack_success", "triggered rows taken for the target; less is better"),
            "attack_success",
        ),
        ("Computing", _bars("cpu", "CPU seconds a round, all nodes and sums"), "cpu"),
    ]
    return [
        (title, _svg(draw, [line for line in lines if figure in line.mean]))
        for title, draw, figure in drawn
        if any(figure in line.mean for line in lines)
    ]


def _svg(draw: Callable[[Any, Sequence[Line]], None], lines: Sequence[Line]) -> Markup:
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ModuleNotFoundError:
        raise SetupError("Plots need matplotlib, which is not installed; pip install 'fedseal[plots]'.") from None
    with matplotlib.rc_context({"svg.hashsalt": "fedseal", "svg.fonttype": "path"}):
        methods = len({line.method for line in lines})
        figure, axis = pyplot.subplots(figsize=(6.6, max(3.4, 0.34 * methods + 1.3)))
        try:
            draw(axis, lines)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=8)
            figure.tight_layout()
            data = io.StringIO()
            figure.savefig(data, format="svg", transparent=False, metadata={"Date": None, "Creator": None})
        finally:
            pyplot.close(figure)
    text = data.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704 - matplotlib escapes; names match a pattern


def _bars(figure: str, label: str) -> Callable[[Any, Sequence[Line]], None]:
    """Dots by method, one colour a skew, hollow under attack; methods are grouped by what they disclose."""

    def draw(axis: Any, lines: Sequence[Line]) -> None:
        order = list(DISCLOSURES.values())
        names = sorted({(order.index(line.disclosure), line.method) for line in lines}, reverse=True)
        place = {name: number for number, (_, name) in enumerate(names)}
        series = _series(lines)
        for number, (label_of, colour, filled, chosen) in enumerate(series):
            aside = 0.5 * ((len(series) - 1) / 2 - number) / len(series)  # so that none hides another
            axis.errorbar(
                [line.mean[figure] for line in chosen],
                [place[line.method] + aside for line in chosen],
                xerr=[line.spread.get(figure, 0.0) / 2 for line in chosen],
                fmt="o",
                color=colour,
                markerfacecolor=colour if filled else "white",
                markersize=5,
                elinewidth=1,
                label=label_of,
            )
        axis.set_yticks(range(len(names)), [f"{name}  [{order[level]}]" for level, name in names])
        axis.grid(axis="y", color="#e2ded5", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_xlabel(label, fontsize=9, color=INK)
        _legend(axis)

    return draw


def _bytes(axis: Any, lines: Sequence[Line]) -> None:
    for label, colour, filled, chosen in _series(lines):
        across = [line.mean["kilobytes"] for line in chosen]
        up = [line.mean["accuracy"] for line in chosen]
        axis.scatter(across, up, s=24, color=colour, facecolors=colour if filled else "white", label=label)
    groups: dict[float, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.mean["kilobytes"], []).append(line)
    for size, group in groups.items():
        names = sorted({line.method for line in group})
        name = names[0] if len(names) == 1 else f"{len(names)} methods"
        place = (size, max(line.mean["accuracy"] for line in group))
        axis.annotate(name, place, fontsize=7, color=INK, xytext=(0, 4), textcoords="offset points", rotation=60)
    axis.margins(x=0.12, y=0.2)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.set_xlabel("kB that a node sends a round", fontsize=9, color=INK)
    axis.set_ylabel("accuracy on common test rows", fontsize=9, color=INK)
    _legend(axis)


def _series(lines: Sequence[Line]) -> list[tuple[str, str, bool, list[Line]]]:
    """Label, colour, whether dots are filled, and lines of each combination of skew and attack."""
    skews = list(dict.fromkeys(line.skew for line in lines))
    attacks = list(dict.fromkeys(line.attack for line in lines))
    return [
        (f"{skew}, {attack}", COLOURS[number % len(COLOURS)], attack == attacks[0], chosen)
        for number, skew in enumerate(skews)
        for attack in attacks
        if (chosen := [line for line in lines if (line.skew, line.attack) == (skew, attack)])
    ]


def _legend(axis: Any) -> None:
    axis.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)


def _figure(value: float, spread: float, seeds: int) -> str:
    if math.isnan(value):
        return "–"
    shown = f"{value:.3f}" if value < 10 else f"{value:,.0f}"
    if seeds < 2:
        return shown
    return f"{shown} ± {spread / 2:.3f}" if value < 10 else f"{shown} ± {spread / 2:,.0f}"
