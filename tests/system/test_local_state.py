"""What a method keeps at a node survives the death of the node's process, exactly when the others count it in."""

import pytest

from fedseal.learning.model_file import read_model
from fedseal.node.own_models import FOLDER, OwnModels
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import NODES
from tests.system.processes import context
from tests.system.test_node_killed import HELD, VICTIM, dies, seen_before

pytestmark = pytest.mark.system

ROUND = r"training round 1"
JOB = SmallJob(method="ditto", rounds=1)


@pytest.mark.parametrize(("moment", "counted"), [("before", False), ("after", True)])
def test_a_killed_node_keeps_its_state_if_it_is_in_the_sum(idle: Federation, moment: str, counted: bool) -> None:
    """Killed before or after its vector left, in the only round; its own model shows which state it went on with."""
    hold = Trap(
        owner="connection",
        call=rf"^report\|.*{ROUND}\|Unmasking",
        moment="before",
        action="hold",
        reached=context().Event(),
        released=context().Event(),
    )
    idle.start_coordinator()
    traps = {VICTIM: dies(moment, rf"^contribute\|.*{ROUND}$"), HELD: hold}
    for node in NODES:
        idle.start_node(node, trap=traps.get(node))
    idle.wait_present(*NODES)
    job = idle.submit(JOB)

    assert idle.nodes[VICTIM].wait() == -9
    idle.start_node(VICTIM)
    idle.require_coordinator().wait_for_line(rf'"node": "{VICTIM}".*"node present"', start=seen_before(idle))
    assert hold.released is not None
    hold.released.set()

    detail = idle.wait_ended(job)
    assert detail.summary.state == "finished"
    for process in idle.nodes.values():
        process.wait_for_line('"job ended"')
    for node in NODES:
        own = OwnModels(idle.folder / node / FOLDER)
        if node == VICTIM and not counted:
            assert own.listed() == (), "its personal model was dropped with its contribution"
            continue
        (kept,) = own.listed()
        assert kept.job == job
        assert read_model(own.read(job)).description.job_digest == job
        assert not list((idle.folder / node / "state").rglob("*.safetensors")), "the job's state is gone with the job"
    coordinator = {path.read_bytes() for path in (idle.folder / "coordinator").rglob("*") if path.is_file()}
    for node in NODES:
        for item in OwnModels(idle.folder / node / FOLDER).listed():
            assert OwnModels(idle.folder / node / FOLDER).read(item.job) not in coordinator, "it is never sent"
    idle.assert_no_traceback()
