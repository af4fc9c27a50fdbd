"""What a cohort's masks withstand, on the screen and in JSON; the same figures that nodes compute."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fedseal_crypto.masking import choose_parameters
from tests.unit.cli.test_job_commands import JOB

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell

PLAN = ("protection", "plan", "--nodes", "20", "--parameters", "1000000")


def rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of figures."""
    found: list[dict[str, Any]] = document["figures"]
    return found


def figures(document: Mapping[str, Any]) -> dict[str, object]:
    return {item["name"]: item["value"] for item in rows(document)}


def stricter(text: str, rules: str) -> str:
    return text.replace("minimum_cohort: 3", f"minimum_cohort: 3, {rules}")


def test_a_cohort_by_the_defaults(shell: "Shell") -> None:
    document: Mapping[str, Any] = shell.json(*PLAN)
    group = choose_parameters(20, corrupted_fraction=0.2, dropout_fraction=0.1)
    found = figures(document)
    assert found["threshold of shares"] == group.threshold == 13
    assert found["members that may collude"] == group.corrupted == 4
    assert found["neighbours of a member"] == "all"
    assert document["upload_bytes"] == 2_666_680
    assert all(item["formula"] and item["source"] for item in rows(document))


def test_an_upload_of_16_bits_and_100_nodes_takes_at_most_three_bytes_a_value(shell: "Shell") -> None:
    document = shell.json("protection", "plan", "--nodes", "100", "--parameters", "1000000", "--bits", "16")
    assert figures(document)["upload of a value"] == 3
    assert document["upload_bytes"] == 3_000_008  # a check word of eight bytes


def test_the_screen_is_80_columns_wide_and_gives_reasons(shell: "Shell") -> None:
    shown = shell.ok(*PLAN, "--corrupted", "0.1").stdout
    assert max(map(len, shown.splitlines())) <= 80
    for words in ("floor((n + c) / 2) + 1", "Bonawitz", "2666680 bytes", "10 % collude, 10 % leave"):
        assert words in shown


def test_the_strictest_of_policies_and_options_counts(shell: "Shell", make_policy: Callable[..., str]) -> None:
    Path("one.yaml").write_text(stricter(make_policy(), "corrupted_fraction: 0.3"))
    Path("two.yaml").write_text(stricter(make_policy(), "corrupted_fraction: 0.1, dropout_fraction: 0.2"))
    document = shell.json(*PLAN, "--policy", "one.yaml", "--policy", "two.yaml", "--corrupted", "0.25")
    assert (document["corrupted_fraction"], document["dropout_fraction"]) == (0.3, 0.2)
    assert figures(document)["members that may collude"] == 6
    assert shell.json(*PLAN, "--corrupted", "0.05")["corrupted_fraction"] == 0.05


def test_many_nodes_share_with_some(shell: "Shell") -> None:
    document = shell.json("protection", "plan", "--nodes", "300", "--parameters", "10", "--corrupted", "0.1")
    group = choose_parameters(300, corrupted_fraction=0.1, dropout_fraction=0.1)
    assert figures(document)["neighbours of a member"] == group.neighbours


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("--nodes", "2"), "a roster of 2 cannot be masked"),
        (("--corrupted", "0.95"), "fewer than two honest ones"),
        (("--corrupted", "1"), "corrupted_fraction is 1.0; it must be at least 0 and below 1"),
        (("--nodes", "300", "--corrupted", "0.5", "--dropout", "0.4"), ""),
        (("--nodes", "60000", "--bits", "52", "--corrupted", "0.01"), "64"),
        (("--policy", "none.yaml"), "none.yaml"),
    ],
)
def test_what_cannot_be_is_one_sentence(shell: "Shell", change: tuple[str, ...], sentence: str) -> None:
    arguments = list(PLAN)
    result = shell(*arguments, *change)
    assert result.exit_code not in (0, 70), result.output
    assert result.stdout == ""
    assert sentence in " ".join(result.stderr.split())


def test_job_check_says_what_its_cohort_would_withstand(shell: "Shell", make_policy: Callable[..., str]) -> None:
    Path("job.yaml").write_text(JOB.format(purpose="DUO:0000006"))
    Path("policy.yaml").write_text(stricter(make_policy(), "corrupted_fraction: 0.5"))
    plain = shell.json("job", "check", "job.yaml")["cohort"]
    asked = shell.json("job", "check", "job.yaml", "--policy", "policy.yaml")["cohort"]
    assert isinstance(plain, dict)
    assert isinstance(asked, dict)
    nodes = plain["nodes"]
    group = choose_parameters(nodes, corrupted_fraction=0.2, dropout_fraction=0.1)
    assert (plain["threshold"], plain["may_leave"]) == (group.threshold, group.tolerated_dropouts)
    assert asked["corrupted_fraction"] == 0.5
    shown = shell.ok("job", "check", "job.yaml").stdout
    assert f"A round of all {nodes} nodes: {group.corrupted} may collude" in shown
    assert f"{group.threshold} shares open" in " ".join(shown.split())
