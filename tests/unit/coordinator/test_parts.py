"""The coordinator's parts that do no input or output: round driver, job run, presence, live events."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from fedseal.coordinator.attendance import Attendance, Session
from fedseal.coordinator.hub import EventHub, events
from fedseal.coordinator.job_run import JobRun, OpenedRound, Progress, unpack_state
from fedseal.coordinator.round_driver import RoundDriver
from fedseal.coordinator.strictest import Assumptions, policy_for, strictest
from fedseal.learning import unpack_tensors
from fedseal.plans import plan_digest
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    ClientMessage,
    LateMessage,
    MaskedInput,
    MaskingClient,
    ParametersInvalid,
    Step,
    choose_parameters,
)
from fedseal_governance.datasets import load_schema
from tests.unit.coordinator.members import signed_policy
from tests.unit.node.papers import DATASET, SCHEMA, JobFile, policy_with
from tests.unit.node.parties import FEDERATION, NODES, NOW, Consortium

Rosters = Callable[..., list[Session]]


@pytest.fixture
def roster(consortium: Consortium) -> Rosters:
    def sessions(*names: str) -> list[Session]:
        return [
            Session(
                member=consortium.parties[name].member,
                identity_pem=consortium.parties[name].identity_pem,
                session=name.encode(),
                since=NOW,
                policies=(),
                datasets={},
                software="",
            )
            for name in names or NODES
        ]

    return sessions


@pytest.fixture
def run_of(consortium: Consortium) -> Callable[..., JobRun]:
    def build(progress: Progress | None = None, **job: object) -> JobRun:
        signed = JobFile(**job).signed(consortium)  # type: ignore[arg-type]  # fields by name
        return JobRun(
            digest=signed.digest,
            federation=str(FEDERATION),
            document=signed.document,
            schema=load_schema(SCHEMA, "schema.yaml"),
            schema_digest=sha256_hex(SCHEMA),
            progress=progress,
        )

    return build


Runs = Callable[..., JobRun]


# --- job run ------------------------------------------------------------------------------------------


def test_the_parameters_are_what_every_node_computes_itself(run_of: Runs, roster: Rosters) -> None:
    run = run_of(minimum_cohort=4)
    opened = run.open_round(list(reversed(roster())), step_seconds=5)
    parameters = opened.plan.parameters
    group = choose_parameters(5, corrupted_fraction=0.2, dropout_fraction=0.1)
    assert parameters.roster == NODES
    assert (parameters.threshold, parameters.corrupted, parameters.neighbours) == (
        group.threshold,
        group.corrupted,
        group.neighbours,
    )
    assert parameters.minimum_cohort == 4
    assert parameters.broadcast_digest == sha256_hex(opened.broadcast) == opened.broadcast_digest
    assert parameters.layout_digest == opened.layout.digest
    assert parameters.plan_digest == plan_digest(run.document, job=run.digest, schema=sha256_hex(SCHEMA))
    assert (parameters.stage, parameters.round, parameters.attempt) == ("statistics", 0, 0)


def shown(session: Session, consortium: Consortium, **changed: str) -> Session:
    """The same node, showing a policy with some of its text replaced."""
    text = policy_with({"minimum_cohort: 3}": f"minimum_cohort: 3, {changed['protection']}}}"})
    return replace(session, policies=(signed_policy(consortium, text),))


def test_the_strictest_policy_decides_what_a_round_withstands(
    run_of: Runs, roster: Rosters, consortium: Consortium
) -> None:
    """Two of ten colluders are assumed by default; one node assumes three, another one none."""
    names = (*NODES, *(f"node-{number}" for number in range(5)))
    for name in names[5:]:
        consortium.enrol(PartyKind.NODE, name)
    sessions = roster(*names)
    sessions[0] = shown(sessions[0], consortium, protection="corrupted_fraction: 0.3")
    sessions[1] = shown(sessions[1], consortium, protection="corrupted_fraction: 0")
    parameters = run_of(nodes=names).open_round(sessions, step_seconds=5).plan.parameters
    assert (parameters.corrupted, parameters.threshold) == (3, 7)
    default = run_of(nodes=names).open_round(roster(*names), step_seconds=5).plan.parameters
    assert (default.corrupted, default.threshold) == (2, 7)
    sessions[0] = replace(sessions[0], policies=(b"no policy",))
    assert run_of(nodes=names).open_round(sessions, step_seconds=5).plan.parameters.corrupted == 2


def test_the_strictest_of_each_figure_counts_on_its_own(consortium: Consortium, roster: Rosters) -> None:
    policies = [
        policy_for(DATASET, shown(session, consortium, protection=text))
        for session, text in zip(
            roster("basel", "zurich"), ("corrupted_fraction: 0.4", "dropout_fraction: 0.3"), strict=True
        )
    ]
    assert strictest(policies) == Assumptions(corrupted_fraction=0.4, dropout_fraction=0.3)
    assert strictest([None]) == strictest([]) == Assumptions(corrupted_fraction=0.2, dropout_fraction=0.1)
    assert policy_for("lungs", roster("basel")[0]) is None


def test_two_nodes_are_no_cohort(run_of: Runs, roster: Rosters) -> None:
    with pytest.raises(ParametersInvalid, match="a roster of 2 cannot be masked"):
        run_of().open_round(roster("basel", "zurich"), step_seconds=5)


def test_a_retry_differs_in_nothing_but_its_number(run_of: Runs, roster: Rosters) -> None:
    run = run_of()
    first = run.open_round(roster(), step_seconds=5).plan.parameters
    run.retry()
    second = run.open_round(roster(), step_seconds=5).plan.parameters
    assert replace(second, attempt=0) == first
    assert second.context0() != first.context0()


def test_progress_survives_being_packed(run_of: Runs, roster: Rosters, consortium: Consortium) -> None:
    """What a restart reads back is bit for bit what was stored, also between stages."""
    run = run_of(training_rounds=2)
    for expected in (("statistics", 0), ("training", 0), ("training", 1), ("evaluation", 0)):
        assert (run.stage.name, run.progress.round) == expected
        shapes = {name: value.shape for name, value in _flat(run).items()}
        state, published = unpack_state(unpack_tensors(run.packed_state(), shapes, what="the state"))
        again = run_of(
            Progress(stage=run.progress.stage, round=run.progress.round, state=state, published=published),
            training_rounds=2,
        )
        assert (
            again.open_round(roster(), step_seconds=5).broadcast == run.open_round(roster(), step_seconds=5).broadcast
        )
        assert again.rounds_done == run.rounds_done
        _absorb_zeros(run, roster(), consortium)
    assert run.finished
    assert run.rounds_done == run.rounds_planned == 4
    assert set(run.progress.published) == {"statistics", "training", "evaluation"}


def _flat(run: JobRun) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    flat = {f"state/{name}": np.asarray(value) for name, value in run.progress.state.items()}
    for stage, tensors in run.progress.published.items():
        flat |= {f"published/{stage}/{name}": np.asarray(value) for name, value in tensors.items()}
    return flat


def _absorb_zeros(run: JobRun, sessions: list[Session], consortium: Consortium) -> None:
    """A round to which everybody contributes zeros, with real keys of the roster."""
    opened = run.open_round(sessions, step_seconds=5)
    driver, _ = _course(opened, consortium)
    run.absorb(driver.result, opened.layout)


# --- round driver -------------------------------------------------------------------------------------


def _clients(opened: OpenedRound, consortium: Consortium) -> dict[ClientId, MaskingClient]:
    parameters = opened.plan.parameters
    return {
        name: MaskingClient(parameters, consortium.parties[name].key, opened.plan.members, ClientLimits(), os.urandom)
        for name in parameters.roster
    }


def _course(opened: OpenedRound, consortium: Consortium) -> tuple[RoundDriver, list[tuple[Step, list[ClientMessage]]]]:
    driver = RoundDriver(opened.plan, now=NOW)
    clients = _clients(opened, consortium)
    course: list[tuple[Step, list[ClientMessage]]] = []
    while driver.step is not Step.DONE:
        step, messages = driver.step, [_answer(driver, client, opened) for client in clients.values()]
        for message in messages:
            assert driver.receive(message)
        course.append((step, messages))
        driver.close_step(NOW)
    return driver, course


def _answer(driver: RoundDriver, client: MaskingClient, opened: OpenedRound) -> ClientMessage:
    instruction = driver._server.instruction_for(client.name)
    if instruction is None:
        return client.advertise()
    zeros = {spec.name: np.zeros(spec.length) for spec in opened.layout.specs}
    return client.answer(instruction, opened.layout.encode(zeros, generator=np.random.default_rng(0)).words)


@pytest.fixture
def opened(run_of: Runs, roster: Rosters) -> OpenedRound:
    return run_of().open_round(roster(), step_seconds=10)


def test_a_step_is_due_when_all_are_in_or_at_its_deadline(opened: OpenedRound, consortium: Consortium) -> None:
    driver, clients = RoundDriver(opened.plan, now=NOW), list(_clients(opened, consortium).values())
    assert driver.waiting_for == set(NODES)
    for client in clients[:-1]:
        driver.receive(client.advertise())
    assert not driver.due(NOW + timedelta(seconds=9.9))
    assert driver.due(NOW + timedelta(seconds=10))
    driver.receive(clients[-1].advertise())
    assert driver.due(NOW)
    driver.close_step(NOW + timedelta(seconds=3))
    # The next step has its own time.
    assert not driver.due(NOW + timedelta(seconds=12.9))
    assert driver.due(NOW + timedelta(seconds=13))


def test_those_who_left_are_not_waited_for(opened: OpenedRound, consortium: Consortium) -> None:
    driver, clients = RoundDriver(opened.plan, now=NOW), _clients(opened, consortium)
    driver.leave(ClientId("zurich"))
    driver.leave(ClientId("zurich"))
    for name, client in clients.items():
        if name != "zurich":
            driver.receive(client.advertise())
    assert driver.due(NOW)
    driver.close_step(NOW)
    assert driver.step is Step.SHARE
    assert driver.instruction_for(ClientId("zurich")) is None


def test_a_step_that_closes_with_too_few_ends_the_attempt(opened: OpenedRound, consortium: Consortium) -> None:
    driver, clients = RoundDriver(opened.plan, now=NOW), _clients(opened, consortium)
    for name in ("basel", "zurich"):
        driver.receive(clients[ClientId(name)].advertise())
    driver.close_step(NOW)
    assert driver.step is Step.FAILED
    assert "step advertise ended with 2 answers; 4 are needed" in str(driver.failure)
    assert not driver.due(NOW + timedelta(days=1))
    driver.leave(ClientId("basel"))


def test_a_message_is_news_once(opened: OpenedRound, consortium: Consortium) -> None:
    driver, clients = RoundDriver(opened.plan, now=NOW), _clients(opened, consortium)
    advertisement = clients[ClientId("zurich")].advertise()
    assert driver.receive(advertisement)
    assert not driver.receive(advertisement)
    for name, client in clients.items():
        if name not in ("zurich", "basel"):
            driver.receive(client.advertise())
    driver.close_step(NOW)
    assert not driver.receive(advertisement)
    with pytest.raises(LateMessage):
        driver.receive(clients[ClientId("basel")].advertise())


def test_the_process_that_began_belongs(opened: OpenedRound) -> None:
    driver = RoundDriver(opened.plan, now=NOW)
    assert driver.belongs(ClientId("zurich"), b"zurich")
    assert not driver.belongs(ClientId("zurich"), b"another")
    assert not driver.belongs(ClientId("oslo"), b"oslo")


def test_a_replay_gives_the_same_sum(opened: OpenedRound, consortium: Consortium) -> None:
    """In another order within each step, and with every message twice."""
    first, course = _course(opened, consortium)
    second = RoundDriver(opened.plan, now=NOW + timedelta(days=1))
    for step, messages in course:
        assert second.step is step
        for message in [*reversed(messages), *messages]:
            second.receive(_reread(message, opened))
        second.close_step(NOW)
    assert second.result.words.to_bytes() == first.result.words.to_bytes()
    assert second.result.survivors == first.result.survivors


def _reread(message: ClientMessage, opened: OpenedRound) -> ClientMessage:
    """A vector as it comes back from its file."""
    if not isinstance(message, MaskedInput):
        return message
    words = RingVector.from_bytes(opened.plan.parameters, message.words.to_bytes())
    return message.header.with_words(words)


# --- presence -----------------------------------------------------------------------------------------


def test_the_newest_stream_of_a_node_replaces_the_older(roster: Rosters) -> None:
    attendance = Attendance()
    [first], [second] = roster("zurich"), roster("zurich")
    assert attendance.enter(first) is None
    assert attendance.enter(second) is first
    assert first.closed
    assert list(first.instructions()) == []
    # The end of the replaced stream says nothing about the new one.
    assert not attendance.leave(first)
    assert attendance.get("zurich") is second
    assert attendance.leave(second)
    assert attendance.all() == ()


def test_a_stream_ends_after_what_was_sent_before(roster: Rosters) -> None:
    [session] = roster("zurich")
    welcome = pb.Instruction(welcome=pb.Welcome(coordinator_certificate="x"))
    session.send(welcome)
    session.close()
    assert list(session.instructions()) == [welcome]


def test_a_node_that_reads_nothing_is_cut_off(roster: Rosters, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds nobody up, and does not fill the memory."""
    [session] = roster("zurich")
    session.outbox.maxsize = 3
    for _ in range(10):
        session.send(pb.Instruction())
    assert session.closed
    assert session.outbox.qsize() <= 3
    assert len(list(session.instructions())) < 3


def test_everybody_is_sent_away_at_the_end(roster: Rosters) -> None:
    attendance = Attendance()
    for session in roster():
        attendance.enter(session)
    present = attendance.all()
    attendance.close_all()
    assert all(session.closed for session in present)


# --- live events --------------------------------------------------------------------------------------


def test_watchers_get_the_events_of_their_job(consortium: Consortium) -> None:
    hub = EventHub()
    mine, other = hub.subscribe("a"), hub.subscribe("b")
    hub.publish(pb.JobEvent(job="a", kind="state"))
    hub.publish(pb.JobEvent(job="c", kind="state"))
    hub.unsubscribe("a", mine)
    hub.publish(pb.JobEvent(job="a", kind="late"))
    assert [event.kind for event in events(mine)] == ["state"]
    hub.unsubscribe("a", mine)
    hub.close()
    assert list(events(other)) == []


def test_a_slow_watcher_loses_the_oldest_events() -> None:
    hub = EventHub()
    watcher = hub.subscribe("a")
    watcher.maxsize = 3
    for number in range(10):
        hub.publish(pb.JobEvent(job="a", text=str(number)))
    hub.close()
    assert [event.text for event in events(watcher)] == ["8", "9"]
