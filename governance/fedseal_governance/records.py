"""The job record: the signed provenance of a job that has ended.

An in-toto Statement (v1) whose subject is the exported model, or the job file where there is no model, and
whose predicate says what was computed, under which policies, by whom, and with what privacy; in a DSSE
envelope signed by the coordinator's identity, with its certificate attached, so that anyone with the
federation's root can verify it offline at any later time.

Rules kept here:

1. No figure about a single node: counts are sums over the cohort.
2. What is named by a digest can be found under that digest in the audit bundle.
3. Reading is strict: an unknown field, predicate type or payload type is refused.

Reference: in-toto Attestation Framework, Statement v1 and the DSSE binding (payload type
``application/vnd.in-toto+json``).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedseal_crypto.canonical import canonical_json, parse_strict
from fedseal_crypto.certificates import Member, Revocations, TrustRoot
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument, sign_document, signers
from fedseal_crypto.identity import IdentityKey, PartyKind
from fedseal_governance.errors import TamperError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:fedseal:job-record:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_RECORD_BYTES = 16 << 20
"""A job of 10 000 rounds with 100 nodes each has about 12 MB of records."""

_JOB_FILE = "job.yaml"

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Refusal(_Frozen):
    """A clause that refused."""

    clause: str
    sentence: str


class NodeAnswer(_Frozen):
    """A node's answer to the job; ``policy`` is the digest of the policy file that decided."""

    node: str
    accepted: bool
    policy: str
    refusals: tuple[Refusal, ...] = ()


class RoundRecord(_Frozen):
    """One attempt of a round.

    Attributes:
        cohort: how many contributions are in the sum, 0 for a failed attempt.
        roster: nodes that began it.
        recovered: nodes of the roster that are not in the sum; the masks of those that had shared keys were removed.
        figures: published sums and means over the cohort.
    """

    stage: str
    round: int
    attempt: int
    state: Literal["completed", "failed"]
    roster: tuple[str, ...]
    cohort: int
    recovered: tuple[str, ...]
    threshold: int
    minimum_cohort: int
    broadcast: Hex
    started_at: str
    ended_at: str
    reason: str = ""
    figures: Mapping[str, float] = Field(default_factory=dict)


class PrivacyRecord(_Frozen):
    """What differential privacy was applied; ``none`` promises nothing beyond the protection."""

    mechanism: str
    statement: str


class DisclosureRecord(_Frozen):
    """What the method says each party sees."""

    level: str
    paragraph: str
    quantities: tuple[str, ...]


class CustodyRecord(_Frozen):
    """Under whose key the contributions were encrypted.

    Attributes:
        custodian: the party that held the secret key.
        key: digest of the public key.
        statement: digest of the custodian's signed statement of the key; it is in the bundle.
    """

    custodian: str
    key: Hex
    statement: Hex


class JobRecord(_Frozen):
    """The predicate of a job record.

    Attributes:
        job: digest of the job file; the file is in the bundle.
        envelope: digest of the signed job file.
        schema_digest: digest of the dataset's schema file.
        custody: where the protection has a custodian and it made a key.
        federation_policies: digests of the federation's own policies that the job was submitted under.
        records_used: rows over the whole cohort, where a sum of them was published.
        log_position: entries in the coordinator's audit log before the entry that names this record.
    """

    name: str
    job: Hex
    envelope: Hex
    submitted_by: str
    submitted_at: str
    ended_at: str
    state: Literal["finished", "failed", "stopped", "refused"]
    reason: str
    kind: str
    purpose: str
    dataset: str
    schema_digest: Hex = Field(alias="schema")
    method: str
    learner: str
    learner_digest: str
    protection: str
    disclosure: DisclosureRecord
    privacy: PrivacyRecord
    answers: tuple[NodeAnswer, ...]
    rounds: tuple[RoundRecord, ...]
    custody: CustodyRecord | None = None
    federation_policies: tuple[Hex, ...] = ()
    records_used: float | None
    software: Mapping[str, str]
    federation: str
    log_origin: str
    log_position: int


class _Subject(_Frozen):
    name: str
    digest: Mapping[str, Hex]


class _Statement(_Frozen):
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[_Subject, ...]
    predicate_type: Literal["urn:fedseal:job-record:v1"] = Field(alias="predicateType")
    predicate: JobRecord


class VerifiedRecord(_Frozen):
    """A job record whose signature has been verified.

    Attributes:
        record: what it says.
        subject: SHA-256 of the model, or of the job file where there is no model.
        has_model: whether the subject is a model.
        signer: the coordinator that signed it, such as ``coordinator/coordinator``.
    """

    record: JobRecord
    subject: Hex
    has_model: bool
    signer: str


def sign_record(record: JobRecord, *, model_digest: Digest | None, key: IdentityKey, certificate_pem: bytes) -> bytes:
    """Make and sign the statement; the result is a JSON file."""
    name, digest = ("model.safetensors", model_digest) if model_digest is not None else ("job.yaml", record.job)
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": record.model_dump(mode="json", by_alias=True),
    }
    payload = canonical_json(statement)
    return sign_document(PAYLOAD_TYPE, payload, key=key, certificate_pem=certificate_pem).to_json()


def read_record(data: bytes) -> JobRecord:
    """What a job record says, without verifying who signed it.

    Raises:
        TamperError: it is not a job record.
    """
    return _statement(SignedDocument.from_json(data, max_bytes=MAX_RECORD_BYTES).payload).predicate


def model_digest(data: bytes) -> Digest | None:
    """SHA-256 of the model that a job record names, without verifying who signed it; None where there is no model.

    Raises:
        TamperError: it is not a job record.
    """
    subjects = _statement(SignedDocument.from_json(data, max_bytes=MAX_RECORD_BYTES).payload).subject
    return next(
        (Digest(item.digest["sha256"]) for item in subjects if "sha256" in item.digest and item.name != _JOB_FILE), None
    )


def verify_record(
    data: bytes, *, root: TrustRoot, revocations: Revocations, model: bytes | None = None
) -> VerifiedRecord:
    """Verify a job record and, if given, that ``model`` is the one it is about.

    The signature is judged at the time the record states as the job's end, so that a certificate that has
    expired since does not invalidate it; one that was revoked before does.

    Raises:
        TamperError: it is not a job record, another party signed it, or the model is another one.
        PeerError: signature or certificate do not verify.
    """
    document = SignedDocument.from_json(data, max_bytes=MAX_RECORD_BYTES)
    statement = _statement(document.payload)
    signed_at = _time(statement.predicate.ended_at)
    members = signers(document, root, payload_type=PAYLOAD_TYPE, now=signed_at, revocations=revocations)
    signer = _only_coordinator(members)
    subject = statement.subject[0] if len(statement.subject) == 1 else None
    if subject is None or set(subject.digest) != {"sha256"}:
        raise TamperError("the job record must name exactly one subject by its SHA-256")
    digest = subject.digest["sha256"]
    has_model = subject.name != "job.yaml"
    if model is not None and (not has_model or sha256_hex(model) != digest):
        raise TamperError(
            f"the file is not the model of this job record: its SHA-256 is {sha256_hex(model)}, the record names "
            f"{digest if has_model else 'no model'}"
        )
    return VerifiedRecord(record=statement.predicate, subject=digest, has_model=has_model, signer=signer.label)


def _statement(payload: bytes) -> _Statement:
    try:
        return _Statement.model_validate(parse_strict(payload, max_bytes=MAX_RECORD_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise TamperError(f"this is not a fedseal job record: `{field}` {first['msg'].lower()}") from None


def _only_coordinator(members: tuple[Member, ...]) -> Member:
    if len(members) != 1 or members[0].kind is not PartyKind.COORDINATOR:
        names = ", ".join(member.label for member in members)
        raise TamperError(f"a job record is signed by its coordinator alone; this one is signed by {names}")
    return members[0]


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TamperError(f"the job record's `ended_at` is not a time: {text[:40]}") from None
    if moment.tzinfo is None:
        raise TamperError("the job record's `ended_at` has no time zone")
    return moment
