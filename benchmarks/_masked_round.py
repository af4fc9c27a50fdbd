"""One masked round in one process with the cost of every party, for the benchmarks; no network, no training.

Every member is a real `MaskingClient`, the server a real `MaskingServer`, and every message goes through its byte
form. Costs are CPU seconds of this process, so that other programs on the machine disturb them little.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.identity import IdentityKey, PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    MaskedInput,
    MaskedInputHeader,
    MaskingClient,
    MaskingServer,
    RoundParameters,
    Step,
    WireMessage,
    _limits,
    choose_parameters,
    decode_message,
)
from fedseal_crypto.masking._graph_finder import GraphRequest, private_threshold

# The peer's defaults: values in [-8, 8], 2^22 levels. Both then need a 32-bit ring for up to 100 members.
BOUND, LEVELS = 8.0, 1 << 22
CHUNK_BYTES = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A round to measure.

    Attributes:
        members: n.
        neighbours: k of a sparse graph, or None for the complete graph.
        dropped: Members that leave after sharing, before their masked vector.
        length: Parameters in the vector.
    """

    members: int
    neighbours: int | None = None
    dropped: int = 0
    length: int = 1_000_000

    @property
    def name(self) -> str:
        """How tables call it."""
        graph = "complete graph" if self.neighbours is None else f"{self.neighbours} neighbours"
        return f"{self.members} members, {graph}, {self.dropped} dropped"

    @property
    def degree(self) -> int:
        """Masks that a member shares."""
        return self.members - 1 if self.neighbours is None else self.neighbours


@dataclass(slots=True)
class Costs:
    """CPU seconds by who spends them, and bytes.

    Attributes:
        encode: Members turning floats into ring words, all together.
        client: Members in the protocol, all together.
        wire: Encoding and decoding messages, both sides.
        server: The coordinator.
        plain_server: What a coordinator spends that checks signature and digest of the same vectors, adds and
            decodes them.
        up: Bytes from members, without the vectors.
        down: Bytes to members.
        vector: Bytes of one masked vector.
    """

    encode: float = 0.0
    client: float = 0.0
    wire: float = 0.0
    server: float = 0.0
    plain_server: float = 0.0
    up: int = 0
    down: int = 0
    vector: int = 0
    masking: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        """Of all parties."""
        return self.encode + self.client + self.wire + self.server

    @contextmanager
    def of(self, who: str) -> Iterator[None]:
        """Add what happens inside to `who`."""
        start = time.process_time()
        yield
        setattr(self, who, getattr(self, who) + time.process_time() - start)

    def timed(self, who: str, call: Callable[[], T]) -> T:
        """Add the call to `who`."""
        with self.of(who):
            return call()


def layout_for(case: Case) -> Layout:
    """A model update at the peer's resolution, a weight, and a count of clipped values."""
    return Layout.plan(
        [
            VectorSpec(name="update", length=case.length, bound=BOUND, resolution=2 * BOUND / LEVELS),
            VectorSpec(name="weight", length=1, bound=1e6, resolution=1),
            VectorSpec(name="clipped", length=1, bound=float(case.length), resolution=1),
        ],
        cohort=case.members,
    )


def parameters_for(case: Case, layout: Layout) -> tuple[RoundParameters, ClientLimits]:
    """What `choose_parameters` gives, or a sparse graph of the asked degree with one corrupted member."""
    limits = ClientLimits()
    if case.neighbours is None:
        group = choose_parameters(case.members, corrupted_fraction=0.2, dropout_fraction=0.1)
        corrupted, threshold = group.corrupted, group.threshold
    else:
        # Real rounds of this size use the complete graph; the peer's do not, so the comparison allows it here.
        _limits.COMPLETE_GRAPH_LIMIT = 2  # type: ignore[attr-defined]  # a constant that it imports
        limits = ClientLimits(corrupted_fraction=0.0)
        corrupted = 1
        request = GraphRequest(n=case.members, corrupted=1, dropouts=case.dropped)
        threshold = private_threshold(request, case.neighbours)
    parameters = RoundParameters(
        federation="bench",
        job_digest=sha256_hex(b"job"),
        stage="training",
        round=0,
        attempt=0,
        roster=tuple(ClientId(f"node-{i:05}") for i in range(case.members)),
        minimum_cohort=3,
        corrupted=corrupted,
        threshold=threshold,
        neighbours=case.neighbours,
        layout_digest=layout.digest,
        words=layout.shape.runs,
        broadcast_digest=sha256_hex(b"broadcast"),
        plan_digest=sha256_hex(b"plan"),
    )
    return parameters, limits


class Round:
    """All parties of one measured round."""

    def __init__(self, case: Case, update: NDArray[np.float32]) -> None:
        self.case, self.costs = case, Costs()
        self.layout = layout_for(case)
        self.parameters, limits = parameters_for(case, self.layout)
        self.identities = {name: IdentityKey.generate(os.urandom) for name in self.parameters.roster}
        members: dict[ClientId, PublicIdentity] = {name: key.public for name, key in self.identities.items()}
        self.members = members
        self.server = MaskingServer(self.parameters, members)
        self.clients = {
            name: MaskingClient(self.parameters, key, members, limits, os.urandom)
            for name, key in self.identities.items()
        }
        self.update = update
        self.plain = RingVector.zeros(self.layout)
        self.expected = RingVector.zeros(self.layout)
        self.costs.vector = self.layout.wire_bytes
        self._sent: tuple[object, bytes] = (None, b"")

    def play(self) -> Costs:
        """Run to the end and check the sum."""
        gone: frozenset[ClientId] = frozenset()
        while self.server.step is not Step.DONE:
            if self.server.step is Step.MASK:
                gone = self.leaving()
            for name in sorted(self.server.expected - gone):
                self.answer(name)
            with self.costs.of("server"):
                self.server.close_step()
        result = self.server.result
        if result.words != self.expected or len(result.survivors) != self.case.members - self.case.dropped:
            raise SystemExit(f"{self.case.name}: the sum is wrong")
        # The plain coordinator has added masked vectors; it decodes a sum that means something instead.
        for who, total in (("server", result.words), ("plain_server", self.expected)):
            with self.costs.of(who):
                self.layout.decode(total, count=len(result.survivors))
        return self.costs

    def leaving(self) -> frozenset[ClientId]:
        """Spread evenly around the ring, so that the round completes at the given rate of dropouts."""
        graph, n, dropped = self.server._progress.graph, self.case.members, self.case.dropped  # noqa: SLF001  # the benchmark chooses who leaves
        if graph is None or not dropped:
            return frozenset()
        return frozenset(self.parameters.roster[graph.ring[i * n // dropped]] for i in range(dropped))

    def answer(self, name: ClientId) -> None:
        """One member's turn in the current step."""
        costs, client, server = self.costs, self.clients[name], self.server
        instruction = costs.timed("server", lambda: server.instruction_for(name))
        if instruction is None:
            self.send(costs.timed("client", client.advertise).encode())
            return
        if self._sent[0] is not instruction:
            self._sent = (instruction, costs.timed("wire", instruction.encode))
        data = self._sent[1]
        costs.down += len(data)
        received = costs.timed("wire", lambda: decode_message(data))
        if server.step is Step.MASK:
            self.send_vector(self.mask(client, received))
            client._last = None  # noqa: SLF001  # all members live in this process; each would keep its own vector
        else:
            reply = costs.timed("client", lambda: client.answer(received))  # type: ignore[arg-type]  # an instruction, as sent
            self.send(costs.timed("wire", reply.encode))  # type: ignore[union-attr]  # no masked input in this step

    def mask(self, client: MaskingClient, delivery: WireMessage) -> MaskedInput:
        """A member's vector, from floats to masked words."""
        costs, before = self.costs, self.costs.client
        values = {"update": self.update, "weight": np.array([100.0]), "clipped": np.array([0.0])}
        generator = np.random.default_rng(len(costs.masking))
        words = costs.timed("encode", lambda: self.layout.encode(values, generator=generator).words)
        self.expected.add_in_place(words)
        masked = costs.timed("client", lambda: client.answer(delivery, words))  # type: ignore[arg-type]  # as above
        costs.masking.append(costs.client - before)
        if not isinstance(masked, MaskedInput):
            raise SystemExit(f"{client.name} answered a delivery with {type(masked).__name__}")
        return masked

    def send(self, data: bytes) -> None:
        """A message to the server."""
        self.costs.up += len(data)
        message = self.costs.timed("wire", lambda: decode_message(data))
        self.costs.timed("server", lambda: self.server.receive(message))  # type: ignore[arg-type]  # a member's message, as sent

    def send_vector(self, masked: MaskedInput) -> None:
        """A masked vector in chunks; and the same messages to a server that only adds."""
        costs = self.costs
        header = costs.timed("wire", masked.header.encode)
        costs.up += len(header)
        with costs.of("wire"):
            raw = b"".join(masked.words.iter_chunks(CHUNK_BYTES))
            decoded = decode_message(header)
        if isinstance(decoded, MaskedInputHeader):
            takers = [self.take, self.take_plainly]
            # In turn, because whoever comes second finds the vector in the cache.
            for take in takers if len(costs.masking) % 2 else reversed(takers):
                take(decoded, raw)

    def take(self, header: MaskedInputHeader, raw: bytes) -> None:
        """The coordinator takes a vector."""
        with self.costs.of("server"):
            self.server.receive(header.with_words(RingVector.from_bytes(self.layout, raw)))

    def take_plainly(self, header: MaskedInputHeader, raw: bytes) -> None:
        """A coordinator that only adds takes it."""
        with self.costs.of("plain_server"):
            words = RingVector.from_bytes(self.layout, raw)
            self.members[header.client].verify(header.signature, header.signed())
            if words.digest() != header.digest:
                raise SystemExit("a vector changed on the way")
            self.plain.add_in_place(words)


def masked_round(case: Case) -> Costs:
    """Run and measure one case."""
    update = (np.random.default_rng(0).standard_normal(case.length) * 0.05).astype(np.float32)
    return Round(case, update).play()
