"""What a compliance officer does on the command line: begin, check, test, look back, and speak for the federation."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import pytest

from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import sha256_hex
from tests.unit.cli.test_job_commands import JOB as ANY_JOB

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell

MakePolicy = Callable[..., str]
JOB = ANY_JOB.format(purpose="DUO:0000006")
BLANKS = ["--name", "p", "--owner", "Cleveland Clinic", "--dataset", "hearts", "--from", "2026-01-01"]


def fits(text: str) -> None:
    """No line of a screen is wider than a terminal."""
    assert max(map(len, text.splitlines())) <= 80, text


@pytest.mark.parametrize("template", ["hospital", "bank", "research"])
def test_a_new_policy_is_valid_and_never_overwrites(shell: "Shell", template: str) -> None:
    arguments = ["policy", "new", "--template", template, *BLANKS, "--until", "2090-12-31", "--out", "new.yaml"]
    fits(shell.ok(*arguments).stdout)
    assert shell.json("policy", "validate", "new.yaml")["remarks"] == []
    before = Path("new.yaml").read_bytes()
    assert "exists and is not overwritten" in shell.fails(2, *arguments)
    assert Path("new.yaml").read_bytes() == before
    printed = shell.ok(*arguments[:-2])
    assert printed.stdout.encode() == before


def test_the_blanks_are_asked_for(shell: "Shell") -> None:
    asked = shell.ok(
        "policy", "new", "--template", "bank", "--out", "b.yaml", typed="rules\nFirst Bank\naccounts\n\n2090-01-01\n"
    )
    assert "Your organisation, exactly as in its certificate" in asked.stderr
    text = shell.ok("policy", "explain", "b.yaml").stdout
    assert "of First Bank" in text
    assert "may be used for any purpose whatever" in " ".join(text.split())
    assert "did you mean bank?" in shell.fails(2, "policy", "new", "--template", "banck")
    wrong = shell("policy", "new", "--template", "bank", *BLANKS, typed="tomorrow\n")
    assert (wrong.exit_code, "'tomorrow' is no date" in wrong.stderr) == (2, True)


def test_every_problem_is_named_with_its_place(shell: "Shell", make_policy: MakePolicy) -> None:
    text = (
        make_policy()
        .replace("methods:", "method:")
        .replace("learn: SUM", "learn: SUMM")
        .replace("model_years: 2", "model_years: x")
    )
    Path("bad.yaml").write_text(text)
    told = shell("policy", "validate", "bad.yaml")
    assert (told.exit_code, told.stdout) == (2, "")
    fits(told.stderr)
    assert "bad.yaml is not valid: 3 problems." in told.stderr
    assert "bad.yaml, line 9, column 3, field jobs.method\n" in told.stderr
    assert "did you mean `SUM`?" in told.stderr
    import json

    machine = shell("policy", "validate", "bad.yaml", "--json")
    problems = json.loads(machine.stdout)["problems"]
    assert (machine.exit_code, [item["line"] for item in problems]) == (2, [9, 13, 17])


def test_what_is_odd_does_not_fail(shell: "Shell", make_policy: MakePolicy) -> None:
    Path("odd.yaml").write_text(make_policy().replace("[fedavg]", "[fedavgg]").replace("2090-12-31", "2021-12-31"))
    told = shell.ok("policy", "validate", "odd.yaml")
    assert "odd.yaml is valid" in told.stdout
    assert "did you mean fedavg?" in " ".join(told.stderr.split())
    assert "is past" in told.stderr


# -- test ----------------------------------------------------------------------------------------------------

CASES = """\
policy: policy.yaml
cases:
  - {case: as it is, job: job.yaml, expect: allowed}
  - {case: too many rounds, job: job.yaml, change: {method.rounds: 11}, expect: {verdict}, clauses: [jobs.max_rounds]}
"""


@pytest.fixture
def cases(shell: "Shell", make_policy: MakePolicy) -> "Shell":
    Path("policy.yaml").write_text(make_policy())
    Path("job.yaml").write_text(JOB)
    Path("cases.yaml").write_text(CASES.replace("{verdict}", "refused"))
    return shell


def test_cases_that_hold(cases: "Shell") -> None:
    told = cases.ok("policy", "test", "cases.yaml")
    fits(told.stdout)
    assert told.stdout.endswith("All cases are as expected.\n")
    assert cases.json("policy", "test", "cases.yaml")["passed"] is True


def test_cases_that_differ(cases: "Shell", make_policy: MakePolicy) -> None:
    Path("other.yaml").write_text(make_policy(rounds=4))
    told = cases("policy", "test", "cases.yaml", "--policy", "other.yaml")
    assert told.exit_code == 1
    fits(told.stdout)
    assert "DIFFERS" in told.stdout
    assert "- jobs.max_rounds: At most 4 rounds may be run, but the job asks for" in told.stdout
    Path("cases.yaml").write_text("cases: [{case: x, job: gone.yaml, expect: allowed}]\n")
    assert "names no policy" in cases.fails(2, "policy", "test", "cases.yaml")
    assert "gone.yaml does not exist" in cases.fails(2, "policy", "test", "cases.yaml", "--policy", "other.yaml")


# -- a node's desk -------------------------------------------------------------------------------------------


def test_history_and_impact_at_a_node(federation_shell: "Shell", make_policy: MakePolicy) -> None:
    Path("policy.yaml").write_text(make_policy())
    federation_shell.ok("policy", "propose", "policy.yaml", "--as", "nora")
    federation_shell.ok("policy", "approve", "heart-risk", "--as", "olga", "--yes")
    federation_shell.ok("policy", "approve", "heart-risk", "--as", "oscar", "--yes")
    federation_shell.ok("policy", "revoke", "heart-risk", "--reason", "study ended", "--as", "olga")
    told = federation_shell.ok("policy", "history", "heart-risk").stdout
    fits(told)
    steps = federation_shell.json("policy", "history", "heart-risk")["steps"]
    assert isinstance(steps, list)
    assert [(step["what"], step["who"], step["note"]) for step in steps] == [
        ("proposed", "person/nora", ""),
        ("signed", "person/olga", ""),
        ("signed", "person/oscar", ""),
        ("approved", "person/oscar", ""),
        ("came into force", "person/oscar", ""),
        ("revoked", "person/olga", "study ended"),
    ]
    assert "knows of no such policy" in federation_shell.ok("policy", "history", "other").stdout
    assert federation_shell.json("policy", "impact", "policy.yaml")["jobs"] == []
    assert "No job was decided on here yet" in federation_shell.ok("policy", "impact", "policy.yaml").stdout


def test_a_desk_must_be_named(federation_shell: "Shell", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDSEAL_NODE", raising=False)
    assert "--node DIR" in federation_shell.fails(2, "policy", "list")
    assert "add --as DIR" in federation_shell.fails(2, "policy", "list", "--federation")


# -- the federation's desk -----------------------------------------------------------------------------------


class Coordinator:
    """Answers as the coordinator would about one policy of the federation."""

    policies_known: ClassVar[dict[str, pb.PolicyView]] = {}

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def propose_policy(self, content: bytes, filename: str) -> pb.PolicyView:
        assert filename == "common.yaml"
        view = pb.PolicyView(
            digest="not believed",
            content=content,
            state="proposed",
            proposer="person/olga",
            proposed_at="2026-03-01T08:30:00+00:00",
            signatures_missing=2,
        )
        self.policies_known[sha256_hex(content)] = view
        return view

    def policies(self) -> pb.PolicyList:
        return pb.PolicyList(policies=list(self.policies_known.values()))

    def sign_policy(self, content: bytes) -> pb.PolicyView:
        view = self.policies_known[sha256_hex(content)]
        view.signers.append("person/olga")
        view.signatures_missing -= 1
        return view

    def revoke_policy(self, digest: str, reason: str, _now: object) -> pb.PolicyView:
        view = self.policies_known[digest]
        view.state, view.reason, view.ended_at = "revoked", reason, "2026-03-02T08:30:00+00:00"
        return view

    def policy_history(self, name: str) -> pb.PolicyEvents:
        step = pb.PolicyEvent(
            seq=4, time="2026-03-01T08:30:00+00:00", what="proposed", who="person/olga", policy=name, version=1
        )
        return pb.PolicyEvents(events=[step])

    def policy_impact(self, _content: bytes, _filename: str) -> pb.PolicyImpactReply:
        reason = pb.Reason(clause="federation: jobs.max_rounds", sentence="At most 5 rounds may be run.", allowed=False)
        usual = {"job": "1a" * 32, "decided_at": "2026-03-01T08:30:00+00:00", "reasons": [reason]}
        return pb.PolicyImpactReply(
            jobs=[
                pb.ImpactOnJob(name="long", before=True, after=False, **usual),  # type: ignore[arg-type]  # by name
                pb.ImpactOnJob(name="short", before=False, after=True, **usual),  # type: ignore[arg-type]  # by name
            ]
        )


def test_the_federations_policies(
    federation_shell: "Shell", monkeypatch: pytest.MonkeyPatch, make_policy: MakePolicy
) -> None:
    Coordinator.policies_known.clear()
    monkeypatch.setattr("fedseal.client.Client", Coordinator)
    Path("common.yaml").write_text(make_policy().replace("owner: Cleveland Clinic", "level: federation\nowner: heart"))
    desk = ["--federation", "--as", "olga"]
    told = federation_shell.ok("policy", "propose", "common.yaml", *desk).stdout
    assert "2 more compliance officers must sign it" in " ".join(told.split())
    seen = federation_shell("policy", "approve", "heart-risk", *desk, typed="y\n")
    fits(seen.stdout)
    assert "It speaks for every site of the federation" in " ".join(seen.stdout.split())
    assert "one more compliance officer must sign it" in " ".join(seen.stdout.split())
    rows = federation_shell.json("policy", "list", *desk)["policies"]
    assert isinstance(rows, list)
    (row,) = rows
    assert (row["level"], row["digest"]) == ("federation", sha256_hex(Path("common.yaml").read_bytes()))
    assert "federation policy heart-risk" in federation_shell.ok("policy", "show", "heart-risk", *desk).stdout
    assert "proposed" in federation_shell.ok("policy", "history", "heart-risk", *desk).stdout
    impact = federation_shell.ok("policy", "impact", "common.yaml", *desk).stdout
    fits(impact)
    assert "2 of the verdicts change" in " ".join(impact.split())
    assert "until now: At most 5 rounds" in impact
    ended = federation_shell.ok("policy", "revoke", "heart-risk", "--reason", "over", *desk).stdout
    assert "every site contributes to no further round" in " ".join(ended.split())


# -- advice on a job -----------------------------------------------------------------------------------------


def test_a_job_check_says_what_to_change(cases: "Shell", make_policy: MakePolicy) -> None:
    Path("common.yaml").write_text(
        make_policy(rounds=1).replace("owner: Cleveland Clinic", "level: federation\nowner: heart")
    )
    both = ["job", "check", "job.yaml", "--policy", "policy.yaml", "--policy", "common.yaml"]
    Path("job.yaml").write_text(JOB.replace("rounds: 5", "rounds: 9"))
    told = cases(*both)
    assert told.exit_code == 3
    fits(told.stdout)
    assert "  method.rounds: 1\n" in told.stdout
    assert "With these changes every policy that was asked allows the job." in told.stdout
    Path("common.yaml").write_text(Path("common.yaml").read_text().replace("2090-12-31", "2021-01-01"))
    hopeless = cases(*both)
    assert "What no change of the job file mends:" in hopeless.stdout
    assert "No change of the job file satisfies every policy" in hopeless.stdout
