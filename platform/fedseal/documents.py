"""Signed files of the federation: which payload types exist, and how a job file is signed and read back.

A signed file is a DSSE envelope over the exact bytes that a person wrote, together with the signers'
certificates, so that anyone with the federation's root can verify it at any later time.
"""

from dataclasses import dataclass
from datetime import datetime

from fedseal.errors import PeerFault
from fedseal_crypto.certificates import Member, Revocations, TrustRoot
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument, sign_document, signers
from fedseal_crypto.identity import IdentityKey
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.permissions import Operation, holds_role

JOB_TYPE = "application/vnd.fedseal.job+yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedJob:
    """A job file that a data scientist of the federation has signed.

    Attributes:
        digest: SHA-256 of the job file's exact bytes; the job's name everywhere.
        document: what the file says.
        signer: the data scientist.
        envelope: the signed file as it was received.
    """

    digest: Digest
    document: JobDocument
    signer: Member
    envelope: bytes


def sign_job(data: bytes, *, key: IdentityKey, certificate_pem: bytes, filename: str = "job") -> bytes:
    """Check a job file and sign its exact bytes; returns the signed file.

    Raises:
        DocumentError: the file is not a valid job; nothing is signed.
    """
    load_job(data, filename)
    return sign_document(JOB_TYPE, data, key=key, certificate_pem=certificate_pem).to_json()


def read_job(
    envelope: bytes, *, root: TrustRoot, revocations: Revocations, now: datetime, filename: str = "job"
) -> SignedJob:
    """Verify a signed job file and read it.

    Raises:
        PeerFault: it is not signed by exactly one data scientist of this federation.
        PeerError: envelope, certificate or signature do not verify.
        DocumentError: the job file is wrong.
    """
    signed = SignedDocument.from_json(envelope)
    members = signers(signed, root, payload_type=JOB_TYPE, now=now, revocations=revocations)
    if len(members) != 1 or not holds_role(Operation.JOB_SUBMIT, members[0]):
        names = ", ".join(str(member.name) for member in members)
        sentence = f"{filename} must be signed by one person with the role data scientist; it is signed by {names}"
        raise PeerFault(sentence)
    data = signed.payload
    return SignedJob(digest=sha256_hex(data), document=load_job(data, filename), signer=members[0], envelope=envelope)
