"""``robust-rules``: rules against poisoned updates that must see each update by itself; yardsticks for simulations.

The coordinator combines the n updates u_i, clipped in every coordinate, f of them presumed poisoned:
- ``trimmed-mean``: in every coordinate the mean without the f greatest and the f least (Yin et al. 2018).
- ``median``: in every coordinate the median (Yin et al. 2018).
- ``multi-krum``: the mean of the n - f updates with the least sum of squared distances to their n - f - 2 nearest
  (Blanchard et al. 2017).
- ``norm-bounding``: the mean of u_i / max(1, |u_i| / m) with m the median length (Sun et al. 2019 with a fixed m).

No rule weighs nodes by rows. None of them is a function of sums, so the level is INDIVIDUAL.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.errors import PeerFault
from fedseal.learning.tensors import NamedTensors
from fedseal.methods.averaging import FIGURES, Averaging, AveragingSettings
from fedseal.methods.contract import CohortSum, DisclosureStatement, Plan, Quantity
from fedseal.methods.errors import MethodUnsuitable
from fedseal.methods.individual_compression import individual_statement
from fedseal.methods.suitability import Need, Suitability

Updates = NDArray[np.float64]


def trimmed_mean(updates: Updates, poisoned: int) -> Updates:
    """Shape (nodes, parameters) -> (parameters,); more than twice as many nodes as are presumed poisoned."""
    inner = np.sort(updates, axis=0)[poisoned : len(updates) - poisoned]
    return np.asarray(inner.mean(axis=0))


def median(updates: Updates, poisoned: int) -> Updates:  # noqa: ARG001 - the same form as the others
    """Shape (nodes, parameters) -> (parameters,)."""
    return np.asarray(np.median(updates, axis=0))


def multi_krum(updates: Updates, poisoned: int) -> Updates:
    """Shape (nodes, parameters) -> (parameters,); at least f + 3 nodes."""
    count = len(updates)
    centred = updates - updates.mean(axis=0)
    products = centred @ centred.T
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0)
    nearest = np.sort(distances, axis=1)[:, 1 : count - poisoned - 1]  # without itself
    chosen = np.argsort(nearest.sum(axis=1), kind="stable")[: count - poisoned]
    return np.asarray(updates[chosen].mean(axis=0))


def norm_bounding(updates: Updates, poisoned: int) -> Updates:  # noqa: ARG001 - as above
    """Shape (nodes, parameters) -> (parameters,)."""
    lengths = np.linalg.norm(updates, axis=1)
    most = np.median(lengths)
    scale = np.minimum(1.0, most / np.maximum(lengths, np.finfo(np.float64).tiny))
    return np.asarray((updates * scale[:, None]).mean(axis=0))


RULES: Mapping[str, Callable[[Updates, int], Updates]] = {
    "trimmed-mean": trimmed_mean,
    "median": median,
    "multi-krum": multi_krum,
    "norm-bounding": norm_bounding,
}


class RobustSettings(AveragingSettings):
    """Which rule, and what it presumes."""

    rule: Annotated[
        Literal["trimmed-mean", "median", "multi-krum", "norm-bounding"],
        Field(description="how updates are combined"),
    ] = "trimmed-mean"
    poisoned: Annotated[int, Field(ge=0, le=1000, description="nodes presumed to attack (f)")] = 1


@dataclass(frozen=True, slots=True)
class RobustRules(Averaging):
    """See the module docstring."""

    settings: RobustSettings = field(default_factory=RobustSettings)

    name: ClassVar[str] = "robust-rules"
    title: ClassVar[str] = "Trimmed mean, median, Multi-Krum or norm bounding over single updates"
    reference: ClassVar[str] = "Yin et al. 2018 (ICML); Blanchard et al. 2017 (NeurIPS); Sun et al. 2019"
    by_rows: ClassVar[bool] = False
    statement: ClassVar[DisclosureStatement] = individual_statement(
        "how the model changed, whole and by itself",
        Quantity(name="update", party="coordinator", description="of each node alone: its model change"),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Combines single updates by a rule that a few poisoned ones cannot move far.",
        meets={
            Need.UNTRUSTED_NODES: "A few poisoned updates are left out, outvoted or shortened.",
        },
        cost="The coordinator must see every update, so no sum hides who sent what; a yardstick for simulations.",
    )
    settings_model: ClassVar[type[BaseModel]] = RobustSettings

    def aggregate(self, plan: Plan, state: NamedTensors, total: CohortSum) -> NamedTensors:  # noqa: ARG002
        """Refuse.

        Raises:
            MethodUnsuitable: Always; the rules are no functions of a sum.
        """
        raise MethodUnsuitable(f'Method "{self.name}" needs each contribution by itself; no sum replaces them.')

    def aggregate_each(self, plan: Plan, state: NamedTensors, contributions: Sequence[NamedTensors]) -> NamedTensors:
        """Combine the updates of those that trained by the rule.

        Raises:
            PeerFault: There are too few updates for so many presumed attackers.
        """
        trained = [part for part in contributions if part["weight"][0] > 0]
        chosen = self.settings
        least = {"trimmed-mean": 2 * chosen.poisoned + 1, "multi-krum": chosen.poisoned + 3}.get(chosen.rule, 1)
        if len(trained) < least:
            raise PeerFault(f"{len(trained)} nodes trained, and {chosen.rule} with {chosen.poisoned} needs {least}.")
        values = {item.name: np.sum([part[item.name] for part in contributions], axis=0) for item in FIGURES}
        combined = RULES[chosen.rule](np.stack([part["update"] for part in trained]), chosen.poisoned)
        values["update"] = combined * len(trained)
        return Averaging.aggregate(self, plan, state, CohortSum(values=values, cohort=len(contributions)))
