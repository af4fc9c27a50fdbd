"""Reading and changing the coordinator's jobs, rounds, messages and artefacts."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError, WrongState, shown
from fedseal_governance.runs.tables import (
    JOB_TRANSITIONS,
    ROUND_TRANSITIONS,
    AnswerRow,
    ArtefactRow,
    JobRow,
    JobState,
    MessageRow,
    RoundRow,
    RoundState,
)


class MessageConflict(RefusedError):
    """A client sent other bytes for a step that it had answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundKey:
    """One attempt of one round of one stage of one job; rounds and attempts count from 0."""

    job: str
    stage: str
    round: int
    attempt: int

    def __str__(self) -> str:
        return f"job {self.job[:12]}, stage {self.stage}, round {self.round}, attempt {self.attempt}"

    @property
    def values(self) -> tuple[str, str, int, int]:
        """As the primary key of a round."""
        return self.job, self.stage, self.round, self.attempt


def add_job(session: Session, row: JobRow) -> None:
    """Store a submitted job.

    Raises:
        AlreadyDone: the same file was submitted before.
    """
    earlier = session.get(JobRow, row.digest)
    if earlier is not None:
        raise AlreadyDone(
            f"this job was submitted before, by {earlier.submitted_by} on "
            f"{earlier.submitted_at:%Y-%m-%d}, and is "
            f"{earlier.state.value}; change its name or its seed to run it again"
        )
    session.add(row)
    session.flush()


def job(session: Session, digest: str) -> JobRow:
    """One job.

    Raises:
        NotFound: no such job.
    """
    row = session.get(JobRow, digest)
    if row is None:
        raise NotFound(f"there is no job {digest[:12]} here; see `fedseal job list`")
    return row


def jobs(session: Session, *, limit: int = 1000) -> tuple[JobRow, ...]:
    """The newest ``limit`` jobs, newest first."""
    query = select(JobRow).order_by(JobRow.submitted_at.desc(), JobRow.digest).limit(limit)
    return tuple(session.scalars(query))


def change_job(session: Session, digest: str, state: JobState, reason: str, now: datetime) -> JobRow:
    """Move a job to another state.

    Raises:
        NotFound: no such job.
        WrongState: the state does not follow from the present one.
    """
    row = job(session, digest)
    if state not in JOB_TRANSITIONS[row.state]:
        raise WrongState(
            f"job {row.name} ({digest[:12]}) is {row.state.value} and cannot become {state.value}",
            current=row.state.value,
            wanted=state.value,
        )
    row.state, row.reason = state, reason
    if state in JobState.final():
        row.finished_at = now
    session.flush()
    return row


def answers(session: Session, digest: str) -> tuple[AnswerRow, ...]:
    """The nodes' answers to a job's offer, by node."""
    query = select(AnswerRow).where(AnswerRow.job == digest).order_by(AnswerRow.node)
    return tuple(session.scalars(query))


def add_answer(session: Session, row: AnswerRow) -> None:
    """Store a node's answer; the first one counts.

    Raises:
        AlreadyDone: the node has answered before.
    """
    if session.get(AnswerRow, (row.job, row.node)) is not None:
        raise AlreadyDone(f"{row.node} has answered the offer of job {row.job[:12]} before")
    session.add(row)
    session.flush()


def add_round(session: Session, row: RoundRow) -> None:
    """Open an attempt.

    Raises:
        AlreadyDone: this attempt was opened before.
        WrongState: another attempt of the job is still open.
    """
    if session.get(RoundRow, (row.job, row.stage, row.round, row.attempt)) is not None:
        raise AlreadyDone(f"{_key(row)} was opened before")
    current = open_round(session, row.job)
    if current is not None:
        raise WrongState(
            f"{_key(row)} cannot be opened while {_key(current)} is open",
            current=current.state.value,
            wanted=RoundState.OPEN.value,
        )
    session.add(row)
    session.flush()


def round_row(session: Session, key: RoundKey) -> RoundRow:
    """One attempt.

    Raises:
        NotFound: it was never opened.
    """
    row = session.get(RoundRow, key.values)
    if row is None:
        raise NotFound(f"{key} was never opened")
    return row


def rounds(session: Session, digest: str) -> tuple[RoundRow, ...]:
    """Every attempt of a job in the order in which they were opened."""
    query = select(RoundRow).where(RoundRow.job == digest)
    return tuple(session.scalars(query.order_by(RoundRow.started_at, RoundRow.round, RoundRow.attempt)))


def open_round(session: Session, digest: str) -> RoundRow | None:
    """The attempt of a job that is under way."""
    return session.scalar(select(RoundRow).where(RoundRow.job == digest, RoundRow.state == RoundState.OPEN))


def end_round(session: Session, key: RoundKey, state: RoundState, now: datetime, reason: str = "") -> RoundRow:
    """Close an attempt, with or without a sum.

    Raises:
        NotFound: it was never opened.
        WrongState: it was closed before.
    """
    row = round_row(session, key)
    if state not in ROUND_TRANSITIONS[row.state]:
        raise WrongState(
            f"{key} is {row.state.value} and cannot become {state.value}",
            current=row.state.value,
            wanted=state.value,
        )
    row.state, row.reason, row.ended_at = state, reason, now
    session.flush()
    return row


def add_message(session: Session, key: RoundKey, *, step: str, client: str, payload: bytes) -> bool:
    """Store a masking message; returns False when the same bytes were stored before.

    Raises:
        MessageConflict: the client answered the step with other bytes before.
    """
    row = session.scalar(_messages_of(key).where(MessageRow.step == step, MessageRow.client == client))
    if row is not None:
        if row.payload != payload:
            raise MessageConflict(f"{key}: {client} sent a second, different message for the step {step}")
        return False
    session.add(
        MessageRow(
            job=key.job,
            stage=key.stage,
            round=key.round,
            attempt=key.attempt,
            step=step,
            client=client,
            payload=payload,
        )
    )
    session.flush()
    return True


def messages(session: Session, key: RoundKey) -> tuple[MessageRow, ...]:
    """The messages of an attempt in order of arrival."""
    return tuple(session.scalars(_messages_of(key).order_by(MessageRow.id)))


def forget_messages(session: Session, key: RoundKey) -> None:
    """Delete the messages of an attempt that has ended.

    Raises:
        WrongState: it is still open.
    """
    row = round_row(session, key)
    if row.state is RoundState.OPEN:
        raise WrongState(f"{key} still needs its messages", current=row.state.value, wanted="ended")
    session.execute(
        delete(MessageRow).where(
            MessageRow.job == key.job,
            MessageRow.stage == key.stage,
            MessageRow.round == key.round,
            MessageRow.attempt == key.attempt,
        )
    )


def add_artefact(session: Session, row: ArtefactRow) -> None:
    """Note a file of a job; noting it again changes nothing.

    Raises:
        RefusedError: it was noted with another size.
    """
    earlier = session.get(ArtefactRow, (row.job, row.kind, row.digest))
    if earlier is None:
        session.add(row)
        session.flush()
    elif earlier.size != row.size:
        raise RefusedError(f"the {row.kind} {row.digest[:12]} has {row.size} bytes, but {earlier.size} were noted")


def artefacts(session: Session, digest: str, *, kind: str | None = None) -> tuple[ArtefactRow, ...]:
    """The files of a job, or those of one kind."""
    query = select(ArtefactRow).where(ArtefactRow.job == digest).order_by(ArtefactRow.kind, ArtefactRow.digest)
    if kind is not None:
        query = query.where(ArtefactRow.kind == kind)
    return tuple(session.scalars(query))


def _messages_of(key: RoundKey) -> Select[MessageRow]:
    return select(MessageRow).where(
        MessageRow.job == key.job,
        MessageRow.stage == key.stage,
        MessageRow.round == key.round,
        MessageRow.attempt == key.attempt,
    )


def _key(row: RoundRow) -> RoundKey:
    return RoundKey(job=row.job, stage=row.stage, round=row.round, attempt=row.attempt)


def find_job(session: Session, wanted: str) -> JobRow:
    """The one job whose digest begins with ``wanted``, or else the newest whose name it is.

    Raises:
        NotFound: none matches, or the beginning of the digest fits several.
    """
    rows = jobs(session)
    by_digest = [row for row in rows if wanted and row.digest.startswith(wanted)]
    if len(by_digest) > 1:
        raise NotFound(f"{len(by_digest)} jobs begin with {shown(wanted)}; give more characters of the digest")
    for row in (*by_digest, *(row for row in rows if row.name == wanted)):
        return row
    raise NotFound(f"there is no job {shown(wanted)}; `fedseal job list` shows the known ones")
