"""The custodian's worker: takes the coordinator's tasks one after the other and answers them.

Rules kept here:

1. A key is stored before it is published, and an opened sum is noted before it leaves.
2. A refusal is an audit entry here and a sentence to the coordinator.
3. When a job ends its secret key is destroyed; without an end, when its days are over.

``Keeper`` has no socket and no thread: the caller feeds tasks and it sends through ``Outbox``.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import structlog

from fedseal.custodian.config import CustodianSettings
from fedseal.custodian.ledger import CustodianLedger
from fedseal.custodian.opening import Asked, Rules, add_signed, check_asked, served_job
from fedseal.custodian.scalars import AskedScalars, check_scalars, open_scalars, roll_of
from fedseal.custodian.vault import KeyLocked, Vault
from fedseal.documents import SignedJob, read_job
from fedseal.errors import PeerFault, PlatformError, RefusalError, RemoteError
from fedseal.foreign import fitted
from fedseal.methods import programme
from fedseal.protection import JobKey, OpenedSum, ScalarKey, job_parameters, sign_key_statement, sign_sum_statement
from fedseal.protection.scalars import names_of, scalar_parameters, sign_roll, sign_scalars
from fedseal.rounds import RoundAddress
from fedseal.trust import Clock, Trust
from fedseal.wire import chunks
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire.custody import address_from_wire, address_to_wire
from fedseal.wire.limits import DOCUMENT_BYTES, REVOCATION_BYTES
from fedseal_crypto.digests import parse_digest, sha256_hex
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import IdentityKey, PartyKind
from fedseal_governance.custody import OpenedScalarsRow, ServedState, SumRefused
from fedseal_governance.errors import GovernanceError, StorageError, TamperError

_log = structlog.get_logger(__name__)

LATER = "Later"
"""Code of a refusal to open a sum now that is none for good."""

_OWN_ERRORS = (PlatformError, CryptoError, GovernanceError)


class Outbox(Protocol):
    """How the keeper reaches the coordinator; ``CustodyConnection`` is the real one."""

    def decline(self, declination: pb.Declination) -> None:
        """Deliver a refusal; returns when it is stored."""
        ...

    def publish_key(self, header: pb.KeyHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        """Upload a public key."""
        ...

    def fetch_ciphertext(self, address: RoundAddress, member: str, *, size: int, target: Path) -> None:
        """Fetch one ciphertext of a sum that is to be opened."""
        ...

    def deliver_sum(self, header: pb.SumHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        """Upload an opened sum."""
        ...

    def deliver_scalars(self, delivery: pb.ScalarDelivery) -> None:
        """Deliver the signed statements of opened scalars."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodianSelf:
    """Who this custodian is and what it works with.

    Attributes:
        certificate: of its identity, PEM; goes with each statement.
        workspace: folder for ciphertexts while they are added.
    """

    name: str
    federation: str
    key: IdentityKey
    certificate: bytes
    trust: Trust
    ledger: CustodianLedger
    vault: Vault
    settings: CustodianSettings
    workspace: Path
    clock: Clock

    @property
    def rules(self) -> Rules:
        """What sums are checked by."""
        return Rules(federation=self.federation, trust=self.trust, ledger=self.ledger, clock=self.clock)


class Keeper:
    """One custodian's answers to one coordinator. Used by one thread."""

    def __init__(self, me: CustodianSelf, outbox: Outbox) -> None:
        self._me = me
        self._outbox = outbox

    def renew(self, me: CustodianSelf) -> None:
        """Sign with other keys from now on."""
        self._me = me

    def handle(self, task: pb.CustodianTask) -> None:
        """Answer one task; one that cannot be understood is logged and left unanswered.

        Raises:
            StorageError: the custodian's database cannot be written; nothing was answered.
            TamperError: its own records were changed.
            RemoteError: the coordinator does not take the answer.
        """
        try:
            self._take(task)
        except (StorageError, TamperError, RemoteError):
            raise
        except _OWN_ERRORS as error:
            kind = task.WhichOneof("kind")
            _log.warning("task ignored", kind=kind, code=type(error).__name__, sentence=str(error))

    def tidy(self) -> None:
        """Destroy keys whose days are over, and files of keys that no job has.

        Raises:
            StorageError: the custodian's database cannot be written.
        """
        me = self._me
        now = me.clock()
        live = {row.digest: row for row in me.ledger.live_jobs()}
        for job in me.vault.jobs() - live.keys():
            me.vault.destroy(job)  # made, but the process ended before the job was stored
        for job, row in live.items():
            if not me.vault.has(job):
                me.ledger.destroyed(job, outcome="its sealed file was not there any more", now=now)
            elif now - row.decided_at >= timedelta(days=me.settings.key_days):
                self._destroy(job, f"its {me.settings.key_days} days were over")

    def _take(self, task: pb.CustodianTask) -> None:
        kind = task.WhichOneof("kind")
        match kind:
            case "welcome":
                self._meet(task.welcome)
            case "job_offer":
                self._consider(task.job_offer)
            case "open_sum":
                self._open(task.open_sum)
            case "open_scalars":
                self._open_scalars(task.open_scalars)
            case "job_end":
                self._end(task.job_end)
            case _:
                _log.warning("unknown task; is the coordinator a newer release?", kind=kind)

    def _meet(self, welcome: pb.CustodyWelcome) -> None:
        self._take_revocations(welcome.revocation_list)
        coordinator = self._me.trust.identity(welcome.coordinator_certificate.encode())
        if coordinator.kind is not PartyKind.COORDINATOR:
            sentence = f"{coordinator.label} is not a coordinator; check the address this custodian connects to"
            raise PeerFault(sentence)

    # -- keys ----------------------------------------------------------------------------------------------

    def _consider(self, offer: pb.CustodyOffer) -> None:
        try:
            signed = self._read(offer)
        except StorageError:
            raise
        except _OWN_ERRORS as error:
            self._decline(offer.job, error)
            return
        try:
            self._decide(signed)
            self._require_served(signed)
            self._publish(signed)
        except (StorageError, RemoteError):
            raise
        except _OWN_ERRORS as error:
            self._decline(signed.digest, error)

    def _read(self, offer: pb.CustodyOffer) -> SignedJob:
        if len(offer.document) > DOCUMENT_BYTES:
            sentence = "the offered job is larger than any job file can be"
            raise PeerFault(sentence)
        trust = self._me.trust
        signed = read_job(offer.document, root=trust.root, revocations=trust.revocations, now=self._me.clock())
        if signed.document.custodian != self._me.name:
            sentence = f"the job names the custodian {signed.document.custodian}, and this is {self._me.name}"
            raise RefusalError(sentence)
        return signed

    def _decide(self, signed: SignedJob) -> None:
        """Decide once, by this custodian's own policy; make and store the key if it serves the job."""
        me = self._me
        if me.ledger.served(signed.digest) is not None:
            return
        now = me.clock()
        judgement = me.ledger.judge(signed, now=now)
        if judgement.refusals:
            me.ledger.store_refusal(signed, judgement, now=now)
            return
        secret = me.vault.create(signed.digest, job_parameters(signed.document))
        statement = JobKey(
            federation=me.federation,
            job=signed.digest,
            protection=signed.document.protection.value,
            parameters=secret.parameters.name,
            key=secret.public.key_digest,
            file=sha256_hex(secret.public.to_bytes()),
            at=now.isoformat(timespec="milliseconds"),
            scalars=self._scalar_key(signed),
        )
        envelope = sign_key_statement(statement, key=me.key, certificate_pem=me.certificate)
        me.ledger.store_key(signed, judgement, key=secret.public.key_digest, statement=envelope, now=now)
        _log.info("key made", job=signed.digest[:12], name=signed.document.job, key=secret.public.key_digest[:12])

    def _scalar_key(self, signed: SignedJob) -> ScalarKey | None:
        """Make and store the second key, if the job's method has scalars."""
        if not any(names_of(stage.method) for stage in programme(signed.document)):
            return None
        secret = self._me.vault.create(signed.digest, scalar_parameters(), scalars=True)
        public, evaluation = secret.public.to_bytes(), secret.evaluation_keys()
        return ScalarKey(
            parameters=secret.parameters.name,
            key=secret.public.key_digest,
            file=sha256_hex(public),
            size=len(public),
            evaluation=sha256_hex(evaluation),
            evaluation_size=len(evaluation),
        )

    def _require_served(self, signed: SignedJob) -> None:
        row = self._me.ledger.served(signed.digest)
        if row is not None and row.state is ServedState.REFUSED:
            refusals = [item for item in json.loads(row.reasons) if not item["allowed"]]
            raise RefusalError(" ".join(f"[{item['clause']}] {item['sentence']}" for item in refusals))

    def _publish(self, signed: SignedJob) -> None:
        me = self._me
        _, row, _ = served_job(signed.digest, me.rules)
        public = me.vault.public(signed.digest)
        header = pb.KeyHeader(job=signed.digest, statement=row.statement or b"", size=len(public))
        self._outbox.publish_key(header, lambda: chunks.split(public))

    def _end(self, end: pb.CustodyEnd) -> None:
        job = parse_digest(end.job)
        row = self._me.ledger.served(job)
        if row is not None and row.state is ServedState.SERVED:
            self._destroy(job, f"{end.state}: {end.reason}" if end.reason else end.state)

    def _destroy(self, job: str, outcome: str) -> None:
        self._me.vault.destroy(job)
        self._me.ledger.destroyed(job, outcome=outcome, now=self._me.clock())
        _log.info("key destroyed", job=job[:12], outcome=outcome)

    def _decline(self, job: str, error: Exception) -> None:
        sentence = fitted(str(error))
        _log.warning("job not served", job=job[:12], code=type(error).__name__, sentence=sentence)
        self._outbox.decline(pb.Declination(job=job, code=type(error).__name__, sentence=sentence))

    # -- sums ----------------------------------------------------------------------------------------------

    def _open(self, task: pb.OpenSum) -> None:
        address = address_from_wire(task.address)
        try:
            self._take_revocations(task.revocation_list)
            header, words = self._opened(Asked.from_wire(task))
        except (StorageError, RemoteError):
            raise
        except _OWN_ERRORS as error:
            self._refuse(address, error)
            return
        self._outbox.deliver_sum(header, lambda: chunks.split(words))
        _log.info("sum opened", round=str(address))

    def _opened(self, asked: Asked) -> tuple[pb.SumHeader, bytes]:
        me, address = self._me, asked.address
        served_job(address.job, me.rules)
        secret = me.vault.secret(address.job)
        openable = check_asked(asked, secret.public, me.rules)
        total = add_signed(openable, secret.public, self._fetch)
        words = secret.decrypt_sum(total, plan=openable.plan, count=openable.count).to_bytes()
        now, stored = me.clock(), openable.as_stored()
        opened = hashlib.sha256(words).hexdigest()
        key = secret.public.key_digest
        me.ledger.note_opened(stored, openable.protection, key=key, opened=opened, now=now)
        statement = OpenedSum(
            federation=me.federation,
            job=address.job,
            stage=address.stage,
            round=address.round,
            attempt=address.attempt,
            request=stored.request,
            key=key,
            sum=stored.sum_digest,
            count=openable.count,
            opened=opened,
            at=now.isoformat(timespec="milliseconds"),
        )
        envelope = sign_sum_statement(statement, key=me.key, certificate_pem=me.certificate)
        header = pb.SumHeader(
            address=address_to_wire(address), request=stored.request, statement=envelope, size=len(words)
        )
        return header, words

    def _open_scalars(self, task: pb.OpenScalars) -> None:
        address = address_from_wire(task.address)
        try:
            self._take_revocations(task.revocation_list)
            delivery = self._opened_scalars(AskedScalars.from_wire(task))
        except (StorageError, RemoteError):
            raise
        except _OWN_ERRORS as error:
            self._refuse(address, error)
            return
        self._outbox.deliver_scalars(delivery)
        _log.info("scalars opened", round=str(address))

    def _opened_scalars(self, asked: AskedScalars) -> pb.ScalarDelivery:
        me, address = self._me, asked.asked.address
        served_job(address.job, me.rules)
        secret, scalars = me.vault.secret(address.job), me.vault.scalar_secret(address.job)
        openable = check_scalars(asked, secret.public, scalars.public, me.rules)
        now = me.clock()
        known = me.ledger.scalars_answered(asked.key, asked.request, openable.protection, now=now)
        if known is not None:
            return pb.ScalarDelivery.FromString(known)
        opened = open_scalars(asked, scalars, self._fetch, federation=me.federation, now=now)
        signed = [sign_scalars(item, key=me.key, certificate_pem=me.certificate) for item in opened]
        roll = sign_roll(roll_of(asked, federation=me.federation), key=me.key, certificate_pem=me.certificate)
        delivery = pb.ScalarDelivery(address=address_to_wire(address), statements=signed, roll=roll)
        row = OpenedScalarsRow(
            job=address.job,
            stage=address.stage,
            round=address.round,
            attempt=address.attempt,
            request=asked.request,
            numbers=sum(len(item.values) for item in opened),
            answer=delivery.SerializeToString(deterministic=True),
            at=now,
        )
        details = {
            "terms": opened[0].terms,
            "names": sorted({name for item in opened for name in item.values}),
            "members": [item.node for item in opened],
            "statements": [sha256_hex(item) for item in signed],
        }
        me.ledger.note_scalars(row, openable.protection, key=scalars.public.key_digest, details=details)
        return delivery

    def _fetch(self, address: RoundAddress, member: str, size: int) -> Path:
        target = self._me.workspace / "ciphertext.part"
        self._outbox.fetch_ciphertext(address, member, size=size, target=target)
        return target

    def _refuse(self, address: RoundAddress, error: Exception) -> None:
        code = LATER if isinstance(error, KeyLocked | SumRefused) and _may_change(error) else type(error).__name__
        sentence = fitted(str(error))
        _log.warning("sum not opened", round=str(address), code=code, sentence=sentence)
        self._me.ledger.sum_refused(address, error, now=self._me.clock())
        self._outbox.decline(
            pb.Declination(job=address.job, address=address_to_wire(address), code=code, sentence=sentence)
        )

    def _take_revocations(self, crl_pem: bytes) -> None:
        if not crl_pem or len(crl_pem) > REVOCATION_BYTES:
            sentence = "the coordinator sent no revocation list, or one larger than any can be"
            raise PeerFault(sentence)
        if self._me.trust.update(crl_pem):
            _log.info("revocation list taken over", number=self._me.trust.revocations.number)


def _may_change(error: KeyLocked | SumRefused) -> bool:
    """Whether asking again later may help."""
    return isinstance(error, KeyLocked) or error.later
