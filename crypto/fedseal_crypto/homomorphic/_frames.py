"""The byte form of encrypted vectors: a header, then ciphertexts of one fixed size.

    magic 8 | parameter set 2 | kind 2 | addends 4 | ciphertexts 4 | key digest 32 | content digest 32 | ciphertexts

Integers are big-endian. The content digest is that of the layout, or of the length of a real vector, so that vectors
of two plans never meet in one sum. A ciphertext is its two polynomials, for each the residues modulo each data
prime (see `_residues`); nothing in it states its level, size, scale or seed, so a peer cannot state a wrong one: the
receiver writes those itself. The whole length follows from the header and is compared first, so that reading
needs memory for one ciphertext whatever a peer sends.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import final

import numpy as np

from fedseal_crypto.digests import Digest
from fedseal_crypto.homomorphic._errors import (
    CiphertextTruncated,
    CoefficientRefused,
    NotACiphertext,
    OtherKey,
    OtherLayout,
    OtherParameters,
    ParametersUnknown,
    WrongAddends,
    WrongSize,
)
from fedseal_crypto.homomorphic._parameters import Parameters, parameters_numbered
from fedseal_crypto.homomorphic._residues import Residues, pack, packed_bytes, unpack

MAGIC = b"FSHEVEC\x01"
_HEADER = struct.Struct(">8sHHII32s32s")
HEADER_BYTES = _HEADER.size
Bytes = bytes | bytearray | memoryview


class Kind(IntEnum):
    """What the ciphertexts hold."""

    INTEGERS = 1  # slots of a SlotPlan
    REALS = 2
    SCALAR = 3  # one product; only its first slot means something


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BundleHeader:
    """What an encrypted vector says about itself.

    Attributes:
        parameters: The parameter set.
        kind: What the ciphertexts hold.
        addends: How many contributions it is the sum of; 1 for a contribution.
        chunks: Number of ciphertexts.
        key_digest: Of the public key it is encrypted under.
        content_digest: 32 bytes: the layout's digest.
    """

    parameters: Parameters
    kind: Kind
    addends: int
    chunks: int
    key_digest: Digest
    content_digest: bytes

    def to_bytes(self) -> bytes:
        """The header as it travels."""
        key = bytes.fromhex(self.key_digest)
        return _HEADER.pack(
            MAGIC, self.parameters.number, self.kind, self.addends, self.chunks, key, self.content_digest
        )

    @property
    def bundle_bytes(self) -> int:
        """Size of the whole vector."""
        return HEADER_BYTES + self.chunks * self.parameters.chunk_bytes


def bundle_header(data: Bytes) -> BundleHeader:
    """Read the header of an encrypted vector; the ciphertexts may not have arrived yet.

    Raises:
        NotACiphertext: The bytes do not begin like one, or name no parameter set or kind.
        CiphertextTruncated: They end within the header.
    """
    start = bytes(data[: len(MAGIC)])
    if start != MAGIC[: len(start)] or not start:
        raise NotACiphertext("these bytes are not an encrypted vector: they begin otherwise.")
    if len(data) < HEADER_BYTES:
        raise CiphertextTruncated(f"an encrypted vector begins with {HEADER_BYTES} bytes; {len(data)} came.")
    _, number, kind, addends, chunks, key, content = _HEADER.unpack_from(data)
    try:
        parameters, kind = parameters_numbered(number), Kind(kind)
    except (ParametersUnknown, ValueError) as error:
        raise NotACiphertext("the encrypted vector names a parameter set or kind that does not exist.") from error
    return BundleHeader(
        parameters=parameters,
        kind=kind,
        addends=addends,
        chunks=chunks,
        key_digest=Digest(key.hex()),
        content_digest=content,
    )


def check_header(data: Bytes, expected: BundleHeader) -> None:
    """Compare header and length with what the receiver expects; costs nothing and reads no ciphertext.

    Raises:
        CiphertextRefused: One of its classes, for the first difference.
    """
    found = bundle_header(data)
    if found.parameters is not expected.parameters:
        raise OtherParameters(
            f"the vector is encrypted with parameters {found.parameters.name!r}; "
            f"this sum uses {expected.parameters.name!r}."
        )
    if found.key_digest != expected.key_digest:
        raise OtherKey(
            f"the vector is encrypted under the key {found.key_digest[:16]}...; this sum uses "
            f"{expected.key_digest[:16]}...."
        )
    if found.kind is not expected.kind or found.content_digest != expected.content_digest:
        raise OtherLayout("the encrypted vector has another layout than this sum.")
    if found.addends != expected.addends:
        raise WrongAddends(
            f"the encrypted vector says it is the sum of {found.addends} contributions; {expected.addends} expected."
        )
    if found.chunks != expected.chunks:
        raise WrongSize(f"the encrypted vector has {found.chunks} ciphertexts; this layout has {expected.chunks}.")
    if len(data) < expected.bundle_bytes:
        raise CiphertextTruncated(f"the encrypted vector ends after {len(data)} of {expected.bundle_bytes} bytes.")
    if len(data) > expected.bundle_bytes:
        raise WrongSize(f"{len(data) - expected.bundle_bytes} bytes follow the encrypted vector.")


def new_chunk(parameters: Parameters) -> Residues:
    """Room for one ciphertext: shape (2, data primes, N)."""
    return np.empty((2, len(parameters.data_primes), parameters.degree), np.uint64)


def write_chunk(residues: Residues, parameters: Parameters) -> bytes:
    """One ciphertext as it travels."""
    return b"".join(
        pack(residues[part, index], prime) for part in range(2) for index, prime in enumerate(parameters.data_primes)
    )


def read_chunk(data: Bytes, index: int, parameters: Parameters, out: Residues) -> None:
    """Read ciphertext number `index` of a vector whose header was checked.

    Raises:
        CoefficientRefused: A coefficient is not a residue, or the second polynomial is zero, so that the first
            would show the plaintext.
    """
    view = memoryview(data)
    at = HEADER_BYTES + index * parameters.chunk_bytes
    for part in range(2):
        for row, prime in enumerate(parameters.data_primes):
            size = packed_bytes(parameters.degree, prime)
            if not unpack(view[at : at + size], prime, out[part, row]):
                raise CoefficientRefused(f"ciphertext {index} has a coefficient that is not a residue of its prime.")
            at += size
    if not out[1].any():
        raise CoefficientRefused(f"ciphertext {index} is transparent: its second polynomial is zero.")
