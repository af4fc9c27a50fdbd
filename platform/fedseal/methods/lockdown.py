"""``lockdown``: isolated subspace training against backdoors, Huang et al. 2023 (NeurIPS, Algorithm 1 and Eq. 5).

Every node k trains only the parameters that its own binary mask m_k keeps; the masks drift to what each node's rows
need, and parameters that too few nodes still keep at the end are set to zero, among them those that hold a backdoor:

    node    m+ = m with as many coordinates recovered, by largest |gradient|, as were pruned before  (not in round 0)
            y  = E epochs from m (.) w, gradients multiplied by m+
            m' = m+ without the ceil(alpha_t k_l) smallest |y| of each layer l, which keeps k_l
            sends u = m' (.) (y - w), and in a vote m'
    coordinator    w <- w + (1 / M) sum u
    after the last round    v = sum m';  the model is w (.) 1[v >= theta]

with alpha_t = alpha_0 (1 + cos(pi t / T)) / 2. All nodes weigh the same.

Rules this module keeps:
- Only sums leave: the coordinator learns how many nodes keep a parameter, never which. So it broadcasts the whole w
  and each node masks it itself.
- Masks live in the node's local state; that of a node whose contribution was lost does not move.
- In a vote the sums are checked: each layer's votes must add up to what that many honest nodes give, and a parameter
  that nobody keeps must not have moved. That finds clumsy cheating, not who cheats.
- Without a vote in the last round there is no model.

Deviations from paper and code, with reasons: docs/methods/lockdown.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.errors import PeerFault
from fedseal.learning.learner import GradientCorrection, ParameterRole
from fedseal.learning.tensors import NamedTensors, Shapes, flatten, size_of, unflatten
from fedseal.methods.averaging import (
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
    difference,
    unweighted_statement,
)
from fedseal.methods.contract import CohortSum, DisclosureStatement, NodeContext, Plan, Quantity, node_seed
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.masks import (
    ROUNDING,
    Mask,
    cosine_rate,
    grown,
    layer_counts,
    masked,
    moving,
    packed,
    pruned,
    random_mask,
    unpacked,
)
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec

MASK, VOTES, BALLOT = "mask", "votes", "ballot"


class LockdownSettings(AveragingSettings):
    """Averaging, the subspaces, and the vote."""

    local_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over a node's rows a round (E)")] = 2
    density: Annotated[float, Field(gt=0, le=1, description="share of the parameters that a node trains")] = 0.25
    mask_rate: Annotated[
        float, Field(ge=0, lt=1, description="share of a mask that moves in the first round (alpha_0), then ever less")
    ] = 1e-4
    consensus: Annotated[
        float, Field(gt=0, le=1, description="share of the voters that must keep a parameter, or it is set to zero")
    ] = 0.5
    same_start: Annotated[bool, Field(description="all nodes start with one mask; false: each draws its own")] = True
    vote_every_round: Annotated[
        bool, Field(description="vote in every round, for plots and checks; false: in the last one only")
    ] = False
    vote_check: Annotated[
        Literal["refuse", "report"], Field(description="what to do when votes and changes do not fit together")
    ] = "refuse"
    norm_clip: Annotated[
        float, Field(ge=0, le=1e6, description="largest Euclidean norm of a node's change a round; 0 for any")
    ] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """What the coordinator made of the last round's sums.

    Attributes:
        voters: Nodes that voted; 0 if there was no vote.
        miscounted: By how much the layers' votes differ from what honest nodes give, in all.
        stray: Parameters that nobody keeps and that moved all the same.
        shortened: Nodes whose change was scaled down to the norm that the job allows.
    """

    voters: float = 0.0
    miscounted: float = 0.0
    stray: float = 0.0
    shortened: float = 0.0

    def tensor(self) -> NDArray[np.float64]:
        """For the state."""
        return np.array([self.voters, self.miscounted, self.stray, self.shortened])


@dataclass(frozen=True, slots=True)
class Lockdown(Averaging):
    """See the module docstring; state beside `Averaging`'s: ``votes``, one number a parameter, and ``ballot``."""

    settings: LockdownSettings = field(default_factory=LockdownSettings)

    by_rows: ClassVar[bool] = False
    name: ClassVar[str] = "lockdown"
    title: ClassVar[str] = "Isolated subspace training against backdoors (Lockdown)"
    reference: ClassVar[str] = "Huang et al. 2023, Lockdown: Backdoor Defense with Isolated Subspace Training (NeurIPS)"
    statement: ClassVar[DisclosureStatement] = unweighted_statement(
        "Every node trains only the parameters that its own mask keeps. In the last round, or in every round if the "
        "job says so, the coordinator also learns of each parameter how many nodes keep it: 0 and all tell about "
        "every node. No node's mask is sent.",
        Quantity(name="shortened", party="coordinator", description="how many changes were scaled to the norm allowed"),
        Quantity(name=VOTES, party="coordinator", description="how many nodes of the cohort keep each parameter"),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose=(
            "Every node trains only a part of the model, and parameters that few nodes keep are set to zero at the end."
        ),
        meets={
            Need.UNTRUSTED_NODES: (
                "Backdoors of a few nodes are cut out of the finished model; nodes that only spoil accuracy are not "
                "stopped."
            ),
        },
        cost="As averaging in bytes; some accuracy, and a vote on parameters that all see.",
    )
    settings_model: ClassVar[type[BaseModel]] = LockdownSettings

    def masked_shapes(self, plan: Plan) -> Shapes:
        """The tensors that masks are about: all but running statistics."""
        roles = plan.require_learner().roles(plan.input_width)
        shapes = self.shared_shapes(plan)
        return {name: shape for name, shape in shapes.items() if roles[name] is not ParameterRole.STATISTICS}

    def full_counts(self, plan: Plan) -> dict[str, int]:
        """Ones in each layer of a mask while a node trains (k_l); public.

        Raises:
            MethodUnsuitable: The model is too small for this density.
        """
        learnable, everything = self.masked_shapes(plan), self.shared_shapes(plan)
        try:
            counts = layer_counts(everything, self.settings.density, dense=everything.keys() - learnable.keys())
        except ValueError as error:
            raise MethodUnsuitable(
                f'Method "{self.name}" cannot keep {self.settings.density:g} of this model: {error}; '
                "raise density, or choose a larger model."
            ) from None
        return {name: counts[name] for name in learnable}

    def kept_counts(self, plan: Plan) -> dict[str, int]:
        """Ones in each layer after this round's pruning; public, the same for every honest node."""
        rate = cosine_rate(self.settings.mask_rate, plan.round, plan.rounds)
        return {name: count - moving(count, rate) for name, count in self.full_counts(plan).items()}

    def votes_in(self, plan: Plan) -> bool:
        """Whether masks are summed in this round."""
        return self.settings.vote_every_round or plan.is_last_round

    def start_mask(self, context: NodeContext) -> Mask:
        """Node: the mask before its first round."""
        plan = context.plan
        common = node_seed(plan.job.seed, "lockdown: the first mask", plan.stage, 0)
        seed = common if self.settings.same_start else node_seed(context.seed, "its own first mask", plan.stage, 0)
        return random_mask(self.masked_shapes(plan), self.full_counts(plan), seed)

    def own_mask(self, context: NodeContext) -> Mask:
        """Node: its mask before the round (m)."""
        known = context.local_state.get(MASK)
        return self.start_mask(context) if known is None else unpacked(known, self.masked_shapes(context.plan))

    def recovered(self, context: NodeContext, mask: Mask) -> Mask:
        """Node: the mask in which it trains (m+)."""
        counts = self.full_counts(context.plan)
        if all(layer.sum() >= counts[name] for name, layer in mask.items()):
            return mask
        return grown(mask, self.gradients(context, self.masked_model(context, mask)), counts)

    def vote(self, context: NodeContext, mask: Mask, weights: NamedTensors) -> Mask:
        """Node: the mask that it votes for and keeps (m'), given the weights after training."""
        return pruned(mask, weights, self.kept_counts(context.plan))

    def masked_model(self, context: NodeContext, mask: Mask) -> NamedTensors:
        """Node: the broadcast where the mask keeps it; running statistics as they came."""
        return {**context.broadcast, **masked(mask, context.broadcast)}

    def gradients(self, context: NodeContext, start: NamedTensors) -> NamedTensors:
        """Node: the sum of the gradients of one pass over its rows, in batches, at ``start``."""
        total = {name: np.zeros(shape) for name, shape in self.masked_shapes(context.plan).items()}

        def collect(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:  # noqa: ARG001
            for name, gradient in gradients.items():
                total[name] += gradient
                gradient[...] = 0.0  # so that the optimiser stays where it is

        self.fit(context, start, correction=collect, epochs=1)
        return total

    def train(self, context: NodeContext) -> LocalUpdate:
        """Recover, train inside the mask, prune."""
        mask = self.own_mask(context)
        working = self.recovered(context, mask)
        fitted = self.fit(context, self.masked_model(context, mask), correction=inside(working))
        kept = self.vote(context, working, fitted.parameters)
        change = difference(fitted.parameters, context.broadcast)
        sent, shortened = shorten({**change, **masked(kept, change)}, self.settings.norm_clip)
        extra = {"shortened": np.array([float(shortened)])}
        if self.votes_in(context.plan):
            extra[VOTES] = flatten(kept)
        return LocalUpdate(change=sent, loss=fitted.loss, local_state={MASK: packed(kept)}, extra=extra)

    def more_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """How many changes were shortened; in a vote, the mask."""
        shortened = VectorSpec(name="shortened", length=1, bound=1.0, resolution=1.0)
        if not self.votes_in(plan):
            return (shortened,)
        length = size_of(self.masked_shapes(plan))
        return (shortened, VectorSpec(name=VOTES, length=length, bound=1.0, resolution=1.0))

    def more_state(self, plan: Plan) -> NamedTensors:
        """No votes yet."""
        return {VOTES: np.zeros(size_of(self.masked_shapes(plan))), BALLOT: Ballot().tensor()}

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:
        """Make the mean step, and count and check the votes.

        Raises:
            PeerFault: Impossible sums, votes that do not fit together, or nobody who votes.
        """
        if self.votes_in(plan) and float(total.values["weight"][0]) < 0.5:
            raise PeerFault("No node of the cohort trained, so nobody votes on which parameters the model keeps.")
        return Averaging.aggregate(self, plan, state, total)

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """The mean step, and the votes of this round."""
        moved = Averaging.step(self, plan, state, mean)
        ballot = Ballot(shortened=float(mean.total.values["shortened"][0]))
        if not self.votes_in(plan):
            return {**moved, BALLOT: ballot.tensor()}
        votes = np.rint(mean.total.values[VOTES])
        ballot = self._counted(plan, votes, mean, ballot)
        return {**moved, VOTES: votes, BALLOT: ballot.tensor()}

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:
        """`Averaging`'s, the shortened changes, and of a vote the share of parameters kept and its two checks."""
        voters, miscounted, stray, shortened = (float(value) for value in state[BALLOT])
        figures = {**Averaging.summary(self, plan, state), "shortened": shortened}
        if voters:
            kept = float(np.mean(state[VOTES] >= self.threshold(voters)))
            figures.update({"kept_share": kept, "miscounted_votes": miscounted, "stray_changes": stray})
        return figures

    def threshold(self, voters: float) -> int:
        """Votes that a parameter needs (theta)."""
        return max(1, math.ceil(self.settings.consensus * voters - ROUNDING))

    def export(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """The model with every parameter that too few nodes keep set to zero.

        Before the first vote it is the model of all parameters, which is good for nothing but looking at.
        """
        model = Averaging.export(self, plan, state)
        voters = float(state[BALLOT][0])
        if not voters:
            return model
        votes = unflatten(state[VOTES], self.masked_shapes(plan))
        chosen = {name: (count >= self.threshold(voters)).astype(np.float32) for name, count in votes.items()}
        return {**model, **masked(chosen, model)}

    def _counted(self, plan: Plan, votes: NDArray[np.float64], mean: MeanUpdate, ballot: Ballot) -> Ballot:
        voters = round(mean.weight)
        by_layer = unflatten(votes, self.masked_shapes(plan))
        wrong = {
            name: abs(float(by_layer[name].sum()) - voters * count) for name, count in self.kept_counts(plan).items()
        }
        # Zeros are encoded exactly; the tolerance is for floating-point sums.
        noise = self.settings.resolution * mean.total.cohort / voters
        change = flatten({name: mean.change[name] for name in by_layer})
        stray = int(np.sum((votes == 0) & (np.abs(change) > noise)))
        counted = replace(ballot, voters=float(voters), miscounted=sum(wrong.values()), stray=float(stray))
        impossible = bool(((votes < 0) | (votes > voters)).any())
        if (impossible or counted.miscounted or stray) and self.settings.vote_check == "refuse":
            layer = max(wrong, key=lambda name: wrong[name])
            raise PeerFault(
                f"The votes of {voters} nodes do not fit together: layer {layer} has {wrong[layer]:g} votes too many "
                f"or too few, and {stray} parameters that nobody keeps have changed; some node did not train as the "
                "job says."
            )
        return counted


def inside(mask: Mask) -> GradientCorrection:
    """Multiplies each gradient by the mask, so that momentum and weight decay, too, leave the rest alone."""

    def correct(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:  # noqa: ARG001
        for name, gradient in gradients.items():
            np.multiply(gradient, mask[name], out=gradient)

    return correct


def shorten(change: Mapping[str, NDArray[Any]], bound: float) -> tuple[Mapping[str, NDArray[Any]], bool]:
    """Change / max(1, |change| / bound), and whether that made it shorter; ``bound`` 0 leaves it as it is."""
    if not bound:
        return change, False
    length = math.sqrt(sum(float(np.square(value, dtype=np.float64).sum()) for value in change.values()))
    if length <= bound:
        return change, False
    return {name: value * (bound / length) for name, value in change.items()}, True
