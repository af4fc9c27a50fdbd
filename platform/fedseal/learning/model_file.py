"""Model files: a trained model with everything needed to predict, in safetensors, and nothing that runs.

Form: safetensors with the tensors ``parameters/...`` of the learner and ``statistics/mean``,
``statistics/scale`` of the encoder; the file's metadata has one entry, ``fedseal.model``, the canonical JSON
(RFC 8785) of `ModelDescription`.

Rules this module keeps:
- A file is accepted only if names, shapes, dtypes, size and description agree; otherwise nothing of it is
  used.
- Reading a file runs no code from it; the learner is looked up among those that are installed.
- Predicting uses the encoder inside the file, never statistics of the rows at hand.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedseal.files import read_limited
from fedseal.learning.data import parse_values
from fedseal.learning.encoder import TabularEncoder, encoded_width, encoder_shapes, encoder_statistics
from fedseal.learning.errors import DatasetError, TensorsRefused
from fedseal.learning.images import Images
from fedseal.learning.learner import Learner
from fedseal.learning.plugins import make_learner
from fedseal.learning.tensors import (
    HEADER_BYTES,
    NamedTensors,
    Shape,
    check_tensors,
    group_of,
    grouped,
    pack_tensors,
    unpack_tensors,
)
from fedseal_crypto.canonical import canonical_json, parse_canonical
from fedseal_crypto.errors import CryptoError
from fedseal_governance.datasets import Column, ColumnType, DatasetSchema
from fedseal_governance.jobs import JobDocument
from fedseal_governance.vocabulary import Name, Settings, Sha256

MODEL_BYTES = 4 << 30  # a thousand million float32 parameters
METADATA_KEY = "fedseal.model"
PARAMETERS = "parameters"
STATISTICS = "statistics"


class ModelDescription(BaseModel):
    """What a model is and what it expects.

    Attributes:
        job_digest: SHA-256 of the job file that trained it.
        schema_digest: SHA-256 of the dataset's schema file.
        features: The columns it needs, in order, with their types and ranges.
        target: The outcome whose probability it predicts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    job: Name
    job_digest: Sha256
    dataset: Name
    schema_digest: Sha256
    learner: Name
    settings: Settings
    features: Annotated[tuple[Column, ...], Field(min_length=1)]
    target: Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A trained model, ready to predict; made by `build_model` or `read_model`, which check it."""

    description: ModelDescription
    parameters: NamedTensors
    statistics: NamedTensors

    def learner(self) -> Learner:
        """The installed learner with the model's settings.

        Raises:
            UnknownPlugin, SettingsRefused: It is not installed here, or another version of it.
        """
        return make_learner(self.description.learner, self.description.settings)

    def encoder(self) -> TabularEncoder:
        """The encoder with the federation's statistics."""
        return TabularEncoder(features=self.description.features, statistics=self.statistics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Digests of the documents that a model came from."""

    job_digest: str
    schema_digest: str


def build_model(
    job: JobDocument,
    schema: DatasetSchema,
    origin: Origin,
    *,
    statistics: NamedTensors,
    parameters: NamedTensors,
) -> Model:
    """A model from what the stages of a training job published.

    Raises:
        TensorsRefused: The tensors are not the learner's or the encoder's.
        ValueError: The job does not train.
    """
    if job.learner is None or job.target is None:
        raise ValueError("only a training job has a model")
    description = ModelDescription(
        job=job.job,
        job_digest=origin.job_digest,
        dataset=job.dataset,
        schema_digest=origin.schema_digest,
        learner=job.learner.name,
        settings=job.learner.settings,
        features=tuple(schema.column(name) for name in job.features),
        target=schema.column(job.target),
    )
    tensors = {**grouped(PARAMETERS, parameters), **grouped(STATISTICS, encoder_statistics(statistics))}
    check_tensors(tensors, _shapes(description), what="The trained model")
    return _model(description, tensors)


def model_bytes(model: Model) -> bytes:
    """The file's content; equal models give equal bytes."""
    tensors = {**grouped(PARAMETERS, model.parameters), **grouped(STATISTICS, model.statistics)}
    text = canonical_json(model.description.model_dump(mode="json")).decode()
    return pack_tensors(tensors, {METADATA_KEY: text})


def read_model(data: bytes, *, what: str = "The model file") -> Model:
    """Check and read a model file's content; ``what`` names it in sentences.

    Raises:
        TensorsRefused: It is not a model file, or its parts do not agree.
        UnknownPlugin, SettingsRefused: Its learner is not installed here.
    """
    description = _description(data, what)
    tensors = unpack_tensors(data, _shapes(description), what=what)
    try:
        return _model(description, tensors)
    except ValueError as error:
        raise TensorsRefused(f"{what} cannot be used: {error}.") from None


def load_model(path: Path) -> Model:
    """Read a model file.

    Raises:
        SetupError: There is no such file, or it is too large.
        TensorsRefused, UnknownPlugin, SettingsRefused: As `read_model`.
    """
    return read_model(read_limited(path, max_bytes=MODEL_BYTES, what="a model file"), what=path.name)


def predict(model: Model, frame: pd.DataFrame, images: Mapping[str, Images] | None = None) -> NDArray[np.float64]:
    """Probability of the outcome for each row; of several classes, of each class.

    Args:
        model: The model.
        frame: One column per feature of the model, with raw cells as in the dataset's CSV; further columns
            are ignored.
        images: One array of shape (rows, *shape) per image feature of the model.

    Returns:
        Shape (rows,), in [0, 1]; for three or more classes (rows, classes).

    Raises:
        DatasetError: A column is missing, or a cell is outside what the model's schema allows.
    """
    cells = [column for column in model.description.features if column.type is not ColumnType.IMAGE]
    checked = parse_values(frame, cells, source="the rows to predict")
    absent = [c.name for c in model.description.features if c not in cells and c.name not in (images or {})]
    if absent:
        raise DatasetError("the rows to predict", f"come without the images {', '.join(absent)}; the model needs them.")
    return model.learner().predict(model.parameters, model.encoder().encode(checked, images))


def _model(description: ModelDescription, tensors: NamedTensors) -> Model:
    model = Model(
        description=description,
        parameters=group_of(PARAMETERS, tensors),
        statistics=group_of(STATISTICS, tensors),
    )
    model.encoder()
    return model


def _shapes(description: ModelDescription) -> dict[str, Shape]:
    learner = make_learner(description.learner, description.settings)
    return {
        **{f"{PARAMETERS}/{k}": v for k, v in learner.parameter_shapes(encoded_width(description.features)).items()},
        **{f"{STATISTICS}/{k}": v for k, v in encoder_shapes(description.features).items()},
    }


def _description(data: bytes, what: str) -> ModelDescription:
    try:
        return ModelDescription.model_validate(_metadata(data, what))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise TensorsRefused(f"{what} has a description that is not valid at {place}: {first['msg']}.") from None


def _metadata(data: bytes, what: str) -> dict[str, object]:
    # safetensors: 8 bytes little-endian length of a JSON header, whose "__metadata__" holds strings.
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 0 < length <= min(HEADER_BYTES, len(data) - 8):
        raise TensorsRefused(f"{what} is not a safetensors file.")
    try:
        header = json.loads(data[8 : 8 + length])
        text = header["__metadata__"][METADATA_KEY]
        return parse_canonical(text.encode(), max_bytes=HEADER_BYTES)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, CryptoError):
        raise TensorsRefused(f"{what} does not describe itself as a fedseal model.") from None
