"""The four hospitals of the example with their split."""

from pathlib import Path

import pytest

from fedseal.learning import JobData, LocalData, job_data, load_dataset, use_deterministic_torch
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.jobs import JobDocument, load_job

EXAMPLE = Path(__file__).parents[3] / "examples" / "heart-disease"
HOSPITALS = ("cleveland", "hungary", "va-long-beach", "switzerland")


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
def split_hospitals(hospitals: dict[str, LocalData], heart_job: JobDocument) -> dict[str, JobData]:
    return {name: job_data(data, heart_job, None) for name, data in hospitals.items()}
