"""``ditto``: a personal model beside the common one, Li et al. 2021 (ICML, Algorithm 1).

The common model w is trained by federated averaging. Beside it every node trains a model v of its own by
    v <- v - eta (grad f_k(v) + lambda (v - w)),
that is never sent. A node predicts with v.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field

from fedseal.learning.tensors import NamedTensors, group_of, grouped
from fedseal.methods.averaging import Averaging, AveragingSettings, LocalUpdate, averaging_statement, difference
from fedseal.methods.contract import DisclosureStatement, NodeContext
from fedseal.methods.fedprox import proximal_term
from fedseal.methods.suitability import Need, Suitability

PERSONAL = "personal"


class DittoSettings(AveragingSettings):
    """Averaging, and the personal model's pull to the common one."""

    pull: Annotated[float, Field(ge=0, le=100, description="of the personal model to the common one (lambda)")] = 1.0
    personal_epochs: Annotated[int, Field(ge=1, le=1000, description="passes for the personal model a round")] = 1


@dataclass(frozen=True, slots=True)
class Ditto(Averaging):
    """See the module docstring."""

    settings: DittoSettings = field(default_factory=DittoSettings)

    name: ClassVar[str] = "ditto"
    title: ClassVar[str] = "Personal models near a common one (Ditto)"
    reference: ClassVar[str] = "Li et al. 2021, Ditto: Fair and Robust Federated Learning (ICML)"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "Beside it every node trains a model of its own, which it keeps."
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Every node keeps a model of its own, near the common one, and uses that.",
        meets={
            Need.DIFFERENT_DATA: "Each node predicts with a model of its own, pulled to the common one.",
        },
        cost="As averaging in bytes; twice the local computing, and a model that each site looks after itself.",
    )
    settings_model: ClassVar[type[BaseModel]] = DittoSettings

    def train(self, context: NodeContext) -> LocalUpdate:
        """The common model's pass, then the personal one's, which starts from the broadcast in the first round."""
        common = self.fit(context, context.broadcast, correction=None)
        own = self.fit(
            context,
            group_of(PERSONAL, context.local_state) or context.broadcast,
            correction=proximal_term(context.broadcast, self.settings.pull),
            epochs=self.settings.personal_epochs,
        )
        return LocalUpdate(
            change=difference(common.parameters, context.broadcast),
            loss=common.loss,
            local_state=grouped(PERSONAL, own.parameters),
        )

    def node_model(self, exported: NamedTensors, local_state: NamedTensors) -> NamedTensors:
        """The personal model; of a node that never trained, the common one."""
        return group_of(PERSONAL, local_state) or exported
