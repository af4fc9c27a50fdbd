"""What a dataset's description shows, and that what it hides cannot be computed from what it shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.learning.data import parse_dataset
from fedseal.profiles import DatasetProfile, describe, hidden_cells
from fedseal_governance.datasets import load_schema

SCHEMA = b"""\
dataset: hearts
columns:
  - {name: id, role: record_id}
  - {name: age, type: number, range: [0, 200], unit: years}
  - {name: sex, type: category, categories: [f, m, missing]}
  - {name: pain, type: boolean}
"""


def described(rows: list[tuple[str, str, str]]) -> dict[str, tuple[str, str]]:
    view = profile(rows)
    return {column.name: (column.summary, column.missing) for column in view.columns}


def profile(rows: list[tuple[str, str, str]], minimum_cell: int = 10) -> DatasetProfile:
    text = "id,age,sex,pain\n" + "".join(
        f"P{place},{age},{sex},{pain}\n" for place, (age, sex, pain) in enumerate(rows)
    )
    return describe(parse_dataset(text, load_schema(SCHEMA, "s.yaml"), source="d.csv"), minimum_cell=minimum_cell)


def test_extremes_are_not_shown_and_ranges_are_rounded() -> None:
    rows = [(str(20 + place % 61), "f", "yes") for place in range(300)]
    rows[7] = ("173", "f", "yes")
    summary, missing = described(rows)["age"]
    assert (summary, missing) == ("mean 50, standard deviation 19 years, middle 23 to 77", "none")
    assert "173" not in str(profile(rows))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("50", "f", "yes")] * 9, "fewer than 10 values"),
        ([("50", "f", "yes")] * 40, "mean 50, standard deviation 0 years"),
        ([(str(place), "f", "yes") for place in range(39)], "mean 19, standard deviation 11 years"),
    ],
)
def test_few_or_equal_numbers(rows: list[tuple[str, str, str]], says: str) -> None:
    assert described(rows)["age"][0] == says


def test_few_rows_are_not_counted() -> None:
    assert profile([("50", "f", "yes")] * 9).rows is None
    assert profile([("50", "f", "yes")] * 9, minimum_cell=5).rows == 9
    with pytest.raises(ValueError, match="protects nobody"):
        profile([("50", "f", "yes")] * 9, minimum_cell=2)


def test_a_small_cell_takes_another_with_it() -> None:
    rows = [("50", "f", "yes")] * 30 + [("50", "m", "no")] * 50 + [("50", "missing", "")] * 3
    found = described(rows)
    assert found["sex"] == ("f: hidden, m: 50, “missing”: hidden", "none")
    assert found["pain"] == ("yes: hidden, no: 50", "hidden")


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 60), min_size=1), st.integers(3, 20))
def test_hidden_cells_stay_hidden(counts: dict[str, int], least: int) -> None:
    """Whoever knows the total and every shown cell knows no hidden one, and not that they are few together."""
    hidden = hidden_cells(counts, least)
    assert all(name in hidden for name, count in counts.items() if 0 < count < least)
    together = sum(counts[name] for name in hidden)
    if hidden and any(count and name not in hidden for name, count in counts.items()):
        assert len(hidden) >= 2
        assert together >= least
    if not any(0 < count < least for count in counts.values()):
        assert not hidden
