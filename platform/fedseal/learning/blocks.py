"""Networks made of blocks: the words that describe one, and the shapes that follow from them. No torch.

An architecture is a line such as ``conv5x8 conv5x16 fc32``:
- ``convKxF``: convolution with F filters and a kernel of K x K that keeps the image's size, ReLU, and maximum over
  2 x 2 pixels while the image has as many;
- ``fcU``: a linear layer with U units, and ReLU.
A last linear layer to the outputs, without ReLU, follows by itself; it is a block like the others.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

FeatureShape: TypeAlias = tuple[int, ...]
"""(channels, height, width) of an image or map, or (units,)."""

_CONV = re.compile(r"conv([1-9]\d?)x([1-9]\d{0,3})")
_FC = re.compile(r"fc([1-9]\d{0,3})")
MOST_BLOCKS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of a network.

    Attributes:
        kind: Its operation type.
        index: Its place in its network, from 0.
        inputs: Channels of a convolution, features of a linear layer.
        outputs: Filters or units.
        kernel: Side of the kernel; 0 of a linear layer.
        last: Whether it gives the network's outputs and has no ReLU.
    """

    kind: Literal["conv", "fc"]
    index: int
    inputs: int
    outputs: int
    kernel: int = 0
    last: bool = False

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of its weight; its bias has `outputs` numbers."""
        if self.kind == "conv":
            return (self.outputs, self.inputs, self.kernel, self.kernel)
        return (self.outputs, self.inputs)

    def after(self, shape: FeatureShape) -> FeatureShape:
        """What it makes of features of ``shape``."""
        if self.kind == "fc":
            return (self.outputs,)
        _, height, width = shape
        return (self.outputs, height // 2, width // 2) if min(height, width) >= 2 else (self.outputs, height, width)


def architecture(text: str, *, inputs: FeatureShape, outputs: int) -> tuple[Block, ...]:
    """The blocks of a network.

    Args:
        text: See the module docstring.
        inputs: Shape of one row.
        outputs: Of the last block.

    Raises:
        ValueError: The text is no architecture for such rows; the sentence says why.
    """
    words = text.split()
    if len(words) >= MOST_BLOCKS:
        raise ValueError(f"{len(words)} blocks are more than {MOST_BLOCKS - 1}")
    blocks, shape = [], inputs
    for index, word in enumerate(words):
        block = _block(word, index, shape)
        blocks.append(block)
        shape = block.after(shape)
    blocks.append(Block(kind="fc", index=len(blocks), inputs=math.prod(shape), outputs=outputs, last=True))
    return tuple(blocks)


def _block(word: str, index: int, shape: FeatureShape) -> Block:
    conv, linear = _CONV.fullmatch(word), _FC.fullmatch(word)
    if linear is not None:
        return Block(kind="fc", index=index, inputs=math.prod(shape), outputs=int(linear[1]))
    if conv is None:
        raise ValueError(f'"{word}" is no block; write convKxF with kernel and filters, or fcU with units')
    if len(shape) != 3:
        raise ValueError(f'"{word}" needs an image, and what comes before it gives none')
    if int(conv[1]) % 2 == 0:
        raise ValueError(f'the kernel of "{word}" is even; images keep their size under odd ones')
    return Block(kind="conv", index=index, inputs=shape[0], outputs=int(conv[2]), kernel=int(conv[1]))
