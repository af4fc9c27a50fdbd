"""A key split among organisations: what opens it, who may, and that it lasts for one run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fedseal import files
from fedseal.custodian import ceremonies, vault
from fedseal.custodian.ceremonies import BroughtShare, Splitting, find_job, reassemble_job_key, split_job_key
from fedseal.custodian.keeper import LATER
from fedseal.custodian.vault import KeyLocked
from fedseal.errors import RefusalError, SetupError
from fedseal.local import Person
from fedseal_crypto.homomorphic import Passphrase, SharesInsufficient, WrongLock
from fedseal_crypto.secret import SecretBytes
from tests.unit.custodian.house import House, job_file, play, world_of
from tests.unit.node.parties import OFFICERS, SCIENTIST

HOLDERS = ("Cleveland Clinic", "Basel Hospital", "Patients' Council")


def person(house: House, name: str, *, organisation: str | None = None) -> Person:
    made = house.consortium.parties[name]
    member = made.member if organisation is None else replace(made.member, organisation=organisation)
    return Person(member=member, key=made.key, certificate_pem=made.identity_pem)


def passphrase(holder: str) -> Passphrase:
    return Passphrase(SecretBytes(f"passphrase of {holder}".encode()))


def splitting(house: House, out: Path, *, officers: Sequence[str] = OFFICERS, threshold: int = 2) -> Splitting:
    return Splitting(
        threshold=threshold,
        holders={name: passphrase(name) for name in HOLDERS},
        officers=tuple(person(house, name) for name in officers),
        out=out,
    )


@pytest.fixture
def job(house: House) -> str:
    return house.offer(job_file())


@pytest.fixture
def shares(house: House, job: str, tmp_path: Path) -> dict[str, Path]:
    """The key of the job is split, and the process is started again."""
    row = find_job(house.party, job[:10])
    files = split_job_key(house.party, house.vault, row, splitting(house, tmp_path / "out"), now=house.clock())
    house.start()
    return dict(zip(HOLDERS, files, strict=True))


def bring(house: House, shares: dict[str, Path], *who: tuple[str, str]) -> list[BroughtShare]:
    return [
        BroughtShare(
            file=shares[holder],
            passphrase=passphrase(holder),
            person=person(house, name, organisation=holder),
        )
        for holder, name in who
    ]


TWO = ((HOLDERS[0], OFFICERS[0]), (HOLDERS[2], SCIENTIST))


def test_two_of_three_shares_open_the_key_for_one_run(house: House, job: str, shares: dict[str, Path]) -> None:
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in shares.values())
    with pytest.raises(KeyLocked, match="is split; bring enough shares together"):
        house.vault.secret(job)
    row = find_job(house.party, "small")
    reassemble_job_key(house.party, house.vault, row, bring(house, shares, *TWO), now=house.clock())
    collected = play(house, world_of(house, job))
    house.ask(collected.request())
    assert len(house.outbox.sums) == 1
    house.start()
    house.ask(collected.request())
    assert house.outbox.declined[0].code == LATER, "the next run needs the shares again, and the job waits"
    assert len(house.outbox.sums) == 1
    (split,), (brought,) = house.entries("key.split"), house.entries("key.reassembled")
    assert split.details["holders"] == sorted(HOLDERS)
    assert split.details["officers"] == [f"person/{name}" for name in OFFICERS]
    assert brought.details["people"] == [f"person/{name}" for _, name in TWO]


def test_a_split_that_fails_leaves_everything_as_it_was(
    house: House, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at any of the files: the key still opens, nobody is told, and no share lies about."""
    row = find_job(house.party, job)
    real, before = files.write_atomic, house.vault.public(job)
    for fatal in range(len(HOLDERS) + 1):
        left = iter([False] * fatal + [True])

        def write(path: Path, data: bytes, *, private: bool = False, left: Iterator[bool] = left) -> None:
            if next(left):
                raise OSError(28, "No space left on device")
            real(path, data, private=private)

        for module in (ceremonies, vault):
            monkeypatch.setattr(module, "write_atomic", write)
        with pytest.raises(OSError, match="No space left"):
            split_job_key(house.party, house.vault, row, splitting(house, tmp_path / "out"), now=house.clock())
        assert not (tmp_path / "out").exists()
        house.start()
        assert not house.vault.is_split(job)
        assert house.vault.secret(job).public.to_bytes() == before
    assert house.entries("key.split") == []


def test_the_running_process_goes_on_until_it_is_restarted(house: House, job: str, tmp_path: Path) -> None:
    world = world_of(house, job)
    row = find_job(house.party, job)
    split_job_key(house.party, house.vault, row, splitting(house, tmp_path / "out"), now=house.clock())
    house.ask(play(house, world).request())
    assert len(house.outbox.sums) == 1


def test_destroying_takes_the_split_key_too(house: House, job: str, shares: dict[str, Path]) -> None:
    row = find_job(house.party, job)
    reassemble_job_key(house.party, house.vault, row, bring(house, shares, *TWO), now=house.clock())
    house.end(job)
    assert list((house.folder.path / "vault").iterdir()) == []
    with pytest.raises(RefusalError, match="0 jobs with a key here match"):
        find_job(house.party, job)


def test_who_may_bring_a_share(house: House, job: str, shares: dict[str, Path]) -> None:
    row = find_job(house.party, job)

    def refused(error: type[Exception], said: str, brought: list[BroughtShare]) -> None:
        with pytest.raises(error, match=said):
            reassemble_job_key(house.party, house.vault, row, brought, now=house.clock())

    one = bring(house, shares, TWO[0])
    refused(SharesInsufficient, "1 shares were opened; this key needs 2", one)
    same = [*one, replace(one[0], file=shares[HOLDERS[1]], passphrase=passphrase(HOLDERS[1]))]
    refused(RefusalError, "one person brings two shares", same)
    stranger = replace(one[0], person=person(house, OFFICERS[0]))
    refused(RefusalError, "is the share of Cleveland Clinic and person/grace is of Heart Consortium", [stranger])
    refused(WrongLock, "does not open the share", [replace(one[0], passphrase=passphrase("nobody"))])
    assert house.entries("key.reassembled") == []
    with pytest.raises(KeyLocked):
        house.vault.secret(job)


def test_who_may_split(house: House, job: str, tmp_path: Path) -> None:
    row, out = find_job(house.party, job), tmp_path / "out"

    def refused(error: type[Exception], said: str, how: Splitting) -> None:
        with pytest.raises(error, match=said):
            split_job_key(house.party, house.vault, row, how, now=house.clock())

    refused(RefusalError, "2 different compliance officers", splitting(house, out, officers=OFFICERS[:1]))
    refused(RefusalError, "2 different compliance officers", splitting(house, out, officers=(OFFICERS[0],) * 2))
    refused(RefusalError, "2 different compliance officers", splitting(house, out, officers=(OFFICERS[0], SCIENTIST)))
    out.mkdir()
    (out / "something").touch()
    refused(SetupError, "is not empty", splitting(house, out))
    assert house.entries("key.split") == []
    split_job_key(house.party, house.vault, row, splitting(house, tmp_path / "new"), now=house.clock())
    refused(RefusalError, "is split already", splitting(house, tmp_path / "again"))
