"""A party's side of a learner's process: starts it, asks it one thing, and ends it.

Rules this module keeps:
- One process for one training or prediction: nothing is carried from one to the next.
- The process gets a clean environment, an empty working folder, and only what it is asked to compute with.
- Its answers are checked like a stranger's. What foreign code says in an exception never becomes part of a sentence,
  because sentences travel to the coordinator and could carry a record.
"""

import builtins
import json
import math
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from fedseal.errors import SetupError
from fedseal.learning.errors import TrainingFailed
from fedseal.learning.sandbox import frames
from fedseal.learning.sandbox.files import LearnerFiles

Answer = tuple[dict[str, Any], dict[str, Any]]
Callback = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Answers the process's question about one step's gradients."""

_CHILD = Path(__file__).with_name("child.py")
_PIECE = 1 << 20
_REASONS = {
    "isolation": "this system offers no process without network ({detail}); its operator may write "
    "`learner_unisolated: true` to run admitted files with limits only",
    "memory": "the learner file needed more memory than its limit",
    "file": "the learner file does not define what it must ({detail})",
    "error": "the learner file raised an error ({detail})",
}
_DETAILS = frozenset(
    {"unshare", "mount", "mount_setattr", "no_new_privs", "capset", "module", "client", "loss", "parameters"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a process shall do.

    Attributes:
        file: Digest of the admitted file.
        ask: ``describe``, ``fit`` or ``predict``, with plain values.
        tensors: What it computes with.
    """

    file: str
    ask: Mapping[str, object]
    tensors: Mapping[str, Any]


def run(files: LearnerFiles, work: Work, callback: Callback | None = None) -> Answer:
    """Do one piece of work in a process of its own.

    Raises:
        RefusalError: The file is not admitted.
        SetupError: The system offers no isolation, and the operator did not do without.
        TrainingFailed: The process failed, exceeded a limit, or answered nonsense.
    """
    source = files.content(work.file)
    with Sandbox(files) as sandbox:
        sandbox.send({**work.ask, "source": source.decode()}, work.tensors)
        while True:
            message, tensors = sandbox.receive()
            if message.get("kind") != "correct" or callback is None:
                return _checked(message, tensors)
            sandbox.send({}, callback(tensors))


class Sandbox:
    """One process of a learner; leaving the context ends it, whatever it does."""

    def __init__(self, files: LearnerFiles) -> None:
        self._seconds = files.limits.seconds
        self._deadline = time.monotonic() + self._seconds
        self._folder = tempfile.TemporaryDirectory(prefix="fedseal-learner-")
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "HOME": self._folder.name,
            "TMPDIR": self._folder.name,
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
        }
        setup = {
            "scratch": self._folder.name,
            "hidden": [str(path) for path in files.hidden],
            "memory_bytes": files.limits.memory_bytes,
            "seconds": files.limits.seconds,
            "unisolated": files.unisolated,
        }
        self._process = subprocess.Popen(
            [files.python, str(_CHILD), json.dumps(setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            env=environment,
            bufsize=0,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._folder.cleanup()

    def send(self, message: Mapping[str, object], tensors: Mapping[str, Any] | None = None) -> None:
        """Send one frame.

        Raises:
            TrainingFailed: The process ended or takes nothing for too long.
        """
        data = memoryview(frames.encode(message, tensors))
        pipe = self._process.stdin
        if pipe is None:
            raise TrainingFailed("the learner's process has no input")
        os.set_blocking(pipe.fileno(), False)
        while data:
            self._wait(pipe.fileno(), selectors.EVENT_WRITE)
            try:
                data = data[os.write(pipe.fileno(), data[:_PIECE]) :]
            except BrokenPipeError:
                raise TrainingFailed(self._ended()) from None

    def receive(self) -> Answer:
        """Read one frame.

        Raises:
            TrainingFailed: It did not come in time, or is no frame.
        """
        try:
            return frames.decode(self._read)
        except frames.FrameBroken as error:
            raise TrainingFailed(f"the learner's process broke the form of its answers: {error}") from None

    def _read(self, size: int) -> bytes:
        pipe, pieces, missing = self._process.stdout, [], size
        if pipe is None:
            raise TrainingFailed("the learner's process has no output")
        while missing:
            self._wait(pipe.fileno(), selectors.EVENT_READ)
            piece = os.read(pipe.fileno(), min(missing, _PIECE))
            if not piece:
                raise TrainingFailed(self._ended())
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _wait(self, descriptor: int, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(0.0, self._deadline - time.monotonic())):
                raise TrainingFailed(f"the learner file took longer than its {self._seconds:g} seconds")

    def _ended(self) -> str:
        code = self._process.wait()
        what = f"by signal {-code}" if code < 0 else f"with code {code}"
        return f"the learner's process ended {what} before it had answered; it may have exceeded a limit"


def _checked(message: dict[str, Any], tensors: dict[str, Any]) -> Answer:
    kind, detail = message.get("kind"), message.get("detail")
    if kind in _REASONS:
        known = detail if detail in _DETAILS or _is_builtin_error(detail) else "its own"
        sentence = _REASONS[str(kind)].format(detail=known)
        if kind == "isolation":
            raise SetupError(sentence)
        raise TrainingFailed(sentence)
    if kind != "answer":
        raise TrainingFailed("the learner's process gave no answer")
    for name, tensor in tensors.items():
        if tensor.dtype not in (np.float32, np.float64) or not np.isfinite(tensor).all():
            raise TrainingFailed(f'the learner file gave values that are not finite, in "{name[:40]}"')
    return message, tensors


def _is_builtin_error(name: object) -> bool:
    """Whether a word is the name of one of Python's own errors: nothing else is repeated to anybody."""
    found = getattr(builtins, str(name), None)
    return isinstance(found, type) and issubclass(found, Exception)


def number(message: Mapping[str, Any], key: str) -> float:
    """A finite number of an answer.

    Raises:
        TrainingFailed: It is none.
    """
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TrainingFailed(f"the learner's process gave no number for {key}")
    return float(value)
