"""Whose keys a checkpoint is checked with.

Rules kept here: the log's key is the plain key whose name is the checkpoint's origin; witnesses' keys are of
the cosigning kind. Keys that come with the evidence only prove that it fits together; keys that the reader
already knew (pinned) prove whose it is, and then no others count.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fedseal_crypto.errors import PeerError
from fedseal_crypto.notes import NoteKind, NoteVerifier, OpenedCheckpoint, open_checkpoint
from fedseal_governance.audit.errors import CheckpointWrong

MAX_KEYS = 128
"""Keys beside one checkpoint; as many as signatures on one note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCheckpoint:
    """A verified checkpoint with the key that signed it.

    Attributes:
        pinned: Whether the key was one that the reader already knew.
    """

    opened: OpenedCheckpoint
    log_key: NoteVerifier
    pinned: bool


def check_checkpoint(note: str, vkeys: Iterable[str], pinned: Iterable[NoteVerifier] | None) -> CheckedCheckpoint:
    """Verify a checkpoint with the keys beside it, or with pinned ones.

    Args:
        note: The signed checkpoint.
        vkeys: The keys that came with it.
        pinned: The only keys the reader trusts; None to take those that came with it.

    Raises:
        CheckpointWrong: A key is malformed or not trusted, or a signature is wrong.
    """
    try:
        known = [NoteVerifier.from_vkey(text) for text in vkeys]
        if len(known) > MAX_KEYS:
            raise CheckpointWrong(f"there are {len(known)} keys; the limit is {MAX_KEYS}.")
        log_key = _log_key(note, known)
        witnesses = [key for key in known if key.kind is NoteKind.COSIGNATURE]
        if pinned is not None:
            trusted = frozenset(pinned)
            _require_pinned(log_key, trusted)
            witnesses = [key for key in trusted if key.kind is NoteKind.COSIGNATURE]
        opened = open_checkpoint(note, log_key, witnesses)
    except PeerError as error:
        raise CheckpointWrong(f"the checkpoint does not verify: {error}") from error
    return CheckedCheckpoint(opened=opened, log_key=log_key, pinned=pinned is not None)


def _log_key(note: str, known: Iterable[NoteVerifier]) -> NoteVerifier:
    origin = note.partition("\n")[0]
    keys = [key for key in known if key.kind is NoteKind.ED25519 and key.name == origin]
    if len(keys) != 1:
        raise CheckpointWrong(f"the keys hold {len(keys)} keys of the log {origin[:80]!r}; exactly one is needed.")
    return keys[0]


def _require_pinned(log_key: NoteVerifier, trusted: frozenset[NoteVerifier]) -> None:
    if log_key not in trusted:
        raise CheckpointWrong(
            f"the key {log_key.vkey} of the log is not among the keys you trust; "
            "ask the federation's authority whose it is."
        )
