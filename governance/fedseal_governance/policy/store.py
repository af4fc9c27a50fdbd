"""Policies in the party's database: proposed, signed by officers, in force, ended.

Rules kept here:

1. A policy belongs to the party's own organisation, or at the coordinator to the federation, and carries a
   version higher than any before it.
2. It comes into force when those have signed its exact bytes whom `fedseal_governance.policy.officers` asks for.
3. One version of a policy is in force at a time, and no two policies speak for the same dataset.
4. What is used is verified again: digest, signatures, number of officers; a row that was edited by hand
   is found.
5. Every change is noted in the audit log in the same transaction.

States and steps are in `fedseal_governance.policy.lifecycle`.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fedseal_crypto.certificates import Member, Party
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.errors import CryptoError
from fedseal_governance.acts import Act
from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError, TamperError
from fedseal_governance.policy.lifecycle import PolicyState, PolicyStep, after
from fedseal_governance.policy.model import PolicyDocument, load_policy
from fedseal_governance.policy.officers import (
    POLICY_TYPE,
    is_complete,
    require_another_organisation,
    require_officer,
    require_proposer,
    require_reason,
    verified_officers,
)
from fedseal_governance.policy.tables import PolicyRow, PolicySignatureRow
from fedseal_governance.trust import Trust
from fedseal_governance.vocabulary import PolicyLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPolicy:
    """A policy as the database holds it.

    Attributes:
        content: the exact bytes of the file.
        signed: the file with the signatures so far, None before the first.
        signers: the officers who signed, in order.
    """

    digest: Digest
    document: PolicyDocument
    content: bytes
    signed: SignedDocument | None
    signers: tuple[str, ...]
    state: PolicyState
    proposer: str
    proposed_at: datetime
    approved_at: datetime | None
    in_force_at: datetime | None
    ended_at: datetime | None
    reason: str

    @property
    def signatures_missing(self) -> int:
        """How many officers still have to sign; a proposer's signature alone is never enough."""
        others = any(signer != self.proposer for signer in self.signers)
        return max(0 if others else 1, self.document.approval.compliance_officers - len(self.signers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose policies a party keeps: a node those of its organisation, the coordinator those of the federation."""

    level: PolicyLevel
    name: str

    def require_own(self, document: PolicyDocument, filename: str) -> None:
        """Refuse a policy of another level or owner.

        Raises:
            RefusedError: it is not this party's.
        """
        if document.level is not self.level:
            where = "with --federation" if document.level is PolicyLevel.FEDERATION else "at a node, with --node"
            raise RefusedError(f"{filename}: `level` is {document.level.value}; propose it {where}, or correct it")
        if document.owner != self.name:
            right = "the federation is called" if self.level is PolicyLevel.FEDERATION else "this party belongs to"
            raise RefusedError(f'{filename}: `owner` is "{document.owner}", but {right} "{self.name}"; correct it')


def propose(act: Act, content: bytes, *, filename: str, owner: Owner, proposer: Party) -> StoredPolicy:
    """Store a policy file for approval.

    Args:
        act: in which transaction, and when.
        content: the exact bytes of the file.
        filename: its name, for messages.
        owner: whose policies this party keeps.
        proposer: who proposes it, verified.

    Raises:
        DocumentError: the file is not a policy.
        AlreadyDone: these bytes were proposed before.
        RefusedError: wrong owner or proposer, version not higher, or already past its last day.
    """
    document = load_policy(content, filename)
    digest = sha256_hex(content)
    owner.require_own(document, filename)
    require_proposer(proposer, document)
    if act.session.get(PolicyRow, digest) is not None:
        raise AlreadyDone(f"{filename} was proposed before ({document.title}); approve it, or raise `version`")
    latest = act.session.scalar(select(func.max(PolicyRow.version)).where(PolicyRow.name == document.policy))
    if latest is not None and document.version <= latest:
        raise RefusedError(
            f"{filename}: `version` is {document.version}, but version {latest} of {document.policy} exists; "
            f"write {latest + 1}"
        )
    if document.valid.until < _today(act.now):
        raise RefusedError(f"{filename}: `valid.until` is {document.valid.until}, which is past; extend it")
    row = PolicyRow(
        digest=digest,
        name=document.policy,
        version=document.version,
        content=content,
        state=after(PolicyState.DRAFT, PolicyStep.PROPOSE, title=document.title),
        proposer=proposer.label,
        proposed_at=act.now,
        reason="",
    )
    act.session.add(row)
    act.session.flush()
    act.note("policy.proposed", f"policy/{digest}", name=document.policy, version=document.version)
    return _stored(act.session, row)


def approve(act: Act, digest: Digest, signature: SignedDocument, trust: Trust) -> StoredPolicy:
    """Add one officer's signature; with the last one needed the policy comes into force on its first day.

    Args:
        act: who hands the signature in, and when.
        digest: the policy.
        signature: the exact bytes of the file, signed by the officer alone (`sign_document` with
            `POLICY_TYPE`).
        trust: whom the officer's certificate must descend from.

    Raises:
        NotFound: no such policy.
        WrongState: it does not wait for signatures.
        RefusedError: the signer may not approve it, or has done so.
        PeerError: signature or certificate do not verify.
    """
    row = _row(act.session, digest)
    document = load_policy(row.content, row.name)
    approved = after(row.state, PolicyStep.COMPLETE, title=document.title)
    _require_same_bytes(signature, row.content, document)
    newest = _only_officer(signature, document, trust, act.now)
    if act.session.get(PolicySignatureRow, (digest, newest.label)) is not None:
        raise AlreadyDone(f"{newest.label} has signed the {document.title} already; another officer must sign")
    combined = signature
    if row.signed is not None:
        before = SignedDocument.from_json(row.signed)
        require_another_organisation(newest, verified_officers(before, document, trust, act.now), document)
        combined = _combined(before, signature)
    officers = trust.signers(combined, payload_type=POLICY_TYPE, now=act.now)
    row.signed = combined.to_json()
    act.session.add(
        PolicySignatureRow(policy=digest, signer=newest.label, key_id=newest.public.key_id, signed_at=act.now)
    )
    act.note("policy.signed", f"policy/{digest}", name=row.name, version=row.version, officer=newest.label)
    if is_complete(officers, document, row.proposer):
        row.state, row.approved_at = approved, act.now
        act.note(
            "policy.approved",
            f"policy/{digest}",
            name=row.name,
            version=row.version,
            officers=[officer.label for officer in officers],
            # names the signed file, so that an audit bundle holds the officers' signatures too
            envelope=sha256_hex(row.signed),
        )
        _enter_if_due(act, row, document)
    act.session.flush()
    return _stored(act.session, row)


def revoke(act: Act, digest: Digest, officer: Member, reason: str) -> StoredPolicy:
    """End a policy at once; one officer suffices, because this only takes permissions away.

    Args:
        act: when, and by whom.
        digest: the policy.
        officer: a verified compliance officer of the policy's organisation.
        reason: for the log and for people, without personal data.

    Raises:
        NotFound: no such policy.
        WrongState: it has ended already.
        RefusedError: the person may not revoke it, or the reason is no reason.
    """
    row = _row(act.session, digest)
    document = load_policy(row.content, row.name)
    require_officer(officer, document)
    require_reason(reason)
    _end(act, row, PolicyStep.REVOKE, document=document, reason=reason)
    return _stored(act.session, row)


def settle(act: Act) -> None:
    """Let time pass: approved policies whose first day has come enter into force, past ones expire.

    Called when a party starts and once a day; `in_force` never relies on it to end a policy.
    """
    open_states = (PolicyState.PROPOSED, PolicyState.APPROVED, PolicyState.IN_FORCE)
    query = select(PolicyRow).where(PolicyRow.state.in_(open_states)).order_by(PolicyRow.name, PolicyRow.version)
    for row in act.session.scalars(query).all():
        document = load_policy(row.content, row.name)
        if document.valid.until < _today(act.now):
            reason = f"its last day was {document.valid.until}"
            _end(act, row, PolicyStep.EXPIRE, document=document, reason=reason)
        elif row.state is PolicyState.APPROVED:
            _enter_if_due(act, row, document)
    act.session.flush()


def due(session: Session, now: datetime) -> bool:
    """Whether `settle` would change anything."""
    open_states = (PolicyState.PROPOSED, PolicyState.APPROVED, PolicyState.IN_FORCE)
    for row in session.scalars(select(PolicyRow).where(PolicyRow.state.in_(open_states))):
        valid = load_policy(row.content, row.name).valid
        if valid.until < _today(now) or (row.state is PolicyState.APPROVED and valid.start <= _today(now)):
            return True
    return False


def in_force(session: Session, dataset: str, *, trust: Trust, now: datetime) -> StoredPolicy | None:
    """The policy that speaks for ``dataset`` now, verified again; None when nobody has approved one.

    Raises:
        TamperError: the stored policy is not what officers signed.
    """
    query = select(PolicyRow).where(PolicyRow.state == PolicyState.IN_FORCE)
    for row in session.scalars(query):
        stored = _stored(session, row)
        valid = stored.document.valid
        if dataset in stored.document.datasets and valid.start <= _today(now) <= valid.until:
            _verify_again(stored, trust)
            return stored
    return None


def show(session: Session, digest: Digest) -> StoredPolicy:
    """One policy.

    Raises:
        NotFound: no such policy.
    """
    return _stored(session, _row(session, digest))


def list_policies(session: Session, *, name: str | None = None) -> tuple[StoredPolicy, ...]:
    """All policies, or all versions of one, by name and version."""
    query = select(PolicyRow).order_by(PolicyRow.name, PolicyRow.version)
    if name is not None:
        query = query.where(PolicyRow.name == name)
    return tuple(_stored(session, row) for row in session.scalars(query))


def _row(session: Session, digest: Digest) -> PolicyRow:
    row = session.get(PolicyRow, digest)
    if row is None:
        raise NotFound(f"no policy has the digest {digest[:16]}; see `fedseal policy list`")
    return row


def _stored(session: Session, row: PolicyRow) -> StoredPolicy:
    if sha256_hex(row.content) != row.digest:
        raise TamperError(
            f"the stored text of policy {row.name}, version {row.version}, was changed after it was "
            "proposed; "
            "restore the database from a backup"
        )
    query = (
        select(PolicySignatureRow.signer)
        .where(PolicySignatureRow.policy == row.digest)
        .order_by(PolicySignatureRow.signed_at, PolicySignatureRow.signer)
    )
    return StoredPolicy(
        digest=Digest(row.digest),
        document=load_policy(row.content, row.name),
        content=row.content,
        signed=None if row.signed is None else SignedDocument.from_json(row.signed),
        signers=tuple(session.scalars(query)),
        state=row.state,
        proposer=row.proposer,
        proposed_at=row.proposed_at,
        approved_at=row.approved_at,
        in_force_at=row.in_force_at,
        ended_at=row.ended_at,
        reason=row.reason,
    )


def _require_same_bytes(signature: SignedDocument, content: bytes, document: PolicyDocument) -> None:
    if signature.payload != content:
        raise RefusedError(f"the signature is over other bytes than the {document.title}; sign the proposed file")


def _only_officer(signature: SignedDocument, document: PolicyDocument, trust: Trust, now: datetime) -> Member:
    officers = trust.signers(signature, payload_type=POLICY_TYPE, now=now)
    if len(officers) != 1:
        raise RefusedError(f"hand in one signature at a time for the {document.title}")
    require_officer(officers[0], document)
    return officers[0]


def _combined(before: SignedDocument, more: SignedDocument) -> SignedDocument:
    envelope = replace(before.envelope, signatures=(*before.envelope.signatures, *more.envelope.signatures))
    return SignedDocument(envelope=envelope, certificates=(*before.certificates, *more.certificates))


def _enter_if_due(act: Act, row: PolicyRow, document: PolicyDocument) -> None:
    if document.valid.start > _today(act.now):
        return
    for other in act.session.scalars(select(PolicyRow).where(PolicyRow.state == PolicyState.IN_FORCE)).all():
        theirs = load_policy(other.content, other.name)
        if other.name == row.name:
            reason = f"version {row.version} came into force"
            _end(act, other, PolicyStep.SUPERSEDE, document=theirs, reason=reason)
        elif shared := sorted(set(theirs.datasets) & set(document.datasets)):
            raise RefusedError(
                f"the {theirs.title} is in force for the dataset {shared[0]}; revoke it before the {document.title}"
            )
    # First the old version out, then the new one in: one version in force at every instant of the session.
    act.session.flush()
    row.state = after(row.state, PolicyStep.ENTER, title=document.title)
    row.in_force_at = act.now
    act.note("policy.in_force", f"policy/{row.digest}", name=row.name, version=row.version)


def _end(act: Act, row: PolicyRow, step: PolicyStep, *, document: PolicyDocument, reason: str) -> None:
    row.state = after(row.state, step, title=document.title)
    row.ended_at = act.now
    row.reason = reason
    act.session.flush()
    act.note(f"policy.{row.state.value}", f"policy/{row.digest}", name=row.name, version=row.version, reason=reason)


def _verify_again(stored: StoredPolicy, trust: Trust) -> None:
    title = stored.document.title
    if stored.signed is None or stored.approved_at is None or stored.signed.payload != stored.content:
        raise TamperError(f"the {title} is marked as in force but carries no signatures; approve it again")
    try:
        # At the time of approval: a certificate that has expired since does not undo a signature.
        officers = verified_officers(stored.signed, stored.document, trust, stored.approved_at)
    except (CryptoError, RefusedError) as error:
        raise TamperError(f"the signatures of the {title} do not verify ({error}); approve it again") from error
    if not is_complete(officers, stored.document, stored.proposer):
        raise TamperError(f"the {title} is marked as in force with too few signatures; approve it again")


def _today(now: datetime) -> date:
    return now.astimezone(UTC).date()


__all__ = [
    "POLICY_TYPE",
    "Owner",
    "StoredPolicy",
    "approve",
    "due",
    "in_force",
    "list_policies",
    "propose",
    "revoke",
    "settle",
    "show",
]
