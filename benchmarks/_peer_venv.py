"""A virtual environment of its own for each peer that a benchmark compares with.

Peers pin versions that our own environment must not be held to, so each lives below benchmarks/out/venvs and is
installed through the machine's ordinary pip the first time it is needed. Its scripts run there as processes of their
own and answer with one line of JSON.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VENVS = Path(__file__).parent / "out" / "venvs"
INSTALL_SECONDS = 1800  # a slow package index
_STAMP = "installed.json"


class PeerUnavailable(Exception):  # a benchmark reports it and goes on without the peer
    """A peer could not be installed or its script failed; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer's environment.

    Attributes:
        name: Of the folder.
        requirements: For pip, each with its version where the figures depend on it.
    """

    name: str
    requirements: tuple[str, ...]

    @property
    def python(self) -> Path:
        """Its interpreter; there once `install` has returned."""
        return VENVS / self.name / "bin" / "python"

    def install(self) -> None:
        """Make the environment unless it is there with exactly these requirements.

        Raises:
            PeerUnavailable: venv or pip failed.
        """
        stamp = VENVS / self.name / _STAMP
        wanted = json.dumps(self.requirements)
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        print(f"installing {', '.join(self.requirements)} into {stamp.parent} ...", file=sys.stderr, flush=True)
        _output([sys.executable, "-m", "venv", "--clear", str(stamp.parent)], seconds=INSTALL_SECONDS)
        pip = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _output([*pip, *self.requirements], seconds=INSTALL_SECONDS)
        stamp.write_text(wanted)

    def run(self, script: Path, *arguments: str, seconds: float) -> dict[str, Any]:
        """Run a script in a process of its own and read the last line it prints.

        Raises:
            PeerUnavailable: It failed, took longer than `seconds`, or did not end with a JSON object.
        """
        lines = _output([str(self.python), str(script), *arguments], seconds=seconds).strip().splitlines()
        try:
            answer = json.loads(lines[-1])
        except (IndexError, ValueError) as error:
            raise PeerUnavailable(f"{script.name} {' '.join(arguments)} printed no JSON") from error
        if not isinstance(answer, dict):
            raise PeerUnavailable(f"{script.name} {' '.join(arguments)} printed no JSON object")
        return answer


def _output(command: list[str], *, seconds: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailable(f"{' '.join(command)} took longer than {seconds:.0f} s") from error
    if done.returncode:
        said = done.stderr.strip()[-600:] or "nothing on its error output"
        raise PeerUnavailable(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout
