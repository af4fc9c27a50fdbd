"""A method's node-local state (personal layers, control variates, residuals): kept here, never sent.

A new state is staged when a contribution is made and becomes the job's state only when the round completed
with this node in the sum; otherwise it is dropped, so that a node goes on from where the others believe it is.
"""

import shutil
from pathlib import Path

import safetensors.numpy

from fedseal.files import make_folder, write_atomic
from fedseal.learning import NamedTensors, pack_tensors
from fedseal.methods import NOTHING
from fedseal_crypto.digests import parse_digest

_CURRENT, _STAGED = "current.safetensors", "staged.safetensors"


class LocalStates:
    """One folder per job below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, job: str) -> NamedTensors:
        """The job's state, empty at first."""
        path = self._path(job) / _CURRENT
        return safetensors.numpy.load(path.read_bytes()) if path.exists() else NOTHING

    def stage(self, job: str, state: NamedTensors) -> None:
        """Keep a new state aside until the round's end is known."""
        make_folder(self._path(job))
        write_atomic(self._path(job) / _STAGED, pack_tensors(state), private=True)

    def settle(self, job: str, *, keep: bool) -> None:
        """Take the staged state over, or drop it."""
        staged = self._path(job) / _STAGED
        if keep and staged.exists():
            staged.replace(self._path(job) / _CURRENT)
        else:
            staged.unlink(missing_ok=True)

    def forget(self, job: str) -> None:
        """Remove everything of a job that has ended."""
        shutil.rmtree(self._path(job), ignore_errors=True)

    def _path(self, job: str) -> Path:
        return self._folder / parse_digest(job)
