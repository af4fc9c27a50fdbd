"""Datasets with images, targets with several classes, and the convolutional learner."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fedseal.learning import (
    DatasetError,
    Examples,
    FitRequest,
    LocalData,
    ParameterRole,
    SettingsRefused,
    TrainingFailed,
    content_digest,
    evaluate,
    load_dataset,
    make_learner,
    metrics_of,
    prediction_sums,
)
from fedseal.learning.encoder import TabularEncoder, encoded_width
from fedseal.learning.tensors import size_of
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.errors import DocumentError

SCHEMA = b"""
dataset: scans
columns:
  - {name: pseudonym, role: record_id}
  - {name: scan, type: image, shape: [4, 4], range: [0, 255]}
  - {name: finding, type: category, categories: [none, cyst, tumour], role: target}
"""


@pytest.fixture(scope="module")
def schema() -> DatasetSchema:
    return load_schema(SCHEMA, "schema.yaml")


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.arange(48, dtype=np.uint8).reshape(3, 4, 4)


@pytest.fixture
def table(tmp_path: Path, pixels: NDArray[np.uint8]) -> Path:
    path = tmp_path / "scans.csv"
    path.write_text("pseudonym,finding\np1,cyst\np2,none\np3,tumour\n")
    save_file({"scan": pixels}, tmp_path / "scans.safetensors")
    return path


def test_rows_carry_their_images(table: Path, schema: DatasetSchema, pixels: NDArray[np.uint8]) -> None:
    data = load_dataset(table, schema)
    np.testing.assert_array_equal(data.images["scan"], pixels)
    part = data.restrict(["p3", "p1"])
    np.testing.assert_array_equal(part.images["scan"], pixels[[0, 2]])
    np.testing.assert_array_equal(part.labels(schema.columns[2]), [1.0, 2.0])


def test_pixels_are_scaled_by_the_schemas_range(table: Path, schema: DatasetSchema, pixels: NDArray[np.uint8]) -> None:
    encoder = TabularEncoder(features=schema.features, statistics={"mean": np.zeros(0), "scale": np.zeros(0)})
    encoded = encoder.encode_rows(load_dataset(table, schema))
    assert encoded.dtype == np.float32
    assert encoded.shape == (3, encoder.width) == (3, encoded_width(schema.features)) == (3, len(encoder.names))
    np.testing.assert_allclose(encoded, pixels.reshape(3, 16) / 255, rtol=1e-6)


def test_one_changed_pixel_changes_the_digest(table: Path, schema: DatasetSchema, pixels: NDArray[np.uint8]) -> None:
    before = content_digest(load_dataset(table, schema))
    assert content_digest(load_dataset(table, schema)) == before
    pixels[1, 2, 3] ^= 1
    save_file({"scan": pixels}, table.with_suffix(".safetensors"))
    assert content_digest(load_dataset(table, schema)) != before


def test_the_digest_does_not_depend_on_the_order_of_rows(schema: DatasetSchema, table: Path) -> None:
    data = load_dataset(table, schema)
    turned = LocalData(
        schema=schema,
        frame=data.frame.iloc[::-1].reset_index(drop=True),
        record_ids=data.record_ids[::-1],
        images={"scan": data.images["scan"][::-1]},
    )
    assert content_digest(turned) == content_digest(data)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({}, "expected: scan"),
        ({"scan": np.zeros((3, 4, 4), np.uint8), "more": np.zeros(1, np.uint8)}, "expected: scan"),
        ({"scan": np.zeros((2, 4, 4), np.uint8)}, "has the shape (2, 4, 4), expected (3, 4, 4)"),
        ({"scan": np.zeros((3, 4, 4), np.int64)}, "is of type int64; write uint8 or float32"),
        ({"scan": np.full((3, 4, 4), 256, np.float32)}, "pixels outside the schema's range 0 to 255"),
        ({"scan": np.full((3, 4, 4), np.nan, np.float32)}, "pixels outside the schema's range 0 to 255"),
    ],
)
def test_images_that_do_not_fit_the_schema(
    table: Path, schema: DatasetSchema, tensors: dict[str, NDArray[Any]], expected: str
) -> None:
    save_file(tensors, table.with_suffix(".safetensors"))
    with pytest.raises(DatasetError) as caught:
        load_dataset(table, schema)
    assert expected in str(caught.value)


def test_images_that_are_not_there_or_no_tensors(table: Path, schema: DatasetSchema) -> None:
    images = table.with_suffix(".safetensors")
    images.write_bytes(b"no tensors at all")
    with pytest.raises(DatasetError, match="not a readable safetensors file"):
        load_dataset(table, schema)
    images.unlink()
    with pytest.raises(DatasetError, match="the images lie beside the CSV file, under its name"):
        load_dataset(table, schema)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b", shape: [4, 4]", b"", "is an image without a shape"),
        (b", range: [0, 255]", b"", "has no range"),
        (b"type: image", b"type: number", "has a shape but is no image"),
        (b"range: [0, 255]}", b"range: [0, 255], missing_values: [0]}", "remove `missing_values`"),
        (b"range: [0, 255]}", b"range: [0, 255], role: target}", "is a target but an image"),
    ],
)
def test_schemas_of_images_that_are_refused(old: bytes, new: bytes, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_schema(SCHEMA.replace(old, new), "schema.yaml")
    assert expected in str(caught.value)


def test_figures_of_several_classes_add_up_over_groups() -> None:
    generator = np.random.default_rng(5)
    probabilities = generator.dirichlet(np.ones(4), size=200)
    labels = generator.integers(4, size=200).astype(np.float64)
    whole = evaluate(probabilities, labels)
    assert whole.accuracy == pytest.approx(np.mean(probabilities.argmax(axis=1) == labels))
    assert whole.brier == pytest.approx(np.mean(np.sum((probabilities - np.eye(4)[labels.astype(int)]) ** 2, axis=1)))
    assert whole.log_loss == pytest.approx(-np.mean(np.log(probabilities[np.arange(200), labels.astype(int)])))
    assert np.isnan(whole.auc)
    one, two = (prediction_sums(probabilities[part], labels[part]) for part in (slice(80), slice(80, None)))
    joined = type(one)(
        positives=one.positives + two.positives,
        negatives=one.negatives + two.negatives,
        confidence=one.confidence + two.confidence,
        log_loss=one.log_loss + two.log_loss,
        squared_error=one.squared_error + two.squared_error,
    )
    assert metrics_of(joined, classes=4).as_dict() == pytest.approx(whole.as_dict(), nan_ok=True)


def test_a_sure_and_right_model_is_perfectly_calibrated() -> None:
    labels = np.array([0.0, 1.0, 2.0, 2.0])
    figures = evaluate(np.eye(3)[labels.astype(int)], labels)
    assert (figures.accuracy, figures.calibration_error, figures.brier) == (1.0, 0.0, 0.0)


def stripes(rows: int, seed: int) -> Examples:
    """8 x 8 images of three kinds: bright left, bright top, or bright all over, with noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=rows)
    images = generator.uniform(0, 0.4, size=(rows, 8, 8)).astype(np.float32)
    images[labels == 0, :, :4] += 0.5
    images[labels == 1, :4, :] += 0.5
    images[labels == 2] += 0.3
    return Examples(inputs=images.reshape(rows, 64), labels=labels.astype(np.float64))


CNN = {"height": 8, "width": 8, "filters": [4], "kernel": 3, "hidden_width": 0, "classes": 3}


@pytest.mark.parametrize("normalisation", ["none", "batch", "group"])
def test_the_cnn_learns_repeatably(normalisation: str) -> None:
    learner = make_learner("small-cnn", {**CNN, "normalisation": normalisation, "momentum": 0.9})
    start = learner.initial_parameters(64, seed=1)
    assert {name: value.shape for name, value in start.items()} == learner.parameter_shapes(64)
    request = FitRequest(parameters=start, examples=stripes(300, 1), epochs=6, seed=2)
    fitted, again = learner.fit(request), learner.fit(request)
    for name, value in fitted.parameters.items():
        np.testing.assert_array_equal(value, again.parameters[name])
    unseen = stripes(100, 7)
    probabilities = learner.predict(fitted.parameters, unseen.inputs)
    assert probabilities.shape == (100, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    assert evaluate(probabilities, unseen.labels).accuracy > 0.9
    assert evaluate(learner.predict(start, unseen.inputs), unseen.labels).accuracy < 0.7


def test_evofeds_network_has_11_274_parameters() -> None:
    learner = make_learner("small-cnn", {"filters": [8, 16], "pooling": "average", "hidden_width": 0, "classes": 10})
    assert size_of(learner.parameter_shapes(784)) == 11_274


def test_roles_follow_the_type_of_the_layer() -> None:
    learner = make_learner("small-cnn", {**CNN, "normalisation": "batch"})
    assert learner.roles(64) == {
        "conv0.weight": ParameterRole.BASE,
        "conv0.bias": ParameterRole.BASE,
        "norm0.weight": ParameterRole.NORMALISATION,
        "norm0.bias": ParameterRole.NORMALISATION,
        "norm0.running_mean": ParameterRole.STATISTICS,
        "norm0.running_var": ParameterRole.STATISTICS,
        "layer0.weight": ParameterRole.HEAD,
        "layer0.bias": ParameterRole.HEAD,
    }


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(TrainingFailed, match="images of 1 x 8 x 8 pixels, and the job's features give 65 values"):
        make_learner("small-cnn", CNN).parameter_shapes(65)


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"kernel": 4}, "kernel's side must be odd"), ({"filters": [4, 4, 4, 4]}, "more convolutions")],
)
def test_impossible_networks_are_refused(change: dict[str, object], expected: str) -> None:
    with pytest.raises(SettingsRefused, match=expected):
        make_learner("small-cnn", {**CNN, **change})
