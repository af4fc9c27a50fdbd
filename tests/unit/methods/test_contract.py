# ruff: noqa: ARG002 - methods take what the contract gives, needed or not
"""What every built-in method promises: it gives what it declares, names what it gives, and is a pure function.

`Scaffold` below is a method that keeps state at the node; it shows what the contract is for, and converges only if
the platform keeps a dropped node's state as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from fedseal.learning import JobData, LocalData, NamedTensors, Shapes
from fedseal.methods import (
    CohortSum,
    Contribution,
    DisclosureStatement,
    NodeContext,
    Plan,
    Quantity,
    Stage,
    contribute,
    programme,
    run_in_process,
    stage_plan,
)
from fedseal.methods.in_process import Conditions, run_stages
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.vocabulary import Disclosure


@pytest.fixture(scope="module")
def contexts(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> list[tuple[Stage, NodeContext]]:
    """One node's context for each stage of the example, with really published tensors."""
    published = run_in_process(heart_job, heart_schema, split_hospitals).published
    found = []
    for position, stage in enumerate(programme(heart_job)):
        earlier = {name: published[name] for name in list(published)[:position]}
        plan = stage_plan(heart_job, heart_schema, stage, published=earlier)
        broadcast = stage.method.broadcast(plan, stage.method.initial_state(plan))
        found.append((stage, NodeContext(plan=plan, broadcast=broadcast, data=split_hospitals["hungary"], seed=4)))
    return found


def test_every_summed_vector_is_named_in_the_statement(contexts: list[tuple[Stage, NodeContext]]) -> None:
    for stage, context in contexts:
        statement = stage.method.statement
        named = {quantity.name for quantity in statement.quantities if quantity.party == "coordinator"}
        assert {spec.name for spec in stage.method.vectors(context.plan)} == named
        assert statement.level is Disclosure.SUM
        assert len(statement.paragraph) > 100


def test_contributions_are_pure_and_leave_their_arguments_alone(
    contexts: list[tuple[Stage, NodeContext]],
) -> None:
    for stage, context in contexts:
        before = {name: value.copy() for name, value in context.broadcast.items()}
        one, two = contribute(stage.method, context), contribute(stage.method, context)
        for name, value in one.values.items():
            np.testing.assert_array_equal(value, two.values[name])
            assert value.dtype == np.float64
        for name, value in before.items():
            np.testing.assert_array_equal(value, context.broadcast[name])


def test_states_exports_and_summaries_have_the_promised_form(
    contexts: list[tuple[Stage, NodeContext]],
) -> None:
    for stage, context in contexts:
        method, plan = stage.method, context.plan
        state = method.initial_state(plan)
        total = CohortSum(values=contribute(method, context).values, cohort=1)
        after = method.aggregate(plan, state, total)
        assert after.keys() == state.keys()
        exported = method.export(plan, after)
        assert {name: value.shape for name, value in exported.items()} == dict(method.export_shapes(plan))
        assert all(np.isfinite(value) for value in method.summary(plan, after).values())
        assert dict(method.node_model(exported, {})).keys() == exported.keys()


class NoSettings(BaseModel):
    """Nothing to set."""


@dataclass(frozen=True)
class Scaffold:
    """SCAFFOLD, option II (Karimireddy et al. 2020), on F_k(w) = a_k (w - b_k)^2 / 2 with a_k, b_k from two columns."""

    settings: NoSettings = field(default_factory=NoSettings)

    name: ClassVar[str] = "scaffold-on-a-parabola"
    title: ClassVar[str] = "For tests"
    reference: ClassVar[str] = "Karimireddy et al. 2020"
    statement: ClassVar[DisclosureStatement] = DisclosureStatement(
        level=Disclosure.SUM,
        paragraph="Sums.",
        quantities=(
            Quantity(name="update", party="coordinator", description="sum of the model changes"),
            Quantity(name="variates", party="coordinator", description="sum of the control variates' changes"),
        ),
    )
    settings_model: ClassVar[type[BaseModel]] = NoSettings
    steps: ClassVar[int] = 10
    rate: ClassVar[float] = 0.1

    def initial_state(self, plan: Plan) -> NamedTensors:
        return {"w": np.zeros(1), "c": np.zeros(1)}

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        return {"w": (1,), "c": (1,)}

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        return state

    def vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        return tuple(VectorSpec(name=name, length=1, bound=100, resolution=2**-40) for name in ("update", "variates"))

    def contribute(self, context: NodeContext) -> Contribution:
        a, b = (float(context.data.training.frame[name].mean()) for name in ("a", "b"))
        start, c = context.broadcast["w"], context.broadcast["c"]
        own = context.local_state.get("own", np.zeros(1))
        w = start.copy()
        for _ in range(self.steps):
            w = w - self.rate * (a * (w - b) - own + c)
        renewed = own - c + (start - w) / (self.steps * self.rate)
        return Contribution(values={"update": w - start, "variates": renewed - own}, local_state={"own": renewed})

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:
        return {
            "w": state["w"] + total.values["update"] / total.cohort,
            "c": state["c"] + total.values["variates"] / plan.node_count,
        }

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:
        return {"w": float(state["w"][0])}

    def export_shapes(self, plan: Plan) -> Shapes:
        return {"w": (1,)}

    def export(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        return {"w": state["w"]}

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:
        return exported


PARABOLAS = {"one": (0.5, 4.0), "two": (2.0, -1.0), "three": (3.0, 2.0)}
OPTIMUM = sum(a * b for a, b in PARABOLAS.values()) / sum(a for a, _ in PARABOLAS.values())


def parabola_nodes() -> tuple[JobDocument, DatasetSchema, dict[str, JobData]]:
    schema = load_schema(
        b"dataset: parabolas\ncolumns:\n  - {name: id, role: record_id}\n"
        b"  - {name: a, type: number, range: [0, 9]}\n  - {name: b, type: number, range: [-9, 9]}\n",
        "parabolas.yaml",
    )
    job = load_job(
        b'job: parabolas\npurpose: "DUO:0000006"\ndataset: parabolas\nkind: statistics\nfeatures: [a, b]\n'
        b"protection: masking\ndisclosure: SUM\nnodes: [one, two, three]\nminimum_cohort: 3\n",
        "job.yaml",
    )
    nodes = {}
    for name, (a, b) in PARABOLAS.items():
        data = LocalData(schema=schema, frame=pd.DataFrame({"a": [a], "b": [b]}), record_ids=(name,))
        nodes[name] = JobData(training=data, held_out=data.restrict(()))
    return job, schema, nodes


def one_is_lost(stage: str, round_index: int) -> tuple[str, ...]:
    return (sorted(PARABOLAS)[round_index % 3],)


@pytest.mark.parametrize("conditions", [Conditions(), Conditions(dropouts=one_is_lost)])
def test_local_state_and_two_vectors_reach_the_optimum(conditions: Conditions) -> None:
    job, schema, nodes = parabola_nodes()
    stages = (Stage(name="descent", method=Scaffold(), rounds=300),)
    run = run_stages(stages, job, schema, nodes, conditions)
    assert run.published["descent"]["w"][0] == pytest.approx(OPTIMUM, abs=1e-9)
    assert {name: set(state) for name, state in run.local_states.items()} == {name: {"own"} for name in nodes}


def test_through_the_encoding_as_well_up_to_its_resolution() -> None:
    job, schema, nodes = parabola_nodes()
    stages = (Stage(name="descent", method=Scaffold(), rounds=200),)
    run = run_stages(stages, job, schema, nodes, Conditions(encode=True, dropouts=one_is_lost))
    assert run.published["descent"]["w"][0] == pytest.approx(OPTIMUM, abs=1e-9)
