"""What a later attempt asks about earlier ones: who was in their sums, are they dead, was their answer delivered.

Rules kept here:

1. Whoever has two sums can subtract one from the other. A node therefore compares the sites of a sum with those of
   every sum that it may have helped to open before, as far back as its policy says (`HistoryScope`).
2. An attempt counts from the moment in which this node confirmed its survivors, whether or not its sum was opened in
   the end: this node cannot know. The one exception is an attempt of which enough members have signed that they will
   never open it (`note_dead`).
3. The shares that open a sum leave the node at most once, but they may be sent again as often as needed, byte for
   byte, also by a process that comes after the one that made them (`keep_answer`, `open_answers`).

Nothing is deleted. An attempt of which the dataset is not known counts for every dataset.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ForeignKeyConstraint, LargeBinary, String, Text, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from fedseal_governance.columns import DIGEST_LENGTH, NAME_LENGTH, Base
from fedseal_governance.errors import AlreadyDone, NotFound
from fedseal_governance.participation import AttemptRow, AttemptState
from fedseal_governance.policy.model import HistoryScope
from fedseal_governance.runs import RoundKey


class SumRow(Base):
    """What later attempts ask about an attempt of this node."""

    __tablename__ = "node_sums"

    job: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    stage: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    dataset: Mapped[str] = mapped_column(String(NAME_LENGTH))
    roster: Mapped[str] = mapped_column(Text, comment="JSON list of the members that hold shares")
    dead: Mapped[bool] = mapped_column(default=False, comment="proven never to be opened")
    answer: Mapped[bytes | None] = mapped_column(LargeBinary, comment="the shares that open it, as they leave the node")

    __table_args__ = (
        ForeignKeyConstraint(
            ["job", "stage", "round", "attempt"],
            ["node_attempts.job", "node_attempts.stage", "node_attempts.round", "node_attempts.attempt"],
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSums:
    """Which earlier sums a new one is compared with.

    Attributes:
        scope: the policy's.
        dataset: what the new sum is over.
        broadcast: digest of what the new sum is over, hexadecimal.
        group: the sites of the group that the new sum is of; empty where a sum is over all. The part of an earlier sum
            that falls into it counts as a sum too, because the sums of the other groups may make up the rest.
    """

    scope: HistoryScope
    dataset: str
    broadcast: str
    group: frozenset[str] = frozenset()


def note_sum(session: Session, key: RoundKey, *, dataset: str, roster: Collection[str]) -> None:
    """Store, with the beginning of an attempt, over which data and among whom it is."""
    row = SumRow(
        job=key.job,
        stage=key.stage,
        round=key.round,
        attempt=key.attempt,
        dataset=dataset,
        roster=json.dumps(sorted(roster)),
        dead=False,
    )
    session.add(row)
    session.flush()


def roster_of(session: Session, key: RoundKey) -> frozenset[str]:
    """Who took part in an attempt; empty where that was not noted."""
    row = session.get(SumRow, key.values)
    return frozenset() if row is None else frozenset(json.loads(row.roster))


def note_dead(session: Session, key: RoundKey) -> None:
    """Store the proof that an attempt was not opened and never will be.

    Raises:
        NotFound: the attempt was not begun here.
    """
    _row(session, key).dead = True
    session.flush()


def earlier_sums(
    session: Session, key: RoundKey, compared: ComparedSums, *, this_round: bool = True
) -> tuple[frozenset[str], ...]:
    """The sites of each earlier sum that a new one in ``key`` must be the same as or keep its distance from.

    Args:
        session: the transaction.
        key: the new sum; never compared with itself.
        compared: which sums count.
        this_round: whether other attempts of the same round count; before the members' declarations have arrived it
            is not known which of them are dead.
    """
    query = (
        select(AttemptRow)
        .outerjoin(
            SumRow,
            (SumRow.job == AttemptRow.job)
            & (SumRow.stage == AttemptRow.stage)
            & (SumRow.round == AttemptRow.round)
            & (SumRow.attempt == AttemptRow.attempt),
        )
        .where(AttemptRow.survivors != "[]", or_(SumRow.dead.is_(None), SumRow.dead.is_(False)))
        .order_by(AttemptRow.begun_at, AttemptRow.round, AttemptRow.attempt)
    )
    match compared.scope:
        case HistoryScope.MODEL:
            query = query.where(AttemptRow.job == key.job, AttemptRow.broadcast == compared.broadcast)
        case HistoryScope.JOB:
            query = query.where(AttemptRow.job == key.job)
        case HistoryScope.DATASET:
            query = query.where(or_(SumRow.dataset.is_(None), SumRow.dataset == compared.dataset))
    own = (key.job, key.stage, key.round)
    found: dict[frozenset[str], None] = {}
    for row in session.scalars(query):
        same_round = (row.job, row.stage, row.round) == own
        if same_round and (row.attempt == key.attempt or not this_round):
            continue
        sites = frozenset(json.loads(row.survivors))
        found[sites] = None
        if sites & compared.group:
            found[sites & compared.group] = None
    return tuple(found)


def keep_answer(session: Session, key: RoundKey, answer: bytes) -> None:
    """Store the shares that open a sum, in the transaction that says that they leave.

    Raises:
        NotFound: the attempt was not begun here.
        AlreadyDone: others were stored for it.
    """
    row = _row(session, key)
    if row.answer is not None and row.answer != answer:
        raise AlreadyDone(f"{key}: this node has released other shares for the attempt before")
    row.answer = answer
    session.flush()


def open_answers(session: Session) -> tuple[tuple[RoundKey, bytes], ...]:
    """Shares that were released and of whose arrival this node has not heard, oldest first."""
    query = (
        select(AttemptRow, SumRow.answer)
        .join(
            SumRow,
            (SumRow.job == AttemptRow.job)
            & (SumRow.stage == AttemptRow.stage)
            & (SumRow.round == AttemptRow.round)
            & (SumRow.attempt == AttemptRow.attempt),
        )
        .where(AttemptRow.state == AttemptState.UNMASK_RELEASED, SumRow.answer.is_not(None))
        .order_by(AttemptRow.begun_at, AttemptRow.round, AttemptRow.attempt)
    )
    return tuple(
        (RoundKey(job=row.job, stage=row.stage, round=row.round, attempt=row.attempt), answer)
        for row, answer in session.execute(query)
        if answer is not None
    )


def forget_answer(session: Session, key: RoundKey) -> None:
    """Drop the shares of an attempt that has ended; nobody should keep them."""
    row = session.get(SumRow, key.values)
    if row is not None:
        row.answer = None
        session.flush()


def forget_answers(session: Session, job: str) -> None:
    """Drop the shares of every attempt of a job that has ended."""
    session.execute(update(SumRow).where(SumRow.job == job).values(answer=None))


def _row(session: Session, key: RoundKey) -> SumRow:
    row = session.get(SumRow, key.values)
    if row is None:
        raise NotFound(f"{key}: this node has not begun it")
    return row
