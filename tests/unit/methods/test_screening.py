"""``screening``: who is left out by which number, and a whole job with an attacker in one process."""

from collections.abc import Mapping

import numpy as np
import pytest

from fedseal.errors import PeerFault
from fedseal.learning import JobData
from fedseal.methods import programme, run_in_process
from fedseal.methods.contract import Plan, Stage
from fedseal.methods.judging import JudgingMethod, numbers_in_the_clear, require_accepted, scalars_of
from fedseal.methods.programme import stage_plan
from fedseal.methods.screening import DIRECTION, NORM, Screening, ScreeningSettings
from fedseal.protection.scalars import scalars_missing
from fedseal_crypto.homomorphic import Operation
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument, MethodChoice
from fedseal_governance.vocabulary import Disclosure, Protection


@pytest.fixture(scope="module")
def job(heart_job: JobDocument) -> JobDocument:
    choice = MethodChoice(name="screening", rounds=3, settings={"local_epochs": 1})
    return heart_job.model_copy(update={"method": choice, "disclosure": Disclosure.SCALARS})


def training(job: JobDocument, schema: DatasetSchema) -> tuple[Stage, Plan]:
    stage = programme(job)[1]
    return stage, stage_plan(job, schema, stage)


def judged(
    job: JobDocument, schema: DatasetSchema, numbers: Mapping[str, Mapping[str, float | None]]
) -> dict[str, str]:
    _, plan = training(job, schema)
    judgement = Screening(ScreeningSettings(norm_factor=3.0, least_cosine=0.0)).judge(plan, {}, numbers)
    assert judgement.accepted | judgement.reasons.keys() == set(numbers)
    return dict(judgement.reasons)


def test_who_is_left_out(job: JobDocument, heart_schema: DatasetSchema) -> None:
    honest = {NORM: 1.0, DIRECTION: 0.5}
    numbers: dict[str, dict[str, float | None]] = {
        "a": dict(honest),
        "b": {NORM: 1.21, DIRECTION: 0.0004},
        "c": {NORM: 0.81, DIRECTION: -0.0005},  # within the error of the numbers of being at a right angle
        "long": {NORM: 100.0, DIRECTION: 5.0},
        "against": {NORM: 1.0, DIRECTION: -0.3},
        "unreleased": {NORM: None, DIRECTION: None},
    }
    reasons = judged(job, heart_schema, numbers)
    assert reasons.keys() == {"long", "against", "unreleased"}
    assert "norm 10" in reasons["long"]
    assert "cosine -0.30" in reasons["against"]
    assert "longer than any" in reasons["unreleased"]


def test_too_few_accepted_give_no_sum(job: JobDocument, heart_schema: DatasetSchema) -> None:
    _, plan = training(job, heart_schema)
    numbers: dict[str, dict[str, float | None]] = {"a": {NORM: 1.0}, "b": {NORM: 1.0}, "c": {NORM: None}}
    judgement = Screening().judge(plan, {}, numbers)
    with pytest.raises(PeerFault, match=r"2 contributions were accepted and a sum needs 3. c: its change"):
        require_accepted(judgement, 3)


def test_the_direction_is_asked_from_the_second_round_on(job: JobDocument, heart_schema: DatasetSchema) -> None:
    stage, plan = training(job, heart_schema)
    state = dict(stage.method.initial_state(plan))
    first = scalars_of(stage.method, plan, stage.method.broadcast(plan, state))
    assert first is not None
    assert [(scalar.name, scalar.operation) for scalar in first.scalars] == [(NORM, Operation.SQUARED_NORM)]
    state["direction"] = np.full(first.length, first.length**-0.5)
    second = scalars_of(stage.method, plan, stage.method.broadcast(plan, state))
    assert second is not None
    assert [scalar.name for scalar in second.scalars] == [NORM, DIRECTION]
    numbers = numbers_in_the_clear(second, {"update": np.full(first.length, 0.01)})
    assert numbers[NORM] == pytest.approx(1e-4 * first.length)
    assert numbers[DIRECTION] == pytest.approx(0.01 * first.length**0.5, rel=1e-6)


def test_a_whole_job_accepts_honest_hospitals(
    job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    run = run_in_process(job, heart_schema, split_hospitals)
    assert isinstance(programme(job)[1].method, JudgingMethod)
    trained = [report for report in run.rounds if report.stage == "training"]
    assert trained[0].cohort == len(split_hospitals)
    assert trained[-1].summary["loss"] < trained[0].summary["loss"]


@pytest.mark.parametrize("protection", list(Protection))
def test_only_homomorphic_can_open_the_numbers(job: JobDocument, protection: Protection) -> None:
    missing = scalars_missing(job.model_copy(update={"protection": protection}))
    assert ("only the protection homomorphic" in missing) == (protection is not Protection.HOMOMORPHIC)
