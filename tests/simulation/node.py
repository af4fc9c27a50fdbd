"""A simulated node: a thin shell that keeps the rules of a real one around the real `MaskingClient`.

What a node stores outlives a crash; its secrets do not. It stores that it begins an attempt, that its input leaves,
which survivors it confirms and that it reveals shares, each before the message itself leaves. It never enters an
attempt twice, gives older attempts up when it enters a new one and says so, and contributes again only if the older
ones in which its input is out are dead.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np

from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.identity import IdentityKey, PublicIdentity
from fedseal_crypto.masking import (
    AlreadyAnswered,
    CallOutOfOrder,
    ClientId,
    ClientLimits,
    ClientMessage,
    CohortTooSmall,
    Confirmations,
    HistoryRefused,
    MaskedInput,
    MaskingClient,
    Openings,
    ProtocolViolation,
    Roster,
    RosterDigests,
    RoundParameters,
    ServerMessage,
    ShareDelivery,
    Survivors,
    SurvivorsRefused,
    Unmasking,
    attempt_is_dead,
    decode_message,
)
from tests.simulation.judge import MARKS, MINIMUM_DIFFERENCE, Judge, Key, mark_of
from tests.simulation.schedule import COORDINATOR, SPARSE_MEMBERS, CrashSite, Sabotage, Schedule, seeded
from tests.simulation.world import Frame, FrameKind, World

LIMITS = ClientLimits(minimum_difference=MINIMUM_DIFFERENCE)
SPARSE_LIMITS = ClientLimits(corrupted_fraction=0.05, minimum_difference=MINIMUM_DIFFERENCE)

# What a member may find on a sparse graph although the cohort as a whole is large enough.
_THINNED = (CohortTooSmall, SurvivorsRefused)

_STEP_OF: dict[type, str] = {
    RosterDigests: "reveal",
    Roster: "share",
    Openings: "share",
    ShareDelivery: "mask",
    Survivors: "confirm",
    Confirmations: "unmask",
}


class Part(StrEnum):
    """How far a node went in an attempt."""

    BEGUN = "begun"
    INPUT_SENT = "input sent"
    RELEASED = "released"
    GIVEN_UP = "given up"


@dataclass(slots=True)
class StoredAttempt:
    """What a node has stored of an attempt."""

    parameters: RoundParameters
    part: Part = Part.BEGUN
    input_sent: bool = False
    survivors: frozenset[ClientId] = frozenset()


@dataclass(slots=True)
class NodeStorage:
    """A node's disk."""

    attempts: dict[Key, StoredAttempt] = field(default_factory=dict)
    refused_by_history: set[Key] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a program is given when it boots."""

    world: World
    judge: Judge
    members: dict[ClientId, PublicIdentity]


class NodeProgram:
    """One life of a node."""

    def __init__(self, name: str, around: Surroundings, storage: NodeStorage, life: int) -> None:
        self._name = ClientId(name)
        self._around = around
        self._world = around.world
        self._storage = storage
        self._key: Key = (-1, -1)
        self._client: MaskingClient | None = None
        # A machine's generator never repeats; the sabotaged one does.
        source = 1 if self._sabotaged(Sabotage.REUSE_ENTROPY) else life
        self._entropy = seeded(self._world.schedule.seed, name, source).randbytes
        self._send(FrameKind.HELLO)

    def tick(self) -> None:
        """A node only answers."""

    def handle(self, frame: Frame) -> None:
        """Answer the coordinator."""
        if frame.kind is FrameKind.OFFER:
            self._offered(RoundParameters.decode(frame.payload))
            return
        message = decode_message(frame.payload)
        if self._client is None or not isinstance(message, ServerMessage):
            self._refuse(frame.key)
            return
        self._around.judge.actor = (self._name, self._key)
        self._answer(self._client, message, same_attempt=frame.key == self._key)

    # -- entering --------------------------------------------------------------------------------------

    def _offered(self, parameters: RoundParameters) -> None:
        key = (parameters.round, parameters.attempt)
        if key == self._key and self._client is not None:
            self._repeat_advertisement()
            return
        stored = self._storage.attempts
        newest = max(stored, default=(-1, -1))
        if newest > key or (newest == key and not self._sabotaged(Sabotage.ENTER_AGAIN)):
            self._refuse(key)
            return
        self._site("advertise", "before storing")
        for other, attempt in stored.items():
            if other[0] == key[0] and attempt.part in {Part.BEGUN, Part.INPUT_SENT}:
                attempt.part = Part.GIVEN_UP
        stored[key] = StoredAttempt(parameters)
        self._site("advertise", "before sending")
        declared_parts = {Part.GIVEN_UP, Part.RELEASED} if self._sabotaged(Sabotage.DECLARE_ALL) else {Part.GIVEN_UP}
        given_up = [a.parameters.context0() for k, a in stored.items() if k[0] == key[0] and a.part in declared_parts]
        self._around.judge.actor = (self._name, key)
        limits = LIMITS if parameters.neighbours is None else SPARSE_LIMITS
        self._client = MaskingClient(parameters, identity_of(self._name), self._around.members, limits, self._entropy)
        self._key = key
        self._advertisement = self._client.advertise(tuple(given_up))
        self._repeat_advertisement()
        self._site("advertise", "after sending")

    def _repeat_advertisement(self) -> None:
        self._deliver(self._advertisement)

    # -- answering -------------------------------------------------------------------------------------

    def _answer(self, client: MaskingClient, message: ServerMessage, *, same_attempt: bool) -> None:
        step, before = _STEP_OF[type(message)], client.state
        stored = self._storage.attempts[self._key]
        plain = input_of(self._name, stored.parameters)
        try:
            answer = client.answer(message, plain, earlier=self._earlier())
        except (ProtocolViolation, CallOutOfOrder) as error:
            self._refused(error, same_attempt=same_attempt, changed=client.state is not before)
            return
        if isinstance(message, (Roster, Openings)) and not self._older_attempts_are_dead(client):
            self._give_up("an older attempt may still be opened")
            return
        if isinstance(answer, Unmasking) and self._sabotaged(Sabotage.REVEAL_BOTH):
            answer = replace(answer, pairwise=answer.self_mask)
        self._site(step, "before storing")
        late = step == "unmask" and self._sabotaged(Sabotage.RELEASE_BEFORE_STORING)
        if not late:
            self._store(stored, client, step)
        self._site(step, "before sending")
        self._deliver(answer, plain)
        self._site(step, "after sending")
        self._store(stored, client, step)

    def _refused(self, error: Exception, *, same_attempt: bool, changed: bool) -> None:
        """The client refused an instruction: end the attempt if circumstances explain that, else it is a fault."""
        if same_attempt and not changed and isinstance(error, HistoryRefused):
            self._storage.refused_by_history.add(self._key)
            self._give_up("its history forbids the sum")
        elif same_attempt and not changed and self._world.schedule.sparse and isinstance(error, _THINNED):
            self._give_up("too few of its neighbours are left")
        else:
            # Of this attempt only a repeated instruction may be refused; of others everything.
            allowed = not same_attempt or isinstance(error, AlreadyAnswered)
            self._around.judge.member_refuses(self._name, error, allowed=allowed, changed=changed)

    def _store(self, stored: StoredAttempt, client: MaskingClient, step: str) -> None:
        if step == "mask":
            stored.input_sent = True
            if stored.part is Part.BEGUN:
                stored.part = Part.INPUT_SENT
        elif step == "confirm" and not stored.survivors:
            stored.survivors = client.survivors
        elif step == "unmask":
            stored.part = Part.RELEASED

    def _older_attempts_are_dead(self, client: MaskingClient) -> bool:
        if self._sabotaged(Sabotage.IGNORE_OPEN_ATTEMPTS):
            return True
        for key, stored in self._storage.attempts.items():
            if key[0] != self._key[0] or key == self._key or not stored.input_sent:
                continue
            parameters = stored.parameters
            declared = client.roster_abandonments(parameters.context0())
            if not attempt_is_dead(
                declared,
                holders=frozenset(parameters.roster),
                corrupted=parameters.corrupted,
                threshold=parameters.threshold,
            ):
                return False
        return True

    def _earlier(self) -> list[frozenset[ClientId]]:
        """Survivors of sums over the same broadcast for which shares were revealed.

        Older attempts of the same round are left out: that they are dead was checked before the input left.
        """
        if self._sabotaged(Sabotage.IGNORE_HISTORY):
            return []
        broadcast = self._storage.attempts[self._key].parameters.broadcast_digest
        return [
            stored.survivors
            for key, stored in self._storage.attempts.items()
            if key[0] != self._key[0]
            and stored.part is Part.RELEASED
            and stored.parameters.broadcast_digest == broadcast
        ]

    # -- helpers ---------------------------------------------------------------------------------------

    def _give_up(self, reason: str) -> None:
        self._world.note(f"{self._name} gives attempt {self._key} up: {reason}")
        stored = self._storage.attempts[self._key]
        if stored.part in {Part.BEGUN, Part.INPUT_SENT}:
            stored.part = Part.GIVEN_UP
        self._client = None
        self._refuse(self._key)

    def _deliver(self, message: ClientMessage, plain: RingVector | None = None) -> None:
        self._around.judge.member_sends(self._key, message, plain)
        self._world.note(f"{self._name} sends {type(message).__name__} in {self._key}")
        if isinstance(message, MaskedInput):
            self._send(FrameKind.MESSAGE, message.header.encode(), message.words.to_bytes())
        else:
            self._send(FrameKind.MESSAGE, message.encode())

    def _refuse(self, key: Key) -> None:
        self._send(FrameKind.REFUSAL, key=key)

    def _send(
        self, kind: FrameKind, payload: bytes = b"", words: bytes | None = None, *, key: Key | None = None
    ) -> None:
        frame = Frame(kind=kind, sender=self._name, key=key or self._key, payload=payload, words=words)
        self._world.send(frame, COORDINATOR)

    def _site(self, step: str, place: str) -> None:
        self._world.crash_site(CrashSite("node", step, place))

    def _sabotaged(self, how: Sabotage) -> bool:
        return self._world.schedule.sabotage is how


def node_booter(name: str, around: Surroundings, storage: NodeStorage) -> Callable[[], NodeProgram]:
    """What starts a node from its disk."""
    return lambda: NodeProgram(name, around, storage, around.world.hosts[name].lives)


@lru_cache(maxsize=256)
def identity_of(name: str) -> IdentityKey:
    """The identity of a name, the same in every run."""
    return IdentityKey.generate(seeded("identity", name).randbytes)


@lru_cache(maxsize=256)
def layout_for(cohort: int) -> Layout:
    """One lane for the powers of two, and others of every width."""
    return Layout.plan(
        [
            VectorSpec(name=MARKS, length=1, bound=float(1 << SPARSE_MEMBERS), resolution=1.0),
            VectorSpec(name="coarse", length=5, bound=100.0, resolution=1.0),
            VectorSpec(name="fine", length=3, bound=1.0, resolution=2.0**-20),
            VectorSpec(name="wide", length=2, bound=1.0, resolution=2.0**-40),
        ],
        cohort=cohort,
    )


@lru_cache(maxsize=4096)
def input_of(name: str, parameters: RoundParameters) -> RingVector:
    """A node's encoded input; the same in all attempts of all rounds."""
    numbers = np.random.default_rng(list(name.encode()))
    values = {
        MARKS: np.array([float(mark_of(name))]),
        "coarse": numbers.integers(-100, 101, 5).astype(np.float64),
        "fine": numbers.integers(-(2**20), 2**20 + 1, 3) * 2.0**-20,
        "wide": numbers.integers(-(2**40), 2**40 + 1, 2) * 2.0**-40,
    }
    return layout_for(len(parameters.roster)).encode(values, generator=numbers).words


def declared(storages: Iterable[NodeStorage], key: Key) -> int:
    """How many of these nodes have given an attempt up, or will when they enter the next."""
    return sum(key in storage.attempts and storage.attempts[key].part is not Part.RELEASED for storage in storages)


def schedule_limits(schedule: Schedule) -> ClientLimits:
    """What the nodes of a run demand."""
    return SPARSE_LIMITS if schedule.sparse else LIMITS
