"""What a method is: an algorithm in named tensors, without cryptography, transport or database.

The platform calls a method like this; S is the coordinator's state, n one of the nodes of the cohort:

    coordinator  S = initial_state(plan)
    each round   b = broadcast(plan, S)                       the same to every node
    node n       values_n, local_n = contribute(plan, b, data_n, local_n)
    platform     total = sum over n of values_n               masked or encrypted; nobody sees a summand
    coordinator  S = aggregate(plan, S, total)
    at the end   export(plan, S)                              published to later stages, or the model

Rules a method keeps:
- What it contributes is exactly the vectors that it declared, inside their bounds. Weights, losses and counts
  are vectors like any other: nothing about one node travels in the clear.
- It is a pure function of its arguments: same arguments, same result. Randomness comes from
  ``NodeContext.seed`` or, where all parties must draw alike, from the plan.
- What only this node may know (personal layers, control variates, masks, residuals) goes into
  ``local_state``. The platform keeps it at the node for the whole job, and keeps a new one only when the
  round completed with this node in the sum; so a node whose contribution was dropped goes on from where it
  was (SCAFFOLD and FedDyn need that).

A method whose contributions do not add up is an `IndividualMethod`; nothing but its own statement and its one further
function tells it from the others. A method that needs sums over groups of nodes is a `GroupedMethod`.

A method whose nodes fit the finished model to their own training rows is a `FittingMethod`; one whose nodes fit their
model to the very rows they predict is an `AdaptingMethod`. The evaluation asks either to, and nothing is sent.

A method is found through the entry-point group ``fedseal.methods`` as a class that is constructed from its
settings.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fedseal.learning.data import LocalData
from fedseal.learning.encoder import TabularEncoder, encoded_width, encoder_statistics
from fedseal.learning.learner import Examples, Learner
from fedseal.learning.split import JobData
from fedseal.learning.tensors import NamedTensors, Shapes
from fedseal.methods.errors import MethodUnsuitable
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.datasets import Column, DatasetSchema
from fedseal_governance.jobs import JobDocument
from fedseal_governance.vocabulary import Disclosure

STATISTICS_STAGE = "statistics"
TRAINING_STAGE = "training"
EVALUATION_STAGE = "evaluation"

NOTHING: NamedTensors = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One thing that a party sees.

    Attributes:
        name: The vector or figure, as it is called in code: ``"update"``.
        party: Who sees it: ``"coordinator"`` or ``"every node"``.
        description: Plain English.
    """

    name: str
    party: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureStatement:
    """What running a method reveals, and to whom; printed to people, stored in the job record, and tested.

    Attributes:
        level: The coarsest truth: `Disclosure.SUM` when the coordinator learns sums over the cohort only.
        paragraph: Plain English for a compliance officer.
        quantities: Everything that any party sees, by name.
    """

    level: Disclosure
    paragraph: str
    quantities: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every party knows about one round, so that all compute the same names, shapes and bounds from it.

    Attributes:
        job: The signed job.
        schema: The schema of the job's dataset.
        stage: Name of the stage.
        rounds: Rounds of the stage, at least 1.
        round: Which of them, from 0.
        learner: For stages that train or predict.
        published: What each finished stage exported, by stage name.
    """

    job: JobDocument
    schema: DatasetSchema
    stage: str
    rounds: int
    round: int = 0
    learner: Learner | None = None
    published: Mapping[str, NamedTensors] = field(default_factory=dict)

    def for_round(self, index: int) -> "Plan":
        """The same plan at another round, 0 <= index < rounds."""
        if not 0 <= index < self.rounds:
            raise ValueError(f"round {index} of {self.rounds}")
        return replace(self, round=index)

    def with_published(self, published: Mapping[str, NamedTensors]) -> "Plan":
        """The same plan, with what finished stages exported."""
        return replace(self, published=dict(published))

    @property
    def is_last_round(self) -> bool:
        """Whether this stage ends with this round."""
        return self.round == self.rounds - 1

    @property
    def node_count(self) -> int:
        """Nodes named in the job (N in SCAFFOLD and FedDyn), whoever takes part in this round."""
        return len(self.job.nodes)

    @property
    def maximum_rows(self) -> int:
        """No node uses more training or held-out rows than this."""
        return self.job.weights.maximum_rows

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that the job uses, in the job's order."""
        return tuple(self.schema.column(name) for name in self.job.features)

    @property
    def target(self) -> Column | None:
        """The outcome column, if the job has one."""
        return None if self.job.target is None else self.schema.column(self.job.target)

    @property
    def classes(self) -> int:
        """How many classes the target has; 2 for yes or no, and where there is no target."""
        return 2 if self.target is None else self.target.classes

    @property
    def input_width(self) -> int:
        """Length of an encoded row, which gives a learner its shapes."""
        return encoded_width(self.features)

    def require_learner(self) -> Learner:
        """The job's learner.

        Raises:
            MethodUnsuitable: The job names none.
        """
        if self.learner is None:
            raise MethodUnsuitable(f'Stage "{self.stage}" trains or predicts, and the job names no learner.')
        return self.learner

    def encoder(self) -> TabularEncoder:
        """Encodes rows by the statistics that the first stage published.

        Raises:
            MethodUnsuitable: There are no published statistics yet.
        """
        published = self.published.get(STATISTICS_STAGE)
        if published is None:
            raise MethodUnsuitable(f'Stage "{self.stage}" needs the published statistics of an earlier stage.')
        return TabularEncoder(features=self.features, statistics=encoder_statistics(published))

    def examples(self, data: LocalData) -> Examples:
        """Rows as a learner takes them.

        Raises:
            MethodUnsuitable: The job has no target, or statistics are not published yet.
        """
        if self.target is None:
            raise MethodUnsuitable(f'Stage "{self.stage}" needs a target column, and the job names none.')
        return Examples(inputs=self.encoder().encode_rows(data), labels=data.labels(self.target))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """All that a method is given at a node.

    Attributes:
        plan: What everyone knows.
        broadcast: What the coordinator sent for this round, already checked against ``broadcast_shapes``.
        data: The rows that consent allows now.
        local_state: What this node kept from its last completed round of this job; empty at first.
        seed: For local randomness; differs by node and round.
        node: This node's name in the job.
        earlier: This node's vector of the round before, float64 of shape (length,), where the method judges by
            products with it and this node has one; else None.
    """

    plan: Plan
    broadcast: NamedTensors
    data: JobData
    local_state: NamedTensors = field(default_factory=dict)
    seed: int = 0
    node: str = ""
    earlier: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What a node gives to the sum, and what it keeps.

    Attributes:
        values: One flat float64 vector per declared `VectorSpec`, inside its bound.
        local_state: Replaces the node's local state once the round completed with this node in the sum; None
            leaves it as it is.
    """

    values: NamedTensors
    local_state: NamedTensors | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSum:
    """What the coordinator learns of a round.

    Attributes:
        values: The decoded sums, one flat float64 vector per declared `VectorSpec`.
        cohort: How many nodes are in the sum, at least 1.
    """

    values: NamedTensors
    cohort: int


class Method(Protocol):
    """A federated algorithm; constructed as ``MethodClass(settings)``."""

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    statement: ClassVar[DisclosureStatement]
    settings_model: ClassVar[type[BaseModel]]

    def __init__(self, settings: Any) -> None:
        """Bind the method to its validated settings."""

    def initial_state(self, plan: Plan) -> NamedTensors:
        """Coordinator: the state before round 0."""

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """Every party: what a broadcast of this round must look like."""

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """Coordinator: what every node receives."""

    def vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:
        """Every party: what each node contributes to this round's sum."""

    def contribute(self, context: NodeContext) -> Contribution:
        """Node: this node's part of the sum.

        Raises:
            TrainingFailed: Local training gave nothing usable.
        """

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:
        """Coordinator: the state after the round.

        Raises:
            PeerFault: The sums are impossible.
        """

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:
        """Coordinator: figures of the last round for people, all derived from the sums."""

    def export_shapes(self, plan: Plan) -> Shapes:
        """Every party: what `export` gives."""

    def export(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """Coordinator: what the stage publishes to later stages; of the training stage, the model."""

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:
        """Node: the model this node itself would use; joins personal layers, if the method has any."""


@runtime_checkable
class IndividualMethod(Method, Protocol):
    """A method that cannot work with sums: the coordinator must see each contribution by itself.

    Its statement's level is INDIVIDUAL. The platform calls `aggregate_each` instead of `aggregate`, which refuses.
    It runs under protection ``none`` only, since masks and encryption show sums alone.
    """

    def aggregate_each(self, plan: Plan, state: NamedTensors, contributions: Sequence[NamedTensors]) -> NamedTensors:
        """Coordinator: the state after the round.

        Args:
            plan: Of the round.
            state: Before it.
            contributions: The values of each node of the cohort, in no meaningful order; at least one.

        Raises:
            PeerFault: The contributions are impossible.
        """


@runtime_checkable
class AdaptingMethod(Method, Protocol):
    """A method whose nodes fit a copy of their model to the very rows that it is to predict, without labels."""

    def adapted_model(self, context: NodeContext, model: NamedTensors, inputs: NDArray[np.float32]) -> NamedTensors:
        """Node: the model for these rows; nothing is sent, and nothing given is changed.

        Args:
            context: Of the node; its local state is what `Method.node_model` was given.
            model: The node's model.
            inputs: Encoded rows, shape (rows, width).

        Raises:
            TrainingFailed: Adaptation gave nothing usable.
        """


@runtime_checkable
class FittingMethod(Method, Protocol):
    """A method whose finished model each node fits to its own training rows before it uses it."""

    def fitted_model(self, context: NodeContext, exported: NamedTensors) -> NamedTensors:
        """Node: its model, in place of `Method.node_model`; nothing is sent, and nothing given is changed.

        Args:
            context: Of any stage after the training; its broadcast is not looked at.
            exported: What the training stage published.

        Raises:
            TrainingFailed: Adaptation gave nothing usable.
        """


def own_model(method: Method, context: NodeContext, exported: NamedTensors) -> NamedTensors:
    """Node: its own model, fitted to its training rows if the method does that, else joined with what it kept."""
    if isinstance(method, FittingMethod):
        return method.fitted_model(context, exported)
    return method.node_model(exported, context.local_state)


def predicting_model(
    method: Method, context: NodeContext, exported: NamedTensors, inputs: NDArray[np.float32]
) -> NamedTensors:
    """Node: `own_model` as it predicts encoded rows, shape (rows, width): adapted to them if the method adapts."""
    model = own_model(method, context, exported)
    return method.adapted_model(context, model, inputs) if isinstance(method, AdaptingMethod) else model


@runtime_checkable
class GroupedMethod(Method, Protocol):
    """A method that needs sums over fixed groups of nodes instead of one over all; its level is at least GROUP_SUMS.

    Groups take turns: round r is summed over ``groups(job)[r % len(groups(job))]``, and only these nodes are asked. So
    in `vectors` and `contribute` the round tells the group; a `CohortSum` is one group's.
    """

    def groups(self, job: JobDocument) -> tuple[frozenset[str], ...]:
        """Every party: the groups, each node of the job in exactly one; the same for the whole job.

        Raises:
            MethodUnsuitable: The settings do not tell every node's group.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Some rounds of one method; a job is a short sequence of stages."""

    name: str
    method: Method
    rounds: int


def node_seed(job_seed: int, node: str, stage: str, round_index: int) -> int:
    """A 63-bit seed for one node's randomness in one round; the same for a repeated attempt of that round."""
    text = "\0".join(("fedseal.node-seed.v1", str(job_seed), node, stage, str(round_index)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
