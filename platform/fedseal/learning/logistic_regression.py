"""``logistic-regression``: one linear layer; the baseline that every larger learner has to beat."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import BaseModel

from fedseal.learning._torch_training import TorchLearner, TrainingSettings
from fedseal.learning.tensors import NamedTensors


class LogisticRegressionSettings(TrainingSettings):
    """Only the training settings."""


@dataclass(frozen=True, slots=True)
class LogisticRegression(TorchLearner):
    """Parameters ``linear.weight`` (outputs, width), ``linear.bias`` (outputs,); starts at zero, whatever the seed."""

    settings: LogisticRegressionSettings

    name: ClassVar[str] = "logistic-regression"
    title: ClassVar[str] = "Logistic regression (torch)"
    settings_model: ClassVar[type[BaseModel]] = LogisticRegressionSettings

    def module(self, width: int) -> torch.nn.Module:
        """See `TorchLearner`."""
        module = torch.nn.Sequential()
        module.add_module("linear", torch.nn.Linear(width, self.outputs))
        return module

    def initial_parameters(self, width: int, seed: int) -> NamedTensors:  # noqa: ARG002 - convex, zero is as good
        """See `fedseal.learning.learner.Learner`."""
        return {name: np.zeros(shape, dtype=np.float32) for name, shape in self.parameter_shapes(width).items()}
