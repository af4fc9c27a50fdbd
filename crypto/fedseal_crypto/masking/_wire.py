"""The byte form of every message: magic, version, kind, fields; strict in both directions.

Rules it keeps: one byte form for each message, nothing after it, every list sorted strictly by member (so no
duplicates), every length checked against a limit before anything is taken. Decoding fails with
`MessageMalformed` only. It checks form; whether a message is true is for the state machines.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

from fedseal_crypto.identity import NameInvalid, parse_party_name
from fedseal_crypto.masking._codec import Reader, Writer
from fedseal_crypto.masking._errors import MessageMalformed
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
    WireMessage,
)
from fedseal_crypto.masking._parameters import DIGEST_SIZE, NAME_SIZE, ClientId, MemberIndex
from fedseal_crypto.masking._shamir import SHARE_SIZE
from fedseal_crypto.masking._thresholds import LARGEST_ROSTER

MAGIC = b"FSM"
VERSION = 1
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


DEFAULT_LIMITS = DecodeLimits()


def encode_message(message: WireMessage) -> bytes:
    """The one byte form of a message."""
    kind = _KINDS[type(message)]
    out = Writer()
    out.fixed(MAGIC)
    out.uint(VERSION, 1)
    out.uint(kind, 1)
    _WRITERS[kind](out, message)
    return out.finish()


def decode_message(data: bytes, limits: DecodeLimits = DEFAULT_LIMITS) -> WireMessage:
    """Read a message.

    Raises:
        MessageMalformed: The bytes are not exactly one message of this version within the limits.
    """
    if len(data) > limits.message_bytes:
        raise MessageMalformed(f"a message of {len(data)} bytes is larger than {limits.message_bytes}.")
    source = Reader(data, "a masking message")
    if source.fixed(len(MAGIC), "the magic") != MAGIC:
        raise source.malformed("it does not begin with the protocol's mark")
    if source.uint(1, "the version", most=255) != VERSION:
        raise source.malformed(f"its version is not {VERSION}; use the same software on all sides")
    reader = _READERS.get(source.uint(1, "the kind", most=255))
    if reader is None:
        raise source.malformed("its kind is unknown")
    message = reader(source, limits)
    source.finish()
    return message


# --- writing -----------------------------------------------------------------------------------------


def _write_many(out: Writer, items: Sequence[T], write: Callable[[Writer, T], None]) -> None:
    out.uint(len(items), 2)
    for item in items:
        write(out, item)


def _write_advertisement(out: Writer, message: Advertisement) -> None:
    out.text(message.client)
    for value in (
        message.context0,
        message.identity,
        message.mask_key,
        message.channel_key,
        message.commitment,
    ):
        out.fixed(value)
    out.sized(message.graph_commitment)
    _write_many(out, message.abandoned, Writer.fixed)
    out.fixed(message.signature)


def _write_roster(out: Writer, message: Roster) -> None:
    out.fixed(message.context0)
    _write_many(out, message.advertisements, _write_advertisement)


def _write_entry(out: Writer, entry: RosterEntry) -> None:
    out.uint(entry.member, 2)
    out.fixed(entry.digest)
    out.fixed(entry.graph_commitment)


def _write_digests(out: Writer, message: RosterDigests) -> None:
    out.fixed(message.context0)
    _write_many(out, message.entries, _write_entry)


def _write_opening(out: Writer, message: Opening) -> None:
    out.text(message.client)
    out.fixed(message.context)
    out.fixed(message.nonce)


def _write_nonce(out: Writer, nonce: MemberNonce) -> None:
    out.uint(nonce.member, 2)
    out.fixed(nonce.nonce)


def _write_openings(out: Writer, message: Openings) -> None:
    out.fixed(message.context)
    _write_many(out, message.nonces, _write_nonce)
    _write_many(out, message.advertisements, _write_advertisement)


def _write_sealed(out: Writer, share: SealedShare) -> None:
    out.uint(share.member, 2)
    out.fixed(share.sealed)


def _write_bundle(out: Writer, message: ShareBundle) -> None:
    out.text(message.client)
    out.fixed(message.context)
    _write_many(out, message.shares, _write_sealed)
    out.fixed(message.signature)


def _write_delivery(out: Writer, message: ShareDelivery) -> None:
    out.fixed(message.context)
    out.text(message.receiver)
    _write_many(out, message.shares, _write_sealed)


def _write_header(out: Writer, message: MaskedInputHeader) -> None:
    out.text(message.client)
    for value in (message.context, message.digest, message.signature):
        out.fixed(value)


def _write_survivors(out: Writer, message: Survivors) -> None:
    out.fixed(message.context)
    out.sized(message.survivors)


def _write_confirmation(out: Writer, message: Confirmation) -> None:
    out.text(message.client)
    out.fixed(message.context)
    out.sized(message.survivors)
    out.fixed(message.signature)


def _write_confirmations(out: Writer, message: Confirmations) -> None:
    out.fixed(message.context)
    _write_many(out, message.confirmations, _write_confirmation)


def _write_revealed(out: Writer, share: RevealedShare) -> None:
    out.uint(share.owner, 2)
    out.fixed(share.share)


def _write_unmasking(out: Writer, message: Unmasking) -> None:
    out.text(message.client)
    out.fixed(message.context)
    _write_many(out, message.self_mask, _write_revealed)
    _write_many(out, message.pairwise, _write_revealed)
    out.fixed(message.signature)


# --- reading -----------------------------------------------------------------------------------------


def _read_many(source: Reader, limit: int, read: Callable[[Reader], T], name: str) -> tuple[T, ...]:
    return tuple(read(source) for _ in range(source.uint(2, f"the number of {name}", most=limit)))


def _sorted_by(
    source: Reader, items: tuple[T, ...], key: Callable[[T], int | str], name: str
) -> tuple[T, ...]:
    keys = [key(item) for item in items]
    # Strictly increasing, so no member appears twice and the byte form is unique.
    if any(not before < after for before, after in zip(keys, keys[1:], strict=False)):  # type: ignore[operator]  # one list never mixes both types
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


def _read_lone_advertisement(source: Reader, limits: DecodeLimits) -> Advertisement:  # noqa: ARG001  # one signature for all readers
    return _read_advertisement(source)


def _read_roster(source: Reader, limits: DecodeLimits) -> Roster:
    return Roster(context0=_context(source), advertisements=_read_advertisements(source, limits))


def _read_entry(source: Reader) -> RosterEntry:
    return RosterEntry(
        member=_member(source),
        digest=source.fixed(DIGEST_SIZE, "an advertisement's digest"),
        graph_commitment=source.fixed(DIGEST_SIZE, "a graph commitment"),
    )


def _read_digests(source: Reader, limits: DecodeLimits) -> RosterDigests:
    context0 = _context(source)
    entries = _read_many(source, limits.members, _read_entry, "members")
    return RosterDigests(
        context0=context0, entries=_sorted_by(source, entries, lambda e: e.member, "members")
    )


def _read_opening(source: Reader, limits: DecodeLimits) -> Opening:  # noqa: ARG001  # one signature for all readers
    return Opening(
        client=_client(source), context=_context(source), nonce=source.fixed(DIGEST_SIZE, "the nonce")
    )


def _read_nonce(source: Reader) -> MemberNonce:
    return MemberNonce(member=_member(source), nonce=source.fixed(DIGEST_SIZE, "a nonce"))


def _read_openings(source: Reader, limits: DecodeLimits) -> Openings:
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


def _read_bundle(source: Reader, limits: DecodeLimits) -> ShareBundle:
    return ShareBundle(
        client=_client(source),
        context=_context(source),
        shares=_read_shares(source, limits),
        signature=_signature(source),
    )


def _read_delivery(source: Reader, limits: DecodeLimits) -> ShareDelivery:
    return ShareDelivery(
        context=_context(source), receiver=_client(source), shares=_read_shares(source, limits)
    )


def _read_header(source: Reader, limits: DecodeLimits) -> MaskedInputHeader:  # noqa: ARG001  # one signature for all readers
    return MaskedInputHeader(
        client=_client(source),
        context=_context(source),
        digest=source.fixed(DIGEST_SIZE, "the digest"),
        signature=_signature(source),
    )


def _read_survivors(source: Reader, limits: DecodeLimits) -> Survivors:
    return Survivors(context=_context(source), survivors=_bitmap(source, limits))


def _read_confirmation(source: Reader, limits: DecodeLimits) -> Confirmation:
    return Confirmation(
        client=_client(source),
        context=_context(source),
        survivors=_bitmap(source, limits),
        signature=_signature(source),
    )


def _read_confirmations(source: Reader, limits: DecodeLimits) -> Confirmations:
    context = _context(source)
    items = _read_many(
        source, limits.members, lambda reader: _read_confirmation(reader, limits), "confirmations"
    )
    return Confirmations(
        context=context, confirmations=_sorted_by(source, items, lambda item: item.client, "confirmations")
    )


def _read_revealed(source: Reader) -> RevealedShare:
    return RevealedShare(owner=_member(source), share=source.fixed(SHARE_SIZE, "a share"))


def _read_unmasking(source: Reader, limits: DecodeLimits) -> Unmasking:
    client, context = _client(source), _context(source)
    lists = [
        _sorted_by(
            source, _read_many(source, limits.members, _read_revealed, name), lambda share: share.owner, name
        )
        for name in ("self-mask shares", "pairwise shares")
    ]
    return Unmasking(
        client=client, context=context, self_mask=lists[0], pairwise=lists[1], signature=_signature(source)
    )


_TABLE: tuple[tuple[type, Callable[..., None], Callable[[Reader, DecodeLimits], WireMessage]], ...] = (
    (Advertisement, _write_advertisement, _read_lone_advertisement),
    (Roster, _write_roster, _read_roster),
    (RosterDigests, _write_digests, _read_digests),
    (Opening, _write_opening, _read_opening),
    (Openings, _write_openings, _read_openings),
    (ShareBundle, _write_bundle, _read_bundle),
    (ShareDelivery, _write_delivery, _read_delivery),
    (MaskedInputHeader, _write_header, _read_header),
    (Survivors, _write_survivors, _read_survivors),
    (Confirmation, _write_confirmation, _read_confirmation),
    (Confirmations, _write_confirmations, _read_confirmations),
    (Unmasking, _write_unmasking, _read_unmasking),
)
# The kind on the wire is the position here, from 1; new kinds go at the end, and none is ever reused.
_KINDS = {row[0]: kind for kind, row in enumerate(_TABLE, 1)}
_WRITERS = {kind: row[1] for kind, row in enumerate(_TABLE, 1)}
_READERS = {kind: row[2] for kind, row in enumerate(_TABLE, 1)}
