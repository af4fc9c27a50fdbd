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

T = TypeVar("T")


def _write_many(out: Writer, items: Sequence[T], write: Callable[[Writer, T], None]) -> None:
    out.uint(len(items), 2)
    for item in items:
        write(out, item)


def write_advertisement(out: Writer, message: Advertisement) -> None:
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


def write_roster(out: Writer, message: Roster) -> None:
    out.fixed(message.context0)
    _write_many(out, message.advertisements, write_advertisement)


def _write_entry(out: Writer, entry: RosterEntry) -> None:
    out.uint(entry.member, 2)
    out.fixed(entry.digest)
    out.fixed(entry.graph_commitment)


def write_digests(out: Writer, message: RosterDigests) -> None:
    out.fixed(message.context0)
    _write_many(out, message.entries, _write_entry)


def write_opening(out: Writer, message: Opening) -> None:
    out.text(message.client)
    out.fixed(message.context)
    out.fixed(message.nonce)


def _write_nonce(out: Writer, nonce: MemberNonce) -> None:
    out.uint(nonce.member, 2)
    out.fixed(nonce.nonce)


def write_openings(out: Writer, message: Openings) -> None:
    out.fixed(message.context)
    _write_many(out, message.nonces, _write_nonce)
    _write_many(out, message.advertisements, write_advertisement)


def _write_sealed(out: Writer, share: SealedShare) -> None:
    out.uint(share.member, 2)
    out.fixed(share.sealed)


def write_bundle(out: Writer, message: ShareBundle) -> None:
    out.text(message.client)
    out.fixed(message.context)
    _write_many(out, message.shares, _write_sealed)
    out.fixed(message.signature)


def write_delivery(out: Writer, message: ShareDelivery) -> None:
    out.fixed(message.context)
    out.text(message.receiver)
    _write_many(out, message.shares, _write_sealed)


def write_header(out: Writer, message: MaskedInputHeader) -> None:
    out.text(message.client)
    for value in (message.context, message.digest, message.signature):
        out.fixed(value)


def write_survivors(out: Writer, message: Survivors) -> None:
    out.fixed(message.context)
    out.sized(message.survivors)


def write_confirmation(out: Writer, message: Confirmation) -> None:
    out.text(message.client)
    out.fixed(message.context)
    out.sized(message.survivors)
    out.fixed(message.signature)


def write_confirmations(out: Writer, message: Confirmations) -> None:
    out.fixed(message.context)
    _write_many(out, message.confirmations, write_confirmation)


def _write_revealed(out: Writer, share: RevealedShare) -> None:
    out.uint(share.owner, 2)
    out.fixed(share.share)


def write_unmasking(out: Writer, message: Unmasking) -> None:
    out.text(message.client)
    out.fixed(message.context)
    _write_many(out, message.self_mask, _write_revealed)
    _write_many(out, message.pairwise, _write_revealed)
    out.fixed(message.signature)
