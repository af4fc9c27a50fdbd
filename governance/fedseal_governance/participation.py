"""A node's own record of the jobs it was offered and the rounds it took part in, so that no restart answers twice.

Rules kept here:

1. A job is accepted or refused once; the decision is repeated, not made again.
2. An attempt is recorded before anything of it leaves the node, and never begun a second time. When a newer attempt
   of a round begins, the older ones that were not released are abandoned for good.
3. Which records went into an attempt is kept at the node alone, once for each different set.

Each function works in the caller's session; the log entries beside the changes are the caller's, who knows more about
them. Left out here: what one sum may reveal beside another (`fedseal_governance.history`).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from fedseal_governance import snapshots
from fedseal_governance.columns import DIGEST_LENGTH, NAME_LENGTH, Base, UtcDateTime, Word
from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError, WrongState
from fedseal_governance.runs import RoundKey


class NodeJobState(StrEnum):
    """What this node decided about a job."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    ENDED = "ended"


class AttemptState(StrEnum):
    """How far this node went in an attempt."""

    BEGUN = "begun"
    INPUT_SENT = "input_sent"
    UNMASK_RELEASED = "unmask_released"
    COMPLETED = "completed"
    ABANDONED = "abandoned"


ATTEMPT_TRANSITIONS: Mapping[AttemptState, frozenset[AttemptState]] = {
    AttemptState.BEGUN: frozenset({AttemptState.INPUT_SENT, AttemptState.ABANDONED}),
    AttemptState.INPUT_SENT: frozenset({AttemptState.UNMASK_RELEASED, AttemptState.ABANDONED}),
    AttemptState.UNMASK_RELEASED: frozenset({AttemptState.COMPLETED}),
    AttemptState.COMPLETED: frozenset(),
    AttemptState.ABANDONED: frozenset(),
}


class NodeJobRow(Base):
    """A job that the coordinator offered to this node."""

    __tablename__ = "node_jobs"

    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    envelope: Mapped[bytes] = mapped_column(LargeBinary, comment="the job file with its signature, as received")
    policy: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="digest of the policy that decided, or empty")
    reasons: Mapped[str] = mapped_column(Text, comment="JSON list of clause, sentence and verdict")
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime())
    state: Mapped[NodeJobState] = mapped_column(Word(NodeJobState))
    outcome: Mapped[str] = mapped_column(Text, default="", comment="how the coordinator said it ended")
    record: Mapped[bytes | None] = mapped_column(LargeBinary, comment="the coordinator's signed job record")


class AgreementRow(Base):
    """The operator's agreement to a single job."""

    __tablename__ = "node_agreements"

    job: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    operator: Mapped[str] = mapped_column(String(NAME_LENGTH))
    agreed_at: Mapped[datetime] = mapped_column(UtcDateTime())


class AttemptRow(Base):
    """This node's part in one attempt of a round."""

    __tablename__ = "node_attempts"

    job: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    stage: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    context: Mapped[str] = mapped_column(String(DIGEST_LENGTH), comment="digest by which peers know the attempt")
    broadcast: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    holders: Mapped[int] = mapped_column(comment="members that hold shares")
    corrupted: Mapped[int] = mapped_column(comment="members that may collude with the coordinator")
    threshold: Mapped[int] = mapped_column(comment="shares that open a mask")
    state: Mapped[AttemptState] = mapped_column(Word(AttemptState))
    input_sent: Mapped[bool] = mapped_column(default=False, comment="whether the masked vector may be out")
    survivors: Mapped[str] = mapped_column(Text, default="[]", comment="JSON list of the sites in the sum")
    records: Mapped[int] = mapped_column(BigInteger, default=0, comment="records used")
    snapshot: Mapped[str | None] = mapped_column(ForeignKey("record_snapshots.digest"))
    begun_at: Mapped[datetime] = mapped_column(UtcDateTime())

    __table_args__ = (Index("ix_node_attempts_broadcast", "job", "broadcast"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What is fixed when an attempt begins.

    Attributes:
        context: digest of the attempt's parameters, hexadecimal.
        broadcast: digest of its broadcast, hexadecimal.
        holders: members that hold shares of this node's secrets.
        corrupted: members assumed to collude with the coordinator.
        threshold: shares that open a mask.
    """

    key: RoundKey
    context: str
    broadcast: str
    holders: int
    corrupted: int
    threshold: int


def agree(session: Session, job: str, *, operator: str, now: datetime) -> None:
    """Store that the node's operator agrees to a job; agreeing again changes nothing."""
    if session.get(AgreementRow, job) is None:
        session.add(AgreementRow(job=job, operator=operator, agreed_at=now))
        session.flush()


def has_agreement(session: Session, job: str) -> bool:
    """Whether the operator has agreed to a job."""
    return session.get(AgreementRow, job) is not None


def store_job(session: Session, row: NodeJobRow) -> NodeJobRow:
    """Store the decision on a job, or give back the one that was made before."""
    known = session.get(NodeJobRow, row.digest)
    if known is not None:
        return known
    session.add(row)
    session.flush()
    return row


def accepted_jobs(session: Session) -> tuple[NodeJobRow, ...]:
    """Jobs this node takes part in, oldest first."""
    query = select(NodeJobRow).where(NodeJobRow.state == NodeJobState.ACCEPTED)
    return tuple(session.scalars(query.order_by(NodeJobRow.decided_at, NodeJobRow.digest)))


def end_job(session: Session, digest: str, *, outcome: str, record: bytes) -> NodeJobRow:
    """Store how the coordinator ended a job, and abandon its open attempts.

    A refused job stays refused, so that the answer to a repeated offer never changes.

    Raises:
        NotFound: it was never offered here.
    """
    row = session.get(NodeJobRow, digest)
    if row is None:
        raise NotFound(f"job {digest[:12]} was never offered to this node")
    row.outcome, row.record = outcome, record
    if row.state is NodeJobState.ACCEPTED:
        row.state = NodeJobState.ENDED
    for attempt in attempts_of(session, digest):
        _abandon_if_open(attempt)
    session.flush()
    return row


def begin(session: Session, beginning: Beginning, now: datetime) -> tuple[AttemptRow, ...]:
    """Store an attempt before anything of it leaves this node; older open attempts of the round are abandoned.

    Returns:
        Older attempts of the round whose masked vector may be out.

    Raises:
        AlreadyDone: this attempt or a later one was begun before, or the round is complete.
    """
    key = beginning.key
    earlier = _attempts_of_round(session, key)
    for row in earlier:
        if row.attempt >= key.attempt:
            raise AlreadyDone(
                f"{key}: this node has begun attempt {row.attempt} of the round before; "
                "the coordinator must open a new attempt"
            )
        if row.state is AttemptState.COMPLETED:
            raise AlreadyDone(f"{key}: the round was completed with attempt {row.attempt}")
    for row in earlier:
        _abandon_if_open(row)
    session.add(
        AttemptRow(
            job=key.job,
            stage=key.stage,
            round=key.round,
            attempt=key.attempt,
            context=beginning.context,
            broadcast=beginning.broadcast,
            holders=beginning.holders,
            corrupted=beginning.corrupted,
            threshold=beginning.threshold,
            state=AttemptState.BEGUN,
            input_sent=False,
            survivors="[]",
            records=0,
            begun_at=now,
        )
    )
    session.flush()
    return tuple(row for row in earlier if row.input_sent)


def advance(session: Session, key: RoundKey, target: AttemptState) -> AttemptRow:
    """Move an attempt on; called before what the new state stands for leaves the node.

    Raises:
        NotFound: it was not begun here.
        WrongState: the state does not follow, or shares would leave before the survivors were noted.
    """
    row = _attempt(session, key)
    possible = target in ATTEMPT_TRANSITIONS[row.state]
    if target is AttemptState.UNMASK_RELEASED and row.survivors == "[]":
        possible = False
    if not possible:
        raise _wrong(key, row, target.value)
    row.state = target
    row.input_sent = row.input_sent or target is AttemptState.INPUT_SENT
    session.flush()
    return row


def abandoned(session: Session, key: RoundKey) -> tuple[str, ...]:
    """Contexts of the attempts of a round that this node will never help to open, in order."""
    rows = _attempts_of_round(session, key)
    return tuple(row.context for row in rows if row.state is AttemptState.ABANDONED)


def released(session: Session, job: str, stage: str, round_: int) -> bool:
    """Whether this node's part in a sum of that round has left it in any attempt."""
    rows = _attempts_of_round(session, RoundKey(job=job, stage=stage, round=round_, attempt=0))
    return any(row.state in (AttemptState.UNMASK_RELEASED, AttemptState.COMPLETED) for row in rows)


def attempts_of(session: Session, job: str) -> tuple[AttemptRow, ...]:
    """Every attempt of a job that this node began, in order."""
    query = select(AttemptRow).where(AttemptRow.job == job)
    return tuple(session.scalars(query.order_by(AttemptRow.begun_at, AttemptRow.round, AttemptRow.attempt)))


def note_snapshot(session: Session, key: RoundKey, *, snapshot: str, leaves: Sequence[bytes]) -> None:
    """Store which records enter an attempt.

    Args:
        session: the transaction that also moves the attempt to ``INPUT_SENT``.
        key: the attempt.
        snapshot: digest of the set; equal digests mean equal sets.
        leaves: the records' digests under the node's key, sorted, all different.

    Raises:
        NotFound: the attempt was not begun here.
        AlreadyDone: another set was noted for it.
    """
    row = _attempt(session, key)
    if row.snapshot is not None and row.snapshot != snapshot:
        raise AlreadyDone(f"{key}: this node has noted other records for the attempt before")
    snapshots.keep(session, snapshot, leaves)
    row.snapshot, row.records = snapshot, len(leaves)
    session.flush()


def records_used(session: Session, key: RoundKey) -> frozenset[bytes]:
    """Leaves of the records that entered an attempt; empty when none did.

    Raises:
        NotFound: the attempt was not begun here.
        TamperError: the stored set was changed.
    """
    row = _attempt(session, key)
    return frozenset() if row.snapshot is None else frozenset(snapshots.leaves_in(session, row.snapshot))


def note_survivors(session: Session, key: RoundKey, survivors: Collection[str]) -> None:
    """Store over whom the sum will go; called before this node confirms that list.

    Raises:
        NotFound: the attempt was not begun here.
        WrongState: this node's vector was not sent, or the attempt has ended.
        AlreadyDone: another list was noted before.
        RefusedError: the list is empty.
    """
    row = _attempt(session, key)
    listed = json.dumps(sorted(set(survivors)))
    if listed == "[]":
        raise RefusedError(f"{key}: the list of survivors is empty")
    if row.survivors == listed:
        return
    if row.survivors != "[]":
        raise AlreadyDone(f"{key}: this node has confirmed another list of survivors before")
    if row.state is not AttemptState.INPUT_SENT:
        raise _wrong(key, row, "confirm the survivors")
    row.survivors = listed
    session.flush()


def _attempts_of_round(session: Session, key: RoundKey) -> tuple[AttemptRow, ...]:
    query = select(AttemptRow).where(
        AttemptRow.job == key.job, AttemptRow.stage == key.stage, AttemptRow.round == key.round
    )
    return tuple(session.scalars(query.order_by(AttemptRow.attempt)))


def _attempt(session: Session, key: RoundKey) -> AttemptRow:
    row = session.get(AttemptRow, key.values)
    if row is None:
        raise NotFound(f"{key}: this node has not begun it")
    return row


def _abandon_if_open(row: AttemptRow) -> None:
    if AttemptState.ABANDONED in ATTEMPT_TRANSITIONS[row.state]:
        row.state = AttemptState.ABANDONED


def _wrong(key: RoundKey, row: AttemptRow, wanted: str) -> WrongState:
    return WrongState(
        f"{key}: this node's part is {row.state.value.replace('_', ' ')}, so it cannot go on to "
        f"{wanted.replace('_', ' ')}",
        current=row.state.value,
        wanted=wanted,
    )
