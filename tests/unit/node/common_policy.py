"""A policy of the federation, its officers, and how the coordinator hands it out."""

from dataclasses import replace

from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.dsse import SignedDocument, sign_document
from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.policy import POLICY_TYPE
from fedseal_governance.policy.revocation import sign_revocation
from tests.unit.node.papers import policy_with
from tests.unit.node.parties import FEDERATION, NOW, OFFICERS, Consortium

HERE, ELSEWHERE = OFFICERS[0], "mary"
"""An officer of the nodes' organisation, and one of another."""


def enrol_officer_elsewhere(consortium: Consortium) -> None:
    consortium.enrol(PartyKind.PERSON, ELSEWHERE, roles=(Role.COMPLIANCE_OFFICER,), organisation="Another Hospital")


def common_policy(**replacements: str) -> bytes:
    """The tests' policy as one of the federation."""
    return policy_with(
        {
            "owner: Heart Consortium": f"level: federation\nowner: {FEDERATION}",
            "policy: heart-research": "policy: common",
        }
        | {old.replace("__", ": "): new for old, new in replacements.items()}
    )


def signed(consortium: Consortium, content: bytes, *names: str) -> SignedDocument:
    """The file with the signatures of several people."""
    documents = [
        sign_document(POLICY_TYPE, content, key=party.key, certificate_pem=party.identity_pem)
        for party in (consortium.parties[name] for name in names)
    ]
    first = documents[0]
    return SignedDocument(
        envelope=replace(
            first.envelope, signatures=tuple(item for document in documents for item in document.envelope.signatures)
        ),
        certificates=tuple(item for document in documents for item in document.certificates),
    )


def revocation(consortium: Consortium, content: bytes, name: str, reason: str = "a mistake") -> SignedDocument:
    party = consortium.parties[name]
    return sign_revocation(sha256_hex(content), reason, now=NOW, key=party.key, certificate_pem=party.identity_pem)


def handed_out(*policies: tuple[SignedDocument, SignedDocument | None]) -> dict[str, pb.FederationPolicies]:
    """The instruction by which the coordinator hands policies out, for `Site.tell`."""
    return {
        "federation_policies": pb.FederationPolicies(
            policies=[
                pb.FederationPolicy(
                    document=document.to_json(),
                    approved_at=NOW.isoformat(),
                    revocation=b"" if ended is None else ended.to_json(),
                )
                for document, ended in policies
            ]
        )
    }
