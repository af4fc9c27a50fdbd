"""Numbers about single contributions under encryption: what is asked, in one byte form, and what the custodian signs.

Every node computes the terms of a round from job and broadcast and signs them with its second ciphertext, so that the
custodian, which has neither schema nor broadcast, opens nothing that the nodes did not agree to. Which numbers a
method may name at all follows from its class.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedseal.errors import PeerFault
from fedseal.methods import Plan, programme
from fedseal.methods.contract import Method
from fedseal.methods.judging import JudgingMethod, ScalarsAsked, exact_norm, true_number
from fedseal.protection.statements import Count, Hex, Judge, Name, Statement, read_statement, sign_statement
from fedseal_crypto.canonical import canonical_json, parse_strict
from fedseal_crypto.custody import SumRequest
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.homomorphic import (
    Flooding,
    Operation,
    Parameters,
    RealPlan,
    operand_digest,
    parameters_named,
    scalar_content_of,
    scalar_error_bound,
)
from fedseal_crypto.identity import IdentityKey
from fedseal_governance.jobs import JobDocument
from fedseal_governance.vocabulary import Protection

SCALARS_TYPE = "application/vnd.fedseal.opened-scalars+json"
ROLL_TYPE = "application/vnd.fedseal.scalar-roll+json"
TERMS_BYTES = 64 << 10
SCALAR_PARAMETERS = "ckks-8192-scalars"

_Norm = Annotated[float, Field(gt=0, le=1e12)]


class ScalarTerm(BaseModel):
    """One number.

    Attributes:
        operation: As `Operation`.
        public: Digest of the public vector of an inner product with one; None otherwise.
        public_norm: Its Euclidean norm.

    An inner product of two hidden vectors is that of a node's vector with its own of the round before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    operation: Operation
    public: Hex | None = None
    public_norm: _Norm | None = None

    @property
    def other(self) -> float | None:
        """What the library wants to know of the public vector."""
        return self.public_norm

    def content(self, plan: RealPlan, ciphertext: bytes, earlier: bytes) -> bytes:
        """The content digest of this number about the ciphertexts with those SHA-256."""
        operands = [ciphertext]
        if self.operation is Operation.INNER_PRODUCT:
            operands.append(earlier)
        if self.public is not None:
            operands.append(bytes.fromhex(self.public))
        return scalar_content_of(self.operation, plan, *operands)


class ScalarTerms(BaseModel):
    """The numbers of a round.

    Attributes:
        key: Digest of the public key for scalars.
        vector: Name of the contributed vector.
        decryptions: Most numbers that are opened under the key; decides how much noise each gets.
        earlier: Round of the same stage whose vectors products are with; None if no number is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type_: Literal["fedseal/scalar-terms/1"] = Field(alias="type", default="fedseal/scalar-terms/1")
    key: Hex
    vector: Name
    length: Annotated[int, Field(ge=1, le=1 << 33)]
    largest: _Norm
    norm: _Norm
    decryptions: Annotated[int, Field(ge=1, lt=2**40)]
    earlier: Count | None = None
    scalars: Annotated[tuple[ScalarTerm, ...], Field(min_length=1, max_length=16)]

    def about(self, earlier: bytes) -> tuple[ScalarTerm, ...]:
        """The numbers that there are about a node.

        Args:
            earlier: SHA-256 of its second ciphertext of the round before; empty if it has none.
        """
        return tuple(term for term in self.scalars if earlier or term.operation is not Operation.INNER_PRODUCT)

    @property
    def shape(self) -> str:
        """SHA-256 of what two rounds must have in common for products of their vectors."""
        common = self.model_dump(mode="json", include={"key", "vector", "length", "largest", "norm"})
        return sha256_hex(canonical_json(common))

    @property
    def plan(self) -> RealPlan:
        """What the second ciphertext holds."""
        return RealPlan(
            parameters=scalar_parameters(), length=self.length, cohort=1, largest=self.largest, norm=self.norm
        )

    @property
    def flooding(self) -> Flooding:
        """The noise of each number."""
        return Flooding(decryptions=self.decryptions)

    def error(self, term: ScalarTerm) -> float:
        """What that number is off by at most."""
        return scalar_error_bound(term.operation, self.plan, self.flooding, term.other)

    def encode(self) -> bytes:
        """The one byte form."""
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    @classmethod
    def decode(cls, data: bytes) -> "ScalarTerms":
        """Read what `encode` wrote.

        Raises:
            PeerFault: The bytes are not such terms in that form, or terms that cannot be.
            PeerError: They are not strict JSON.
        """
        try:
            terms = cls.model_validate(parse_strict(data, max_bytes=TERMS_BYTES))
        except ValidationError as error:
            sentence = f"the terms of a round's scalars are wrong: {error.errors()[0]['msg'].lower()}"
            raise PeerFault(sentence) from None
        names = [term.name for term in terms.scalars]
        operations = {term.operation for term in terms.scalars}
        paired = all(
            (term.operation is Operation.INNER_PRODUCT_WITH_PUBLIC) == (term.public is not None)
            and (term.public is None) == (term.public_norm is None)
            for term in terms.scalars
        )
        paired = paired and (Operation.INNER_PRODUCT in operations) == (terms.earlier is not None)
        bounded = Operation.SQUARED_NORM in operations
        if terms.encode() != data or len(set(names)) < len(names) or not (paired and bounded):
            sentence = "the terms of a round's scalars are not in their one form, or contradict themselves"
            raise PeerFault(sentence)
        return terms


class OpenedScalars(Statement):
    """The opened numbers about one node.

    Attributes:
        request: Digest of the request that is answered.
        key: Digest of the public key for scalars.
        terms: SHA-256 of the round's terms.
        shape: digest by which terms for vectors of the same shape and bounds under the same key are known.
        ciphertext: SHA-256 of the second ciphertext that the node signed.
        earlier: SHA-256 of its second ciphertext of the round before, where a number is a product with it.
        values: By name; None where the node's vector is longer than it may be.
        errors: What each is off by at most.
    """

    type_: Literal["fedseal/opened-scalars/1"] = Field(alias="type", default="fedseal/opened-scalars/1")
    federation: Name
    job: Hex
    stage: Name
    round: Count
    attempt: Count
    node: Name
    request: Hex
    key: Hex
    terms: Hex
    shape: Hex
    ciphertext: Hex
    earlier: Hex | None = None
    values: Mapping[Name, float | None]
    errors: Mapping[Name, float]
    at: Name


class ScalarRoll(Statement):
    """About which members of a round no number was opened; in no other attempt at it is any.

    Attributes:
        request: Digest of the request that is answered, which is about the other members.
        absent: Their names.
    """

    type_: Literal["fedseal/scalar-roll/1"] = Field(alias="type", default="fedseal/scalar-roll/1")
    federation: Name
    job: Hex
    stage: Name
    round: Count
    attempt: Count
    request: Hex
    absent: tuple[Name, ...]


def scalar_parameters() -> Parameters:
    """The encryption parameters of scalars."""
    return parameters_named(SCALAR_PARAMETERS)


def names_of(method: Method) -> tuple[str, ...]:
    """The numbers that a method may name; none for one that needs only sums."""
    return method.SCALARS if isinstance(method, JudgingMethod) else ()


def scalars_missing(document: JobDocument) -> str:
    """Why a job's protection cannot give its method what it needs; empty if it can."""
    named = [name for stage in programme(document) for name in names_of(stage.method)]
    if not named or document.protection is Protection.HOMOMORPHIC:
        return ""
    return (
        f"the job's method asks for {', '.join(named)} of each node, which only the protection homomorphic can open, "
        f"and the job asks for {document.protection.value}"
    )


def most_scalars(method: Method, *, rounds: int, nodes: int) -> int:
    """Numbers that a whole job opens at most."""
    return rounds * nodes * len(names_of(method))


def make_terms(asked: ScalarsAsked, *, method: Method, plan: Plan, key: str) -> ScalarTerms:
    """The terms of a round, from what the method asks."""
    scalars = []
    for scalar in asked.scalars:
        if scalar.public is None:
            scalars.append(ScalarTerm(name=scalar.name, operation=scalar.operation))
            continue
        digest = operand_digest(_real_plan(asked), scalar.public).hex()
        norm = exact_norm(scalar.public)
        scalars.append(ScalarTerm(name=scalar.name, operation=scalar.operation, public=digest, public_norm=norm))
    return ScalarTerms(
        key=key,
        vector=asked.vector,
        length=asked.length,
        largest=asked.largest,
        norm=asked.norm,
        decryptions=most_scalars(method, rounds=plan.rounds, nodes=plan.node_count),
        earlier=plan.round - 1 if asked.paired else None,
        scalars=tuple(scalars),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVectors:
    """What a node compares opened numbers with.

    Attributes:
        vector: Of this round, float64 of shape (length,).
        earlier: Of the round before, where a number is a product with it.
    """

    vector: NDArray[np.float64]
    earlier: NDArray[np.float64] | None = None


def own_errors(opened: OpenedScalars, terms: ScalarTerms, asked: ScalarsAsked, own: OwnVectors) -> str:
    """What is wrong with the numbers about a vector, by the node that made it; empty if nothing is."""
    true = {scalar.name: true_number(scalar, own.vector, own.earlier) for scalar in asked.scalars}
    if opened.values.keys() != {name for name, value in true.items() if value is not None}:
        return "other numbers were opened than this node agreed to"
    for term in terms.scalars:
        value, wanted = opened.values.get(term.name), true[term.name]
        if wanted is not None and (value is None or not abs(value - wanted) <= terms.error(term)):
            return f"the opened number {term.name} is not that of this node's vector"
    return ""


def sign_scalars(statement: OpenedScalars, *, key: IdentityKey, certificate_pem: bytes) -> bytes:
    """Sign what was opened about one node."""
    return sign_statement(SCALARS_TYPE, statement, key, certificate_pem)


def read_scalars(data: bytes, judge: Judge) -> OpenedScalars:
    """Verify who signed and read it.

    Raises:
        PeerFault: it is not such a statement, or another party signed it.
        PeerError: envelope, certificate or signature do not verify.
    """
    return read_statement(data, SCALARS_TYPE, OpenedScalars, judge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """The ciphertexts that numbers about one node are computed from, each as its SHA-256.

    Attributes:
        ciphertext: Its second ciphertext of this round.
        earlier: That of the round before; empty if it has none, or no number is a product with it.
    """

    ciphertext: bytes
    earlier: bytes = b""


def sign_roll(statement: ScalarRoll, *, key: IdentityKey, certificate_pem: bytes) -> bytes:
    """Sign about whom no number was opened."""
    return sign_statement(ROLL_TYPE, statement, key, certificate_pem)


def read_roll(data: bytes, judge: Judge) -> ScalarRoll:
    """Verify who signed and read it.

    Raises:
        PeerFault: it is not such a statement, or another party signed it.
        PeerError: envelope, certificate or signature do not verify.
    """
    return read_statement(data, ROLL_TYPE, ScalarRoll, judge)


def own_scalars(data: bytes) -> OpenedScalars:
    """Read a statement that the caller signed and kept itself.

    Raises:
        PeerError: it is none.
    """
    payload = SignedDocument.from_json(data).payload
    return OpenedScalars.model_validate(parse_strict(payload, max_bytes=len(payload)))


def request_digest(request: SumRequest, terms: ScalarTerms, operands: Sequence[Operands]) -> str:
    """Digest of everything that a request for scalars asks.

    Args:
        request: who is in it; its digest of the sum is that of the encrypted scalars.
        terms: which numbers.
        operands: of each member.
    """
    own = hashlib.sha256(request.encode())
    for part in (terms.encode(), *(part for one in operands for part in (one.ciphertext, one.earlier))):
        own.update(hashlib.sha256(part).digest())
    return own.hexdigest()


def terms_digest(terms: ScalarTerms) -> str:
    """SHA-256 by which statements name the terms."""
    return sha256_hex(terms.encode())


def _real_plan(asked: ScalarsAsked) -> RealPlan:
    return RealPlan(
        parameters=scalar_parameters(), length=asked.length, cohort=1, largest=asked.largest, norm=asked.norm
    )
