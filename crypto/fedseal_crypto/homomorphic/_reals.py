"""Real vectors under CKKS: encrypted at the nodes, added by the coordinator, decrypted with flooding.

For sums take integers (`encrypt_vector`): they are exact and several times smaller. This is for what needs real
arithmetic under encryption, and the ground that `_scalars` stands on.
"""

import hashlib
import math
import os
import struct
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fedseal_crypto.encoding import ValuesInvalid
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic._contexts import PublicContext, SecretContext
from fedseal_crypto.homomorphic._errors import DecryptionInconsistent
from fedseal_crypto.homomorphic._flooding import Entropy, Flooding, gaussians, sum_error
from fedseal_crypto.homomorphic._frames import (
    HEADER_BYTES,
    BundleHeader,
    Bytes,
    Kind,
    check_header,
    new_chunk,
    read_chunk,
    write_chunk,
)
from fedseal_crypto.homomorphic._parameters import Parameters, Scheme
from fedseal_crypto.homomorphic._sums import BundleAdder

_CONTENT = b"fedseal/homomorphic/v1/reals"
PRODUCT_BITS = 7


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RealPlan:
    """What real vectors of a job look like.

    Attributes:
        parameters: A CKKS set.
        length: Number of values of a vector, at least 1.
        cohort: The most contributions in one sum.
        largest: No value is beyond [-largest, largest].
        norm: No vector has a larger Euclidean norm.

    Raises:
        MisuseError: The parameters are not CKKS, a number is out of range, or a sum or product could wrap around
            the modulus.
    """

    parameters: Parameters
    length: int
    cohort: int
    largest: float
    norm: float

    def __post_init__(self) -> None:
        if self.parameters.scheme is not Scheme.CKKS:
            raise MisuseError(f"parameters {self.parameters.name!r} are for integers; real vectors need a CKKS set.")
        if not (1 <= self.length <= 1 << 33 and 1 <= self.cohort <= self.parameters.maximum_cohort):
            raise MisuseError(f"{self.length} values or {self.cohort} contributions are not possible.")
        if not (0 < self.largest < math.inf and 0 < self.norm < math.inf):
            raise MisuseError("the bounds of a real vector must be finite and positive.")
        # A quarter of the modulus: signed, with a bit for noise.
        room = self.parameters.data_bits - 2 - len(self.parameters.data_primes)
        largest = min(self.largest, self.norm) * self.cohort * self.gain
        if math.log2(largest) + self.parameters.scale_bits > room:
            raise MisuseError(
                f"sums of {self.cohort} values up to {self.largest} do not fit {self.parameters.name!r}; "
                "use a smaller bound."
            )

    @property
    def gain(self) -> float:
        """A power of two that every value is multiplied with before encryption, so that products use their room.

        With evaluation keys, vectors of the largest norm come to lie between 64 and 128, and the precision of
        scalars is relative to what the plan allows; the square of the scale times 128 squared is what the modulus
        holds. 1 otherwise.
        """
        return norm_gain(self.norm) if self.parameters.evaluation_keys else 1.0

    @property
    def chunks(self) -> int:
        """Ciphertexts of a vector."""
        return -(-self.length // self.parameters.slots)

    @property
    def bundle_bytes(self) -> int:
        """Exact size of an encrypted vector or sum."""
        return HEADER_BYTES + self.chunks * self.parameters.chunk_bytes

    def header(self, public: PublicContext, *, addends: int) -> BundleHeader:
        """The header that a vector or sum of this plan under this key has.

        Raises:
            MisuseError: Plan and key are of different parameter sets.
        """
        if self.parameters is not public.parameters:
            raise MisuseError(f"the plan is for {self.parameters.name!r}, the key for {public.parameters.name!r}.")
        facts = struct.pack(">QIdd", self.length, self.cohort, self.largest, self.norm)
        return BundleHeader(
            parameters=self.parameters,
            kind=Kind.REALS,
            addends=addends,
            chunks=self.chunks,
            key_digest=public.key_digest,
            content_digest=hashlib.sha256(_CONTENT + facts).digest(),
        )

    def error_bound(self, count: int, flooding: Flooding) -> float:
        """What each value of a decrypted sum of `count` is off by at most, except with probability 2^-40."""
        return flooding.bound(sum_error(self.parameters, count) / self.gain, largest=count * self.largest)

    def flooding(self, *, rounds: int) -> Flooding:
        """The flooding for one sum in each of `rounds` rounds under one key."""
        return Flooding(decryptions=self.chunks * rounds)

    def chunked(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The values as float64 of shape (chunks, slots), padded with zeros.

        Raises:
            ValuesInvalid: Another length, or not real.
        """
        if values.shape != (self.length,) or values.dtype.kind not in "fiu":
            raise ValuesInvalid(f"the vector has shape {values.shape} of {values.dtype}, not {self.length} reals.")
        padded = np.zeros(self.chunks * self.parameters.slots)
        padded[: self.length] = values
        return padded.reshape(self.chunks, self.parameters.slots)


def encrypt_reals(values: NDArray[Any], *, plan: RealPlan, public: PublicContext) -> bytes:
    """Encrypt one vector.

    Raises:
        ValuesInvalid: The vector is not of the plan: length, bounds, or a value that is not finite.
        MisuseError: Plan and key are of different parameter sets.
    """
    header = plan.header(public, addends=1)
    chunks = plan.chunked(values)
    # Written so that NaN fails.
    if not (np.abs(chunks).max() <= plan.largest and np.linalg.norm(chunks) <= plan.norm * (1 + 1e-9)):
        raise ValuesInvalid(
            f"a value is beyond {plan.largest}, the norm is beyond {plan.norm}, or a value is not finite; clip first. "
            "Nothing was encrypted."
        )
    chunks *= plan.gain
    library = public.library
    return b"".join([header.to_bytes(), *(write_chunk(library.encrypt(chunk), plan.parameters) for chunk in chunks)])


def check_reals(bundle: Bytes, *, plan: RealPlan, public: PublicContext) -> None:
    """Make every check that `RealAdder.add` makes on one contribution, and nothing else.

    Raises:
        CiphertextRefused: One of its classes.
    """
    header = plan.header(public, addends=1)
    check_header(bundle, header)
    scratch = new_chunk(header.parameters)
    for index in range(header.chunks):
        read_chunk(bundle, index, header.parameters, scratch)


def norm_gain(norm: float) -> float:
    """The power of two that brings `norm` to between 64, excluded, and 128."""
    return math.ldexp(1.0, PRODUCT_BITS - math.ceil(math.log2(norm)))


@final
class RealAdder(BundleAdder):
    """The coordinator's sum of encrypted real vectors.

    Args:
        plan: Of the job.
        public: The job's key.
    """

    __slots__ = ()

    def __init__(self, plan: RealPlan, public: PublicContext) -> None:
        super().__init__(plan.header(public, addends=1), cohort=plan.cohort)


def decrypt_real_sum(  # each is a fact of its own, and entropy is for tests
    secret: SecretContext,
    bundle: Bytes,
    *,
    plan: RealPlan,
    count: int,
    flooding: Flooding,
    entropy: Entropy = os.urandom,
) -> NDArray[np.float64]:
    """The sum of `count` real vectors, flooded; off by at most `plan.error_bound(count, flooding)`.

    Args:
        secret: The job's key.
        bundle: The encrypted sum.
        plan: Of the job.
        count: Contributions in it.
        flooding: Of the job; each of the sum's ciphertexts is one of its decryptions.
        entropy: Where the noise comes from; the operating system outside of tests.

    Returns:
        float64 of shape (length,).

    Raises:
        CiphertextRefused: The bundle is malformed, of another key or plan, or not of `count` addends.
        DecryptionInconsistent: A value is larger than `count` contributions can give.
        KeyDestroyed: The key is gone.
    """
    library, parameters = secret.library, plan.parameters
    check_header(bundle, plan.header(secret.public, addends=count))
    deviation = flooding.deviation(sum_error(parameters, count))
    out = np.empty((plan.chunks, parameters.slots))
    chunk = new_chunk(parameters)
    for index in range(plan.chunks):
        read_chunk(bundle, index, parameters, chunk)
        noise = gaussians(parameters.slots, deviation=deviation, entropy=entropy)
        out[index] = library.decrypt_flooded(chunk, noise)
    values = out.reshape(-1)[: plan.length] / plan.gain
    limit = count * plan.largest + plan.error_bound(count, flooding)
    if not np.abs(values).max() <= limit:
        raise DecryptionInconsistent(f"the decrypted sum is larger than {count} contributions can give.")
    return values
