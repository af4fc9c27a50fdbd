"""Signed notes, log checkpoints and witness cosignatures.

Rules it keeps: the text of a note is only handed out after a known key's signature on it was verified; a
known key's wrong signature condemns the whole note; unknown keys are ignored, so that witnesses and key
rotation need no coordination. Parsing accepts one spelling of every number and every base64 text.
Reference: C2SP signed-note v1, tlog-checkpoint v1, tlog-cosignature v1 (Ed25519, types 0x01 and 0x04).
Left out: all other signature types; whether a checkpoint extends earlier ones (`fedseal_crypto.merkle`).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from fedseal_crypto.errors import MisuseError, PeerError
from fedseal_crypto.identity import (
    PUBLIC_KEY_SIZE,
    SIGNATURE_SIZE,
    FederationName,
    IdentityKey,
    PartyName,
    PublicIdentity,
    PublicKeyInvalid,
    SignatureInvalid,
)
from fedseal_crypto.merkle import HASH_SIZE, MAX_SIZE, Hash

MAX_NOTE = 64 * 1024
"""Bytes; a checkpoint with a hundred cosignatures has about 25 KiB."""

MAX_SIGNATURES = 128
"""Signature lines of one note; the specification asks for at least 16."""

MAX_KEY_NAME = 255
"""Characters of a key's name or a log's origin; ours have at most 135."""

_LINE_START = "\u2014 "  # em dash and space
_ID_SIZE = 4
_TIME_SIZE = 8
_MAX_TIME = (1 << 63) - 1  # tlog-cosignature: "It MUST NOT exceed 2^63 - 1"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_HEX_ID = re.compile(r"[0-9a-f]{8}")


class NoteInvalid(PeerError):
    """A note, verifier key or checkpoint is malformed."""


class NoteUnsigned(PeerError):
    """No known key has signed the note."""


class NoteKind(IntEnum):
    """The signature type identifier bytes that we use."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteVerifier:
    """A known key, which C2SP writes as a vkey.

    Attributes:
        name: The key's name: a log's origin, or a witness's own name.
        public: The Ed25519 key.
        kind: Whether it signs notes or cosigns checkpoints.
        key_id: `SHA-256(name || 0x0A || kind || key)[:4]`.

    Raises:
        NoteInvalid: The name is empty, too long, or holds a space, a plus or a control character.
    """

    name: str
    public: PublicIdentity
    kind: NoteKind = NoteKind.ED25519
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        _require_key_name(self.name)
        data = self.name.encode() + b"\n" + self._material()
        object.__setattr__(self, "key_id", hashlib.sha256(data).digest()[:_ID_SIZE])

    @property
    def vkey(self) -> str:
        """`<name>+<key id in hex>+<base64(kind || key)>`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(self._material())}"

    @classmethod
    def from_vkey(cls, text: str) -> Self:
        """Read a vkey.

        Raises:
            NoteInvalid: It is malformed, of another type, or its key id is wrong.
        """
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        material = _unbase64(encoded, "a verifier key")
        if len(material) != 1 + PUBLIC_KEY_SIZE or material[0] not in tuple(NoteKind):
            raise NoteInvalid(f"the verifier key of {name[:80]!r} is of a type that is not used here.")
        try:
            public = PublicIdentity(material[1:])
        except PublicKeyInvalid as error:
            raise NoteInvalid(f"the verifier key of {name[:80]!r} is refused: {error}") from error
        verifier = cls(name=name, public=public, kind=NoteKind(material[0]))
        if _HEX_ID.fullmatch(key_id) is None or bytes.fromhex(key_id) != verifier.key_id:
            raise NoteInvalid(f"the verifier key of {name[:80]!r} has a wrong key id; copy it again.")
        return verifier

    def verify(self, text: str, signature: bytes) -> int | None:
        """Check a signature (without its key id) on a note's text.

        Returns:
            The cosignature's POSIX time in seconds; None for a plain signature.

        Raises:
            SignatureInvalid: It is not this key's signature on this text.
        """
        if self.kind is NoteKind.ED25519:
            self.public.verify(signature, text.encode())
            return None
        timestamp = int.from_bytes(signature[:_TIME_SIZE])
        if len(signature) != _TIME_SIZE + SIGNATURE_SIZE or timestamp > _MAX_TIME:
            raise SignatureInvalid(f"the cosignature of {self.name} has a wrong length or time.")
        self.public.verify(signature[_TIME_SIZE:], _cosigned_message(text, timestamp))
        return timestamp

    def _material(self) -> bytes:
        return bytes([self.kind]) + self.public.raw


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSigner:
    """A key that signs notes or cosigns checkpoints under a name.

    Attributes:
        name: For a log its origin; see `log_origin`.
        key: The private key; it shows itself as redacted.
        kind: Whether it signs notes or cosigns checkpoints.
    """

    name: str
    key: IdentityKey
    kind: NoteKind = NoteKind.ED25519

    def __post_init__(self) -> None:
        _require_key_name(self.name)

    @property
    def verifier(self) -> NoteVerifier:
        """The public half."""
        return NoteVerifier(name=self.name, public=self.key.public, kind=self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log's size and root at some moment.

    Attributes:
        origin: The log's name.
        size: Leaves, 0 to 2^48.
        root: The RFC 9162 root of that many leaves.
        extensions: Opaque lines that other logs may add; ours have none.

    Raises:
        NoteInvalid: A field cannot be written in a checkpoint.
    """

    origin: str
    size: int
    root: Hash
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lines = (self.origin, *self.extensions)
        if any(not line or len(line) > MAX_KEY_NAME or _has_control(line) for line in lines):
            raise NoteInvalid(f"the lines of a checkpoint have 1 to {MAX_KEY_NAME} printable characters.")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_SIZE:
            raise NoteInvalid(
                f"a checkpoint of {self.size} leaves with a root of {len(self.root)} bytes is impossible."
            )

    @property
    def text(self) -> str:
        """The note's text: origin, size, root, each on a line."""
        return "\n".join((self.origin, str(self.size), _base64(self.root), *self.extensions)) + "\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a checkpoint's text; call it only on the text of an opened note.

        Raises:
            NoteInvalid: It is malformed.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or _NUMBER.fullmatch(lines[1]) is None:
            raise NoteInvalid("a checkpoint has a line each for origin, size and root, ending in a newline.")
        return cls(
            origin=lines[0],
            size=int(lines[1]),
            root=Hash(_unbase64(lines[2], "a checkpoint's root")),
            extensions=tuple(lines[3:]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSignature:
    """A known key's verified signature on a note.

    Attributes:
        timestamp: POSIX seconds at which a witness cosigned; None for a plain signature.
    """

    verifier: NoteVerifier
    timestamp: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedNote:
    """A note's text with the known keys that signed it, at least one."""

    text: str
    signatures: tuple[VerifiedSignature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCheckpoint:
    """A checkpoint that its log signed, with the known witnesses that cosigned it, maybe none."""

    checkpoint: Checkpoint
    cosignatures: tuple[VerifiedSignature, ...]


def log_origin(federation: FederationName, party: PartyName) -> str:
    """The origin of a party's audit log, and the name of its key."""
    return f"fedseal/{federation}/{party}"


def sign_note(text: str, signer: NoteSigner) -> str:
    """Sign `text` as a note of its own.

    Raises:
        MisuseError: `signer` cosigns instead of signing, or `text` cannot be a note's text.
    """
    if signer.kind is not NoteKind.ED25519:
        raise MisuseError(f"{signer.name} is a cosigner; sign notes with a key of the plain kind.")
    if not text.endswith("\n") or _has_control(text.replace("\n", "")):
        raise MisuseError("a note's text ends in a newline and holds no other control characters.")
    return text + "\n" + _line(signer.verifier, signer.key.sign(text.encode()))


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> str:
    """The checkpoint as a note signed by its log.

    Raises:
        MisuseError: The signer's name is not the origin.
    """
    if signer.name != checkpoint.origin:
        raise MisuseError(f"{signer.name} cannot sign a checkpoint of {checkpoint.origin}.")
    return sign_note(checkpoint.text, signer)


def cosign(note: str, signer: NoteSigner, timestamp: int) -> str:
    """A witness's signature line for a checkpoint; called only after consistency was checked.

    Args:
        note: The signed checkpoint.
        signer: A key of the cosigning kind.
        timestamp: POSIX seconds, 0 to 2^63 - 1.

    Returns:
        One line with its newline, for `attach`.

    Raises:
        NoteInvalid: `note` is not a note with a checkpoint.
        MisuseError: `signer` is of the plain kind, or the time is out of range.
    """
    if signer.kind is not NoteKind.COSIGNATURE or not 0 <= timestamp <= _MAX_TIME:
        raise MisuseError(f"{signer.name} cannot cosign at {timestamp}; use a cosigning key and POSIX seconds.")
    text, _ = _split(note)
    Checkpoint.parse(text)
    signature = signer.key.sign(_cosigned_message(text, timestamp))
    return _line(signer.verifier, timestamp.to_bytes(_TIME_SIZE) + signature)


def attach(note: str, line: str) -> str:
    """The note with one more signature line, which is not verified here.

    Raises:
        NoteInvalid: Note or line is malformed, or the note becomes too long.
    """
    extended = note + line
    _split(extended)
    _parse_line(line.removesuffix("\n"))
    return extended


def open_note(note: str, verifiers: Iterable[NoteVerifier]) -> OpenedNote:
    """Verify a note with known keys and hand out its text.

    Args:
        note: The whole note.
        verifiers: The keys the caller trusts; signatures of others are ignored.

    Raises:
        NoteInvalid: The note is malformed.
        SignatureInvalid: A known key's signature is wrong.
        NoteUnsigned: No known key has signed it.
    """
    text, lines = _split(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    found: dict[tuple[str, bytes], VerifiedSignature] = {}
    for line in lines:
        name, key_id, signature = _parse_line(line)
        verifier = known.get((name, key_id))
        if verifier is not None:
            timestamp = verifier.verify(text, signature)
            found.setdefault((name, key_id), VerifiedSignature(verifier=verifier, timestamp=timestamp))
    if not found:
        raise NoteUnsigned("the note is signed by none of the known keys; check whose keys you were given.")
    return OpenedNote(text=text, signatures=tuple(found.values()))


def open_checkpoint(note: str, log: NoteVerifier, witnesses: Iterable[NoteVerifier] = ()) -> OpenedCheckpoint:
    """Verify that `log` signed a checkpoint of its own, and which known witnesses cosigned it.

    Raises:
        NoteInvalid: The note is no checkpoint, or of another log.
        SignatureInvalid: A known key's signature is wrong.
        NoteUnsigned: The log has not signed it.
    """
    opened = open_note(note, (log, *witnesses))
    if all(signature.verifier != log for signature in opened.signatures):
        raise NoteUnsigned(f"the checkpoint is not signed by its log {log.name}; fetch it from there.")
    checkpoint = Checkpoint.parse(opened.text)
    if checkpoint.origin != log.name:
        raise NoteInvalid(f"the checkpoint is of the log {checkpoint.origin}, not of {log.name}.")
    cosignatures = tuple(item for item in opened.signatures if item.verifier.kind is NoteKind.COSIGNATURE)
    return OpenedCheckpoint(checkpoint=checkpoint, cosignatures=cosignatures)


def _split(note: str) -> tuple[str, Sequence[str]]:
    if len(note.encode("utf-8", "replace")) > MAX_NOTE or _has_control(note.replace("\n", "")):
        raise NoteInvalid(f"a note has at most {MAX_NOTE} bytes and no control characters but newlines.")
    # "the text is separated from the signatures by the last empty line in the note"
    head, separator, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if not separator or lines.pop() or not 0 < len(lines) <= MAX_SIGNATURES:
        raise NoteInvalid(f"a note is a text, an empty line, and 1 to {MAX_SIGNATURES} signature lines.")
    return head + "\n", lines


def _parse_line(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_LINE_START).partition(" ")
    if not line.startswith(_LINE_START):
        raise NoteInvalid("a signature line begins with an em dash and a space.")
    _require_key_name(name)
    data = _unbase64(encoded, "a note's signature")
    if len(data) <= _ID_SIZE:
        raise NoteInvalid(f"the signature of {name[:80]} is too short.")
    return name, data[:_ID_SIZE], data[_ID_SIZE:]


def _line(verifier: NoteVerifier, signature: bytes) -> str:
    return f"{_LINE_START}{verifier.name} {_base64(verifier.key_id + signature)}\n"


def _cosigned_message(text: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _require_key_name(name: str) -> None:
    spaced = any(letter.isspace() or letter == "+" for letter in name)
    if not 0 < len(name) <= MAX_KEY_NAME or spaced or _has_control(name):
        raise NoteInvalid(
            f"{name[:80]!r} is not a key name; use 1 to {MAX_KEY_NAME} characters without spaces or plus."
        )


def _has_control(text: str) -> bool:
    # Lone surrogates cannot be written in UTF-8 either.
    return any(letter < " " or "\ud800" <= letter <= "\udfff" for letter in text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unbase64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteInvalid(f"{what} is not base64; copy it again.") from error
    if _base64(data) != text:
        raise NoteInvalid(f"{what} is not in the only base64 spelling of its bytes; copy it again.")
    return data
