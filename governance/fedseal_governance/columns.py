"""Column types and the declarative base that every table of every party shares.

Rules kept here:

1. Times are aware and UTC on both databases; a naive time is refused before it is written.
2. States are stored as their plain words; a word this version does not know is an error when it is read,
   never a default.
3. Constraints have predictable names, so that migrations can address them on SQLite and PostgreSQL alike.
"""

from datetime import UTC, datetime
from enum import Enum
from typing import Any, Generic, TypeVar

from sqlalchemy import DateTime, Dialect, MetaData, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase

from fedseal_governance.errors import StorageError

E = TypeVar("E", bound=Enum)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

NAME_LENGTH = 128
"""Longest name of a party, dataset, job or method."""

DIGEST_LENGTH = 64
"""A SHA-256 digest in lower-case hexadecimal."""


class Base(DeclarativeBase):
    """Declarative base; one metadata holds the tables of all parties, each party uses a subset."""

    metadata = MetaData(naming_convention=NAMING)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant in UTC with microseconds; aware in Python, whatever the database keeps."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse naive times and normalise the rest to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            message = f"the time {value.isoformat()} has no time zone; pass an aware UTC time"
            raise ValueError(message)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give back an aware UTC time; SQLite keeps none, PostgreSQL answers in the session's zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Word(TypeDecorator[E], Generic[E]):
    """A column that stores an enumeration by its value.

    Args:
        kind: enumeration whose values are short strings.
    """

    impl = String(40)
    cache_ok = True

    def __init__(self, kind: type[E]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Store the member's value."""
        return None if value is None else str(self.kind(value).value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> E | None:  # noqa: ARG002
        """Read the member back.

        Raises:
            StorageError: the stored word is none of this version's; the row was edited or is newer.
        """
        if value is None:
            return None
        try:
            return self.kind(value)
        except ValueError:
            message = (
                f"the database holds {value!r} where a {self.kind.__name__} is expected; "
                "restore the row from a backup or use the fedseal version that wrote it"
            )
            raise StorageError(message) from None
