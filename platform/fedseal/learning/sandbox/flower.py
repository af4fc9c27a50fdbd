"""A Flower ``NumPyClient`` as a learner: its interface (``get_parameters``, ``fit``, ``evaluate``) and nothing else.

The interface is documented at https://flower.ai/docs/framework/ref-api/flwr.client.NumPyClient.html. The client knows
no prediction, so probabilities come from ``evaluate``: of one row with label c, a mean cross-entropy is -log p(c).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedseal.learning._torch_training import TrainingSettings
from fedseal.learning.learner import FitRequest, FitResult, ParameterRole

Floats = NDArray[np.float32]
Make = Callable[[Floats, NDArray[np.float64]], Any]


class FlowerLearner:
    """Wraps ``client(inputs, labels)``."""

    def __init__(
        self, client: Callable[[Floats, NDArray[np.float64]], Any], settings: TrainingSettings, seed: int
    ) -> None:
        self.settings, self._make, self._seed = settings, client, seed

    def roles(self, width: int) -> Mapping[str, ParameterRole]:
        """All tensors are the base: a list of arrays says nothing about layers."""
        return dict.fromkeys(self.initial(width), ParameterRole.BASE)

    def initial(self, width: int) -> dict[str, Floats]:
        """What ``get_parameters`` gives for a fresh client."""
        client = self._client(np.zeros((1, width), dtype=np.float32), np.zeros(1), self._seed)
        return _named(client.get_parameters({}))

    def fit(self, request: FitRequest) -> FitResult:
        """One ``fit``; epochs, seed and the settings are in its configuration."""
        if request.correct_gradients is not None:
            raise NotImplementedError("a NumPyClient takes its own steps, which no method can bend")
        client = self._client(request.examples.inputs, request.examples.labels, request.seed)
        arrays = [request.parameters[name] for name in sorted(request.parameters)]
        config = {"local_epochs": request.epochs, "seed": request.seed, **self.settings.model_dump()}
        after, count, metrics = client.fit(arrays, config)
        if count != len(request.examples):
            raise ValueError("the client trained on another number of rows than it was given")
        batches = -(-len(request.examples) // self.settings.batch_size)
        loss = next((float(metrics[key]) for key in ("train_loss", "loss") if key in metrics), 0.0)
        return FitResult(
            parameters=_named(after),
            loss=loss,
            steps=batches * request.epochs,
            learning_rate=self.settings.learning_rate,
            momentum=self.settings.momentum,
        )

    def predict(self, parameters: Mapping[str, Any], inputs: Floats) -> NDArray[np.float64]:
        """Softmax of minus the loss that ``evaluate`` gives for each row with each label."""
        arrays, classes = [parameters[name] for name in sorted(parameters)], self.settings.classes
        losses = np.zeros((len(inputs), classes))
        for row in range(len(inputs)):
            for label in range(classes):
                client = self._client(inputs[row : row + 1], np.array([float(label)]), self._seed)
                losses[row, label] = float(client.evaluate(arrays, {})[0])
        odds = np.exp(losses.min(axis=1, keepdims=True) - losses) if len(inputs) else losses
        shares = odds / odds.sum(axis=1, keepdims=True)
        return np.asarray(shares[:, 1] if classes == 2 else shares)

    def _client(self, inputs: Floats, labels: NDArray[np.float64], seed: int) -> Any:
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        return self._make(inputs, labels)


def _named(arrays: list[Any]) -> dict[str, Floats]:
    return {f"array{number:04}": np.ascontiguousarray(array, dtype=np.float32) for number, array in enumerate(arrays)}
