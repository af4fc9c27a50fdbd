"""A whole job in one process: repeatable, and the same through the encoding and with lost contributions."""

import numpy as np
import pytest

from fedseal.learning import JobData, evaluate, model_bytes
from fedseal.methods import programme, run_in_process
from fedseal.methods.comparison import figures, model_of, pool
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument, MethodChoice


@pytest.fixture(scope="module")
def short_job(heart_job: JobDocument) -> JobDocument:
    return heart_job.model_copy(update={"method": MethodChoice(name="fedavg", rounds=4, settings={"local_epochs": 1})})


def test_the_encoding_changes_nothing_that_matters(
    short_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    plain = run_in_process(short_job, heart_schema, split_hospitals)
    encoded = run_in_process(short_job, heart_schema, split_hospitals, encode=True)
    for name, counts in plain.published["statistics"].items():
        np.testing.assert_allclose(encoded.published["statistics"][name], counts, rtol=1e-6)
    one, two = plain.rounds[-1].summary, encoded.rounds[-1].summary
    assert one["patients"] == two["patients"]
    assert one["auc"] == pytest.approx(two["auc"], abs=0.002)


def test_one_round_through_the_encoding_is_off_by_its_resolution_only(
    short_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    one_round = short_job.model_copy(
        update={"method": MethodChoice(name="fedavg", rounds=1, settings={"local_epochs": 1})}
    )
    plain = run_in_process(one_round, heart_schema, split_hospitals)
    encoded = run_in_process(one_round, heart_schema, split_hospitals, encode=True)
    for name, value in plain.published["training"].items():
        # four nodes, one step of 2^-20 each, divided by the sum of weights of about 0.6: 6.4e-6. Later rounds
        # amplify that as training amplifies any difference, so only the first can be bounded.
        np.testing.assert_allclose(encoded.published["training"][name], value, rtol=0, atol=8e-6)


@pytest.mark.parametrize("encode", [False, True])
def test_the_same_seed_gives_the_same_bits(
    encode: bool, short_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    runs = [run_in_process(short_job, heart_schema, split_hospitals, encode=encode) for _ in range(2)]
    first, second = (model_bytes(model_of(short_job, heart_schema, run)) for run in runs)
    assert first == second
    other = short_job.model_copy(update={"seed": 99})
    third = run_in_process(other, heart_schema, split_hospitals, encode=encode)
    assert model_bytes(model_of(other, heart_schema, third)) != first


def test_a_lost_node_is_missing_from_its_rounds_only(
    short_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    def lose(stage: str, round_index: int) -> tuple[str, ...]:
        return ("switzerland",) if (stage, round_index) == ("training", 1) else ()

    run = run_in_process(short_job, heart_schema, split_hospitals, encode=True, dropouts=lose)
    assert [report.cohort for report in run.rounds] == [4, 4, 3, 4, 4, 4]
    rows = [report.summary["rows"] for report in run.rounds[1:5]]
    everybody = sum(data.training.row_count for data in split_hospitals.values())
    assert rows == [
        everybody,
        everybody - split_hospitals["switzerland"].training.row_count,
        everybody,
        everybody,
    ]


def test_summed_evaluation_equals_evaluation_of_the_union(
    short_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    run = run_in_process(short_job, heart_schema, split_hospitals, encode=True)
    model = model_of(short_job, heart_schema, run)
    held_out = pool(split_hospitals).held_out
    probabilities = model.learner().predict(model.parameters, model.encoder().encode(held_out.frame))
    expected = evaluate(probabilities, held_out.labels(model.description.target)).as_dict()
    assert dict(run.rounds[-1].summary) == pytest.approx(expected, abs=1e-6)
    exact = figures(model, held_out)
    assert abs(exact.auc - expected["auc"]) <= expected["auc_uncertainty"]


def test_the_loss_falls(
    short_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    losses = [
        report.summary["loss"]
        for report in run_in_process(short_job, heart_schema, split_hospitals).rounds
        if report.stage == "training"
    ]
    assert losses == sorted(losses, reverse=True)
    assert [stage.rounds for stage in programme(short_job)] == [1, 4, 1]
