"""Which jobs get a key, how it is kept, and how it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedseal.custodian.run import open_vault
from fedseal.custodian.vault import Vault, lock_of, sealed_how
from fedseal.errors import SetupError
from fedseal.protection import Judge, read_key_statement
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.homomorphic import Passphrase, PublicContext, WrongLock, find_secret_key, parameters_for_sums
from fedseal_crypto.secret import SecretBytes
from tests.unit.custodian.house import CUSTODIAN, House, job_file
from tests.unit.node.parties import NODES, OFFICERS


def test_a_job_gets_one_key_that_its_custodian_signs(house: House) -> None:
    job = house.offer(job_file())
    ((header, public),) = house.outbox.keys
    trust = house.me.trust
    judge = Judge(root=trust.root, revocations=trust.revocations, custodian=CUSTODIAN, now=house.clock())
    stated = read_key_statement(header.statement, judge)
    parameters = parameters_for_sums(len(NODES))
    assert (stated.job, stated.protection, stated.parameters) == (job, "homomorphic", parameters.name)
    assert stated.file == sha256_hex(public)
    context = PublicContext.from_bytes(public, parameters=parameters)
    assert context.key_digest == stated.key
    assert [entry.details["key"] for entry in house.entries("key.created")] == [stated.key]
    house.start()  # a new process
    house.offer(job_file())
    assert house.outbox.keys[1] == house.outbox.keys[0], "asked again, it states the same key in the same words"
    assert len(house.entries("key.created")) == 1
    assert house.outbox.declined == []


def test_the_key_is_sealed_on_disk_and_gone_after_the_job(house: House) -> None:
    job = house.offer(job_file())
    secret = house.vault.secret(job)
    vault = house.folder.path / "vault"
    assert sealed_how(vault, job) == "key file"
    for path in house.folder.path.rglob("*"):
        if path.is_file():
            assert not find_secret_key(path.read_bytes())
            assert not secret.appears_in(path.read_bytes())
    assert (vault / f"{job}.key").stat().st_mode & 0o777 == 0o600
    house.end(job)
    assert list(vault.iterdir()) == []
    assert secret.destroyed
    (entry,) = house.entries("key.destroyed")
    assert entry.details["reason"] == "finished"
    house.end(job)  # again: nothing
    house.keeper.tidy()
    assert len(house.entries("key.destroyed")) == 1


def test_a_key_is_destroyed_when_its_days_are_over(new_house: Callable[..., House]) -> None:
    house = new_house(key_days=2)
    house.approve()
    job = house.offer(job_file())
    house.clock.forward(days=1)
    house.keeper.tidy()
    assert house.vault.has(job)
    house.clock.forward(days=1)
    house.keeper.tidy()
    assert not house.vault.has(job)
    assert house.entries("key.destroyed")[0].details["reason"] == "its 2 days were over"


def test_what_a_kill_left_is_tidied_up(house: House) -> None:
    job = house.offer(job_file())
    orphan = "0" * 64
    house.vault.create(orphan, parameters_for_sums(3))
    house.start()
    house.keeper.tidy()
    assert house.vault.jobs() == {job}
    house.vault.destroy(job)
    house.keeper.tidy()
    assert house.entries("key.destroyed")[0].details["reason"] == "its sealed file was not there any more"


@pytest.mark.parametrize(
    ("data", "by", "said"),
    [
        (job_file(custodian="other"), "ada", "the job names the custodian other, and this is data-trust"),
        (job_file(), OFFICERS[0], "must be signed by one person with the role data scientist"),
    ],
    ids=["another-custodian", "not-a-scientist"],
)
def test_a_job_is_declined(house: House, data: bytes, by: str, said: str) -> None:
    house.offer(data, by=by)
    assert said in house.outbox.declined[0].sentence
    assert house.outbox.keys == []
    assert house.vault.jobs() == frozenset()


def test_its_own_policy_decides_once(new_house: Callable[..., House]) -> None:
    house = new_house()
    job = house.offer(job_file())
    assert "No approved policy of this custodian" in house.outbox.declined[0].sentence
    house.approve()
    house.offer(job_file())
    assert house.outbox.declined[1].sentence == house.outbox.declined[0].sentence, "decided once"
    assert [entry.subject for entry in house.entries("job.refused")] == [f"job/{job}"]
    house.offer(job_file(name="another"))
    assert len(house.outbox.keys) == 1


def test_the_lock_is_the_only_way_in(house: House) -> None:
    job = house.offer(job_file())
    house.start(Passphrase(SecretBytes(b"another lock")))
    with pytest.raises(CryptoError, match="opens with a key file, not with a passphrase"):
        house.vault.secret(job)
    folder = house.folder.path / "vault"
    with pytest.raises(WrongLock):
        Vault(folder, lock_of(None, _key_file(house))).secret(job)
    (folder / f"{job}.key").unlink()
    house.start()
    with pytest.raises(SetupError, match="is missing; restore it"):
        house.vault.secret(job)


def test_a_process_does_not_start_under_another_lock(house: House) -> None:
    job = house.offer(job_file())
    house.start()
    house.vault.require_lock([job, "0" * 64])
    house.start(Passphrase(SecretBytes(b"another lock")))
    with pytest.raises(SetupError, match=rf"{job}\.key does not open: this key opens with a key file.*remove the file"):
        house.vault.require_lock([job])


def test_a_missing_key_file_is_not_made_anew_while_keys_need_it(house: House) -> None:
    house.offer(job_file())
    key_file = house.folder.path / "keys" / "vault.key"
    with pytest.raises(SetupError, match=r"vault\.key does not exist; restore it, or give the passphrase"):
        open_vault(house.folder, house.settings, None)
    assert not key_file.exists()


def _key_file(house: House) -> Path:
    path = house.folder.path / "keys" / "other.key"
    lock_of(None, path)
    assert path.stat().st_mode & 0o777 == 0o600
    return path
