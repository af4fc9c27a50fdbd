"""Reading each message's fields; every length is checked against a limit before anything is taken."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar, final

from fedseal_crypto.identity import NameInvalid, parse_party_name
from fedseal_crypto.masking._codec import Reader
from fedseal_crypto.masking._messages import (
    Advertisement,
    Confirmation,
    Confirmations,
    MaskedInputHeader,
    MemberNonce,
    Opening,
    Openings,
    RevealedShare,
    Roster,
    RosterDigests,
    RosterEntry,
    SealedShare,
    ShareBundle,
    ShareDelivery,
    Survivors,
    Unmasking,
)
from fedseal_crypto.masking._parameters import DIGEST_SIZE, NAME_SIZE, ClientId, MemberIndex
from fedseal_crypto.masking._shamir import SHARE_SIZE
from fedseal_crypto.masking._thresholds import LARGEST_ROSTER

KEY_SIZE = 32
SIGNATURE_SIZE = 64
SEALED_SIZE = 2 * SHARE_SIZE + 16  # two shares and the tag
MAXIMUM_ABANDONED = 64  # attempts of one round; a job gives up long before

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """How much a decoder takes from a peer.

    Attributes:
        members: Entries of a list, at most; the size of the largest roster that is expected.
        message_bytes: Size of a message, at most.
    """

    members: int = LARGEST_ROSTER
    message_bytes: int = 32 << 20  # a roster of 65535 advertisements by digest is 4.4 MB; nothing is larger


def _read_many(source: Reader, limit: int, read: Callable[[Reader], T], name: str) -> tuple[T, ...]:
    return tuple(read(source) for _ in range(source.uint(2, f"the number of {name}", most=limit)))


def _sorted_by(source: Reader, items: tuple[T, ...], key: Callable[[T], int | str], name: str) -> tuple[T, ...]:
    keys = [key(item) for item in items]
    # Strictly increasing, so no member appears twice and the byte form is unique.
    if any(not before < after for before, after in pairwise(keys)):  # type: ignore[operator]  # one list never mixes both types
        raise source.malformed(f"{name} are not sorted, or one appears twice")
    return items


def _client(source: Reader) -> ClientId:
    try:
        return ClientId(parse_party_name(source.text("a member's name", most=NAME_SIZE)))
    except NameInvalid as error:
        raise source.malformed(str(error)) from error


def _member(source: Reader) -> MemberIndex:
    return MemberIndex(source.uint(2, "a member's number", most=LARGEST_ROSTER - 1))


def _context(source: Reader) -> bytes:
    return source.fixed(DIGEST_SIZE, "the context")


def _signature(source: Reader) -> bytes:
    return source.fixed(SIGNATURE_SIZE, "the signature")


def _bitmap(source: Reader, limits: DecodeLimits) -> bytes:
    return source.sized("the survivors", most=-(-limits.members // 8))


def _read_advertisement(source: Reader) -> Advertisement:
    client, context0 = _client(source), _context(source)
    identity = source.fixed(DIGEST_SIZE, "the identity")
    mask_key, channel_key = source.fixed(KEY_SIZE, "the mask key"), source.fixed(KEY_SIZE, "the channel key")
    commitment = source.fixed(DIGEST_SIZE, "the commitment")
    graph_commitment = source.sized("the graph commitment", most=DIGEST_SIZE)
    if len(graph_commitment) not in (0, DIGEST_SIZE):
        raise source.malformed("the graph commitment is neither absent nor 32 bytes")
    abandoned = _read_many(source, MAXIMUM_ABANDONED, _context, "abandoned attempts")
    if list(abandoned) != sorted(set(abandoned)):
        raise source.malformed("abandoned attempts are not sorted, or one appears twice")
    return Advertisement(
        client=client,
        context0=context0,
        identity=identity,
        mask_key=mask_key,
        channel_key=channel_key,
        commitment=commitment,
        graph_commitment=graph_commitment,
        abandoned=abandoned,
        signature=_signature(source),
    )


def _read_advertisements(source: Reader, limits: DecodeLimits) -> tuple[Advertisement, ...]:
    items = _read_many(source, limits.members, _read_advertisement, "advertisements")
    return _sorted_by(source, items, lambda item: item.client, "advertisements")


def read_lone_advertisement(source: Reader, limits: DecodeLimits) -> Advertisement:  # noqa: ARG001  # one signature for all readers
    return _read_advertisement(source)


def read_roster(source: Reader, limits: DecodeLimits) -> Roster:
    return Roster(context0=_context(source), advertisements=_read_advertisements(source, limits))


def _read_entry(source: Reader) -> RosterEntry:
    return RosterEntry(
        member=_member(source),
        digest=source.fixed(DIGEST_SIZE, "an advertisement's digest"),
        graph_commitment=source.fixed(DIGEST_SIZE, "a graph commitment"),
    )


def read_digests(source: Reader, limits: DecodeLimits) -> RosterDigests:
    context0 = _context(source)
    entries = _read_many(source, limits.members, _read_entry, "members")
    return RosterDigests(context0=context0, entries=_sorted_by(source, entries, lambda e: e.member, "members"))


def read_opening(source: Reader, limits: DecodeLimits) -> Opening:  # noqa: ARG001  # one signature for all readers
    return Opening(client=_client(source), context=_context(source), nonce=source.fixed(DIGEST_SIZE, "the nonce"))


def _read_nonce(source: Reader) -> MemberNonce:
    return MemberNonce(member=_member(source), nonce=source.fixed(DIGEST_SIZE, "a nonce"))


def read_openings(source: Reader, limits: DecodeLimits) -> Openings:
    context = _context(source)
    nonces = _read_many(source, limits.members, _read_nonce, "nonces")
    return Openings(
        context=context,
        nonces=_sorted_by(source, nonces, lambda nonce: nonce.member, "nonces"),
        advertisements=_read_advertisements(source, limits),
    )


def _read_sealed(source: Reader) -> SealedShare:
    return SealedShare(member=_member(source), sealed=source.fixed(SEALED_SIZE, "a sealed share"))


def _read_shares(source: Reader, limits: DecodeLimits) -> tuple[SealedShare, ...]:
    shares = _read_many(source, limits.members, _read_sealed, "sealed shares")
    return _sorted_by(source, shares, lambda share: share.member, "sealed shares")


def read_bundle(source: Reader, limits: DecodeLimits) -> ShareBundle:
    return ShareBundle(
        client=_client(source),
        context=_context(source),
        shares=_read_shares(source, limits),
        signature=_signature(source),
    )


def read_delivery(source: Reader, limits: DecodeLimits) -> ShareDelivery:
    return ShareDelivery(context=_context(source), receiver=_client(source), shares=_read_shares(source, limits))


def read_header(source: Reader, limits: DecodeLimits) -> MaskedInputHeader:  # noqa: ARG001  # one signature for all readers
    return MaskedInputHeader(
        client=_client(source),
        context=_context(source),
        digest=source.fixed(DIGEST_SIZE, "the digest"),
        signature=_signature(source),
    )


def read_survivors(source: Reader, limits: DecodeLimits) -> Survivors:
    return Survivors(context=_context(source), survivors=_bitmap(source, limits))


def read_confirmation(source: Reader, limits: DecodeLimits) -> Confirmation:
    return Confirmation(
        client=_client(source),
        context=_context(source),
        survivors=_bitmap(source, limits),
        signature=_signature(source),
    )


def read_confirmations(source: Reader, limits: DecodeLimits) -> Confirmations:
    context = _context(source)
    items = _read_many(source, limits.members, lambda reader: read_confirmation(reader, limits), "confirmations")
    return Confirmations(
        context=context, confirmations=_sorted_by(source, items, lambda item: item.client, "confirmations")
    )


def _read_revealed(source: Reader) -> RevealedShare:
    return RevealedShare(owner=_member(source), share=source.fixed(SHARE_SIZE, "a share"))


def read_unmasking(source: Reader, limits: DecodeLimits) -> Unmasking:
    client, context = _client(source), _context(source)
    lists = [
        _sorted_by(source, _read_many(source, limits.members, _read_revealed, name), lambda share: share.owner, name)
        for name in ("self-mask shares", "pairwise shares")
    ]
    return Unmasking(
        client=client, context=context, self_mask=lists[0], pairwise=lists[1], signature=_signature(source)
    )
