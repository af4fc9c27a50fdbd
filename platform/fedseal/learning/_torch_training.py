"""Mini-batch gradient descent on a torch module: the learner that the built-in ones and a site's own extend.

Rules this module keeps:
- No global random state is left changed; the order of rows, and dropout, come from the request's seed.
- One step is: gradient of the mean loss, plus weight decay, then the request's correction, then the
  optimiser.
- Momentum buffers live for one request only (federated averaging resets them every round).
- Two classes have one output, a logit; more have one logit each.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.modules.batchnorm import _NormBase  # the one class that all batch and instance norms share

from fedseal.learning.errors import TrainingFailed
from fedseal.learning.learner import FitRequest, FitResult, ParameterRole
from fedseal.learning.tensors import NamedTensors, Shape, Shapes

PREDICTION_ROWS = 65_536  # rows per forward pass of a narrow model, bounds memory
PREDICTION_VALUES = 1 << 24  # input values per forward pass
NORMALISATIONS = (_NormBase, torch.nn.GroupNorm, torch.nn.LayerNorm)


class TrainingSettings(BaseModel):
    """What every torch learner here can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: Annotated[float, Field(gt=0, le=10, description="step size of gradient descent")] = 0.1
    batch_size: Annotated[int, Field(ge=1, le=65_536, description="rows per optimiser step")] = 32
    momentum: Annotated[float, Field(ge=0, lt=1, description="of stochastic gradient descent")] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1, description="L2 penalty, added to the gradient")] = 0.001
    classes: Annotated[int, Field(ge=2, le=1000, description="classes of the target; 2 for yes or no")] = 2


class TorchLearner(ABC):
    """A `fedseal.learning.learner.Learner` around one torch module."""

    settings: TrainingSettings

    @abstractmethod
    def module(self, width: int) -> torch.nn.Module:
        """The module for inputs of shape (rows, width); its own initial values are not used."""

    @property
    def outputs(self) -> int:
        """Logits per row."""
        return 1 if self.settings.classes == 2 else self.settings.classes

    def parameter_shapes(self, width: int) -> dict[str, Shape]:
        """See `fedseal.learning.learner.Learner`."""
        return {name: tuple(tensor.shape) for name, tensor in tensors_of(self._empty(width)).items()}

    def roles(self, width: int) -> Mapping[str, ParameterRole]:
        """See `fedseal.learning.learner.Learner`; the head is the last layer that has parameters of its own."""
        return _roles(self._empty(width))

    def initial_parameters(self, width: int, seed: int) -> NamedTensors:
        """See `fedseal.learning.learner.Learner`."""
        return uniform_parameters(self.parameter_shapes(width), self.roles(width), seed)

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch: cross-entropy.

        Args:
            outputs: Logits, shape (rows, outputs).
            labels: Classes, float32, shape (rows,).
        """
        if self.outputs == 1:
            return torch.nn.functional.binary_cross_entropy_with_logits(outputs.squeeze(1), labels)
        return torch.nn.functional.cross_entropy(outputs, labels.long())

    def batches(self, request: FitRequest, size: int) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
        """The batches of all epochs, in an order that follows from the request's seed."""
        return _batches(request, size)

    def fit(self, request: FitRequest) -> FitResult:
        """See `fedseal.learning.learner.Learner`."""
        if len(request.examples) == 0:
            raise TrainingFailed("There are no rows to train on; check consents and the dataset.")
        module = self._loaded(request.examples.inputs.shape[1], request.parameters).train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(request.seed)
            return self._descend(module, request)

    def predict(self, parameters: NamedTensors, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `fedseal.learning.learner.Learner`."""
        module = self._loaded(inputs.shape[1], parameters).eval()
        rows = max(1, min(PREDICTION_ROWS, PREDICTION_VALUES // max(inputs.shape[1], 1)))
        pieces = [np.zeros((0,) if self.outputs == 1 else (0, self.outputs))]
        with torch.no_grad():
            for start in range(0, len(inputs), rows):
                logits = module(torch.from_numpy(inputs[start : start + rows])).double()
                pieces.append(_probabilities(logits, self.outputs).numpy())
        probabilities = np.concatenate(pieces)
        if not np.isfinite(probabilities).all():
            raise TrainingFailed("The model predicts values that are not finite; it cannot be used.")
        return probabilities

    def _descend(self, module: torch.nn.Module, request: FitRequest) -> FitResult:
        settings = self.settings
        optimiser = torch.optim.SGD(module.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
        total, steps = 0.0, 0
        for inputs, labels in self.batches(request, settings.batch_size):
            optimiser.zero_grad(set_to_none=False)
            loss = self.loss(module(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves this one untyped
            _bend(module, request, settings.weight_decay)
            optimiser.step()
            total += float(loss.detach()) * len(labels)
            steps += 1
        mean_loss = total / (request.epochs * len(request.examples))
        return FitResult(
            parameters=_finite(module, mean_loss),
            loss=mean_loss,
            steps=steps,
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
        )

    def _empty(self, width: int) -> torch.nn.Module:
        # `meta` skips torch's own initialisation, which would draw from its global random state.
        with torch.device("meta"):
            return self.module(width)

    def _loaded(self, width: int, parameters: NamedTensors) -> torch.nn.Module:
        module = self._empty(width).to_empty(device="cpu")
        with torch.no_grad():
            for buffer in module.buffers():
                buffer.zero_()  # counters of batches; statistics are overwritten below
            for name, tensor in tensors_of(module).items():
                tensor.copy_(torch.from_numpy(np.array(parameters[name], dtype=np.float32)))
        return module


def uniform_parameters(shapes: Shapes, roles: Mapping[str, ParameterRole], seed: int) -> dict[str, NDArray[np.float32]]:
    """Uniform in +-1/sqrt(fan_in), biases included, as torch's linear and convolutional layers do.

    Normalisation layers start as the identity: scale and variance 1, shift and mean 0.

    Args:
        shapes: ``<layer>.weight`` of shape (out, in, ...) and ``<layer>.bias`` of shape (out,).
        roles: Of each tensor.
        seed: Any non-negative integer; the stream is our own, not torch's.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    parameters = {}
    for name in sorted(shapes):
        if roles[name] in (ParameterRole.NORMALISATION, ParameterRole.STATISTICS):
            is_scale = name.endswith((".weight", ".running_var"))
            parameters[name] = np.full(shapes[name], 1.0 if is_scale else 0.0, dtype=np.float32)
            continue
        fan_in = math.prod(shapes[f"{name.rsplit('.', 1)[0]}.weight"][1:])
        limit = 1 / math.sqrt(fan_in) if fan_in else 0.0
        parameters[name] = generator.uniform(-limit, limit, size=shapes[name]).astype(np.float32)
    return parameters


def narrower(count: int, share: float) -> int:
    """``share`` of so many units or channels, at least one."""
    return max(1, round(share * count))


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and floating-point buffers, by name."""
    buffers = {name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()}
    return {**dict(module.named_parameters()), **buffers}


def _roles(module: torch.nn.Module) -> dict[str, ParameterRole]:
    owners = {name: part for name, part in module.named_modules() if list(part.parameters(recurse=False))}
    heads = [name for name, part in owners.items() if not isinstance(part, NORMALISATIONS)]
    roles = {}
    buffers = {name for name, _ in module.named_buffers()}
    for name in tensors_of(module):
        owner = name.rpartition(".")[0]
        if name in buffers:
            roles[name] = ParameterRole.STATISTICS
        elif isinstance(owners[owner], NORMALISATIONS):
            roles[name] = ParameterRole.NORMALISATION
        else:
            roles[name] = ParameterRole.HEAD if owner == heads[-1] else ParameterRole.BASE
    return roles


def _probabilities(logits: torch.Tensor, outputs: int) -> torch.Tensor:
    return torch.sigmoid(logits.squeeze(1)) if outputs == 1 else torch.softmax(logits, dim=1)


def _batches(request: FitRequest, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = np.random.Generator(np.random.Philox(request.seed))
    inputs = torch.from_numpy(np.ascontiguousarray(request.examples.inputs))
    labels = torch.from_numpy(request.examples.labels.astype(np.float32))
    for _ in range(request.epochs):
        order = torch.from_numpy(generator.permutation(len(labels)))
        for start in range(0, len(labels), size):
            chosen = order[start : start + size]
            yield inputs[chosen], labels[chosen]


def _bend(module: torch.nn.Module, request: FitRequest, weight_decay: float) -> None:
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.grad is not None]
    gradients = {name: cast("torch.Tensor", parameter.grad) for name, parameter in named}
    if weight_decay:
        for name, parameter in named:
            gradients[name].add_(parameter.detach(), alpha=weight_decay)
    if request.correct_gradients is not None:
        views: dict[str, NDArray[Any]] = {name: parameter.detach().numpy() for name, parameter in named}
        request.correct_gradients(views, {name: gradient.numpy() for name, gradient in gradients.items()})


def _finite(module: torch.nn.Module, loss: float) -> dict[str, NDArray[np.float32]]:
    parameters = {name: tensor.detach().numpy().copy() for name, tensor in tensors_of(module).items()}
    if not math.isfinite(loss) or not all(np.isfinite(value).all() for value in parameters.values()):
        raise TrainingFailed("Local training diverged to NaN or infinity; ask for a smaller learning rate.")
    return parameters
