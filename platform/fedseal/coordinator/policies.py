"""The federation's own policies at the coordinator: proposed, signed by officers of several organisations, handed out.

The coordinator keeps them for everybody and believes as little as a node does: what it hands out it has itself
verified and pinned, and it judges submissions by that copy.

Called by the engine's thread only, so that what a change means reaches the nodes in order.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy.orm import Session

from fedseal.artefacts import ArtefactFolder
from fedseal.errors import PeerFault
from fedseal.past_jobs import past_at_coordinator
from fedseal.trust import Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.certificates import Member, Party
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog
from fedseal_governance.database import Database
from fedseal_governance.policy import (
    POLICY_TYPE,
    FederationStanding,
    Owner,
    PinnedPolicy,
    PolicyDocument,
    PolicyState,
    StoredPolicy,
    approve,
    due,
    list_policies,
    load_policy,
    pinning,
    propose,
    revoke,
    settle,
    show,
)
from fedseal_governance.policy.history import PolicyEvent, policy_history
from fedseal_governance.policy.impact import Impact, replay
from fedseal_governance.policy.revocation import verify_revocation
from fedseal_governance.trust import Trust as DocumentTrust
from fedseal_governance.vocabulary import PolicyLevel

T = TypeVar("T")


class FederationPolicies:
    """The coordinator's book of the federation's policies."""

    def __init__(self, database: Database, log: AuditLog, *, member: Member, trust: Trust, artefacts: Path) -> None:
        self._database = database
        self._log = log
        self._label = member.label
        self._federation = str(member.federation)
        self._trust = trust
        self._artefacts = ArtefactFolder(artefacts)

    def propose(self, content: bytes, *, filename: str, person: Party, now: datetime) -> StoredPolicy:
        """Put a file before the officers.

        Raises:
            DocumentError, RefusedError: it is no policy of this federation, or the person may not propose it.
        """
        owner = Owner(level=PolicyLevel.FEDERATION, name=self._federation)
        return self._change(
            "federation.policy.propose",
            lambda act: propose(act, content, filename=filename, owner=owner, proposer=person),
            actor=person.label,
            now=now,
        )

    def sign(self, envelope: bytes, *, person: Party, now: datetime) -> StoredPolicy:
        """Add the caller's signature; with the last one needed the policy is pinned and handed out.

        Raises:
            NotFound, WrongState, RefusedError: see `fedseal_governance.policy.approve`.
            PeerError, PeerFault: the signature does not verify, or is somebody else's.
        """
        signed = SignedDocument.from_json(envelope)
        trust = self._document_trust()

        def work(act: Act) -> StoredPolicy:
            if [item.label for item in trust.signers(signed, payload_type=POLICY_TYPE, now=now)] != [person.label]:
                sentence = f"the policy is not signed by {person.label} alone; sign with your own key"
                raise PeerFault(sentence)
            stored = approve(act, sha256_hex(signed.payload), signed, trust)
            if stored.signed is not None and stored.approved_at is not None:
                pinning.pin(
                    act, stored.signed, approved_at=stored.approved_at, trust=trust, federation=self._federation
                )
            return stored

        return self._change("federation.policy.approve", work, actor=person.label, now=now)

    def revoke(self, digest: Digest, envelope: bytes, *, person: Party, now: datetime) -> StoredPolicy:
        """End a policy by the caller's signed word.

        Raises:
            NotFound, WrongState, RefusedError: there is none, it has ended, or the person may not end it.
            PeerError, PeerFault: the signature does not verify, or is somebody else's.
        """
        signed = SignedDocument.from_json(envelope)
        trust = self._document_trust()

        def work(act: Act) -> StoredPolicy:
            before = show(act.session, digest)
            revocation = verify_revocation(signed, digest, before.document, trust, now=act.now)
            if revocation.officer.label != person.label:
                sentence = f"the revocation is signed by {revocation.officer.label}; sign with your own key"
                raise PeerFault(sentence)
            stored = revoke(act, digest, revocation.officer, revocation.reason)
            if before.state is not PolicyState.PROPOSED:
                pinning.end(act, digest, signed, trust=trust)
            return stored

        return self._change("federation.policy.revoke", work, actor=person.label, now=now)

    def settle(self, now: datetime) -> None:
        """Bring approved policies into force and expired ones to their end, when their day has come."""
        if self._database.read(lambda session: due(session, now)):
            self._change("federation.policy.settle", settle, actor=self._label, now=now)

    def listed(self) -> tuple[StoredPolicy, ...]:
        """All policies, by name and version."""
        return self._database.read(list_policies)

    def history(self, name: str) -> tuple[PolicyEvent, ...]:
        """What happened to a policy, or to all of them if ``name`` is empty."""
        return self._database.read(lambda session: policy_history(self._log.entries(session), name=name or None))

    def impact(self, content: bytes, *, filename: str, now: datetime) -> tuple[Impact, ...]:
        """What a new version would have said to the jobs that were submitted here.

        Raises:
            DocumentError: it is no policy file.
        """
        policy = load_policy(content, filename)
        past = self._database.read(lambda session: past_at_coordinator(session, self._log, self._artefacts))
        return replay(past, policy, today=now.date())

    def standing(self, dataset: str, now: datetime) -> FederationStanding:
        """What the federation's policies say about a dataset now."""
        trust = self._document_trust()
        return self._database.read(lambda session: pinning.standing(session, dataset, trust=trust, now=now))

    def documents(self, dataset: str, now: datetime) -> tuple[PolicyDocument, ...]:
        """The policies in force for a dataset."""
        return tuple(item.document for item in self.standing(dataset, now).policies)

    def handed_out(self) -> pb.FederationPolicies:
        """What every node gets."""
        pinned = self._database.read(pinning.pinned_policies)
        return pb.FederationPolicies(policies=[_wire(item) for item in pinned])

    def _document_trust(self) -> DocumentTrust:
        return DocumentTrust(root=self._trust.root, revocations=self._trust.revocations)

    def _change(self, name: str, work: Callable[[Act], T], *, actor: str, now: datetime) -> T:
        def attempt(session: Session) -> T:
            return work(Act(session=session, journal=self._log, actor=actor, now=now))

        return self._database.run(name, attempt)


def policy_view(stored: StoredPolicy) -> pb.PolicyView:
    """A policy as people receive it."""
    return pb.PolicyView(
        digest=stored.digest,
        content=stored.content,
        state=stored.state.value,
        proposer=stored.proposer,
        proposed_at=_time(stored.proposed_at),
        signers=stored.signers,
        signatures_missing=stored.signatures_missing,
        approved_at=_time(stored.approved_at),
        in_force_at=_time(stored.in_force_at),
        ended_at=_time(stored.ended_at),
        reason=stored.reason,
    )


def event_view(event: PolicyEvent) -> pb.PolicyEvent:
    """One step of a policy's history as people receive it."""
    return pb.PolicyEvent(
        seq=event.seq,
        time=_time(event.time),
        what=event.what,
        who=event.who,
        policy=event.policy,
        version=event.version,
        note=event.note,
    )


def impact_view(impact: Impact) -> pb.ImpactOnJob:
    """What becomes of one job, as people receive it."""
    return pb.ImpactOnJob(
        job=impact.job.digest,
        name=impact.job.document.job,
        decided_at=_time(impact.job.decided_at),
        before=impact.before,
        after=impact.after,
        reasons=[pb.Reason(clause=item.label, sentence=item.sentence, allowed=item.allowed) for item in impact.reasons],
    )


def _wire(policy: PinnedPolicy) -> pb.FederationPolicy:
    return pb.FederationPolicy(
        document=policy.signed.to_json(),
        approved_at=policy.approved_at.isoformat(),
        revocation=b"" if policy.revocation is None else policy.revocation.to_json(),
    )


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat(timespec="seconds")
