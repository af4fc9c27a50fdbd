"""Request and answer of an enrolment, the same whether they travel over gRPC or as files on a memory stick.

    request  token, digest of the invitation, two certificate signing requests, the applicant's clock
    answer   two certificates and the newest revocation list

Rules this module keeps: both are size-limited and strict; neither holds a private key; a request file is as
secret as its invitation until it was answered, because it carries the token.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from fedseal.authority.invitations import Hex64, parse_document
from fedseal_crypto.certificates import EnrolmentRequest
from fedseal_crypto.digests import Digest, sha256_hex

MAX_REQUEST_BYTES = 64 * 1024  # two requests of about 1 KiB each
MAX_ANSWER_BYTES = 4 * 1024 * 1024  # the revocation list is the large part

RequestPem = Annotated[str, Field(min_length=1, max_length=16 * 1024)]
RevocationsPem = Annotated[str, Field(min_length=1, max_length=MAX_ANSWER_BYTES)]


class Application(BaseModel):
    """What an invited party sends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedseal-enrolment-request/1"] = "fedseal-enrolment-request/1"
    token: Hex64
    invitation_digest: Hex64
    tls_request: RequestPem
    identity_request: RequestPem
    sent: AwareDatetime  # the applicant's clock

    @property
    def token_digest(self) -> Digest:
        """How the authority knows the token."""
        return sha256_hex(bytes.fromhex(self.token))

    @property
    def signing_requests(self) -> EnrolmentRequest:
        """The two PKCS #10 requests."""
        return EnrolmentRequest(tls_csr_pem=self.tls_request.encode(), identity_csr_pem=self.identity_request.encode())

    def resent(self, now: datetime) -> "Application":
        """The same application with the clock of another attempt."""
        return self.model_copy(update={"sent": now})

    def to_bytes(self) -> bytes:
        """The request file's content."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class Answer(BaseModel):
    """What the authority gives back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedseal-enrolment-answer/1"] = "fedseal-enrolment-answer/1"
    tls_certificate: RequestPem
    identity_certificate: RequestPem
    revocations: RevocationsPem

    def to_bytes(self) -> bytes:
        """The answer file's content."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def parse_application(data: bytes, *, filename: str) -> Application:
    """Read a request file.

    Raises:
        InvitationUnreadable: It is not one.
    """
    return parse_document(data, Application, what="an enrolment request", filename=filename)


def parse_answer(data: bytes, *, filename: str) -> Answer:
    """Read an answer file.

    Raises:
        InvitationUnreadable: It is not one.
    """
    return parse_document(data, Answer, what="the answer to an enrolment request", filename=filename)
