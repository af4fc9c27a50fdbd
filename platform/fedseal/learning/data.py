"""A node's dataset in memory: a CSV file, and images beside it, checked cell by cell against the schema.

Rules this module keeps:
- What is loaded fits the schema completely; the first thing that does not is refused with file, line and
  column.
- A cell's content never appears in a message.
- "Not measured" (an empty cell, or one of the column's ``missing_values``) becomes NaN or None, nothing else
  does.

It leaves out consent (`fedseal.learning.split.job_data`) and registration (``fedseal_governance.datasets``).
"""

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedseal.learning.errors import DatasetError
from fedseal.learning.images import Images, images_file, load_images
from fedseal_governance.datasets import Column, ColumnRole, ColumnType, DatasetSchema

MAX_DATASET_BYTES = 1 << 30  # read whole into memory; some ten million clinical rows
TRUE_WORDS = frozenset({"true", "1", "yes"})
FALSE_WORDS = frozenset({"false", "0", "no"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalData:
    """Checked rows of one dataset; leaves the node only as sums.

    Attributes:
        schema: What the rows fit.
        frame: One column per feature and target, in the schema's order. Numbers are float64, booleans 0.0 or
            1.0, NaN where not measured; categories are str, None where not measured.
        record_ids: The record (patient pseudonym) of each row, unique.
        images: One array per image column, of shape (rows, *shape), uint8 or float32.
    """

    schema: DatasetSchema
    frame: pd.DataFrame
    record_ids: tuple[str, ...]
    images: Mapping[str, Images] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that rows, identifiers and images belong together."""
        if len(self.record_ids) != len(self.frame):
            raise ValueError(f"{len(self.record_ids)} record ids for {len(self.frame)} rows")
        for name, images in self.images.items():
            if len(images) != len(self.frame):
                raise ValueError(f"{len(images)} images in {name} for {len(self.frame)} rows")

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return len(self.record_ids)

    def restrict(self, record_ids: Collection[str]) -> "LocalData":
        """Only the rows of these records, in the same order."""
        wanted = frozenset(record_ids)
        return self.rows(np.array([record in wanted for record in self.record_ids], dtype=bool))

    def rows(self, chosen: NDArray[np.bool_]) -> "LocalData":
        """Only the rows where ``chosen``, of shape (row_count,), is true."""
        kept = tuple(record for record, keep in zip(self.record_ids, chosen, strict=True) if keep)
        return LocalData(
            schema=self.schema,
            frame=self.frame.loc[chosen].reset_index(drop=True),
            record_ids=kept,
            images={name: images[chosen] for name, images in self.images.items()},
        )

    def labels(self, target: Column) -> NDArray[np.float64]:
        """The class of each row, 0.0 to ``target.classes`` - 1; of two classes 1.0 is yes. Shape (row_count,)."""
        return class_labels(self.frame[target.name], target)


def class_labels(values: "pd.Series[float] | pd.Series[str]", target: Column) -> NDArray[np.float64]:
    """A target column as class numbers.

    A boolean is its own class; a category target with ``positive`` values is 1 for those and 0 for others, one
    without is the place of its value among the categories.
    """
    if target.type is ColumnType.BOOLEAN:
        return np.asarray(values, dtype=np.float64)
    if target.positive:
        return np.asarray(values.isin(list(target.positive)), dtype=np.float64)
    place = {category: float(index) for index, category in enumerate(target.categories)}
    return np.asarray(values.map(place), dtype=np.float64)


def load_dataset(path: Path, schema: DatasetSchema) -> LocalData:
    """Read and check a dataset's CSV file (UTF-8, comma, header line) and the images beside it, if it has any.

    Raises:
        DatasetError: A file is missing, empty, of another kind, or differs from the schema.
    """
    data = parse_dataset(_read_text(path), schema, source=path.name)
    return replace(data, images=load_images(path, schema, rows=data.row_count))


def dataset_files(path: Path, schema: DatasetSchema) -> tuple[Path, ...]:
    """Every file that `load_dataset` reads."""
    images = images_file(path, schema)
    return (path,) if images is None else (path, images)


def parse_dataset(text: str, schema: DatasetSchema, *, source: str) -> LocalData:
    """Check the text of a CSV file, without images; ``source`` names it in sentences.

    Raises:
        DatasetError: The text differs from the schema.
    """
    table = _read_table(text, source)
    _check_header(table.header, schema, source)
    record_ids = _record_ids(table, schema.record_id.name)
    used = {ColumnRole.FEATURE, ColumnRole.TARGET}
    kept = [column for column in _cells(schema) if column.role in used]
    frame = pd.DataFrame({column.name: _parse_column(table, column) for column in kept}, index=range(len(record_ids)))
    return LocalData(schema=schema, frame=frame, record_ids=record_ids)


def parse_values(frame: pd.DataFrame, columns: Sequence[Column], *, source: str) -> pd.DataFrame:
    """Check a data frame of raw cells (as `predict` receives it) against ``columns``.

    Raises:
        DatasetError: A column is missing or a cell does not fit.
    """
    absent = [column.name for column in columns if column.name not in frame.columns]
    if absent:
        raise DatasetError(source, f"the columns {', '.join(absent)} are missing; the model needs them.")
    cells = {column.name: [_as_cell(value) for value in frame[column.name]] for column in columns}
    table = _Table(source=source, header=list(cells), cells=cells, lines=range(1, len(frame) + 1))
    return pd.DataFrame({column.name: _parse_column(table, column) for column in columns}, index=range(len(frame)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    source: str
    header: list[str]
    cells: dict[str, list[str]]
    lines: Sequence[int]

    def error(self, row: int, column: str, fault: str) -> DatasetError:
        return DatasetError(self.source, fault, line=self.lines[row], column=column)


def _as_cell(value: object) -> str:
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) else str(value)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_DATASET_BYTES else None
    except OSError as error:
        raise DatasetError(str(path), f"cannot be read ({error.strerror}); check the path.") from None
    if data is None:
        raise DatasetError(path.name, f"is larger than {MAX_DATASET_BYTES} bytes; split the dataset.")
    if not data.strip():
        raise DatasetError(path.name, "is empty; a dataset has a header line and at least one row.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise DatasetError(path.name, "is not a UTF-8 text file; export the dataset as CSV.")
    return text


def _read_table(text: str, source: str) -> _Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DatasetError(source, f"has {len(row)} cells, the header has {len(header)}.", line=reader.line_num)
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DatasetError(source, f"is not valid CSV: {error}.", line=reader.line_num) from None
    if not rows:
        raise DatasetError(source, "has no rows below its header line.")
    columns: Iterable[tuple[str, ...]] = zip(*rows, strict=True)
    cells = {name: [cell.strip() for cell in column] for name, column in zip(header, columns, strict=True)}
    return _Table(source=source, header=header, cells=cells, lines=lines)


def _cells(schema: DatasetSchema) -> list[Column]:
    """The columns of the CSV file: all but images."""
    return [column for column in schema.columns if column.type is not ColumnType.IMAGE]


def _check_header(header: list[str], schema: DatasetSchema, source: str) -> None:
    expected = [column.name for column in _cells(schema)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DatasetError(source, f"has the column {', '.join(twice)} more than once.", line=1)
    missing = [name for name in expected if name not in header]
    extra = [name for name in header if name not in expected]
    if missing or extra:
        raise DatasetError(
            source,
            f"columns missing: {', '.join(missing) or 'none'}; "
            f"not in the schema: {', '.join(extra) or 'none'}; "
            "register the dataset again if its schema has changed.",
            line=1,
        )


def _record_ids(table: _Table, column: str) -> tuple[str, ...]:
    seen: set[str] = set()
    for row, record in enumerate(table.cells[column]):
        if not record:
            raise table.error(row, column, "has no record id; consent cannot be looked up without one.")
        if record in seen:
            raise table.error(row, column, "repeats a record id; each record has one row.")
        seen.add(record)
    return tuple(table.cells[column])


def _parse_column(table: _Table, column: Column) -> NDArray[np.float64] | NDArray[np.object_]:
    parser: dict[ColumnType, Callable[[_Table, Column], NDArray[np.float64] | NDArray[np.object_]]] = {
        ColumnType.NUMBER: _parse_numbers,
        ColumnType.BOOLEAN: _parse_booleans,
        ColumnType.CATEGORY: _parse_categories,
    }
    parsed = parser[column.type](table, column)
    if column.role is ColumnRole.TARGET:
        absent = np.flatnonzero(pd.isna(parsed))
        if absent.size:
            raise table.error(int(absent[0]), column.name, "has no target; remove the row or complete it.")
    return parsed


def _parse_numbers(table: _Table, column: Column) -> NDArray[np.float64]:
    cells = pd.Series(table.cells[column.name], dtype=object)
    empty = (cells == "").to_numpy()
    values = pd.to_numeric(cells.where(~empty, None), errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~empty & ~np.isfinite(values))
    if wrong.size:
        raise table.error(
            int(wrong[0]), column.name, "is not a number; leave the cell empty where nothing was measured."
        )
    stated = [float(value) for value in column.missing_values if not isinstance(value, str)]
    values = np.where(np.isin(values, stated), np.nan, values)
    if column.range is not None:
        low, high = column.range
        outside = np.flatnonzero((values < low) | (values > high))
        if outside.size:
            raise table.error(
                int(outside[0]),
                column.name,
                f"is outside the schema's range {low:g} to {high:g}; "
                "correct the cell or register a schema with a wider range.",
            )
    return values


def _parse_booleans(table: _Table, column: Column) -> NDArray[np.float64]:
    def parse(row: int, cell: str) -> float:
        word = cell.lower()
        if word in TRUE_WORDS or word == "1.0":
            return 1.0
        if word in FALSE_WORDS or word == "0.0":
            return 0.0
        if cell == "" or cell in column.missing_values:
            return float("nan")
        raise table.error(row, column.name, "is neither TRUE nor FALSE; leave the cell empty where it is not known.")

    return np.array([parse(row, cell) for row, cell in enumerate(table.cells[column.name])], dtype=np.float64)


def _parse_categories(table: _Table, column: Column) -> NDArray[np.object_]:
    known = frozenset(column.categories)
    parsed = np.empty(len(table.lines), dtype=object)
    for row, cell in enumerate(table.cells[column.name]):
        if cell in known:
            parsed[row] = cell
        elif cell != "" and cell not in column.missing_values:
            raise table.error(row, column.name, f"is none of the schema's categories ({', '.join(column.categories)}).")
    return parsed
