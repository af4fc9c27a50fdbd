"""``pfedhr``: models of different kinds, reassembled, Wang et al. 2023 (NeurIPS, Algorithm 1).

Nodes train networks of different architecture, which cannot be averaged. The coordinator cuts what it gets into blocks,
groups blocks that do the same (`fedseal.methods.reassembly`), puts blocks of different networks together to candidates
and trains these on public rows. A node takes the candidate that behaves most like its own network as a teacher:

    node          a* = the candidate with the largest mean cosine of logits on public rows, to a tuned copy of its own
                  w <- argmin CE(w) + lambda KL(a* || w), from its own w, which is never overwritten
    coordinator   after each turn of all groups: decompose, CKA, group, reassemble, stitch, tune on public rows

``pfedhr`` needs GROUP_SUMS: the coordinator gets the mean network of each architecture over at least the minimum
cohort (the paper's form for many clients), and matching is done at the node, so nothing about one node leaves it.
The published form is `fedseal.methods.pfedhr_individual`.

Rules this module keeps:
- Groups take turns: the round tells the architecture. A group's network is a sum of its own, see
  `fedseal.methods.groups`.
- Blocks of candidates are copies: training a candidate changes no mean and no node's network.
- Without candidates nodes train alone.

Deviations from paper and code, with reasons: docs/methods/pfedhr.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field, StringConstraints

from fedseal.learning.blocks import MOST_BLOCKS
from fedseal.learning.learner import Examples, FitRequest
from fedseal.learning.plugins import make_learner
from fedseal.learning.tensors import NamedTensors, Shapes, group_of, grouped
from fedseal.methods.averaging import (
    FIGURES,
    REPORT,
    WEIGHTED,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
)
from fedseal.methods.contract import DisclosureStatement, NodeContext, Plan, Quantity, node_seed
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.suitability import Need, Suitability
from fedseal_governance.jobs import JobDocument
from fedseal_governance.vocabulary import Disclosure

if TYPE_CHECKING:
    from fedseal.learning.network_family import NetworkFamily
    from fedseal.learning.reassembled import Tuning
    from fedseal.methods.pfedhr_networks import Network

OWN, MEAN = "own", "mean"
PARTS, VALUES, SEEN, MADE = "parts", "values", "seen", "made"
LONGEST = MOST_BLOCKS


class PFedHrSettings(AveragingSettings):
    """Averaging (``clip`` bounds a parameter, not a change), the groups, public rows, candidates and teaching."""

    clip: Annotated[float, Field(gt=0, le=1e6, description="largest parameter of a node's network that is summed")] = (
        8.0
    )
    public_rows: Annotated[
        str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Field(description="SHA-256 of the file of public rows")
    ]
    members: Annotated[
        tuple[str, ...],
        Field(
            max_length=16,
            description="the nodes of each architecture, one line with spaces for each; none: dealt out in turns",
        ),
    ] = ()
    clusters: Annotated[int, Field(ge=1, le=64, description="groups of blocks (K)")] = 4
    candidates: Annotated[int, Field(ge=1, le=64, description="candidates at most (M)")] = 4
    candidate_size: Annotated[
        int, Field(ge=16, le=50_000_000, description="parameters of a candidate at most; larger ones are left out")
    ] = 100_000
    tuning_epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the public rows for a candidate")] = 3
    tuning_rate: Annotated[float, Field(gt=0, le=1, description="Adam's step size on public rows")] = 1e-3
    tuning_batch: Annotated[int, Field(ge=1, le=65_536, description="public rows per step")] = 16
    match_rows: Annotated[int, Field(ge=2, le=1_000_000, description="public rows on which logits are compared")] = 128
    match_epochs: Annotated[int, Field(ge=0, le=1000, description="passes for the copy that is compared")] = 1
    distillation: Annotated[float, Field(ge=0, le=100, description="weight of the teacher's term (lambda)")] = 0.2
    teacher: Annotated[
        Literal["matched", "random", "public", "none"],
        Field(
            description="who teaches; the others are controls: any candidate, a network of public rows alone, nobody"
        ),
    ] = "matched"


NETWORK = Quantity(
    name="update", party="coordinator", description="row-weighted sum of the networks of one group of nodes"
)
CANDIDATES = Quantity(
    name="candidates", party="every node", description="networks reassembled from the groups' means, and their blocks"
)


@dataclass(frozen=True, slots=True)
class PFedHr(Averaging):
    """See the module docstring.

    State: ``mean/<tensor>`` of all networks in float64; ``seen``, 1 for each that is a mean already; ``parts`` and
    ``values`` of the candidates as in the broadcast; ``made``, how many and their accuracy on public rows; ``report``.
    """

    settings: PFedHrSettings

    name: ClassVar[str] = "pfedhr"
    title: ClassVar[str] = "Models of different kinds, reassembled by group (pFedHR)"
    reference: ClassVar[str] = "Wang et al. 2023, Towards Personalized FL via Heterogeneous Model Reassembly (NeurIPS)"
    statement: ClassVar[DisclosureStatement] = DisclosureStatement(
        level=Disclosure.GROUP_SUMS,
        paragraph=(
            "Nodes hold networks of different kinds, and the job says which. In each round the nodes of one kind, at "
            "least as many as the minimum cohort, contribute the network that they trained on their own rows, weighted "
            "by their number of rows. The coordinator learns the weighted sum over that group, the group's number of "
            "training rows, its summed training loss and how many numbers were clipped; the next round is another "
            "group's. From the groups' means and from public rows it puts together new networks, which every node "
            "receives; each node finds out by itself which of them is most like its own. No node's network, choice, "
            f"number of rows or loss is sent. {WEIGHTED} A group is smaller than the cohort, so this tells more."
        ),
        quantities=(NETWORK, *FIGURES, CANDIDATES),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Nodes keep networks of different kinds and learn from reassembled ones; needs labelled public rows.",
        meets={
            Need.DIFFERENT_MODELS: "Each node trains its own architecture; only nodes of one kind are summed.",
            Need.DIFFERENT_DATA: "Each node goes on from its own network, which is never overwritten.",
        },
        cost=(
            "A round for each architecture, all candidates down in each, training at the coordinator; the gain over "
            "training alone is about a point where there is any."
        ),
    )
    settings_model: ClassVar[type[BaseModel]] = PFedHrSettings

    def groups(self, job: JobDocument) -> tuple[frozenset[str], ...]:
        """See `GroupedMethod`: one group an architecture.

        Raises:
            MethodUnsuitable: The learner has no architectures, or there is not one line of members for each.
        """
        count = len(_family_of(self.name, job).networks)
        if not self.settings.members:
            return tuple(frozenset(job.nodes[number::count]) for number in range(count))
        if len(self.settings.members) != count:
            raise MethodUnsuitable(
                f'Method "{self.name}": `members` has {len(self.settings.members)} lines and the learner {count} '
                "architectures; write one line of nodes for each."
            )
        return tuple(frozenset(line.split()) for line in self.settings.members)

    def family(self, plan: Plan) -> "NetworkFamily":
        """The job's learner."""
        return _family_of(self.name, plan.job)

    def architecture(self, plan: Plan) -> int:
        """Which network this round is about."""
        return plan.round % len(self.family(plan).networks)

    def shared_shapes(self, plan: Plan) -> Shapes:
        """The tensors of this round's network."""
        family, number = self.family(plan), self.architecture(plan)
        return family.networks[number].parameter_shapes(plan.input_width)

    def broadcast_shapes(self, plan: Plan) -> Shapes:  # noqa: ARG002 - the same for every plan
        """The blocks of each candidate by number, from 1 (0: no more); and its parameters, zeros behind."""
        count = self.settings.candidates
        return {PARTS: (count, LONGEST), VALUES: (count, self.settings.candidate_size)}

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:  # noqa: ARG002 - all in the state
        """The candidates."""
        return {name: state[name].astype(np.float32) for name in (PARTS, VALUES)}

    def initial_state(self, plan: Plan) -> NamedTensors:
        """Networks as they start, and no candidates."""
        family = self.family(plan)
        start = family.initial_parameters(plan.input_width, plan.job.seed)
        empty = {name: np.zeros(shape) for name, shape in self.broadcast_shapes(plan).items()}
        return {
            **grouped(MEAN, {name: np.asarray(value, dtype=np.float64) for name, value in start.items()}),
            **empty,
            SEEN: np.zeros(len(family.networks)),
            MADE: np.zeros(2),
            REPORT: np.zeros(3),
        }

    def train(self, context: NodeContext) -> LocalUpdate:
        """Go on from the own network, taught by a candidate if there is one."""
        plan, number = context.plan, self.architecture(context.plan)
        own = self.own(context)
        teacher = self.teacher(context, own)
        rows, family = plan.examples(context.data.training), self.family(plan)
        request = FitRequest(parameters=own, examples=rows, epochs=self.settings.local_epochs, seed=context.seed)
        if teacher is None:
            fitted = family.networks[number].fit(request)
        else:
            labels = np.column_stack([rows.labels, teacher.logits(rows.inputs)])
            taught = Examples(inputs=rows.inputs, labels=labels)
            fitted = family.taught(number, self.settings.distillation).fit(replace(request, examples=taught))
        kept = {f"net{number}.{name}": value for name, value in fitted.parameters.items()}
        after = {name: value.astype(np.float64) for name, value in fitted.parameters.items()}
        return LocalUpdate(change=after, loss=fitted.loss, local_state=grouped(OWN, kept))

    def own(self, context: NodeContext) -> NamedTensors:
        """The node's network; before its first round, as every network of its kind starts."""
        from fedseal.learning.network_family import own_of

        plan, number = context.plan, self.architecture(context.plan)
        kept = own_of(number, group_of(OWN, context.local_state))
        return kept or own_of(number, self.family(plan).initial_parameters(plan.input_width, plan.job.seed))

    def teacher(self, context: NodeContext, own: NamedTensors) -> "Network | None":
        """The candidate that this node learns from; None without candidates.

        Raises:
            BroadcastRefused: A candidate is none that blocks of these networks can give.
        """
        from fedseal.methods.pfedhr_networks import most_similar, received

        plan, settings = context.plan, self.settings
        family = self.family(plan)
        known = received(family, plan.input_width, context.broadcast[PARTS], context.broadcast[VALUES])
        if not known or settings.teacher == "none":
            return None
        if settings.teacher == "random":
            draw = np.random.Generator(np.random.Philox(node_seed(context.seed, "teacher", plan.stage, plan.round)))
            return known[int(draw.integers(len(known)))]
        if len(known) == 1:
            return known[0]
        network, rows = family.networks[self.architecture(plan)], self.rows(plan)
        tuning = replace(self.tuning(plan), epochs=settings.match_epochs)
        return known[most_similar((network, own), known, rows, compared=settings.match_rows, tuning=tuning)]

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """The group's mean; after the last group's turn, new candidates."""
        number = self.architecture(plan)
        seen = state[SEEN].copy()
        seen[number] = 1.0
        means = {f"{MEAN}/net{number}.{name}": value for name, value in mean.change.items()}
        after = {**state, **means, SEEN: seen}
        if number + 1 < len(seen):
            return {**means, SEEN: seen}
        return {**means, SEEN: seen, **self.candidates(plan, after)}

    def sources(self, plan: Plan, state: NamedTensors) -> list[tuple[int, NamedTensors]]:  # noqa: ARG002 - overriding
        """Networks whose blocks are reassembled: number of the architecture, and parameters."""
        from fedseal.learning.network_family import own_of

        means = group_of(MEAN, state)
        return [(int(number), own_of(int(number), means)) for number in np.flatnonzero(state[SEEN])]

    def candidates(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """New candidates from the sources, trained on public rows; what the state keeps of them."""
        from fedseal.methods.pfedhr_networks import Limits, Workshop

        settings = self.settings
        workshop = Workshop(
            family=self.family(plan), width=plan.input_width, rows=self.rows(plan), tuning=self.tuning(plan)
        )
        if settings.teacher == "public":
            first = node_seed(plan.job.seed, "public teacher", plan.stage, 0)
            made = workshop.from_public_rows(first, settings.candidate_size)
        else:
            limits = Limits(clusters=settings.clusters, most=settings.candidates, largest=settings.candidate_size)
            seed = node_seed(plan.job.seed, "reassembly", plan.stage, plan.round)
            made = workshop.reassemble(self.sources(plan, state), limits, seed) if settings.teacher != "none" else []
        parts, values = (np.zeros(shape) for shape in self.broadcast_shapes(plan).values())
        for place, one in enumerate(made):
            parts[place, : len(one.numbers)] = np.array(one.numbers) + 1
            values[place, : one.candidate.size] = one.candidate.packed(one.parameters)
        accuracy = float(np.mean([workshop.accuracy(one) for one in made])) if made else 0.0
        return {PARTS: parts, VALUES: values, MADE: np.array([float(len(made)), accuracy])}

    def summary(self, plan: Plan, state: NamedTensors) -> Mapping[str, float]:
        """`Averaging`'s of the group, how many candidates there are, and their accuracy on public rows."""
        count, accuracy = (float(value) for value in state[MADE])
        return {**Averaging.summary(self, plan, state), "candidates": count, "candidate_accuracy": accuracy}

    def export(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """The mean network of each group; a site uses its own instead."""
        means = group_of(MEAN, state)
        return {name: means[name].astype(np.float32) for name in self.export_shapes(plan)}

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:
        """The node's own network; of a node that never trained, all means together."""
        return group_of(OWN, local_state) or exported

    def rows(self, plan: Plan) -> Examples:
        """The public rows.

        Raises:
            MethodUnsuitable: They are not rows of this job.
        """
        from fedseal.learning.public_rows import public_rows

        rows = public_rows(self.settings.public_rows)
        if rows.inputs.shape[1] != plan.input_width or rows.labels.max() >= plan.classes:
            raise MethodUnsuitable(
                f'Method "{self.name}": the public rows have {rows.inputs.shape[1]} values and classes up to '
                f"{int(rows.labels.max())}; the job's rows have {plan.input_width} values and {plan.classes} classes."
            )
        return rows

    def tuning(self, plan: Plan) -> "Tuning":
        """How networks are trained on public rows."""
        from fedseal.learning.reassembled import Tuning

        return Tuning(
            epochs=self.settings.tuning_epochs,
            learning_rate=self.settings.tuning_rate,
            batch_size=self.settings.tuning_batch,
            seed=node_seed(plan.job.seed, "public rows", plan.stage, plan.round),
        )


def _family_of(method: str, job: JobDocument) -> "NetworkFamily":
    from fedseal.learning.network_family import NetworkFamily

    learner = None if job.learner is None else make_learner(job.learner.name, job.learner.settings)
    if not isinstance(learner, NetworkFamily):
        raise MethodUnsuitable(
            f'Method "{method}" needs networks of which it knows the blocks; write `learner: {{name: network-family}}`.'
        )
    return learner
