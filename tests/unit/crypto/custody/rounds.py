"""A small round under a custodian's key, every party in one place, with real encryption."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedseal_crypto.custody import (
    NOTHING_BESIDE,
    Commitment,
    CommitmentList,
    Custody,
    Expected,
    Parcel,
    SealedClient,
    SealedInput,
    SealedMessage,
    SealedServer,
    SumRequest,
    check_request,
    masked_parcel,
    open_sealed,
)
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.homomorphic import (
    Adder,
    SecretContext,
    SlotPlan,
    encrypt_vector,
    lift_masks,
    parameters_for_sums,
    plan_slots,
)
from fedseal_crypto.identity import IdentityKey, PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    ClientMessage,
    MaskedInput,
    MaskingClient,
    MaskingServer,
    RoundParameters,
    ServerMessage,
    Step,
    choose_parameters,
)

SPECS = (VectorSpec(name="update", length=30, bound=1.0, resolution=2.0**-15),)
NAMES = tuple(ClientId(f"node-{number}") for number in range(5))
JOB = sha256_hex(b"job")


def entropy_of(seed: object) -> "np.random.Generator":
    return np.random.default_rng(list(repr(seed).encode()))


@dataclass(slots=True)
class World:
    """What is fixed before a round: identities, layout, key, contributions."""

    secret: SecretContext
    masked: bool
    names: tuple[ClientId, ...] = NAMES
    attempt: int = 0
    values: dict[ClientId, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            levels = entropy_of(("values", name)).integers(-(2**15), 2**15, 30)
            self.values.setdefault(name, (levels * 2.0**-15).astype(np.float64))

    @property
    def plan(self) -> tuple[Layout, SlotPlan]:
        parameters = parameters_for_sums(len(self.names))
        return plan_slots(SPECS, cohort=len(self.names), parameters=parameters, masked=True)

    @property
    def identities(self) -> dict[ClientId, IdentityKey]:
        return {name: IdentityKey.generate(entropy_of(("identity", name)).bytes) for name in self.names}

    @property
    def members(self) -> dict[ClientId, PublicIdentity]:
        return {name: key.public for name, key in self.identities.items()}

    @property
    def key(self) -> bytes:
        return bytes.fromhex(self.secret.public.key_digest)

    @property
    def parameters(self) -> RoundParameters:
        group = choose_parameters(len(self.names), corrupted_fraction=0.2, dropout_fraction=0.1)
        layout, _ = self.plan
        return RoundParameters(
            federation="hearts",
            job_digest=JOB,
            stage="training",
            round=3,
            attempt=self.attempt,
            roster=self.names,
            minimum_cohort=3,
            corrupted=group.corrupted,
            threshold=group.threshold,
            neighbours=group.neighbours,
            layout_digest=layout.digest,
            words=layout.shape.runs,
            broadcast_digest=sha256_hex(b"broadcast"),
            plan_digest=sha256_hex(b"plan"),
        )

    @property
    def expected(self) -> Expected:
        return Expected(federation="hearts", job_digest=JOB, key=self.key, masked=self.masked, minimum_cohort=3)

    @property
    def custody(self) -> Custody:
        _, plan = self.plan
        return Custody(secret=self.secret, specs=SPECS, plan=plan, masked=self.masked, limits=ClientLimits())

    def words(self, name: ClientId) -> RingVector:
        """The encoded contribution; its values lie on the grid, so rounding changes nothing."""
        layout, _ = self.plan
        return layout.encode({"update": self.values[name]}, generator=entropy_of(("rounding", name))).words

    def total(self, names: Collection[ClientId]) -> NDArray[np.float64]:
        return np.asarray(np.sum([self.values[name] for name in names], axis=0), np.float64)


@dataclass(slots=True)
class Collected:
    """What the coordinator holds when every step is done."""

    world: World
    words: RingVector
    survivors: tuple[ClientId, ...]
    bundles: dict[ClientId, bytes]
    inputs: dict[ClientId, SealedInput]
    commitments: CommitmentList | None
    pads: dict[ClientId, bytes]
    server: SealedServer | None = None

    def request(self, **changed: object) -> SumRequest:
        """What it asks the custodian."""
        _, plan = self.world.plan
        adder = Adder(plan, self.world.secret.public)
        for name in self.survivors:
            adder.add(self.bundles[name])
        request = SumRequest(
            parameters=self.world.parameters,
            commitments=self.commitments,
            inputs=tuple(self.inputs[name] for name in self.survivors),
            specs=SPECS,
            sum_digest=hashlib.sha256(adder.to_bytes()).digest(),
        )
        return replace(request, **changed)  # type: ignore[arg-type]  # a table of fields


def custodian_opens(world: World, request: SumRequest, bundles: Mapping[ClientId, bytes]) -> RingVector:
    """An honest custodian: check, add what members signed, compare, decrypt."""
    members = check_request(request, world.expected, world.members)
    return open_sealed(request, members, bundles, world.secret)


def decoded(world: World, collected: Collected, opened: RingVector) -> NDArray[np.float64]:
    """What the coordinator makes of an opened sum."""
    layout, plan = world.plan
    return layout.decode(lift_masks(opened, collected.words, plan), count=len(collected.survivors))["update"]


def padded_clients(world: World) -> dict[ClientId, SealedClient]:
    return {
        name: SealedClient(world.parameters, key, world.members, ClientLimits(), world.key)
        for name, key in world.identities.items()
    }


def play_padded(
    world: World, *, drops: Collection[ClientId] = (), beside: Mapping[ClientId, bytes] | None = None
) -> Collected:
    """A round of `homomorphic`; those in ``drops`` leave after their commitment."""
    _, plan = world.plan
    clients, bundles = padded_clients(world), {}
    server = SealedServer(world.parameters, world.members, world.key)
    for name, client in clients.items():
        padded = client.pad(world.words(name), entropy_of(("pad", name, world.attempt)).bytes)
        bundles[name] = encrypt_vector(padded, plan=plan, public=world.secret.public)
        commitment = client.commit(hashlib.sha256(bundles[name]).digest(), (beside or {}).get(name, NOTHING_BESIDE))
        server.receive(SealedMessage(client=name, content=Commitment.decode(commitment.encode())))
    server.close_step()
    inputs, pads = {}, {}
    for name in sorted(set(world.names) - set(drops)):
        instruction = server.instruction_for(name)
        assert instruction is not None
        shown = CommitmentList.decode(instruction.encode(), members=len(world.names))
        parcel = Parcel.decode(clients[name].send(shown).encode())
        server.receive(SealedMessage(client=name, content=parcel))
        inputs[name], pads[name] = parcel.sealed, parcel.pad.reveal()
    server.close_step()
    assert server.step is Step.DONE
    result = server.result
    return Collected(world, result.words, result.survivors, bundles, inputs, server.commitments, pads, server)


Watch = Callable[[ClientId, MaskingClient], None]


def nobody_watches(name: ClientId, client: MaskingClient) -> None:
    """Nobody looks into members."""


def play_hybrid(world: World, *, drops: Collection[ClientId] = (), watch: Watch = nobody_watches) -> Collected:
    """A round of `hybrid`; those in ``drops`` leave before they send their vector.

    ``watch`` is called with each member right before it masks.
    """
    _, plan = world.plan
    clients = {
        name: MaskingClient(world.parameters, key, world.members, ClientLimits(), entropy_of(("mask", name)).bytes)
        for name, key in world.identities.items()
    }
    server = MaskingServer(world.parameters, world.members, hidden=True)
    bundles: dict[ClientId, bytes] = {}
    inputs: dict[ClientId, SealedInput] = {}
    while server.step not in (Step.DONE, Step.FAILED):
        for name in sorted(server.expected):
            if server.step is Step.MASK and name in drops:
                continue
            if server.step is Step.MASK:
                watch(name, clients[name])
            message = _answer(clients[name], server.instruction_for(name), world.words(name))
            if isinstance(message, MaskedInput):
                bundles[name] = encrypt_vector(message.words, plan=plan, public=world.secret.public)
                inputs[name] = masked_parcel(
                    message.header,
                    hashlib.sha256(bundles[name]).digest(),
                    parameters=world.parameters,
                    key=world.key,
                    identity=world.identities[name],
                ).sealed
                server.receive(message.header.hidden())
            else:
                server.receive(message)
        server.close_step()
    result = server.result
    return Collected(world, result.words, result.survivors, bundles, inputs, None, {})


def _answer(client: MaskingClient, instruction: ServerMessage | None, words: RingVector) -> ClientMessage:
    return client.advertise() if instruction is None else client.answer(instruction, words)
