"""Jobs under a custodian's key, with real processes: the custodian is killed at each step, comes late, or refuses.

A statistics job has one round, so each of these is one key, one opened sum and one destroyed key.
"""

from pathlib import Path

import pytest

from fedseal.local import open_party
from fedseal.report import FederationView, render_report
from fedseal_crypto.homomorphic import KeyFile, unseal_key
from fedseal_crypto.secret import SecretBytes
from fedseal_governance import custody
from fedseal_governance.audit import Entry
from fedseal_governance.custody import ServedState
from tests.system import evidence
from tests.system.actors import Trap
from tests.system.federation import Federation, SmallJob
from tests.system.founding import CUSTODIAN, NODES, SCIENTIST, approve_policy, policy_for, utc_now
from tests.system.hunting import holders_of_secrets

pytestmark = pytest.mark.system

JOB = SmallJob(kind="statistics", protection="homomorphic")

MOMENTS = {
    "offered": Trap(owner="custodian", call=r"^judge", moment="before"),
    "key-made": Trap(owner="vault", call=r"^create", moment="after"),
    "key-stored": Trap(owner="custodian", call=r"^store_key", moment="after"),
    "key-published": Trap(owner="custody", call=r"^publish_key", moment="after"),
    "ciphertext-fetched": Trap(owner="custody", call=r"^fetch_ciphertext", moment="after", skip=1),
    "sum-asked": Trap(owner="custodian", call=r"^require_openable", moment="before"),
    "before-noting": Trap(owner="custodian", call=r"^note_opened", moment="before"),
    "noted": Trap(owner="custodian", call=r"^note_opened", moment="after"),
    "delivered": Trap(owner="custody", call=r"^deliver_sum", moment="after"),
    "end-heard": Trap(owner="vault", call=r"^destroy", moment="before"),
    "key-file-gone": Trap(owner="vault", call=r"^destroy", moment="after"),
    "destroyed": Trap(owner="custodian", call=r"^destroyed", moment="after"),
}


def entries(federation: Federation, party: str, kind: str) -> list[Entry]:
    with open_party(federation.folder / party) as opened:
        return opened.read(
            lambda session: [item for item in evidence.log_entries(session, opened) if item.type == kind]
        )


def assert_served(federation: Federation, job: str, folder: Path, *, rounds: int = 1) -> None:
    """One key, one sum of each round, and the secret key gone, by every party's log and files."""
    detail = federation.detail(job)
    assert detail.summary.state == "finished", detail.summary.reason
    assert federation.custodian is not None
    federation.custodian.wait_for_line('"key destroyed"|The custodian connects')
    wait_destroyed(federation, job)
    evidence.assert_sound(federation, job, folder)
    with open_party(federation.folder / CUSTODIAN) as party:
        row = party.read(lambda session: custody.served_job(session, job))
        sums = party.read(lambda session: custody.opened_sums(session, job))
    assert row is not None
    assert row.state is ServedState.ENDED
    assert len({(item.stage, item.round) for item in sums}) == rounds
    made, gone = (entries(federation, CUSTODIAN, kind) for kind in ("key.created", "key.destroyed"))
    assert [item.details["key"] for item in made] == [row.key_digest] == [item.details["key"] for item in gone]
    for party_name, kind in (("coordinator", "key.received"), *((node, "key.accepted") for node in NODES)):
        assert {item.details["key"] for item in entries(federation, party_name, kind)} == {row.key_digest}
    assert not list((federation.folder / CUSTODIAN / "vault").iterdir())


def wait_destroyed(federation: Federation, job: str) -> None:
    """The custodian hears of the end a moment after the coordinator has stored it."""
    process = federation.custodian
    assert process is not None
    with open_party(federation.folder / CUSTODIAN) as party:
        row = party.read(lambda session: custody.served_job(session, job))
    if row is None or row.state is not ServedState.ENDED:
        process.wait_for_line('"key destroyed"')


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_job_waits_for_a_killed_custodian_and_goes_on(idle: Federation, tmp_path: Path, moment: str) -> None:
    idle.start()
    killed = idle.start_custodian(trap=MOMENTS[moment])
    job = idle.submit(JOB)
    assert killed.wait() == -9
    idle.start_custodian()
    idle.wait_ended(job)
    assert_served(idle, job, tmp_path)
    times = [int(str(item.details["time"])) for item in entries(idle, CUSTODIAN, "sum.opened")]
    assert times == ([1, 2] if moment == "noted" else [1])


@pytest.mark.parametrize("protection", ["homomorphic", "hybrid"])
def test_a_coordinator_killed_while_it_waits_for_the_sum_takes_it_up(
    idle: Federation, tmp_path: Path, protection: str
) -> None:
    idle.start_coordinator(trap=Trap(owner="coordinator", call=r"^roster_certificates", moment="after", skip=4))
    for node in NODES:
        idle.start_node(node)
    idle.wait_present(*NODES)
    idle.start_custodian()
    job = idle.submit(SmallJob(kind="statistics", protection=protection))
    assert idle.require_coordinator().wait() == -9
    idle.start_coordinator()
    idle.wait_ended(job)
    assert_served(idle, job, tmp_path)
    assert len(entries(idle, "coordinator", "sum.opened")) == 1


def test_without_its_custodian_a_job_stops_with_the_reason(idle: Federation) -> None:
    idle.configure_coordinator(custodian_seconds=1)
    idle.start()
    detail = idle.run(JOB)
    assert detail.summary.state == "refused"
    assert "the custodian data-trust made no key within 1 seconds" in detail.summary.reason


def test_a_custodian_refuses_by_its_own_policy(idle: Federation) -> None:
    """Every hospital's policy allows the job; the custodian's asks for a larger cohort."""
    with open_party(idle.folder / CUSTODIAN) as party:
        stricter = policy_for("custodian", {"version: 1": "version: 2", "minimum_cohort: 3": "minimum_cohort: 4"})
        approve_policy(party, stricter, idle.folder)
    idle.start()
    idle.start_custodian()
    detail = idle.run(JOB)
    assert detail.summary.state == "refused"
    assert "data-trust does not serve this job: [protection.minimum_cohort]" in detail.summary.reason
    assert entries(idle, CUSTODIAN, "key.created") == []


@pytest.mark.parametrize("protection", ["homomorphic", "hybrid"])
def test_a_training_job_leaves_no_secret_key_anywhere(idle: Federation, tmp_path: Path, protection: str) -> None:
    """While the key lives it is nowhere but sealed in the custodian's vault; afterwards it is nowhere at all."""
    idle.start()
    hold = Trap(owner="custodian", call=r"^note_opened", moment="before", action="kill", skip=1)
    killed = idle.start_custodian(trap=hold)
    job = idle.submit(SmallJob(rounds=1, protection=protection))
    assert killed.wait() == -9
    vault = idle.folder / CUSTODIAN / "vault"
    lock = KeyFile(SecretBytes((idle.folder / CUSTODIAN / "keys" / "vault.key").read_bytes()))
    secret = unseal_key((vault / f"{job}.key").read_bytes(), lock=lock)
    assert holders_of_secrets(idle.folder, secret, printed=idle.output) == set()
    idle.start_custodian()
    idle.wait_ended(job)
    assert_served(idle, job, tmp_path, rounds=3)
    with idle.client() as client:
        for item in client.show_job(job).artefacts:  # model, statistics, job record
            client.download(job, item.digest, tmp_path / item.digest)
    (tmp_path / "report.html").write_bytes(report_of(idle, job))
    assert holders_of_secrets(idle.folder, secret, printed=idle.output) == set()
    assert holders_of_secrets(tmp_path, secret) == set()
    assert not list(vault.iterdir())


def report_of(federation: Federation, job: str) -> bytes:
    """The page that `fedseal job report` writes."""
    party, moment = federation.party(SCIENTIST), utc_now()
    view = FederationView(root=party.trust_root(), revocations=party.revocations(moment), organisations={})
    return render_report(federation.detail(job), generated_at=moment, federation=view, log=None)
