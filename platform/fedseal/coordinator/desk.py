"""One job at the coordinator: joins its run, its current round, the database and the nodes' streams.

Life of a job: OFFERED (waiting for the nodes' answers) -> RUNNING -> FINISHED | FAILED | STOPPED | REFUSED.
Rules kept here:

1. Nothing is answered or sent before it is stored: an event first changes the round, then the database, and
   only then do instructions leave.
2. A round completes, or is tried again with fresh keys, or the job ends with the reason; the last good state
   is an artefact in the database from the moment its round completed.
3. Only the engine's thread calls in.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from fedseal.coordinator.active_round import ActiveRound
from fedseal.coordinator.attendance import Attendance, Session
from fedseal.coordinator.config import CoordinatorSettings
from fedseal.coordinator.custody_events import CustodianDeclined, JobCustodyEvent, ScalarsDelivered, SumDelivered
from fedseal.coordinator.custody_ledger import CustodyLedger
from fedseal.coordinator.custody_roll import CustodianRoll
from fedseal.coordinator.gathering import Gathering
from fedseal.coordinator.hub import EventHub
from fedseal.coordinator.intake import ContributionArrived, MessageReported, RoundRefused
from fedseal.coordinator.job_custody import JobCustody, custody_end
from fedseal.coordinator.job_run import JobRun, OpenedRound
from fedseal.coordinator.job_scalars import JobScalars
from fedseal.coordinator.ledger import EndedAttempt, JobState, Ledger, StoredJob
from fedseal.coordinator.round_driver import RoundDriver
from fedseal.coordinator.sealed_round import SealedRound
from fedseal.coordinator.strictest import CommonPolicies, no_common_policies
from fedseal.errors import PlatformError, RefusalError
from fedseal.methods.judging import Judgement
from fedseal.rounds import RoundAddress
from fedseal.trust import Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.limits import TEXT_CHARACTERS
from fedseal_crypto.digests import Digest
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.masking import ClientId, RingSum, Step
from fedseal_governance.errors import GovernanceError, StorageError

_log = structlog.get_logger(__name__)

BYTES_FIGURE = "bytes_up_per_node"
"""Mean over the roster of what a node sent in the round, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every desk works with."""

    federation: str
    ledger: Ledger
    attendance: Attendance
    hub: EventHub
    trust: Trust
    settings: CoordinatorSettings
    spool: Path
    custodians: CustodianRoll = field(default_factory=CustodianRoll)
    later: Callable[[Callable[[], None]], None]
    """Run something a moment later, on another thread."""
    common_policies: CommonPolicies = no_common_policies
    """The federation's own policies for a dataset, now."""


class JobDesk:
    """The engine's handle on one job."""

    def __init__(self, stored: StoredJob, run: JobRun, around: Surroundings, *, now: datetime) -> None:
        self.digest: Digest = stored.digest
        self.name = stored.document.job
        self.state: JobState = stored.state
        self._stored = stored
        self._run = run
        self._around = around
        self._answers: dict[str, bool] = dict(stored.answers)
        self._active: ActiveRound | None = None
        self._gathering = Gathering(
            dataset=stored.document.dataset,
            minimum_cohort=run.minimum_cohort,
            settings=around.settings,
            last_sum=around.ledger.last_sum(stored.digest),
            last_asked=run.asked_before,
            now=now,
            common_policies=around.common_policies,
        )
        self._pause_until: datetime | None = None
        self._last_end: pb.Instruction | None = None
        self._custody = JobCustody(stored, around, now=now) if stored.document.protection.has_custodian else None
        self._scalars = None if self._custody is None else JobScalars(self._custody, around)
        self._judgement: tuple[RoundAddress, Judgement] | None = None
        self._take_keys()

    @classmethod
    def load(cls, digest: Digest, around: Surroundings, *, now: datetime) -> "JobDesk":
        """Take a stored job up, with the round that was under way."""
        stored = around.ledger.load(digest)
        progress = around.ledger.progress(stored)
        run = JobRun(
            digest=digest,
            federation=around.federation,
            document=stored.document,
            schema=stored.schema,
            schema_digest=stored.schema_digest,
            progress=progress,
            attempt=stored.position[2],
        )
        desk = cls(stored, run, around, now=now)
        desk._take_up_round(now)
        return desk

    @property
    def ended(self) -> bool:
        """Whether the job has reached a final state."""
        return self.state in JobState.final()

    # -- nodes come and go -----------------------------------------------------------------------------

    def welcome(self, session: Session, *, now: datetime) -> None:
        """A node is present (again): offer the job, and bring it up to date with the current round."""
        if session.node not in self._stored.document.nodes or self.ended:
            return
        self._gathering.came_back(session.node)
        if session.node not in self._answers:
            session.send(pb.Instruction(job_offer=pb.JobOffer(job=self.digest, document=self._stored.envelope)))
            return
        self._hand_scalars(session)
        if self._last_end is not None:
            session.send(self._last_end)
        active = self._active
        if active is None or ClientId(session.node) not in active.opened.plan.members:
            return
        if active.driver.belongs(ClientId(session.node), session.session):
            active.driver.come_back(ClientId(session.node))
            self._instruct(active, session)
        else:
            # Another process of the node has lost the secrets of this attempt. All it may still have is what the one
            # before released and stored, and that it sends at once.
            grace = timedelta(seconds=self._around.settings.reconnect_grace_seconds)
            self._leave(session.node, silent_from=now + grace)

    def lost(self, node: str, *, now: datetime, for_good: bool = False) -> None:
        """A node is gone; ``for_good`` if it is not let in any more."""
        self._gathering.left(node, now=now)
        self._leave(node, silent_from=now if for_good else None)

    def _leave(self, node: str, *, silent_from: datetime | None) -> None:
        active = self._active
        if active is not None and ClientId(node) in active.opened.plan.members:
            active.driver.leave(ClientId(node), silent_from=silent_from)
            self._publish("lost", node=node, text=f"{node} left during the round")

    # -- answers and messages --------------------------------------------------------------------------

    def verdict(self, node: str, verdict: pb.JobVerdict, *, now: datetime) -> None:
        """Store a node's answer to the offer."""
        if node not in self._stored.document.nodes:
            sentence = f"the job does not name {node}"
            raise RefusalError(sentence)
        if node in self._answers:
            return
        session = self._around.attendance.get(node)
        policies = () if session is None else session.policies
        self._around.ledger.answer(self.digest, node, verdict, policies=policies, now=now)
        self._answers[node] = verdict.accepted
        text = "accepts" if verdict.accepted else "refuses"
        self._publish("answer", node=node, text=f"{node} {text}")

    def round_event(self, event: MessageReported | ContributionArrived | RoundRefused, *, now: datetime) -> None:
        """Take a message, a masked vector or a refusal of the attempt under way."""
        active = self._require_active(event.address)
        client = ClientId(event.node)
        if not (isinstance(event, MessageReported) and active.driver.step is Step.UNMASK):
            _require_beginner(active, event.node, event.session)
        # In the last step any process of the node may hand in what the one that began has released: it is signed.
        if isinstance(event, RoundRefused):
            self._around.ledger.refusal(event.address, event.node, event.code, event.sentence, now=now)
            self._gathering.refused(event.node, event.sentence)
            active.driver.leave(client, silent_from=now)
            self._publish("refusal", node=event.node, text=event.sentence)
            return
        step = active.driver.step
        if isinstance(event, ContributionArrived):
            news = active.take_vector(event.payload, client, event.vector)
        else:
            news = active.take_message(event.payload, client)
        if news:
            self._around.ledger.message(event.address, step, event.node, event.payload, now=now)
            self._publish("message", node=event.node, step=step.value)

    def expected_bytes(self, address: RoundAddress, node: str, session: bytes) -> int:
        """Size of a masked vector of that attempt, which this process of ``node`` must belong to."""
        active = self._require_active(address)
        _require_beginner(active, node, session)
        return active.opened.upload_bytes

    # -- the custodian ---------------------------------------------------------------------------------

    def custody_event(self, event: JobCustodyEvent, *, now: datetime) -> None:
        """Take what the job's custodian brings: a key, an opened sum, or a refusal."""
        custody = self._require_custody()
        if isinstance(event, SumDelivered):
            custody.deliver(event, self._require_sealed(event.address), now=now)
        elif isinstance(event, ScalarsDelivered):
            self._require_scalars().deliver(event, self._require_sealed(event.address), now=now)
        elif isinstance(event, CustodianDeclined) and event.address is not None:
            active = self._require_sealed(event.address)
            if self._require_scalars().pending(event.address):
                reason = self._require_scalars().declined(event, now=now)
            else:
                reason = custody.declined_sum(event, active, now=now)
            if reason:
                self._fail_round(active, reason, now)
        else:
            custody.take(event, now=now)
            self._take_keys()
            self._publish("custodian", text=f"{custody.name} answered")

    def ciphertext(self, custodian: str, address: RoundAddress, member: str) -> Path:
        """The file of one ciphertext of the sum that the custodian is asked to open."""
        active = self._require_sealed(address)
        if not member:  # the encrypted scalars are one file
            self._require_scalars().require_fetchable(custodian, address)
            return active.scalar_file
        self._require_custody().require_fetchable(custodian, address, active)
        return active.ciphertext(member)

    def sum_bytes(self, custodian: str, address: RoundAddress) -> int:
        """Size of the opened sum that the custodian is asked for."""
        active = self._require_sealed(address)
        self._require_custody().require_fetchable(custodian, address, active)
        return active.opened.layout.wire_bytes

    def _take_keys(self) -> None:
        if self._custody is not None:
            self._run.key, self._run.scalar_key = self._custody.key_digest, self._custody.scalar_key

    def _require_scalars(self) -> JobScalars:
        if self._scalars is None:
            sentence = f"job {self.digest[:12]} has no custodian"
            raise RefusalError(sentence)
        return self._scalars

    def _require_custody(self) -> JobCustody:
        if self._custody is None:
            sentence = f"job {self.digest[:12]} has no custodian"
            raise RefusalError(sentence)
        return self._custody

    def _require_sealed(self, address: RoundAddress) -> SealedRound:
        active = self._active
        if not isinstance(active, SealedRound) or active.opened.plan.address != address:
            sentence = f"{address} is not under way"
            raise RefusalError(sentence)
        return active

    def stop(self, reason: str, now: datetime) -> None:
        """End the job on request."""
        self._end(JobState.STOPPED, reason, now)

    # -- time passes -----------------------------------------------------------------------------------

    def tick(self, now: datetime) -> None:
        """Do whatever is due."""
        try:
            if self.state is JobState.OFFERED:
                self._decide_offer(now)
            elif self.state is JobState.RUNNING:
                self._advance(now)
        except (StorageError, OSError):
            raise
        except (PlatformError, CryptoError, GovernanceError) as error:
            self._end(JobState.FAILED, str(error), now)
        except Exception as error:  # noqa: BLE001 - one job's fault must not end the others; it ends this one
            _log.exception("job failed unexpectedly", job=self.digest[:12])
            self._end(JobState.FAILED, f"internal error ({type(error).__name__}); see the coordinator's log", now)

    def _decide_offer(self, now: datetime) -> None:
        if self._custody is not None:
            self._custody.offer()
        named = self._stored.document.nodes
        waited = self._gathering.waited(now)
        if len(self._answers) < len(named) and waited < self._around.settings.offer_seconds:
            return
        accepted = sum(self._answers.values())
        if accepted < self._run.minimum_cohort:
            reason = (
                f"{accepted} of {len(named)} nodes accepted the job and it needs {self._run.minimum_cohort}; "
                "their reasons are in `fedseal job show`"
            )
            self._end(JobState.REFUSED, reason, now)
            return
        if self._custody is not None and self._custody.key_digest is None:
            refusal = self._custody.refusal(now)
            if refusal:
                self._end(JobState.REFUSED, refusal, now)
            return
        self._around.ledger.set_state(self.digest, JobState.RUNNING, "", now=now)
        self.state = JobState.RUNNING
        self._gathering.wait_from(now)
        self._publish("state", text=self.state.value)

    def _advance(self, now: datetime) -> None:
        if self._active is None:
            if self._run.finished:
                self._finish(now)
            elif self._pause_until is None or now >= self._pause_until:
                self._begin_round(now)
            return
        self._settle(self._active, now)  # a round that was taken up may be over already
        while self._active is not None and self._active.driver.due(now):
            self._close_step(self._active, now)

    def _close_step(self, active: ActiveRound, now: datetime) -> None:
        driver = active.driver
        closed = driver.step
        driver.close_step(now)
        self._around.ledger.step_closed(active.opened.plan.address, closed, now=now)
        self._settle(active, now)
        if self._active is active:
            self._publish("step", step=driver.step.value)
            for session in self._members_present(active):
                self._instruct(active, session)

    def _settle(self, active: ActiveRound, now: datetime) -> None:
        """End the round if its protocol has come to its end."""
        if active.driver.step is Step.DONE:
            result = self._result(active, now)
            if result is not None:
                self._complete_round(active, result, now)
        elif active.driver.step is Step.FAILED:
            self._fail_round(active, str(active.driver.failure), now)

    def _result(self, active: ActiveRound, now: datetime) -> RingSum | None:
        """The sum; None while the custodian has not opened it."""
        if self._custody is None or not isinstance(active, SealedRound):
            return active.driver.result
        if active.opened.scalars is not None and not self._judged(active, now):
            return None
        opened = self._custody.opened_sum(active, now=now)
        if opened is None:
            self._custody.ask(active, now=now)
        return opened

    def _judged(self, active: SealedRound, now: datetime) -> bool:
        """Leave out whom the method does not accept; false while the custodian has not opened its scalars."""
        address, scalars = active.opened.plan.address, self._require_scalars()
        if self._judgement is not None and self._judgement[0] == address:
            return True
        numbers = scalars.numbers(active, now=now)
        if numbers is None:
            return False
        for session in self._members_present(active):
            self._hand_scalars(session)
        judgement = self._run.judge(numbers)
        CustodyLedger(self._around.ledger).judged(address, judgement.reasons, now=now)
        active.leave_out([ClientId(node) for node in judgement.reasons])
        self._judgement = (address, judgement)
        for node, reason in sorted(judgement.reasons.items()):
            self._publish("left_out", node=node, text=f"{node} is left out: {reason}")
        return True

    def _hand_scalars(self, session: Session) -> None:
        own = None if self._scalars is None else self._scalars.own(session.node)
        if own is not None:
            session.send(own)

    # -- rounds ----------------------------------------------------------------------------------------

    def _begin_round(self, now: datetime) -> None:
        accepted = {node for node, answer in self._answers.items() if answer}
        present = self._around.attendance.all()
        roster = self._gathering.roster(accepted, present, asked=self._run.asked, now=now)
        if roster is None:
            return
        document = self._stored.document
        opened = self._run.open_round(
            roster,
            step_seconds=document.step_timeout_seconds,
            common=self._around.common_policies(document.dataset),
        )
        address = opened.plan.address
        log_size = self._around.ledger.begin_round(opened, [item.identity_pem for item in roster], now=now)
        self._active = self._activate(opened, log_size, now)
        self._publish("round", text=f"{address.stage} round {address.round + 1} begins with {len(roster)} nodes")
        for session in roster:
            self._instruct(self._active, session)

    def _activate(self, opened: OpenedRound, log_size: int, now: datetime) -> ActiveRound:
        address = opened.plan.address
        spool = self._around.spool / address.job / f"{address.stage}-{address.round}-{address.attempt}"
        spool.mkdir(parents=True, exist_ok=True)
        patience = timedelta(seconds=self._around.settings.patience_seconds)
        driver = RoundDriver(opened.plan, now=now, patience=patience)
        if self._custody is None:
            return ActiveRound(opened, driver, spool, log_size)
        custody = self._custody
        return SealedRound(opened, driver, spool, log_size, public=custody.public, scalars=custody.scalar_public)

    def _instruct(self, active: ActiveRound, session: Session) -> None:
        """Send what ``session`` needs for the current step."""
        address = active.opened.plan.address.to_wire()
        if active.driver.step is Step.ADVERTISE:
            start = pb.RoundStart(
                address=address,
                parameters=active.opened.plan.parameters.encode(),
                broadcast_digest=active.opened.broadcast_digest,
                broadcast_size=len(active.opened.broadcast),
                member_certificates=self._around.ledger.roster_certificates(active.opened.plan.address),
                revocation_list=self._around.trust.revocation_list_pem(),
                log_size=active.log_size,
            )
            if self._custody is not None:
                self._custody.decorate(start)
            session.send(pb.Instruction(round_start=start))
            return
        payload = active.driver.instruction_for(ClientId(session.node))
        if payload is not None:
            session.send(pb.Instruction(masking_step=pb.MaskingStep(address=address, payload=payload)))

    def _members_present(self, active: ActiveRound) -> list[Session]:
        return [
            session
            for session in self._around.attendance.all()
            if active.driver.belongs(ClientId(session.node), session.session)
        ]

    def _complete_round(self, active: ActiveRound, result: RingSum, now: datetime) -> None:
        members = len(active.opened.plan.parameters.roster)
        figures = {
            **self._run.absorb(result, active.opened.layout, self._judgement_of(active)),
            # keys, shares, signatures and masked vectors of all members, divided by their number
            BYTES_FIGURE: active.received / members,
        }
        self._around.ledger.complete_round(active.opened.plan.address, result, figures=figures, run=self._run, now=now)
        self._close_round(active, completed=True, reason="", survivors=[str(item) for item in result.survivors])
        self._publish(
            "completed",
            text=f"{len(result.survivors)} nodes, {len(result.dropped)} recovered",
            metrics=figures,
            address=active.opened.plan.address,
        )
        self._gathering.completed(frozenset(str(item) for item in result.survivors), now=now)

    def _judgement_of(self, active: ActiveRound) -> Judgement | None:
        if self._judgement is None or self._judgement[0] != active.opened.plan.address:
            return None
        return self._judgement[1]

    def _fail_round(self, active: ActiveRound, reason: str, now: datetime) -> None:
        self._around.ledger.fail_round(active.opened.plan.address, reason, now=now)
        self._close_round(active, completed=False, reason=reason, survivors=[])
        self._publish("failed", text=reason, address=active.opened.plan.address)
        self._run.retry()
        self._gathering.wait_from(now)
        settings = self._around.settings
        self._pause_until = now + settings.retry_pause
        if self._run.progress.attempt >= settings.maximum_attempts:
            sentence = f"{self._run.progress.attempt} attempts at the round failed, the last because: {reason}"
            self._end(JobState.FAILED, sentence, now)

    def _close_round(self, active: ActiveRound, *, completed: bool, reason: str, survivors: list[str]) -> None:
        self._active = None
        ended = EndedAttempt(active.opened.plan.address, completed, reason, tuple(survivors))
        self._last_end = _round_end(ended)
        for session in self._around.attendance.all():
            if ClientId(session.node) in active.opened.plan.members:
                session.send(self._last_end)
        shutil.rmtree(active.spool, ignore_errors=True)

    def _require_active(self, address: RoundAddress) -> ActiveRound:
        active = self._active
        if active is None or active.opened.plan.address != address:
            sentence = f"{address} is not under way"
            raise RefusalError(sentence)
        return active

    # -- restart ---------------------------------------------------------------------------------------

    def _take_up_round(self, now: datetime) -> None:
        """Rebuild the attempt that was under way; if that cannot be done, it has failed and the next one begins."""
        ledger = self._around.ledger
        ended = ledger.last_end(self.digest)
        self._last_end = None if ended is None else _round_end(ended)
        address = ledger.open_address(self.digest)
        if address is None:
            return
        try:
            stored = ledger.open_attempt(self._stored, self._run)
            active = self._activate(stored.opened, stored.log_size, now)
            active.replay(stored.steps, closed=stored.closed, now=now)
        except StorageError:
            raise
        except (OSError, PlatformError, CryptoError, GovernanceError) as error:
            reason = f"it could not be taken up after a restart: {error}"
            _log.warning("round given up", address=str(address), sentence=reason)
            ledger.fail_round(address, reason, now=now)
            self._run.retry()
            self._last_end = _round_end(EndedAttempt(address, False, reason, ()))
            return
        self._active = active
        _log.info("round taken up", address=str(address), step=active.driver.step.value)

    # -- the end ---------------------------------------------------------------------------------------

    def _finish(self, now: datetime) -> None:
        self._end(JobState.FINISHED, "", now)

    def _end(self, state: JobState, reason: str, now: datetime) -> None:
        if self.ended:
            return
        active = self._active
        if active is not None:
            self._around.ledger.fail_round(active.opened.plan.address, reason, now=now)
            self._close_round(active, completed=False, reason=reason, survivors=[])
        record = self._around.ledger.end(self._run, state, reason, now=now)
        self.state = state
        end = pb.JobEnd(job=self.digest, state=state.value, reason=reason[:TEXT_CHARACTERS], job_record=record)
        for session in self._around.attendance.all():
            if session.node in self._stored.document.nodes:
                session.send(pb.Instruction(job_end=end))
        if self._custody is not None:
            self._custody.end(custody_end(end))
        shutil.rmtree(self._around.spool / self.digest, ignore_errors=True)
        self._publish("done", text=f"{state.value}: {reason}" if reason else state.value)

    def _publish(
        self,
        kind: str,
        *,
        node: str = "",
        step: str = "",
        text: str = "",
        metrics: object = None,
        address: RoundAddress | None = None,
    ) -> None:
        active = self._active
        where = address or (active.opened.plan.address if active is not None else None)
        event = pb.JobEvent(job=self.digest, kind=kind, node=node, step=step, text=text[:TEXT_CHARACTERS])
        if where is not None:
            event.address.CopyFrom(where.to_wire())
        if metrics is not None:
            event.metrics = json.dumps(metrics)
        self._around.hub.publish(event)


def _require_beginner(active: ActiveRound, node: str, session: bytes) -> None:
    """Only the process that began an attempt takes part in it; another one does not know its secrets."""
    if not active.driver.belongs(ClientId(node), session):
        sentence = f"{active.opened.plan.address} was begun by another process of {node}, or without it"
        raise RefusalError(sentence)


def _round_end(ended: EndedAttempt) -> pb.Instruction:
    end = pb.RoundEnd(address=ended.address.to_wire(), completed=ended.completed, reason=ended.reason[:TEXT_CHARACTERS])
    end.survivors.extend(ended.survivors)
    return pb.Instruction(round_end=end)
