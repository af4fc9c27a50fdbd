"""How large the noise of a sum can get, computed rather than measured.

A fresh public-key ciphertext (c0, c1) of the message m is made modulo q·P, divided by the special prime P and
rounded, and gets the scaled message added. It decrypts to c0 + c1·s = (q/t)·m + v (BFV) or scale·m + v (CKKS) with

    v = r0 + r1·s + r + (e0 + e1·s + e·u) / P,

where r0, r1 are the rounding residues of the division, uniform in [-1/2, 1/2] for each of the N coefficients; s, u
are ternary; e, e0, e1 are centred binomials, at most 21; and r, the rounding of the message itself, is at most 1/2.

For a sum of n ciphertexts and any ternary key whatsoever, one coefficient of r0 + r1·s is a sum of at most
n·(1 + N) independent variables of range 1, so by Hoeffding's inequality it exceeds b with probability at most
2·exp(-2·b² / (n·(1 + N))). The bound taken here holds for *every* coefficient of 2^24 ciphertexts, which is more
than a key ever sees, except with probability 2^-128:

    B(n) = n/2 + 21·n·(1 + 2N) / P + sqrt(n·(1 + N)/2 · ln(2^(1 + 24 + 128) · N)).

A BFV sum decrypts correctly if B(n) < q/(2t) - 1. That the failure probability is so small is a matter of secrecy
too: decryption failures of an exact scheme tell about its key (Cheon, Choe, Passelègue, Stehlé, Suvanto,
"Attacks Against the IND-CPA-D Security of Exact FHE Schemes", CCS 2024).

That r0, r1 are uniform is the usual heuristic: they are residues of ring-LWE samples. The mean case, a standard
deviation of sqrt(n·(1 + 2N/3)/12), is what the tests measure.
"""

import math

FAILURE_BITS = 128
CIPHERTEXT_BITS = 24
LARGEST_ERROR = 21  # a centred binomial of 2·21 bits, standard deviation 3.24


def worst_noise(*, degree: int, special_prime: int, addends: int) -> float:
    """B(n): no coefficient of a sum of `addends` ciphertexts is noisier, except with probability 2^-128."""
    tail = math.log(2) * (1 + CIPHERTEXT_BITS + FAILURE_BITS) + math.log(degree)
    rounding = math.sqrt(addends * (1 + degree) / 2 * tail)
    return addends / 2 + LARGEST_ERROR * addends * (1 + 2 * degree) / special_prime + rounding


def usual_noise(*, degree: int, addends: int) -> float:
    """The standard deviation of one coefficient for a usual key, of which two thirds are not zero."""
    return math.sqrt(addends * (1 + 2 * degree / 3) / 12)


def decrypts_exactly(*, degree: int, primes: tuple[int, ...], plain_modulus: int, addends: int) -> bool:
    """Whether a BFV sum of so many fresh ciphertexts decrypts without failure, in the sense of B(n).

    Args:
        degree: N.
        primes: Of the key; the last is the special prime.
        plain_modulus: t.
        addends: n.
    """
    modulus = math.prod(primes[:-1])
    return worst_noise(degree=degree, special_prime=primes[-1], addends=addends) < modulus / (2 * plain_modulus) - 1
