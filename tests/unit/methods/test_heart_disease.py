"""The promise of the example: federated is as good as pooled, and much better than alone, over five seeds."""

import math
from pathlib import Path

import numpy as np
import pytest

from fedseal.learning import LocalData, job_data
from fedseal.methods import run_in_process
from fedseal.methods.comparison import Comparison, compare, model_of
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import Evaluation, JobDocument, load_job

EXAMPLE = Path(__file__).parents[3] / "examples" / "heart-disease"
SEEDS = (1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def comparisons(
    heart_job: JobDocument, heart_schema: DatasetSchema, hospitals: dict[str, LocalData]
) -> list[Comparison]:
    found = []
    for seed in SEEDS:
        job = heart_job.model_copy(update={"seed": seed, "evaluation": Evaluation(holdout=0.3, seed=seed)})
        nodes = {name: job_data(data, job, None) for name, data in hospitals.items()}
        run = run_in_process(job, heart_schema, nodes, encode=True)
        found.append(compare(job, heart_schema, nodes, model_of(job, heart_schema, run)))
    return found


def test_federated_is_as_good_as_pooled_and_better_than_alone(comparisons: list[Comparison]) -> None:
    federated, pooled, alone = (
        np.array([getattr(comparison.overall, kind).auc for comparison in comparisons])
        for kind in ("federated", "pooled", "alone")
    )
    assert federated.mean() >= pooled.mean() - 0.01
    assert federated.mean() >= alone.mean() + 0.05
    # Each seed by itself, with room for the noise of 276 patients.
    assert (federated >= pooled - 0.02).all()
    assert (federated >= alone + 0.03).all()
    assert federated.mean() > 0.88


def test_every_hospital_is_compared_on_its_own_patients(comparisons: list[Comparison]) -> None:
    for comparison in comparisons:
        assert [row.group for row in comparison.nodes] == ["cleveland", "hungary", "switzerland", "va-long-beach"]
        assert sum(row.patients for row in comparison.nodes) == comparison.overall.patients == 276
        for row in comparison.nodes:
            for figures in (row.alone, row.federated, row.pooled):
                assert math.isfinite(figures.auc)
                assert 0 <= figures.calibration_error <= 1


def test_the_forbidden_job_differs_in_its_purpose_only(heart_job: JobDocument) -> None:
    forbidden = load_job((EXAMPLE / "job-forbidden.yaml").read_bytes(), "job-forbidden.yaml")
    assert forbidden.purpose == "DUO:0000004"
    same = {"job": heart_job.job, "purpose": heart_job.purpose, "description": heart_job.description}
    assert forbidden.model_copy(update=same) == heart_job
