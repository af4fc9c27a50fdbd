"""Every domain-separation label of the protocol, and the two functions that use them.

Rules it keeps: `label` builds all labels, from the protocol's name and version and a usage; variable parts
are length-prefixed, so that no two different inputs give the same bytes; every key and every signature names
the context of the attempt. References: RFC 5869 (HKDF), RFC 8032 (Ed25519).
"""

import hashlib
from enum import StrEnum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PROTOCOL = b"fedseal/masking/v1/"
KEY_SIZE = 32


class Usage(StrEnum):
    """What a label is for."""

    CONTEXT0 = "context0"
    CONTEXT = "context"
    ADVERTISE = "advertise"
    ADVERTISEMENT_DIGEST = "advertisement-digest"
    GRAPH_COMMIT = "graph-commit"
    GRAPH_SEED = "graph-seed"
    GRAPH_STREAM = "graph-stream"
    COMMIT = "commit"
    SHARE_CHANNEL = "share-channel"
    SHARES = "shares"
    PAIR_MASK = "pair-mask"
    SELF_MASK = "self-mask"
    MASKED_INPUT = "masked-input"
    SURVIVORS = "survivors"
    UNMASK = "unmask"


def label(usage: Usage, *parts: bytes) -> bytes:
    """`PROTOCOL | usage`, then each part with its length: injective in (usage, parts)."""
    return _PREFIXES[usage] + b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def field(value: bytes) -> bytes:
    """`value` after its length in four bytes, big-endian."""
    return len(value).to_bytes(4, "big") + value


# Labels are built tens of thousands of times in a round of a hundred members.
_PREFIXES = {usage: field(PROTOCOL + usage.encode()) for usage in Usage}


def tagged_hash(usage: Usage, *parts: bytes) -> bytes:
    """SHA-256 of the label: 32 bytes that are bound to the usage."""
    return hashlib.sha256(label(usage, *parts)).digest()


def derive_key(secret: bytes, usage: Usage, *parts: bytes, context: bytes, size: int = KEY_SIZE) -> bytes:
    """HKDF-SHA256 with the context as salt and the label as info: `size` bytes (RFC 5869)."""
    return HKDF(hashes.SHA256(), size, context, label(usage, *parts)).derive(secret)
