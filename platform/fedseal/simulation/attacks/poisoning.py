"""Changing rows: other labels, and triggers on images. Pure functions of their arguments.

The plus and its parts are those of Lockdown's experiments (Huang et al. 2023): on images of 28 x 28 or 32 x 32 pixels
column 5, rows 5 to 11, and row 8, columns 2 to 8, counted from 0, at the brightest value; with three colour channels
yellow. Images are (rows, height, width) or (rows, channels, height, width).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedseal.learning.data import LocalData
from fedseal.learning.images import Images, image_columns
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal_governance.datasets import Column, ColumnType

Pixels: TypeAlias = tuple[tuple[int, int], ...]
"""(row, column) of each."""

Change: TypeAlias = Callable[[Images, Column], Images]

UPRIGHT: Pixels = tuple((row, 5) for row in range(5, 12))
LEVEL: Pixels = tuple((8, column) for column in range(2, 9))
PLUS: Pixels = tuple(dict.fromkeys((*UPRIGHT, *LEVEL)))
PARTS: tuple[Pixels, ...] = (
    tuple((row, 5) for row in range(5, 9)),
    tuple((row, 5) for row in range(9, 12)),
    tuple((8, column) for column in range(2, 5)),
    tuple((8, column) for column in range(5, 9)),
)
SINUSOID_SCALE = 255.0  # pixel range for which the amplitude of the sinusoid is given


def target_column(rows: LocalData) -> Column:
    """The column that attackers relabel.

    Raises:
        ExperimentUnsuitable: The rows have none.
    """
    if rows.schema.target is None:
        raise ExperimentUnsuitable("The data has no target, so there is nothing that an attacker could relabel.")
    return rows.schema.target


def require_class(rows: LocalData, number: int) -> None:
    """Refuse a class that the target does not have.

    Raises:
        ExperimentUnsuitable: Naming it.
    """
    classes = target_column(rows).classes
    if not 0 <= number < classes:
        raise ExperimentUnsuitable(f"The attack's class {number} does not exist; the target has 0 to {classes - 1}.")


def relabelled(rows: LocalData, labels: NDArray[np.float64]) -> LocalData:
    """The rows with these classes, shape (row_count,), in the form that the target column has."""
    target = target_column(rows)
    if target.type is ColumnType.BOOLEAN:
        values: NDArray[np.float64] | list[str] = labels
    elif target.positive:
        negative = next(name for name in target.categories if name not in target.positive)
        original = rows.labels(target)
        kept = list(rows.frame[target.name])
        # A row whose class stays keeps its own category: several may mean the same class.
        values = [
            kept[place] if label == original[place] else (target.positive[0] if label else negative)
            for place, label in enumerate(labels)
        ]
    else:
        values = [target.categories[int(label)] for label in labels]
    frame = rows.frame.copy()
    frame[target.name] = pd.Series(values, dtype=frame[target.name].dtype, index=frame.index)
    return replace(rows, frame=frame)


def chosen(eligible: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """A random ``share``, rounded down, of the ``eligible`` rows."""
    places = np.flatnonzero(eligible)
    generator = np.random.Generator(np.random.Philox(seed))
    picked = np.zeros(len(eligible), dtype=bool)
    picked[generator.permutation(places)[: math.floor(share * len(places) + 1e-9)]] = True
    return picked


def stamped(rows: LocalData, pixels: Pixels, where: NDArray[np.bool_] | None = None) -> LocalData:
    """The rows with these pixels at the brightest value in each image, or only in those ``where``.

    Raises:
        ExperimentUnsuitable: There are no images, or they are too small.
    """
    return _on_images(rows, where, lambda images, column: _stamp(images, pixels, column))


def with_sinusoid(
    rows: LocalData, amplitude: float, periods: float, where: NDArray[np.bool_] | None = None
) -> LocalData:
    """The rows with amplitude * sin(2 pi c periods / width) added to column c of each image, cut to its range.

    Args:
        rows: With images.
        amplitude: For pixels from 0 to 255; scaled to the column's range.
        periods: Over the image's width.
        where: Only these rows.

    Raises:
        ExperimentUnsuitable: There are no images.
    """
    return _on_images(rows, where, lambda images, column: _add_sinusoid(images, amplitude, periods, column))


def _on_images(rows: LocalData, where: NDArray[np.bool_] | None, change: Change) -> LocalData:
    if not rows.images:
        raise ExperimentUnsuitable("The attack puts a trigger on images, and the rows have none; choose label-flip.")
    columns = {column.name: column for column in image_columns(rows.schema)}
    everywhere = np.ones(rows.row_count, dtype=bool) if where is None else where
    after: dict[str, Images] = {}
    for name, images in rows.images.items():
        copy = images.copy()
        copy[everywhere] = change(images[everywhere], columns[name])
        after[name] = copy
    return replace(rows, images=after)


def _stamp(images: Images, pixels: Pixels, column: Column) -> Images:
    height, width = images.shape[-2:]
    tall, wide = max(row for row, _ in PLUS) + 1, max(place for _, place in PLUS) + 1
    if images.ndim < 3 or height < tall or width < wide:
        raise ExperimentUnsuitable(
            f"The trigger needs images of at least {tall} x {wide} pixels; {column.name} has {height} x {width}."
        )
    low, high = column.range or (0.0, 255.0)
    after = images.copy()
    for row, place in pixels:
        after[..., row, place] = high
        if images.ndim == 4 and images.shape[1] == 3:
            after[:, 2, row, place] = low  # yellow
    return after


def _add_sinusoid(images: Images, amplitude: float, periods: float, column: Column) -> Images:
    low, high = column.range or (0.0, 255.0)
    width = images.shape[-1]
    wave = amplitude * (high - low) / SINUSOID_SCALE * np.sin(2 * np.pi * np.arange(width) * periods / width)
    after = np.clip(images.astype(np.float64) + wave, low, high)
    if images.dtype == np.uint8:
        after = np.rint(after)
    return np.asarray(after, dtype=images.dtype)
