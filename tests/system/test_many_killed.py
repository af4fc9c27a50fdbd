"""More processes die at once than a round withstands: it is tried again, or the job ends with the reason."""

from pathlib import Path

import pytest

from fedseal_governance.participation import AttemptState
from tests.system import evidence
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import NODES
from tests.system.processes import context

pytestmark = pytest.mark.system

VICTIMS = ("hungary", "switzerland")
OTHERS = ("cleveland", "va-long-beach")
JOB = SmallJob(rounds=1)
ROUND = r"training round 1"


def start_with_victims(federation: Federation, call: str) -> str:
    """Start everybody, two of them with a trap before ``call``, and submit the job."""
    trap = Trap(owner="connection", call=call, moment="before")
    federation.start_coordinator()
    for node in NODES:
        federation.start_node(node, trap=trap if node in VICTIMS else None)
    federation.wait_present(*NODES)
    return federation.submit(JOB)


def outcomes(federation: Federation, job: str) -> list[tuple[str, int, str]]:
    return [(item.address.stage, item.address.attempt, item.state) for item in federation.detail(job).rounds]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(rf"^report\|.*{ROUND}\|ShareBundle", id="before-sharing"),
        pytest.param(rf"^report\|.*{ROUND}\|Confirmation", id="before-confirming"),
    ],
)
def test_round_fails_below_the_threshold_and_completes_when_they_return(
    idle: Federation, tmp_path: Path, call: str
) -> None:
    job = start_with_victims(idle, call)
    for node in VICTIMS:
        assert idle.nodes[node].wait() == -9
        idle.start_node(node)
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert outcomes(idle, job) == [
        ("statistics", 0, "completed"),
        ("training", 0, "failed"),
        ("training", 1, "completed"),
        ("evaluation", 0, "completed"),
    ]
    failed = idle.detail(job).rounds[1]
    assert "2 answers; 3 are needed" in failed.reason
    for node in NODES:
        states = {(row.stage, row.attempt): row.state for row in evidence.attempts(idle, node, job)}
        assert states["training", 0] is AttemptState.ABANDONED
        assert states["training", 1] is AttemptState.COMPLETED


def test_the_first_round_fails_and_the_coordinator_restarts(idle: Federation, tmp_path: Path) -> None:
    """Nothing has completed yet, so only the number of the attempt tells that there was one."""
    die = Trap(owner="connection", call=r"^report\|.*statistics round 1\|ShareBundle", moment="before")
    idle.start_coordinator(trap=Trap(owner="coordinator", call=r"^fail_round", moment="after"))
    for node in NODES:
        idle.start_node(node, trap=die if node in VICTIMS else None)
    idle.wait_present(*NODES)
    job = idle.submit(JOB)
    assert idle.require_coordinator().wait() == -9
    for node in VICTIMS:
        assert idle.nodes[node].wait() == -9
        idle.start_node(node)
    idle.start_coordinator()
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert outcomes(idle, job) == [
        ("statistics", 0, "failed"),
        ("statistics", 1, "completed"),
        ("training", 0, "completed"),
        ("evaluation", 0, "completed"),
    ]


def test_shares_that_were_released_arrive_after_a_restart(idle: Federation, tmp_path: Path) -> None:
    """Two nodes die after they stored that they release their shares: the new processes send the same ones."""
    job = start_with_victims(idle, rf"^report\|.*{ROUND}\|Unmasking")
    for node in VICTIMS:
        assert idle.nodes[node].wait() == -9
        idle.start_node(node)
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert outcomes(idle, job) == [
        ("statistics", 0, "completed"),
        ("training", 0, "completed"),
        ("evaluation", 0, "completed"),
    ]
    for node in NODES:
        states = [row.state for row in evidence.attempts(idle, node, job) if row.stage == "training"]
        assert states == [AttemptState.COMPLETED]


def test_job_ends_with_the_reason_when_they_stay_away(idle: Federation, tmp_path: Path) -> None:
    idle.configure_coordinator(patience_seconds=3, return_seconds=1)
    job = start_with_victims(idle, rf"^report\|.*{ROUND}\|ShareBundle")
    detail = idle.wait_ended(job)
    assert detail.summary.state == "failed"
    assert "only 2 nodes were present for 3 seconds and a round needs 3" in detail.summary.reason
    evidence.assert_sound(idle, job, tmp_path)


def test_everything_is_killed_at_once(idle: Federation, tmp_path: Path) -> None:
    hold = Trap(
        owner="coordinator",
        call=rf"^message\|.*{ROUND}\|mask",
        moment="after",
        skip=1,
        action="hold",
        reached=context().Event(),
        released=context().Event(),
    )
    idle.start_coordinator(trap=hold)
    for node in NODES:
        idle.start_node(node)
    idle.wait_present(*NODES)
    job = idle.submit(JOB)
    assert hold.reached is not None
    assert hold.reached.wait(30)
    for process in idle.running:
        process.kill()

    idle.start()
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert outcomes(idle, job) == [
        ("statistics", 0, "completed"),
        ("training", 0, "failed"),
        ("training", 1, "completed"),
        ("evaluation", 0, "completed"),
    ]
