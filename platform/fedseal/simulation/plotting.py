"""One picture of an experiment: each figure over rounds, mean over seeds with the spread. Needs the extra ``plots``."""

import importlib
from pathlib import Path
from typing import Any

import pandas as pd

from fedseal.errors import SetupError

FIGURES = {
    "accuracy": "Accuracy on test rows",
    "attack_success": "Attack success",
    "own_accuracy_mean": "Mean accuracy on own rows",
    "training_loss": "Training loss",
}
INK, LINE = "#1c2430", ("#0b6e8f", "#b3261e", "#5b7f2b", "#7a4fa3", "#a86a00", "#444444")


def plot(results: dict[str, pd.DataFrame], path: Path) -> None:
    """Draw the figures that any of the experiments has; lines are means over seeds, bands from least to greatest.

    Args:
        results: By the name in the legend.
        path: A PNG, PDF or SVG file.

    Raises:
        SetupError: matplotlib is not installed.
    """
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ModuleNotFoundError:
        raise SetupError("Plots need matplotlib, which is not installed; pip install 'fedseal[plots]'.") from None
    shown = [name for name in FIGURES if any(name in frame for frame in results.values())]
    figure, axes = pyplot.subplots(1, len(shown), figsize=(4.6 * len(shown), 3.6), squeeze=False)
    for axis, name in zip(axes[0], shown, strict=True):
        _draw(axis, name, results)
    if len(results) > 1:
        axes[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150, metadata={"Software": None} if path.suffix == ".png" else None)
    pyplot.close(figure)


def _draw(axis: Any, name: str, results: dict[str, pd.DataFrame]) -> None:
    for number, (label, frame) in enumerate(results.items()):
        if name not in frame:
            continue
        by_round = frame.dropna(subset=[name]).groupby("round")[name]
        mean, colour = by_round.mean(), LINE[number % len(LINE)]
        axis.plot(mean.index, mean.to_numpy(), color=colour, label=label, linewidth=1.8)
        axis.fill_between(mean.index, by_round.min(), by_round.max(), color=colour, alpha=0.15, linewidth=0)
    axis.set_title(FIGURES[name], fontsize=10, color=INK, loc="left")
    axis.set_xlabel("round", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
