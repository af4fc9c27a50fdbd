"""What was checked while the report was made, and what came of it.

Rules kept here:

1. A check that was not made says so; only what this code has itself verified is called verified.
2. A check that fails never stops the report: a reader must see that the evidence does not hold.
3. Signatures are judged at the time at which they say they were made; an auditor takes that time from a
   witnessed log.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from fedseal.documents import read_job
from fedseal.errors import PlatformError
from fedseal.report.sources import MODEL, Sources, moment
from fedseal_crypto.certificates import Member, Revocations, TrustRoot
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.errors import CryptoError
from fedseal_governance.audit import AuditError, Verified
from fedseal_governance.errors import GovernanceError
from fedseal_governance.records import JobRecord, verify_record


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationView:
    """What the person who makes the report knows of the federation.

    Attributes:
        root: the pinned root, against which signatures are verified.
        revocations: the newest revocation list.
        organisations: organisation of each node, as far as it is known.
    """

    root: TrustRoot
    revocations: Revocations
    organisations: Mapping[str, str] = field(default_factory=dict)


class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        subject: what was looked at.
        finding: one sentence.
    """

    subject: str
    outcome: Outcome
    finding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All checks, and what they established.

    Attributes:
        record: the check of the job record's signature.
        scientist: who signed the job file, once that signature is verified.
    """

    record: Check
    others: tuple[Check, ...]
    scientist: Member | None

    @property
    def all(self) -> tuple[Check, ...]:
        """Every check, the most important first."""
        return (self.record, *self.others)

    @property
    def failed(self) -> tuple[Check, ...]:
        """Those that failed."""
        return tuple(check for check in self.all if check.outcome is Outcome.FAILED)


def check_evidence(
    sources: Sources, *, federation: FederationView | None, log: Verified | AuditError | None
) -> Findings:
    """Check what can be checked with what is at hand."""
    job_file, scientist = _job_signature(sources, federation)
    return Findings(
        record=_record_signature(sources, federation),
        others=(
            job_file,
            *_digests(sources),
            *_agreement(sources),
            _log(sources, log),
        ),
        scientist=scientist,
    )


def _record_signature(sources: Sources, federation: FederationView | None) -> Check:
    subject, data = "Signature of the job record", sources.detail.job_record
    if not data:
        return Check(
            subject=subject,
            outcome=Outcome.UNCHECKED,
            finding="There is no job record yet: the coordinator signs one when the job ends.",
        )
    if sources.record is None:
        return Check(subject=subject, outcome=Outcome.FAILED, finding="What was delivered is not a job record.")
    if moment(sources.record.ended_at) is None:
        return Check(subject=subject, outcome=Outcome.FAILED, finding="It states no possible time at which it ended.")
    if federation is None:
        return Check(
            subject=subject,
            outcome=Outcome.UNCHECKED,
            finding="Not verified for this report: it was made without the federation's root certificate.",
        )
    try:
        verified = verify_record(data, root=federation.root, revocations=federation.revocations)
    except (CryptoError, GovernanceError) as error:
        return Check(subject=subject, outcome=Outcome.FAILED, finding=f"It does not verify: {error}")
    return Check(
        subject=subject,
        outcome=Outcome.PASSED,
        finding=f"Signed by {verified.signer} of the federation {federation.root.federation}, whose certificate "
        "was issued by the federation's authority and was not revoked at the time.",
    )


def _job_signature(sources: Sources, federation: FederationView | None) -> tuple[Check, Member | None]:
    subject = "Signature of the job file"
    signed_at = _signed_at(sources)
    if federation is None or signed_at is None:
        missing = "the federation's root certificate" if federation is None else "a time of submission"
        finding = f"Not verified for this report: it was made without {missing}."
        return Check(subject=subject, outcome=Outcome.UNCHECKED, finding=finding), None
    try:
        signed = read_job(
            sources.detail.document, root=federation.root, revocations=federation.revocations, now=signed_at
        )
    except (CryptoError, GovernanceError, PlatformError) as error:
        return Check(subject=subject, outcome=Outcome.FAILED, finding=f"It does not verify: {error}"), None
    signer = signed.signer
    claimed = sources.detail.summary.submitted_by if sources.record is None else sources.record.submitted_by
    if str(signer.name) != claimed:
        finding = f"It is signed by {signer.name}, but {claimed} is said to have submitted it."
        return Check(subject=subject, outcome=Outcome.FAILED, finding=finding), signer
    finding = f"Signed by {signer.name} ({signer.organisation}) with the role data scientist."
    return Check(subject=subject, outcome=Outcome.PASSED, finding=finding), signer


def _signed_at(sources: Sources) -> datetime | None:
    stated = sources.detail.summary.submitted_at if sources.record is None else sources.record.submitted_at
    return moment(stated)


def _digests(sources: Sources) -> Iterator[Check]:
    detail, record = sources.detail, sources.record
    named = detail.summary.job if record is None else record.job
    yield _same("Job file", sources.job_digest, named, "is the job that the coordinator names")
    if record is None:
        return
    yield _same("Signed job file", sha256_hex(detail.document), record.envelope, "is the one in the job record")
    yield _same("Dataset schema", sha256_hex(detail.schema), record.schema_digest, "is the one in the job record")
    offered = sources.offered(MODEL)
    if sources.subject and not offered:
        finding = (
            "The coordinator offers it no more, as after its time of retention; a copy can be checked by its digest."
        )
        yield Check(subject="Model on offer", outcome=Outcome.UNCHECKED, finding=finding)
    elif offered:
        yield _same("Model on offer", offered, sources.subject, "is the one in the job record")


def _same(subject: str, found: str, stated: str, claim: str) -> Check:
    if found and found == stated:
        return Check(subject=subject, outcome=Outcome.PASSED, finding=f"It {claim}: the digests are equal.")
    finding = f"Its digest is {found or 'missing'}, and {stated or 'none'} is stated."
    return Check(subject=subject, outcome=Outcome.FAILED, finding=finding)


def _agreement(sources: Sources) -> Iterator[Check]:
    """Whether what the coordinator answers now is what it has signed."""
    record = sources.record
    if record is None:
        return
    differing = [name for name, same in _comparisons(sources, record).items() if not same]
    subject = "Coordinator's answer"
    if differing:
        finding = f"It differs from the job record in {' and '.join(differing)}; this report follows the record."
        yield Check(subject=subject, outcome=Outcome.FAILED, finding=finding)
        return
    finding = "What the coordinator says now agrees with the job record."
    yield Check(subject=subject, outcome=Outcome.PASSED, finding=finding)


def _comparisons(sources: Sources, record: JobRecord) -> dict[str, bool]:
    detail = sources.detail
    shown = {(item.address.stage, item.address.round, item.address.attempt, item.state) for item in detail.rounds}
    signed = {(item.stage, item.round, item.attempt, item.state) for item in record.rounds}
    return {
        "the state": detail.summary.state == record.state,
        "the answers": {(item.node, item.answer == "accepted") for item in detail.answers}
        == {(item.node, item.accepted) for item in record.answers},
        "the rounds": shown == signed,
    }


def _log(sources: Sources, log: Verified | AuditError | None) -> Check:
    subject = "Coordinator's audit log"
    if log is None:
        finding = "Not checked for this report; the commands below do it."
        return Check(subject=subject, outcome=Outcome.UNCHECKED, finding=finding)
    if isinstance(log, AuditError):
        return Check(subject=subject, outcome=Outcome.FAILED, finding=f"It does not verify: {log}")
    if sources.record is not None and log.origin != sources.record.log_origin:
        finding = f"The bundle is the log {log.origin}; the job record names {sources.record.log_origin}."
        return Check(subject=subject, outcome=Outcome.FAILED, finding=finding)
    if sources.record_digest is not None and sources.record_digest not in log.documents:
        finding = f"Its {log.size:,} entries verify, but the bundle does not hold this job record."
        return Check(subject=subject, outcome=Outcome.FAILED, finding=finding)
    keys = "keys that were known beforehand" if log.pinned else "the keys in the bundle itself"
    holds = "" if sources.record_digest is None else ", and the bundle holds this job record"
    finding = f"Its {log.size:,} entries verify against {keys}{holds}. Witnesses: {len(log.cosignatures)}."
    return Check(subject=subject, outcome=Outcome.PASSED, finding=finding)
