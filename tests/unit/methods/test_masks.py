"""Densities, counts and moves of masks, worked by hand and as laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal.methods.masks import (
    cosine_rate,
    grown,
    layer_counts,
    layer_densities,
    masked,
    moving,
    packed,
    pruned,
    random_mask,
    unpacked,
)

CNN = {
    "conv0.bias": (16,),
    "conv0.weight": (16, 1, 5, 5),
    "conv1.bias": (32,),
    "conv1.weight": (32, 16, 5, 5),
    "layer0.bias": (128,),
    "layer0.weight": (128, 1568),
    "layer1.bias": (10,),
    "layer1.weight": (10, 128),
}


def test_densities_by_hand() -> None:
    """Two layers, (10, 10) and (4, 4), at 1/4: eps = 29 / (20 + 8), so eps * 1/5 and eps * 1/2."""
    found = layer_densities({"a": (10, 10), "b": (4, 4)}, 0.25)
    assert found == pytest.approx({"a": 29 / 28 * 0.2, "b": 29 / 28 * 0.5})
    assert layer_counts({"a": (10, 10), "b": (4, 4)}, 0.25) == {"a": 20, "b": 8}


def test_a_layer_that_would_be_more_than_whole_is_whole_and_the_others_pay() -> None:
    """A bias has the raw score 1: eps = 27.5 / 30 keeps it sparse, at half density eps = 55 / 30 does not."""
    assert layer_densities({"a": (10, 10), "b": (10,)}, 0.25)["b"] == pytest.approx(27.5 / 30)
    found = layer_densities({"a": (10, 10), "b": (10,)}, 0.5)
    assert found == pytest.approx({"a": 0.45, "b": 1.0})  # 55 - 10 of 100


def test_the_networks_biases_are_whole_and_a_quarter_of_it_is_kept() -> None:
    counts = layer_counts(CNN, 0.25)
    total = sum(int(np.prod(shape)) for shape in CNN.values())
    assert all(counts[name] == CNN[name][0] for name in CNN if name.endswith("bias"))
    assert 0.2499 < sum(counts.values()) / total <= 0.25


def test_running_statistics_are_whole_and_count() -> None:
    shapes = {"a": (20, 20), "norm.running_mean": (20,)}
    counts = layer_counts(shapes, 0.25, dense={"norm.running_mean"})
    assert counts == {"norm.running_mean": 20, "a": 85}  # (0.25 * 400 - 0.75 * 20) of 400


def test_a_model_whose_whole_layers_are_too_many_has_no_densities() -> None:
    with pytest.raises(ValueError, match=r"more than 0\.1 of the model"):
        layer_densities({"a": (4, 4), "statistics": (16,)}, 0.1, dense={"statistics"})
    assert layer_densities({"a": (4, 4), "b": (4,)}, 1.0) == {"a": 1.0, "b": 1.0}


def test_the_rate_falls_as_a_cosine() -> None:
    assert cosine_rate(0.1, 0, 40) == 0.1
    assert cosine_rate(0.1, 20, 40) == pytest.approx(0.05)
    assert cosine_rate(0.1, 39, 40) == pytest.approx(0.05 * (1 - np.cos(np.pi / 40)))


def test_counts_round_up_but_a_layer_keeps_one() -> None:
    assert [moving(30, 0.1), moving(31, 0.1), moving(10, 1e-9 * 2), moving(10, 0.0)] == [3, 4, 1, 0]
    assert moving(1, 0.5) == 0
    assert moving(3, 1 / 3) == 1  # whatever the last bit of the product is


def test_masks_grow_at_the_largest_gradients_and_lose_the_smallest_weights() -> None:
    mask = {"a": np.array([[1, 1, 0], [0, 1, 0]], dtype=np.float32)}
    gradients = {"a": np.array([[9.0, 9.0, -3.0], [2.0, 9.0, 3.0]])}
    assert grown(mask, gradients, {"a": 4})["a"].tolist() == [[1, 1, 1], [0, 1, 0]]  # a tie: the first place
    weights = {"a": np.array([[-0.1, 0.3, 0.0], [0.0, -0.1, 0.0]])}
    assert pruned(mask, weights, {"a": 2})["a"].tolist() == [[0, 1, 0], [0, 1, 0]]
    assert pruned(mask, weights, {"a": 5})["a"].tolist() == mask["a"].tolist()


@given(st.integers(0, 2**32), st.floats(0.2, 1.0), st.floats(0.0, 0.9))
def test_a_move_keeps_the_public_counts(seed: int, density: float, rate: float) -> None:
    shapes = {"a": (7, 5), "b": (3,), "c": (2, 3, 3)}
    counts = layer_counts(shapes, density)
    mask = random_mask(shapes, counts, seed)
    assert {name: int(layer.sum()) for name, layer in mask.items()} == counts
    generator = np.random.default_rng(seed)
    values = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    fewer = {name: count - moving(count, rate) for name, count in counts.items()}
    small = pruned(mask, values, fewer)
    assert {name: int(layer.sum()) for name, layer in small.items()} == fewer
    for name, layer in small.items():
        lost = np.abs(values[name][(mask[name] == 1) & (layer == 0)])
        assert not lost.size or lost.max() <= np.abs(values[name][layer == 1]).min()
    again = grown(small, values, counts)
    assert {name: int(layer.sum()) for name, layer in again.items()} == counts
    assert all((again[name] >= layer).all() for name, layer in small.items())
    back = unpacked(packed(again), shapes)
    assert all(np.array_equal(back[name], layer) for name, layer in again.items())
    assert all((value[again[name] == 0] == 0).all() for name, value in masked(again, values).items())
