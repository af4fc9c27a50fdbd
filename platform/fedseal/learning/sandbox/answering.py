"""What a learner's process computes with the admitted file; runs isolated.

A file defines either, in torch:

    module(inputs, outputs)          a `torch.nn.Module` from (rows, inputs) to (rows, outputs) logits
    loss(outputs, labels)            optional; mean loss of a batch, default cross-entropy
    loader(inputs, labels, batch_size, generator)    optional; the batches of one epoch, default shuffled

or ``client(inputs, labels)``, a Flower ``NumPyClient`` for these rows: its ``get_parameters``, ``fit`` and ``evaluate``
are called as Flower calls them.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fedseal.learning._torch_training import TorchLearner, TrainingSettings, _batches, tensors_of
from fedseal.learning.determinism import use_deterministic_torch
from fedseal.learning.learner import Examples, FitRequest, GradientCorrection
from fedseal.learning.sandbox import frames
from fedseal.learning.sandbox.flower import FlowerLearner
from fedseal.learning.tensors import NamedTensors

Answer = tuple[dict[str, Any], Mapping[str, Any]]


class Pipes(Protocol):
    """How the process reaches its party in the middle of its work."""

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""

    def write(self, data: bytes) -> None:
        """All of them."""


class FileUnsuitable(Exception):
    """The file lacks a definition; the text is one word of ``module``, ``client``, ``loss``, ``parameters``."""


class _FileLearner(TorchLearner):
    """The usual training with the file's module, loss and loader."""

    def __init__(self, defined: Mapping[str, Any], settings: TrainingSettings, seed: int) -> None:
        self.settings, self._defined, self._seed = settings, defined, seed

    def module(self, width: int) -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            made = self._defined["module"](width, self.outputs)
        if not isinstance(made, torch.nn.Module):
            raise FileUnsuitable("module")
        return made.float()

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        own = self._defined.get("loss")
        if own is None:
            return super().loss(outputs, labels)
        found = own(outputs, labels)
        if not isinstance(found, torch.Tensor) or found.ndim:
            raise FileUnsuitable("loss")
        return found

    def batches(self, request: FitRequest, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        loader = self._defined.get("loader")
        if loader is None:
            yield from _batches(request, size)
            return
        inputs = torch.from_numpy(np.ascontiguousarray(request.examples.inputs))
        labels = torch.from_numpy(request.examples.labels.astype(np.float32))
        generator = torch.Generator().manual_seed(request.seed)
        for _ in range(request.epochs):
            yield from loader(inputs, labels, size, generator)

    def initial(self, width: int) -> dict[str, NDArray[np.float32]]:
        return {name: value.detach().numpy().copy() for name, value in tensors_of(self.module(width)).items()}

    def _empty(self, width: int) -> torch.nn.Module:
        return self.module(width)  # a file's module need not know torch's device without data

    def _loaded(self, width: int, parameters: Mapping[str, Any]) -> torch.nn.Module:
        module = self.module(width)
        with torch.no_grad():
            for name, tensor in tensors_of(module).items():
                tensor.copy_(torch.from_numpy(np.array(parameters[name], dtype=np.float32)))
        return module


def answer(ask: Mapping[str, Any], tensors: Mapping[str, Any], pipes: Pipes) -> Answer:
    """Load the file and do what is asked.

    Raises:
        FileUnsuitable: The file does not define what it must.
        Exception: Whatever the file raises.
    """
    use_deterministic_torch()
    defined: dict[str, Any] = {"__name__": "fedseal_learner_file"}
    exec(compile(ask["source"], "<learner file>", "exec"), defined)  # noqa: S102 - admitted by digest, isolated
    learner = _learner(defined, ask)
    width = int(ask["width"])
    if ask["ask"] == "describe":
        roles = learner.roles(width)
        initial = learner.initial(width)
        if not initial or any(value.dtype != np.float32 for value in initial.values()):
            raise FileUnsuitable("parameters")
        return {"kind": "answer", "roles": {name: role.value for name, role in roles.items()}}, initial
    parameters = {name.removeprefix("p/"): value for name, value in tensors.items() if name.startswith("p/")}
    if ask["ask"] == "predict":
        return {"kind": "answer"}, {"probabilities": learner.predict(parameters, tensors["inputs"])}
    request = FitRequest(
        parameters=parameters,
        examples=Examples(inputs=tensors["inputs"], labels=tensors["labels"]),
        epochs=int(ask["epochs"]),
        seed=int(ask["seed"]),
        correct_gradients=_asking(pipes) if ask["correct"] else None,
    )
    result = learner.fit(request)
    told = {"kind": "answer", "loss": result.loss, "steps": result.steps}
    return told, {name: np.asarray(value, dtype=np.float32) for name, value in result.parameters.items()}


def _learner(defined: Mapping[str, Any], ask: Mapping[str, Any]) -> "_FileLearner | FlowerLearner":
    settings = TrainingSettings.model_validate(ask["settings"])
    if callable(defined.get("client")):
        return FlowerLearner(defined["client"], settings, int(ask["seed"]))
    if callable(defined.get("module")):
        return _FileLearner(defined, settings, int(ask["seed"]))
    raise FileUnsuitable("module")


def _asking(pipes: Pipes) -> GradientCorrection:
    """The party's gradient correction, asked for at every step."""

    def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:
        both = {f"p/{name}": value for name, value in parameters.items()}
        both.update({f"g/{name}": value for name, value in gradients.items()})
        pipes.write(frames.encode({"kind": "correct"}, both))
        _, bent = frames.decode(pipes.read)
        for name, gradient in gradients.items():
            gradient[...] = bent[name]

    return correct
