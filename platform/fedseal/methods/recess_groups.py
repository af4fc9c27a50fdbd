"""``recess-groups``: RECESS over groups instead of nodes, for where only sums over groups may be learnt.

Groups of at least the minimum cohort take turns (`fedseal.methods.groups`). In an ordinary turn every group trains from
the same model w, one round each, and the coordinator gets each group's mean change g_j; at a probe every group starts
from w + c g_j, which the coordinator can form itself, and answers with its mean change h_j. Trust
(`fedseal.methods.trust`) is of groups, and after an ordinary turn the model moves by the mean of the trusted groups'
changes, weighted by a softmax of trust that no group can outweigh (`fedseal.methods.trust.weights`).

This is not the published method, which judges nodes: an attacker is one of several in its group, so its turning is
mixed with honest answers, and with it its whole group is removed. In exchange nothing about one node is learnt, any
protection will do, and nodes are not told that they are probed. They could know: the schedule is fixed, and the model
that they are sent is off by a step along their own group's mean change. That step also tells the members of a group
what their group's mean was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fedseal.errors import PeerFault
from fedseal.learning.tensors import NamedTensors, flatten, group_of, grouped, size_of, unflatten
from fedseal.methods.averaging import FIGURES, MODEL, UPDATE, Averaging, MeanUpdate, moved
from fedseal.methods.contract import CohortSum, DisclosureStatement, Plan, Quantity, node_seed
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.recess import TRUST, TrustSettings, trust_figures
from fedseal.methods.suitability import Need, Suitability
from fedseal.methods.trust import Answer, Trust, weights
from fedseal_governance.jobs import SMALLEST_PROTECTED_COHORT, JobDocument
from fedseal_governance.vocabulary import Disclosure

CHANGES, HEARD, ANSWERS = "changes", "heard", "answers"


class RecessGroupsSettings(TrustSettings):
    """And the groups."""

    group_size: Annotated[
        int, Field(ge=0, le=1000, description="nodes of a group at least; 0 for the job's minimum cohort")
    ] = 0
    members: Annotated[
        tuple[str, ...],
        Field(
            max_length=500, description="the nodes of each group, one line with spaces for each; none: drawn by the job"
        ),
    ] = ()


_STATEMENT = DisclosureStatement(
    level=Disclosure.GROUP_SUMS,
    paragraph=(
        "Nodes are in groups of at least the minimum cohort, which take turns. Every node trains the current model on "
        "its own rows and contributes how the model changed; at times its group is probed, and starts a small step "
        "along its own last mean change. In each round the coordinator learns the sum of the changes over one group "
        "together, how many of its nodes trained, their summed training loss and how many numbers were clipped. From "
        "a group's change and its answer follows a score of trust of the group, and who has none left is left out. "
        "The new model is sent to every node, and at a probe the members of a group can work out their group's mean "
        "change. No node's change or loss is sent, and nothing about its number of rows. But if one node alone leaves "
        "or joins its group between two rounds, its loss follows roughly by subtraction from the group's."
    ),
    quantities=(
        replace(UPDATE, description="sum of the model changes, or of the answers, of one group"),
        Quantity(name="weight", party="coordinator", description="how many nodes of the group trained"),
        Quantity(name="loss", party="coordinator", description="sum of their mean training losses"),
        replace(FIGURES[2], description="how many numbers were clipped in the group"),
        Quantity(
            name="model",
            party="every node",
            description="the model; at a probe off by a step along the mean change of the node's own group",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class RecessGroups(Averaging):
    """See the module docstring.

    State: ``model/...``; ``changes``, of shape (groups, parameters), each group's mean change of the last ordinary
    turn, and ``heard``, 1 where there is one; ``answers``, of shape (groups, 3), the numbers of an `Answer` of the
    probe under way, -1 where there is none; ``trust/...``; ``report``.
    """

    settings: RecessGroupsSettings = field(default_factory=RecessGroupsSettings)

    name: ClassVar[str] = "recess-groups"
    title: ClassVar[str] = "Groups probed with their own last change, and left out if they turn against it"
    reference: ClassVar[str] = "after Yan et al. 2023, RECESS (NeurIPS); over groups"
    by_rows: ClassVar[bool] = False
    statement: ClassVar[DisclosureStatement] = _STATEMENT
    suits: ClassVar[Suitability] = Suitability(
        purpose="Probes groups of nodes with their own last change and leaves out those that turn against it.",
        meets={
            Need.UNTRUSTED_NODES: (
                "A group in which attackers against the aggregate outweigh the others is left out, with everybody in "
                "it; weaker attackers and those that send the same poison whatever happens are not seen."
            ),
        },
        cost="Every step of the model takes a round for each group, and a probe as many again.",
    )
    settings_model: ClassVar[type[BaseModel]] = RecessGroupsSettings

    def groups(self, job: JobDocument) -> tuple[frozenset[str], ...]:
        """See `GroupedMethod`: as the settings say, or drawn from the job's seed.

        Raises:
            MethodUnsuitable: A line of `members` is empty.
        """
        if self.settings.members:
            lines = tuple(frozenset(line.split()) for line in self.settings.members)
            if not all(lines):
                raise MethodUnsuitable(f'Method "{self.name}": `members` has an empty line; remove it.')
            return lines
        size = self.settings.group_size or max(job.minimum_cohort, SMALLEST_PROTECTED_COHORT)
        count = max(1, len(job.nodes) // size)
        names = sorted(job.nodes)
        order = np.random.Generator(np.random.Philox(node_seed(job.seed, "groups", self.name, 0)))
        drawn = [names[place] for place in order.permutation(len(names))]
        return tuple(frozenset(drawn[number::count]) for number in range(count))

    def group(self, plan: Plan) -> int:
        """Whose round it is."""
        return plan.round % len(self.groups(plan.job))

    def probing(self, plan: Plan) -> bool:
        """Whether this turn is a probe; the last turn never is."""
        count = len(self.groups(plan.job))
        turn, last = plan.round // count, plan.rounds // count - 1
        return turn != last and turn % (self.settings.probe_every + 1) == self.settings.probe_every

    def more_state(self, plan: Plan) -> NamedTensors:
        """Full trust, and no change or answer."""
        count = len(self.groups(plan.job))
        return {
            **grouped(TRUST, Trust.at_first(count, self.settings.trust).tensors()),
            CHANGES: np.zeros((count, size_of(self.shared_shapes(plan)))),
            HEARD: np.zeros(count),
            ANSWERS: np.full((count, 3), -1.0),
        }

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """The model; at a probe a step from it along the group's last change."""
        model = group_of(MODEL, state)
        if self.probing(plan) and state[HEARD][self.group(plan)] > 0:
            step = unflatten(state[CHANGES][self.group(plan)], self.shared_shapes(plan))
            model = moved(model, step, by=self.settings.probe_scale)
        return {name: model[name].astype(np.float32) for name in self.shared_shapes(plan)}

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """Note the group's mean change, or the numbers of its answer."""
        flat, group = flatten(mean.change), self.group(plan)
        if self.probing(plan):
            answers, before = state[ANSWERS].copy(), state[CHANGES][group]
            if state[HEARD][group] > 0:
                answers[group] = float(before @ before), float(flat @ flat), float(before @ flat)
            return {ANSWERS: answers}
        changes, heard = state[CHANGES].copy(), state[HEARD].copy()
        changes[group], heard[group] = flat, 1.0
        return {CHANGES: changes, HEARD: heard}

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:
        """See `step`; at the end of a turn change trust, or move the model.

        The model moves only when the next turn is not a probe, so that a probe starts where the turn before did.

        Raises:
            PeerFault: The sums are impossible, or no group is left.
        """
        count = len(self.groups(plan.job))
        if self.group(plan) == 0:
            fresh = {ANSWERS: np.full((count, 3), -1.0)} if self.probing(plan) else {HEARD: np.zeros(count)}
            state = {**state, **fresh}
        after = Averaging.aggregate(self, plan, state, total)
        if self.group(plan) < count - 1:
            return after
        if self.probing(plan):
            trust = Trust.of(group_of(TRUST, after)).after(_answers(after[ANSWERS]), self.settings.rule)
            return self._moved(plan, {**after, **grouped(TRUST, trust.tensors())})
        following = plan.round + 1
        if following < plan.rounds and self.probing(plan.for_round(following)):
            return after
        return self._moved(plan, after)

    def _moved(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        trust = Trust.of(group_of(TRUST, state))
        if not trust.alive.any():
            raise PeerFault("No group is trusted any more, so the model cannot go on; look at the nodes, or stop.")
        lengths = np.linalg.norm(state[CHANGES], axis=1)
        counted = trust.alive & (trust.answered > 0) & (state[HEARD] > 0)
        if not counted.any():
            return state
        counted &= lengths <= self.settings.longest * float(np.median(lengths[counted]))
        shares = np.array(weights([float(score) for score in np.where(counted, trust.score, 0.0)]))
        step = unflatten(shares @ state[CHANGES], self.shared_shapes(plan))
        return {**state, **grouped(MODEL, moved(group_of(MODEL, state), step))}

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:
        """As of averaging over the round's group; probes, groups left out, and the least trust of the others."""
        return {**Averaging.summary(self, plan, state), **trust_figures(Trust.of(group_of(TRUST, state)))}


def _answers(numbers: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> dict[int, Answer]:
    """Of every group that has one."""
    return {
        place: Answer(before=float(before), answer=float(answer), product=float(product))
        for place, (before, answer, product) in enumerate(numbers)
        if before >= 0
    }
