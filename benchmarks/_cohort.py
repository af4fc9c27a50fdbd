"""One masked round of up to ten thousand members in one process, with the cost of each party; for `scale.py`.

The coordinator is the real `MaskingServer` and gets a message of every member in every step. Members are real
`MaskingClient`s as long as there are few. In a large cohort only a sample of them is; the others are stand-ins, see
`_stand_ins`. The coordinator and the sample cannot tell the difference, so their costs are those of a whole cohort.
Every message that is measured goes through its byte form.
"""
# ruff: noqa: SLF001  # costs are told apart by what happens inside

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar
from unittest.mock import patch

import numpy as np
from _stand_ins import FRACTION, Scene, StandIns

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    ClientMessage,
    MaskedInput,
    MaskedInputHeader,
    MaskingClient,
    MaskingServer,
    Openings,
    RosterDigests,
    ServerMessage,
    ShareBundle,
    Step,
    _client,
    _parameters,
    _session,
    _survivors,
    decode_message,
)
from fedseal_crypto.masking._graph import Graph

# What a member does with the whole roster; none of these calls another.
ROSTER_WORK: tuple[tuple[object, str], ...] = (
    (_client, "check_digests"),
    (_session, "_check_nonces"),
    (_session, "sparse_graph"),
    (_survivors, "from_bitmap"),
    (Graph, "may_split"),
)

T = TypeVar("T")


@dataclass(slots=True)
class MemberCosts:
    """One member's CPU seconds and bytes, without its vector.

    Attributes:
        roster: For what it does with the whole roster: read and hash all digests and nonces, shuffle the ring.
        neighbours: For all the rest: keys, shares, signatures and messages of its neighbours.
    """

    roster: float = 0.0
    neighbours: float = 0.0
    up: int = 0
    down: int = 0


@dataclass(slots=True)
class ServerCosts:
    """The coordinator's CPU seconds, without vectors.

    Attributes:
        taking: Reading and checking every member's messages.
        telling: Making and writing instructions.
        closing: Closing steps, of which the last recovers every secret.
    """

    taking: float = 0.0
    telling: float = 0.0
    closing: float = 0.0

    @property
    def total(self) -> float:
        """Of all three."""
        return self.taking + self.telling + self.closing


class Cohort:
    """All parties of one round."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.members = {name: key.public for name, key in scene.identities.items()}
        self.server = MaskingServer(scene.parameters, self.members)
        self.costs = {name: MemberCosts() for name in scene.sample}
        self.server_costs = ServerCosts()
        generator = np.random.default_rng(0)
        self.words = scene.layout.encode({"v": np.ones(1)}, generator=generator).words
        self._roster_seconds = 0.0
        self._clients: dict[ClientId, MaskingClient] = {}
        self._stand_ins = StandIns(scene, self.server, self.words)
        self._sent: tuple[ServerMessage | None, bytes] = (None, b"")

    def play(self) -> None:
        """A whole round; with real members only, its sum is checked."""
        scene, server = self.scene, self.server
        with self._timed_roster_work():
            while server.step is not Step.DONE:
                gone = scene.leaving if server.step is Step.MASK else frozenset()
                for name in sorted(server.expected - gone):
                    if name in scene.sample:
                        self._real_turn(name)
                    else:
                        self._told(name)
                        self._take(self._stand_ins.answer(name))
                self.server_costs.closing += _seconds(server.close_step)
        survivors = server.result.survivors
        if len(scene.sample) == len(scene.parameters.roster):
            total = scene.layout.decode(server.result.words, count=len(survivors))["v"]
            if total[0] != len(survivors):
                raise SystemExit(f"the sum over {len(survivors)} members is wrong")

    # -- real members ----------------------------------------------------------------------------------

    def _real_turn(self, name: ClientId) -> None:
        costs, server = self.costs[name], self.server
        data = self._told(name)
        costs.down += len(data)
        roster_before, start = self._roster_seconds, time.process_time()
        if not data:
            # Each member encodes the roster once; in this process it would be found in a cache.
            _parameters._context0.cache_clear()
            client = self._counted(lambda: self._new_client(name))
            answer: ClientMessage = client.advertise()
        else:
            answer = self._clients[name].answer(self._read(data), self.words)
        vector = answer.words if isinstance(answer, MaskedInput) else None
        wire = answer.header if isinstance(answer, MaskedInput) else answer
        sent = wire.encode()
        roster = self._roster_seconds - roster_before
        costs.roster += roster
        costs.neighbours += time.process_time() - start - roster
        costs.up += len(sent)
        if isinstance(answer, ShareBundle):
            me = server._members.index(name, Step.SHARE)
            self._stand_ins.sealed[me] = {share.member: share.sealed for share in answer.shares}
        self._take_bytes(sent, vector)

    def _new_client(self, name: ClientId) -> MaskingClient:
        limits = ClientLimits(corrupted_fraction=FRACTION, dropout_fraction=FRACTION)
        client = MaskingClient(self.scene.parameters, self.scene.identities[name], self.members, limits, os.urandom)
        self._clients[name] = client
        return client

    def _read(self, data: bytes) -> ServerMessage:
        start = time.process_time()
        message = decode_message(data)
        if isinstance(message, (RosterDigests, Openings)):
            self._roster_seconds += time.process_time() - start
        return message  # type: ignore[return-value]  # an instruction, as it was sent

    # -- the server ------------------------------------------------------------------------------------

    def _told(self, name: ClientId) -> bytes:
        """The member's instruction; empty in step advertise, where the parameters are the instruction."""
        start = time.process_time()
        instruction = self.server.instruction_for(name)
        if instruction is None:
            return b""
        if self._sent[0] is not instruction:
            self._sent = (instruction, instruction.encode())
        self.server_costs.telling += time.process_time() - start
        return self._sent[1]

    def _take_bytes(self, data: bytes, vector: RingVector | None = None) -> None:
        start = time.process_time()
        message = decode_message(data)
        if isinstance(message, MaskedInputHeader) and vector is not None:
            self.server.receive(message.with_words(vector))
        else:
            self.server.receive(message)  # type: ignore[arg-type]  # a member's message, as it was sent
        self.server_costs.taking += time.process_time() - start

    def _take(self, message: ClientMessage) -> None:
        if isinstance(message, MaskedInput):
            self._take_bytes(message.header.encode(), message.words)
        else:
            self._take_bytes(message.encode())

    # -- measuring -------------------------------------------------------------------------------------

    def _counted(self, work: Callable[[], T]) -> T:
        """Add the seconds of this work to those of the whole roster."""
        start = time.process_time()
        try:
            return work()
        finally:
            self._roster_seconds += time.process_time() - start

    @contextmanager
    def _timed_roster_work(self) -> Iterator[None]:
        """Time those functions of a member's that go over the whole roster."""
        with ExitStack() as stack:
            for owner, name in ROSTER_WORK:
                real = getattr(owner, name)
                stack.enter_context(patch.object(owner, name, self._timing(real)))
            yield

    def _timing(self, real: Callable[..., T]) -> Callable[..., T]:
        return lambda *args, **kwargs: self._counted(lambda: real(*args, **kwargs))


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start
