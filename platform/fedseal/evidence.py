"""The documents that a party's audit log speaks of, for the bundle that an auditor receives.

A log names policies, jobs and job records by digest. Whatever of these the party's database still holds goes
into the bundle, in the exact bytes that were hashed; what the log does not name stays out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal.artefacts import ArtefactFolder
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.errors import CryptoError
from fedseal_governance.audit import AuditLog
from fedseal_governance.custody import JobKeyRow, ServedJobRow
from fedseal_governance.datasets import list_registered
from fedseal_governance.participation import NodeJobRow
from fedseal_governance.policy import list_policies, pinning
from fedseal_governance.runs import ArtefactRow, JobRow

_DIGEST = re.compile(r"[0-9a-f]{64}")


def documents_of(session: Session, log: AuditLog, folder: Path) -> dict[Digest, bytes]:
    """Every stored document that an entry names, by digest.

    Args:
        session: The party's database.
        log: Its audit log.
        folder: The party's folder; a coordinator keeps the policies that nodes showed, and refused jobs, in files.
    """
    named = _named(session, log)
    held = {sha256_hex(data): data for data in _stored(session)}
    found = {digest: data for digest, data in held.items() if digest in named}
    files = ArtefactFolder(folder / "artefacts")
    # broadcasts, states and models are files of a job, not documents
    products = set(session.scalars(select(ArtefactRow.digest)))
    for digest in named - set(found) - products:
        if files.path(digest).is_file():
            found[Digest(digest)] = files.get(digest)
    return found


def _named(session: Session, log: AuditLog) -> frozenset[str]:
    found: set[str] = set()
    for entry in log.entries(session):
        found.update(_DIGEST.findall(entry.to_bytes().decode("utf-8")))
    return frozenset(found)


def _stored(session: Session) -> Iterator[bytes]:
    for policy in list_policies(session):
        yield policy.content
        if policy.signed is not None:
            yield policy.signed.to_json()
    for pinned in pinning.pinned_policies(session):
        yield pinned.signed.payload
        yield pinned.signed.to_json()
        if pinned.revocation is not None:
            yield pinned.revocation.to_json()
    for registration in list_registered(session):
        yield registration.facts.schema_content
    for row in session.scalars(select(JobRow)):
        yield from _of_job(row.envelope, row.record)
        yield row.schema
    for held in session.scalars(select(NodeJobRow)):
        yield from _of_job(held.envelope, held.record)
    for key in session.scalars(select(JobKeyRow)):
        yield key.statement
    for served in session.scalars(select(ServedJobRow)):
        yield from _of_job(served.envelope, served.statement)


def _of_job(envelope: bytes, record: bytes | None) -> Iterator[bytes]:
    yield envelope
    if record is not None:
        yield record
    try:
        yield SignedDocument.from_json(envelope).payload
    except CryptoError:
        # A damaged row is no reason to withhold the rest of the evidence; the log still names its digest.
        return
