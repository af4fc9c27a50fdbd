"""The tree's nodes in the database, behind the interface that `fedseal_crypto.merkle` asks for.

Rules kept here: leaves live beside their entries and inner nodes in their own table; what is put is written
together at the end of an append. A node that is missing or of the wrong length means that somebody changed
the tables by hand.
"""

from typing import final

from sqlalchemy import Connection, insert, select
from sqlalchemy.sql import bindparam

from fedseal_crypto.merkle import HASH_SIZE, Hash
from fedseal_governance.audit.errors import AuditError
from fedseal_governance.audit.tables import AuditEntry, AuditNode
from fedseal_governance.database import Base

_LEAF = select(AuditEntry.leaf).where(AuditEntry.seq == bindparam("seq"))
_NODE = select(AuditNode.hash).where(AuditNode.level == bindparam("level"), AuditNode.index == bindparam("index"))
_INSERT_NODES = insert(Base.metadata.tables[AuditNode.__tablename__])


@final
class SqlNodeStore:
    """A `NodeStore` on the connection of the caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._new: dict[tuple[int, int], Hash] = {}

    def get(self, level: int, index: int) -> Hash:
        """The hash of a full subtree.

        Raises:
            AuditError: The database lacks it or holds something else.
        """
        known = self._new.get((level, index))
        if known is not None:
            return known
        if level == 0:
            value = self._connection.execute(_LEAF, {"seq": index}).scalar()
        else:
            value = self._connection.execute(_NODE, {"level": level, "index": index}).scalar()
        if not isinstance(value, bytes) or len(value) != HASH_SIZE:
            first = index << level
            raise AuditError(
                f"the audit log's tables were changed by hand: the hash over the entries {first} to "
                f"{first + (1 << level) - 1} is missing; restore the database from a backup.",
                entry=first,
            )
        return Hash(value)

    def put(self, level: int, index: int, value: Hash) -> None:
        """Keep the hash of a subtree that has just become full."""
        self._new[level, index] = value

    def flush(self) -> None:
        """Write the inner nodes that were put; the leaves are written with their entries."""
        rows = [
            {"level": level, "index": index, "hash": value} for (level, index), value in self._new.items() if level > 0
        ]
        if rows:
            self._connection.execute(_INSERT_NODES, rows)
        self._new.clear()
