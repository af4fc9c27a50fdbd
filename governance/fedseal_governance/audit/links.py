"""Cross-links: what one party's log says of the state of another's, so that neither can be rewritten alone.

A node that cosigns the coordinator's checkpoint writes an entry `witness.cosigned` into its own log in the same
transaction: with that checkpoint, and with a link, which is the state of its own log at that moment and a fresh salt.
It sends the link's commitment with the cosignature; the coordinator puts the newest commitments into its next entries
(`site_logs`). Later, both logs together show that each existed in that state when the other says so.

Rules kept here: the coordinator receives the commitment only. A root, and how long a log is, would let it try out what
a node's entries say: how many rows, when a consent was withdrawn. Without the salt, which stays in the node's log, a
commitment tells nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from sqlalchemy.orm import Session

from fedseal_crypto import merkle
from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.merkle import MAX_SIZE
from fedseal_governance.audit._store import SqlNodeStore
from fedseal_governance.audit.log import AuditLog

COSIGNED = "witness.cosigned"
"""The type of a witness's entry about a checkpoint that it cosigned."""

SALT_BYTES = 16
_HASH_DIGITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLink:
    """The state of a log at one moment, with a salt.

    Attributes:
        log: The log's origin.
        size: Entries.
        root: The root of their tree, 64 hexadecimal digits.
        salt: 32 hexadecimal digits.
    """

    log: str
    size: int
    root: str
    salt: str

    @property
    def commitment(self) -> Digest:
        """SHA-256 of the RFC 8785 form of `{"log", "root", "salt", "size"}`: what others may know."""
        return sha256_hex(canonical_json({"log": self.log, **self.to_details()}))

    def to_details(self) -> dict[str, object]:
        """For an entry of the same log, which names the log itself."""
        return {"size": self.size, "root": self.root, "salt": self.salt}

    @classmethod
    def from_details(cls, log: str, details: object) -> Self | None:
        """Read it back from an entry; None if there is none."""
        if not isinstance(details, Mapping):
            return None
        size, root, salt = details.get("size"), details.get("root"), details.get("salt")
        if not isinstance(size, int) or not 0 <= size <= MAX_SIZE or not isinstance(salt, str):
            return None
        if not isinstance(root, str) or len(root) != _HASH_DIGITS:
            return None
        return cls(log=log, size=size, root=root, salt=salt)


def link_now(session: Session, log: AuditLog, *, salt: bytes) -> LogLink:
    """The state of this party's own log in this transaction.

    Args:
        session: On the party's database.
        log: Its audit log.
        salt: `SALT_BYTES` fresh random bytes.
    """
    size = log.size(session)
    root = merkle.root_at(size, SqlNodeStore(session.connection()))
    return LogLink(log=log.origin, size=size, root=root.hex(), salt=salt.hex())
