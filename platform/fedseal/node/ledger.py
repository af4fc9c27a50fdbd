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
from fedseal.errors import PeerFault, RefusalError
from fedseal.foreign import fitted
from fedseal.learning import JobData, job_data, learner_digest
from fedseal.methods import programme, programme_statement
from fedseal.node.attempts import AttemptLedger
from fedseal.node.data import DataRoom
from fedseal.node.sealed import CheckedKey
from fedseal.trust import Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.certificates import Member
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.notes import log_origin
from fedseal_governance import consent, custody, history, participation
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog
from fedseal_governance.consent import RecordKey
from fedseal_governance.custody import JobKeyRow
from fedseal_governance.database import Database
from fedseal_governance.datasets import Drift
from fedseal_governance.participation import NodeJobRow, NodeJobState
from fedseal_governance.policy import (
    Decision,
    FederationStanding,
    NodeFacts,
    PinnedPolicy,
    Reason,
    Rules,
    StoredPolicy,
    decide_at_both_levels,
    in_force,
    pinning,
    settle,
)
from fedseal_governance.policy import due as policy_due
from fedseal_governance.trust import Trust as DocumentTrust

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A decision with the policies that made it; ``policy`` is None where the node has none in force."""

    decision: Decision
    policy: StoredPolicy | None
    federation: tuple[PinnedPolicy, ...]

    @property
    def rules(self) -> Rules:
        """What governs the job here."""
        return Rules(
            node=None if self.policy is None else self.policy.document,
            federation=tuple(item.document for item in self.federation),
        )


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
        record_key: RecordKey,
    ) -> None:
        self.database = database
        self.member = member
        self.log = AuditLog(log_origin(member.federation, member.name), key)
        self._trust = trust
        self._data = data
        self._told_drift: dict[str, Drift] = {}
        self.attempts = AttemptLedger(database, self.log, actor=member.label, record_key=record_key)

    def renew(self, member: Member, key: IdentityKey) -> None:
        """Go on under another certificate of this node."""
        self.member = member
        self.log = AuditLog(log_origin(member.federation, member.name), key)

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

    def pin_policy(self, policy: pb.FederationPolicy, *, now: datetime) -> None:
        """Verify a policy of the federation that the coordinator hands out, and keep it; the same of its revocation.

        Raises:
            GovernanceError, CryptoError: it does not verify; nothing was kept.
        """
        signed = SignedDocument.from_json(policy.document)
        trust = DocumentTrust(root=self._trust.root, revocations=self._trust.revocations)
        federation = str(self.member.federation)
        approved_at = _moment(policy.approved_at)
        digest = sha256_hex(signed.payload)

        def work(session: Session) -> None:
            act = Act(session=session, journal=self.log, actor=self.member.label, now=now)
            pinning.pin(act, signed, approved_at=approved_at, trust=trust, federation=federation)
            if policy.revocation:
                pinning.end(act, digest, SignedDocument.from_json(policy.revocation), trust=trust)

        known = self.database.read(lambda session: pinning.is_known(session, digest, ended=bool(policy.revocation)))
        if not known:
            self.database.run("policy.pin", work)

    def judge(self, signed: SignedJob, *, now: datetime) -> Judgement:
        """What this node's policy and the federation's say about a job now."""
        document = signed.document
        stored = self._policy(document.dataset, now)
        standing = self._standing(document.dataset, now)
        if stored is None:
            sentence = (
                f"No approved policy for the dataset {document.dataset} is in force here; have one approved "
                "with `fedseal policy propose` and `fedseal policy approve`."
            )
            reason = Reason(clause="policy", sentence=sentence, allowed=False)
            return Judgement(
                decision=Decision(allowed=False, reasons=(reason,)), policy=None, federation=standing.policies
            )
        rules = Rules(
            node=stored.document,
            federation=tuple(item.document for item in standing.policies),
            missing=standing.missing,
        )
        drift = self._drift(document.dataset, rules)
        changed = drift.beyond
        usable = None if changed else len(self.usable(signed, rules, now=now).record_ids)
        facts = NodeFacts(
            now=now,
            datasets=frozenset() if changed else frozenset({document.dataset}),
            usable_records=usable,
            method_discloses=programme_statement(programme(document)).level,
            learner_digest=None if document.learner is None else learner_digest(document.learner.name),
            operator_agreed=self.database.read(lambda session: participation.has_agreement(session, signed.digest)),
        )
        decision = decide_at_both_levels(document, rules, facts)
        if drift.sentences:
            self._tell_drift(document.dataset, drift, now)
        return Judgement(decision=decision, policy=stored, federation=standing.policies)

    def decide_offer(self, signed: SignedJob, *, now: datetime) -> NodeJobRow:
        """Accept or refuse an offered job; a decision once made is repeated, not made again."""
        known = self.known_job(signed.digest)
        if known is not None:
            return known
        judgement = self.judge(signed, now=now)
        decision = judgement.decision
        reasons = [
            {"clause": item.label, "sentence": item.sentence, "allowed": item.allowed} for item in decision.reasons
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
                "federation_policies": [item.digest for item in judgement.federation],
                "refusals": [{"clause": item.label, "sentence": item.sentence} for item in decision.refusals],
            }
            pinning.bind_job(session, signed.digest, judgement.federation)
            self._note(session, now, f"job.{state.value}", signed.signer.label, f"job/{signed.digest}", details)
            return row

        return self.database.run("node.job", work)

    def known_job(self, digest: str) -> NodeJobRow | None:
        """The job's row, if it was offered before."""
        return self.database.read(lambda session: session.get(NodeJobRow, digest))

    def federation_policies_of(self, digest: str) -> tuple[Digest, ...]:
        """Digests of the federation's policies under which a job was decided on."""
        return self.database.read(lambda session: pinning.bound_to(session, digest))

    def accepted_jobs(self) -> Sequence[NodeJobRow]:
        """Jobs this node takes part in."""
        return self.database.read(participation.accepted_jobs)

    def require_allowed(self, signed: SignedJob, *, now: datetime) -> Rules:
        """The policies that still allow an accepted job, the same ones that allowed it then.

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
            sentence = " ".join(f"[{reason.label}] {reason.sentence}" for reason in refusals)
            raise RefusalError(sentence)
        policy = judgement.policy
        bound = self.federation_policies_of(signed.digest)
        if {item.digest for item in judgement.federation} != set(bound):
            sentence = (
                "another version of the federation's policy has come into force since this job was accepted; "
                "the job must be submitted again so that the new version can decide"
            )
            raise RefusalError(sentence)
        if policy is None or policy.digest != row.policy:
            sentence = (
                "another version of the policy has come into force since this job was accepted; "
                "the job must be submitted again so that the new version can decide"
            )
            raise RefusalError(sentence)
        return judgement.rules

    def usable(self, signed: SignedJob, rules: Rules, *, now: datetime) -> JobData:
        """The rows the job may use here now: as registered, and with a consent in force where it is required."""
        document = signed.document
        rows = self._data.rows(document.dataset, max_rows_changed_percent=rules.max_rows_changed_percent)
        if not rules.consent_required:
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

    def accept_key(self, signed: SignedJob, key: CheckedKey, *, now: datetime) -> None:
        """Store the key of a job, signed by its custodian, before this node uses it.

        Raises:
            KeyConflict: the job has another key.
        """
        statement = key.statement

        def work(session: Session) -> None:
            row = JobKeyRow(
                job=signed.digest, custodian=key.custodian, digest=statement.key, statement=key.envelope, at=now
            )
            if custody.store_job_key(session, row):
                details = {
                    "key": statement.key,
                    "file": statement.file,
                    "parameters": statement.parameters,
                    "statement": sha256_hex(key.envelope),
                }
                self._note(session, now, "key.accepted", f"custodian/{key.custodian}", f"job/{signed.digest}", details)

        self.database.run("node.key", work)

    # -- the log ---------------------------------------------------------------------------------------

    def policy_refused(self, envelope: str, error: Exception, *, now: datetime) -> None:
        """Note that a policy which the coordinator handed out as the federation's did not verify."""
        details = {"envelope": envelope, "code": type(error).__name__, "sentence": fitted(str(error))}
        self.database.run(
            "node.policy.refuse",
            lambda session: self._note(
                session, now, "federation.policy.refused", self.member.label, "coordinator", details
            ),
        )

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

    def _standing(self, dataset: str, now: datetime) -> FederationStanding:
        trust = DocumentTrust(root=self._trust.root, revocations=self._trust.revocations)
        return self.database.read(lambda session: pinning.standing(session, dataset, trust=trust, now=now))

    def _drift(self, dataset: str, rules: Rules) -> Drift:
        try:
            return self._data.drift(dataset, max_rows_changed_percent=rules.max_rows_changed_percent)
        except RefusalError as error:
            return Drift(sentences=(str(error),), beyond=True)

    def _tell_drift(self, dataset: str, drift: Drift, now: datetime) -> None:
        """Say once what changed, and note it: counts only. It may name paths, so it stays at this node."""
        if self._told_drift.get(dataset) == drift:
            return
        self._told_drift[dataset] = drift
        _log.warning(
            "dataset changed since it was registered",
            dataset=dataset,
            # The counts, or why it cannot be read; how columns look is for whoever asks at the node.
            changes=list(drift.sentences[:1]),
            remedy="nothing is contributed; look at it with `fedseal dataset approve`"
            if drift.beyond
            else "within what the policy tolerates",
        )
        changes = drift.rows
        details = {
            "tolerated": not drift.beyond,
            "rows_added": None if changes is None else changes.added,
            "rows_removed": None if changes is None else changes.removed,
            "rows_edited": None if changes is None else changes.edited,
        }
        self.database.run(
            "dataset.drifted",
            lambda session: self._note(
                session, now, "dataset.drifted", self.member.label, f"dataset/{dataset}", details
            ),
        )

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


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        sentence = "the coordinator's message on a policy names no time of its approval"
        raise PeerFault(sentence)
    return moment
