"""FedICON: its two phases, what stays at a node, and adaptation on a copy that sends nothing."""

import socket
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedseal.learning import JobData, LocalData, NamedTensors, pack_tensors
from fedseal.learning.tensors import group_of, grouped, size_of
from fedseal.methods import (
    AdaptingMethod,
    CohortSum,
    Contribution,
    MethodUnsuitable,
    NodeContext,
    Plan,
    contribute,
    make_method,
    run_in_process,
    stage_plan,
)
from fedseal.methods.evaluation import Evaluation
from fedseal.methods.fedicon import FedIcon
from fedseal.methods.programme import programme
from fedseal.methods.sums import plain_sum
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.jobs import JobDocument, LearnerChoice
from fedseal_governance.vocabulary import Setting
from tests.unit.methods.test_baselines import job_with

HEAD = {"layer1.weight", "layer1.bias"}
IMAGES = """
dataset: stripes
columns:
  - {name: id, role: record_id}
  - {name: age, type: number, unit: a, range: [0, 120]}
  - {name: image, type: image, shape: [8, 8], range: [0, 1]}
  - {name: kind, type: category, categories: [down, across, both], role: target}
"""
CNN: dict[str, Setting] = {
    "height": 8,
    "width": 8,
    "filters": (4,),
    "kernel": 3,
    "hidden_width": 8,
    "classes": 3,
    "normalisation": "batch",
    "batch_size": 16,
}


def fedicon(**settings: Any) -> FedIcon:
    made = make_method("fedicon", settings)
    assert isinstance(made, FedIcon)
    return made


@pytest.fixture(scope="module")
def job(heart_job: JobDocument) -> JobDocument:
    return job_with(heart_job, "fedicon", 6, head_rounds=2, projection=4)


@pytest.fixture(scope="module")
def plan(job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]) -> Plan:
    statistics = run_in_process(job.model_copy(update={"method": None}), heart_schema, split_hospitals)
    return stage_plan(job, heart_schema, programme(job)[1], published=statistics.published)


def part_of(method: FedIcon, plan: Plan, state: NamedTensors, data: JobData, own: NamedTensors) -> Contribution:
    broadcast = method.broadcast(plan, state)
    return contribute(method, NodeContext(plan=plan, broadcast=broadcast, data=data, local_state=own, seed=5))


def test_the_last_third_at_most_is_for_the_head(plan: Plan) -> None:
    def phases(rounds: int, **settings: Any) -> str:
        stage = replace(plan, rounds=rounds)
        method = fedicon(**settings)
        return "".join("h" if method.in_head_phase(stage.for_round(index)) else "c" for index in range(rounds))

    assert phases(17) == "c" * 12 + "h" * 5
    assert phases(6) == "cccchh"
    assert phases(1) == "h"
    assert phases(6, objective="cross-entropy") == "cccccc"


def test_each_phase_sends_what_moves_and_moves_nothing_else(plan: Plan, split_hospitals: dict[str, JobData]) -> None:
    method = fedicon(head_rounds=2, projection=4)
    state, whole = method.initial_state(plan), method.all_shapes(plan)
    own: dict[str, NamedTensors] = {key: {} for key in split_hospitals}
    for index in range(6):
        now, before = plan.for_round(index), group_of("model", state)
        parts = {name: part_of(method, now, state, data, own[name]) for name, data in split_hospitals.items()}
        own |= {name: part.local_state for name, part in parts.items() if part.local_state is not None}
        values = plain_sum(method.vectors(now), (part.values for part in parts.values()))
        state = method.aggregate(now, state, CohortSum(values=values, cohort=len(parts)))
        moved = {name for name, value in group_of("model", state).items() if not np.array_equal(value, before[name])}
        expected = HEAD if index >= 4 else set(whole) - HEAD
        assert moved == expected
        assert len(values["update"]) == size_of({name: whole[name] for name in expected})
    exported = method.export(plan, state)
    assert exported.keys() == plan.require_learner().parameter_shapes(plan.input_width).keys()
    personal = {name: method.node_model(exported, kept) for name, kept in own.items()}
    heads = {model["layer1.weight"].tobytes() for model in personal.values()}
    assert len(heads) == len(split_hospitals)
    assert all(np.array_equal(model["layer0.weight"], exported["layer0.weight"]) for model in personal.values())


def test_the_personal_head_can_be_left_out(plan: Plan, split_hospitals: dict[str, JobData]) -> None:
    method = fedicon(projection=4, personal_head=False)
    last, state = plan.for_round(5), method.initial_state(plan)
    kept = part_of(method, last, state, split_hospitals["cleveland"], {}).local_state
    assert kept is not None
    assert not group_of("own", kept)
    assert set(group_of("projection", kept)) == {f"projection{i}.{part}" for i in (0, 1) for part in ("weight", "bias")}


def test_a_lost_contribution_leaves_the_personal_head_as_it_was(
    job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    def lost(stage: str, index: int) -> tuple[str, ...]:
        return ("hungary",) if stage == "training" and index == 5 else ()

    whole = run_in_process(job, heart_schema, split_hospitals).local_states
    missed = run_in_process(job, heart_schema, split_hospitals, dropouts=lost).local_states
    assert not np.array_equal(whole["hungary"]["own/layer1.bias"], missed["hungary"]["own/layer1.bias"])
    assert np.array_equal(whole["cleveland"]["own/layer1.bias"], missed["cleveland"]["own/layer1.bias"])


def test_evaluation_adapts_a_copy_without_a_byte_sent(
    job: JobDocument,
    heart_schema: DatasetSchema,
    split_hospitals: dict[str, JobData],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No socket can be opened, nothing given changes, labels play no part, and predictions do change."""
    run = run_in_process(job, heart_schema, split_hospitals)
    stages = programme(job)
    evaluation = stages[2].method
    assert isinstance(evaluation, Evaluation)
    assert isinstance(evaluation.trainer, AdaptingMethod)
    plan = stage_plan(job, heart_schema, stages[2], published=run.published)
    data, own = split_hospitals["cleveland"], run.local_states["cleveland"]
    context = NodeContext(plan=plan, broadcast={}, data=data, local_state=own, seed=3)
    model = evaluation.trainer.node_model(run.published["training"], own)
    before = [pack_tensors(tensors) for tensors in (run.published["training"], own, model)]

    def forbidden(*arguments: object, **names: object) -> None:
        raise AssertionError("adaptation opened a socket")

    monkeypatch.setattr(socket.socket, "__init__", forbidden)
    with pytest.raises(AssertionError, match="opened a socket"):
        socket.socket()
    found = contribute(evaluation, context)
    inputs = plan.examples(data.held_out).inputs
    adapted = evaluation.trainer.adapted_model(context, model, inputs)
    assert found.local_state is None
    assert found.values.keys() == {spec.name for spec in evaluation.vectors(plan)}
    assert [pack_tensors(tensors) for tensors in (run.published["training"], own, model)] == before
    assert not np.array_equal(adapted["layer0.weight"], model["layer0.weight"])
    assert all(np.array_equal(adapted[name], model[name]) for name in HEAD)
    still = Evaluation(trainer=fedicon(adaptation="none"))
    assert not np.array_equal(contribute(still, context).values["log_loss"], found.values["log_loss"])


def test_few_rows_are_predicted_without_adaptation_and_a_blend_lies_between(
    plan: Plan, split_hospitals: dict[str, JobData]
) -> None:
    data = split_hospitals["cleveland"]
    context = NodeContext(plan=plan, broadcast={}, data=data, seed=1)
    model = plan.require_learner().initial_parameters(plan.input_width, 1)
    inputs = plan.examples(data.training).inputs[:40]
    assert fedicon(adapt_rows=41).adapted_model(context, model, inputs) is model
    whole, half = (
        fedicon(adapt_rows=40, adapt_blend=share).adapted_model(context, model, inputs) for share in (1, 0.5)
    )
    middle = (model["layer0.weight"] + whole["layer0.weight"]) / 2
    np.testing.assert_allclose(half["layer0.weight"], middle, atol=1e-6)
    assert not np.allclose(half["layer0.weight"], model["layer0.weight"], atol=1e-7)


def test_a_learner_without_an_encoder_is_refused(plan: Plan, heart_job: JobDocument) -> None:
    choice = LearnerChoice(name="logistic-regression")
    job = plan.job.model_copy(update={"learner": choice})
    linear = stage_plan(job, plan.schema, programme(job)[1], published=plan.published)
    with pytest.raises(MethodUnsuitable, match=r"logistic-regression.*choose tabular-mlp or small-cnn"):
        fedicon().initial_state(linear)


def pictures(rows: int = 40) -> tuple[JobData, DatasetSchema]:
    schema = load_schema(IMAGES.encode(), "schema.yaml")
    generator = np.random.default_rng(1)
    kinds = np.array(["down", "across", "both"], dtype=object)[np.arange(rows) % 3]
    frame = pd.DataFrame({"age": np.full(rows, 40.0), "kind": kinds})
    images = generator.random((rows, 8, 8)).astype(np.float32)
    names = tuple(f"r{number}" for number in range(rows))
    data = LocalData(schema=schema, frame=frame, record_ids=names, images={"image": images})
    return JobData(training=data, held_out=data), schema


def picture_plan(plan: Plan, schema: DatasetSchema, *features: str) -> Plan:
    changed = {
        "features": features,
        "target": "kind",
        "dataset": "stripes",
        "learner": LearnerChoice(name="small-cnn", settings=CNN),
    }
    job = plan.job.model_copy(update=changed)
    count = len(features) - 1
    published = {"statistics": {"mean": np.zeros(count), "scale": np.ones(count)}}
    return stage_plan(job, schema, programme(job)[1], published=published)


def test_statistics_can_stay_at_the_node(plan: Plan) -> None:
    data, schema = pictures()
    now = picture_plan(plan, schema, "image")
    method = fedicon(projection=4, local_statistics=True)
    state = method.initial_state(now)
    assert not any("running" in name for name in method.broadcast(now, state))
    first = part_of(method, now, state, data, {})
    assert first.local_state is not None
    own = group_of("own", first.local_state)
    assert own.keys() == {"norm0.running_mean", "norm0.running_var"}
    assert own["norm0.running_mean"].any()
    model = method.node_model(method.export(now, state), first.local_state)
    assert np.array_equal(model["norm0.running_mean"], own["norm0.running_mean"])
    further = part_of(method, now, state, data, first.local_state).local_state
    assert further is not None
    assert not np.array_equal(further["own/norm0.running_mean"], own["norm0.running_mean"])


def test_an_image_among_other_columns_is_refused(plan: Plan) -> None:
    _, schema = pictures()
    with pytest.raises(MethodUnsuitable, match="one image column alone"):
        fedicon().recipe(picture_plan(plan, schema, "age", "image"))
    assert fedicon().recipe(picture_plan(plan, schema, "image")).image == (1, 8, 8)


def test_adaptation_uses_the_projection_head_that_the_node_kept(
    plan: Plan, split_hospitals: dict[str, JobData]
) -> None:
    method, data = fedicon(projection=4), split_hospitals["cleveland"]
    state = method.initial_state(plan)
    model, inputs = method.export(plan, state), plan.examples(data.training).inputs
    head = {name: value for name, value in group_of("model", state).items() if name not in model}
    bare = NodeContext(plan=plan, broadcast={}, data=data, seed=1)
    with_head = replace(bare, local_state=grouped("projection", head))
    one, two = (method.adapted_model(context, model, inputs)["layer0.weight"] for context in (bare, with_head))
    assert not np.array_equal(one, two)
