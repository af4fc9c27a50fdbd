"""The pair of shares that one member seals for another, and the keys that every pair derives.

Sealed: the receiver's shares of the sender's self-mask seed and of its mask key, 33 bytes each. The key comes
from the channel agreement of the two and names the direction; associated data are context, sender, receiver.
A share's kind is thus fixed by its place in the pair, its owner by the key that opens it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from fedseal_crypto.masking._errors import SharesRefused, Violation
from fedseal_crypto.masking._keys import KeyPair, SealBroken, seal, unseal
from fedseal_crypto.masking._keystream import MASK_KEY_SIZE
from fedseal_crypto.masking._labels import Usage, derive_key, field, label, tagged_hash
from fedseal_crypto.masking._messages import Advertisement
from fedseal_crypto.masking._parameters import ClientId, MemberIndex
from fedseal_crypto.masking._shamir import SHARE_SIZE
from fedseal_crypto.masking._states import Step
from fedseal_crypto.secret import SecretBytes


@final
@dataclass(frozen=True, slots=True)
class SharePair:
    """One holder's shares of one owner's two secrets."""

    self_mask: SecretBytes
    pairwise: SecretBytes


@final
@dataclass(frozen=True, slots=True)
class ChannelKey:
    """The sealing key of one direction, and the associated data that goes with it."""

    key: SecretBytes
    associated: bytes

    def seal(self, pair: SharePair) -> bytes:
        """Both shares, encrypted for the receiver."""
        return seal(self.key.reveal(), pair.self_mask.reveal() + pair.pairwise.reveal(), self.associated)

    def open(self, sealed: bytes, *, sender: ClientId) -> SharePair:
        """Both shares.

        Raises:
            SharesRefused: They do not open.
        """
        try:
            plain = unseal(self.key.reveal(), sealed, self.associated)
        except SealBroken as error:
            raise SharesRefused(
                Violation(
                    step=Step.SHARE,
                    party=sender,
                    got="a sealed share that does not open",
                    expected="one sealed by this sender, for this receiver, in this attempt",
                )
            ) from error
        return SharePair(SecretBytes(plain[:SHARE_SIZE]), SecretBytes(plain[SHARE_SIZE:]))


def channel_key(agreed: bytes, context: bytes, *, sender: ClientId, receiver: ClientId) -> ChannelKey:
    """The sealing key for what `sender` sends to `receiver`."""
    names = (sender.encode(), receiver.encode())
    key = SecretBytes(derive_key(agreed, Usage.SHARE_CHANNEL, *names, context=context))
    return ChannelKey(key, label(Usage.SHARE_CHANNEL, context, *names))


def pair_mask_key(agreed: bytes, context: bytes, one: ClientId, other: ClientId) -> SecretBytes:
    """The key of the mask that two members share; the same for both."""
    low, high = sorted((one, other))
    names = (low.encode(), high.encode())
    return SecretBytes(derive_key(agreed, Usage.PAIR_MASK, *names, context=context, size=MASK_KEY_SIZE))


def self_mask_key(seed: SecretBytes, context: bytes, owner: ClientId) -> SecretBytes:
    """The key of a member's own mask."""
    size = MASK_KEY_SIZE
    return SecretBytes(derive_key(seed.reveal(), Usage.SELF_MASK, owner.encode(), context=context, size=size))


def self_mask_commitment(seed: SecretBytes, context0: bytes, owner: ClientId) -> bytes:
    """h: what a member commits its seed with; the seed has 256 bits, so the hash hides it."""
    return tagged_hash(Usage.COMMIT, context0, owner.encode(), seed.reveal())


def graph_commitment(nonce: bytes, context0: bytes, owner: ClientId) -> bytes:
    """What a member commits its nonce for the graph with."""
    return tagged_hash(Usage.GRAPH_COMMIT, context0, owner.encode(), nonce)


def graph_commitments(context0: bytes) -> Callable[[bytes, ClientId], bytes]:
    """`graph_commitment` for many members of one attempt: the common part is hashed once."""
    common = hashlib.sha256(label(Usage.GRAPH_COMMIT, context0))

    def commitment(nonce: bytes, owner: ClientId) -> bytes:
        rest = common.copy()
        rest.update(field(owner.encode()) + field(nonce))
        return rest.digest()

    return commitment


def advertisement_digest(advertisement: Advertisement) -> bytes:
    """The digest by which an advertisement enters the context."""
    return tagged_hash(Usage.ADVERTISEMENT_DIGEST, advertisement.encode())


def round_context(context0: bytes, entries: list[tuple[MemberIndex, bytes, bytes]]) -> bytes:
    """The second context, over the first and all advertisements.

    Args:
        context0: The first context.
        entries: Member, advertisement digest and graph commitment, sorted by member.
    """
    # A commitment is 32 bytes for all members or absent for all, as the first context says: every entry has one size.
    flat = b"".join([index.to_bytes(2, "big") + digest + commitment for index, digest, commitment in entries])
    return tagged_hash(Usage.CONTEXT, context0, flat)


def matches_pairwise(secret: bytes, mask_key: bytes) -> bool:
    """Whether a recovered mask key is the one that was advertised."""
    return KeyPair(SecretBytes(secret)).public == mask_key
