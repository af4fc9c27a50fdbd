"""Numbers about encrypted vectors: inner products and squared norms, without anyone seeing a vector.

    node         encrypt_reals(update, plan=plan, public=public)
    coordinator  evaluation.squared_norm(bundle, plan) -> one ciphertext
    custodian    decrypt_scalar(secret, ciphertext, ...) -> a number, flooded

Ciphertexts are multiplied chunk by chunk and added, and the slots of the one result are summed by rotation once; a
rotation for every chunk costs ten times as much. Nothing is rescaled: the product keeps the square of the scale,
which the modulus has room for, so the error stays that of the inputs, and one prime less is needed.

All operations are deterministic: whoever has the same ciphertexts and evaluation keys gets the same bytes. The content
digest binds operation and operands; it is in a header that whoever computes the scalar writes.

The noise that a decrypted inner product needs depends on the norms of both vectors. A node that encrypts a larger
vector than it may shows in its squared norm, which is then not released; so ask for squared norms first. All
arithmetic is modulo q: a hostile node can choose a huge vector whose squared norm wraps around to a small number.
Inner products with vectors drawn at random after its upload give it away, most of the time each, and are further
numbers to disclose.
"""

import hashlib
import math
import os
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic._contexts import EVALUATION_MAGIC, PublicContext, SecretContext
from fedseal_crypto.homomorphic._errors import ContextRefused, DecryptionInconsistent
from fedseal_crypto.homomorphic._flooding import Entropy, Flooding, gaussians, scalar_error
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
from fedseal_crypto.homomorphic._reals import RealPlan, norm_gain
from fedseal_crypto.homomorphic._tenseal import Library

MAXIMUM_EVALUATION_BYTES = 1 << 25  # 32 MB; the set with them needs 20
_LENGTHS = struct.Struct(">II")
_START = len(EVALUATION_MAGIC) + 32 + _LENGTHS.size
_CONTENT = b"fedseal/homomorphic/v1/scalar"


class Operation(IntEnum):
    """Which number."""

    INNER_PRODUCT_WITH_PUBLIC = 1  # <x, y> of an encrypted x and a public y
    SQUARED_NORM = 2  # |x|^2
    INNER_PRODUCT = 3  # <x, y> of two encrypted vectors


def scalar_error_bound(
    operation: Operation, plan: RealPlan, flooding: Flooding, public_vector: NDArray[Any] | float | None = None
) -> float:
    """What a decrypted scalar is off by at most, in absolute terms, except with probability 2^-40.

    It is absolute because a true value near 0 has no relative error worth the name; against |x|·|y|, which is
    what a cosine is measured in, it is of the order of 1e-5.
    """
    error = _error(operation, plan, public_vector)
    other = _other_norm(plan, public_vector)
    # The encoding of a public vector is rounded too, by 14 standard deviations at most; that is not secret.
    step = norm_gain(other) * 2.0**plan.parameters.scale_bits
    rounding = 14 * plan.norm * math.sqrt(plan.parameters.degree / 12) / step
    return flooding.bound(error, largest=plan.norm * other) + rounding


@final
class EvaluationContext:
    """What the coordinator of a job with scalars holds: the public key and keys for products and rotations."""

    __slots__ = ("_library", "public")

    def __init__(self, public: PublicContext, library: Library) -> None:
        self.public = public
        self._library = library

    @classmethod
    def from_bytes(cls, data: bytes, *, public: PublicContext, digest: Digest) -> "EvaluationContext":
        """Read the evaluation keys that the custodian published.

        Args:
            data: From `SecretContext.evaluation_keys`.
            public: The job's public context.
            digest: SHA-256 of `data`, as the custodian signed it; the keys' coefficients are the library's to read,
                so they are taken from nobody else.

        Raises:
            ContextRefused: Another digest, key or parameter set, or the library refuses them.
        """
        if not public.parameters.evaluation_keys:
            raise ContextRefused(f"parameters {public.parameters.name!r} have no evaluation keys.")
        if not _START <= len(data) <= MAXIMUM_EVALUATION_BYTES or sha256_hex(data) != digest:
            raise ContextRefused(f"the evaluation keys are not those with digest {digest[:16]}....")
        if data[: len(EVALUATION_MAGIC)] != EVALUATION_MAGIC:
            raise ContextRefused("these bytes are not evaluation keys: they begin otherwise.")
        if data[len(EVALUATION_MAGIC) :][:32].hex() != public.key_digest:
            raise ContextRefused("the evaluation keys belong to another public key.")
        relin, galois = _LENGTHS.unpack_from(data, _START - _LENGTHS.size)
        if len(data) != _START + relin + galois:
            raise ContextRefused(f"the evaluation keys have {len(data)} bytes, not {_START + relin + galois}.")
        try:
            library = Library.with_public_key(
                public.parameters,
                public.library.public_key(),
                relin=data[_START : _START + relin],
                galois=data[_START + relin :],
            )
        except (ValueError, RuntimeError) as error:
            raise ContextRefused("the encryption library does not accept the evaluation keys.") from error
        return cls(public, library)

    def inner_product_with_public(self, bundle: Bytes, vector: NDArray[Any], plan: RealPlan) -> bytes:
        """The encrypted inner product of an encrypted and a public vector.

        Raises:
            CiphertextRefused: The bundle is not one contribution of the plan.
            ValuesInvalid: The public vector is of another length.
            MisuseError: It is all zeros, so that the product says nothing, or not finite.
        """
        check_header(bundle, plan.header(self.public, addends=1))
        chunks = plan.chunked(vector)
        if not chunks.any() or not np.isfinite(chunks).all():
            raise MisuseError("the public vector is zero or not finite; there is no inner product to compute.")
        gain = norm_gain(float(np.linalg.norm(chunks)))
        total: Any = None
        for index, chunk in enumerate(chunks):
            # A product with zeros is transparent, and adds nothing.
            if chunk.any():
                product = self._vector(bundle, index, plan)
                product.mul_plain_((chunk * gain).tolist())
                total = product if total is None else total.add_(product)
        content = _content(Operation.INNER_PRODUCT_WITH_PUBLIC, plan, bundle, chunks.tobytes())
        return self._finish(total, content, plan)

    def squared_norm(self, bundle: Bytes, plan: RealPlan) -> bytes:
        """The encrypted squared norm of an encrypted vector.

        Raises:
            CiphertextRefused: The bundle is not one contribution of the plan.
        """
        check_header(bundle, plan.header(self.public, addends=1))
        total: Any = None
        for index in range(plan.chunks):
            square = self._vector(bundle, index, plan)
            square.square_()
            total = square if total is None else total.add_(square)
        return self._finish(total, _content(Operation.SQUARED_NORM, plan, bundle), plan)

    def inner_product(self, bundle: Bytes, other: Bytes, plan: RealPlan) -> bytes:
        """The encrypted inner product of two encrypted vectors.

        Raises:
            CiphertextRefused: A bundle is not one contribution of the plan.
        """
        for one in (bundle, other):
            check_header(one, plan.header(self.public, addends=1))
        total: Any = None
        for index in range(plan.chunks):
            product = self._vector(bundle, index, plan)
            product.mul_(self._vector(other, index, plan))
            total = product if total is None else total.add_(product)
        return self._finish(total, _content(Operation.INNER_PRODUCT, plan, bundle, other), plan)

    def _vector(self, bundle: Bytes, index: int, plan: RealPlan) -> Any:
        chunk = new_chunk(plan.parameters)
        read_chunk(bundle, index, plan.parameters, chunk)
        return self._library.vector(chunk).data

    def _finish(self, total: Any, content: bytes, plan: RealPlan) -> bytes:
        total.sum_()
        header = _header(self.public, content, plan)
        return header.to_bytes() + write_chunk(self._library.residues(total), plan.parameters)

    def __repr__(self) -> str:
        return f"EvaluationContext({self.public.parameters.name}, key {self.public.key_digest[:16]})"


def scalar_content(operation: Operation, plan: RealPlan, *operands: Bytes | NDArray[Any]) -> bytes:
    """The content digest of a scalar: of its operation, its plan and the bytes of its operands."""
    flat = [plan.chunked(one).tobytes() if isinstance(one, np.ndarray) else one for one in operands]
    return _content(operation, plan, *flat)


def scalar_content_of(operation: Operation, plan: RealPlan, *operands: bytes) -> bytes:
    """`scalar_content` for a custodian that has no operands, only the SHA-256 of each."""
    return _content_of(operation, plan, operands)


def operand_digest(plan: RealPlan, vector: NDArray[Any]) -> bytes:
    """The SHA-256 by which `scalar_content_of` names a public vector."""
    return hashlib.sha256(plan.chunked(vector).tobytes()).digest()


def scalar_bytes(plan: RealPlan) -> int:
    """Exact size of one encrypted scalar."""
    return HEADER_BYTES + plan.parameters.chunk_bytes


def decrypt_scalar(  # noqa: PLR0913  # each is a fact of its own, and entropy is for tests
    secret: SecretContext,
    bundle: Bytes,
    *,
    operation: Operation,
    content: bytes,
    plan: RealPlan,
    flooding: Flooding,
    public_vector: NDArray[Any] | float | None = None,
    entropy: Entropy = os.urandom,
) -> float:
    """The number, flooded; off by at most `scalar_error_bound`.

    Args:
        secret: The job's key.
        bundle: The encrypted scalar.
        operation: Which number it is.
        content: From `scalar_content`, over the operands that the nodes signed.
        plan: Of the vectors.
        flooding: Of the job; this is one of its decryptions.
        public_vector: Of an inner product with one, or its Euclidean norm, which decides how much noise is needed.
        entropy: Where the noise comes from; the operating system outside of tests.

    Raises:
        CiphertextRefused: The bundle is malformed, of another key, or of other operands.
        DecryptionInconsistent: The number is larger than vectors of the plan's norm can give: nothing is released,
            because the flooding would not have covered the error of larger vectors.
        KeyDestroyed: The key is gone.
    """
    library, parameters = secret.library, plan.parameters
    check_header(bundle, _header(secret.public, content, plan))
    chunk = new_chunk(parameters)
    read_chunk(bundle, 0, parameters, chunk)
    other = _other_norm(plan, public_vector)
    gain = plan.gain * norm_gain(other)
    deviation = gain * flooding.deviation(_error(operation, plan, public_vector))
    # The same in every slot, as is the number itself; only the first slot is looked at.
    noise = np.full(parameters.slots, gaussians(1, deviation=deviation, entropy=entropy)[0])
    value = float(library.decrypt_flooded(chunk, noise, product=True)[0]) / gain
    limit = plan.norm * other + scalar_error_bound(operation, plan, flooding, public_vector)
    if not abs(value) <= limit:
        raise DecryptionInconsistent(
            f"the decrypted scalar is beyond {limit:.6g}, which vectors of norm {plan.norm:.6g} cannot give; "
            "a node sent a larger vector than it may. The number is not released."
        )
    return value


def _other_norm(plan: RealPlan, public_vector: NDArray[Any] | float | None) -> float:
    if public_vector is None:
        return plan.norm
    return public_vector if isinstance(public_vector, float) else float(np.linalg.norm(public_vector))


def _error(operation: Operation, plan: RealPlan, public_vector: NDArray[Any] | float | None) -> float:
    """T of `_flooding`, in the unit of the number.

    Raises:
        MisuseError: A public vector is given where there is none, or the other way round.
    """
    if (operation is Operation.INNER_PRODUCT_WITH_PUBLIC) != (public_vector is not None):
        raise MisuseError("a public vector belongs to inner products with one, and to nothing else.")
    weight = 2 * plan.norm if public_vector is None else _other_norm(plan, public_vector)
    return scalar_error(plan.parameters, weight) / plan.gain


def _content(operation: Operation, plan: RealPlan, *operands: Bytes) -> bytes:
    return _content_of(operation, plan, [hashlib.sha256(operand).digest() for operand in operands])


def _content_of(operation: Operation, plan: RealPlan, operands: Sequence[bytes]) -> bytes:
    facts = struct.pack(">BQdd", operation, plan.length, plan.largest, plan.norm)
    return hashlib.sha256(_CONTENT + facts + b"".join(operands)).digest()


def _header(public: PublicContext, content: bytes, plan: RealPlan) -> BundleHeader:
    return BundleHeader(
        parameters=plan.parameters,
        kind=Kind.SCALAR,
        addends=1,
        chunks=1,
        key_digest=public.key_digest,
        content_digest=content,
    )
