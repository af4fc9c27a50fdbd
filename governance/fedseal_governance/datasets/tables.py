"""Table of a node's registered datasets."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from fedseal_governance.columns import DIGEST_LENGTH, NAME_LENGTH, Base, UtcDateTime

_CURRENT = text("replaced_at IS NULL")


class BaselineRow(Base):
    """What a registration looked like, so that a later difference can be told in numbers; never leaves the node."""

    __tablename__ = "dataset_baselines"

    dataset: Mapped[int] = mapped_column(ForeignKey("datasets.id"), primary_key=True, autoincrement=False)
    rows: Mapped[bytes] = mapped_column(
        LargeBinary, comment="compressed: 8 bytes of the record id's digest, 8 of the row's"
    )
    columns: Mapped[str] = mapped_column(Text, comment="JSON: each column in words, with disclosure control")


class DatasetRow(Base):
    """One registration; registering again replaces it and keeps it for the record."""

    __tablename__ = "datasets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    schema_content: Mapped[bytes] = mapped_column(LargeBinary)
    schema_digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    row_count: Mapped[int] = mapped_column(BigInteger)
    content_digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    source: Mapped[str] = mapped_column(Text)
    registered_at: Mapped[datetime] = mapped_column(UtcDateTime())
    registered_by: Mapped[str] = mapped_column(String(NAME_LENGTH))
    replaced_at: Mapped[datetime | None] = mapped_column(UtcDateTime())

    __table_args__ = (
        Index(
            "ix_datasets_one_current",
            "name",
            unique=True,
            sqlite_where=_CURRENT,
            postgresql_where=_CURRENT,
        ),
    )
