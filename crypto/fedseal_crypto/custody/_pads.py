"""Pads: what hides a contribution from the custodian.

A member adds a keystream to its encoded vector before it encrypts, and gives the keystream's key to the
coordinator. The custodian, who could decrypt, sees uniform words; the coordinator, who knows the pad, cannot
decrypt. The pad of a sum is the sum of the pads, so the coordinator takes them out of what the custodian
opened. A pad's key is used for one vector of one attempt.
"""

from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedseal_crypto.custody._messages import label
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking import ClientId
from fedseal_crypto.masking._keystream import MASK_KEY_SIZE, Mask, apply_masks
from fedseal_crypto.secret import SecretBytes


def add_pad(words: RingVector, pad: SecretBytes, *, context0: bytes, client: ClientId) -> None:
    """Add a member's pad, in place."""
    apply_masks(words, [Mask(_stream_key(pad, context0, client), add=True)])


def pads_taken(zeros: RingVector, pads: Iterable[tuple[ClientId, SecretBytes]], *, context0: bytes) -> RingVector:
    """Minus the sum of the pads: what turns an opened sum into the sum of the contributions.

    Args:
        zeros: A vector of zeros of the round's shape; it is changed.
        pads: Member and pad key, once each.
        context0: First context of the attempt.
    """
    apply_masks(zeros, [Mask(_stream_key(pad, context0, client), add=False) for client, pad in pads])
    return zeros


def _stream_key(pad: SecretBytes, context0: bytes, client: ClientId) -> SecretBytes:
    info = label(b"pad", client.encode())
    return SecretBytes(HKDF(hashes.SHA256(), MASK_KEY_SIZE, context0, info).derive(pad.reveal()))
