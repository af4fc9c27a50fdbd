"""Compressed updates: which of them add up, what rounding does on average, what error feedback keeps.

`LINEAR` are the methods whose messages may be added under a secure sum; `INDIVIDUAL` those of which this is false,
with a counter-example, so that they may only run where the coordinator sees single contributions.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedseal.learning import JobData
from fedseal.methods import (
    CohortSum,
    IndividualMethod,
    MethodUnsuitable,
    NodeContext,
    contribute,
    make_method,
    programme,
    run_in_process,
)
from fedseal.methods.compression import Compressed
from fedseal.methods.quantised import FedAvgQuantised, QuantisedSettings
from fedseal.methods.sketch import CountSketch
from fedseal.simulation.engine import simulate
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.experiment import load_experiment
from fedseal.simulation.setting import make_setting
from fedseal.simulation.sources import load_source
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument, LearnerChoice, MethodChoice
from fedseal_governance.vocabulary import Disclosure, Protection
from tests.unit.methods.quadratics import DIMENSION, Federation, federation
from tests.unit.methods.test_baselines import JOB

Floats = NDArray[np.float64]
LINEAR: tuple[tuple[str, dict[str, object]], ...] = (
    ("fedavg-subspace", {"kind": "coordinates", "dimension": 7, "clip": 1e6}),
    ("fedavg-subspace", {"kind": "hashed", "dimension": 7, "clip": 1e6}),
    ("fedavg-subspace", {"kind": "hashed", "dimension": 7, "clip": 1e6, "error_feedback": False}),
)
INDIVIDUAL = ("fedavg-topk", "fedavg-sign")
HEART = Path(__file__).parents[3] / "examples" / "heart-disease"
EXPERIMENT = """
experiment: topk
seeds: [1]
data:
  source: files
  schema_file: schema.yaml
  files: {cleveland: cleveland.csv, hungary: hungary.csv, switzerland: switzerland.csv}
  features: [age, sex, trestbps]
partition: {kind: natural}
method: {name: fedavg-topk, rounds: 2, settings: {top: 20}}
learner: {name: tabular-mlp, settings: {hidden_width: 8}}
protection: none
"""
numbers = st.lists(st.floats(-10, 10, width=32), min_size=DIMENSION, max_size=DIMENSION).map(np.array)


@pytest.fixture(scope="module")
def where() -> Federation:
    return federation(JOB)


def compressed(name: str, chosen: Mapping[str, object]) -> Compressed:
    return cast("Compressed", make_method(name, chosen))


@pytest.mark.parametrize(("name", "chosen"), LINEAR)
@settings(max_examples=30, deadline=None)
@given(one=numbers, two=numbers)
def test_messages_of_linear_methods_add_up(
    where: Federation, name: str, chosen: dict[str, object], one: Floats, two: Floats
) -> None:
    method = compressed(name, chosen)
    parts = [method.compress(where.plan, update, 1).values["projection"] for update in (one, two, one + two)]
    np.testing.assert_allclose(parts[0] + parts[1], parts[2], atol=1e-9)
    whole = method.expand(where.plan, {"projection": parts[0] + parts[1]})
    single = [method.expand(where.plan, {"projection": part}) for part in parts[:2]]
    np.testing.assert_allclose(whole, single[0] + single[1], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(one=numbers, two=numbers)
def test_count_sketches_add_up(one: Floats, two: Floats) -> None:
    sketch = CountSketch.draw(3, size=DIMENSION, rows=3, columns=8)
    np.testing.assert_allclose(sketch.of(one) + sketch.of(two), sketch.of(one + two), atol=1e-9)


def test_a_sketch_gives_back_what_stands_out() -> None:
    values = np.random.default_rng(1).normal(scale=0.01, size=2000)
    values[[5, 700, 1999]] = (3.0, -2.0, 1.5)
    estimate = CountSketch.draw(1, size=2000, rows=5, columns=300).estimate(
        CountSketch.draw(1, size=2000, rows=5, columns=300).of(values)
    )
    assert set(np.argsort(-np.abs(estimate))[:3]) == {5, 700, 1999}
    np.testing.assert_allclose(estimate[[5, 700, 1999]], values[[5, 700, 1999]], atol=0.1)


@settings(max_examples=30, deadline=None)
@given(one=numbers, two=numbers, bits=st.integers(2, 12))
def test_summed_levels_stand_for_the_sum_of_what_each_stood_for(
    where: Federation, one: Floats, two: Floats, bits: int
) -> None:
    """Rounding is not linear, but levels on a common grid decode exactly when added."""
    method = compressed("fedavg-quantised", {"bits": bits, "clip": 10.0})
    parts = [method.compress(where.plan, update, seed).values for seed, update in enumerate((one, two))]
    for part in parts:
        np.testing.assert_array_equal(part["levels"], np.rint(part["levels"]))
        assert np.abs(part["levels"]).max() <= method.update_vectors(where.plan)[0].bound
    added = {"levels": parts[0]["levels"] + parts[1]["levels"]}
    np.testing.assert_allclose(
        method.expand(where.plan, added), sum(method.expand(where.plan, part) for part in parts), atol=1e-9
    )


@pytest.mark.parametrize("name", INDIVIDUAL)
def test_messages_of_the_others_do_not_add_up(where: Federation, name: str) -> None:
    method = compressed(name, {"top": 1} if name == "fedavg-topk" else {})
    one, two = np.zeros(DIMENSION), np.zeros(DIMENSION)
    one[3], two[5] = 1.0, -0.5
    parts = [method.compress(where.plan, update, 1).values for update in (one, two)]
    truth = method.expand(where.plan, parts[0]) + method.expand(where.plan, parts[1])
    added = {key: parts[0][key] + parts[1][key] for key in parts[0]}
    assert np.abs(method.expand(where.plan, added) - truth).max() > 0.01
    assert make_method(name, {}).statement.level is Disclosure.INDIVIDUAL


def test_rounding_is_right_on_average(where: Federation) -> None:
    """Over 10^4 draws, to within four standard errors of a step's uniform fraction."""
    method = FedAvgQuantised(QuantisedSettings(bits=3, clip=1.0))
    update = np.linspace(-1, 1, DIMENSION)
    draws = np.mean(
        [method.expand(where.plan, method.compress(where.plan, update, seed).values) for seed in range(10_000)], axis=0
    )
    step = 1 / 3
    np.testing.assert_allclose(draws, update, atol=4 * step / 2 / np.sqrt(10_000))


def test_unscaled_projections_contract_and_scaled_ones_are_right_on_average(where: Federation) -> None:
    update = np.random.default_rng(5).normal(size=DIMENSION)
    for kind in ("coordinates", "hashed"):
        plain = compressed("fedavg-subspace", {"kind": kind, "dimension": 5, "clip": 100.0})
        scaled = compressed("fedavg-subspace", {"kind": kind, "dimension": 5, "clip": 100.0, "error_feedback": False})
        total = np.zeros(DIMENSION)
        for index in range(2000):
            plan = where.plan.for_round(index)
            once = plain.expand(plan, plain.compress(plan, update, 0).values)
            again = plain.expand(plan, plain.compress(plan, once, 0).values)
            np.testing.assert_allclose(again, once, atol=1e-9)  # a projection
            total += scaled.expand(plan, scaled.compress(plan, update, 0).values)
        np.testing.assert_allclose(total / 2000, update, atol=0.35)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("fedavg-quantised", {"bits": 3, "clip": 2.0}),
        ("fedavg-subspace", {"dimension": 5, "clip": 100.0}),
        ("fedavg-subspace", {"dimension": 5, "clip": 100.0, "kind": "coordinates"}),
        ("fedavg-topk", {"top": 5, "clip": 100.0}),
        ("fedavg-sign", {"clip": 100.0}),
    ],
)
def test_residuals_stay_bounded(where: Federation, name: str, chosen: dict[str, object]) -> None:
    """Of constant updates, over 300 rounds; and what was sent plus what is left is all that was given."""
    method = compressed(name, chosen)
    update = np.random.default_rng(2).normal(size=DIMENSION)
    residual, sent, norms = np.zeros(DIMENSION), np.zeros(DIMENSION), []
    for index in range(300):
        plan = where.plan.for_round(index)
        out = method.expand(plan, method.compress(plan, update + residual, index).values)
        residual, sent = update + residual - out, sent + out
        norms.append(np.linalg.norm(residual))
    np.testing.assert_allclose(sent + residual, 300 * update, atol=1e-8)
    assert max(norms[150:]) < 2 * max(norms[:150])
    assert max(norms) < 40 * np.linalg.norm(update)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("fedavg-quantised", {"bits": 4, "clip": 4.0}),
        ("fedavg-subspace", {"dimension": 10, "server_rate": 0.2}),
        ("fedavg-topk", {"top": 10, "server_rate": 0.2}),
        ("fedavg-sign", {"server_rate": 0.2}),
    ],
)
def test_compressed_averaging_goes_where_averaging_goes(where: Federation, name: str, chosen: dict[str, Any]) -> None:
    """The fixed point of averaging is biased by local steps; compression adds to the bias no more than a little."""
    plain = where.run(make_method("fedavg", {"clip": 100.0}), rounds=150)
    found = where.run(make_method(name, {"clip": 100.0, **chosen}), rounds=150)
    assert np.linalg.norm(found - plain) < 0.25 * np.linalg.norm(where.optimum)


def test_a_sketch_that_is_wide_enough_finds_what_averaging_finds(where: Federation) -> None:
    plain = where.run(make_method("fedavg", {"clip": 100.0}), rounds=60)
    chosen = {"clip": 100.0, "rows": 5, "columns": 200, "top": 20, "server_momentum": 0.0}
    found = where.run(make_method("fedavg-sketch", chosen), rounds=60)
    np.testing.assert_allclose(found, plain, atol=0.05)


def test_votes_are_counted_and_the_majority_decides(where: Federation) -> None:
    method = make_method("sign-vote", {"server_rate": 0.5})
    state = method.initial_state(where.plan)
    values = {spec.name: np.zeros(spec.length) for spec in method.vectors(where.plan)}
    values["votes"][:3] = (3, -1, 0)
    values["weight"][0] = 3
    after = method.aggregate(where.plan, state, CohortSum(values=values, cohort=3))
    np.testing.assert_array_equal(after["model/x"][:4], [0.5, -0.5, 0, 0])
    part = contribute(
        method, NodeContext(plan=where.plan, broadcast=method.broadcast(where.plan, state), data=where.nodes[0])
    )
    assert set(part.values["votes"]) <= {-1.0, 0.0, 1.0}
    one = where.run(make_method("sign-vote", {"server_rate": 0.02}), rounds=100)
    assert where.distance(one) < where.distance(np.zeros(DIMENSION))


def job_with(job: JobDocument, method: str, protection: Protection) -> JobDocument:
    learner = LearnerChoice(name="tabular-mlp", settings={"hidden_width": 8})
    choice = MethodChoice(name=method, rounds=3)
    return job.model_copy(update={"method": choice, "learner": learner, "protection": protection})


@pytest.mark.parametrize("name", INDIVIDUAL)
def test_methods_that_need_single_contributions_run_unprotected_only(
    name: str, heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    with pytest.raises(MethodUnsuitable, match="the protection masking shows the coordinator sums only"):
        programme(job_with(heart_job, name, Protection.MASKING))
    job = job_with(heart_job, name, Protection.NONE)
    stage = programme(job)[1]
    assert isinstance(stage.method, IndividualMethod)
    run = run_in_process(job, heart_schema, split_hospitals)
    assert run.rounds[-2].cohort == len(split_hospitals)
    assert run.rounds[-2].summary["loss"] < run.rounds[1].summary["loss"]
    with pytest.raises(MethodUnsuitable, match="sums of them mean nothing"):
        stage.method.aggregate(cast("Any", None), {}, CohortSum(values={}, cohort=1))


def test_methods_that_can_be_summed_are_not_of_that_kind() -> None:
    for name in ("fedavg", "fedavg-quantised", "fedavg-subspace", "fedavg-sketch", "sign-vote", "evofed"):
        method = make_method(name, {})
        assert not isinstance(method, IndividualMethod)
        assert method.statement.level is Disclosure.SUM


@pytest.mark.parametrize("protection", ["encoded", "masking"])
def test_simulations_refuse_to_add_up_what_cannot_be(protection: str) -> None:
    text = EXPERIMENT.replace("protection: none", f"protection: {protection}")
    experiment = load_experiment(text.encode(), "experiment.yaml")
    with pytest.raises(ExperimentUnsuitable, match="write `protection: none`"):
        make_setting(experiment, load_source(experiment.data, HEART), 1)


def test_simulations_hand_over_single_contributions() -> None:
    experiment = load_experiment(EXPERIMENT.encode(), "experiment.yaml")
    rounds = simulate(make_setting(experiment, load_source(experiment.data, HEART), 1))
    assert [result.cohort for result in rounds] == [3, 3]
    assert rounds[0].bytes_up == 4 * (20 + 20 + 3)
    assert rounds[1].figures["accuracy"] > 0.4
