"""Virtual time, hosts that lose their memory when they crash, and a network that does everything but forge.

A discrete-event loop: nothing happens except actions in a queue ordered by virtual time, and every random choice comes
from one generator, so that a seed fixes the whole run. A host holds a program; a crash drops the program object with
all that it knew, a restart makes a new one from the host's storage. Frames may be lost, doubled, delayed beyond any
deadline and so overtake each other. Frames on their way survive a crash of either end.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tests.simulation.schedule import CrashSite, Schedule, seeded

TICK_SECONDS = 0.5
CALM_LATENCY = 0.05


class Crashed(Exception):
    """The program that raised this is dead; its host catches it."""


class FrameKind(StrEnum):
    """What travels."""

    OFFER = "offer"
    INSTRUCTION = "instruction"
    MESSAGE = "message"
    HELLO = "hello"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One transmission.

    Attributes:
        kind: What it is.
        sender: Host name.
        key: Round and attempt that it was sent in. Programs may use it for answers only, never to filter.
        payload: Encoded message.
        words: Ring bytes, beside a masked input's header.
    """

    kind: FrameKind
    sender: str
    key: tuple[int, int]
    payload: bytes = b""
    words: bytes | None = None


class Program(Protocol):
    """What runs on a host; made anew after each crash."""

    def handle(self, frame: Frame) -> None:
        """React to a frame."""
        ...

    def tick(self) -> None:
        """React to the passing of time."""
        ...


@dataclass(slots=True)
class Host:
    """A machine: its program comes and goes, `boot` makes it from what the machine has stored."""

    name: str
    boot: Callable[[], Program]
    program: Program | None = None
    lives: int = 0


@dataclass(slots=True)
class World:
    """The event loop with its network, its hosts and its trouble.

    Attributes:
        schedule: How much trouble.
        calm: No trouble any more; everybody who is not gone for good runs.
        crashes: Where programs were killed on purpose, and how often.
        trace: What happened, one line an event, if `tracing`.
    """

    schedule: Schedule
    tracing: bool = False
    now: float = 0.0
    calm: bool = False
    hosts: dict[str, Host] = field(default_factory=dict)
    crashes: dict[CrashSite, int] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)
    chance: random.Random = field(init=False)
    _passes: int = 0
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _sequence: int = 0

    def __post_init__(self) -> None:
        self.chance = seeded(self.schedule.seed, "events")

    # -- time ------------------------------------------------------------------------------------------

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now + delay, self._sequence, action))

    def run(self, until: float, *, finished: Callable[[], bool]) -> None:
        """Let events happen up to a time, or until everything is finished."""
        while self._queue and self._queue[0][0] <= until and not finished():
            self.now, _, action = heapq.heappop(self._queue)
            action()
        if not finished():
            self.now = until

    def note(self, text: str) -> None:
        """Write a line of the trace."""
        if self.tracing:
            self.trace.append(f"{self.now:8.2f}  {text}")

    # -- hosts -----------------------------------------------------------------------------------------

    def start(self, host: Host) -> None:
        """Boot a host that is down."""
        if host.program is not None:
            return
        host.lives += 1
        self.note(f"{host.name} starts, life {host.lives}")
        life = host.lives
        self._guarded(host, lambda: self._boot(host))
        self.after(TICK_SECONDS, lambda: self._tick(host, life))

    def kill(self, host: Host) -> None:
        """Crash a host, and boot it again after a while unless it is gone for good."""
        if host.program is not None:
            self._die(host, "is killed")

    def become_calm(self) -> None:
        """End of all trouble."""
        self.note("calm from now on")
        self.calm = True
        for host in self.hosts.values():
            if host.name not in self.schedule.gone:
                self.start(host)

    def crash_site(self, site: CrashSite) -> None:
        """A place where a program may die.

        Raises:
            Crashed: It does.
        """
        if self.calm:
            return
        self._passes += site == self.schedule.target
        aimed = site == self.schedule.target and self.schedule.target_pass in {0, self._passes}
        if aimed or self.chance.random() < self.schedule.crash_rate:
            self.crashes[site] = self.crashes.get(site, 0) + 1
            raise Crashed(f"{site.party} {site.activity}, {site.place}")

    # -- network ---------------------------------------------------------------------------------------

    def send(self, frame: Frame, target: str) -> None:
        """Hand a frame to the network."""
        for delay in self._fates():
            self.after(delay, lambda: self._deliver(frame, target))

    def _fates(self) -> list[float]:
        """The delays after which copies of a frame arrive; none if it is lost."""
        if self.calm:
            return [CALM_LATENCY]
        chance, schedule = self.chance, self.schedule
        if chance.random() < schedule.loss:
            return []
        copies = 1 + (chance.random() < schedule.duplication) + (chance.random() < schedule.duplication / 4)
        delays = [chance.expovariate(1 / schedule.latency) for _ in range(copies)]
        return [
            delay + (chance.uniform(0, 8 * schedule.step_seconds) if chance.random() < schedule.straggling else 0)
            for delay in delays
        ]

    def _deliver(self, frame: Frame, target: str) -> None:
        host = self.hosts[target]
        program = host.program
        if program is None:
            return
        self._guarded(host, lambda: program.handle(frame))

    def _tick(self, host: Host, life: int) -> None:
        program = host.program
        if program is None or host.lives != life:
            return
        self._guarded(host, program.tick)
        self.after(TICK_SECONDS, lambda: self._tick(host, life))

    def _boot(self, host: Host) -> None:
        host.program = host.boot()

    def _guarded(self, host: Host, action: Callable[[], None]) -> None:
        try:
            action()
        except Crashed as crash:
            self._die(host, f"crashes: {crash}")

    def _die(self, host: Host, how: str) -> None:
        self.note(f"{host.name} {how}")
        host.program = None
        if host.name not in self.schedule.gone:
            self.after(self.chance.expovariate(1 / self.schedule.downtime), lambda: self.start(host))
