"""Figures from sums: they add up over groups, and agree with scikit-learn up to the stated uncertainty."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from fedseal.learning.metrics import (
    CALIBRATION_BINS,
    PredictionSums,
    evaluate,
    exact_auc,
    metrics_of,
    prediction_sums,
)


def drawn(seed: int, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    labels = (generator.random(size) < 0.4).astype(np.float64)
    probabilities = np.clip(0.3 * labels + 0.7 * generator.random(size), 0, 1)
    return probabilities, labels


@given(seed=st.integers(0, 10_000), size=st.integers(2, 400))
def test_figures_agree_with_scikit_learn(seed: int, size: int) -> None:
    probabilities, labels = drawn(seed, size)
    ours = evaluate(probabilities, labels)
    assert ours.patients == size
    assert ours.accuracy == pytest.approx(accuracy_score(labels, probabilities >= 0.5))
    assert ours.brier == pytest.approx(brier_score_loss(labels, probabilities))
    if 0 < labels.sum() < size:
        assert ours.log_loss == pytest.approx(log_loss(labels, probabilities), rel=1e-6)
        assert abs(ours.auc - exact_auc(probabilities, labels)) <= ours.auc_uncertainty + 1e-12
    else:
        assert math.isnan(ours.auc)
        assert math.isnan(exact_auc(probabilities, labels))


def test_the_sums_of_two_groups_are_the_sums_of_their_union() -> None:
    probabilities, labels = drawn(1, 300)
    one, two = prediction_sums(probabilities[:100], labels[:100]), prediction_sums(probabilities[100:], labels[100:])
    both = PredictionSums(
        positives=one.positives + two.positives,
        negatives=one.negatives + two.negatives,
        confidence=one.confidence + two.confidence,
        log_loss=one.log_loss + two.log_loss,
        squared_error=one.squared_error + two.squared_error,
    )
    assert metrics_of(both).as_dict() == pytest.approx(evaluate(probabilities, labels).as_dict())


def test_calibration_error_by_its_definition() -> None:
    probabilities, labels = drawn(2, 500)
    expected = 0.0
    for number in range(CALIBRATION_BINS):
        inside = (probabilities >= number / 10) & (probabilities < (number + 1) / 10)
        if inside.any():
            gap = abs(labels[inside].mean() - probabilities[inside].mean())
            expected += inside.mean() * gap
    assert evaluate(probabilities, labels).calibration_error == pytest.approx(expected)


def test_known_answers() -> None:
    perfect = evaluate(np.array([0.05, 0.15, 0.85, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert (perfect.auc, perfect.accuracy, perfect.auc_uncertainty) == (1.0, 1.0, 0.0)
    undecided = evaluate(np.full(4, 0.5), np.array([0.0, 0.0, 1.0, 1.0]))
    assert (undecided.auc, undecided.accuracy, undecided.calibration_error) == (0.5, 0.5, 0.0)
    assert undecided.log_loss == pytest.approx(math.log(2))


def test_nobody_gives_no_figures() -> None:
    nobody = evaluate(np.zeros(0), np.zeros(0))
    assert nobody.patients == 0
    assert all(math.isnan(value) for name, value in nobody.as_dict().items() if name != "patients")


def test_certainty_that_is_wrong_costs_a_bounded_loss() -> None:
    assert evaluate(np.array([0.0]), np.array([1.0])).log_loss == pytest.approx(30.0)
