"""The node's worker: takes the coordinator's instructions one after the other and answers them.

Rules kept here:

1. What leaves the node is stored as leaving before it leaves (``AttemptLedger``), so a restart never answers twice;
   the shares that open a sum are stored themselves, so that a restart can send the same ones again.
2. A refusal of this node's own is an audit entry here, a sentence to the coordinator, and the end of the attempt.
3. The protocol's secrets of an attempt live in this object only and are forgotten when it ends.

``Agent`` has no socket and no thread: the caller feeds instructions and it sends through ``Outbox``.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from fedseal.documents import read_job
from fedseal.errors import PeerFault, PlatformError, RemoteError
from fedseal.foreign import fitted
from fedseal.node.local_state import NO_VECTOR
from fedseal.node.opening import (
    Fetching,
    NodeSelf,
    OpenedAttempt,
    RoundOffer,
    accepted_job,
    check_earlier_attempts,
    open_attempt,
)
from fedseal.node.scalars import ScalarsWrong, ScalarWatch
from fedseal.node.sealed import KeyChecks
from fedseal.node.witness import Witness
from fedseal.protection import ScalarKey
from fedseal.protection.statements import STATEMENT_BYTES
from fedseal.rounds import RoundAddress
from fedseal.wire import chunks
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.limits import DOCUMENT_BYTES, FEDERATION_POLICIES, MASKING_MESSAGE_BYTES, REVOCATION_BYTES
from fedseal.wire.status import CallRefused
from fedseal_crypto.custody import CommitmentList, SealedClient, SealedState
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.masking import (
    ClientId,
    ClientState,
    Confirmations,
    DecodeLimits,
    MaskedInput,
    Openings,
    Roster,
    ServerMessage,
    ShareDelivery,
    Survivors,
    decode_message,
)
from fedseal_crypto.notes import NoteVerifier, log_origin
from fedseal_governance.errors import GovernanceError, StorageError, TamperError
from fedseal_governance.participation import NodeJobRow, NodeJobState

_log = structlog.get_logger(__name__)

_STRANGE_REFUSALS = 100
"""Refusals of jobs never offered that are noted; beyond, a coordinator could fill this node's log with them."""

_OVER = frozenset({ClientState.UNMASKED, ClientState.ABANDONED, SealedState.SENT, SealedState.ABANDONED})
_OWN_ERRORS = (PlatformError, CryptoError, GovernanceError)


class Outbox(Protocol):
    """How the agent reaches the coordinator; ``CoordinatorConnection`` is the real one."""

    def report(self, report: pb.NodeReport) -> None:
        """Deliver a report; returns when it is stored."""
        ...

    def contribute(self, header: pb.ContributionHeader, pieces: Callable[[], Iterator[bytes]]) -> None:
        """Upload a masked vector."""
        ...

    def download(self, *, digest: str, job: str, size: int, target: Path) -> None:
        """Fetch an artefact and check its digest."""
        ...


@dataclass(slots=True)
class _Current:
    """The attempt this node is in."""

    address: RoundAddress
    opened: OpenedAttempt
    last: bytes = b""


class Agent:
    """One node's answers to one coordinator. Used by one thread."""

    def __init__(self, me: NodeSelf, outbox: Outbox, witness: Witness, *, session: bytes, workspace: Path) -> None:
        self._me = me
        self._outbox = outbox
        self._witness = witness
        self._session = session
        self._workspace = workspace
        self._current: _Current | None = None
        self._watch: ScalarWatch | None = None
        self._strange_refusals = 0
        self._doubted: set[str] = set()

    def renew(self, me: NodeSelf) -> None:
        """Go on with another key; an attempt under way keeps the one it began with."""
        self._me = me
        self._witness.renew(me.key)

    def handle(self, instruction: pb.Instruction) -> None:
        """Answer one instruction; one that cannot be understood is logged and left unanswered.

        Raises:
            StorageError: the node's database cannot be written; nothing was answered.
            TamperError: the node's own records were changed.
            CallRefused: the coordinator does not take the answer.
        """
        try:
            self._take(instruction)
        except (StorageError, TamperError, RemoteError):
            raise
        except _OWN_ERRORS as error:
            kind = instruction.WhichOneof("kind")
            _log.warning("instruction ignored", kind=kind, code=type(error).__name__, sentence=str(error))

    def _take(self, instruction: pb.Instruction) -> None:
        kind = instruction.WhichOneof("kind")
        match kind:
            case "welcome":
                self._meet(instruction.welcome)
            case "job_offer":
                self._consider(instruction.job_offer)
            case "round_start":
                self._enter_round(instruction.round_start)
            case "masking_step":
                self._step(instruction.masking_step)
            case "own_scalars":
                self._compare(instruction.own_scalars)
            case "round_end":
                self._leave_round(instruction.round_end)
            case "job_end":
                self._end_job(instruction.job_end)
            case "federation_policies":
                self._take_policies(instruction.federation_policies)
            case _:
                _log.warning("unknown instruction; is the coordinator a newer release?", kind=kind)

    def _meet(self, welcome: pb.Welcome) -> None:
        self._take_revocations(welcome.revocation_list)
        coordinator = self._me.trust.identity(welcome.coordinator_certificate.encode())
        if coordinator.kind is not PartyKind.COORDINATOR:
            sentence = f"{coordinator.label} is not a coordinator; check the address this node connects to"
            raise PeerFault(sentence)
        self._witness.watch(
            NoteVerifier(name=log_origin(coordinator.federation, coordinator.name), public=coordinator.public)
        )
        self._send_answers_again()

    def _send_answers_again(self) -> None:
        """Send shares that an earlier process of this node released, in case they never arrived.

        They have left this node as far as anybody must assume, so sending the same bytes again reveals nothing, and a
        round that lacks them is lost.
        """
        for address, answer in self._me.ledger.attempts.open_answers():
            if self._current is not None and self._current.address == address:
                continue  # the coordinator asks this process again if it needs to
            try:
                self._send_message(address, answer)
            except CallRefused as error:
                _log.info("released shares not taken", round=str(address), sentence=str(error))
            else:
                self._me.ledger.attempts.answer_settled(address)
                _log.info("released shares sent again", round=str(address))

    def _take_policies(self, handed_out: pb.FederationPolicies) -> None:
        """Pin what verifies; what does not is noted once and left out, which never allows more."""
        if len(handed_out.policies) > FEDERATION_POLICIES:
            sentence = f"the coordinator hands out {len(handed_out.policies)} policies, more than {FEDERATION_POLICIES}"
            raise PeerFault(sentence)
        for policy in handed_out.policies:
            if max(len(policy.document), len(policy.revocation)) > DOCUMENT_BYTES:
                sentence = "a policy of the federation is larger than any policy file can be"
                raise PeerFault(sentence)
            try:
                self._me.ledger.pin_policy(policy, now=self._me.clock())
            except (StorageError, TamperError):
                raise
            except _OWN_ERRORS as error:
                self._doubt_policy(policy, error)

    def _doubt_policy(self, policy: pb.FederationPolicy, error: Exception) -> None:
        digest = sha256_hex(policy.document)
        _log.warning("policy of the federation refused", envelope=digest[:12], sentence=str(error))
        if digest not in self._doubted and len(self._doubted) < _STRANGE_REFUSALS:
            self._doubted.add(digest)
            self._me.ledger.policy_refused(digest, error, now=self._me.clock())

    # -- jobs ------------------------------------------------------------------------------------------

    def _consider(self, offer: pb.JobOffer) -> None:
        try:
            if len(offer.document) > DOCUMENT_BYTES:
                sentence = "the offered job is larger than any job file can be"
                raise PeerFault(sentence)
            trust = self._me.trust
            now = self._me.clock()
            signed = read_job(offer.document, root=trust.root, revocations=trust.revocations, now=now)
            row = self._me.ledger.decide_offer(signed, now=now)
        except StorageError:
            raise
        except _OWN_ERRORS as error:
            reason = pb.Reason(clause="document", sentence=fitted(str(error)), allowed=False)
            self._report(verdict=pb.JobVerdict(job=offer.job, accepted=False, reasons=[reason]))
            return
        _log.info("job decided", job=signed.digest[:12], name=signed.document.job, state=row.state.value)
        self._report(verdict=verdict_of(row, self._me.ledger.federation_policies_of(row.digest)))

    def _end_job(self, end: pb.JobEnd) -> None:
        outcome = f"{end.state}: {end.reason}" if end.reason else end.state
        if self._me.ledger.known_job(end.job) is not None:
            self._me.ledger.end_job(end.job, outcome=outcome, record=end.job_record, now=self._me.clock())
            self._me.local_states.forget(end.job)
        if self._current is not None and self._current.address.job == end.job:
            self._forget()
        self._witness.look()
        _log.info("job ended", job=end.job[:12], outcome=outcome)

    # -- rounds ----------------------------------------------------------------------------------------

    def _enter_round(self, start: pb.RoundStart) -> None:
        address = RoundAddress.from_wire(start.address)
        current = self._current
        if current is not None and current.address == address:
            self._send_message(address, current.opened.advertisement)
            return
        self._forget()
        with self._refusing(address):
            self._take_revocations(start.revocation_list)
            offer = RoundOffer.from_wire(start)
            fetching = Fetching(
                broadcast=lambda: self._fetch(offer),
                key=lambda: self._fetch_key(offer),
                scalar_key=lambda key: self._fetch_scalar_key(offer, key),
            )
            opened = open_attempt(offer, fetching, self._me)
            self._current = _Current(address, opened)
            _log.info("round entered", round=str(address), members=len(offer.parameters.roster))
            self._send_message(address, opened.advertisement)

    def _step(self, step: pb.MaskingStep) -> None:
        address = RoundAddress.from_wire(step.address)
        current = self._current
        if current is None or current.address != address:
            _log.info("instruction for another attempt ignored", round=str(address))
            return
        with self._refusing(address):
            if len(step.payload) > MASKING_MESSAGE_BYTES:
                sentence = f"{address}: a masking message is larger than any can be"
                raise PeerFault(sentence)
            repeated = step.payload == current.last
            if isinstance(current.opened.client, SealedClient):
                send = self._answer_sealed(current, current.opened.client, step.payload)
            else:
                send = self._answer(current, self._decoded(current, step.payload), repeated=repeated)
            current.last = step.payload  # made and stored, whatever becomes of sending it
            send()

    def _decoded(self, current: _Current, payload: bytes) -> ServerMessage:
        members = len(current.opened.offer.parameters.roster)
        message = decode_message(payload, DecodeLimits(members=members, message_bytes=MASKING_MESSAGE_BYTES))
        if not isinstance(message, ServerMessage):
            sentence = f"{current.address}: a {type(message).__name__} is not a message for a node"
            raise PeerFault(sentence)
        return message

    def _answer_sealed(self, current: _Current, client: SealedClient, payload: bytes) -> Callable[[], None]:
        """Send the ciphertext that this node committed to, once enough others are committed too."""
        opened, address = current.opened, current.address
        commitments = CommitmentList.decode(payload, members=len(opened.offer.parameters.roster))
        again = client.state is SealedState.SENT
        parcel = client.send(commitments)
        if not again:
            members = [item.client for item in commitments.commitments]
            self._me.ledger.attempts.ciphertext_released(address, members, parcel.sealed, now=self._me.clock())
            if opened.scalars is not None:
                self._watch = ScalarWatch.after(address, opened.scalars, opened.ciphertext)
        return partial(self._upload, address, parcel.encode(), opened.ciphertext)

    def _answer(self, current: _Current, message: ServerMessage, *, repeated: bool) -> Callable[[], None]:
        """Make and store the answer to a step; returns what sends it."""
        opened, address = current.opened, current.address
        client = opened.client
        if isinstance(client, SealedClient):
            sentence = f"{address}: a {type(message).__name__} is no message of a round under a custodian's key"
            raise PeerFault(sentence)
        match message:
            case ShareDelivery():
                answer = client.answer(message, None if repeated else opened.work())
            case Survivors():
                earlier = self._me.ledger.attempts.earlier_sums(address, opened.compared)
                answer = client.answer(message, earlier=earlier)
                names = _survivor_names(message, opened.offer.parameters.roster)
                self._me.ledger.attempts.confirm_survivors(address, names, opened.compared, earlier=earlier)
            case _:
                answer = client.answer(message)
        if isinstance(answer, MaskedInput):
            if opened.seal is not None:
                parcel, bundle = opened.seal.masked(answer)
                return partial(self._upload, address, parcel.encode(), bundle)
            return partial(self._upload, address, answer.header.encode(), answer.words.buffer)
        if isinstance(message, (Roster, Openings)):
            check_earlier_attempts(opened, self._me)
        if isinstance(message, Confirmations) and not repeated:
            self._me.ledger.attempts.unmask_released(address, answer.encode(), now=self._me.clock())
        return partial(self._send_message, address, answer.encode())

    def _compare(self, own: pb.OwnScalars) -> None:
        """Compare the numbers that were opened about this node with its own vector."""
        address, watch, me = RoundAddress.from_wire(own.address), self._watch, self._me
        if watch is None or watch.address != address:
            return  # compared before, or of a process of this node that is gone with its vector
        try:
            if max(len(own.statement), len(own.roll)) > STATEMENT_BYTES:
                raise ScalarsWrong(f"{address}: a statement of scalars is larger than any can be")
            signed = accepted_job(address.job, me)
            checks = KeyChecks(federation=me.federation, trust=me.trust, clock=me.clock)
            custodian = str(signed.document.custodian)
            if own.roll and not own.statement:
                watch.check_absent(own.roll, custodian=custodian, name=me.name, checks=checks)
            else:
                watch.check(own.statement, custodian=custodian, name=me.name, checks=checks)
        except StorageError:
            raise
        except _OWN_ERRORS as error:
            self._distrust(address, error)
        else:
            self._watch = None
            if watch.scalars.asked.keep:
                me.local_states.keep_vector(address, watch.kept if own.statement else NO_VECTOR)
            me.ledger.attempts.scalars_right(address, sha256_hex(own.statement or own.roll), now=me.clock())

    def _distrust(self, address: RoundAddress, error: Exception) -> None:
        """Take no further part in a job, with what speaks against its coordinator in the log."""
        self._watch = None
        evidence = error.evidence if isinstance(error, ScalarsWrong) else b""
        self._me.ledger.attempts.scalars_wrong(address, error, evidence, now=self._me.clock())
        outcome = f"this node takes no further part: {error}"
        self._me.ledger.end_job(address.job, outcome=outcome, record=b"", now=self._me.clock())
        self.refuse(address, error)

    def _leave_round(self, end: pb.RoundEnd) -> None:
        address = RoundAddress.from_wire(end.address)
        if end.completed and self._watch is not None and self._watch.address == address:
            sentence = f"{address}: the round is complete and nobody told this node which numbers were opened about it"
            self._distrust(address, ScalarsWrong(sentence))
        self._me.ledger.attempts.round_ended(address, completed=end.completed)
        kept = end.completed and self._me.name in end.survivors
        # also of an attempt that an earlier process of this node was in
        self._me.local_states.settle(address, keep=kept)
        current = self._current
        if current is not None and current.address == address:
            self._forget()
            self._witness.look()
        _log.info("round ended", round=str(address), completed=end.completed, reason=end.reason or None)

    def _forget(self) -> None:
        """Drop the attempt with its secrets."""
        if self._current is not None:
            client = self._current.opened.client
            if client.state not in _OVER:
                client.abandon()
            self._current = None

    # -- helpers ---------------------------------------------------------------------------------------

    def _fetch(self, offer: RoundOffer) -> bytes:
        target = self._workspace / "broadcast.part"
        digest = offer.parameters.broadcast_digest
        self._outbox.download(digest=digest, job=offer.address.job, size=offer.broadcast_size, target=target)
        try:
            return target.read_bytes()
        finally:
            target.unlink(missing_ok=True)

    def _fetch_key(self, offer: RoundOffer) -> bytes:
        if offer.key is None:
            sentence = f"{offer.address}: the coordinator offers no key"
            raise PeerFault(sentence)
        target = self._workspace / "key.part"
        self._outbox.download(digest=offer.key.file, job=offer.address.job, size=offer.key.size, target=target)
        try:
            return target.read_bytes()
        finally:
            target.unlink(missing_ok=True)

    def _fetch_scalar_key(self, offer: RoundOffer, key: ScalarKey) -> bytes:
        target = self._workspace / "key.part"
        self._outbox.download(digest=key.file, job=offer.address.job, size=key.size, target=target)
        try:
            return target.read_bytes()
        finally:
            target.unlink(missing_ok=True)

    def _take_revocations(self, crl_pem: bytes) -> None:
        if not crl_pem or len(crl_pem) > REVOCATION_BYTES:
            sentence = "the coordinator sent no revocation list, or one larger than any can be"
            raise PeerFault(sentence)
        if self._me.trust.update(crl_pem):
            _log.info("revocation list taken over", number=self._me.trust.revocations.number)

    def _send_message(self, address: RoundAddress, payload: bytes) -> None:
        self._report(message=pb.MaskingStep(address=address.to_wire(), payload=payload))

    def _upload(self, address: RoundAddress, message: bytes, data: bytes | memoryview) -> None:
        header = pb.ContributionHeader(
            session=self._session, address=address.to_wire(), message=message, size=len(data)
        )
        self._outbox.contribute(header, lambda: chunks.split(data))

    def _report(
        self,
        *,
        verdict: pb.JobVerdict | None = None,
        message: pb.MaskingStep | None = None,
        refusal: pb.RoundRefusal | None = None,
    ) -> None:
        self._outbox.report(pb.NodeReport(session=self._session, verdict=verdict, message=message, refusal=refusal))

    def _refusing(self, address: RoundAddress) -> "_Refusing":
        return _Refusing(self, address)

    def refuse(self, address: RoundAddress, error: Exception) -> None:
        """End an attempt by this node's own decision: note it, tell the coordinator, forget the secrets."""
        sentence = fitted(str(error))
        code = type(error).__name__
        _log.warning("round refused", round=str(address), code=code, sentence=sentence)
        self._forget()  # before anything that can fail
        known = self._me.ledger.known_job(address.job) is not None
        if known or self._strange_refusals < _STRANGE_REFUSALS:
            self._me.ledger.attempts.refused(address, error, now=self._me.clock())
        if known:
            self._me.ledger.attempts.round_ended(address, completed=False)
        else:
            self._strange_refusals += 1
        self._me.local_states.settle(address, keep=False)
        wire = pb.RoundRefusal(address=address.to_wire(), code=code, sentence=sentence)
        try:
            self._report(refusal=wire)
        except CallRefused as refused:
            _log.info("the coordinator no longer wants the refusal", sentence=str(refused))


class _Refusing:
    """Turns an error inside a round into this node's refusal of the attempt."""

    def __init__(self, agent: Agent, address: RoundAddress) -> None:
        self._agent = agent
        self._address = address

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, CallRefused):
            # the coordinator moved on, for example because this node was too slow: nothing to refuse any more
            _log.info("the coordinator refused", round=str(self._address), sentence=str(error))
            return True
        if isinstance(error, StorageError) or not isinstance(error, _OWN_ERRORS):
            return False
        self._agent.refuse(self._address, error)
        return True


def _survivor_names(message: Survivors, roster: tuple[ClientId, ...]) -> tuple[ClientId, ...]:
    """The members in a bitmap that the protocol has already checked: bit i is the i-th of the sorted roster."""
    bits = int.from_bytes(message.survivors, "little")
    return tuple(client for index, client in enumerate(roster) if bits >> index & 1)


def verdict_of(row: NodeJobRow, federation_policies: Sequence[str] = ()) -> pb.JobVerdict:
    """A stored decision as a message."""
    reasons = [pb.Reason(**item) for item in json.loads(row.reasons)]
    accepted = row.state is not NodeJobState.REFUSED
    return pb.JobVerdict(
        job=row.digest,
        accepted=accepted,
        reasons=reasons,
        policy=row.policy,
        federation_policies=federation_policies,
    )


__all__ = ["Agent", "Outbox", "verdict_of"]
