"""Verifying an exported bundle: offline, with public keys only, naming the first entry that is wrong.

What must hold, in this order:

    (1) the bundle has its files, and each is within its limits
    (2) the checkpoint is signed by the log's key; the cosignatures of known witnesses are right
    (3) the list of leaf hashes has the checkpoint's size and root
    (4) each entry has its leaf hash; none is missing, added or moved
    (5) each entry is canonical, has its sequence number and log, and does not run back in time
    (6) each document has the digest that is its name, and an entry names it

Without the list of leaf hashes, or when it is itself wrong, (4) is replaced by comparing the entries' root
with the checkpoint's; then a wrong entry can only be named if it breaks (5).
Left to the caller: whose keys they are. Without pinned keys the result says only that the bundle fits
together.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import IO

from fedseal_crypto import merkle
from fedseal_crypto.digests import Digest
from fedseal_crypto.merkle import Hash, leaf_hash
from fedseal_crypto.notes import Checkpoint, NoteVerifier, VerifiedSignature
from fedseal_governance.audit import _bundle_format as form
from fedseal_governance.audit._bundle_reader import BundleReader, opened_bundle
from fedseal_governance.audit._keys import CheckedCheckpoint, check_checkpoint
from fedseal_governance.audit.entries import MAX_ENTRY, REMOVED, Entry, follows
from fedseal_governance.audit.errors import (
    BundleMalformed,
    DocumentWrong,
    EntryWrong,
    LeavesWrong,
)

_DIGEST = re.compile(rb"[0-9a-f]{64}")
_LEAF_LINE = re.compile(rb"[0-9a-f]{64}\n")
_CHUNK = 1024 * 1024  # bytes of a document read at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedDocument:
    """A document whose deletion the log records; its digest remains.

    Attributes:
        subject: `document/<digest>`.
        kind: What it was, such as `model`.
        actor: Who deleted it.
        reason: Under which rule.
        entry: The entry that says so.
    """

    subject: str
    kind: str
    time: datetime
    actor: str
    reason: str
    entry: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A bundle that verified.

    Attributes:
        origin: Whose log it is.
        size: Entries.
        root: The tree's root, which the checkpoint commits to.
        log_key: The key that signed; compare it with one known from elsewhere unless `pinned`.
        pinned: Whether the caller had passed the keys it trusts.
        cosignatures: Of known witnesses.
        first_time: Of the first entry; None for an empty log.
        last_time: Of the last entry.
        documents: Digests of the documents in the bundle.
        unknown_files: Files that are not part of the format and that nothing is said about.
        removed: Documents that were deleted since, as the log says.
    """

    origin: str
    size: int
    root: Hash
    log_key: NoteVerifier
    pinned: bool
    cosignatures: tuple[VerifiedSignature, ...]
    first_time: datetime | None
    last_time: datetime | None
    documents: tuple[Digest, ...]
    unknown_files: tuple[str, ...]
    removed: tuple[RemovedDocument, ...] = ()


def verify_bundle(path: Path, *, keys: Iterable[NoteVerifier] | None = None) -> Verified:
    """Check a bundle, a folder or a zip file, by the numbered list above.

    Args:
        path: The bundle.
        keys: The keys of logs and witnesses that the reader trusts; None to take those in the bundle.

    Raises:
        AuditError: It is wrong; the subclass says what, and `entry` names the first wrong entry.
    """
    with opened_bundle(path) as bundle:  # (1)
        note, vkeys = bundle.small_text(form.CHECKPOINT), bundle.small_text(form.KEYS)
        checked = check_checkpoint(note, _lines(vkeys), keys)  # (2)
        walk = _Walk(checked.opened.checkpoint, bundle.documents())
        if bundle.has(form.LEAVES) and _leaves_fit(bundle, walk.checkpoint):  # (3)
            _compare_entries(bundle, walk)
        else:
            _compare_roots(bundle, walk)
        _check_documents(bundle, walk)  # (6)
        return _verified(checked, walk, bundle)


class _Walk:
    """What is remembered from entry to entry."""

    def __init__(self, checkpoint: Checkpoint, documents: list[str]) -> None:
        self.checkpoint = checkpoint
        self.named_by: dict[str, int | None] = dict.fromkeys(documents)
        self.first_time: datetime | None = None
        self.last_time: datetime | None = None
        self.removed: list[RemovedDocument] = []

    def take(self, seq: int, data: bytes) -> None:
        """Steps (5) and the first half of (6) for one entry.

        Raises:
            EntryWrong: The entry is malformed or out of place.
        """
        try:
            entry = Entry.from_bytes(data)
            if entry.seq != seq or entry.log != self.checkpoint.origin:
                raise EntryWrong(f"it says it is entry {entry.seq} of {entry.log[:100]!r}")
            if not follows(entry, self.last_time):
                raise EntryWrong("its time is earlier than the entry before it")
        except EntryWrong as error:
            raise EntryWrong(f"entry {seq} of {self.checkpoint.origin} is wrong: {error}", entry=seq) from error
        self.last_time = entry.time
        self.first_time = self.first_time or entry.time
        if self.named_by:
            self._note_documents(seq, data)
        if entry.type == REMOVED:
            self.removed.append(
                RemovedDocument(
                    subject=entry.subject,
                    kind=str(entry.details.get("what", "")),
                    time=entry.time,
                    actor=entry.actor,
                    reason=str(entry.details.get("reason", "")),
                    entry=seq,
                )
            )

    def _note_documents(self, seq: int, data: bytes) -> None:
        for found in _DIGEST.findall(data):
            digest = found.decode("ascii")
            if digest in self.named_by and self.named_by[digest] is None:
                self.named_by[digest] = seq


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def _leaves(bundle: BundleReader) -> Iterator[Hash]:
    """The listed hashes; a line that is none gives an empty one, which fits no root."""
    with bundle.open(form.LEAVES) as stream:
        while line := stream.readline(form.MAX_LEAF_LINE):
            right = _LEAF_LINE.fullmatch(line) is not None
            yield Hash(bytes.fromhex(line[:-1].decode("ascii")) if right else b"")


def _leaves_fit(bundle: BundleReader, checkpoint: Checkpoint) -> bool:
    count = 0

    def counted() -> Iterator[Hash]:
        nonlocal count
        for leaf in _leaves(bundle):
            count += 1
            if count > checkpoint.size:
                return
            yield leaf

    return merkle.root(counted()) == checkpoint.root and count == checkpoint.size


def entry_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Each line without its newline; one that is too long or not ended is given so that it fits no hash."""
    while line := stream.readline(MAX_ENTRY + 1):
        yield line[:-1] if line.endswith(b"\n") else line + b"\x00"


def _compare_entries(bundle: BundleReader, walk: _Walk) -> None:
    """Step (4) with trusted leaf hashes, and (5)."""
    seq = 0
    try:
        with bundle.open(form.ENTRIES) as stream:
            pairs = zip_longest(entry_lines(stream), _leaves(bundle))
            for seq, (data, leaf) in enumerate(pairs):
                if data is None or leaf is None or leaf_hash(data) != leaf:
                    raise _displaced(seq, data, leaf, next(pairs, (None, None)), walk.checkpoint)
                walk.take(seq, data)
    except BundleMalformed as error:
        raise BundleMalformed(f"from entry {seq} on: {error}", entry=seq) from error


def _displaced(
    seq: int,
    data: bytes | None,
    leaf: Hash | None,
    following: tuple[bytes | None, Hash | None],
    checkpoint: Checkpoint,
) -> EntryWrong:
    """Say what probably happened at the first difference; the number alone is certain."""
    next_data, next_leaf = following
    removed = data is None or (next_leaf is not None and leaf_hash(data) == next_leaf)
    added = leaf is None or (next_data is not None and leaf_hash(next_data) == leaf)
    if removed and added:
        what = "has changed places with the next"
    elif removed:
        what = "is missing"
    elif added:
        what = "was added; the checkpoint does not know it"
    else:
        what = "was changed: its hash is not the one that the checkpoint commits to"
    return EntryWrong(f"entry {seq} of {checkpoint.origin} {what}.", entry=seq)


def _compare_roots(bundle: BundleReader, walk: _Walk) -> None:
    """Step (4) without trusted leaf hashes, and (5)."""
    malformed: list[EntryWrong] = []
    count = 0

    def hashed(stream: IO[bytes]) -> Iterator[Hash]:
        nonlocal count
        for data in entry_lines(stream):
            if count == walk.checkpoint.size:
                raise (
                    malformed[0]
                    if malformed
                    else EntryWrong(
                        f"entry {count} of {walk.checkpoint.origin} was added; the checkpoint does not know it.",
                        entry=count,
                    )
                )
            if not malformed:
                _collect(malformed, walk, count, data)
            count += 1
            yield leaf_hash(data)

    with bundle.open(form.ENTRIES) as stream:
        root = merkle.root(hashed(stream))
    if malformed:
        raise malformed[0]
    if count < walk.checkpoint.size:
        raise EntryWrong(f"entry {count} of {walk.checkpoint.origin} is missing.", entry=count)
    if root != walk.checkpoint.root:
        raise EntryWrong(
            f"the entries of {walk.checkpoint.origin} do not have the root that the checkpoint commits to; "
            "without right leaf hashes in the bundle the wrong entry cannot be named."
        )
    if bundle.has(form.LEAVES):
        raise LeavesWrong("the entries are right, but the file leaves is not theirs; export the bundle again.")


def _collect(malformed: list[EntryWrong], walk: _Walk, seq: int, data: bytes) -> None:
    try:
        walk.take(seq, data)
    except EntryWrong as error:
        malformed.append(error)


def _check_documents(bundle: BundleReader, walk: _Walk) -> None:
    for digest, seq in walk.named_by.items():
        if seq is None:
            raise DocumentWrong(f"no entry names the document {digest}; it does not belong to this bundle.")
        if _digest_of(bundle, digest) != digest:
            raise DocumentWrong(
                f"the document {digest}, which entry {seq} names, has other bytes than then.", entry=seq
            )


def _digest_of(bundle: BundleReader, digest: str) -> str:
    hasher, size = hashlib.sha256(), 0
    with bundle.open(form.DOCUMENTS + digest) as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > form.MAX_DOCUMENT:
                raise BundleMalformed(f"the document {digest} has more than {form.MAX_DOCUMENT} bytes.")
            hasher.update(chunk)
    return hasher.hexdigest()


def _verified(checked: CheckedCheckpoint, walk: _Walk, bundle: BundleReader) -> Verified:
    return Verified(
        origin=walk.checkpoint.origin,
        size=walk.checkpoint.size,
        root=walk.checkpoint.root,
        log_key=checked.log_key,
        pinned=checked.pinned,
        cosignatures=checked.opened.cosignatures,
        first_time=walk.first_time,
        last_time=walk.last_time,
        documents=tuple(Digest(digest) for digest in walk.named_by),
        unknown_files=bundle.unknown,
        removed=tuple(walk.removed),
    )
