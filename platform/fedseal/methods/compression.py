"""What methods share that send a compressed update: error feedback, and a linear way back.

With u = share * Delta + e, where e is what earlier messages left out, node k sends q = C(u), and keeps u - D(q) as
its new e; D expands a message, and the coordinator expands the sum: D(sum q) = sum D(q) makes that the same thing.
C need not be linear (rounding is not), D is.

Rules this module keeps:
- Where much is left out, a step of 1 overshoots: a residual holds what was right for older models, and comes back late.
  `server_rate` shortens the step.
- What is clipped stays in the residual, like all that was left out.
- The residual lives in the node's local state, and a node whose message was lost keeps the old one.
- Random choices that everybody must make alike follow from the job's seed (and the round), by Philox.

Reference: error feedback as in Seide et al. 2014 and Karimireddy et al. 2019, on the weighted update.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedseal.learning.tensors import NamedTensors, flatten, group_of, grouped, size_of, unflatten
from fedseal.methods.averaging import MODEL, Averaging, AveragingSettings, LocalUpdate, MeanUpdate, Message, moved
from fedseal.methods.contract import CohortSum, NodeContext, Plan

Floats: TypeAlias = NDArray[np.float64]
RESIDUAL = "residual"


class CompressionSettings(AveragingSettings):
    """Averaging, with what a message leaves out kept for the next one."""

    error_feedback: Annotated[bool, Field(description="a node adds to its next message what this one left out")] = True
    server_rate: Annotated[
        float, Field(gt=0, le=100, description="step of the coordinator (eta); below 1 where much is left out")
    ] = 1.0


class Compressed(Averaging):
    """Base of the methods that send a compressed update."""

    settings: CompressionSettings

    def compress(self, plan: Plan, update: Floats, seed: int) -> Message:
        """Node: C. ``update`` is flat, weighted, and not clipped; ``seed`` is for this node's own random choices."""
        raise NotImplementedError

    def expand(self, plan: Plan, values: Mapping[str, Floats]) -> Floats:
        """Every party: D, linear; the flat vector that a message, or a sum of messages, stands for."""
        raise NotImplementedError

    def message(self, context: NodeContext, local: LocalUpdate, share: float) -> Message:
        """Compress the weighted update and what earlier messages left out."""
        plan = context.plan
        wanted = flatten(local.change) * share
        if not self.settings.error_feedback:
            return self.compress(plan, wanted, context.seed)
        wanted = wanted + context.local_state.get(RESIDUAL, 0.0)
        message = self.compress(plan, wanted, context.seed)
        left = wanted - self.expand(plan, message.values)
        return Message(values=message.values, clipped=message.clipped, local_state={RESIDUAL: left})

    def mean_change(self, plan: Plan, total: CohortSum, to_mean: float) -> Mapping[str, Floats]:
        """Expand the sum."""
        return unflatten(self.expand(plan, total.values) * to_mean, self.shared_shapes(plan))

    def step(self, plan: Plan, state: NamedTensors, mean: MeanUpdate) -> NamedTensors:  # noqa: ARG002 - the contract
        """W <- w + eta times the mean update."""
        return grouped(MODEL, moved(group_of(MODEL, state), mean.change, by=self.settings.server_rate))

    def size(self, plan: Plan) -> int:
        """D: coordinates of an update."""
        return size_of(self.shared_shapes(plan))


def common_generator(*key: object) -> np.random.Generator:
    """Random numbers that every party draws alike, for a key such as ("subspace", job seed, round)."""
    text = "\0".join(("fedseal.common-randomness.v1", *(str(part) for part in key)))
    return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")))


def clipped_to(values: Floats, bound: float) -> tuple[Floats, int]:
    """Values within +-bound, and how many were beyond."""
    return np.clip(values, -bound, bound), int(np.sum(np.abs(values) > bound))
