"""Datasets that a node's operator has registered, and whether the data is still what was registered.

Registering pins schema, source, row count and content digest, and keeps what rows and columns looked like. The data
itself, and how its digests are made, is the platform's; here are only counts, digests and words. They stay in the
node's own database and log.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal_crypto.digests import Digest, parse_digest, sha256_hex
from fedseal_governance.acts import Act
from fedseal_governance.datasets.baseline import Baseline, RowChanges, row_changes
from fedseal_governance.datasets.schema import Column, DatasetSchema, load_schema
from fedseal_governance.datasets.tables import BaselineRow, DatasetRow
from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError, TamperError


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What a dataset is at one moment.

    Attributes:
        schema_content: exact bytes of its schema file.
        row_count: rows, at least 0.
        content_digest: SHA-256 over the data, as the platform computes it.
        baseline: what the rows and columns look like; None where that was not computed.
    """

    schema_content: bytes
    row_count: int
    content_digest: Digest
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        parse_digest(self.content_digest)
        if self.row_count < 0:
            raise ValueError(f"a dataset cannot have {self.row_count} rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registered dataset.

    Attributes:
        source: where the node finds the data, a path for the node's eyes only.
    """

    name: str
    schema: DatasetSchema
    facts: DatasetFacts
    schema_digest: Digest
    source: str
    registered_at: datetime
    registered_by: str


def register(act: Act, facts: DatasetFacts, *, filename: str, source: str) -> Registration:
    """Register a dataset under the name in its schema, replacing an earlier registration.

    Args:
        act: who registers it, and when.
        facts: what it is now.
        filename: name of the schema file, for messages.
        source: where the node finds the data.

    Raises:
        DocumentError: the schema file is wrong.
        RefusedError: there are no rows.
    """
    row, earlier = _replace(act, facts, filename=filename, source=source)
    act.note(
        "dataset.registered",
        f"dataset/{row.name}",
        schema=row.schema_digest,
        rows=facts.row_count,
        content=facts.content_digest,
        replaces=None if earlier is None else earlier.content_digest,
    )
    return _registration(row)


def approve(act: Act, name: str, facts: DatasetFacts) -> Registration:
    """Approve a registered dataset as it is now; schema and source stay.

    Args:
        act: who approves it, and when.
        name: the dataset.
        facts: what it is now, with its baseline.

    Raises:
        NotFound: it is not registered.
        AlreadyDone: it has not changed.
        RefusedError: there are no rows, or the schema is another one; that takes a new registration.
    """
    before = registered(act.session, name)
    if sha256_hex(facts.schema_content) != before.schema_digest:
        raise RefusedError(f"the schema of {name} is another one; register it again with `fedseal dataset register`")
    drift = compare(before, facts, before=baseline_of(act.session, before))
    if not drift.sentences:
        raise AlreadyDone(f"the dataset {name} is as it was approved; nothing was changed")
    row, _ = _replace(act, facts, filename=name, source=before.source)
    changes = drift.rows
    act.note(
        "dataset.approved",
        f"dataset/{name}",
        rows=facts.row_count,
        rows_added=None if changes is None else changes.added,
        rows_removed=None if changes is None else changes.removed,
        rows_edited=None if changes is None else changes.edited,
        content=facts.content_digest,
        replaces=before.facts.content_digest,
    )
    return _registration(row)


def _replace(act: Act, facts: DatasetFacts, *, filename: str, source: str) -> tuple[DatasetRow, DatasetRow | None]:
    schema = load_schema(facts.schema_content, filename)
    if facts.row_count == 0:
        raise RefusedError(f"the dataset {schema.dataset} has no rows; check `source` ({source})")
    earlier = _current_row(act.session, schema.dataset)
    if earlier is not None:
        earlier.replaced_at = act.now
        # Before the new row comes in: one current registration at every instant.
        act.session.flush()
    row = DatasetRow(
        name=schema.dataset,
        schema_content=facts.schema_content,
        schema_digest=sha256_hex(facts.schema_content),
        row_count=facts.row_count,
        content_digest=facts.content_digest,
        source=source,
        registered_at=act.now,
        registered_by=act.actor,
    )
    act.session.add(row)
    act.session.flush()
    if facts.baseline is not None:
        rows, columns = facts.baseline.packed()
        act.session.add(BaselineRow(dataset=row.id, rows=rows, columns=columns))
        act.session.flush()
    return row, earlier


def registered(session: Session, name: str) -> Registration:
    """The current registration of a dataset.

    Raises:
        NotFound: it was never registered here.
        TamperError: the stored schema was edited.
    """
    row = _current_row(session, name)
    if row is None:
        raise NotFound(f"the dataset {name} is not registered here; use `fedseal dataset register`")
    return _registration(row)


def list_registered(session: Session) -> tuple[Registration, ...]:
    """All current registrations by name."""
    query = select(DatasetRow).where(DatasetRow.replaced_at.is_(None)).order_by(DatasetRow.name)
    return tuple(_registration(row) for row in session.scalars(query))


def baseline_of(session: Session, registration: Registration) -> Baseline | None:
    """What a registration looked like; None for one of a version that did not keep it."""
    row = _current_row(session, registration.name)
    stored = None if row is None else session.get(BaselineRow, row.id)
    return None if stored is None else Baseline.unpacked(stored.rows, stored.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What changed since a dataset was approved.

    Attributes:
        sentences: each change; nothing when the dataset is as it was approved. For the node's own eyes.
        beyond: whether the changes are more than is tolerated, so that nothing may be contributed.
        rows: how many rows differ; None where that cannot be told.
    """

    sentences: tuple[str, ...] = ()
    beyond: bool = False
    rows: RowChanges | None = None


def compare(
    registration: Registration,
    now: DatasetFacts,
    *,
    before: Baseline | None = None,
    max_rows_changed_percent: float = 0,
) -> Drift:
    """What changed since a dataset was approved, and whether it is too much.

    Args:
        registration: what was approved.
        now: what the data is now; its schema may be new.
        before: what it looked like when it was approved; without it any change is too much.
        max_rows_changed_percent: most rows added, removed or edited, in percent of the approved number, 0 to 100.
    """
    facts, sentences = registration.facts, []
    schema_changed = sha256_hex(now.schema_content) != registration.schema_digest
    if schema_changed:
        current = load_schema(now.schema_content, registration.name)
        sentences += _schema_changes(registration.schema, current)
    if not schema_changed and now.content_digest == facts.content_digest:
        return Drift()
    changes = None if before is None or now.baseline is None else row_changes(before, now.baseline)
    tolerated = changes is not None and 0 < changes.total <= facts.row_count * max_rows_changed_percent / 100
    if changes is not None and changes.total:
        sentences.append(_rows_in_words(changes, facts.row_count, max_rows_changed_percent))
    elif now.row_count != facts.row_count:
        sentences.append(f"the number of rows is {now.row_count} instead of {facts.row_count}")
    elif now.content_digest != facts.content_digest:
        sentences.append("cells have changed since it was approved")
    if before is not None and now.baseline is not None:
        sentences += _columns_in_words(before, now.baseline)
    return Drift(
        sentences=tuple(f"Dataset {registration.name}: {sentence}." for sentence in sentences),
        beyond=schema_changed or not tolerated,
        rows=changes,
    )


def _rows_in_words(changes: RowChanges, approved: int, most: float) -> str:
    percent = 100 * changes.total / approved
    return (
        f"{changes.added} rows were added, {changes.removed} removed and {changes.edited} edited since it was "
        f"approved, {percent:.3g} % of {approved}; {most:g} % may be"
    )


def _columns_in_words(before: Baseline, now: Baseline) -> list[str]:
    return [
        f"the column {name} was: {words}; it is: {now.columns[name]}"
        for name, words in before.columns.items()
        if name in now.columns and now.columns[name] != words
    ]


def _current_row(session: Session, name: str) -> DatasetRow | None:
    return session.scalar(select(DatasetRow).where(DatasetRow.name == name, DatasetRow.replaced_at.is_(None)))


def _registration(row: DatasetRow) -> Registration:
    if sha256_hex(row.schema_content) != row.schema_digest:
        raise TamperError(f"the stored schema of dataset {row.name} was changed; register the dataset again")
    return Registration(
        name=row.name,
        schema=load_schema(row.schema_content, row.name),
        facts=DatasetFacts(
            schema_content=row.schema_content,
            row_count=row.row_count,
            content_digest=Digest(row.content_digest),
        ),
        schema_digest=Digest(row.schema_digest),
        source=row.source,
        registered_at=row.registered_at,
        registered_by=row.registered_by,
    )


def _schema_changes(before: DatasetSchema, now: DatasetSchema) -> list[str]:
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in now.columns}
    sentences = [f"the column {name} was added" for name in new if name not in old]
    sentences += [f"the column {name} was removed" for name in old if name not in new]
    for name, column in old.items():
        if name in new:
            sentences += _column_changes(column, new[name])
    if not sentences and [*old] != [*new]:
        sentences.append("the columns are in another order")
    return sentences or ["the text of its schema changed"]


def _column_changes(old: Column, new: Column) -> list[str]:
    sentences = []
    if old.type is not new.type:
        sentences.append(f"the column {old.name} is a {new.type.value} instead of a {old.type.value}")
    if old.role is not new.role:
        sentences.append(f"the column {old.name} has the role {new.role.value} instead of {old.role.value}")
    if old.type is new.type and old.range != new.range:
        sentences.append(f"the range of the column {old.name} is {new.range} instead of {old.range}")
    if old.shape != new.shape:
        sentences.append(f"the images of the column {old.name} have the shape {new.shape} instead of {old.shape}")
    if set(old.categories) != set(new.categories):
        sentences.append(f"the column {old.name} has other categories")
    elif (old.categories, old.positive, old.missing_values) != (
        new.categories,
        new.positive,
        new.missing_values,
    ):
        sentences.append(f"the values of the column {old.name} are coded differently")
    return sentences
