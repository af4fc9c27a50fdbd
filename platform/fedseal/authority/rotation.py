"""A rotation request: an enrolled party asks for certificates of new keys, with its present key as proof.

The request is a signed document (DSSE) over a small JSON text. Rules this module keeps: it is size-limited and strict;
it holds no private key and no secret, so it may be carried by hand; what the new certificates say comes from the
authority's records, never from the request.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from fedseal.authority.errors import RequestRefused
from fedseal.authority.exchange import RequestPem
from fedseal.authority.invitations import parse_document
from fedseal_crypto.certificates import EnrolmentRequest, Member, Revocations, TrustRoot
from fedseal_crypto.dsse import SignedDocument, sign_document, signers
from fedseal_crypto.errors import PeerError
from fedseal_crypto.identity import IdentityKey, PartyKind

ROTATION_TYPE = "application/vnd.fedseal.rotation+json"
MAX_ROTATION_BYTES = 64 * 1024  # two requests and one certificate of about 1 KiB each


class Rotation(BaseModel):
    """What a party asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedseal-rotation-request/1"] = "fedseal-rotation-request/1"
    federation: Annotated[str, Field(min_length=1, max_length=64)]
    kind: PartyKind
    name: Annotated[str, Field(min_length=1, max_length=64)]
    tls_request: RequestPem
    identity_request: RequestPem
    asked: AwareDatetime  # the party's clock, for people who read the file

    @property
    def signing_requests(self) -> EnrolmentRequest:
        """The two PKCS #10 requests."""
        return EnrolmentRequest(tls_csr_pem=self.tls_request.encode(), identity_csr_pem=self.identity_request.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRotation:
    """A request whose signature was verified."""

    rotation: Rotation
    signer: Member


def is_rotation(data: bytes) -> bool:
    """Whether a request file is a signed document, which an enrolment request never is; says nothing of its worth."""
    try:
        SignedDocument.from_json(data, max_bytes=MAX_ROTATION_BYTES)
    except PeerError:
        return False
    return True


def sign_rotation(rotation: Rotation, *, key: IdentityKey, certificate_pem: bytes) -> bytes:
    """The request as it travels."""
    payload = rotation.model_dump_json(indent=2).encode()
    return sign_document(ROTATION_TYPE, payload, key=key, certificate_pem=certificate_pem).to_json()


def read_rotation(
    data: bytes, *, root: TrustRoot, revocations: Revocations, now: datetime, filename: str = "the request"
) -> SignedRotation:
    """Verify a request and read it.

    Raises:
        InvitationUnreadable: It is not a rotation request.
        RequestRefused: It is not signed by exactly the party it is about.
        CryptoError: The signature, or the certificate that goes with it, does not hold now.
    """
    document = SignedDocument.from_json(data, max_bytes=MAX_ROTATION_BYTES)
    signed_by = signers(document, root, payload_type=ROTATION_TYPE, now=now, revocations=revocations)
    rotation = parse_document(document.payload, Rotation, what="a rotation request", filename=filename)
    label = f"{rotation.kind.value}/{rotation.name}"
    if len(signed_by) != 1 or (signed_by[0].federation, signed_by[0].label) != (rotation.federation, label):
        raise RequestRefused(
            f"{filename} asks for new certificates of {label} and is not signed by that party alone; "
            "make it in that party's own folder."
        )
    return SignedRotation(rotation=rotation, signer=signed_by[0])
