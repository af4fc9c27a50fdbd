"""Numbers about single contributions under encryption: what is asked, in one byte form, and what the custodian signs.

Every node computes the terms of a round from job and broadcast and signs them with its second ciphertext, so that the
custodian, which has neither schema nor broadcast, opens nothing that the nodes did not agree to. Which numbers a
method may name at all follows from its class.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedseal.errors import PeerFault
from fedseal.methods import Plan, programme
from fedseal.methods.contract import Method
from fedseal.methods.judging import JudgingMethod, ScalarsAsked, exact_norm
from fedseal.protection.statements import Count, Hex, Judge, Name, Statement, read_statement, sign_statement
from fedseal_crypto.canonical import canonical_json, parse_strict
from fedseal_crypto.custody import SumRequest
from fedseal_crypto.digests import sha256_hex
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
TERMS_BYTES = 64 << 10
SCALAR_PARAMETERS = "ckks-8192-scalars"

_Norm = Annotated[float, Field(gt=0, le=1e12)]


class ScalarTerm(BaseModel):
    """One number.

    Attributes:
        operation: As `Operation`.
        public: Digest of the public vector of an inner product with one; None otherwise.
        public_norm: Its Euclidean norm.
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

    def content(self, plan: RealPlan, ciphertext: bytes) -> bytes:
        """The content digest of this number about the ciphertext with that SHA-256."""
        operands = (ciphertext,) if self.public is None else (ciphertext, bytes.fromhex(self.public))
        return scalar_content_of(self.operation, plan, *operands)


class ScalarTerms(BaseModel):
    """The numbers of a round.

    Attributes:
        key: Digest of the public key for scalars.
        vector: Name of the contributed vector.
        decryptions: Most numbers that are opened under the key; decides how much noise each gets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type_: Literal["fedseal/scalar-terms/1"] = Field(alias="type", default="fedseal/scalar-terms/1")
    key: Hex
    vector: Name
    length: Annotated[int, Field(ge=1, le=1 << 33)]
    largest: _Norm
    norm: _Norm
    decryptions: Annotated[int, Field(ge=1, lt=2**40)]
    scalars: Annotated[tuple[ScalarTerm, ...], Field(min_length=1, max_length=16)]

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
        paired = all(
            (term.operation is Operation.INNER_PRODUCT_WITH_PUBLIC) == (term.public is not None)
            and (term.public is None) == (term.public_norm is None)
            and term.operation is not Operation.INNER_PRODUCT
            for term in terms.scalars
        )
        if terms.encode() != data or len(set(names)) < len(names) or not paired:
            sentence = "the terms of a round's scalars are not in their one form, or contradict themselves"
            raise PeerFault(sentence)
        return terms


class OpenedScalars(Statement):
    """The opened numbers about one node.

    Attributes:
        request: Digest of the request that is answered.
        key: Digest of the public key for scalars.
        terms: SHA-256 of the round's terms.
        ciphertext: SHA-256 of the second ciphertext that the node signed.
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
    ciphertext: Hex
    values: Mapping[Name, float | None]
    errors: Mapping[Name, float]
    at: Name


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
        scalars=tuple(scalars),
    )


def own_errors(opened: OpenedScalars, terms: ScalarTerms, asked: ScalarsAsked, vector: NDArray[np.float64]) -> str:
    """What is wrong with the numbers about a vector, by the node that made it; empty if nothing is."""
    if opened.values.keys() != {term.name for term in terms.scalars}:
        return "other numbers were opened than this node agreed to"
    for term, scalar in zip(terms.scalars, asked.scalars, strict=True):
        value = opened.values[term.name]
        true = float(vector @ (vector if scalar.public is None else scalar.public))
        if value is None or not abs(value - true) <= terms.error(term):
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


def request_digest(request: SumRequest, terms: ScalarTerms, ciphertexts: Sequence[bytes]) -> str:
    """Digest of everything that a request for scalars asks.

    Args:
        request: who is in it; its digest of the sum is that of the encrypted scalars.
        terms: which numbers.
        ciphertexts: SHA-256 of each member's second ciphertext.
    """
    own = hashlib.sha256(request.encode())
    for part in (terms.encode(), *ciphertexts):
        own.update(hashlib.sha256(part).digest())
    return own.hexdigest()


def terms_digest(terms: ScalarTerms) -> str:
    """SHA-256 by which statements name the terms."""
    return sha256_hex(terms.encode())


def _real_plan(asked: ScalarsAsked) -> RealPlan:
    return RealPlan(
        parameters=scalar_parameters(), length=asked.length, cohort=1, largest=asked.largest, norm=asked.norm
    )
