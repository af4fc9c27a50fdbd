"""The masks: AES-128 keystreams, added into or taken out of a ring vector block by block.

A mask key is 28 bytes: an AES-128 key and a 12-byte salt. The mask is the keystream read as little-endian
machine words, run after run. Within a run, segment j (2 MiB of keystream) is AES-128 in counter mode with the
initial counter block `nonce | 00000002`, where the nonce is the salt XOR `run index (4 bytes) | j (8 bytes)`,
big-endian, as TLS 1.3 makes its record nonces. That is exactly what AES-GCM encrypts with under that nonce, and
this module asks the library for GCM, because its kernel is the faster one on current processors; the tag is
never made. A 24-bit word takes 4 bytes of keystream and drops the highest.

Rules it keeps: a key masks one vector and is then forgotten; a (key, nonce) pair gives at most 2 MiB, far
below the 64 GB at which GCM's 32-bit counter would repeat; the salt is secret and differs from mask to mask, so
that one search through 2^128 keys cannot be aimed at all masks of a federation at once; a block of the vector
stays in cache while all masks are added to it.
References: NIST SP 800-38D; RFC 3686 for counter mode; RFC 8446, section 5.3, for the nonce; Bellare and
Tackmann, "The Multi-User Security of Authenticated Encryption", CRYPTO 2016, for what it is good for. Measured:
see benchmarks/masking.py.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedseal_crypto.encoding._ring import BLOCK_BYTES, RingVector, RunView, Words, block_ranges
from fedseal_crypto.secret import SecretBytes

MASK_KEY_SIZE = 28
SEGMENT_BYTES = 2 << 20
_AES_KEY_SIZE = 16
_NONCE_SIZE = 12
_BLOCKS_PER_SEGMENT = SEGMENT_BYTES // BLOCK_BYTES
_TAIL = 16  # the library asks for room for one more cipher block
_ZEROS = bytes(BLOCK_BYTES)
_BATCH = 256  # masks applied together: their cipher contexts must stay in cache too


@final
@dataclass(frozen=True, slots=True)
class Mask:
    """One keystream and what to do with it.

    Attributes:
        key: 28 bytes, AES key and salt, used for this mask only.
        add: True adds the keystream, False subtracts it.
    """

    key: SecretBytes
    add: bool


@final
@dataclass(frozen=True, slots=True)
class _Task:
    """One segment of one run."""

    view: RunView
    place: int
    blocks: tuple[tuple[int, int], ...]


def apply_masks(vector: RingVector, masks: Sequence[Mask], *, workers: int = 1) -> None:
    """Add or subtract every mask, in place.

    Args:
        vector: Its buffer must be writable.
        masks: In any order; the result does not depend on it.
        workers: Threads to use; cipher and addition both run without the interpreter's lock.
    """
    tasks = list(_tasks(vector))
    for start in range(0, len(masks), _BATCH):
        batch = masks[start : start + _BATCH]
        if workers > 1 and len(tasks) > 1:
            with ThreadPoolExecutor(min(workers, len(tasks))) as pool:
                list(pool.map(lambda task, batch=batch: _run_task(task, batch), tasks))
        else:
            for task in tasks:
                _run_task(task, batch)


def keystream_encryptor(key: bytes, place: int) -> Callable[[bytes, bytearray], int]:
    """The library's `update_into`: writes the encryption of its input, so of zeros the keystream.

    Args:
        key: 28 bytes, AES key and salt.
        place: As `segment_place` gives it.
    """
    nonce = (int.from_bytes(key[_AES_KEY_SIZE:], "big") ^ place).to_bytes(_NONCE_SIZE, "big")
    return Cipher(algorithms.AES128(key[:_AES_KEY_SIZE]), modes.GCM(nonce)).encryptor().update_into


def segment_place(run_index: int, segment: int) -> int:
    """The 96-bit number that makes the nonce of one segment differ from all others under a key."""
    return run_index << 64 | segment


def _tasks(vector: RingVector) -> Iterator[_Task]:
    for run_index, view in enumerate(vector.views):
        blocks = tuple(block_ranges(view.run))
        for segment, first in enumerate(range(0, len(blocks), _BLOCKS_PER_SEGMENT)):
            yield _Task(view, segment_place(run_index, segment), blocks[first : first + _BLOCKS_PER_SEGMENT])


def _run_task(task: _Task, masks: Sequence[Mask]) -> None:
    streams = [(keystream_encryptor(mask.key.reveal(), task.place), mask.add) for mask in masks]
    dtype = task.view.run.compute_dtype
    size = max(stop - start for start, stop in task.blocks)
    raw = bytearray(size * dtype.itemsize + _TAIL)
    stream: Words = np.frombuffer(raw, dtype, size)
    scratch: NDArray[Any] = np.empty(size, dtype)
    for start, stop in task.blocks:
        count = stop - start
        zeros = _ZEROS[: count * dtype.itemsize]
        words = task.view.load(start, stop, scratch)
        block = stream[:count]
        for update_into, add in streams:
            update_into(zeros, raw)
            if add:
                np.add(words, block, out=words)
            else:
                np.subtract(words, block, out=words)
        task.view.store(start, stop, words)
