"""``evofed``: only fitness travels; every party replays the update, Rahimi et al. 2023 (NeurIPS).

Round t at node k: train from the common model w, delta_k = w'_k - w; draw the round's noise, which everybody draws
alike; send the N * K fitness values of `fedseal.methods.evolution`, weighted by rows. The coordinator adds, and
everybody makes from the sum F the same step:
    delta^ = (1 / M) sum_i (F_i - F_{i+M}) / (4 sigma) eps_i      without shaping: unbiased for the mean update
    g      = (1 / (N sigma)) sum_i F_i eps_i                        with shaping, as in the authors' code
    v <- 0.9 v + delta^, w <- w + eta v, or Adam's step on g.
A step of 1 diverges, since decoding multiplies the length of a change by sqrt(1 + width / M); ``auto`` takes the
eta = M / (M + width) that makes the expected error of one step least.

Rules this module keeps:
- A node keeps model and optimiser in its local state and brings them up to date from the sums of the last rounds,
  which every broadcast carries. The whole model travels every `model_every` rounds only; in round 0 nobody needs it,
  because it follows from the job's seed.
- Model and optimiser are float32 after every round, at every party; the digest in the broadcast must agree, or the
  node refuses the round. The step is elementwise, and decoding exact, so replicas agree to the bit.
- A node that missed more rounds than the broadcast carries gives zeros, with no weight, until the next whole model.
- A sum is taken to the nearest level before anyone uses it, so that all compute from the same whole numbers.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from fedseal.errors import PeerFault
from fedseal.learning.learner import ParameterRole
from fedseal.learning.tensors import (
    NamedTensors,
    Shapes,
    flatten,
    group_of,
    grouped,
    pack_tensors,
    size_of,
    unflatten,
)
from fedseal.methods.averaging import (
    FIGURES,
    MODEL,
    REPORT,
    WEIGHTED,
    WORST_LOSS,
    Averaging,
    AveragingSettings,
    difference,
)
from fedseal.methods.contract import CohortSum, Contribution, DisclosureStatement, NodeContext, Plan, Quantity
from fedseal.methods.errors import BroadcastRefused, MethodUnsuitable
from fedseal.methods.evolution import Floats, Noise, Shaping, decoded, fitness, parts_of
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.vocabulary import Disclosure

FITNESS, WEIGHTS, DIGEST, ROUND = "fitness", "weights", "digest", "round"
FIRST, SECOND = "first", "second"
ADAM_STEP = 0.0427  # of the authors' configuration for Fashion-MNIST
ADAM_FLOOR = 1e-8

STATEMENT = DisclosureStatement(
    level=Disclosure.SUM,
    paragraph=(
        "Every node trains the current model on its own rows, compares the result with random variations of the model "
        "that all parties draw alike, and contributes how close each variation came (its fitness), weighted by its "
        "number of rows. The coordinator learns the weighted sums of these figures over all nodes of the cohort "
        "together, the cohort's number of training rows, its summed training loss and how many figures were clipped, "
        "and passes the sums on to every node, so that all make the same step. No node's fitness, change, number of "
        "rows or loss is sent. One node's fitness would tell a blurred picture of its change, for the variations are "
        f"no secret: what protects it is the secure sum, not the method. {WEIGHTED}"
    ),
    quantities=(
        Quantity(name=FITNESS, party="coordinator", description="row-weighted sum of the fitness of each variation"),
        *FIGURES,
        Quantity(name="fitness sums", party="every node", description="the sums and rows of the last rounds"),
        Quantity(name="model", party="every node", description="the common model, replayed after each round"),
    ),
)


class EvoFedSettings(AveragingSettings):
    """Population, noise, what becomes of the fitness, and the common step."""

    clip: Annotated[float, Field(gt=0, le=1e6, description="largest fitness of one variation (C)")] = 64.0
    resolution: Annotated[float, Field(ge=2**-40, le=1, description="smallest step in which fitness is encoded")] = (
        2**-7
    )
    population: Annotated[int, Field(ge=2, le=65_536, description="variations of the model, even (N)")] = 128
    partitions: Annotated[int, Field(ge=1, le=65_536, description="parts of the model with fitness each (K)")] = 1
    paired: Annotated[bool, Field(description="send half the differences of mirrored pairs: half as much")] = False
    sigma: Annotated[float, Field(gt=0, le=100, description="scale of the variations")] = 0.35
    sigma_decay: Annotated[float, Field(gt=0, le=1, description="of sigma, each round")] = 1.0
    shaping: Annotated[Shaping, Field(description="what each node makes of its fitness; none keeps sums exact")] = (
        "none"
    )
    optimiser: Annotated[Literal["momentum", "adam"], Field(description="the common step")] = "momentum"
    server_step: Annotated[
        Annotated[float, Field(gt=0, le=100)] | Literal["auto"],
        Field(description="eta; auto: M / (M + width) with momentum, 0.0427 with adam"),
    ] = "auto"
    step_decay: Annotated[float, Field(gt=0, le=1, description="of eta, each round")] = 1.0
    server_momentum: Annotated[float, Field(ge=0, lt=1, description="of the decoded change, or Adam's beta1")] = 0.9
    second_decay: Annotated[float, Field(ge=0, lt=1, description="Adam's beta2")] = 0.999
    history: Annotated[int, Field(ge=1, le=10_000, description="rounds of sums in each broadcast")] = 4
    model_every: Annotated[int, Field(ge=1, le=10_000, description="rounds between broadcasts of the model")] = 16

    @model_validator(mode="after")
    def _population_is_mirrored(self) -> "EvoFedSettings":
        if self.population % 2:
            raise ValueError("population is odd; variations come in mirrored pairs, so write an even number")
        return self

    @property
    def pairs(self) -> int:
        """M."""
        return self.population // 2


@dataclass(frozen=True, slots=True)
class EvoFed(Averaging):
    """See the module docstring.

    State: ``model/...`` and the optimiser's ``first/...``, ``second/...`` in float32; ``fitness``, the sums of the
    last rounds in levels, shape (history, length), oldest first; ``weights``, shape (history,); ``report``.
    """

    settings: EvoFedSettings = field(default_factory=EvoFedSettings)

    name: ClassVar[str] = "evofed"
    title: ClassVar[str] = "Evolution strategies: only fitness values travel (EvoFed)"
    reference: ClassVar[str] = "Rahimi et al. 2023, EvoFed (NeurIPS)"
    statement: ClassVar[DisclosureStatement] = STATEMENT
    suits: ClassVar[Suitability] = Suitability(
        purpose="Sends how close random variations of the model came to the trained one.",
        meets={
            Need.SCARCE_BANDWIDTH: "What goes up and, in most rounds, down does not grow with the model.",
        },
        cost="Some hundred numbers up and down; more computing at every party and more rounds.",
    )
    settings_model: ClassVar[type[BaseModel]] = EvoFedSettings

    @property
    def length(self) -> int:
        """Numbers sent up."""
        members = self.settings.pairs if self.settings.paired else self.settings.population
        return members * self.settings.partitions

    @property
    def grain(self) -> float:
        """One level of fitness."""
        return min(self.settings.resolution, self.settings.clip)

    def shared_shapes(self, plan: Plan) -> Shapes:
        """All of the learner's parameters.

        Raises:
            MethodUnsuitable: The learner keeps running statistics, which no gradient moves.
        """
        learner = plan.require_learner()
        if ParameterRole.STATISTICS in learner.roles(plan.input_width).values():
            raise MethodUnsuitable(
                'Method "evofed" does not carry the running statistics of batch normalisation; choose group '
                "normalisation or none."
            )
        return learner.parameter_shapes(plan.input_width)

    def initial_state(self, plan: Plan) -> NamedTensors:
        """The learner's initial parameters, an optimiser at rest, no history."""
        rows = self.settings.history
        return {
            **self._start(plan),
            FITNESS: np.zeros((rows, self.length)),
            WEIGHTS: np.zeros(rows),
            REPORT: np.zeros(3),
        }

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """The digest; the sums of as many rounds as there were, at most `history`; now and then the whole model."""
        rows = min(plan.round, self.settings.history)
        shapes: dict[str, tuple[int, ...]] = {DIGEST: (8,)}
        if rows:
            shapes.update({FITNESS: (rows, self.length), WEIGHTS: (rows,)})
        if plan.round and plan.round % self.settings.model_every == 0:
            own = self.shared_shapes(plan)
            shapes.update({f"{group}/{name}": shape for group in self._groups for name, shape in own.items()})
        return shapes

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """See `broadcast_shapes`."""
        rows = min(plan.round, self.settings.history)
        recent = {FITNESS: state[FITNESS][-rows:], WEIGHTS: state[WEIGHTS][-rows:]} if rows else {}
        return {
            name: recent[name] if name in recent else state[name]
            for name in self.broadcast_shapes(plan)
            if name != DIGEST
        } | {DIGEST: _digest(self._replica(state))}

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:  # noqa: ARG002 - the same for every plan
        """Weighted fitness."""
        return (VectorSpec(name=FITNESS, length=self.length, bound=self.settings.clip, resolution=self.grain),)

    def contribute(self, context: NodeContext) -> Contribution:
        """Catch up, train, and measure how close each variation of the model came."""
        plan, rows = context.plan, context.data.training.row_count
        nothing = {spec.name: np.zeros(spec.length) for spec in self.vectors(plan)}
        replica = self.caught_up(plan, context.broadcast, context.local_state)
        if replica is None:
            return Contribution(values=nothing)
        kept = {**replica, ROUND: np.array([float(plan.round)])}
        if not rows:
            return Contribution(values=nothing, local_state=kept)
        start = group_of(MODEL, replica)
        fitted = self.fit(context, start, correction=None)
        sent, share = self.fitness_of(plan, difference(fitted.parameters, start)), rows / self.heaviest(plan)
        clip = self.settings.clip
        values = {
            FITNESS: np.clip(sent, -clip, clip) * share,
            "weight": np.array([float(rows)]),
            "loss": np.array([min(fitted.loss, WORST_LOSS) * share]),
            "clipped": np.array([float(np.sum(np.abs(sent) > clip))]),
        }
        return Contribution(values=values, local_state=kept)

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:
        """Remember the sums and make the common step.

        Raises:
            PeerFault: The summed weight is not one that this cohort can have.
        """
        weight, heaviest = float(total.values["weight"][0]), self.heaviest(plan)
        if not 0 <= weight <= total.cohort * heaviest:
            raise PeerFault(f"The summed weight is {weight:g}; {total.cohort} nodes cannot have that much.")
        levels = np.rint(total.values[FITNESS] / self.grain)
        report = state[REPORT]
        if weight:
            clipped_share = float(total.values["clipped"][0]) / (total.cohort * self.length)
            report = np.array([float(total.values["loss"][0]) * heaviest / weight, weight, clipped_share])
        return {
            **self.advanced(plan, self._replica(state), levels, weight),
            FITNESS: np.concatenate([state[FITNESS][1:], levels[None]]),
            WEIGHTS: np.append(state[WEIGHTS][1:], weight),
            REPORT: report,
        }

    def fitness_of(self, plan: Plan, change: NamedTensors) -> NDArray[np.float64]:
        """What a node whose training changed the model by ``change`` would send unweighted, in float64."""
        settings = self.settings
        parts = parts_of(flatten(change), settings.partitions)
        sigma = settings.sigma * settings.sigma_decay**plan.round
        found = fitness(self._noise(plan), parts, sigma=sigma, shaping=settings.shaping)
        if settings.paired:
            found = (found[: settings.pairs] - found[settings.pairs :]) / 2
        return found.ravel()

    def direction(self, plan: Plan, levels: Floats, weight: float) -> Floats:
        """The decoded mean change (shaped: the code's gradient), flat, from a round's sums in levels."""
        settings = self.settings
        rows = levels.reshape(-1, settings.partitions)
        pairs = 2 * rows if settings.paired else rows[: settings.pairs] - rows[settings.pairs :]
        sigma = settings.sigma * settings.sigma_decay**plan.round
        unit = (4 if settings.shaping == "none" else 2) * settings.pairs * sigma
        whole = decoded(self._noise(plan), pairs)
        flat = whole.ravel()[: size_of(self.shared_shapes(plan))]
        return flat * (self.grain * self.heaviest(plan) / (weight * unit))

    def advanced(self, plan: Plan, replica: NamedTensors, levels: Floats, weight: float) -> NamedTensors:
        """The replica after the plan's round; any party's."""
        if weight == 0:
            return replica
        settings, shapes = self.settings, self.shared_shapes(plan)
        change = self.direction(plan, levels, weight)
        beta, first = settings.server_momentum, flatten(group_of(FIRST, replica))
        step = self._step(plan)
        if settings.optimiser == "momentum":
            first = beta * first + change
            moved = {FIRST: first, MODEL: flatten(group_of(MODEL, replica)) + step * _single(first)}
        else:
            first = beta * first + (1 - beta) * change
            second = settings.second_decay * flatten(group_of(SECOND, replica))
            second = second + (1 - settings.second_decay) * change**2
            done = plan.round + 1
            mean, spread = first / (1 - beta**done), second / (1 - settings.second_decay**done)
            model = flatten(group_of(MODEL, replica)) + step * mean / (np.sqrt(spread) + ADAM_FLOOR)
            moved = {FIRST: first, SECOND: second, MODEL: model}
        return {
            f"{group}/{name}": value.astype(np.float32)
            for group, flat in moved.items()
            for name, value in unflatten(flat, shapes).items()
        }

    def caught_up(self, plan: Plan, broadcast: NamedTensors, local_state: NamedTensors) -> NamedTensors | None:
        """A node's replica at the start of the plan's round; None when it missed too much to follow.

        Raises:
            BroadcastRefused: What was replayed, or the model sent, is not what the coordinator has.
        """
        replica: NamedTensors | None
        if group_of(MODEL, broadcast):
            replica = self._replica(broadcast)
        else:
            replica = self._replayed(plan, broadcast, local_state)
        if replica is not None and not np.array_equal(_digest(replica), broadcast[DIGEST]):
            raise BroadcastRefused(
                f"After replaying round {plan.round - 1} of evofed this node's model is not the coordinator's: one of "
                "the two computed otherwise, or was told other sums."
            )
        return replica

    def _replayed(self, plan: Plan, broadcast: NamedTensors, local_state: NamedTensors) -> NamedTensors | None:
        rows = min(plan.round, self.settings.history)
        own = round(float(local_state[ROUND][0])) if ROUND in local_state else 0
        if plan.round - own > rows:
            return None
        replica = self._replica(local_state) if ROUND in local_state else self._start(plan)
        for missed in range(own, plan.round):
            row = rows - (plan.round - missed)
            levels, weight = broadcast[FITNESS][row], float(broadcast[WEIGHTS][row])
            replica = self.advanced(plan.for_round(missed), replica, levels, weight)
        return replica

    @property
    def _groups(self) -> tuple[str, ...]:
        return (MODEL, FIRST) if self.settings.optimiser == "momentum" else (MODEL, FIRST, SECOND)

    def _start(self, plan: Plan) -> NamedTensors:
        parameters = plan.require_learner().initial_parameters(plan.input_width, plan.job.seed)
        model = {name: np.asarray(value, dtype=np.float32) for name, value in parameters.items()}
        rest = {name: np.zeros(value.shape, dtype=np.float32) for name, value in model.items()}
        moments = {f"{group}/{name}": value for group in self._groups[1:] for name, value in rest.items()}
        return {**grouped(MODEL, model), **moments}

    def _replica(self, tensors: NamedTensors) -> NamedTensors:
        return {f"{group}/{name}": value for group in self._groups for name, value in group_of(group, tensors).items()}

    def _noise(self, plan: Plan) -> Noise:
        width = -(-size_of(self.shared_shapes(plan)) // self.settings.partitions)
        return Noise(seed=plan.job.seed, round=plan.round, pairs=self.settings.pairs, width=width)

    def _step(self, plan: Plan) -> float:
        settings = self.settings
        if settings.server_step != "auto":
            step = settings.server_step
        elif settings.optimiser == "adam":
            step = ADAM_STEP
        else:
            step = settings.pairs / (settings.pairs + self._noise(plan).width)
        return step * settings.step_decay**plan.round


def _single(values: Floats) -> Floats:
    """As the replica keeps them, so that the model moves by what is kept."""
    return values.astype(np.float32).astype(np.float64)


def _digest(replica: NamedTensors) -> Floats:
    """SHA-256 of a replica as eight whole numbers, because broadcasts consist of tensors."""
    digest = hashlib.sha256(pack_tensors(replica)).digest()
    return np.frombuffer(digest, dtype=">u4").astype(np.float64)
