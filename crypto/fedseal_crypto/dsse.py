"""Signed documents: DSSE envelopes, and envelopes that carry their signers' certificates.

Rules it keeps: what is signed is the type and the exact bytes of the payload (PAE), never a re-encoding; a
signature that names a known key and fails is an error, not a shrug; an envelope is read strictly and within
limits. A `SignedDocument` can be checked years later with the root certificate, a revocation list and the
time at which it was logged: verification time is an argument.
Reference: DSSE 1.0.0, protocol.md and envelope.md. Beyond it: a failing signature of a known key is refused
where the specification would skip it. Left out: what the payload says.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from fedseal_crypto.canonical import canonical_json, parse_strict
from fedseal_crypto.certificates import Member, Revocations, TrustRoot
from fedseal_crypto.digests import Digest
from fedseal_crypto.errors import MisuseError, PeerError
from fedseal_crypto.identity import IdentityKey, PublicIdentity, SignatureInvalid

MAX_ENVELOPE = 8 * 1024 * 1024
"""Bytes of JSON; a job record of a long job has under 1 MiB."""

MAX_SIGNATURES = 64
"""Signers of one document; approvals need a handful."""

MAX_PAYLOAD_TYPE = 256
"""Characters; media types have under 100."""

_MAX_SIGNATURE = 1024  # bytes; Ed25519 has 64, and other parties may use larger kinds
_MAX_KEY_ID = 256  # characters; ours have 64


class EnvelopeInvalid(PeerError):
    """An envelope or signed document is malformed."""


class SignerInvalid(PeerError):
    """A signed document's signatures and certificates do not fit together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature with the hint by which its key is found.

    Attributes:
        keyid: SHA-256 of the Ed25519 key in hexadecimal, or empty; not authenticated.
        sig: The raw signature.
    """

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with signatures over its type and bytes.

    Attributes:
        payload_type: A media type that tells encoding and meaning.
        payload: The exact bytes that were signed.
        signatures: At least one in what `from_json` accepts.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.payload_type) <= MAX_PAYLOAD_TYPE or not self.payload_type.isprintable():
            raise EnvelopeInvalid(
                f"the payload type {self.payload_type[:80]!r} is not 1 to {MAX_PAYLOAD_TYPE} printable characters."
            )
        if len(self.signatures) > MAX_SIGNATURES:
            raise EnvelopeInvalid(f"the envelope has {len(self.signatures)} signatures; the limit is {MAX_SIGNATURES}.")

    def to_json(self) -> bytes:
        """The DSSE JSON form, canonical."""
        return canonical_json(_envelope_fields(self))

    @staticmethod
    def from_json(data: bytes, *, max_bytes: int = MAX_ENVELOPE) -> "Envelope":
        """Read the DSSE JSON form; unknown fields are ignored as the specification demands.

        Raises:
            JsonInvalid: Not strict JSON, or too long.
            EnvelopeInvalid: A field is missing or malformed.
        """
        return _envelope(parse_strict(data, max_bytes=max_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDocument:
    """An envelope with the identity certificate of each signer, in the order of the signatures.

    Attributes:
        certificates: PEM, exactly one for each signature.
    """

    envelope: Envelope
    certificates: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.certificates) != len(self.envelope.signatures):
            raise SignerInvalid(
                f"the document has {len(self.envelope.signatures)} signatures and {len(self.certificates)} "
                "certificates; attach exactly one certificate to each signature."
            )

    @property
    def payload(self) -> bytes:
        """The exact bytes that were signed."""
        return self.envelope.payload

    def countersigned(self, key: IdentityKey, certificate_pem: bytes) -> Self:
        """The same document with one more signature."""
        return replace(
            self,
            envelope=add_signature(self.envelope, key),
            certificates=(*self.certificates, certificate_pem),
        )

    def to_json(self) -> bytes:
        """`{"certificates": [PEM, ...], "envelope": {...}}`, canonical."""
        return canonical_json(
            {
                "certificates": [pem.decode("ascii") for pem in self.certificates],
                "envelope": _envelope_fields(self.envelope),
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, max_bytes: int = MAX_ENVELOPE) -> Self:
        """Read what `to_json` wrote; unknown fields are refused.

        Raises:
            JsonInvalid: Not strict JSON, or too long.
            EnvelopeInvalid: A field is missing, malformed or unknown.
            SignerInvalid: Signatures and certificates differ in number.
        """
        fields = _object(parse_strict(data, max_bytes=max_bytes), "the signed document")
        certificates = fields.get("certificates")
        if set(fields) != {"certificates", "envelope"} or not isinstance(certificates, list):
            raise EnvelopeInvalid("a signed document has exactly the fields certificates and envelope.")
        return cls(
            envelope=_envelope(fields["envelope"]),
            certificates=tuple(_pem(item) for item in certificates),
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are really signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, key: IdentityKey) -> Envelope:
    """Put `payload` into an envelope with one signature.

    Raises:
        EnvelopeInvalid: `payload_type` is empty, too long or not printable.
    """
    return add_signature(Envelope(payload_type=payload_type, payload=payload, signatures=()), key)


def add_signature(envelope: Envelope, key: IdentityKey) -> Envelope:
    """The same envelope with one more signature.

    Raises:
        MisuseError: This key has signed it already.
    """
    key_id = key.public.key_id
    if any(item.keyid == key_id for item in envelope.signatures):
        raise MisuseError(f"the key {key_id[:16]}… has already signed this envelope; nothing to add.")
    signature = Signature(keyid=key_id, sig=key.sign(pae(envelope.payload_type, envelope.payload)))
    return replace(envelope, signatures=(*envelope.signatures, signature))


def verify(envelope: Envelope, keys: Mapping[Digest, PublicIdentity]) -> frozenset[Digest]:
    """Check an envelope against trusted keys.

    Signatures of unknown keys are ignored; one without a key id is tried with every key. The caller decides
    whether enough of the keys have signed, and whether it supports the payload type.

    Args:
        envelope: The envelope.
        keys: Trusted keys by their key id.

    Returns:
        The ids of the keys whose signatures verified; never empty.

    Raises:
        SignatureInvalid: A known key's signature is wrong, or no trusted key has signed.
    """
    message = pae(envelope.payload_type, envelope.payload)
    accepted: set[Digest] = set()
    for item in envelope.signatures:
        if item.keyid:
            key = keys.get(Digest(item.keyid))
            if key is not None:
                key.verify(item.sig, message)
                accepted.add(key.key_id)
        else:
            accepted.update(key.key_id for key in keys.values() if _matches(key, item.sig, message))
    if not accepted:
        raise SignatureInvalid("none of the trusted keys has signed this envelope; ask its sender who did.")
    return frozenset(accepted)


def sign_document(payload_type: str, payload: bytes, *, key: IdentityKey, certificate_pem: bytes) -> SignedDocument:
    """Sign `payload` and attach the signer's identity certificate."""
    return SignedDocument(envelope=sign(payload_type, payload, key), certificates=(certificate_pem,))


def signers(
    document: SignedDocument,
    trust_root: TrustRoot,
    *,
    payload_type: str,
    now: datetime,
    revocations: Revocations,
) -> tuple[Member, ...]:
    """Who signed a document, all of them verified.

    Args:
        document: The document.
        trust_root: The federation's pinned root.
        payload_type: The only type the caller will parse: a signed job is not a signed policy.
        now: The time at which the signatures must have been good: the present for a fresh document, the time
            of its log entry for an old one.
        revocations: A list that may answer for `now`.

    Returns:
        The signers in the order of their signatures, at least one.

    Raises:
        EnvelopeInvalid: The document is of another type.
        CertificateError: A certificate is refused.
        SignerInvalid: There is no signature, a certificate is not of the key that signed, or one party signed
            twice.
        SignatureInvalid: A signature is wrong.
    """
    if document.envelope.payload_type != payload_type:
        raise EnvelopeInvalid(
            f"the document is of type {document.envelope.payload_type!r} where {payload_type!r} is wanted."
        )
    message = pae(payload_type, document.envelope.payload)
    found: list[Member] = []
    for item, pem in zip(document.envelope.signatures, document.certificates, strict=True):
        member = trust_root.verify_identity(pem, now=now, revocations=revocations)
        if item.keyid != member.public.key_id:
            raise SignerInvalid(f"the certificate of {member.label} is not of the key that signed beside it.")
        if any(member.label == other.label for other in found):
            raise SignerInvalid(f"{member.label} signed this document twice; one signature counts once.")
        member.public.verify(item.sig, message)
        found.append(member)
    if not found:
        raise SignerInvalid("the document carries no signature; have it signed first.")
    return tuple(found)


def _matches(key: PublicIdentity, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except SignatureInvalid:
        return False
    return True


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _envelope_fields(envelope: Envelope) -> dict[str, object]:
    signatures = [{"keyid": item.keyid, "sig": _base64(item.sig)} for item in envelope.signatures]
    return {
        "payload": _base64(envelope.payload),
        "payloadType": envelope.payload_type,
        "signatures": signatures,
    }


def _envelope(value: object) -> Envelope:
    fields = _object(value, "the envelope")
    signatures = fields.get("signatures")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= MAX_SIGNATURES:
        raise EnvelopeInvalid(f"an envelope needs a list of 1 to {MAX_SIGNATURES} signatures.")
    return Envelope(
        payload_type=_text(fields, "payloadType", MAX_PAYLOAD_TYPE),
        payload=_bytes(fields, "payload", MAX_ENVELOPE),
        signatures=tuple(_signature(item) for item in signatures),
    )


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise EnvelopeInvalid(f"{what} is not a JSON object.")
    return value


def _signature(value: object) -> Signature:
    fields = _object(value, "a signature")
    keyid = fields.get("keyid", "")
    if not isinstance(keyid, str) or len(keyid) > _MAX_KEY_ID:
        raise EnvelopeInvalid(f"a signature's keyid is not text of at most {_MAX_KEY_ID} characters.")
    return Signature(keyid=keyid, sig=_bytes(fields, "sig", _MAX_SIGNATURE))


def _text(fields: dict[str, object], name: str, limit: int) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > limit:
        raise EnvelopeInvalid(f"the field {name} is missing or not text of at most {limit} characters.")
    return value


def _bytes(fields: dict[str, object], name: str, limit: int) -> bytes:
    text = _text(fields, name, limit * 2)
    try:
        # "Either standard or URL-safe base64 encodings are allowed ... verifiers MUST accept either."
        data = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnvelopeInvalid(f"the field {name} is not base64: {error}") from error
    if len(data) > limit:
        raise EnvelopeInvalid(f"the field {name} has {len(data)} bytes; the limit is {limit}.")
    return data


def _pem(value: object) -> bytes:
    if not isinstance(value, str) or not value.isascii():
        raise EnvelopeInvalid("an attached certificate is not PEM text.")
    return value.encode("ascii")
