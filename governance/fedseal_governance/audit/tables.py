"""Tables of a party's audit log and of what it has witnessed of other logs.

Rules kept here: entries and nodes are only ever inserted; `audit_head` has one row, which every append locks
and updates, so that two processes on one database make neither gap nor fork. Everything but the entries'
bytes, checkpoints and cosignatures can be computed again from them.
"""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Integer, LargeBinary, SmallInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fedseal_governance.database import Base, UtcDateTime

MAX_KEY_NAME = 255
"""Longest name of a key or log; the limit of `fedseal_crypto.notes`."""

# SQLite makes only a column of its type INTEGER the key by which rows are stored, which halves the writes.
_Sequence = BigInteger().with_variant(Integer, "sqlite")


class AuditEntry(Base):
    """One entry of this party's log."""

    __tablename__ = "audit_entries"

    seq: Mapped[int] = mapped_column(
        _Sequence, primary_key=True, autoincrement=False, comment="position in the log, from 0 without gaps"
    )
    leaf: Mapped[bytes] = mapped_column(LargeBinary(32), comment="SHA-256(0x00 || entry)")
    entry: Mapped[bytes] = mapped_column(LargeBinary, comment="the exact RFC 8785 bytes")


class AuditNode(Base):
    """The hash of a full subtree with 2^level leaves, level 1 and up; leaves are in `audit_entries`."""

    __tablename__ = "audit_nodes"
    __table_args__ = ({"sqlite_with_rowid": False},)

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, comment="height above the leaves")
    index: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, comment="covers the leaves from index * 2^level on"
    )
    hash: Mapped[bytes] = mapped_column(LargeBinary(32), comment="SHA-256(0x01 || left || right)")


class AuditHead(Base):
    """How long the log is: one row, locked by each append."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    origin: Mapped[str] = mapped_column(String(MAX_KEY_NAME), comment="whose log this database holds")
    size: Mapped[int] = mapped_column(BigInteger, comment="number of entries")
    last_time: Mapped[datetime | None] = mapped_column(
        UtcDateTime, comment="time of the last entry; none before the first"
    )


class AuditCheckpoint(Base):
    """A checkpoint that this party signed."""

    __tablename__ = "audit_checkpoints"

    size: Mapped[int] = mapped_column(_Sequence, primary_key=True, autoincrement=False, comment="entries it covers")
    note: Mapped[str] = mapped_column(Text, comment="the signed note without cosignatures")
    vkey: Mapped[str] = mapped_column(Text, comment="the key that signed it")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AuditCosignature(Base):
    """A witness's cosignature on one of our checkpoints."""

    __tablename__ = "audit_cosignatures"

    size: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False, comment="the checkpoint's size"
    )
    vkey: Mapped[str] = mapped_column(String(MAX_KEY_NAME + 60), primary_key=True, comment="the witness's verifier key")
    line: Mapped[str] = mapped_column(Text, comment="the signature line, with its newline")
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AuditSeen(Base):
    """As a witness: the largest checkpoint of another log that this party has cosigned."""

    __tablename__ = "audit_seen"

    origin: Mapped[str] = mapped_column(String(MAX_KEY_NAME), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    note: Mapped[str] = mapped_column(Text, comment="as it was offered, with the signatures it had")
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
