"""A job under way at the coordinator: stages, rounds, attempts and the method's state. No I/O.

``JobRun`` says what the next round is, makes its broadcast and parameters, and absorbs its sum. It is
rebuilt from the database after a restart by giving it the stored progress; what it computes from there on
depends on nothing else.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedseal.coordinator.attendance import Session
from fedseal.coordinator.round_driver import RoundPlan
from fedseal.coordinator.strictest import policy_for, strictest
from fedseal.learning import NamedTensors, Tensor, pack_tensors
from fedseal.methods import (
    CohortSum,
    Plan,
    Stage,
    asked_nodes,
    pack_broadcast,
    programme,
    stage_plan,
)
from fedseal.methods.judging import Judgement, JudgingMethod, Numbers, ScalarsAsked, require_accepted, scalars_of
from fedseal.plans import plan_digest
from fedseal.protection import round_layout
from fedseal.protection.scalars import ScalarTerms, make_terms
from fedseal.rounds import RoundAddress
from fedseal_crypto.digests import Digest
from fedseal_crypto.encoding import Layout, VectorSpec
from fedseal_crypto.homomorphic import SlotPlan
from fedseal_crypto.masking import ClientId, RingSum, RoundParameters, choose_parameters
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy import PolicyDocument

SMALLEST_COHORT = 3
"""Two nodes cannot hide from each other: each subtracts itself from the sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job has come; everything a restart needs besides the job file and the schema.

    Attributes:
        stage: index into the programme; equal to its length when all is done.
        round: next round of that stage, from 0.
        attempt: next attempt of that round, from 0.
        state: the method's state before that round.
        published: what finished stages published, by stage name.
    """

    stage: int = 0
    round: int = 0
    attempt: int = 0
    state: NamedTensors = field(default_factory=dict)
    published: Mapping[str, NamedTensors] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundScalars:
    """The numbers about single contributions that a round's method asks for, and their agreed form."""

    asked: ScalarsAsked
    terms: ScalarTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRound:
    """A round about to begin."""

    plan: RoundPlan
    layout: Layout
    broadcast: bytes
    broadcast_digest: Digest
    specs: tuple[VectorSpec, ...] = ()
    slots: SlotPlan | None = None
    scalars: RoundScalars | None = None

    @property
    def upload_bytes(self) -> int:
        """Exact size of what one node uploads: its vector, and the second ciphertext where there are scalars."""
        vector = self.layout.wire_bytes if self.slots is None else self.slots.bundle_bytes
        return vector if self.scalars is None else vector + self.scalars.terms.plan.bundle_bytes


class JobRun:
    """One accepted job."""

    def __init__(
        self,
        *,
        digest: Digest,
        federation: str,
        document: JobDocument,
        schema: DatasetSchema,
        schema_digest: Digest,
        progress: Progress | None = None,
        attempt: int = 0,
    ) -> None:
        self.digest = digest
        self.document = document
        self.schema = schema
        self.stages: tuple[Stage, ...] = programme(document)
        self._federation = federation
        self.schema_digest = schema_digest
        self.key: Digest | None = None
        self.scalar_key = ""
        self.progress = progress or replace(self._enter(Progress(), 0), attempt=attempt)

    @property
    def minimum_cohort(self) -> int:
        """Fewest nodes with which a round may begin."""
        return max(self.document.minimum_cohort, SMALLEST_COHORT)

    @property
    def finished(self) -> bool:
        """Whether every stage is done."""
        return self.progress.stage == len(self.stages)

    @property
    def rounds_planned(self) -> int:
        """Rounds of all stages together."""
        return rounds_planned(self.document)

    @property
    def rounds_done(self) -> int:
        """Rounds completed so far."""
        return sum(stage.rounds for stage in self.stages[: self.progress.stage]) + self.progress.round

    @property
    def stage(self) -> Stage:
        """The stage of the next round."""
        return self.stages[self.progress.stage]

    def plan(self) -> Plan:
        """What every party knows in the next round."""
        base = stage_plan(self.document, self.schema, self.stage, published=self.progress.published)
        return base.for_round(self.progress.round)

    @property
    def asked(self) -> frozenset[str]:
        """The nodes that the next round may ask: all of the job's, or those of its group."""
        return asked_nodes(self.stage.method, self.document, self.progress.round)

    @property
    def asked_before(self) -> frozenset[str]:
        """The nodes that the newest completed round could ask; all of the job's before the first."""
        stage, index = self.progress.stage, self.progress.round - 1
        if index < 0:
            stage, index = stage - 1, self.stages[stage - 1].rounds - 1
        if stage < 0:
            return frozenset(self.document.nodes)
        return asked_nodes(self.stages[stage].method, self.document, index)

    def open_round(
        self, roster: Sequence[Session], *, step_seconds: float, common: Sequence[PolicyDocument] = ()
    ) -> OpenedRound:
        """Make the parameters and the broadcast of the next attempt.

        Args:
            roster: the nodes of the round.
            step_seconds: how long one step waits for a node.
            common: the federation's own policies for the job's dataset.

        Raises:
            ParametersInvalid: the roster is smaller than three, or no graph withstands what the policies assume.
        """
        sessions = sorted(roster, key=lambda session: session.node)
        plan = self.plan()
        broadcast = pack_broadcast(plan, self.stage.method.broadcast(plan, self.progress.state))
        broadcast_digest = Digest(hashlib.sha256(broadcast).hexdigest())
        made = round_layout(self.document, self.stage.method.vectors(plan), cohort=len(sessions))
        parameters = self._parameters(sessions, made.layout, broadcast_digest, common)
        address = RoundAddress(self.digest, self.stage.name, self.progress.round, self.progress.attempt)
        round_plan = RoundPlan(
            address=address,
            parameters=parameters,
            members={ClientId(item.node): item.public for item in sessions},
            sessions={ClientId(item.node): item.session for item in sessions},
            step_seconds=step_seconds,
            protection=self.document.protection,
            key=self.key,
        )
        return OpenedRound(
            plan=round_plan,
            layout=made.layout,
            broadcast=broadcast,
            broadcast_digest=broadcast_digest,
            specs=made.specs,
            slots=made.slots,
            scalars=self.scalars(),
        )

    def scalars(self) -> RoundScalars | None:
        """The numbers of the next round; None for a method that needs only sums."""
        plan, method = self.plan(), self.stage.method
        asked = scalars_of(method, plan, method.broadcast(plan, self.progress.state))
        if asked is None:
            return None
        return RoundScalars(asked=asked, terms=make_terms(asked, method=method, plan=plan, key=self.scalar_key))

    def judge(self, numbers: Mapping[str, Numbers]) -> Judgement:
        """Who enters the sum of the round under way, by the method.

        Raises:
            PeerFault: fewer than a sum must have.
        """
        method = self.stage.method
        if not isinstance(method, JudgingMethod):
            return Judgement(accepted=frozenset(numbers), reasons={}, state=self.progress.state)
        judgement = method.judge(self.plan(), self.progress.state, numbers)
        require_accepted(judgement, self.minimum_cohort)
        return judgement

    def absorb(self, result: RingSum, layout: Layout, judgement: Judgement | None = None) -> Mapping[str, float]:
        """Turn a sum into the method's next state and advance; returns the published figures of the round."""
        plan = self.plan()
        method = self.stage.method
        values = layout.decode(result.words, count=len(result.survivors))
        total = CohortSum(values=values, cohort=len(result.survivors))
        before = self.progress.state if judgement is None else judgement.state
        state = method.aggregate(plan, before, total)
        figures = method.summary(plan, state)
        advanced = replace(self.progress, round=self.progress.round + 1, attempt=0, state=state)
        if advanced.round == self.stage.rounds:
            published = {**advanced.published, self.stage.name: method.export(plan, state)}
            advanced = self._enter(replace(advanced, published=published), self.progress.stage + 1)
        self.progress = advanced
        return figures

    def retry(self) -> None:
        """Count one more attempt at the same round."""
        self.progress = replace(self.progress, attempt=self.progress.attempt + 1)

    def packed_state(self) -> bytes:
        """The progress's tensors, for the database's artefact store."""
        tensors = {f"state/{name}": value for name, value in self.progress.state.items()}
        for stage, published in self.progress.published.items():
            tensors |= {f"published/{stage}/{name}": value for name, value in published.items()}
        return pack_tensors(tensors)

    def _enter(self, progress: Progress, stage: int) -> Progress:
        entered = replace(progress, stage=stage, round=0, attempt=0, state={})
        if stage == len(self.stages):
            return entered
        plan = stage_plan(self.document, self.schema, self.stages[stage], published=entered.published)
        return replace(entered, state=self.stages[stage].method.initial_state(plan))

    def _parameters(
        self, sessions: Sequence[Session], layout: Layout, broadcast: Digest, common: Sequence[PolicyDocument]
    ) -> RoundParameters:
        # Every node computes this from its own policy and the federation's, and refuses anything weaker.
        asked = strictest([*common, *(policy_for(self.document.dataset, session) for session in sessions)])
        group = choose_parameters(
            len(sessions), corrupted_fraction=asked.corrupted_fraction, dropout_fraction=asked.dropout_fraction
        )
        return RoundParameters(
            federation=self._federation,
            job_digest=self.digest,
            stage=self.stage.name,
            round=self.progress.round,
            attempt=self.progress.attempt,
            roster=tuple(ClientId(item.node) for item in sessions),
            minimum_cohort=self.minimum_cohort,
            corrupted=group.corrupted,
            threshold=group.threshold,
            neighbours=group.neighbours,
            words=layout.shape.runs,
            layout_digest=layout.digest,
            broadcast_digest=broadcast,
            plan_digest=plan_digest(self.document, job=self.digest, schema=self.schema_digest, key=self.key),
        )


def rounds_planned(document: JobDocument) -> int:
    """Rounds of all stages of a job together."""
    return sum(stage.rounds for stage in programme(document))


def unpack_state(tensors: NamedTensors) -> tuple[NamedTensors, Mapping[str, NamedTensors]]:
    """Split what ``packed_state`` made into the method's state and the published tensors by stage."""
    state: dict[str, Tensor] = {}
    published: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "state":
            state[rest] = value
        else:
            stage, _, tensor = rest.partition("/")
            published.setdefault(stage, {})[tensor] = value
    return state, published
