"""``fedavg-sketch``: count sketches add up; the largest changes are taken out of the sum, Rothchild et al. 2020.

FetchSGD (ICML 2020) on updates: node k sends S(share * Delta_k), r rows of c numbers with
    S(u)[j, b] = sum over i with h_j(i) = b of s_j(i) u_i,
hashes h and signs s drawn alike by all from the job's seed, the same in all rounds. The coordinator, which alone does
what is not linear, keeps momentum and error in sketch space:
    V <- rho V + mean S, E <- E + eta V, Delta = top-k of median_j s_j(i) E[j, h_j(i)], w <- w + Delta,
and sets E and V to zero wherever the sketch of Delta is not zero. Nodes keep nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fedseal.learning.tensors import NamedTensors, flatten, group_of, grouped, size_of, unflatten
from fedseal.methods.averaging import (
    MODEL,
    Averaging,
    AveragingSettings,
    LocalUpdate,
    MeanUpdate,
    Message,
    averaging_statement,
    moved,
)
from fedseal.methods.compression import Floats, clipped_to, common_generator
from fedseal.methods.contract import CohortSum, DisclosureStatement, NodeContext, Plan, Quantity
from fedseal.methods.suitability import Need, Suitability
from fedseal_crypto.encoding import VectorSpec

SKETCH = "sketch"
VELOCITY, ERROR = "sketched-velocity", "sketched-error"


class SketchSettings(AveragingSettings):
    """The table, and what the coordinator takes out of it."""

    clip: Annotated[float, Field(gt=0, le=1e6, description="largest number of a node's table")] = 8.0
    rows: Annotated[int, Field(ge=1, le=99, description="of the table, odd for a median (r)")] = 5
    columns: Annotated[int, Field(ge=1, le=2**26, description="of the table (c)")] = 256
    top: Annotated[int, Field(ge=1, le=2**31, description="parameters changed a round (k)")] = 512
    server_momentum: Annotated[float, Field(ge=0, lt=1, description="of the summed tables (rho)")] = 0.9
    server_rate: Annotated[float, Field(gt=0, le=100, description="step of the coordinator (eta)")] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CountSketch:
    """Hashes and signs of one job.

    Attributes:
        places: h, shape (rows, size), each in [0, columns).
        signs: s, +-1.0, shape (rows, size).
        columns: c.
    """

    places: NDArray[np.intp]
    signs: Floats
    columns: int

    @classmethod
    def draw(cls, seed: int, *, size: int, rows: int, columns: int) -> "CountSketch":
        """Those of a job with this seed."""
        generator = common_generator("count-sketch", seed)
        places = generator.integers(0, columns, size=(rows, size), dtype=np.intp)
        signs = generator.integers(0, 2, size=(rows, size)).astype(np.float64) * 2 - 1
        return cls(places=places, signs=signs, columns=columns)

    def of(self, values: Floats) -> Floats:
        """S, shape (rows, columns); linear."""
        pairs = zip(self.places, self.signs, strict=True)
        return np.stack([np.bincount(place, weights=sign * values, minlength=self.columns) for place, sign in pairs])

    def estimate(self, table: Floats) -> Floats:
        """The median over rows of what each says of a coordinate, shape (size,)."""
        return np.asarray(np.median(self.signs * np.take_along_axis(table, self.places, axis=1), axis=0))


@dataclass(frozen=True, slots=True)
class FedAvgSketch(Averaging):
    """See the module docstring."""

    settings: SketchSettings = field(default_factory=SketchSettings)

    name: ClassVar[str] = "fedavg-sketch"
    title: ClassVar[str] = "Federated averaging with count sketches (FetchSGD)"
    reference: ClassVar[str] = "Rothchild et al. 2020, FetchSGD (ICML)"
    statement: ClassVar[DisclosureStatement] = averaging_statement(
        "A change is sent as a count sketch whose hashes every party knows; that makes it small, not private: it is "
        "the secure sum that hides a node's change.",
        update=Quantity(
            name=SKETCH, party="coordinator", description="row-weighted sum of the count sketches of the model changes"
        ),
    )
    suits: ClassVar[Suitability] = Suitability(
        purpose="Sends a count sketch of the change, from which the coordinator takes the largest sums.",
        meets={
            Need.SCARCE_BANDWIDTH: "A small sketch goes up, however large the model is.",
        },
        cost="Bytes up follow the sketch's size; more rounds, and it suits changes with few large values.",
    )
    settings_model: ClassVar[type[BaseModel]] = SketchSettings

    def sketch(self, plan: Plan) -> CountSketch:
        """The job's."""
        settings, size = self.settings, size_of(self.shared_shapes(plan))
        return CountSketch.draw(plan.job.seed, size=size, rows=settings.rows, columns=settings.columns)

    def more_state(self, plan: Plan) -> NamedTensors:  # noqa: ARG002 - the contract
        """V = 0, E = 0."""
        shape = (self.settings.rows, self.settings.columns)
        return {VELOCITY: np.zeros(shape), ERROR: np.zeros(shape)}

    def update_vectors(self, plan: Plan) -> tuple[VectorSpec, ...]:  # noqa: ARG002 - the contract
        """The table, row by row."""
        settings = self.settings
        length, resolution = settings.rows * settings.columns, min(settings.resolution, settings.clip)
        return (VectorSpec(name=SKETCH, length=length, bound=settings.clip, resolution=resolution),)

    def message(self, context: NodeContext, local: LocalUpdate, share: float) -> Message:
        """S of the weighted update, clipped."""
        table = self.sketch(context.plan).of(flatten(local.change) * share)
        kept, clipped = clipped_to(table.ravel(), self.settings.clip)
        return Message(values={SKETCH: kept}, clipped=clipped)

    def mean_change(self, plan: Plan, total: CohortSum, to_mean: float) -> Mapping[str, Floats]:  # noqa: ARG002
        """The mean table, under the name of what was sent; `step` takes the change out of it."""
        return {SKETCH: total.values[SKETCH].reshape(self.settings.rows, self.settings.columns) * to_mean}

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:
        """See the module docstring."""
        settings, shapes, sketch = self.settings, self.shared_shapes(plan), self.sketch(plan)
        velocity = settings.server_momentum * state[VELOCITY] + mean.change[SKETCH]
        error = state[ERROR] + settings.server_rate * velocity
        estimate = sketch.estimate(error)
        change = np.zeros_like(estimate)
        largest = np.argsort(-np.abs(estimate), kind="stable")[: settings.top]
        change[largest] = estimate[largest]
        taken = sketch.of(change) != 0
        model = moved(group_of(MODEL, state), unflatten(change, shapes))
        return {
            **grouped(MODEL, model),
            VELOCITY: np.where(taken, 0.0, velocity),
            ERROR: np.where(taken, 0.0, error),
        }
