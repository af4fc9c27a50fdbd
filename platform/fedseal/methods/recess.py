"""``recess``: nodes are probed with their own last change, and who turns against it is removed (Yan et al. 2023).

Passive rules compare nodes with one another, leave out honest outliers, and miss poison that keeps to the middle.
RECESS asks each node a question: it starts the node from a step c g_i along that node's own last change g_i, as if that
were the aggregate, and looks at the answer h_i. Who descends its own loss goes on in the same direction; who steers
against whatever aggregate it receives turns around. Trust is kept over many probes (`fedseal.methods.trust`).

    ordinary round   node         g_i from w                        coordinator  |g_i|^2; w moves by the mean of trusted
    probe            node         h_i from w + c g_i, the same w    coordinator  |h_i|^2, <g_i, h_i>; w does not move

So a probe costs a whole round, and the platform's sum over it, in which everybody is who could be in any sum, is not
used. A probe follows every so many ordinary rounds, or is drawn with a chance from the new model, so that nobody knows
before the round begins; the last round never is one.

Rules this module keeps:
- The node forms w + c g_i itself from its own vector: nobody else could, since nobody else sees g_i. So a node knows
  that it is probed. The published form hides the probe, but not that it is parallel to the node's last change.
- Weights are 0 or equal. The published ones are a softmax of trust; with the bound TS_0 those of honest nodes are equal
  but while somebody's trust is falling, and under a secure sum other weights would have to be trusted.
- A node that did not answer the last probe is in no sum until it has answered one; else not to answer would be a way
  around probes. A node without training rows is not missed: its change and its weight are zero.
- A change above a multiple of the median length is left out of its round, before any trust is lost.

What it cannot see: an attacker that makes the same poison whatever it is sent. A constant turning of signs, or "a
little is enough", answers more consistently than honest nodes, and stays. Nor an attacker that knows that it is probed
and answers honestly. docs/methods/recess.md says when that matters.
"""

import hashlib
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.errors import PeerFault
from fedseal.learning.tensors import NamedTensors, Shapes, group_of, grouped, pack_tensors, size_of, unflatten
from fedseal.methods.averaging import (
    FIGURES,
    MODEL,
    PUBLISHED_MODEL,
    UPDATE,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
    moved,
)
from fedseal.methods.contract import CohortSum, DisclosureStatement, NodeContext, Plan, Quantity
from fedseal.methods.judging import Judgement, Numbers, Scalar, ScalarsAsked
from fedseal.methods.screening import bounded
from fedseal.methods.suitability import Need, Suitability
from fedseal.methods.trust import Answer, Trust, TrustRule
from fedseal_crypto.homomorphic import Operation
from fedseal_governance.vocabulary import Disclosure

CHANGE_NORM, ANSWER_NORM, RESPONSE = "change_norm", "answer_norm", "response"
PROBE = "recess.probe"
TRUST, BEFORE, SQUARES, PROBING = "trust", "before", "squares", "probing"
UNBOUNDED = 1e12


class TrustSettings(AveragingSettings):
    """Averaging, and how answers count; of both variants."""

    probe_scale: Annotated[
        float, Field(gt=0, le=1, description="length of the probe over that of the change that it repeats (c)")
    ] = 0.1
    decrease: Annotated[float, Field(gt=0, le=100, description="trust lost for an abnormality of 1 (b)")] = 0.7
    trust: Annotated[
        float, Field(gt=0, le=100, description="with which everybody starts, and the most that there is (TS_0)")
    ] = 1.0
    unit_norm: Annotated[
        float,
        Field(
            ge=0, le=1e6, description="length of an answer that counts as 1; 0 for their median, 1 is as published (u)"
        ),
    ] = 0.0
    shortest: Annotated[
        float, Field(gt=0, le=1, description="an answer counts as at least this multiple of the unit long (l)")
    ] = 0.25
    norm_factor: Annotated[
        float, Field(ge=0, le=1e6, description="leave out changes above this multiple of the median length; 0 for none")
    ] = 3.0
    probe_every: Annotated[int, Field(ge=1, le=1000, description="ordinary rounds before each probe")] = 1

    @property
    def rule(self) -> TrustRule:
        """How answers change trust."""
        return TrustRule(
            decrease=self.decrease,
            most=self.trust,
            unit=self.unit_norm,
            shortest=self.shortest,
            longest=self.longest,
        )

    @property
    def longest(self) -> float:
        """Multiple of the median length beyond which a change is left out."""
        return self.norm_factor or UNBOUNDED


class RecessSettings(TrustSettings):
    """And whether probes are drawn, and how long a change may be at all."""

    probe_chance: Annotated[
        float, Field(ge=0, le=1, description="that a probe follows an ordinary round; 0 for the fixed schedule")
    ] = 0.0
    largest_norm: Annotated[
        float, Field(gt=0, le=1e6, description="a node scales a longer model change down to this Euclidean norm")
    ] = 10.0


_STATEMENT = DisclosureStatement(
    level=Disclosure.SCALARS,
    paragraph=(
        "Every node trains the current model on its own rows and contributes how the model changed. In some rounds it "
        "is probed: it starts a small step along its own last change, and contributes how it changes from there. Of "
        "each node the coordinator learns the squared length of its change or answer each round, and at a probe the "
        "inner product of its answer with its change of the round before. From these follow a cosine and a score of "
        "trust, which the coordinator keeps; who has none left is removed. Then it learns the sum of the changes (at a "
        "probe, of the answers) over the trusted nodes together, how many of them trained, their summed training loss "
        "and how many numbers were clipped, and sends the new model to every node. The two numbers are opened by a "
        "custodian, which signs them; each node is handed those about itself and compares them with its own vectors. A "
        "hostile coordinator could have other numbers opened in their place, as many of each node and round, and be "
        "found out by that comparison."
    ),
    quantities=(
        *(
            Quantity(name=name, party=party, description=f"of each node{opening}: {text}")
            for party, opening in (("coordinator", ""), ("custodian", ", the same number"))
            for name, text in (
                (CHANGE_NORM, "the squared length of its model change, in ordinary rounds"),
                (ANSWER_NORM, "the squared length of its answer, at a probe"),
                (RESPONSE, "inner product of its answer with its model change of the round before, at a probe"),
            )
        ),
        replace(UPDATE, description="sum of the model changes, or of the answers, of the trusted nodes"),
        Quantity(name="weight", party="coordinator", description="how many trusted nodes trained"),
        Quantity(name="loss", party="coordinator", description="sum of their mean training losses"),
        FIGURES[2],
        PUBLISHED_MODEL,
        Quantity(name=PROBE, party="every node", description="whether this round is a probe, and its step"),
    ),
)


@dataclass(frozen=True, slots=True)
class Recess(Averaging):
    """See the module docstring.

    State: ``model/...``; ``before/...``, the model of the round before, from which probes start; ``trust/...``;
    ``squares``, each node's |g|^2, -1 where there is none; ``probing``, 1 if the next round is a probe; ``report``.
    """

    settings: RecessSettings = field(default_factory=RecessSettings)

    name: ClassVar[str] = "recess"
    title: ClassVar[str] = "Nodes probed with their own last change, and removed if they turn against it (RECESS)"
    reference: ClassVar[str] = "Yan et al. 2023, RECESS Vaccine for Federated Learning (NeurIPS)"
    by_rows: ClassVar[bool] = False
    statement: ClassVar[DisclosureStatement] = _STATEMENT
    suits: ClassVar[Suitability] = Suitability(
        purpose="Probes every node with its own last change and removes those that steer against what they are sent.",
        meets={
            Need.UNTRUSTED_NODES: (
                "Attackers that steer against the aggregate lose trust and are removed for good; those that send the "
                "same poison whatever happens are not seen."
            ),
        },
        cost=(
            "A probe takes a whole round; two numbers of each node a round are shown, and each node sends a second "
            "ciphertext of its change."
        ),
    )
    settings_model: ClassVar[type[BaseModel]] = RecessSettings
    SCALARS: ClassVar[tuple[str, ...]] = (CHANGE_NORM, ANSWER_NORM, RESPONSE)

    def start(self, plan: Plan, broadcast: NamedTensors, earlier: NDArray[np.float64] | None) -> NamedTensors:
        """Node: where it trains from: the model, at a probe a step along its own change of the round before.

        Raises:
            PeerFault: The step is not the one of the settings.
        """
        model = {name: value for name, value in broadcast.items() if name != PROBE}
        scale = float(broadcast[PROBE][0])
        if scale not in (0.0, float(np.float32(self.settings.probe_scale))):
            raise PeerFault(
                f"The coordinator probes with a step of {scale:g}; {self.settings.probe_scale:g} is agreed."
            )
        if scale == 0 or earlier is None:
            return model
        step = unflatten(scale * earlier, self.shared_shapes(plan))
        return {name: (value + step[name]).astype(np.float32) for name, value in model.items()}

    def train(self, context: NodeContext) -> LocalUpdate:
        """Train from the model or the probe, and scale the change down to the largest norm."""
        start = self.start(context.plan, context.broadcast, context.earlier)
        local = Averaging.train(self, replace(context, broadcast=start))
        return replace(local, change=bounded(local.change, self.settings.clip, self.settings.largest_norm))

    def more_state(self, plan: Plan) -> NamedTensors:
        """Full trust, and nothing to probe with."""
        nodes = plan.node_count
        model = plan.require_learner().initial_parameters(plan.input_width, plan.job.seed)
        before = {name: np.asarray(value, np.float64) for name, value in model.items()}
        return {
            **grouped(TRUST, Trust.at_first(nodes, self.settings.trust).tensors()),
            **grouped(BEFORE, before),
            SQUARES: np.full(nodes, -1.0),
            PROBING: np.zeros(1),
        }

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """The model, and the step of the probe."""
        return {**self.shared_shapes(plan), PROBE: (1,)}

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """The model and 0; at a probe the model of the round before and c."""
        probing = bool(state[PROBING][0] > 0)
        chosen = {**state, **grouped(MODEL, group_of(BEFORE, state))} if probing else state
        step = np.array([self.settings.probe_scale if probing else 0.0], dtype=np.float32)
        return {**Averaging.broadcast(self, plan, chosen), PROBE: step}

    def scalars(self, plan: Plan, broadcast: NamedTensors) -> ScalarsAsked:
        """The squared norm, and at a probe the product with the vector of the round before."""
        probing = bool(broadcast[PROBE][0] > 0)
        asked = [Scalar(name=ANSWER_NORM if probing else CHANGE_NORM, operation=Operation.SQUARED_NORM)]
        if probing:
            asked.append(Scalar(name=RESPONSE, operation=Operation.INNER_PRODUCT))
        return ScalarsAsked(
            vector=UPDATE.name,
            length=size_of(self.shared_shapes(plan)),
            largest=self.settings.clip,
            norm=self.settings.largest_norm,
            scalars=tuple(asked),
            keep=not (probing or plan.is_last_round),
        )

    def judge(self, plan: Plan, state: NamedTensors, numbers: Mapping[str, Numbers]) -> Judgement:
        """At a probe change trust; always leave out who has none, who did not answer, and who is far too long."""
        places = {name: place for place, name in enumerate(sorted(plan.job.nodes))}
        trust, probing = Trust.of(group_of(TRUST, state)), bool(state[PROBING][0] > 0)
        norm = ANSWER_NORM if probing else CHANGE_NORM
        squares = {name: max(own[norm] or 0.0, 0.0) for name, own in numbers.items() if own[norm] is not None}
        kept = {SQUARES: np.asarray(state[SQUARES], np.float64)}
        if probing:
            trust = trust.after(_answers(kept[SQUARES], squares, numbers, places), self.settings.rule)
        else:
            kept[SQUARES] = np.full(len(places), -1.0)
            for name, square in squares.items():
                kept[SQUARES][places[name]] = square
        lengths = {name: math.sqrt(square) for name, square in squares.items() if trust.score[places[name]] > 0}
        median = statistics.median(lengths.values()) if lengths else 0.0
        reasons = {}
        for name in numbers:
            reason = self._reason(trust, places[name], lengths.get(name), median)
            if reason:
                reasons[name] = reason
        after = {**state, **kept, **grouped(TRUST, trust.tensors())}
        return Judgement(accepted=frozenset(numbers) - reasons.keys(), reasons=reasons, state=after)

    def _reason(self, trust: Trust, place: int, length: float | None, median: float) -> str:
        if trust.score[place] <= 0:
            return f"no trust is left since probe {trust.removed[place]:.0f}, and it is left out from then on"
        if length is None:
            return "its change is longer than any node's may be"
        if not trust.answered[place] and length > 0:
            return "it did not answer the last probe, and is left out until it has answered one"
        most = self.settings.longest * median
        return f"its change has the norm {length:.4g} and {most:.4g} is the most in this round" if length > most else ""

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:  # noqa: ARG002 - the contract
        """Move by the mean, and remember from where; at a probe stay."""
        if state[PROBING][0] > 0:
            return {}
        model = group_of(MODEL, state)
        return {**grouped(MODEL, moved(model, mean.change)), **grouped(BEFORE, model)}

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:
        """See `step`; and whether a probe follows."""
        after = Averaging.aggregate(self, plan, state, total)
        probed = bool(state[PROBING][0] > 0)
        return {**after, PROBING: np.array([0.0 if probed or not self._probes_next(plan, after) else 1.0])}

    def _probes_next(self, plan: Plan, state: NamedTensors) -> bool:
        """After an ordinary round: whether the next is a probe."""
        following = plan.round + 1
        if following >= plan.rounds - 1:
            return False
        if not self.settings.probe_chance:
            return following % (self.settings.probe_every + 1) == self.settings.probe_every
        content = pack_tensors(group_of(MODEL, state)) + f"{plan.job.seed}/{following}".encode()
        drawn = int.from_bytes(hashlib.sha256(b"fedseal.recess.probe.v1" + content).digest()[:8], "big")
        return drawn < self.settings.probe_chance * 2**64

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:
        """As of averaging; how many probes there were and nodes are removed, and the least trust of the others."""
        return {**Averaging.summary(self, plan, state), **trust_figures(Trust.of(group_of(TRUST, state)))}


def _answers(
    before: NDArray[np.float64],
    squares: Mapping[str, float],
    numbers: Mapping[str, Numbers],
    places: Mapping[str, int],
) -> dict[int, Answer]:
    """Of every node with both norms and a product."""
    answers = {}
    for name, square in squares.items():
        product, place = numbers[name].get(RESPONSE), places[name]
        if product is not None and before[place] >= 0:
            answers[place] = Answer(before=float(before[place]), answer=square, product=product)
    return answers


def trust_figures(trust: Trust) -> dict[str, float]:
    """Probes so far, how many are removed, and the least trust of the others."""
    left = trust.score[trust.alive]
    return {
        "probes": float(trust.probes[0]),
        "removed": float((~trust.alive).sum()),
        "least_trust": float(left.min()) if left.size else 0.0,
    }
