"""Encoding rows: a known answer, and nothing learned from the rows at hand."""

import numpy as np
import pytest

from fedseal.learning import LocalData
from fedseal.learning.data import parse_dataset
from fedseal.learning.encoder import TabularEncoder
from fedseal.learning.errors import TensorsRefused
from fedseal_governance.datasets import DatasetSchema

ROWS = "person,age,chol,smoker,pain,ill\np1,40,200,TRUE,some,TRUE\np2,,0,,unknown,FALSE\n"
STATISTICS = {"mean": np.array([50.0, 220.0, 0.25]), "scale": np.array([10.0, 40.0, 0.5])}


def small_encoder(schema: DatasetSchema) -> TabularEncoder:
    return TabularEncoder(features=schema.features, statistics=STATISTICS)


def test_known_answer(small_schema: DatasetSchema) -> None:
    encoder = small_encoder(small_schema)
    encoded = encoder.encode(parse_dataset(ROWS, small_schema, source="x.csv").frame)
    assert encoder.names == (
        *("age", "age missing", "chol", "chol missing", "smoker", "smoker missing"),
        *("pain=none", "pain=some", "pain missing"),
    )
    assert encoder.width == 9
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded[0], [-1, 0, -0.5, 0, 1.5, 0, 0, 1, 0])
    np.testing.assert_allclose(encoded[1], [0, 1, 0, 1, 0, 1, 0, 0, 1])


def test_a_row_is_encoded_alike_in_any_company(small_schema: DatasetSchema) -> None:
    data = parse_dataset(ROWS, small_schema, source="x.csv")
    encoder = small_encoder(small_schema)
    alone = encoder.encode(data.restrict({"p1"}).frame)
    np.testing.assert_array_equal(alone[0], encoder.encode(data.frame)[0])


def test_real_rows_become_finite_numbers(hospitals: dict[str, LocalData], heart_schema: DatasetSchema) -> None:
    statistics = {"mean": np.full(8, 100.0), "scale": np.full(8, 50.0)}
    encoder = TabularEncoder(features=heart_schema.features, statistics=statistics)
    for data in hospitals.values():
        encoded = encoder.encode(data.frame)
        assert encoded.shape == (data.row_count, encoder.width)
        assert np.isfinite(encoded).all()


def test_unusable_statistics_are_refused(small_schema: DatasetSchema) -> None:
    with pytest.raises(ValueError, match="positive"):
        TabularEncoder(features=small_schema.features, statistics={**STATISTICS, "scale": np.array([1.0, 0.0, 1.0])})
    with pytest.raises(TensorsRefused, match="shape"):
        TabularEncoder(features=small_schema.features, statistics={**STATISTICS, "mean": np.zeros(2)})
    with pytest.raises(TensorsRefused, match="NaN"):
        TabularEncoder(features=small_schema.features, statistics={**STATISTICS, "mean": np.full(3, np.nan)})
