"""Messages between a party and its learner's process: a line of JSON, then safetensors. No pickle in either direction.

Frame: 4 bytes length of the JSON, 8 bytes length of the tensors, both big-endian; then both.
"""

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

HEAD = struct.Struct(">IQ")
JSON_BYTES = 8 << 20  # a learner file of 1 MiB, escaped
TENSOR_BYTES = 4 << 30

Reader = Callable[[int], bytes]
"""Gives exactly so many bytes, or raises."""


class FrameBroken(Exception):
    """The other side sent something that is no frame."""


def encode(message: Mapping[str, object], tensors: Mapping[str, Any] | None = None) -> bytes:
    """One frame."""
    text = json.dumps(message).encode()
    # safetensors writes the memory of an array as it lies, so a view with strides must be copied first
    body = save({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}) if tensors else b""
    return HEAD.pack(len(text), len(body)) + text + body


def decode(read: Reader) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read one frame.

    Raises:
        FrameBroken: It is none, or larger than any can be.
    """
    head = HEAD.unpack(read(HEAD.size))
    if head[0] > JSON_BYTES or head[1] > TENSOR_BYTES:
        raise FrameBroken("a frame is larger than any can be")
    text, body = read(head[0]), read(head[1])
    try:
        message = json.loads(text)
        tensors: dict[str, Any] = load(body) if body else {}
    except (ValueError, RecursionError, SafetensorError, KeyError, TypeError) as error:
        raise FrameBroken(f"a frame cannot be read ({type(error).__name__})") from None
    if not isinstance(message, dict):
        raise FrameBroken("a frame's head is no JSON object")
    return message, tensors
