"""Whole jobs with honest nodes: the result is that of the same job in one process, and the record is complete."""

import json
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from sqlalchemy import select

from fedseal.learning import LocalData, NamedTensors, job_data, read_model
from fedseal.methods import run_in_process
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import JobDocument
from fedseal_governance.runs.tables import MessageRow
from tests.unit.coordinator.members import Play, signed_policy
from tests.unit.node.papers import ROWS, SCHEMA, JobFile, policy_with
from tests.unit.node.parties import NODES, Consortium

Published = Mapping[str, NamedTensors]


@pytest.fixture
def reference(tables: dict[str, LocalData]) -> "Reference":
    return Reference(tables)


class Reference:
    """The same job in one process, without encoding or masks."""

    def __init__(self, tables: dict[str, LocalData]) -> None:
        self._tables = tables

    def __call__(self, job: JobDocument, nodes: tuple[str, ...] = NODES) -> Published:
        data = {name: job_data(self._tables[name], job, None) for name in nodes}
        return run_in_process(job, load_schema(SCHEMA, "schema.yaml"), data).published


def published_by(play: Play, job: str) -> Published:
    stored = play.process.ledger.load(Digest(job))
    progress = play.process.ledger.progress(stored)
    assert progress is not None
    return progress.published


def assert_close(got: Published, expected: Published, *, tolerance: float) -> None:
    assert got.keys() == expected.keys()
    for stage, tensors in expected.items():
        assert got[stage].keys() == tensors.keys()
        for name, value in tensors.items():
            np.testing.assert_allclose(got[stage][name], value, atol=tolerance, err_msg=f"{stage}/{name}")


def test_statistics(play: Play, consortium: Consortium, reference: Reference) -> None:
    """Counts are exact, sums are rounded to steps of 2^-32 of the declared scale."""
    signed = JobFile().signed(consortium)
    job = play.submit(signed.envelope)
    assert play.run(job) == "finished"
    assert_close(published_by(play, job), reference(signed.document), tolerance=1e-6)
    assert published_by(play, job)["statistics"]["rows"] == len(NODES) * ROWS
    assert play.refusals == []


def test_training(play: Play, consortium: Consortium, reference: Reference) -> None:
    signed = JobFile(training_rounds=2).signed(consortium)
    job = play.submit(signed.envelope)
    assert play.run(job) == "finished"
    assert_close(published_by(play, job), reference(signed.document), tolerance=2e-3)
    detail = play.process.detail(job)
    assert (detail.summary.rounds_done, detail.summary.rounds_planned) == (4, 4)
    assert [(item.address.stage, item.address.round, item.state) for item in detail.rounds] == [
        ("statistics", 0, "completed"),
        ("training", 0, "completed"),
        ("training", 1, "completed"),
        ("evaluation", 0, "completed"),
    ]
    model = read_model(play.process.artefacts(job)["model"])
    assert model.description.job_digest == job


def test_training_by_replayed_fitness(play: Play, consortium: Consortium, reference: Reference) -> None:
    """These nodes keep no state, so each replays every round from the job's seed; a digest compares each time."""
    policy = signed_policy(consortium, policy_with({"[fedavg]": "[evofed]"}))
    for member in play.members.values():
        member.leave()
        member.attend(policies=(policy,))
    signed = JobFile(training_rounds=3, method="evofed").signed(consortium)
    job = play.submit(signed.envelope)
    assert play.run(job) == "finished"
    got, expected = (published["training"] for published in (published_by(play, job), reference(signed.document)))
    assert_close({"training": got}, {"training": expected}, tolerance=0.05)
    assert play.refusals == []


def test_what_a_job_leaves_behind(play: Play, consortium: Consortium) -> None:
    signed = JobFile(training_rounds=1).signed(consortium)
    job = play.submit(signed.envelope)
    play.run(job)
    left = play.process.artefacts(job)
    assert sorted(left) == ["job-record", "model", "statistics"]
    record = SignedDocument.from_json(left["job-record"])
    statement = json.loads(record.payload)
    [subject] = statement["subject"]
    assert subject["digest"]["sha256"] == sha256_hex(left["model"])
    for member in play.members.values():
        assert member.ended[job].state == "finished"
        assert member.ended[job].job_record == left["job-record"]
    assert [entry.type for entry in play.process.audit()][-1] == "job.finished"
    play.process.assert_log_verifies()


def test_nothing_of_a_round_is_kept_that_its_sum_does_not_need(play: Play, consortium: Consortium) -> None:
    """Masked vectors and shares are gone with the round: nobody should hold them."""
    job = play.submit(JobFile().signed(consortium).envelope)
    play.run(job)
    assert list((play.process.folder.path / "spool").iterdir()) == [play.process.incoming]
    assert list(play.process.incoming.iterdir()) == []
    assert play.process.database.read(lambda session: session.scalars(select(MessageRow)).all()) == []


def test_every_attempt_has_its_own_keys(play: Play, consortium: Consortium) -> None:
    job = play.submit(JobFile(training_rounds=2).signed(consortium).envelope)
    play.run(job)
    started = [entry.details["context"] for entry in play.process.audit("round.started")]
    assert len(set(started)) == len(started) == 4


def test_two_jobs_at_once(play: Play, consortium: Consortium) -> None:
    """A node is in one attempt at a time; with patience both jobs come to their end."""
    first = play.submit(JobFile(name="first").signed(consortium).envelope)
    play.run(first)
    second = play.submit(JobFile(name="second", seed=2).signed(consortium).envelope)
    assert play.run(second) == "finished"
    assert {item.name for item in play.process.views.jobs().jobs} == {"first", "second"}


def test_a_node_that_declines_is_left_out(play: Play, consortium: Consortium, reference: Reference) -> None:
    play.members["zurich"].accepts = False
    signed = JobFile().signed(consortium)
    job = play.submit(signed.envelope)
    assert play.run(job) == "finished"
    expected = reference(signed.document, tuple(name for name in NODES if name != "zurich"))
    assert_close(published_by(play, job), expected, tolerance=1e-6)
    answers = {item.node: item.answer for item in play.process.detail(job).answers}
    assert answers == {**dict.fromkeys(NODES, "accepted"), "zurich": "refused"}


def test_too_many_decline(play: Play, consortium: Consortium) -> None:
    for name in NODES[:3]:
        play.members[name].accepts = False
    job = play.submit(JobFile().signed(consortium).envelope)
    assert play.run(job) == "refused"
    assert "2 of 5 nodes accepted the job and it needs 3" in play.process.detail(job).summary.reason


def test_nodes_that_never_answer_are_not_waited_for(play: Play, consortium: Consortium) -> None:
    """After the offer's time the job begins with those who accepted."""
    silent = play.members["zurich"]
    job = play.submit(JobFile().signed(consortium).envelope)
    silent.leave()
    play.turn()
    play.tick(29.9)
    assert play.process.state(job) == "offered"
    play.tick(0.2)
    assert play.process.state(job) == "running"
    assert play.run(job) == "finished"


def test_events_tell_the_course_of_a_job(play: Play, consortium: Consortium) -> None:
    job = play.submit(JobFile().signed(consortium).envelope)
    play.run(job)
    kinds = [event.kind for event in play.process.events if event.job == job]
    assert [kind for kind, following in pairwise([*kinds, ""]) if kind != following] == [
        "answer",
        "state",
        "round",
        "message",
        "step",
        "message",
        "step",
        "message",
        "step",
        "message",
        "step",
        "message",
        "completed",
        "done",
    ]
