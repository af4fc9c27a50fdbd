"""Figures of a binary classifier from sums over patients, so that no party needs another's predictions.

Rules this module keeps:
- Everything is computed from class-wise histograms of the predicted probability and three plain sums; sums of
  those over nodes give the figures of the union of patients.
- What cannot be computed (one class absent, no patients) is NaN, never a made-up number.

References: AUC as the Mann-Whitney statistic (Hanley and McNeil 1982, Radiology 143); expected calibration
error (Naeini, Cooper, Hauskrecht 2015, AAAI) with equal-width bins; Brier 1950.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

BINS = 100  # of predicted probability; even, so that 0.5 is an edge and the accuracy is exact
CALIBRATION_BINS = 10  # each joins BINS / CALIBRATION_BINS neighbouring bins
WORST_LOG_LOSS = 30.0  # a probability of 1e-13 for what happened; bounds the summed loss


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSums:
    """Sums over patients; add those of two groups to get those of their union.

    Attributes:
        positives: Patients with the outcome, by bin of predicted probability, shape (BINS,).
        negatives: Patients without it, shape (BINS,).
        confidence: Sum of predicted probability, by calibration bin, shape (CALIBRATION_BINS,).
        log_loss: Sum of -log(probability of what happened), each at most WORST_LOG_LOSS.
        squared_error: Sum of (probability - label)^2.
    """

    positives: NDArray[np.float64]
    negatives: NDArray[np.float64]
    confidence: NDArray[np.float64]
    log_loss: float
    squared_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Figures of one model on one group of patients; NaN where undefined.

    Attributes:
        patients: How many.
        auc: Area under the ROC curve; patients in one bin count as ties.
        auc_uncertainty: How far binning can have moved ``auc``, either way.
        accuracy: Share where (probability >= 0.5) is what happened.
        calibration_error: Expected calibration error, 0 is best.
        log_loss: Mean, natural logarithm.
        brier: Mean squared error of the probability.
    """

    patients: int
    auc: float
    auc_uncertainty: float
    accuracy: float
    calibration_error: float
    log_loss: float
    brier: float

    def as_dict(self) -> dict[str, float]:
        """For summaries and JSON."""
        return {
            "patients": float(self.patients),
            "auc": self.auc,
            "auc_uncertainty": self.auc_uncertainty,
            "accuracy": self.accuracy,
            "calibration_error": self.calibration_error,
            "log_loss": self.log_loss,
            "brier": self.brier,
        }


def prediction_sums(probabilities: NDArray[np.float64], labels: NDArray[np.float64]) -> PredictionSums:
    """Sum up one group of patients.

    Args:
        probabilities: In [0, 1], shape (patients,).
        labels: 0.0 or 1.0, shape (patients,).
    """
    fine = _bin(probabilities, BINS)
    happened = np.where(labels == 1, probabilities, 1 - probabilities)
    losses = -np.log(np.maximum(happened, np.exp(-WORST_LOG_LOSS)))
    return PredictionSums(
        positives=_summed(fine, labels, BINS),
        negatives=_summed(fine, 1 - labels, BINS),
        confidence=_summed(fine // (BINS // CALIBRATION_BINS), probabilities, CALIBRATION_BINS),
        log_loss=float(losses.sum()),
        squared_error=float(((probabilities - labels) ** 2).sum()),
    )


def metrics_of(sums: PredictionSums) -> Metrics:
    """The figures of the patients that were summed."""
    patients = float(sums.positives.sum() + sums.negatives.sum())
    auc, uncertainty = _auc(sums.positives, sums.negatives)
    right = sums.positives[BINS // 2 :].sum() + sums.negatives[: BINS // 2].sum()
    return Metrics(
        patients=round(patients),
        auc=auc,
        auc_uncertainty=uncertainty,
        accuracy=_ratio(right, patients),
        calibration_error=_ratio(_calibration_gap(sums), patients),
        log_loss=_ratio(sums.log_loss, patients),
        brier=_ratio(sums.squared_error, patients),
    )


def evaluate(probabilities: NDArray[np.float64], labels: NDArray[np.float64]) -> Metrics:
    """The figures of one group whose predictions are at hand."""
    return metrics_of(prediction_sums(probabilities, labels))


def exact_auc(probabilities: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """AUC without binning, for comparisons on one machine; NaN when only one class is present."""
    if len(np.unique(labels)) < 2:
        return float("nan")
    return float(roc_auc_score(labels, probabilities))


def _bin(probabilities: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def _summed(bins: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(bins, weights=values, minlength=count), dtype=np.float64)


def _auc(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> tuple[float, float]:
    pairs = positives.sum() * negatives.sum()
    below = np.cumsum(negatives) - negatives
    ties = float((positives * negatives).sum()) / 2
    return _ratio(float((positives * below).sum()) + ties, pairs), _ratio(ties, pairs)


def _calibration_gap(sums: PredictionSums) -> float:
    joined = sums.positives.reshape(CALIBRATION_BINS, -1).sum(axis=1)
    return float(np.abs(joined - sums.confidence).sum())


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole > 0 else float("nan")
