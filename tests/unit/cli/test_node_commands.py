"""A node's nouns through the command line: policy, dataset, consent, audit, database, status."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell

MakePolicy = Callable[..., str]


def _rows(document: dict[str, object], name: str) -> list[dict[str, Any]]:
    rows = document[name]
    assert isinstance(rows, list)
    return rows


@pytest.fixture
def policy_shell(federation_shell: "Shell", make_policy: MakePolicy) -> "Shell":
    """A node whose policy two officers have approved."""
    Path("policy.yaml").write_text(make_policy())
    federation_shell.ok("policy", "propose", "policy.yaml", "--as", "olga")
    federation_shell.ok("policy", "approve", "heart-risk", "--as", "olga", "--yes")
    federation_shell.ok("policy", "approve", "heart-risk", "--as", "oscar", "--yes")
    return federation_shell


def test_a_policy_goes_from_file_to_force(policy_shell: "Shell") -> None:
    (stored,) = _rows(policy_shell.json("policy", "list"), "policies")
    assert (stored["state"], stored["signers"]) == ("in_force", ["person/olga", "person/oscar"])
    assert policy_shell.json("policy", "show", stored["digest"][:12])["policy"] == "heart-risk"
    text = policy_shell.ok("policy", "show", "heart-risk@1").stdout
    assert "in force" in text
    assert "at least 2 records" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_approval_shows_what_changes_and_asks(policy_shell: "Shell", make_policy: MakePolicy) -> None:
    Path("two.yaml").write_text(make_policy(version=2, rounds=3))
    policy_shell.ok("policy", "propose", "two.yaml", "--as", "olga")
    asked = policy_shell("policy", "approve", "heart-risk", "--as", "oscar", typed="n\n")
    assert asked.exit_code == 130
    assert asked.stderr.endswith("Stopped; nothing was done.\n")
    assert "This is version 2 of the policy" in asked.stdout
    assert "At most 3 instead of 10 rounds" in asked.stdout
    _, second = _rows(policy_shell.json("policy", "list"), "policies")
    assert second["signers"] == []
    policy_shell.ok("policy", "approve", "heart-risk", "--as", "oscar", typed="y\n")
    _, second = _rows(policy_shell.json("policy", "list"), "policies")
    assert (second["signers"], second["signatures_missing"]) == (["person/oscar"], 1)


def test_only_officers_sign_and_only_once(policy_shell: "Shell", make_policy: MakePolicy) -> None:
    Path("two.yaml").write_text(make_policy(version=2))
    policy_shell.ok("policy", "propose", "two.yaml", "--as", "olga")
    sign = ["policy", "approve", "heart-risk@2", "--yes", "--json"]
    assert "needs the role compliance officer" in policy_shell.fails(3, *sign, "--as", "nora")
    policy_shell.ok(*sign, "--as", "olga")
    assert "has signed" in policy_shell.fails(3, *sign, "--as", "olga")
    assert "no policy here is called" in policy_shell.fails(3, "policy", "show", "nothing")


def test_a_policy_ends_at_once(policy_shell: "Shell") -> None:
    ended = policy_shell.json("policy", "revoke", "heart-risk", "--reason", "study ended", "--as", "olga")
    assert (ended["state"], ended["reason"]) == ("revoked", "study ended")
    assert policy_shell.json("node", "status", "cleveland")["policies"] == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "policy.yaml"),
        (b"\x00\x01\x02\xff", "policy.yaml"),
        (b"policy: x\nverson: 1\n", "did you mean `version`"),
        (b"policy: [x\n", "policy.yaml, line"),
    ],
    ids=["empty", "binary", "misspelt", "unclosed"],
)
def test_bad_policies_are_named_and_stored_nowhere(federation_shell: "Shell", content: bytes, sentence: str) -> None:
    Path("policy.yaml").write_bytes(content)
    for command in (
        ["validate", "policy.yaml"],
        ["explain", "policy.yaml"],
        ["propose", "policy.yaml", "--as", "olga"],
    ):
        assert sentence in federation_shell.fails(2, "policy", *command)
    assert federation_shell.json("policy", "list") == {"policies": []}


def test_explain_and_diff_need_no_node(shell: "Shell", make_policy: MakePolicy) -> None:
    Path("one.yaml").write_text(make_policy())
    Path("two.yaml").write_text(make_policy(version=2, rounds=20))
    assert shell.json("policy", "validate", "one.yaml")["version"] == 1
    assert "What it does not mention is forbidden" in " ".join(shell.ok("policy", "explain", "one.yaml").stdout.split())
    assert "What becomes allowed:" in shell.ok("policy", "diff", "one.yaml", "two.yaml").stdout
    changes = shell.json("policy", "diff", "one.yaml", "two.yaml")["changes"]
    assert isinstance(changes, list)
    assert {item["kind"] for item in changes} == {"allowed", "other"}
    assert "Nothing changes." in shell.ok("policy", "diff", "one.yaml", "one.yaml").stdout


def test_acting_as_somebody_needs_their_passphrase(
    federation_shell: "Shell", make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("policy.yaml").write_text(make_policy())
    monkeypatch.setenv("FEDSEAL_PASSPHRASE", "guessed it")
    assert "does not open" in federation_shell.fails(2, "policy", "propose", "policy.yaml", "--as", "olga")
    monkeypatch.delenv("FEDSEAL_PASSPHRASE")
    assert "FEDSEAL_PASSPHRASE" in federation_shell.fails(2, "policy", "propose", "policy.yaml", "--as", "olga")
    assert "give your own" in federation_shell.fails(2, "policy", "propose", "policy.yaml", "--as", "cleveland")


def test_a_persons_folder_is_no_node(federation_shell: "Shell") -> None:
    assert "give that of a node" in federation_shell.fails(2, "policy", "list", "--node", "olga")
    assert "who keeps no database" in federation_shell.fails(2, "audit", "list", "olga")


def test_data_is_registered_listed_and_described_without_small_cells(
    federation_shell: "Shell", schema_text: str
) -> None:
    Path("schema.yaml").write_text(schema_text)
    rows = [f"P{number},{40 + number % 30},{int(number % 15 == 0)}" for number in range(60)]
    Path("data.csv").write_text("id,age,sick\n" + "\n".join(rows) + "\n")
    arguments = ["dataset", "register", "--schema", "schema.yaml", "--source", "data.csv"]
    done = federation_shell.json(*arguments, "--as", "nora")
    assert (done["dataset"], done["rows"]) == ("hearts", 60)
    (row,) = _rows(federation_shell.json("dataset", "list"), "datasets")
    assert row["registered_by"] == "person/nora"
    profile = federation_shell.json("dataset", "profile", "hearts")
    assert profile["unchanged"] is True
    described = {column["name"]: column for column in _rows(profile, "columns")}
    assert described["sick"]["summary"] == "0: hidden, 1: hidden"  # 4 of 60: either count would give the other
    Path("data.csv").write_text("id,age,sick\n" + "\n".join([*rows, "P60,50,0"]) + "\n")
    assert "1 rows were added" in str(federation_shell.json("dataset", "profile", "hearts")["changes"])
    asked = federation_shell("dataset", "approve", "hearts", "--as", "nora", typed="n\n")
    assert asked.exit_code != 0
    assert "1 rows were added, 0 removed and 0 edited" in " ".join(asked.stderr.split())
    approved = federation_shell.json("dataset", "approve", "hearts", "--yes", "--as", "nora")
    assert (approved["rows"], approved["rows_added"]) == (61, 1)
    assert federation_shell.json("dataset", "profile", "hearts")["unchanged"] is True
    assert "as it was approved" in federation_shell.fails(3, "dataset", "approve", "hearts", "--yes")
    Path("data.csv").write_text("id,age,ill\n" + "\n".join(rows) + "\n")
    assert "data.csv" in federation_shell.fails(2, *arguments)
    Path("data.csv").unlink()
    federation_shell.fails(2, "dataset", "profile", "hearts")


CONSENTS = (
    "pseudonym,purpose,given_on,valid_until,form_version,recorded_by\n"
    "P1,DUO:0000006,2025-01-01,,2.1,desk\n"
    "P2,DUO:0000006,2025-01-01,2090-01-01,2.1,desk\n"
)


def test_consents_are_imported_recorded_and_withdrawn(federation_shell: "Shell") -> None:
    Path("consents.csv").write_text(CONSENTS)
    where = ["--dataset", "hearts"]
    assert federation_shell.json("consent", "import", "consents.csv", *where)["added"] == 2
    assert federation_shell.json("consent", "import", "consents.csv", *where)["known"] == 2
    form = ["--purpose", "DUO:0000006", "--given-on", "2025-03-01", "--form-version", "2.1"]
    federation_shell.ok("consent", "record", "P3", *form, *where, "--as", "nora")
    assert federation_shell.json("consent", "withdraw", "P1", *where) == {"ended": 1}
    (counts,) = _rows(federation_shell.json("consent", "status", *where), "purposes")
    assert (counts["in_force"], counts["withdrawn"]) == (2, 1)
    person = federation_shell("consent", "status", *where, "--pseudonym", "-", "--json", typed="P1\n")
    assert json.loads(person.stdout)["consents"][0]["state"] == "withdrawn"
    assert "no consent is recorded" in federation_shell.fails(3, "consent", "withdraw", "P9", *where)
    log = federation_shell.ok("audit", "list", "cleveland", "--json").stdout
    assert '"P1"' not in log
    assert "person/nora" in log


def test_a_bad_row_imports_nothing_and_is_named(federation_shell: "Shell") -> None:
    Path("consents.csv").write_text(CONSENTS + "P4,DUO:0000006,2025-13-01,,2.1,desk\n")
    sentence = federation_shell.fails(2, "consent", "import", "consents.csv", "--dataset", "hearts")
    assert "line 4" in sentence
    assert federation_shell.json("consent", "status", "--dataset", "hearts")["purposes"] == []


def test_the_log_is_exported_verified_and_its_tampering_found(policy_shell: "Shell") -> None:
    exported = policy_shell.json("audit", "export", "cleveland", "bundle")
    assert exported["documents"] == 2, "the policy, and the same with its officers' signatures"
    verified = policy_shell.json("audit", "verify", "bundle")
    assert (verified["verified"], verified["entries"]) == (True, exported["entries"])
    assert policy_shell.json("audit", "verify", "bundle", "--key", str(verified["key"]))["pinned"] is True
    entries = Path("bundle/entries.jsonl")
    entries.write_bytes(entries.read_bytes().replace(b"person/oscar", b"person/oskar"))
    assert "entry" in policy_shell.fails(1, "audit", "verify", "bundle")
    policy_shell.ok("audit", "prove", "cleveland", "1", "--out", "proof.json")
    assert policy_shell.json("audit", "verify", "proof.json")["seq"] == 1
    Path("proof.json").write_bytes(Path("proof.json").read_bytes().replace(b"policy.", b"polity."))
    policy_shell.fails(1, "audit", "verify", "proof.json")
    policy_shell.fails(2, "audit", "verify", "nothing.zip")
    assert policy_shell.ok("audit", "checkpoint", "cleveland").stdout.startswith("fedseal/heart/cleveland\n")
    assert policy_shell.json("audit", "list", "cleveland", "--last", "1", "--type", "policy.")["entries"]


EDITS = (
    (2, """UPDATE audit_entries SET entry = CAST(REPLACE(entry, 'person/', 'persona') AS BLOB) WHERE seq = 2"""),
    (1, "DELETE FROM audit_entries WHERE seq = 1"),
    (4, "DELETE FROM audit_entries WHERE seq = 4"),
    (5, "INSERT INTO audit_entries SELECT 5, leaf, entry FROM audit_entries WHERE seq = 4"),
    (2, "UPDATE audit_entries SET seq = 9 WHERE seq = 2"),
)


def test_a_log_edited_in_the_database_is_named(policy_shell: "Shell") -> None:
    import sqlite3

    assert policy_shell.json("audit", "verify", "cleveland")["entries"] == 5
    assert "each in its place" in policy_shell.ok("audit", "verify", "cleveland").stdout
    whole = Path("cleveland/node.db").read_bytes()
    for entry, edit in EDITS:
        Path("cleveland/node.db").write_bytes(whole)
        with closing(sqlite3.connect("cleveland/node.db")) as connection, connection:
            assert connection.execute(edit).rowcount == 1
        assert f"entry {entry} of fedseal/heart/cleveland" in policy_shell.fails(1, "audit", "verify", "cleveland")


def test_the_database_says_its_schema(federation_shell: "Shell") -> None:
    status = federation_shell.json("db", "status", "cleveland")
    assert status["current"] is True
    assert federation_shell.json("db", "upgrade", "cleveland")["schema"] == status["needed"]


def test_a_database_of_an_unknown_schema_is_refused(federation_shell: "Shell") -> None:
    import sqlite3

    with sqlite3.connect("cleveland/node.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for arguments in (["policy", "list"], ["audit", "list", "cleveland"], ["db", "upgrade", "cleveland"]):
        assert "9999" in federation_shell.fails(5, *arguments)


def test_a_missing_database_names_the_command_that_makes_one(federation_shell: "Shell") -> None:
    Path("cleveland/node.db").unlink()
    for arguments in (["policy", "list"], ["db", "status", "cleveland"]):
        assert "fedseal db upgrade cleveland" in federation_shell.fails(2, *arguments)
        assert not Path("cleveland/node.db").exists()
    federation_shell.ok("db", "upgrade", "cleveland")
    assert federation_shell.json("policy", "list") == {"policies": []}


def test_an_operator_agrees_to_one_job(federation_shell: "Shell") -> None:
    digest = "ab" * 32
    agree = ["node", "agree", digest]
    assert federation_shell.json(*agree, "--as", "nora") == {"job": digest, "operator": "person/nora"}
    federation_shell.ok(*agree, "--as", "nora")
    assert "needs the role node operator" in federation_shell.fails(3, *agree, "--as", "olga")
    assert "neither a job file nor" in federation_shell.fails(2, "node", "agree", "abc", "--as", "nora")
    entries = federation_shell.json("audit", "list", "cleveland")["entries"]
    assert isinstance(entries, list)
    assert [(entry["type"], entry["actor"]) for entry in entries] == [
        ("job.agreed", "person/nora"),
        ("permission.denied", "person/olga"),
    ]


def test_status_is_local(policy_shell: "Shell", schema_text: str) -> None:
    Path("schema.yaml").write_text(schema_text)
    Path("data.csv").write_text("id,age,sick\nP1,40,0\nP2,50,1\n")
    policy_shell.ok("dataset", "register", "--schema", "schema.yaml", "--source", "data.csv")
    status = policy_shell.json("node", "status", "cleveland")
    assert (status["datasets"], status["policies"]) == (["hearts"], ["policy heart-risk, version 1"])
    assert "policy heart-risk, version 1" in policy_shell.ok("node", "status", "cleveland").stdout


def test_methods_explain_what_they_disclose(shell: "Shell") -> None:
    methods = shell.json("method", "list")["methods"]
    assert isinstance(methods, list)
    assert "fedavg" in [item["name"] for item in methods]
    shown = shell.json("method", "show", "fedavg")
    assert shown["coordinator_learns"] == "SUM"
    text = shell.ok("method", "show", "fedavg").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "fedavg" in shell.fails(2, "method", "show", "fedav")


FHIR = {
    "resourceType": "Consent",
    "status": "active",
    "patient": {"reference": "Patient/P7", "display": "Maria Müller"},
    "dateTime": "2025-01-01",
    "provision": {"type": "permit", "purpose": [{"code": "HRESCH"}]},
}


def test_fhir_consents_and_a_report_of_bad_rows(federation_shell: "Shell") -> None:
    bad = {**FHIR, "status": "=HYPERLINK()", "patient": {"reference": "Patient/P8"}}
    Path("export.ndjson").write_text(json.dumps(FHIR) + "\n" + json.dumps(bad) + "\n")
    where = ["--dataset", "hearts", "--form-version", "2.1"]
    sentence = federation_shell.fails(2, "consent", "import", "export.ndjson", *where, "--report", "bad.csv")
    assert "line 2: `status` is none of draft" in sentence
    [header, row] = Path("bad.csv").read_text().splitlines()
    assert header == "line,field,value,fault,remedy"
    assert row.startswith("2,status,'=HYPERLINK(),")
    assert Path("bad.csv").stat().st_mode & 0o777 == 0o600

    Path("export.ndjson").write_text(json.dumps(FHIR) + "\n")
    done = federation_shell.json("consent", "import", "export.ndjson", *where, "--report", "bad.csv")
    assert (done["form"], done["added"]) == ("fhir", 1)
    assert Path("bad.csv").read_text() == header + "\n"
    (event,) = _rows(federation_shell.json("consent", "history", "P7", "--dataset", "hearts"), "events")
    assert (event["what"], event["by"]) == ("given", "node/cleveland")
    state = federation_shell.json("consent", "status", "--dataset", "hearts", "--pseudonym", "P7")
    assert _rows(state, "consents")[0]["source_digest"] == done["digest"]
    impact = federation_shell.json("consent", "impact", "P7", "--dataset", "hearts")
    assert (impact["uses"], impact["withdrawn_at"]) == ([], None)
    assert "entered no round" in federation_shell.ok("consent", "impact", "P7", "--dataset", "hearts").stdout
    proof = ("consent", "prove", "P7", "--job", "0" * 64, "--stage", "training", "--round", "1")
    assert "contributed no records" in federation_shell.fails(3, *proof, "--dataset", "hearts")
    assert "csv or fhir" in federation_shell.fails(2, "consent", "import", "export.ndjson", *where, "--format", "xml")
    missing = federation_shell.fails(2, "consent", "import", "export.ndjson", *where, "--report", "no/such/folder.csv")
    assert "cannot be written" in missing


def test_a_lost_or_exchanged_record_key_is_noticed(federation_shell: "Shell") -> None:
    """Otherwise people who withdrew would no longer be recognised."""
    Path("consents.csv").write_text(CONSENTS)
    where = ["--dataset", "hearts"]
    federation_shell.ok("consent", "import", "consents.csv", *where)
    federation_shell.ok("consent", "withdraw", "P1", *where)
    key = Path("cleveland/state/snapshot.salt")
    kept = key.read_bytes()
    assert (len(kept), key.stat().st_mode & 0o777) == (32, 0o600)
    key.unlink()
    assert "record key" in federation_shell.fails(1, "consent", "import", "consents.csv", *where)
    key.write_bytes(b"short")
    assert "restore it from a backup" in federation_shell.fails(2, "consent", "history", "P1", *where)
    key.write_bytes(kept)
    assert federation_shell.json("consent", "import", "consents.csv", *where)["withdrawn"] == 1
