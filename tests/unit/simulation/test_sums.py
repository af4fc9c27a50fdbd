"""Every protection adds up the same: exactly on the grid, and within the resolution between its steps."""

from collections.abc import Callable

import numpy as np
import pytest

from fedseal.methods.contract import node_seed
from fedseal.protection import round_layout
from fedseal.simulation.engine import simulate
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.experiment import Protection
from fedseal.simulation.setting import Setting
from fedseal.simulation.sums import Contributions, Keys, RoundSum, secure_sum
from fedseal_crypto.encoding import RingVector, VectorSpec

Make = Callable[..., Setting]
RESOLUTION = 2.0**-15
SPECS = (
    VectorSpec(name="update", length=31, bound=1.0, resolution=RESOLUTION),
    VectorSpec(name="rows", length=1, bound=1000.0, resolution=1.0, signed=False),
)
NODES = tuple(f"node-{number:02}" for number in range(5))
PROTOCOLS = [item for item in Protection if item.has_protocol]


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


def contributions(*, on_grid: bool, lost: tuple[str, ...] = ()) -> Contributions:
    generator = np.random.default_rng(1)
    values = {}
    for name in NODES:
        update = generator.uniform(-0.9, 0.9, 31)
        if on_grid:
            update = np.round(update / RESOLUTION) * RESOLUTION
        values[name] = {"update": update, "rows": np.array([float(generator.integers(1, 900))])}
    return Contributions(values={name: item for name, item in values.items() if name not in lost}, lost=lost)


def added(make: Make, protection: Protection, parts: Contributions, keys: Keys) -> RoundSum:
    return secure_sum(make(protection=protection.value).plan, SPECS, parts, protection, keys=keys)


@pytest.mark.parametrize("lost", [(), NODES[1:2]], ids=["all", "one-lost"])
def test_sums_of_values_on_the_grid_are_the_same_to_the_last_bit(
    setting: Make, keys: Keys, lost: tuple[str, ...]
) -> None:
    parts = contributions(on_grid=True, lost=lost)
    sums = {protection: added(setting, protection, parts, keys) for protection in Protection}
    first = sums[Protection.NONE].total
    assert first.cohort == len(NODES) - len(lost)
    for protection, one in sums.items():
        assert one.total.cohort == first.cohort
        for spec in SPECS:
            assert one.total.values[spec.name].tobytes() == first.values[spec.name].tobytes(), protection


def test_between_the_steps_only_rounding_differs(setting: Make, keys: Keys) -> None:
    """Each value goes up or down at random, and a layout decides which random numbers it gets: masks and the plain
    encoding have one layout, both protections of a custodian's key another."""
    parts = contributions(on_grid=False)
    sums = {protection: added(setting, protection, parts, keys).total.values for protection in Protection}
    update = {protection: values["update"] for protection, values in sums.items()}
    assert update[Protection.MASKING].tobytes() == update[Protection.ENCODED].tobytes()
    assert update[Protection.HYBRID].tobytes() == update[Protection.HOMOMORPHIC].tobytes()
    for protection, values in update.items():
        assert np.abs(values - update[Protection.NONE]).max() <= len(NODES) * RESOLUTION, protection


def test_under_a_custodians_key_the_sum_is_that_of_the_same_words_in_the_clear(setting: Make, keys: Keys) -> None:
    parts = contributions(on_grid=False)
    plan = setting(protection="homomorphic").plan
    laid = round_layout(plan.job, SPECS, cohort=len(NODES))
    clear = RingVector.zeros(laid.layout)
    for name in NODES:
        seed = node_seed(plan.job.seed, name, "rounding", plan.round)
        clear.add_in_place(laid.layout.encode(parts.values[name], generator=np.random.default_rng(seed)).words)
    wanted = laid.layout.decode(clear, count=len(NODES))
    sealed = added(setting, Protection.HOMOMORPHIC, parts, keys)
    assert sealed.total.values["update"].tobytes() == wanted["update"].tobytes()
    assert laid.upload_bytes < sealed.bytes_up < laid.upload_bytes + 1000, "ciphertexts, commitment and statement"
    hybrid = added(setting, Protection.HYBRID, parts, keys)
    assert sealed.bytes_up < hybrid.bytes_up, "keys, shares and signatures of the masks inside"


@pytest.mark.parametrize("protection", ["homomorphic", "hybrid"])
def test_whole_runs_repeat_and_agree_with_masks(setting: Make, protection: str) -> None:
    """Keys and ciphertexts differ from run to run, results do not."""
    changes = {
        "method": "{name: fedavg, rounds: 2, settings: {resolution: 0.0000152587890625}}",
        "circumstances": "{participation: 0.8, dropouts: 0.25}",
    }
    one, two = (simulate(setting(protection=protection, **changes)) for _ in range(2))
    masked = simulate(setting(protection="masking", **changes))
    assert [(item.bytes_up, item.cohort, item.figures) for item in one] == [
        (item.bytes_up, item.cohort, item.figures) for item in two
    ]
    for name, value in one[-1].state.coordinator.items():
        assert np.array_equal(value, two[-1].state.coordinator[name], equal_nan=True), name
        if name.startswith("model/"):
            assert np.abs(value - masked[-1].state.coordinator[name]).max() < 1e-3, name
    assert [item.cohort for item in one] == [item.cohort for item in masked]


@pytest.mark.parametrize("protection", PROTOCOLS)
@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"partition": "{kind: iid, nodes: 2}"}, "asks 2 nodes"),
        ({"circumstances": "{dropouts: 0.6}"}, "lower `dropouts`"),
    ],
)
def test_a_round_too_small_for_its_protection_is_refused(
    setting: Make, protection: Protection, changes: dict[str, str], word: str
) -> None:
    with pytest.raises(ExperimentUnsuitable, match=word):
        setting(protection=protection.value, **changes)
