"""Holding, listing and deleting what policies no longer want kept; the stream; comparing bundles."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.orm import Session

from fedseal.local import open_party
from fedseal_crypto.digests import sha256_hex
from fedseal_governance.acts import Act
from fedseal_governance.participation import NodeJobRow, NodeJobState, store_job
from fedseal_governance.policy import list_policies

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell

RECORD = b'{"a record": 1}'
JOB = "73" * 32


@pytest.fixture
def with_job(federation_shell: "Shell", make_policy: Any) -> "Shell":
    """A node that took part in a job, has its record, and an approved policy that keeps records for ten years."""
    Path("policy.yaml").write_text(make_policy())
    federation_shell.ok("policy", "propose", "policy.yaml", "--as", "olga")
    for officer in ("olga", "oscar"):
        federation_shell.ok("policy", "approve", "heart-risk", "--as", officer, "--yes")
    with open_party(Path("cleveland")) as party:
        policy = party.read(list_policies)[0].digest

        def work(session: Session) -> None:
            store_job(
                session,
                NodeJobRow(
                    digest=JOB,
                    name="risk",
                    envelope=b"{}",
                    policy=policy,
                    reasons="[]",
                    decided_at=datetime.now(UTC),
                    state=NodeJobState.ENDED,
                    outcome="finished",
                    record=RECORD,
                ),
            )
            act = Act(session=session, journal=party.log(), actor="coordinator", now=datetime.now(UTC))
            act.note("job.ended", f"job/{JOB}", record=sha256_hex(RECORD))

        party.database.run("job", work)
    return federation_shell


def later(monkeypatch: pytest.MonkeyPatch, years: int) -> None:
    monkeypatch.setattr("fedseal_cli.retention.now", lambda: datetime.now(UTC) + timedelta(days=366 * years))


def documents(shell: "Shell", *options: str) -> list[dict[str, Any]]:
    found = shell.json("retention", "list", "cleveland", *options)["documents"]
    assert isinstance(found, list)
    return found


def test_nothing_is_deleted_before_its_time(with_job: "Shell") -> None:
    (kept,) = documents(with_job)
    assert (kept["digest"], kept["kind"], kept["due"], kept["jobs"]) == (
        sha256_hex(RECORD),
        "job-record",
        False,
        ["risk"],
    )
    assert documents(with_job, "--due") == []
    assert "Nothing is due" in with_job.ok("retention", "list", "cleveland", "--due").stdout
    assert with_job.json("retention", "apply", "cleveland", "--as", "olga", "--yes")["removed"] == []


def test_what_is_due_is_deleted_with_a_tombstone_and_the_log_still_verifies(
    with_job: "Shell", monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch, 11)
    assert [item["due"] for item in documents(with_job)] == [True]
    assert "no compliance officer" in with_job.fails(3, "retention", "apply", "cleveland", "--as", "nora", "--yes")
    removed = with_job.json("retention", "apply", "cleveland", "--as", "olga", "--yes")["removed"]
    assert isinstance(removed, list)
    assert [item["digest"] for item in removed] == [sha256_hex(RECORD)]
    assert documents(with_job) == []
    with_job.ok("audit", "export", "cleveland", "after.zip")
    found: Any = with_job.json("audit", "verify", "after.zip")["removed"]
    assert [(item["subject"], item["kind"], item["actor"]) for item in found] == [
        (f"document/{sha256_hex(RECORD)}", "job-record", "person/olga")
    ]
    told = " ".join(with_job.ok("audit", "verify", "after.zip").stdout.split())
    assert "(job-record) removed on" in told
    assert "retention.audit_years of every policy" in told


def test_a_hold_keeps_everything_until_another_officer_releases_it(
    with_job: "Shell", monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = ("retention", "hold", "cleveland", "--job", "risk", "--reason", "case 7")
    assert "no compliance officer" in with_job.fails(3, *hold, "--as", "nora")
    with_job.ok(*hold, "--as", "olga")
    assert "held already" in with_job.fails(3, *hold, "--as", "oscar")
    later(monkeypatch, 11)
    (kept,) = documents(with_job)
    assert not kept["due"]
    assert kept["held_by_entry"] is not None
    monkeypatch.undo()
    monkeypatch.setenv("FEDSEAL_PASSPHRASE", "correct horse battery")
    monkeypatch.chdir(with_job.home)
    assert with_job.json("retention", "holds", "cleveland")["holds"]
    release = ("retention", "release", "cleveland", "--job", "risk", "--reason", "closed")
    assert "ask another officer" in with_job.fails(3, *release, "--as", "olga")
    with_job.ok(*release, "--as", "oscar")
    assert "No legal hold" in with_job.ok("retention", "holds", "cleveland").stdout
    assert "is not held" in with_job.fails(3, *release, "--as", "oscar")
    assert "knows no job" in with_job.fails(
        3, "retention", "hold", "cleveland", "--job", "x", "--reason", "y", "--as", "olga"
    )


def test_a_stream_goes_on_where_it_stopped(with_job: "Shell") -> None:
    first = with_job.ok("audit", "stream", "cleveland", "--position", "at.txt").stdout
    with_job.ok("retention", "hold", "cleveland", "--reason", "case 7", "--as", "olga")
    second = with_job.ok("audit", "stream", "cleveland", "--position", "at.txt").stdout
    whole = with_job.ok("audit", "stream", "cleveland").stdout
    assert first + second == whole
    assert "hold.placed" in second
    assert with_job.ok("audit", "stream", "cleveland", "--from", "2", "--format", "syslog").stdout.startswith("<")
    Path("at.txt").write_text("soon")
    assert "number of an entry" in with_job.fails(2, "audit", "stream", "cleveland", "--position", "at.txt")
    assert "no format" in with_job.fails(2, "audit", "stream", "cleveland", "--format", "xml")


def test_bundles_of_one_party_cannot_be_compared_and_the_verifier_is_handed_out(with_job: "Shell") -> None:
    with_job.ok("audit", "export", "cleveland", "a.zip")
    assert "two parties of one" in with_job.fails(3, "audit", "reconcile", "a.zip", "a.zip")
    told = with_job.json("audit", "verifier", "--out", "verify.py")
    assert told["sha256"] == sha256_hex(Path("verify.py").read_bytes())
    assert "already exists" in with_job.fails(2, "audit", "verifier", "--out", "verify.py")
