"""A torch network one of whose linear layers has a normal distribution for each weight instead of a number.

The weights w of that layer are Normal(mean, exp(log_variance)), independent of each other. While it trains, what the
layer gives for a row x is drawn from the distribution that follows, one draw for each row and unit (the local
reparametrisation): mean x W' + b, variance (x * x) exp(log_variance)'. A prediction uses the means.

Rules this module keeps:
- The rest of the network is the learner's own; only the layer is exchanged, and names stay as they were. The log
  variances are one more tensor, ``<layer>.log_variance``, that is trained like the others.
- A pass in training draws `SAMPLES` times in this layer and averages the outputs, before the loss.
- Wherever a log variance is used it is held to [-HIGHEST, HIGHEST]; beyond, no gradient reaches it.

Sources: Kingma, Salimans, Welling 2015 (NeurIPS, local reparametrisation); Jeon et al. 2023 (NeurIPS).
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel

from fedseal.learning._torch_training import TorchLearner, TrainingSettings
from fedseal.learning.learner import FitRequest, Learner

SAMPLES = 3
HIGHEST = 8.5
LOG_VARIANCE = "log_variance"
SMALLEST = 1e-10  # added to a variance, whose square root has no slope at 0


class VariationalLinear(torch.nn.Linear):
    """A linear layer with a log variance for each weight, shape (outputs, inputs)."""

    def __init__(self, like: torch.nn.Linear) -> None:
        """Make the layer in the form of another; values are not taken over."""
        super().__init__(like.in_features, like.out_features, bias=like.bias is not None)
        self.log_variance = torch.nn.Parameter(torch.empty(like.out_features, like.in_features))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """A draw in training, otherwise the mean."""
        mean = super().forward(inputs)
        if not self.training:
            return mean
        variances = torch.exp(torch.clamp(self.log_variance, -HIGHEST, HIGHEST))
        spread = torch.nn.functional.linear(inputs * inputs, variances)
        return mean + torch.sqrt(spread + SMALLEST) * torch.randn_like(mean)


class _Sampling(torch.nn.Sequential):
    """Layers of which one draws; what comes before it is computed once."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The mean of several draws in training, otherwise what the means give."""
        if not self.training:
            return self._through(inputs, copies=1)
        return self._through(inputs, copies=SAMPLES).reshape(SAMPLES, len(inputs), -1).mean(dim=0)

    def _through(self, values: torch.Tensor, copies: int) -> torch.Tensor:
        for part in self:
            values = part(values.repeat(copies, 1) if isinstance(part, VariationalLinear) else values)
        return values


@dataclass(frozen=True, slots=True)
class VariationalLearner(TorchLearner):
    """Another learner with one layer exchanged; without weight decay, which would pull log variances to 0.

    Attributes:
        settings: The other learner's, without weight decay.
        inner: The other learner.
        layer: Name of the layer.
    """

    settings: TrainingSettings
    inner: TorchLearner
    layer: str

    name: ClassVar[str] = "variational"
    title: ClassVar[str] = "Another learner with one layer of distributions"
    settings_model: ClassVar[type[BaseModel]] = TrainingSettings

    def module(self, width: int) -> torch.nn.Module:
        """See `TorchLearner`."""
        parts: OrderedDict[str, torch.nn.Module] = OrderedDict(self.inner.module(width).named_children())
        like = parts[self.layer]
        if not isinstance(like, torch.nn.Linear):
            raise TypeError(f"{self.layer} is not linear")
        parts[self.layer] = VariationalLinear(like)
        return _Sampling(parts)

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The inner learner's."""
        return self.inner.loss(outputs, labels)

    def batches(self, request: FitRequest, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The inner learner's."""
        return self.inner.batches(request, size)


def linear_layers(learner: Learner, width: int) -> tuple[str, ...]:
    """Names of the linear layers in their order; none unless the network is a plain sequence of torch layers."""
    if not isinstance(learner, TorchLearner):
        return ()
    with torch.device("meta"):
        module = learner.module(width)
    if not isinstance(module, torch.nn.Sequential):
        return ()
    return tuple(name for name, part in module.named_children() if isinstance(part, torch.nn.Linear))


def variational(learner: Learner, layer: str) -> VariationalLearner:
    """The learner with its layer ``layer``, one of `linear_layers`, exchanged."""
    inner = _torch(learner)
    return VariationalLearner(inner.settings.model_copy(update={"weight_decay": 0.0}), inner, layer)


def in_batches_of(learner: Learner, rows: int) -> Learner:
    """The same learner with another batch size."""
    return type(learner)(_torch(learner).settings.model_copy(update={"batch_size": rows}))


def weight_decay(learner: Learner) -> float:
    """Of the learner's own settings."""
    return _torch(learner).settings.weight_decay


def _torch(learner: Learner) -> TorchLearner:
    if not isinstance(learner, TorchLearner):
        raise TypeError("not a torch learner")
    return learner
