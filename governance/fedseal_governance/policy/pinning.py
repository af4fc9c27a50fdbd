"""The federation's policies as a party has pinned them: signed by officers, verified here, and never given up again.

Used by the coordinator, which hands them out, and by each node, which believes none of it: a node verifies every
signature against the authority's root, keeps what it has verified, and decides by its own copy.

Rules kept here:

1. A policy is pinned when its bytes carry the signatures of as many organisations' compliance officers as it asks for.
   Certificates are judged at the time of the approval; an officer who has been revoked since does not count any more
   for whoever has not pinned the policy yet.
2. A name and version means one file: a second one is refused and stays out.
3. Of the versions of a name the highest counts whose first day has come, unless it was revoked before that day. An
   older version never returns.
4. Once a policy was pinned here, every job needs one: a revoked or expired policy, and a dataset that none mentions,
   mean no.
5. A revocation is believed when a compliance officer of the federation signed it.

What nobody can check here: whether the coordinator withholds a newer version or a revocation. A policy's own last day
bounds that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal_crypto.certificates import CLOCK_SKEW
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.errors import CryptoError
from fedseal_governance.acts import Act
from fedseal_governance.errors import NotFound, RefusedError, TamperError
from fedseal_governance.policy.model import PolicyDocument, load_policy
from fedseal_governance.policy.officers import is_complete, verified_officers
from fedseal_governance.policy.revocation import verify_revocation
from fedseal_governance.policy.tables import JobFederationPolicyRow, PinnedPolicyRow
from fedseal_governance.trust import Trust
from fedseal_governance.vocabulary import PolicyLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedPolicy:
    """A policy of the federation that was verified here.

    Attributes:
        signed: the file's exact bytes with the officers' signatures.
        officers: who signed, as labels.
        revocation: the signed end, if there is one.
    """

    digest: Digest
    document: PolicyDocument
    signed: SignedDocument
    officers: tuple[str, ...]
    approved_at: datetime
    pinned_at: datetime
    revoked_at: datetime | None
    reason: str
    revocation: SignedDocument | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationStanding:
    """What the federation's policies say about a dataset now.

    Attributes:
        adopted: whether a policy of the federation was ever pinned here.
        policies: those in force for the dataset, verified again.
        ended: sentences on policies that speak for it and are in force no more.
    """

    adopted: bool
    policies: tuple[PinnedPolicy, ...]
    ended: tuple[str, ...]

    @property
    def missing(self) -> str:
        """Why a job on the dataset is refused whatever it says; empty if it is not."""
        if not self.adopted or self.policies:
            return ""
        if self.ended:
            return f"{' '.join(self.ended)} A new version has to be approved before a job can run."
        return (
            "The federation has policies, and none of them mentions this dataset; have one approved that does, or "
            "choose another dataset."
        )


def pin(act: Act, signed: SignedDocument, *, approved_at: datetime, trust: Trust, federation: str) -> PinnedPolicy:
    """Verify a federation's policy and keep it; one that is kept already stays as it is.

    Args:
        act: when, and in whose name it is noted.
        signed: the file with its signatures, as anybody may have brought it.
        approved_at: when the last signature was made, as the bringer says.
        trust: the authority's root and the newest revocation list.
        federation: the federation's name, which the policy must belong to.

    Raises:
        DocumentError: it is not a policy file.
        RefusedError: it belongs to somebody else, has too few signatures, or another file has its name and version.
        PeerError: a signature or certificate does not verify.
    """
    digest = sha256_hex(signed.payload)
    known = act.session.get(PinnedPolicyRow, digest)
    if known is not None:
        return _pinned(known)
    document = load_policy(signed.payload, f"the federation's policy {digest[:12]}")
    if document.level is not PolicyLevel.FEDERATION or document.owner != federation:
        raise RefusedError(f"the {document.title} of {document.owner} is not a policy of the federation {federation}")
    if approved_at > act.now + CLOCK_SKEW:
        raise RefusedError(f"the {document.title} is said to be approved in the future; check the clocks")
    officers = verified_officers(signed, document, trust, approved_at)
    for officer in officers:
        if officer.serial in trust.revocations.serials:
            raise RefusedError(
                f"{officer.label}, who signed the {document.title}, has been revoked; have it approved again"
            )
    if not is_complete(officers, document, None):
        raise RefusedError(
            f"the {document.title} needs officers of {document.approval.compliance_officers} organisations and is "
            f"signed by {', '.join(officer.label for officer in officers)}"
        )
    query = select(PinnedPolicyRow).filter_by(name=document.policy, version=document.version)
    if (other := act.session.scalar(query)) is not None:
        raise RefusedError(f"the {document.title} is another file than the one pinned here ({other.digest[:12]})")
    row = PinnedPolicyRow(
        digest=digest,
        name=document.policy,
        version=document.version,
        signed=signed.to_json(),
        officers=" ".join(officer.label for officer in officers),
        approved_at=approved_at,
        pinned_at=act.now,
        reason="",
    )
    act.session.add(row)
    act.session.flush()
    act.note(
        "federation.policy.pinned",
        f"policy/{digest}",
        name=document.policy,
        version=document.version,
        officers=[officer.label for officer in officers],
        envelope=sha256_hex(row.signed),
    )
    return _pinned(row)


def end(act: Act, digest: Digest, signed: SignedDocument, *, trust: Trust) -> PinnedPolicy:
    """Take over a revocation; a second one changes nothing.

    Raises:
        NotFound: no such policy is pinned here.
        RefusedError, PeerError: it is no revocation of this policy by a compliance officer.
    """
    row = act.session.get(PinnedPolicyRow, digest)
    if row is None:
        raise NotFound(f"no policy of the federation with the digest {digest[:16]} is pinned here")
    if row.revocation is not None:
        return _pinned(row)
    document = _document(row)
    revocation = verify_revocation(signed, digest, document, trust, now=act.now)
    row.revocation, row.revoked_at, row.reason = signed.to_json(), act.now, revocation.reason
    act.session.flush()
    act.note(
        "federation.policy.ended",
        f"policy/{digest}",
        name=row.name,
        version=row.version,
        officer=revocation.officer.label,
        reason=revocation.reason,
        envelope=sha256_hex(row.revocation),
    )
    return _pinned(row)


def is_known(session: Session, digest: Digest, *, ended: bool) -> bool:
    """Whether a policy is pinned already, and its end with it where ``ended`` asks for that."""
    row = session.get(PinnedPolicyRow, digest)
    return row is not None and (row.revocation is not None or not ended)


def pinned_policies(session: Session) -> tuple[PinnedPolicy, ...]:
    """All of them, by name and version."""
    query = select(PinnedPolicyRow).order_by(PinnedPolicyRow.name, PinnedPolicyRow.version)
    return tuple(_pinned(row) for row in session.scalars(query))


def standing(session: Session, dataset: str, *, trust: Trust, now: datetime) -> FederationStanding:
    """What the federation's policies say about ``dataset`` now.

    Raises:
        TamperError: a pinned policy is not what officers signed.
    """
    rows = session.scalars(select(PinnedPolicyRow).order_by(PinnedPolicyRow.name, PinnedPolicyRow.version.desc())).all()
    policies: list[PinnedPolicy] = []
    ended: list[str] = []
    for row in _newest_begun(rows, _day(now)):
        document = _document(row)
        if dataset not in document.datasets:
            continue
        if row.revoked_at is not None:
            ended.append(f"The {document.title} was revoked ({row.reason}).")
        elif document.valid.until < _day(now):
            ended.append(f"The {document.title} has expired; its last day was {document.valid.until}.")
        else:
            _verify_again(row, document, trust)
            policies.append(_pinned(row))
    return FederationStanding(adopted=bool(rows), policies=tuple(policies), ended=tuple(ended))


def bind_job(session: Session, job: str, policies: tuple[PinnedPolicy, ...]) -> None:
    """Keep which of the federation's policies a job was accepted under."""
    for policy in policies:
        session.merge(JobFederationPolicyRow(job=job, policy=policy.digest))


def bound_to(session: Session, job: str) -> tuple[Digest, ...]:
    """The federation's policies that a job was accepted under, in order of their digests."""
    query = select(JobFederationPolicyRow.policy).filter_by(job=job).order_by(JobFederationPolicyRow.policy)
    return tuple(Digest(digest) for digest in session.scalars(query))


def _newest_begun(rows: Sequence[PinnedPolicyRow], today: date) -> list[PinnedPolicyRow]:
    """Of each name the highest version whose first day has come; ``rows`` have the highest version first."""
    found: dict[str, PinnedPolicyRow] = {}
    for row in rows:
        start = _document(row).valid.start
        never_began = row.revoked_at is not None and _day(row.revoked_at) < start
        if start <= today and not never_began:
            found.setdefault(row.name, row)
    return list(found.values())


def _verify_again(row: PinnedPolicyRow, document: PolicyDocument, trust: Trust) -> None:
    try:
        officers = verified_officers(SignedDocument.from_json(row.signed), document, trust, row.approved_at)
    except (CryptoError, RefusedError) as error:
        raise TamperError(
            f"the signatures of the {document.title} do not verify any more ({error}); restore the database from a "
            "backup"
        ) from error
    if document.level is not PolicyLevel.FEDERATION or not is_complete(officers, document, None):
        raise TamperError(f"the {document.title} is pinned with too few signatures; restore the database from a backup")


def _document(row: PinnedPolicyRow) -> PolicyDocument:
    content = SignedDocument.from_json(row.signed).payload
    if sha256_hex(content) != row.digest:
        raise TamperError(
            f"the pinned text of the federation's policy {row.name}, version {row.version}, was changed; "
            "restore the database from a backup"
        )
    return load_policy(content, row.name)


def _pinned(row: PinnedPolicyRow) -> PinnedPolicy:
    return PinnedPolicy(
        digest=Digest(row.digest),
        document=_document(row),
        signed=SignedDocument.from_json(row.signed),
        officers=tuple(row.officers.split()),
        approved_at=row.approved_at,
        pinned_at=row.pinned_at,
        revoked_at=row.revoked_at,
        reason=row.reason,
        revocation=None if row.revocation is None else SignedDocument.from_json(row.revocation),
    )


def _day(now: datetime) -> date:
    return now.astimezone(UTC).date()
