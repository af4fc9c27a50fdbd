"""``statistics``: means, spreads, missing counts and category counts of the union, from one secure sum.

Rules this module keeps:
- Every bound follows from the schema's declared ranges and the job's maximum of rows, never from data.
- Counts are exact: resolution 1.
- Numbers are summed on the scale u = (x - middle) / half-width of the declared range, so that |u| <= 1.

Accuracy. A node's sums of u and u^2 are rounded to steps of 2^-32 (coarser only above 2^18 rows a node, where
each step weighs less), at most one step each; so with n nodes and N present values the mean of u is off by at
most n/N steps and the variance by at most 3n/N steps, plus float64 round-off of the same order. A second pass
over centred values is therefore not needed while the standard deviation is above 2^-12 of the half-width: its
relative error stays below 2^-7 even with one row a node, and far below that with real counts. Columns that
are narrower than that, or were never measured, get the standard deviation of a uniform distribution over the
declared range instead of noise.

Published: ``rows``, ``positives``, and per measured column ``present``, ``mean``, ``scale`` (standard
deviation, in the column's unit), and for category columns ``categories`` (counts, each column's categories
and then its missing ones).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fedseal.errors import PeerFault
from fedseal.learning.data import LocalData
from fedseal.learning.encoder import measured_columns
from fedseal.learning.tensors import NamedTensors, Shapes
from fedseal.methods.contract import (
    NOTHING,
    CohortSum,
    Contribution,
    DisclosureStatement,
    NodeContext,
    Plan,
    Quantity,
)
from fedseal.methods.errors import MethodUnsuitable
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.datasets import Column, ColumnType
from fedseal_governance.vocabulary import Disclosure

FINEST = 2.0**-32
MOST_STEPS = 2.0**50  # within what the encoding can count exactly
NARROWEST = 2.0**-12  # of the half-width; see the module docstring

STATEMENT = DisclosureStatement(
    level=Disclosure.SUM,
    paragraph=(
        "Every node adds up its own training rows: how many there are, how many have the outcome, how often "
        "each feature was measured, the sum and the sum of squares of each number, and how often each "
        "category occurs. The coordinator learns these sums over all nodes of the cohort together, and "
        "publishes the means, spreads and counts that follow from them to the nodes. No node's own count or "
        "mean is seen by anyone."
    ),
    quantities=(
        Quantity(name="rows", party="coordinator", description="training rows of the whole cohort"),
        Quantity(
            name="positives",
            party="coordinator",
            description="rows of the whole cohort that have the outcome",
        ),
        Quantity(
            name="present",
            party="coordinator",
            description="per number, rows of the cohort where it was measured",
        ),
        Quantity(name="sum", party="coordinator", description="per number, its sum over the cohort"),
        Quantity(name="square", party="coordinator", description="per number, its sum of squares over the cohort"),
        Quantity(
            name="categories",
            party="coordinator",
            description="per category, rows of the cohort, and missing ones",
        ),
        Quantity(
            name="published statistics",
            party="every node",
            description="means, spreads and counts of the cohort, computed from the sums above",
        ),
    ),
)


class StatisticsSettings(BaseModel):
    """There is nothing to set: bounds follow from the schema, accuracy from this module."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Statistics:
    """One round; see the module docstring."""

    settings: StatisticsSettings = field(default_factory=StatisticsSettings)

    name: ClassVar[str] = "statistics"
    title: ClassVar[str] = "Means, spreads and counts of the union"
    reference: ClassVar[str] = "Sums of values and squares on a declared scale; see fedseal.methods.statistics"
    statement: ClassVar[DisclosureStatement] = STATEMENT
    settings_model: ClassVar[type[BaseModel]] = StatisticsSettings

    def initial_state(self, plan: Plan) -> NamedTensors:
        """Nothing is known yet."""
        for column in measured_columns(plan.features):
            _interval(column)
        return {name: np.zeros(shape) for name, shape in self.export_shapes(plan).items()}

    def broadcast_shapes(self, plan: Plan) -> Shapes:  # noqa: ARG002 - same for every plan
        """Nodes need nothing to begin."""
        return {}

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:  # noqa: ARG002 - nothing to send
        """Nodes need nothing to begin."""
        return NOTHING

    def vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """Counts in steps of 1, sums in fine steps; all bounded by the maximum of rows."""
        rows = float(plan.maximum_rows)
        fine = max(FINEST, 2.0 ** math.ceil(math.log2(rows / MOST_STEPS)))
        steps = {"sum": fine, "square": fine}
        return tuple(
            VectorSpec(name=name, length=length, bound=rows, resolution=steps.get(name, 1.0))
            for name, length in _lengths(plan).items()
            if length
        )

    def contribute(self, context: NodeContext) -> Contribution:
        """Sums over this node's training rows."""
        plan, data = context.plan, context.data.training
        scaled = _scaled(data, plan)
        values = {
            "rows": np.array([float(data.row_count)]),
            "positives": _outcomes(data, plan),
            "present": np.sum(~np.isnan(scaled), axis=0, dtype=np.float64),
            "sum": np.nansum(scaled, axis=0),
            "square": np.nansum(scaled**2, axis=0),
            "categories": _category_counts(data, plan.features),
        }
        declared = {spec.name for spec in self.vectors(plan)}
        return Contribution(values={name: value for name, value in values.items() if name in declared})

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:
        """From sums to means and spreads, in each column's own unit.

        Raises:
            PeerFault: The sums contradict each other.
        """
        sums = {name: total.values.get(name, np.zeros(length)) for name, length in _lengths(plan).items()}
        rows, present = float(sums["rows"][0]), sums["present"]
        if rows < 0 or (present < 0).any() or (present > rows).any() or not _fits(sums["positives"], rows):
            raise PeerFault(
                "The summed statistics are impossible: a column was measured more often than there are rows."
            )
        counted = np.maximum(present, 1.0)
        mean = sums["sum"] / counted
        variance = np.maximum(sums["square"] / counted - mean**2, 0.0)
        middle, half = _scales(plan)
        spread = np.sqrt(variance)
        return {
            **{name: np.asarray(state[name]) for name in state},
            "rows": sums["rows"],
            "positives": sums["positives"],
            "present": present,
            "mean": middle + half * np.where(present > 0, mean, 0.0),
            "scale": half * np.where((present > 0) & (spread >= NARROWEST), spread, 1 / math.sqrt(3)),
            "categories": sums["categories"],
        }

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:
        """Rows, and the share of cells that were measured."""
        rows = float(state["rows"][0])
        cells = rows * max(len(measured_columns(plan.features)), 1)
        return {"rows": rows, "measured_share": float(state["present"].sum()) / cells if cells else 0.0}

    def export_shapes(self, plan: Plan) -> Shapes:
        """See the module docstring."""
        lengths = _lengths(plan)
        return {
            **{name: (lengths[name],) for name in ("rows", "positives", "present", "categories")},
            "mean": (lengths["sum"],),
            "scale": (lengths["sum"],),
        }

    def export(self, plan: Plan, state: NamedTensors) -> NamedTensors:  # noqa: ARG002 - the state is the result
        """Everything."""
        return state

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:  # noqa: ARG002
        """There is no model."""
        return exported


def _interval(column: Column) -> tuple[float, float]:
    if column.type is ColumnType.BOOLEAN:
        return 0.0, 1.0
    if column.range is None:
        raise MethodUnsuitable(
            f'Column "{column.name}" has no range in the schema; it is needed to bound what is summed.'
        )
    return column.range


def _lengths(plan: Plan) -> dict[str, int]:
    measured = len(measured_columns(plan.features))
    categories = sum(len(column.categories) + 1 for column in _category_columns(plan.features))
    return {
        "rows": 1,
        "positives": 1 if plan.classes == 2 else plan.classes,
        "present": measured,
        "sum": measured,
        "square": measured,
        "categories": categories,
    }


def _outcomes(data: LocalData, plan: Plan) -> NDArray[np.float64]:
    """Rows with the outcome; of several classes, rows of each."""
    if plan.target is None:
        return np.zeros(1)
    labels = data.labels(plan.target)
    if plan.classes == 2:
        return np.array([labels.sum()])
    return np.bincount(labels.astype(np.int64), minlength=plan.classes).astype(np.float64)


def _fits(outcomes: NDArray[np.float64], rows: float) -> bool:
    return bool((outcomes >= 0).all()) and float(outcomes.sum()) <= rows


def _category_columns(features: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(column for column in features if column.type is ColumnType.CATEGORY)


def _scales(plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bounds = np.array([_interval(column) for column in measured_columns(plan.features)]).reshape(-1, 2)
    return (bounds[:, 0] + bounds[:, 1]) / 2, (bounds[:, 1] - bounds[:, 0]) / 2


def _scaled(data: LocalData, plan: Plan) -> NDArray[np.float64]:
    names = [column.name for column in measured_columns(plan.features)]
    middle, half = _scales(plan)
    return (data.frame[names].to_numpy(dtype=np.float64) - middle) / half


def _category_counts(data: LocalData, features: tuple[Column, ...]) -> NDArray[np.float64]:
    counts: list[float] = []
    for column in _category_columns(features):
        values = data.frame[column.name]
        counts.extend(float((values == category).sum()) for category in column.categories)
        counts.append(float(values.isna().sum()))
    return np.array(counts, dtype=np.float64)


def describe(features: tuple[Column, ...], published: NamedTensors) -> dict[str, object]:
    """The published statistics by column, for people: JSON values only.

    Args:
        features: The job's columns, in its order.
        published: What `Statistics.export` gave.
    """
    columns: dict[str, object] = {}
    numbers = zip(measured_columns(features), published["present"], published["mean"], published["scale"], strict=True)
    for column, present, mean, scale in numbers:
        columns[column.name] = {
            "measured": int(present),
            "mean": float(mean),
            "standard_deviation": float(scale),
            "unit": column.unit,
        }
    counts = iter(published["categories"])
    for column in _category_columns(features):
        found = {category: int(next(counts)) for category in column.categories}
        columns[column.name] = {"counts": found, "missing": int(next(counts))}
    outcomes = [int(count) for count in published["positives"]]
    return {
        "rows": int(published["rows"][0]),
        **({"rows_with_the_outcome": outcomes[0]} if len(outcomes) == 1 else {"rows_by_class": outcomes}),
        "columns": columns,
    }
