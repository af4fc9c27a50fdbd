"""A dataset described column by column, with disclosure control, and what is pinned when it is registered.

Rules this module keeps:

1. No count below the minimum cell is shown (`MINIMUM_CELL`, or more or less as asked, never below `LEAST_CELL`).
2. What is hidden cannot be computed from what is shown: the cells of a column add up to the number of rows, so small
   cells are hidden together with as many of the next smallest as it takes for the hidden ones to be at least two, and
   to hold a minimum cell of records together.
3. Numbers are described by mean, spread, and the range of the middle records. At least a minimum cell of records, and
   5 % of them, lie beyond each end of it; its ends are rounded. Extremes belong to single persons and are not shown.

The description is for people at the node; it is not sent anywhere. Not defended: somebody who may ask for two
descriptions of data that differ by one record.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedseal.learning import LocalData, fingerprint, load_dataset
from fedseal.local import LocalParty
from fedseal_governance.datasets import (
    Baseline,
    Column,
    ColumnRole,
    ColumnType,
    DatasetFacts,
    Drift,
    Registration,
    baseline_of,
    compare,
    registered,
)

LEAST_CELL = 3
"""A cell of fewer says something about persons who know of each other."""

_TAIL = 0.05
_MISSING = "missing"

MINIMUM_CELL = 10
"""The smallest count that is shown; the usual rule of statistical offices for health data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """One column in words."""

    name: str
    type: str
    missing: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetProfile:
    """A dataset in words.

    Attributes:
        rows: how many; None if there are fewer than the minimum cell.
        changes: what is no longer as it was approved.
    """

    dataset: str
    rows: int | None
    minimum_cell: int
    columns: tuple[ColumnProfile, ...]
    changes: tuple[str, ...]


def dataset_facts(data: LocalData, schema_content: bytes) -> DatasetFacts:
    """What is pinned of a dataset: counts, digests, and its columns in words."""
    found = fingerprint(data)
    columns = {column.name: _words(column) for column in describe(data).columns}
    return DatasetFacts(
        schema_content=schema_content,
        row_count=data.row_count,
        content_digest=found.digest,
        baseline=Baseline(rows=found.rows, columns=columns),
    )


def facts_now(registration: Registration) -> DatasetFacts:
    """What a registered dataset is at this moment.

    Raises:
        DatasetError: The file is gone or no longer fits its schema.
    """
    data = load_dataset(Path(registration.source), registration.schema)
    return dataset_facts(data, registration.facts.schema_content)


def changes_since(party: LocalParty, name: str) -> tuple[DatasetFacts, Drift]:
    """What a registered dataset is now, and what changed since it was approved.

    Raises:
        NotFound: It is not registered here.
        DatasetError: The file is gone or no longer fits its schema.
    """
    registration = party.read(lambda session: registered(session, name))
    facts = facts_now(registration)
    return facts, compare(registration, facts, before=party.read(lambda session: baseline_of(session, registration)))


def profile_registered(party: LocalParty, name: str, *, minimum_cell: int = MINIMUM_CELL) -> DatasetProfile:
    """Load a registered dataset and describe it.

    Raises:
        NotFound: It is not registered here.
        DatasetError: The file is gone or no longer fits its schema.
    """
    registration = party.read(lambda session: registered(session, name))
    data = load_dataset(Path(registration.source), registration.schema)
    facts = dataset_facts(data, registration.facts.schema_content)
    drift = compare(registration, facts, before=party.read(lambda session: baseline_of(session, registration)))
    return describe(data, changes=drift.sentences, minimum_cell=minimum_cell)


def describe(data: LocalData, *, changes: tuple[str, ...] = (), minimum_cell: int = MINIMUM_CELL) -> DatasetProfile:
    """Describe loaded rows.

    Raises:
        ValueError: The minimum cell is below `LEAST_CELL`.
    """
    if minimum_cell < LEAST_CELL:
        raise ValueError(f"a minimum cell of {minimum_cell} protects nobody; ask for {LEAST_CELL} or more")
    columns = [
        column
        for column in data.schema.columns
        if column.role in {ColumnRole.FEATURE, ColumnRole.TARGET} and column.name in data.frame
    ]
    rows = data.row_count
    return DatasetProfile(
        dataset=data.schema.dataset,
        rows=rows if rows >= minimum_cell else None,
        minimum_cell=minimum_cell,
        columns=tuple(_profile(data.frame[column.name], column, minimum_cell) for column in columns),
        changes=changes,
    )


def _words(column: ColumnProfile) -> str:
    missing = "" if column.missing == "none" else f", missing: {column.missing}"
    return f"{column.summary}{missing}"


def _profile(values: "pd.Series[float] | pd.Series[str]", column: Column, least: int) -> ColumnProfile:
    present = values.dropna()
    missing = len(values) - len(present)
    if column.type is ColumnType.NUMBER:
        hidden = hidden_cells({"present": len(present), _MISSING: missing}, least)
        summary = _numbers(np.asarray(present, dtype=np.float64), column.unit or "", least)
    else:
        counts = _categories(present, column)
        hidden = hidden_cells({**counts, _MISSING: missing}, least)
        summary = ", ".join(f"{name}: {'hidden' if name in hidden else count}" for name, count in counts.items())
    shown = "hidden" if _MISSING in hidden else str(missing) if missing else "none"
    return ColumnProfile(name=column.name, type=column.type.value, missing=shown, summary=summary)


def _categories(present: "pd.Series[float] | pd.Series[str]", column: Column) -> dict[str, int]:
    if column.type is ColumnType.BOOLEAN:
        return {"yes": int((present == 1.0).sum()), "no": int((present == 0.0).sum())}
    # A category of that name would be taken for the missing values.
    return {f"“{name}”" if name == _MISSING else name: int((present == name).sum()) for name in column.categories}


def hidden_cells(counts: Mapping[str, int], least: int) -> frozenset[str]:
    """Which cells of a column must not be shown, where their sum is known.

    Empty cells are shown: that nobody is in them says nothing about a person who is in the data.
    """
    hidden = {name for name, count in counts.items() if 0 < count < least}
    if not hidden:
        return frozenset()
    others = sorted((count, name) for name, count in counts.items() if count >= least)
    while others and (len(hidden) < 2 or sum(counts[name] for name in hidden) < least):
        hidden.add(others.pop(0)[1])
    return frozenset(hidden)


def _numbers(present: NDArray[np.float64], unit: str, least: int) -> str:
    if len(present) < least:
        return f"fewer than {least} values"
    mean, spread = float(present.mean()), float(present.std(ddof=1))
    words = f"mean {mean:.3g}, standard deviation {spread:.2g} {unit}".rstrip()
    beyond = max(least, math.ceil(_TAIL * len(present)))
    if len(present) < 4 * beyond:
        return words
    ordered = np.sort(present)
    low, high = float(ordered[beyond]), float(ordered[-beyond - 1])
    step = 10.0 ** math.floor(math.log10(high - low)) / 10 if high > low else 0.0
    if not step:
        return words
    return f"{words}, middle {_rounded(low, step)} to {_rounded(high, step)}"


def _rounded(value: float, step: float) -> str:
    return f"{round(value / step) * step:.6g}"
