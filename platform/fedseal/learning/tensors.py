"""Named tensors: the one form in which models, states, statistics and sums move between parts.

Rules this module keeps:
- Tensors from outside are taken only with exactly the expected names, shapes, dtypes and finite values.
- The file form is safetensors (https://github.com/huggingface/safetensors): no code, no pickle.
- The order of names is always the sorted one, so that every party flattens alike.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from fedseal.learning.errors import TensorsRefused

Tensor: TypeAlias = NDArray[Any]
NamedTensors: TypeAlias = Mapping[str, Tensor]
Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = Mapping[str, Shape]

ALLOWED_DTYPES = frozenset({"float32", "float64"})
HEADER_BYTES = 1 << 20  # safetensors' names, shapes and offsets: far more than a model with 1 000 tensors needs
SEPARATOR = "/"  # between a group and a tensor's own name: "model/layer1.weight"


def size_of(shapes: Shapes) -> int:
    """Total number of coordinates."""
    return sum(math.prod(shape) for shape in shapes.values())


def shapes_of(tensors: NamedTensors) -> dict[str, Shape]:
    """The shape of each tensor."""
    return {name: tuple(int(side) for side in tensor.shape) for name, tensor in tensors.items()}


def flatten(tensors: NamedTensors) -> NDArray[np.float64]:
    """All coordinates in sorted order of names, row-major within a tensor."""
    if not tensors:
        return np.zeros(0)
    return np.concatenate([np.asarray(tensors[name], dtype=np.float64).ravel() for name in sorted(tensors)])


def unflatten(flat: Tensor, shapes: Shapes) -> dict[str, NDArray[np.float64]]:
    """Inverse of `flatten`.

    Raises:
        TensorsRefused: ``flat`` has another length than ``shapes`` needs.
    """
    if flat.shape != (size_of(shapes),):
        raise TensorsRefused(f"A flat vector of {flat.size} values cannot fill {size_of(shapes)} parameters.")
    tensors, start = {}, 0
    for name in sorted(shapes):
        stop = start + math.prod(shapes[name])
        tensors[name] = np.asarray(flat[start:stop], dtype=np.float64).reshape(shapes[name])
        start = stop
    return tensors


def grouped(prefix: str, tensors: NamedTensors) -> dict[str, Tensor]:
    """The same tensors under ``prefix/``."""
    return {f"{prefix}{SEPARATOR}{name}": tensor for name, tensor in tensors.items()}


def group_of(prefix: str, tensors: NamedTensors) -> dict[str, Tensor]:
    """The tensors under ``prefix/``, without it."""
    start = f"{prefix}{SEPARATOR}"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def check_tensors(tensors: NamedTensors, shapes: Shapes, *, what: str) -> None:
    """Refuse anything but exactly the expected tensors.

    Args:
        tensors: What was received or computed.
        shapes: What it must be.
        what: Named in the sentence: ``"the broadcast of round 3"``.

    Raises:
        TensorsRefused: A name, shape or dtype differs, or a value is NaN or infinite.
    """
    if tensors.keys() != shapes.keys():
        missing, extra = sorted(shapes.keys() - tensors.keys()), sorted(tensors.keys() - shapes.keys())
        raise TensorsRefused(f"{what}: tensors missing: {missing[:5]}, not expected: {extra[:5]}.")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != tuple(shapes[name]):
            raise TensorsRefused(
                f'{what}: tensor "{name}" has the shape {tuple(tensor.shape)}, expected {tuple(shapes[name])}.'
            )
        if str(tensor.dtype) not in ALLOWED_DTYPES:
            raise TensorsRefused(f'{what}: tensor "{name}" is of type {tensor.dtype}, expected float32 or float64.')
        if not np.isfinite(tensor).all():
            raise TensorsRefused(f'{what}: tensor "{name}" holds NaN or infinite values.')


def pack_tensors(tensors: NamedTensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """The safetensors form; equal tensors give equal bytes."""
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    return save_safetensors(arrays, metadata=dict(metadata) if metadata else None)


def unpack_tensors(data: bytes, shapes: Shapes, *, what: str) -> dict[str, Tensor]:
    """Read the safetensors form strictly.

    Args:
        data: The whole file.
        shapes: Exactly the tensors that must be in it.
        what: Named in the sentence.

    Raises:
        TensorsRefused: Not safetensors, of impossible size, or not the expected tensors.
    """
    require_plausible_size(data, shapes, what=what)
    return read_checked(data, shapes, what=what)


def largest_file(shapes: Shapes) -> int:
    """Bytes that a file with these tensors can have at most: eight per coordinate and a header."""
    return 8 * size_of(shapes) + HEADER_BYTES


def require_plausible_size(data: bytes, shapes: Shapes, *, what: str) -> None:
    """Refuse a file that is larger than its tensors and header can be, before it is parsed.

    Raises:
        TensorsRefused: More bytes than eight per coordinate and `HEADER_BYTES`.
    """
    limit = largest_file(shapes)
    if len(data) > limit:
        raise TensorsRefused(f"{what} has {len(data)} bytes; its tensors need {limit} at most.")


def read_checked(data: bytes, shapes: Shapes, *, what: str) -> dict[str, Tensor]:
    """Parse safetensors and compare with ``shapes``.

    Raises:
        TensorsRefused: Not safetensors or not the expected tensors.
    """
    try:
        tensors: dict[str, Tensor] = load_safetensors(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        # KeyError, TypeError, ValueError: dtypes that safetensors allows and NumPy does not have.
        raise TensorsRefused(f"{what} is not a readable safetensors file ({type(error).__name__}).") from None
    check_tensors(tensors, shapes, what=what)
    return tensors
