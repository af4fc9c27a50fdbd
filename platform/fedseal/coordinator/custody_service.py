"""The gRPC service for custodians: a thin shell that checks the caller, bounds the input and calls the engine."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import grpc

from fedseal.coordinator.custody_events import (
    CustodianArrived,
    CustodianDeclined,
    CustodianLeft,
    KeyPublished,
    ScalarsDelivered,
    SumDelivered,
)
from fedseal.coordinator.custody_roll import CustodianSession
from fedseal.coordinator.engine import Engine
from fedseal.coordinator.service import PROTOCOL_VERSION, Door
from fedseal.coordinator.views import Views
from fedseal.errors import PeerFault, RefusalError
from fedseal.foreign import fitted
from fedseal.protection.statements import STATEMENT_BYTES
from fedseal.trust import Trust
from fedseal.wire import chunks, limits
from fedseal.wire._generated import custody_pb2 as pb
from fedseal.wire._generated import custody_pb2_grpc as rpc
from fedseal.wire.custody import address_from_wire
from fedseal.wire.status import guarded, guarded_stream
from fedseal_crypto.certificates import Party
from fedseal_crypto.digests import parse_digest
from fedseal_governance.permissions import Operation

_CODE_CHARACTERS = 100


class CustodyService(rpc.CustodyServicer):
    """What custodians call."""

    def __init__(self, *, engine: Engine, trust: Trust, views: Views, incoming: Path) -> None:
        self._engine = engine
        self._trust = trust
        self._door = Door(trust, views)
        self._incoming = incoming

    @guarded_stream
    def Attend(self, request: pb.CustodianAttendance, context: grpc.ServicerContext) -> Iterator[pb.CustodianTask]:  # noqa: N802 - gRPC's name
        """Keep a custodian's task stream open."""
        session = self._session(request, self._door.admit(context, Operation.CUSTODY_ATTEND))

        def gone() -> None:
            session.close()
            self._engine.put(CustodianLeft(session))

        if not context.add_callback(gone):
            return
        self._engine.put(CustodianArrived(session))
        yield from session.tasks()

    @guarded
    def Decline(self, request: pb.Declination, context: grpc.ServicerContext) -> pb.CustodyReceipt:  # noqa: N802 - gRPC's name
        """Take a refusal of a job or of a sum."""
        custodian = str(self._door.admit(context, Operation.CUSTODY_ANSWER).name)
        job = parse_digest(request.job)
        address = address_from_wire(request.address) if request.HasField("address") else None
        if address is not None and address.job != job:
            sentence = "a refusal names two different jobs"
            raise PeerFault(sentence)
        event = CustodianDeclined(
            custodian=custodian,
            job=job,
            address=address,
            code=fitted(request.code, limit=_CODE_CHARACTERS),
            sentence=fitted(request.sentence),
        )
        self._engine.call(event)
        return pb.CustodyReceipt(note="stored")

    @guarded
    def PublishKey(self, request: Iterator[pb.KeyPart], context: grpc.ServicerContext) -> pb.CustodyReceipt:  # noqa: N802 - gRPC's name
        """Receive a job's public key into a file; only a whole one reaches the engine."""
        custodian = str(self._door.admit(context, Operation.CUSTODY_ANSWER).name)
        first = next(request, None)
        if first is None or first.WhichOneof("part") != "header":
            sentence = "a public key must begin with its header"
            raise PeerFault(sentence)
        header = first.header
        job = parse_digest(header.job)
        if not 0 < header.size <= limits.PUBLIC_KEY_BYTES:
            sentence = f"a public key has at most {limits.PUBLIC_KEY_BYTES} bytes and {header.size} were announced"
            raise PeerFault(sentence)
        statement = _statement(header.statement)
        target = self._target(custodian)
        chunks.receive((part.data for part in request), target, size=header.size)
        try:
            self._engine.call(KeyPublished(custodian=custodian, job=job, statement=statement, public=target))
        finally:
            target.unlink(missing_ok=True)
        return pb.CustodyReceipt(note="stored")

    @guarded_stream
    def FetchCiphertext(  # noqa: N802 - gRPC's name
        self, request: pb.CiphertextRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.CiphertextPiece]:
        """Send one ciphertext of the sum that the caller is asked to open."""
        custodian = str(self._door.admit(context, Operation.CIPHERTEXT_READ).name)
        path = self._engine.ciphertext(custodian, address_from_wire(request.address), request.member[:200])
        for piece in chunks.read_file(path):
            yield pb.CiphertextPiece(data=piece)

    @guarded
    def DeliverSum(self, request: Iterator[pb.SumPart], context: grpc.ServicerContext) -> pb.CustodyReceipt:  # noqa: N802 - gRPC's name
        """Receive an opened sum into a file; only a whole one reaches the engine."""
        custodian = str(self._door.admit(context, Operation.CUSTODY_ANSWER).name)
        first = next(request, None)
        if first is None or first.WhichOneof("part") != "header":
            sentence = "an opened sum must begin with its header"
            raise PeerFault(sentence)
        header = first.header
        address = address_from_wire(header.address)
        expected = self._engine.sum_bytes(custodian, address)
        if header.size != expected:
            sentence = f"{address}: an opened sum has {expected} bytes and {custodian} announced {header.size}"
            raise PeerFault(sentence)
        statement = _statement(header.statement)
        target = self._target(custodian)
        chunks.receive((part.data for part in request), target, size=expected)
        try:
            event = SumDelivered(
                custodian=custodian,
                job=address.job,
                address=address,
                request=parse_digest(header.request),
                statement=statement,
                opened=target,
            )
            self._engine.call(event)
        finally:
            target.unlink(missing_ok=True)
        return pb.CustodyReceipt(note="stored")

    @guarded
    def DeliverScalars(self, request: pb.ScalarDelivery, context: grpc.ServicerContext) -> pb.CustodyReceipt:  # noqa: N802 - gRPC's name
        """Take the signed statements of opened scalars."""
        custodian = str(self._door.admit(context, Operation.CUSTODY_ANSWER).name)
        address = address_from_wire(request.address)
        if not 0 < len(request.statements) <= limits.ROSTER_MEMBERS:
            sentence = f"{address}: opened scalars come with one statement of each node"
            raise PeerFault(sentence)
        statements = tuple(_statement(item) for item in request.statements)
        event = ScalarsDelivered(
            custodian=custodian,
            job=address.job,
            address=address,
            statements=statements,
            roll=_statement(request.roll),
        )
        self._engine.call(event)
        return pb.CustodyReceipt(note="stored")

    def _target(self, custodian: str) -> Path:
        return self._incoming / f"{custodian}-{secrets.token_hex(8)}.part"

    def _session(self, request: pb.CustodianAttendance, caller: Party) -> CustodianSession:
        if request.protocol_version != PROTOCOL_VERSION:
            sentence = (
                f"{caller.name} speaks protocol version {request.protocol_version} and this coordinator "
                f"version {PROTOCOL_VERSION}; install the same fedseal release on both"
            )
            raise RefusalError(sentence)
        pem = request.identity_certificate.encode()
        if not 0 < len(pem) <= limits.CERTIFICATE_BYTES:
            sentence = f"a certificate has at most {limits.CERTIFICATE_BYTES} bytes, {caller.name} sent {len(pem)}"
            raise PeerFault(sentence)
        member = self._trust.identity(pem)
        if (member.kind, member.name) != (caller.kind, caller.name):
            sentence = (
                f"the TLS certificate is {caller.name}'s and the identity certificate {member.name}'s; enrol again"
            )
            raise PeerFault(sentence)
        jobs = tuple(parse_digest(item) for item in request.open_jobs[: limits.OPEN_JOBS])
        return CustodianSession(member=member, identity_pem=pem, open_jobs=jobs)


def _statement(data: bytes) -> bytes:
    if not 0 < len(data) <= STATEMENT_BYTES:
        sentence = f"a custodian's statement has at most {STATEMENT_BYTES} bytes, this one {len(data)}"
        raise PeerFault(sentence)
    return data
