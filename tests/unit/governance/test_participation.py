"""A node's record of jobs and attempts: nothing is answered twice, and sums stay apart."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest
from sqlalchemy.orm import Session

from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError, WrongState
from fedseal_governance.participation import (
    ATTEMPT_TRANSITIONS,
    AttemptRow,
    AttemptState,
    Beginning,
    NodeJobRow,
    NodeJobState,
    SnapshotRow,
    abandoned,
    accepted_jobs,
    advance,
    agree,
    attempts_of,
    begin,
    end_job,
    has_agreement,
    note_snapshot,
    note_survivors,
    records_used,
    store_job,
)
from fedseal_governance.runs import RoundKey

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Office

JOB = "a" * 64
WHEN = datetime(2026, 5, 4, tzinfo=UTC)
ALL = ("cleveland", "hungary", "switzerland", "va")
T = TypeVar("T")
Run = Callable[[Callable[[Session], T]], T]


def key(round_: int = 0, attempt: int = 0, job: str = JOB) -> RoundKey:
    return RoundKey(job=job, stage="training", round=round_, attempt=attempt)


def beginning(at: RoundKey, broadcast: str = "b" * 64) -> Beginning:
    context = f"{at.round:032d}{at.attempt:032d}"
    return Beginning(key=at, context=context, broadcast=broadcast, holders=4, corrupted=1, threshold=3)


@pytest.fixture
def run(office: "Office") -> Run[object]:
    return lambda work: office.database.run("test", work)


def contribute(session: Session, at: RoundKey, survivors: tuple[str, ...] = ALL) -> None:
    """Begin, send the vector, confirm the survivors."""
    begin(session, beginning(at), WHEN)
    advance(session, at, AttemptState.INPUT_SENT)
    note_survivors(session, at, survivors)


def job_row(state: NodeJobState = NodeJobState.ACCEPTED, digest: str = JOB) -> NodeJobRow:
    return NodeJobRow(
        digest=digest,
        name="heart",
        envelope=b"{}",
        policy="p" * 64,
        reasons="[]",
        decided_at=WHEN,
        state=state,
        outcome="",
    )


def state_of(office: "Office", at: RoundKey) -> AttemptState:
    row = office.read(lambda session: session.get(AttemptRow, at.values))
    assert row is not None
    return row.state


def test_first_decision_is_kept(run: Run[object], office: "Office") -> None:
    run(lambda session: store_job(session, job_row(NodeJobState.REFUSED)))
    again = office.database.run("test", lambda session: store_job(session, job_row(NodeJobState.ACCEPTED)).state)
    assert again is NodeJobState.REFUSED
    assert office.read(accepted_jobs) == ()


def test_ended_job_abandons_its_open_attempts(run: Run[object], office: "Office") -> None:
    run(lambda session: store_job(session, job_row()))
    run(lambda session: begin(session, beginning(key()), WHEN))
    assert [row.digest for row in office.read(accepted_jobs)] == [JOB]
    run(lambda session: end_job(session, JOB, outcome="stopped", record=b"record"))
    assert office.read(accepted_jobs) == ()
    assert state_of(office, key()) is AttemptState.ABANDONED
    row = office.read(lambda session: session.get(NodeJobRow, JOB))
    assert row is not None
    assert (row.state, row.outcome, row.record) == (NodeJobState.ENDED, "stopped", b"record")


def test_refused_job_stays_refused_when_it_ends(run: Run[object], office: "Office") -> None:
    run(lambda session: store_job(session, job_row(NodeJobState.REFUSED)))
    run(lambda session: end_job(session, JOB, outcome="finished", record=b""))
    row = office.read(lambda session: session.get(NodeJobRow, JOB))
    assert row is not None
    assert row.state is NodeJobState.REFUSED
    with pytest.raises(NotFound):
        run(lambda session: end_job(session, "c" * 64, outcome="", record=b""))


def test_agreement(run: Run[object], office: "Office") -> None:
    assert not office.read(lambda session: has_agreement(session, JOB))
    for _ in range(2):
        run(lambda session: agree(session, JOB, operator="person/olga", now=WHEN))
    assert office.read(lambda session: has_agreement(session, JOB))


def test_attempt_is_never_begun_twice(run: Run[object]) -> None:
    run(lambda session: begin(session, beginning(key(attempt=1)), WHEN))
    for attempt in (1, 0):
        with pytest.raises(AlreadyDone, match="begun attempt 1 of the round before"):
            run(partial(begin, beginning=beginning(key(attempt=attempt)), now=WHEN))


def test_newer_attempt_abandons_older_ones_and_names_those_that_are_out(run: Run[object], office: "Office") -> None:
    run(lambda session: begin(session, beginning(key(attempt=0)), WHEN))
    run(lambda session: begin(session, beginning(key(attempt=1)), WHEN))
    run(lambda session: advance(session, key(attempt=1), AttemptState.INPUT_SENT))
    out = office.database.run(
        "test", lambda session: [row.attempt for row in begin(session, beginning(key(attempt=2)), WHEN)]
    )
    assert out == [1]
    contexts = office.read(lambda session: abandoned(session, key(attempt=2)))
    assert contexts == (beginning(key(attempt=0)).context, beginning(key(attempt=1)).context)
    with pytest.raises(WrongState, match="is abandoned"):
        run(lambda session: advance(session, key(attempt=1), AttemptState.UNMASK_RELEASED))


def test_released_attempt_is_never_abandoned(run: Run[object], office: "Office") -> None:
    run(lambda session: contribute(session, key()))
    run(lambda session: advance(session, key(), AttemptState.UNMASK_RELEASED))
    run(lambda session: begin(session, beginning(key(attempt=1)), WHEN))
    assert state_of(office, key()) is AttemptState.UNMASK_RELEASED
    assert office.read(lambda session: abandoned(session, key())) == ()


def test_completed_round_takes_no_further_attempt(run: Run[object]) -> None:
    run(lambda session: contribute(session, key()))
    for target in (AttemptState.UNMASK_RELEASED, AttemptState.COMPLETED):
        run(partial(advance, key=key(), target=target))
    with pytest.raises(AlreadyDone, match="was completed with attempt 0"):
        run(lambda session: begin(session, beginning(key(attempt=1)), WHEN))
    run(lambda session: begin(session, beginning(key(round_=1)), WHEN))


def test_shares_never_leave_before_survivors_are_noted(run: Run[object]) -> None:
    run(lambda session: begin(session, beginning(key()), WHEN))
    with pytest.raises(WrongState, match="cannot go on to confirm the survivors"):
        run(lambda session: note_survivors(session, key(), ALL))
    run(lambda session: advance(session, key(), AttemptState.INPUT_SENT))
    with pytest.raises(WrongState, match="cannot go on to unmask released"):
        run(lambda session: advance(session, key(), AttemptState.UNMASK_RELEASED))


def test_survivors_are_confirmed_once(run: Run[object]) -> None:
    run(lambda session: contribute(session, key()))
    run(lambda session: note_survivors(session, key(), reversed(ALL)))  # type: ignore[arg-type]  # order is no matter
    with pytest.raises(AlreadyDone, match="another list of survivors"):
        run(lambda session: note_survivors(session, key(), ALL[:3]))
    run(lambda session: begin(session, beginning(key(round_=1)), WHEN))
    with pytest.raises(RefusedError, match="is empty"):
        run(lambda session: note_survivors(session, key(round_=1), ()))


def test_snapshots_are_kept_once_and_read_back(run: Run[object], office: "Office") -> None:
    names = [f"CLE-{number:04d}" for number in range(300)] + ['odd,"\nname']
    for round_ in (0, 1):
        at = key(round_)
        run(partial(begin, beginning=beginning(at), now=WHEN))
        run(partial(note_snapshot, key=at, snapshot="e" * 64, pseudonyms=names))
        assert office.read(partial(records_used, key=at)) == frozenset(names)
    assert office.read(lambda session: session.query(SnapshotRow).count()) == 1
    first = office.read(lambda session: attempts_of(session, JOB))[0]
    assert (first.records, first.snapshot) == (301, "e" * 64)
    with pytest.raises(AlreadyDone, match="other records"):
        run(lambda session: note_snapshot(session, key(), snapshot="f" * 64, pseudonyms=["x"]))


def test_no_records_before_a_contribution(run: Run[object], office: "Office") -> None:
    run(lambda session: begin(session, beginning(key()), WHEN))
    assert office.read(lambda session: records_used(session, key())) == frozenset()
    with pytest.raises(NotFound, match="has not begun it"):
        office.read(lambda session: records_used(session, key(round_=7)))


def test_transition_table_is_literal() -> None:
    assert set(ATTEMPT_TRANSITIONS) == set(AttemptState)
    assert ATTEMPT_TRANSITIONS[AttemptState.UNMASK_RELEASED] == {AttemptState.COMPLETED}
    reached = {target for targets in ATTEMPT_TRANSITIONS.values() for target in targets}
    assert reached == set(AttemptState) - {AttemptState.BEGUN}
