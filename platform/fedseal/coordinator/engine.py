"""The coordinator's engine: one thread that owns every job, fed by an event queue.

gRPC handlers put events in and wait for the answer; the engine alone changes jobs, so that no two events of
a job ever overlap. What must survive a crash is in the database before an event is answered. An error that
leaves a job's memory possibly ahead of the database (a full disk, a lost connection) makes the engine forget
the job and load it again, exactly as a restart would.

It leaves out what rounds compute (``job_run``), how a masked round proceeds (``round_driver``), who may call
(``service``) and what is stored how (``ledger``).
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from fedseal.coordinator.admission import Admission, RefusedByFederation, Submission
from fedseal.coordinator.attendance import Attendance, Session
from fedseal.coordinator.custody_events import (
    CustodianArrived,
    CustodianDeclined,
    CustodianLeft,
    KeyPublished,
    ScalarsDelivered,
    SumDelivered,
)
from fedseal.coordinator.custody_roll import CustodianSession
from fedseal.coordinator.desk import JobDesk, Surroundings
from fedseal.coordinator.hub import EventHub
from fedseal.coordinator.intake import (
    ContributionArrived,
    Event,
    MessageReported,
    NodeArrived,
    NodeLeft,
    RoundRefused,
    StopAsked,
    VerdictReported,
)
from fedseal.coordinator.job_custody import custody_end
from fedseal.coordinator.ledger import JobState, Ledger
from fedseal.coordinator.policies import FederationPolicies
from fedseal.credentials import Credentials
from fedseal.errors import ClockBehind, PlatformError, RefusalError
from fedseal.rounds import RoundAddress
from fedseal.trust import Clock, Trust
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire._generated import custody_pb2
from fedseal_crypto.certificates import Party
from fedseal_crypto.digests import Digest
from fedseal_crypto.errors import CryptoError
from fedseal_governance.errors import GovernanceError, StorageError

_log = structlog.get_logger(__name__)

_TICK_SECONDS = 0.1
_ANSWER_SECONDS = 120.0
_SETTLE_SECONDS = 10.0
"""How often policies are looked at whose first or last day may have come."""

_EXPECTED = (PlatformError, CryptoError, GovernanceError, OSError)

Answer = TypeVar("Answer")

_Item = tuple[Callable[[], Any], Future[Any] | None]


class Engine:
    """Runs jobs. ``call``, ``put``, ``submit``, ``check_job`` and ``take_revocations`` may be used from any thread."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        attendance: Attendance,
        admission: Admission,
        trust: Trust,
        surroundings: Surroundings,
        policies: FederationPolicies,
        clock: Clock,
    ) -> None:
        self.hub: EventHub = surroundings.hub
        self._ledger = ledger
        self._attendance = attendance
        self._admission = admission
        self._trust = trust
        self._surroundings = surroundings
        self._clock = clock
        self._policies = policies
        self._settled_at: datetime | None = None
        self._queue: queue.Queue[_Item] = queue.Queue()
        self._desks: dict[Digest, JobDesk] = {}
        self._departures: dict[str, tuple[Session, datetime]] = {}
        self._stopping = threading.Event()

    # -- called from other threads ---------------------------------------------------------------------

    def put(self, event: Event) -> None:
        """Hand in an event without waiting."""
        self._queue.put((lambda: self._handle(event), None))

    def call(self, event: Event) -> None:
        """Hand in an event and wait until it is stored.

        Raises:
            PlatformError, CryptoError, GovernanceError: it was refused; nothing changed.
        """
        self._ask(lambda: self._handle(event))

    def submit(self, document: bytes, person: Party) -> Digest:
        """Check and store a signed job and offer it to its nodes.

        Raises:
            RefusalError: policies known here leave too few nodes; the sentence names the clauses.
            PeerError: the signature does not verify.
            DocumentError: the job file is wrong.
        """
        digest: Digest = self._ask(lambda: self._submit(document, person))
        return digest

    def check_job(self, document: bytes) -> pb.JobVerdicts:
        """What each node's policy says, as far as it is known here."""
        verdicts: pb.JobVerdicts = self._ask(
            lambda: self._admission.preview(document, self._attendance.all(), now=self._clock())
        )
        return verdicts

    def ask_policies(self, work: Callable[[FederationPolicies, datetime], Answer]) -> Answer:
        """Read or change the federation's policies; whatever changed reaches the nodes that are present.

        Raises:
            PlatformError, CryptoError, GovernanceError: it was refused; nothing changed.
        """
        answer: Answer = self._ask(lambda: self._with_policies(work))
        return answer

    def expected_bytes(self, address: RoundAddress, node: str, session: bytes) -> int:
        """Size of a masked vector of that attempt, which this process of ``node`` must belong to.

        Raises:
            RefusalError: no such attempt is under way.
        """
        size: int = self._ask(lambda: self._desk(address.job).expected_bytes(address, node, session))
        return size

    def ciphertext(self, custodian: str, address: RoundAddress, member: str) -> Path:
        """The file of one ciphertext of the sum that the custodian is asked to open.

        Raises:
            RefusalError: it is not asked for that sum.
        """
        path: Path = self._ask(lambda: self._desk(address.job).ciphertext(custodian, address, member))
        return path

    def sum_bytes(self, custodian: str, address: RoundAddress) -> int:
        """Size of the opened sum that the custodian is asked for.

        Raises:
            RefusalError: it is not asked for that sum.
        """
        size: int = self._ask(lambda: self._desk(address.job).sum_bytes(custodian, address))
        return size

    def take_revocations(self, crl_pem: bytes) -> bool:
        """Take a newer revocation list over; members on it are out from the next step on."""
        changed: bool = self._ask(lambda: self._take_revocations(crl_pem))
        return changed

    def renew(self, own: Credentials, announce: Callable[[], None]) -> None:
        """Go on under another certificate of this coordinator: note it, and show it to everybody who is present.

        Args:
            own: the new certificate with its keys.
            announce: writes the entry about it.
        """

        def work() -> None:
            self._ledger.renew(own)
            announce()
            for session in self._attendance.all():
                session.send(self._welcome())

        self._ask(work)

    def stop(self) -> None:
        """Ask ``run`` to return after the event it is handling."""
        self._stopping.set()

    # -- the engine's own thread -----------------------------------------------------------------------

    def run(self) -> None:
        """Take up stored jobs and handle events until ``stop``."""
        self._load_active()
        while not self._stopping.is_set():
            self._next_item()
            self._tick(self._clock())
        self._refuse_rest()

    def _ask(self, work: Callable[[], Any]) -> Any:
        if self._stopping.is_set():
            sentence = "the coordinator is shutting down; try again when it is back"
            raise StorageError(sentence)
        future: Future[Any] = Future()
        self._queue.put((work, future))
        return future.result(timeout=_ANSWER_SECONDS)

    def _next_item(self) -> None:
        try:
            work, future = self._queue.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            return
        try:
            answer = work()
        except Exception as error:  # noqa: BLE001 - handed to the caller, or logged below
            if future is not None:
                future.set_exception(error)
            if not isinstance(error, _EXPECTED) or future is None:
                _log.error("event failed", error=str(error), exc_info=error)
        else:
            if future is not None:
                future.set_result(answer)

    def _refuse_rest(self) -> None:
        while True:
            try:
                _, future = self._queue.get_nowait()
            except queue.Empty:
                return
            if future is not None:
                future.set_exception(StorageError("the coordinator is shutting down; try again when it is back"))

    def _load_active(self) -> None:
        for digest in self._ledger.active_jobs():
            self._take_up(digest)

    def _take_up(self, digest: Digest) -> None:
        """Load a job; one whose stored state cannot be used has failed.

        Raises:
            StorageError, OSError, ClockBehind: storage may come back, the clock be corrected; nothing was decided.
        """
        try:
            self._load(digest)
        except (StorageError, OSError, ClockBehind):
            raise
        except (PlatformError, CryptoError, GovernanceError) as error:
            reason = f"it could not be taken up after a restart: {error}"
            _log.error("job given up", job=digest[:12], sentence=reason)
            self._ledger.set_state(digest, JobState.FAILED, reason, now=self._clock())

    def _load(self, digest: Digest) -> None:
        desk = JobDesk.load(digest, self._surroundings, now=self._clock())
        self._desks[digest] = desk
        _log.info("job taken up", job=digest[:12], name=desk.name, state=desk.state.value)

    def _desk(self, digest: Digest) -> JobDesk:
        desk = self._desks.get(digest)
        if desk is None:
            sentence = f"job {digest[:12]} is not running here; `fedseal job show {digest[:12]}` tells how it ended"
            raise RefusalError(sentence)
        return desk

    def _submit(self, document: bytes, person: Party) -> Digest:
        now = self._clock()
        try:
            submission: Submission = self._admission.admit(document, person, self._attendance.all(), now=now)
        except RefusalError as error:
            by_federation = isinstance(error, RefusedByFederation)
            self._ledger.refused_at_submission(
                document, person=person.label, reason=str(error), by_federation=by_federation, now=now
            )
            raise
        self._ledger.submit(submission, now=now)
        try:
            self._load_if_active(submission.digest)
        except (StorageError, OSError) as error:
            # It is stored, so it was submitted, and it is loaded as soon as storage allows.
            _log.error("a new job could not be loaded yet", job=submission.digest[:12], sentence=str(error))
        return submission.digest

    def _handle(self, event: Event) -> None:
        match event:
            case NodeArrived(session):
                self._arrived(session)
            case NodeLeft(session):
                self._left(session)
            case VerdictReported(verdict=verdict):
                desk = self._desk(Digest(verdict.job))
                self._guarding(desk, lambda: desk.verdict(event.node, verdict, now=self._clock()))
            case MessageReported() | ContributionArrived() | RoundRefused():
                desk = self._desk(event.address.job)
                self._guarding(desk, lambda: desk.round_event(event, now=self._clock()))
            case CustodianArrived(custodian):
                self._custodian_arrived(custodian)
            case CustodianLeft(custodian):
                self._surroundings.custodians.leave(custodian)
            case CustodianDeclined() | KeyPublished() | SumDelivered() | ScalarsDelivered():
                desk = self._desk(event.job)
                self._guarding(desk, lambda: desk.custody_event(event, now=self._clock()))
            case StopAsked():
                desk = self._desk(event.job)
                self._guarding(desk, lambda: desk.stop(f"stopped by {event.person}: {event.reason}", self._clock()))

    def _with_policies(self, work: Callable[[FederationPolicies, datetime], Answer]) -> Answer:
        before = self._policies.handed_out()
        answer = work(self._policies, self._clock())
        after = self._policies.handed_out()
        if after != before:
            for session in self._attendance.all():
                session.send(pb.Instruction(federation_policies=after))
        return answer

    def _settle_policies(self, now: datetime) -> None:
        if self._settled_at is not None and (now - self._settled_at).total_seconds() < _SETTLE_SECONDS:
            return
        try:
            self._policies.settle(now)
        except GovernanceError as error:
            _log.error("the federation's policies could not be brought up to date", sentence=str(error))
        self._settled_at = now

    def _arrived(self, session: Session) -> None:
        if session.closed:
            return  # the stream broke before its arrival was handled
        self._attendance.enter(session)
        departed = self._departures.pop(session.node, None)
        session.send(self._welcome())
        handed_out = self._policies.handed_out()
        if handed_out.policies:
            session.send(pb.Instruction(federation_policies=handed_out))
        _log.info("node present", node=session.node, returned=departed is not None)
        for desk in tuple(self._desks.values()):
            with suppress(StorageError):  # logged there, and the job is loaded again
                self._guarding(desk, lambda desk=desk: desk.welcome(session, now=self._clock()))  # type: ignore[misc]  # bound per loop
        for digest in session.open_jobs:
            end = None if digest in self._desks else self._ledger.job_end(digest, session.node)
            if end is not None:
                session.send(pb.Instruction(job_end=end))

    def _custodian_arrived(self, session: CustodianSession) -> None:
        if session.closed:
            return
        self._surroundings.custodians.enter(session)
        welcome = custody_pb2.CustodyWelcome(
            coordinator_certificate=self._ledger.certificate.decode(),
            revocation_list=self._trust.revocation_list_pem(),
        )
        session.send(custody_pb2.CustodianTask(welcome=welcome))
        _log.info("custodian present", custodian=session.name)
        for digest in session.open_jobs:
            end = None if digest in self._desks else self._ledger.job_end_for_custodian(digest, session.name)
            if end is not None:
                session.send(custody_pb2.CustodianTask(job_end=custody_end(end)))

    def _welcome(self) -> pb.Instruction:
        return pb.Instruction(
            welcome=pb.Welcome(
                coordinator_certificate=self._ledger.certificate.decode(),
                revocation_list=self._trust.revocation_list_pem(),
            )
        )

    def _left(self, session: Session) -> None:
        if self._attendance.leave(session):
            self._departures[session.node] = (session, self._clock())
            _log.info("node away", node=session.node)

    def _take_revocations(self, crl_pem: bytes) -> bool:
        if not self._trust.update(crl_pem):
            return False
        self._ledger.revocations_updated(self._trust.revocations.number, now=self._clock())
        for session in self._attendance.all():
            try:
                self._trust.identity(session.identity_pem)
            except CryptoError as error:
                _log.warning("node shut out", node=session.node, sentence=str(error))
                session.close()
                self._attendance.leave(session)
                for desk in self._desks.values():
                    desk.lost(session.node, now=self._clock(), for_good=True)
        for custodian in self._surroundings.custodians.all():
            try:
                self._trust.root.verify_identity(
                    custodian.identity_pem, now=self._clock(), revocations=self._trust.revocations
                )
            except CryptoError as error:
                _log.warning("custodian shut out", custodian=custodian.name, sentence=str(error))
                custodian.close()
                self._surroundings.custodians.leave(custodian)
        return True

    def _tick(self, now: datetime) -> None:
        self._settle_policies(now)
        grace = self._surroundings.settings.reconnect_grace_seconds
        for node, (_, since) in tuple(self._departures.items()):
            if (now - since).total_seconds() >= grace:
                del self._departures[node]
                for desk in self._desks.values():
                    desk.lost(node, now=now)
        for digest, desk in tuple(self._desks.items()):
            try:
                self._guarding(desk, lambda desk=desk: desk.tick(now))  # type: ignore[misc]  # bound per loop
            except StorageError:
                continue  # logged there, and the job is loaded again
            except (PlatformError, CryptoError, GovernanceError) as error:
                # Not even its failure could be noted; the other jobs go on.
                _log.error("job cannot go on; it is loaded again", job=digest[:12], exc_info=error)
                self._reload(desk)
                continue
            if desk.ended:
                self._desks.pop(digest, None)

    def _guarding(self, desk: JobDesk, work: Callable[[], None]) -> None:
        """Run ``work``; if storage failed in the middle, load the job again instead of trusting its memory."""
        try:
            work()
        except (StorageError, OSError) as error:
            _log.error("storage failed; the job is loaded again", job=desk.digest[:12], sentence=str(error))
            self._reload(desk)
            raise StorageError(str(error)) from error

    def _reload(self, desk: JobDesk) -> None:
        self._desks.pop(desk.digest, None)
        self._load_later(desk.digest)

    def _load_later(self, digest: Digest) -> None:
        self._surroundings.later(lambda: self._queue.put((lambda: self._load_if_active(digest), None)))

    def _load_if_active(self, digest: Digest) -> None:
        """Load a job and bring its nodes up to date, also if it turns out to have ended."""
        if digest in self._desks:
            return
        try:
            if digest in self._ledger.active_jobs():
                self._take_up(digest)
            desk = self._desks.get(digest)
            for session in self._attendance.all():
                end = None if desk is not None else self._ledger.job_end(digest, session.node)
                if desk is not None:
                    desk.welcome(session, now=self._clock())
                elif end is not None:
                    session.send(pb.Instruction(job_end=end))
        except (StorageError, OSError, ClockBehind):
            self._desks.pop(digest, None)
            self._load_later(digest)
            raise
