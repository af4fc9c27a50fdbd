"""Model files: complete in themselves, and refused when anything in them does not fit."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.errors import PlatformError
from fedseal.learning import (
    DatasetError,
    LocalData,
    Model,
    Origin,
    TensorsRefused,
    build_model,
    load_model,
    model_bytes,
    predict,
    read_model,
)
from fedseal.learning.encoder import encoded_width
from fedseal.learning.plugins import make_learner
from fedseal.learning.tensors import pack_tensors
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument

EXAMPLES = Path(__file__).parents[3] / "examples" / "heart-disease"
ORIGIN = Origin(job_digest="a" * 64, schema_digest="b" * 64)


@pytest.fixture(scope="module")
def model(heart_job: JobDocument, heart_schema: DatasetSchema) -> Model:
    learner = make_learner("tabular-mlp", heart_job.learner.settings if heart_job.learner else {})
    width = encoded_width([heart_schema.column(name) for name in heart_job.features])
    statistics = {"mean": np.linspace(1, 8, 8), "scale": np.full(8, 2.0)}
    parameters = learner.initial_parameters(width, 5)
    return build_model(heart_job, heart_schema, ORIGIN, statistics=statistics, parameters=parameters)


def test_a_file_gives_the_same_model_back(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(model))
    back = load_model(path)
    assert back.description == model.description
    assert model_bytes(back) == path.read_bytes()
    assert back.description.job_digest == "a" * 64
    assert back.description.target.positive == ("1", "2", "3", "4")


def test_predicting_from_raw_cells_equals_predicting_from_loaded_rows(
    model: Model, hospitals: dict[str, LocalData]
) -> None:
    raw = pd.read_csv(EXAMPLES / "hungary.csv")
    expected = model.learner().predict(model.parameters, model.encoder().encode(hospitals["hungary"].frame))
    np.testing.assert_array_equal(predict(read_model(model_bytes(model)), raw), expected)


def test_cells_that_the_model_was_not_made_for_are_refused(model: Model) -> None:
    raw = pd.read_csv(EXAMPLES / "hungary.csv")
    with pytest.raises(DatasetError, match="columns chol are missing"):
        predict(model, raw.drop(columns="chol"))
    raw.loc[3, "age"] = 1000
    with pytest.raises(DatasetError, match='line 4, column "age": is outside'):
        predict(model, raw)


def header_of(data: bytes) -> tuple[dict[str, object], bytes]:
    length = int.from_bytes(data[:8], "little")
    header: dict[str, object] = json.loads(data[8 : 8 + length])
    return header, data[8 + length :]


def with_description(data: bytes, text: str) -> bytes:
    header, body = header_of(data)
    header["__metadata__"] = {"fedseal.model": text}
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + body


def described(data: bytes) -> dict[str, object]:
    header, _ = header_of(data)
    metadata = header["__metadata__"]
    assert isinstance(metadata, dict)
    loaded: dict[str, object] = json.loads(metadata["fedseal.model"])
    return loaded


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "not valid at version"),
        ({"surprise": 1}, "not valid at surprise"),
        ({"job_digest": "A" * 64}, "not valid at job_digest"),
        ({"learner": "unheard-of"}, "not installed"),
        ({"settings": {"hidden_width": 17}}, "shape"),
        ({"settings": {"hidden_layers": 2}}, "missing"),
        ({"features": []}, "not valid at features"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(change: dict[str, object], says: str, model: Model) -> None:
    data = model_bytes(model)
    text = json.dumps({**described(data), **change}, sort_keys=True, separators=(",", ":"))
    with pytest.raises(PlatformError, match=says):
        read_model(with_description(data, text))


def test_a_description_must_be_canonical(model: Model) -> None:
    data = model_bytes(model)
    with pytest.raises(TensorsRefused, match="does not describe itself"):
        read_model(with_description(data, json.dumps(described(data), indent=1)))


def test_other_safetensors_files_are_refused(model: Model) -> None:
    with pytest.raises(TensorsRefused, match="does not describe itself"):
        read_model(pack_tensors(model.parameters))
    with pytest.raises(TensorsRefused, match="not a safetensors file"):
        read_model(b"{}")


def test_a_scale_of_zero_is_refused(model: Model) -> None:
    broken = Model(
        description=model.description,
        parameters=model.parameters,
        statistics={**model.statistics, "scale": np.zeros(8)},
    )
    with pytest.raises(TensorsRefused, match="positive"):
        read_model(model_bytes(broken))


@given(data=st.data())
def test_cut_files_are_refused(data: st.DataObject, model: Model) -> None:
    whole = model_bytes(model)
    with pytest.raises(TensorsRefused):
        read_model(whole[: data.draw(st.integers(0, len(whole) - 1))])
