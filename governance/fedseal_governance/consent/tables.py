"""Tables of a node's consents. They never leave the node.

Pseudonyms stand only in consents that have not been withdrawn. What has been withdrawn is a tombstone: who it was and
what it said are digests under the node's own key, which is not in the database.
"""

from datetime import date, datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from fedseal_governance.columns import DIGEST_LENGTH, NAME_LENGTH, Base, UtcDateTime

PSEUDONYM_LENGTH = 128
PURPOSE_LENGTH = 40
FORM_LENGTH = 200

OPEN_ENDED = date(9999, 12, 31)
"""Stored for a consent without an end, because two NULLs are not equal in a unique constraint."""

# SQLite numbers rows by itself only in a column of its type INTEGER.
_Identifier = BigInteger().with_variant(Integer, "sqlite")


class ImportRow(Base):
    """A file from which consents came."""

    __tablename__ = "consent_imports"

    id: Mapped[int] = mapped_column(_Identifier, primary_key=True)
    dataset: Mapped[str] = mapped_column(String(NAME_LENGTH))
    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="SHA-256 of the file")
    form: Mapped[str] = mapped_column(String(10), comment="csv or fhir")
    imported_at: Mapped[datetime] = mapped_column(UtcDateTime())
    imported_by: Mapped[str] = mapped_column(String(NAME_LENGTH))

    __table_args__ = (UniqueConstraint("dataset", "digest", name="uq_consent_imports_file"),)


class ConsentRow(Base):
    """One consent that has not been withdrawn."""

    __tablename__ = "consents"

    id: Mapped[int] = mapped_column(_Identifier, primary_key=True)
    dataset: Mapped[str] = mapped_column(String(NAME_LENGTH))
    pseudonym: Mapped[str] = mapped_column(String(PSEUDONYM_LENGTH))
    purpose: Mapped[str] = mapped_column(String(PURPOSE_LENGTH))
    given_on: Mapped[date]
    valid_from: Mapped[date]
    valid_until: Mapped[date]
    form_version: Mapped[str] = mapped_column(String(FORM_LENGTH))
    recorded_by: Mapped[str] = mapped_column(String(NAME_LENGTH))
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime())
    source: Mapped[int | None] = mapped_column(
        _Identifier,
        ForeignKey("consent_imports.id", name="fk_consents_source"),
        comment="the file it came from, if any",
    )

    __table_args__ = (
        UniqueConstraint(
            "dataset",
            "pseudonym",
            "purpose",
            "given_on",
            "valid_from",
            "valid_until",
            "form_version",
            # The convention's name would be longer than PostgreSQL allows.
            name="uq_consents_once",
        ),
        # Holds all that `in_force` reads, so that a million consents are filtered without touching the table.
        Index("ix_consents_in_force", "dataset", "purpose", "valid_until", "valid_from", "pseudonym"),
    )


class TombstoneRow(Base):
    """A consent that was withdrawn: its content is gone, its digest stays."""

    __tablename__ = "consent_tombstones"

    id: Mapped[int] = mapped_column(_Identifier, primary_key=True)
    dataset: Mapped[str] = mapped_column(String(NAME_LENGTH))
    person: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="digest of the pseudonym under the node's key")
    purpose: Mapped[str] = mapped_column(String(PURPOSE_LENGTH))
    content: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="digest of the consent under the node's key")
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime())
    withdrawn_at: Mapped[datetime] = mapped_column(UtcDateTime())

    __table_args__ = (Index("ix_consent_tombstones_person", "dataset", "person"),)


class WithdrawalRow(Base):
    """From this moment on, consents that the person gave until `until` do not count."""

    __tablename__ = "consent_withdrawals"

    id: Mapped[int] = mapped_column(_Identifier, primary_key=True)
    dataset: Mapped[str] = mapped_column(String(NAME_LENGTH))
    person: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="digest of the pseudonym under the node's key")
    purpose: Mapped[str | None] = mapped_column(String(PURPOSE_LENGTH), comment="none: every purpose")
    until: Mapped[date] = mapped_column(comment="last day on which an ended consent can have been given")
    withdrawn_at: Mapped[datetime] = mapped_column(UtcDateTime())
    recorded_by: Mapped[str] = mapped_column(String(NAME_LENGTH))

    __table_args__ = (Index("ix_consent_withdrawals_person", "dataset", "person"),)


class RecordKeyRow(Base):
    """Which key the digests in this database were made with; one row."""

    __tablename__ = "record_keys"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    fingerprint: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
