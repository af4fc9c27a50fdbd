"""What variational dropout adds to local training: its divergence, the gradient of that, and a bound on gradients.

A weight w of the layer is Normal(theta, V), V = exp(lambda). Seen as dropout, V = alpha theta^2 and the rate is
p = alpha / (1 + alpha) = V / (V + theta^2). With the hierarchical zero-mean prior the divergence from it is
    KL = 0.5 log(1 + theta^2 / V),
here as a mean over weights, with theta held: the gradient reaches lambda only.

Source: Jeon et al. 2023 (NeurIPS), as in the authors' code.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.learner import Examples, FitRequest, FitResult, GradientCorrection, Learner
from fedseal.learning.tensors import NamedTensors, Tensor
from fedseal.methods.hypernetwork import HIGHEST

Floats = NDArray[np.float64]
STEEPNESS = 12.0


def variances(log_variance: Tensor) -> Floats:
    """V, in [2e-4, 4.9e3]; float64."""
    return np.exp(np.clip(np.asarray(log_variance, dtype=np.float64), -HIGHEST, HIGHEST))


def divergence(theta: Tensor, log_variance: Tensor) -> float:
    """KL, mean over weights, at least 0."""
    return float(np.mean(0.5 * np.log1p(np.asarray(theta, dtype=np.float64) ** 2 / variances(log_variance))))


def divergence_gradient(theta: Tensor, log_variance: Tensor) -> Floats:
    """Of `divergence`, by lambda; 0 beyond the clamp."""
    square = np.asarray(theta, dtype=np.float64) ** 2
    inside = np.abs(log_variance) <= HIGHEST
    slope: Floats = np.where(inside, -0.5 * square / (square + variances(log_variance)), 0.0) / square.size
    return slope


def dropout_rates(theta: Tensor, log_variance: Tensor) -> Floats:
    """P, in (0, 1], for each weight."""
    variance = variances(log_variance)
    rates: Floats = variance / (variance + np.asarray(theta, dtype=np.float64) ** 2)
    return rates


def warmed(beta: float, index: int, warm: int) -> float:
    """Beta in round ``index``: by a sigmoid from 0.0025 beta to 0.9975 beta in ``warm`` rounds, then constant."""
    progress = 1.0 if warm == 0 else min(1.0, index / warm)
    return beta / (1 + math.exp(-STEEPNESS * (progress - 0.5)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The names of the layer's two tensors."""

    weight: str
    log_variance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a local training is done.

    Attributes:
        seed: Of the order of rows, and of the noise.
        epochs: Passes, at least 1.
        longest: Largest joint norm of a step's gradients; 0 for any.
        beta: Weight of the divergence.
    """

    seed: int
    epochs: int
    longest: float
    beta: float = 0.0


def fitted_with(
    layer: Layer | None, learner: Learner, examples: Examples, start: NamedTensors, training: Training
) -> FitResult:
    """Train from ``start``, which holds the layer's log variances; without a layer, as the learner does."""
    if layer is None:
        correction = shortened(training.longest)
    else:
        from fedseal.learning._torch_variational import variational, weight_decay

        decay = weight_decay(learner)
        correction = regularised(layer, beta=training.beta, decay=decay, longest=training.longest)
        learner = variational(learner, layer.weight.removesuffix(".weight"))
    request = FitRequest(
        parameters=start,
        examples=examples,
        epochs=training.epochs,
        seed=training.seed,
        correct_gradients=correction,
    )
    return learner.fit(request)


def regularised(layer: Layer, *, beta: float, decay: float, longest: float) -> GradientCorrection:
    """Adds the divergence's gradient, and weight decay to all but log variances; then shortens all gradients together.

    Args:
        layer: Of the training.
        beta: Weight of the divergence.
        decay: L2 penalty.
        longest: Largest joint norm; 0 for any.
    """
    shorten = shortened(longest)

    def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:
        for name, gradient in gradients.items():
            if name == layer.log_variance:
                gradient += beta * divergence_gradient(parameters[layer.weight], parameters[name])  # noqa: PLW2901
            elif decay:
                gradient += decay * parameters[name]  # noqa: PLW2901 - in place
        shorten(parameters, gradients)

    return correct


def shortened(longest: float) -> GradientCorrection:
    """Scales all gradients of a step together to a joint Euclidean norm of ``longest`` at most; 0 for any."""

    def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:  # noqa: ARG001
        norm = joint_norm(gradients)
        if longest and norm > longest:
            for gradient in gradients.values():
                np.multiply(gradient, longest / norm, out=gradient)

    return correct


def joint_norm(tensors: NamedTensors) -> float:
    """Euclidean norm of all tensors together."""
    return math.sqrt(sum(float(np.vdot(value, value)) for value in tensors.values()))
