"""What a learner is: local training code behind four functions, without any knowledge of federation.

Rules a learner keeps:
- Its parameters are named tensors; names and shapes follow from the input's width and its settings alone. Running
  statistics of normalisation layers are among them.
- The same request gives the same result, bit for bit, on the same machine; every random choice comes from a
  seed.
- It refuses to return NaN: `TrainingFailed` instead.
- It applies `FitRequest.correct_gradients` to every step, so that methods which bend local training (a
  proximal term, control variates, a mask) work with any learner.

A learner is found through the entry-point group ``fedseal.learners`` as a class that is constructed from its
settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fedseal.learning.tensors import NamedTensors, Shapes


class ParameterRole(StrEnum):
    """What a tensor is for in its model; personalisation methods keep some roles at the node."""

    BASE = "base"
    HEAD = "head"
    NORMALISATION = "normalisation"
    STATISTICS = "statistics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Encoded rows with their labels.

    Attributes:
        inputs: float32, shape (rows, ...), finite.
        labels: The class of each row, 0.0 to classes - 1, shape (rows,).
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check that inputs and labels belong together."""
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"{len(self.inputs)} inputs for {len(self.labels)} labels")

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.labels)


class GradientCorrection(Protocol):
    """Changes the gradients of one optimiser step in place, before the step.

    FedProx adds ``mu * (y - w)``, SCAFFOLD adds ``c - c_k``, Lockdown multiplies by its mask.
    """

    def __call__(self, parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:
        """``parameters`` are read-only in spirit; both share memory with the learner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """One local training.

    Attributes:
        parameters: Where training starts; not changed.
        examples: The rows to learn from, at least one.
        epochs: Passes over the rows, at least 1.
        seed: Decides the order of rows; any non-negative integer.
        correct_gradients: Applied before every optimiser step.
    """

    parameters: NamedTensors
    examples: Examples
    epochs: int
    seed: int
    correct_gradients: GradientCorrection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What local training gave.

    Attributes:
        parameters: Same names and shapes as at the start, finite.
        loss: Mean training loss over all rows and epochs, without regularisation.
        steps: Optimiser steps taken (tau in FedNova and SCAFFOLD).
        learning_rate: Step size of each of them.
        momentum: Of the optimiser, 0 <= momentum < 1; some methods are only defined without.
    """

    parameters: NamedTensors
    loss: float
    steps: int
    learning_rate: float
    momentum: float = 0.0


class Learner(Protocol):
    """Local training code for a classifier; constructed as ``LearnerClass(settings)``."""

    name: ClassVar[str]
    title: ClassVar[str]
    settings_model: ClassVar[type[BaseModel]]

    def __init__(self, settings: Any) -> None:
        """Bind the learner to its validated settings."""

    def parameter_shapes(self, width: int) -> Shapes:
        """Names and shapes of the parameters for inputs of shape (rows, width)."""

    def roles(self, width: int) -> Mapping[str, ParameterRole]:
        """What each parameter is for: by the type of its layer, never by its name."""

    def initial_parameters(self, width: int, seed: int) -> NamedTensors:
        """Where training starts; the same for the same seed on every machine."""

    def fit(self, request: FitRequest) -> FitResult:
        """Train from ``request.parameters``.

        Raises:
            TrainingFailed: No rows, or the result is not finite.
        """

    def predict(self, parameters: NamedTensors, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities: of the outcome, shape (rows,); of three or more classes, shape (rows, classes).

        Raises:
            TrainingFailed: The parameters give values that are not finite.
        """


@runtime_checkable
class NarrowableLearner(Learner, Protocol):
    """A learner whose network can be made narrower, so that each tensor is a leading block of the wider one's."""

    def narrowed(self, share: float) -> Learner:
        """The same learner with this share of the hidden units and channels, at least one of each; 0 < share <= 1."""
