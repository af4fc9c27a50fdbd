"""Adding up contributions in one process: as floating-point numbers, or as the ring words that masks protect."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.tensors import NamedTensors
from fedseal_crypto.encoding import Layout, RingVector, VectorSpec


def plain_sum(specs: Sequence[VectorSpec], contributions: Iterable[NamedTensors]) -> dict[str, NDArray[np.float64]]:
    """The sums in float64, one flat vector per spec, in the order in which contributions come."""
    total = {spec.name: np.zeros(spec.length) for spec in specs}
    for values in contributions:
        for name, value in values.items():
            total[name] += value
    return total


def encoded_sum(
    specs: Sequence[VectorSpec], contributions: Iterable[tuple[int, NamedTensors]], *, cohort: int
) -> Mapping[str, NDArray[np.float64]]:
    """The sums through the fixed-point encoding; masks add nothing that could change them.

    Args:
        specs: What is summed.
        contributions: Seed of the stochastic rounding, and values, of each node.
        cohort: Number of contributions.
    """
    layout = Layout.plan(specs, cohort=cohort)
    total = RingVector.zeros(layout)
    for seed, values in contributions:
        total.add_in_place(layout.encode(values, generator=np.random.default_rng(seed)).words)
    return layout.decode(total, count=cohort)
