"""The server's last computation: recover secrets from shares, take the masks out of the sum.

For each survivor its self-mask seed is recovered, for each member that shared but did not survive its mask
key; never both, because members reveal one kind only. Every recovered secret is checked against what its
owner signed in step advertise, so that a forged share can spoil neither the sum nor the name of who sent it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking._correction import recover_committed
from fedseal_crypto.masking._errors import SecretUnrecoverable
from fedseal_crypto.masking._graph import Graph
from fedseal_crypto.masking._keys import KeyPair
from fedseal_crypto.masking._keystream import Mask, apply_masks
from fedseal_crypto.masking._messages import Advertisement, Unmasking
from fedseal_crypto.masking._parameters import ClientId, MemberIndex, RoundParameters
from fedseal_crypto.masking._shares import (
    matches_pairwise,
    pair_mask_key,
    self_mask_commitment,
    self_mask_key,
)
from fedseal_crypto.secret import SecretBytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """A share does not belong to the secret that its owner committed to.

    One of the two is at fault: the holder sent another share than it got, or the owner gave it a wrong one. The
    sealed share, which the owner signed, settles which, if the holder opens it.

    Attributes:
        holder: Who sent the share.
        owner: Whose secret it should belong to.
        proven: Whether even c colluding members could not have made an honest share look odd. A hint if False.
    """

    holder: ClientId
    owner: ClientId
    proven: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RingSum:
    """The result of an attempt.

    Attributes:
        words: The sum over the survivors, modulo each word's width.
        survivors: Whose inputs are in it, sorted.
        dropped: All other members of the roster, sorted.
        blamed: Wrong shares that were found on the way; those nobody needed were not looked at.
    """

    words: RingVector
    survivors: tuple[ClientId, ...]
    dropped: tuple[ClientId, ...]
    blamed: tuple[Blame, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What the server has when step unmask closes.

    Attributes:
        parameters: The attempt.
        context: Second context.
        graph: Who shares with whom.
        advertisements: Of all members that advertised.
        sharers: Members that shared (U2).
        survivors: Members whose input is in the sum (U3).
        unmaskings: One of each member that answered.
    """

    parameters: RoundParameters
    context: bytes
    graph: Graph
    advertisements: Mapping[MemberIndex, Advertisement]
    sharers: frozenset[MemberIndex]
    survivors: frozenset[MemberIndex]
    unmaskings: Mapping[MemberIndex, Unmasking]


def shares_by_owner(collected: Collected) -> dict[MemberIndex, dict[int, bytes]]:
    """For each sharer the revealed shares of the secret that is needed, by evaluation point."""
    shares: dict[MemberIndex, dict[int, bytes]] = {owner: {} for owner in collected.sharers}
    for holder, unmasking in collected.unmaskings.items():
        for revealed in (*unmasking.self_mask, *unmasking.pairwise):
            shares[revealed.owner][holder + 1] = revealed.share
    return shares


def needed_owners(collected: Collected) -> frozenset[MemberIndex]:
    """Members of which a secret is needed: survivors, and others that share a mask with one."""
    survivors = collected.survivors
    return survivors | {
        owner for owner in collected.sharers - survivors if not survivors.isdisjoint(collected.graph.neighbours(owner))
    }


def remove_masks(total: RingVector, collected: Collected, *, workers: int) -> tuple[Blame, ...]:
    """Turn the sum of masked vectors into the sum of the survivors' vectors, in place.

    Raises:
        SecretUnrecoverable: Too few or too many wrong shares of one member; `total` is unchanged.
    """
    secrets, blamed = _recover_all(collected)
    apply_masks(total, list(_masks(collected, secrets)), workers=workers)
    return blamed


def _recover_all(collected: Collected) -> tuple[dict[MemberIndex, SecretBytes], tuple[Blame, ...]]:
    roster, threshold = collected.parameters.roster, collected.parameters.threshold
    shares = shares_by_owner(collected)
    secrets: dict[MemberIndex, SecretBytes] = {}
    distrusted: set[int] = set()
    blamed: list[Blame] = []
    for owner in sorted(needed_owners(collected)):
        theirs = shares[owner]
        if len(theirs) < threshold:
            raise SecretUnrecoverable(
                f"only {len(theirs)} of the {threshold} shares that recover {roster[owner]}'s mask have arrived.",
                owner=roster[owner],
                present=len(theirs),
                needed=threshold,
            )
        found = recover_committed(
            theirs,
            threshold=threshold,
            corrupted=collected.parameters.corrupted,
            matches=lambda secret, owner=owner: _is_committed(collected, owner, secret),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            distrusted=distrusted,
        )
        if found is None:
            raise SecretUnrecoverable(
                f"the {len(theirs)} shares of {roster[owner]}'s secret do not give what it committed to: it, or more "
                "holders than can be corrected, sent wrong shares.",
                owner=roster[owner],
                present=len(theirs),
                needed=threshold,
            )
        secrets[owner] = SecretBytes(found.secret)
        distrusted |= found.odd
        blamed += [
            Blame(holder=roster[point - 1], owner=roster[owner], proven=found.proven) for point in sorted(found.odd)
        ]
    return secrets, tuple(blamed)


def _is_committed(collected: Collected, owner: MemberIndex, secret: bytes) -> bool:
    advertisement = collected.advertisements[owner]
    if owner not in collected.survivors:
        return matches_pairwise(secret, advertisement.mask_key)
    commitment = self_mask_commitment(SecretBytes(secret), advertisement.context0, advertisement.client)
    return commitment == advertisement.commitment


def _masks(collected: Collected, secrets: Mapping[MemberIndex, SecretBytes]) -> Iterator[Mask]:
    """What takes out every mask that did not cancel."""
    roster, context = collected.parameters.roster, collected.context
    for owner, secret in secrets.items():
        if owner in collected.survivors:
            yield Mask(self_mask_key(secret, context, roster[owner]), add=False)
            continue
        pair = KeyPair(secret)
        for peer in sorted(collected.survivors.intersection(collected.graph.neighbours(owner))):
            agreed = pair.agree(collected.advertisements[peer].mask_key)
            # The peer added this mask if the owner comes after it, so it is taken out then, else put back.
            yield Mask(pair_mask_key(agreed, context, roster[owner], roster[peer]), add=owner < peer)
