"""Jobs through the command line: verdicts by policy files, and what happens without a coordinator."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell

JOB = """\
job: heart-risk
version: 1
description: Predict who falls ill.
purpose: "{purpose}"
dataset: hearts
kind: training
method: {{name: fedavg, rounds: 5, settings: {{local_epochs: 1}}}}
learner: {{name: tabular-mlp, settings: {{}}}}
features: [age]
target: sick
evaluation: {{holdout: 0.3, seed: 1}}
protection: masking
disclosure: SUM
nodes: [cleveland, hungary, va]
minimum_cohort: 3
"""


@pytest.fixture
def files(shell: "Shell", make_policy: Callable[..., str]) -> "Shell":
    """A good job, one for a forbidden purpose, and a policy."""
    Path("job.yaml").write_text(JOB.format(purpose="DUO:0000006"))
    Path("forbidden.yaml").write_text(JOB.format(purpose="DUO:0000004"))
    Path("policy.yaml").write_text(make_policy())
    return shell


def test_a_job_that_a_policy_allows(files: "Shell") -> None:
    verdict = files.json("job", "check", "job.yaml", "--policy", "policy.yaml")
    assert verdict["allowed"] is True
    assert len(str(verdict["digest"])) == 64
    files.ok("job", "check", "job.yaml")


def test_a_refusal_names_the_clause_and_exits_with_3(files: "Shell") -> None:
    result = files("job", "check", "forbidden.yaml", "--policy", "policy.yaml")
    assert result.exit_code == 3
    assert "- purposes: The data may be used for" in result.stdout
    assert "the job is refused by policy.yaml" in result.stderr
    assert max(map(len, result.stdout.splitlines()[1:])) <= 80


def test_a_method_that_needs_single_contributions_is_refused(files: "Shell") -> None:
    """Under masks it cannot run; without, the policy says no to the protection and to what it discloses."""
    topk = JOB.format(purpose="DUO:0000006").replace("fedavg", "fedavg-topk")
    Path("topk.yaml").write_text(topk)
    said = files.fails(2, "job", "check", "topk.yaml", "--policy", "policy.yaml")
    assert "the protection masking shows the coordinator sums only" in said
    Path("topk.yaml").write_text(topk.replace("protection: masking", "protection: none"))
    result = files("job", "check", "topk.yaml", "--policy", "policy.yaml")
    assert result.exit_code == 3
    assert "its method discloses" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("purpose:", "purpos:"), "did you mean `purpose`"),
        (("rounds: 5", "rounds: many"), "job.yaml, line"),
        (("minimum_cohort: 3", "minimum_cohort: 1"), "write 3 or more"),
    ],
)
def test_bad_job_files_are_named(files: "Shell", change: tuple[str, str], sentence: str) -> None:
    Path("job.yaml").write_text(Path("job.yaml").read_text().replace(*change))
    assert sentence in files.fails(2, "job", "check", "job.yaml")


@pytest.mark.parametrize(
    "arguments",
    [
        ["job", "list"],
        ["job", "show", "heart-risk"],
        ["job", "watch", "heart-risk"],
        ["job", "stop", "heart-risk", "--reason", "x", "--yes"],
        ["job", "report", "heart-risk", "--out", "report.html"],
        ["model", "list"],
        ["model", "export", "heart-risk", "--out", "model.safetensors"],
        ["node", "list"],
        ["certificate", "publish"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_without_a_coordinator_the_sentence_names_the_address(federation_shell: "Shell", arguments: list[str]) -> None:
    where = ["--as", "nora", "--coordinator", "127.0.0.1:9"]
    assert "the coordinator at 127.0.0.1:9 cannot be reached" in federation_shell.fails(4, *arguments, *where)
    assert "names no coordinator; give its host:port with --coordinator" in federation_shell.fails(
        2, *arguments, "--as", "nora"
    )
    assert not [item for item in Path().iterdir() if item.name.startswith(("report", "model"))]


def test_acting_at_the_coordinator_takes_a_persons_folder(federation_shell: "Shell") -> None:
    assert "give your own" in federation_shell.fails(2, "job", "list", "--as", "cleveland")


def test_what_is_no_model_is_named(shell: "Shell") -> None:
    Path("model.safetensors").write_bytes(b"\x80\x04pickle")
    assert "model.safetensors" in shell.fails(1, "model", "verify", "model.safetensors")
    assert "together" in shell.fails(2, "model", "verify", "model.safetensors", "--record", "r.json")
