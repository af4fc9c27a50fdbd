"""Networks put together from blocks of others, and their training on public rows (torch).

Between blocks that do not fit, one stitch ReLU(W x + b): a convolution of 1 x 1 between maps, a linear layer before a
linear block. A map larger than 4 x 4 is averaged down to that before a linear stitch, which would otherwise outgrow
everything else. A chain that does not end in a network's own last block gets a linear layer to the outputs.

Shapes of all tensors follow from the chain alone, so a candidate travels as the numbers of its blocks and one flat
vector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fedseal.learning._torch_training import uniform_parameters
from fedseal.learning.blocks import Block, FeatureShape
from fedseal.learning.errors import TrainingFailed
from fedseal.learning.learner import Examples, ParameterRole
from fedseal.learning.network_family import Blocks, apply_block, class_logits, layer_of
from fedseal.learning.tensors import NamedTensors, Shapes, flatten, unflatten

Floats = NDArray[np.float64]

STITCHED_SIDE = 4
"""Side of a map at most, in pixels, before a linear stitch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How networks are trained on public rows: Adam and cross-entropy."""

    epochs: int
    learning_rate: float = 1e-3
    batch_size: int = 16
    seed: int = 0


class Reassembled(torch.nn.Module):
    """A chain of blocks with its stitches: layers ``block<place>``, ``stitch<place>`` and ``outputs``."""

    def __init__(self, chain: Sequence[Block], row: FeatureShape, outputs: int) -> None:
        super().__init__()
        self.chain, self.row = tuple(chain), row
        shape = row
        for place, block in enumerate(self.chain):
            stitch = _stitch(block, shape)
            if stitch is not None:
                self.add_module(f"stitch{place}", stitch)
                shape = (block.inputs, *shape[1:]) if block.kind == "conv" else (block.inputs,)
            self.add_module(f"block{place}", layer_of(block))
            shape = block.after(shape)
        self.add_module("outputs", None if self.chain[-1].last else torch.nn.Linear(math.prod(shape), outputs))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits, shape (rows, outputs)."""
        found, parts = rows.reshape(len(rows), *self.row), dict(self.named_children())
        for place, block in enumerate(self.chain):
            stitch = parts.get(f"stitch{place}")
            if stitch is not None:
                found = torch.relu(stitch(found if block.kind == "conv" else _flat(found)))
            found = apply_block(block, parts[f"block{place}"], found)
        last = parts.get("outputs")
        return found if last is None else last(found.flatten(1))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chain of blocks for rows of a shape.

    Attributes:
        chain: The blocks, in order.
        row: Shape of one row.
        outputs: Logits.
    """

    chain: tuple[Block, ...]
    row: FeatureShape
    outputs: int

    def shapes(self) -> Shapes:
        """Of its tensors, by name, in a fixed order."""
        with torch.device("meta"):
            module = Reassembled(self.chain, self.row, self.outputs)
        return {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}

    @property
    def size(self) -> int:
        """Numbers in all its tensors."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def start(self, layers: Sequence[NamedTensors], seed: int) -> NamedTensors:
        """Copies of the blocks' own tensors, and new stitches.

        Args:
            layers: ``weight`` and ``bias`` of each block of the chain.
            seed: Of the stitches.
        """
        shapes = self.shapes()
        found = dict(uniform_parameters(shapes, dict.fromkeys(shapes, ParameterRole.BASE), seed))
        for place, layer in enumerate(layers):
            for part in ("weight", "bias"):
                found[f"block{place}.{part}"] = np.array(layer[part], dtype=np.float32)
        return found

    def packed(self, parameters: NamedTensors) -> Floats:
        """All tensors as one vector of `size`."""
        return flatten({name: parameters[name] for name in self.shapes()})

    def unpacked(self, values: Floats) -> NamedTensors:
        """What `packed` made flat; what lies behind is ignored."""
        return {name: value.astype(np.float32) for name, value in unflatten(values[: self.size], self.shapes()).items()}

    def module(self, parameters: NamedTensors) -> torch.nn.Module:
        """The network with its own copy of the parameters."""
        with torch.device("meta"):
            module = Reassembled(self.chain, self.row, self.outputs)
        return loaded(module, parameters)


def loaded(module: torch.nn.Module, parameters: NamedTensors) -> torch.nn.Module:
    """A module made on the device ``meta``, given parameters that it does not share with anyone."""
    module = module.to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            tensor.copy_(torch.from_numpy(np.array(parameters[name], dtype=np.float32)))
    return module


def block_module(blocks: tuple[Block, ...], row: FeatureShape, parameters: NamedTensors) -> Blocks:
    """A network of a family with its own copy of the parameters."""
    with torch.device("meta"):
        module = Blocks(blocks, row)
    loaded(module, parameters)
    return module


def observe(module: Blocks, inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The rows and what each block makes of them, each of shape (rows, ...)."""
    with torch.no_grad():
        return [features.numpy() for features in module.features(torch.from_numpy(inputs))]


def tune(module: torch.nn.Module, rows: Examples, tuning: Tuning) -> NamedTensors:
    """Train on public rows; gives the parameters.

    Raises:
        TrainingFailed: The result is not finite.
    """
    inputs, labels = torch.from_numpy(rows.inputs), torch.from_numpy(rows.labels).long()
    generator = np.random.Generator(np.random.Philox(tuning.seed))
    optimiser = torch.optim.Adam(module.parameters(), lr=tuning.learning_rate)
    module.train()
    for _ in range(tuning.epochs):
        order = torch.from_numpy(generator.permutation(len(labels)))
        for start in range(0, len(order), tuning.batch_size):
            chosen = order[start : start + tuning.batch_size]
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(class_logits(module(inputs[chosen])), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves this one untyped
            optimiser.step()
    found = {name: tensor.detach().numpy().copy() for name, tensor in module.named_parameters()}
    if not all(np.isfinite(value).all() for value in found.values()):
        raise TrainingFailed("Training on the public rows diverged; lower `tuning_rate`.")
    return found


def logits(module: torch.nn.Module, inputs: NDArray[np.float32]) -> Floats:
    """Of each row, shape (rows, classes), with dropout and the like switched off."""
    module.eval()
    with torch.no_grad():
        return np.asarray(class_logits(module(torch.from_numpy(inputs))).double().numpy())


def _stitch(block: Block, shape: FeatureShape) -> torch.nn.Module | None:
    if block.kind == "conv":
        return None if shape[0] == block.inputs else torch.nn.Conv2d(shape[0], block.inputs, 1)
    if math.prod(shape) == block.inputs:
        return None
    side = [min(STITCHED_SIDE, length) for length in shape[1:]]
    return torch.nn.Linear(math.prod((shape[0], *side)), block.inputs)


def _flat(features: torch.Tensor) -> torch.Tensor:
    if features.dim() > 2:
        side = (min(STITCHED_SIDE, features.shape[2]), min(STITCHED_SIDE, features.shape[3]))
        features = torch.nn.functional.adaptive_avg_pool2d(features, side)
    return features.flatten(1)
