"""What the coordinator writes: each method is one transaction that changes rows and appends the audit entry.

Large values are files named by their digest (``fedseal.artefacts``), written before the transaction that
refers to them, so that a crash in between leaves at most an unused file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import safetensors.numpy
from sqlalchemy.orm import Session

from fedseal.artefacts import ArtefactFolder
from fedseal.coordinator.admission import Submission
from fedseal.coordinator.closing import export_model, export_statistics, make_record
from fedseal.coordinator.job_run import JobRun, OpenedRound, Progress, unpack_state
from fedseal.coordinator.round_driver import RoundPlan
from fedseal.coordinator.turned_away import TurnedAway, make_refusal_record
from fedseal.credentials import Credentials
from fedseal.documents import JOB_TYPE
from fedseal.errors import RefusalError
from fedseal.foreign import fitted, fitted_all
from fedseal.protection import round_layout
from fedseal.rounds import RoundAddress
from fedseal.trust import Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.limits import TEXT_CHARACTERS
from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.certificates import Member
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import ClientId, RingSum, RoundParameters, Step
from fedseal_crypto.notes import Checkpoint, NoteKind, NoteVerifier, log_origin
from fedseal_governance import runs
from fedseal_governance.audit import AuditLog
from fedseal_governance.database import Database
from fedseal_governance.datasets import DatasetSchema, load_schema
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.policy import pinning
from fedseal_governance.records import sign_record
from fedseal_governance.runs import JobState, RoundKey, RoundState

STEPS: tuple[Step, ...] = (
    Step.ADVERTISE,
    Step.REVEAL,
    Step.SHARE,
    Step.MASK,
    Step.CONFIRM,
    Step.UNMASK,
)
_NOTED_REFUSALS = 20
"""Of one answer; so many fit into one audit entry, and all are in the database."""
_LINKS_IN_ENTRY = 64
"""Commitments to nodes' logs that an entry holds itself; each has about 90 bytes."""

MODEL, STATISTICS, STATE, BROADCAST, RECORD = "model", "statistics", "state", "broadcast", "job-record"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job as it is in the database."""

    digest: Digest
    document: JobDocument
    schema: DatasetSchema
    schema_digest: Digest
    envelope: bytes
    state: JobState
    answers: Mapping[str, bool]
    position: tuple[int, int, int]
    state_digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAttempt:
    """The attempt that was under way, with its messages step by step."""

    opened: OpenedRound
    log_size: int
    steps: tuple[tuple[Step, tuple[bytes, ...]], ...]
    closed: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """How an attempt ended."""

    address: RoundAddress
    completed: bool
    reason: str
    survivors: tuple[str, ...]


def key_of(address: RoundAddress) -> RoundKey:
    """The database key of an attempt."""
    return RoundKey(job=address.job, stage=address.stage, round=address.round, attempt=address.attempt)


class Ledger:
    """The coordinator's database and artefacts."""

    def __init__(
        self,
        database: Database,
        *,
        member: Member,
        key: IdentityKey,
        certificate: bytes,
        folder: Path,
        trust: Trust,
    ) -> None:
        self.database = database
        self.member = member
        self.signing = (key, certificate)
        self._trust = trust
        self.artefacts = ArtefactFolder(folder)
        self.log = AuditLog(log_origin(member.federation, member.name), key)
        # Newest commitment of each node to its own log. After a restart the nodes' next cosignatures bring them again.
        self._site_logs: dict[str, str] = {}

    @property
    def certificate(self) -> bytes:
        """The identity certificate in use, in PEM."""
        return self.signing[1]

    def renew(self, own: Credentials) -> None:
        """Go on under another certificate of this coordinator."""
        self.member, self.signing = own.member, (own.key, own.certificate)
        self.log = AuditLog(log_origin(own.member.federation, own.member.name), own.key)

    # -- the log ---------------------------------------------------------------------------------------

    def checkpoint(self, known_size: int, *, now: datetime) -> tuple[str, tuple[bytes, ...]]:
        """A checkpoint of the log as it is now, and the consistency proof from ``known_size`` entries."""

        def work(session: Session) -> tuple[str, tuple[bytes, ...]]:
            note = self.log.checkpoint(session, now)
            return note, self.log.consistency(session, known_size, self.log.size(session))

        return self.database.run("audit.checkpoint", work)

    def add_cosignature(self, witness: Member, *, checkpoint: str, line: str, link: bytes = b"", now: datetime) -> None:
        """Keep a node's cosignature of one of this log's checkpoints.

        ``link`` is the node's commitment to its own log, for the next entries of this one; empty if it sent none.
        """
        size = Checkpoint.parse(checkpoint.partition("\n\n")[0] + "\n").size
        name = log_origin(witness.federation, witness.name)
        verifier = NoteVerifier(name=name, public=witness.public, kind=NoteKind.COSIGNATURE)
        self.database.run(
            "audit.cosign",
            lambda session: self.log.add_cosignature(session, size=size, line=line, witness=verifier, now=now),
        )
        if link:
            self._site_logs[str(witness.name)] = link.hex()

    # -- jobs ------------------------------------------------------------------------------------------

    def submit(self, submission: Submission, *, now: datetime) -> None:
        """Store a job and offer it."""
        signed = submission.signed

        def work(session: Session) -> None:
            runs.add_job(
                session,
                runs.JobRow(
                    digest=signed.digest,
                    name=signed.document.job,
                    envelope=signed.envelope,
                    schema=submission.schema,
                    submitted_by=str(signed.signer.name),
                    submitted_at=now,
                    state=JobState.OFFERED,
                    reason="",
                    stage=0,
                    round=0,
                    attempt=0,
                ),
            )
            details = {
                "name": signed.document.job,
                "purpose": signed.document.purpose,
                "dataset": signed.document.dataset,
                "schema": sha256_hex(submission.schema),
                "nodes": list(signed.document.nodes),
                "federation_policies": [item.digest for item in submission.federation],
                "envelope": sha256_hex(signed.envelope),
            }
            pinning.bind_job(session, signed.digest, submission.federation)
            self._note(session, now, "job.submitted", signed.signer.label, f"job/{signed.digest}", details)

        self.database.run("job.submit", work)

    def refused_at_submission(
        self, envelope: bytes, *, person: str, reason: str, by_federation: bool, now: datetime
    ) -> None:
        """Note that a job was turned away before it was offered, perhaps by the federation's own policy.

        It leaves its file and a signed record, which the entry names; it is no job of this coordinator, so that it can
        be submitted again when the reason is gone.
        """
        refused = TurnedAway.read(envelope, person=person, reason=reason)
        self.artefacts.put(envelope)

        def work(session: Session) -> None:
            federation, position = str(self.member.federation), self.log.size(session)
            record = make_refusal_record(
                refused, now=now, federation=federation, log_origin=self.log.origin, log_position=position
            )
            key, certificate = self.signing
            signed = sign_record(record, model_digest=None, key=key, certificate_pem=certificate)
            details = {
                "name": refused.document.job,
                "purpose": refused.document.purpose,
                "reason": refused.reason,
                "by_federation": by_federation,
                "envelope": sha256_hex(envelope),
                "record": self.artefacts.put(signed),
            }
            self._note(session, now, "job.refused", person, f"job/{refused.digest}", details)

        self.database.run("job.refuse", work)

    def active_jobs(self) -> tuple[Digest, ...]:
        """Digests of the jobs that have not ended."""

        def work(session: Session) -> tuple[Digest, ...]:
            rows = session.query(runs.JobRow).filter(runs.JobRow.finished_at.is_(None)).all()
            return tuple(Digest(row.digest) for row in rows)

        return self.database.read(work)

    def load(self, digest: Digest) -> StoredJob:
        """Read a job back."""

        def work(session: Session) -> StoredJob:
            row = runs.job(session, digest)
            payload = SignedDocument.from_json(row.envelope).payload
            return StoredJob(
                digest=digest,
                document=load_job(payload, f"job {digest[:12]}"),
                schema=load_schema(row.schema, f"schema of job {digest[:12]}"),
                schema_digest=sha256_hex(row.schema),
                envelope=row.envelope,
                state=row.state,
                answers={answer.node: answer.accepted for answer in runs.answers(session, digest)},
                position=(row.stage, row.round, row.attempt),
                state_digest=row.state_digest,
            )

        return self.database.read(work)

    def progress(self, stored: StoredJob) -> Progress | None:
        """How far the job had come, or None if no round of it has completed."""
        stage, number, attempt = stored.position
        if stored.state_digest is None:
            return None
        tensors = safetensors.numpy.load(self.artefacts.get(stored.state_digest))
        state, published = unpack_state(tensors)
        return Progress(stage=stage, round=number, attempt=attempt, state=state, published=published)

    def answer(
        self, digest: Digest, node: str, verdict: pb.JobVerdict, *, policies: Sequence[bytes], now: datetime
    ) -> None:
        """Store a node's answer to the offer, with the signed policy file that decided if the node has shown it."""
        envelope = self._keep_policy(verdict.policy, policies)
        reasons = [
            {"clause": item.clause, "sentence": item.sentence, "allowed": item.allowed} for item in verdict.reasons
        ]

        def work(session: Session) -> None:
            runs.add_answer(
                session,
                runs.AnswerRow(
                    job=digest,
                    node=node,
                    accepted=verdict.accepted,
                    policy=verdict.policy,
                    reasons=json.dumps(reasons),
                    at=now,
                ),
            )
            refusing = [item for item in reasons if not item["allowed"]]
            kind = "job.accepted" if verdict.accepted else "job.declined"
            details = {
                "policy": verdict.policy,
                "policy_envelope": envelope,
                "federation_policies": list(verdict.federation_policies),
                "refusals": refusing[:_NOTED_REFUSALS],
                "refusals_in_all": len(refusing),
            }
            self._note(session, now, kind, f"node/{node}", f"job/{digest}", details)

        self.database.run("job.answer", work)

    def set_state(self, digest: Digest, state: JobState, reason: str, *, now: datetime) -> None:
        """Move a job to another state, without a record."""
        reason = fitted(reason)

        def work(session: Session) -> None:
            runs.change_job(session, digest, state, reason, now)
            self._note(session, now, f"job.{state.value}", self.member.label, f"job/{digest}", {"reason": reason})

        self.database.run("job.state", work)

    def end(self, run: JobRun, state: JobState, reason: str, *, now: datetime) -> bytes:
        """Bring a job to a final state, with its model and its signed record; returns the record."""
        model, statistics = export_model(run), export_statistics(run)
        reason = fitted(reason)

        def work(session: Session) -> bytes:
            runs.change_job(session, run.digest, state, reason, now)
            record = make_record(
                session,
                run,
                federation=str(self.member.federation),
                log_origin=self.log.origin,
                log_position=self.log.size(session),
            )
            model_digest = None if model is None else self._keep(session, run.digest, MODEL, model)
            if statistics is not None:
                self._keep(session, run.digest, STATISTICS, statistics)
            key, certificate = self.signing
            signed = sign_record(record, model_digest=model_digest, key=key, certificate_pem=certificate)
            runs.job(session, run.digest).record = signed
            details = {
                "reason": reason,
                "record": self._keep(session, run.digest, RECORD, signed),
                "model": model_digest,
                **self._links_of(run.document.nodes),
            }
            self._note(session, now, f"job.{state.value}", self.member.label, f"job/{run.digest}", details)
            return signed

        return self.database.run("job.end", work)

    def job_end(self, digest: Digest, node: str) -> pb.JobEnd | None:
        """How a job ended, for a node that takes part in it; None if it has not, or is none of the node's."""

        def work(session: Session) -> pb.JobEnd | None:
            row = session.get(runs.JobRow, digest)
            if row is None or row.state not in JobState.final():
                return None
            document = load_job(SignedDocument.from_json(row.envelope).payload, f"job {digest[:12]}")
            if node not in document.nodes:
                return None
            reason = row.reason[:TEXT_CHARACTERS]
            return pb.JobEnd(job=digest, state=row.state.value, reason=reason, job_record=row.record or b"")

        return self.database.read(work)

    def job_end_for_custodian(self, digest: Digest, custodian: str) -> pb.JobEnd | None:
        """How a job ended, for the custodian that it names; None if it has not, or is none of the custodian's."""

        def work(session: Session) -> pb.JobEnd | None:
            row = session.get(runs.JobRow, digest)
            if row is None or row.state not in JobState.final():
                return None
            document = load_job(SignedDocument.from_json(row.envelope).payload, f"job {digest[:12]}")
            if document.custodian != custodian:
                return None
            reason = row.reason[:TEXT_CHARACTERS]
            return pb.JobEnd(job=digest, state=row.state.value, reason=reason, job_record=row.record or b"")

        return self.database.read(work)

    # -- rounds ----------------------------------------------------------------------------------------

    def begin_round(self, opened: OpenedRound, certificates: Sequence[bytes], *, now: datetime) -> int:
        """Store a new attempt; returns the size of the audit log before it."""
        plan = opened.plan
        digest = self.artefacts.put(opened.broadcast)
        roster = [
            {"node": client, "session": plan.sessions[client].hex(), "certificate": pem.decode()}
            for client, pem in zip(plan.parameters.roster, certificates, strict=True)
        ]

        def work(session: Session) -> int:
            log_size = self.log.size(session)
            key = key_of(plan.address)
            runs.add_round(
                session,
                runs.RoundRow(
                    job=key.job,
                    stage=key.stage,
                    round=key.round,
                    attempt=key.attempt,
                    parameters=plan.parameters.encode(),
                    broadcast=digest,
                    roster=json.dumps(roster),
                    log_size=log_size,
                    started_at=now,
                    state=RoundState.OPEN,
                    closed_steps=0,
                    reason="",
                    survivors="[]",
                    recovered="[]",
                    figures="{}",
                ),
            )
            session.flush()
            self._artefact_row(session, key.job, BROADCAST, digest, len(opened.broadcast))
            details = {
                "stage": key.stage,
                "round": key.round,
                "attempt": key.attempt,
                "roster": list(plan.parameters.roster),
                "threshold": plan.parameters.threshold,
                "minimum_cohort": plan.parameters.minimum_cohort,
                "broadcast": digest,
                "context": plan.parameters.context0().hex(),
                **({} if plan.key is None else {"key": plan.key}),
                **self._links_of(plan.parameters.roster),
            }
            self._note(session, now, "round.started", self.member.label, f"job/{key.job}", details)
            return log_size

        return self.database.run("round.begin", work)

    def roster_certificates(self, address: RoundAddress) -> list[str]:
        """Identity certificates of an attempt's roster, PEM, in roster order."""
        row = self.database.read(lambda session: runs.round_row(session, key_of(address)))
        return [item["certificate"] for item in json.loads(row.roster)]

    def message(self, address: RoundAddress, step: Step, node: str, payload: bytes, *, now: datetime) -> None:
        """Store a masking message."""
        del now  # messages are working state, not evidence; the round's entries carry the times

        def work(session: Session) -> None:
            runs.add_message(session, key_of(address), step=step.value, client=node, payload=payload)

        self.database.run("round.message", work)

    def refusal(self, address: RoundAddress, node: str, code: str, sentence: str, *, now: datetime) -> None:
        """Note that a node's own rules keep it out of an attempt."""
        details = {
            "stage": address.stage,
            "round": address.round,
            "attempt": address.attempt,
            "code": code,
            "sentence": sentence,
        }
        self.database.run(
            "round.refusal",
            lambda session: self._note(session, now, "round.declined", f"node/{node}", f"job/{address.job}", details),
        )

    def step_closed(self, address: RoundAddress, step: Step, *, now: datetime) -> None:
        """Store that no more messages of a step are taken."""
        del now

        def work(session: Session) -> None:
            runs.round_row(session, key_of(address)).closed_steps = STEPS.index(step) + 1

        self.database.run("round.step", work)

    def complete_round(
        self,
        address: RoundAddress,
        result: RingSum,
        *,
        figures: Mapping[str, float],
        run: JobRun,
        now: datetime,
    ) -> None:
        """Store a sum's outcome and the state that follows from it."""
        packed = run.packed_state()
        state = self.artefacts.put(packed)
        survivors = sorted(str(item) for item in result.survivors)
        recovered = sorted(str(item) for item in result.dropped)

        def work(session: Session) -> None:
            row = runs.end_round(session, key_of(address), RoundState.COMPLETED, now)
            row.survivors, row.recovered = json.dumps(survivors), json.dumps(recovered)
            row.figures = json.dumps(dict(figures))
            self._forget_messages(session, address)
            self._move(session, run, state, len(packed))
            details = {
                "stage": address.stage,
                "round": address.round,
                "attempt": address.attempt,
                "survivors": survivors,
                "recovered": recovered,
                "state": state,
            }
            self._note(session, now, "round.completed", self.member.label, f"job/{address.job}", details)

        self.database.run("round.complete", work)

    def fail_round(self, address: RoundAddress, reason: str, *, now: datetime) -> None:
        """Store that an attempt ended without a sum; the next one has the next number."""
        reason = fitted(reason)

        def work(session: Session) -> None:
            runs.end_round(session, key_of(address), RoundState.FAILED, now, reason)
            runs.job(session, address.job).attempt = address.attempt + 1
            self._forget_messages(session, address)
            details = {
                "stage": address.stage,
                "round": address.round,
                "attempt": address.attempt,
                "reason": reason,
            }
            self._note(session, now, "round.failed", self.member.label, f"job/{address.job}", details)

        self.database.run("round.fail", work)

    def open_address(self, digest: Digest) -> RoundAddress | None:
        """Where the attempt that was under way when the coordinator stopped belongs."""
        row = self.database.read(lambda session: runs.open_round(session, digest))
        return None if row is None else _address(row)

    def last_end(self, digest: Digest) -> EndedAttempt | None:
        """The job's newest attempt that has ended."""
        rows = self.database.read(lambda session: runs.rounds(session, digest))
        for row in reversed(rows):
            if row.state is not RoundState.OPEN:
                survivors = tuple(json.loads(row.survivors))
                return EndedAttempt(_address(row), row.state is RoundState.COMPLETED, row.reason, survivors)
        return None

    def last_sum(self, digest: Digest) -> frozenset[str] | None:
        """The nodes in the job's newest sum; None before the first."""
        rows = self.database.read(lambda session: runs.rounds(session, digest))
        completed = [row for row in rows if row.state is RoundState.COMPLETED]
        return frozenset(json.loads(completed[-1].survivors)) if completed else None

    def open_attempt(self, stored: StoredJob, run: JobRun) -> StoredAttempt:
        """The attempt that was under way when the coordinator stopped.

        Raises:
            RefusalError: there was none.
            CryptoError: a certificate of its roster does not verify any more.
        """

        def work(session: Session) -> StoredAttempt:
            row = runs.open_round(session, stored.digest)
            if row is None:
                sentence = f"job {stored.digest[:12]} has no attempt under way"
                raise RefusalError(sentence)
            key = RoundKey(job=row.job, stage=row.stage, round=row.round, attempt=row.attempt)
            by_step: dict[str, list[bytes]] = {step.value: [] for step in STEPS}
            for message in runs.messages(session, key):
                by_step[message.step].append(message.payload)
            return StoredAttempt(
                opened=self._reopen(row, stored, run),
                log_size=row.log_size,
                steps=tuple((step, tuple(by_step[step.value])) for step in STEPS),
                closed=STEPS[: row.closed_steps],
            )

        return self.database.read(work)

    def revocations_updated(self, number: int, *, now: datetime) -> None:
        """Note that a newer revocation list is in force."""
        self.database.run(
            "revocations",
            lambda session: self._note(
                session,
                now,
                "certificate.revocations",
                str(self.member.name),
                "federation",
                {"number": number},
            ),
        )

    # -- helpers ---------------------------------------------------------------------------------------

    def _reopen(self, row: runs.RoundRow, stored: StoredJob, run: JobRun) -> OpenedRound:
        parameters = RoundParameters.decode(row.parameters)
        roster = json.loads(row.roster)
        members = {
            ClientId(item["node"]): self._trust.root.verify_identity(
                item["certificate"].encode(), now=row.started_at, revocations=self._trust.revocations
            ).public
            for item in roster
        }
        plan = RoundPlan(
            address=_address(row),
            parameters=parameters,
            members=members,
            sessions={ClientId(item["node"]): bytes.fromhex(item["session"]) for item in roster},
            step_seconds=stored.document.step_timeout_seconds,
            protection=stored.document.protection,
            key=run.key,
        )
        made = round_layout(stored.document, run.stage.method.vectors(run.plan()), cohort=len(roster))
        return OpenedRound(
            plan=plan,
            layout=made.layout,
            broadcast=self.artefacts.get(row.broadcast),
            broadcast_digest=Digest(row.broadcast),
            specs=made.specs,
            slots=made.slots,
            scalars=run.scalars(),
        )

    def _links_of(self, nodes: Sequence[str]) -> dict[str, object]:
        """The newest commitments of these nodes to their own logs, as a detail; many are a document."""
        known = {node: self._site_logs[node] for node in sorted(nodes) if node in self._site_logs}
        if len(known) <= _LINKS_IN_ENTRY:
            return {"site_logs": known} if known else {}
        return {"site_logs": self.artefacts.put(canonical_json(known))}

    def _move(self, session: Session, run: JobRun, state: str, size: int) -> None:
        row = runs.job(session, run.digest)
        row.stage, row.round, row.attempt = run.progress.stage, run.progress.round, run.progress.attempt
        row.state_digest = state
        self._artefact_row(session, run.digest, STATE, state, size)

    def _forget_messages(self, session: Session, address: RoundAddress) -> None:
        """Masking messages are of no use once an attempt has ended, and nobody should keep them."""
        runs.forget_messages(session, key_of(address))

    def _keep_policy(self, digest: str, policies: Sequence[bytes]) -> Digest | None:
        """Keep the policy with that digest and its officers' signatures, for the audit bundle."""
        for envelope in policies:
            content = SignedDocument.from_json(envelope).payload
            if sha256_hex(content) == digest:
                self.artefacts.put(content)
                return self.artefacts.put(envelope)
        return None

    def _keep(self, session: Session, job: str, kind: str, data: bytes) -> Digest:
        digest = self.artefacts.put(data)
        self._artefact_row(session, job, kind, digest, len(data))
        return digest

    def _artefact_row(self, session: Session, job: str, kind: str, digest: str, size: int) -> None:
        runs.add_artefact(session, runs.ArtefactRow(job=job, kind=kind, digest=digest, size=size))

    def _note(
        self,
        session: Session,
        now: datetime,
        kind: str,
        actor: str,
        subject: str,
        details: Mapping[str, object],
    ) -> None:
        self.log.append(session, time=now, type=kind, actor=actor, subject=subject, details=fitted_all(details))


def _address(row: runs.RoundRow) -> RoundAddress:
    return RoundAddress(Digest(row.job), row.stage, row.round, row.attempt)


__all__ = ["JOB_TYPE", "EndedAttempt", "JobState", "Ledger", "StoredAttempt", "StoredJob", "key_of"]
