"""The signed messages of sums under a custodian's key, and their one byte form.

Every message names the attempt by its first context, and the key by its digest, so that nothing of one round,
attempt, roster or key can be used in another. Lists are sorted strictly by member, every length is checked
against a limit before anything is taken, and nothing follows the last field.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar, final

from fedseal_crypto.encoding import VectorSpec
from fedseal_crypto.encoding._layout import MAXIMUM_LENGTH, MAXIMUM_VECTORS
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import NameInvalid, parse_party_name
from fedseal_crypto.masking import ClientId, RoundParameters
from fedseal_crypto.masking._codec import Reader, Writer
from fedseal_crypto.masking._errors import MessageMalformed
from fedseal_crypto.masking._labels import field
from fedseal_crypto.secret import SecretBytes

DIGEST_SIZE = 32
SIGNATURE_SIZE = 64
PAD_SIZE = 32
NAME_SIZE = 63
MASKED_INSIDE = bytes(DIGEST_SIZE)
"""Stands for the list of commitments where masks inside the ciphertext make one needless."""
NOTHING_BESIDE = bytes(DIGEST_SIZE)
"""Stands for a second ciphertext where numbers about single vectors are not asked for."""

PROTOCOL = b"fedseal/custody/v1/"
_MAGIC = b"FSC"
_VERSION = 1
_PARAMETER_BYTES = 4 << 20
_MASKING_BYTES = 1 << 12
_SPEC_NAME = 128

T = TypeVar("T")


def label(usage: bytes, *parts: bytes) -> bytes:
    """Protocol and usage, then each part with its length: injective in (usage, parts)."""
    return field(PROTOCOL + usage) + b"".join([field(part) for part in parts])


def beside_digest(asked: bytes, ciphertext: bytes) -> bytes:
    """32 bytes that stand for a second ciphertext and for the numbers that its sender agreed to have opened of it.

    Args:
        asked: The numbers, in the byte form that every party computes.
        ciphertext: SHA-256 of the second ciphertext.
    """
    return hashlib.sha256(label(b"beside", asked, ciphertext)).digest()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """Step advertise, member to coordinator: which ciphertext this member will send, before anybody sends one.

    Attributes:
        client: The sender.
        context0: First context of the attempt, 32 bytes.
        key: Digest of the public key, 32 bytes.
        digest: SHA-256 of the ciphertext's bytes.
        beside: `beside_digest` of a second ciphertext for numbers about the vector, or `NOTHING_BESIDE`.
        signature: Ed25519 over all of the above.
    """

    client: ClientId
    context0: bytes
    key: bytes
    digest: bytes
    beside: bytes = NOTHING_BESIDE
    signature: bytes

    def signed(self) -> bytes:
        """What the signature covers."""
        return label(b"commitment", self.context0, self.client.encode(), self.key, self.digest, self.beside)

    def encode(self) -> bytes:
        """The one byte form, which `decode` reads."""
        return _encoded(1, lambda out: _write_commitment(out, self))

    @classmethod
    def decode(cls, data: bytes) -> "Commitment":
        """Read what `encode` wrote.

        Raises:
            MessageMalformed: The bytes are not exactly one commitment.
        """
        return _decoded(data, 1, "a commitment", _read_commitment)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentList:
    """Coordinator to member and to custodian: everybody's commitments, sorted by member."""

    context0: bytes
    commitments: tuple[Commitment, ...]

    def digest(self) -> bytes:
        """32 bytes that stand for the list."""
        return hashlib.sha256(label(b"commitments", self.encode())).digest()

    def encode(self) -> bytes:
        """The one byte form, which `decode` reads."""
        return _encoded(2, lambda out: _write_list(out, self))

    @classmethod
    def decode(cls, data: bytes, *, members: int) -> "CommitmentList":
        """Read what `encode` wrote.

        Raises:
            MessageMalformed: The bytes are not exactly one list of at most `members` commitments.
        """
        return _decoded(data, 2, "a list of commitments", lambda source: _read_list(source, members))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SealedInput:
    """Step mask, member to coordinator: the statement that goes with a ciphertext.

    Attributes:
        client: The sender.
        context0: First context of the attempt.
        key: Digest of the public key.
        commitments: Digest of the list of commitments that the sender saw, or `MASKED_INSIDE`.
        digest: SHA-256 of the ciphertext's bytes.
        signature: Ed25519 over all of the above.
    """

    client: ClientId
    context0: bytes
    key: bytes
    commitments: bytes
    digest: bytes
    signature: bytes

    def signed(self) -> bytes:
        """What the signature covers."""
        return label(b"input", self.context0, self.client.encode(), self.key, self.commitments, self.digest)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What travels in front of a ciphertext.

    Attributes:
        sealed: The signed statement.
        pad: The pad's key, which the coordinator takes out of the sum; empty where masks are inside.
        masking: Header of the masked vector inside, encoded; empty where there is none.
    """

    sealed: SealedInput
    pad: SecretBytes
    masking: bytes

    def encode(self) -> bytes:
        """The one byte form, which `decode` reads."""
        return _encoded(3, lambda out: _write_parcel(out, self))

    @classmethod
    def decode(cls, data: bytes) -> "Parcel":
        """Read what `encode` wrote.

        Raises:
            MessageMalformed: The bytes are not exactly one parcel.
        """
        return _decoded(data, 3, "what goes before a ciphertext", _read_parcel)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SumRequest:
    """Coordinator to custodian: open the sum of these ciphertexts.

    Attributes:
        parameters: The attempt.
        commitments: The list that the members saw; None where masks are inside.
        inputs: The statement of every member in the sum, sorted by member.
        specs: The vectors inside, from which the layout that the members signed is computed again.
        sum_digest: SHA-256 of the sum that the coordinator made; the custodian's own must be the same.
    """

    parameters: RoundParameters
    commitments: CommitmentList | None
    inputs: tuple[SealedInput, ...]
    specs: tuple[VectorSpec, ...]
    sum_digest: bytes

    def digest(self) -> bytes:
        """32 bytes that stand for the request; the same request has the same answer."""
        return hashlib.sha256(self.encode()).digest()

    def encode(self) -> bytes:
        """The one byte form, which `decode` reads."""
        return _encoded(4, lambda out: _write_request(out, self))

    @classmethod
    def decode(cls, data: bytes, *, members: int) -> "SumRequest":
        """Read what `encode` wrote.

        Raises:
            MessageMalformed: The bytes are not exactly one request for at most `members` ciphertexts.
        """
        return _decoded(data, 4, "a request to open a sum", lambda source: _read_request(source, members))


def _encoded(kind: int, write: Callable[[Writer], None]) -> bytes:
    out = Writer()
    out.fixed(_MAGIC)
    out.uint(_VERSION, 1)
    out.uint(kind, 1)
    write(out)
    return out.finish()


def _decoded(data: bytes, kind: int, what: str, read: Callable[[Reader], T]) -> T:
    source = Reader(data, what)
    if source.fixed(len(_MAGIC), "the magic") != _MAGIC:
        raise source.malformed("it does not begin with the protocol's mark")
    if source.uint(1, "the version", most=255) != _VERSION:
        raise source.malformed(f"its version is not {_VERSION}; use the same software on all sides")
    if source.uint(1, "the kind", most=255) != kind:
        raise source.malformed("it is another kind of message")
    message = read(source)
    source.finish()
    return message


def _write_commitment(out: Writer, message: Commitment) -> None:
    out.text(message.client)
    for part in (message.context0, message.key, message.digest, message.beside, message.signature):
        out.fixed(part)


def _read_commitment(source: Reader) -> Commitment:
    client = _client(source)
    names = ("the context", "the key", "the digest", "the second digest")
    context0, key, digest, beside = (source.fixed(DIGEST_SIZE, name) for name in names)
    signature = source.fixed(SIGNATURE_SIZE, "the signature")
    return Commitment(client=client, context0=context0, key=key, digest=digest, beside=beside, signature=signature)


def _write_list(out: Writer, message: CommitmentList) -> None:
    out.fixed(message.context0)
    out.uint(len(message.commitments), 2)
    for item in message.commitments:
        _write_commitment(out, item)


def _read_list(source: Reader, members: int) -> CommitmentList:
    context0 = source.fixed(DIGEST_SIZE, "the context")
    count = source.uint(2, "the number of commitments", most=members)
    commitments = tuple(_read_commitment(source) for _ in range(count))
    _require_sorted(source, (item.client for item in commitments))
    return CommitmentList(context0=context0, commitments=commitments)


def _write_sealed(out: Writer, message: SealedInput) -> None:
    out.text(message.client)
    for part in (message.context0, message.key, message.commitments, message.digest, message.signature):
        out.fixed(part)


def _read_sealed(source: Reader) -> SealedInput:
    client = _client(source)
    names = ("the context", "the key", "the commitments", "the digest")
    context0, key, commitments, digest = (source.fixed(DIGEST_SIZE, name) for name in names)
    signature = source.fixed(SIGNATURE_SIZE, "the signature")
    return SealedInput(
        client=client, context0=context0, key=key, commitments=commitments, digest=digest, signature=signature
    )


def _write_parcel(out: Writer, message: Parcel) -> None:
    _write_sealed(out, message.sealed)
    out.sized(message.pad.reveal())
    out.sized(message.masking)


def _read_parcel(source: Reader) -> Parcel:
    sealed = _read_sealed(source)
    pad = source.sized("the pad", most=PAD_SIZE)
    masking = source.sized("the masked vector's header", most=_MASKING_BYTES)
    if len(pad) not in (0, PAD_SIZE) or bool(pad) == bool(masking):
        raise source.malformed("it must have either a whole pad or the header of a masked vector")
    return Parcel(sealed=sealed, pad=SecretBytes(pad), masking=masking)


def _write_request(out: Writer, message: SumRequest) -> None:
    parameters = message.parameters.encode()
    out.uint(len(parameters), 4)
    out.fixed(parameters)
    out.uint(int(message.commitments is not None), 1)
    if message.commitments is not None:
        _write_list(out, message.commitments)
    out.uint(len(message.inputs), 2)
    for item in message.inputs:
        _write_sealed(out, item)
    out.uint(len(message.specs), 2)
    for spec in message.specs:
        out.text(spec.name)
        out.uint(spec.length, 8)
        out.fixed(struct.pack(">dd", spec.bound, spec.resolution))
        out.uint(int(spec.signed), 1)
    out.fixed(message.sum_digest)


def _read_request(source: Reader, members: int) -> SumRequest:
    size = source.uint(4, "the length of the parameters", most=_PARAMETER_BYTES)
    parameters = RoundParameters.decode(source.fixed(size, "the parameters"))
    commitments = _read_list(source, members) if source.uint(1, "the presence of commitments", most=1) else None
    inputs = tuple(_read_sealed(source) for _ in range(source.uint(2, "the number of inputs", most=members)))
    _require_sorted(source, (item.client for item in inputs))
    specs = tuple(_read_spec(source) for _ in range(source.uint(2, "the number of vectors", most=MAXIMUM_VECTORS)))
    return SumRequest(
        parameters=parameters,
        commitments=commitments,
        inputs=inputs,
        specs=specs,
        sum_digest=source.fixed(DIGEST_SIZE, "the digest of the sum"),
    )


def _read_spec(source: Reader) -> VectorSpec:
    name = source.text("a vector's name", most=_SPEC_NAME)
    length = source.uint(8, "a vector's length", most=MAXIMUM_LENGTH)
    bound, resolution = struct.unpack(">dd", source.fixed(16, "a vector's bound and resolution"))
    is_signed = bool(source.uint(1, "whether a vector has negative values", most=1))
    try:
        return VectorSpec(name=name, length=length, bound=bound, resolution=resolution, signed=is_signed)
    except CryptoError as error:
        raise source.malformed(str(error)) from error


def _client(source: Reader) -> ClientId:
    try:
        return ClientId(parse_party_name(source.text("a member's name", most=NAME_SIZE)))
    except NameInvalid as error:
        raise source.malformed(str(error)) from error


def _require_sorted(source: Reader, clients: Iterable[ClientId]) -> None:
    # Strictly increasing, so no member appears twice and the byte form is unique.
    if any(before >= after for before, after in pairwise(clients)):
        raise source.malformed("members are not sorted, or one appears twice")


def holds_parcel(data: bytes) -> bool:
    """Whether bytes begin as a `Parcel` does; they may still be malformed."""
    return data[:5] == _MAGIC + bytes((_VERSION, 3))


__all__ = [
    "DIGEST_SIZE",
    "MASKED_INSIDE",
    "NOTHING_BESIDE",
    "PAD_SIZE",
    "Commitment",
    "CommitmentList",
    "MessageMalformed",
    "Parcel",
    "SealedInput",
    "SumRequest",
    "beside_digest",
    "holds_parcel",
    "label",
]
