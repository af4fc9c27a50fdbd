"""A node's process is killed in the middle of a round: the round completes without it, and it comes back.

Another node is held back before the round's last message until the killed one has returned, so that the next round
begins with everybody, on a machine of any speed.
"""

from pathlib import Path

import pytest

from fedseal_governance.participation import AttemptState
from tests.system import evidence
from tests.system.actors import Trap
from tests.system.federation import Federation
from tests.system.founding import NODES
from tests.system.processes import context

pytestmark = pytest.mark.system

VICTIM = "hungary"
HELD = "cleveland"
ROUND = r"training round 1"


def dies(moment: str, call: str) -> Trap:
    owner = "node" if call.startswith(("begin", "input_sent", "unmask_released")) else "connection"
    assert moment in ("before", "after")
    return Trap(owner=owner, call=call, moment="before" if moment == "before" else "after")  # type: ignore[arg-type]  # one of two literals


MOMENTS = {
    # moment of death: (trap, is the victim's vector in the sum?, its attempt afterwards)
    "before-advertising": ("before", rf"^report\|.*{ROUND}\|Advertisement", False, AttemptState.BEGUN),
    "after-advertising": ("after", rf"^report\|.*{ROUND}\|Advertisement", False, AttemptState.BEGUN),
    "after-sharing": ("after", rf"^report\|.*{ROUND}\|ShareBundle", False, AttemptState.BEGUN),
    "before-sending-the-vector": ("before", rf"^contribute\|.*{ROUND}$", False, AttemptState.INPUT_SENT),
    "after-sending-the-vector": ("after", rf"^contribute\|.*{ROUND}$", True, AttemptState.INPUT_SENT),
    "after-confirming": ("after", rf"^report\|.*{ROUND}\|Confirmation", True, AttemptState.INPUT_SENT),
    "before-unmasking": ("before", rf"^report\|.*{ROUND}\|Unmasking", True, AttemptState.UNMASK_RELEASED),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_round_completes_without_the_killed_node_and_it_rejoins(idle: Federation, tmp_path: Path, moment: str) -> None:
    when, call, in_sum, left_in = MOMENTS[moment]
    hold = Trap(
        owner="connection",
        call=rf"^report\|.*{ROUND}\|Unmasking",
        moment="before",
        action="hold",
        reached=context().Event(),
        released=context().Event(),
    )
    idle.start_coordinator()
    for node in NODES:
        idle.start_node(node, trap={VICTIM: dies(when, call), HELD: hold}.get(node))
    idle.wait_present(*NODES)
    job = idle.submit()

    assert idle.nodes[VICTIM].wait() == -9
    idle.start_node(VICTIM)
    idle.require_coordinator().wait_for_line(rf'"node": "{VICTIM}".*"node present"', start=seen_before(idle))
    assert hold.released is not None
    hold.released.set()

    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    rounds = {(item.address.stage, item.address.round): item for item in idle.detail(job).rounds}
    struck = rounds["training", 0]
    assert struck.address.attempt == 0
    assert (VICTIM in struck.survivors) is in_sum
    assert list(struck.recovered) == ([] if in_sum else [VICTIM])
    assert VICTIM in rounds["training", 1].survivors
    states = {(row.stage, row.round): row.state for row in evidence.attempts(idle, VICTIM, job)}
    # What it had released, the new process sends again, and hears that the round completed; all else it gives up.
    released = left_in is AttemptState.UNMASK_RELEASED
    assert states["training", 0] in (left_in, AttemptState.COMPLETED if released else AttemptState.ABANDONED)
    assert states["training", 1] is AttemptState.COMPLETED


def seen_before(federation: Federation) -> int:
    """Line number after which the coordinator reports the victim's return."""
    lines = federation.require_coordinator().lines
    return next(number for number, line in enumerate(lines) if f'"{VICTIM}"' in line and "node present" in line) + 1
