"""The byte form of every message: magic, version, kind, fields; strict in both directions.

Rules it keeps: one byte form for each message, nothing after it, every list sorted strictly by member (so no
duplicates), every length checked against a limit before anything is taken. Decoding fails with
`MessageMalformed` only. It checks form; whether a message is true is for the state machines.
"""

from collections.abc import Callable

from fedseal_crypto.masking._codec import Reader, Writer
from fedseal_crypto.masking._errors import MessageMalformed
from fedseal_crypto.masking._messages import (
    Advertisement,
    Confirmation,
    Confirmations,
    MaskedInputHeader,
    Opening,
    Openings,
    Roster,
    RosterDigests,
    ShareBundle,
    ShareDelivery,
    Survivors,
    Unmasking,
    WireMessage,
)
from fedseal_crypto.masking._wire_read import (
    DecodeLimits,
    read_bundle,
    read_confirmation,
    read_confirmations,
    read_delivery,
    read_digests,
    read_header,
    read_lone_advertisement,
    read_opening,
    read_openings,
    read_roster,
    read_survivors,
    read_unmasking,
)
from fedseal_crypto.masking._wire_write import (
    write_advertisement,
    write_bundle,
    write_confirmation,
    write_confirmations,
    write_delivery,
    write_digests,
    write_header,
    write_opening,
    write_openings,
    write_roster,
    write_survivors,
    write_unmasking,
)

MAGIC = b"FSM"
VERSION = 1
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


_TABLE: tuple[tuple[type, Callable[..., None], Callable[[Reader, DecodeLimits], WireMessage]], ...] = (
    (Advertisement, write_advertisement, read_lone_advertisement),
    (Roster, write_roster, read_roster),
    (RosterDigests, write_digests, read_digests),
    (Opening, write_opening, read_opening),
    (Openings, write_openings, read_openings),
    (ShareBundle, write_bundle, read_bundle),
    (ShareDelivery, write_delivery, read_delivery),
    (MaskedInputHeader, write_header, read_header),
    (Survivors, write_survivors, read_survivors),
    (Confirmation, write_confirmation, read_confirmation),
    (Confirmations, write_confirmations, read_confirmations),
    (Unmasking, write_unmasking, read_unmasking),
)
# The kind on the wire is the position here, from 1; new kinds go at the end, and none is ever reused.
_KINDS = {row[0]: kind for kind, row in enumerate(_TABLE, 1)}
_WRITERS = {kind: row[1] for kind, row in enumerate(_TABLE, 1)}
_READERS = {kind: row[2] for kind, row in enumerate(_TABLE, 1)}
