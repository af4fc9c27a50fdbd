"""Lockdown: a round of two nodes by hand, what masks do over rounds, and what the coordinator refuses."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedseal.errors import PeerFault
from fedseal.learning import JobData, NamedTensors, ParameterRole
from fedseal.learning.tensors import Shapes, flatten, size_of
from fedseal.methods import (
    CohortSum,
    Contribution,
    MethodUnsuitable,
    NodeContext,
    Plan,
    contribute,
    make_method,
    node_seed,
    run_in_process,
    stage_plan,
)
from fedseal.methods.lockdown import Lockdown, shorten
from fedseal.methods.masks import packed, unpacked
from fedseal.methods.programme import programme
from fedseal.methods.sums import encoded_sum, plain_sum
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument
from tests.unit.methods.quadratics import Federation, Quadratic, QuadraticSettings, decoded, federation
from tests.unit.methods.test_baselines import JOB, job_with

ROUNDS = 4
MOVING = {"mask_rate": 0.3, "vote_every_round": True}


def lockdown(**settings: Any) -> Lockdown:
    made = make_method("lockdown", settings)
    assert isinstance(made, Lockdown)
    return made


def total_of(method: Lockdown, plan: Plan, parts: list[Contribution]) -> CohortSum:
    values = plain_sum(method.vectors(plan), (part.values for part in parts))
    return CohortSum(values=values, cohort=len(parts))


class TwoNodes:
    """Quadratic problems with one step of rate 0.1 from x = 0.1 each; a tenth of twenty coordinates moves."""

    def __init__(self) -> None:
        self.where: Federation = federation(JOB, steps=(1,), count=2)
        self.plan = replace(self.where.plan, rounds=10)
        self.method = lockdown(density=0.5, mask_rate=0.2, same_start=False, clip=100.0, vote_every_round=True)
        self.start = {"x": np.full(20, 0.1, dtype=np.float32)}

    def mask(self, number: int) -> NDArray[np.float32]:
        """Node 0 holds the even coordinates, node 1 the first half; both hold 0, 2, 4, 6, 8."""
        mask = np.zeros(20, dtype=np.float32)
        mask[slice(0, 20, 2) if number == 0 else slice(0, 10)] = 1
        return mask

    def part(self, number: int, plan: Plan, mask: NDArray[np.float32]) -> Contribution:
        context = NodeContext(
            plan=plan,
            broadcast=self.start,
            data=self.where.nodes[number],
            local_state={"mask": packed({"x": mask})},
        )
        return contribute(self.method, context)

    def gradient(self, number: int, x: NDArray[Any]) -> NDArray[np.float64]:
        curvature, centre = decoded(self.plan.examples(self.where.nodes[number].training).inputs[0])
        return curvature * (x - centre)


def test_a_round_of_two_nodes_by_hand() -> None:
    """Ten coordinates each: y = 0.1 - 0.1 g inside; the ceil(0.2 * 10) smallest |y| are pruned; u = m' (y - w)."""
    two = TwoNodes()
    parts, expected_votes, expected = [], np.zeros(20), np.zeros(20)
    for number in (0, 1):
        mask = two.mask(number).astype(np.float64)
        y = mask * 0.1
        y = y - 0.1 * mask * two.gradient(number, y)
        held = np.flatnonzero(mask)
        after = mask.copy()
        after[held[np.argsort(np.abs(y[held]))[:2]]] = 0
        part = two.part(number, two.plan, two.mask(number))
        np.testing.assert_array_equal(part.values["votes"], after)
        np.testing.assert_allclose(part.values["update"], after * (y - 0.1), atol=1e-6)
        assert part.local_state is not None
        np.testing.assert_array_equal(unpacked(part.local_state["mask"], {"x": (20,)})["x"], after)
        expected_votes, expected = expected_votes + after, expected + after * (y - 0.1)
        parts.append(part)
    start = {**two.method.initial_state(two.plan), "model/x": np.full(20, 0.1)}
    state = two.method.aggregate(two.plan, start, total_of(two.method, two.plan, parts))
    np.testing.assert_allclose(state["model/x"], 0.1 + expected / 2, atol=1e-6)
    exported = two.method.export(two.plan, state)["x"]
    np.testing.assert_allclose(exported, np.where(expected_votes >= 1, 0.1 + expected / 2, 0), atol=1e-6)
    assert 0 < np.count_nonzero(exported) < 20


def test_recovery_takes_the_largest_gradients_and_the_update_contains_minus_w() -> None:
    """A mask two short of ten: recovered are the two zeros with the largest |gradient| at m (.) w."""
    two = TwoNodes()
    mask = two.mask(0)
    mask[[0, 2]] = 0
    gradient = two.gradient(0, mask * 0.1)
    free = np.flatnonzero(mask == 0)
    recovered = free[np.argsort(-np.abs(gradient[free]))[:2]]
    last = two.plan.for_round(9)
    part = two.part(0, last, mask)
    working = mask.copy()
    working[recovered] = 1
    y = mask * 0.1 - 0.1 * working * two.gradient(0, mask * 0.1)
    kept = part.values["votes"]
    assert (kept <= working).all()
    assert kept.sum() == 9
    np.testing.assert_allclose(part.values["update"], kept * (y - 0.1), atol=1e-6)
    assert kept[recovered].sum() >= 1


def test_a_threshold_of_half_rounds_up() -> None:
    method = lockdown()
    assert [method.threshold(voters) for voters in (1, 2, 3, 20, 21)] == [1, 1, 2, 10, 11]
    assert lockdown(consensus=1.0).threshold(7) == 7


class Rounds:
    """The hospitals, round by round, so that states can be looked at and tampered with."""

    def __init__(self, job: JobDocument, schema: DatasetSchema, nodes: Mapping[str, JobData], **settings: Any) -> None:
        self.job = job_with(job, "lockdown", ROUNDS, **{**MOVING, **settings})
        stages = programme(self.job)
        run = run_in_process(self.job.model_copy(update={"method": None}), schema, nodes)
        self.plan = stage_plan(self.job, schema, stages[1], published=run.published)
        method = stages[1].method
        assert isinstance(method, Lockdown)
        self.method, self.nodes = method, nodes
        self.state = self.method.initial_state(self.plan)
        self.own: dict[str, NamedTensors] = {}

    def parts(self, index: int) -> dict[str, Contribution]:
        plan = self.plan.for_round(index)
        broadcast = self.method.broadcast(plan, self.state)
        return {
            name: contribute(
                self.method,
                NodeContext(
                    plan=plan,
                    broadcast=broadcast,
                    data=data,
                    local_state=self.own.get(name, {}),
                    seed=node_seed(1, name, "training", index),
                ),
            )
            for name, data in sorted(self.nodes.items())
        }

    def advance(self, index: int, lost: tuple[str, ...] = ()) -> dict[str, Contribution]:
        parts = self.parts(index)
        arrived = {name: part for name, part in parts.items() if name not in lost}
        plan = self.plan.for_round(index)
        self.state = self.method.aggregate(plan, self.state, total_of(self.method, plan, list(arrived.values())))
        self.own.update({name: part.local_state for name, part in arrived.items() if part.local_state is not None})
        return arrived

    def popcounts(self, name: str) -> dict[str, int]:
        mask = unpacked(self.own[name]["mask"], self.method.masked_shapes(self.plan))
        return {layer: int(values.sum()) for layer, values in mask.items()}


@pytest.fixture
def rounds(heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]) -> Rounds:
    return Rounds(heart_job, heart_schema, split_hospitals)


def test_every_mask_has_the_public_counts_and_masks_drift_apart(rounds: Rounds) -> None:
    for index in range(ROUNDS):
        rounds.advance(index)
        public = rounds.method.kept_counts(rounds.plan.for_round(index))
        assert all(rounds.popcounts(name) == public for name in rounds.nodes)
    masks = {bytes(state["mask"].tobytes()) for state in rounds.own.values()}
    assert len(masks) == len(rounds.nodes)
    figures = rounds.method.summary(rounds.plan.for_round(ROUNDS - 1), rounds.state)
    assert figures["miscounted_votes"] == figures["stray_changes"] == 0
    assert 0 < figures["kept_share"] < 0.3


def test_weights_outside_the_mask_do_not_move_even_with_momentum(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    assert heart_job.learner is not None
    assert heart_job.learner.settings["momentum"]
    rounds = Rounds(heart_job, heart_schema, split_hospitals)
    job = rounds.job.model_copy(update={"learner": heart_job.learner})
    plan = stage_plan(job, heart_schema, programme(job)[1], published=rounds.plan.published)
    context = NodeContext(
        plan=plan, broadcast=rounds.method.broadcast(plan, rounds.state), data=split_hospitals["hungary"], seed=1
    )
    mask = rounds.method.start_mask(context)
    part = rounds.method.contribute(context)
    moved = flatten(rounds.method.masked_model(context, mask)) + part.values["update"]
    assert (part.values["votes"][flatten(mask) == 0] == 0).all()
    outside = flatten(mask) == 0
    assert (part.values["update"][outside] == 0).all()
    assert (moved[outside] == 0).all()


def test_masks_that_never_move_need_no_gradient(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    rounds = Rounds(heart_job, heart_schema, split_hospitals, mask_rate=0.0)
    first = rounds.advance(0)
    second = rounds.advance(1)
    for name, part in first.items():
        np.testing.assert_array_equal(part.values["votes"], second[name].values["votes"])
    assert len({part.values["votes"].tobytes() for part in first.values()}) == 1  # one mask for all at the start


def test_nodes_may_start_with_masks_of_their_own(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    rounds = Rounds(heart_job, heart_schema, split_hospitals, mask_rate=0.0, same_start=False)
    parts = rounds.advance(0)
    assert len({part.values["votes"].tobytes() for part in parts.values()}) == len(parts)


def test_a_lost_nodes_mask_does_not_move_and_the_survivors_decide(rounds: Rounds) -> None:
    rounds.advance(0)
    before = rounds.own["hungary"]["mask"].copy()
    rounds.advance(1, lost=("hungary",))
    np.testing.assert_array_equal(rounds.own["hungary"]["mask"], before)
    assert rounds.state["ballot"][0] == len(rounds.nodes) - 1
    rounds.advance(2)
    rounds.advance(3, lost=("cleveland",))
    model = rounds.method.export(rounds.plan.for_round(3), rounds.state)
    few = rounds.state["votes"] < rounds.method.threshold(3)
    np.testing.assert_array_equal(flatten(model)[few], 0.0)


def test_plain_and_encoded_sums_give_the_same_masks_and_the_same_model_up_to_the_resolution(rounds: Rounds) -> None:
    rounds.advance(0)
    rounds.advance(1)
    plan, parts = rounds.plan.for_round(2), rounds.parts(2)
    specs = rounds.method.vectors(plan)
    added = encoded_sum(specs, enumerate(part.values for part in parts.values()), cohort=len(parts))
    plain = rounds.method.aggregate(plan, rounds.state, total_of(rounds.method, plan, list(parts.values())))
    secure = rounds.method.aggregate(plan, rounds.state, CohortSum(values=added, cohort=len(parts)))
    np.testing.assert_array_equal(secure["votes"], plain["votes"])
    np.testing.assert_array_equal(secure["ballot"], plain["ballot"])
    resolution = rounds.method.settings.resolution
    for name in rounds.method.shared_shapes(plan):
        np.testing.assert_allclose(secure[f"model/{name}"], plain[f"model/{name}"], atol=resolution, rtol=0)


def test_a_whole_job_ends_with_the_fused_model(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    job = job_with(heart_job, "lockdown", ROUNDS, mask_rate=0.3)
    run = run_in_process(job, heart_schema, split_hospitals, encode=True)
    model = run.published["training"]
    kept = sum(int(np.count_nonzero(value)) for value in model.values())
    assert 0.1 < kept / size_of({name: value.shape for name, value in model.items()}) <= 0.3
    voted = [report.summary.get("kept_share") for report in run.rounds if report.stage == "training"]
    assert voted[:-1] == [None] * (ROUNDS - 1)
    assert voted[-1] is not None


def test_votes_travel_in_the_last_round_only_and_all_vectors_are_in_the_statement(rounds: Rounds) -> None:
    method = lockdown()
    named = {item.name for item in method.statement.quantities if item.party == "coordinator"}
    last = rounds.plan.for_round(ROUNDS - 1)
    assert {spec.name for spec in method.vectors(last)} == named
    assert {spec.name for spec in method.vectors(rounds.plan)} == named - {"votes"}
    assert {spec.name for spec in rounds.method.vectors(rounds.plan)} == named


def tampered(total: CohortSum, **changes: NDArray[np.float64]) -> CohortSum:
    return CohortSum(values={**total.values, **changes}, cohort=total.cohort)


def test_sums_that_do_not_fit_together_are_refused(rounds: Rounds) -> None:
    rounds.advance(0)
    plan, parts = rounds.plan.for_round(1), rounds.parts(1)
    total = total_of(rounds.method, plan, list(parts.values()))
    votes, update = total.values["votes"], total.values["update"]
    rounds.method.aggregate(plan, rounds.state, total)
    one_more, negative = votes.copy(), votes.copy()
    one_more[np.flatnonzero(votes == 0)[0]] += 1
    negative[np.flatnonzero(votes == 0)[:2]] = [-1, 1]
    moved = update.copy()
    moved[np.flatnonzero(votes == 0)[0]] = 0.01
    for bad in (tampered(total, votes=one_more), tampered(total, votes=negative), tampered(total, update=moved)):
        with pytest.raises(PeerFault, match="do not fit together"):
            rounds.method.aggregate(plan, rounds.state, bad)
    reporting = Lockdown(rounds.method.settings.model_copy(update={"vote_check": "report"}))
    state = reporting.aggregate(plan, rounds.state, tampered(total, votes=one_more))
    assert reporting.summary(plan, state)["miscounted_votes"] == 1
    state = reporting.aggregate(plan, rounds.state, tampered(total, update=moved))
    assert reporting.summary(plan, state)["stray_changes"] == 1


def test_one_node_with_forged_votes_can_keep_what_nobody_else_keeps(rounds: Rounds) -> None:
    """What the checks cannot see, and docs/methods/lockdown.md says: a vote of more than 1 that is balanced elsewhere.

    Under masks a node with changed software can send any number; only its range over the whole sum is limited.
    """
    rounds.advance(0)
    plan, parts = rounds.plan.for_round(1), rounds.parts(1)
    total = total_of(rounds.method, plan, list(parts.values()))
    theta = rounds.method.threshold(len(parts))
    votes = total.values["votes"].copy()
    layer = votes[: size_of({"layer": next(iter(rounds.method.masked_shapes(plan).values()))})]
    alone = int(np.flatnonzero(layer == 0)[0])
    layer[alone] = theta  # its own place, for which no other node votes
    layer[np.flatnonzero(layer == len(parts))[:theta]] -= 1  # withheld where all keep, so that the layer adds up
    state = rounds.method.aggregate(plan, rounds.state, tampered(total, votes=votes))
    figures = rounds.method.summary(plan, state)
    assert figures["miscounted_votes"] == figures["stray_changes"] == 0
    assert state["votes"][alone] >= theta
    layer[alone] = len(parts) + 1
    with pytest.raises(PeerFault, match="do not fit together"):
        rounds.method.aggregate(plan, rounds.state, tampered(total, votes=votes))


def test_without_voters_there_is_no_model(rounds: Rounds) -> None:
    plan = rounds.plan.for_round(ROUNDS - 1)
    zeros = {spec.name: np.zeros(spec.length) for spec in rounds.method.vectors(plan)}
    with pytest.raises(PeerFault, match="nobody votes"):
        rounds.method.aggregate(plan, rounds.state, CohortSum(values=zeros, cohort=4))


def test_changes_are_shortened_to_the_norm_and_reported(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    rounds = Rounds(heart_job, heart_schema, split_hospitals, norm_clip=0.01)
    parts = rounds.advance(0)
    for part in parts.values():
        assert np.linalg.norm(part.values["update"]) == pytest.approx(0.01)
    assert rounds.method.summary(rounds.plan, rounds.state)["shortened"] == len(parts)
    same, touched = shorten({"a": np.array([3.0, 4.0])}, 5.0)
    assert not touched
    assert same["a"].tolist() == [3.0, 4.0]
    half, touched = shorten({"a": np.array([3.0, 4.0])}, 2.5)
    assert touched
    assert half["a"].tolist() == [1.5, 2.0]


class MostlyStatistics(Quadratic):
    """A learner that has three times as many running statistics as weights."""

    def parameter_shapes(self, width: int) -> Shapes:
        return {"x": (width // 2,), "mean": (3 * (width // 2),)}

    def roles(self, width: int) -> Mapping[str, ParameterRole]:  # noqa: ARG002 - the contract
        return {"x": ParameterRole.BASE, "mean": ParameterRole.STATISTICS}


def test_a_model_too_small_for_the_density_is_refused() -> None:
    plan = replace(federation(JOB, count=1).plan, learner=MostlyStatistics(QuadraticSettings()))
    assert lockdown(density=0.9).full_counts(plan) == {"x": 12}  # 0.9 * 20 - 0.1 * 60
    with pytest.raises(MethodUnsuitable, match="raise density"):
        lockdown(density=0.5).full_counts(plan)


def test_the_same_seed_gives_the_same_bits(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    job = job_with(heart_job, "lockdown", 2, mask_rate=0.3)
    one, two = (run_in_process(job, heart_schema, split_hospitals).published["training"] for _ in range(2))
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
