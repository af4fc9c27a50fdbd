"""The file that an invited party receives: who it will be, a single-use token, and the root to pin.

Rules this module keeps:
- The file is secret until it is used: whoever holds it can enrol. It is written with mode 0600.
- Its digest covers every other field. The authority keeps the digest and compares it at enrolment, so a file
  that was altered on its way is refused even if its digest was recomputed.
- Nothing in it is believed by the authority: names and roles come from the authority's own records.

What it cannot do: prove to the invited person that the whole file is genuine. For that the root's fingerprint
is read out over another channel and compared (``fedseal node enrol`` shows it).
"""

from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from fedseal.authority.errors import InvitationAltered, InvitationUnreadable, TokenRefused
from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.certificates import TrustRoot
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.identity import PartyKind, Role, parse_federation_name

Model = TypeVar("Model", bound=BaseModel)

TOKEN_BYTES = 32
MAX_INVITATION_BYTES = 64 * 1024  # names, a root certificate and a token need under 4 KiB

Line = Annotated[str, Field(min_length=1, max_length=300)]
Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Pem = Annotated[str, Field(min_length=1, max_length=16 * 1024)]


class Invitation(BaseModel):
    """An invitation as the file holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedseal-invitation/1"] = "fedseal-invitation/1"
    federation: Line
    kind: PartyKind
    name: Line
    organisation: Line
    roles: tuple[Role, ...] = ()
    hosts: tuple[Line, ...] = ()
    token: Hex64  # 32 bytes; the authority keeps only its SHA-256
    expires: AwareDatetime
    authority: Line | None = None  # "host:port" of the enrolment service; None: offline only
    coordinator: Line | None = None  # "host:port", for nodes and people
    root: Pem
    digest: Hex64 | None = None  # over all other fields; None only while it is being made

    @property
    def label(self) -> str:
        """The party for a sentence: ``node/cleveland``."""
        return f"{self.kind.value}/{self.name}"

    @property
    def token_digest(self) -> Digest:
        """How the authority knows the token."""
        return sha256_hex(bytes.fromhex(self.token))

    def trust_root(self) -> TrustRoot:
        """The root that came with the invitation."""
        return TrustRoot(self.root.encode(), parse_federation_name(self.federation))

    def content_digest(self) -> Digest:
        """SHA-256 over every field but ``digest``."""
        body = self.model_dump(mode="json", exclude={"digest"})
        return sha256_hex(canonical_json(body))

    def sealed(self) -> "Invitation":
        """The same invitation with its digest filled in."""
        return self.model_copy(update={"digest": str(self.content_digest())})

    def to_bytes(self) -> bytes:
        """The file's content."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    def require_in_time(self, now: datetime) -> None:
        """Refuse an invitation whose time is over, before anything is made or sent.

        Raises:
            TokenRefused: It expired, by this machine's clock.
        """
        if now >= self.expires:
            raise TokenRefused(
                f"the invitation for {self.label} expired on {self.expires:%Y-%m-%d %H:%M} UTC "
                f"(this machine's clock says {now:%Y-%m-%d %H:%M}); ask the authority for a new one."
            )


def parse_invitation(data: bytes, *, filename: str) -> Invitation:
    """Read an invitation.

    Args:
        data: The file's content.
        filename: For the sentence.

    Raises:
        InvitationUnreadable: It is not an invitation.
        InvitationAltered: Its digest does not fit its content.
    """
    invitation = parse_document(data, Invitation, what="an invitation", filename=filename)
    if invitation.digest != invitation.content_digest():
        raise InvitationAltered(
            f"{filename} was changed after the authority wrote it; ask the authority to send it again."
        )
    return invitation


def parse_document(data: bytes, model: type[Model], *, what: str, filename: str) -> Model:
    """Read one of the small JSON documents of an enrolment.

    Raises:
        InvitationUnreadable: With the field that is wrong.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        place = f"the field {field!r}: " if field else ""
        raise InvitationUnreadable(
            f"{filename} is not {what} ({place}{first['msg'].lower()}); use the file as it was sent."
        ) from None
