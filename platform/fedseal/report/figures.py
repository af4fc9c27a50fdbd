"""Published figures in words: what each is called, what it means, and how it is written."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

LOSS, ROWS, CLIPPED, AUC = "loss", "rows", "clipped_share", "auc"
AUC_UNCERTAINTY, BYTES_SENT = "auc_uncertainty", "bytes_up_per_node"

UNDEFINED = "undefined"

_LARGEST = 1e12
"""Beyond it a number is written with an exponent: nobody counts that many digits."""

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A published figure, ready to show.

    Attributes:
        name: as the method calls it.
        margin: how far it can be off, ready to show; empty when nothing is said.
    """

    name: str
    label: str
    value: str
    meaning: str
    margin: str = ""


def whole(value: float) -> str:
    """A count, with separators: ``1,234``."""
    return _written(value, f"{value:,.0f}")


def share(value: float) -> str:
    """A share in per cent with one decimal."""
    return _written(value, f"{value * 100:.1f} %")


def decimal(value: float) -> str:
    """Three decimals."""
    return _written(value, f"{value:.3f}")


def _written(value: float, usual: str) -> str:
    if not math.isfinite(value):
        return UNDEFINED
    return usual if abs(value) < _LARGEST else f"{value:.3g}"


def data_size(size: float) -> str:
    """A number of bytes in a unit that suits it."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{whole(size)} bytes"


def counted(number: int) -> str:
    """A small number as a word."""
    return _WORDS[number] if 0 <= number < len(_WORDS) else whole(number)


def day(moment: datetime | None) -> str:
    """``4 May 2026``."""
    return "not stated" if moment is None else f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def clock(moment: datetime | None) -> str:
    """``09:30:00``, in UTC as given."""
    return "not stated" if moment is None else f"{moment:%H:%M:%S}"


def date_and_time(moment: datetime | None) -> str:
    """``4 May 2026, 09:30:00 UTC``; a no-break space keeps the parts together."""
    return "not stated" if moment is None else f"{day(moment)}, {clock(moment)}\N{NO-BREAK SPACE}UTC"


def duration(start: datetime | None, end: datetime | None) -> str:
    """How long it took, in two units at most; empty when it cannot be told."""
    if start is None or end is None or end < start:
        return ""
    seconds = (end - start).total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes_left} min"
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


@dataclass(frozen=True, slots=True)
class _Known:
    label: str
    meaning: str
    write: Callable[[float], str]


_KNOWN: Mapping[str, _Known] = {
    AUC: _Known(
        "Discrimination (AUC)",
        "How often a record with the outcome gets a higher risk than one without: 0.5 is guessing, 1 is perfect.",
        decimal,
    ),
    "accuracy": _Known("Accuracy", "Share of records that are predicted rightly when the line is drawn at 0.5.", share),
    "calibration_error": _Known(
        "Calibration error", "Mean distance between predicted and observed risk: 0 is best.", decimal
    ),
    "brier": _Known("Brier score", "Mean squared error of the predicted risk: 0 is best.", decimal),
    "log_loss": _Known("Logarithmic loss", "Mean penalty for confident errors: 0 is best.", decimal),
    "patients": _Known(
        "Held-out records", "Records that were kept out of the training and on which the model was tested.", whole
    ),
    LOSS: _Known("Training loss", "Mean over the training rows of the cohort; it falls as the model learns.", decimal),
    ROWS: _Known("Training rows", "Rows of the whole cohort; no node's own number is known.", whole),
    "measured_share": _Known("Measured values", "Share of the cells that are not empty.", share),
    CLIPPED: _Known("Clipped numbers", "Share of contributed numbers that were cut to the declared bound.", share),
}


_ELSEWHERE = frozenset({AUC_UNCERTAINTY, BYTES_SENT})
"""Shown beside another figure, or for the whole job."""


def describe(figures: Mapping[str, float]) -> tuple[Figure, ...]:
    """Every figure of a round, known ones first in the order of the table above, then the rest by name."""
    order = [name for name in _KNOWN if name in figures]
    order += sorted(name for name in figures if name not in _KNOWN and name not in _ELSEWHERE)
    return tuple(_described(name, figures) for name in order)


def _described(name: str, figures: Mapping[str, float]) -> Figure:
    known = _KNOWN.get(name)
    if known is None:
        return Figure(name=name, label=name, value=f"{figures[name]:.6g}", meaning="As the method publishes it.")
    margin = ""
    if name == AUC and AUC_UNCERTAINTY in figures:
        margin = f"± {decimal(figures[AUC_UNCERTAINTY])} from counting in intervals"
    return Figure(name=name, label=known.label, value=known.write(figures[name]), meaning=known.meaning, margin=margin)
