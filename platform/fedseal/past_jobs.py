"""The jobs that a party remembers, with what was known of each when it was decided on: food for `policy impact`.

A node remembers each job it was offered, a coordinator each that was submitted to it, also those it turned away. What
was not recorded then stays unknown, which a policy takes as no; only what does not depend on the day (what a method
discloses, the installed learner's code) is asked of this machine.
"""

import json
from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal.artefacts import ArtefactFolder
from fedseal.errors import PlatformError
from fedseal.learning import learner_digest
from fedseal.methods import programme, programme_statement
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.errors import CryptoError
from fedseal_governance import participation, runs
from fedseal_governance.audit import AuditLog
from fedseal_governance.datasets import list_registered
from fedseal_governance.errors import DocumentError, NotFound
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.participation import NodeJobRow
from fedseal_governance.policy import NodeFacts, Reason, show
from fedseal_governance.policy.impact import PastJob
from fedseal_governance.vocabulary import Disclosure, PolicyLevel

_ASSUMED_RECORDS = 2**31
"""At the coordinator, which knows no counts: the nodes judge them."""

_FEDERATION = f"{PolicyLevel.FEDERATION.value}: "


def past_at_node(session: Session) -> tuple[PastJob, ...]:
    """Every job this node was offered, oldest first."""
    registered = frozenset(item.name for item in list_registered(session))
    rows = session.scalars(select(NodeJobRow).order_by(NodeJobRow.decided_at)).all()
    return tuple(_offered(session, row, registered) for row in rows)


def past_at_coordinator(session: Session, log: AuditLog, artefacts: ArtefactFolder) -> tuple[PastJob, ...]:
    """Every job that was submitted here, also those turned away, oldest first."""
    found = [_submitted(row.envelope, row.submitted_at, ()) for row in session.scalars(select(runs.JobRow))]
    found += _turned_away(session, log, artefacts)
    return tuple(sorted((job for job in found if job is not None), key=lambda job: job.decided_at))


def _offered(session: Session, row: NodeJobRow, registered: frozenset[str]) -> PastJob:
    document = load_job(SignedDocument.from_json(row.envelope).payload, f"job {row.digest[:12]}")
    reasons = tuple(_reason(item) for item in json.loads(row.reasons))
    own = tuple(item for item in reasons if item.level is PolicyLevel.NODE)
    refusals = tuple(item for item in own if not item.allowed)
    facts = NodeFacts(
        now=row.decided_at,
        datasets=registered | ({document.dataset} if _held(own, "datasets") else frozenset()),
        usable_records=_records(session, row, own),
        method_discloses=_discloses(document),
        learner_digest=_code(document),
        operator_agreed=participation.has_agreement(session, row.digest),
        federation_policy=_held(own, "approval.federation_policy") or len(own) < len(reasons),
    )
    return PastJob(
        digest=Digest(row.digest),
        document=document,
        decided_at=row.decided_at,
        allowed=bool(own) and not refusals,
        refusals=refusals,
        facts=facts,
    )


def _records(session: Session, row: NodeJobRow, reasons: tuple[Reason, ...]) -> int | None:
    """How many records were used; else the number that the policy of the day found to be there at least."""
    used = [attempt.records for attempt in participation.attempts_of(session, row.digest)]
    if any(used):
        return max(used)
    if not _held(reasons, "consent.minimum_records"):
        return None
    try:
        return show(session, Digest(row.policy)).document.consent.minimum_records
    except NotFound:
        return None


def _turned_away(session: Session, log: AuditLog, artefacts: ArtefactFolder) -> Iterator[PastJob | None]:
    for entry in log.entries(session):
        if entry.type != "job.refused":
            continue
        digest = str(entry.details.get("envelope", ""))
        if len(digest) == len(sha256_hex(b"")) and artefacts.path(digest).is_file():
            reason = Reason(clause="submission", sentence=str(entry.details.get("reason", "")), allowed=False)
            # Only a refusal by the federation's own policy is a verdict of that level.
            by_federation = bool(entry.details.get("by_federation"))
            yield _submitted(artefacts.get(digest), entry.time, (reason,) if by_federation else ())


def _submitted(envelope: bytes, at: datetime, refusals: tuple[Reason, ...]) -> PastJob | None:
    try:
        payload = SignedDocument.from_json(envelope).payload
        document = load_job(payload, "job")
    except (CryptoError, DocumentError):
        return None  # what was turned away need not be a job
    facts = NodeFacts(
        now=at,
        datasets=frozenset({document.dataset}),
        usable_records=_ASSUMED_RECORDS,
        method_discloses=_discloses(document),
        learner_digest=_code(document),
        operator_agreed=True,
        federation_policy=True,
    )
    return PastJob(
        digest=sha256_hex(payload),
        document=document,
        decided_at=at,
        allowed=not refusals,
        refusals=refusals,
        facts=facts,
    )


def _reason(item: dict[str, object]) -> Reason:
    clause = str(item["clause"])
    level = PolicyLevel.FEDERATION if clause.startswith(_FEDERATION) else PolicyLevel.NODE
    return Reason(
        clause=clause.removeprefix(_FEDERATION),
        sentence=str(item["sentence"]),
        allowed=bool(item["allowed"]),
        level=level,
    )


def _held(reasons: tuple[Reason, ...], clause: str) -> bool:
    return any(reason.clause == clause and reason.allowed for reason in reasons)


def _discloses(document: JobDocument) -> Disclosure | None:
    try:
        return programme_statement(programme(document)).level
    except PlatformError:
        return None  # the method is not installed any more: not known


def _code(document: JobDocument) -> str | None:
    try:
        return None if document.learner is None else learner_digest(document.learner.name)
    except PlatformError:
        return None  # the learner is not installed any more: not known
