"""``tabular-mlp``: a small multilayer perceptron for a yes-or-no outcome on a clinical table."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning._torch_training import TrainingSettings, fit_module, predict_module, uniform_parameters
from fedseal.learning.learner import FitRequest, FitResult
from fedseal.learning.tensors import NamedTensors, Shape


class TabularMlpSettings(TrainingSettings):
    """Training settings and the size of the hidden layers."""

    hidden_layers: Annotated[int, Field(ge=1, le=8, description="number of hidden layers")] = 1
    hidden_width: Annotated[int, Field(ge=1, le=4096, description="units in each hidden layer")] = 16


@dataclass(frozen=True, slots=True)
class TabularMlp:
    """Linear layers with ReLU between them; parameters ``layer<i>.weight`` and ``layer<i>.bias``."""

    settings: TabularMlpSettings

    name: ClassVar[str] = "tabular-mlp"
    title: ClassVar[str] = "Small neural network for tables (torch)"
    settings_model: ClassVar[type[BaseModel]] = TabularMlpSettings

    def parameter_shapes(self, width: int) -> dict[str, Shape]:
        """See `fedseal.learning.learner.Learner`."""
        shapes: dict[str, Shape] = {}
        for index, (inputs, outputs) in enumerate(self._layers(width)):
            shapes[f"layer{index}.weight"] = (outputs, inputs)
            shapes[f"layer{index}.bias"] = (outputs,)
        return shapes

    def initial_parameters(self, width: int, seed: int) -> NamedTensors:
        """See `fedseal.learning.learner.Learner`."""
        return uniform_parameters(self.parameter_shapes(width), seed)

    def fit(self, request: FitRequest) -> FitResult:
        """See `fedseal.learning.learner.Learner`."""
        return fit_module(self._module(request.examples.inputs.shape[1]), request, self.settings)

    def predict(self, parameters: NamedTensors, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `fedseal.learning.learner.Learner`."""
        return predict_module(self._module(inputs.shape[1]), parameters, inputs)

    def _layers(self, width: int) -> Iterator[tuple[int, int]]:
        return pairwise((width, *[self.settings.hidden_width] * self.settings.hidden_layers, 1))

    def _module(self, width: int) -> torch.nn.Module:
        module = torch.nn.Sequential()
        for index, (inputs, outputs) in enumerate(self._layers(width)):
            if index:
                module.add_module(f"relu{index}", torch.nn.ReLU())
            # `meta` skips torch's own initialisation, which would draw from its global random state.
            layer = torch.nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
            module.add_module(f"layer{index}", layer)
        return module
