"""A party's disk is full: it does nothing it cannot record, and goes on where it was once there is space again.

A limit on the size of files stands in for the full disk: SQLite's journal cannot grow beyond it, and unlike a full
file system it needs no privileges and can be lifted from outside while the process runs.
"""

import resource
from pathlib import Path

import pytest

from fedseal_cli.exit_codes import ExitCode
from tests.system import evidence
from tests.system.federation import Federation, SmallJob
from tests.system.founding import NODES
from tests.system.processes import PartyProcess

pytestmark = pytest.mark.system

NODE = "hungary"
OTHERS = ["cleveland", "switzerland", "va-long-beach"]
FULL_BYTES = 100 * 1024
"""Enough for some transactions of a job, not for a job."""


def make_space(process: PartyProcess) -> None:
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_node_that_cannot_write_its_log_leaves(idle: Federation, tmp_path: Path) -> None:
    idle.start_coordinator()
    for node in NODES:
        idle.start_node(node, file_bytes=FULL_BYTES if node == NODE else None)
    idle.wait_present(*NODES)
    detail = idle.run(SmallJob(rounds=2))
    full = idle.nodes[NODE]
    assert full.wait() == ExitCode.STORAGE, full.output
    assert full.lines[-1].startswith("Error: ")
    assert "node.db" in full.lines[-1]
    assert "disk" in full.lines[-1]
    evidence.assert_finished(idle, detail.summary.job, tmp_path)
    assert sorted(detail.rounds[-1].survivors) == OTHERS

    coordinator = idle.require_coordinator()
    seen = len(coordinator.lines)
    idle.start_node(NODE)
    coordinator.wait_for_line(rf'"node": "{NODE}".*"node present"', start=seen)
    again = idle.run(SmallJob(name="again", rounds=1))
    evidence.assert_finished(idle, again.summary.job, tmp_path)
    assert all(sorted(item.survivors) == sorted(NODES) for item in again.rounds)


def test_coordinator_waits_until_it_can_write_again(idle: Federation, tmp_path: Path) -> None:
    coordinator = idle.start_coordinator(file_bytes=FULL_BYTES)
    for node in NODES:
        idle.start_node(node)
    idle.wait_present(*NODES)
    job = idle.submit(SmallJob(rounds=1))
    coordinator.wait_for_line("storage failed; the job is loaded again")
    make_space(coordinator)
    detail = idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert all(item.address.attempt == 0 for item in detail.rounds)
    assert all(sorted(item.survivors) == sorted(NODES) for item in detail.rounds)
    assert coordinator.running
