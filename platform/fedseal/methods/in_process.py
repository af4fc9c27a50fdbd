"""A whole job in one process: every party's part, on one page, with the method code of a real federation.

This is the specification of how the platform calls a method, and what tests, comparisons and simulations run.
Sums are plain additions, or go through the fixed-point encoding of ``fedseal_crypto.encoding`` exactly as
under masks; masks themselves add nothing that could change a result, so they are left out (see
``fedseal_crypto.masking`` for those).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from fedseal.learning.split import JobData
from fedseal.learning.tensors import NamedTensors
from fedseal.methods.contract import (
    NOTHING,
    CohortSum,
    Contribution,
    GroupedMethod,
    IndividualMethod,
    NodeContext,
    Plan,
    Stage,
    node_seed,
)
from fedseal.methods.groups import asked_nodes
from fedseal.methods.judging import judged_in_the_clear
from fedseal.methods.programme import contribute, pack_broadcast, programme, stage_plan, unpack_broadcast
from fedseal.methods.sums import encoded_sum, plain_sum
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument

Dropouts: TypeAlias = Callable[[str, int], Collection[str]]
"""(stage, round) -> nodes whose contribution of that round is lost."""


def no_dropouts(stage: str, round_index: int) -> Collection[str]:  # noqa: ARG001 - a `Dropouts`
    """Every node completes every round."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """What was shown of one round."""

    stage: str
    round: int
    cohort: int
    summary: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """What a job gave.

    Attributes:
        published: What each stage exported; ``published["training"]`` is the model.
        rounds: One report per round, in order.
        local_states: What each node kept for itself.
    """

    published: Mapping[str, NamedTensors]
    rounds: tuple[RoundReport, ...]
    local_states: Mapping[str, NamedTensors]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under which circumstances a job runs in one process.

    Attributes:
        encode: Send sums through the fixed-point encoding instead of adding floating-point numbers. Contributions of
            an `IndividualMethod` are never summed.
        dropouts: Nodes whose contribution of a round is lost; their local state stays as it was.
    """

    encode: bool = False
    dropouts: Dropouts = no_dropouts


def run_in_process(
    job: JobDocument,
    schema: DatasetSchema,
    nodes: Mapping[str, JobData],
    *,
    encode: bool = False,
    dropouts: Dropouts = no_dropouts,
) -> JobRun:
    """Run all stages of a job.

    Args:
        job: The job; its list of nodes and its minimum cohort are not enforced here.
        schema: Of the job's dataset.
        nodes: The rows of each node.
        encode: See `Conditions`.
        dropouts: See `Conditions`.

    Raises:
        PlatformError: As in a real federation, from the methods and learners.
    """
    return run_stages(programme(job), job, schema, nodes, Conditions(encode=encode, dropouts=dropouts))


def run_stages(
    stages: tuple[Stage, ...],
    job: JobDocument,
    schema: DatasetSchema,
    nodes: Mapping[str, JobData],
    conditions: Conditions,
) -> JobRun:
    """`run_in_process` with stages that need not be the job's own; for trying out a method."""
    parties = _Parties(job, schema, stages, nodes, conditions)
    published: dict[str, NamedTensors] = {}
    reports = []
    for stage in stages:
        plan = stage_plan(job, schema, stage, published=published)
        state = stage.method.initial_state(plan)
        for index in range(stage.rounds):
            plan = plan.for_round(index)
            broadcast = stage.method.broadcast(plan, state)
            parts = _contributions(parties, stage, index, pack_broadcast(plan, broadcast))
            values = {name: part.values for name, part in parts.items()}
            judgement = judged_in_the_clear(stage.method, plan, state, broadcast, values)
            parties.keep({name: part for name, part in parts.items() if name in judgement.accepted})
            accepted = [part for name, part in values.items() if name in judgement.accepted]
            if isinstance(stage.method, IndividualMethod):
                state = stage.method.aggregate_each(plan, judgement.state, accepted)
            else:
                total = _sum(plan, stage, accepted, encode=conditions.encode)
                state = stage.method.aggregate(plan, judgement.state, total)
            summary = stage.method.summary(plan, state)
            reports.append(RoundReport(stage=stage.name, round=index, cohort=len(values), summary=summary))
        published[stage.name] = stage.method.export(plan, state)
    return JobRun(published=published, rounds=tuple(reports), local_states=parties.local_states)


@dataclass(slots=True)
class _Parties:
    job: JobDocument
    schema: DatasetSchema
    stages: tuple[Stage, ...]
    nodes: Mapping[str, JobData]
    conditions: Conditions
    local_states: dict[str, NamedTensors] = field(default_factory=dict)

    def keep(self, parts: Mapping[str, Contribution]) -> None:
        """What the nodes in the sum want to keep."""
        kept = {name: part.local_state for name, part in parts.items() if part.local_state is not None}
        self.local_states.update(kept)


def _contributions(parties: _Parties, stage: Stage, index: int, artefact: bytes) -> dict[str, Contribution]:
    lost = frozenset(parties.conditions.dropouts(stage.name, index))
    asked = asked_nodes(stage.method, parties.job, index)
    grouped = isinstance(stage.method, GroupedMethod)
    survivors = [name for name in sorted(parties.nodes) if name not in lost and (name in asked or not grouped)]
    plan = stage_plan(parties.job, parties.schema, stage, round=index)
    return {name: _node_part(parties, stage, plan, name, artefact) for name in survivors}


def _sum(plan: Plan, stage: Stage, values: list[NamedTensors], *, encode: bool) -> CohortSum:
    specs, cohort = stage.method.vectors(plan), len(values)
    if not encode:
        return CohortSum(values=plain_sum(specs, values), cohort=cohort)
    seeds = (node_seed(plan.job.seed, f"rounding of node {number}", stage.name, plan.round) for number in range(cohort))
    return CohortSum(values=encoded_sum(specs, zip(seeds, values, strict=True), cohort=cohort), cohort=cohort)


def _node_part(parties: _Parties, stage: Stage, plan: Plan, name: str, artefact: bytes) -> Contribution:
    received = unpack_broadcast(artefact, plan=plan, stages=parties.stages)
    context = NodeContext(
        plan=received.plan,
        broadcast=received.tensors,
        data=parties.nodes[name],
        local_state=parties.local_states.get(name, NOTHING),
        seed=node_seed(parties.job.seed, name, stage.name, plan.round),
        node=name,
    )
    return contribute(stage.method, context)
