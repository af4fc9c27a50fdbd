"""Running an experiment under one seed: rounds of broadcast, contributions, secure sum and step, as in a federation.

Rules this module keeps:
- The same experiment and seed give the same results, whoever computes the parts and however often the run was
  interrupted: every random choice of a round follows from the seed and the round's number.
- A node whose contribution was lost keeps its old local state, as in a federation.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedseal.learning.tensors import NamedTensors
from fedseal.methods.contract import NOTHING, Contribution, IndividualMethod, Plan, node_seed
from fedseal.methods.groups import asked_nodes
from fedseal.methods.judging import judged_in_the_clear
from fedseal.methods.programme import check_contribution
from fedseal.simulation.attacks import AttackRound
from fedseal.simulation.measures import measure
from fedseal.simulation.setting import Setting, counts
from fedseal.simulation.sums import Contributions, Keys, secure_sum, unprotected_bytes
from fedseal.simulation.workers import Part, Serial, Task, Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a run stands; with the setting it determines the rest.

    Attributes:
        rounds: How many are done.
        coordinator: The method's state.
        nodes: What each node keeps.
    """

    rounds: int
    coordinator: NamedTensors
    nodes: Mapping[str, NamedTensors] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """What one round gave.

    Attributes:
        round: From 1, as people count.
        cohort: Nodes in the sum.
        bytes_up: Most that one node sent, see `RoundSum`.
        summary: The method's own figures.
        figures: See `fedseal.simulation.measures`; empty in rounds that are not evaluated.
        training_seconds: CPU time of the nodes' methods.
        overhead_seconds: CPU time of this process for everything else but evaluation.
        state: Where the run stands now.
    """

    round: int
    cohort: int
    bytes_up: int
    summary: Mapping[str, float]
    figures: Mapping[str, float]
    training_seconds: float
    overhead_seconds: float
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """One run of an experiment."""

    setting: Setting
    workers: Workers = field(default_factory=Serial)
    keys: Keys = field(default_factory=Keys, compare=False, repr=False)

    def start(self) -> State:
        """Before the first round."""
        return State(rounds=0, coordinator=self.setting.method.initial_state(self.setting.plan))

    def rounds(self, state: State | None = None) -> Iterator[RoundResult]:
        """The rounds from ``state`` (default: the start) to the last.

        Raises:
            PlatformError: From the method, learner or attack, as in a federation.
            ExperimentUnsuitable: Under masks or a custodian's key, too few nodes are asked or too many lost.
        """
        state = state or self.start()
        while state.rounds < self.setting.experiment.method.rounds:
            result = self._round(state)
            state = result.state
            yield result

    def _round(self, state: State) -> RoundResult:
        begun = time.process_time()
        setting, index = self.setting, state.rounds
        plan = setting.plan.for_round(index)
        broadcast = setting.method.broadcast(plan, state.coordinator)
        cast = draw(setting, index)
        parts = self._parts(plan, broadcast, state, cast)
        contributions = self._distorted(plan, broadcast, parts)
        arrived = {name: part for name, part in contributions.items() if name not in cast.lost}
        values = {name: part.values for name, part in arrived.items()}
        judgement = judged_in_the_clear(setting.method, plan, state.coordinator, broadcast, values)
        counted = {name: part for name, part in arrived.items() if name in judgement.accepted}
        after, told = self._aggregated(plan, judgement.state, counted, cast.lost)
        kept = _kept(state.nodes, counted)
        training = sum(part.seconds for part in parts)
        elapsed = time.process_time() - begun
        local = training if isinstance(self.workers, Serial) else 0.0
        result_state = State(rounds=index + 1, coordinator=after, nodes=kept)
        return RoundResult(
            round=index + 1,
            cohort=told.cohort,
            bytes_up=told.bytes_up,
            summary=setting.method.summary(plan, after),
            figures=self._figures(plan, result_state),
            training_seconds=training,
            overhead_seconds=max(0.0, elapsed - local),
            state=result_state,
        )

    def _parts(self, plan: Plan, broadcast: NamedTensors, state: State, cast: "Cast") -> list[Part]:
        attacks = self.setting.attacks_in(plan.round)
        tasks = [
            Task(
                node=name,
                round=plan.round,
                broadcast=broadcast,
                local_state=state.nodes.get(name, NOTHING),
                hurried=name in cast.hurried,
                attacks=attacks,
            )
            for name in cast.asked
        ]
        return list(self.workers.compute(self.setting, tasks))

    def _distorted(self, plan: Plan, broadcast: NamedTensors, parts: list[Part]) -> dict[str, Contribution]:
        setting = self.setting
        contributions = {part.node: part.contribution for part in parts}
        own = {name: value for name, value in contributions.items() if name in setting.attackers}
        if setting.attack is None or not own or not setting.attacks_in(plan.round):
            return contributions
        turn = AttackRound(
            plan=plan,
            specs=setting.method.vectors(plan),
            broadcast=broadcast,
            own=own,
            others={name: value for name, value in contributions.items() if name not in setting.attackers},
        )
        for name, contribution in setting.attack.distort(turn).items():
            check_contribution(setting.method, plan, contribution)
            contributions[name] = contribution
        return contributions

    def _aggregated(
        self, plan: Plan, state: NamedTensors, counted: Mapping[str, Contribution], lost: frozenset[str]
    ) -> "tuple[NamedTensors, _Told]":
        method = self.setting.method
        values = {name: part.values for name, part in counted.items()}
        specs = method.vectors(plan)
        if isinstance(method, IndividualMethod):
            after = method.aggregate_each(plan, state, [values[name] for name in sorted(values)])
            return after, _Told(cohort=len(values), bytes_up=unprotected_bytes(specs))
        parts = Contributions(values=values, lost=lost)
        summed = secure_sum(plan, specs, parts, self.setting.experiment.protection, keys=self.keys)
        told = _Told(cohort=summed.total.cohort, bytes_up=summed.bytes_up)
        return method.aggregate(plan, state, summed.total), told

    def _figures(self, plan: Plan, state: State) -> dict[str, float]:
        experiment = self.setting.experiment
        if state.rounds % experiment.measures.every and state.rounds != experiment.method.rounds:
            return {}
        return measure(self.setting, plan, state.coordinator, dict(state.nodes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """Of whom and in how many bytes the coordinator was told."""

    cohort: int
    bytes_up: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who does what in a round.

    Attributes:
        asked: Nodes that train, sorted.
        lost: Of these, whose contribution does not arrive.
        hurried: Of these, who are slow and train one epoch.
    """

    asked: tuple[str, ...]
    lost: frozenset[str]
    hurried: frozenset[str]


def draw(setting: Setting, index: int) -> Cast:
    """Who takes part, is lost and is slow in round ``index``; at least one contribution always arrives."""
    circumstances = setting.experiment.circumstances
    names = sorted(asked_nodes(setting.method, setting.job, index))
    generator = np.random.Generator(np.random.Philox(node_seed(setting.seed, "cast", "simulation", index)))
    order = [names[place] for place in generator.permutation(len(names))]
    many, few = counts(setting.experiment, len(names))
    asked, lost = order[:many], order[:few]
    hurried = asked[::-1][: round(circumstances.stragglers * len(asked))]
    return Cast(asked=tuple(sorted(asked)), lost=frozenset(lost), hurried=frozenset(hurried))


def _kept(before: Mapping[str, NamedTensors], contributions: Mapping[str, Contribution]) -> dict[str, NamedTensors]:
    kept = dict(before)
    for name, contribution in contributions.items():
        if contribution.local_state is not None:
            kept[name] = contribution.local_state
    return kept


def simulate(setting: Setting, workers: Workers | None = None) -> list[RoundResult]:
    """All rounds of one run."""
    return list(Simulation(setting=setting, workers=workers or Serial()).rounds())
