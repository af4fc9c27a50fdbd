"""The commands beside a custodian's process: status, split and reassemble, as a person types them."""

import json
from collections.abc import Callable
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
