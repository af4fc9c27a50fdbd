"""A node's part in a round under a custodian's key: the key it believes in, and what it encrypts.

Rules kept here:

1. The key is stated and signed by the custodian that the job names, for this job, its protection and exactly the
   parameters that this node computes itself; the first one stays the job's key for good.
2. A key file that holds a secret key, or is anything else than a public key of these parameters, is refused.
3. What is encrypted is already hidden: by a pad in `homomorphic`, by masks in `hybrid`.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedseal.documents import SignedJob
from fedseal.errors import PeerFault, RefusalError
from fedseal.learning import NamedTensors
from fedseal.methods import Plan, Stage
from fedseal.methods.judging import ScalarsAsked, scalars_of
from fedseal.protection import JobKey, Judge, ScalarKey, job_parameters, read_key_statement
from fedseal.protection.scalars import ScalarTerms, make_terms, scalar_parameters, scalars_missing
from fedseal.rounds import RoundAddress
from fedseal.trust import Clock, Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.limits import PUBLIC_KEY_BYTES
from fedseal_crypto.custody import Commitment, Parcel, SealedClient, beside_digest, masked_parcel
from fedseal_crypto.digests import Digest, parse_digest, sha256_hex
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.homomorphic import PublicContext, SlotPlan, encrypt_reals, encrypt_vector
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import MaskedInput, RoundParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOffer:
    """What the coordinator says of the job's key; nothing in it is trusted yet."""

    statement: bytes
    file: Digest
    size: int

    @classmethod
    def from_wire(cls, start: pb.RoundStart) -> "KeyOffer | None":
        """The offer of a round's beginning, if there is one.

        Raises:
            PeerFault: the key is larger than any can be.
            DigestInvalid: its digest is none.
        """
        if not start.key_statement:
            return None
        if not 0 < start.key_size <= PUBLIC_KEY_BYTES:
            sentence = f"a public key has at most {PUBLIC_KEY_BYTES} bytes and {start.key_size} are announced"
            raise PeerFault(sentence)
        return cls(statement=start.key_statement, file=parse_digest(start.key_digest), size=start.key_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChecks:
    """What a node checks a key by.

    Attributes:
        federation: this node's.
    """

    federation: str
    trust: Trust
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedKey:
    """A key that the job's custodian has signed; its file is not fetched yet."""

    statement: JobKey
    envelope: bytes
    custodian: str
    size: int

    @property
    def digest(self) -> Digest:
        """Of the public key."""
        return Digest(self.statement.key)


def check_key(offer: KeyOffer | None, signed: SignedJob, checks: KeyChecks) -> CheckedKey | None:
    """The job's key; None for a job without a custodian.

    Raises:
        PeerFault: a key is missing, superfluous, or not this job's.
        PeerError: the custodian's signature or certificate does not verify.
    """
    document = signed.document
    if not document.protection.has_custodian:
        if offer is not None:
            sentence = f"job {signed.digest[:12]} has no custodian and the coordinator offers a key"
            raise PeerFault(sentence)
        return None
    if offer is None or document.custodian is None:
        sentence = f"job {signed.digest[:12]} needs the key of its custodian and the coordinator offers none"
        raise PeerFault(sentence)
    trust = checks.trust
    judge = Judge(root=trust.root, revocations=trust.revocations, custodian=str(document.custodian), now=checks.clock())
    key = read_key_statement(offer.statement, judge)
    wanted = {
        "federation": checks.federation,
        "job": signed.digest,
        "protection": document.protection.value,
        "parameters": job_parameters(document).name,
        "file": offer.file,
    }
    for field, value in wanted.items():
        if getattr(key, field) != value:
            sentence = f"the key that {document.custodian} signed is for another {field} than this job's"
            raise PeerFault(sentence)
    return CheckedKey(statement=key, envelope=offer.statement, custodian=str(document.custodian), size=offer.size)


class KeyRing:
    """The public keys of the jobs under way, each fetched once by this process."""

    def __init__(self) -> None:
        self._held: dict[str, PublicContext] = {}
        self._scalars: dict[str, PublicContext] = {}

    def get_scalars(self, key: CheckedKey, fetch: Callable[[ScalarKey], bytes]) -> PublicContext:
        """The second public key, fetched if this process has not done so yet.

        Raises:
            SecretKeyPresent: the file holds a secret key.
            PeerFault, PeerError: it is not the key that was signed.
        """
        stated = key.statement.scalars
        if stated is None or stated.parameters != scalar_parameters().name or stated.size > PUBLIC_KEY_BYTES:
            sentence = f"{key.custodian} stated no key for scalars, or one that cannot be"
            raise PeerFault(sentence)
        held = self._scalars.get(stated.key)
        if held is None:
            data = fetch(stated)
            if sha256_hex(data) != stated.file:
                sentence = f"the coordinator sent another key for scalars than {key.custodian} signed"
                raise PeerFault(sentence)
            held = PublicContext.from_bytes(data, parameters=scalar_parameters(), key_digest=Digest(stated.key))
            self._scalars = {stated.key: held}
        return held

    def get(self, key: CheckedKey, signed: SignedJob, fetch: Callable[[], bytes]) -> PublicContext:
        """The public key, fetched if this process has not done so yet.

        Raises:
            SecretKeyPresent: the file holds a secret key.
            PeerFault, PeerError: it is not the key that was signed.
        """
        held = self._held.get(key.digest)
        if held is None:
            data = fetch()
            if sha256_hex(data) != key.statement.file:
                sentence = f"the coordinator sent another public key than {key.custodian} signed"
                raise PeerFault(sentence)
            held = PublicContext.from_bytes(data, parameters=job_parameters(signed.document), key_digest=key.digest)
            self._held = {key.digest: held}
        return held


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnScalars:
    """The numbers that this node agrees to have opened about its contribution in one attempt, and the contribution."""

    asked: ScalarsAsked
    terms: ScalarTerms
    public: PublicContext
    vector: NDArray[np.float64]


def scalar_terms(
    stage: Stage, plan: Plan, broadcast: NamedTensors, key: CheckedKey | None
) -> tuple[ScalarsAsked, ScalarTerms] | None:
    """The numbers of a round, as this node computes them; None where the method needs only sums.

    Raises:
        RefusalError: the job's protection cannot open them.
        PeerFault: the custodian has stated no key for them.
    """
    asked = scalars_of(stage.method, plan, broadcast)
    if asked is None:
        return None
    missing = scalars_missing(plan.job)
    if missing:
        raise RefusalError(missing)
    if key is None or key.statement.scalars is None:
        sentence = f"the method {stage.method.name} needs a key for scalars and the job has none"
        raise PeerFault(sentence)
    return asked, make_terms(asked, method=stage.method, plan=plan, key=key.statement.scalars.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """Encrypts what leaves this node in one attempt."""

    public: PublicContext
    slots: SlotPlan
    parameters: RoundParameters
    identity: IdentityKey
    name: str

    def with_second(self, client: SealedClient, words: RingVector, scalars: OwnScalars) -> tuple[Commitment, bytes]:
        """As `padded`, with a second ciphertext behind the first, for the numbers that this node agrees to.

        Raises:
            ValuesInvalid: the vector is longer than the method's bound.
        """
        bundle = encrypt_vector(client.pad(words, os.urandom), plan=self.slots, public=self.public)
        second = encrypt_reals(scalars.vector, plan=scalars.terms.plan, public=scalars.public)
        beside = beside_digest(scalars.terms.encode(), hashlib.sha256(second).digest())
        return client.commit(hashlib.sha256(bundle).digest(), beside), bundle + second

    def masked(self, answer: MaskedInput) -> tuple[Parcel, bytes]:
        """A masked vector, encrypted, with what goes before it."""
        bundle = encrypt_vector(answer.words, plan=self.slots, public=self.public)
        parcel = masked_parcel(
            answer.header,
            hashlib.sha256(bundle).digest(),
            parameters=self.parameters,
            key=bytes.fromhex(self.public.key_digest),
            identity=self.identity,
        )
        return parcel, bundle

    def padded(self, client: SealedClient, words: RingVector) -> tuple[Commitment, bytes]:
        """A contribution, padded and encrypted, and the commitment to it."""
        bundle = encrypt_vector(client.pad(words, os.urandom), plan=self.slots, public=self.public)
        return client.commit(hashlib.sha256(bundle).digest()), bundle


def where(address: RoundAddress) -> dict[str, object]:
    """An attempt as audit details."""
    return {"stage": address.stage, "round": address.round, "attempt": address.attempt}
