"""``logistic-regression``: one linear layer; the baseline that every larger learner has to beat."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from fedseal.learning._torch_training import TrainingSettings, fit_module, predict_module
from fedseal.learning.learner import FitRequest, FitResult
from fedseal.learning.tensors import NamedTensors, Shape


class LogisticRegressionSettings(TrainingSettings):
    """Only the training settings."""


@dataclass(frozen=True, slots=True)
class LogisticRegression:
    """Parameters ``linear.weight`` (1, width) and ``linear.bias`` (1,); starts at zero, whatever the seed."""

    settings: LogisticRegressionSettings

    name: ClassVar[str] = "logistic-regression"
    title: ClassVar[str] = "Logistic regression (torch)"
    settings_model: ClassVar[type[BaseModel]] = LogisticRegressionSettings

    def parameter_shapes(self, width: int) -> dict[str, Shape]:
        """See `fedseal.learning.learner.Learner`."""
        return {"linear.weight": (1, width), "linear.bias": (1,)}

    def initial_parameters(self, width: int, seed: int) -> NamedTensors:  # noqa: ARG002 - convex, zero is as good
        """See `fedseal.learning.learner.Learner`."""
        return {name: np.zeros(shape, dtype=np.float32) for name, shape in self.parameter_shapes(width).items()}

    def fit(self, request: FitRequest) -> FitResult:
        """See `fedseal.learning.learner.Learner`."""
        return fit_module(_module(request.examples.inputs.shape[1]), request, self.settings)

    def predict(self, parameters: NamedTensors, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `fedseal.learning.learner.Learner`."""
        return predict_module(_module(inputs.shape[1]), parameters, inputs)


def _module(width: int) -> torch.nn.Module:
    module = torch.nn.Sequential()
    # `meta` skips torch's own initialisation, which would draw from its global random state.
    module.add_module("linear", torch.nn.Linear(width, 1, device="meta").to_empty(device="cpu"))
    return module
