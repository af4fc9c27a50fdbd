"""What a custodian signs: which key a job has, and what it opened. DSSE envelopes with its certificate.

Rules kept here: reading is strict; the signer is a custodian of the federation, certified and not revoked; what
is signed names job, round and key, so that no statement can be used for another one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedseal.errors import PeerFault
from fedseal_crypto.canonical import canonical_json, parse_strict
from fedseal_crypto.certificates import Member, Revocations, TrustRoot
from fedseal_crypto.dsse import SignedDocument, sign_document, signers
from fedseal_crypto.identity import IdentityKey, PartyKind

KEY_TYPE = "application/vnd.fedseal.job-key+json"
SUM_TYPE = "application/vnd.fedseal.opened-sum+json"
STATEMENT_BYTES = 64 << 10
"""A statement with its certificate has about 3 KB."""

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


class Statement(BaseModel):
    """Strict and frozen; what a custodian signs."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScalarKey(Statement):
    """The second public key of a job whose method has scalars, with keys for products and rotations.

    Attributes:
        file: SHA-256 of the file that holds the public key, of ``size`` bytes.
        evaluation: SHA-256 of the file with the evaluation keys, of ``evaluation_size`` bytes.
    """

    parameters: Name
    key: Hex
    file: Hex
    size: Count
    evaluation: Hex
    evaluation_size: Count


class JobKey(Statement):
    """The public key of one job.

    Attributes:
        job: digest of the job file.
        protection: of the job.
        parameters: name of the encryption parameters.
        key: digest of the public key.
        file: SHA-256 of the file that holds the public key.
        at: when the key was made.
        scalars: the second key, where the job's method has scalars.
    """

    type_: Literal["fedseal/job-key/1"] = Field(alias="type", default="fedseal/job-key/1")
    federation: Name
    job: Hex
    protection: Name
    parameters: Name
    key: Hex
    file: Hex
    at: Name
    scalars: ScalarKey | None = None


class OpenedSum(Statement):
    """One opened sum.

    Attributes:
        request: digest of the request that is answered.
        key: digest of the public key.
        sum_digest: SHA-256 of the encrypted sum, as the custodian added it.
        count: contributions in it.
        opened: SHA-256 of the opened words; pads or masks are still in them.
    """

    type_: Literal["fedseal/opened-sum/1"] = Field(alias="type", default="fedseal/opened-sum/1")
    federation: Name
    job: Hex
    stage: Name
    round: Count
    attempt: Count
    request: Hex
    key: Hex
    sum_digest: Hex = Field(alias="sum")
    count: Count
    opened: Hex
    at: Name


S = TypeVar("S", bound=Statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Whom statements are checked against.

    Attributes:
        custodian: the name that must have signed.
    """

    root: TrustRoot
    revocations: Revocations
    custodian: str
    now: datetime


def sign_key_statement(statement: JobKey, *, key: IdentityKey, certificate_pem: bytes) -> bytes:
    """Sign which key a job has."""
    return sign_statement(KEY_TYPE, statement, key, certificate_pem)


def read_key_statement(data: bytes, judge: Judge) -> JobKey:
    """Verify who signed and read it.

    Raises:
        PeerFault: it is not such a statement, or another party signed it.
        PeerError: envelope, certificate or signature do not verify.
    """
    return read_statement(data, KEY_TYPE, JobKey, judge)


def sign_sum_statement(statement: OpenedSum, *, key: IdentityKey, certificate_pem: bytes) -> bytes:
    """Sign what was opened."""
    return sign_statement(SUM_TYPE, statement, key, certificate_pem)


def read_sum_statement(data: bytes, judge: Judge) -> OpenedSum:
    """Verify who signed and read it.

    Raises:
        PeerFault: it is not such a statement, or another party signed it.
        PeerError: envelope, certificate or signature do not verify.
    """
    return read_statement(data, SUM_TYPE, OpenedSum, judge)


def sign_statement(kind: str, statement: Statement, key: IdentityKey, certificate_pem: bytes) -> bytes:
    """Sign a statement as what it is."""
    own = statement.model_dump(mode="json", by_alias=True)
    payload = canonical_json({name: value for name, value in own.items() if value is not None})
    return sign_document(kind, payload, key=key, certificate_pem=certificate_pem).to_json()


def read_statement(data: bytes, kind: str, model: type[S], judge: Judge) -> S:
    """Verify who signed and read a statement of one kind.

    Raises:
        PeerFault: it is not such a statement, or another party signed it.
        PeerError: envelope, certificate or signature do not verify.
    """
    if len(data) > STATEMENT_BYTES:
        sentence = f"a custodian's statement of {len(data)} bytes is larger than any can be"
        raise PeerFault(sentence)
    document = SignedDocument.from_json(data)
    members = signers(document, judge.root, payload_type=kind, now=judge.now, revocations=judge.revocations)
    _require_custodian(members, judge.custodian)
    try:
        return model.model_validate(parse_strict(document.payload, max_bytes=STATEMENT_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        sentence = f"a custodian's statement is wrong: `{field}` {first['msg'].lower()}"
        raise PeerFault(sentence) from None


def _require_custodian(members: tuple[Member, ...], name: str) -> None:
    if [(member.kind, str(member.name)) for member in members] != [(PartyKind.CUSTODIAN, name)]:
        names = ", ".join(member.label for member in members)
        sentence = f"a statement of the custodian {name} is signed by {names}"
        raise PeerFault(sentence)
