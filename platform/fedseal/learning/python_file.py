"""``python-file``: a data scientist's own training code, admitted by digest, in a process without network.

The job names the file by its SHA-256; every party of the job must have admitted exactly that file. See
`fedseal.learning.sandbox` for how it runs and `fedseal.learning.sandbox.answering` for what it defines.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StringConstraints

from fedseal.learning._torch_training import TrainingSettings
from fedseal.learning.errors import TrainingFailed
from fedseal.learning.learner import FitRequest, FitResult, ParameterRole
from fedseal.learning.sandbox.files import learner_files
from fedseal.learning.sandbox.parent import Work, number, run
from fedseal.learning.tensors import NamedTensors, Shapes, check_tensors, shapes_of

MOST_TENSORS = 10_000


class PythonFileSettings(TrainingSettings):
    """Training settings, and which file."""

    file: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Field(description="SHA-256 of the file")]


@dataclass(frozen=True, slots=True)
class PythonFile:
    """See the module docstring."""

    settings: PythonFileSettings

    name: ClassVar[str] = "python-file"
    title: ClassVar[str] = "A data scientist's Python file, admitted by digest (torch, or a Flower NumPyClient)"
    settings_model: ClassVar[type[BaseModel]] = PythonFileSettings

    def parameter_shapes(self, width: int) -> Shapes:
        """See `fedseal.learning.learner.Learner`."""
        return shapes_of(self._described(width, 0)[1])

    def roles(self, width: int) -> Mapping[str, ParameterRole]:
        """See `fedseal.learning.learner.Learner`."""
        return self._described(width, 0)[0]

    def initial_parameters(self, width: int, seed: int) -> NamedTensors:
        """See `fedseal.learning.learner.Learner`."""
        return self._described(width, seed)[1]

    def fit(self, request: FitRequest) -> FitResult:
        """See `fedseal.learning.learner.Learner`; gradient corrections are asked for at every step."""
        if len(request.examples) == 0:
            raise TrainingFailed("There are no rows to train on; check consents and the dataset.")
        correct = request.correct_gradients

        def bent(tensors: Mapping[str, Any]) -> dict[str, Any]:
            parameters = {name[2:]: value for name, value in tensors.items() if name.startswith("p/")}
            gradients = {name[2:]: value.copy() for name, value in tensors.items() if name.startswith("g/")}
            if correct is not None:
                correct(parameters, gradients)
            return {name: np.asarray(value, dtype=np.float32) for name, value in gradients.items()}

        ask = {"ask": "fit", "epochs": request.epochs, "seed": request.seed, "correct": correct is not None}
        width = request.examples.inputs.shape[1]
        message, tensors = self._run(
            {**ask, "width": width},
            {
                **{f"p/{name}": np.asarray(value, dtype=np.float32) for name, value in request.parameters.items()},
                "inputs": request.examples.inputs,
                "labels": request.examples.labels,
            },
            bent if correct is not None else None,
        )
        check_tensors(tensors, self.parameter_shapes(width), what="What the learner file trained")
        return FitResult(
            parameters=tensors,
            loss=number(message, "loss"),
            steps=max(1, int(number(message, "steps"))),
            learning_rate=self.settings.learning_rate,
            momentum=self.settings.momentum,
        )

    def predict(self, parameters: NamedTensors, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `fedseal.learning.learner.Learner`."""
        given = {f"p/{name}": np.asarray(value, dtype=np.float32) for name, value in parameters.items()}
        ask = {"ask": "predict", "seed": 0, "width": inputs.shape[1]}
        _, tensors = self._run(ask, {**given, "inputs": inputs})
        classes = self.settings.classes
        shape = (len(inputs),) if classes == 2 else (len(inputs), classes)
        check_tensors(tensors, {"probabilities": shape}, what="What the learner file predicted")
        found = np.asarray(tensors["probabilities"], dtype=np.float64)
        if found.size and not (found.min() >= 0 and found.max() <= 1):
            raise TrainingFailed("the learner file predicted something that is no probability")
        return found

    def _described(self, width: int, seed: int) -> tuple[Mapping[str, ParameterRole], NamedTensors]:
        return _described(self.settings.model_dump_json(), width, seed)

    def _run(self, ask: Mapping[str, object], tensors: Mapping[str, Any], callback: Any = None) -> Any:
        return _run(self.settings, ask, tensors, callback)


@cache
def _described(settings_json: str, width: int, seed: int) -> tuple[dict[str, ParameterRole], dict[str, Any]]:
    """What the file's model is made of; the same for the same file, so it is asked once."""
    settings = PythonFileSettings.model_validate_json(settings_json)
    message, tensors = _run(settings, {"ask": "describe", "width": width, "seed": seed}, {}, None)
    told = message.get("roles")
    values = {role.value for role in ParameterRole}
    if not isinstance(told, dict) or told.keys() != tensors.keys() or not 0 < len(told) <= MOST_TENSORS:
        raise TrainingFailed("the learner file did not describe its parameters")
    if not all(role in values for role in told.values()):
        raise TrainingFailed("the learner file described a parameter that is nothing known")
    return {name: ParameterRole(role) for name, role in told.items()}, tensors


def _run(settings: PythonFileSettings, ask: Mapping[str, object], tensors: Mapping[str, Any], callback: Any) -> Any:
    plain = settings.model_dump(exclude={"file"})
    work = Work(file=settings.file, ask={"seed": 0, **ask, "settings": plain}, tensors=tensors)
    return run(learner_files(), work, callback)
