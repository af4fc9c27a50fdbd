"""A certificate is revoked while a job runs: its owner is out at the next step, and the job goes on or says why not."""

from pathlib import Path

import pytest

from tests.system import evidence, founding
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import NODES, Enrolment
from tests.system.processes import context

pytestmark = pytest.mark.system

HELD = "cleveland"
OTHERS = ["cleveland", "switzerland", "va-long-beach"]
ROUND = r"training round 1"


class HeldJob:
    """A job that waits in its first training round, right before one node sends its vector."""

    def __init__(self, federation: Federation) -> None:
        self._trap = Trap(
            owner="connection",
            call=rf"^contribute\|.*{ROUND}$",
            moment="before",
            action="hold",
            reached=context().Event(),
            released=context().Event(),
        )
        federation.start_coordinator()
        for node in NODES:
            federation.start_node(node, trap=self._trap if node == HELD else None)
        federation.wait_present(*NODES)
        self.job = federation.submit(SmallJob(rounds=1))
        assert self._trap.reached is not None
        assert self._trap.reached.wait(30)

    def go_on(self) -> None:
        assert self._trap.released is not None
        self._trap.released.set()


def publish(federation: Federation, *labels: str) -> None:
    """Revoke, and let an officer bring the new list to the coordinator."""
    for label in labels:
        revocations = founding.revoke(federation.folder, label)
    with federation.client("grace") as client:
        assert client.publish_revocations(revocations) == "taken over"


def rosters(federation: Federation, job: str) -> dict[tuple[str, int], list[str]]:
    return {(item.address.stage, item.address.attempt): sorted(item.roster) for item in federation.detail(job).rounds}


def test_revoked_node_is_out_and_the_job_goes_on(idle: Federation, tmp_path: Path) -> None:
    held = HeldJob(idle)
    publish(idle, "node/hungary")
    revoked = idle.nodes["hungary"]
    assert revoked.wait() not in (0, 70), revoked.output
    assert "does not admit this node" in revoked.lines[-1]
    assert "revoked" in revoked.lines[-1]
    held.go_on()

    idle.wait_ended(held.job)
    evidence.assert_finished(idle, held.job, tmp_path)
    assert rosters(idle, held.job)["evaluation", 0] == OTHERS
    # It stays out, by its own checks: the list reached it before it ended, or it is told at the door.
    again = idle.start_node("hungary")
    assert again.wait() not in (0, 70)
    assert "revoked" in again.lines[-1]


def test_coordinator_restarts_in_the_round_of_a_revoked_node(idle: Federation, tmp_path: Path) -> None:
    """The attempt cannot be taken up, because a member's certificate does not verify any more; the next one can."""
    idle.configure_coordinator(gather_seconds=3)
    held = HeldJob(idle)
    publish(idle, "node/hungary")
    assert idle.nodes["hungary"].wait() != 0
    idle.require_coordinator().kill()
    held.go_on()
    idle.start_coordinator()

    idle.wait_ended(held.job)
    evidence.assert_finished(idle, held.job, tmp_path)
    assert rosters(idle, held.job)["training", 1] == OTHERS
    reasons = {(item.address.stage, item.address.attempt): item.reason for item in idle.detail(held.job).rounds}
    assert "could not be taken up after a restart" in reasons["training", 0]
    assert "revoked" in reasons["training", 0]


def test_node_knows_a_newer_list_than_the_coordinator(idle: Federation, tmp_path: Path) -> None:
    """It keeps its own and goes on; the list says nothing against anybody here."""
    founding.enrol(idle.folder, Enrolment(kind="person", name="eve", roles=("auditor",)))
    newer = founding.revoke(idle.folder, "person/eve")
    (idle.folder / "hungary" / "certificates" / "revocations.pem").write_bytes(newer)
    idle.start()
    detail = idle.run(SmallJob(rounds=1))
    evidence.assert_finished(idle, detail.summary.job, tmp_path)
    assert all(sorted(item.survivors) == sorted(NODES) for item in detail.rounds)
    assert founding.revocations(idle.folder / "hungary") == newer


def test_too_few_nodes_are_left(idle: Federation, tmp_path: Path) -> None:
    idle.configure_coordinator(patience_seconds=3, return_seconds=1)
    held = HeldJob(idle)
    publish(idle, "node/hungary", "node/switzerland")
    for node in ("hungary", "switzerland"):
        assert idle.nodes[node].wait() != 0
    held.go_on()

    detail = idle.wait_ended(held.job)
    assert detail.summary.state == "failed"
    assert "only 2 nodes were present" in detail.summary.reason
    evidence.assert_sound(idle, held.job, tmp_path)


def test_the_scientist_is_revoked(idle: Federation, tmp_path: Path) -> None:
    """The nodes themselves refuse to go on with a job whose signer is out."""
    held = HeldJob(idle)
    publish(idle, "person/ada")
    held.go_on()

    with idle.watching(held.job, person="grace") as watch:
        watch.wait(lambda event: event.kind == "done", "the end of the job")
    with idle.client("grace") as client:
        detail = client.show_job(held.job)
    assert detail.summary.state == "failed"
    assert "ada" in detail.summary.reason
    assert "revoked" in detail.summary.reason
    evidence.assert_sound(idle, held.job, tmp_path)
