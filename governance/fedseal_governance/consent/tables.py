"""Tables of a node's consents. They hold pseudonyms and never leave the node."""

from datetime import date, datetime

from sqlalchemy import BigInteger, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from fedseal_governance.columns import NAME_LENGTH, Base, UtcDateTime

PSEUDONYM_LENGTH = 128
PURPOSE_LENGTH = 40
FORM_LENGTH = 64

OPEN_ENDED = date(9999, 12, 31)
"""Stored for a consent without an end, because two NULLs are not equal in a unique constraint."""

# SQLite numbers rows by itself only in a column of its type INTEGER.
_Identifier = BigInteger().with_variant(Integer, "sqlite")


class ConsentRow(Base):
    """One consent as it was given; a withdrawal marks it and never deletes it."""

    __tablename__ = "consents"

    id: Mapped[int] = mapped_column(_Identifier, primary_key=True)
    dataset: Mapped[str] = mapped_column(String(NAME_LENGTH))
    pseudonym: Mapped[str] = mapped_column(String(PSEUDONYM_LENGTH))
    purpose: Mapped[str] = mapped_column(String(PURPOSE_LENGTH))
    given_on: Mapped[date]
    valid_until: Mapped[date]
    form_version: Mapped[str] = mapped_column(String(FORM_LENGTH))
    recorded_by: Mapped[str] = mapped_column(String(NAME_LENGTH))
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime())
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    repetition: Mapped[int] = mapped_column(default=0, comment="counts equal consents given again after a withdrawal")

    __table_args__ = (
        UniqueConstraint(
            "dataset",
            "pseudonym",
            "purpose",
            "given_on",
            "valid_until",
            "form_version",
            "repetition",
            # The convention's name would be longer than PostgreSQL allows.
            name="uq_consents_once",
        ),
        # Holds all that `in_force` reads, so that a million consents are filtered without touching the table.
        Index("ix_consents_in_force", "dataset", "purpose", "withdrawn_at", "valid_until", "given_on", "pseudonym"),
    )


class WithdrawalRow(Base):
    """A tombstone: from this moment on, earlier consents of this person do not count."""

    __tablename__ = "consent_withdrawals"

    id: Mapped[int] = mapped_column(_Identifier, primary_key=True)
    dataset: Mapped[str] = mapped_column(String(NAME_LENGTH))
    pseudonym: Mapped[str] = mapped_column(String(PSEUDONYM_LENGTH))
    purpose: Mapped[str | None] = mapped_column(String(PURPOSE_LENGTH), comment="none: every purpose")
    withdrawn_at: Mapped[datetime] = mapped_column(UtcDateTime())
    recorded_by: Mapped[str] = mapped_column(String(NAME_LENGTH))

    __table_args__ = (Index("ix_consent_withdrawals_person", "dataset", "pseudonym"),)
