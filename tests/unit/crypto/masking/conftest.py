"""A small federation for masking tests, everything from seeds.

Types of what the fixtures give are the package's own, so that tests are checked without importing this file.
"""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import RingShape, RingVector, WordRun
from fedseal_crypto.identity import IdentityKey, PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    MaskingClient,
    MaskingServer,
    Party,
    ProtocolViolation,
    RoundParameters,
    Step,
    choose_parameters,
)

SHAPE = RingShape(
    layout_digest=hashlib.sha256(b"layout").digest(),
    runs=tuple(WordRun(bits=bits, count=count) for bits, count in ((64, 2), (32, 5), (16, 3), (24, 4))),
)


def seeded_entropy(seed: object) -> Callable[[int], bytes]:
    return np.random.default_rng(list(repr(seed).encode())).bytes


@pytest.fixture(scope="session")
def seeded() -> Callable[[object], Callable[[int], bytes]]:
    """Entropy from a seed."""
    return seeded_entropy


def make_parameters(n: int, **changed: object) -> RoundParameters:
    group = choose_parameters(n, corrupted_fraction=0.2, dropout_fraction=0.1)
    fields: dict[str, object] = {
        "federation": "hearts",
        "job_digest": sha256_hex(b"job"),
        "stage": "training",
        "round": 3,
        "attempt": 0,
        "roster": tuple(ClientId(f"node-{i:03}") for i in range(n)),
        "minimum_cohort": 3,
        "corrupted": group.corrupted,
        "threshold": group.threshold,
        "neighbours": group.neighbours,
        "layout_digest": SHAPE.layout_digest,
        "words": SHAPE.runs,
        "broadcast_digest": sha256_hex(b"broadcast"),
        "plan_digest": sha256_hex(b"plan"),
    }
    return RoundParameters(**{**fields, **changed})  # type: ignore[arg-type]  # a table of fields


@pytest.fixture(scope="session")
def parameters_for() -> Callable[..., RoundParameters]:
    """Parameters for a roster of that size, with fields changed by name."""
    return make_parameters


def make_identity(name: str) -> IdentityKey:
    return IdentityKey.generate(seeded_entropy(("identity", name)))


def make_words(shape: RingShape, seed: object) -> RingVector:
    raw = np.random.default_rng(list(repr(seed).encode())).bytes(shape.wire_bytes)
    return RingVector.from_bytes(shape, raw)


@pytest.fixture(scope="session")
def identity_of() -> Callable[[str], IdentityKey]:
    """The identity of a name; the same in every test."""
    return make_identity


@pytest.fixture(scope="session")
def parties_for() -> Callable[..., dict[ClientId, Party]]:
    """One party for each member, with uniformly random words and the steps at which members leave."""

    def build(
        parameters: RoundParameters, leaves: Mapping[int, Step] | None = None, seed: int = 0
    ) -> dict[ClientId, Party]:
        return {
            name: Party(
                identity=make_identity(name),
                words=make_words(parameters.shape, (seed, name)),
                leaves_at=(leaves or {}).get(index),
            )
            for index, name in enumerate(parameters.roster)
        }

    return build


@pytest.fixture(scope="session")
def plain_sum() -> Callable[..., RingVector]:
    """The ring sum of the parties' words over some members."""

    def total(
        parameters: RoundParameters, parties: Mapping[ClientId, Party], names: tuple[ClientId, ...]
    ) -> RingVector:
        out = RingVector.zeros(parameters)
        for name in names:
            out.add_in_place(parties[name].words)
        return out

    return total


Played = tuple[MaskingServer, dict[ClientId, MaskingClient]]


def make_clients(
    parameters: RoundParameters, seed: object = 0, limits: ClientLimits | None = None
) -> dict[ClientId, MaskingClient]:
    members: dict[ClientId, PublicIdentity] = {name: make_identity(name).public for name in parameters.roster}
    return {
        name: MaskingClient(
            parameters, make_identity(name), members, limits or ClientLimits(), seeded_entropy((seed, name))
        )
        for name in parameters.roster
    }


@pytest.fixture(scope="session")
def clients_for() -> Callable[..., dict[ClientId, MaskingClient]]:
    """Fresh clients of all members."""
    return make_clients


@pytest.fixture(scope="session")
def play_until() -> Callable[..., Played]:
    """A server and clients that honestly arrived at a step, before anybody has answered it."""

    def play(
        parameters: RoundParameters,
        parties: Mapping[ClientId, Party],
        step: Step,
        seed: object = 0,
        limits: ClientLimits | None = None,
    ) -> Played:
        server = MaskingServer(parameters, {name: party.identity.public for name, party in parties.items()})
        clients = make_clients(parameters, seed, limits)
        order = list(Step)
        while server.step is not step:
            for name, client in clients.items():
                left = parties[name].leaves_at
                if name not in server.expected or (left and order.index(left) <= order.index(server.step)):
                    continue
                instruction = server.instruction_for(name)
                if instruction is None:
                    server.receive(client.advertise())
                else:
                    server.receive(client.answer(instruction, parties[name].words))
            server.close_step()
        return server, clients

    return play


@pytest.fixture
def small_sparse(monkeypatch: pytest.MonkeyPatch) -> tuple[RoundParameters, ClientLimits]:
    """50 members on a sparse graph, which is allowed from 21 on in this test, so that it stays fast."""
    monkeypatch.setattr("fedseal_crypto.masking._thresholds.COMPLETE_GRAPH_LIMIT", 20)
    monkeypatch.setattr("fedseal_crypto.masking._limits.COMPLETE_GRAPH_LIMIT", 20)
    group = choose_parameters(50, corrupted_fraction=0.05, dropout_fraction=0.1)
    parameters = make_parameters(50, corrupted=group.corrupted, threshold=group.threshold, neighbours=group.neighbours)
    return parameters, ClientLimits(corrupted_fraction=0.05, dropout_fraction=0.1)


@pytest.fixture(scope="session")
def refused() -> Callable[..., None]:
    """Checks that a call is refused with an error, and that the client is exactly as before."""

    def check(client: MaskingClient, act: Callable[[], object], error: type[ProtocolViolation], said: str) -> None:
        before = (client.state, client._memory, client._last)
        with pytest.raises(error, match=said):
            act()
        after = (client.state, client._memory, client._last)
        assert all(one is other for one, other in zip(before, after, strict=True))

    return check
