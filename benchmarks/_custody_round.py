"""One round of a job under a custodian's key, every party's part of it, with signatures, digests and both additions.

What the tables of `_encrypted_round` leave out is in here: pads or masks, commitments, signed parcels, the digest of
every ciphertext, the request and its checks, the custodian's own addition, and taking pads or masks out again. What is
left out is training, the network, the disks and the databases.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from _encrypted_round import SPREAD, Case, planned

from fedseal_crypto.custody import (
    MASKED_INSIDE,
    Commitment,
    Expected,
    SealedClient,
    SealedInput,
    SealedMessage,
    SealedServer,
    SumRequest,
    check_request,
    sign_input,
)
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector
from fedseal_crypto.homomorphic import Adder, SecretContext, SlotPlan, encrypt_vector, generate_keys, lift_masks
from fedseal_crypto.identity import IdentityKey, PublicIdentity
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    MaskedInput,
    MaskingClient,
    MaskingServer,
    RoundParameters,
    Step,
    choose_parameters,
)

MINIMUM_COHORT = 3
LIMITS = ClientLimits()
Answer = TypeVar("Answer")


@dataclass(slots=True)
class PartyCosts:
    """CPU seconds of each party in one round, and one member's upload in bytes; a member's is the mean of all."""

    up: int
    members: int
    seconds: dict[str, float] = field(default_factory=lambda: {"member": 0.0, "coordinator": 0.0, "custodian": 0.0})

    def __call__(self, party: str, work: Callable[[], Answer]) -> Answer:
        start = time.process_time()
        result = work()
        self.seconds[party] += time.process_time() - start
        return result

    @property
    def member(self) -> float:
        """Of one member."""
        return self.seconds["member"] / self.members

    @property
    def total(self) -> float:
        """Of all parties."""
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True)
class _Setting:
    layout: Layout
    plan: SlotPlan
    secret: SecretContext
    keys: Mapping[ClientId, IdentityKey]
    parameters: RoundParameters
    costs: PartyCosts

    @property
    def people(self) -> dict[ClientId, PublicIdentity]:
        return {name: key.public for name, key in self.keys.items()}

    @property
    def key(self) -> bytes:
        return bytes.fromhex(self.secret.public.key_digest)

    def encrypted(self, words: RingVector) -> bytes:
        return encrypt_vector(words, plan=self.plan, public=self.secret.public)


@dataclass(slots=True)
class _Arrived:
    """What the coordinator holds; ``words`` are the pads or masks that it can take out."""

    bundles: dict[ClientId, bytes]
    inputs: dict[ClientId, SealedInput]
    server: SealedServer | MaskingServer


def custody_round(case: Case, *, hybrid: bool) -> PartyCosts:
    """Play a round and check that the sum is exact; the check is not counted."""
    setting = _setting(case)
    layout, costs = setting.layout, setting.costs
    rng, expected, words = np.random.default_rng(0), RingVector.zeros(layout), {}
    for name in setting.keys:
        update = {spec.name: (rng.standard_normal(spec.length) * SPREAD).astype(np.float32) for spec in layout.specs}
        words[name] = costs("member", lambda: layout.encode(update, generator=rng).words)  # noqa: B023  # called here
        expected.add_in_place(words[name])
    arrived = (_masked if hybrid else _padded)(setting, words)
    request = costs("coordinator", lambda: _ask(setting, arrived))
    opened = costs("custodian", lambda: _open(setting, request, arrived.bundles, hybrid=hybrid))
    result = costs("coordinator", lambda: lift_masks(opened, arrived.server.result.words, setting.plan))
    sums = costs("coordinator", lambda: layout.decode(result, count=case.members))
    exact = layout.decode(expected, count=case.members)
    if any(not np.array_equal(sums[name], exact[name]) for name in exact):
        raise SystemExit("the sum is not exact")
    return costs


def _setting(case: Case) -> _Setting:
    layout, plan = planned(case)
    names = tuple(ClientId(f"node-{number:03}") for number in range(case.members))
    group = choose_parameters(case.members, corrupted_fraction=0.2, dropout_fraction=0.1)
    parameters = RoundParameters(
        federation="bench",
        job_digest=sha256_hex(b"job"),
        stage="training",
        round=0,
        attempt=0,
        roster=names,
        minimum_cohort=MINIMUM_COHORT,
        corrupted=group.corrupted,
        threshold=group.threshold,
        neighbours=group.neighbours,
        layout_digest=layout.digest,
        words=layout.shape.runs,
        broadcast_digest=sha256_hex(b"broadcast"),
        plan_digest=sha256_hex(b"plan"),
    )
    keys = {name: IdentityKey.generate(os.urandom) for name in names}
    secret = generate_keys(plan.parameters)
    return _Setting(layout, plan, secret, keys, parameters, PartyCosts(up=plan.bundle_bytes, members=case.members))


def _padded(setting: _Setting, words: Mapping[ClientId, RingVector]) -> _Arrived:
    """`homomorphic`: commit to the padded ciphertext, then send it with the pad's key."""
    costs, people = setting.costs, setting.people
    server = SealedServer(setting.parameters, people, setting.key)
    clients = {
        name: SealedClient(setting.parameters, key, people, LIMITS, setting.key) for name, key in setting.keys.items()
    }
    bundles, inputs = {}, {}
    for name, client in clients.items():
        bundles[name] = costs("member", lambda: setting.encrypted(client.pad(words[name], os.urandom)))  # noqa: B023
        commitment = costs("member", lambda: client.commit(hashlib.sha256(bundles[name]).digest()))  # noqa: B023
        costs("coordinator", lambda: server.receive(SealedMessage(client=name, content=commitment)))  # noqa: B023
    costs("coordinator", server.close_step)
    for name, client in clients.items():
        shown = costs("coordinator", lambda: server.instruction_for(name))  # noqa: B023
        if shown is None:
            raise SystemExit("the round failed")
        parcel = costs("member", lambda: client.send(shown))  # noqa: B023
        costs("coordinator", lambda: server.receive(SealedMessage(client=name, content=parcel)))  # noqa: B023
        inputs[name] = parcel.sealed
    costs("coordinator", server.close_step)
    return _Arrived(bundles, inputs, server)


def _masked(setting: _Setting, words: Mapping[ClientId, RingVector]) -> _Arrived:
    """`hybrid`: the steps of masking, with the masked vector encrypted."""
    costs, people = setting.costs, setting.people
    clients = {
        name: MaskingClient(setting.parameters, key, people, LIMITS, os.urandom) for name, key in setting.keys.items()
    }
    server = MaskingServer(setting.parameters, people, hidden=True)
    bundles, inputs = {}, {}
    while server.step not in (Step.DONE, Step.FAILED):
        for name in sorted(server.expected):
            shown = costs("coordinator", lambda: server.instruction_for(name))  # noqa: B023
            message = costs(
                "member",
                lambda: clients[name].advertise() if shown is None else clients[name].answer(shown, words[name]),  # noqa: B023
            )
            if isinstance(message, MaskedInput):
                bundles[name] = costs("member", lambda: setting.encrypted(message.words))  # noqa: B023
                inputs[name] = costs("member", lambda: _signed(setting, name, bundles[name]))  # noqa: B023
                costs("coordinator", lambda: server.receive(message.header.hidden()))  # noqa: B023
            else:
                costs("coordinator", lambda: server.receive(message))  # noqa: B023
        costs("coordinator", server.close_step)
    return _Arrived(bundles, inputs, server)


def _signed(setting: _Setting, name: ClientId, bundle: bytes) -> SealedInput:
    unsigned = Commitment(
        client=name,
        context0=setting.parameters.context0(),
        key=setting.key,
        digest=hashlib.sha256(bundle).digest(),
        signature=b"",
    )
    return sign_input(unsigned, MASKED_INSIDE, setting.keys[name])


def _ask(setting: _Setting, arrived: _Arrived) -> SumRequest:
    """The coordinator: check each ciphertext against what its node signed, add, and write the request."""
    total = _added(setting, arrived.inputs.values(), arrived.bundles)
    return SumRequest(
        parameters=setting.parameters,
        commitments=arrived.server.commitments if isinstance(arrived.server, SealedServer) else None,
        inputs=tuple(arrived.inputs[name] for name in sorted(arrived.inputs)),
        specs=setting.layout.specs,
        sum_digest=hashlib.sha256(total).digest(),
    )


def _open(setting: _Setting, request: SumRequest, bundles: Mapping[ClientId, bytes], *, hybrid: bool) -> RingVector:
    """The custodian: check the request, add again, compare, decrypt."""
    expected = Expected(
        federation="bench",
        job_digest=setting.parameters.job_digest,
        key=setting.key,
        masked=hybrid,
        minimum_cohort=MINIMUM_COHORT,
    )
    members = check_request(request, expected, setting.people)
    total = _added(setting, request.inputs, bundles)
    if hashlib.sha256(total).digest() != request.sum_digest:
        raise SystemExit("the two additions differ")
    return setting.secret.decrypt_sum(total, plan=setting.plan, count=len(members))


def _added(setting: _Setting, inputs: Iterable[SealedInput], bundles: Mapping[ClientId, bytes]) -> bytes:
    adder = Adder(setting.plan, setting.secret.public)
    for sealed in inputs:
        bundle = bundles[ClientId(sealed.client)]
        if hashlib.sha256(bundle).digest() != sealed.digest:
            raise SystemExit("a ciphertext is not the signed one")
        adder.add(bundle)
    return adder.to_bytes()
