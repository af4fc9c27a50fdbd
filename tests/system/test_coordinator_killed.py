"""The coordinator's process is killed; started again it takes its jobs up by itself and finishes them.

The nodes are told nothing: they reconnect, repeat what was not acknowledged, and go on.
"""

from pathlib import Path

import pytest

from fedseal.errors import RemoteError
from fedseal_crypto.digests import sha256_hex
from fedseal_governance.participation import AttemptState, NodeJobState
from tests.system import evidence
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import NODES

pytestmark = pytest.mark.system

JOB = SmallJob(rounds=1)
ROUND = r"training round 1"
FIRST = r"statistics round 1"

MOMENTS = {
    "one-node-accepted": Trap(owner="coordinator", call=r"^answer\|", moment="after", skip=1),
    "round-begun-and-nobody-told": Trap(owner="coordinator", call=rf"^begin_round\|.*{ROUND}", moment="after"),
    "first-round-of-all-begun": Trap(owner="coordinator", call=rf"^begin_round\|.*{FIRST}", moment="after"),
    **{
        f"collecting-{step}": Trap(owner="coordinator", call=rf"^message\|.*{ROUND}\|{step}", moment="after", skip=2)
        for step in ("advertise", "share", "mask", "confirm", "unmask")
    },
    **{
        f"closed-{step}": Trap(owner="coordinator", call=rf"^step_closed\|.*{ROUND}\|{step}", moment="after")
        for step in ("advertise", "mask", "unmask")
    },
    "vector-received-and-not-stored": Trap(
        owner="coordinator", call=rf"^message\|.*{ROUND}\|mask", moment="before", skip=1
    ),
    "sum-about-to-be-stored": Trap(owner="coordinator", call=rf"^complete_round\|.*{ROUND}", moment="before"),
    "sum-stored-and-nobody-told": Trap(owner="coordinator", call=rf"^complete_round\|.*{ROUND}", moment="after"),
    "job-about-to-end": Trap(owner="coordinator", call=r"^end\|", moment="before"),
    "job-ended-and-nobody-told": Trap(owner="coordinator", call=r"^end\|", moment="after"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_restarted_coordinator_finishes_the_job(idle: Federation, tmp_path: Path, moment: str) -> None:
    idle.start_coordinator(trap=MOMENTS[moment])
    for node in NODES:
        idle.start_node(node)
    idle.wait_present(*NODES)
    job = idle.submit(JOB)

    assert idle.require_coordinator().wait() == -9
    idle.start_coordinator()
    idle.wait_ended(job)

    evidence.assert_finished(idle, job, tmp_path)
    rounds = idle.detail(job).rounds
    assert [(item.address.stage, item.address.round, item.address.attempt) for item in rounds] == [
        ("statistics", 0, 0),
        ("training", 0, 0),
        ("evaluation", 0, 0),
    ], "a restart of the coordinator alone costs no attempt"
    assert all(sorted(item.survivors) == sorted(NODES) for item in rounds)
    for node in NODES:
        states = [row.state for row in evidence.attempts(idle, node, job)]
        assert states == [AttemptState.COMPLETED] * 3
        idle.nodes[node].wait_for_line(r'"job ended"')
        assert evidence.node_job_state(idle, node, job) is NodeJobState.ENDED


def test_killed_right_after_a_submission_was_stored(idle: Federation, tmp_path: Path) -> None:
    idle.start_coordinator(trap=Trap(owner="coordinator", call=r"^submit", moment="after"))
    for node in NODES:
        idle.start_node(node)
    idle.wait_present(*NODES)
    with pytest.raises(RemoteError, match="cannot be reached"):
        idle.submit(JOB)
    assert idle.require_coordinator().wait() == -9

    idle.start_coordinator()
    job = sha256_hex(JOB.to_yaml())
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)


def test_killed_over_and_over_the_job_still_finishes(idle: Federation, tmp_path: Path) -> None:
    """It dies after every fourteenth write, whatever that is; the job needs 86."""
    storm = Trap(owner="coordinator", call=r"^(answer|begin|message|step|complete|end)", moment="after", skip=13)
    idle.start_coordinator(trap=storm)
    for node in NODES:
        idle.start_node(node)
    idle.wait_present(*NODES)
    job = idle.submit(JOB)
    for _ in range(86 // 14 - 1):
        assert idle.require_coordinator().wait() == -9
        idle.start_coordinator(trap=storm)
    assert idle.require_coordinator().wait() == -9
    idle.start_coordinator()
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert all(item.address.attempt == 0 for item in idle.detail(job).rounds)
