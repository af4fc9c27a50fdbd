"""One masked round of up to ten thousand members in one process, with the cost of each party; for `scale.py`.

The coordinator is the real `MaskingServer` and gets a message of every member in every step. Members are real
`MaskingClient`s as long as there are few. In a large cohort only a sample of them is; the others are stand-ins that
announce real keys, share their secrets for real and answer what the coordinator and the sample check, but skip what
nobody looks at: checking the roster, sealing shares for each other, masking. The coordinator and the sample cannot tell
the difference, so their costs are those of a whole cohort. Every message that is measured goes through its byte form.
"""
# ruff: noqa: SLF001  # stand-ins know what members know, which the package rightly keeps to itself

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar
from unittest.mock import patch

import numpy as np

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    Advertisement,
    ClientId,
    ClientLimits,
    ClientMessage,
    Confirmation,
    MaskedInput,
    MaskedInputHeader,
    MaskingClient,
    MaskingServer,
    MemberIndex,
    Opening,
    Openings,
    RevealedShare,
    RosterDigests,
    RoundParameters,
    SealedShare,
    ServerMessage,
    ShareBundle,
    Step,
    Unmasking,
    _client,
    _parameters,
    _session,
    _survivors,
    choose_parameters,
    decode_message,
)
from fedseal_crypto.masking._client_memory import Secrets, new_secrets
from fedseal_crypto.masking._graph import Graph
from fedseal_crypto.masking._members import to_bitmap
from fedseal_crypto.masking._shamir import SHARE_SIZE, split_secret
from fedseal_crypto.masking._shares import SharePair, channel_key, graph_commitment, self_mask_commitment
from fedseal_crypto.secret import SecretBytes

FRACTION = 0.1  # of the members: may collude, and leave before their masked vector
FAKE_SEAL = bytes(2 * SHARE_SIZE + 16)  # the size of two sealed shares
NO_SHARE = SecretBytes(bytes(SHARE_SIZE))

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
        telling: Making and writing instructions; measured for the sample, scaled to all members.
        closing: Closing steps, of which the last recovers every secret.
    """

    taking: float = 0.0
    telling: float = 0.0
    closing: float = 0.0

    @property
    def total(self) -> float:
        """Of all three."""
        return self.taking + self.telling + self.closing


@dataclass(slots=True)
class StandIn:
    """A member that is not measured.

    Attributes:
        shares: Of the one secret that will be asked for, by evaluation point.
    """

    name: ClientId
    identity: IdentityKey
    secrets: Secrets
    shares: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is fixed before a round.

    Attributes:
        sample: Members that are real; all of them in a small cohort.
        leaving: Members that leave before their masked vector.
    """

    parameters: RoundParameters
    layout: Layout
    identities: dict[ClientId, IdentityKey]
    sample: frozenset[ClientId]
    leaving: frozenset[ClientId]


def prepare(n: int, *, sample: int, seed: int) -> Scene:
    """A cohort of `n` of which `sample` are real (all, if `sample` is not smaller)."""
    group = choose_parameters(n, corrupted_fraction=FRACTION, dropout_fraction=FRACTION)
    layout = Layout.plan([VectorSpec(name="v", length=1, bound=1, resolution=1)], cohort=n)
    roster = tuple(ClientId(f"node-{i:05}") for i in range(n))
    parameters = RoundParameters(
        federation="bench",
        job_digest=sha256_hex(b"job"),
        stage="training",
        round=0,
        attempt=0,
        roster=roster,
        minimum_cohort=3,
        corrupted=group.corrupted,
        threshold=group.threshold,
        neighbours=group.neighbours,
        layout_digest=layout.digest,
        words=layout.shape.runs,
        broadcast_digest=sha256_hex(b"broadcast"),
        plan_digest=sha256_hex(b"plan"),
    )
    order = Random(seed).sample(roster, n)
    left = n - int(FRACTION * n)
    return Scene(
        parameters=parameters,
        layout=layout,
        identities={name: IdentityKey.generate(os.urandom) for name in roster},
        sample=frozenset(order[: min(sample, left)] if sample < n else order),
        leaving=frozenset(order[left:]),
    )


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
        self._stand_ins: dict[ClientId, StandIn] = {}
        # What real members sealed for stand-ins: owner, receiver.
        self._sealed: dict[MemberIndex, dict[MemberIndex, bytes]] = {}
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
                        self._take(self._stand_in_answer(name))
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
            self._sealed[me] = {share.member: share.sealed for share in answer.shares}
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
        spent = time.process_time() - start
        # What is the same for all is written once; what differs is written for the sample here and counted for all.
        same_for_all = self.server._for_all is instruction
        self.server_costs.telling += spent if same_for_all else spent * self._members_told_for_one()
        return self._sent[1]

    def _members_told_for_one(self) -> float:
        expected = self.server.expected
        return len(expected) / len(expected & self.scene.sample)

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

    # -- stand-ins -------------------------------------------------------------------------------------

    def _stand_in_answer(self, name: ClientId) -> ClientMessage:
        match self.server.step:
            case Step.ADVERTISE:
                return self._advertise(name)
            case Step.REVEAL:
                secrets = self._stand_ins[name].secrets
                nonce = b"" if secrets.nonce is None else secrets.nonce.reveal()
                return Opening(client=name, context=self.server._progress.context, nonce=nonce)
            case Step.SHARE:
                return self._share(self._stand_ins[name])
            case Step.MASK:
                header = MaskedInputHeader(
                    client=name, context=self._context, digest=self.words.digest(), signature=b""
                )
                return self._signed(header).with_words(self.words)
            case Step.CONFIRM:
                bitmap = to_bitmap(self.server._progress.survivors, len(self.scene.parameters.roster))
                return self._signed(Confirmation(client=name, context=self._context, survivors=bitmap, signature=b""))
            case _:
                return self._unmask(self._stand_ins[name])

    @property
    def _context(self) -> bytes:
        return self.server._progress.context

    def _advertise(self, name: ClientId) -> Advertisement:
        identity, secrets = self.scene.identities[name], new_secrets(os.urandom, sparse=True)
        self._stand_ins[name] = StandIn(name, identity, secrets)
        context0 = self.server._progress.context0
        nonce = b"" if secrets.nonce is None else secrets.nonce.reveal()
        return self._signed(
            Advertisement(
                client=name,
                context0=context0,
                identity=bytes.fromhex(identity.public.key_id),
                mask_key=secrets.mask.public,
                channel_key=secrets.channel.public,
                commitment=self_mask_commitment(secrets.seed, context0, name),
                graph_commitment=graph_commitment(nonce, context0, name),
                abandoned=(),
                signature=b"",
            )
        )

    def _share(self, owner: StandIn) -> ShareBundle:
        me, peers = self._place(owner.name)
        leaves = owner.name in self.scene.leaving
        secret = owner.secrets.mask.secret if leaves else owner.secrets.seed
        owner.shares = split_secret(
            secret.reveal(),
            threshold=self.scene.parameters.threshold,
            holders=[holder + 1 for holder in sorted((*peers, me))],
            entropy=os.urandom,
        )
        sealed = [SealedShare(member=peer, sealed=self._seal(owner, peer, leaves=leaves)) for peer in peers]
        return self._signed(ShareBundle(client=owner.name, context=self._context, shares=tuple(sealed), signature=b""))

    def _seal(self, owner: StandIn, peer: MemberIndex, *, leaves: bool) -> bytes:
        """Sealed for real if a real member will open it."""
        receiver = self.scene.parameters.roster[peer]
        if receiver not in self.scene.sample:
            return FAKE_SEAL
        share = SecretBytes(owner.shares[peer + 1])
        pair = SharePair(NO_SHARE, share) if leaves else SharePair(share, NO_SHARE)
        theirs = self.server._progress.advertisements[peer]
        agreed = owner.secrets.channel.agree(theirs.channel_key)
        return channel_key(agreed, self._context, sender=owner.name, receiver=receiver).seal(pair)

    def _unmask(self, holder: StandIn) -> Unmasking:
        me, peers = self._place(holder.name)
        progress = self.server._progress
        revealed = [
            RevealedShare(owner=owner, share=self._held(holder, me, owner))
            for owner in sorted(progress.sharers & {*peers, me})
        ]
        return self._signed(
            Unmasking(
                client=holder.name,
                context=self._context,
                self_mask=tuple(share for share in revealed if share.owner in progress.survivors),
                pairwise=tuple(share for share in revealed if share.owner not in progress.survivors),
                signature=b"",
            )
        )

    def _held(self, holder: StandIn, me: MemberIndex, owner: MemberIndex) -> bytes:
        name = self.scene.parameters.roster[owner]
        if name not in self.scene.sample:
            return self._stand_ins[name].shares[me + 1]
        theirs = self.server._progress.advertisements[owner]
        agreed = holder.secrets.channel.agree(theirs.channel_key)
        opening = channel_key(agreed, self._context, sender=name, receiver=holder.name)
        return opening.open(self._sealed[owner][me], sender=name).self_mask.reveal()

    def _place(self, name: ClientId) -> tuple[MemberIndex, list[MemberIndex]]:
        me = self.server._members.index(name, self.server.step)
        return me, sorted(self.server._progress.peers(me))

    def _signed(self, message: T) -> T:
        identity = self.scene.identities[message.client]  # type: ignore[attr-defined]  # every signed message has it
        return replace(message, signature=identity.sign(message.signed()))  # type: ignore[type-var,attr-defined]

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
