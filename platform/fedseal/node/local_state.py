"""A method's node-local state (personal layers, control variates, residuals): kept here, never sent.

A new state is staged when a contribution is made, under the attempt that it belongs to, and becomes the job's state
only when that attempt completed with this node in the sum; otherwise it is dropped, so that a node goes on from where
the others believe it is. That holds across a crash: the coordinator tells a node that returns how the last round ended.

Beside it lies the vector of the newest round about which numbers were opened, where the next round may ask for products
with it: the node compares those, and the method may use it.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from fedseal.files import make_folder, sync_folder, write_atomic
from fedseal.learning import NamedTensors, Tensor, pack_tensors
from fedseal.methods import NOTHING
from fedseal.rounds import RoundAddress
from fedseal_crypto.digests import parse_digest, sha256_hex

_CURRENT, _STAGED, _VECTOR = "current.safetensors", "staged-{}.safetensors", "vector-{}.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVector:
    """A vector of an earlier round.

    Attributes:
        values: float64 of shape (length,).
        ciphertext: SHA-256 of its second ciphertext.
    """

    values: NDArray[np.float64]
    ciphertext: bytes


NO_VECTOR = KeptVector(values=np.zeros(0), ciphertext=b"")
"""Stands for a vector about which nothing was opened, so that there are no products with it."""


class LocalStates:
    """One folder per job below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, job: str) -> NamedTensors:
        """The job's state, empty at first."""
        path = self._path(job) / _CURRENT
        return safetensors.numpy.load(path.read_bytes()) if path.exists() else NOTHING

    def stage(self, address: RoundAddress, state: NamedTensors) -> None:
        """Keep a new state aside until the attempt's end is known; what an earlier attempt staged is dropped."""
        folder, path = self._path(address.job), self._staged(address)
        make_folder(folder)
        for other in folder.glob("staged-*.safetensors"):
            if other != path:
                other.unlink(missing_ok=True)
        write_atomic(path, pack_tensors(state), private=True)

    def settle(self, address: RoundAddress, *, keep: bool) -> None:
        """Take over what the attempt staged, or drop it; nothing happens if it staged nothing."""
        staged = self._staged(address)
        if keep and staged.exists():
            staged.replace(self._path(address.job) / _CURRENT)
            sync_folder(self._path(address.job))
        else:
            staged.unlink(missing_ok=True)

    def keep_vector(self, address: RoundAddress, vector: KeptVector) -> None:
        """Keep the vector of a round instead of any kept before."""
        folder, path = self._path(address.job), self._vector(address.job, address.stage, address.round)
        make_folder(folder)
        tensors: dict[str, Tensor] = {"values": vector.values, "ciphertext": np.frombuffer(vector.ciphertext, np.uint8)}
        write_atomic(path, safetensors.numpy.save(tensors), private=True)
        for other in folder.glob(_VECTOR.format("*")):
            if other != path:
                other.unlink(missing_ok=True)

    def vector_of(self, job: str, stage: str, round_: int) -> KeptVector | None:
        """The vector that was kept of that round, if it was."""
        path = self._vector(job, stage, round_)
        if not path.exists():
            return None
        tensors = safetensors.numpy.load(path.read_bytes())
        if not tensors["ciphertext"].size:
            return None
        return KeptVector(values=tensors["values"], ciphertext=tensors["ciphertext"].tobytes())

    def settled(self, job: str, stage: str, round_: int) -> bool:
        """Whether this node knows what was opened about its vector of that round, be it nothing."""
        return self._vector(job, stage, round_).exists()

    def forget(self, job: str) -> None:
        """Remove everything of a job that has ended."""
        shutil.rmtree(self._path(job), ignore_errors=True)

    def _staged(self, address: RoundAddress) -> Path:
        # by digest: a stage's name comes from the coordinator and must not be part of a path
        attempt = sha256_hex(f"{address.stage}\0{address.round}\0{address.attempt}".encode())
        return self._path(address.job) / _STAGED.format(attempt)

    def _vector(self, job: str, stage: str, round_: int) -> Path:
        return self._path(job) / _VECTOR.format(sha256_hex(f"{stage}\0{round_}".encode()))

    def _path(self, job: str) -> Path:
        return self._folder / parse_digest(job)
