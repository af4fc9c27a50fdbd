"""Rotating, showing and warning through the command line."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedseal_crypto.notes import NoteVerifier

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell


def fingerprint(shell: "Shell", folder: str) -> str:
    return str(shell.json("certificate", "show", folder)["fingerprint"])


@pytest.mark.parametrize("folder", ["cleveland", "olga"])
def test_keys_are_rotated_by_hand(federation_shell: "Shell", folder: str) -> None:
    before = fingerprint(federation_shell, folder)
    federation_shell.ok("certificate", "rotate", folder, "--offline", "request.json")
    assert fingerprint(federation_shell, folder) == before, "nothing changes before the answer"
    signed = federation_shell.ok("federation", "sign", "request.json", "--out", "answer.json")
    assert "holds no secrets" in signed.stdout
    done = federation_shell.json("certificate", "rotate", folder, "--answer", "answer.json")
    assert done["fingerprint"] == fingerprint(federation_shell, folder) != before
    assert "no rotation was begun" in federation_shell.fails(
        2, "certificate", "rotate", folder, "--answer", "answer.json"
    )
    states = [row for row in _rows(federation_shell, "certificates") if str(row["party"]).endswith(f"/{folder}")]
    assert [row["state"] for row in states] == ["in force"] * 4
    retired = federation_shell.json("certificate", "revoke", str(done["party"]), "--superseded")
    assert (retired["certificates"], retired["revocation_list"]) == (2, 2)
    assert "has no older certificate in force" in federation_shell.fails(
        3, "certificate", "revoke", str(done["party"]), "--superseded"
    )


def _rows(shell: "Shell", name: str) -> list[dict[str, object]]:
    rows = shell.json("certificate", "list")[name]
    assert isinstance(rows, list)
    return rows


def test_an_officers_signature_holds_after_the_rotation(federation_shell: "Shell", make_policy: object) -> None:
    assert callable(make_policy)
    Path("policy.yaml").write_text(make_policy())
    federation_shell.ok("policy", "propose", "policy.yaml", "--as", "olga")
    federation_shell.ok("policy", "approve", "heart-risk", "--as", "olga", "--yes")
    federation_shell.ok("certificate", "rotate", "olga", "--offline", "request.json")
    federation_shell.ok("federation", "sign", "request.json", "--out", "answer.json")
    federation_shell.ok("certificate", "rotate", "olga", "--answer", "answer.json")
    approve = ["policy", "approve", "heart-risk", "--yes", "--as"]
    assert "has signed" in federation_shell.fails(3, *approve, "olga", "--json")
    federation_shell.ok(*approve, "oscar")
    status = federation_shell.json("policy", "list")["policies"]
    assert isinstance(status, list)
    assert [item["state"] for item in status] == ["in_force"]


def test_a_folder_shows_identity_roles_and_keys(federation_shell: "Shell") -> None:
    person = federation_shell.json("certificate", "show", "olga")
    assert (person["party"], person["roles"], person["verified"]) == ("person/olga", ["compliance_officer"], True)
    assert (person["log_key"], person["witness_key"]) == ("", "")
    node = federation_shell.json("certificate", "show", "cleveland")
    keys = [NoteVerifier.from_vkey(str(node[name])) for name in ("log_key", "witness_key")]
    assert {key.name for key in keys} == {"fedseal/heart/cleveland"}
    bundle = federation_shell.ok("audit", "export", "authority", "bundle")
    assert "holds" in bundle.stdout
    authority = federation_shell.json("certificate", "show", "authority")
    verified = federation_shell.json("audit", "verify", "bundle", "--key", str(authority["log_key"]))
    assert (verified["pinned"], verified["key"]) == (True, authority["log_key"])
    assert "Log key" in federation_shell.ok("certificate", "show", "cleveland").stdout


def test_the_root_is_shown_and_pinned(federation_shell: "Shell", monkeypatch: pytest.MonkeyPatch) -> None:
    root = federation_shell.json("federation", "show")["root_fingerprint"]
    for folder in ("cleveland", "olga"):
        assert federation_shell.json("federation", "show", "--folder", folder)["root_fingerprint"] == root
    assert "node/cleveland" in federation_shell.ok("federation", "show", "--folder", "cleveland").stdout
    federation_shell.ok("federation", "init", "other", "--name", "heart", "--organisation", "X")
    Path("cleveland/certificates/authority.pem").write_bytes(Path("other/certificates/authority.pem").read_bytes())
    assert "root never changes" in federation_shell.fails(2, "federation", "show", "--folder", "cleveland")
    monkeypatch.delenv("FEDSEAL_AUTHORITY")
    assert "give --authority DIR, or --folder DIR" in federation_shell.fails(2, "federation", "show")


def test_dates_are_warned_of_in_time(federation_shell: "Shell") -> None:
    quiet = federation_shell("certificate", "list")
    assert "Warning" not in quiet.stderr
    assert federation_shell.json("node", "status", "cleveland")["warnings"] == []
    settings = Path("authority/authority.yaml")
    text = re.sub(r"^(revocation_days|certificate_days): \d+", r"\1: 5", settings.read_text(), flags=re.MULTILINE)
    settings.write_text(text)
    federation_shell.ok("certificate", "revocations", "--renew", "--out", "list.pem")
    federation_shell.ok("certificate", "rotate", "cleveland", "--offline", "request.json")
    federation_shell.ok("federation", "sign", "request.json", "--out", "answer.json")
    federation_shell.ok("certificate", "rotate", "cleveland", "--answer", "answer.json")
    listed = federation_shell("certificate", "list").stderr
    assert "Warning: revocation list 2 is due on" in listed
    assert "Warning: the certificate of node/cleveland ends on" in listed
    assert "person/olga" not in listed
    assert len(_rows(federation_shell, "warnings")) == 2
    status = federation_shell("node", "status", "cleveland")
    assert status.stderr.count("Warning: ") == 2


def test_a_wrong_passphrase_rotates_nothing(federation_shell: "Shell", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEAL_PASSPHRASE", "another passphrase")
    assert "does not open" in federation_shell.fails(2, "certificate", "rotate", "olga", "--offline", "rotation.json")
    assert not Path("rotation.json").exists()
    assert sorted(item.name for item in Path("olga").iterdir()) == ["certificates", "keys", "party.json"]


def test_a_rotation_without_an_authority_keeps_the_present_keys(federation_shell: "Shell") -> None:
    before = fingerprint(federation_shell, "cleveland")
    assert "fedseal federation serve" in federation_shell.fails(4, "certificate", "rotate", "cleveland")
    assert fingerprint(federation_shell, "cleveland") == before
