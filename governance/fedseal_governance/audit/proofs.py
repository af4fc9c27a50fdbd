"""Inclusion proofs as documents that can be checked alone.

The document is a JSON object in RFC 8785 form: `format` ("fedseal-audit-proof/1"), `seq`, `entry` (the exact
canonical text), `proof` (the RFC 9162 audit path, base64 each, from the leaf upwards), `checkpoint` (the
signed note) and `keys` (verifier keys). Rules kept here: the keys in the document only show that it fits
together; whoever relies on it passes the keys it knows.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from fedseal_crypto.canonical import JsonInvalid, canonical_json, parse_canonical
from fedseal_crypto.merkle import Hash, ProofInvalid, leaf_hash, verify_inclusion
from fedseal_crypto.notes import NoteVerifier
from fedseal_governance.audit._keys import CheckedCheckpoint, check_checkpoint
from fedseal_governance.audit.entries import Entry
from fedseal_governance.audit.errors import EntryWrong, ProofWrong

FORMAT = "fedseal-audit-proof/1"

MAX_PROOF = 256 * 1024
"""Bytes of a proof document: an entry, a checkpoint and under fifty hashes."""

_FIELDS = frozenset({"format", "seq", "entry", "proof", "checkpoint", "keys"})


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """That an entry is part of the log that a checkpoint commits to.

    Attributes:
        entry: The entry's canonical bytes.
        path: Sibling hashes from the leaf upwards.
        checkpoint: The signed note.
        keys: Verifier keys of the log and of the witnesses that cosigned.
    """

    seq: int
    entry: bytes
    path: tuple[Hash, ...]
    checkpoint: str
    keys: tuple[str, ...]

    def to_json(self) -> bytes:
        """The document."""
        return canonical_json(
            {
                "format": FORMAT,
                "seq": self.seq,
                "entry": self.entry.decode("utf-8"),
                "proof": [base64.b64encode(item).decode("ascii") for item in self.path],
                "checkpoint": self.checkpoint,
                "keys": list(self.keys),
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read the document; nothing is verified yet.

        Raises:
            ProofWrong: It is malformed.
        """
        try:
            fields = parse_canonical(data, max_bytes=MAX_PROOF)
        except JsonInvalid as error:
            raise ProofWrong(f"the proof cannot be read: {error}") from error
        if frozenset(fields) != _FIELDS or fields["format"] != FORMAT:
            raise ProofWrong(f"this is not a proof in the format {FORMAT}.")
        seq = fields["seq"]
        if not isinstance(seq, int) or isinstance(seq, bool):
            raise ProofWrong("the proof's seq is not an integer.")
        return cls(
            seq=seq,
            entry=_text(fields, "entry").encode(),
            path=tuple(Hash(_unbase64(item)) for item in _texts(fields, "proof")),
            checkpoint=_text(fields, "checkpoint"),
            keys=_texts(fields, "keys"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenEntry:
    """An entry whose inclusion was verified, with the checkpoint that commits to it."""

    entry: Entry
    checkpoint: CheckedCheckpoint


def verify_proof(document: bytes, *, keys: Iterable[NoteVerifier] | None = None) -> ProvenEntry:
    """Check an inclusion proof by itself: no database, network or private key.

    Args:
        document: What `InclusionProof.to_json` wrote.
        keys: The keys of logs and witnesses that the reader trusts; None to only check that the document fits
            together.

    Raises:
        ProofWrong: It is malformed, or does not lead from the entry to the checkpoint.
        CheckpointWrong: The checkpoint's signature or key.
    """
    proof = InclusionProof.from_json(document)
    checked = check_checkpoint(proof.checkpoint, proof.keys, keys)
    checkpoint = checked.opened.checkpoint
    try:
        verify_inclusion(
            leaf_hash(proof.entry),
            index=proof.seq,
            size=checkpoint.size,
            proof=proof.path,
            expected_root=checkpoint.root,
        )
        entry = Entry.from_bytes(proof.entry)
    except (ProofInvalid, EntryWrong) as error:
        raise ProofWrong(f"entry {proof.seq} is not proved: {error}", entry=proof.seq) from error
    if entry.seq != proof.seq or entry.log != checkpoint.origin:
        raise ProofWrong(f"entry {proof.seq} says it is entry {entry.seq} of {entry.log}.", entry=proof.seq)
    return ProvenEntry(entry=entry, checkpoint=checked)


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise ProofWrong(f"the proof's field {name} is not text.")
    return value


def _texts(fields: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = fields[name]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ProofWrong(f"the proof's field {name} is not a list of texts.")
    return tuple(value)


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProofWrong("a hash of the proof is not base64.") from error
