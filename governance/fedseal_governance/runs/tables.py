"""States and tables of the coordinator's jobs, with the literal tables of what may follow what."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Self

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from fedseal_governance.columns import DIGEST_LENGTH, NAME_LENGTH, Base, UtcDateTime, Word


class JobState(StrEnum):
    """Where a job stands at the coordinator."""

    OFFERED = "offered"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    REFUSED = "refused"

    @classmethod
    def final(cls) -> frozenset[Self]:
        """States after which nothing follows."""
        return frozenset(state for state in cls if not JOB_TRANSITIONS[state])


JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.OFFERED: frozenset({JobState.RUNNING, JobState.REFUSED, JobState.STOPPED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.FINISHED, JobState.FAILED, JobState.STOPPED}),
    JobState.FINISHED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.STOPPED: frozenset(),
    JobState.REFUSED: frozenset(),
}


class RoundState(StrEnum):
    """Where one attempt of a round stands."""

    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"


ROUND_TRANSITIONS: Mapping[RoundState, frozenset[RoundState]] = {
    RoundState.OPEN: frozenset({RoundState.COMPLETED, RoundState.FAILED}),
    RoundState.COMPLETED: frozenset(),
    RoundState.FAILED: frozenset(),
}


class JobRow(Base):
    """A submitted job and how far it has come."""

    __tablename__ = "jobs"

    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    envelope: Mapped[bytes] = mapped_column(LargeBinary, comment="the job file with its signature, as received")
    schema: Mapped[bytes] = mapped_column(LargeBinary, comment="the schema file that the nodes share")
    submitted_by: Mapped[str] = mapped_column(String(NAME_LENGTH))
    submitted_at: Mapped[datetime] = mapped_column(UtcDateTime())
    state: Mapped[JobState] = mapped_column(Word(JobState))
    reason: Mapped[str] = mapped_column(Text, default="")
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    stage: Mapped[int] = mapped_column(default=0, comment="next stage, by its place in the programme")
    round: Mapped[int] = mapped_column(default=0, comment="next round of that stage")
    attempt: Mapped[int] = mapped_column(default=0, comment="next attempt of that round")
    state_digest: Mapped[str | None] = mapped_column(String(DIGEST_LENGTH), comment="the last good state")
    record: Mapped[bytes | None] = mapped_column(LargeBinary, comment="the signed job record")

    __table_args__ = (Index("ix_jobs_submitted_at", "submitted_at"),)


class AnswerRow(Base):
    """A node's answer to a job's offer."""

    __tablename__ = "job_answers"

    job: Mapped[str] = mapped_column(ForeignKey(JobRow.digest), primary_key=True)
    node: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    accepted: Mapped[bool]
    policy: Mapped[str] = mapped_column(String(NAME_LENGTH), comment="digest of the policy it was judged by")
    reasons: Mapped[str] = mapped_column(Text, comment="JSON list of clause, sentence and verdict")
    at: Mapped[datetime] = mapped_column(UtcDateTime())


_OPEN = text("state = 'open'")


class RoundRow(Base):
    """One attempt of a round."""

    __tablename__ = "rounds"

    job: Mapped[str] = mapped_column(ForeignKey(JobRow.digest), primary_key=True)
    stage: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    parameters: Mapped[bytes] = mapped_column(LargeBinary, comment="encoded parameters of the protocol")
    broadcast: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    roster: Mapped[str] = mapped_column(Text, comment="JSON list of node, session and certificate")
    log_size: Mapped[int] = mapped_column(BigInteger, comment="entries in the audit log before this attempt")
    started_at: Mapped[datetime] = mapped_column(UtcDateTime())
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    state: Mapped[RoundState] = mapped_column(Word(RoundState))
    closed_steps: Mapped[int] = mapped_column(default=0, comment="protocol steps that take no more messages")
    reason: Mapped[str] = mapped_column(Text, default="")
    survivors: Mapped[str] = mapped_column(Text, default="[]", comment="JSON list of nodes in the sum")
    recovered: Mapped[str] = mapped_column(Text, default="[]", comment="JSON list of nodes whose masks were removed")
    figures: Mapped[str] = mapped_column(Text, default="{}", comment="JSON object of published figures")

    __table_args__ = (
        # The database itself refuses a second open round of a job.
        Index("ix_rounds_one_open", "job", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    )


class MessageRow(Base):
    """A masking message as it arrived."""

    __tablename__ = "round_messages"

    id: Mapped[int] = mapped_column(primary_key=True, comment="order of arrival")
    job: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    stage: Mapped[str] = mapped_column(String(NAME_LENGTH))
    round: Mapped[int]
    attempt: Mapped[int]
    step: Mapped[str] = mapped_column(String(20))
    client: Mapped[str] = mapped_column(String(NAME_LENGTH))
    payload: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (
        ForeignKeyConstraint(
            ["job", "stage", "round", "attempt"],
            ["rounds.job", "rounds.stage", "rounds.round", "rounds.attempt"],
        ),
        UniqueConstraint("job", "stage", "round", "attempt", "step", "client"),
    )


class ArtefactRow(Base):
    """A file that a job produced or sent out, named by its digest."""

    __tablename__ = "artefacts"

    job: Mapped[str] = mapped_column(ForeignKey(JobRow.digest), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
