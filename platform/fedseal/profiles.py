"""A registered dataset described column by column, with disclosure control.

Rules this module keeps: no count below ``MINIMUM_CELL`` is shown, and neither is its complement (with the
total, it would give the small count away); numbers are described by mean and spread, never by their extremes,
which belong to single persons. The description is for people at the node; it is not sent anywhere.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedseal.learning import LocalData, content_digest, load_dataset
from fedseal.local import LocalParty
from fedseal_governance.datasets import (
    Column,
    ColumnRole,
    ColumnType,
    DatasetFacts,
    compare,
    registered,
)

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
    """A dataset in words; ``changes`` says what is no longer as it was registered."""

    dataset: str
    rows: int
    columns: tuple[ColumnProfile, ...]
    changes: tuple[str, ...]


def profile_registered(party: LocalParty, name: str) -> DatasetProfile:
    """Load a registered dataset and describe it.

    Raises:
        NotFound: It is not registered here.
        DatasetError: The file is gone or no longer fits its schema.
    """
    registration = party.read(lambda session: registered(session, name))
    data = load_dataset(Path(registration.source), registration.schema)
    facts = DatasetFacts(
        schema_content=registration.facts.schema_content,
        row_count=data.row_count,
        content_digest=content_digest(data),
    )
    return describe(data, changes=compare(registration, facts))


def describe(data: LocalData, *, changes: tuple[str, ...] = ()) -> DatasetProfile:
    """Describe loaded rows."""
    columns = [
        column
        for column in data.schema.columns
        if column.role in {ColumnRole.FEATURE, ColumnRole.TARGET} and column.name in data.frame
    ]
    return DatasetProfile(
        dataset=data.schema.dataset,
        rows=data.row_count,
        columns=tuple(_profile(data.frame[column.name], column) for column in columns),
        changes=changes,
    )


def _profile(values: "pd.Series[float] | pd.Series[str]", column: Column) -> ColumnProfile:
    present = values.dropna()
    missing = len(values) - len(present)
    if column.type is ColumnType.NUMBER:
        summary = _numbers(np.asarray(present, dtype=np.float64), column.unit or "")
    elif column.type is ColumnType.BOOLEAN:
        summary = _counts({"yes": int((present == 1.0).sum()), "no": int((present == 0.0).sum())}, missing)
    else:
        summary = _counts({name: int((present == name).sum()) for name in column.categories}, missing)
    return ColumnProfile(
        name=column.name,
        type=column.type.value,
        missing=_shown(missing, total=len(values)),
        summary=summary,
    )


def _numbers(present: NDArray[np.float64], unit: str) -> str:
    if len(present) < MINIMUM_CELL:
        return f"fewer than {MINIMUM_CELL} values"
    mean, spread = float(present.mean()), float(present.std(ddof=1))
    return f"mean {mean:.4g}, standard deviation {spread:.3g} {unit}".rstrip()


def _counts(counts: dict[str, int], missing: int) -> str:
    """Counts of categories; if exactly one cell is small, the next smallest is hidden too.

    Missing values are a cell like the others: together they make the known number of rows.
    """
    small = {name for name, count in counts.items() if 0 < count < MINIMUM_CELL}
    small_cells = len(small) + (0 < missing < MINIMUM_CELL)
    if small_cells == 1:
        others = sorted((count, name) for name, count in counts.items() if count >= MINIMUM_CELL)
        small.update(name for _, name in others[:1])
    shown = [f"{name}: {'hidden' if name in small else count}" for name, count in counts.items()]
    return ", ".join(shown)


def _shown(count: int, *, total: int) -> str:
    if count == 0:
        return "none"
    if count < MINIMUM_CELL or total - count < MINIMUM_CELL:
        return f"fewer than {MINIMUM_CELL}" if count < MINIMUM_CELL else "nearly all"
    return str(count)
