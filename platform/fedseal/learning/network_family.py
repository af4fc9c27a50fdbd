"""``network-family``: several small networks of different architecture under one roof.

The parameters of network i are named ``net<i>.block<j>.weight`` and ``.bias``. All of them together are the learner's
parameters: it predicts with the mean of the networks' probabilities. Given the parameters of some networks only, it
trains and predicts with these; so a site may hold one network, and methods for different models say which.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from fedseal.learning._torch_training import TorchLearner, TrainingSettings
from fedseal.learning.blocks import Block, FeatureShape, architecture
from fedseal.learning.errors import TrainingFailed
from fedseal.learning.learner import FitRequest, FitResult, GradientCorrection, ParameterRole
from fedseal.learning.tensors import NamedTensors, Shapes


class NetworkFamilySettings(TrainingSettings):
    """Training settings, what a row is, and the networks."""

    architectures: Annotated[
        tuple[str, ...],
        Field(min_length=1, max_length=16, description="one line of blocks a network, such as `conv5x8 conv5x16 fc32`"),
    ] = ("fc16",)
    channels: Annotated[int, Field(ge=1, le=64, description="colour channels of an image")] = 1
    height: Annotated[int, Field(ge=0, le=1024, description="rows of an image, in pixels; 0: rows are no images")] = 0
    width: Annotated[int, Field(ge=0, le=1024, description="columns of an image, in pixels; 0: rows are no images")] = 0

    @field_validator("architectures")
    @classmethod
    def _blocks_are_words(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            architecture(line, inputs=(1, 1024, 1024) if "conv" in line else (1,), outputs=1)
        return lines

    def row_shape(self, width: int) -> FeatureShape:
        """Shape of a row with ``width`` values.

        Raises:
            TrainingFailed: Rows are not images of the size in the settings.
        """
        if not self.height or not self.width:
            return (width,)
        if width != self.channels * self.height * self.width:
            raise TrainingFailed(
                f"The learner network-family expects images of {self.channels} x {self.height} x {self.width} pixels, "
                f"and the job's features give {width} values a row; set channels, height and width."
            )
        return (self.channels, self.height, self.width)


@dataclass(frozen=True)
class BlockNetwork(TorchLearner):
    """One network of a family, with names such as ``block0.weight``; its module is one layer a block."""

    settings: NetworkFamilySettings
    line: str

    def blocks(self, width: int) -> tuple[Block, ...]:
        """Its blocks for rows of ``width`` values.

        Raises:
            TrainingFailed: It does not fit such rows.
        """
        try:
            return architecture(self.line, inputs=self.settings.row_shape(width), outputs=self.outputs)
        except ValueError as error:
            raise TrainingFailed(f'The architecture "{self.line}" cannot be built: {error}.') from None

    def module(self, width: int) -> torch.nn.Module:
        """See `TorchLearner`."""
        return Blocks(self.blocks(width), self.settings.row_shape(width))


@dataclass(frozen=True)
class TaughtNetwork(BlockNetwork):
    """A network that also learns from a teacher, pFedHR's step at a node.

    Labels have the shape (rows, 1 + classes): the class, and the teacher's logits. The loss is
    cross-entropy + ``weight`` * KL(softmax(teacher) || softmax(student)).
    """

    weight: float = 0.0

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See the class."""
        own = torch.nn.functional.log_softmax(class_logits(outputs), dim=1)
        teacher = torch.nn.functional.softmax(labels[:, 1:], dim=1)
        taught = torch.nn.functional.kl_div(own, teacher, reduction="batchmean")
        return super().loss(outputs, labels[:, 0]) + self.weight * taught


class Blocks(torch.nn.Module):
    """Blocks in a row; ``block<j>`` is the layer with the parameters."""

    def __init__(self, blocks: tuple[Block, ...], row: FeatureShape) -> None:
        super().__init__()
        self.blocks, self.row = blocks, row
        for block in blocks:
            self.add_module(f"block{block.index}", layer_of(block))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits, shape (rows, outputs)."""
        return self.features(rows)[-1]

    def features(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """The rows, and what each block makes of them: one more than there are blocks."""
        found = [rows.reshape(len(rows), *self.row)]
        for block in self.blocks:
            found.append(apply_block(block, self.get_submodule(f"block{block.index}"), found[-1]))
        return found


@dataclass(frozen=True)
class NetworkFamily:
    """See the module docstring."""

    settings: NetworkFamilySettings

    name: ClassVar[str] = "network-family"
    title: ClassVar[str] = "Small networks of different architecture, for images or tables (torch)"
    settings_model: ClassVar[type[BaseModel]] = NetworkFamilySettings

    @cached_property
    def networks(self) -> tuple[BlockNetwork, ...]:
        """One learner a network."""
        return tuple(BlockNetwork(settings=self.settings, line=line) for line in self.settings.architectures)

    def taught(self, number: int, weight: float) -> TaughtNetwork:
        """Network ``number`` as a pupil."""
        return TaughtNetwork(settings=self.settings, line=self.settings.architectures[number], weight=weight)

    def parameter_shapes(self, width: int) -> Shapes:
        """See `fedseal.learning.learner.Learner`."""
        return {
            prefixed(number, name): shape
            for number, network in enumerate(self.networks)
            for name, shape in network.parameter_shapes(width).items()
        }

    def roles(self, width: int) -> Mapping[str, ParameterRole]:
        """See `fedseal.learning.learner.Learner`."""
        return {
            prefixed(number, name): role
            for number, network in enumerate(self.networks)
            for name, role in network.roles(width).items()
        }

    def initial_parameters(self, width: int, seed: int) -> NamedTensors:
        """See `fedseal.learning.learner.Learner`."""
        return {
            prefixed(number, name): value
            for number, network in enumerate(self.networks)
            for name, value in network.initial_parameters(width, seed + number).items()
        }

    def fit(self, request: FitRequest) -> FitResult:
        """See `fedseal.learning.learner.Learner`; each network given is trained by itself, the loss is their mean.

        Raises:
            TrainingFailed: No rows, no network, or the result is not finite.
        """
        results = {}
        for number, own in self._given(request.parameters):
            part = FitRequest(
                parameters=own,
                examples=request.examples,
                epochs=request.epochs,
                seed=request.seed,
                correct_gradients=_for_network(number, request.correct_gradients),
            )
            results[number] = self.networks[number].fit(part)
        first = next(iter(results.values()))
        return FitResult(
            parameters={k: v for number, one in results.items() for k, v in named(number, one.parameters).items()},
            loss=float(np.mean([one.loss for one in results.values()])),
            steps=first.steps,
            learning_rate=first.learning_rate,
            momentum=first.momentum,
        )

    def predict(self, parameters: NamedTensors, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `fedseal.learning.learner.Learner`; the mean over the networks given."""
        found = [self.networks[number].predict(own, inputs) for number, own in self._given(parameters)]
        return np.asarray(np.mean(found, axis=0), dtype=np.float64)

    def _given(self, parameters: NamedTensors) -> list[tuple[int, NamedTensors]]:
        found = [(number, own_of(number, parameters)) for number in range(len(self.networks))]
        found = [(number, own) for number, own in found if own]
        if not found:
            raise TrainingFailed("No network of the family was given any parameters.")
        return found


def _for_network(number: int, correct: GradientCorrection | None) -> GradientCorrection | None:
    if correct is None:
        return None

    def bend(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:
        correct(named(number, parameters), named(number, gradients))  # the same arrays, changed in place

    return bend


def prefixed(number: int, name: str) -> str:
    """The family's name of a network's tensor."""
    return f"net{number}.{name}"


def named(number: int, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """A network's tensors under the family's names."""
    return {prefixed(number, name): value for name, value in tensors.items()}


def own_of(number: int, tensors: NamedTensors) -> NamedTensors:
    """A network's tensors under its own names."""
    start = prefixed(number, "")
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def layer_of(block: Block) -> torch.nn.Module:
    """The layer with a block's parameters."""
    if block.kind == "conv":
        return torch.nn.Conv2d(block.inputs, block.outputs, block.kernel, padding=block.kernel // 2)
    return torch.nn.Linear(block.inputs, block.outputs)


def apply_block(block: Block, layer: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """What a block makes of features."""
    if block.kind == "fc":
        units: torch.Tensor = layer(features.flatten(1))
        return units if block.last else torch.relu(units)
    found = torch.relu(layer(features))
    return torch.nn.functional.max_pool2d(found, 2) if min(found.shape[2:]) >= 2 else found


def class_logits(outputs: torch.Tensor) -> torch.Tensor:
    """One logit a class, also where a single output stands for two classes."""
    return torch.cat([torch.zeros_like(outputs), outputs], dim=1) if outputs.shape[1] == 1 else outputs


def parameter_count(blocks: tuple[Block, ...]) -> int:
    """Numbers in weights and biases."""
    return sum(math.prod(block.weight_shape) + block.outputs for block in blocks)
