"""Figures per hospital that somebody computed beside the federation: alone, federated, pooled.

A federation cannot compute them, by design; a demonstration or a benchmark that holds all the data can. They
are therefore no part of the job record, and the report says so beside them. ``fedseal.methods.comparison``
gives them in this shape.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fedseal.report.figures import UNDEFINED, decimal, share, whole


class SiteFigures(Protocol):
    """Figures of one model on one group of held-out records; NaN where undefined."""

    @property
    def auc(self) -> float:
        """Area under the ROC curve, 0 to 1."""

    @property
    def accuracy(self) -> float:
        """Share predicted rightly, 0 to 1."""

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, 0 is best."""


class SiteRow(Protocol):
    """One group of held-out records under the three kinds of training."""

    @property
    def group(self) -> str:
        """A node's name, or any word for the union."""

    @property
    def patients(self) -> int:
        """Held-out records in the group."""

    @property
    def alone(self) -> SiteFigures:
        """Of a node its own model; of the union the mean over the nodes' own models."""

    @property
    def federated(self) -> SiteFigures:
        """The federated model."""

    @property
    def pooled(self) -> SiteFigures:
        """The model trained on all rows in one place."""


class SiteMetrics(Protocol):
    """One row a node, and the union."""

    @property
    def nodes(self) -> Sequence[SiteRow]:
        """One row a node."""

    @property
    def overall(self) -> SiteRow:
        """The union of all held-out records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """A line of a table: a group and its three values, ready to show."""

    group: str
    patients: str
    alone: str
    federated: str
    pooled: str
    is_union: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTable:
    """One metric for all groups."""

    title: str
    better: str
    rows: tuple[TableRow, ...]


UNION = "All together"


def metric_tables(metrics: SiteMetrics) -> tuple[MetricTable, ...]:
    """AUC, accuracy and calibration, each as a table."""
    return tuple(
        MetricTable(
            title=kind.title,
            better=kind.better,
            rows=tuple(_row(row, kind, is_union=union) for row, union in rows_of(metrics)),
        )
        for kind in _KINDS
    )


def rows_of(metrics: SiteMetrics) -> tuple[tuple[SiteRow, bool], ...]:
    """Every row with whether it is the union, which comes last."""
    return (*((row, False) for row in metrics.nodes), (metrics.overall, True))


def comparison(metrics: SiteMetrics) -> str:
    """How the federated model's AUC on the union compares; empty where it is undefined."""
    overall = metrics.overall
    federated = overall.federated.auc
    if not all(math.isfinite(value) for value in (federated, overall.alone.auc, overall.pooled.auc)):
        return ""
    return (
        f"{_difference(federated - overall.alone.auc)} the mean of the models trained alone and "
        f"{_difference(federated - overall.pooled.auc)} the pooled model"
    )


def _difference(value: float) -> str:
    if abs(value) < 0.0005:
        return "equal to"
    return f"{decimal(abs(value))} {'above' if value > 0 else 'below'}"


def has_undefined(tables: Sequence[MetricTable]) -> bool:
    """Whether any value is undefined and wants a footnote."""
    return any(UNDEFINED in (row.alone, row.federated, row.pooled) for table in tables for row in table.rows)


@dataclass(frozen=True, slots=True)
class _Kind:
    title: str
    better: str
    of: Callable[[SiteFigures], float]
    write: Callable[[float], str]


_KINDS = (
    _Kind("Discrimination (AUC)", "higher is better", lambda figures: figures.auc, decimal),
    _Kind("Accuracy", "higher is better", lambda figures: figures.accuracy, share),
    _Kind("Calibration error", "lower is better", lambda figures: figures.calibration_error, decimal),
)


def _row(row: SiteRow, kind: _Kind, *, is_union: bool) -> TableRow:
    return TableRow(
        group=UNION if is_union else row.group,
        patients=whole(row.patients),
        alone=kind.write(kind.of(row.alone)),
        federated=kind.write(kind.of(row.federated)),
        pooled=kind.write(kind.of(row.pooled)),
        is_union=is_union,
    )
