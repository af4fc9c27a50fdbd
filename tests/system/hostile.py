"""A node whose every word the test decides: real gRPC, a real certificate, and the protocol's code where honest."""

import queue
import secrets
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc
import numpy as np

from fedseal.authority.names import service_name
from fedseal.documents import SignedJob, read_job
from fedseal.local import open_party
from fedseal.methods import programme, stage_plan, unpack_broadcast
from fedseal.node.opening import RoundOffer
from fedseal.rounds import RoundAddress
from fedseal.trust import Trust, utc_now
from fedseal.wire import chunks, tls
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire._generated.coordination_pb2_grpc import CoordinationStub
from fedseal_crypto.encoding import Layout, RingVector
from fedseal_crypto.identity import PartyKind
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    ClientMessage,
    DecodeLimits,
    MaskedInput,
    MaskingClient,
    ServerMessage,
    decode_message,
)
from fedseal_governance.datasets import registered
from tests.system.federation import Federation
from tests.system.founding import DATASET
from tests.system.processes import PATIENCE_SECONDS, TooLate

Kind = Literal["welcome", "job_offer", "round_start", "masking_step", "round_end", "job_end"]

_SECONDS = 30.0


@dataclass(slots=True)
class Attempt:
    """The attempt that the node is in."""

    address: RoundAddress
    client: MaskingClient
    layout: Layout
    start: pb.RoundStart
    roster: tuple[ClientId, ...]

    def zeros(self) -> RingVector:
        """An honest contribution of a node that has nothing to say."""
        values = {spec.name: np.zeros(spec.length) for spec in self.layout.specs}
        return self.layout.encode(values, generator=np.random.default_rng(0)).words

    def decode(self, payload: bytes) -> ServerMessage:
        message = decode_message(payload, DecodeLimits(members=len(self.roster), message_bytes=1 << 22))
        assert isinstance(message, ServerMessage)
        return message


class ScriptedNode:
    """Attends as the node ``name`` and does only what the test says."""

    def __init__(self, federation: Federation, name: str) -> None:
        folder = federation.party(name)
        self.name = name
        self.session = secrets.token_bytes(16)
        self._folder = folder
        self._workspace: Path = folder.path
        self._trust = Trust(folder)
        self._channel = tls.open_channel(
            federation.address,
            folder.tls(),
            service_name=service_name("heart", PartyKind.COORDINATOR, "coordinator"),
        )
        self.stub = CoordinationStub(self._channel)
        self._instructions: queue.Queue[pb.Instruction | Exception] = queue.Queue()
        with open_party(folder.path) as party:
            registration = party.read(lambda session: registered(session, DATASET))
        self._schema = registration.schema
        offer = pb.DatasetOffer(name=DATASET, schema=registration.facts.schema_content)
        self._call = self.stub.Attend(
            pb.Attendance(
                protocol_version=1,
                session=self.session,
                identity_certificate=folder.identity_certificate().decode(),
                datasets=[offer],
            )
        )
        threading.Thread(target=self._listen, daemon=True).start()
        self.job: SignedJob | None = None

    def close(self) -> None:
        self._channel.close()

    def sign(self, message: bytes) -> bytes:
        return self._folder.identity_key().sign(message)

    def wait(self, kind: Kind) -> pb.Instruction:
        """The next instruction of that kind; others on the way are dropped."""
        while True:
            try:
                item = self._instructions.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                message = f"no {kind} arrived within {PATIENCE_SECONDS:.0f} seconds"
                raise TooLate(message) from None
            if isinstance(item, Exception):
                raise item
            if item.WhichOneof("kind") == kind:
                return item

    # -- honest answers --------------------------------------------------------------------------------

    def accept(self, offer: pb.JobOffer) -> None:
        """Accept a job."""
        self.job = read_job(offer.document, root=self._trust.root, revocations=self._trust.revocations, now=utc_now())
        self.report(verdict=pb.JobVerdict(job=offer.job, accepted=True, policy="0" * 64))

    def enter(self, start: pb.RoundStart) -> tuple[Attempt, bytes]:
        """Prepare for an attempt; the advertisement is returned, not sent."""
        assert self.job is not None
        offer = RoundOffer.from_wire(start)
        members = {
            client: self._trust.identity(pem).public
            for client, pem in zip(offer.parameters.roster, offer.certificates, strict=True)
        }
        stages = programme(self.job.document)
        stage = next(stage for stage in stages if stage.name == offer.address.stage)
        plan = stage_plan(self.job.document, self._schema, stage, round=offer.address.round)
        received = unpack_broadcast(self._fetch(offer), plan=plan, stages=stages)
        layout = Layout.plan(stage.method.vectors(received.plan), cohort=len(offer.parameters.roster))
        client = MaskingClient(
            offer.parameters,
            self._folder.identity_key(),
            members,
            ClientLimits(minimum_cohort=3),
            secrets.token_bytes,
        )
        advertisement = client.advertise().encode()
        return Attempt(offer.address, client, layout, start, offer.parameters.roster), advertisement

    def answer(self, attempt: Attempt, step: pb.MaskingStep) -> ClientMessage:
        """What an honest node would answer; not sent."""
        message = attempt.decode(step.payload)
        return attempt.client.answer(message, attempt.zeros())

    def play(self, attempt: Attempt) -> None:
        """Answer honestly until the round ends."""
        while True:
            item = self._instructions.get(timeout=PATIENCE_SECONDS)
            if isinstance(item, Exception):
                raise item
            kind = item.WhichOneof("kind")
            if kind == "round_end":
                return
            if kind == "masking_step":
                self.send(attempt, self.answer(attempt, item.masking_step))

    # -- sending ---------------------------------------------------------------------------------------

    def send(self, attempt: Attempt, answer: ClientMessage) -> None:
        if isinstance(answer, MaskedInput):
            self.contribute(attempt, answer.header.encode(), [bytes(answer.words.buffer)])
        else:
            self.send_payload(attempt, answer.encode())

    def send_payload(self, attempt: Attempt, payload: bytes, *, session: bytes | None = None) -> None:
        step = pb.MaskingStep(address=attempt.address.to_wire(), payload=payload)
        self.report(message=step, session=session)

    def report(
        self,
        *,
        verdict: pb.JobVerdict | None = None,
        message: pb.MaskingStep | None = None,
        session: bytes | None = None,
    ) -> None:
        report = pb.NodeReport(session=session or self.session, verdict=verdict, message=message)
        self.stub.Report(report, timeout=_SECONDS)

    def contribute(self, attempt: Attempt, header: bytes, pieces: Iterable[bytes], *, size: int | None = None) -> None:
        announced = attempt.layout.wire_bytes if size is None else size

        def parts() -> Iterator[pb.ContributionPart]:
            yield pb.ContributionPart(
                header=pb.ContributionHeader(
                    session=self.session, address=attempt.address.to_wire(), message=header, size=announced
                )
            )
            for piece in pieces:
                yield pb.ContributionPart(data=piece)

        self.stub.Contribute(parts(), timeout=_SECONDS)

    # -- helpers ---------------------------------------------------------------------------------------

    def _fetch(self, offer: RoundOffer) -> bytes:
        target = self._workspace / "broadcast.part"
        request = pb.ArtefactRequest(digest=offer.parameters.broadcast_digest, job=offer.address.job)
        stream = self.stub.Download(request, timeout=_SECONDS)
        chunks.receive((piece.data for piece in stream), target, size=offer.broadcast_size)
        return target.read_bytes()

    def _listen(self) -> None:
        try:
            for instruction in self._call:
                self._instructions.put(instruction)
        except (grpc.RpcError, ValueError) as error:
            self._instructions.put(error)
