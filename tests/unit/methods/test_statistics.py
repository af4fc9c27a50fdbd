"""Statistics of the union from sums: equal to those of the pooled table, with bounds that no data influence."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal.errors import PeerFault
from fedseal.learning import JobData, LocalData, NamedTensors
from fedseal.methods import CohortSum, MethodUnsuitable, programme, run_in_process, stage_plan
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.jobs import JobDocument, load_job

MEASURED = ["age", "trestbps", "chol", "fbs", "thalch", "exang", "oldpeak", "ca"]

JOB = b"""
job: counting
purpose: "DUO:0000006"
dataset: wide
kind: statistics
features: [x]
protection: masking
disclosure: SUM
nodes: [a, b, c]
minimum_cohort: 3
weights: {maximum_rows: 1000}
"""


def wide_schema(low: float, high: float) -> DatasetSchema:
    text = f"dataset: wide\ncolumns: [{{name: id, role: record_id}}, {{name: x, type: number, range: [{low}, {high}]}}]"
    return load_schema(text.encode(), "wide.yaml")


def part(schema: DatasetSchema, values: list[float]) -> JobData:
    records = tuple(f"r{number}" for number in range(len(values)))
    data = LocalData(schema=schema, frame=pd.DataFrame({"x": np.array(values, dtype=float)}), record_ids=records)
    return JobData(training=data, held_out=data.restrict(()))


@pytest.mark.parametrize("encode", [False, True])
def test_equal_to_the_pooled_table(
    encode: bool, heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    job = heart_job.model_copy(update={"method": None})
    published = run_in_process(job, heart_schema, split_hospitals, encode=encode).published["statistics"]
    pooled = pd.concat([data.training.frame for data in split_hospitals.values()])
    values = pooled[MEASURED].to_numpy(dtype=float)
    assert published["rows"].tolist() == [len(pooled)]
    assert published["positives"].tolist() == [(pooled["num"] != "0").sum()]
    np.testing.assert_array_equal(published["present"], (~np.isnan(values)).sum(axis=0))
    np.testing.assert_allclose(published["mean"], np.nanmean(values, axis=0), rtol=1e-8)
    np.testing.assert_allclose(published["scale"], np.nanstd(values, axis=0), rtol=1e-7)
    sexes = [(pooled["sex"] == "Female").sum(), (pooled["sex"] == "Male").sum(), 0]
    assert published["categories"][:3].tolist() == sexes


@settings(max_examples=25)
@given(
    values=st.lists(st.lists(st.floats(-50, 50), min_size=1, max_size=20), min_size=3, max_size=3),
    width=st.sampled_from([60.0, 600.0, 6e6]),
)
def test_the_stated_accuracy_holds_through_the_encoding(values: list[list[float]], width: float) -> None:
    schema = wide_schema(-width, width)
    nodes = {name: part(schema, some) for name, some in zip("abc", values, strict=True)}
    published = run_in_process(load_job(JOB, "job.yaml"), schema, nodes, encode=True).published["statistics"]
    union = np.concatenate(values)
    step = 3 / len(union) * 2.0**-32 * width
    assert abs(published["mean"][0] - union.mean()) <= 2 * step + 1e-12 * width
    if union.std() >= 2 * 2.0**-12 * width:
        assert published["scale"][0] == pytest.approx(union.std(), rel=2.0**-7)


def test_what_was_never_measured_or_never_varies_gets_the_declared_spread() -> None:
    schema = wide_schema(0, 10)
    job = load_job(JOB, "job.yaml")
    never = run_in_process(job, schema, {"a": part(schema, [np.nan]), "b": part(schema, [])})
    always = run_in_process(job, schema, {"a": part(schema, [7.0, 7.0]), "b": part(schema, [7.0])})
    assert never.published["statistics"]["mean"].tolist() == [5]
    assert always.published["statistics"]["mean"].tolist() == [7]
    for run in (never, always):
        assert run.published["statistics"]["scale"][0] == pytest.approx(5 / np.sqrt(3))


def test_bounds_follow_from_the_job_alone(heart_job: JobDocument, heart_schema: DatasetSchema) -> None:
    stage = programme(heart_job)[0]
    specs = {spec.name: spec for spec in stage.method.vectors(stage_plan(heart_job, heart_schema, stage))}
    assert {spec.bound for spec in specs.values()} == {1000.0}
    assert {name for name, spec in specs.items() if spec.resolution != 1} == {"sum", "square"}


def sums(**changes: float) -> NamedTensors:
    plain = {"rows": 5.0, "positives": 0.0, "present": 4.0, "sum": 1.0, "square": 1.0}
    return {name: np.array([value]) for name, value in {**plain, **changes}.items()}


@pytest.mark.parametrize("change", [{"rows": -1.0}, {"present": 6.0}, {"present": -1.0}, {"positives": 6.0}])
def test_impossible_sums_are_the_peers_fault(change: dict[str, float]) -> None:
    job, schema = load_job(JOB, "job.yaml"), wide_schema(0, 10)
    stage = programme(job)[0]
    plan = stage_plan(job, schema, stage)
    with pytest.raises(PeerFault, match="impossible"):
        stage.method.aggregate(plan, stage.method.initial_state(plan), CohortSum(values=sums(**change), cohort=3))


def test_a_job_whose_columns_the_schema_does_not_have_is_refused() -> None:
    job = load_job(JOB.replace(b"[x]", b"[y]"), "job.yaml")
    with pytest.raises(MethodUnsuitable, match='feature "y"'):
        run_in_process(job, wide_schema(0, 1), {})
