"""Keys and certificates are replaced while a job runs: nobody stops, and no attempt is lost."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from fedseal.authority import rotating
from fedseal.authority.office import Office
from fedseal.folders import PartyFolder
from fedseal.local import open_party
from fedseal_crypto.secret import SecretBytes
from tests.system import evidence, founding
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import CUSTODIAN, NODES, PASSPHRASE
from tests.system.processes import context
from tests.system.test_revocation import HeldJob

pytestmark = pytest.mark.system

TAKEN_OVER = "new certificates taken over"


def rotate(federation: Federation, name: str, passphrase: SecretBytes | None = None) -> None:
    """Rotate a party as `certificate rotate` does, with the authority in the same room."""
    folder, now = PartyFolder.load(federation.folder / name), founding.utc_now()
    with closing(Office.open(federation.folder / "authority")) as locked, closing(locked.unlock(PASSPHRASE)) as office:
        pending = rotating.begin(folder, passphrase=passphrase, now=now, entropy=os.urandom)
        rotating.rotate(pending, exchange=lambda sent: office.rotate(sent, now=now), now=now)


def retire(federation: Federation, label: str) -> bytes:
    """Revoke what the rotation has replaced; the new list."""
    with closing(Office.open(federation.folder / "authority")) as locked, closing(locked.unlock(PASSPHRASE)) as office:
        office.revoke(label, reason="superseded", now=founding.utc_now(), keep_newest=True)
        return office.revocations_pem()


def test_everybody_rotates_in_the_middle_of_a_round(idle: Federation, tmp_path: Path) -> None:
    held = HeldJob(idle)
    coordinator = idle.require_coordinator()
    before = {name: PartyFolder.load(idle.folder / name).identity_certificate() for name in ("hungary", "coordinator")}
    seen = len(coordinator.lines)
    rotate(idle, "hungary")
    idle.nodes["hungary"].wait_for_line(TAKEN_OVER)
    coordinator.wait_for_line(r'"node": "hungary".*"node present"', start=seen)
    rotate(idle, "coordinator")
    coordinator.wait_for_line(TAKEN_OVER)
    rotate(idle, founding.SCIENTIST, PASSPHRASE)
    for label in ("node/hungary", "coordinator/coordinator"):
        newer = retire(idle, label)
        with idle.client("grace") as client:  # a new connection: it is met with the new certificate
            assert client.publish_revocations(newer) == "taken over"
    held.go_on()

    detail = idle.wait_ended(held.job)
    evidence.assert_finished(idle, held.job, tmp_path)
    assert {(item.address.attempt, item.state) for item in detail.rounds} == {(0, "completed")}
    assert all(sorted(item.survivors) == sorted(NODES) for item in detail.rounds)
    again = idle.run(SmallJob(name="again", rounds=1))
    assert again.summary.state == "finished", "and the scientist's new key signs the next job"
    assert all(sorted(item.survivors) == sorted(NODES) for item in again.rounds)
    assert all(process.running for process in (coordinator, *idle.nodes.values()))
    for name, old in before.items():
        assert PartyFolder.load(idle.folder / name).identity_certificate() != old
    with open_party(idle.folder / "coordinator") as party:
        kinds = party.read(lambda session: [entry.type for entry in evidence.log_entries(session, party)])
    assert "certificate.renewed" in kinds


def test_a_custodian_rotates_while_it_opens_a_sum(idle: Federation, tmp_path: Path) -> None:
    """Its sums are signed with the new key from then on; the statement of the job's key keeps the old signature."""
    hold = Trap(
        owner="custodian",
        call=r"^note_opened",
        moment="before",
        action="hold",
        reached=context().Event(),
        released=context().Event(),
    )
    idle.start()
    custodian = idle.start_custodian(trap=hold)
    job = idle.submit(SmallJob(rounds=1, protection="homomorphic"))
    assert hold.reached is not None
    assert hold.released is not None
    assert hold.reached.wait(30)
    rotate(idle, CUSTODIAN)
    custodian.wait_for_line(TAKEN_OVER)
    seen = len(idle.require_coordinator().lines)
    hold.released.set()
    idle.require_coordinator().wait_for_line('"custodian present"', start=seen)
    idle.wait_ended(job)
    evidence.assert_finished(idle, job, tmp_path)
    assert {(item.address.attempt, item.state) for item in idle.detail(job).rounds} == {(0, "completed")}

    newer = retire(idle, f"custodian/{CUSTODIAN}")
    with idle.client("grace") as client:
        assert client.publish_revocations(newer) == "taken over"
    again = idle.run(SmallJob(name="again", kind="statistics", protection="homomorphic"))
    assert again.summary.state == "finished", again.summary.reason
    assert custodian.running
