"""Keys made once a session, and small plans.

Types of what the fixtures give are the package's own, so that tests are checked without importing this file.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.homomorphic import (
    PARAMETERS,
    SecretContext,
    SlotPlan,
    generate_keys,
    parameters_for_sums,
    plan_slots,
)


@pytest.fixture(scope="session")
def keys() -> Mapping[str, SecretContext]:
    """A key pair of each parameter set; nobody may destroy these."""
    return {name: generate_keys(parameters) for name, parameters in PARAMETERS.items()}


@pytest.fixture
def small_plan() -> Callable[..., tuple[Layout, SlotPlan]]:
    """A plan of two ciphertexts for a cohort, with one wide vector."""

    def make(cohort: int = 5, *, masked: bool = False, length: int = 9_000) -> tuple[Layout, SlotPlan]:
        specs = [
            VectorSpec(name="update", length=length, bound=1.0, resolution=1 / 32_767),
            VectorSpec(name="weight", length=3, bound=2.0**45, resolution=1.0),
        ]
        return plan_slots(specs, cohort=cohort, parameters=parameters_for_sums(cohort), masked=masked)

    return make


@pytest.fixture
def contributions() -> Callable[[Layout, int], Sequence[tuple[Mapping[str, NDArray[np.float64]], RingVector]]]:
    """Values on the grid of resolutions, so that encoding is exact, and their ring vectors."""

    def make(layout: Layout, count: int) -> Sequence[tuple[Mapping[str, NDArray[np.float64]], RingVector]]:
        rng = np.random.default_rng(count)
        made = []
        for _ in range(count):
            values = {
                spec.name: np.float64(spec.resolution)
                * rng.integers(-spec.levels, spec.levels + 1, spec.length).astype(np.float64)
                for spec in layout.specs
            }
            made.append((values, layout.encode(values, generator=rng).words))
        return made

    return make
