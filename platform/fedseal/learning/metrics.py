"""Figures of a classifier from sums over patients, so that no party needs another's predictions.

With two classes a patient has or has not the outcome, and the model gives its probability. With more, the model's
answer is its likeliest class: then "positives" are patients for whom that was right, "negatives" those for whom it
was wrong, both by the probability of that class.

Rules this module keeps:
- Everything is computed from class-wise histograms of the predicted probability and three plain sums; sums of
  those over nodes give the figures of the union of patients.
- What cannot be computed (one class absent, no patients) is NaN, never a made-up number.

References: AUC as the Mann-Whitney statistic (Hanley and McNeil 1982, Radiology 143); expected calibration
error (Naeini, Cooper, Hauskrecht 2015, AAAI; for several classes of the likeliest one, Guo et al. 2017, ICML) with
equal-width bins; Brier 1950, for several classes summed over them (0 to 2).
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
        positives: Patients with the outcome (of several classes: predicted rightly), by bin of predicted
            probability, shape (BINS,).
        negatives: Patients without it (predicted wrongly), shape (BINS,).
        confidence: Sum of predicted probability, by calibration bin, shape (CALIBRATION_BINS,).
        log_loss: Sum of -log(probability of what happened), each at most WORST_LOG_LOSS.
        squared_error: Sum of (probability - indicator)^2, over the classes if there are several.
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
        auc: Area under the ROC curve; patients in one bin count as ties. Undefined for several classes.
        auc_uncertainty: How far binning can have moved ``auc``, either way.
        accuracy: Share where (probability >= 0.5), or the likeliest class, is what happened.
        calibration_error: Expected calibration error, 0 is best.
        log_loss: Mean, natural logarithm.
        brier: Mean squared error of the probability, summed over the classes if there are several.
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
        probabilities: In [0, 1], shape (patients,); of several classes (patients, classes), rows sum to 1.
        labels: Class of each, shape (patients,); of two classes 1.0 is the outcome.
    """
    if probabilities.ndim == 2:
        return _class_sums(probabilities, labels.astype(np.int64))
    happened = np.where(labels == 1, probabilities, 1 - probabilities)
    return _sums(probabilities, labels, happened, float(((probabilities - labels) ** 2).sum()))


def metrics_of(sums: PredictionSums, *, classes: int = 2) -> Metrics:
    """The figures of the patients that were summed."""
    patients = float(sums.positives.sum() + sums.negatives.sum())
    if classes == 2:
        auc, uncertainty = _auc(sums.positives, sums.negatives)
        right = sums.positives[BINS // 2 :].sum() + sums.negatives[: BINS // 2].sum()
    else:
        auc, uncertainty = float("nan"), float("nan")
        right = sums.positives.sum()
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
    classes = probabilities.shape[1] if probabilities.ndim == 2 else 2
    return metrics_of(prediction_sums(probabilities, labels), classes=classes)


def exact_auc(probabilities: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """AUC without binning, for comparisons on one machine; NaN with one class or several."""
    if probabilities.ndim == 2 or len(np.unique(labels)) < 2:
        return float("nan")
    return float(roc_auc_score(labels, probabilities))


def _class_sums(probabilities: NDArray[np.float64], actual: NDArray[np.int64]) -> PredictionSums:
    rows, classes = probabilities.shape
    right = (probabilities.argmax(axis=1) == actual).astype(np.float64)
    sure = probabilities.max(axis=1, initial=0.0)
    squares = (probabilities - np.eye(classes)[actual]) ** 2
    return _sums(sure, right, probabilities[np.arange(rows), actual], float(squares.sum()))


def _sums(
    probabilities: NDArray[np.float64],
    positives: NDArray[np.float64],
    happened: NDArray[np.float64],
    squared_error: float,
) -> PredictionSums:
    fine = _bin(probabilities, BINS)
    losses = -np.log(np.maximum(happened, np.exp(-WORST_LOG_LOSS)))
    return PredictionSums(
        positives=_summed(fine, positives, BINS),
        negatives=_summed(fine, 1 - positives, BINS),
        confidence=_summed(fine // (BINS // CALIBRATION_BINS), probabilities, CALIBRATION_BINS),
        log_loss=float(losses.sum()),
        squared_error=squared_error,
    )


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
