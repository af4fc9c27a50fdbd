"""The baselines against what their papers say of them, on problems whose optimum is known, and by hand.

The quadratics are the decisive check: with nodes that differ, averaging is biased by local steps; control variates and
dynamic regularisation are not.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedseal.learning import FitRequest, JobData, NamedTensors, make_learner
from fedseal.methods import (
    CohortSum,
    MethodUnsuitable,
    NodeContext,
    contribute,
    make_method,
    run_in_process,
    stage_plan,
)
from fedseal.methods.fednova import accumulated
from fedseal.methods.programme import programme
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument, LearnerChoice, MethodChoice
from fedseal_governance.vocabulary import Setting
from tests.unit.methods.quadratics import Federation, federation

JOB = b"""
job: quadratics
version: 1
purpose: "DUO:0000006"
dataset: quadratics
kind: training
method: {name: fedavg, rounds: 400}
learner: {name: tabular-mlp}
features: [problem]
target: number
evaluation: {holdout: 0.3}
protection: masking
disclosure: SUM
nodes: [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9]
minimum_cohort: 3
weights: {maximum_rows: 1}
"""
WIDE = {"clip": 100.0}


@pytest.fixture(scope="module")
def equal() -> Federation:
    return federation(JOB)


@pytest.fixture(scope="module")
def unequal() -> Federation:
    return federation(JOB, steps=tuple(range(2, 33, 3))[:10], rate=0.03)


def distance(where: Federation, name: str, settings: dict[str, object] | None = None, **kind: Any) -> float:
    method = make_method(name, {**WIDE, **(settings or {})})
    return where.distance(where.run(method, rounds=400, **kind))


def test_averaging_is_biased_by_local_steps(equal: Federation) -> None:
    assert distance(equal, "fedavg") > 0.1
    assert distance(equal, "fedprox", {"proximal": 0.5}) < distance(equal, "fedavg")


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_scaffold_reaches_the_optimum_whoever_takes_part(equal: Federation, unequal: Federation, share: float) -> None:
    for where in (equal, unequal):
        assert distance(where, "scaffold", {"control_clip": 100.0}, share=share) < 1e-6


def test_feddyn_reaches_the_optimum(equal: Federation, unequal: Federation) -> None:
    assert distance(equal, "feddyn", {"strength": 1.0}) < 1e-6
    assert distance(equal, "feddyn", {"strength": 1.0}, share=0.5) < 1e-6
    assert distance(unequal, "feddyn", {"strength": 1.0}) < 1e-6


def test_fednova_removes_the_bias_of_unequal_steps_and_is_fedavg_with_equal_ones(
    equal: Federation, unequal: Federation
) -> None:
    assert distance(unequal, "fednova") <= 0.6 * distance(unequal, "fedavg")
    assert distance(unequal, "fednova") < distance(equal, "fedavg")
    plain = equal.run(make_method("fedavg", WIDE), rounds=5)
    np.testing.assert_allclose(equal.run(make_method("fednova", WIDE), rounds=5), plain, rtol=1e-5)


def test_fedprox_without_pull_is_fedavg(equal: Federation) -> None:
    plain = equal.run(make_method("fedavg", WIDE), rounds=5)
    np.testing.assert_array_equal(equal.run(make_method("fedprox", {**WIDE, "proximal": 0}), rounds=5), plain)


def test_accumulated_steps_of_momentum_are_the_sum_of_its_counters() -> None:
    for momentum in (0.0, 0.5, 0.9):
        counter = norm = 0.0
        for _ in range(7):
            counter = momentum * counter + 1
            norm += counter
        assert accumulated(7, momentum) == pytest.approx(norm)


def by_hand(name: str, settings: dict[str, object], updates: list[float]) -> list[float]:
    """x after each round of one node and one coordinate, when the mean updates are ``updates``."""
    where = federation(JOB, count=1)
    method = make_method(name, settings)
    state: NamedTensors = method.initial_state(where.plan)
    found = []
    for update in updates:
        values = {spec.name: np.zeros(spec.length) for spec in method.vectors(where.plan)}
        values["update"][0] = update
        values["weight"][0] = 1.0
        state = method.aggregate(where.plan, state, CohortSum(values=values, cohort=1))
        found.append(float(state["model/x"][0]))
    return found


def test_server_optimisers_by_hand() -> None:
    """D = 1, then D = -1/2. FedAvgM: v = 1, then 0.9 - 0.5 = 0.4. Adam: m = .1, then .04; v = .99 t + .01, then
    .99 v + .0025, with t = tau^2. Adagrad: v = t + 1, then t + 1.25. Yogi: v = t + .01 (v < D^2), then
    v + .01 * .25 (v < D^2 still).
    """
    assert by_hand("fedavgm", {}, [1.0, -0.5]) == pytest.approx([1.0, 1.4])
    tau, rate = 1e-3, 0.01
    t = tau**2

    def step(first: float, second: float) -> float:
        return rate * first / (float(np.sqrt(second)) + tau)

    adam = [step(0.1, 0.99 * t + 0.01)]
    adam.append(adam[0] + step(0.9 * 0.1 - 0.1 * 0.5, 0.99 * (0.99 * t + 0.01) + 0.01 * 0.25))
    assert by_hand("fedadam", {}, [1.0, -0.5]) == pytest.approx(adam)
    yogi = [step(0.1, t + 0.01)]
    yogi.append(yogi[0] + step(0.04, t + 0.01 + 0.01 * 0.25))
    assert by_hand("fedyogi", {}, [1.0, -0.5]) == pytest.approx(yogi)
    adagrad = [step(1.0, t + 1.0)]
    adagrad.append(adagrad[0] + step(-0.5, t + 1.25))
    assert by_hand("fedadagrad", {}, [1.0, -0.5]) == pytest.approx(adagrad)


def test_scaffolds_first_round_by_hand() -> None:
    """One node, one step of rate 0.1 from x = 0: y = 0.1 A b, so c_1 = (w - y) / 0.1 = -A b, and c = c_1 / 10."""
    where = federation(JOB, steps=(1,), count=1)
    method = make_method("scaffold", {**WIDE, "control_clip": 100.0})
    state = method.initial_state(where.plan)
    context = NodeContext(plan=where.plan, broadcast=method.broadcast(where.plan, state), data=where.nodes[0])
    part = contribute(method, context)
    gradient = part.values["update"] / 0.1
    np.testing.assert_allclose(part.values["control"], -gradient, rtol=1e-9)
    assert part.local_state is not None
    np.testing.assert_allclose(part.local_state["control/x"], -gradient, rtol=1e-9)
    after = method.aggregate(where.plan, state, CohortSum(values=part.values, cohort=1))
    np.testing.assert_allclose(after["control/x"], -gradient / 10, rtol=1e-9)


METHODS = (
    "fedavg",
    "fedavgm",
    "fedadagrad",
    "fedadam",
    "fedyogi",
    "fedprox",
    "scaffold",
    "feddyn",
    "fednova",
    "ditto",
    "fedper",
    "fedrep",
)

COMPRESSED = ("fedavg-quantised", "fedavg-subspace", "sign-vote")

COARSE = {"fedadam": 2e-4, "fedyogi": 2e-4, "fedadagrad": 2e-4, "fednova": 5e-4}


def job_with(job: JobDocument, method: str, rounds: int = 3, **settings: Setting) -> JobDocument:
    assert job.learner is not None
    plain = {key: value for key, value in job.learner.settings.items() if key != "momentum"}
    learner = LearnerChoice(name="tabular-mlp", settings=plain)
    choice = MethodChoice(name=method, rounds=rounds, settings=settings)
    return job.model_copy(update={"method": choice, "learner": learner})


@pytest.mark.parametrize("name", [*METHODS, *COMPRESSED])
def test_plain_and_encoded_sums_give_the_same_model(
    name: str, heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    """Up to the resolution, which adaptive optimisers divide by tau and normalised averaging multiplies by steps."""
    job = job_with(heart_job, name)
    plain = run_in_process(job, heart_schema, split_hospitals).published["training"]
    encoded = run_in_process(job, heart_schema, split_hospitals, encode=True).published["training"]
    for tensor, value in plain.items():
        np.testing.assert_allclose(encoded[tensor], value, atol=COARSE.get(name, 2e-5))


@pytest.mark.parametrize("name", [*METHODS, *COMPRESSED, "fedavg-sketch", "evofed"])
def test_every_vector_of_every_method_is_named_in_its_statement(
    name: str, heart_job: JobDocument, heart_schema: DatasetSchema
) -> None:
    job = job_with(heart_job, name)
    stage = programme(job)[1]
    plan = stage_plan(job, heart_schema, stage)
    statement = stage.method.statement
    named = {quantity.name for quantity in statement.quantities if quantity.party == "coordinator"}
    assert {spec.name for spec in stage.method.vectors(plan)} == named


def test_scaffold_refuses_momentum(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    job = job_with(heart_job, "scaffold")
    assert heart_job.learner is not None
    with pytest.raises(MethodUnsuitable, match="set the learner's momentum to 0"):
        run_in_process(job.model_copy(update={"learner": heart_job.learner}), heart_schema, split_hospitals)


def personal_run(
    name: str, job: JobDocument, schema: DatasetSchema, nodes: dict[str, JobData]
) -> tuple[NamedTensors, dict[str, NamedTensors]]:
    job = job_with(job, name, rounds=4)
    run = run_in_process(job, schema, nodes)
    return run.published["training"], dict(run.local_states)


def test_heads_stay_at_their_nodes(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    for name in ("fedper", "fedrep"):
        model, own = personal_run(name, heart_job, heart_schema, split_hospitals)
        method = make_method(name, {})
        heads = [own[node]["personal/layer1.weight"] for node in sorted(own)]
        assert len({head.tobytes() for head in heads}) == len(split_hospitals)
        learner = make_learner("tabular-mlp", job_with(heart_job, name).learner.settings)  # type: ignore[union-attr]
        width = model["layer0.weight"].shape[1]
        np.testing.assert_array_equal(
            model["layer1.weight"], learner.initial_parameters(width, heart_job.seed)["layer1.weight"]
        )
        joined = method.node_model(model, own["hungary"])
        np.testing.assert_array_equal(joined["layer1.weight"], own["hungary"]["personal/layer1.weight"])
        np.testing.assert_array_equal(joined["layer0.weight"], model["layer0.weight"])


def test_dittos_personal_model_follows_the_common_one_the_closer_the_stronger_the_pull(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    def gap(pull: float) -> float:
        run = run_in_process(job_with(heart_job, "ditto", 4, pull=pull), heart_schema, split_hospitals)
        common = run.published["training"]
        own = run.local_states["hungary"]
        return float(sum(np.abs(own[f"personal/{name}"] - value).sum() for name, value in common.items()))

    assert gap(5.0) < gap(0.0)


def test_fedbn_needs_normalisation_layers(heart_job: JobDocument, heart_schema: DatasetSchema) -> None:
    job = job_with(heart_job, "fedbn")
    stage = programme(job)[1]
    with pytest.raises(MethodUnsuitable, match="does not fit this learner, which has no layers of the kind"):
        stage.method.vectors(stage_plan(job, heart_schema, stage))


def test_frozen_tensors_do_not_move_even_under_weight_decay() -> None:
    from fedseal.learning import Examples
    from fedseal.methods.personal_layers import frozen

    learner = make_learner("tabular-mlp", {"momentum": 0.9, "weight_decay": 0.1})
    start = learner.initial_parameters(3, 1)
    rows: NDArray[np.float32] = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    examples = Examples(inputs=rows, labels=(rows[:, 0] > 0).astype(np.float64))
    request = FitRequest(
        parameters=start,
        examples=examples,
        epochs=2,
        seed=1,
        correct_gradients=frozen(["layer0.weight", "layer0.bias"]),
    )
    after = learner.fit(request).parameters
    np.testing.assert_array_equal(after["layer0.weight"], start["layer0.weight"])
    assert not np.array_equal(after["layer1.weight"], start["layer1.weight"])
