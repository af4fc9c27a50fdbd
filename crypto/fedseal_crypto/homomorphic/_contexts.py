"""The key pair of a job, held apart: a public context that travels, and a secret context that does not.

The public context's byte form has room for a public key and nothing else, so a secret key cannot hide in it:

    magic 8 | parameter set 2 | residues of the public key, 8 bytes each, for both polynomials and every prime

It is sent once; vectors name it by its digest, the SHA-256 of that byte form. Evaluation keys (for products and
rotations) are a document of their own, which only the coordinator of a job with scalars needs.
"""

import hashlib
import struct
from typing import NoReturn, final

import numpy as np

from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic._errors import (
    ContextRefused,
    DecryptionInconsistent,
    KeyDestroyed,
    ParametersUnknown,
    SecretKeyPresent,
)
from fedseal_crypto.homomorphic._frames import BundleHeader, Bytes, Kind, check_header, new_chunk, read_chunk
from fedseal_crypto.homomorphic._parameters import Parameters, parameters_numbered
from fedseal_crypto.homomorphic._slots import SlotPlan
from fedseal_crypto.homomorphic._tenseal import Library, holds_secret_key

PUBLIC_MAGIC = b"FSHEPUB\x01"
SECRET_MAGIC = b"FSHESEC\x01"
EVALUATION_MAGIC = b"FSHEEVK\x01"
_CONTENT = b"fedseal/homomorphic/v1/integers"
_NUMBER = struct.Struct(">H")
_START = len(PUBLIC_MAGIC) + _NUMBER.size


def public_bytes_size(parameters: Parameters) -> int:
    """Exact size of a public context's byte form."""
    return _START + 2 * len(parameters.primes) * parameters.degree * 8


def find_secret_key(data: Bytes) -> bool:
    """Whether `data` holds a secret key in the clear: our byte form anywhere in it, or a TenSEAL context with one."""
    return SECRET_MAGIC in bytes(data) or holds_secret_key(bytes(data))


@final
class PublicContext:
    """What nodes and coordinator hold: it encrypts and checks, and cannot decrypt.

    Attributes:
        parameters: The parameter set.
        key_digest: SHA-256 of the byte form; every encrypted vector and every log names the key by it.
    """

    __slots__ = ("_data", "_library", "key_digest", "parameters")

    def __init__(self, library: Library) -> None:
        if library.is_private:
            raise MisuseError("a public context is made from a public key alone.")
        self.parameters = library.parameters
        self._library = library
        number = _NUMBER.pack(self.parameters.number)
        self._data = PUBLIC_MAGIC + number + library.public_key().astype("<u8", copy=False).tobytes()
        self.key_digest = sha256_hex(self._data)

    @classmethod
    def from_bytes(cls, data: bytes, *, parameters: Parameters, key_digest: Digest | None = None) -> "PublicContext":
        """Read what the custodian published.

        Args:
            data: The byte form.
            parameters: The set that the job asks for.
            key_digest: The digest that the job or the custodian's signature names, if it is known already.

        Raises:
            SecretKeyPresent: The bytes hold a secret key; they must not be used or kept.
            ContextRefused: Another parameter set or key, another size, or not a public key at all.
        """
        if find_secret_key(data):
            raise SecretKeyPresent(
                "these bytes hold a secret key, which must never leave the custodian. Delete them, tell the custodian, "
                "and start the job with a new key."
            )
        if data[: len(PUBLIC_MAGIC)] != PUBLIC_MAGIC or len(data) < _START:
            raise ContextRefused("these bytes are not a public context: they begin otherwise.")
        try:
            found = parameters_numbered(_NUMBER.unpack_from(data, len(PUBLIC_MAGIC))[0])
        except ParametersUnknown as error:
            raise ContextRefused("the public context names a parameter set that does not exist.") from error
        if found is not parameters:
            raise ContextRefused(f"the public context is for {found.name!r}; the job uses {parameters.name!r}.")
        if len(data) != public_bytes_size(parameters):
            raise ContextRefused(f"the public context has {len(data)} bytes, not {public_bytes_size(parameters)}.")
        if key_digest is not None and sha256_hex(data) != key_digest:
            raise ContextRefused(f"the public context is not the one with digest {key_digest[:16]}....")
        return cls(_library_of(parameters, data))

    def to_bytes(self) -> bytes:
        """The byte form; see the module."""
        return self._data

    @property
    def library(self) -> Library:
        """For this package: what encrypts."""
        return self._library

    def __repr__(self) -> str:
        return f"PublicContext({self.parameters.name}, key {self.key_digest[:16]})"


def _library_of(parameters: Parameters, data: bytes) -> Library:
    residues = np.frombuffer(data[_START:], "<u8").reshape(2, len(parameters.primes), parameters.degree)
    for index, prime in enumerate(parameters.primes):
        if residues[:, index].max() >= prime:
            raise ContextRefused("the public key has a coefficient that is not a residue of its prime.")
    if not residues[1].any():
        raise ContextRefused("the public key is zero; everything encrypted under it could be read.")
    try:
        return Library.with_public_key(parameters, residues)
    except (ValueError, RuntimeError) as error:
        raise ContextRefused("the encryption library does not accept the public key.") from error


@final
class SecretContext:
    """What the custodian holds: the secret key of one job.

    It never shows the key, cannot be copied or pickled, and forgets it on `destroy`. Python cannot promise that no
    copy stays in the process's memory; the process should end with the job.

    Attributes:
        public: The matching public context.
    """

    __slots__ = ("_library", "public")
    __hash__ = None  # type: ignore[assignment]  # as SecretBytes: never a dictionary key

    def __init__(self, library: Library) -> None:
        if not library.is_private:
            raise MisuseError("a secret context needs a secret key.")
        self._library: Library | None = library
        self.public = PublicContext(Library.with_public_key(library.parameters, library.public_key()))

    @property
    def parameters(self) -> Parameters:
        """The parameter set."""
        return self.public.parameters

    @property
    def library(self) -> Library:
        """For this package: what decrypts.

        Raises:
            KeyDestroyed: The key is gone.
        """
        if self._library is None:
            raise KeyDestroyed("this job's secret key was destroyed; nothing more can be decrypted.")
        return self._library

    @property
    def destroyed(self) -> bool:
        """Whether `destroy` was called."""
        return self._library is None

    def destroy(self) -> None:
        """Drop the key. Sealed copies at rest are the caller's to delete."""
        self._library = None

    def evaluation_keys(self) -> bytes:
        """Relinearisation and Galois keys for the coordinator; see `EvaluationContext`.

        Raises:
            MisuseError: The parameter set has none.
            KeyDestroyed: The key is gone.
        """
        if not self.parameters.evaluation_keys:
            raise MisuseError(f"parameters {self.parameters.name!r} have no evaluation keys: sums need none.")
        relin, galois = self.library.evaluation_keys()
        lengths = struct.pack(">II", len(relin), len(galois))
        return EVALUATION_MAGIC + bytes.fromhex(self.public.key_digest) + lengths + relin + galois

    def decrypt_sum(self, bundle: Bytes, *, plan: SlotPlan, count: int) -> RingVector:
        """The sum of `count` encrypted vectors, as a ring vector; decode it with the layout, or unmask it.

        This decrypts whatever it is given: that `bundle` is the sum of `count` contributions of distinct members,
        and may be decrypted at all, is for the caller to establish first.

        Raises:
            CiphertextRefused: The bundle is malformed, of another key or plan, or not of `count` addends.
            DecryptionInconsistent: A slot holds what `count` contributions cannot give.
            KeyDestroyed: The key is gone.
        """
        library, parameters = self.library, self.parameters
        check_header(bundle, integers_header(plan, self.public, addends=count))
        slots = np.empty((plan.chunks, parameters.slots), np.uint64)
        chunk = new_chunk(parameters)
        for index in range(plan.chunks):
            read_chunk(bundle, index, parameters, chunk)
            values = library.decrypt(chunk)
            slots[index] = np.where(values < 0, values + parameters.plain_modulus, values)
        flat = slots.reshape(-1)
        if flat[plan.slot_count :].any():
            raise DecryptionInconsistent("a slot beyond the end of the vector is not zero: this is no sum of the plan.")
        return plan.from_slots(flat[: plan.slot_count], count=count)

    def appears_in(self, data: Bytes) -> bool:
        """Whether the secret key, in any form that the library or this package writes, is part of `data`."""
        return find_secret_key(data) or self.library.secret_appears_in(bytes(data))

    def __repr__(self) -> str:
        state = "destroyed" if self.destroyed else "<redacted>"
        return f"SecretContext({self.parameters.name}, key {self.public.key_digest[:16]}, {state})"

    def __reduce__(self) -> NoReturn:
        raise MisuseError("a secret key cannot be pickled or copied; seal it instead.")


def generate_keys(parameters: Parameters) -> SecretContext:
    """Make the keys of a job, from the operating system's randomness."""
    return SecretContext(Library.generate(parameters))


def integers_header(plan: SlotPlan, public: PublicContext, *, addends: int) -> BundleHeader:
    """The header that a vector or sum of this plan under this key has.

    Raises:
        MisuseError: Plan and key are of different parameter sets.
    """
    if plan.parameters is not public.parameters:
        raise MisuseError(
            f"the plan is for {plan.parameters.name!r} and the key for {public.parameters.name!r}; "
            "make both from the job's cohort."
        )
    content = _CONTENT + struct.pack(">?IQ", plan.masked, plan.cohort, plan.wide_words) + plan.shape.layout_digest
    return BundleHeader(
        parameters=plan.parameters,
        kind=Kind.INTEGERS,
        addends=addends,
        chunks=plan.chunks,
        key_digest=public.key_digest,
        content_digest=hashlib.sha256(content).digest(),
    )
