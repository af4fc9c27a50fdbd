"""Honest nodes as the coordinator sees them, and a play of a whole job with them, operation by operation."""

import os
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fedseal.coordinator.attendance import Session
from fedseal.coordinator.intake import (
    ContributionArrived,
    Event,
    MessageReported,
    NodeArrived,
    NodeLeft,
    RoundRefused,
    VerdictReported,
)
from fedseal.errors import PlatformError
from fedseal.learning import LocalData, job_data, load_dataset
from fedseal.methods import NOTHING, NodeContext, contribute, node_seed, programme, stage_plan, unpack_broadcast
from fedseal.protection import round_layout
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import Digest
from fedseal_crypto.dsse import SignedDocument, sign_document
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.masking import (
    ClientLimits,
    MaskedInput,
    MaskingClient,
    RoundParameters,
    ServerMessage,
    ShareDelivery,
    Step,
    decode_message,
)
from fedseal_governance.datasets import load_schema
from fedseal_governance.errors import GovernanceError, StorageError
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.policy.store import POLICY_TYPE
from tests.unit.coordinator.process import Process
from tests.unit.node.papers import DATASET, SCHEMA, policy_with, table_of
from tests.unit.node.parties import OFFICERS, Consortium

RoundEvent = MessageReported | ContributionArrived | RoundRefused


def signed_policy(consortium: Consortium, content: bytes) -> bytes:
    """A policy file with an officer's signature, as a node shows it when it attends."""
    officer = consortium.parties[OFFICERS[0]]
    return sign_document(POLICY_TYPE, content, key=officer.key, certificate_pem=officer.identity_pem).to_json()


def rows_of(name: str, folder: Path) -> LocalData:
    """A node's table, loaded."""
    path = folder / f"{name}.csv"
    path.write_bytes(table_of(name))
    return load_dataset(path, load_schema(SCHEMA, "schema.yaml"))


@dataclass(slots=True)
class _Round:
    """The attempt that a member is in."""

    address: RoundAddress
    client: MaskingClient
    advertisement: bytes
    parameters: RoundParameters
    broadcast: bytes


@dataclass(slots=True)
class Member:
    """One honest node's process.

    Attributes:
        accepts: its answer to every job.
        silent: whether it reads everything and says nothing.
        refuses: called with each new attempt; a sentence makes it refuse that attempt.
        stream: the instruction stream that is open now, None while it is away.
        inbox: instructions that were read from a stream and not yet answered.
    """

    name: str
    consortium: Consortium
    process: Process
    rows: LocalData
    accepts: bool = True
    silent: bool = False
    refuses: Callable[[RoundAddress], str] = field(default=lambda _address: "")
    stream: Session | None = None
    inbox: deque[pb.Instruction] = field(default_factory=deque)
    session: bytes = field(default_factory=lambda: os.urandom(16))
    jobs: dict[str, JobDocument] = field(default_factory=dict)
    ended: dict[str, pb.JobEnd] = field(default_factory=dict)
    round_ends: list[pb.RoundEnd] = field(default_factory=list)
    sent: list[Event] = field(default_factory=list)
    _round: _Round | None = None
    _given_up: dict[tuple[str, str, int], list[bytes]] = field(default_factory=dict)

    # -- presence --------------------------------------------------------------------------------------

    def attend(self, **changed: object) -> Session:
        """Open the instruction stream; the same process comes back with the same session."""
        party = self.consortium.parties[self.name]
        fields: dict[str, object] = {
            "member": party.member,
            "identity_pem": party.identity_pem,
            "session": self.session,
            "since": self.process.clock(),
            "policies": (signed_policy(self.consortium, policy_with()),),
            "datasets": {DATASET: SCHEMA},
            "software": "test",
            "open_jobs": tuple(Digest(job) for job in self.jobs if job not in self.ended),
        }
        self.stream = Session(**{**fields, **changed})  # type: ignore[arg-type]  # fields by name
        self.process.engine.put(NodeArrived(self.stream))
        return self.stream

    def leave(self) -> None:
        """The stream breaks."""
        if self.stream is not None:
            self.stream.close()
            self.process.engine.put(NodeLeft(self.stream))
            self.stream = None

    def restart(self) -> None:
        """The process ends and another one starts: what it knew of rounds is lost."""
        self.leave()
        self.inbox.clear()
        self.session = os.urandom(16)
        if self._round is not None:
            self._give_up(self._round)
        self._round = None
        self.attend()

    # -- instructions ----------------------------------------------------------------------------------

    def read(self) -> deque[pb.Instruction]:
        """Take what has come down the stream into the inbox."""
        if self.stream is not None:
            while not self.stream.outbox.empty():
                item = self.stream.outbox.get_nowait()
                if item is not None:
                    self.inbox.append(item)
        return self.inbox

    def answer(self, instruction: pb.Instruction) -> Event | None:
        """What the node does about an instruction; None if there is nothing to send."""
        if self.silent:
            return None
        match instruction.WhichOneof("kind"):
            case "job_offer":
                return self._verdict(instruction.job_offer)
            case "round_start":
                return self._enter(instruction.round_start)
            case "masking_step":
                return self._step(instruction.masking_step)
            case "round_end":
                self._leave_round(instruction.round_end)
            case "job_end":
                self.ended[instruction.job_end.job] = instruction.job_end
        return None

    def _verdict(self, offer: pb.JobOffer) -> Event:
        self.jobs[offer.job] = load_job(SignedDocument.from_json(offer.document).payload, "job")
        reasons = [] if self.accepts else [pb.Reason(clause="purposes", sentence="Not here.", allowed=False)]
        verdict = pb.JobVerdict(job=offer.job, accepted=self.accepts, reasons=reasons, policy="ab" * 32)
        return VerdictReported(node=self.name, verdict=verdict)

    def _enter(self, start: pb.RoundStart) -> Event:
        address = RoundAddress.from_wire(start.address)
        if self._round is None or self._round.address != address:
            if self._round is not None:
                self._give_up(self._round)
            sentence = self.refuses(address)
            if sentence:
                self._round = None
                return RoundRefused(
                    node=self.name, session=self.session, address=address, code="RefusalError", sentence=sentence
                )
            parameters = RoundParameters.decode(start.parameters)
            members = {name: self.consortium.parties[name].member.public for name in parameters.roster}
            key = self.consortium.parties[self.name].key
            client = MaskingClient(parameters, key, members, ClientLimits(), os.urandom)
            given_up = self._given_up.get((address.job, address.stage, address.round), [])
            advertisement = client.advertise(tuple(sorted(given_up))).encode()
            broadcast = self.process.views.artefact(
                job=address.job, digest=start.broadcast_digest, for_node=self.name
            ).read_bytes()
            self._round = _Round(address, client, advertisement, parameters, broadcast)
        return self._message(self._round, self._round.advertisement)

    def _step(self, step: pb.MaskingStep) -> Event | None:
        current = self._round
        if current is None or current.address != RoundAddress.from_wire(step.address):
            return None
        message = decode_message(step.payload)
        assert isinstance(message, ServerMessage)
        words = self.words(current) if isinstance(message, ShareDelivery) else None
        reply = current.client.answer(message, words)
        if isinstance(reply, MaskedInput):
            return self._vector(current, reply)
        return self._message(current, reply.encode())

    def words(self, current: _Round) -> RingVector:
        """The contribution to an attempt: the same for each attempt at a round."""
        document, address = self.jobs[current.address.job], current.address
        stages = programme(document)
        stage = next(item for item in stages if item.name == address.stage)
        plan = stage_plan(document, self.rows.schema, stage, round=address.round)
        received = unpack_broadcast(current.broadcast, plan=plan, stages=stages)
        seed = node_seed(document.seed, self.name, stage.name, address.round)
        made = contribute(
            stage.method,
            NodeContext(
                plan=received.plan,
                broadcast=received.tensors,
                data=job_data(self.rows, document, None),
                local_state=NOTHING,
                seed=seed,
            ),
        )
        made_layout = round_layout(document, stage.method.vectors(received.plan), cohort=len(current.parameters.roster))
        return made_layout.layout.encode(made.values, generator=np.random.default_rng(seed)).words

    def _leave_round(self, end: pb.RoundEnd) -> None:
        self.round_ends.append(end)
        if self._round is not None and self._round.address == RoundAddress.from_wire(end.address):
            if not end.completed:
                self._give_up(self._round)
            self._round = None

    def _give_up(self, current: _Round) -> None:
        address = current.address
        contexts = self._given_up.setdefault((address.job, address.stage, address.round), [])
        if current.parameters.context0() not in contexts:
            contexts.append(current.parameters.context0())

    def _message(self, current: _Round, payload: bytes) -> Event:
        return MessageReported(node=self.name, session=self.session, address=current.address, payload=payload)

    def _vector(self, current: _Round, masked: MaskedInput) -> Event:
        path = self.process.folder.path / f"upload-{self.name}.bin"
        path.write_bytes(masked.words.to_bytes())
        return ContributionArrived(
            node=self.name,
            session=self.session,
            address=current.address,
            payload=masked.header.encode(),
            vector=path,
        )


class Lost(Exception):
    """A play that does not come to an end."""


@dataclass(slots=True)
class Play:
    """A job from its offer to its end; a test may interfere before and after each operation.

    Attributes:
        interfere: called with the play, the number of the operation and "before" or "after".
        refusals: what the coordinator refused, with the event.
    """

    process: Process
    members: dict[str, Member]
    interfere: Callable[["Play", int, str], None] = field(default=lambda _play, _number, _moment: None)
    operations: int = 0
    refusals: list[tuple[Event, Exception]] = field(default_factory=list)
    order: random.Random | None = None

    def attend(self) -> None:
        for member in self.members.values():
            member.attend()

    def restart(self) -> None:
        """The coordinator dies and starts again; the nodes, which live on, come back to it."""
        present = [member for member in self.members.values() if member.stream is not None]
        self.process.restart()
        for member in present:
            member.attend()

    def deliver(self, event: Event) -> None:
        """What a node's connection does: again and again until there is an answer."""
        self._count("before")
        self._offer(event)
        self._count("after")

    def tick(self, seconds: float = 0.0) -> None:
        self._count("before")
        self.process.tick(seconds=seconds)
        self._count("after")

    def turn(self) -> bool:
        """Everybody answers what has arrived; then the engine does what is due. False if nobody had anything to do."""
        busy = False
        members = list(self.members.values())
        if self.order is not None:
            self.order.shuffle(members)
        for member in members:
            inbox = member.read()
            while inbox:
                busy = True
                event = member.answer(inbox.popleft())
                if event is not None:
                    member.sent.append(event)
                    self.deliver(event)
        self.tick()
        return busy

    def until(self, reached: Callable[[], bool], *, turns: int = 300) -> None:
        """Go on until something holds; time passes only when everybody waits."""
        for _ in range(turns):
            if reached():
                return
            if not self.turn() and not reached():
                self.process.clock.forward(seconds=1.0)
        message = f"after {turns} turns: {[event.text for event in self.process.events[-5:]]}"
        raise Lost(message)

    def run(self, job: str) -> str:
        """Go on until the job has ended and its nodes know; its final state."""
        final = ("finished", "failed", "stopped", "refused")
        self.until(lambda: self.process.state(job) in final)
        for _ in range(3):
            self.turn()
        return self.process.state(job)

    def submit(self, envelope: bytes) -> str:
        return self.process.submit(envelope)

    def step_of(self, job: str) -> Step | None:
        """The protocol step of the job that is under way now."""
        desk = self.process.engine._desks.get(Digest(job))
        active = None if desk is None else desk._active
        return None if active is None else active.driver.step

    def _count(self, moment: str) -> None:
        if moment == "before":
            self.operations += 1
        self.interfere(self, self.operations, moment)

    def _offer(self, event: Event) -> None:
        for _ in range(5):
            # The connection streams the vector anew each time; the engine takes the file away.
            kept = _copy_of(event)
            try:
                self.process.engine.call(event)
            except StorageError:
                _restore(event, kept)
                self.process.tick()
            except (PlatformError, CryptoError, GovernanceError) as error:
                self.refusals.append((event, error))
                return
            else:
                _restore(event, kept)
                return
        message = "the coordinator stores nothing"
        raise Lost(message)


def _copy_of(event: Event) -> bytes:
    return event.vector.read_bytes() if isinstance(event, ContributionArrived) else b""


def _restore(event: Event, data: bytes) -> None:
    if isinstance(event, ContributionArrived):
        event.vector.write_bytes(data)


def messages_of(events: Sequence[Event]) -> list[MessageReported]:
    return [event for event in events if isinstance(event, MessageReported)]
