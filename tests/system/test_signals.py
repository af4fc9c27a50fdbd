"""SIGINT and SIGTERM end each process in order; both are the ordinary end of a service, so the exit code is 0."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system import evidence
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.processes import context

pytestmark = pytest.mark.system

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_everything_ends_in_order(federation: Federation, number: signal.Signals) -> None:
    coordinator = federation.require_coordinator()
    node = federation.nodes["hungary"]
    node.signal(number)
    assert node.wait() == 0
    assert '"node stopped"' in node.lines[-1]
    coordinator.wait_for_line(r'"node": "hungary".*"node away"')

    coordinator.signal(number)
    assert coordinator.wait() == 0
    assert '"coordinator stopped"' in coordinator.lines[-1]
    for name in ("cleveland", "switzerland", "va-long-beach"):
        other = federation.nodes[name]
        other.wait_for_line('"not connected"')
        other.signal(number)
        assert other.wait() == 0
    federation.assert_no_traceback()


@pytest.mark.parametrize("number", SIGNALS)
def test_coordinator_stopped_in_the_middle_of_a_round(idle: Federation, tmp_path: Path, number: signal.Signals) -> None:
    """The round is not lost: started again, the coordinator goes on with the same attempt."""
    hold = Trap(
        owner="connection",
        call=r"^contribute\|.*training round 1$",
        moment="before",
        action="hold",
        reached=context().Event(),
        released=context().Event(),
    )
    idle.start_coordinator()
    for node in ("cleveland", "switzerland", "va-long-beach"):
        idle.start_node(node)
    idle.start_node("hungary", trap=hold)
    idle.wait_present("cleveland", "switzerland", "va-long-beach", "hungary")
    job = idle.submit(SmallJob(rounds=1))
    assert hold.reached is not None
    assert hold.released is not None
    assert hold.reached.wait(30)
    coordinator = idle.require_coordinator()
    coordinator.signal(number)
    assert coordinator.wait() == 0
    hold.released.set()

    idle.start_coordinator()
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert all(item.address.attempt == 0 for item in idle.detail(job).rounds)


def test_node_stopped_in_the_middle_of_a_round(idle: Federation, tmp_path: Path) -> None:
    """The others complete the round without it."""
    hold = Trap(
        owner="connection",
        call=r"^report\|.*training round 1\|Confirmation",
        moment="before",
        action="hold",
        reached=context().Event(),
        released=context().Event(),
    )
    idle.start_coordinator()
    for node in ("cleveland", "switzerland", "va-long-beach"):
        idle.start_node(node)
    stopped = idle.start_node("hungary", trap=hold)
    idle.wait_present("cleveland", "switzerland", "va-long-beach", "hungary")
    job = idle.submit(SmallJob(rounds=1))
    assert hold.reached is not None
    assert hold.released is not None
    assert hold.reached.wait(30)
    stopped.signal(signal.SIGTERM)
    hold.released.set()
    assert stopped.wait() == 0

    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)


def test_the_installed_commands_start_and_stop(idle: Federation) -> None:
    """Not forked from the tests' own server: a new interpreter, as from a shell."""
    commands = [
        ("coordinator", "run", "--folder", str(idle.folder / "coordinator"), "--listen", idle.address),
        ("node", "run", "--folder", str(idle.folder / "hungary"), "--coordinator", idle.address),
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "fedseal_cli.main", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for arguments in commands
    ]
    try:
        coordinator, node = processes
        assert coordinator.stdout is not None
        assert any('"node present"' in line for line in iter(coordinator.stdout.readline, ""))
        for process in (node, coordinator):
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
            assert process.returncode == 0, output
            assert "Traceback" not in output
    finally:
        for process in processes:
            process.kill()
            process.wait()
