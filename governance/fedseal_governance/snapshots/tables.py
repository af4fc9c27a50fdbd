"""Tables of the sets of records that entered contributions; they never leave the node."""

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from fedseal_governance.columns import DIGEST_LENGTH, Base


class LeafBlockRow(Base):
    """A stretch of the list of all leaves that ever entered a contribution; a leaf keeps its place for ever."""

    __tablename__ = "record_leaves"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    leaves: Mapped[bytes] = mapped_column(LargeBinary, comment="32 bytes each; all blocks but the last are full")


class SnapshotRow(Base):
    """A set of records that entered a contribution; equal sets are kept once."""

    __tablename__ = "record_snapshots"

    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    members: Mapped[bytes] = mapped_column(LargeBinary, comment="compressed bits, one for each place in the list")
