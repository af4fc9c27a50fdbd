"""The four hospitals of the example, and small tables whose answers are known."""

from pathlib import Path

import pytest

from fedseal.learning import LocalData, load_dataset, use_deterministic_torch
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.jobs import JobDocument, load_job

EXAMPLE = Path(__file__).parents[3] / "examples" / "heart-disease"
HOSPITALS = ("cleveland", "hungary", "va-long-beach", "switzerland")

SMALL_SCHEMA = b"""
dataset: small
version: 1
columns:
  - {name: person, role: record_id}
  - {name: age, type: number, range: [0, 100]}
  - {name: chol, type: number, range: [50, 700], missing_values: [0]}
  - {name: smoker, type: boolean}
  - {name: pain, type: category, categories: [none, some], missing_values: [unknown]}
  - {name: ill, type: boolean, role: target}
"""


@pytest.fixture(scope="session", autouse=True)
def deterministic_torch() -> None:
    use_deterministic_torch()


@pytest.fixture(scope="session")
def heart_schema() -> DatasetSchema:
    return load_schema((EXAMPLE / "schema.yaml").read_bytes(), "schema.yaml")


@pytest.fixture(scope="session")
def heart_job() -> JobDocument:
    return load_job((EXAMPLE / "job.yaml").read_bytes(), "job.yaml")


@pytest.fixture(scope="session")
def hospitals(heart_schema: DatasetSchema) -> dict[str, LocalData]:
    return {name: load_dataset(EXAMPLE / f"{name}.csv", heart_schema) for name in HOSPITALS}


@pytest.fixture(scope="session")
def small_schema() -> DatasetSchema:
    return load_schema(SMALL_SCHEMA, "small.yaml")
