"""gRPC services of the coordinator: thin shells that check the caller, bound the input and call the engine."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import grpc

from fedseal.coordinator.attendance import Attendance, Session
from fedseal.coordinator.engine import Engine
from fedseal.coordinator.hub import events
from fedseal.coordinator.intake import (
    ContributionArrived,
    MessageReported,
    NodeArrived,
    NodeLeft,
    RoundRefused,
    StopAsked,
    VerdictReported,
)
from fedseal.coordinator.policies import event_view, impact_view, policy_view
from fedseal.coordinator.views import Views
from fedseal.errors import PeerFault, RefusalError
from fedseal.foreign import fitted
from fedseal.rounds import RoundAddress
from fedseal.trust import Trust, utc_now
from fedseal.wire import chunks, limits
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire._generated import coordination_pb2_grpc as rpc
from fedseal.wire.status import guarded, guarded_stream
from fedseal.wire.tls import caller_certificate
from fedseal_crypto.certificates import CertificateRevoked, Party
from fedseal_crypto.digests import parse_digest
from fedseal_governance.permissions import Operation, PermissionDenied, require_permitted

PROTOCOL_VERSION = 1
_SESSION_BYTES = 16
_CODE_CHARACTERS = 100
_REASONS = 60
"""Reasons in one answer; a node's policy and the federation's have fewer clauses together."""

_REASON_CHARACTERS = 500
"""Of one reason; twenty refusals fit into one audit entry."""


class Door:
    """Who is calling, and may they: verified anew at each call, so that a revocation takes effect at once."""

    def __init__(self, trust: Trust, views: Views) -> None:
        self._trust = trust
        self._views = views

    def admit(self, context: grpc.ServicerContext, operation: Operation) -> Party:
        """The caller, who may do ``operation`` here; a denial is noted in the audit log.

        Raises:
            PermissionDenied: the table of permissions does not allow it.
            PeerError: the certificate does not verify.
        """
        try:
            member = self._trust.tls(caller_certificate(context))
        except CertificateRevoked as error:
            self._views.note_denied(error.party, operation, str(error))
            raise
        try:
            require_permitted(operation, member, organisation=None)
        except PermissionDenied as denied:
            self._views.note_denied(member.label, operation, str(denied))
            raise
        return member


class CoordinationService(rpc.CoordinationServicer):
    """What nodes call."""

    def __init__(self, *, engine: Engine, attendance: Attendance, trust: Trust, views: Views, incoming: Path) -> None:
        self._engine = engine
        self._attendance = attendance
        self._trust = trust
        self._door = Door(trust, views)
        self._views = views
        self._incoming = incoming

    @guarded_stream
    def Attend(self, request: pb.Attendance, context: grpc.ServicerContext) -> Iterator[pb.Instruction]:  # noqa: N802 - gRPC's name
        """Keep a node's instruction stream open."""
        session = self._session(request, self._door.admit(context, Operation.ROUND_ATTEND))

        def gone() -> None:
            session.close()
            self._engine.put(NodeLeft(session))

        if not context.add_callback(gone):
            return
        self._engine.put(NodeArrived(session))
        yield from session.instructions()

    @guarded
    def Report(self, request: pb.NodeReport, context: grpc.ServicerContext) -> pb.Receipt:  # noqa: N802 - gRPC's name
        """Take a verdict, a masking message or a refusal."""
        node = str(self._door.admit(context, Operation.ROUND_REPORT).name)
        kind = request.WhichOneof("kind")
        if kind == "verdict":
            self._engine.call(VerdictReported(node=node, verdict=_verdict(request.verdict)))
        elif kind == "message":
            payload = _bounded(request.message.payload, limits.MASKING_MESSAGE_BYTES, "masking message")
            address = RoundAddress.from_wire(request.message.address)
            self._engine.call(MessageReported(node=node, session=request.session, address=address, payload=payload))
        elif kind == "refusal":
            address = RoundAddress.from_wire(request.refusal.address)
            sentence = fitted(request.refusal.sentence)
            code = fitted(request.refusal.code, limit=_CODE_CHARACTERS)
            self._engine.call(
                RoundRefused(node=node, session=request.session, address=address, code=code, sentence=sentence)
            )
        else:
            sentence = "the report holds none of verdict, message or refusal"
            raise PeerFault(sentence)
        return pb.Receipt(note="stored")

    @guarded
    def Contribute(  # noqa: N802 - gRPC's name
        self, request: Iterator[pb.ContributionPart], context: grpc.ServicerContext
    ) -> pb.Receipt:
        """Receive a masked vector into a file; only a whole one reaches the engine."""
        node = str(self._door.admit(context, Operation.ROUND_CONTRIBUTE).name)
        first = next(request, None)
        if first is None or first.WhichOneof("part") != "header":
            sentence = "a contribution must begin with its header"
            raise PeerFault(sentence)
        header = first.header
        address = RoundAddress.from_wire(header.address)
        message = _bounded(header.message, limits.MASKING_MESSAGE_BYTES, "contribution header")
        expected = self._engine.expected_bytes(address, node, header.session)
        if header.size != expected:
            sentence = f"{address}: a contribution has {expected} bytes and {node} announced {header.size}"
            raise PeerFault(sentence)
        target = self._incoming / f"{node}-{secrets.token_hex(8)}.part"
        chunks.receive((part.data for part in request), target, size=expected)
        try:
            self._engine.call(
                ContributionArrived(node=node, session=header.session, address=address, payload=message, vector=target)
            )
        finally:
            target.unlink(missing_ok=True)
        return pb.Receipt(note="stored")

    @guarded_stream
    def Download(self, request: pb.ArtefactRequest, context: grpc.ServicerContext) -> Iterator[pb.Chunk]:  # noqa: N802 - gRPC's name
        """Send a broadcast or model."""
        node = str(self._door.admit(context, Operation.BROADCAST_READ).name)
        path = self._views.artefact(job=parse_digest(request.job), digest=parse_digest(request.digest), for_node=node)
        for piece in chunks.read_file(path):
            yield pb.Chunk(data=piece)

    @guarded
    def FetchCheckpoint(  # noqa: N802 - gRPC's name
        self, request: pb.CheckpointRequest, context: grpc.ServicerContext
    ) -> pb.CheckpointReply:
        """The newest checkpoint of the coordinator's log with a consistency proof."""
        self._door.admit(context, Operation.CHECKPOINT_READ)
        return self._views.checkpoint(request.known_size)

    @guarded
    def Cosign(self, request: pb.Cosignature, context: grpc.ServicerContext) -> pb.Receipt:  # noqa: N802 - gRPC's name
        """Store a witness's cosignature after verifying it."""
        member = self._door.admit(context, Operation.CHECKPOINT_COSIGN)
        self._views.add_cosignature(member, request)
        return pb.Receipt(note="stored")

    def _session(self, request: pb.Attendance, caller: Party) -> Session:
        if request.protocol_version != PROTOCOL_VERSION:
            sentence = (
                f"{caller.name} speaks protocol version {request.protocol_version} and this coordinator "
                f"version {PROTOCOL_VERSION}; install the same fedseal release on both"
            )
            raise RefusalError(sentence)
        if len(request.session) != _SESSION_BYTES:
            sentence = f"a session has {_SESSION_BYTES} bytes, {caller.name} sent {len(request.session)}"
            raise PeerFault(sentence)
        pem = _bounded(request.identity_certificate.encode(), limits.CERTIFICATE_BYTES, "certificate")
        member = self._trust.identity(pem)
        if (member.kind, member.name) != (caller.kind, caller.name):
            sentence = (
                f"the TLS certificate is {caller.name}'s and the identity certificate {member.name}'s; enrol again"
            )
            raise PeerFault(sentence)
        return Session(
            member=member,
            identity_pem=pem,
            session=request.session,
            since=utc_now(),
            policies=tuple(_bounded(item, limits.DOCUMENT_BYTES, "policy") for item in request.policies),
            datasets={
                item.name[:200]: _bounded(item.schema, limits.DOCUMENT_BYTES, "dataset schema")
                for item in request.datasets
            },
            software=request.software[:200],
            open_jobs=tuple(parse_digest(item) for item in request.open_jobs[: limits.OPEN_JOBS]),
        )


class AdministrationService(rpc.AdministrationServicer):
    """What people call."""

    def __init__(self, *, engine: Engine, trust: Trust, views: Views) -> None:
        self._engine = engine
        self._trust = trust
        self._door = Door(trust, views)
        self._views = views

    @guarded
    def CheckJob(self, request: pb.SignedFile, context: grpc.ServicerContext) -> pb.JobVerdicts:  # noqa: N802 - gRPC's name
        """What each node's policy says, as far as the coordinator knows it; nothing is stored."""
        self._door.admit(context, Operation.JOB_CHECK)
        return self._engine.check_job(_bounded(request.document, limits.DOCUMENT_BYTES, "job"))

    @guarded
    def SubmitJob(self, request: pb.SignedFile, context: grpc.ServicerContext) -> pb.JobSummary:  # noqa: N802 - gRPC's name
        """Store a signed job and offer it to its nodes."""
        person = self._door.admit(context, Operation.JOB_SUBMIT)
        digest = self._engine.submit(_bounded(request.document, limits.DOCUMENT_BYTES, "job"), person)
        return self._views.summary(digest)

    @guarded
    def ListJobs(self, _request: pb.ListRequest, context: grpc.ServicerContext) -> pb.JobList:  # noqa: N802 - gRPC's name
        """All jobs, newest first."""
        self._door.admit(context, Operation.JOB_READ)
        return self._views.jobs()

    @guarded
    def ShowJob(self, request: pb.JobRequest, context: grpc.ServicerContext) -> pb.JobDetail:  # noqa: N802 - gRPC's name
        """One job with its rounds, answers and artefacts."""
        self._door.admit(context, Operation.JOB_READ)
        return self._views.detail(self._views.resolve(request.job))

    @guarded_stream
    def WatchJob(self, request: pb.JobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:  # noqa: N802 - gRPC's name
        """The job's state now, then its events until it ends."""
        self._door.admit(context, Operation.JOB_READ)
        digest = self._views.resolve(request.job)
        watcher = self._engine.hub.subscribe(digest)
        if not context.add_callback(lambda: self._engine.hub.unsubscribe(digest, watcher)):
            return
        summary = self._views.summary(digest)
        yield pb.JobEvent(job=digest, kind="state", text=summary.state)
        if self._views.has_ended(digest):
            yield pb.JobEvent(job=digest, kind="done", text=summary.state)
            return
        for event in events(watcher):
            self._door.admit(context, Operation.JOB_READ)  # a person who was revoked meanwhile sees no more
            yield event
            if event.kind == "done":
                return

    @guarded
    def StopJob(self, request: pb.StopRequest, context: grpc.ServicerContext) -> pb.JobSummary:  # noqa: N802 - gRPC's name
        """Stop a job; its last good model stays."""
        person = self._door.admit(context, Operation.JOB_STOP)
        digest = self._views.resolve(request.job)
        self._engine.call(StopAsked(job=digest, person=str(person.name), reason=request.reason[:500]))
        return self._views.summary(digest)

    @guarded
    def ListNodes(self, _request: pb.ListRequest, context: grpc.ServicerContext) -> pb.NodeList:  # noqa: N802 - gRPC's name
        """The nodes that are present."""
        self._door.admit(context, Operation.NODE_LIST)
        return self._views.nodes()

    @guarded_stream
    def Download(self, request: pb.ArtefactRequest, context: grpc.ServicerContext) -> Iterator[pb.Chunk]:  # noqa: N802 - gRPC's name
        """Send a model, job record or report."""
        self._door.admit(context, Operation.ARTEFACT_READ)
        path = self._views.artefact(job=self._views.resolve(request.job), digest=parse_digest(request.digest))
        for piece in chunks.read_file(path):
            yield pb.Chunk(data=piece)

    @guarded
    def PublishRevocations(self, request: pb.RevocationList, context: grpc.ServicerContext) -> pb.Receipt:  # noqa: N802 - gRPC's name
        """Take over a revocation list; its signature is the authority's, so any member may bring it."""
        self._door.admit(context, Operation.REVOCATIONS_PUBLISH)
        pem = _bounded(request.pem, limits.REVOCATION_BYTES, "revocation list")
        changed = self._engine.take_revocations(pem)
        return pb.Receipt(note="taken over" if changed else "already known")

    @guarded
    def ProposePolicy(self, request: pb.PolicyFile, context: grpc.ServicerContext) -> pb.PolicyView:  # noqa: N802 - gRPC's name
        """Put a policy of the federation before the officers."""
        person = self._door.admit(context, Operation.FEDERATION_POLICY_PROPOSE)
        content, filename = _policy_file(request)
        return policy_view(
            self._engine.ask_policies(
                lambda book, now: book.propose(content, filename=filename, person=person, now=now)
            )
        )

    @guarded
    def SignPolicy(self, request: pb.SignedFile, context: grpc.ServicerContext) -> pb.PolicyView:  # noqa: N802 - gRPC's name
        """Add an officer's signature."""
        person = self._door.admit(context, Operation.FEDERATION_POLICY_APPROVE)
        document = _bounded(request.document, limits.DOCUMENT_BYTES, "signed policy")
        return policy_view(self._engine.ask_policies(lambda book, now: book.sign(document, person=person, now=now)))

    @guarded
    def RevokePolicy(self, request: pb.PolicyRevocation, context: grpc.ServicerContext) -> pb.PolicyView:  # noqa: N802 - gRPC's name
        """End a policy by an officer's signed word."""
        person = self._door.admit(context, Operation.FEDERATION_POLICY_REVOKE)
        document = _bounded(request.document, limits.DOCUMENT_BYTES, "revocation")
        digest = parse_digest(request.policy)
        return policy_view(
            self._engine.ask_policies(lambda book, now: book.revoke(digest, document, person=person, now=now))
        )

    @guarded
    def ListPolicies(self, _request: pb.ListRequest, context: grpc.ServicerContext) -> pb.PolicyList:  # noqa: N802 - gRPC's name
        """All policies of the federation, also proposed and ended ones."""
        self._door.admit(context, Operation.FEDERATION_POLICY_READ)
        stored = self._engine.ask_policies(lambda book, _now: book.listed())
        return pb.PolicyList(policies=[policy_view(item) for item in stored])

    @guarded
    def PolicyHistory(self, request: pb.PolicyRequest, context: grpc.ServicerContext) -> pb.PolicyEvents:  # noqa: N802 - gRPC's name
        """What happened to a policy, from the coordinator's log."""
        self._door.admit(context, Operation.FEDERATION_POLICY_READ)
        steps = self._engine.ask_policies(lambda book, _now: book.history(request.policy[:200]))
        return pb.PolicyEvents(events=[event_view(item) for item in steps])

    @guarded
    def PolicyImpact(self, request: pb.PolicyFile, context: grpc.ServicerContext) -> pb.PolicyImpactReply:  # noqa: N802 - gRPC's name
        """What a new version would have said to the jobs submitted here."""
        self._door.admit(context, Operation.FEDERATION_POLICY_READ)
        content, filename = _policy_file(request)
        impacts = self._engine.ask_policies(lambda book, now: book.impact(content, filename=filename, now=now))
        return pb.PolicyImpactReply(jobs=[impact_view(item) for item in impacts])


def _policy_file(request: pb.PolicyFile) -> tuple[bytes, str]:
    content = _bounded(request.content, limits.DOCUMENT_BYTES, "policy")
    return content, fitted(request.filename, limit=_CODE_CHARACTERS) or "policy"


def _verdict(verdict: pb.JobVerdict) -> pb.JobVerdict:
    """A node's answer, cut to what a policy can have to say."""
    if verdict.policy:
        parse_digest(verdict.policy)
    reasons = [
        pb.Reason(
            clause=fitted(reason.clause, limit=_CODE_CHARACTERS),
            sentence=fitted(reason.sentence, limit=_REASON_CHARACTERS),
            allowed=reason.allowed,
        )
        for reason in verdict.reasons[:_REASONS]
    ]
    return pb.JobVerdict(
        job=parse_digest(verdict.job),
        accepted=verdict.accepted,
        reasons=reasons,
        policy=verdict.policy,
        federation_policies=[parse_digest(item) for item in verdict.federation_policies[:_REASONS]],
    )


def _bounded(data: bytes, limit: int, what: str) -> bytes:
    if not data or len(data) > limit:
        sentence = f"the {what} has {len(data)} bytes; between 1 and {limit} are accepted"
        raise PeerFault(sentence)
    return data


__all__ = ["PROTOCOL_VERSION", "AdministrationService", "CoordinationService", "Door"]
