"""Two experiments side by side: means over seeds, and confidence intervals of the difference.

Seeds that both have are paired (the same seed deals out the same rows); then the interval is Student's for the mean of
the paired differences. Otherwise it is Welch's. With fewer than two seeds there is none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.runs import RESULTS

KEYS = frozenset({"seed", "round", "cohort"})
MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure of two experiments.

    Attributes:
        figure: Its name.
        first: Mean over the first experiment's seeds.
        second: Mean over the second's.
        difference: second - first.
        low: Lower end of the confidence interval of the difference; NaN with fewer than two seeds.
        high: Upper end.
        pairs: Seeds that both have; 0 where the interval is not paired.
    """

    figure: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    pairs: int


def read_results(folder: Path) -> pd.DataFrame:
    """An experiment's results.

    Raises:
        ExperimentUnsuitable: There are none, or the file is not one of results.
    """
    path = folder / RESULTS
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExperimentUnsuitable(f"{path} is larger than {MAX_BYTES} bytes.")
        frame = pd.read_csv(path)
    except OSError as error:
        raise ExperimentUnsuitable(
            f"{path} cannot be read ({error.strerror}); it is written when all seeds have run to the end."
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ExperimentUnsuitable(f"{path} is not a table of results: {error}.") from None
    if not {"seed", "round"} <= set(frame.columns):
        raise ExperimentUnsuitable(f"{path} is not a table of results: it has no columns seed and round.")
    return frame


def last_values(results: pd.DataFrame, figure: str, *, rounds: int) -> "pd.Series[float]":
    """By seed, the mean of the last ``rounds`` evaluated values of a figure."""
    known = results[["seed", "round", figure]].dropna().sort_values("round")
    return known.groupby("seed")[figure].apply(lambda values: float(values.tail(rounds).mean()))


def compare(
    first: pd.DataFrame, second: pd.DataFrame, *, confidence: float = 0.95, rounds: int = 1
) -> tuple[Difference, ...]:
    """Every figure that both have.

    Args:
        first: As `read_results` gives it.
        second: Likewise.
        confidence: 0 < confidence < 1.
        rounds: Over how many of the last evaluated rounds each seed is averaged.
    """
    figures = [name for name in first.columns if name in second.columns and name not in KEYS]
    return tuple(
        _difference(name, last_values(first, name, rounds=rounds), last_values(second, name, rounds=rounds), confidence)
        for name in figures
        if first[name].notna().any() and second[name].notna().any()
    )


def interval_of_mean(values: Sequence[float] | NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Student's interval for a mean; NaN with fewer than two values."""
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(count)
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * error
    return mean - reach, mean + reach


def _difference(figure: str, first: "pd.Series[float]", second: "pd.Series[float]", confidence: float) -> Difference:
    shared = sorted(set(first.index) & set(second.index))
    if len(shared) == len(first) == len(second):
        low, high = interval_of_mean(_array(second[shared] - first[shared]), confidence)
        pairs = len(shared)
    else:
        low, high = _welch(_array(first), _array(second), confidence)
        pairs = 0
    one, two = float(first.mean()), float(second.mean())
    return Difference(figure=figure, first=one, second=two, difference=two - one, low=low, high=high, pairs=pairs)


def _array(values: "pd.Series[float]") -> NDArray[np.float64]:
    return np.array([float(value) for value in values], dtype=np.float64)


def _welch(first: NDArray[np.float64], second: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    if min(len(first), len(second)) < 2:
        return math.nan, math.nan
    found = stats.ttest_ind(second, first, equal_var=False).confidence_interval(confidence)
    return float(found.low), float(found.high)
