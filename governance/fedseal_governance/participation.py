"""A node's own record of the rounds it took part in, so that no restart makes it answer twice.

Rules kept here:

1. An attempt is recorded before anything of it leaves the node, and never begun a second time.
2. A new attempt of a round begins only after the earlier ones were abandoned, for good, or released.
3. Two sums over the same broadcast may not differ by fewer sites than the minimum cohort, else their
   difference would show what those few contributed (`release`).
4. How many records went into an attempt, and the digest of which, is kept; which ones, never.

A digest called context is that of the attempt's parameters; peers know an abandoned attempt by it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from fedseal_crypto.digests import Digest
from fedseal_governance.acts import Act
from fedseal_governance.columns import DIGEST_LENGTH, NAME_LENGTH, Base, UtcDateTime, Word
from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError, WrongState


class ParticipationState(StrEnum):
    """How far this node went in an attempt."""

    BEGUN = "begun"
    INPUT_SENT = "input_sent"
    UNMASK_RELEASED = "unmask_released"
    ABANDONED = "abandoned"
    COMPLETED = "completed"


class ParticipationStep(StrEnum):
    """What can happen in an attempt."""

    SEND_INPUT = "send_input"
    RELEASE = "release"
    ABANDON = "abandon"
    COMPLETE = "complete"


TRANSITIONS = {
    (ParticipationState.BEGUN, ParticipationStep.SEND_INPUT): ParticipationState.INPUT_SENT,
    (ParticipationState.BEGUN, ParticipationStep.ABANDON): ParticipationState.ABANDONED,
    (ParticipationState.INPUT_SENT, ParticipationStep.RELEASE): ParticipationState.UNMASK_RELEASED,
    (ParticipationState.INPUT_SENT, ParticipationStep.ABANDON): ParticipationState.ABANDONED,
    # The others released the sum while this node was away.
    (ParticipationState.INPUT_SENT, ParticipationStep.COMPLETE): ParticipationState.COMPLETED,
    (ParticipationState.UNMASK_RELEASED, ParticipationStep.COMPLETE): ParticipationState.COMPLETED,
}

_OPEN = (ParticipationState.BEGUN, ParticipationState.INPUT_SENT)


class SeenBefore(AlreadyDone):
    """This node has begun the attempt, or a later one of the round, before."""


class SumsTooClose(RefusedError):
    """Releasing this sum as well would show what too few sites contributed."""


@dataclass(frozen=True, slots=True, order=True)
class Attempt:
    """One attempt of one round of one stage of one job; rounds and attempts count from 0."""

    job: str
    stage: str
    round: int
    attempt: int

    def __str__(self) -> str:
        return f"job {self.job[:12]}, stage {self.stage}, round {self.round}, attempt {self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What this node answered an attempt with.

    Attributes:
        context: digest of the attempt's parameters.
        broadcast: digest of the broadcast it was computed from.
        policy: digest of the policy that allowed it.
        records: number of records used.
        snapshot: digest of which records (`fedseal_governance.consent.snapshot_digest`).
        snapshot_salt: the digest's secret salt, for the node alone.
    """

    context: Digest
    broadcast: Digest
    policy: Digest
    records: int
    snapshot: Digest
    snapshot_salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """This node's part in an attempt.

    Attributes:
        survivors: the sites in the released sum, None until this node released it.
    """

    attempt: Attempt
    state: ParticipationState
    binding: Binding
    survivors: frozenset[str] | None
    begun_at: datetime
    changed_at: datetime


class ParticipationRow(Base):
    """One attempt."""

    __tablename__ = "participations"

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    stage: Mapped[str] = mapped_column(String(NAME_LENGTH))
    round: Mapped[int]
    attempt: Mapped[int]
    state: Mapped[ParticipationState] = mapped_column(Word(ParticipationState))
    context: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    broadcast: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    policy: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    records: Mapped[int] = mapped_column(BigInteger)
    snapshot: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    snapshot_salt: Mapped[bytes] = mapped_column(LargeBinary)
    survivors: Mapped[str | None] = mapped_column(Text)
    begun_at: Mapped[datetime] = mapped_column(UtcDateTime())
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime())

    __table_args__ = (
        UniqueConstraint("job", "stage", "round", "attempt"),
        Index("ix_participations_broadcast", "broadcast"),
    )


def begin(act: Act, attempt: Attempt, binding: Binding) -> Participation:
    """Record an attempt before anything of it leaves this node.

    Raises:
        SeenBefore: this attempt, or a later one of the round, was begun before.
        WrongState: an earlier attempt of the round is still open; abandon it first.
    """
    for earlier in history(act.session, attempt.job, attempt.stage, attempt.round):
        if earlier.attempt.attempt >= attempt.attempt:
            raise SeenBefore(
                f"{attempt}: this node has begun attempt {earlier.attempt.attempt} of the round before; "
                "the coordinator must open a new attempt"
            )
        if earlier.state in _OPEN:
            raise WrongState(
                f"{attempt}: attempt {earlier.attempt.attempt} of the round is still open here; "
                "abandon it first",
                current=earlier.state.value,
                wanted=ParticipationState.BEGUN.value,
            )
    row = ParticipationRow(
        job=attempt.job,
        stage=attempt.stage,
        round=attempt.round,
        attempt=attempt.attempt,
        state=ParticipationState.BEGUN,
        context=binding.context,
        broadcast=binding.broadcast,
        policy=binding.policy,
        records=binding.records,
        snapshot=binding.snapshot,
        snapshot_salt=binding.snapshot_salt,
        begun_at=act.now,
        changed_at=act.now,
    )
    act.session.add(row)
    act.session.flush()
    _note(act, row, broadcast=row.broadcast, policy=row.policy, records=row.records, snapshot=row.snapshot)
    return _participation(row)


def input_sent(act: Act, attempt: Attempt) -> Participation:
    """Record that the masked contribution is about to leave; call it before sending.

    Raises:
        NotFound, WrongState: the attempt was not begun, or went further.
    """
    return _step(act, attempt, ParticipationStep.SEND_INPUT)


def release(act: Act, attempt: Attempt, survivors: Iterable[str], *, minimum_cohort: int) -> Participation:
    """Record that this node is about to help to open the sum over ``survivors``; call it before sending.

    Args:
        act: the change.
        attempt: which attempt.
        survivors: the sites in the sum, as signed by enough members.
        minimum_cohort: the policy's.

    Raises:
        NotFound, WrongState: the attempt is not one whose input was sent.
        RefusedError: too few survivors.
        SumsTooClose: with a sum released earlier, this one would single out fewer sites than the minimum
            cohort.
    """
    sites = frozenset(survivors)
    row = _row(act.session, attempt)
    if len(sites) < minimum_cohort:
        raise RefusedError(
            f"{attempt}: the sum covers {len(sites)} sites, the policy asks for {minimum_cohort}"
        )
    for earlier in released_sums(act.session, Digest(row.broadcast)):
        apart = len(earlier ^ sites)
        if 0 < apart < minimum_cohort:
            raise SumsTooClose(
                f"{attempt}: a sum over the same broadcast was released before and differs by {apart} "
                "sites, fewer "
                f"than the {minimum_cohort} the policy asks for; nothing was sent"
            )
    row.survivors = json.dumps(sorted(sites))
    return _step(act, attempt, ParticipationStep.RELEASE, survivors=len(sites))


def abandon(act: Act, attempt: Attempt) -> Participation:
    """Promise never to help to open this attempt's sum.

    Raises:
        NotFound, WrongState: the attempt was not begun here, or its sum was released.
    """
    return _step(act, attempt, ParticipationStep.ABANDON)


def abandon_open(act: Act, job: str) -> tuple[Participation, ...]:
    """Abandon every open attempt of a job: what a restarted node does first, having lost its keys."""
    query = select(ParticipationRow).where(ParticipationRow.job == job, ParticipationRow.state.in_(_OPEN))
    rows = act.session.scalars(query.order_by(ParticipationRow.id)).all()
    return tuple(abandon(act, _attempt(row)) for row in rows)


def complete(act: Act, attempt: Attempt) -> Participation:
    """Record that the round's sum was published.

    Raises:
        NotFound, WrongState: this node did not send its input.
    """
    return _step(act, attempt, ParticipationStep.COMPLETE)


def open_attempts(session: Session, job: str, stage: str, round_: int) -> tuple[Participation, ...]:
    """Attempts of a round that were neither abandoned nor released, in order."""
    return tuple(item for item in history(session, job, stage, round_) if item.state in _OPEN)


def abandoned_contexts(session: Session, job: str, stage: str, round_: int) -> tuple[Digest, ...]:
    """Contexts of the attempts of a round that this node will never help to open, in order."""
    found = history(session, job, stage, round_)
    return tuple(item.binding.context for item in found if item.state is ParticipationState.ABANDONED)


def history(session: Session, job: str, stage: str, round_: int) -> tuple[Participation, ...]:
    """Every attempt of a round that this node began, in order."""
    query = select(ParticipationRow).where(
        ParticipationRow.job == job, ParticipationRow.stage == stage, ParticipationRow.round == round_
    )
    return tuple(_participation(row) for row in session.scalars(query.order_by(ParticipationRow.attempt)))


def released_sums(session: Session, broadcast: Digest) -> tuple[frozenset[str], ...]:
    """The sites of each sum over this broadcast that this node helped to open."""
    query = (
        select(ParticipationRow.survivors)
        .where(ParticipationRow.broadcast == broadcast, ParticipationRow.survivors.is_not(None))
        .order_by(ParticipationRow.id)
    )
    return tuple(frozenset(json.loads(text)) for text in session.scalars(query) if text is not None)


def _step(act: Act, attempt: Attempt, step: ParticipationStep, **details: object) -> Participation:
    row = _row(act.session, attempt)
    target = TRANSITIONS.get((row.state, step))
    if target is None:
        raise WrongState(
            f"{attempt}: this node's part is {row.state.value.replace('_', ' ')}, so '{step.value}' "
            "is not possible",
            current=row.state.value,
            wanted=step.value,
        )
    row.state = target
    row.changed_at = act.now
    act.session.flush()
    _note(act, row, **details)
    return _participation(row)


def _note(act: Act, row: ParticipationRow, **details: object) -> None:
    act.note(
        f"round.{row.state.value}", row.job, stage=row.stage, round=row.round, attempt=row.attempt, **details
    )


def _row(session: Session, attempt: Attempt) -> ParticipationRow:
    row = session.scalar(
        select(ParticipationRow).where(
            ParticipationRow.job == attempt.job,
            ParticipationRow.stage == attempt.stage,
            ParticipationRow.round == attempt.round,
            ParticipationRow.attempt == attempt.attempt,
        )
    )
    if row is None:
        raise NotFound(f"{attempt}: this node has not begun it")
    return row


def _attempt(row: ParticipationRow) -> Attempt:
    return Attempt(row.job, row.stage, row.round, row.attempt)


def _participation(row: ParticipationRow) -> Participation:
    return Participation(
        attempt=_attempt(row),
        state=row.state,
        binding=Binding(
            context=Digest(row.context),
            broadcast=Digest(row.broadcast),
            policy=Digest(row.policy),
            records=row.records,
            snapshot=Digest(row.snapshot),
            snapshot_salt=row.snapshot_salt,
        ),
        survivors=None if row.survivors is None else frozenset(json.loads(row.survivors)),
        begun_at=row.begun_at,
        changed_at=row.changed_at,
    )
