"""The learner's process: isolates itself, loads the admitted file, answers one question, and ends.

Started by `fedseal.learning.sandbox.parent` as a script, with one argument: how to isolate, as JSON. A process with
threads cannot enter a user namespace, and NumPy starts some; so nothing of ours is imported before that but the one
file `isolation.py` beside this one.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType


class _Pipes:
    """The pipes to the party; the file's own prints go nowhere."""

    def __init__(self) -> None:
        self._input, self._output = os.dup(0), os.dup(1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)

    def read(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = os.read(self._input, min(size, 1 << 20))
            if not piece:
                sys.exit(3)  # the party went away
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._output, view) :]


def main() -> None:
    """Answer one question; every failure is one word to the party."""
    sys.path.pop(0)  # the folder of this script
    pipes, setup, isolation = _Pipes(), json.loads(sys.argv[1]), _isolation()
    failed = ""
    try:
        isolation.isolate(setup["hidden"], setup["scratch"])
    except isolation.IsolationUnavailable as error:
        failed = str(error).split(":", maxsplit=1)[0]
    isolation.limit(memory_bytes=setup["memory_bytes"], seconds=setup["seconds"])
    from fedseal.learning.sandbox import frames

    if failed and not setup["unisolated"]:
        pipes.write(frames.encode({"kind": "isolation", "detail": failed}))
        return
    pipes.write(frames.encode(*_answer(pipes)))


def _answer(pipes: _Pipes) -> tuple[dict[str, object], dict[str, object]]:
    from fedseal.learning.sandbox import frames
    from fedseal.learning.sandbox.answering import FileUnsuitable, answer

    try:
        ask, tensors = frames.decode(pipes.read)
        message, given = answer(ask, tensors, pipes)
    except FileUnsuitable as error:
        return {"kind": "file", "detail": str(error)}, {}
    except MemoryError:
        return {"kind": "memory"}, {}
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the party learns its kind only
        starved = all(word in str(error).lower() for word in ("alloc", "memory"))
        return {"kind": "memory" if starved else "error", "detail": type(error).__name__}, {}
    return message, dict(given)


def _isolation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_isolation", Path(__file__).with_name("isolation.py"))
    if spec is None or spec.loader is None:
        sys.exit(4)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
