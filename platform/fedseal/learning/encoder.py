"""From checked rows to the numbers a learner sees, with nothing learned from local data.

Rules this module keeps:
- Means and scales come from the statistics that were summed over the cohort; local rows are only looked up.
- Every column that may be absent gets a missing-value indicator: in clinical tables, that something was not
  measured is information.
- Width and order follow from the schema, the job's features and nothing else, so all nodes encode alike.

Layout of a row: for each feature in the job's order, a number or boolean gives ``[(x - mean) / scale,
is_missing]`` (0 stands for the mean where missing), a category gives one indicator per category and
``is_missing``, an image gives its pixels row by row, scaled by the schema's range to [0, 1].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedseal.learning.data import LocalData
from fedseal.learning.images import Images, scaled
from fedseal.learning.tensors import NamedTensors, Shapes, Tensor, check_tensors
from fedseal_governance.datasets import Column, ColumnType

MEAN = "mean"
SCALE = "scale"


def measured_columns(features: Sequence[Column]) -> tuple[Column, ...]:
    """The features that have a mean: numbers and booleans, in order."""
    return tuple(column for column in features if column.type in (ColumnType.NUMBER, ColumnType.BOOLEAN))


def encoded_width(features: Sequence[Column]) -> int:
    """Length of an encoded row."""
    return sum(_width(column) for column in features)


def encoder_statistics(published: NamedTensors) -> dict[str, Tensor]:
    """Of the published statistics, those that encoding needs."""
    return {name: published[name] for name in (MEAN, SCALE)}


def encoder_shapes(features: Sequence[Column]) -> Shapes:
    """Shapes of the tensors that `TabularEncoder` needs."""
    count = len(measured_columns(features))
    return {MEAN: (count,), SCALE: (count,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularEncoder:
    """Standardise, impute by the mean, flag what is missing, one-hot.

    Attributes:
        features: The job's features in order.
        statistics: ``mean`` and ``scale`` of the measured columns, float64, in the column's own unit; scale >
            0.
    """

    features: tuple[Column, ...]
    statistics: NamedTensors

    def __post_init__(self) -> None:
        """Refuse statistics that cannot standardise these features.

        Raises:
            TensorsRefused: Wrong names, shapes, or values that are not finite.
            ValueError: A scale is not positive.
        """
        check_tensors(self.statistics, encoder_shapes(self.features), what="the encoder's statistics")
        if (self.statistics[SCALE] <= 0).any():
            raise ValueError("every scale of an encoder is positive")

    @property
    def names(self) -> tuple[str, ...]:
        """What each encoded position means, in order."""
        return tuple(name for column in self.features for name in _position_names(column))

    @property
    def width(self) -> int:
        """Length of an encoded row."""
        return encoded_width(self.features)

    def encode_rows(self, data: LocalData) -> NDArray[np.float32]:
        """`encode` of a dataset's rows."""
        return self.encode(data.frame, data.images)

    def encode(self, frame: pd.DataFrame, images: Mapping[str, Images] | None = None) -> NDArray[np.float32]:
        """Encode checked rows.

        Args:
            frame: As in `LocalData.frame`; may have further columns.
            images: As in `LocalData.images`.

        Returns:
            Shape (rows, width), finite.
        """
        place = {column.name: index for index, column in enumerate(measured_columns(self.features))}
        blocks: list[NDArray[np.float64] | NDArray[np.float32]] = []
        for column in self.features:
            if column.name in place:
                index = place[column.name]
                mean, scale = self.statistics[MEAN][index], self.statistics[SCALE][index]
                blocks.append(_standardised(frame[column.name].to_numpy(dtype=np.float64), mean, scale))
            elif column.type is ColumnType.IMAGE:
                blocks.append(scaled((images or {})[column.name], column))
            else:
                blocks.append(_one_hot(frame[column.name], column.categories))
        return np.concatenate(blocks, axis=1, dtype=np.float32) if blocks else np.zeros((len(frame), 0), np.float32)


def _width(column: Column) -> int:
    if column.type is ColumnType.IMAGE:
        return math.prod(column.shape)
    return len(column.categories) + 1 if column.type is ColumnType.CATEGORY else 2


def _position_names(column: Column) -> tuple[str, ...]:
    if column.type is ColumnType.IMAGE:
        return tuple(f"{column.name}[{position}]" for position in range(_width(column)))
    if column.type is ColumnType.CATEGORY:
        return (*(f"{column.name}={category}" for category in column.categories), f"{column.name} missing")
    return (column.name, f"{column.name} missing")


def _standardised(values: NDArray[np.float64], mean: float, scale: float) -> NDArray[np.float64]:
    missing = np.isnan(values)
    return np.stack([np.where(missing, 0.0, (values - mean) / scale), missing.astype(np.float64)], axis=1)


def _one_hot(values: "pd.Series[str]", categories: Sequence[str]) -> NDArray[np.float64]:
    indicators = [(values == category).to_numpy(dtype=np.float64) for category in categories]
    return np.stack([*indicators, values.isna().to_numpy(dtype=np.float64)], axis=1)
