"""What a coordinator says of a job, taken apart: the job file, the signed record, the rounds, the answers.

Rules kept here:

1. Where there is a job record, it speaks; what the coordinator says beside it only fills gaps.
2. Nothing in here is trusted or refused: a part that cannot be read is None, and the report says so.
3. Reading does not verify signatures; ``fedseal.report.checks`` does.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.canonical import parse_strict
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.errors import CryptoError
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.errors import GovernanceError
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.records import MAX_RECORD_BYTES, JobRecord, RoundRecord, read_record
from fedseal_governance.runs import RoundState

MODEL, STATISTICS = "model", "statistics"
_NO_MODEL = "job.yaml"
_MAX_FIGURES = 1 << 16
"""Bytes; a round publishes a handful of numbers."""

RoundId = tuple[str, int, int]
"""Stage, round and attempt, both from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of one round.

    Attributes:
        round: from 0.
        attempt: from 0.
        survivors: nodes in the sum; empty when the sources do not name them.
        cohort: how many nodes are in the sum; 0 for an attempt that has none.
        recovered: nodes of the roster that are not in the sum; the masks they had agreed on were removed.
        minimum_cohort: fewest nodes whose sum could be released; None when the sources do not say.
        figures: published sums and means over the cohort, finite ones only.
    """

    stage: str
    round: int
    attempt: int
    state: RoundState
    roster: tuple[str, ...]
    survivors: tuple[str, ...]
    cohort: int
    recovered: tuple[str, ...]
    threshold: int
    minimum_cohort: int | None
    started_at: datetime | None
    ended_at: datetime | None
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def completed(self) -> bool:
        """Whether its sum was released."""
        return self.state is RoundState.COMPLETED


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The parts of a ``pb.JobDetail``.

    Attributes:
        job: what the job file says.
        job_digest: SHA-256 of the job file's bytes; empty when they cannot be read.
        record: what the job record says, not verified.
        subject: digest of the model that the record names; empty when it names none.
        attempts: in the order in which they began.
    """

    detail: pb.JobDetail
    job: JobDocument | None
    job_digest: str
    record: JobRecord | None
    subject: str
    schema: DatasetSchema | None
    attempts: tuple[Attempt, ...]

    @property
    def state(self) -> str:
        """The job's state in one word."""
        return self.detail.summary.state if self.record is None else self.record.state

    @property
    def record_digest(self) -> Digest | None:
        """SHA-256 of the signed job record."""
        return sha256_hex(self.detail.job_record) if self.detail.job_record else None

    @property
    def model_digest(self) -> str:
        """SHA-256 of the exported model; empty when there is none."""
        if self.record is not None:
            return self.subject
        return self.offered(MODEL)

    def offered(self, kind: str) -> str:
        """Digest of the file of this kind that the coordinator offers; empty when there is none."""
        return next((item.digest for item in self.detail.artefacts if item.kind == kind), "")


def read_sources(detail: pb.JobDetail) -> Sources:
    """Take a job's detail apart."""
    job, job_digest = _job(detail.document)
    record, subject = _record(detail.job_record)
    return Sources(
        detail=detail,
        job=job,
        job_digest=job_digest,
        record=record,
        subject=subject,
        schema=_schema(detail.schema),
        attempts=_attempts(detail, record),
    )


def moment(text: str) -> datetime | None:
    """A time with its zone in UTC; None when ``text`` is no such time or of no possible year."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    # At the ends of the calendar, adding a zone or a day would overflow.
    return found.astimezone(UTC) if found.tzinfo is not None and 1970 <= found.year <= 9000 else None


def _job(envelope: bytes) -> tuple[JobDocument | None, str]:
    try:
        content = SignedDocument.from_json(envelope).payload
    except CryptoError:
        return None, ""
    try:
        return load_job(content, "the job file"), sha256_hex(content)
    except GovernanceError:
        return None, sha256_hex(content)


def _record(data: bytes) -> tuple[JobRecord | None, str]:
    if not data:
        return None, ""
    try:
        record = read_record(data)
        statement = json.loads(SignedDocument.from_json(data, max_bytes=MAX_RECORD_BYTES).payload)
    except (CryptoError, GovernanceError):
        return None, ""
    models = [item for item in statement["subject"] if item["name"] != _NO_MODEL]
    return record, str(models[0]["digest"].get("sha256", "")) if models else ""


def _schema(content: bytes) -> DatasetSchema | None:
    try:
        return load_schema(content, "the schema file")
    except GovernanceError:
        return None


def _attempts(detail: pb.JobDetail, record: JobRecord | None) -> tuple[Attempt, ...]:
    shown = {_key(item): item for item in detail.rounds}
    if record is None:
        return tuple(_from_detail(item) for item in shown.values())
    return tuple(_from_record(item, shown.get((item.stage, item.round, item.attempt))) for item in record.rounds)


def _key(item: pb.RoundSummary) -> RoundId:
    return item.address.stage, item.address.round, item.address.attempt


def _from_detail(item: pb.RoundSummary) -> Attempt:
    return Attempt(
        stage=item.address.stage,
        round=item.address.round,
        attempt=item.address.attempt,
        state=_state(item.state),
        roster=tuple(item.roster),
        survivors=tuple(item.survivors),
        cohort=len(item.survivors),
        recovered=tuple(item.recovered),
        threshold=item.threshold,
        minimum_cohort=None,
        started_at=moment(item.started_at),
        ended_at=moment(item.ended_at),
        reason=item.reason,
        figures=_figures(item.metrics),
    )


def _from_record(item: RoundRecord, shown: pb.RoundSummary | None) -> Attempt:
    return Attempt(
        stage=item.stage,
        round=item.round,
        attempt=item.attempt,
        state=RoundState(item.state),
        roster=item.roster,
        survivors=_survivors(item, shown),
        cohort=item.cohort,
        recovered=item.recovered,
        threshold=item.threshold,
        minimum_cohort=item.minimum_cohort,
        started_at=moment(item.started_at),
        ended_at=moment(item.ended_at),
        reason=item.reason,
        figures={name: value for name, value in item.figures.items() if math.isfinite(value)},
    )


def _survivors(item: RoundRecord, shown: pb.RoundSummary | None) -> tuple[str, ...]:
    """Who is in the sum, if that follows: the record has the number, the coordinator's list the names."""
    listed = () if shown is None else tuple(shown.survivors)
    stayed = tuple(node for node in item.roster if node not in item.recovered)
    for candidate in (listed, stayed):
        if len(candidate) == item.cohort and set(candidate) <= set(item.roster):
            return candidate
    return ()


def _state(word: str) -> RoundState:
    try:
        return RoundState(word)
    except ValueError:
        return RoundState.OPEN


def _figures(text: str) -> dict[str, float]:
    try:
        found = parse_strict((text or "{}").encode("utf-8"), max_bytes=_MAX_FIGURES)
    except CryptoError:
        return {}
    if not isinstance(found, dict):
        return {}
    numbers = {str(name): _finite(value) for name, value in found.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
