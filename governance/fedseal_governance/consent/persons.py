"""The node's own key for digests of pseudonyms: what stays of a person whose records are gone.

Rules kept here:

1. The key never leaves the node and is no part of its database. Without it a digest of a pseudonym cannot be found by
   trying likely pseudonyms; with it the node can still say "this person withdrew" and "this record was used".
2. A database remembers which key its digests were made with. Another key is refused, because withdrawals would no
   longer be recognised and an old file could revive them.

Digests are HMAC-SHA256 (RFC 2104). Pseudonyms are printable, so the other uses of the key begin with a NUL.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from fedseal_crypto import merkle
from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.digests import Digest
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.consent.tables import RecordKeyRow
from fedseal_governance.errors import TamperError

LEAF_BYTES = 32
KEY_BYTES = 32
_LEAST_KEY_BYTES = 16


class RecordKey:
    """A node's key for digests of its pseudonyms.

    Args:
        secret: at least 16 random bytes.

    Raises:
        ValueError: it is shorter.
    """

    def __init__(self, secret: SecretBytes) -> None:
        if len(secret.reveal()) < _LEAST_KEY_BYTES:
            raise ValueError(f"a record key needs {_LEAST_KEY_BYTES} random bytes, this one has {len(secret.reveal())}")
        self._secret = secret

    def reveal(self) -> bytes:
        """The key itself, for a migration that cannot import this class."""
        return self._secret.reveal()

    def leaf(self, pseudonym: str) -> bytes:
        """The digest by which a record is known when its pseudonym must not be kept; 32 bytes."""
        return hmac.digest(self._secret.reveal(), pseudonym.encode(), "sha256")

    def leaves(self, pseudonyms: Iterable[str]) -> tuple[bytes, ...]:
        """The different leaves of a set of records, sorted."""
        secret = self._secret.reveal()
        return tuple(sorted({hmac.digest(secret, pseudonym.encode(), "sha256") for pseudonym in pseudonyms}))

    def seal(self, content: Mapping[str, object]) -> Digest:
        """Digest of a consent's content, by which the paper form can be recognised after the content is gone."""
        return self._tagged(b"\0consent\0" + canonical_json(content))

    @property
    def fingerprint(self) -> Digest:
        """Tells keys apart without telling them."""
        return self._tagged(b"\0record-key")

    def _tagged(self, data: bytes) -> Digest:
        return Digest(hmac.digest(self._secret.reveal(), data, "sha256").hex())


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """The consents of one dataset at this node, with the key that its digests are made with."""

    dataset: str
    key: RecordKey


def root_of(leaves: Iterable[bytes]) -> Digest:
    """The Merkle root (RFC 9162) over leaves in the order in which they are given: the digest of a set of records."""
    return Digest(merkle.root(map(merkle.leaf_hash, leaves)).hex())


def require_key(session: Session, key: RecordKey, *, adopt: bool = False) -> None:
    """Refuse a key that the database's digests were not made with.

    Args:
        session: any session; one that writes if ``adopt``.
        key: the node's key.
        adopt: make it the database's key if there is none yet.

    Raises:
        TamperError: the database knows another key.
    """
    known = session.get(RecordKeyRow, 1)
    if known is None:
        if adopt:
            session.add(RecordKeyRow(id=1, fingerprint=key.fingerprint))
            session.flush()
        return
    if known.fingerprint != key.fingerprint:
        raise TamperError(
            "the node's record key (state/snapshot.salt in its folder) is not the one with which this database "
            "remembers withdrawals; restore the file from the backup that belongs to the database"
        )
