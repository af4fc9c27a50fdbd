"""Ciphertext coefficients as they travel and as they are added.

A polynomial is an array of N residues for each prime, little-endian 64-bit words in memory. On the wire a residue
takes only the bits of its prime. For 60-bit primes the sixteenth residue of each group is cut into fifteen times
four bits, which go on top of the other fifteen; for 48-bit primes the upper sixteen bits are left out.

Adding is what it is for the schemes themselves: residue by residue modulo the prime (Fan and Vercauteren, 2012,
section 4: SH.Add), so it needs no key, and the same ciphertexts give the same sum in any order.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Residues = NDArray[np.uint64]

_GROUP = 16
_SHIFTS = np.arange(_GROUP - 1, dtype=np.uint64) * np.uint64(4)
_LOW_60 = np.uint64((1 << 60) - 1)
_SIXTY, _NIBBLE = np.uint64(60), np.uint64(15)


def packed_bytes(count: int, prime: int) -> int:
    """Size of `count` residues on the wire; `count` is a multiple of 16."""
    return count * prime.bit_length() // 8


def pack(residues: Residues, prime: int) -> bytes:
    """The wire form of residues below `prime`, which has 60 or 48 bits."""
    if prime.bit_length() == 60:
        groups = residues.reshape(-1, _GROUP)
        words = groups[:, -1:] >> _SHIFTS
        words &= _NIBBLE
        words <<= _SIXTY
        words |= groups[:, :-1]
        return words.tobytes()
    return residues.view("<u2").reshape(-1, 4)[:, :3].tobytes()


def unpack(data: memoryview | bytes, prime: int, out: Residues) -> bool:
    """Write the residues of `data` into `out`; False if one is not below `prime`.

    Args:
        data: Exactly `packed_bytes(out.size, prime)` bytes.
        prime: The modulus.
        out: A contiguous array to fill.
    """
    if prime.bit_length() == 60:
        words = np.frombuffer(data, "<u8").reshape(-1, _GROUP - 1)
        groups = out.reshape(-1, _GROUP)
        np.bitwise_and(words, _LOW_60, out=groups[:, :-1])
        np.bitwise_or.reduce((words >> _SIXTY) << _SHIFTS, axis=1, out=groups[:, -1])
    else:
        quarters = out.view("<u2").reshape(-1, 4)
        quarters[:, :3] = np.frombuffer(data, "<u2").reshape(-1, 3)
        quarters[:, 3] = 0
    return bool(out.max() < prime)


def add_residues(total: Residues, other: Residues, primes: Sequence[int]) -> None:
    """Add in place: `total` and `other` have the shape (2, primes, N), primes have at most 63 bits."""
    for index, prime in enumerate(primes):
        part = total[:, index]
        part += other[:, index]
        # One subtraction reduces: both were below the prime.
        np.minimum(part, part - np.uint64(prime), out=part)
