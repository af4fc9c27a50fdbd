"""Where a record was used before: each job, stage and round, and the model that came of it.

The beginning of unlearning, and no more than that: the list names what the record has entered. It removes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.errors import CryptoError
from fedseal_governance.consent.persons import Register, require_key
from fedseal_governance.consent.tables import WithdrawalRow
from fedseal_governance.errors import TamperError
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.participation import AttemptRow, AttemptState, NodeJobRow
from fedseal_governance.records import model_digest
from fedseal_governance.snapshots import contains

MEANING = (
    "What this means. While no consent is in force the record enters no further round at this node. The sums that were "
    "opened cannot be taken back: a model named here was trained with the record in the data, and may still carry "
    "traces of it, however small. This list removes nothing and is not unlearning. It tells which models to retrain "
    "without the record, or to retire, if that is what the person is owed."
)

UNREADABLE = "unreadable"
"""In place of a model's digest: the coordinator's job record cannot be read."""

_OPENED = frozenset({AttemptState.UNMASK_RELEASED, AttemptState.COMPLETED})


@dataclass(frozen=True, slots=True, kw_only=True)
class StageUse:
    """The rounds of one stage of a job that a record entered.

    Attributes:
        job: digest of the job file.
        name: its name.
        purpose: what the job was for.
        state: this node's word for the job: accepted (running), ended.
        outcome: how the coordinator said it ended; empty while it runs.
        stage: statistics, training, evaluation.
        opened: rounds, counted from 1, whose sum this node helped to open: the record is in it.
        unopened: rounds, counted from 1, in which the record's masked contribution left, but this node did not help to
            open a sum with it.
        first: when the record was first used in this stage.
        last: when it was last used.
        model: SHA-256 of the model that the job ended with, as the coordinator's record names it; None if it
            names none, `UNREADABLE` if it cannot be read.
    """

    job: str
    name: str
    purpose: str
    state: str
    outcome: str
    stage: str
    opened: tuple[int, ...]
    unopened: tuple[int, ...]
    first: datetime
    last: datetime
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """Everything a record has entered at this node.

    Attributes:
        uses: by job and stage, oldest first.
        withdrawn_at: when the person last withdrew; None if never.
    """

    uses: tuple[StageUse, ...]
    withdrawn_at: datetime | None


def impact(session: Session, register: Register, pseudonym: str) -> Impact:
    """Where a record was used; also after its consent was withdrawn and its content is gone.

    Raises:
        TamperError: the register's key is not the one of the database.
    """
    require_key(session, register.key)
    leaf = register.key.leaf(pseudonym)
    jobs = {row.digest: (row, job) for row, job in _jobs(session) if job.dataset == register.dataset}
    query = (
        select(AttemptRow)
        .where(AttemptRow.snapshot.is_not(None), AttemptRow.job.in_(sorted(jobs)))
        .order_by(AttemptRow.begun_at, AttemptRow.round, AttemptRow.attempt)
    )
    attempts = session.scalars(query).all()
    holding = contains(session, (row.snapshot for row in attempts if row.snapshot is not None), leaf)
    used = [row for row in attempts if row.snapshot in holding]
    order = {key: place for place, key in enumerate(dict.fromkeys((row.job, row.stage) for row in used))}
    used.sort(key=lambda row: order[row.job, row.stage])
    uses = tuple(
        _use(*jobs[job], stage, list(rows)) for (job, stage), rows in groupby(used, lambda row: (row.job, row.stage))
    )
    last = (
        select(WithdrawalRow.withdrawn_at)
        .where(WithdrawalRow.dataset == register.dataset, WithdrawalRow.person == leaf.hex())
        .order_by(WithdrawalRow.withdrawn_at.desc())
    )
    return Impact(uses=uses, withdrawn_at=session.scalar(last.limit(1)))


def rounds_in_words(rounds: Sequence[int]) -> str:
    """Numbers with stretches joined: ``1-7, 9``."""
    stretches: list[list[int]] = []
    for number in rounds:
        if stretches and number == stretches[-1][1] + 1:
            stretches[-1][1] = number
        else:
            stretches.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in stretches)


def _jobs(session: Session) -> Iterable[tuple[NodeJobRow, JobDocument]]:
    for row in session.scalars(select(NodeJobRow)):
        # Its signature was verified when the node decided; whether the signer is still trusted does not matter here.
        content = SignedDocument.from_json(row.envelope).payload
        yield row, load_job(content, row.name)


def _use(row: NodeJobRow, job: JobDocument, stage: str, attempts: list[AttemptRow]) -> StageUse:
    opened = {item.round + 1 for item in attempts if item.state in _OPENED}
    sent = {item.round + 1 for item in attempts}
    return StageUse(
        job=row.digest,
        name=row.name,
        purpose=job.purpose,
        state=row.state.value,
        outcome=row.outcome,
        stage=stage,
        opened=tuple(sorted(opened)),
        unopened=tuple(sorted(sent - opened)),
        first=min(item.begun_at for item in attempts),
        last=max(item.begun_at for item in attempts),
        model=_model(row),
    )


def _model(row: NodeJobRow) -> str | None:
    if not row.record:
        return None
    try:
        return model_digest(row.record)
    except (CryptoError, TamperError):
        # The record is the coordinator's word; nonsense in it must not hide where the record was used.
        return UNREADABLE
