"""One job's custodian, as the coordinator sees it: its key, and the sum it is asked to open.

Rules kept here:

1. A job under a custodian's key runs only when the custodian that it names has made a key for it, signed.
2. What the custodian delivers counts only if it signed it, for exactly the request that was made; whether the sum
   is right, its check word tells when it is decoded.
3. While the custodian is away the job waits, up to ``custodian_seconds``; then it stops with the reason.

Asking is repeated whenever the custodian comes back: the same request has the same answer.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fedseal.coordinator.custody_events import CustodianDeclined, KeyPublished, SumDelivered
from fedseal.coordinator.custody_ledger import CustodyLedger
from fedseal.coordinator.ledger import StoredJob
from fedseal.coordinator.sealed_round import SealedRound
from fedseal.errors import PeerFault, RefusalError
from fedseal.methods import programme
from fedseal.protection import JobKey, Judge, OpenedSum, job_parameters, read_key_statement, read_sum_statement
from fedseal.protection.scalars import names_of, scalar_parameters
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2, custody_pb2
from fedseal.wire.custody import address_to_wire
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.homomorphic import EvaluationContext, PublicContext, lift_masks
from fedseal_crypto.masking import RingSum

if TYPE_CHECKING:
    from fedseal.coordinator.desk import Surroundings

LATER = "Later"
"""Code of a refusal to open a sum now that is none for good: asking again later may help."""

_PAUSE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class _Answer:
    address: RoundAddress
    words: RingVector
    opened: OpenedSum
    statement: bytes


class JobCustody:
    """The engine's handle on a job's custodian. Only the engine's thread calls in."""

    def __init__(self, stored: StoredJob, around: "Surroundings", *, now: datetime) -> None:
        self._stored = stored
        self._around = around
        self._ledger = CustodyLedger(around.ledger)
        self._waiting_since = now
        self._told: object = None  # the session that the present offer or request went to
        self._asked: RoundAddress | None = None
        self._pause_until: datetime | None = None
        self._answer: _Answer | None = None
        self._declined = ""
        self._key: JobKey | None = None
        self._statement = b""
        self._public: PublicContext | None = None
        self._scalar_public: PublicContext | None = None
        self._evaluation: EvaluationContext | None = None
        row = self._ledger.job_key(stored.digest)
        if row is not None:
            self._take_key(row.statement, None, now)

    @property
    def name(self) -> str:
        """The custodian that the job names."""
        return str(self._stored.document.custodian)

    @property
    def key_digest(self) -> Digest | None:
        """Digest of the job's public key, once it has one."""
        return None if self._key is None else Digest(self._key.key)

    @property
    def public(self) -> PublicContext:
        """The job's public key.

        Raises:
            RefusalError: it has none yet.
        """
        if self._public is None:
            sentence = f"{self.name} has not made a key for this job yet"
            raise RefusalError(sentence)
        return self._public

    # -- the key -----------------------------------------------------------------------------------------

    def offer(self) -> None:
        """Ask for a key, once of each stream of the custodian."""
        session = self._around.custodians.get(self.name)
        if self._key is not None or self._declined or session is None or session is self._told:
            return
        self._told = session
        offer = custody_pb2.CustodyOffer(job=self._stored.digest, document=self._stored.envelope)
        session.send(custody_pb2.CustodianTask(job_offer=offer))

    def refusal(self, now: datetime) -> str:
        """Why the job cannot begin, because of its custodian; empty while it may."""
        if self._declined:
            return f"{self.name} does not serve this job: {self._declined}"
        if self._key is None and self._overdue(now):
            return (
                f"the custodian {self.name} made no key within {self._around.settings.custodian_seconds:.0f} seconds; "
                "start it and submit the job again"
            )
        return ""

    def take(self, event: CustodianDeclined | KeyPublished, *, now: datetime) -> None:
        """The custodian's answer to the offer.

        Raises:
            PeerFault, PeerError: the key or its statement fails a check; nothing changed.
        """
        self._require_own(event.custodian)
        if isinstance(event, CustodianDeclined):
            if self._key is None and not self._declined:
                self._ledger.declined(event.custodian, self._stored.digest, event.sentence, now=now)
                self._declined = event.sentence
            return
        self._take_key(event.statement, event.public.read_bytes(), now)

    def _take_key(self, statement: bytes, public: bytes | None, now: datetime) -> None:
        key = read_key_statement(statement, self._judge(now))
        wanted = {
            "federation": self._around.federation,
            "job": self._stored.digest,
            "protection": self._stored.document.protection.value,
            "parameters": job_parameters(self._stored.document).name,
        }
        for field, value in wanted.items():
            if getattr(key, field) != value:
                sentence = f"{self.name} stated a key for another {field} than this job's"
                raise PeerFault(sentence)
        has_scalars = any(names_of(stage.method) for stage in programme(self._stored.document))
        if has_scalars != (key.scalars is not None):
            sentence = f"{self.name} stated a key for scalars where the job has none, or none where it has some"
            raise PeerFault(sentence)
        files = self._files(key, public)
        data = files[0]
        parameters = job_parameters(self._stored.document)
        context = PublicContext.from_bytes(data, parameters=parameters, key_digest=Digest(key.key))
        scalars = None
        if key.scalars is not None:
            scalar_key = Digest(key.scalars.key)
            scalars = PublicContext.from_bytes(files[1], parameters=scalar_parameters(), key_digest=scalar_key)
        if public is not None:
            self._ledger.store_key(self.name, key, statement, files, now=now)
        self._scalar_public = scalars
        self._key, self._statement, self._public = key, statement, context
        self._told, self._waiting_since = None, now

    def _files(self, key: JobKey, published: bytes | None) -> tuple[bytes, ...]:
        """Public key, and of a job with scalars the second one and its evaluation keys, each as it was signed."""
        digests = [key.file]
        if key.scalars is not None:
            digests += [key.scalars.file, key.scalars.evaluation]
        if published is None:
            return tuple(self._ledger.public_key(digest) for digest in digests)
        ends = [len(published)]
        if key.scalars is not None:
            second = len(published) - key.scalars.evaluation_size
            ends = [second - key.scalars.size, second, len(published)]
        starts = [0, *ends[:-1]]
        files = tuple(published[start:end] for start, end in zip(starts, ends, strict=True))
        if ends[0] <= 0 or [sha256_hex(item) for item in files] != digests:
            sentence = f"{self.name} sent another public key than it signed"
            raise PeerFault(sentence)
        return files

    def decorate(self, start: coordination_pb2.RoundStart) -> None:
        """Add the key to what begins a round at a node."""
        if self._key is None:
            return
        start.key_statement = self._statement
        start.key_digest = self._key.file
        start.key_size = self._around.ledger.artefacts.path(self._key.file).stat().st_size

    @property
    def scalar_key(self) -> str:
        """Digest of the job's second public key; empty if it has none."""
        return "" if self._key is None or self._key.scalars is None else self._key.scalars.key

    @property
    def scalar_public(self) -> PublicContext | None:
        """The job's second public key, where its method has scalars."""
        return self._scalar_public

    def evaluation(self) -> EvaluationContext:
        """The keys for products and rotations, read once.

        Raises:
            RefusalError: the job has none.
        """
        if self._evaluation is None:
            key = None if self._key is None else self._key.scalars
            if key is None or self._scalar_public is None:
                sentence = f"{self.name} has made no key for scalars for this job"
                raise RefusalError(sentence)
            data = self._ledger.public_key(key.evaluation)
            digest = Digest(key.evaluation)
            self._evaluation = EvaluationContext.from_bytes(data, public=self._scalar_public, digest=digest)
        return self._evaluation

    def judge(self, now: datetime) -> Judge:
        """Whom the custodian's statements are checked against."""
        return self._judge(now)

    # -- a sum -------------------------------------------------------------------------------------------

    def ask(self, active: SealedRound, *, now: datetime) -> None:
        """See that the custodian has been asked to open the sum of an attempt whose steps are done.

        Raises:
            RefusalError: the custodian was away for too long.
            PeerError: a ciphertext was changed since it arrived.
        """
        address = active.opened.plan.address
        if self._asked != address:
            request = active.request()
            self._ledger.sum_asked(address, request, str(self.key_digest), now=now)
            self._asked, self._told, self._answer = address, None, None
            self._waiting_since, self._pause_until = now, None
        if self._overdue(now):
            sentence = (
                f"the custodian {self.name} did not open the sum of {address} within "
                f"{self._around.settings.custodian_seconds:.0f} seconds; start it and submit the job again"
            )
            raise RefusalError(sentence)
        session = self._around.custodians.get(self.name)
        paused = self._pause_until is not None and now < self._pause_until
        if session is None or session is self._told or paused:
            return
        self._told, self._pause_until = session, None
        session.send(custody_pb2.CustodianTask(open_sum=self._task(active)))

    def declined_sum(self, event: CustodianDeclined, active: SealedRound, *, now: datetime) -> str:
        """Take a refusal to open the sum; the reason if it is one for good.

        Raises:
            RefusalError: that sum is not asked for.
        """
        self._require_asked(event.custodian, event.address, active)
        self._ledger.sum_declined(event.custodian, active.opened.plan.address, event.code, event.sentence, now=now)
        if event.code == LATER:
            self._told, self._pause_until = None, now + _PAUSE
            return ""
        return f"{self.name} does not open the sum: {event.sentence}"

    def deliver(self, event: SumDelivered, active: SealedRound, *, now: datetime) -> None:
        """Take an opened sum.

        Raises:
            RefusalError: that sum is not asked for.
            PeerFault, PeerError: the statement or the words are not what was asked for; nothing changed.
        """
        self._require_asked(event.custodian, event.address, active)
        if self._answer is not None:
            return
        opened = read_sum_statement(event.statement, self._judge(now))
        words = event.opened.read_bytes()
        self._check(opened, words, active)
        vector = RingVector.from_bytes(active.opened.layout, bytearray(words))
        self._answer = _Answer(active.opened.plan.address, vector, opened, event.statement)

    def opened_sum(self, active: SealedRound, *, now: datetime) -> RingSum | None:
        """The sum of an attempt with pads or masks taken out; None while the custodian has not opened it.

        Raises:
            PeerError: it is not a sum of that many contributions.
        """
        answer = self._answer
        if answer is None or answer.address != active.opened.plan.address:
            return None
        self._ledger.sum_opened(self.name, answer.address, answer.opened, answer.statement, now=now)
        self._answer = None
        result = active.driver.result
        return replace(result, words=lift_masks(answer.words, result.words, active.slots))

    def end(self, end: custody_pb2.CustodyEnd) -> None:
        """Tell the custodian that the job has ended, so that it destroys the key."""
        session = self._around.custodians.get(self.name)
        if session is not None:
            session.send(custody_pb2.CustodianTask(job_end=end))

    def require_fetchable(self, custodian: str, address: RoundAddress, active: SealedRound) -> None:
        """Refuse a custodian that wants ciphertexts of another sum than the one it is asked to open.

        Raises:
            RefusalError: it does.
        """
        self._require_asked(custodian, address, active)

    def _check(self, opened: OpenedSum, words: bytes, active: SealedRound) -> None:
        request, address = active.request(), active.opened.plan.address
        wanted = {
            "federation": self._around.federation,
            "job": address.job,
            "stage": address.stage,
            "round": address.round,
            "attempt": address.attempt,
            "request": request.digest().hex(),
            "key": self.key_digest,
            "sum_digest": request.sum_digest.hex(),
            "count": len(request.inputs),
            "opened": hashlib.sha256(words).hexdigest(),
        }
        for field, value in wanted.items():
            if getattr(opened, field) != value:
                sentence = f"{address}: {self.name} states another {field} than the sum that it was asked for has"
                raise PeerFault(sentence)

    def _task(self, active: SealedRound) -> custody_pb2.OpenSum:
        address = active.opened.plan.address
        return custody_pb2.OpenSum(
            address=address_to_wire(address),
            request=active.request().encode(),
            member_certificates=self._around.ledger.roster_certificates(address),
            revocation_list=self._around.trust.revocation_list_pem(),
        )

    def _judge(self, now: datetime) -> Judge:
        trust = self._around.trust
        return Judge(root=trust.root, revocations=trust.revocations, custodian=self.name, now=now)

    def _overdue(self, now: datetime) -> bool:
        return (now - self._waiting_since).total_seconds() >= self._around.settings.custodian_seconds

    def _require_own(self, custodian: str) -> None:
        if custodian != self.name:
            sentence = f"the job names the custodian {self.name}, not {custodian}"
            raise RefusalError(sentence)

    def _require_asked(self, custodian: str, address: RoundAddress | None, active: SealedRound) -> None:
        self._require_own(custodian)
        if address is None or self._asked != address or active.opened.plan.address != address:
            sentence = f"the sum of {address} is not asked for"
            raise RefusalError(sentence)


def custody_end(end: coordination_pb2.JobEnd) -> custody_pb2.CustodyEnd:
    """The end of a job, in the custodian's words."""
    return custody_pb2.CustodyEnd(job=end.job, state=end.state, reason=end.reason, job_record=end.job_record)
