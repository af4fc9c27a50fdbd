"""Datasets that a node's operator has registered, and whether the data is still what was registered.

Registering pins schema, row count and content digest. The data itself, and how its digest is made, is the
platform's; here are only counts and digests. The row count stays in the node's own database and log.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal_crypto.digests import Digest, parse_digest, sha256_hex
from fedseal_governance.acts import Act
from fedseal_governance.datasets.schema import Column, DatasetSchema, load_schema
from fedseal_governance.datasets.tables import DatasetRow
from fedseal_governance.errors import NotFound, RefusedError, TamperError


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What a dataset is at one moment.

    Attributes:
        schema_content: exact bytes of its schema file.
        row_count: rows, at least 0.
        content_digest: SHA-256 over the data, as the platform computes it.
    """

    schema_content: bytes
    row_count: int
    content_digest: Digest

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
    act.note(
        "dataset.registered",
        f"dataset/{schema.dataset}",
        schema=row.schema_digest,
        rows=facts.row_count,
        content=facts.content_digest,
        replaces=None if earlier is None else earlier.content_digest,
    )
    return _registration(row)


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


def compare(registration: Registration, now: DatasetFacts, *, row_tolerance_percent: int = 0) -> tuple[str, ...]:
    """What changed since a dataset was registered, in sentences; nothing when it is as approved.

    Args:
        registration: what was approved.
        now: what the data is now; its schema may be new.
        row_tolerance_percent: by how much the number of rows may have changed, 0 to 100. With 0 the
            content must be the registered one to the byte; with more, the content may change within that
            number of rows.
    """
    before = registration.facts
    sentences = []
    if sha256_hex(now.schema_content) != registration.schema_digest:
        current = load_schema(now.schema_content, registration.name)
        sentences += _schema_changes(registration.schema, current)
    allowed = before.row_count * row_tolerance_percent / 100
    if abs(now.row_count - before.row_count) > allowed:
        sentences.append(
            f"the number of rows is {now.row_count} instead of {before.row_count}, a change beyond the "
            f"{row_tolerance_percent} % allowed"
        )
    elif row_tolerance_percent == 0 and now.content_digest != before.content_digest:
        sentences.append("cells have changed since the dataset was registered")
    return tuple(f"Dataset {registration.name}: {sentence}; register it again to approve." for sentence in sentences)


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
