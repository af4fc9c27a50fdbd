"""The messages of the protocol, as frozen values without behaviour.

Each message names the context it belongs to. Messages of members name their sender; lists inside them name
members by their position in the sorted roster. `_wire` turns them into bytes and back.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast, final

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking._labels import Usage, label
from fedseal_crypto.masking._parameters import ClientId, MemberIndex


class Message:
    """Gives every message `encode`; the byte forms themselves are in `_wire`."""

    __slots__ = ()

    def encode(self) -> bytes:
        """The one byte form of this message, which `decode_message` reads."""
        # Imported here because the byte forms are defined on the messages.
        from fedseal_crypto.masking._wire import encode_message

        return encode_message(cast("WireMessage", self))


@final
@dataclass(frozen=True, kw_only=True)  # without slots, so that its byte form can be kept
class Advertisement(Message):
    """Step advertise, member to server: fresh public keys for this attempt, signed by the member's identity.

    Attributes:
        client: The sender.
        context0: First context of the attempt, 32 bytes.
        identity: SHA-256 of the sender's identity key, so that all members agree on it.
        mask_key: X25519 public key for pairwise masks, 32 bytes.
        channel_key: X25519 public key for sealing shares, 32 bytes.
        commitment: h: hash of the self-mask seed, 32 bytes.
        graph_commitment: Hash of the nonce for the graph, 32 bytes; empty on the complete graph.
        abandoned: First contexts of attempts that the sender will never unmask.
        signature: Ed25519 over all of the above.
    """

    client: ClientId
    context0: bytes
    identity: bytes
    mask_key: bytes
    channel_key: bytes
    commitment: bytes
    graph_commitment: bytes
    abandoned: tuple[bytes, ...]
    signature: bytes

    def signed(self) -> bytes:
        """What the signature covers."""
        keys = (self.identity, self.mask_key, self.channel_key, self.commitment, self.graph_commitment)
        return label(Usage.ADVERTISE, self.context0, self.client.encode(), *keys, *self.abandoned)

    @cached_property
    def fields(self) -> bytes:
        """The fields in their byte form; kept, because the same advertisement goes to many members."""
        from fedseal_crypto.masking._wire_write import advertisement_fields

        return advertisement_fields(self)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Roster(Message):
    """Server to member, complete graph: every advertisement, sorted by client."""

    context0: bytes
    advertisements: tuple[Advertisement, ...]


@final
class RosterEntry(NamedTuple):
    """One advertisement by its digest, and its commitment to a nonce for the graph."""

    member: MemberIndex
    digest: bytes
    graph_commitment: bytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RosterDigests(Message):
    """Server to member, sparse graph: who advertised, sorted by member."""

    context0: bytes
    entries: tuple[RosterEntry, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Opening(Message):
    """Step reveal, member to server: the nonce behind the commitment."""

    client: ClientId
    context: bytes
    nonce: bytes


@final
class MemberNonce(NamedTuple):
    """One member's nonce in `Openings`."""

    member: MemberIndex
    nonce: bytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Openings(Message):
    """Server to member, sparse graph: all nonces, and the advertisements of the receiver's neighbours."""

    context: bytes
    nonces: tuple[MemberNonce, ...]
    advertisements: tuple[Advertisement, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SealedShare:
    """Two shares sealed for one member; `member` is the receiver in a bundle and the sender in a delivery."""

    member: MemberIndex
    sealed: bytes


@final
@dataclass(frozen=True, kw_only=True)  # without slots, so that its shares' byte form can be kept
class ShareBundle(Message):
    """Step share, member to server: one sealed pair of shares for each other holder, sorted by member."""

    client: ClientId
    context: bytes
    shares: tuple[SealedShare, ...]
    signature: bytes

    def signed(self) -> bytes:
        """What the signature covers."""
        return label(Usage.SHARES, self.context, self.client.encode(), self.flat)

    @cached_property
    def flat(self) -> bytes:
        """The shares as they are signed and sent; kept, because both need them."""
        return b"".join([share.member.to_bytes(2, "big") + share.sealed for share in self.shares])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ShareDelivery(Message):
    """Server to member: the sealed shares addressed to it, sorted by sender."""

    context: bytes
    receiver: ClientId
    shares: tuple[SealedShare, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedInputHeader(Message):
    """Step mask, member to server: what is sent beside the raw ring bytes.

    Attributes:
        digest: BLAKE3 of the ring bytes.
        signature: Ed25519 over context, client and digest.
    """

    client: ClientId
    context: bytes
    digest: bytes
    signature: bytes

    def signed(self) -> bytes:
        """What the signature covers."""
        return label(Usage.MASKED_INPUT, self.context, self.client.encode(), self.digest)

    def with_words(self, words: RingVector) -> "MaskedInput":
        """The whole input, once the ring bytes have arrived."""
        return MaskedInput(header=self, words=words)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedInput:
    """A member's masked vector with its header; the two travel separately."""

    header: MaskedInputHeader
    words: RingVector

    @property
    def client(self) -> ClientId:
        """The sender."""
        return self.header.client

    @property
    def context(self) -> bytes:
        """The attempt it belongs to."""
        return self.header.context

    @property
    def digest(self) -> bytes:
        """BLAKE3 of the ring bytes, as the sender signed it."""
        return self.header.digest

    @property
    def signature(self) -> bytes:
        """The sender's signature."""
        return self.header.signature


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Survivors(Message):
    """Server to member: whose masked input is in the sum, as a bitmap over the roster."""

    context: bytes
    survivors: bytes


@final
@dataclass(frozen=True, kw_only=True)  # without slots, so that its byte form can be kept
class Confirmation(Message):
    """Step confirm, member to server: the list of survivors it was shown, signed."""

    client: ClientId
    context: bytes
    survivors: bytes
    signature: bytes

    def signed(self) -> bytes:
        """What the signature covers."""
        return label(Usage.SURVIVORS, self.context, self.client.encode(), self.survivors)

    @cached_property
    def fields(self) -> bytes:
        """The fields in their byte form; kept, because the same confirmation goes to many members."""
        from fedseal_crypto.masking._wire_write import confirmation_fields

        return confirmation_fields(self)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmations(Message):
    """Server to member: enough confirmations of one list of survivors, sorted by client."""

    context: bytes
    confirmations: tuple[Confirmation, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RevealedShare:
    """One share of one member's secret, 33 bytes."""

    owner: MemberIndex
    share: bytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Unmasking(Message):
    """Step unmask, member to server: for each owner either a self-mask share or a pairwise share.

    Attributes:
        self_mask: Shares of the seeds of survivors, sorted by owner.
        pairwise: Shares of the mask keys of members that shared but did not survive, sorted by owner.
    """

    client: ClientId
    context: bytes
    self_mask: tuple[RevealedShare, ...]
    pairwise: tuple[RevealedShare, ...]
    signature: bytes

    def signed(self) -> bytes:
        """What the signature covers."""
        lists = [
            b"".join(share.owner.to_bytes(2, "big") + share.share for share in shares)
            for shares in (self.self_mask, self.pairwise)
        ]
        return label(Usage.UNMASK, self.context, self.client.encode(), *lists)


ClientMessage = Advertisement | Opening | ShareBundle | MaskedInput | Confirmation | Unmasking
"""What a server receives; on the wire a `MaskedInput` is its header and the ring bytes."""

ServerMessage = Roster | RosterDigests | Openings | ShareDelivery | Survivors | Confirmations
"""What a member receives."""

WireMessage = (
    Advertisement
    | Roster
    | RosterDigests
    | Opening
    | Openings
    | ShareBundle
    | ShareDelivery
    | MaskedInputHeader
    | Survivors
    | Confirmation
    | Confirmations
    | Unmasking
)
"""Everything that has a byte form."""
