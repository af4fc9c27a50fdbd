"""The coordinator's jobs, rounds, messages and artefacts on both databases."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from fedseal_governance import runs
from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError, StorageError, WrongState
from fedseal_governance.runs import JobState, RoundKey, RoundState

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Office

JOB = "a" * 64
WHEN = datetime(2026, 5, 4, tzinfo=UTC)
KEY = RoundKey(job=JOB, stage="training", round=0, attempt=0)


def job_row(digest: str = JOB, state: JobState = JobState.OFFERED, name: str = "heart") -> runs.JobRow:
    return runs.JobRow(
        digest=digest, name=name, envelope=b"{}", schema=b"", submitted_by="dana", submitted_at=WHEN, state=state
    )


def round_row(key: RoundKey = KEY) -> runs.RoundRow:
    return runs.RoundRow(
        job=key.job,
        stage=key.stage,
        round=key.round,
        attempt=key.attempt,
        parameters=b"p",
        broadcast="b" * 64,
        roster="[]",
        log_size=3,
        started_at=WHEN,
        state=RoundState.OPEN,
    )


@pytest.fixture
def run(office: "Office") -> Callable[[Callable[[Session], object]], None]:
    def work(change: Callable[[Session], object]) -> None:
        office.database.run("test", change)

    return work


Run = Callable[[Callable[[Session], object]], None]


@pytest.fixture
def started(run: Run) -> Run:
    """With a job and its first round."""
    run(lambda session: runs.add_job(session, job_row()))
    run(lambda session: runs.add_round(session, round_row()))
    return run


def test_job_and_its_defaults(run: Run, office: "Office") -> None:
    run(lambda session: runs.add_job(session, job_row()))
    row = office.read(lambda session: runs.job(session, JOB))
    assert (row.reason, row.stage, row.round, row.attempt, row.finished_at, row.state_digest) == (
        "",
        0,
        0,
        0,
        None,
        None,
    )
    with pytest.raises(AlreadyDone, match="was submitted before, by dana on 2026-05-04, and is offered"):
        run(lambda session: runs.add_job(session, job_row()))
    with pytest.raises(NotFound, match="fedseal job list"):
        office.read(lambda session: runs.job(session, "c" * 64))


def test_jobs_are_found_by_name_or_digest(run: Run, office: "Office") -> None:
    for digest in ("ab" * 32, "ac" * 32):
        run(partial(runs.add_job, row=job_row(digest, name=f"job-{digest[:2]}")))
    assert office.read(lambda session: runs.find_job(session, "ab")).name == "job-ab"
    assert office.read(lambda session: runs.find_job(session, "job-ac")).digest == "ac" * 32
    for wanted in ("a", "zz", ""):
        with pytest.raises(NotFound):
            office.read(partial(runs.find_job, wanted=wanted))
    assert len(office.read(runs.jobs)) == 2


@pytest.mark.parametrize("state", JobState)
def test_job_states_follow_the_table(run: Run, office: "Office", state: JobState) -> None:
    for number, target in enumerate(JobState):
        digest = f"{number:064d}"
        run(partial(runs.add_job, row=job_row(digest, state)))

        def change(session: Session, digest: str = digest, target: JobState = target) -> None:
            runs.change_job(session, digest, target, "because", WHEN)

        if target in runs.JOB_TRANSITIONS[state]:
            run(change)
            row = office.read(partial(runs.job, digest=digest))
            assert (row.state, row.reason) == (target, "because")
            assert (row.finished_at is not None) is (target in JobState.final())
        else:
            with pytest.raises(WrongState, match=f"is {state.value} and cannot become {target.value}"):
                run(change)


def test_final_states() -> None:
    assert JobState.final() == {JobState.FINISHED, JobState.FAILED, JobState.STOPPED, JobState.REFUSED}


def test_first_answer_counts(run: Run, office: "Office") -> None:
    run(lambda session: runs.add_job(session, job_row()))

    def answer(accepted: bool) -> None:
        row = runs.AnswerRow(job=JOB, node="hungary", accepted=accepted, policy="p" * 64, reasons="[]", at=WHEN)
        run(lambda session: runs.add_answer(session, row))

    answer(True)
    with pytest.raises(AlreadyDone):
        answer(False)
    assert [item.accepted for item in office.read(lambda session: runs.answers(session, JOB))] == [True]


def test_one_round_is_open_at_a_time(started: Run, office: "Office") -> None:
    with pytest.raises(AlreadyDone, match="was opened before"):
        started(lambda session: runs.add_round(session, round_row()))
    second = RoundKey(job=JOB, stage="training", round=0, attempt=1)
    with pytest.raises(WrongState, match="cannot be opened while"):
        started(lambda session: runs.add_round(session, round_row(second)))
    started(lambda session: runs.end_round(session, KEY, RoundState.FAILED, WHEN, "too few"))
    assert office.read(lambda session: runs.open_round(session, JOB)) is None
    started(lambda session: runs.add_round(session, round_row(second)))
    found = office.read(lambda session: runs.open_round(session, JOB))
    assert found is not None
    assert found.attempt == 1
    assert [row.reason for row in office.read(lambda session: runs.rounds(session, JOB))] == ["too few", ""]


def test_the_database_itself_refuses_a_second_open_round(started: Run) -> None:
    values = {**{name: getattr(round_row(), name) for name in ("job", "stage", "parameters", "broadcast", "roster")}}
    values |= {"round": 1, "attempt": 0, "log_size": 0, "started_at": WHEN, "state": RoundState.OPEN}
    values |= {"closed_steps": 0, "reason": "", "survivors": "[]", "recovered": "[]", "figures": "{}"}
    with pytest.raises(StorageError, match="contradicts what is stored"):
        started(lambda session: session.execute(insert(runs.RoundRow).values(**values)))


def test_round_ends_once(started: Run) -> None:
    started(lambda session: runs.end_round(session, KEY, RoundState.COMPLETED, WHEN))
    with pytest.raises(WrongState, match="is completed and cannot become failed"):
        started(lambda session: runs.end_round(session, KEY, RoundState.FAILED, WHEN))
    with pytest.raises(NotFound, match="was never opened"):
        started(lambda session: runs.round_row(session, RoundKey(job=JOB, stage="x", round=0, attempt=0)))


def test_messages_are_stored_once_in_order(started: Run, office: "Office") -> None:
    def send(step: str, client: str, payload: bytes) -> bool:
        return office.database.run(
            "test", lambda session: runs.add_message(session, KEY, step=step, client=client, payload=payload)
        )

    assert send("share", "va", b"1")
    assert send("share", "cleveland", b"2")
    assert send("mask", "va", b"3")
    assert not send("share", "va", b"1")
    with pytest.raises(runs.MessageConflict, match="va sent a second, different message for the step share"):
        send("share", "va", b"9")
    stored = office.read(lambda session: runs.messages(session, KEY))
    assert [(row.step, row.client, row.payload) for row in stored] == [
        ("share", "va", b"1"),
        ("share", "cleveland", b"2"),
        ("mask", "va", b"3"),
    ]
    with pytest.raises(WrongState, match="still needs its messages"):
        started(lambda session: runs.forget_messages(session, KEY))
    started(lambda session: runs.end_round(session, KEY, RoundState.COMPLETED, WHEN))
    started(lambda session: runs.forget_messages(session, KEY))
    assert office.read(lambda session: runs.messages(session, KEY)) == ()


def test_artefacts_are_noted_once(started: Run, office: "Office") -> None:
    def note(size: int) -> None:
        row = runs.ArtefactRow(job=JOB, kind="model", digest="d" * 64, size=size)
        started(lambda session: runs.add_artefact(session, row))

    note(10)
    note(10)
    with pytest.raises(RefusedError, match="has 11 bytes, but 10 were noted"):
        note(11)
    assert len(office.read(lambda session: runs.artefacts(session, JOB))) == 1
    assert office.read(lambda session: runs.artefacts(session, JOB, kind="state")) == ()
