"""One experiment under one seed, worked out once: nodes with their rows, test rows, job, stages, attackers.

A setting is what every worker holds; together with a round's broadcast and a node's local state it determines what
the node contributes.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fedseal.learning.data import LocalData
from fedseal.learning.split import JobData
from fedseal.learning.tensors import NamedTensors
from fedseal.methods.contract import (
    STATISTICS_STAGE,
    TRAINING_STAGE,
    CohortSum,
    GroupedMethod,
    IndividualMethod,
    Method,
    NodeContext,
    Plan,
    Stage,
    node_seed,
)
from fedseal.methods.judging import JudgingMethod
from fedseal.methods.programme import contribute, programme, stage_plan
from fedseal.methods.registry import make_method
from fedseal.methods.statistics import Statistics
from fedseal.methods.sums import plain_sum
from fedseal.simulation.attacks import Attack, Attacker, make_attack
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.experiment import Experiment, PartitionKind, Protection
from fedseal.simulation.partition import deal
from fedseal.simulation.sources import Source, join, take
from fedseal.simulation.sums import masking_group
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import (
    SMALLEST_PROTECTED_COHORT,
    Evaluation,
    JobDocument,
    Weights,
)
from fedseal_governance.vocabulary import JobKind
from fedseal_governance.vocabulary import Protection as JobProtection

PURPOSE = "DUO:0000006"
EPOCHS_SETTING = "local_epochs"
CUSTODIAN = "custodian"
UNSEEN = "unseen-"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """See the module docstring.

    Attributes:
        experiment: What was asked for.
        seed: Of this run.
        job: The job that a federation would be given.
        schema: Of the rows.
        nodes: Rows by node; ``held_out`` are test rows dealt out like the training rows, or none.
        test: Rows to test the common model on.
        attackers: By node.
        attack: What they do.
        poisoned: The attackers' rows while they attack, by node.
        unseen: Rows by node of further nodes that never train.
    """

    experiment: Experiment
    seed: int
    job: JobDocument
    schema: DatasetSchema
    nodes: Mapping[str, JobData]
    test: LocalData
    attackers: Mapping[str, Attacker]
    attack: Attack | None
    poisoned: Mapping[str, JobData]
    unseen: Mapping[str, JobData] = field(default_factory=dict)

    @cached_property
    def method(self) -> Method:
        """The experiment's method."""
        return make_method(self.experiment.method.name, self.experiment.method.settings)

    @cached_property
    def hurried(self) -> Method:
        """The method as a straggler runs it: one local epoch.

        Raises:
            ExperimentUnsuitable: The method does not count epochs.
        """
        chosen = self.experiment.method
        if EPOCHS_SETTING not in type(self.method).settings_model.model_fields:
            raise ExperimentUnsuitable(f'Method "{chosen.name}" has no {EPOCHS_SETTING}; write `stragglers: 0`.')
        return make_method(chosen.name, {**chosen.settings, EPOCHS_SETTING: 1})

    @cached_property
    def plan(self) -> Plan:
        """Of training round 0, with the statistics of all nodes published."""
        statistics = Stage(name=STATISTICS_STAGE, method=Statistics(), rounds=1)
        plan = stage_plan(self.job, self.schema, statistics)
        contexts = (
            NodeContext(plan=plan, broadcast={}, data=self.nodes[name], node=name) for name in sorted(self.nodes)
        )
        total = plain_sum(
            statistics.method.vectors(plan), (contribute(statistics.method, context).values for context in contexts)
        )
        state = statistics.method.aggregate(
            plan, statistics.method.initial_state(plan), CohortSum(values=total, cohort=len(self.nodes))
        )
        training = Stage(name=TRAINING_STAGE, method=self.method, rounds=self.experiment.method.rounds)
        published = {STATISTICS_STAGE: statistics.method.export(plan, state)}
        return stage_plan(self.job, self.schema, training, published=published)

    def honest(self, hurried: bool) -> Method:
        """What a node that behaves runs."""
        return self.hurried if hurried else self.method

    def method_of(self, node: str, *, hurried: bool) -> Method:
        """What a node runs."""
        method = self.honest(hurried)
        if self.attack is None or node not in self.attackers:
            return method
        return self.attack.method(method, self.attackers[node])

    def attacks_in(self, round_index: int) -> bool:
        """Whether attackers attack in this round."""
        choice = self.experiment.attack
        if choice is None:
            return False
        return choice.from_round <= round_index and (not choice.until_round or round_index < choice.until_round)

    def context(self, node: str, plan: Plan, broadcast: NamedTensors, local_state: NamedTensors) -> NodeContext:
        """What a node's method is given."""
        return NodeContext(
            plan=plan,
            broadcast=broadcast,
            data=self._rows(node, plan.round),
            local_state=local_state,
            seed=node_seed(self.job.seed, node, TRAINING_STAGE, plan.round),
            node=node,
        )

    def _rows(self, node: str, round_index: int) -> JobData:
        rows = self.unseen[node] if node in self.unseen else self.nodes[node]
        return self.poisoned.get(node, rows) if self.attacks_in(round_index) else rows


def make_setting(experiment: Experiment, source: Source, seed: int) -> Setting:
    """Deal out rows, choose attackers and poison their rows.

    Raises:
        ExperimentUnsuitable: There are too few rows or nodes for what is asked.
        PlatformError: The method, learner or attack is not installed or does not take its settings.
    """
    target = source.schema.target
    if target is None:
        raise ExperimentUnsuitable("The data has no target, so there is nothing to learn.")
    everyone = _nodes(experiment, source, seed)
    made = experiment.partition.unseen > 0  # a site may have any name
    unseen = {name: rows for name, rows in everyone.items() if made and name.startswith(UNSEEN)}
    nodes = {name: rows for name, rows in everyone.items() if name not in unseen}
    if experiment.protection.has_protocol:
        masking_group(*counts(experiment, len(nodes)))
    job = _job(experiment, source, nodes, seed)
    programme(job)  # refuses what a federation would: methods that do not train, groups that are too small
    _require_group_sums(experiment, job)
    attack, attackers = _attackers(experiment, tuple(nodes), seed)
    poisoned = {
        name: JobData(training=attack.poison(nodes[name].training, attacker), held_out=nodes[name].held_out)
        for name, attacker in attackers.items()
        if attack is not None
    }
    return Setting(
        experiment=experiment,
        seed=seed,
        job=job,
        schema=source.schema,
        nodes=nodes,
        test=_first(join(source.test), experiment.data.test_rows, key="test_rows"),
        attackers=attackers,
        attack=attack,
        poisoned=poisoned,
        unseen=unseen,
    )


def _require_group_sums(experiment: Experiment, job: JobDocument) -> None:
    """Refuse groups of which no sum could be formed."""
    method = make_method(experiment.method.name, experiment.method.settings)
    if experiment.protection.has_protocol and isinstance(method, GroupedMethod):
        for group in method.groups(job):
            masking_group(*counts(experiment, len(group)))


def counts(experiment: Experiment, nodes: int) -> tuple[int, int]:
    """How many of ``nodes`` a round asks, and how many of these it loses; at least one always arrives."""
    circumstances = experiment.circumstances
    asked = max(1, round(circumstances.participation * nodes))
    return asked, min(round(circumstances.dropouts * asked), asked - 1)


def _nodes(experiment: Experiment, source: Source, seed: int) -> dict[str, JobData]:
    own = experiment.measures.own_rows
    if experiment.partition.kind is PartitionKind.NATURAL:
        empty = np.zeros(0, dtype=np.intp)
        return {
            name: JobData(training=rows, held_out=source.test[name] if own else take(rows, empty))
            for name, rows in source.training.items()
        }
    target = source.schema.column(_target(source))
    training, test = (
        _first(join(source.training), experiment.data.training_rows, key="training_rows"),
        join(source.test),
    )
    count = experiment.partition.nodes
    many = experiment.partition.model_copy(update={"nodes": count + experiment.partition.unseen})
    parts = deal(many, training.labels(target), seed=seed)
    width = max(2, len(str(len(parts) - 1)))
    dealt = {}
    generator = np.random.Generator(np.random.Philox(node_seed(seed, "own test rows", "simulation", 0)))
    labels = test.labels(target)
    for number, part in enumerate(parts):
        rows = take(training, part)
        wanted = rows.labels(target)
        most = experiment.measures.own_count or len(wanted)
        like = _alike(wanted, most, labels, generator) if own else np.zeros(0, dtype=np.intp)
        name = f"node-{number:0{width}}" if number < count else f"{UNSEEN}{number - count:0{width}}"
        dealt[name] = JobData(training=rows, held_out=take(test, like))
    return dealt


def _alike(
    wanted: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    most: int,
    labels: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    generator: np.random.Generator,
) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Numbers of test rows with the same shares of classes as ``wanted``: ``most``, or as many as there are."""
    classes, counts = np.unique(wanted, return_counts=True)
    pools = {value: np.flatnonzero(labels == value) for value in classes}
    scale = min((len(pools[value]) / count for value, count in zip(classes, counts, strict=True)), default=0.0)
    chosen = [
        generator.permutation(pools[value])[: math.floor(count * min(scale, most / max(1, len(wanted))))]
        for value, count in zip(classes, counts, strict=True)
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.intp)


def _attackers(experiment: Experiment, names: tuple[str, ...], seed: int) -> tuple[Attack | None, dict[str, Attacker]]:
    choice = experiment.attack
    if choice is None:
        return None, {}
    if choice.nodes >= len(names):
        raise ExperimentUnsuitable(
            f"{choice.nodes} of {len(names)} nodes attack; lower `attack.nodes`, so that at least one does not."
        )
    attackers = {
        name: Attacker(name=name, number=number, count=choice.nodes, seed=node_seed(seed, name, "attack", 0))
        for number, name in enumerate(sorted(names)[: choice.nodes])
    }
    return make_attack(choice.name, choice.settings), attackers


def _protection(experiment: Experiment, method: Method, nodes: Collection[str]) -> JobProtection:
    """What the job that stands for the experiment says; methods ask it, the simulator's own setting decides."""
    if experiment.protection.has_custodian:
        return JobProtection(experiment.protection.value)
    if isinstance(method, IndividualMethod) or len(nodes) < SMALLEST_PROTECTED_COHORT:
        return JobProtection.NONE
    return JobProtection.MASKING


def _job(experiment: Experiment, source: Source, nodes: Mapping[str, JobData], seed: int) -> JobDocument:
    method = make_method(experiment.method.name, experiment.method.settings)
    if isinstance(method, IndividualMethod) and experiment.protection is not Protection.NONE:
        raise ExperimentUnsuitable(
            f'Method "{method.name}" needs each node\'s contribution by itself, which protection '
            f"{experiment.protection.value} hides; write `protection: none`, or choose a method whose messages add up."
        )
    protection = _protection(experiment, method, nodes)
    return JobDocument(
        job=experiment.experiment,
        purpose=PURPOSE,
        dataset=source.schema.dataset,
        kind=JobKind.TRAINING,
        method=experiment.method,
        learner=experiment.learner,
        features=source.features,
        target=_target(source),
        evaluation=Evaluation(holdout=0.5),
        protection=protection,
        custodian=CUSTODIAN if protection.has_custodian else None,
        disclosure=method.statement.level,
        nodes=tuple(sorted(nodes)),
        minimum_cohort=_minimum_cohort(experiment, method, len(nodes)),
        seed=seed,
        weights=Weights(maximum_rows=max(1, *(data.training.row_count for data in nodes.values()))),
    )


def _minimum_cohort(experiment: Experiment, method: Method, nodes: int) -> int:
    """So many as always arrive; only the usual least where a cohort is of one group, or leaves out who is judged so."""
    least = min(SMALLEST_PROTECTED_COHORT, nodes)
    if isinstance(method, GroupedMethod | JudgingMethod):
        return least
    asked, lost = counts(experiment, nodes)
    return max(least, asked - lost)


def _target(source: Source) -> str:
    if source.schema.target is None:
        raise ExperimentUnsuitable("The data has no target, so there is nothing to learn.")
    return source.schema.target.name


def _first(data: LocalData, count: int, *, key: str) -> LocalData:
    if count > data.row_count:
        raise ExperimentUnsuitable(
            f"`data.{key}` is {count}, and there are {data.row_count} such rows; lower it, or remove it to take all."
        )
    return take(data, np.arange(count or data.row_count))
