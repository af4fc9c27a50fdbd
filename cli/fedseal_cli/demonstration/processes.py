"""The demonstration's operating-system processes: one command of `fedseal` each, with its own log file."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from fedseal.errors import SetupError

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.1


@dataclass(slots=True)
class Service:
    """One running command."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """SIGKILL: what a power cut does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass(slots=True)
class Services:
    """All running commands; leaving the context ends them in order."""

    folder: Path
    running: dict[str, Service] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def start(self, name: str, *arguments: str) -> Service:
        """Start ``fedseal ARGUMENTS`` with output to ``logs/NAME.log``, appended to earlier runs' output."""
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        path = logs / f"{name}.log"
        # one computing thread each: a hospital has its own machine, here they share one
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fedseal_cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the demonstration, which ends its parties in order
            )
        service = Service(name, process, path)
        self.running[name] = service
        return service

    def require_running(self) -> None:
        """Raise if a process that should run has ended.

        Raises:
            SetupError: naming it and the last line of its log.
        """
        for service in self.running.values():
            if service.process.poll() is not None:
                lines = service.log.read_text(errors="replace").strip().splitlines() or ["(no output)"]
                sentence = f"the process of {service.name} ended; the last line of {service.log} is: {lines[-1][:300]}"
                raise SetupError(sentence)

    def wait_until(self, ready: Callable[[], bool], *, what: str) -> None:
        """Wait until ``ready`` is true while every process lives.

        Raises:
            SetupError: a process ended, or it took longer than a minute.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            self.require_running()
            if time.monotonic() > deadline:
                sentence = f"{what} did not happen within {_START_SECONDS:.0f} seconds; see {self.folder / 'logs'}"
                raise SetupError(sentence)
            time.sleep(_POLL_SECONDS)

    def kill(self, name: str) -> None:
        """Kill one process without warning."""
        self.running.pop(name).kill()

    def stop(self, name: str) -> None:
        """Ask one process to end and wait for it."""
        service = self.running.pop(name, None)
        if service is not None:
            _terminate([service])

    def stop_all(self) -> None:
        """Ask every process to end, nodes first, and kill those that do not."""
        _terminate(list(reversed(self.running.values())))
        self.running.clear()


def is_listening(port: int) -> bool:
    """Whether something answers on that port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def _terminate(services: list[Service]) -> None:
    for service in services:
        if service.process.poll() is None:
            service.process.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for service in services:
        try:
            service.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            service.kill()
