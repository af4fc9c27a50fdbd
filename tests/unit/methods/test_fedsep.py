"""FedSep: hypergradients against differences, training through the decoder, smaller models of weak nodes, refusals."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedseal.errors import PeerFault
from fedseal.learning import JobData, NamedTensors, SettingsRefused
from fedseal.learning.tensors import flatten, group_of, size_of, unflatten
from fedseal.methods import (
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
from fedseal.methods.fedsep import FedSep
from fedseal.methods.programme import programme
from fedseal.methods.separation import (
    Estimator,
    Floats,
    Hashed,
    Tracker,
    by_conjugate_gradients,
    by_neumann,
    corner,
    estimator,
    hashed,
    padded,
    support,
    thresholded,
)
from fedseal.methods.sums import encoded_sum, plain_sum
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument, LearnerChoice
from fedseal_governance.vocabulary import Protection
from tests.unit.methods.quadratics import Quadratic, QuadraticSettings, decoded, federation
from tests.unit.methods.test_baselines import JOB, job_with

SIZE, FEW, RIDGE = 17, 5, 0.7
WEAK = ("hungary",)


def fedsep(**changes: Any) -> FedSep:
    made = make_method("fedsep", changes)
    assert isinstance(made, FedSep)
    return made


def random(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape)


def quadratic(seed: int = 1) -> tuple[Callable[[Floats], float], Callable[[Floats], Floats]]:
    """f(y) = 1/2 y'Qy - b'y and its gradient."""
    root, b = random(SIZE, SIZE, seed=seed), random(SIZE, seed=seed + 1)
    q = root @ root.T / SIZE
    return (lambda y: float(y @ q @ y / 2 - b @ y)), (lambda y: np.asarray(q @ y - b))


def by_differences(problem: Hashed, anchor: Floats, x: Floats, value: Callable[[Floats], float]) -> Floats:
    """Central differences of h(x) = f(y(x))."""
    step, found = 1e-5, np.zeros(FEW)
    for i in range(FEW):
        move = np.zeros(FEW)
        move[i] = step
        found[i] = value(problem.decode(x + move, anchor)) - value(problem.decode(x - move, anchor))
    return found / (2 * step)


@pytest.mark.parametrize("name", ["closed-form", "conjugate-gradients", "neumann", "tracking"])
def test_every_estimator_agrees_with_finite_differences(name: Estimator) -> None:
    problem = hashed(FEW, SIZE, RIDGE, "test")
    value, gradient = quadratic()
    anchor, x = random(SIZE, seed=3), random(FEW, seed=4)
    expected = by_differences(problem, anchor, x, value)
    estimate = estimator(name, problem, 200)
    told = gradient(problem.decode(x, anchor))
    found = estimate(told)
    for _ in range(200 if name == "tracking" else 0):
        found = estimate(told)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_few_steps_of_an_estimator_are_not_enough_or_exact_as_theory_says() -> None:
    """S'S + beta has one eigenvalue for each size of bucket, and beta: so conjugate gradients end after three steps."""
    problem = hashed(FEW, SIZE, RIDGE, "test")
    told = random(SIZE, seed=5)
    exact = problem.encode(told)
    np.testing.assert_allclose(by_conjugate_gradients(problem, told, 3), exact, atol=1e-9)
    assert not np.allclose(by_conjugate_gradients(problem, told, 1), exact, atol=1e-3)
    errors = [float(np.linalg.norm(by_neumann(problem, told, steps) - exact)) for steps in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert not by_conjugate_gradients(problem, np.zeros(SIZE), 3).any()
    assert Tracker(problem)(told).shape == (FEW,)


def test_the_decoder_is_the_minimiser() -> None:
    problem = hashed(FEW, SIZE, RIDGE, "test")
    anchor, x = random(SIZE, seed=6), random(FEW, seed=7)
    y = problem.decode(x, anchor)
    slope = problem.spread(problem.measure(y) - x) + RIDGE * (y - anchor)
    np.testing.assert_allclose(slope, 0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 60), share=st.floats(0.01, 1), seed=st.integers(0, 1000))
def test_measure_and_spread_are_adjoint_and_buckets_equal(size: int, share: float, seed: int) -> None:
    problem = hashed(max(1, round(share * size)), size, 0.0, seed)
    y, x = random(size, seed=seed), random(problem.dimension, seed=seed + 1)
    assert problem.measure(y) @ x == pytest.approx(y @ problem.spread(x), abs=1e-9)
    assert problem.counts.max() - problem.counts.min() <= 1 <= problem.counts.min()
    np.testing.assert_allclose(problem.measure(problem.spread(x)), problem.counts * x)
    projected = problem.model_step(problem.encode(y))
    np.testing.assert_allclose(problem.model_step(problem.encode(projected)), projected, atol=1e-9)


def test_supports_and_thresholds_by_hand() -> None:
    tensor = np.array([[3.0, -1.0], [2.0, -2.0]], dtype=np.float32)
    np.testing.assert_array_equal(support(tensor, 0.5), [[1, 0], [1, 0]])
    np.testing.assert_array_equal(thresholded(tensor, 0.75, shrink=False), [[3, 0], [2, -2]])
    np.testing.assert_array_equal(thresholded(tensor, 0.75, shrink=True), [[2, 0], [1, -1]])
    small = corner({"a": tensor}, {"a": (1, 2)})
    np.testing.assert_array_equal(small["a"], [[3, -1]])
    np.testing.assert_array_equal(padded(small, {"a": (2, 2)})["a"], [[3, -1], [0, 0]])


def test_training_through_the_decoder_is_descent_in_the_common_space() -> None:
    """Ten steps of rate 0.1 on one quadratic: x by hand, with a ridge; the message is S (y - y0) / counts."""
    where = federation(JOB, steps=(10,), count=1)
    method = fedsep(dimension=6, anchor="fixed", ridge=RIDGE, clip=100.0)
    problem = method.measurement(where.plan)
    broadcast = method.broadcast(where.plan, method.initial_state(where.plan))
    assert {name: value.shape for name, value in broadcast.items()} == {"common": (6,)}
    part = contribute(method, NodeContext(plan=where.plan, broadcast=broadcast, data=where.nodes[0], seed=1))
    curvature, centre = decoded(where.plan.examples(where.nodes[0].training).inputs[0])
    x, anchor = np.zeros(6), np.zeros(20)
    for _ in range(10):
        y = problem.decode(x, anchor)
        x = x - 0.1 * problem.counts * problem.encode(curvature * (y - centre))
    y = problem.decode(x, anchor)
    np.testing.assert_allclose(part.values["update"], problem.measure(y) / problem.counts, atol=1e-6)
    np.testing.assert_allclose(problem.spread(part.values["update"]), y, atol=1e-6)


def test_compressing_afterwards_projects_the_whole_change() -> None:
    where = federation(JOB, steps=(10,), count=1)
    method = fedsep(dimension=6, through_decoder=False, clip=100.0)
    learner = Quadratic(QuadraticSettings())
    problem = method.measurement(where.plan)
    broadcast = method.broadcast(where.plan, method.initial_state(where.plan))
    part = contribute(method, NodeContext(plan=where.plan, broadcast=broadcast, data=where.nodes[0], seed=1))
    curvature, centre = decoded(where.plan.examples(where.nodes[0].training).inputs[0])
    x = np.zeros(20)
    for _ in range(10):
        x = x - learner.settings.rate * curvature * (x - centre)
    np.testing.assert_allclose(part.values["update"], problem.measure(x) / problem.counts, atol=1e-6)


def test_through_the_decoder_reaches_the_best_model_of_its_space() -> None:
    """One node, S fixed: the least of f over the decodable models; compressing afterwards ends elsewhere."""
    where = federation(JOB, steps=(10,), count=1)
    problem = fedsep(dimension=6, anchor="fixed").measurement(where.plan)
    curvature, centre = decoded(where.plan.examples(where.nodes[0].training).inputs[0])
    basis = np.stack([problem.spread(row) for row in np.eye(6)], axis=1)
    best = basis @ np.linalg.solve(basis.T @ (curvature[:, None] * basis), basis.T @ (curvature * centre))
    common = {"dimension": 6, "anchor": "fixed", "clip": 100.0}
    through = where.run(fedsep(**common), rounds=60)
    afterwards = where.run(fedsep(**common, through_decoder=False), rounds=60)
    np.testing.assert_allclose(through, best, atol=1e-4)
    assert np.linalg.norm(afterwards - best) > 0.1


def test_moving_the_anchor_reaches_the_optimum_that_a_fixed_one_cannot() -> None:
    where = federation(JOB, steps=(1,), count=3)
    common = {"dimension": 6, "clip": 100.0}
    moving = where.distance(where.run(fedsep(**common), rounds=300))
    fixed = where.distance(where.run(fedsep(**common, anchor="fixed"), rounds=300))
    assert moving < 1e-3
    assert fixed > 0.1


def test_all_parties_decode_the_same_model_from_the_same_numbers() -> None:
    where = federation(JOB, count=3)
    method = fedsep(dimension=6, anchor="fixed", clip=100.0)
    state, plan = method.initial_state(where.plan), where.plan
    for index in range(3):
        plan = where.plan.for_round(index)
        broadcast = method.broadcast(plan, state)
        model = method.start(plan, broadcast)
        np.testing.assert_array_equal(model["x"], method.export(plan, state)["x"])
        parts = [contribute(method, NodeContext(plan=plan, broadcast=broadcast, data=node)) for node in where.nodes]
        values = plain_sum(method.vectors(plan), (part.values for part in parts))
        state = method.aggregate(plan, state, CohortSum(values=values, cohort=3))
    other = replace(plan, job=plan.job.model_copy(update={"seed": plan.job.seed + 1}))
    assert not np.array_equal(fedsep(dimension=6).measurement(other).signs, fedsep(dimension=6).measurement(plan).signs)


def heart_plan(
    job: JobDocument, schema: DatasetSchema, hospitals: dict[str, JobData], **changes: Any
) -> tuple[FedSep, Plan]:
    # One weak node of four: its rows may be summed by themselves only where nothing is hidden anyway.
    open_job = {"protection": Protection.NONE} if changes.get("divide_by") == "holders" else {}
    made = job_with(job, "fedsep", 3, **changes).model_copy(update={"minimum_cohort": 4, **open_job})
    stages = programme(made)
    run = run_in_process(made.model_copy(update={"method": None}), schema, hospitals)
    assert isinstance(stages[1].method, FedSep)
    return stages[1].method, stage_plan(made, schema, stages[1], published=run.published)


def parts_of(method: FedSep, plan: Plan, state: NamedTensors, nodes: dict[str, JobData]) -> dict[str, Contribution]:
    broadcast = method.broadcast(plan, state)
    return {
        name: contribute(method, NodeContext(plan=plan, broadcast=broadcast, data=data, seed=7, node=name))
        for name, data in nodes.items()
    }


def test_masked_words_carry_p_numbers_and_give_the_plain_sum(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    method, plan = heart_plan(heart_job, heart_schema, split_hospitals, dimension=40)
    specs = method.vectors(plan)
    assert {spec.name: spec.length for spec in specs} == {"update": 40, "weight": 1, "loss": 1, "clipped": 1}
    assert size_of(method.shared_shapes(plan)) > 400
    parts = list(parts_of(method, plan, method.initial_state(plan), split_hospitals).values())
    plain = plain_sum(specs, (part.values for part in parts))
    encoded = encoded_sum(specs, ((seed, part.values) for seed, part in enumerate(parts)), cohort=4)
    np.testing.assert_allclose(encoded["update"], plain["update"], atol=4 * method.settings.resolution)


@pytest.mark.parametrize("divide_by", ["all", "holders"])
def test_slices_of_a_weak_node(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData], divide_by: str
) -> None:
    """A narrower network trains; its changes are the leading blocks, and embedded in zeros it predicts the same."""
    chosen = {"application": "slices", "weak_nodes": WEAK, "weak_share": 0.25, "divide_by": divide_by}
    method, plan = heart_plan(heart_job, heart_schema, split_hospitals, **chosen)
    state = method.initial_state(plan)
    parts = parts_of(method, plan, state, split_hospitals)
    narrow, whole = method.narrow_learner(plan), method.shared_shapes(plan)
    shapes = narrow.parameter_shapes(plan.input_width)
    assert shapes["layer0.weight"][0] == round(0.25 * whole["layer0.weight"][0])
    held = flatten(padded({name: np.ones(shape) for name, shape in shapes.items()}, whole)) > 0
    weak = parts["hungary"]
    assert weak.values["update"][held].any()
    assert not weak.values["update"][~held].any()
    after = aggregated(method, plan, state, parts)
    check_division(method, held, plan, state, after, parts)
    assert weak.local_state is not None
    exported = method.export(plan, after)
    own = method.node_model(exported, weak.local_state)
    inputs = plan.examples(split_hospitals["hungary"].held_out).inputs
    sliced = narrow.predict(corner(exported, shapes), inputs)
    np.testing.assert_allclose(plan.require_learner().predict(own, inputs), sliced, atol=1e-6)
    assert parts["cleveland"].local_state is None
    assert method.node_model(exported, {}) is exported


@pytest.mark.parametrize("shrink", [False, True])
@pytest.mark.parametrize("divide_by", ["all", "holders"])
def test_sparse_models_of_a_weak_node(
    heart_job: JobDocument,
    heart_schema: DatasetSchema,
    split_hospitals: dict[str, JobData],
    divide_by: str,
    shrink: bool,
) -> None:
    chosen = {"application": "sparse", "weak_nodes": WEAK, "weak_share": 0.3, "divide_by": divide_by}
    method, plan = heart_plan(heart_job, heart_schema, split_hospitals, **chosen, shrink=shrink)
    state = method.initial_state(plan)
    parts = parts_of(method, plan, state, split_hospitals)
    held = flatten({name: support(value, 0.3) for name, value in method.broadcast(plan, state).items()}) > 0
    weak = parts["hungary"]
    assert weak.values["update"][held].any()
    assert not weak.values["update"][~held].any()
    after = aggregated(method, plan, state, parts)
    check_division(method, held, plan, state, after, parts)
    assert weak.local_state is not None
    own = method.node_model(method.export(plan, after), weak.local_state)
    assert np.count_nonzero(own["layer0.weight"]) <= np.ceil(0.3 * own["layer0.weight"].size)


def aggregated(method: FedSep, plan: Plan, state: NamedTensors, parts: dict[str, Contribution]) -> NamedTensors:
    values = plain_sum(method.vectors(plan), (part.values for part in parts.values()))
    return method.aggregate(plan, state, CohortSum(values=values, cohort=len(parts)))


def check_division(
    method: FedSep,
    held: NDArray[np.bool_],
    plan: Plan,
    state: NamedTensors,
    after: NamedTensors,
    parts: dict[str, Contribution],
) -> None:
    """A number's change is the sum over all rows, or over the rows of those who hold it."""
    summed = np.sum([part.values["update"] for part in parts.values()], axis=0) * plan.maximum_rows
    rows = {name: float(part.values["weight"][0]) for name, part in parts.items()}
    strong = sum(count for name, count in rows.items() if name not in WEAK)
    others = strong if method.settings.divide_by == "holders" else sum(rows.values())
    expected = summed / np.where(held, sum(rows.values()), others)
    moved = flatten(group_of("model", after)) - flatten(group_of("model", state))
    np.testing.assert_allclose(moved, expected, atol=1e-9)


def test_impossible_sums_of_weak_rows_are_refused(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    chosen = {"application": "sparse", "weak_nodes": WEAK, "divide_by": "holders"}
    method, plan = heart_plan(heart_job, heart_schema, split_hospitals, **chosen)
    state = method.initial_state(plan)
    parts = parts_of(method, plan, state, split_hospitals)
    values = dict(plain_sum(method.vectors(plan), (part.values for part in parts.values())))
    values["weak_weight"] = values["weight"] + 1
    with pytest.raises(PeerFault, match="which is impossible"):
        method.aggregate(plan, state, CohortSum(values=values, cohort=4))


def test_few_strong_nodes_would_be_seen_and_are_refused(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    chosen = {"application": "slices", "weak_nodes": WEAK}
    method, plan = heart_plan(heart_job, heart_schema, split_hospitals, **chosen)
    state, lower = method.initial_state(plan), plan.job.model_copy(update={"minimum_cohort": 3})
    careless = replace(plan, job=lower)
    with pytest.raises(MethodUnsuitable, match=r"A cohort of 3 could hold 2 .* raise minimum_cohort to 4"):
        method.initial_state(careless)
    with pytest.raises(MethodUnsuitable, match="raise minimum_cohort to 4"):
        parts_of(method, careless, state, split_hospitals)


def test_rows_of_few_weak_nodes_would_be_seen_and_are_refused(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    chosen = {"application": "sparse", "weak_nodes": WEAK, "divide_by": "holders"}
    method, plan = heart_plan(heart_job, heart_schema, split_hospitals, **chosen)
    state = method.initial_state(plan)
    masked = replace(plan, job=plan.job.model_copy(update={"protection": Protection.MASKING}))
    with pytest.raises(MethodUnsuitable, match="a cohort of 4 could hold 1 of them"):
        method.initial_state(masked)
    with pytest.raises(MethodUnsuitable, match="write divide_by: all"):
        parts_of(method, masked, state, split_hospitals)
    six = ("one", "two", "three", *WEAK, "five", "six")
    enough = FedSep(settings=method.settings.model_copy(update={"weak_nodes": (*WEAK, "five", "six")}))
    job = masked.job.model_copy(update={"nodes": six, "minimum_cohort": 6})
    assert enough.initial_state(replace(masked, job=job)).keys() == state.keys()


def test_what_cannot_work_is_refused_by_name(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    method, plan = heart_plan(heart_job, heart_schema, split_hospitals, dimension=10_000)
    assert method.dimension(plan) == size_of(method.shared_shapes(plan))
    chosen = {"application": "slices", "weak_nodes": WEAK}
    stranger = fedsep(application="slices", weak_nodes=("nowhere",))
    with pytest.raises(MethodUnsuitable, match="nowhere"):
        stranger.initial_state(plan)
    linear = plan.job.model_copy(update={"learner": LearnerChoice(name="logistic-regression")})
    with pytest.raises(MethodUnsuitable, match="can be narrowed"):
        fedsep(**chosen).initial_state(stage_plan(linear, plan.schema, programme(linear)[1], published=plan.published))
    for wrong in ({"weak_nodes": WEAK}, {"application": "sparse"}, {"divide_by": "holders"}, {"estimator": "neumann"}):
        with pytest.raises(SettingsRefused):
            fedsep(**wrong)


@pytest.mark.parametrize("anchor", ["moving", "fixed"])
def test_hospitals_learn_from_a_tenth_of_the_numbers(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData], anchor: str
) -> None:
    job = job_with(heart_job, "fedsep", 12, dimension=60, anchor=anchor, local_epochs=5)
    run = run_in_process(job, heart_schema, split_hospitals, encode=True)
    assert run.rounds[-1].summary["auc"] > 0.8
    losses = [report.summary["loss"] for report in run.rounds if report.stage == "training"]
    assert losses[-1] < losses[0]


def test_unflatten_of_a_step_keeps_names() -> None:
    problem = hashed(2, 4, 0.0, "names")
    shapes = {"b": (2,), "a": (2,)}
    stepped = unflatten(problem.model_step(problem.encode(np.arange(4.0))), shapes)
    assert stepped.keys() == shapes.keys()
