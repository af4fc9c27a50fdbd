"""EvoFed: what its code is worth, that it adds up, and that all replicas agree to the bit.

The first, second, third and sixth of the six checks by which an implementation is judged; accuracy and bytes, the
fourth and fifth, need images and are measured by `make bench-evofed`.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from fedseal.learning import JobData, make_learner
from fedseal.learning.tensors import group_of
from fedseal.methods import (
    BroadcastRefused,
    CohortSum,
    Contribution,
    MethodUnsuitable,
    NodeContext,
    Plan,
    contribute,
    evolution,
    make_method,
    run_in_process,
)
from fedseal.methods.evofed import EvoFed
from fedseal.methods.evolution import Noise, decoded, fitness, parts_of
from fedseal.simulation.experiment import Protection
from fedseal.simulation.sums import Contributions, secure_sum
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument, LearnerChoice, MethodChoice
from tests.unit.methods.quadratics import DIMENSION, Federation, federation
from tests.unit.methods.test_baselines import JOB

Floats = NDArray[np.float64]
WIDTH = 11_274
SIGMA = 0.35


@pytest.fixture(scope="module")
def where() -> Federation:
    return federation(JOB)


def evofed(**chosen: object) -> EvoFed:
    return cast("EvoFed", make_method("evofed", {"population": 16, **chosen}))


def decoded_change(noise: Noise, change: Floats) -> Floats:
    """What the pairs' differences tell of a change."""
    members = fitness(noise, change, sigma=SIGMA)
    return decoded(noise, (members[: noise.pairs] - members[noise.pairs :]) / (4 * SIGMA)) / noise.pairs


def cosine(one: Floats, two: Floats) -> float:
    return float(one.ravel() @ two.ravel() / np.linalg.norm(one) / np.linalg.norm(two))


@pytest.mark.parametrize("population", [128, 1024])
def test_decoding_is_as_close_as_a_random_projection(population: int) -> None:
    """Check 1: the cosine is within 5 % of sqrt(M / (M + D)), and the length sqrt(1 + D / M) times too large."""
    change = np.random.default_rng(1).normal(size=(1, WIDTH))
    pairs, cosines, lengths = population // 2, [], []
    for index in range(640 // pairs + 2):
        back = decoded_change(Noise(seed=1, round=index, pairs=pairs, width=WIDTH), change)
        cosines.append(cosine(back, change))
        lengths.append(np.linalg.norm(back) / np.linalg.norm(change))
    assert np.mean(cosines) == pytest.approx(np.sqrt(pairs / (pairs + WIDTH)), rel=0.05)
    assert np.mean(lengths) == pytest.approx(np.sqrt(1 + WIDTH / pairs), rel=0.05)


def test_decoding_is_right_on_average() -> None:
    change = np.random.default_rng(2).normal(size=(1, 30))
    rounds = [decoded_change(Noise(seed=3, round=index, pairs=50, width=30), change) for index in range(400)]
    np.testing.assert_allclose(np.mean(rounds, axis=0), change, atol=0.2)


@pytest.mark.parametrize("parts", [1, 3])
def test_fitness_is_minus_the_squared_distance_but_for_what_cancels(parts: int) -> None:
    noise = Noise(seed=9, round=2, pairs=4, width=10)
    change = np.random.default_rng(1).normal(size=(parts, 10))
    rows = np.concatenate([block for _, block in noise.blocks()]) / evolution.GRAIN
    found = fitness(noise, change, sigma=SIGMA)
    for sign, half in ((1, found[:4]), (-1, found[4:])):
        for pair in range(4):
            for part in range(parts):
                distance = np.sum((sign * SIGMA * rows[pair] - change[part]) ** 2)
                common = SIGMA**2 * np.sum(rows[pair] ** 2) + np.sum(change[part] ** 2)
                assert half[pair, part] == pytest.approx(common - distance)


def test_shaped_fitness_orders_members_by_distance_and_keeps_the_direction() -> None:
    noise = Noise(seed=9, round=0, pairs=64, width=500)
    change = np.random.default_rng(1).normal(scale=0.01, size=(1, 500))
    rows = np.concatenate([block for _, block in noise.blocks()]) / evolution.GRAIN
    members = np.concatenate([rows, -rows]) * SIGMA
    distance = np.linalg.norm(members - change, axis=1)
    ranked = fitness(noise, change, sigma=SIGMA, shaping="centred-rank")[:, 0]
    assert (ranked.min(), ranked.max()) == (-0.5, 0.5)
    np.testing.assert_array_equal(np.argsort(-ranked), np.argsort(distance))
    standard = fitness(noise, change, sigma=SIGMA, shaping="z-score")[:, 0]
    assert standard.mean() == pytest.approx(0, abs=1e-12)
    assert standard.std() == pytest.approx(1)
    plain = fitness(noise, change, sigma=SIGMA)
    for shaped in (standard, ranked):
        back = decoded(noise, (shaped[:64] - shaped[64:])[:, None])
        assert cosine(back, decoded(noise, plain[:64])) > 0.8


def test_noise_is_streamed_and_decoding_is_exact_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Noise(seed=1, round=1, pairs=300, width=40)
    levels = np.random.default_rng(1).integers(-(2**20), 2**20, size=(300, 2)).astype(np.float64)
    whole = decoded(noise, levels)
    monkeypatch.setattr(evolution, "BLOCK_VALUES", 7 * 40)
    np.testing.assert_array_equal(decoded(noise, levels), whole)
    monkeypatch.setattr(evolution, "KEPT_VALUES", 0)
    np.testing.assert_array_equal(decoded(noise, levels), whole)
    assert max(block.size for _, block in noise.blocks()) == 7 * 40
    rows = np.concatenate([block for _, block in noise.blocks()])
    np.testing.assert_array_equal(rows, np.rint(rows))
    exact = [[sum(int(a) * int(b) for a, b in zip(c, row, strict=True)) for row in rows.T] for c in levels.T]
    np.testing.assert_array_equal(whole * evolution.GRAIN, np.array(exact, dtype=np.float64))


def test_the_sum_of_fitness_is_the_fitness_of_the_sum(where: Federation) -> None:
    """Check 2, as floating-point numbers."""
    method = evofed(partitions=3)
    updates = [{"x": np.random.default_rng(seed).normal(size=DIMENSION)} for seed in range(4)]
    sent = [method.fitness_of(where.plan, update) for update in updates]
    together = method.fitness_of(where.plan, {"x": np.sum([update["x"] for update in updates], axis=0)})
    np.testing.assert_allclose(np.sum(sent, axis=0), together, atol=1e-12)


def test_masks_change_nothing_beyond_the_resolution(where: Federation) -> None:
    """Check 2, under the whole masked protocol."""
    method = evofed()
    state = method.initial_state(where.plan)
    parts = {f"n{number}": part.values for number, part in enumerate(_parts(method, where, state, where.plan))}
    specs = method.vectors(where.plan)
    totals = [
        secure_sum(where.plan, specs, Contributions(values=parts), protection).total
        for protection in (Protection.NONE, Protection.MASKING)
    ]
    grain = method.grain
    for name, value in totals[0].values.items():
        reach = {"fitness": grain, "loss": 1e-5}.get(name, 1e-9)
        np.testing.assert_allclose(totals[1].values[name], value, atol=reach * len(parts))
    models = [group_of("model", method.aggregate(where.plan, state, total))["x"] for total in totals]
    np.testing.assert_allclose(models[1], models[0], atol=0.01)


def _parts(method: EvoFed, where: Federation, state: Mapping[str, Any], plan: Plan) -> list[Contribution]:
    broadcast = method.broadcast(plan, state)
    return [contribute(method, NodeContext(plan=plan, broadcast=broadcast, data=node)) for node in where.nodes]


class Party:
    """A node of which this test decides when it takes part."""

    def __init__(self, method: EvoFed, data: JobData) -> None:
        self.method, self.data = method, data
        self.local: Mapping[str, Any] = {}

    def context(self, plan: Plan, broadcast: Mapping[str, Any]) -> NodeContext:
        return NodeContext(plan=plan, broadcast=broadcast, data=self.data, local_state=self.local)

    def takes_part(self, plan: Plan, broadcast: Mapping[str, Any], *, lost: bool = False) -> Contribution:
        part = contribute(self.method, self.context(plan, broadcast))
        if part.local_state is not None and not lost:
            self.local = part.local_state
        return part


def play(method: EvoFed, where: Federation, rounds: int, absent: Mapping[int, range], lost: Mapping[int, range]) -> Any:
    """Rounds of ten nodes of which some are absent or lost; yields plan, state, parties and parts."""
    parties = [Party(method, node) for node in where.nodes]
    state = method.initial_state(where.plan)
    for index in range(rounds):
        plan = where.plan.for_round(index)
        broadcast = method.broadcast(plan, state)
        there = {n: party for n, party in enumerate(parties) if index not in absent.get(n, ())}
        parts = {n: party.takes_part(plan, broadcast, lost=index in lost.get(n, ())) for n, party in there.items()}
        yield plan, state, there, parts
        kept = [part.values for n, part in parts.items() if index not in lost.get(n, ())]
        total = {name: np.sum([values[name] for values in kept], axis=0) for name in kept[0]}
        state = method.aggregate(plan, state, CohortSum(values=total, cohort=len(kept)))


@pytest.mark.parametrize("optimiser", ["momentum", "adam"])
def test_all_replicas_are_equal_to_the_bit_after_every_round(where: Federation, optimiser: str) -> None:
    """Check 3. Node 1 skips five rounds, node 2's messages are lost, node 3 joins late: after replay all are equal."""
    method = evofed(optimiser=optimiser, history=6, model_every=100)
    absent, lost = {1: range(4, 9), 3: range(6)}, {2: range(3, 7)}
    for plan, state, there, parts in play(method, where, 14, absent, lost):
        common = {name: value for name, value in state.items() if name.startswith(("model", "first", "second"))}
        for number, party in there.items():
            assert float(parts[number].values["weight"][0]) > 0
            if plan.round in lost.get(number, ()):
                continue
            for name, value in common.items():
                assert value.dtype == np.float32
                np.testing.assert_array_equal(party.local[name], value)
    assert float(np.abs(state["model/x"]).sum()) > 0


def test_who_missed_too_much_waits_for_the_whole_model(where: Federation) -> None:
    method = evofed(history=2, model_every=8)
    absent = {4: range(1, 5)}
    weights = {}
    for plan, _, _, parts in play(method, where, 10, absent, {}):
        shapes = method.broadcast_shapes(plan)
        assert ("model/x" in shapes) is (plan.round == 8)
        if 4 in parts:
            weights[plan.round] = float(parts[4].values["weight"][0])
            assert (parts[4].local_state is None) is (weights[plan.round] == 0)
    assert weights == {0: 1, 5: 0, 6: 0, 7: 0, 8: 1, 9: 1}


def test_a_replica_that_differs_is_noticed(where: Federation) -> None:
    """Check 6: another seed, other sums, another model: none of them goes unnoticed."""
    method = evofed(history=3, model_every=4)
    steps = list(play(method, where, 5, {}, {}))
    plan, state, _, _ = steps[3]
    broadcast = method.broadcast(plan, state)
    told = {**broadcast, "fitness": broadcast["fitness"].copy()}
    told["fitness"][-1, 0] += 1
    stranger = where.plan.job.model_copy(update={"seed": 99})
    other = federation(JOB).plan
    wrong = Plan(
        job=stranger, schema=other.schema, stage="training", rounds=10_000, round=3, learner=other.learner,
        published=other.published,
    )  # fmt: skip
    late = Party(method, where.nodes[0])
    with pytest.raises(BroadcastRefused, match="After replaying round 2 of evofed"):
        contribute(method, late.context(plan, told))
    with pytest.raises(BroadcastRefused, match="is not the coordinator's"):
        contribute(method, late.context(wrong, broadcast))
    assert contribute(method, late.context(plan, broadcast)).local_state is not None
    plan, state, _, _ = steps[4]
    broadcast = method.broadcast(plan, state)
    swapped = {**broadcast, "model/x": broadcast["model/x"] + np.float32(1)}
    with pytest.raises(BroadcastRefused):
        contribute(method, late.context(plan, swapped))


def test_with_another_seed_nothing_is_learnt() -> None:
    """Check 6, second half: decoded with noise that the node did not use, a change points nowhere."""
    change = np.random.default_rng(1).normal(size=(1, WIDTH))
    mine, other = (Noise(seed=seed, round=0, pairs=64, width=WIDTH) for seed in (1, 2))
    members = fitness(mine, change, sigma=SIGMA)
    assert abs(cosine(decoded(other, members[:64]), change)) < 0.03 < cosine(decoded(mine, members[:64]), change)


def test_paired_figures_make_the_same_steps_with_half_as_many(where: Federation) -> None:
    both, half = evofed(), evofed(paired=True)
    assert 2 * half.vectors(where.plan)[0].length == both.vectors(where.plan)[0].length
    np.testing.assert_array_equal(where.run(half, rounds=6), where.run(both, rounds=6))


def test_evolution_finds_what_averaging_finds(where: Federation) -> None:
    plain = where.run(make_method("fedavg", {"clip": 100.0}), rounds=50)
    for chosen in ({"population": 40}, {"population": 16, "partitions": 3}):
        method = evofed(server_step=0.06, resolution=2**-14, **chosen)
        assert np.linalg.norm(where.run(method, rounds=120) - plain) < 0.1 * np.linalg.norm(where.optimum)


def test_the_authors_form_learns_too(where: Federation) -> None:
    for shaping in ("z-score", "centred-rank"):
        method = evofed(
            shaping=shaping, optimiser="adam", population=64, server_momentum=0.9, server_step=0.1, step_decay=0.97
        )
        assert where.distance(where.run(method, rounds=60)) < 0.6


def test_automatic_step_is_the_best_single_one(where: Federation) -> None:
    """M = 8, D = 20: eta = 8 / 28; in three parts of width 7: 8 / 15."""
    change = np.random.default_rng(4).normal(size=DIMENSION)
    for partitions, eta in ((1, 8 / 28), (3, 8 / 15)):
        method = evofed(partitions=partitions, resolution=2**-20)
        state = method.initial_state(where.plan)
        values = {spec.name: np.zeros(spec.length) for spec in method.vectors(where.plan)}
        values["fitness"], values["weight"] = method.fitness_of(where.plan, {"x": change}), np.ones(1)
        after = method.aggregate(where.plan, state, CohortSum(values=values, cohort=1))
        np.testing.assert_allclose(after["model/x"], eta * after["first/x"], rtol=1e-6)
        parts = parts_of(change, partitions)
        noise = Noise(seed=where.plan.job.seed, round=0, pairs=8, width=parts.shape[1])
        np.testing.assert_allclose(after["first/x"], decoded_change(noise, parts).ravel()[:DIMENSION], atol=1e-4)


@pytest.mark.parametrize(
    ("chosen", "reach"),
    [({}, 0.02), ({"paired": True, "shaping": "z-score", "optimiser": "adam", "partitions": 2}, 0.2)],
)
def test_a_whole_job_is_alike_plain_and_encoded(
    chosen: dict[str, Any],
    reach: float,
    heart_job: JobDocument,
    heart_schema: DatasetSchema,
    split_hospitals: dict[str, JobData],
) -> None:
    """Up to the resolution, which Adam divides by the square root of a small second moment."""
    learner = LearnerChoice(name="tabular-mlp", settings={"hidden_width": 8})
    choice = MethodChoice(name="evofed", rounds=6, settings={"model_every": 4, "resolution": 2**-14, **chosen})
    job = heart_job.model_copy(update={"method": choice, "learner": learner})
    lost = {"training": {2: ["hungary"], 3: ["hungary"]}}
    runs = [
        run_in_process(
            job, heart_schema, split_hospitals, encode=encode,
            dropouts=lambda stage, index: lost.get(stage, {}).get(index, ()),
        )
        for encode in (False, True)
    ]  # fmt: skip
    for tensor, value in runs[0].published["training"].items():
        np.testing.assert_allclose(runs[1].published["training"][tensor], value, atol=reach)
    assert [report.cohort for report in runs[0].rounds] == [4, 4, 4, 3, 3, 4, 4, 4]


def test_learners_with_running_statistics_are_refused(where: Federation) -> None:
    learner = make_learner("small-cnn", {"height": 8, "width": 8, "filters": [2], "normalisation": "batch"})
    plan = where.plan
    image = Plan(job=plan.job, schema=plan.schema, stage="training", rounds=1, learner=learner)
    with pytest.raises(MethodUnsuitable, match="batch normalisation"):
        evofed()._noise(_wide(image))


def _wide(plan: Plan) -> Plan:
    """A plan whose rows are the 8 x 8 images that the learner wants."""

    class Wide(Plan):
        @property
        def input_width(self) -> int:
            return 64

    return Wide(job=plan.job, schema=plan.schema, stage=plan.stage, rounds=plan.rounds, learner=plan.learner)


def test_an_odd_population_is_refused() -> None:
    with pytest.raises(Exception, match="write an even number"):
        evofed(population=7)
