"""Who may propose, sign and end a policy, and when its signatures suffice.

Rules kept here:

1. Who proposes a policy says the table of permissions; a node's policy is proposed by the data holder's own people.
   It is signed by compliance officers: a node's by those of the data holder, a federation's by those of different
   organisations.
2. As many must sign as the file itself asks for, and one of them is not its proposer.
3. The signature of a second officer of one organisation counts for a node's policy, and not for a federation's.
"""

from collections.abc import Iterable
from datetime import datetime

from fedseal_crypto.certificates import Member, Party
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.errors import RefusedError
from fedseal_governance.permissions import PERMISSIONS, Operation, holds_role
from fedseal_governance.policy.model import PolicyDocument
from fedseal_governance.trust import Trust
from fedseal_governance.vocabulary import PolicyLevel

POLICY_TYPE = "application/vnd.fedseal.policy+yaml"
"""DSSE payload type of a policy file."""

MAX_REASON = 500
"""Characters of the reason for a revocation."""

_PROPOSING = {
    PolicyLevel.NODE: Operation.POLICY_PROPOSE,
    PolicyLevel.FEDERATION: Operation.FEDERATION_POLICY_PROPOSE,
}
"""The row of the table of permissions that says who proposes a policy of a level."""


def require_proposer(person: Party, document: PolicyDocument) -> None:
    """Refuse somebody who may not put a policy before the officers.

    Raises:
        RefusedError: the role or the organisation is wrong.
    """
    operation = _PROPOSING[document.level]
    if not holds_role(operation, person):
        wanted = " or ".join(sorted(role.value.replace("_", " ") for role in PERMISSIONS[operation].roles))
        raise RefusedError(f"{person.label} may not propose the {document.title}; ask a {wanted}")
    if document.level is PolicyLevel.NODE and person.organisation != document.owner:
        raise RefusedError(
            f"{person.label} belongs to {person.organisation}, but the {document.title} belongs to {document.owner}; "
            "ask one of its own people to propose it"
        )


def require_officer(member: Member, document: PolicyDocument) -> None:
    """Refuse somebody who may not sign or end a policy.

    Raises:
        RefusedError: no compliance officer, or of another organisation than a node's policy.
    """
    if member.kind is not PartyKind.PERSON or Role.COMPLIANCE_OFFICER not in member.roles:
        whose = "any organisation" if document.level is PolicyLevel.FEDERATION else document.owner
        raise RefusedError(f"{member.label} is no compliance officer; ask one of {whose}")
    if document.level is PolicyLevel.NODE and member.organisation != document.owner:
        raise RefusedError(
            f"{member.label} is a compliance officer of {member.organisation}, but the "
            f"{document.title} belongs to "
            f"{document.owner}; ask one of its own"
        )


def require_another_organisation(newest: Member, earlier: Iterable[Member], document: PolicyDocument) -> None:
    """Refuse a second signature of one organisation under a federation's policy.

    Raises:
        RefusedError: an officer of the same organisation has signed.
    """
    if document.level is not PolicyLevel.FEDERATION:
        return
    for officer in earlier:
        if officer.organisation == newest.organisation:
            raise RefusedError(
                f"{officer.label} has signed the {document.title} for {newest.organisation} already; "
                "an officer of another organisation must sign"
            )


def require_reason(reason: str) -> None:
    """Refuse an empty, endless or many-lined reason: it goes into the log and onto screens.

    Raises:
        RefusedError: as said.
    """
    if not len(reason.strip()) > 0 or len(reason) > MAX_REASON or not reason.isprintable():
        raise RefusedError(f"the reason must be one line of 1 to {MAX_REASON} characters; correct it")


def is_complete(officers: Iterable[Member], document: PolicyDocument, proposer: str | None) -> bool:
    """Whether the signatures suffice.

    Args:
        officers: who signed, verified.
        document: what the file asks for.
        proposer: label of the proposer; None where only the signed file is at hand, as at the nodes of a federation,
            whose policies need two organisations in any case.
    """
    signed = tuple(officers)
    names = {officer.label for officer in signed}
    counted = {officer.organisation for officer in signed} if document.level is PolicyLevel.FEDERATION else names
    return len(counted) >= document.approval.compliance_officers and bool(names - {proposer})


def verified_officers(
    signed: SignedDocument, document: PolicyDocument, trust: Trust, now: datetime
) -> tuple[Member, ...]:
    """Who signed the policy file, each a compliance officer who may.

    Raises:
        PeerError: a signature or certificate does not verify.
        RefusedError: somebody else signed.
    """
    officers = trust.signers(signed, payload_type=POLICY_TYPE, now=now)
    for officer in officers:
        require_officer(officer, document)
    return officers
