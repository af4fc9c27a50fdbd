"""Means and confidence intervals against values worked out with scipy and by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from fedseal.errors import SetupError
from fedseal.simulation.comparing import compare, interval_of_mean, last_values, read_results
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.plotting import plot

A = [0.71, 0.74, 0.69, 0.75]
B = [0.78, 0.77, 0.76, 0.80]


def results(values: list[float], seeds: list[int] | None = None) -> pd.DataFrame:
    seeds = seeds or list(range(1, len(values) + 1))
    return pd.DataFrame({"seed": seeds, "round": 1, "cohort": 4, "accuracy": values})


def test_interval_of_a_mean_is_students() -> None:
    low, high = interval_of_mean(A, 0.95)
    expected = stats.t.interval(0.95, 3, loc=sum(A) / 4, scale=stats.sem(A))
    assert (low, high) == pytest.approx(expected)
    # by hand: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653
    assert interval_of_mean([1.0, 2.0, 3.0], 0.95) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert all(math.isnan(end) for end in interval_of_mean([1.0], 0.95))


def test_same_seeds_are_paired() -> None:
    (found,) = compare(results(A), results(B), confidence=0.9)
    paired = stats.ttest_rel(B, A).confidence_interval(0.9)
    assert found.pairs == 4
    assert found.difference == pytest.approx(0.055)
    assert (found.low, found.high) == pytest.approx((paired.low, paired.high))


def test_pairs_go_by_seed_not_by_place() -> None:
    (found,) = compare(results(A), results(B[::-1], [4, 3, 2, 1]))
    (plain,) = compare(results(A), results(B))
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


def test_other_seeds_are_welchs() -> None:
    (found,) = compare(results(A), results(B, [1, 2, 3, 9]))
    welch = stats.ttest_ind(B, A, equal_var=False).confidence_interval(0.95)
    assert found.pairs == 0
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high))


def test_without_spread_the_interval_is_a_point() -> None:
    (found,) = compare(results([0.5, 0.5]), results([0.75, 0.75], [8, 9]))
    assert (found.low, found.high) == (0.25, 0.25)


def test_one_seed_has_no_interval() -> None:
    (found,) = compare(results([0.5]), results([0.75]))
    assert found.difference == 0.25
    assert math.isnan(found.low)


def test_last_evaluated_rounds_are_averaged() -> None:
    frame = pd.DataFrame({"seed": 1, "round": [3, 1, 2, 4], "accuracy": [0.6, 0.1, 0.4, math.nan]})
    assert list(last_values(frame, "accuracy", rounds=2)) == [0.5]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "not a table"),
        ("a,b\n1,2\n", "no columns"),
        ("seed,round,accuracy\n1,1,good\n", "accuracy"),
        ("seed,round,accuracy\n", "no rows"),
    ],
)
def test_what_is_no_table_of_results_is_refused(tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "results.csv").write_text(content)
    with pytest.raises(ExperimentUnsuitable, match=word):
        read_results(tmp_path)


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="nothing to draw"):
        plot({"a": results(A).drop(columns="accuracy")}, tmp_path / "a.png")
    with pytest.raises(SetupError, match=r"\.png"):
        plot({"a": results(A)}, tmp_path / "a.docx")
    assert not list(tmp_path.iterdir())
