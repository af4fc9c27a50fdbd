"""Encrypting vectors at the nodes and adding them at the coordinator.

The coordinator needs no key and no encryption library: it reads residues, compares them with their primes, and
adds. Its memory is one sum and one ciphertext, however many contributions come.

    node         encrypt_vector(vector, plan=plan, public=public) -> bytes
    coordinator  adder.add(bytes) for each; adder.to_bytes()
    custodian    secret.decrypt_sum(bytes, plan=plan, count=n) -> vector
    anyone       layout.decode(vector, count=n)
"""

from typing import final

import numpy as np

from fedseal_crypto.encoding import RingVector
from fedseal_crypto.homomorphic._contexts import PublicContext, integers_header
from fedseal_crypto.homomorphic._errors import SumTooLarge
from fedseal_crypto.homomorphic._frames import (
    BundleHeader,
    Bytes,
    check_header,
    new_chunk,
    read_chunk,
    write_chunk,
)
from fedseal_crypto.homomorphic._parameters import Parameters
from fedseal_crypto.homomorphic._residues import add_residues
from fedseal_crypto.homomorphic._slots import SlotPlan


def encrypt_vector(vector: RingVector, *, plan: SlotPlan, public: PublicContext) -> bytes:
    """Encrypt one contribution; two calls never give the same bytes.

    Args:
        vector: From the layout's `encode`, masked if the plan is.
        plan: Of the job.
        public: The job's key.

    Raises:
        RingMismatch, WordsOutOfRange: The vector is not one of the plan's layout.
        MisuseError: Plan and key are of different parameter sets.
    """
    parameters, library = plan.parameters, public.library
    header = integers_header(plan, public, addends=1)
    slots = np.zeros(plan.chunks * parameters.slots, np.int64)
    slots[: plan.slot_count] = plan.to_slots(vector)
    # The library takes integers centred at zero.
    slots[slots > parameters.plain_modulus // 2] -= parameters.plain_modulus
    parts = [header.to_bytes()]
    parts += [write_chunk(library.encrypt(chunk), parameters) for chunk in slots.reshape(plan.chunks, parameters.slots)]
    return b"".join(parts)


def check_bundle(bundle: Bytes, *, plan: SlotPlan, public: PublicContext, addends: int = 1) -> None:
    """Make every check that adding makes, and nothing else.

    Raises:
        CiphertextRefused: One of its classes.
    """
    header = integers_header(plan, public, addends=addends)
    check_header(bundle, header)
    scratch = new_chunk(header.parameters)
    for index in range(header.chunks):
        read_chunk(bundle, index, header.parameters, scratch)


class BundleAdder:
    """Adds encrypted vectors of one header; `Adder` and `RealAdder` say of which.

    Args:
        header: What each contribution's header must be; its addends are 1.
        cohort: The most contributions that the sum has room for.
    """

    __slots__ = ("_addends", "_cohort", "_header", "_scratch", "_total")

    def __init__(self, header: BundleHeader, *, cohort: int) -> None:
        self._header = header
        self._cohort = cohort
        self._addends = 0
        self._scratch = new_chunk(header.parameters)
        self._total = np.zeros((header.chunks, *self._scratch.shape), np.uint64)

    @property
    def parameters(self) -> Parameters:
        """The parameter set of the sum."""
        return self._header.parameters

    @property
    def addends(self) -> int:
        """Contributions added so far."""
        return self._addends

    def add(self, bundle: Bytes) -> None:
        """Check a contribution from its first byte to its last, then add it; a refused one changes nothing.

        Raises:
            CiphertextRefused: One of its classes.
            SumTooLarge: The sum holds as many contributions as the plan has room for.
        """
        if self._addends >= self._cohort:
            raise SumTooLarge(f"the sum already holds {self._addends} contributions, as many as the plan has room for.")
        check_header(bundle, self._header)
        parameters = self._header.parameters
        for index in range(self._header.chunks):
            read_chunk(bundle, index, parameters, self._scratch)
        for index in range(self._header.chunks):
            read_chunk(bundle, index, parameters, self._scratch)
            add_residues(self._total[index], self._scratch, parameters.data_primes)
        self._addends += 1

    def to_bytes(self) -> bytes:
        """The sum as an encrypted vector of `addends` contributions.

        The order of the contributions makes no difference, so whoever has the same contributions gets the same
        bytes and can compare digests.

        Raises:
            SumTooLarge: Nothing was added; there is no sum.
        """
        if not self._addends:
            raise SumTooLarge("nothing was added yet; a sum of nothing is not a ciphertext.")
        header = BundleHeader(
            parameters=self._header.parameters,
            kind=self._header.kind,
            addends=self._addends,
            chunks=self._header.chunks,
            key_digest=self._header.key_digest,
            content_digest=self._header.content_digest,
        )
        return b"".join([header.to_bytes(), *(write_chunk(chunk, header.parameters) for chunk in self._total)])


@final
class Adder(BundleAdder):
    """The coordinator's sum of encrypted integer vectors.

    Args:
        plan: Of the job.
        public: The job's key.
    """

    __slots__ = ()

    def __init__(self, plan: SlotPlan, public: PublicContext) -> None:
        super().__init__(integers_header(plan, public, addends=1), cohort=plan.cohort)
