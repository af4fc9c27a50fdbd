"""The scene of a large cohort, and members that take part in it without being measured; for `_cohort`.

A stand-in announces real keys, shares its secrets for real and answers what the coordinator and the real members check,
but skips what nobody looks at: it trusts the coordinator, seals shares for real members only, and sends its vector
unmasked.
"""
# ruff: noqa: SLF001  # stand-ins know what members know, which the package rightly keeps to itself

import os
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    Advertisement,
    ClientId,
    ClientMessage,
    Confirmation,
    MaskedInputHeader,
    MaskingServer,
    MemberIndex,
    Opening,
    RevealedShare,
    RoundParameters,
    SealedShare,
    ShareBundle,
    Step,
    Unmasking,
    choose_parameters,
)
from fedseal_crypto.masking._client_memory import Secrets, new_secrets
from fedseal_crypto.masking._members import to_bitmap
from fedseal_crypto.masking._shares import SharePair, channel_key, graph_commitment, self_mask_commitment
from fedseal_crypto.secret import SecretBytes
from fedseal_crypto.shamir import SHARE_SIZE, split_secret

FRACTION = 0.1  # of the members: may collude, and leave before their masked vector
FAKE_SEAL = bytes(2 * SHARE_SIZE + 16)  # the size of two sealed shares
NO_SHARE = SecretBytes(bytes(SHARE_SIZE))

T = TypeVar("T")


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


class StandIns:
    """All stand-ins of a round.

    Attributes:
        sealed: What real members sealed in step share, by owner and receiver; filled by the caller.
    """

    def __init__(self, scene: Scene, server: MaskingServer, words: RingVector) -> None:
        self._scene = scene
        self._server = server
        self._words = words
        self._members: dict[ClientId, StandIn] = {}
        self.sealed: dict[MemberIndex, dict[MemberIndex, bytes]] = {}

    def answer(self, name: ClientId) -> ClientMessage:
        """A member's message for the server's current step."""
        match self._server.step:
            case Step.ADVERTISE:
                return self._advertise(name)
            case Step.REVEAL:
                secrets = self._members[name].secrets
                nonce = b"" if secrets.nonce is None else secrets.nonce.reveal()
                return Opening(client=name, context=self._server._progress.context, nonce=nonce)
            case Step.SHARE:
                return self._share(self._members[name])
            case Step.MASK:
                header = MaskedInputHeader(
                    client=name, context=self._context, digest=self._words.digest(), signature=b""
                )
                return self._signed(header).with_words(self._words)
            case Step.CONFIRM:
                bitmap = to_bitmap(self._server._progress.survivors, len(self._scene.parameters.roster))
                return self._signed(Confirmation(client=name, context=self._context, survivors=bitmap, signature=b""))
            case _:
                return self._unmask(self._members[name])

    @property
    def _context(self) -> bytes:
        return self._server._progress.context

    def _advertise(self, name: ClientId) -> Advertisement:
        identity, secrets = self._scene.identities[name], new_secrets(os.urandom, sparse=True)
        self._members[name] = StandIn(name, identity, secrets)
        context0 = self._server._progress.context0
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
        leaves = owner.name in self._scene.leaving
        secret = owner.secrets.mask.secret if leaves else owner.secrets.seed
        owner.shares = split_secret(
            secret.reveal(),
            threshold=self._scene.parameters.threshold,
            holders=[holder + 1 for holder in sorted((*peers, me))],
            entropy=os.urandom,
        )
        sealed = [SealedShare(member=peer, sealed=self._seal(owner, peer, leaves=leaves)) for peer in peers]
        return self._signed(ShareBundle(client=owner.name, context=self._context, shares=tuple(sealed), signature=b""))

    def _seal(self, owner: StandIn, peer: MemberIndex, *, leaves: bool) -> bytes:
        """Sealed for real if a real member will open it."""
        receiver = self._scene.parameters.roster[peer]
        if receiver not in self._scene.sample:
            return FAKE_SEAL
        share = SecretBytes(owner.shares[peer + 1])
        pair = SharePair(NO_SHARE, share) if leaves else SharePair(share, NO_SHARE)
        theirs = self._server._progress.advertisements[peer]
        agreed = owner.secrets.channel.agree(theirs.channel_key)
        return channel_key(agreed, self._context, sender=owner.name, receiver=receiver).seal(pair)

    def _unmask(self, holder: StandIn) -> Unmasking:
        me, peers = self._place(holder.name)
        progress = self._server._progress
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
        name = self._scene.parameters.roster[owner]
        if name not in self._scene.sample:
            return self._members[name].shares[me + 1]
        theirs = self._server._progress.advertisements[owner]
        agreed = holder.secrets.channel.agree(theirs.channel_key)
        opening = channel_key(agreed, self._context, sender=name, receiver=holder.name)
        return opening.open(self.sealed[owner][me], sender=name).self_mask.reveal()

    def _place(self, name: ClientId) -> tuple[MemberIndex, list[MemberIndex]]:
        me = self._server._members.index(name, self._server.step)
        return me, sorted(self._server._progress.peers(me))

    def _signed(self, message: T) -> T:
        identity = self._scene.identities[message.client]  # type: ignore[attr-defined]  # every signed message has it
        return replace(message, signature=identity.sign(message.signed()))  # type: ignore[type-var,attr-defined]
