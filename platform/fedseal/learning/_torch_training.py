"""Mini-batch gradient descent on a torch module with one output, the loop that the built-in learners share.

Rules this module keeps:
- No global random state is read or written; the order of rows comes from the request's seed.
- One step is: gradient of the mean loss, plus weight decay, then the request's correction, then the
  optimiser.
- Momentum buffers live for one request only (federated averaging resets them every round).
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fedseal.learning.errors import TrainingFailed
from fedseal.learning.learner import FitRequest, FitResult
from fedseal.learning.tensors import NamedTensors, Shapes

PREDICTION_ROWS = 65_536  # rows per forward pass, bounds memory


class TrainingSettings(BaseModel):
    """What every torch learner here can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: Annotated[float, Field(gt=0, le=10, description="step size of gradient descent")] = 0.1
    batch_size: Annotated[int, Field(ge=1, le=65_536, description="rows per optimiser step")] = 32
    momentum: Annotated[float, Field(ge=0, lt=1, description="of stochastic gradient descent")] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1, description="L2 penalty, added to the gradient")] = 0.001


def uniform_parameters(shapes: Shapes, seed: int) -> dict[str, NDArray[np.float32]]:
    """Uniform in +-1/sqrt(fan_in), biases included, as torch's linear layers do, from a stream of our own.

    Args:
        shapes: ``<layer>.weight`` of shape (out, in) and ``<layer>.bias`` of shape (out,).
        seed: Any non-negative integer.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    parameters = {}
    for name in sorted(shapes):
        fan_in = shapes[f"{name.rsplit('.', 1)[0]}.weight"][1]
        limit = 1 / math.sqrt(fan_in) if fan_in else 0.0
        parameters[name] = generator.uniform(-limit, limit, size=shapes[name]).astype(np.float32)
    return parameters


def fit_module(module: torch.nn.Module, request: FitRequest, settings: TrainingSettings) -> FitResult:
    """Train ``module``, which is overwritten, from the request's parameters.

    Raises:
        TrainingFailed: No rows, or training left the finite numbers.
    """
    if len(request.examples) == 0:
        raise TrainingFailed("There are no rows to train on; check consents and the dataset.")
    _load(module, request.parameters)
    optimiser = torch.optim.SGD(module.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    total, steps = 0.0, 0
    for inputs, labels in _batches(request, settings.batch_size):
        optimiser.zero_grad(set_to_none=False)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(module(inputs).squeeze(1), labels)
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
    )


def predict_module(
    module: torch.nn.Module, parameters: NamedTensors, inputs: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Probability of a positive outcome, shape (rows,).

    Raises:
        TrainingFailed: A probability is not finite.
    """
    _load(module, parameters)
    pieces = [np.zeros(0)]
    with torch.no_grad():
        for start in range(0, len(inputs), PREDICTION_ROWS):
            logits = module(torch.from_numpy(inputs[start : start + PREDICTION_ROWS])).squeeze(1)
            pieces.append(torch.sigmoid(logits.double()).numpy())
    probabilities = np.concatenate(pieces)
    if not np.isfinite(probabilities).all():
        raise TrainingFailed("The model predicts values that are not finite; it cannot be used.")
    return probabilities


def _load(module: torch.nn.Module, parameters: NamedTensors) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(parameters[name], dtype=np.float32)))


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
    parameters = {name: parameter.detach().numpy().copy() for name, parameter in module.named_parameters()}
    if not math.isfinite(loss) or not all(np.isfinite(value).all() for value in parameters.values()):
        raise TrainingFailed("Local training diverged to NaN or infinity; ask for a smaller learning rate.")
    return parameters
