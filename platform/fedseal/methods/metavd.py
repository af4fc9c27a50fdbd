"""``metavd``: a hypernetwork gives every node its own dropout rates, Jeon et al. 2023 (NeurIPS), from sums alone.

One linear layer has weights Normal(theta_v, exp(lambda)); lambda_m = H_psi(e_m) differs by node. Node m with n_m rows:
    lambda_m = H_psi(e_m); train theta and lambda from there, on cross-entropy + beta KL, to theta_m and lambda'_m
    sums    s0 = sum n_m                      s1 = sum n_m (theta_m - theta)              but for the layer's weights
            s2 = sum n_m pi_m (theta_mv - theta_v)     s3 = sum n_m pi_m,  pi_m = exp(-lambda'_m - 8.5)
            s4 = sum n_m J_m' (lambda_m - lambda'_m),  J_m = d lambda_m / d psi
and the coordinator
    theta moves by s1 / s0, theta_v by s2 / s3 elementwise (the mean of a product of normal distributions), psi by
    -s4 / s0; all are shortened to a joint norm of 100, then each is a step of gradient descent with momentum.

Rules this module keeps:
- The published algorithm sees each theta_m and lambda'_m, but uses them in these sums alone: the Jacobian is applied at
  the node. e_m is drawn and kept by its node and never leaves; lambda_m and J_m' (...) of one node do not either.
- A node moves its own e_m by its own gradient over s0 when it takes part again; every broadcast carries 1 / s0 of
  each earlier round, so that this is the published step. A node whose contribution was lost stays where it was.
- What a node may claim as precision is bounded: lambda' is held to [-8.5, 0] before it is encoded. Sums beyond what
  honest nodes can give are refused.
- The model is theta. A node adapts it with a step on rows of its own before it uses it, and nothing of that leaves.

Deviations from paper and code, with reasons: docs/methods/metavd.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.errors import PeerFault
from fedseal.learning.learner import Examples, FitResult, ParameterRole
from fedseal.learning.tensors import NamedTensors, Shapes, flatten, group_of, grouped, size_of, unflatten
from fedseal.methods.averaging import (
    MODEL,
    UPDATE,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
    Message,
    averaging_statement,
    difference,
)
from fedseal.methods.contract import CohortSum, DisclosureStatement, NodeContext, Plan, Quantity, node_seed
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.hypernetwork import HIGHEST, Floats, Hypernetwork, Rates, SharedRates
from fedseal.methods.suitability import Suitability
from fedseal.methods.variational import (
    Layer,
    Training,
    divergence,
    dropout_rates,
    fitted_with,
    joint_norm,
    warmed,
)
from fedseal_crypto.encoding import VectorSpec

HYPER, VELOCITY, HYPER_VELOCITY = "hyper", "velocity", "hyper-velocity"
PACE, NOISE = "pace", "noise"
PRECISION, WEIGHTED_LAYER = "precision", "layer"
EMBEDDING, MOMENTUM, PENDING, PENDING_ROUND = "embedding", "momentum", "pending", "pending-round"
LAST = "log-variance"
LEAST_PRECISION = float(np.exp(-HIGHEST))
LARGEST_DIVERGENCE = 30.0


class MetaVDSettings(AveragingSettings):
    """Averaging, the layer's rates, both optimisers, and what a node does before it uses the model."""

    local_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over a node's rows a round (E)")] = 5
    rates: Annotated[
        Literal["personal", "shared", "shared-free", "none"],
        Field(
            description="dropout rates: each node's own; controls: one set for all from the same network, one set for "
            "all without a network, no noise"
        ),
    ] = "personal"
    hidden: Annotated[int, Field(ge=1, le=1024, description="units in the hypernetwork's hidden layers")] = 32
    divergence: Annotated[float, Field(ge=0, le=1e4, description="weight of the divergence (beta)")] = 10.0
    warm_up: Annotated[float, Field(ge=0, le=1, description="share of the rounds in which beta rises")] = 0.02
    server_rate: Annotated[float, Field(gt=0, le=100, description="step of the model and hypernetwork (eta_s)")] = 0.9
    server_momentum: Annotated[float, Field(ge=0, lt=1, description="of the model; 0 with server_rate 1: FedAvg")] = 0.9
    hyper_momentum: Annotated[float, Field(ge=0, lt=1, description="of the hypernetwork")] = 0.6
    embedding_momentum: Annotated[float, Field(ge=0, lt=1, description="of a node's embedding")] = 0.3
    hyper_decay: Annotated[float, Field(ge=0, le=1, description="L2 penalty of hypernetwork and embeddings")] = 5e-4
    local_norm: Annotated[float, Field(ge=0, le=1e6, description="largest gradient of a local step; 0 for any")] = 5.0
    server_norm: Annotated[float, Field(ge=0, le=1e6, description="largest step before its rate; 0 for any")] = 100.0
    hyper_clip: Annotated[float, Field(gt=0, le=1e6, description="largest gradient of one hypernetwork number")] = 1.0
    fine_resolution: Annotated[
        float, Field(ge=2**-40, le=2**-16, description="smallest step of precisions and hypernetwork gradients")
    ] = 2**-28
    adapt_rows: Annotated[
        int, Field(ge=0, le=65_536, description="own rows for the step before a node uses the model; 0 for no step")
    ] = 64
    prune_above: Annotated[
        float, Field(gt=0, le=1, description="a node's own model loses weights with a larger dropout rate; 1 for none")
    ] = 1.0


STATEMENT = averaging_statement(
    "In one layer changes are also weighted, weight by weight, by how sure a node is of them, and the coordinator "
    "learns the sum of these certainties. Each node computes its dropout rates itself, from a network that all share "
    "and from numbers of its own (its embedding) that it keeps; of how that network should change the coordinator "
    "learns the weighted sum, too, and the weighted sums of the nodes' mean dropout rate and divergence. No node's "
    "embedding, rates or certainties are sent.",
    Quantity(
        name=WEIGHTED_LAYER, party="coordinator", description="changes of one layer, weighted by rows and precision"
    ),
    Quantity(
        name=PRECISION, party="coordinator", description="row-weighted sum of the precision of each of its weights"
    ),
    Quantity(name=HYPER, party="coordinator", description="row-weighted sum of the hypernetwork's gradients"),
    Quantity(name=NOISE, party="coordinator", description="row-weighted sums of mean dropout rate and divergence"),
    Quantity(name="hypernetwork", party="every node", description="the common hypernetwork after each round"),
    Quantity(name=PACE, party="every node", description="how many rows each earlier round had, as a step length"),
    update=Quantity(
        name=UPDATE.name, party=UPDATE.party, description="row-weighted sum of the changes of all other parameters"
    ),
)


@dataclass(frozen=True, slots=True)
class MetaVD(Averaging):
    """See the module docstring.

    State: ``model/...``, ``velocity/...``, ``hyper/...``, ``hyper-velocity/...``, ``pace`` of shape (rounds,),
    ``noise`` of shape (2,) and ``report``, all float64.
    """

    settings: MetaVDSettings = field(default_factory=MetaVDSettings)

    name: ClassVar[str] = "metavd"
    title: ClassVar[str] = "Dropout rates of its own for every node (MetaVD)"
    reference: ClassVar[str] = "Jeon et al. 2023, Federated Learning via Meta-Variational Dropout (NeurIPS)"
    statement: ClassVar[DisclosureStatement] = STATEMENT
    suits: ClassVar[Suitability] = Suitability(
        purpose="Noise in one layer, of each node's own strength, keeps models of few rows from being overconfident.",
        cost="A network larger than many models goes both ways each round, more computing; torch networks only.",
    )
    settings_model: ClassVar[type[BaseModel]] = MetaVDSettings

    @property
    def is_noisy(self) -> bool:
        """Whether there are rates at all."""
        return self.settings.rates != "none"

    def layer(self, plan: Plan) -> Layer:
        """The layer whose weights are distributions: the last but one linear layer.

        Raises:
            MethodUnsuitable: The learner has no such layer, or keeps running statistics.
        """
        from fedseal.learning._torch_variational import LOG_VARIANCE, linear_layers

        learner = plan.require_learner()
        if ParameterRole.STATISTICS in learner.roles(plan.input_width).values():
            raise MethodUnsuitable(
                'Method "metavd" does not carry the running statistics of batch normalisation; choose group '
                "normalisation or none."
            )
        layers = linear_layers(learner, plan.input_width)
        if len(layers) < 2:
            raise MethodUnsuitable(
                f'Method "metavd" exchanges the last but one linear layer of a torch network that is a sequence of '
                f'layers, and the learner "{learner.name}" has none; choose tabular-mlp, or small-cnn with a hidden '
                "layer."
            )
        return Layer(weight=f"{layers[-2]}.weight", log_variance=f"{layers[-2]}.{LOG_VARIANCE}")

    def hypernetwork(self, plan: Plan) -> Rates:
        """What gives this plan's log variances."""
        outputs = int(np.prod(self.shared_shapes(plan)[self.layer(plan).weight]))
        if self.settings.rates == "shared-free":
            return SharedRates(outputs=outputs)
        return Hypernetwork(embedding=1 + plan.node_count // 4, hidden=self.settings.hidden, outputs=outputs)

    def hyper_shapes(self, plan: Plan) -> Shapes:
        """Of psi; nothing without noise."""
        return self.hypernetwork(plan).shapes if self.is_noisy else {}

    def plain_shapes(self, plan: Plan) -> Shapes:
        """What is averaged by rows: all but the layer's weights."""
        weight = self.layer(plan).weight
        return {name: shape for name, shape in self.shared_shapes(plan).items() if not self.is_noisy or name != weight}

    def more_state(self, plan: Plan) -> NamedTensors:
        """Optimisers at rest, and a hypernetwork by the job's seed."""
        psi = self.hypernetwork(plan).initial(hyper_seed(plan)) if self.is_noisy else {}
        rest = {name: np.zeros(shape) for name, shape in self.shared_shapes(plan).items()}
        return {
            **grouped(VELOCITY, rest),
            **grouped(HYPER, psi),
            **grouped(HYPER_VELOCITY, {name: np.zeros_like(value) for name, value in psi.items()}),
            PACE: np.zeros(plan.rounds),
            NOISE: np.zeros(2),
        }

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """Model, hypernetwork, and the step lengths of earlier rounds."""
        model = {f"{MODEL}/{name}": shape for name, shape in self.shared_shapes(plan).items()}
        psi = {f"{HYPER}/{name}": shape for name, shape in self.hyper_shapes(plan).items()}
        return {**model, **psi, **({PACE: (plan.rounds,)} if self.is_noisy else {})}

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """Model and hypernetwork in float32, step lengths in float64."""
        return {
            name: state[name] if name == PACE else state[name].astype(np.float32)
            for name in self.broadcast_shapes(plan)
        }

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """s1, s2, s3 and s4."""
        clip, step = self.settings.clip, min(self.settings.resolution, self.settings.clip)
        plain = VectorSpec(name="update", length=size_of(self.plain_shapes(plan)), bound=clip, resolution=step)
        if not self.is_noisy:
            return (plain,)
        fine, psi = self.settings.fine_resolution, size_of(self.hyper_shapes(plan))
        weights = int(np.prod(self.shared_shapes(plan)[self.layer(plan).weight]))
        bound = self.settings.hyper_clip
        return (
            plain,
            VectorSpec(name=WEIGHTED_LAYER, length=weights, bound=clip, resolution=min(fine, clip)),
            VectorSpec(name=PRECISION, length=weights, bound=1.0, resolution=fine, signed=False),
            VectorSpec(name=HYPER, length=psi, bound=bound, resolution=min(fine, bound)),
        )

    def more_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:  # noqa: ARG002 - the same for every plan
        """Mean dropout rate and divergence."""
        if not self.is_noisy:
            return ()
        return (VectorSpec(name=NOISE, length=2, bound=LARGEST_DIVERGENCE, resolution=2.0**-20, signed=False),)

    def train(self, context: NodeContext) -> LocalUpdate:
        """Own rates, training of model and rates, and what that says about the hypernetwork.

        The update's change has, beside the model's, ``precision`` of the layer and ``hyper/...``, all flat or shaped as
        they are.
        """
        start = group_of(MODEL, context.broadcast)
        if not self.is_noisy:
            fitted = self._fit(context, start, beta=0.0)
            return LocalUpdate(change=difference(fitted.parameters, start), loss=fitted.loss)
        plan, layer = context.plan, self.layer(context.plan)
        network, psi = self.hypernetwork(plan), group_of(HYPER, context.broadcast)
        embedding, momentum = self.own_embedding(context)
        before = network.log_variances(psi, embedding).astype(np.float32)
        beta = warmed(self.settings.divergence, plan.round, round(self.settings.warm_up * plan.rounds))
        shape = start[layer.weight].shape
        fitted = self._fit(context, {**start, layer.log_variance: before.reshape(shape)}, beta)
        after = fitted.parameters[layer.log_variance]
        gradients, own = network.pulled_back(psi, embedding, (before - after.ravel()).astype(np.float64))
        held = np.clip(after.astype(np.float64), -HIGHEST, 0.0)
        precision = np.exp(-held - HIGHEST)
        theta = fitted.parameters[layer.weight]
        share = context.data.training.row_count / self.heaviest(plan)
        noise = [float(np.mean(dropout_rates(theta, after))), min(divergence(theta, after), LARGEST_DIVERGENCE)]
        kept: dict[str, NDArray[np.float64]] = {}
        if self.settings.rates == "personal":
            kept = {EMBEDDING: embedding, MOMENTUM: momentum, PENDING: own * share}
            kept[PENDING_ROUND] = np.array([float(plan.round)])
        if self.settings.prune_above < 1:
            kept[f"{LAST}/{layer.weight}"] = np.asarray(after, dtype=np.float64)
        return LocalUpdate(
            change={**difference(fitted.parameters, start), PRECISION: precision, **grouped(HYPER, gradients)},
            loss=fitted.loss,
            local_state=kept or None,
            extra={NOISE: np.array(noise) * share},
        )

    def own_embedding(self, context: NodeContext) -> tuple[Floats, Floats]:
        """Node: its embedding and the momentum of that, after the step of the round in which it took part last.

        At first it is drawn from a standard normal distribution by the node's seed; with shared rates by the job's, and
        it stays.
        """
        known, length = context.local_state, self.hypernetwork(context.plan).embedding
        if EMBEDDING not in known:
            first = context.seed if self.settings.rates == "personal" else context.plan.job.seed
            seed = node_seed(first, "metavd: the embedding", context.plan.stage, 0)
            drawn = np.random.Generator(np.random.Philox(seed)).standard_normal(length)
            return drawn, np.zeros(length)
        settings, embedding = self.settings, known[EMBEDDING]
        gradient = context.broadcast[PACE][int(known[PENDING_ROUND][0])] * known[PENDING]
        moved = settings.embedding_momentum * known[MOMENTUM] + gradient + settings.hyper_decay * embedding
        return embedding - settings.server_rate * moved, moved

    def message(self, context: NodeContext, local: LocalUpdate, share: float) -> Message:
        """s1 to s4, each by the node's share."""
        plan, clip, bound = context.plan, self.settings.clip, self.settings.hyper_clip
        plain = flatten({name: local.change[name] for name in self.plain_shapes(plan)})
        values, clipped = {"update": np.clip(plain, -clip, clip) * share}, int(np.sum(np.abs(plain) > clip))
        if self.is_noisy:
            layer, precision = local.change[self.layer(plan).weight], local.change[PRECISION]
            psi = flatten(group_of(HYPER, local.change))
            values[WEIGHTED_LAYER] = (np.clip(layer, -clip, clip) * precision).ravel() * share
            values[PRECISION] = precision.ravel() * share
            values[HYPER] = np.clip(psi, -bound, bound) * share
            clipped += int(np.sum(np.abs(layer) > clip)) + int(np.sum(np.abs(psi) > bound))
        return Message(values=values, clipped=clipped, local_state=local.local_state)

    def mean_change(self, plan: Plan, total: CohortSum, to_mean: float) -> Mapping[str, NDArray[np.float64]]:
        """Of the model by name, and of psi under ``hyper/...`` the mean gradient.

        Raises:
            PeerFault: A summed precision is not one that honest nodes can have.
        """
        change = unflatten(total.values["update"] * to_mean, self.plain_shapes(plan))
        if not self.is_noisy:
            return change
        weight, clip = self.layer(plan).weight, self.settings.clip
        sums, slack = total.values[PRECISION], 2 * total.cohort * self.settings.fine_resolution
        # Nobody's precision is outside [exp(-8.5), 1], and shares add up to 1 / to_mean.
        if sums.min() < LEAST_PRECISION / to_mean - slack or sums.max() > (1 + 1e-9) / to_mean + slack:
            raise PeerFault(
                f"The summed precisions lie between {sums.min() * to_mean:.3g} and {sums.max() * to_mean:.3g} times "
                f"the cohort's weight, and honest nodes give {LEAST_PRECISION:.3g} to 1; some node did not train as "
                "the job says."
            )
        ratio = total.values[WEIGHTED_LAYER] / np.maximum(sums, LEAST_PRECISION / to_mean)
        change[weight] = np.clip(ratio, -clip, clip).reshape(self.shared_shapes(plan)[weight])
        return {**change, **grouped(HYPER, unflatten(total.values[HYPER] * to_mean, self.hyper_shapes(plan)))}

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """Shorten the pseudo-gradients together; one step of gradient descent with momentum for each group."""
        settings, names = self.settings, self.shared_shapes(plan)
        norm = joint_norm(mean.change)
        factor = settings.server_norm / norm if settings.server_norm and norm > settings.server_norm else 1.0
        after: dict[str, NDArray[np.float64]] = {}
        for name in names:
            velocity = settings.server_momentum * state[f"{VELOCITY}/{name}"] - factor * mean.change[name]
            after[f"{VELOCITY}/{name}"] = velocity
            after[f"{MODEL}/{name}"] = state[f"{MODEL}/{name}"] - settings.server_rate * velocity
        for name, gradient in group_of(HYPER, mean.change).items():
            psi = state[f"{HYPER}/{name}"]
            velocity = settings.hyper_momentum * state[f"{HYPER_VELOCITY}/{name}"]
            velocity = velocity + factor * gradient + settings.hyper_decay * psi
            after[f"{HYPER_VELOCITY}/{name}"], after[f"{HYPER}/{name}"] = (
                velocity,
                psi - settings.server_rate * velocity,
            )
        to_mean = self.heaviest(plan) / mean.weight
        pace = state[PACE].copy()
        pace[plan.round] = factor * to_mean
        noise = mean.total.values[NOISE] * to_mean if self.is_noisy else state[NOISE]
        return {**after, PACE: pace, NOISE: noise}

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:
        """`Averaging`'s, and with noise the cohort's mean dropout rate and divergence."""
        figures = Averaging.summary(self, plan, state)
        if not self.is_noisy:
            return figures
        rate, kl = (float(value) for value in state[NOISE])
        return {**figures, "dropout_rate": rate, "divergence": kl}

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:
        """The common model; with `prune_above`, without the weights of which this node is least sure."""
        model = dict(exported)
        for name, log_variance in group_of(LAST, local_state).items():
            lost = dropout_rates(exported[name], log_variance) > self.settings.prune_above
            model[name] = np.where(lost, np.float32(0), exported[name]).astype(np.float32)
        return model

    def fitted_model(self, context: NodeContext, exported: NamedTensors) -> NamedTensors:
        """Node: the common model after a step on own training rows with the least noise, then as `node_model`."""
        rows = min(self.settings.adapt_rows, context.data.training.row_count)
        if rows == 0:
            return self.node_model(exported, context.local_state)
        from fedseal.learning._torch_variational import in_batches_of

        everything = context.plan.examples(context.data.training)
        order = np.random.Generator(np.random.Philox(context.seed)).permutation(len(everything))[:rows]
        examples = Examples(inputs=everything.inputs[order], labels=everything.labels[order])
        learner = in_batches_of(context.plan.require_learner(), rows)
        layer, start = (self.layer(context.plan) if self.is_noisy else None), dict(exported)
        if layer is not None:
            start[layer.log_variance] = np.full(exported[layer.weight].shape, -HIGHEST, dtype=np.float32)
        training = Training(seed=context.seed, epochs=1, longest=self.settings.local_norm)
        fitted = fitted_with(layer, learner, examples, start, training)
        return self.node_model({name: fitted.parameters[name] for name in exported}, context.local_state)

    def _fit(self, context: NodeContext, start: NamedTensors, beta: float) -> FitResult:
        examples, settings = context.plan.examples(context.data.training), self.settings
        training = Training(seed=context.seed, epochs=settings.local_epochs, longest=settings.local_norm, beta=beta)
        layer = self.layer(context.plan) if self.is_noisy else None
        return fitted_with(layer, context.plan.require_learner(), examples, start, training)


def hyper_seed(plan: Plan) -> int:
    """Of psi before the first round; public."""
    return node_seed(plan.job.seed, "metavd: the hypernetwork", plan.stage, 0)
