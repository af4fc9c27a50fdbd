"""From job to stages, the broadcast file, and the checks around a contribution."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.learning import JobData, NamedTensors, SettingsRefused, UnknownPlugin
from fedseal.learning.errors import TrainingFailed
from fedseal.learning.tensors import group_of, pack_tensors
from fedseal.methods import (
    BroadcastRefused,
    Contribution,
    ContributionRefused,
    Method,
    MethodUnsuitable,
    NodeContext,
    Plan,
    contribute,
    make_method,
    method_class,
    method_names,
    node_seed,
    pack_broadcast,
    programme,
    programme_statement,
    stage_plan,
    unpack_broadcast,
)
from fedseal.methods.contract import CohortSum, DisclosureStatement
from fedseal.methods.fedavg import FedAvg, FedAvgSettings
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument, MethodChoice
from fedseal_governance.vocabulary import Disclosure, JobKind, Protection, Setting

STATISTICS = {
    "rows": np.array([10.0]),
    "positives": np.array([4.0]),
    "present": np.full(8, 9.0),
    "mean": np.zeros(8),
    "scale": np.ones(8),
    "categories": np.zeros(20),
}


def training(job: JobDocument, schema: DatasetSchema) -> Plan:
    return stage_plan(job, schema, programme(job)[1], published={"statistics": STATISTICS}, round=3)


def packed(plan: Plan) -> bytes:
    method = FedAvg()
    return pack_broadcast(plan, method.broadcast(plan, method.initial_state(plan)))


def test_a_training_job_has_three_stages(heart_job: JobDocument) -> None:
    stages = programme(heart_job)
    assert [(stage.name, stage.method.name, stage.rounds) for stage in stages] == [
        ("statistics", "statistics", 1),
        ("training", "fedavg", 20),
        ("evaluation", "evaluation", 1),
    ]
    assert stages[1].method == FedAvg(FedAvgSettings(local_epochs=2))


def test_a_statistics_job_has_one(heart_job: JobDocument) -> None:
    parts: dict[str, Any] = {"kind": JobKind.STATISTICS, "method": None, "learner": None, "target": None}
    assert [stage.name for stage in programme(heart_job.model_copy(update=parts))] == ["statistics"]


def test_its_statement_is_that_of_all_stages(heart_job: JobDocument) -> None:
    stages = programme(heart_job)
    whole = programme_statement(stages)
    assert whole.level is Disclosure.SUM
    for stage in stages:
        assert stage.method.statement.paragraph in whole.paragraph
        assert set(stage.method.statement.quantities) <= set(whole.quantities)


@pytest.mark.parametrize(
    ("name", "settings", "error", "says"),
    [
        ("fedavgg", {}, UnknownPlugin, 'did you mean "fedavg"'),
        ("fedavg", {"local_epoch": 2}, SettingsRefused, 'did you mean "local_epochs"'),
        ("fedavg", {"clip": 0}, SettingsRefused, '"clip"'),
        ("fedavg", {"local_epochs": "many"}, SettingsRefused, '"local_epochs"'),
    ],
)
def test_what_no_method_can_do_is_refused_at_once(
    name: str, settings: dict[str, Setting], error: type[Exception], says: str, heart_job: JobDocument
) -> None:
    choice = MethodChoice(name=name, rounds=1, settings=settings)
    with pytest.raises(error, match=says):
        programme(heart_job.model_copy(update={"method": choice}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": ("age", "nothing")}, 'feature "nothing"'),
        ({"features": ("age", "pseudonym")}, 'feature "pseudonym"'),
        ({"target": "age"}, 'target "age"'),
    ],
)
def test_columns_the_dataset_does_not_offer_are_refused(
    change: dict[str, object], says: str, heart_job: JobDocument, heart_schema: DatasetSchema
) -> None:
    job = heart_job.model_copy(update=change)
    with pytest.raises(MethodUnsuitable, match=says):
        stage_plan(job, heart_schema, programme(job)[0])


def test_a_node_reads_what_the_coordinator_packed(heart_job: JobDocument, heart_schema: DatasetSchema) -> None:
    plan = training(heart_job, heart_schema)
    bare = stage_plan(heart_job, heart_schema, programme(heart_job)[1], round=3)
    received = unpack_broadcast(packed(plan), plan=bare, stages=programme(heart_job))
    model = group_of("model", FedAvg().initial_state(plan))
    assert received.plan.round == 3
    assert received.tensors.keys() == model.keys()
    for name, value in STATISTICS.items():
        np.testing.assert_array_equal(received.plan.published["statistics"][name], value)
    for name, value in received.tensors.items():
        np.testing.assert_array_equal(value, model[name].astype(np.float32))


def changed(plan: Plan, tensors: Mapping[str, object]) -> bytes:
    method = FedAvg()
    everything: dict[str, Any] = {
        **{f"broadcast/{name}": value for name, value in method.broadcast(plan, method.initial_state(plan)).items()},
        **{f"published/statistics/{name}": value for name, value in STATISTICS.items()},
        **tensors,
    }
    return pack_tensors({name: value for name, value in everything.items() if value is not None})


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"broadcast/layer1.bias": None}, "missing"),
        ({"broadcast/extra": np.zeros(1)}, "not expected"),
        ({"published/evaluation/positives": np.zeros(100)}, "not expected"),
        ({"broadcast/layer1.bias": np.zeros(2)}, "shape"),
        ({"broadcast/layer1.bias": np.array([np.nan])}, "NaN"),
        ({"published/statistics/scale": np.zeros(8)}, "positive"),
        ({"published/statistics/mean": np.full(8, np.inf)}, "infinite"),
    ],
)
def test_another_broadcast_is_refused(
    tensors: dict[str, object], says: str, heart_job: JobDocument, heart_schema: DatasetSchema
) -> None:
    plan = training(heart_job, heart_schema)
    with pytest.raises(BroadcastRefused, match=says) as caught:
        unpack_broadcast(changed(plan, tensors), plan=plan, stages=programme(heart_job))
    assert "round 3" in str(caught.value)


@given(cut=st.integers(0, 3000))
def test_a_cut_broadcast_is_refused(cut: int, heart_job: JobDocument, heart_schema: DatasetSchema) -> None:
    plan = training(heart_job, heart_schema)
    with pytest.raises(BroadcastRefused):
        unpack_broadcast(packed(plan)[:cut], plan=plan, stages=programme(heart_job))


@dataclass(frozen=True)
class Misbehaving:
    """A method that contributes what it is told, whatever it declared; all else is federated averaging."""

    values: NamedTensors

    def __getattr__(self, name: str) -> object:
        return getattr(FedAvg(), name)

    def vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """Those of `FedAvg`, but there are no negative weights."""
        return tuple(replace(spec, signed=False) if spec.name == "weight" else spec for spec in FedAvg().vectors(plan))

    def contribute(self, context: NodeContext) -> Contribution:  # noqa: ARG002 - it is told what to say
        return Contribution(values=self.values)


def honest(size: int) -> dict[str, np.ndarray[tuple[int, ...]]]:
    return {"update": np.zeros(size), "weight": np.zeros(1), "loss": np.zeros(1), "clipped": np.zeros(1)}


@pytest.mark.parametrize(
    ("change", "says", "vector"),
    [
        ({"extra": np.zeros(1)}, "declared the vectors", None),
        ({"loss": np.zeros(2)}, "shape", "loss"),
        ({"loss": np.zeros(())}, "shape", "loss"),
        ({"loss": [0.0]}, "not a numpy array of floating-point numbers", "loss"),
        ({"loss": np.array([0])}, "not a numpy array of floating-point numbers", "loss"),
        ({"loss": np.array([np.nan])}, "NaN", "loss"),
        ({"weight": np.array([np.inf])}, "infinity", "weight"),
        ({"weight": np.array([1001.0])}, "beyond its declared bounds 0 to 1000", "weight"),
        ({"weight": np.array([-1.0])}, "beyond its declared bounds 0 to 1000", "weight"),
        ({"loss": np.array([-31.0])}, "beyond its declared bounds -30 to 30", "loss"),
    ],
)
def test_a_malformed_contribution_does_not_leave(
    change: dict[str, Any],
    says: str,
    vector: str | None,
    heart_job: JobDocument,
    heart_schema: DatasetSchema,
    split_hospitals: dict[str, JobData],
) -> None:
    plan = training(heart_job, heart_schema)
    size = FedAvg().vectors(plan)[0].length
    model = FedAvg().broadcast(plan, FedAvg().initial_state(plan))
    context = NodeContext(plan=plan, broadcast=model, data=split_hospitals["cleveland"])
    contribute(cast("Method", Misbehaving(honest(size))), context)
    with pytest.raises(ContributionRefused, match=says) as caught:
        contribute(cast("Method", Misbehaving({**honest(size), **change})), context)
    assert caught.value.vector == vector


@dataclass(frozen=True)
class Undeclared:
    """Federated averaging with one thing changed, for a method whose author made a mistake."""

    changed: Mapping[str, object]

    def __getattr__(self, name: str) -> object:
        return self.changed[name] if name in self.changed else getattr(FedAvg(), name)


def _fails(context: NodeContext) -> Contribution:
    raise ValueError(f"the row {context.seed} of a patient")


STATEMENT = FedAvg.statement
SILENT = replace(STATEMENT, quantities=tuple(item for item in STATEMENT.quantities if item.name != "loss"))


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"statement": SILENT}, ContributionRefused, 'vector "loss", which its disclosure statement does not name'),
        (
            {"groups": lambda _: ()},
            ContributionRefused,
            "states the disclosure SUM and shows the coordinator GROUP_SUMS",
        ),
        ({"aggregate_each": lambda *_: {}}, ContributionRefused, "states the disclosure SUM .* INDIVIDUAL"),
        ({"contribute": lambda _: {"update": 1}}, ContributionRefused, "gave a dict, not a Contribution"),
        ({"contribute": _fails}, TrainingFailed, "stopped with ValueError instead of a contribution"),
    ],
)
def test_a_method_that_breaks_the_contract_is_refused_by_name(
    changed: Mapping[str, object],
    error: type[Exception],
    says: str,
    heart_job: JobDocument,
    heart_schema: DatasetSchema,
    split_hospitals: dict[str, JobData],
) -> None:
    plan = training(heart_job, heart_schema)
    model = FedAvg().broadcast(plan, FedAvg().initial_state(plan))
    context = NodeContext(plan=plan, broadcast=model, data=split_hospitals["cleveland"])
    with pytest.raises(error, match=says) as refused:
        contribute(cast("Method", Undeclared(changed)), context)
    assert "fedavg" in str(refused.value)
    assert "patient" not in str(refused.value), "an author's own words may quote rows"


def test_a_contribution_needs_the_right_broadcast(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    plan = training(heart_job, heart_schema)
    with pytest.raises(BroadcastRefused, match="missing"):
        contribute(FedAvg(), NodeContext(plan=plan, broadcast={}, data=split_hospitals["hungary"]))


def test_rounds_and_seeds() -> None:
    assert len({node_seed(1, node, "training", index) for node in "ab" for index in range(3)}) == 6
    assert node_seed(1, "a", "training", 0) == node_seed(1, "a", "training", 0) < 2**63


def test_plans_know_their_round(heart_job: JobDocument, heart_schema: DatasetSchema) -> None:
    plan = training(heart_job, heart_schema)
    assert (plan.node_count, plan.maximum_rows, plan.is_last_round) == (4, 1000, False)
    assert plan.for_round(19).is_last_round
    with pytest.raises(ValueError, match="round 20 of 20"):
        plan.for_round(20)


def test_the_installed_methods_are_found_by_name() -> None:
    assert "fedavg" in method_names()
    assert method_class("fedavg") is FedAvg
    assert make_method("fedavg", {"local_epochs": 3}) == FedAvg(FedAvgSettings(local_epochs=3))


@dataclass(frozen=True, slots=True)
class Telltale(FedAvg):
    """FedAvg that also sums how many rows have the outcome, and says nothing of it."""

    def more_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        return (VectorSpec(name="positives", length=1, bound=float(plan.maximum_rows), resolution=1.0),)

    def contribute(self, context: NodeContext) -> Contribution:
        part = FedAvg.contribute(self, context)
        return replace(part, values={**part.values, "positives": np.ones(1)})


def test_a_vector_that_the_statement_does_not_name_does_not_leave(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: Mapping[str, JobData]
) -> None:
    plan = training(heart_job, heart_schema)
    told: Method = Telltale()
    broadcast = told.broadcast(plan, told.initial_state(plan))
    context = NodeContext(plan=plan, broadcast=broadcast, data=split_hospitals["cleveland"])
    with pytest.raises(
        ContributionRefused, match='asks for the vector "positives", which its disclosure statement does not name'
    ):
        contribute(told, context)


@dataclass(frozen=True, slots=True)
class SaysSum(FedAvg):
    """Sees every contribution by itself under a statement of sums."""

    statement: ClassVar[DisclosureStatement] = FedAvg.statement

    def aggregate_each(self, plan: Plan, state: NamedTensors, contributions: Sequence[NamedTensors]) -> NamedTensors:
        return self.aggregate(plan, state, CohortSum(values=contributions[0], cohort=1))


@dataclass(frozen=True, slots=True)
class SaysOneSum(FedAvg):
    """Sums over groups under a statement of one sum over all."""

    def groups(self, job: JobDocument) -> tuple[frozenset[str], ...]:
        return (frozenset(job.nodes),)


@pytest.mark.parametrize(("method", "least"), [(SaysSum, "INDIVIDUAL"), (SaysOneSum, "GROUP_SUMS")])
def test_a_method_whose_statement_is_milder_than_its_kind_is_refused(
    heart_job: JobDocument, monkeypatch: pytest.MonkeyPatch, method: type[FedAvg], least: str
) -> None:
    """Every party reads a job through its programme, and every policy goes by the statement."""
    open_job = heart_job.model_copy(update={"protection": Protection.NONE})
    monkeypatch.setattr("fedseal.methods.registry.load_plugin", lambda *_: method)
    with pytest.raises(MethodUnsuitable, match=f"discloses SUM, and a method of its kind discloses {least}"):
        programme(open_job)
