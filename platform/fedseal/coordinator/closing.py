"""What a job leaves behind at its end: the exported model and the job record."""

import json
import platform
from datetime import datetime
from importlib.metadata import version
from typing import Literal, cast

from sqlalchemy.orm import Session

from fedseal.coordinator.job_run import JobRun
from fedseal.learning import Origin, build_model, learner_digest, model_bytes
from fedseal.methods import STATISTICS_STAGE, TRAINING_STAGE, programme_statement
from fedseal.methods.statistics import describe
from fedseal.protection import protection_quantities, protection_sentence
from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.masking import RoundParameters
from fedseal_governance import runs
from fedseal_governance.custody import job_key
from fedseal_governance.policy import pinning
from fedseal_governance.records import (
    CustodyRecord,
    DisclosureRecord,
    JobRecord,
    NodeAnswer,
    PrivacyRecord,
    Refusal,
    RoundRecord,
)
from fedseal_governance.runs import RoundState
from fedseal_governance.vocabulary import Protection

_SOFTWARE = ("fedseal", "torch", "numpy", "cryptography", "grpcio")
_ROWS_FIGURE = "rows"


def export_model(run: JobRun) -> bytes | None:
    """The newest model as a file, or None if no training round has completed."""
    published = dict(run.progress.published)
    if not run.finished and run.stage.name == TRAINING_STAGE and run.progress.round > 0:
        published[TRAINING_STAGE] = run.stage.method.export(run.plan(), run.progress.state)
    if TRAINING_STAGE not in published:
        return None
    model = build_model(
        run.document,
        run.schema,
        Origin(job_digest=run.digest, schema_digest=run.schema_digest),
        statistics=published[STATISTICS_STAGE],
        parameters=published[TRAINING_STAGE],
    )
    return model_bytes(model)


def export_statistics(run: JobRun) -> bytes | None:
    """The published statistics of the cohort as JSON, or None if that stage has not completed."""
    published = run.progress.published.get(STATISTICS_STAGE)
    if published is None:
        return None
    features = tuple(run.schema.column(name) for name in run.document.features)
    return canonical_json(describe(features, published))


def make_record(session: Session, run: JobRun, *, federation: str, log_origin: str, log_position: int) -> JobRecord:
    """The record of a job whose final state is already in the session."""
    row = runs.job(session, run.digest)
    rounds = tuple(_round(item) for item in runs.rounds(session, run.digest) if item.state is not RoundState.OPEN)
    document = run.document
    statement = programme_statement(run.stages)
    return JobRecord(
        name=row.name,
        job=run.digest,
        envelope=sha256_hex(row.envelope),
        submitted_by=row.submitted_by,
        submitted_at=_time(row.submitted_at),
        ended_at=_time(row.finished_at or row.submitted_at),
        state=cast("Literal['finished', 'failed', 'stopped', 'refused']", row.state.value),
        reason=row.reason,
        kind=document.kind.value,
        purpose=document.purpose,
        dataset=document.dataset,
        schema=sha256_hex(row.schema),
        method="statistics" if document.method is None else document.method.name,
        learner="" if document.learner is None else document.learner.name,
        learner_digest="" if document.learner is None else learner_digest(document.learner.name),
        protection=document.protection.value,
        disclosure=DisclosureRecord(
            level=statement.level.name,
            paragraph=_paragraph(statement.paragraph, document.protection),
            quantities=(
                *(f"{item.party}: {item.name} - {item.description}" for item in statement.quantities),
                *(f"{party}: {name} - {text}" for name, party, text in protection_quantities(document.protection)),
            ),
        ),
        custody=_custody(session, run.digest),
        privacy=PrivacyRecord(
            mechanism=document.privacy.mechanism.value,
            statement="No differential privacy: the protection hides each node's contribution, not what the "
            "final model itself remembers.",
        ),
        answers=tuple(_answer(item) for item in runs.answers(session, run.digest)),
        rounds=rounds,
        federation_policies=pinning.bound_to(session, run.digest),
        records_used=next((item.figures[_ROWS_FIGURE] for item in rounds if _ROWS_FIGURE in item.figures), None),
        software={name: version(name) for name in _SOFTWARE} | {"python": platform.python_version()},
        federation=federation,
        log_origin=log_origin,
        log_position=log_position,
    )


def _paragraph(method: str, protection: Protection) -> str:
    own = protection_sentence(protection)
    return f"{method}\n\nProtection ({protection.value}): {own}" if own else method


def _custody(session: Session, job: str) -> CustodyRecord | None:
    row = job_key(session, job)
    if row is None:
        return None
    return CustodyRecord(custodian=row.custodian, key=row.digest, statement=sha256_hex(row.statement))


def _round(row: runs.RoundRow) -> RoundRecord:
    parameters = RoundParameters.decode(row.parameters)
    return RoundRecord(
        stage=row.stage,
        round=row.round,
        attempt=row.attempt,
        state="completed" if row.state is RoundState.COMPLETED else "failed",
        roster=tuple(parameters.roster),
        cohort=len(json.loads(row.survivors)),
        recovered=tuple(json.loads(row.recovered)),
        threshold=parameters.threshold,
        minimum_cohort=parameters.minimum_cohort,
        broadcast=row.broadcast,
        started_at=_time(row.started_at),
        ended_at=_time(row.ended_at or row.started_at),
        reason=row.reason,
        figures=json.loads(row.figures),
    )


def _answer(row: runs.AnswerRow) -> NodeAnswer:
    refusals = tuple(
        Refusal(clause=item["clause"], sentence=item["sentence"])
        for item in json.loads(row.reasons)
        if not item["allowed"]
    )
    return NodeAnswer(node=row.node, accepted=row.accepted, policy=row.policy, refusals=refusals)


def _time(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds")
