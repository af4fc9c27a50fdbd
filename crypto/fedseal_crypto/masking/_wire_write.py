"""Writing each message's fields, in the order in which `_wire_read` takes them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from fedseal_crypto.masking._codec import Writer
from fedseal_crypto.masking._messages import (
    Advertisement,
    Confirmation,
    Confirmations,
    MaskedInputHeader,
    MemberNonce,
    Opening,
    Openings,
    Roster,
    RosterDigests,
    ShareBundle,
    ShareDelivery,
    Survivors,
    Unmasking,
)
from fedseal_crypto.masking._parameters import MemberIndex

T = TypeVar("T")

_last_nonces: tuple[tuple[MemberNonce, ...], bytes] = ((), bytes(2))


def _write_many(out: Writer, items: Sequence[T], write: Callable[[Writer, T], None]) -> None:
    out.uint(len(items), 2)
    for item in items:
        write(out, item)


def _write_records(out: Writer, records: Sequence[tuple[MemberIndex, bytes]]) -> None:
    """Entries of a member's number and bytes of one size."""
    out.uint(len(records), 2)
    out.fixed(b"".join([member.to_bytes(2, "big") + value for member, value in records]))


def write_advertisement(out: Writer, message: Advertisement) -> None:
    out.fixed(message.fields)


def advertisement_fields(message: Advertisement) -> bytes:
    """All fields of an advertisement; `Advertisement.fields` keeps them."""
    out = Writer()
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
    return out.finish()


def write_roster(out: Writer, message: Roster) -> None:
    out.fixed(message.context0)
    _write_many(out, message.advertisements, write_advertisement)


def write_digests(out: Writer, message: RosterDigests) -> None:
    out.fixed(message.context0)
    _write_records(out, [(entry.member, entry.digest + entry.graph_commitment) for entry in message.entries])


def write_opening(out: Writer, message: Opening) -> None:
    out.text(message.client)
    out.fixed(message.context)
    out.fixed(message.nonce)


def write_openings(out: Writer, message: Openings) -> None:
    out.fixed(message.context)
    _write_nonces(out, message.nonces)
    _write_many(out, message.advertisements, write_advertisement)


def _write_nonces(out: Writer, nonces: tuple[MemberNonce, ...]) -> None:
    """All nonces; a server sends each member the same list, so that the last one's bytes are kept."""
    global _last_nonces  # noqa: PLW0603  # one list at a time: that of the round being told
    known, data = _last_nonces
    if known is not nonces:
        whole = Writer()
        _write_records(whole, nonces)
        data = whole.finish()
        _last_nonces = nonces, data
    out.fixed(data)


def write_bundle(out: Writer, message: ShareBundle) -> None:
    out.text(message.client)
    out.fixed(message.context)
    out.uint(len(message.shares), 2)
    out.fixed(message.flat)
    out.fixed(message.signature)


def write_delivery(out: Writer, message: ShareDelivery) -> None:
    out.fixed(message.context)
    out.text(message.receiver)
    _write_records(out, [(share.member, share.sealed) for share in message.shares])


def write_header(out: Writer, message: MaskedInputHeader) -> None:
    out.text(message.client)
    for value in (message.context, message.digest, message.signature):
        out.fixed(value)


def write_survivors(out: Writer, message: Survivors) -> None:
    out.fixed(message.context)
    out.sized(message.survivors)


def write_confirmation(out: Writer, message: Confirmation) -> None:
    out.fixed(message.fields)


def confirmation_fields(message: Confirmation) -> bytes:
    """All fields of a confirmation; `Confirmation.fields` keeps them."""
    out = Writer()
    out.text(message.client)
    out.fixed(message.context)
    out.sized(message.survivors)
    out.fixed(message.signature)
    return out.finish()


def write_confirmations(out: Writer, message: Confirmations) -> None:
    out.fixed(message.context)
    _write_many(out, message.confirmations, write_confirmation)


def write_unmasking(out: Writer, message: Unmasking) -> None:
    out.text(message.client)
    out.fixed(message.context)
    _write_records(out, [(share.owner, share.share) for share in message.self_mask])
    _write_records(out, [(share.owner, share.share) for share in message.pairwise])
    out.fixed(message.signature)
