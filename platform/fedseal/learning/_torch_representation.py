"""Contrastive training and adaptation of a torch network that is a sequence of layers, the last of them linear."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.modules.batchnorm import _NormBase  # the one class that all batch and instance norms share

from fedseal.learning._torch_training import TorchLearner, tensors_of, uniform_parameters
from fedseal.learning._torch_views import contrastive_loss, entropy, view_of
from fedseal.learning.errors import TrainingFailed
from fedseal.learning.learner import FitResult, ParameterRole
from fedseal.learning.representation import AdaptRequest, AdaptResult, ViewsRequest, projection_shapes
from fedseal.learning.tensors import NamedTensors, Shapes

DIVERGED = "Local training diverged to NaN or infinity; ask for a smaller learning rate."


class TorchRepresentation(TorchLearner):
    """A `fedseal.learning.representation.RepresentationLearner`, for modules that are an ``nn.Sequential``."""

    def projection_shapes(self, width: int, size: int) -> Shapes:
        """See `RepresentationLearner`."""
        return projection_shapes(self._features(width), size)

    def initial_projection(self, width: int, size: int, seed: int) -> NamedTensors:
        """See `RepresentationLearner`."""
        shapes = self.projection_shapes(width, size)
        # One more than the learner's own seed, so that the two streams differ.
        return uniform_parameters(shapes, dict.fromkeys(shapes, ParameterRole.BASE), seed + 1)

    def fit_views(self, request: ViewsRequest) -> FitResult:
        """See `RepresentationLearner`."""
        if len(request.examples) == 0:
            raise TrainingFailed("There are no rows to train on; check consents and the dataset.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(request.seed)
            return self._descend_views(_Network(self, request.parameters, request.examples.inputs.shape[1]), request)

    def adapt(self, request: AdaptRequest) -> AdaptResult:
        """See `RepresentationLearner`."""
        if len(request.inputs) < 2:
            raise TrainingFailed("Adaptation needs at least two rows.")
        network = _Network(self, request.parameters, request.inputs.shape[1])
        losses, steps = _Adaptation(network, request).run()
        network.refresh_statistics(list(_batches(request, np.random.Generator(np.random.Philox(request.seed)))))
        tensors = network.tensors(self.parameter_shapes(request.inputs.shape[1]))
        if not all(np.isfinite(value).all() for value in tensors.values()):
            raise TrainingFailed("Adaptation diverged to NaN or infinity; ask for a smaller adapt_rate.")
        return AdaptResult(parameters=tensors, losses=losses, steps=steps)

    def _features(self, width: int) -> int:
        head = self._sequence(width)[-1]
        return int(head.in_features)  # type: ignore[arg-type]  # `_sequence` checked that it is linear

    def _sequence(self, width: int) -> torch.nn.Sequential:
        module = self._empty(width)
        if not isinstance(module, torch.nn.Sequential) or not isinstance(module[-1], torch.nn.Linear):
            raise TypeError("the module must be a sequence of layers, the last of them linear")
        return module

    def _descend_views(self, network: "_Network", request: ViewsRequest) -> FitResult:
        network.learn_only(request.moving)
        settings, generator = self.settings, torch.Generator().manual_seed(request.seed)
        rate, momentum = request.learning_rate or settings.learning_rate, settings.momentum
        optimiser = torch.optim.SGD(network.learning(), lr=rate, momentum=momentum, weight_decay=settings.weight_decay)
        order = np.random.Generator(np.random.Philox(request.seed))
        inputs = torch.from_numpy(np.ascontiguousarray(request.examples.inputs))
        labels = torch.from_numpy(request.examples.labels.astype(np.float32))
        total, steps = 0.0, 0
        for _ in range(request.epochs):
            for chosen in torch.split(torch.from_numpy(order.permutation(len(labels))), settings.batch_size):
                optimiser.zero_grad()
                loss = self._loss_of_views(network, inputs[chosen], labels[chosen], request, generator)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves this one untyped
                optimiser.step()
                total += float(loss.detach()) * len(chosen)
                steps += 1
        mean = total / (request.epochs * len(labels))
        tensors = network.tensors(request.parameters)
        if not math.isfinite(mean) or not all(np.isfinite(value).all() for value in tensors.values()):
            raise TrainingFailed(DIVERGED)
        return FitResult(parameters=tensors, loss=mean, steps=steps, learning_rate=rate, momentum=momentum)

    def _loss_of_views(
        self,
        network: "_Network",
        inputs: torch.Tensor,
        labels: torch.Tensor,
        request: ViewsRequest,
        generator: torch.Generator,
    ) -> torch.Tensor:
        first = view_of(inputs, request.recipe, generator)
        if request.objective == "cross-entropy":
            return self.loss(network.module(first), labels)
        second = view_of(inputs, request.recipe, generator)
        return contrastive_loss(network.embed(torch.cat([first, second])), labels, request.temperature)


class _Network:
    """A copy of the model in training mode, its encoder, and its projection head, if it has one."""

    def __init__(self, learner: TorchRepresentation, parameters: NamedTensors, width: int) -> None:
        loaded = learner._loaded(width, parameters)  # noqa: SLF001 - of the same class
        if not isinstance(loaded, torch.nn.Sequential):
            raise TypeError("the module must be a sequence of layers")
        self.module = loaded.train()
        self.encoder = loaded[:-1]
        self.head = frozenset(f"{list(dict(loaded.named_children()))[-1]}.{part}" for part in ("weight", "bias"))
        self.projection = _loaded_projection(parameters)

    def named(self) -> dict[str, torch.nn.Parameter]:
        """Everything that can learn."""
        return {**dict(self.module.named_parameters()), **dict(self.projection.named_parameters())}

    def learn_only(self, names: frozenset[str]) -> None:
        for name, parameter in self.named().items():
            parameter.requires_grad_(name in names)

    def learning(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.named().values() if parameter.requires_grad]

    def embed(self, inputs: torch.Tensor) -> torch.Tensor:
        """Embeddings of length 1, shape (rows, size)."""
        return torch.nn.functional.normalize(self.projection(self.encoder(inputs)), dim=1)

    def tensors(self, names: NamedTensors | Shapes) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        """Copies of the tensors of these names."""
        everything = {**tensors_of(self.module), **dict(self.projection.named_parameters())}
        return {name: everything[name].detach().numpy().copy() for name in names}

    def normalisation(self) -> frozenset[str]:
        """Scales and shifts of normalisation layers."""
        kinds = (_NormBase, torch.nn.GroupNorm, torch.nn.LayerNorm)
        return frozenset(
            f"{owner}.{name}"
            for owner, part in self.module.named_modules()
            if isinstance(part, kinds)
            for name, _ in part.named_parameters(recurse=False)
        )

    def refresh_statistics(self, batches: list[torch.Tensor]) -> None:
        """Take running statistics anew: the mean over these batches, whatever they were before."""
        tracked = [part for part in self.module.modules() if isinstance(part, _NormBase) and part.track_running_stats]
        for part in tracked:
            part.reset_running_stats()
            part.momentum = None
        if tracked:
            with torch.no_grad():
                for batch in batches:
                    self.module(batch)


class _Adaptation:
    def __init__(self, network: _Network, request: AdaptRequest) -> None:
        self._network, self._request = network, request
        self._generator = torch.Generator().manual_seed(request.seed)
        if request.kind == "tent":
            moving = network.normalisation()
            if not moving:
                raise TrainingFailed(
                    "Adaptation `tent` moves normalisation layers, and the learner has none; choose `ucl`, or a "
                    "learner with normalisation."
                )
        else:
            moving = frozenset(network.named()) - network.head
        network.learn_only(moving)

    def run(self) -> tuple[tuple[float, ...], int]:
        """Passes until the loss no longer falls, or the steps are used up; mean losses and steps."""
        request = self._request
        if request.kind == "statistics":
            return (), 0
        # No momentum and no weight decay: there are few steps, and what is adapted should stay near what was learnt.
        optimiser = torch.optim.SGD(self._network.learning(), lr=request.learning_rate)
        order = np.random.Generator(np.random.Philox(request.seed))
        losses, steps = list[float](), 0
        for _ in range(request.epochs):
            found = []
            for batch in _batches(request, order):
                if steps == request.most_steps:
                    break
                optimiser.zero_grad()
                loss = self._loss(batch)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves this one untyped
                optimiser.step()
                found.append(float(loss.detach()))
                steps += 1
            if not found:
                break
            losses.append(sum(found) / len(found))
            if len(losses) > 1 and losses[-1] >= losses[-2]:
                break
        return tuple(losses), steps

    def _loss(self, batch: torch.Tensor) -> torch.Tensor:
        request = self._request
        if request.kind == "tent":
            return entropy(self._network.module(batch))
        views = [view_of(batch, request.recipe, self._generator) for _ in range(2)]
        return contrastive_loss(self._network.embed(torch.cat(views)), None, request.temperature)


def _batches(request: AdaptRequest, order: np.random.Generator) -> Iterator[torch.Tensor]:
    """Batches of nearly equal size, so that no last one is too small for statistics and negatives."""
    rows = len(request.inputs)
    for chosen in np.array_split(order.permutation(rows), -(-rows // request.batch_size)):
        yield torch.from_numpy(np.ascontiguousarray(request.inputs[chosen]))


def _loaded_projection(parameters: NamedTensors) -> torch.nn.Module:
    if "projection0.weight" not in parameters:
        return torch.nn.Identity()
    projection = torch.nn.Sequential()
    for index in range(2):
        outputs, inputs = parameters[f"projection{index}.weight"].shape
        if index:
            projection.add_module("relu", torch.nn.ReLU())
        projection.add_module(f"projection{index}", torch.nn.Linear(inputs, outputs))
    with torch.no_grad():
        for name, parameter in projection.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(parameters[name], dtype=np.float32)))
    return projection
