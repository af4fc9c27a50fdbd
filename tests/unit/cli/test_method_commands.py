"""``fedseal method choose``: answers by flags, when asked, and as JSON."""

import json
import sys

import pytest
from typer.testing import CliRunner

from fedseal_cli.app import app

QUIET = ["--nodes-trusted", "--models-alike", "--bandwidth-ample"]


def run(*arguments: str, answers: str | None = None) -> "tuple[int, str, str]":
    result = CliRunner().invoke(app, ["method", "choose", *arguments], input=answers)
    return result.exit_code, result.stdout, result.stderr


def test_flags_give_methods_with_reason_cost_and_disclosure() -> None:
    code, text, _ = run("--may-learn", "SUM", *QUIET, "--data-differ")
    assert code == 0
    assert "a method for nodes whose data differ" in text
    assert "ditto: " in text
    assert text.count("  Why") == text.count("  Cost") == text.count("  Coordinator") > 1
    assert max(map(len, text.splitlines())) <= 80


def test_json_holds_every_method_with_everything_each_party_sees() -> None:
    code, text, _ = run("--may-learn", "individual", *QUIET[:2], "--bandwidth-scarce", "--data-alike", "--json")
    assert code == 0
    found = json.loads(text)
    assert found["needs"] == ["scarce-bandwidth"]
    by_name = {item["method"]: item for item in found["fitting"]}
    assert by_name["fedavg-topk"]["coordinator_learns"] == "INDIVIDUAL"
    assert {one["party"] for one in by_name["evofed"]["discloses"]} == {"coordinator", "every node"}
    assert all(item["reasons"] and item["cost"] and not item["open"] for item in found["fitting"])


def test_where_nobody_can_be_asked_the_missing_flags_are_named() -> None:
    code, text, error = run("--may-learn", "SUM", "--nodes-trusted")
    assert code == 2
    assert not text
    assert "--models-differ" in error
    assert "--nodes-untrusted" not in error


def test_an_unknown_level_is_refused() -> None:
    code, _, error = run("--may-learn", "everything", *QUIET, "--data-alike")
    assert code == 2
    assert "GROUP_SUMS" in error


def test_a_person_is_asked_what_no_flag_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedseal_cli.method_choice.can_ask", lambda: True)
    # level by default; a node might spoil it; models are of one kind; bandwidth is not scarce; data do not differ
    code, text, _ = run(answers="\ny\ny\nn\nn\n")
    assert code == 0
    assert "nodes that may try to spoil the model; the coordinator may learn only sums" in " ".join(text.split())
    assert "lockdown" in text


def test_nothing_is_asked_for_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    code, text, error = run("--json")
    assert code == 2
    assert not text
    assert "--may-learn" in error
