"""Noise that hides the noise: what makes a decrypted CKKS result safe to publish.

CKKS decrypts to the message plus an error that depends on the secret key. Whoever sees enough decrypted values and
knows the messages recovers the key (Li and Micciancio, "On the Security of Homomorphic Encryption on Approximate
Numbers", EUROCRYPT 2021). So a result leaves only after a Gaussian of standard deviation

    sigma = sqrt(12 · tau) · 2^(s / 2) · t

was added to each released value (Li, Micciancio, Schultz, Sorrell, "Securing Approximate Homomorphic Encryption
Using Differential Privacy", CRYPTO 2022; OpenFHE uses it in this form), where t bounds the Euclidean norm of the
error of what one decryption releases, tau is the number of decryptions under one key, and s the bits of statistical
security: the Kullback-Leibler divergence between all that is ever released and the same without any error is at most

    tau · t² / (2 · sigma²) = 2^-s / 24.

The Gaussian is added to the ciphertext, as a plaintext, before it is decrypted. What decoding does in floating point
afterwards is then a function of a flooded value and tells nothing more. Its randomness is the operating system's:
knowing the messages, an attacker sees the Gaussian itself, and must not be able to continue it.

The errors, with N the degree, S the scale, and every key's Hamming weight taken as N (see `_noise`):

    a coefficient of a sum of n   standard deviation at most c = sqrt(n · (1 + N) / 12)
    one ciphertext of a sum       t = 2 · sqrt(N / 2) · sqrt(N) · c / S: the norm over its N / 2 real slots,
                                  twice its expectation
    one scalar                    t = 14 · w · sqrt(N) · c / S, with n = 1: fourteen standard deviations of the inner
                                  product of the error with vectors of norm w; w is |y| for a public y, |x| + |y|
                                  for two encrypted vectors. Divided by the gain that the plan gives its vectors
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic._parameters import Parameters

Entropy = Callable[[int], bytes]
MINIMUM_BITS = 30
_DEVIATIONS = 7.3  # a Gaussian is larger with probability below 2^-41
_FLOAT_BITS = 45  # relative error of encoding and decoding 8192 coefficients in float64, with room


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Flooding:
    """How much noise a job's decryptions get.

    Attributes:
        decryptions: tau, the most decryptions under one key: ciphertexts of sums, and scalars. When they are used
            up, the key must be too.
        statistical_bits: s, at least 30.

    Raises:
        MisuseError: One of these is out of range.
    """

    decryptions: int
    statistical_bits: int = MINIMUM_BITS

    def __post_init__(self) -> None:
        if not 1 <= self.decryptions <= 1 << 40:
            raise MisuseError(f"{self.decryptions} decryptions under one key are not possible; plan 1 to 2^40.")
        if not MINIMUM_BITS <= self.statistical_bits <= 128:
            raise MisuseError(
                f"{self.statistical_bits} bits of statistical security are not possible; use {MINIMUM_BITS} to 128."
            )

    def deviation(self, error: float) -> float:
        """Sigma for an error of norm at most `error`, in the same unit."""
        return math.sqrt(12 * self.decryptions) * math.pow(2, self.statistical_bits / 2) * error

    def bound(self, error: float, *, largest: float) -> float:
        """What a released value is off by at most, except with probability 2^-40.

        Args:
            error: t.
            largest: The largest absolute value that can be released; float64 rounds in proportion to it.
        """
        return _DEVIATIONS * self.deviation(error) + error + largest * 2.0**-_FLOAT_BITS


def sum_error(parameters: Parameters, addends: int) -> float:
    """T for one ciphertext of a sum of so many contributions."""
    degree = parameters.degree
    return 2 * math.sqrt(degree / 2) * _slot_error(parameters, addends)


def scalar_error(parameters: Parameters, weight: float) -> float:
    """T for one scalar, `weight` being w."""
    return 14 * weight * _slot_error(parameters, 1)


def _slot_error(parameters: Parameters, addends: int) -> float:
    """The standard deviation of one slot."""
    degree = parameters.degree
    coefficient = math.sqrt(addends * (1 + degree) / 12)
    return math.sqrt(degree) * coefficient / 2.0**parameters.scale_bits


def gaussians(count: int, *, deviation: float, entropy: Entropy) -> NDArray[np.float64]:
    """Independent normal values of mean 0, from `entropy` alone (Box and Muller, 1958).

    Args:
        count: How many.
        deviation: Standard deviation.
        entropy: Gives that many random bytes; 16 are asked for each pair.
    """
    pairs = (count + 1) // 2
    raw = np.frombuffer(entropy(16 * pairs), "<u8") >> np.uint64(11)
    uniform = (raw.astype(np.float64) + 1) * 2.0**-53  # in (0, 1]
    radius = deviation * np.sqrt(-2 * np.log(uniform[:pairs]))
    angle = 2 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
