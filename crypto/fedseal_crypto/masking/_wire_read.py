"""Reading each message's fields; every length is checked against a limit before anything is taken."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct as Record
from typing import Any, TypeVar, final

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
from fedseal_crypto.masking._parameters import DIGEST_SIZE, MAXIMUM_ABANDONED, NAME_SIZE, ClientId, MemberIndex
from fedseal_crypto.masking._shamir import SHARE_SIZE
from fedseal_crypto.masking._thresholds import LARGEST_ROSTER

KEY_SIZE = 32
SIGNATURE_SIZE = 64
SEALED_SIZE = 2 * SHARE_SIZE + 16  # two shares and the tag

# A member's number, then values of fixed size.
_ENTRY = Record(f">H{DIGEST_SIZE}s{DIGEST_SIZE}s")
_NONCE = Record(f">H{DIGEST_SIZE}s")
_SEALED = Record(f">H{SEALED_SIZE}s")
_REVEALED = Record(f">H{SHARE_SIZE}s")

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


def _sorted_by(source: Reader, items: tuple[T, ...], key: Callable[[T], str], name: str) -> tuple[T, ...]:
    keys = [key(item) for item in items]
    # Strictly increasing, so no member appears twice and the byte form is unique.
    if any(before >= after for before, after in pairwise(keys)):
        raise source.malformed(f"{name} are not sorted, or one appears twice")
    return items


def _client(source: Reader) -> ClientId:
    try:
        return ClientId(parse_party_name(source.text("a member's name", most=NAME_SIZE)))
    except NameInvalid as error:
        raise source.malformed(str(error)) from error


def _read_records(
    source: Reader, limits: DecodeLimits, record: Record, make: Callable[[Any], T], name: str
) -> tuple[T, ...]:
    """Entries of a member's number and bytes of one size, strictly sorted by number; rosters can have thousands."""
    number = source.uint(2, f"the number of {name}", most=limits.members)
    raw = source.fixed(number * record.size, name)
    records = list(record.iter_unpack(raw))
    numbers = [item[0] for item in records]
    if numbers and numbers[-1] >= LARGEST_ROSTER:
        raise source.malformed(f"a number in {name} is beyond any roster")
    if numbers != sorted(set(numbers)):
        raise source.malformed(f"{name} are not sorted, or one appears twice")
    return tuple(map(make, records))


def _context(source: Reader) -> bytes:
    return source.fixed(DIGEST_SIZE, "the context")


def _signature(source: Reader) -> bytes:
    return source.fixed(SIGNATURE_SIZE, "the signature")


def _bitmap(source: Reader, limits: DecodeLimits) -> bytes:
    return source.sized("the survivors", most=-(-limits.members // 8))


def _read_advertisement(source: Reader) -> Advertisement:
    before = source.position
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
    advertisement = Advertisement(
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
    # There is only one byte form, so these bytes are what `fields` would compute.
    vars(advertisement)["fields"] = source.since(before)
    return advertisement


def _read_advertisements(source: Reader, limits: DecodeLimits) -> tuple[Advertisement, ...]:
    items = _read_many(source, limits.members, _read_advertisement, "advertisements")
    return _sorted_by(source, items, lambda item: item.client, "advertisements")


def read_lone_advertisement(source: Reader, limits: DecodeLimits) -> Advertisement:  # noqa: ARG001  # one signature for all readers
    return _read_advertisement(source)


def read_roster(source: Reader, limits: DecodeLimits) -> Roster:
    return Roster(context0=_context(source), advertisements=_read_advertisements(source, limits))


def read_digests(source: Reader, limits: DecodeLimits) -> RosterDigests:
    context0 = _context(source)
    entries = _read_records(source, limits, _ENTRY, RosterEntry._make, "members")
    return RosterDigests(context0=context0, entries=entries)


def read_opening(source: Reader, limits: DecodeLimits) -> Opening:  # noqa: ARG001  # one signature for all readers
    return Opening(client=_client(source), context=_context(source), nonce=source.fixed(DIGEST_SIZE, "the nonce"))


def read_openings(source: Reader, limits: DecodeLimits) -> Openings:
    context = _context(source)
    nonces = _read_records(source, limits, _NONCE, MemberNonce._make, "nonces")
    return Openings(
        context=context,
        nonces=nonces,
        advertisements=_read_advertisements(source, limits),
    )


def _sealed_share(record: tuple[MemberIndex, bytes]) -> SealedShare:
    return SealedShare(member=record[0], sealed=record[1])


def _revealed_share(record: tuple[MemberIndex, bytes]) -> RevealedShare:
    return RevealedShare(owner=record[0], share=record[1])


def _read_shares(source: Reader, limits: DecodeLimits) -> tuple[SealedShare, ...]:
    return _read_records(source, limits, _SEALED, _sealed_share, "sealed shares")


def read_bundle(source: Reader, limits: DecodeLimits) -> ShareBundle:
    client, context = _client(source), _context(source)
    before = source.position
    shares = _read_shares(source, limits)
    flat = source.since(before + 2)  # behind their number
    bundle = ShareBundle(client=client, context=context, shares=shares, signature=_signature(source))
    vars(bundle)["flat"] = flat
    return bundle


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


def read_unmasking(source: Reader, limits: DecodeLimits) -> Unmasking:
    client, context = _client(source), _context(source)
    lists = [
        _read_records(source, limits, _REVEALED, _revealed_share, name)
        for name in ("self-mask shares", "pairwise shares")
    ]
    return Unmasking(
        client=client, context=context, self_mask=lists[0], pairwise=lists[1], signature=_signature(source)
    )
