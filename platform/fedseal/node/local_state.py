"""A method's node-local state (personal layers, control variates, residuals): kept here, never sent.

A new state is staged when a contribution is made, under the attempt that it belongs to, and becomes the job's state
only when that attempt completed with this node in the sum; otherwise it is dropped, so that a node goes on from where
the others believe it is. That holds across a crash: the coordinator tells a node that returns how the last round ended.
"""

import shutil
from pathlib import Path

import safetensors.numpy

from fedseal.files import make_folder, sync_folder, write_atomic
from fedseal.learning import NamedTensors, pack_tensors
from fedseal.methods import NOTHING
from fedseal.rounds import RoundAddress
from fedseal_crypto.digests import parse_digest, sha256_hex

_CURRENT, _STAGED = "current.safetensors", "staged-{}.safetensors"


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

    def forget(self, job: str) -> None:
        """Remove everything of a job that has ended."""
        shutil.rmtree(self._path(job), ignore_errors=True)

    def _staged(self, address: RoundAddress) -> Path:
        # by digest: a stage's name comes from the coordinator and must not be part of a path
        attempt = sha256_hex(f"{address.stage}\0{address.round}\0{address.attempt}".encode())
        return self._path(address.job) / _STAGED.format(attempt)

    def _path(self, job: str) -> Path:
        return self._folder / parse_digest(job)
