"""Sparse subspaces of a model: how dense each layer is, and how a mask moves. Used by `fedseal.methods.lockdown`.

A mask has one float32 tensor of 0 and 1 for each tensor of the model. Layer means tensor here, as in the literature.

Rules this module keeps:
- Everything is decided by values and places, ties by the lower place; so parties that hold the same numbers get the
  same masks, and counts are public.
- Running statistics are never masked.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.tensors import NamedTensors, Shapes, flatten, size_of, unflatten

Mask = Mapping[str, NDArray[np.float32]]

ROUNDING = 1e-9
"""Subtracted before rounding up, so that parties whose cosine differs in the last bit get the same count."""


def layer_densities(shapes: Shapes, density: float, *, dense: Collection[str] = ()) -> dict[str, float]:
    """The share of each layer to keep: Erdős-Rényi-kernel densities (Evci et al. 2020, RigL, ICML, section 3).

    density_l = eps * sum(shape_l) / prod(shape_l), with eps such that the whole model has ``density``; layers for
    which that is above 1 are dense, and eps is worked out again for the others.

    Args:
        shapes: Of all tensors.
        density: Of the whole model, 0 < density <= 1.
        dense: Tensors that are kept whole from the start: running statistics.

    Raises:
        ValueError: The layers that must be dense alone have more than ``density`` of the model.
    """
    raw = {name: sum(shape) / math.prod(shape) if shape else 1.0 for name, shape in shapes.items()}
    whole, count = set(dense), {name: math.prod(shape) for name, shape in shapes.items()}
    while sparse := sorted(shapes.keys() - whole):
        budget = density * sum(count[name] for name in sparse) - (1 - density) * sum(count[name] for name in whole)
        scale = budget / sum(raw[name] * count[name] for name in sparse)
        if scale <= 0:
            raise ValueError(f"layers that must be whole have more than {density:g} of the model")
        largest = max(raw[name] for name in sparse)
        if scale * largest <= 1:
            return {name: 1.0 if name in whole else scale * raw[name] for name in shapes}
        whole |= {name for name in sparse if raw[name] == largest}
    return dict.fromkeys(shapes, 1.0)


def layer_counts(shapes: Shapes, density: float, *, dense: Collection[str] = ()) -> dict[str, int]:
    """How many coordinates of each layer a full mask keeps: floor(density_l * N_l)."""
    densities = layer_densities(shapes, density, dense=dense)
    return {name: math.floor(densities[name] * math.prod(shape) + ROUNDING) for name, shape in shapes.items()}


def random_mask(shapes: Shapes, counts: Mapping[str, int], seed: int) -> dict[str, NDArray[np.float32]]:
    """A mask with ``counts`` ones at uniformly random places."""
    generator = np.random.Generator(np.random.Philox(seed))
    mask = {}
    for name in sorted(shapes):
        flat = np.zeros(math.prod(shapes[name]), dtype=np.float32)
        flat[generator.permutation(flat.size)[: counts[name]]] = 1.0
        mask[name] = flat.reshape(shapes[name])
    return mask


def cosine_rate(start: float, round_index: int, rounds: int) -> float:
    """The share of a mask that moves in a round: 0.5 * start * (1 + cos(pi * t / T))."""
    return 0.5 * start * (1 + math.cos(math.pi * round_index / rounds))


def moving(count: int, rate: float) -> int:
    """How many of ``count`` ones a layer gives up: ceil(rate * count), but the last one stays."""
    return max(0, min(math.ceil(rate * count - ROUNDING), count - 1))


def grown(mask: Mask, gradients: NamedTensors, counts: Mapping[str, int]) -> dict[str, NDArray[np.float32]]:
    """The mask filled up to ``counts`` ones a layer, where gradients are largest among the zeros."""
    after = {}
    for name, layer in mask.items():
        flat = layer.ravel().copy()
        free = np.flatnonzero(flat == 0)
        wanted = min(max(counts[name] - (flat.size - free.size), 0), free.size)
        flat[free[smallest(-np.abs(gradients[name].ravel()[free]), wanted)]] = 1.0
        after[name] = flat.reshape(layer.shape)
    return after


def pruned(mask: Mask, weights: NamedTensors, counts: Mapping[str, int]) -> dict[str, NDArray[np.float32]]:
    """The mask without its smallest weights, down to ``counts`` ones a layer."""
    after = {}
    for name, layer in mask.items():
        flat = layer.ravel().copy()
        held = np.flatnonzero(flat)
        surplus = max(held.size - counts[name], 0)
        flat[held[smallest(np.abs(weights[name].ravel()[held]), surplus)]] = 0.0
        after[name] = flat.reshape(layer.shape)
    return after


def masked(mask: Mask, tensors: NamedTensors) -> dict[str, NDArray[Any]]:
    """Mask times tensor, for the tensors of the mask."""
    return {name: tensors[name] * layer for name, layer in mask.items()}


def packed(mask: Mask) -> NDArray[np.float32]:
    """A mask in an eighth of its length: eight places a number, 0 to 255, in the order of `flatten`."""
    return np.packbits(flatten(mask).astype(np.uint8)).astype(np.float32)


def unpacked(numbers: NDArray[Any], shapes: Shapes) -> dict[str, NDArray[np.float32]]:
    """Inverse of `packed`."""
    flat = np.unpackbits(numbers.astype(np.uint8), count=size_of(shapes))
    return {name: layer.astype(np.float32) for name, layer in unflatten(flat, shapes).items()}


def smallest(values: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Places of the ``count`` smallest values; of equal ones, the first."""
    if count == 0:
        return np.zeros(0, dtype=np.intp)
    limit = np.partition(values, count - 1)[count - 1]
    below = np.flatnonzero(values < limit)
    return np.concatenate([below, np.flatnonzero(values == limit)[: count - below.size]])
