"""Jobs that were turned away before any node was asked: the signed record that each leaves, and finding it again.

They have no row of their own: the same file may be submitted again when the reason is gone, and counts as a job then.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from fedseal.artefacts import ArtefactFolder
from fedseal.coordinator.closing import disclosure_record, software_versions
from fedseal.errors import PlatformError
from fedseal.foreign import fitted
from fedseal.learning import learner_digest
from fedseal.methods import Stage, programme
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_governance.audit import AuditLog
from fedseal_governance.audit.claims import is_turned_away
from fedseal_governance.audit.entries import Entry
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.records import JobRecord, PrivacyRecord
from fedseal_governance.runs import JobState

_LEAST_DIGITS = 4
"""Of a digest, so that a short name is not taken for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnedAway:
    """A job that was refused before any node was asked.

    Attributes:
        digest: of the job file.
        envelope: the signed job file, as it was submitted.
        person: who submitted it.
        reason: why it was refused, in one line.
    """

    document: JobDocument
    digest: Digest
    envelope: bytes
    person: str
    reason: str

    @classmethod
    def read(cls, envelope: bytes, *, person: str, reason: str) -> "TurnedAway":
        """Take a submitted file apart.

        Raises:
            CryptoError, DocumentError: it is no signed job file.
        """
        data = SignedDocument.from_json(envelope).payload
        return cls(
            document=load_job(data, "job"),
            digest=sha256_hex(data),
            envelope=envelope,
            person=person.partition("/")[2],
            reason=fitted(reason),
        )


def make_refusal_record(
    refused: TurnedAway, *, now: datetime, federation: str, log_origin: str, log_position: int
) -> JobRecord:
    """The record of a job that was turned away: what was asked, and why not; no node has seen it."""
    document, at = refused.document, now.isoformat(timespec="milliseconds")
    return JobRecord(
        name=document.job,
        job=refused.digest,
        envelope=sha256_hex(refused.envelope),
        submitted_by=refused.person,
        submitted_at=at,
        ended_at=at,
        state="refused",
        reason=refused.reason,
        kind=document.kind.value,
        purpose=document.purpose,
        dataset=document.dataset,
        schema="",
        method="statistics" if document.method is None else document.method.name,
        learner="" if document.learner is None else document.learner.name,
        learner_digest=_digest_of_learner(document),
        protection=document.protection.value,
        disclosure=disclosure_record(_known_stages(document), document.protection),
        privacy=PrivacyRecord(
            mechanism=document.privacy.mechanism.value, statement="Nothing was computed, so nothing was disclosed."
        ),
        answers=(),
        rounds=(),
        records_used=None,
        software=software_versions(),
        federation=federation,
        log_origin=log_origin,
        log_position=log_position,
    )


def _known_stages(document: JobDocument) -> tuple[Stage, ...]:
    try:
        return programme(document)
    except PlatformError:
        return ()  # perhaps the very reason of the refusal


def _digest_of_learner(document: JobDocument) -> str:
    try:
        return "" if document.learner is None else learner_digest(document.learner.name)
    except PlatformError:
        return ""  # not installed


def newest_turned_away(session: Session, log: AuditLog, artefacts: ArtefactFolder, wanted: str) -> pb.JobDetail | None:
    """The newest job that was turned away and whose name, or whose digest's beginning, is ``wanted``; None if none."""
    found: Entry | None = None
    for entry in log.entries(session):
        if is_turned_away(entry) and _is(entry, wanted):
            found = entry
    return None if found is None else _detail(found, artefacts)


def _is(entry: Entry, wanted: str) -> bool:
    digest = entry.subject.removeprefix("job/")
    return entry.details.get("name") == wanted or (len(wanted) >= _LEAST_DIGITS and digest.startswith(wanted))


def _detail(entry: Entry, artefacts: ArtefactFolder) -> pb.JobDetail:
    at = entry.time.isoformat(timespec="seconds")
    return pb.JobDetail(
        summary=pb.JobSummary(
            job=entry.subject.removeprefix("job/"),
            name=str(entry.details.get("name", "")),
            state=JobState.REFUSED.value,
            reason=str(entry.details.get("reason", "")),
            submitted_by=entry.actor.partition("/")[2],
            submitted_at=at,
            finished_at=at,
        ),
        document=_file(entry.details.get("envelope"), artefacts),
        job_record=_file(entry.details.get("record"), artefacts),
    )


def _file(digest: object, artefacts: ArtefactFolder) -> bytes:
    """The file's bytes; none for an entry from before such files were kept, or where the file is gone."""
    if not isinstance(digest, str) or not artefacts.path(digest).is_file():
        return b""
    return artefacts.get(digest)
