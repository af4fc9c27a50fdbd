"""``small-cnn``: convolution, activation and pooling in a few blocks, then linear layers: for small images."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BaseModel, Field, model_validator

from fedseal.learning._torch_representation import TorchRepresentation
from fedseal.learning._torch_training import TrainingSettings, narrower
from fedseal.learning.errors import TrainingFailed


class SmallCnnSettings(TrainingSettings):
    """Training settings, the image's size, and that of the network."""

    channels: Annotated[int, Field(ge=1, le=64, description="colour channels of an image")] = 1
    height: Annotated[int, Field(ge=4, le=1024, description="rows of an image, in pixels")] = 28
    width: Annotated[int, Field(ge=4, le=1024, description="columns of an image, in pixels")] = 28
    filters: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1024)], ...],
        Field(min_length=1, max_length=6, description="output channels of each convolution"),
    ] = (16, 32)
    kernel: Annotated[int, Field(ge=1, le=11, description="side of each kernel, odd; images keep their size")] = 5
    pooling: Annotated[Literal["max", "average"], Field(description="of 2 x 2 pixels after each convolution")] = "max"
    normalisation: Annotated[
        Literal["none", "batch", "group"], Field(description="layers between convolution and activation")
    ] = "none"
    hidden_normalisation: Annotated[
        bool, Field(description="the same normalisation after each hidden layer; not with `normalisation: none`")
    ] = False
    hidden_width: Annotated[int, Field(ge=0, le=8192, description="units before the last layer; 0 for none")] = 128
    more_hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=8192)], ...],
        Field(max_length=4, description="units of further layers between these and the last"),
    ] = ()

    @model_validator(mode="after")
    def _image_survives_pooling(self) -> "SmallCnnSettings":
        if self.kernel % 2 == 0:
            raise ValueError("the kernel's side must be odd, so that images keep their size")
        if min(self.height, self.width) >> len(self.filters) < 1:
            raise ValueError("more convolutions than the image can be halved; list fewer filters")
        if self.hidden_normalisation and (self.normalisation == "none" or not self.hidden_width):
            raise ValueError("hidden_normalisation needs a normalisation and a hidden layer; set both, or leave it out")
        return self


@dataclass(frozen=True, slots=True)
class SmallCnn(TorchRepresentation):
    """Parameters ``conv<i>``, ``norm<i>`` and ``layer<i>``, each with weight and bias.

    With 1 x 28 x 28 images, filters (8, 16), average pooling, no hidden layer and ten classes it has 11,274
    parameters, the network of EvoFed's experiments on Fashion-MNIST.
    """

    settings: SmallCnnSettings

    name: ClassVar[str] = "small-cnn"
    title: ClassVar[str] = "Small convolutional network for images (torch)"
    settings_model: ClassVar[type[BaseModel]] = SmallCnnSettings

    def narrowed(self, share: float) -> "SmallCnn":
        """See `fedseal.learning.learner.NarrowableLearner`."""
        settings = self.settings
        filters = tuple(narrower(count, share) for count in settings.filters)
        hidden = narrower(settings.hidden_width, share) if settings.hidden_width else 0
        more = tuple(narrower(units, share) for units in settings.more_hidden)
        changed = {"filters": filters, "hidden_width": hidden, "more_hidden": more}
        return SmallCnn(settings.model_copy(update=changed))

    def module(self, width: int) -> torch.nn.Module:
        """See `TorchLearner`.

        Raises:
            TrainingFailed: The job's features are not one image of the size in the settings.
        """
        settings = self.settings
        if width != settings.channels * settings.height * settings.width:
            raise TrainingFailed(
                f"The learner small-cnn expects images of {settings.channels} x {settings.height} x {settings.width} "
                f"pixels, and the job's features give {width} values a row; set channels, height and width."
            )
        module = torch.nn.Sequential()
        module.add_module("image", torch.nn.Unflatten(1, (settings.channels, settings.height, settings.width)))
        for index, (inputs, outputs) in enumerate(pairwise((settings.channels, *settings.filters))):
            for name, part in self._block(inputs, outputs):
                module.add_module(f"{name}{index}", part)
        module.add_module("flatten", torch.nn.Flatten())
        self._add_layers(module)
        return module

    def _block(self, inputs: int, outputs: int) -> list[tuple[str, torch.nn.Module]]:
        settings = self.settings
        parts: list[tuple[str, torch.nn.Module]] = [
            ("conv", torch.nn.Conv2d(inputs, outputs, settings.kernel, padding=settings.kernel // 2))
        ]
        if settings.normalisation == "batch":
            parts.append(("norm", torch.nn.BatchNorm2d(outputs)))
        elif settings.normalisation == "group":
            parts.append(("norm", torch.nn.GroupNorm(1, outputs)))
        pool = torch.nn.MaxPool2d(2) if settings.pooling == "max" else torch.nn.AvgPool2d(2)
        return [*parts, ("relu", torch.nn.ReLU()), ("pool", pool)]

    def _add_layers(self, module: torch.nn.Sequential) -> None:
        settings, halvings = self.settings, len(self.settings.filters)
        flat = settings.filters[-1] * (settings.height >> halvings) * (settings.width >> halvings)
        hidden = [settings.hidden_width] if settings.hidden_width else []
        sizes = [flat, *hidden, *settings.more_hidden, self.outputs]
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            if index:
                number = "" if index == 1 else str(index)
                if settings.hidden_normalisation:
                    batch = settings.normalisation == "batch"
                    norm = torch.nn.BatchNorm1d(inputs) if batch else torch.nn.GroupNorm(1, inputs)
                    module.add_module(f"hidden_norm{number}", norm)
                module.add_module(f"hidden_relu{number}", torch.nn.ReLU())
            module.add_module(f"layer{index}", torch.nn.Linear(inputs, outputs))
