"""Which earlier sums a new one is compared with, what counts as dead, and shares that can be sent again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.orm import Session

from fedseal_governance import history, participation
from fedseal_governance.custody import (
    ServedJobRow,
    ServedState,
    SumAsked,
    SumLimits,
    SumRefused,
    note_opened,
    require_openable,
)
from fedseal_governance.errors import AlreadyDone, NotFound
from fedseal_governance.history import ComparedSums, SumRow
from fedseal_governance.participation import AttemptState, Beginning
from fedseal_governance.policy import HistoryScope
from fedseal_governance.runs import RoundKey

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Office

JOB, OTHER_JOB = "a" * 64, "b" * 64
ALL = ("cleveland", "hungary", "switzerland", "va")
WHEN = datetime(2026, 5, 4, tzinfo=UTC)
MODEL = "d" * 64


def key(round_: int = 0, attempt: int = 0, job: str = JOB) -> RoundKey:
    return RoundKey(job=job, stage="training", round=round_, attempt=attempt)


def take_part(
    office: "Office",
    at: RoundKey,
    sites: tuple[str, ...] = ALL,
    *,
    broadcast: str = MODEL,
    dataset: str | None = "heart-disease",
) -> None:
    """Begin, send the vector, confirm the survivors; without a dataset as an older release left it."""
    context = f"{at.round:032d}{at.attempt:032d}"
    beginning = Beginning(key=at, context=context, broadcast=broadcast, holders=4, corrupted=1, threshold=3)

    def work(session: Session) -> None:
        participation.begin(session, beginning, WHEN)
        if dataset is not None:
            history.note_sum(session, at, dataset=dataset, roster=ALL)
        participation.advance(session, at, AttemptState.INPUT_SENT)
        participation.note_survivors(session, at, sites)

    office.database.run("test", work)


def found(
    office: "Office", at: RoundKey, scope: HistoryScope, *, broadcast: str = MODEL, this_round: bool = True
) -> list[list[str]]:
    compared = ComparedSums(scope=scope, dataset="heart-disease", broadcast=broadcast)
    sums = office.read(lambda session: history.earlier_sums(session, at, compared, this_round=this_round))
    return [sorted(sites) for sites in sums]


@pytest.fixture
def past(office: "Office") -> "Office":
    """One sum of each kind, told apart by their sites."""
    take_part(office, key(0), ("cleveland", "same-model"))
    take_part(office, key(1), ("cleveland", "same-job"), broadcast="e" * 64)
    take_part(office, key(0, job=OTHER_JOB), ("cleveland", "same-data"))
    take_part(office, key(1, job=OTHER_JOB), ("cleveland", "other-data"), dataset="lungs")
    take_part(office, key(2, job=OTHER_JOB), ("cleveland", "unknown-data"), dataset=None)
    return office


@pytest.mark.parametrize(
    ("scope", "kinds"),
    [
        (HistoryScope.MODEL, {"same-model"}),
        (HistoryScope.JOB, {"same-model", "same-job"}),
        (HistoryScope.DATASET, {"same-model", "same-job", "same-data", "unknown-data"}),
    ],
)
def test_each_scope_holds_the_narrower_ones(past: "Office", scope: HistoryScope, kinds: set[str]) -> None:
    assert {sites[1] for sites in found(past, key(7), scope)} == kinds


def test_a_sum_is_not_compared_with_itself(past: "Office") -> None:
    assert found(past, key(0), HistoryScope.MODEL) == []


def test_equal_sums_are_named_once(office: "Office") -> None:
    for round_ in range(3):
        take_part(office, key(round_))
    assert found(office, key(3), HistoryScope.JOB) == [sorted(ALL)]


def test_attempts_of_the_same_round_can_be_left_out(office: "Office") -> None:
    take_part(office, key(0))
    assert found(office, key(0, attempt=1), HistoryScope.DATASET) == [sorted(ALL)]
    assert found(office, key(0, attempt=1), HistoryScope.DATASET, this_round=False) == []


def test_only_a_proof_takes_an_attempt_out(office: "Office") -> None:
    """That this node gave it up says nothing about the others."""
    take_part(office, key(0))
    office.database.run("test", lambda session: participation.advance(session, key(0), AttemptState.ABANDONED))
    assert found(office, key(0, attempt=1), HistoryScope.MODEL) == [sorted(ALL)]
    office.database.run("test", lambda session: history.note_dead(session, key(0)))
    for scope in HistoryScope:
        assert found(office, key(0, attempt=1), scope) == []


def test_an_attempt_that_confirmed_nothing_has_no_sum(office: "Office") -> None:
    beginning = Beginning(key=key(0), context="c" * 64, broadcast=MODEL, holders=4, corrupted=1, threshold=3)
    office.database.run("test", lambda session: participation.begin(session, beginning, WHEN))
    assert found(office, key(1), HistoryScope.DATASET) == []


def test_the_roster_is_remembered(office: "Office") -> None:
    take_part(office, key(0))
    take_part(office, key(1), dataset=None)
    assert office.read(lambda session: history.roster_of(session, key(0))) == frozenset(ALL)
    assert office.read(lambda session: history.roster_of(session, key(1))) == frozenset()
    assert office.read(lambda session: history.roster_of(session, key(9))) == frozenset()


# --- answers ------------------------------------------------------------------------------------------


def release(office: "Office", at: RoundKey, answer: bytes) -> None:
    def work(session: Session) -> None:
        participation.advance(session, at, AttemptState.UNMASK_RELEASED)
        history.keep_answer(session, at, answer)

    office.database.run("test", work)


def answers(office: "Office") -> dict[int, bytes]:
    return {at.round: answer for at, answer in office.read(history.open_answers)}


def test_released_shares_are_kept_until_the_end_is_known(office: "Office") -> None:
    for round_ in range(3):
        take_part(office, key(round_))
    release(office, key(0), b"first")
    release(office, key(2), b"third")
    assert answers(office) == {0: b"first", 2: b"third"}
    office.database.run("test", lambda session: history.forget_answer(session, key(0)))
    assert answers(office) == {2: b"third"}
    office.database.run("test", lambda session: participation.advance(session, key(2), AttemptState.COMPLETED))
    assert answers(office) == {}


def test_a_job_that_ends_takes_its_shares_with_it(office: "Office") -> None:
    take_part(office, key(0))
    take_part(office, key(0, job=OTHER_JOB))
    release(office, key(0), b"here")
    release(office, key(0, job=OTHER_JOB), b"there")
    office.database.run("test", lambda session: history.forget_answers(session, JOB))
    assert list(answers(office).values()) == [b"there"]
    assert office.read(lambda session: session.get(SumRow, key(0).values)).answer is None  # type: ignore[union-attr]


def test_other_shares_are_never_stored(office: "Office") -> None:
    take_part(office, key(0))
    release(office, key(0), b"one kind")
    with pytest.raises(AlreadyDone, match="released other shares"):
        office.database.run("test", lambda session: history.keep_answer(session, key(0), b"the other kind"))
    assert answers(office) == {0: b"one kind"}


@pytest.mark.parametrize(
    "act",
    [
        lambda session: history.note_dead(session, key(9)),
        lambda session: history.keep_answer(session, key(9), b"x"),
    ],
)
def test_attempts_that_were_never_begun(office: "Office", act: Callable[[Session], None]) -> None:
    with pytest.raises(NotFound, match="has not begun it"):
        office.database.run("test", act)


def test_the_part_of_an_earlier_sum_in_the_group_counts_as_a_sum(office: "Office") -> None:
    """A sum over all, less the sums of all groups, would show the one site that its group's sum lacks."""
    take_part(office, key(0), ("a1", "a2", "a3", "a4", "b1", "b2", "b3"), broadcast="e" * 64)
    for group, expected in (
        (frozenset({"a1", "a2", "a3", "a4"}), [["a1", "a2", "a3", "a4", "b1", "b2", "b3"], ["a1", "a2", "a3", "a4"]]),
        (frozenset({"c1", "c2", "c3"}), [["a1", "a2", "a3", "a4", "b1", "b2", "b3"]]),
    ):
        compared = ComparedSums(scope=HistoryScope.JOB, dataset="heart-disease", broadcast=MODEL, group=group)
        sums = office.read(partial(history.earlier_sums, key=key(1), compared=compared))
        assert [sorted(sites) for sites in sums] == expected
        model = ComparedSums(scope=HistoryScope.MODEL, dataset="heart-disease", broadcast=MODEL, group=group)
        assert office.read(partial(history.earlier_sums, key=key(1), compared=model)) == ()


@pytest.mark.parametrize(("members", "opened"), [("a1 a2 a3", False), ("a1 a2 a3 a4", True)])
def test_a_custodian_compares_a_groups_sum_with_the_part_of_an_earlier_one(
    office: "Office", members: str, opened: bool
) -> None:
    limits = SumLimits(minimum_difference=3, scope=HistoryScope.JOB, per_job=9, per_hour=9, repeats=1)
    everyone, group = ["a1", "a2", "a3", "a4", "b1", "b2", "b3"], frozenset({"a1", "a2", "a3", "a4"})
    asked = SumAsked(
        key=key(1),
        request="1" * 64,
        dataset="heart-disease",
        broadcast=MODEL,
        members=members.split(),
        sum_digest="2" * 64,
        group=group,
    )

    def work(session: Session) -> None:
        serve(session)
        note_opened(session, replace(asked, key=key(0), members=everyone, group=frozenset()), limits, WHEN)
        require_openable(session, asked, limits, WHEN)

    if opened:
        office.database.run("test", work)
        return
    with pytest.raises(SumRefused, match="differs from this one by 1 members"):
        office.database.run("test", work)


def serve(session: Session) -> None:
    session.add(
        ServedJobRow(
            digest=JOB,
            name="job",
            envelope=b"{}",
            policy="",
            reasons="[]",
            decided_at=WHEN,
            state=ServedState.SERVED,
            key_digest="",
            statement=None,
            outcome="",
        )
    )
    session.flush()
