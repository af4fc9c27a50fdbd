"""The commands beside a custodian's process: status, split and reassemble, as a person types them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import fedseal_cli.custodian
import fedseal_cli.local_options
from fedseal_cli.app import build_command
from fedseal_crypto.identity import PartyKind, Role
from tests.unit.custodian.house import House, job_file, play, world_of
from tests.unit.node.parties import NOW, OFFICERS, ORGANISATION

Command = Callable[..., int]


@pytest.fixture
def fedseal(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command at the time of the tests' certificates; gives its exit code."""
    for module in (fedseal_cli.custodian, fedseal_cli.local_options):
        monkeypatch.setattr(module, "now", lambda: NOW)

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as left:
            build_command()(args=list(arguments), prog_name="fedseal")
        return int(left.value.code or 0)

    return run


@pytest.fixture
def job(house: House) -> str:
    digest = house.offer(job_file())
    collected = play(house, world_of(house, digest))
    house.ask(collected.request())
    return digest


@dataclass
class Ceremony:
    """Types `custodian split` as it should be typed, but for what a test changes."""

    run: Command
    folder: Path
    people: dict[str, str]

    def split(self, **changed: str) -> int:
        home = self.folder
        words = {
            "job": "small",
            "folder": "data-trust",
            "threshold": "2",
            "first": "first.txt",
            "second-officer": OFFICERS[1],
            "out": "out",
            **changed,
        }
        holders = (
            "--holder",
            f"{ORGANISATION}={home / words['first']}",
            "--holder",
            f"Elsewhere={home / 'second.txt'}",
        )
        officer = words["second-officer"]
        seal = ("--seal-passphrase-file", str(home / words["seal"])) if "seal" in words else ()
        return self.run(
            *("custodian", "split", words["job"], "--folder", str(home / words["folder"])),
            *("--threshold", words["threshold"], *holders, "--out", str(home / words["out"]), *seal),
            *("--as", self.people[OFFICERS[0]], "--as", self.people.get(officer, str(home / officer))),
        )


@pytest.fixture
def ceremony(house: House, fedseal: Command, tmp_path: Path) -> Ceremony:
    """Passphrase files, the folders of two officers, and the key file of the vault in its place."""
    for name in ("first", "second", "wrong"):
        (tmp_path / f"{name}.txt").write_text(f"passphrase number {name}\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    vault_key = house.folder.path / "keys" / "vault.key"
    vault_key.write_bytes(bytes(range(32)))
    vault_key.chmod(0o600)
    people = {name: str(house.consortium.make_folder(tmp_path / name, name).path) for name in OFFICERS}
    return Ceremony(run=fedseal, folder=tmp_path, people=people)


def test_status(house: House, job: str, fedseal: Command, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(house.folder.path)
    assert fedseal("custodian", "status", folder, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["custodian"] == "data-trust"
    assert shown["policies"] == ["policy heart-research, version 1"]
    (row,) = shown["jobs"]
    assert (row["digest"], row["state"], row["sealed"], row["sums_opened"]) == (job, "served", "key file", 1)
    house.end(job)
    capsys.readouterr()  # what the process logs
    assert fedseal("custodian", "status", folder) == 0
    text = capsys.readouterr().out
    assert "destroyed" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_status_warns_of_dates(
    house: House, fedseal: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    until = house.me.ledger.member.not_after
    issue_list(house, at=until - timedelta(days=5))
    monkeypatch.setattr(fedseal_cli.custodian, "now", lambda: until - timedelta(days=5))
    assert fedseal("custodian", "status", str(house.folder.path)) == 0
    assert "the certificate of custodian/data-trust ends on" in " ".join(capsys.readouterr().err.split())


def issue_list(house: House, *, at: datetime) -> None:
    path = house.folder.path / "certificates" / "revocations.pem"
    path.write_bytes(house.consortium.crl(at=at))


def test_split_and_reassemble(
    house: House, job: str, fedseal: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, key = str(house.folder.path), tmp_path / "seal.txt"
    key.write_text("a passphrase for the vault\n")
    people = {}
    for name in (*OFFICERS, "carol"):
        if name == "carol":
            house.consortium.enrol(PartyKind.PERSON, name, roles=(Role.AUDITOR,))
        people[name] = str(house.consortium.make_folder(tmp_path / name, name).path)
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("passphrase of one\n")
    second.write_text("passphrase of two\n")
    holders = ("--holder", f"{ORGANISATION}={first}", "--holder", f"Elsewhere={second}")
    officers = ("--as", people[OFFICERS[0]], "--as", people[OFFICERS[1]])
    split = ("custodian", "split", "small", "--folder", folder, "--threshold", "2", *holders, *officers)
    vault_key = house.folder.path / "keys" / "vault.key"
    vault_key.write_bytes(bytes(range(32)))
    vault_key.chmod(0o600)
    assert fedseal(*split, "--out", str(tmp_path / "out")) == 0
    shares = sorted((tmp_path / "out").iterdir())
    assert len(shares) == 2
    assert "2 of 2 shares open it" in capsys.readouterr().out
    assert fedseal(*split, "--out", str(tmp_path / "again")) != 0
    assert "is split already" in capsys.readouterr().err
    bring = ("custodian", "reassemble", "small", "--folder", folder, "--as", people["carol"])
    own = next(share for share in shares if "heart" in share.name)
    assert fedseal(*bring, "--share", f"{own}={first}") != 0
    assert "1 shares were opened; this key needs 2" in capsys.readouterr().err
    other = next(share for share in shares if share != own)
    both = ("--share", f"{own}={first}", "--share", f"{other}={second}", "--as", people[OFFICERS[0]])
    assert fedseal(*bring, *both) != 0
    assert "is the share of Elsewhere" in capsys.readouterr().err
    assert fedseal(*bring, "--share", str(own)) != 0
    assert "write NAME=FILE" in capsys.readouterr().err


BAD_SPLITS: dict[str, tuple[dict[str, str], str]] = {
    "job": ({"job": "other"}, "0 jobs with a key here match 'other'"),
    "lock": ({"seal": "wrong.txt"}, "this key opens with a key file, not with a passphrase"),
    "seal-file": ({"seal": "missing.txt"}, "missing.txt does not exist"),
    "share-passphrase": ({"first": "missing.txt"}, "missing.txt does not exist"),
    "threshold": ({"threshold": "3"}, "3 of 2 organisations is not possible"),
    "one-officer": ({"second-officer": OFFICERS[0]}, "2 different compliance officers"),
    "not-a-person": ({"second-officer": "data-trust"}, "give your own, made by `user enrol`"),
    "no-folder": ({"folder": "nowhere"}, "nowhere is not a folder"),
    "out": ({"out": "full"}, "full is not empty"),
}


@pytest.mark.parametrize("case", BAD_SPLITS)
def test_a_split_with_bad_input_changes_nothing(
    house: House, job: str, ceremony: Ceremony, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, said = BAD_SPLITS[case]
    before = kept(house)
    capsys.readouterr()
    assert ceremony.split(**changed) not in {0, 70}
    assert_one_sentence(capsys.readouterr().err, said)
    assert kept(house) == before
    assert not (ceremony.folder / "out").exists()
    assert house.vault.has(job)


def test_a_reassembly_with_bad_input_changes_nothing(
    house: House, job: str, ceremony: Ceremony, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ceremony.split() == 0
    share = next(str(path) for path in (ceremony.folder / "out").iterdir() if "heart" in path.name)
    (ceremony.folder / "garbage").write_bytes(b"not a share at all" * 20)
    before = kept(house)
    mine, bad = str(ceremony.folder / "first.txt"), str(ceremony.folder / "wrong.txt")
    for pair, name, said in (
        (f"{share}={bad}", "small", "does not open the share of Heart Consortium"),
        (f"{share}={mine}", "small", "1 shares were opened; this key needs 2"),
        (f"{share}={mine}", "other", "0 jobs with a key here match 'other'"),
        (f"{ceremony.folder / 'garbage'}={mine}", "small", "these bytes are not a key share"),
        (f"{ceremony.folder / 'none'}={mine}", "small", "a key share is expected there"),
    ):
        capsys.readouterr()
        arguments = ("--folder", str(house.folder.path), "--share", pair, "--as", ceremony.people[OFFICERS[0]])
        assert ceremony.run("custodian", "reassemble", name, *arguments) not in {0, 70}
        assert_one_sentence(capsys.readouterr().err, said)
        assert kept(house) == before, said
    assert house.vault.is_split(job)


def kept(house: House) -> dict[str, object]:
    """The vault's files and the kinds of entries in the log."""
    log = house.party.read(lambda session: [entry.type for entry in house.party.log().entries(session)])
    return {"log": log, **{path.name: path.read_bytes() for path in (house.folder.path / "vault").iterdir()}}


def assert_one_sentence(printed: str, said: str) -> None:
    text = " ".join(printed.split())
    assert text.count("Error: ") == 1, text
    assert said in text
    assert "Traceback" not in text
