"""Keys of homomorphic jobs: which key a job has (at every party), and what the custodian served and opened.

Rules kept here:

1. A job has one key, at each party that knows of it; another one is refused.
2. The custodian opens one sum of a round: the same request again is answered again, any other is refused.
3. Two sums may not differ by only a few members: how few, and which two are compared, the policy says.
4. Of each round the numbers about single contributions are opened once; the same request gets the same answer.
5. No secret is stored: keys are named by the digest of their public part.

Each function works in the caller's session; the log entries beside the changes are the caller's.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, LargeBinary, String, Text, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from fedseal_governance.columns import DIGEST_LENGTH, NAME_LENGTH, Base, UtcDateTime, Word
from fedseal_governance.errors import NotFound, RefusedError, WrongState
from fedseal_governance.policy.model import HistoryScope
from fedseal_governance.runs import RoundKey


class ServedState(StrEnum):
    """What the custodian does for a job."""

    REFUSED = "refused"
    SERVED = "served"
    ENDED = "ended"


SERVED_TRANSITIONS: Mapping[ServedState, frozenset[ServedState]] = {
    ServedState.REFUSED: frozenset(),
    ServedState.SERVED: frozenset({ServedState.ENDED}),
    ServedState.ENDED: frozenset(),
}


class JobKeyRow(Base):
    """The public key of a job, as its custodian stated it; at the coordinator and at each node."""

    __tablename__ = "job_keys"

    job: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    custodian: Mapped[str] = mapped_column(String(NAME_LENGTH))
    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="of the public key")
    statement: Mapped[bytes] = mapped_column(LargeBinary, comment="the custodian's signed statement")
    at: Mapped[datetime] = mapped_column(UtcDateTime())


class ServedJobRow(Base):
    """A job that was offered to this custodian."""

    __tablename__ = "custodian_jobs"

    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    envelope: Mapped[bytes] = mapped_column(LargeBinary, comment="the job file with its signature, as received")
    policy: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="digest of the policy that decided, or empty")
    reasons: Mapped[str] = mapped_column(Text, comment="JSON list of clause, sentence and verdict")
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime())
    state: Mapped[ServedState] = mapped_column(Word(ServedState))
    key_digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), default="", comment="of the public key, or empty")
    statement: Mapped[bytes | None] = mapped_column(LargeBinary, comment="the signed statement of the key")
    destroyed_at: Mapped[datetime | None] = mapped_column(UtcDateTime(), comment="when the secret key was destroyed")
    outcome: Mapped[str] = mapped_column(Text, default="", comment="how the coordinator said it ended")


class OpenedSumRow(Base):
    """A sum that the custodian opened."""

    __tablename__ = "custodian_sums"

    job: Mapped[str] = mapped_column(ForeignKey("custodian_jobs.digest"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column()
    request: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="digest of the request that was answered")
    dataset: Mapped[str] = mapped_column(String(NAME_LENGTH))
    broadcast: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    members: Mapped[str] = mapped_column(Text, comment="JSON list of the sites in the sum")
    sum_digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="of the encrypted sum")
    times: Mapped[int] = mapped_column(comment="how often the same request was answered")
    at: Mapped[datetime] = mapped_column(UtcDateTime(), index=True)


class OpenedScalarsRow(Base):
    """The numbers about single contributions that the custodian opened of a round, as it signed them."""

    __tablename__ = "custodian_scalars"

    job: Mapped[str] = mapped_column(ForeignKey("custodian_jobs.digest"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column()
    request: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="digest of the request that was answered")
    numbers: Mapped[int] = mapped_column(comment="how many were opened")
    answer: Mapped[bytes] = mapped_column(LargeBinary, comment="the signed statements, to be sent again as they are")
    at: Mapped[datetime] = mapped_column(UtcDateTime(), index=True)


class KeyConflict(RefusedError):
    """A job has another key than the one that is offered now."""


class SumRefused(RefusedError):
    """This sum may not be opened.

    Attributes:
        later: whether it may be opened at another time.
    """

    def __init__(self, sentence: str, *, later: bool = False) -> None:
        super().__init__(sentence)
        self.later = later


def job_key(session: Session, job: str) -> JobKeyRow | None:
    """The key of a job, if one is known here."""
    return session.get(JobKeyRow, job)


def store_job_key(session: Session, row: JobKeyRow) -> bool:
    """Store a job's key; false if the same was stored before.

    Raises:
        KeyConflict: the job has another key.
    """
    known = session.get(JobKeyRow, row.job)
    if known is not None:
        if known.digest != row.digest:
            raise KeyConflict(
                f"job {row.job[:12]} has the key {known.digest[:16]}… and another, {row.digest[:16]}…, is offered; "
                "a job keeps its key, so submit it again under another name or seed"
            )
        return False
    session.add(row)
    session.flush()
    return True


def served_job(session: Session, job: str) -> ServedJobRow | None:
    """A job that was offered to this custodian."""
    return session.get(ServedJobRow, job)


def served_jobs(session: Session, *, live: bool = False) -> tuple[ServedJobRow, ...]:
    """Every offered job, newest first; with ``live`` those whose secret key was not destroyed."""
    query = select(ServedJobRow).order_by(ServedJobRow.decided_at.desc(), ServedJobRow.digest)
    if live:
        query = query.where(ServedJobRow.state == ServedState.SERVED)
    return tuple(session.scalars(query))


def add_served_job(session: Session, row: ServedJobRow) -> None:
    """Store the decision on an offered job."""
    session.add(row)
    session.flush()


def end_served_job(session: Session, job: str, *, outcome: str, now: datetime) -> ServedJobRow:
    """Store that a job's secret key is destroyed.

    Raises:
        NotFound: it was never offered here.
        WrongState: it was not served, or has ended.
    """
    row = session.get(ServedJobRow, job)
    if row is None:
        raise NotFound(f"job {job[:12]} was never offered to this custodian")
    if ServedState.ENDED not in SERVED_TRANSITIONS[row.state]:
        sentence = f"job {row.name} ({job[:12]}) is {row.state.value}: it has no key here"
        raise WrongState(sentence, current=row.state.value, wanted=ServedState.ENDED.value)
    row.state, row.outcome, row.destroyed_at = ServedState.ENDED, outcome, now
    session.flush()
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class SumAsked:
    """A sum that the coordinator asks to have opened.

    Attributes:
        request: digest of the whole request, hexadecimal.
        dataset: of the job.
        broadcast: digest of the round's broadcast.
        members: who is in the sum, sorted.
        sum_digest: digest of the encrypted sum, hexadecimal.
        group: members of the group that the sum is of, empty where it is over all; what an earlier sum has in common
            with it counts as a sum too, because the other groups' sums may make up the rest.
    """

    key: RoundKey
    request: str
    dataset: str
    broadcast: str
    members: Collection[str]
    sum_digest: str
    group: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SumLimits:
    """How much this custodian opens.

    Attributes:
        minimum_difference: fewest members by which two sums may differ, if they differ at all.
        scope: which two sums are compared.
        per_job: sums of one job.
        per_hour: sums of all jobs within an hour.
        repeats: times that one and the same request is answered.
    """

    minimum_difference: int
    scope: HistoryScope
    per_job: int
    per_hour: int
    repeats: int


def require_openable(session: Session, asked: SumAsked, limits: SumLimits, now: datetime) -> None:
    """Refuse a sum that a rule of this module forbids; called before any work is spent on it.

    Raises:
        SumRefused: with the rule.
    """
    known = session.get(OpenedSumRow, (asked.key.job, asked.key.stage, asked.key.round))
    if known is not None:
        _require_repetition(known, asked, limits)
        return
    rows = tuple(session.scalars(select(OpenedSumRow).where(OpenedSumRow.job == asked.key.job)))
    if len(rows) >= limits.per_job:
        raise SumRefused(f"{len(rows)} sums of job {asked.key.job[:12]} were opened and {limits.per_job} is the most")
    recent = session.scalar(select(func.count()).where(OpenedSumRow.at > now - timedelta(hours=1))) or 0
    if recent >= limits.per_hour:
        raise SumRefused(
            f"{recent} sums were opened within an hour and `sums_per_hour` is {limits.per_hour}; try again later",
            later=True,
        )
    for row in _compared(session, asked, limits.scope):
        before, members = frozenset(json.loads(row.members)), frozenset(asked.members)
        whole, within = before ^ members, (before & asked.group or before) ^ members
        apart = whole if 0 < len(whole) < limits.minimum_difference else within
        if 0 < len(apart) < limits.minimum_difference:
            raise SumRefused(
                f"{asked.key}: an opened sum (job {row.job[:12]}, {row.stage} round {row.round}) differs from this one "
                f"by {len(apart)} members, so that their difference would show what those contributed; the policy "
                f"compares {limits.scope.plain} and asks for at least {limits.minimum_difference}"
            )


def note_opened(session: Session, asked: SumAsked, limits: SumLimits, now: datetime) -> int:
    """Store that a sum is about to leave, before it leaves; how often this request was answered, this time included.

    Raises:
        SumRefused: a rule of this module forbids it.
    """
    require_openable(session, asked, limits, now)
    known = session.get(OpenedSumRow, (asked.key.job, asked.key.stage, asked.key.round))
    if known is not None:
        known.times += 1
        session.flush()
        return known.times
    session.add(
        OpenedSumRow(
            job=asked.key.job,
            stage=asked.key.stage,
            round=asked.key.round,
            attempt=asked.key.attempt,
            request=asked.request,
            dataset=asked.dataset,
            broadcast=asked.broadcast,
            members=json.dumps(sorted(asked.members)),
            sum_digest=asked.sum_digest,
            times=1,
            at=now,
        )
    )
    session.flush()
    return 1


def require_scalars_openable(
    session: Session, key: RoundKey, request: str, limits: SumLimits, now: datetime
) -> bytes | None:
    """Refuse numbers that a rule of this module forbids; the stored answer, if the same request was answered.

    The noise of a number hides nothing if the same number is opened again under other noise, so it never is.

    Raises:
        SumRefused: with the rule.
    """
    known = session.get(OpenedScalarsRow, (key.job, key.stage, key.round))
    if known is not None:
        if known.request != request:
            raise SumRefused(
                f"{key}: other numbers of this round were opened before (attempt {known.attempt}); a custodian opens "
                "each number once a round"
            )
        return known.answer
    opened = select(func.count()).where(OpenedScalarsRow.job == key.job)
    if (session.scalar(opened) or 0) >= limits.per_job:
        raise SumRefused(f"numbers of {limits.per_job} rounds of job {key.job[:12]} were opened and that is the most")
    recent = session.scalar(select(func.count()).where(OpenedScalarsRow.at > now - timedelta(hours=1))) or 0
    if recent >= limits.per_hour:
        raise SumRefused(
            f"numbers of {recent} rounds were opened within an hour and `sums_per_hour` is {limits.per_hour}; "
            "try again later",
            later=True,
        )
    return None


def note_scalars(session: Session, row: OpenedScalarsRow, limits: SumLimits) -> None:
    """Store the answer to a request before it leaves.

    Raises:
        SumRefused: a rule of this module forbids it, or it was answered meanwhile.
    """
    key = RoundKey(job=row.job, stage=row.stage, round=row.round, attempt=row.attempt)
    if require_scalars_openable(session, key, row.request, limits, row.at) is not None:
        raise SumRefused(f"{key}: these numbers were opened meanwhile; is the custodian running twice?")
    session.add(row)
    session.flush()


def opened_sums(session: Session, job: str) -> tuple[OpenedSumRow, ...]:
    """The sums of a job that were opened, in order."""
    query = select(OpenedSumRow).where(OpenedSumRow.job == job)
    return tuple(session.scalars(query.order_by(OpenedSumRow.at, OpenedSumRow.stage, OpenedSumRow.round)))


def _compared(session: Session, asked: SumAsked, scope: HistoryScope) -> tuple[OpenedSumRow, ...]:
    query = select(OpenedSumRow)
    match scope:
        case HistoryScope.MODEL:
            query = query.where(OpenedSumRow.job == asked.key.job, OpenedSumRow.broadcast == asked.broadcast)
        case HistoryScope.JOB:
            query = query.where(OpenedSumRow.job == asked.key.job)
        case HistoryScope.DATASET:
            query = query.where(OpenedSumRow.dataset == asked.dataset)
    return tuple(session.scalars(query.order_by(OpenedSumRow.at)))


def _require_repetition(known: OpenedSumRow, asked: SumAsked, limits: SumLimits) -> None:
    if known.request != asked.request:
        raise SumRefused(
            f"{asked.key}: another sum of this round was opened before (attempt {known.attempt}); a custodian opens "
            "one sum of a round, because two could be subtracted from each other"
        )
    if known.times >= limits.repeats:
        raise SumRefused(f"{asked.key}: this sum was opened {known.times} times already and that is the most")
