"""MetaVD: the sums give what the published algorithm gives, and what a node keeps never leaves it.

`Published` below is the algorithm as it is published: a server that sees every node's parameters and log variances, and
holds every embedding, with torch's own gradients and optimisers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedseal.errors import PeerFault
from fedseal.learning import Examples, FitRequest, JobData, NamedTensors, make_learner
from fedseal.learning._torch_variational import VariationalLinear, variational
from fedseal.learning.tensors import flatten, group_of
from fedseal.methods import (
    CohortSum,
    Contribution,
    MethodUnsuitable,
    NodeContext,
    Plan,
    contribute,
    make_method,
    node_seed,
    own_model,
    run_in_process,
    stage_plan,
)
from fedseal.methods.averaging import LocalUpdate
from fedseal.methods.metavd import MetaVD, hyper_seed
from fedseal.methods.programme import programme
from fedseal.methods.sums import encoded_sum, plain_sum
from fedseal.methods.variational import Training, fitted_with, warmed
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument, LearnerChoice, MethodChoice
from tests.unit.methods.test_hypernetwork import torch_log_variances

ROUNDS = 12
WEIGHT, LOGS = "layer0.weight", "layer0.log_variance"


def metavd(**settings: Any) -> MetaVD:
    made = make_method("metavd", {"hidden": 6, "local_epochs": 1, **settings})
    assert isinstance(made, MetaVD)
    return made


class Rounds:
    """The hospitals, round by round."""

    def __init__(self, job: JobDocument, schema: DatasetSchema, nodes: Mapping[str, JobData], **settings: Any) -> None:
        choice = MethodChoice(name="metavd", rounds=ROUNDS, settings={"hidden": 6, "local_epochs": 1, **settings})
        learner = LearnerChoice(name="tabular-mlp", settings={"hidden_width": 5, "learning_rate": 0.1})
        self.job = job.model_copy(update={"method": choice, "learner": learner})
        stage = programme(self.job)[1]
        published = run_in_process(self.job.model_copy(update={"method": None}), schema, nodes).published
        self.plan = stage_plan(self.job, schema, stage, published=published)
        self.method, self.nodes = metavd(**settings), nodes
        self.state = self.method.initial_state(self.plan)
        self.own: dict[str, NamedTensors] = {}

    def context(self, name: str, index: int) -> NodeContext:
        plan = self.plan.for_round(index)
        return NodeContext(
            plan=plan,
            broadcast=self.method.broadcast(plan, self.state),
            data=self.nodes[name],
            local_state=self.own.get(name, {}),
            seed=node_seed(1, name, "training", index),
        )

    def advance(self, index: int, *, absent: tuple[str, ...] = (), encode: bool = False) -> dict[str, Contribution]:
        plan = self.plan.for_round(index)
        there = [name for name in sorted(self.nodes) if name not in absent]
        parts = {name: contribute(self.method, self.context(name, index)) for name in there}
        specs, values = self.method.vectors(plan), [part.values for part in parts.values()]
        total = encoded_sum(specs, enumerate(values), cohort=len(values)) if encode else plain_sum(specs, values)
        self.state = self.method.aggregate(plan, self.state, CohortSum(values=total, cohort=len(values)))
        self.own.update({name: part.local_state for name, part in parts.items() if part.local_state is not None})
        return parts


@pytest.fixture
def rounds(heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]) -> Rounds:
    return Rounds(heart_job, heart_schema, split_hospitals)


class Published:
    """The server of the paper's code: it has everything in the clear."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds, self.method, self.plan = rounds, rounds.method, rounds.plan
        start, settings = group_of("model", rounds.state), rounds.method.settings
        psi = self.method.hypernetwork(self.plan).initial(hyper_seed(self.plan))
        self.theta = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
        self.psi = {name: torch.tensor(value, requires_grad=True) for name, value in psi.items()}
        self.embeddings: dict[str, torch.Tensor] = {}
        self.steps: dict[str, torch.optim.SGD] = {}
        rate, decay = settings.server_rate, settings.hyper_decay
        self.optimisers = (
            torch.optim.SGD(self.theta.values(), lr=rate, momentum=settings.server_momentum),
            torch.optim.SGD(self.psi.values(), lr=rate, momentum=settings.hyper_momentum, weight_decay=decay),
        )

    def enter(self, name: str, embedding: NDArray[np.float64]) -> None:
        settings = self.method.settings
        self.embeddings[name] = torch.tensor(embedding, requires_grad=True)
        self.steps[name] = torch.optim.SGD(
            [self.embeddings[name]],
            lr=settings.server_rate,
            momentum=settings.embedding_momentum,
            weight_decay=settings.hyper_decay,
        )

    def trained(self, name: str, index: int, logs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Theta_m and lambda'_m."""
        plan, settings = self.plan.for_round(index), self.method.settings
        shape = self.theta[WEIGHT].shape
        start = {key: value.detach().numpy().astype(np.float32) for key, value in self.theta.items()}
        start[LOGS] = logs.detach().numpy().astype(np.float32).reshape(shape)
        training = Training(
            seed=node_seed(1, name, "training", index),
            epochs=settings.local_epochs,
            longest=settings.local_norm,
            beta=warmed(settings.divergence, index, round(settings.warm_up * ROUNDS)),
        )
        examples = plan.examples(self.rounds.nodes[name].training)
        fitted = fitted_with(self.method.layer(plan), plan.require_learner(), examples, start, training)
        return {key: torch.tensor(value, dtype=torch.float64) for key, value in fitted.parameters.items()}

    def advance(self, index: int, names: list[str]) -> None:
        rows = {name: self.rounds.nodes[name].training.row_count for name in names}
        share = {name: rows[name] / sum(rows.values()) for name in names}
        logs = {name: torch_log_variances(self.psi, self.embeddings[name]) for name in names}
        after = {name: self.trained(name, index, logs[name]) for name in names}
        for optimiser in (*self.optimisers, *(self.steps[name] for name in names)):
            optimiser.zero_grad()
        for key, value in self.theta.items():
            weights = {name: torch.full_like(value, share[name]) for name in names}
            if key == WEIGHT:
                logs_after = {name: torch.clamp(after[name][LOGS], -8.5, 8.5) for name in names}
                weights = {name: share[name] * torch.exp(-logs_after[name]) for name in names}
            stacked = torch.stack([weights[name] for name in names])
            mean = (stacked * torch.stack([after[name][key] for name in names])).sum(dim=0) / stacked.sum(dim=0)
            value.grad = value.detach() - mean
        surrogate = sum(
            share[name] * (logs[name] * (logs[name] - after[name][LOGS].ravel()).detach()).sum() for name in names
        )
        assert isinstance(surrogate, torch.Tensor)
        surrogate.backward()  # type: ignore[no-untyped-call]  # torch leaves this one untyped
        norm = self.method.settings.server_norm
        clipped = torch.nn.utils.clip_grad_norm_([*self.theta.values(), *self.psi.values()], norm)
        factor = min(1.0, norm / float(clipped))
        for name in names:
            gradient = self.embeddings[name].grad
            assert gradient is not None
            gradient *= factor
        for optimiser in (*self.optimisers, *(self.steps[name] for name in names)):
            optimiser.step()


ABSENT = {1: ("hungary",), 2: ("cleveland", "switzerland")}


@pytest.mark.parametrize(
    ("chosen", "encode", "atol"),
    [({}, False, 1e-5), ({"server_norm": 0.2}, False, 1e-5), ({"resolution": 2**-26}, True, 1e-5)],
    ids=["plain", "shortened", "encoded"],
)
def test_the_sums_give_what_the_published_algorithm_gives(
    chosen: dict[str, Any],
    encode: bool,
    atol: float,
    heart_job: JobDocument,
    heart_schema: DatasetSchema,
    split_hospitals: dict[str, JobData],
) -> None:
    """Model, hypernetwork and embeddings over four rounds with a changing cohort; embeddings move at the next turn.

    The divergence is light enough that nothing is held back, neither by `hyper_clip` (see the next test) nor where a
    log variance becomes a precision, and steps stay small enough for float32 broadcasts not to be amplified.
    """
    rounds = Rounds(heart_job, heart_schema, split_hospitals, divergence=20.0, hyper_clip=100.0, **chosen)
    server = Published(rounds)
    for index in range(4):
        there = [name for name in sorted(rounds.nodes) if name not in ABSENT.get(index, ())]
        for name in there:
            embedding, _ = rounds.method.own_embedding(rounds.context(name, index))
            if name not in server.embeddings:
                server.enter(name, embedding)
            np.testing.assert_allclose(embedding, server.embeddings[name].detach().numpy(), atol=atol)
        before = flatten(group_of("hyper", rounds.state))
        rounds.advance(index, absent=ABSENT.get(index, ()), encode=encode)
        server.advance(index, there)
        for group, tensors in (("model", server.theta), ("hyper", server.psi)):
            for name, value in tensors.items():
                np.testing.assert_allclose(rounds.state[f"{group}/{name}"], value.detach().numpy(), atol=atol, rtol=0)
        assert np.abs(flatten(group_of("hyper", rounds.state)) - before).max() > 100 * atol
    moved = rounds.method.own_embedding(rounds.context("hungary", 4))[0] - rounds.own["hungary"]["embedding"]
    assert 0 < np.abs(moved).max() < 1


def test_with_steps_too_large_to_send_the_sums_differ_and_say_so(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    """A divergence ten times as heavy: by the first round single gradients exceed the default bound of 1."""
    rounds = Rounds(heart_job, heart_schema, split_hospitals, divergence=200.0)
    server = Published(rounds)
    for index in range(2):
        for name in sorted(rounds.nodes):
            if name not in server.embeddings:
                server.enter(name, rounds.method.own_embedding(rounds.context(name, index))[0])
        rounds.advance(index)
        server.advance(index, sorted(rounds.nodes))
    gaps = [np.abs(rounds.state[f"hyper/{name}"] - value.detach().numpy()).max() for name, value in server.psi.items()]
    assert max(gaps) > 1e-3
    assert rounds.method.summary(rounds.plan, rounds.state)["clipped_share"] > 0


def of_layers(method: MetaVD, plan: Plan, pairs: list[tuple[float, float]], rows: float) -> NDArray[np.float64]:
    """The layer's change from nodes of as many rows each, by (change, lambda') of every weight."""
    share = rows / plan.maximum_rows
    parts = []
    for change, logs in pairs:
        shapes = {**method.shared_shapes(plan), "precision": method.shared_shapes(plan)[WEIGHT]}
        values = {name: np.full(shape, change) for name, shape in shapes.items()}
        values["precision"] = np.full(shapes[WEIGHT], np.exp(-logs - 8.5))
        values.update({f"hyper/{name}": np.zeros(shape) for name, shape in method.hyper_shapes(plan).items()})
        context = NodeContext(plan=plan, broadcast={}, data=None)  # type: ignore[arg-type]  # not looked at
        parts.append(method.message(context, LocalUpdate(change=values, loss=0.0), share).values)
    total = CohortSum(values=plain_sum(method.update_vectors(plan), parts), cohort=len(parts))
    found = method.mean_change(plan, total, 1 / (share * len(parts)))
    np.testing.assert_allclose(found["layer1.weight"], np.mean([change for change, _ in pairs]))
    return found[WEIGHT]


def test_with_equal_rates_the_layer_is_averaged_and_else_the_sure_node_decides(rounds: Rounds) -> None:
    equal = of_layers(rounds.method, rounds.plan, [(0.5, -3.0), (-0.1, -3.0)], 20)
    np.testing.assert_allclose(equal, 0.2, atol=1e-12)
    sure = of_layers(rounds.method, rounds.plan, [(0.5, -8.5), (-0.1, 0.0)], 20)
    ratio = (0.5 - sure) / (sure + 0.1)  # weight of the second over that of the first
    np.testing.assert_allclose(ratio, np.exp(-8.5), rtol=1e-6)


def test_what_leaves_is_what_the_statement_names_and_no_embedding_is_in_it(rounds: Rounds) -> None:
    parts = rounds.advance(0)
    named = {item.name for item in rounds.method.statement.quantities if item.party == "coordinator"}
    for name, part in parts.items():
        assert set(part.values) == named
        kept = rounds.own[name]
        assert set(kept) == {"embedding", "momentum", "pending", "pending-round"}
    embeddings = [tuple(kept["embedding"]) for kept in rounds.own.values()]
    assert len(set(embeddings)) == len(embeddings)


def test_a_node_without_rows_adds_nothing(rounds: Rounds) -> None:
    name = "hungary"
    rows = rounds.nodes[name]
    empty = JobData(training=rows.training.restrict(()), held_out=rows.held_out)
    rounds.nodes = {**rounds.nodes, name: empty}
    parts = rounds.advance(0)
    assert all(not values.any() for values in parts[name].values.values())
    assert name not in rounds.own


def test_precision_beyond_the_clamp_cannot_be_claimed_nor_summed(rounds: Rounds) -> None:
    parts = rounds.advance(0)
    plan = rounds.plan.for_round(1)
    share = {name: rounds.nodes[name].training.row_count / plan.maximum_rows for name in parts}
    for name, part in parts.items():
        assert part.values["precision"].max() <= share[name] * (1 + 1e-12)
        assert part.values["precision"].min() >= share[name] * np.exp(-8.5) * (1 - 1e-12)
    total = plain_sum(rounds.method.vectors(plan), [part.values for part in parts.values()])
    for factor in (3.0, 0.0, -1.0):
        claimed = {**total, "precision": total["precision"] * factor}
        with pytest.raises(PeerFault, match="The summed precisions lie between"):
            rounds.method.aggregate(plan, rounds.state, CohortSum(values=claimed, cohort=4))


def test_rates_rise_and_the_divergence_falls_and_gradients_reach_network_and_embeddings(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    rounds = Rounds(heart_job, heart_schema, split_hospitals, divergence=50.0)
    figures, first = [], dict[str, NDArray[np.float64]]()
    for index in range(8):
        rounds.advance(index)
        figures.append(rounds.method.summary(rounds.plan.for_round(index), rounds.state))
        first = first or {name: kept["embedding"] for name, kept in rounds.own.items()}
    assert figures[-1]["dropout_rate"] > figures[0]["dropout_rate"] + 0.1
    assert figures[-1]["divergence"] < figures[0]["divergence"] - 0.1
    for name, embedding in first.items():
        assert np.abs(rounds.own[name]["pending"]).max() > 0
        assert np.abs(rounds.own[name]["embedding"] - embedding).max() > 1e-3


def test_controls_keep_nothing_at_nodes_and_share_their_rates(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    for rates, length in (("shared", 2), ("shared-free", 0), ("none", 0)):
        rounds = Rounds(heart_job, heart_schema, split_hospitals, rates=rates)
        rounds.advance(0)
        assert rounds.own == {}
        if rates != "none":
            own = [rounds.method.own_embedding(rounds.context(name, 1))[0] for name in rounds.nodes]
            assert all(len(one) == length and np.array_equal(one, own[0]) for one in own)


def trained(rounds: Rounds, count: int = 5) -> NDArray[np.float64]:
    for index in range(count):
        rounds.advance(index)
    return flatten(group_of("model", rounds.state))


def test_without_noise_it_is_averaging_with_momentum_and_with_the_least_noise_nearly(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    where = (heart_job, heart_schema, split_hospitals)
    plain = trained(Rounds(*where, rates="none", local_norm=0, server_norm=0))
    momentum = make_method("fedavgm", {"server_rate": 0.9, "server_momentum": 0.9})
    rounds = Rounds(*where)
    plan, state = rounds.plan, momentum.initial_state(rounds.plan)
    for index in range(5):
        plan = rounds.plan.for_round(index)
        broadcast = momentum.broadcast(plan, state)
        parts = [
            contribute(
                momentum,
                NodeContext(plan=plan, broadcast=broadcast, data=data, seed=node_seed(1, name, "training", index)),
            ).values
            for name, data in sorted(rounds.nodes.items())
        ]
        total = CohortSum(values=plain_sum(momentum.vectors(plan), parts), cohort=len(parts))
        state = momentum.aggregate(plan, state, total)
    np.testing.assert_allclose(plain, flatten(group_of("model", state)), atol=1e-6)
    start = flatten(group_of("model", rounds.state))
    silent = trained(Rounds(*where, rates="shared-free", divergence=0.0))
    assert np.linalg.norm(silent - plain) < 0.1 * np.linalg.norm(plain - start)


def test_a_node_adapts_the_model_by_one_step_on_its_own_training_rows(rounds: Rounds) -> None:
    trained(rounds, 2)
    common = rounds.method.export(rounds.plan, rounds.state)
    context = rounds.context("cleveland", 2)
    own = own_model(rounds.method, context, common)
    assert own.keys() == common.keys()
    assert 0 < np.abs(flatten(own) - flatten(common)).max() < 0.5
    np.testing.assert_array_equal(flatten(own), flatten(own_model(rounds.method, context, common)))
    nobody = JobData(training=context.data.training.restrict(()), held_out=context.data.held_out)
    without = NodeContext(plan=context.plan, broadcast={}, data=nobody)
    for method, where in ((metavd(adapt_rows=0), context), (rounds.method, without)):
        np.testing.assert_array_equal(flatten(own_model(method, where, common)), flatten(common))
    quiet = metavd(rates="none", adapt_rows=1000, local_norm=0)
    rows = context.plan.examples(context.data.training)
    learner = make_learner("tabular-mlp", {"hidden_width": 5, "learning_rate": 0.1, "batch_size": len(rows)})
    step = learner.fit(FitRequest(parameters=common, examples=rows, epochs=1, seed=0)).parameters
    np.testing.assert_allclose(flatten(own_model(quiet, context, common)), flatten(step), atol=1e-6)


def test_pruning_takes_the_least_sure_weights_from_the_nodes_own_model_only(
    heart_job: JobDocument, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    rounds = Rounds(heart_job, heart_schema, split_hospitals, prune_above=0.9, adapt_rows=0)
    trained(rounds, 2)
    common = rounds.method.export(rounds.plan, rounds.state)
    kept = rounds.own["hungary"]
    own = own_model(rounds.method, rounds.context("hungary", 2), common)
    variance = np.exp(np.clip(kept[f"log-variance/{WEIGHT}"], -8.5, 8.5))
    lost = variance / (variance + common[WEIGHT].astype(np.float64) ** 2) > 0.9
    assert 0 < lost.sum() < lost.size
    np.testing.assert_array_equal(own[WEIGHT], np.where(lost, 0, common[WEIGHT]))
    np.testing.assert_array_equal(own["layer1.weight"], common["layer1.weight"])
    assert (common[WEIGHT] != 0).all()


def test_the_layer_draws_what_the_weights_distribution_says() -> None:
    """Local reparametrisation: mean x W' + b, variance (x x) exp(log variance)', here over 20,000 rows alike."""
    layer = VariationalLinear(torch.nn.Linear(4, 3))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer.weight.normal_()
        layer.bias.normal_()
        layer.log_variance.uniform_(-3, 1)
        row = torch.randn(1, 4)
        drawn = layer.train()(row.repeat(20_000, 1))
        mean, variance = layer.eval()(row)[0], (row**2 @ torch.exp(layer.log_variance).T)[0]
    np.testing.assert_allclose(drawn.mean(dim=0), mean, atol=0.05 * float(variance.sqrt().max()))
    np.testing.assert_allclose(drawn.var(dim=0), variance, rtol=0.05)


def test_the_exchanged_network_predicts_as_the_learner_and_trains_its_log_variances() -> None:
    learner = make_learner("tabular-mlp", {"hidden_width": 5, "weight_decay": 0.5, "learning_rate": 0.1, "classes": 3})
    noisy = variational(learner, "layer0")
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(30, 4)).astype(np.float32)
    start = {**learner.initial_parameters(4, 1), LOGS: np.full((5, 4), -2, np.float32)}
    assert noisy.parameter_shapes(4) == {name: value.shape for name, value in start.items()}
    np.testing.assert_array_equal(noisy.predict(start, rows), learner.predict(start, rows))
    examples = Examples(inputs=rows, labels=generator.integers(0, 3, 30).astype(np.float64))
    request = FitRequest(parameters=start, examples=examples, epochs=2, seed=1)
    one, two = noisy.fit(request), noisy.fit(request)
    np.testing.assert_array_equal(one.parameters[LOGS], two.parameters[LOGS])
    assert 0 < np.abs(one.parameters[LOGS] - start[LOGS]).max() < 0.1  # no weight decay pulls at them


def test_learners_without_such_a_layer_are_refused(rounds: Rounds, heart_schema: DatasetSchema) -> None:
    job = rounds.job.model_copy(update={"learner": LearnerChoice(name="logistic-regression")})
    with pytest.raises(MethodUnsuitable, match='the learner "logistic-regression" has none'):
        rounds.method.vectors(stage_plan(job, heart_schema, programme(job)[1]))


def test_a_whole_job_is_alike_plain_and_encoded(
    rounds: Rounds, heart_schema: DatasetSchema, split_hospitals: dict[str, JobData]
) -> None:
    job = rounds.job.model_copy(update={"method": rounds.job.method.model_copy(update={"rounds": 3})})  # type: ignore[union-attr]  # it has one
    plain, encoded = (run_in_process(job, heart_schema, split_hospitals, encode=encode) for encode in (False, True))
    for name, value in plain.published["training"].items():
        np.testing.assert_allclose(encoded.published["training"][name], value, atol=1e-4)
    assert plain.rounds[-1].summary["patients"] > 100
