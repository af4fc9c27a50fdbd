"""``screening``: federated averaging that leaves conspicuous contributions out, seeing only two numbers of each.

Every node sends its model change, scaled down to a largest norm, with weight 1. Before the sum the coordinator
learns, of each node, the squared norm of its change and, from the second round on, its inner product with the
direction in which the model moved last. It leaves out who is longer than a multiple of the median norm, and who
points away from the last step by more than the settings allow.

Bounding norms is from Sun et al. 2019, "Can You Really Backdoor Federated Learning?"; comparing directions by their
cosine is from Cao et al. 2021, FLTrust (NDSS), whose trusted data set is replaced by the last aggregate, so that
nobody needs one. That also is its limit: an attacker that stays below the median's multiple and does not turn
against the last step is not seen, and once a majority attacks, median and direction are theirs. Under encryption the
numbers are about a second ciphertext of the same vector, and nothing yet proves that both hold the same: a node that
encrypts an inconspicuous vector for the numbers and another one for the sum is not seen either.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from fedseal.learning.tensors import NamedTensors, Shapes, flatten, size_of
from fedseal.methods.averaging import (
    FIGURES,
    PUBLISHED_MODEL,
    UPDATE,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
)
from fedseal.methods.contract import DisclosureStatement, NodeContext, Plan, Quantity
from fedseal.methods.judging import Judgement, Numbers, Scalar, ScalarsAsked, exact_norm
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.homomorphic import Operation
from fedseal_governance.vocabulary import Disclosure

NORM = "squared_norm"
DIRECTION = "direction"
DIRECTION_TENSOR = "screening.direction"
_DIRECTION_STATE = "direction"
_SLACK = 1e-3
"""Share of the longest accepted norm below which a direction is noise: numbers come with an error."""


class ScreeningSettings(AveragingSettings):
    """Averaging, and what is conspicuous."""

    largest_norm: Annotated[
        float, Field(gt=0, le=1e6, description="a node scales a longer model change down to this Euclidean norm")
    ] = 10.0
    norm_factor: Annotated[
        float, Field(ge=1, le=1e6, description="leave out changes longer than this multiple of the median norm")
    ] = 3.0
    least_cosine: Annotated[
        float, Field(ge=-1, le=1, description="leave out changes whose cosine to the last step is below this")
    ] = 0.0


_STATEMENT = DisclosureStatement(
    level=Disclosure.SCALARS,
    paragraph=(
        "Every node trains the current model on its own rows and contributes how the model changed. Of each node the "
        "coordinator learns two numbers a round: the squared length of its change, and from the second round on how "
        "far the change points in the direction in which the model moved last. By these it leaves out conspicuous "
        "nodes; then it learns the sum of the changes over the others together, how many of them trained, their "
        "summed training loss and how many numbers were clipped, and sends the new model and its last direction to "
        "every node. The two numbers are opened by a custodian, which signs them; each node is handed those about "
        "itself and compares them with its own vector. A hostile coordinator could have other numbers opened in "
        "their place, as many of each node and round, and be found out by that comparison."
    ),
    quantities=(
        Quantity(name=NORM, party="coordinator", description="of each node: the squared length of its model change"),
        Quantity(
            name=DIRECTION,
            party="coordinator",
            description="of each node: inner product of its model change with the model's last direction, of length 1",
        ),
        Quantity(name=NORM, party="custodian", description="the same number of each node"),
        Quantity(name=DIRECTION, party="custodian", description="the same number of each node"),
        Quantity(name=UPDATE.name, party="coordinator", description="sum of the model changes of the accepted nodes"),
        Quantity(name="weight", party="coordinator", description="how many accepted nodes trained"),
        Quantity(name="loss", party="coordinator", description="sum of their mean training losses"),
        FIGURES[2],
        PUBLISHED_MODEL,
        Quantity(name=DIRECTION_TENSOR, party="every node", description="the model's last direction"),
    ),
)


@dataclass(frozen=True, slots=True)
class Screening(Averaging):
    """See the module docstring."""

    settings: ScreeningSettings = field(default_factory=ScreeningSettings)

    name: ClassVar[str] = "screening"
    title: ClassVar[str] = "Federated averaging that leaves conspicuous nodes out"
    reference: ClassVar[str] = "after Sun et al. 2019 (norm bounding) and Cao et al. 2021, FLTrust (cosine)"
    by_rows: ClassVar[bool] = False
    statement: ClassVar[DisclosureStatement] = _STATEMENT
    suits: ClassVar[Suitability] = Suitability(
        purpose=(
            "Leaves a node's model change out of the sum when it is far longer than the others' or points away from "
            "the last step."
        ),
        meets={
            Need.UNTRUSTED_NODES: (
                "Changes that are far too long or point backwards never enter the sum; while most nodes are honest, "
                "median and direction are theirs."
            ),
        },
        cost="Two numbers of each node a round are shown, and each node sends a second ciphertext of its change.",
    )
    settings_model: ClassVar[type[BaseModel]] = ScreeningSettings
    SCALARS: ClassVar[tuple[str, ...]] = (NORM, DIRECTION)

    def train(self, context: NodeContext) -> LocalUpdate:
        """Train, and scale the change down to the largest norm."""
        model = {name: value for name, value in context.broadcast.items() if name != DIRECTION_TENSOR}
        local = Averaging.train(self, replace(context, broadcast=model))
        clip, largest = self.settings.clip, self.settings.largest_norm
        norm = exact_norm(np.clip(flatten(local.change), -clip, clip))
        if norm <= largest:
            return local
        scale = largest / norm * (1 - 2.0**-30)  # rounding may not lift it above the bound
        change = {name: np.clip(value, -clip, clip) * scale for name, value in local.change.items()}
        return replace(local, change=change)

    def more_state(self, plan: Plan) -> NamedTensors:
        """No direction yet."""
        return {_DIRECTION_STATE: np.zeros(size_of(self.shared_shapes(plan)))}

    def broadcast_shapes(self, plan: Plan) -> Shapes:
        """The model and its last direction."""
        shared = self.shared_shapes(plan)
        return {**shared, DIRECTION_TENSOR: (size_of(shared),)}

    def broadcast(self, plan: Plan, state: NamedTensors) -> NamedTensors:
        """The model and its last direction, in float32."""
        direction = np.asarray(state[_DIRECTION_STATE]).astype(np.float32)
        return {**Averaging.broadcast(self, plan, state), DIRECTION_TENSOR: direction}

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """Move by the mean, and remember which way."""
        moved = Averaging.step(self, plan, state, mean)
        flat = flatten(mean.change)
        norm = exact_norm(flat)
        return {**moved, _DIRECTION_STATE: flat / norm if norm > 0 else flat}

    def scalars(self, plan: Plan, broadcast: NamedTensors) -> ScalarsAsked:
        """The squared norm, and the inner product with the last direction once there is one."""
        direction = np.asarray(broadcast[DIRECTION_TENSOR], np.float64)
        asked = [Scalar(name=NORM, operation=Operation.SQUARED_NORM)]
        if direction.any():
            operation = Operation.INNER_PRODUCT_WITH_PUBLIC
            asked.append(Scalar(name=DIRECTION, operation=operation, public=direction))
        return ScalarsAsked(
            vector="update",
            length=size_of(self.shared_shapes(plan)),
            largest=self.settings.clip,
            norm=self.settings.largest_norm,
            scalars=tuple(asked),
        )

    def judge(self, plan: Plan, state: NamedTensors, numbers: Mapping[str, Numbers]) -> Judgement:  # noqa: ARG002
        """Leave out who is much longer than the median, and who points away from the last step."""
        squares = {name: own[NORM] for name, own in numbers.items()}
        norms = {name: math.sqrt(max(square, 0.0)) for name, square in squares.items() if square is not None}
        most = self.settings.norm_factor * statistics.median(norms.values()) if norms else 0.0
        reasons = {}
        for name, own in numbers.items():
            reason = self._reason(norms.get(name), own.get(DIRECTION, 0.0), most, self.settings.least_cosine)
            if reason:
                reasons[name] = reason
        return Judgement(accepted=frozenset(numbers) - reasons.keys(), reasons=reasons, state=state)

    @staticmethod
    def _reason(norm: float | None, direction: float | None, most: float, least: float) -> str:
        if norm is None or direction is None:
            return "its change is longer than any node's may be"
        if norm > most:
            return f"its change has the norm {norm:.4g} and {most:.4g} is the most in this round"
        if direction < least * norm - _SLACK * most:
            cosine = direction / norm if norm > 0 else 0.0
            return f"its change has the cosine {cosine:.2f} to the last step and {least:g} is the least"
        return ""
