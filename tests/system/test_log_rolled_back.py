"""A coordinator goes on from an old backup of its log: every node sees it, says so, and takes part in nothing more."""

import shutil

import pytest

from fedseal.local import open_party
from tests.system import evidence
from tests.system.federation import Federation, SmallJob
from tests.system.founding import NODES

pytestmark = pytest.mark.system


def test_nodes_raise_the_alarm_and_stay_out_until_somebody_looks(idle: Federation) -> None:
    database = idle.folder / "coordinator" / "coordinator.db"
    backup = database.with_name("backup.db")
    shutil.copy(database, backup)
    idle.start_coordinator()
    for node in NODES:
        idle.start_node(node)
    idle.wait_present(*NODES)
    idle.wait_ended(idle.submit(SmallJob(rounds=1)))
    for node in NODES:
        idle.nodes[node].wait_for_line(r'"job ended"')

    idle.require_coordinator().stop()
    for leftover in database.parent.glob("coordinator.db-*"):
        leftover.unlink()
    shutil.copy(backup, database)
    idle.start_coordinator()
    idle.wait_present(*NODES)
    idle.submit(SmallJob(name="again", rounds=1))

    for node in NODES:
        assert idle.nodes[node].wait() != 0
        assert "Stop contributing and call the administrator" in (idle.folder / node / "ALARM.txt").read_text()
        with open_party(idle.folder / node) as party:
            types = [entry.type for entry in party.read(lambda session: list(evidence.log_entries(session, party)))]
        assert types[-1] == "witness.alarm"
    again = idle.start_node(NODES[0])
    assert again.wait() != 0
    assert "takes part in nothing until its operator" in " ".join(again.output.split())
