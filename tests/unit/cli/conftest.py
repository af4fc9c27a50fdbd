"""A small federation made through the command line itself, once, and copied for each test."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fedseal_cli.app import app

PASSPHRASE = "correct horse battery"

POLICY = """\
policy: heart-risk
version: {version}
owner: Cleveland Clinic
datasets: [hearts]
purposes:
  - {{code: "DUO:0000006", label: health or medical or biomedical research}}
jobs:
  kinds: [training, statistics]
  methods: [fedavg]
  learners: [tabular-mlp]
  max_rounds: {rounds}
  max_local_epochs: 5
protection: {{allowed: [masking], coordinator_may_learn: SUM, minimum_cohort: 3}}
privacy: {{mechanism: none}}
consent: {{required: true, minimum_records: 2}}
approval: {{compliance_officers: 2, node_operator_per_job: false}}
retention: {{audit_years: 10, model_years: 2}}
valid: {{from: 2020-01-01, until: 2090-12-31}}
"""

SCHEMA = """\
dataset: hearts
version: 1
description: Two columns and an outcome.
columns:
  - {name: id, type: category, role: record_id, categories: []}
  - {name: age, type: number, role: feature, range: [0, 120], unit: years}
  - {name: sick, type: category, role: target, categories: ["0", "1"], positive: ["1"]}
"""


def policy_text(*, version: int = 1, rounds: int = 10) -> str:
    """A policy file for the node of these tests."""
    return POLICY.format(version=version, rounds=rounds)


@dataclass(frozen=True)
class Shell:
    """Runs commands in a folder of their own."""

    home: Path

    def __call__(self, *arguments: str, typed: str | None = None) -> Result:
        """Run one command."""
        return CliRunner().invoke(app, list(arguments), input=typed)

    def ok(self, *arguments: str, typed: str | None = None) -> Result:
        """Run one command that must succeed."""
        result = self(*arguments, typed=typed)
        assert result.exit_code == 0, (arguments, result.output)
        return result

    def json(self, *arguments: str) -> dict[str, object]:
        """Run one command with --json; stdout holds one document and nothing else."""
        document = json.loads(self.ok(*arguments, "--json").stdout)
        assert isinstance(document, dict)
        return document

    def fails(self, code: int, *arguments: str) -> str:
        """Run one command that must fail with ``code``, in one sentence and without a traceback."""
        result = self(*arguments)
        assert result.exit_code == code, (arguments, result.exit_code, result.output)
        assert "Traceback" not in result.output
        assert result.stdout == ""
        return " ".join(result.stderr.split())


def _enrol(shell: Shell, kind: str, name: str) -> None:
    shell.ok(kind, "enrol", "--invitation", f"{name}.json", "--folder", name, "--offline", "request.json")
    shell.ok("federation", "sign", "request.json", "--out", "answer.json")
    shell.ok(kind, "enrol", "--answer", "answer.json", "--folder", name)


@pytest.fixture(scope="session")
def made_federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a node and three people of its hospital, enrolled offline."""
    home = tmp_path_factory.mktemp("cli") / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        _enter(patch, home)
        shell = Shell(home)
        shell.ok("federation", "init", "authority", "--name", "heart", "--organisation", "Heart Consortium")
        shell.ok("node", "invite", "cleveland", "--organisation", "Cleveland Clinic", "--out", "cleveland.json")
        _enrol(shell, "node", "cleveland")
        people = {"olga": "compliance_officer", "oscar": "compliance_officer", "nora": "node_operator"}
        for person, role in people.items():
            organisation = ["--organisation", "Cleveland Clinic", "--out", f"{person}.json"]
            shell.ok("user", "add", person, "--role", role, *organisation)
            _enrol(shell, "user", person)
    return home


def _enter(patch: pytest.MonkeyPatch, home: Path) -> None:
    patch.chdir(home)
    patch.setenv("FEDSEAL_PASSPHRASE", PASSPHRASE)
    patch.setenv("FEDSEAL_AUTHORITY", "authority")
    patch.setenv("COLUMNS", "80")
    patch.delenv("FEDSEAL_NODE", raising=False)
    patch.delenv("FEDSEAL_AS", raising=False)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell in an empty folder."""
    _enter(monkeypatch, tmp_path)
    return Shell(tmp_path)


@pytest.fixture
def federation_shell(made_federation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell in a private copy of the small federation; the node is the default one."""
    home = tmp_path / "home"
    shutil.copytree(made_federation, home)
    _enter(monkeypatch, home)
    monkeypatch.setenv("FEDSEAL_NODE", "cleveland")
    return Shell(home)


@pytest.fixture
def make_policy() -> Callable[..., str]:
    """Text of a policy file."""
    return policy_text


@pytest.fixture
def schema_text() -> str:
    """Text of a schema file."""
    return SCHEMA
