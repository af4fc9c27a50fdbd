"""The parameter sets: one literal table, and the rules that every set must keep.

Security: 128 bits, classical, with a uniform ternary secret, by the table of the Homomorphic Encryption Standard
(Albrecht et al., 2018, tables for ternary secrets), which gives for each ring dimension N the largest log2 of the whole
modulus, the special prime included. `Parameters` refuses to exist with a larger modulus, and everything that travels
names its set by number, so nothing weaker can be configured.

Correctness: the noise bound of `_noise` leaves every sum of up to `maximum_cohort` contributions exact. Key
switching (products, rotations) adds noise in proportion to the largest data prime over the special prime, so a set
with evaluation keys must have a special prime at least as large: (60, 40, 40) ruins results, (60, 60, 60) does not.

| set | q, data | P | plaintext | for |
|---|---|---|---|---|
| bfv-4096-48 | 60 bits | 49 | 48-bit slots | exact sums of up to 16 |
| bfv-4096-46 | 60 bits | 49 | 46-bit slots | exact sums of up to 256 |
| bfv-4096-41 | 60 bits | 49 | 41-bit slots | exact sums of up to 65,535 |
| ckks-8192-sums | 48 + 48 bits | 60 | reals, scale 2^72 | real sums that survive noise flooding |
| ckks-8192-scalars | 60 + 60 bits | 60 | reals, scale 2^51 | inner products and norms |

The BFV sets spend the whole 109 bits that N = 4096 allows on one data prime as large as a machine word holds;
the plaintext modulus is the smallest prime above 2^slot_bits that is 1 modulo 2N. The first that holds the cohort
is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import final

from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic._errors import CohortUnsupported, ParametersUnknown
from fedseal_crypto.homomorphic._noise import decrypts_exactly

SECURITY_BITS = 128
MAXIMUM_MODULUS_BITS: Mapping[int, int] = MappingProxyType(
    {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
)
"""Ring dimension to the largest log2 of the modulus at 128 bits (Homomorphic Encryption Standard, ternary secrets)."""


WIRE_BITS = (60, 48)
"""Widths of data primes that `_residues` packs."""


class Scheme(StrEnum):
    """Which encryption scheme a set belongs to."""

    BFV = "bfv"  # integers modulo t, exact
    CKKS = "ckks"  # real numbers, approximate


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """One parameter set; take it from the table with `parameters_named` or `parameters_for_sums`.

    Attributes:
        name: As job files and logs say it.
        number: As the wire says it, 1 to 65535.
        scheme: BFV or CKKS.
        degree: N, the ring dimension.
        primes: Of the key's modulus, each 1 modulo 2N; the last is the special prime, which no ciphertext has.
        plain_modulus: t for BFV, 0 for CKKS.
        slot_bits: Every slot of a BFV sum stays below 2^slot_bits < t; 0 for CKKS.
        scale_bits: log2 of the scale of CKKS; 0 for BFV.
        maximum_cohort: The largest number of contributions in one sum.
        evaluation_keys: Whether relinearisation and Galois keys are made, for products and rotations.

    Raises:
        MisuseError: The set is weaker than 128 bits, or its sums or products would come out wrong.
    """

    name: str
    number: int
    scheme: Scheme
    degree: int
    primes: tuple[int, ...]
    plain_modulus: int = 0
    slot_bits: int = 0
    scale_bits: int = 0
    maximum_cohort: int
    evaluation_keys: bool = False

    def __post_init__(self) -> None:
        limit = MAXIMUM_MODULUS_BITS.get(self.degree, 0)
        if self.modulus_bits > limit:
            raise MisuseError(
                f"parameters {self.name!r}: {self.modulus_bits} bits of modulus at ring dimension {self.degree} are "
                f"weaker than {SECURITY_BITS} bits; at most {limit} are allowed."
            )
        if len(set(self.primes)) < len(self.primes) or any(prime % (2 * self.degree) != 1 for prime in self.primes):
            raise MisuseError(f"parameters {self.name!r}: the primes must be distinct and 1 modulo {2 * self.degree}.")
        if self.evaluation_keys and self.primes[-1].bit_length() < max(map(int.bit_length, self.primes)):
            raise MisuseError(
                f"parameters {self.name!r}: the special prime is smaller than a data prime, so products and rotations "
                "would drown in key-switching noise."
            )
        if any(prime.bit_length() not in WIRE_BITS for prime in self.data_primes):
            raise MisuseError(f"parameters {self.name!r}: data primes have one of {WIRE_BITS} bits.")
        if self.scheme is Scheme.BFV:
            self._check_integers()
        elif not 0 < self.scale_bits < self.data_bits:
            raise MisuseError(f"parameters {self.name!r}: a scale of {self.scale_bits} bits is out of range.")
        # The square of the scale and of 2^7, a sign, a bit of noise, and primes that fall short of a power of two.
        elif self.evaluation_keys and 2 * (self.scale_bits + 7) > self.data_bits - 4:
            raise MisuseError(f"parameters {self.name!r}: products at the scale {self.scale_bits} could wrap around.")

    def _check_integers(self) -> None:
        if self.plain_modulus % (2 * self.degree) != 1 or self.plain_modulus.bit_length() != self.slot_bits + 1:
            raise MisuseError(
                f"parameters {self.name!r}: the plaintext modulus must be 1 modulo {2 * self.degree} and lie above "
                f"2^{self.slot_bits}."
            )
        if not decrypts_exactly(
            degree=self.degree,
            primes=self.primes,
            plain_modulus=self.plain_modulus,
            addends=self.maximum_cohort,
        ):
            raise MisuseError(
                f"parameters {self.name!r}: the noise of {self.maximum_cohort} contributions reaches the plaintext."
            )

    @property
    def data_primes(self) -> tuple[int, ...]:
        """The primes that a ciphertext has residues of."""
        return self.primes[:-1]

    @property
    def data_bits(self) -> int:
        """Bits of a ciphertext coefficient over all data primes."""
        return sum(prime.bit_length() for prime in self.data_primes)

    @property
    def modulus_bits(self) -> int:
        """Bits of the whole modulus, the special prime included: what security depends on."""
        return sum(prime.bit_length() for prime in self.primes)

    @property
    def slots(self) -> int:
        """Values in one ciphertext: N integers, or N/2 reals."""
        return self.degree if self.scheme is Scheme.BFV else self.degree // 2

    @property
    def chunk_bytes(self) -> int:
        """Exact size of one ciphertext on the wire: two polynomials, each residue in the bits of its prime."""
        return 2 * self.degree * self.data_bits // 8


_P60, _P60B, _P60C = 1152921504606830593, 1152921504606748673, 1152921504606683137
_P49, _P48, _P48B = 562949953216513, 281474976694273, 281474976546817

_TABLE = (
    Parameters(
        name="bfv-4096-48",
        number=1,
        scheme=Scheme.BFV,
        degree=4096,
        primes=(_P60, _P49),
        plain_modulus=281474976768001,
        slot_bits=48,
        maximum_cohort=16,
    ),
    Parameters(
        name="bfv-4096-46",
        number=2,
        scheme=Scheme.BFV,
        degree=4096,
        primes=(_P60, _P49),
        plain_modulus=70368744210433,
        slot_bits=46,
        maximum_cohort=256,
    ),
    Parameters(
        name="bfv-4096-41",
        number=3,
        scheme=Scheme.BFV,
        degree=4096,
        primes=(_P60, _P49),
        plain_modulus=2199023288321,
        slot_bits=41,
        maximum_cohort=65_535,
    ),
    Parameters(
        name="ckks-8192-sums",
        number=4,
        scheme=Scheme.CKKS,
        degree=8192,
        primes=(_P48B, _P48, _P60),
        scale_bits=72,
        maximum_cohort=65_535,
    ),
    Parameters(
        name="ckks-8192-scalars",
        number=5,
        scheme=Scheme.CKKS,
        degree=8192,
        primes=(_P60C, _P60B, _P60),
        scale_bits=51,
        maximum_cohort=65_535,
        evaluation_keys=True,
    ),
)

PARAMETERS: Mapping[str, Parameters] = MappingProxyType({one.name: one for one in _TABLE})
"""Every parameter set there is, by name."""


def parameters_named(name: str) -> Parameters:
    """The set of that name.

    Raises:
        ParametersUnknown: There is none.
    """
    if name not in PARAMETERS:
        known = ", ".join(PARAMETERS)
        raise ParametersUnknown(f"{name[:80]!r} is not a parameter set; use one of {known}.")
    return PARAMETERS[name]


def parameters_numbered(number: int) -> Parameters:
    """The set of that number on the wire.

    Raises:
        ParametersUnknown: There is none.
    """
    for one in _TABLE:
        if one.number == number:
            return one
    raise ParametersUnknown(f"{number} is not the number of a parameter set; 1 to {len(_TABLE)} are in use.")


def parameters_for_sums(cohort: int) -> Parameters:
    """The BFV set with the widest slots that is exact for sums of up to `cohort` contributions.

    Raises:
        CohortUnsupported: The cohort is not 1 to 65535.
    """
    for one in _TABLE:
        if one.scheme is Scheme.BFV and 1 <= cohort <= one.maximum_cohort:
            return one
    raise CohortUnsupported(f"encrypted sums hold 1 to 65535 contributions, not {cohort}.")
