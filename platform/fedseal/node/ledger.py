"""What the node writes and decides from its own database: jobs, consents, its audit log; attempts beside it.

Every method that changes something is one transaction that also appends the audit entry. No entry holds a
pseudonym: records appear as counts and as the digest of their sorted list.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from fedseal.documents import SignedJob
from fedseal.errors import RefusalError
from fedseal.foreign import fitted
from fedseal.learning import JobData, job_data, learner_digest
from fedseal.methods import programme, programme_statement
from fedseal.node.attempts import AttemptLedger
from fedseal.node.data import DataRoom
from fedseal.trust import Trust
from fedseal_crypto.certificates import Member
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.notes import log_origin
from fedseal_crypto.secret import SecretBytes
from fedseal_governance import consent, history, participation
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog
from fedseal_governance.database import Database
from fedseal_governance.participation import NodeJobRow, NodeJobState
from fedseal_governance.policy import (
    Decision,
    NodeFacts,
    PolicyDocument,
    Reason,
    StoredPolicy,
    decide,
    in_force,
    settle,
)
from fedseal_governance.policy import due as policy_due
from fedseal_governance.trust import Trust as DocumentTrust

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A decision with the policy that made it; ``policy`` is None where none is in force."""

    decision: Decision
    policy: StoredPolicy | None


class NodeLedger:
    """The node's database."""

    def __init__(
        self,
        database: Database,
        *,
        member: Member,
        key: IdentityKey,
        trust: Trust,
        data: DataRoom,
        snapshot_salt: SecretBytes,
    ) -> None:
        self.database = database
        self.member = member
        self.log = AuditLog(log_origin(member.federation, member.name), key)
        self._trust = trust
        self._data = data
        self.attempts = AttemptLedger(database, self.log, actor=member.label, snapshot_salt=snapshot_salt)

    # -- jobs ------------------------------------------------------------------------------------------

    def policies_in_force(self, now: datetime) -> tuple[StoredPolicy, ...]:
        """The policies that speak for this node's datasets now."""
        names = [registration.name for registration in self._data.registrations()]
        found: dict[Digest, StoredPolicy] = {}
        for name in names:
            stored = self._policy(name, now)
            if stored is not None:
                found[stored.digest] = stored
        return tuple(found.values())

    def settle_policies(self, *, now: datetime) -> None:
        """Bring approved policies into force and expired ones to their end, when their day has come."""
        is_due = self.database.read(lambda session: policy_due(session, now))
        if is_due:
            self.database.run(
                "policy.settle",
                lambda session: settle(Act(session=session, journal=self.log, actor=self.member.label, now=now)),
            )

    def judge(self, signed: SignedJob, *, now: datetime) -> Judgement:
        """What this node's policy says about a job now."""
        document = signed.document
        stored = self._policy(document.dataset, now)
        if stored is None:
            sentence = (
                f"No approved policy for the dataset {document.dataset} is in force here; have one approved "
                "with `fedseal policy propose` and `fedseal policy approve`."
            )
            reason = Reason(clause="policy", sentence=sentence, allowed=False)
            return Judgement(decision=Decision(allowed=False, reasons=(reason,)), policy=None)
        drift = self._drift(document.dataset)
        usable = None if drift else len(self.usable(signed, stored.document, now=now).record_ids)
        facts = NodeFacts(
            now=now,
            datasets=frozenset() if drift else frozenset({document.dataset}),
            usable_records=usable,
            method_discloses=programme_statement(programme(document)).level,
            learner_digest=None if document.learner is None else learner_digest(document.learner.name),
            operator_agreed=self.database.read(lambda session: participation.has_agreement(session, signed.digest)),
        )
        decision = decide(document, stored.document, facts)
        if not drift:
            return Judgement(decision=decision, policy=stored)
        # What changed may name counts and paths; it stays in this node's own log.
        _log.warning("dataset changed since it was registered", dataset=document.dataset, changes=list(drift))
        return Judgement(decision=decision, policy=stored)

    def decide_offer(self, signed: SignedJob, *, now: datetime) -> NodeJobRow:
        """Accept or refuse an offered job; a decision once made is repeated, not made again."""
        known = self.known_job(signed.digest)
        if known is not None:
            return known
        judgement = self.judge(signed, now=now)
        decision = judgement.decision
        reasons = [
            {"clause": item.clause, "sentence": item.sentence, "allowed": item.allowed} for item in decision.reasons
        ]
        policy = "" if judgement.policy is None else judgement.policy.digest
        state = NodeJobState.ACCEPTED if decision.allowed else NodeJobState.REFUSED

        def work(session: Session) -> NodeJobRow:
            row = participation.store_job(
                session,
                NodeJobRow(
                    digest=signed.digest,
                    name=signed.document.job,
                    envelope=signed.envelope,
                    policy=policy,
                    reasons=json.dumps(reasons),
                    decided_at=now,
                    state=state,
                    outcome="",
                ),
            )
            details = {
                "name": signed.document.job,
                "purpose": signed.document.purpose,
                "policy": policy,
                "refusals": [{"clause": item.clause, "sentence": item.sentence} for item in decision.refusals],
            }
            self._note(session, now, f"job.{state.value}", signed.signer.label, f"job/{signed.digest}", details)
            return row

        return self.database.run("node.job", work)

    def known_job(self, digest: str) -> NodeJobRow | None:
        """The job's row, if it was offered before."""
        return self.database.read(lambda session: session.get(NodeJobRow, digest))

    def accepted_jobs(self) -> Sequence[NodeJobRow]:
        """Jobs this node takes part in."""
        return self.database.read(participation.accepted_jobs)

    def require_allowed(self, signed: SignedJob, *, now: datetime) -> StoredPolicy:
        """The policy that still allows an accepted job, the same one that allowed it then.

        Raises:
            RefusalError: the job was not accepted or has ended, the policy changed, or it refuses now.
        """
        row = self.known_job(signed.digest)
        if row is None or row.state is not NodeJobState.ACCEPTED:
            sentence = f"this node has not accepted job {signed.digest[:12]}, or the job has ended"
            raise RefusalError(sentence)
        judgement = self.judge(signed, now=now)
        refusals = judgement.decision.refusals
        if refusals:
            sentence = " ".join(f"[{reason.clause}] {reason.sentence}" for reason in refusals)
            raise RefusalError(sentence)
        policy = judgement.policy
        if policy is None or policy.digest != row.policy:
            sentence = (
                "another version of the policy has come into force since this job was accepted; "
                "the job must be submitted again so that the new version can decide"
            )
            raise RefusalError(sentence)
        return policy

    def usable(self, signed: SignedJob, policy: PolicyDocument, *, now: datetime) -> JobData:
        """The rows the job may use here now: as registered, and with a consent in force where it is required."""
        document = signed.document
        rows = self._data.rows(document.dataset)
        if not policy.consent.required:
            return job_data(rows, document, None)
        consented: Collection[str] = self.database.read(
            lambda session: consent.in_force(session, dataset=document.dataset, purpose=document.purpose, now=now)
        )
        return job_data(rows, document, consented)

    def end_job(self, digest: str, *, outcome: str, record: bytes, now: datetime) -> None:
        """Note that the coordinator ended a job."""
        told = fitted(outcome)

        def work(session: Session) -> None:
            row = session.get(NodeJobRow, digest)
            if row is None or row.outcome:
                return
            participation.end_job(session, digest, outcome=told, record=record)
            history.forget_answers(session, digest)
            details = {"outcome": told, "record": sha256_hex(record) if record else None}
            self._note(session, now, "job.ended", "coordinator", f"job/{digest}", details)

        self.database.run("node.job.end", work)

    # -- the log ---------------------------------------------------------------------------------------

    def alarm(self, sentence: str, *, now: datetime) -> None:
        """Note that the coordinator's log was found rewritten or forked."""
        details = {"sentence": fitted(sentence)}
        self.database.run(
            "node.alarm",
            lambda session: self._note(session, now, "witness.alarm", self.member.label, "coordinator", details),
        )

    # -- helpers ---------------------------------------------------------------------------------------

    def _policy(self, dataset: str, now: datetime) -> StoredPolicy | None:
        trust = DocumentTrust(root=self._trust.root, revocations=self._trust.revocations)
        return self.database.read(lambda session: in_force(session, dataset, trust=trust, now=now))

    def _drift(self, dataset: str) -> tuple[str, ...]:
        try:
            return self._data.drift(dataset)
        except RefusalError as error:
            return (str(error),)

    def _note(
        self,
        session: Session,
        now: datetime,
        kind: str,
        actor: str,
        subject: str,
        details: Mapping[str, object],
    ) -> None:
        self.log.append(session, time=now, type=kind, actor=actor, subject=subject, details=details)
