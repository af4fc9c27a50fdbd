"""The signed end of a federation's policy: one officer's word that every node can check for itself.

A node's own policy is ended in its own database. A federation's policy is in force at many nodes, who would otherwise
have to take the coordinator's word that it has ended.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedseal_crypto.canonical import canonical_json, parse_strict
from fedseal_crypto.certificates import Member
from fedseal_crypto.digests import Digest
from fedseal_crypto.dsse import SignedDocument, sign_document
from fedseal_crypto.identity import IdentityKey
from fedseal_governance.errors import RefusedError
from fedseal_governance.policy.model import PolicyDocument
from fedseal_governance.policy.officers import MAX_REASON, require_officer, require_reason
from fedseal_governance.trust import Trust

REVOCATION_TYPE = "application/vnd.fedseal.policy-revocation+json"
"""DSSE payload type of a revocation."""

_MAX_BYTES = 4096


class _Statement(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    policy: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)]
    revoked_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A verified revocation."""

    policy: Digest
    reason: str
    revoked_at: datetime
    officer: Member


def sign_revocation(
    policy: Digest, reason: str, *, now: datetime, key: IdentityKey, certificate_pem: bytes
) -> SignedDocument:
    """Say, signed, that a policy has ended.

    Raises:
        RefusedError: the reason is empty, too long, or cannot be printed.
    """
    require_reason(reason)
    moment = now.astimezone(UTC).isoformat(timespec="seconds")
    payload = canonical_json({"policy": policy, "reason": reason, "revoked_at": moment})
    return sign_document(REVOCATION_TYPE, payload, key=key, certificate_pem=certificate_pem)


def verify_revocation(
    signed: SignedDocument, policy: Digest, document: PolicyDocument, trust: Trust, *, now: datetime
) -> Revocation:
    """Check that a compliance officer ended this policy.

    Args:
        signed: as `sign_revocation` made it.
        policy: digest of the policy.
        document: what it says.
        trust: whom the officer's certificate must descend from.
        now: the present; a revocation cannot come from the future.

    Raises:
        RefusedError: it is no revocation, of another policy, or the signer may not end it.
        PeerError: the signature does not verify.
    """
    try:
        statement = _Statement.model_validate(parse_strict(signed.payload, max_bytes=_MAX_BYTES))
        revoked_at = datetime.fromisoformat(statement.revoked_at)
    except (ValidationError, ValueError):
        raise RefusedError("this is not the revocation of a policy") from None
    if statement.policy != policy or revoked_at.tzinfo is None or not statement.reason.isprintable():
        raise RefusedError(f"the revocation is not one of the {document.title}")
    officers = trust.signers(signed, payload_type=REVOCATION_TYPE, now=min(revoked_at, now))
    if len(officers) != 1:
        raise RefusedError(f"the revocation of the {document.title} must be signed by one officer")
    require_officer(officers[0], document)
    return Revocation(policy=policy, reason=statement.reason, revoked_at=revoked_at, officer=officers[0])
