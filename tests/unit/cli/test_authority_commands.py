"""The authority's nouns through the command line: inviting, enrolling offline, listing, revoking."""

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell


def test_init_refuses_to_run_twice(federation_shell: "Shell") -> None:
    before = Path("authority/keys/root.pem").read_bytes()
    sentence = federation_shell.fails(
        2, "federation", "init", "authority", "--name", "heart", "--organisation", "Heart Consortium"
    )
    assert "keys are never overwritten" in sentence
    assert Path("authority/keys/root.pem").read_bytes() == before


def test_a_short_passphrase_is_refused(shell: "Shell", tmp_path: Path) -> None:
    (tmp_path / "short").write_text("1234567\n")
    arguments = ["federation", "init", "a", "--name", "heart", "--organisation", "X", "--passphrase-file", "short"]
    assert "shorter than 8 characters" in shell.fails(2, *arguments)
    assert not Path("a").exists()


@pytest.mark.parametrize(("content", "sentence"), [(b"", "is empty"), (b"\xff\xfe\x00", "is not text")])
def test_a_wrong_passphrase_file_is_named(shell: "Shell", content: bytes, sentence: str) -> None:
    Path("phrase").write_bytes(content)
    arguments = ["federation", "init", "a", "--name", "heart", "--organisation", "X", "--passphrase-file", "phrase"]
    assert sentence in shell.fails(2, *arguments)


def test_show_and_lists(federation_shell: "Shell") -> None:
    overview = federation_shell.json("federation", "show")
    assert (overview["federation"], overview["members"], overview["revocation_list"]) == ("heart", 4, 1)
    assert len(str(overview["root_fingerprint"])) == 64
    users = federation_shell.json("user", "list")["users"]
    assert isinstance(users, list)
    assert [user["name"] for user in users] == ["nora", "olga", "oscar"]
    assert "compliance officer" in federation_shell.ok("user", "list").stdout
    certificates = federation_shell.json("certificate", "list")["certificates"]
    assert isinstance(certificates, list)
    assert len(certificates) == 10
    invitations = federation_shell.json("federation", "invitations")["invitations"]
    assert isinstance(invitations, list)
    assert {item["state"] for item in invitations} == {"used"}


def test_an_invitation_is_private_and_never_overwritten(federation_shell: "Shell") -> None:
    arguments = ["node", "invite", "va", "--organisation", "VA", "--out", "va.json"]
    shown = federation_shell.json(*arguments)
    assert shown["name"] == "va"
    assert stat.S_IMODE(Path("va.json").stat().st_mode) == 0o600
    assert json.loads(Path("va.json").read_text())["token"] not in json.dumps(shown)
    assert "invitations are never overwritten" in federation_shell.fails(2, *arguments)
    assert "does not exist; create it first" in federation_shell.fails(2, *arguments[:-1], "missing/va.json")
    assert (
        "1 open invitation(s) of node/va withdrawn" in federation_shell.ok("federation", "withdraw", "node/va").stdout
    )


def test_misspelt_kinds_roles_and_reasons_get_a_suggestion(federation_shell: "Shell") -> None:
    common = ["--name", "x", "--organisation", "X", "--out", "x.json"]
    assert "did you mean 'node'?" in federation_shell.fails(2, "federation", "invite", "--kind", "noed", *common)
    assert "did you mean 'auditor'?" in federation_shell.fails(
        2, "user", "add", "x", "--role", "audit", "--organisation", "X", "--out", "x.json"
    )
    assert "did you mean" in federation_shell.fails(2, "user", "revoke", "nora", "--reason", "key_compromized")
    assert not Path("x.json").exists()


def test_an_enrolled_name_cannot_be_invited_again(federation_shell: "Shell") -> None:
    arguments = ["node", "invite", "cleveland", "--organisation", "X", "--out", "again.json"]
    assert "revoke them first" in federation_shell.fails(3, *arguments)


def test_enrolling_with_the_wrong_noun_names_the_right_one(federation_shell: "Shell") -> None:
    federation_shell.ok("user", "add", "ada", "--role", "auditor", "--organisation", "X", "--out", "ada.json")
    assert "use `fedseal user enrol`" in federation_shell.fails(
        2, "node", "enrol", "--invitation", "ada.json", "--folder", "ada"
    )


def test_enrolling_over_the_network_without_an_authority_leaves_nothing(federation_shell: "Shell") -> None:
    federation_shell.ok("node", "invite", "va", "--organisation", "VA", "--out", "va.json")
    settings = Path("va.json")
    assert "localhost:7400" in settings.read_text()
    sentence = federation_shell.fails(4, "node", "enroll", "--invitation", "va.json", "--folder", "va")
    assert "fedseal federation serve" in sentence
    assert not [item for item in Path().iterdir() if item.name.lstrip(".").startswith("va") and item.is_dir()]


def test_an_altered_invitation_and_a_wrong_fingerprint_are_verification_failures(federation_shell: "Shell") -> None:
    federation_shell.ok("node", "invite", "va", "--organisation", "VA", "--out", "va.json")
    told = ["--fingerprint", "00" * 32]
    assert "do not use the file" in federation_shell.fails(
        1, "node", "enrol", "--invitation", "va.json", "--folder", "va", *told
    )
    Path("va.json").write_text(Path("va.json").read_text().replace('"VA"', '"VX"'))
    assert "was changed after" in federation_shell.fails(
        1, "node", "enrol", "--invitation", "va.json", "--folder", "va"
    )


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[]"], ids=["empty", "binary", "list"])
def test_what_is_no_invitation_is_named(federation_shell: "Shell", content: bytes) -> None:
    Path("x.json").write_bytes(content)
    assert "x.json is not an invitation" in federation_shell.fails(
        2, "node", "enrol", "--invitation", "x.json", "--folder", "x"
    )


def test_the_wrong_root_passphrase_signs_nothing(federation_shell: "Shell", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEAL_PASSPHRASE", "another passphrase")
    assert "does not open" in federation_shell.fails(2, "certificate", "revoke", "node/cleveland")
    monkeypatch.setenv("FEDSEAL_PASSPHRASE", "correct horse battery")
    assert federation_shell.json("federation", "show")["revocation_list"] == 1


def test_revoking_a_person_takes_effect_with_the_new_list(federation_shell: "Shell") -> None:
    done = federation_shell.json("user", "revoke", "olga", "--out", "list.pem")
    assert done == {"party": "person/olga", "certificates": 2, "revocation_list": 2}
    certificate = ["certificate", "show", "olga/certificates/identity.pem"]
    root = ["--root", "olga/certificates/authority.pem"]
    federation_shell.ok(*certificate, *root, "--revocations", "olga/certificates/revocations.pem")
    assert "was revoked" in federation_shell.fails(1, *certificate, *root, "--revocations", "list.pem")
    assert federation_shell.json("certificate", "update", "cleveland", "--list", "list.pem")["number"] == 2
    states = {item["name"]: item["state"] for item in federation_shell.json("user", "list")["users"]}  # type: ignore[attr-defined]
    assert states["olga"] == "revoked"
    assert "has no certificate in force" in federation_shell.fails(3, "user", "revoke", "olga")
    assert federation_shell.json("certificate", "revocations", "--renew")["number"] == 3


def test_show_reads_any_certificate_and_says_what_it_did_not_check(federation_shell: "Shell") -> None:
    shown = federation_shell.json("certificate", "show", "cleveland/certificates/tls.pem")
    assert shown["use"] == "tls"
    assert shown["addresses"] == ["fedseal://heart/node/cleveland"]
    assert shown["verified"] is False
    assert federation_shell.json("certificate", "show", "cleveland/certificates/authority.pem")["use"] == "root"
    assert "is not a certificate in PEM" in federation_shell.fails(2, "certificate", "show", "cleveland/party.json")
    assert "together" in federation_shell.fails(
        2, "certificate", "show", "cleveland/certificates/tls.pem", "--root", "cleveland/certificates/authority.pem"
    )


def test_enrolling_says_what_is_missing(federation_shell: "Shell") -> None:
    assert "give --invitation FILE" in federation_shell.fails(2, "node", "enrol", "--folder", "x")
    assert "is not the answer to an enrolment request" in federation_shell.fails(
        2, "node", "enrol", "--folder", "x", "--answer", "authority/party.json"
    )


def test_the_authoritys_log_verifies(federation_shell: "Shell") -> None:
    federation_shell.ok("audit", "export", "authority", "log.zip")
    assert federation_shell.json("audit", "verify", "log.zip")["log"] == "fedseal/heart/authority"
