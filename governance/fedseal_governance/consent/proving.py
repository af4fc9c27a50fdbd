"""A proof that a record was in a set of records whose digest the log holds.

Whoever has the log needs nothing else to check it (RFC 9162, section 2.1.3.2). Which person the leaf belongs to only
the node's key can tell, so the proof names nobody.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from fedseal_crypto import merkle
from fedseal_crypto.digests import Digest
from fedseal_governance.consent.persons import Register, require_key
from fedseal_governance.errors import NotFound
from fedseal_governance.participation import AttemptRow
from fedseal_governance.runs import RoundKey
from fedseal_governance.snapshots import leaves_in


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordProof:
    """An inclusion proof.

    Attributes:
        leaf: the record's digest under the node's key, hexadecimal.
        index: its place among the sorted leaves, from 0.
        size: records in the set, as the log's entry counts them.
        snapshot: the set's digest, as the log's entry names it.
        path: hashes from the leaf to the root, hexadecimal.
    """

    leaf: str
    index: int
    size: int
    snapshot: Digest
    path: tuple[str, ...]


def prove(session: Session, register: Register, pseudonym: str, attempt: RoundKey) -> RecordProof:
    """Prove that a record entered an attempt of a round.

    Raises:
        NotFound: this node sent nothing in that attempt, or not this record.
        TamperError: the stored set was changed, or the key is not the database's.
    """
    require_key(session, register.key)
    row = session.get(AttemptRow, attempt.values)
    if row is None or row.snapshot is None:
        raise NotFound(f"{attempt}: this node contributed no records to it")
    leaf, leaves = register.key.leaf(pseudonym), leaves_in(session, row.snapshot)
    if leaf not in leaves:
        raise NotFound(f"{attempt}: the record was not among those that this node used")
    store = merkle.MemoryStore()
    tree = merkle.TreeAppender(store)
    for item in leaves:
        tree.append(merkle.leaf_hash(item))
    index = leaves.index(leaf)
    path = merkle.inclusion_proof(index, len(leaves), store)
    return RecordProof(
        leaf=leaf.hex(),
        index=index,
        size=len(leaves),
        snapshot=Digest(row.snapshot),
        path=tuple(step.hex() for step in path),
    )
