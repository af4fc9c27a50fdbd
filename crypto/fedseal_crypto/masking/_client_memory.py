"""What a member remembers in each state: frozen, and no more than the next steps need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from fedseal_crypto.identity import Entropy
from fedseal_crypto.masking._keys import KEY_SIZE, KeyPair
from fedseal_crypto.masking._messages import Advertisement, Confirmation
from fedseal_crypto.masking._parameters import MemberIndex
from fedseal_crypto.masking._session import Revealing, Session
from fedseal_crypto.masking._shares import ChannelKey, SharePair
from fedseal_crypto.secret import SecretBytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """A member's fresh secrets for one attempt.

    Attributes:
        mask: Pair for pairwise masks; its private half is shared out.
        channel: Pair for sealing shares; its private half never leaves.
        seed: Of the self mask; shared out.
        nonce: For the sparse graph, else None.
    """

    mask: KeyPair
    channel: KeyPair
    seed: SecretBytes
    nonce: SecretBytes | None


@final
@dataclass(frozen=True, slots=True)
class Advertised:
    """Keys are announced."""

    secrets: Secrets
    own: Advertisement


@final
@dataclass(frozen=True, slots=True)
class Revealed:
    """Sparse graph: the roster is known by digests, the nonce is open."""

    secrets: Secrets
    revealing: Revealing


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The secrets are shared out.

    Attributes:
        session: The fixed roster.
        seed: Still needed for the self mask.
        own: This member's share of its own secrets.
        opening: Keys that open what each peer seals for this member.
        masks: Key of the pairwise mask with each peer.
    """

    session: Session
    seed: SecretBytes
    own: SharePair
    opening: Mapping[MemberIndex, ChannelKey]
    masks: Mapping[MemberIndex, SecretBytes]


@final
@dataclass(frozen=True, slots=True)
class Masked:
    """The vector is out; what is left are shares, by owner, this member's own included."""

    session: Session
    held: Mapping[MemberIndex, SharePair]


@final
@dataclass(frozen=True, slots=True)
class Confirmed:
    """The list of survivors is signed."""

    session: Session
    held: Mapping[MemberIndex, SharePair]
    survivors: frozenset[MemberIndex]
    confirmation: Confirmation


Memory = Advertised | Revealed | Shared | Masked | Confirmed | None


def new_secrets(entropy: Entropy, *, sparse: bool) -> Secrets:
    """Fresh secrets, drawn in a fixed order: mask key, channel key, seed, nonce."""
    mask = KeyPair(SecretBytes(entropy(KEY_SIZE)))
    channel = KeyPair(SecretBytes(entropy(KEY_SIZE)))
    seed = SecretBytes(entropy(KEY_SIZE))
    nonce = SecretBytes(entropy(KEY_SIZE)) if sparse else None
    return Secrets(mask=mask, channel=channel, seed=seed, nonce=nonce)
