"""``pfedhr-individual``: pFedHR as published, where the coordinator sees and cuts up each node's network.

As `fedseal.methods.pfedhr`, except that blocks come from every node's network instead of from means over groups.
Matching stays at the node, since contributions come without names. Like every `IndividualMethod` it runs only where
each policy lets the coordinator learn what each site contributed, and in this version only in simulations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from fedseal.learning.tensors import NamedTensors, group_of, grouped, unflatten
from fedseal.methods.averaging import FIGURES, Averaging
from fedseal.methods.contract import CohortSum, DisclosureStatement, Plan
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.pfedhr import CANDIDATES, NETWORK, PFedHr
from fedseal.methods.suitability import Need, Suitability
from fedseal_governance.vocabulary import Disclosure

SOURCE = "source"


@dataclass(frozen=True, slots=True)
class PFedHrIndividual(PFedHr):
    """See the module docstring; state beside `PFedHr`'s: ``source/<architecture>/<number>/<tensor>``."""

    name: ClassVar[str] = "pfedhr-individual"
    title: ClassVar[str] = "Models of different kinds, reassembled from each node's own (pFedHR as published)"
    statement: ClassVar[DisclosureStatement] = DisclosureStatement(
        level=Disclosure.INDIVIDUAL,
        paragraph=(
            "Nodes hold networks of different kinds, and the job says which. In each round every node of one kind "
            "sends the network that it trained on its own rows, weighted by its number of rows, so the coordinator "
            "sees each node's network, number of training rows and loss by itself, and can learn from it what that "
            "node's records look like. From these networks and from public rows it puts together new networks, which "
            "every node receives. No masks or encryption can hide what is sent. A federation accepts this method only "
            "where every policy lets the coordinator learn what each site contributed, and this version does not run "
            "it outside of simulations."
        ),
        quantities=(
            replace(NETWORK, description="of each node alone: its network, weighted by rows"),
            *(
                replace(item, description=f"of each node alone: {text}")
                for item, text in zip(
                    FIGURES,
                    (
                        "its training rows",
                        "its row-weighted mean training loss",
                        "how many of its numbers were clipped",
                    ),
                    strict=True,
                )
            ),
            replace(CANDIDATES, description="networks reassembled from the nodes' own, and their blocks"),
        ),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="As pfedhr, with blocks of every node's network; the yardstick for what group sums cost.",
        meets={
            Need.DIFFERENT_MODELS: "Each node trains its own architecture, and groups may be of any size.",
            Need.DIFFERENT_DATA: "Each node goes on from its own network, which is never overwritten.",
        },
        cost="As pfedhr, and the coordinator sees every node's network.",
    )

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:  # noqa: ARG002
        """Refuse.

        Raises:
            MethodUnsuitable: Always; use ``pfedhr`` for sums.
        """
        raise MethodUnsuitable(f'Method "{self.name}" needs each contribution by itself; choose pfedhr for sums.')

    def aggregate_each(self, plan: Plan, state: NamedTensors, contributions: Sequence[NamedTensors]) -> NamedTensors:
        """Keep each network, and form the group's mean for the exported model.

        Raises:
            PeerFault: The weights are not ones that this cohort can have.
        """
        number, shapes, heaviest = self.architecture(plan), self.shared_shapes(plan), self.heaviest(plan)
        group = f"{SOURCE}/{number}"
        kept = {name: value for name, value in state.items() if not name.startswith(f"{group}/")}
        for place, part in enumerate(contributions):
            weight = float(part["weight"][0])
            if weight > 0:
                kept |= grouped(f"{group}/{place}", unflatten(part["update"] * (heaviest / weight), shapes))
        values = {name: np.sum([part[name] for part in contributions], axis=0) for name in contributions[0]}
        return Averaging.aggregate(self, plan, kept, CohortSum(values=values, cohort=len(contributions)))

    def sources(self, plan: Plan, state: NamedTensors) -> list[tuple[int, NamedTensors]]:
        """Every node's network as it was last sent."""
        found: list[tuple[int, NamedTensors]] = []
        for number in range(len(self.family(plan).networks)):
            own = group_of(f"{SOURCE}/{number}", state)
            places = sorted({int(name.partition("/")[0]) for name in own})
            found += [(number, group_of(str(place), own)) for place in places]
        return found
