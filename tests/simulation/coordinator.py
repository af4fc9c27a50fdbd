"""A simulated coordinator: a thin shell around the real `MaskingServer`, with deadlines, retries and a log on disk.

The log holds what it began, every message it took and every step it closed, each before anybody is told of it. After a
crash it feeds the last attempt of the log to a fresh server and goes on where it was. It asks the missing members again
and again, closes a step when everybody who is present has answered or at the deadline, and begins a new attempt with
fresh parameters when one has failed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import RingBytesInvalid, RingVector
from fedseal_crypto.masking import (
    ClientId,
    ClientMessage,
    MaskedInput,
    MaskedInputHeader,
    MaskingServer,
    MessageMalformed,
    ProtocolViolation,
    RoundFailed,
    RoundParameters,
    Step,
    choose_parameters,
    decode_message,
)
from tests.simulation.judge import Failure, Key, SimulationFailed
from tests.simulation.node import Surroundings, layout_for, schedule_limits
from tests.simulation.schedule import COORDINATOR, CrashSite, Sabotage
from tests.simulation.world import Frame, FrameKind

RESEND_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 8.0
PATIENCE = 8
_OVER = frozenset({Step.DONE, Step.FAILED})


@dataclass(frozen=True, slots=True)
class Taken:
    """A message as stored."""

    payload: bytes
    words: bytes | None


@dataclass(slots=True)
class StoredRound:
    """The log of one attempt: taken messages and closed steps (None) in order."""

    key: Key
    parameters: RoundParameters
    log: list[Taken | None] = field(default_factory=list)


@dataclass(slots=True)
class CoordinatorStorage:
    """The coordinator's disk.

    Attributes:
        attempts: In the order they began.
        completed: Rounds with a sum.
    """

    attempts: list[StoredRound] = field(default_factory=list)
    completed: list[Key] = field(default_factory=list)


class CoordinatorProgram:
    """One life of the coordinator."""

    def __init__(self, around: Surroundings, storage: CoordinatorStorage, life: int) -> None:
        self._around = around
        self._world = around.world
        self._storage = storage
        self._heard: set[str] = set()
        self._current: StoredRound | None = None
        self._server: MaskingServer | None = None
        self._deadline = self._asked = self._resume_at = self._world.now
        if storage.attempts:
            self._take_up(storage.attempts[-1], restarted=life > 1)

    def tick(self) -> None:
        """Ask again, close what is due, begin what is next."""
        server = self._server
        if server is None or server.step in _OVER:
            if self._world.now >= self._resume_at:
                self._begin_next()
        elif server.all_in() or self._world.now >= self._latest(server):
            self._close(server)
        elif self._world.now >= self._asked + RESEND_SECONDS:
            self._ask(server)

    def handle(self, frame: Frame) -> None:
        """Take a message, or note that a member is not what it was."""
        self._heard.add(frame.sender)
        server, current = self._server, self._current
        if server is None or current is None:
            return
        if frame.kind is FrameKind.MESSAGE:
            self._take(server, current, frame)
            return
        # A member that refuses this attempt, or has restarted since it may have entered it.
        leaves = frame.kind is FrameKind.HELLO or frame.key == current.key
        if leaves and server.step not in _OVER and frame.sender in current.parameters.roster:
            server.drop(ClientId(frame.sender))

    def _latest(self, server: MaskingServer) -> float:
        """When the step is closed in any case.

        Once members reveal shares their inputs must not enter another attempt: giving this one up loses the round.
        """
        if server.step is Step.UNMASK and not server.can_close():
            return self._deadline + PATIENCE * self._world.schedule.step_seconds
        return self._deadline

    # -- attempts --------------------------------------------------------------------------------------

    def _begin_next(self) -> None:
        storage, schedule = self._storage, self._world.schedule
        number = len(storage.completed)
        if number == schedule.rounds:
            return
        attempt = sum(stored.key[0] == number for stored in storage.attempts)
        if attempt and schedule.sabotage is Sabotage.GIVE_UP:
            return
        parameters = self._parameters((number, attempt))
        self._world.note(f"attempt {(number, attempt)} begins with {len(parameters.roster)} members")
        self._around.judge.attempt_begins((number, attempt), parameters, layout_for(len(parameters.roster)))
        storage.attempts.append(StoredRound((number, attempt), parameters))
        self._take_up(storage.attempts[-1], restarted=False)

    def _parameters(self, key: Key) -> RoundParameters:
        schedule, limits = self._world.schedule, schedule_limits(self._world.schedule)
        roster = self._roster(key)
        group = choose_parameters(
            len(roster), corrupted_fraction=limits.corrupted_fraction, dropout_fraction=limits.dropout_fraction
        )
        layout = layout_for(len(roster))
        broadcast = b"the same" if schedule.same_broadcast else b"%d" % key[0]
        return RoundParameters(
            federation="simulated",
            job_digest=sha256_hex(b"job"),
            stage="training",
            round=key[0],
            attempt=key[1],
            roster=tuple(ClientId(name) for name in roster),
            minimum_cohort=3,
            corrupted=group.corrupted,
            threshold=group.threshold,
            neighbours=group.neighbours,
            layout_digest=layout.digest,
            words=layout.shape.runs,
            broadcast_digest=sha256_hex(broadcast),
            plan_digest=sha256_hex(b"plan"),
        )

    def _roster(self, key: Key) -> tuple[str, ...]:
        schedule, completed = self._world.schedule, self._storage.completed
        if schedule.same_broadcast and completed and key[1] % 2:
            # Members refuse a sum that differs a little from an earlier one: ask for the same.
            return tuple(sorted(self._around.judge.attempts[completed[-1]].survivors))
        trim = not schedule.sparse and not self._world.calm and self._world.chance.random() < schedule.shrinking
        return tuple(sorted(self._heard)) if trim and len(self._heard) >= 3 else schedule.names

    def _take_up(self, stored: StoredRound, *, restarted: bool) -> None:
        server = MaskingServer(stored.parameters, self._around.members)
        self._current, self._server = stored, server
        log = list(stored.log)
        if restarted and self._world.schedule.sabotage is Sabotage.LOSE_A_MESSAGE and log:
            log.pop(max(i for i, taken in enumerate(log) if taken is not None))
        self._around.judge.actor = (COORDINATOR, stored.key)
        for taken in log:
            self._replay(server, stored, taken)
        self._deadline = self._world.now + self._world.schedule.step_seconds
        if server.step not in _OVER:
            self._ask(server)

    def _replay(self, server: MaskingServer, stored: StoredRound, taken: Taken | None) -> None:
        if taken is None:
            self._apply_closing(server, stored)
            return
        try:
            server.receive(_decoded(taken.payload, taken.words, server))
        except ProtocolViolation as error:
            detail = f"a restarted coordinator refuses what it had stored: {error}"
            raise SimulationFailed(Failure.TWO_STORIES, detail) from error

    # -- messages --------------------------------------------------------------------------------------

    def _take(self, server: MaskingServer, current: StoredRound, frame: Frame) -> None:
        before = _fingerprint(server)
        step = server.step
        try:
            message = _decoded(frame.payload, frame.words, server)
            server.receive(message)
        except RingBytesInvalid:
            if frame.key == current.key:
                raise
            return
        except ProtocolViolation as error:
            changed = _fingerprint(server) != before
            same = frame.key == current.key
            self._around.judge.coordinator_refuses(error, same_attempt=same, changed=changed)
            return
        if _fingerprint(server) == before:
            # A repeated message.
            if self._world.schedule.sabotage is Sabotage.COUNT_TWICE and isinstance(message, MaskedInput):
                server._add(message.words)
            return
        self._site(f"receive {step}", "before storing")
        current.log.append(Taken(frame.payload, frame.words))
        self._site(f"receive {step}", "after storing")
        if server.all_in():
            self._close(server)

    def _ask(self, server: MaskingServer) -> None:
        """Send every missing member what it needs to answer."""
        self._asked = self._world.now
        if self._current is None:
            return
        key = self._current.key
        for client in sorted(server.missing()):
            instruction = server.instruction_for(client)
            if instruction is None:
                kind, payload = FrameKind.OFFER, self._current.parameters.encode()
            else:
                kind, payload = FrameKind.INSTRUCTION, instruction.encode()
            self._around.judge.coordinator_tells(key, server.step, client, payload)
            self._world.send(Frame(kind=kind, sender=COORDINATOR, key=key, payload=payload), client)

    # -- closing ---------------------------------------------------------------------------------------

    def _close(self, server: MaskingServer) -> None:
        current = self._current
        if current is None:
            return
        step = server.step
        hasty = self._world.schedule.sabotage is Sabotage.CLOSE_BEFORE_STORING
        self._site(f"close {step}", "before storing")
        if not hasty:
            current.log.append(None)
        self._site(f"close {step}", "before closing")
        self._around.judge.actor = (COORDINATOR, current.key)
        self._apply_closing(server, current)
        self._world.note(f"step {step} of {current.key} closed; now {server.step}")
        if hasty:
            self._ask(server)
        self._site(f"close {step}", "after closing")
        if hasty:
            current.log.append(None)
        self._deadline = self._world.now + self._world.schedule.step_seconds
        if server.step not in _OVER:
            self._ask(server)

    def _apply_closing(self, server: MaskingServer, stored: StoredRound) -> None:
        try:
            server.close_step()
        except RoundFailed as error:
            self._world.note(f"attempt {stored.key} fails: {error}")
            self._resume_at = self._world.now + min(0.5 * 2 ** stored.key[1], LONGEST_PAUSE_SECONDS)
            return
        if server.step is Step.CONFIRM:
            self._around.judge.attempts[stored.key].survivors = server.expected
        elif server.step is Step.DONE:
            self._around.judge.sum_opened(stored.key, server.result)
            if stored.key not in self._storage.completed:
                self._storage.completed.append(stored.key)

    def _site(self, activity: str, place: str) -> None:
        self._world.crash_site(CrashSite(COORDINATOR, activity, place))


def coordinator_booter(around: Surroundings, storage: CoordinatorStorage) -> Callable[[], CoordinatorProgram]:
    """What starts the coordinator from its disk."""
    return lambda: CoordinatorProgram(around, storage, around.world.hosts[COORDINATOR].lives)


def _fingerprint(server: MaskingServer) -> tuple[Step, frozenset[ClientId], str]:
    return server.step, server.missing(), repr(server)


def _decoded(payload: bytes, words: bytes | None, server: MaskingServer) -> ClientMessage:
    message = decode_message(payload)
    if isinstance(message, MaskedInputHeader) and words is not None:
        return message.with_words(RingVector.from_bytes(server.parameters, words))
    if isinstance(message, ClientMessage):
        return message
    raise MessageMalformed(f"a node sent a {type(message).__name__}.")
