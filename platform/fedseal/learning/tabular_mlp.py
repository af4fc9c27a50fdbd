"""``tabular-mlp``: a small multilayer perceptron for a clinical table."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import BaseModel, Field

from fedseal.learning._torch_representation import TorchRepresentation
from fedseal.learning._torch_training import TrainingSettings, narrower


class TabularMlpSettings(TrainingSettings):
    """Training settings and the size of the hidden layers."""

    hidden_layers: Annotated[int, Field(ge=1, le=8, description="number of hidden layers")] = 1
    hidden_width: Annotated[int, Field(ge=1, le=4096, description="units in each hidden layer")] = 16


@dataclass(frozen=True, slots=True)
class TabularMlp(TorchRepresentation):
    """Linear layers with ReLU between them; parameters ``layer<i>.weight`` and ``layer<i>.bias``."""

    settings: TabularMlpSettings

    name: ClassVar[str] = "tabular-mlp"
    title: ClassVar[str] = "Small neural network for tables (torch)"
    settings_model: ClassVar[type[BaseModel]] = TabularMlpSettings

    def narrowed(self, share: float) -> "TabularMlp":
        """See `fedseal.learning.learner.NarrowableLearner`."""
        return TabularMlp(
            self.settings.model_copy(update={"hidden_width": narrower(self.settings.hidden_width, share)})
        )

    def module(self, width: int) -> torch.nn.Module:
        """See `TorchLearner`."""
        module = torch.nn.Sequential()
        sizes = (width, *[self.settings.hidden_width] * self.settings.hidden_layers, self.outputs)
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            if index:
                module.add_module(f"relu{index}", torch.nn.ReLU())
            module.add_module(f"layer{index}", torch.nn.Linear(inputs, outputs))
        return module
