"""What a learner with an encoder and a last layer can do: contrastive training, and adaptation without labels.

A method that needs it asks with ``isinstance(learner, RepresentationLearner)`` and refuses other learners.

Rules such a learner keeps, beside those of `fedseal.learning.learner`:
- Tensors under ``projection0`` and ``projection1`` belong to the projection head, two linear layers with ReLU between,
  whose output is what the contrastive loss compares. They are no part of the model that predicts.
- Only the tensors that a request names move, and running statistics, which no gradient moves, follow the rows seen.
- Adaptation works on a copy and never moves the last layer.

Source: supervised contrastive loss, Khosla et al. 2020 (NeurIPS, Eq. 2), here as in Tan et al. 2023 (NeurIPS); entropy
minimisation over normalisation layers, Wang et al. 2021 (ICLR).
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.learner import Examples, FitResult, Learner
from fedseal.learning.tensors import NamedTensors, Shape, Shapes

Objective: TypeAlias = Literal["contrastive", "cross-entropy"]
Adaptation: TypeAlias = Literal["statistics", "ucl", "tent"]
WIDEST_HIDDEN = 512  # units between the two layers of a projection head
BASE_TEMPERATURE = 0.07  # tau_0: only scales the loss


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRecipe:
    """How much a random view of a row may differ from the row.

    Attributes:
        image: Shape (channels, height, width) of each row if it is one image; None for the rows of a table.
        shift: Images: largest move, as a share of the side.
        zoom: Images: largest change of size.
        flip: Images: mirror half of them, left to right.
        contrast: Images: largest relative change of contrast, and largest change of brightness.
        noise: Standard deviation of what is added to every number.
        masked: Tables: share of the numbers set to zero, which is the mean of a standardised column.
    """

    image: tuple[int, int, int] | None
    shift: float
    zoom: float
    flip: bool
    contrast: float
    noise: float
    masked: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsRequest:
    """One local training on random views of the rows.

    Attributes:
        parameters: Where training starts; of the learner, and for ``contrastive`` those of the projection head, unless
            the features themselves are to be compared.
        examples: At least one row.
        epochs: Passes over the rows, at least 1.
        seed: Decides the order of rows, and the views.
        recipe: Of the views.
        objective: ``contrastive`` compares two views of each row in a batch, ``cross-entropy`` predicts one.
        moving: Names of the tensors that learn.
        learning_rate: Step size; None for the learner's own.
        temperature: Of the contrastive loss (tau).
    """

    parameters: NamedTensors
    examples: Examples
    epochs: int
    seed: int
    recipe: ViewRecipe
    objective: Objective
    moving: frozenset[str]
    learning_rate: float | None = None
    temperature: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptRequest:
    """One adaptation to rows without labels.

    Attributes:
        parameters: The model, and a projection head if there is one; not changed.
        inputs: Encoded rows, float32, shape (rows, width), at least two.
        kind: ``statistics`` only takes the running statistics anew from the rows; ``ucl`` makes two views of a row more
            alike than views of different rows, by encoder and projection head; ``tent`` makes predictions more certain,
            by scale and shift of normalisation layers. The latter two take the statistics anew at the end.
        epochs: Passes over the rows; a pass whose loss is not below the one before is the last.
        most_steps: Optimiser steps in all, at most.
        batch_size: Rows a step; batches are as equal as can be.
        learning_rate: Step size.
        temperature: Of the contrastive loss.
        recipe: Of the views.
        seed: Decides order and views.
    """

    parameters: NamedTensors
    inputs: NDArray[np.float32]
    kind: Adaptation
    epochs: int
    most_steps: int
    batch_size: int
    learning_rate: float
    temperature: float
    recipe: ViewRecipe
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptResult:
    """What adaptation gave.

    Attributes:
        parameters: The learner's tensors, without the projection head.
        losses: Mean loss of each pass.
        steps: Optimiser steps taken.
    """

    parameters: NamedTensors
    losses: tuple[float, ...]
    steps: int


@runtime_checkable
class RepresentationLearner(Learner, Protocol):
    """See the module docstring."""

    def projection_shapes(self, width: int, size: int) -> Shapes:
        """Shapes of a projection head to ``size`` numbers, for inputs of shape (rows, width)."""

    def initial_projection(self, width: int, size: int, seed: int) -> NamedTensors:
        """Where such a head starts."""

    def fit_views(self, request: ViewsRequest) -> FitResult:
        """Train on views; the result has the names of ``request.parameters``.

        Raises:
            TrainingFailed: No rows, or the result is not finite.
        """

    def adapt(self, request: AdaptRequest) -> AdaptResult:
        """Fit a copy of the model to rows without labels.

        Raises:
            TrainingFailed: Too few rows, no normalisation layers for ``tent``, or the result is not finite.
        """


def projection_shapes(features: int, size: int) -> dict[str, Shape]:
    """Shapes of a projection head over ``features`` numbers."""
    hidden = min(features, WIDEST_HIDDEN)
    return {
        "projection0.weight": (hidden, features),
        "projection0.bias": (hidden,),
        "projection1.weight": (size, hidden),
        "projection1.bias": (size,),
    }
