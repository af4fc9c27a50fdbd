"""What commands print about jobs and nodes, with a stand-in for the connection; and a real coordinator."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pytest

from fedseal.wire._generated import coordination_pb2 as pb

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell

DIGEST, MODEL = "1a" * 32, "2b" * 32
PROGRAM = [sys.executable, "-m", "fedseal_cli.main"]


def _summary(state: str = "finished") -> pb.JobSummary:
    return pb.JobSummary(
        job=DIGEST,
        name="heart-risk",
        state=state,
        reason="" if state == "finished" else "too few nodes stayed",
        submitted_by="ada",
        submitted_at="2026-03-01T08:30:00+00:00",
        finished_at="2026-03-01T08:31:00+00:00",
        rounds_done=1,
        rounds_planned=2,
    )


def _address() -> pb.RoundAddress:
    return pb.RoundAddress(job=DIGEST, stage="training", round=0, attempt=1)


def _detail(state: str) -> pb.JobDetail:
    refusal = pb.Reason(clause="purposes", sentence="The data may not be used for that.", allowed=False)
    return pb.JobDetail(
        summary=_summary(state),
        answers=[
            pb.NodeAnswer(node="cleveland", answer="accepted"),
            pb.NodeAnswer(node="va", answer="refused", reasons=[refusal]),
        ],
        rounds=[
            pb.RoundSummary(
                address=_address(),
                state="completed",
                roster=["a", "b", "c"],
                survivors=["a", "b"],
                recovered=["c"],
                threshold=2,
                metrics='{"loss": 0.51234, "rows": 520}',
                started_at="2026-03-01T08:30:10+00:00",
            )
        ],
        artefacts=[pb.Artefact(kind="model", digest=MODEL, size=5)],
        job_record=b"{}",
    )


class StandIn:
    """Answers as a connection to the coordinator would."""

    state = "finished"
    published: ClassVar[list[bytes]] = []

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def jobs(self) -> pb.JobList:
        return pb.JobList(jobs=[_summary(self.state)])

    def show_job(self, _job: str) -> pb.JobDetail:
        return _detail(self.state)

    def submit_job(self, _data: bytes, _filename: str) -> pb.JobSummary:
        return _summary("offered")

    def stop_job(self, _job: str, _reason: str) -> pb.JobSummary:
        return _summary("stopped")

    def watch_job(self, _job: str) -> Iterator[pb.JobEvent]:
        yield pb.JobEvent(job=DIGEST, kind="message", node="a")
        yield pb.JobEvent(job=DIGEST, kind="completed", address=_address(), text="2 nodes", metrics='{"loss": 0.5}')
        yield pb.JobEvent(job=DIGEST, kind="completed", address=_address(), text="odd", metrics="not json")
        yield pb.JobEvent(job=DIGEST, kind="done", text=self.state)

    def check_job(self, _data: bytes, _filename: str) -> pb.JobVerdicts:
        verdict = pb.NodeVerdict(node="va", known=False, accepted=True)
        return pb.JobVerdicts(job=DIGEST, nodes=[verdict], accepted=False)

    def nodes(self) -> pb.NodeList:
        status = pb.NodeStatus(node="va", organisation="VA", attending=True, since="2026-03-01T08:30:00+00:00")
        return pb.NodeList(nodes=[status])

    def publish_revocations(self, pem: bytes) -> str:
        self.published.append(pem)
        return "taken over"

    def download(self, _job: str, digest: str, target: Path) -> None:
        assert digest == MODEL
        target.write_bytes(b"model")


@pytest.fixture
def remote(federation_shell: "Shell", monkeypatch: pytest.MonkeyPatch) -> "Shell":
    """A shell whose commands reach the stand-in."""
    monkeypatch.setattr("fedseal.client.Client", StandIn)
    monkeypatch.setattr(StandIn, "state", "finished")
    monkeypatch.setattr(StandIn, "published", [])
    monkeypatch.setenv("FEDSEAL_AS", "nora")
    return federation_shell


def test_lists_have_stable_json(remote: "Shell") -> None:
    assert remote.json("job", "list") == {
        "jobs": [
            {
                "job": "heart-risk",
                "digest": DIGEST,
                "state": "finished",
                "reason": "",
                "submitted_by": "ada",
                "submitted_at": "2026-03-01T08:30:00+00:00",
                "finished_at": "2026-03-01T08:31:00+00:00",
                "rounds_done": 1,
                "rounds_planned": 2,
            }
        ]
    }
    assert remote.json("model", "list") == {
        "models": [{"job": "heart-risk", "job_digest": DIGEST, "digest": MODEL, "size": 5}]
    }
    assert remote.json("node", "list")["nodes"] == [
        {
            "node": "va",
            "organisation": "VA",
            "present": True,
            "since": "2026-03-01T08:30:00+00:00",
            "datasets": [],
            "certificate_until": "",
        }
    ]


@pytest.mark.parametrize("command", [["job", "list"], ["job", "show", "x"], ["model", "list"], ["node", "list"]])
def test_tables_fit_80_columns(remote: "Shell", command: list[str]) -> None:
    assert max(map(len, remote.ok(*command).stdout.splitlines())) <= 80


def test_one_job_shows_answers_rounds_and_what_it_produced(remote: "Shell") -> None:
    text = " ".join(remote.ok("job", "show", "heart-risk").stdout.split())
    for part in (
        "va refused purposes: The data may not be used for that.",
        "2 of 3",
        "(attempt 2)",
        f"model, 5 bytes: {MODEL}",
    ):
        assert part in text
    rounds = remote.json("job", "show", "heart-risk")["rounds"]
    assert isinstance(rounds, list)
    (shown,) = rounds
    assert (shown["survivors"], shown["recovered"], shown["figures"]) == (
        ["a", "b"],
        ["c"],
        {"loss": 0.51234, "rows": 520},
    )


def test_watching_prints_events_and_survives_odd_figures(remote: "Shell") -> None:
    lines = remote.ok("job", "watch", "heart-risk").stdout.splitlines()
    assert lines == [
        "completed  training 1 (attempt 2)  2 nodes  loss 0.5",
        "completed  training 1 (attempt 2)  odd",
        "done  finished",
    ]
    documents = [json.loads(line) for line in remote.ok("job", "watch", "heart-risk", "--json").stdout.splitlines()]
    assert [item["kind"] for item in documents] == ["message", "completed", "completed", "done"]


def test_a_job_that_did_not_finish_exits_with_6(remote: "Shell", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandIn, "state", "failed")
    result = remote("job", "watch", "heart-risk")
    assert result.exit_code == 6
    assert result.stderr == "Error: the job heart-risk ended as failed: too few nodes stayed.\n"


def test_stopping_asks_first(remote: "Shell") -> None:
    assert remote("job", "stop", "heart-risk", "--reason", "x", typed="n\n").exit_code == 130
    assert remote.json("job", "stop", "heart-risk", "--reason", "x", "--yes")["state"] == "stopped"


def test_a_model_is_exported_with_its_record_and_overwrites_nothing(remote: "Shell") -> None:
    export = ["model", "export", "heart-risk", "--out", "m.safetensors", "--record", "r.json"]
    assert remote.json(*export) == {"file": "m.safetensors", "digest": MODEL, "record": "r.json"}
    assert (Path("m.safetensors").read_bytes(), Path("r.json").read_bytes()) == (b"model", b"{}")
    assert "m.safetensors already exists" in remote.fails(2, *export)
    assert "has produced no statistics" in remote.fails(3, *export[:4], "s.safetensors", "--kind", "statistics")


def test_the_newest_list_is_published(remote: "Shell") -> None:
    remote.ok("certificate", "revoke", "person/olga", "--out", "list.pem")
    assert remote.json("certificate", "publish") == {"receipt": "taken over"}
    remote.ok("certificate", "publish", "--list", "list.pem")
    assert StandIn.published == [Path("list.pem").read_bytes()] * 2


def test_a_report_is_one_page(remote: "Shell") -> None:
    done: dict[str, Any] = remote.json("job", "report", "heart-risk", "--out", "report.html")
    page = Path("report.html").read_bytes()
    assert (done["bytes"], done["state"]) == (len(page), "finished")
    assert b"heart-risk" in page
    assert "an audit bundle is expected there" in remote.fails(
        2, "job", "report", "heart-risk", "--out", "x.html", "--bundle", "no.zip"
    )


JOB = """\
job: count-hearts
version: 1
description: Means only.
purpose: "DUO:0000006"
dataset: hearts
kind: statistics
features: [age]
protection: masking
disclosure: SUM
nodes: [cleveland, hungary, va]
minimum_cohort: 3
"""


def test_what_a_node_would_answer_is_unknown_until_it_was_there(remote: "Shell") -> None:
    Path("job.yaml").write_text(JOB)
    result = remote("job", "check", "job.yaml")
    assert result.exit_code == 3
    assert "node/va (not present): REFUSED" in result.stdout
    assert remote.json("job", "submit", "job.yaml")["state"] == "offered"


@pytest.fixture
def coordinator(made_federation: Path, federation_shell: "Shell", tmp_path: Path) -> Iterator[str]:
    """The address of a real coordinator process."""
    shell = federation_shell
    shell.ok("coordinator", "invite", "--organisation", "Heart Consortium", "--out", "coordinator.json")
    arguments = ["--folder", "coordinator"]
    shell.ok("coordinator", "enrol", "--invitation", "coordinator.json", *arguments, "--offline", "request")
    shell.ok("federation", "sign", "request", "--out", "answer")
    shell.ok("coordinator", "enrol", "--answer", "answer", *arguments)
    process = subprocess.Popen(
        [*PROGRAM, "coordinator", "run", *arguments, "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    assert process.stderr is not None
    address = None
    for line in process.stderr:
        found = re.search(r"The coordinator listens on (127\.0\.0\.1:\d+)", line)
        if found:
            address = found.group(1)
            break
    assert address is not None
    yield address
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    shutil.rmtree("coordinator")


def test_a_real_coordinator_answers_people_and_refuses_the_revoked(
    coordinator: str, federation_shell: "Shell", monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = federation_shell
    monkeypatch.setenv("FEDSEAL_COORDINATOR", coordinator)
    monkeypatch.setenv("FEDSEAL_AS", "nora")
    assert shell.json("job", "list") == {"jobs": []}
    assert shell.ok("node", "list").stdout == "No node is present.\n"
    assert "there is no job nothing" in shell.fails(3, "job", "show", "nothing")
    Path("job.yaml").write_text(JOB)
    shell.fails(3, "job", "submit", "job.yaml")  # nora is no data scientist
    shell.ok("user", "revoke", "olga")
    shell.ok("certificate", "publish")
    assert "was revoked" in shell.fails(3, "job", "list", "--as", "olga")
    assert shell.json("job", "list") == {"jobs": []}
