"""A node operator's agreement to one job, where the node's policy asks for it."""

from datetime import datetime
from pathlib import Path

from fedseal.errors import SetupError
from fedseal.files import read_limited
from fedseal.local import LocalParty, Person
from fedseal_crypto.digests import Digest, DigestInvalid, parse_digest, sha256_hex
from fedseal_governance import participation
from fedseal_governance.acts import Act
from fedseal_governance.documents import MAX_BYTES
from fedseal_governance.jobs import load_job
from fedseal_governance.permissions import Operation


def agree_to_job(party: LocalParty, job: str, *, person: Person, now: datetime) -> Digest:
    """Record the agreement; agreeing again changes nothing.

    Args:
        party: The node.
        job: A job file, or a job's digest.
        person: Who agrees.
        now: The present.

    Raises:
        PermissionDenied: The person is no node operator of this node's organisation.
        SetupError, DocumentError: ``job`` is neither a job file nor a digest.
    """
    digest = _digest_of(job)

    def work(act: Act) -> None:
        if not participation.has_agreement(act.session, digest):
            participation.agree(act.session, digest, operator=person.label, now=now)
            act.note("job.agreed", f"job/{digest}", operator=person.label)

    party.run(Operation.JOB_AGREE, work, now=now, person=person)
    return digest


def _digest_of(job: str) -> Digest:
    path = Path(job)
    if path.is_file():
        content = read_limited(path, max_bytes=MAX_BYTES, what="a job file")
        load_job(content, job)
        return sha256_hex(content)
    try:
        return parse_digest(job)
    except DigestInvalid:
        raise SetupError(f"{job} is neither a job file nor the 64 digits of a job's digest.") from None
