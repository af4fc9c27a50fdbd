"""Federated averaging: a round worked by hand, weights, clipping, and nodes with nothing to say."""

import numpy as np
import pandas as pd
import pytest

from fedseal.errors import PeerFault
from fedseal.learning import JobData, LocalData
from fedseal.methods import CohortSum, NodeContext, Plan, contribute, programme, stage_plan
from fedseal.methods.contract import Method
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.jobs import JobDocument, load_job

SCHEMA = load_schema(
    b"""
dataset: tiny
columns:
  - {name: id, role: record_id}
  - {name: x, type: number, range: [-3, 3]}
  - {name: ill, type: boolean, role: target}
""",
    "tiny.yaml",
)
JOB = """
job: averaging
purpose: "DUO:0000006"
dataset: tiny
kind: training
method: {{name: fedavg, rounds: 2, settings: {{local_epochs: 1, clip: {clip}}}}}
learner: {{name: tabular-mlp, settings: {{hidden_width: 1, batch_size: 100, learning_rate: {rate}, weight_decay: 0}}}}
features: [x]
target: ill
evaluation: {{holdout: 0.3}}
protection: masking
disclosure: SUM
nodes: [a, b, c]
minimum_cohort: 3
weights: {{maximum_rows: 10}}
"""
PUBLISHED = {"statistics": {"mean": np.zeros(1), "scale": np.ones(1)}}
START = {
    "layer0.weight": np.array([[1.0, 0.0]]),  # x and its missing-value indicator
    "layer0.bias": np.array([1.0]),
    "layer1.weight": np.array([[0.0]]),
    "layer1.bias": np.array([0.0]),
}
STATE = {**{f"model/{name}": value for name, value in START.items()}, "report": np.zeros(3)}


def averaging(clip: float = 1.0, rate: float = 1.0) -> JobDocument:
    return load_job(JOB.format(clip=clip, rate=rate).encode(), "job.yaml")


def training_plan(job: JobDocument) -> tuple[Method, Plan]:
    stage = programme(job)[1]
    return stage.method, stage_plan(job, SCHEMA, stage, published=PUBLISHED)


def rows(*pairs: tuple[float, float], schema: DatasetSchema = SCHEMA) -> JobData:
    frame = pd.DataFrame({"x": [x for x, _ in pairs], "ill": [y for _, y in pairs]}, dtype=float)
    data = LocalData(schema=schema, frame=frame, record_ids=tuple(f"r{number}" for number in range(len(pairs))))
    return JobData(training=data, held_out=data.restrict(()))


def one_round(job: JobDocument, *nodes: JobData) -> tuple[Plan, Method, dict[str, np.ndarray[tuple[int, ...]]]]:
    method, plan = training_plan(job)
    parts = [
        contribute(method, NodeContext(plan=plan, broadcast=method.broadcast(plan, STATE), data=node)).values
        for node in nodes
    ]
    total = {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}
    return plan, method, dict(method.aggregate(plan, STATE, CohortSum(values=total, cohort=len(parts))))


def test_one_round_of_two_nodes_by_hand() -> None:
    """Hidden unit h = x + 1; output weight and bias 0, so every probability is 1/2.

    A row (x, y) has the gradient -(y - 1/2) h for the output weight and -(y - 1/2) for its bias; the others are 0
    since the output weight is 0. With learning rate 1 and one step:
    node a, one row (1, ill):                       output weight +1/2 * 2 = 1,            bias +1/2
    node b, three rows (0, well), (0, well), (2, ill): weight mean(-1/2, -1/2, 3/2) = 1/6, bias -1/6
    weighted by rows (1 and 3):                     weight (1 + 3/6) / 4 = 3/8,            bias (1/2 - 3/6) / 4 = 0
    """
    plan, method, state = one_round(averaging(), rows((1, 1)), rows((0, 0), (0, 0), (2, 1)))
    np.testing.assert_allclose(state["model/layer1.weight"], [[3 / 8]], rtol=1e-6)
    np.testing.assert_allclose(state["model/layer1.bias"], [0], atol=1e-7)
    np.testing.assert_array_equal(state["model/layer0.weight"], START["layer0.weight"])
    summary = method.summary(plan, state)
    assert summary["loss"] == pytest.approx(np.log(2))
    assert summary["rows"] == 4
    assert summary["clipped_share"] == 0


def test_clipping_is_per_coordinate_and_reported() -> None:
    plan, method, state = one_round(averaging(clip=0.25), rows((1, 1)), rows((1, 1)))
    assert state["model/layer1.weight"].tolist() == [[0.25]]
    assert state["model/layer1.bias"].tolist() == [0.25]
    assert method.summary(plan, state)["clipped_share"] == pytest.approx(2 / 5)


def test_a_node_without_rows_changes_nothing() -> None:
    _, _, with_it = one_round(averaging(), rows((1, 1)), rows())
    _, _, without = one_round(averaging(), rows((1, 1)))
    np.testing.assert_array_equal(with_it["model/layer1.weight"], without["model/layer1.weight"])


def test_a_cohort_without_rows_keeps_the_model() -> None:
    _, _, state = one_round(averaging(), rows(), rows())
    assert state == STATE


@pytest.mark.parametrize("weight", [-1.0, 21.0])
def test_an_impossible_weight_is_refused(weight: float) -> None:
    method, plan = training_plan(averaging())
    values = {"update": np.zeros(5), "weight": np.array([weight]), "loss": np.zeros(1), "clipped": np.zeros(1)}
    with pytest.raises(PeerFault, match="2 nodes cannot have"):
        method.aggregate(plan, STATE, CohortSum(values=values, cohort=2))


def test_the_summed_vectors_stay_inside_their_bounds_whatever_the_learner_does() -> None:
    method, plan = training_plan(averaging(clip=0.1, rate=10.0))
    full = rows(*[(3.0, 1.0)] * 10)  # as many rows as the public maximum
    part = contribute(method, NodeContext(plan=plan, broadcast=method.broadcast(plan, STATE), data=full))
    for spec in method.vectors(plan):
        assert np.abs(part.values[spec.name]).max() <= spec.bound
