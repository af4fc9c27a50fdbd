"""What the custodian writes and decides from its own database: jobs it serves, sums it opens, its audit log.

Every method that changes something is one transaction that also appends the audit entry.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from fedseal.custodian.config import CustodianSettings
from fedseal.documents import SignedJob
from fedseal.foreign import fitted
from fedseal.learning import learner_digest
from fedseal.methods import programme, programme_statement
from fedseal.rounds import RoundAddress
from fedseal.trust import Trust
from fedseal_crypto.certificates import Member
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.notes import log_origin
from fedseal_governance import custody
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog
from fedseal_governance.custody import OpenedScalarsRow, ServedJobRow, ServedState, SumAsked, SumLimits
from fedseal_governance.database import Database
from fedseal_governance.policy import NodeFacts, Reason, StoredPolicy, decide, in_force, settle
from fedseal_governance.policy import due as policy_due
from fedseal_governance.policy.model import ProtectionRules
from fedseal_governance.runs import RoundKey
from fedseal_governance.trust import Trust as DocumentTrust

_ASSUMED_RECORDS = 2**31
"""A custodian holds no data: clauses about records are the nodes' to judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What this custodian's policy says of a job."""

    policy: StoredPolicy | None
    reasons: tuple[Reason, ...]

    @property
    def refusals(self) -> tuple[Reason, ...]:
        """The reasons that refuse it."""
        return tuple(reason for reason in self.reasons if not reason.allowed)


class CustodianLedger:
    """The custodian's database."""

    def __init__(
        self, database: Database, *, member: Member, key: IdentityKey, trust: Trust, settings: CustodianSettings
    ) -> None:
        self.database = database
        self.member = member
        self.log = AuditLog(log_origin(member.federation, member.name), key)
        self._trust = trust
        self._settings = settings

    def renew(self, member: Member, key: IdentityKey) -> None:
        """Go on under another certificate of this custodian."""
        self.member = member
        self.log = AuditLog(log_origin(member.federation, member.name), key)

    def settle_policies(self, *, now: datetime) -> None:
        """Bring approved policies into force and expired ones to their end, when their day has come."""
        if self.database.read(lambda session: policy_due(session, now)):
            self.database.run(
                "policy.settle",
                lambda session: settle(Act(session=session, journal=self.log, actor=self.member.label, now=now)),
            )

    def judge(self, signed: SignedJob, *, now: datetime) -> Judgement:
        """What this custodian's own policy says about a job now."""
        document = signed.document
        trust = DocumentTrust(root=self._trust.root, revocations=self._trust.revocations)
        stored = self.database.read(lambda session: in_force(session, document.dataset, trust=trust, now=now))
        if stored is None:
            sentence = (
                f"No approved policy of this custodian for the dataset {document.dataset} is in force; have one "
                "approved with `fedseal policy propose` and `fedseal policy approve`."
            )
            return Judgement(policy=None, reasons=(Reason(clause="policy", sentence=sentence, allowed=False),))
        facts = NodeFacts(
            now=now,
            datasets=frozenset({document.dataset}),
            usable_records=_ASSUMED_RECORDS,
            method_discloses=programme_statement(programme(document)).level,
            learner_digest=None if document.learner is None else learner_digest(document.learner.name),
            operator_agreed=True,
        )
        return Judgement(policy=stored, reasons=decide(document, stored.document, facts).reasons)

    def served(self, job: str) -> ServedJobRow | None:
        """A job that was offered before."""
        return self.database.read(lambda session: custody.served_job(session, job))

    def live_jobs(self) -> tuple[ServedJobRow, ...]:
        """Jobs whose secret key is not destroyed."""
        return self.database.read(lambda session: custody.served_jobs(session, live=True))

    def store_refusal(self, signed: SignedJob, judgement: Judgement, *, now: datetime) -> None:
        """Store that this custodian does not serve a job."""

        def work(session: Session) -> None:
            custody.add_served_job(session, self._row(signed, judgement, ServedState.REFUSED, now))
            refusals = [{"clause": item.clause, "sentence": item.sentence} for item in judgement.refusals]
            details = {"name": signed.document.job, "purpose": signed.document.purpose, "refusals": refusals}
            self._note(session, now, "job.refused", signed.signer.label, signed.digest, details)

        self.database.run("custodian.job", work)

    def store_key(self, signed: SignedJob, judgement: Judgement, *, key: str, statement: bytes, now: datetime) -> None:
        """Store that this custodian serves a job and has made its key, before the key is published."""

        def work(session: Session) -> None:
            row = self._row(signed, judgement, ServedState.SERVED, now)
            row.key_digest, row.statement = key, statement
            custody.add_served_job(session, row)
            details = {
                "name": signed.document.job,
                "purpose": signed.document.purpose,
                "protection": signed.document.protection.value,
                "policy": row.policy,
                "envelope": sha256_hex(signed.envelope),
            }
            self._note(session, now, "job.served", signed.signer.label, signed.digest, details)
            made = {"key": key, "statement": sha256_hex(statement)}
            self._note(session, now, "key.created", self.member.label, signed.digest, made)

        self.database.run("custodian.key", work)

    def destroyed(self, job: str, *, outcome: str, now: datetime) -> None:
        """Store that a job's secret key is destroyed."""

        def work(session: Session) -> None:
            row = custody.end_served_job(session, job, outcome=fitted(outcome), now=now)
            sums = custody.opened_sums(session, job)
            details = {"key": row.key_digest, "reason": fitted(outcome), "sums_opened": len(sums)}
            self._note(session, now, "key.destroyed", self.member.label, job, details)

        self.database.run("custodian.destroy", work)

    def require_openable(self, asked: SumAsked, rules: ProtectionRules, *, now: datetime) -> None:
        """Refuse a sum that limits or earlier sums forbid.

        Raises:
            SumRefused: with the rule.
        """
        limits = self._limits(rules)
        self.database.read(lambda session: custody.require_openable(session, asked, limits, now))

    def note_opened(self, asked: SumAsked, rules: ProtectionRules, *, key: str, opened: str, now: datetime) -> None:
        """Store that an opened sum is about to leave.

        Raises:
            SumRefused: limits or earlier sums forbid it.
        """

        def work(session: Session) -> None:
            times = custody.note_opened(session, asked, self._limits(rules), now)
            details = {
                **_where(asked.key),
                "key": key,
                "request": asked.request,
                "sum": asked.sum_digest,
                "members": sorted(asked.members),
                "count": len(asked.members),
                "opened": opened,
                "time": times,
            }
            self._note(session, now, "sum.opened", self.member.label, asked.key.job, details)

        self.database.run("custodian.sum", work)

    def scalars_answered(self, key: RoundKey, request: str, rules: ProtectionRules, *, now: datetime) -> bytes | None:
        """The stored answer to a request for scalars; None if they may be opened now.

        Raises:
            SumRefused: limits forbid it, or others of the round were opened.
        """
        limits = self._limits(rules)
        return self.database.read(lambda session: custody.require_scalars_openable(session, key, request, limits, now))

    def note_scalars(
        self, row: OpenedScalarsRow, rules: ProtectionRules, *, key: str, details: Mapping[str, object]
    ) -> None:
        """Store that opened scalars are about to leave.

        Raises:
            SumRefused: limits forbid it, or they were opened meanwhile.
        """
        where = {"stage": row.stage, "round": row.round, "attempt": row.attempt}
        noted = {**where, "key": key, "request": row.request, "numbers": row.numbers, **details}

        def work(session: Session) -> None:
            custody.note_scalars(session, row, self._limits(rules))
            self._note(session, row.at, "scalars.opened", self.member.label, row.job, noted)

        self.database.run("custodian.scalars", work)

    def sum_refused(self, address: RoundAddress, error: Exception, *, now: datetime) -> None:
        """Note a sum that was not opened."""
        details = {
            "stage": address.stage,
            "round": address.round,
            "attempt": address.attempt,
            "code": type(error).__name__,
            "sentence": fitted(str(error)),
        }
        self.database.run(
            "custodian.sum.refuse",
            lambda session: self._note(session, now, "sum.refused", self.member.label, address.job, details),
        )

    def _limits(self, rules: ProtectionRules) -> SumLimits:
        return SumLimits(
            minimum_difference=rules.minimum_difference,
            scope=rules.history.scope,
            per_job=self._settings.sums_per_job,
            per_hour=self._settings.sums_per_hour,
            repeats=self._settings.repeated_answers,
        )

    def _row(self, signed: SignedJob, judgement: Judgement, state: ServedState, now: datetime) -> ServedJobRow:
        reasons = [
            {"clause": item.clause, "sentence": item.sentence, "allowed": item.allowed} for item in judgement.reasons
        ]
        return ServedJobRow(
            digest=signed.digest,
            name=signed.document.job,
            envelope=signed.envelope,
            policy="" if judgement.policy is None else judgement.policy.digest,
            reasons=json.dumps(reasons),
            decided_at=now,
            state=state,
            key_digest="",
            statement=None,
            outcome="",
        )

    def _note(
        self, session: Session, now: datetime, kind: str, actor: str, job: str, details: Mapping[str, object]
    ) -> None:
        self.log.append(session, time=now, type=kind, actor=actor, subject=f"job/{job}", details=details)


def _where(key: RoundKey) -> dict[str, object]:
    return {"stage": key.stage, "round": key.round, "attempt": key.attempt}
