"""The gRPC services behind their door: who may call what, and what is too large or too strange to reach the engine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest

from fedseal.coordinator.intake import ContributionArrived
from fedseal.coordinator.service import PROTOCOL_VERSION, AdministrationService, CoordinationService
from fedseal.wire import chunks, limits
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.identity import FederationName
from fedseal_crypto.masking import Step
from tests.unit.coordinator.members import Play
from tests.unit.node.papers import SCHEMA, JobFile
from tests.unit.node.parties import NODES, Consortium

FAILED, INVALID = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT


class Aborted(Exception):
    """What grpc raises to leave a handler, with what the caller would see."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


@dataclass
class Call:
    """A call as the server sees it, made with a party's TLS certificate."""

    certificate: bytes | None
    alive: bool = True
    callbacks: list[Callable[[], None]] = field(default_factory=list)

    def auth_context(self) -> dict[str, list[bytes]]:
        return {} if self.certificate is None else {"x509_pem_cert": [self.certificate]}

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise Aborted(code, details)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self.callbacks.append(callback)
        return self.alive


@dataclass
class Services:
    """Both services of one coordinator, and callers."""

    play: Play
    consortium: Consortium
    nodes: CoordinationService
    people: AdministrationService

    def by(self, name: str) -> grpc.ServicerContext:
        return Call(self.consortium.parties[name].tls_pem)  # type: ignore[return-value]  # as much of it as is used


@pytest.fixture
def services(play: Play, consortium: Consortium) -> Services:
    process = play.process
    return Services(
        play=play,
        consortium=consortium,
        nodes=CoordinationService(
            engine=process.engine,
            attendance=process.attendance,
            trust=process.trust,
            views=process.views,
            incoming=process.incoming,
        ),
        people=AdministrationService(engine=process.engine, trust=process.trust, views=process.views),
    )


def refused(code: grpc.StatusCode, says: str, work: Callable[[], object]) -> None:
    with pytest.raises(Aborted, match=says) as caught:
        work()
    assert caught.value.code is code


# --- the door -----------------------------------------------------------------------------------------


def test_people_and_nodes_have_a_door_each(services: Services) -> None:
    report = pb.NodeReport(verdict=pb.JobVerdict(job="ab" * 32))
    for name in ("ada", "coordinator"):
        refused(FAILED, "only nodes may call this", lambda name=name: services.nodes.Report(report, services.by(name)))  # type: ignore[misc]  # bound per loop
    for name in ("zurich", "coordinator"):
        refused(
            FAILED,
            "only people may call this",
            lambda name=name: services.people.ListJobs(pb.ListRequest(), services.by(name)),  # type: ignore[misc]  # bound per loop
        )


def test_a_role_is_asked_for_by_name(services: Services, consortium: Consortium) -> None:
    envelope = JobFile().signed(consortium, by="grace").envelope
    refused(
        FAILED,
        "grace holds compliance officer; this needs the role data scientist",
        lambda: services.people.SubmitJob(pb.SignedFile(document=envelope), services.by("grace")),
    )


def test_callers_without_or_with_a_foreign_certificate(services: Services) -> None:
    nobody = Call(None)
    refused(INVALID, "presented no TLS certificate", lambda: services.people.ListJobs(pb.ListRequest(), nobody))  # type: ignore[arg-type]
    stranger = Call(Consortium.found(FederationName("hearts")).parties["ada"].tls_pem)
    refused(INVALID, "was not issued by the authority", lambda: services.people.ListJobs(pb.ListRequest(), stranger))  # type: ignore[arg-type]


def test_an_identity_certificate_is_no_way_in(services: Services, consortium: Consortium) -> None:
    confused = Call(consortium.parties["ada"].identity_pem)
    refused(INVALID, "is not for tls use", lambda: services.people.ListJobs(pb.ListRequest(), confused))  # type: ignore[arg-type]


def test_a_revocation_takes_effect_at_the_next_call(services: Services, consortium: Consortium) -> None:
    services.people.ListJobs(pb.ListRequest(), services.by("ada"))
    consortium.revoke("ada")
    newer = consortium.crl(at=services.play.process.clock())
    # Any member may bring the list: its signature is the authority's.
    receipt = services.people.PublishRevocations(pb.RevocationList(pem=newer), services.by("grace"))
    assert receipt.note == "taken over"
    assert (
        services.people.PublishRevocations(pb.RevocationList(pem=newer), services.by("grace")).note == "already known"
    )
    refused(INVALID, "person/ada was revoked", lambda: services.people.ListJobs(pb.ListRequest(), services.by("ada")))


def test_a_coordinator_with_a_stale_list_shuts_nobody_out_for_good(services: Services) -> None:
    """Nothing is wrong with the caller: a node that hears this tries again instead of giving up."""
    services.play.process.clock.forward(days=31)
    refused(
        grpc.StatusCode.ABORTED,
        "fetch the current list",
        lambda: services.nodes.Report(pb.NodeReport(), services.by("zurich")),
    )


# --- attendance ---------------------------------------------------------------------------------------


def attendance(services: Services, name: str = "zurich", **changed: object) -> pb.Attendance:
    fields: dict[str, object] = {
        "protocol_version": PROTOCOL_VERSION,
        "session": bytes(range(16)),
        "identity_certificate": services.consortium.parties[name].identity_pem.decode(),
        "datasets": [pb.DatasetOffer(name="hearts", schema=SCHEMA)],
        "software": "fedseal 0",
    }
    return pb.Attendance(**{**fields, **changed})  # type: ignore[arg-type]  # fields by name


def attend(services: Services, request: pb.Attendance, context: grpc.ServicerContext) -> pb.Instruction:
    """The first instruction of a stream."""
    stream = services.nodes.Attend(request, context)
    return next(iter(stream))


def test_a_stream_begins_with_the_coordinators_certificate(services: Services, consortium: Consortium) -> None:
    context = services.by("zurich")
    first = attend(services, attendance(services), context)
    assert first.welcome.coordinator_certificate.encode() == consortium.parties["coordinator"].identity_pem
    assert first.welcome.revocation_list == services.play.process.trust.revocation_list_pem()
    present = services.play.process.attendance.get("zurich")
    assert present is not None
    assert (present.session, present.datasets) == (bytes(range(16)), {"hearts": SCHEMA})
    for callback in context.callbacks:  # type: ignore[attr-defined]  # ours
        callback()
    assert services.play.process.attendance.get("zurich") is None


def test_a_stream_that_is_already_gone_leaves_no_trace(services: Services) -> None:
    before = services.play.process.attendance.get("zurich")
    gone = Call(services.consortium.parties["zurich"].tls_pem, alive=False)
    assert list(services.nodes.Attend(attendance(services), gone)) == []  # type: ignore[arg-type]
    assert services.play.process.attendance.get("zurich") is before


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        ({"protocol_version": 2}, FAILED, "install the same fedseal release on both"),
        ({"session": b"short"}, INVALID, "a session has 16 bytes, zurich sent 5"),
        ({"identity_certificate": ""}, INVALID, "between 1 and"),
        ({"identity_certificate": "x" * (limits.CERTIFICATE_BYTES + 1)}, INVALID, "between 1 and"),
        ({"policies": [b""]}, INVALID, "the policy has 0 bytes"),
        ({"policies": [bytes(limits.DOCUMENT_BYTES + 1)]}, INVALID, "the policy has"),
        ({"datasets": [pb.DatasetOffer(name="hearts")]}, INVALID, "the dataset schema has 0 bytes"),
        ({"open_jobs": ["no digest"]}, INVALID, "is not a SHA-256 digest"),
    ],
)
def test_an_attendance_that_is_not_taken(
    services: Services, changed: dict[str, Any], code: grpc.StatusCode, says: str
) -> None:
    request = attendance(services, **changed)
    refused(code, says, lambda: attend(services, request, services.by("zurich")))


def test_a_node_cannot_attend_with_anothers_identity(services: Services) -> None:
    request = attendance(services, name="basel")
    refused(INVALID, "the TLS certificate is zurich's", lambda: attend(services, request, services.by("zurich")))


# --- reports ------------------------------------------------------------------------------------------


def test_a_report_of_nothing(services: Services) -> None:
    refused(INVALID, "holds none of", lambda: services.nodes.Report(pb.NodeReport(), services.by("zurich")))


@pytest.mark.parametrize("payload", [b"", bytes(limits.MASKING_MESSAGE_BYTES + 1)])
def test_a_masking_message_of_an_impossible_size(services: Services, payload: bytes) -> None:
    address = pb.RoundAddress(job="ab" * 32, stage="statistics")
    report = pb.NodeReport(message=pb.MaskingStep(address=address, payload=payload))
    refused(INVALID, "the masking message has", lambda: services.nodes.Report(report, services.by("zurich")))


@pytest.mark.parametrize(
    "verdict",
    [
        pb.JobVerdict(job="no digest", accepted=True),
        pb.JobVerdict(job="ab" * 32, accepted=True, policy="x" * 300),
        pb.JobVerdict(job="ab" * 32, accepted=True, policy="a\x00b"),
    ],
)
def test_an_answer_with_something_else_in_place_of_a_digest(services: Services, verdict: pb.JobVerdict) -> None:
    refused(
        INVALID,
        "is not a SHA-256 digest",
        lambda: services.nodes.Report(pb.NodeReport(verdict=verdict), services.by("zurich")),
    )


def test_an_answer_with_endless_reasons_is_cut(services: Services, consortium: Consortium) -> None:
    """It counts, and the log takes it."""
    job = services.play.submit(JobFile().signed(consortium).envelope)
    reasons = [pb.Reason(clause="A" * 500, sentence="\x00" + "B" * 5_000, allowed=False)] * 1_000
    verdict = pb.JobVerdict(job=job, accepted=False, reasons=reasons, policy="ab" * 32)
    services.nodes.Report(pb.NodeReport(verdict=verdict), services.by("zurich"))
    [entry] = services.play.process.audit("job.declined")
    assert entry.actor == "node/zurich"
    assert len(services.play.process.detail(job).answers[0].reasons) == 20


def test_a_refusal_is_noted_in_the_callers_name(services: Services, consortium: Consortium) -> None:
    job = services.play.submit(JobFile().signed(consortium).envelope)
    services.play.until(lambda: services.play.step_of(job) is Step.ADVERTISE)
    address = pb.RoundAddress(job=job, stage="statistics")
    refusal = pb.RoundRefusal(address=address, code="C" * 500, sentence="no " * 3_000)
    report = pb.NodeReport(session=services.play.members["zurich"].session, refusal=refusal)
    services.nodes.Report(report, services.by("zurich"))
    [entry] = services.play.process.audit("round.declined")
    assert entry.actor == "node/zurich"
    assert len(str(entry.details["code"])) <= 100


# --- uploads ------------------------------------------------------------------------------------------


@pytest.fixture
def upload(services: Services, consortium: Consortium) -> ContributionArrived:
    play = services.play
    job = play.submit(JobFile().signed(consortium).envelope)
    play.until(lambda: play.step_of(job) is Step.MASK)
    zurich = play.members["zurich"]
    [event] = [zurich.answer(item) for item in zurich.read() if item.WhichOneof("kind") == "masking_step"]
    zurich.inbox.clear()
    assert isinstance(event, ContributionArrived)
    return event


def parts(event: ContributionArrived, data: bytes | None = None, **changed: object) -> Iterator[pb.ContributionPart]:
    """An upload's stream, with the header's fields or the data changed."""
    content = event.vector.read_bytes() if data is None else data
    fields: dict[str, object] = {
        "session": event.session,
        "address": event.address.to_wire(),
        "message": event.payload,
        "size": event.vector.stat().st_size,
    }
    yield pb.ContributionPart(header=pb.ContributionHeader(**{**fields, **changed}))  # type: ignore[arg-type]  # by name
    for piece in chunks.split(content):
        yield pb.ContributionPart(data=piece)


def incoming(services: Services) -> list[Path]:
    return list(services.play.process.incoming.iterdir())


def test_a_whole_upload_is_stored(services: Services, upload: ContributionArrived) -> None:
    context = services.by("zurich")
    assert services.nodes.Contribute(parts(upload), context).note == "stored"
    assert services.nodes.Contribute(parts(upload), context).note == "stored"
    assert incoming(services) == []
    assert services.play.run(upload.address.job) == "finished"


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda upload: parts(upload, size=5), INVALID, "and zurich announced 5"),
        (lambda upload: parts(upload, data=upload.vector.read_bytes()[:-1]), INVALID, "ended after"),
        (lambda upload: parts(upload, data=upload.vector.read_bytes() + b"x"), INVALID, "broke its bounds"),
        (lambda upload: parts(upload, message=b""), INVALID, "the contribution header has 0 bytes"),
        (lambda upload: list(parts(upload))[1:], INVALID, "must begin with its header"),
        (lambda _upload: [], INVALID, "must begin with its header"),
        (lambda upload: [next(parts(upload))] * 2, INVALID, "broke its bounds"),
        (lambda upload: parts(upload, session=bytes(16)), FAILED, "another process of zurich"),
    ],
)
def test_an_upload_that_does_not_count(
    services: Services,
    upload: ContributionArrived,
    change: Callable[[ContributionArrived], Iterator[pb.ContributionPart] | list[pb.ContributionPart]],
    code: grpc.StatusCode,
    says: str,
) -> None:
    """Nothing of it stays on disk, and the whole one is still taken."""
    refused(code, says, lambda: services.nodes.Contribute(iter(change(upload)), services.by("zurich")))
    assert incoming(services) == []
    services.nodes.Contribute(parts(upload), services.by("zurich"))


# --- downloads ----------------------------------------------------------------------------------------


def download(stream: Iterator[pb.Chunk]) -> bytes:
    return b"".join(piece.data for piece in stream)


def test_a_node_fetches_broadcasts_of_its_own_jobs_only(services: Services, consortium: Consortium) -> None:
    play = services.play
    job = play.submit(JobFile(nodes=NODES[:4], training_rounds=1).signed(consortium).envelope)
    assert play.run(job) == "finished"
    broadcast = play.process.audit("round.started")[0].details["broadcast"]
    kinds = {item.kind: item.digest for item in play.process.detail(job).artefacts}

    def fetch(digest: object, by: str) -> bytes:
        request = pb.ArtefactRequest(job=job, digest=str(digest))
        return download(services.nodes.Download(request, services.by(by)))

    assert sha256_hex(fetch(broadcast, "basel")) == broadcast
    for wanted, by in (
        (broadcast, "zurich"),
        (kinds["model"], "basel"),
        (kinds["job-record"], "basel"),
        ("00" * 32, "basel"),
    ):
        refused(FAILED, "has no such artefact for you", lambda wanted=wanted, by=by: fetch(wanted, by))  # type: ignore[misc]  # bound per loop
    state = play.process.ledger.load(play.process.views.resolve(job)).state_digest
    refused(FAILED, "has no such artefact for you", lambda: fetch(state, "basel"))


def test_a_person_fetches_what_a_job_published(services: Services, consortium: Consortium) -> None:
    play = services.play
    job = play.submit(JobFile(training_rounds=1).signed(consortium).envelope)
    play.run(job)
    left = play.process.artefacts(job)
    for item in play.process.detail(job).artefacts:
        request = pb.ArtefactRequest(job="small", digest=item.digest)
        assert download(services.people.Download(request, services.by("grace"))) == left[item.kind]
    state = play.process.ledger.load(play.process.views.resolve(job)).state_digest
    broadcast = play.process.audit("round.started")[0].details["broadcast"]
    for hidden in (state, broadcast):
        request = pb.ArtefactRequest(job=job, digest=str(hidden))
        refused(
            FAILED,
            "has no such artefact for you",
            lambda request=request: download(services.people.Download(request, services.by("ada"))),  # type: ignore[misc]  # bound per loop
        )


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "/.."])
def test_an_artefact_is_named_by_its_digest_only(services: Services, digest: str) -> None:
    request = pb.ArtefactRequest(job="ab" * 32, digest=digest)
    refused(
        INVALID, "is not a SHA-256 digest", lambda: download(services.nodes.Download(request, services.by("basel")))
    )


def test_a_job_that_nobody_submitted(services: Services) -> None:
    for name in ("", "nothing", "ab" * 32):
        refused(
            FAILED,
            "there is no job",
            lambda name=name: services.people.ShowJob(pb.JobRequest(job=name), services.by("ada")),  # type: ignore[misc]  # bound per loop
        )


# --- watching and witnessing --------------------------------------------------------------------------


def test_watching_a_job_that_has_ended(services: Services, consortium: Consortium) -> None:
    job = services.play.submit(JobFile().signed(consortium).envelope)
    services.play.run(job)
    events = list(services.people.WatchJob(pb.JobRequest(job=job), services.by("ada")))
    assert [(event.kind, event.text) for event in events] == [("state", "finished"), ("done", "finished")]


def test_watching_a_job_that_ends_meanwhile(services: Services, consortium: Consortium) -> None:
    job = services.play.submit(JobFile().signed(consortium).envelope)
    stream = iter(services.people.WatchJob(pb.JobRequest(job=job), services.by("ada")))
    assert next(stream).text == "offered"
    services.play.run(job)
    assert [event.kind for event in stream] == ["done"]


def test_a_job_is_stopped_by_those_who_may(services: Services, consortium: Consortium) -> None:
    job = services.play.submit(JobFile().signed(consortium).envelope)
    summary = services.people.StopJob(pb.StopRequest(job=job, reason="misgivings"), services.by("grace"))
    assert (summary.state, summary.reason) == ("stopped", "stopped by grace: misgivings")


def test_a_checkpoint_for_witnesses(services: Services, consortium: Consortium) -> None:
    services.play.submit(JobFile().signed(consortium).envelope)
    reply = services.nodes.FetchCheckpoint(pb.CheckpointRequest(known_size=0), services.by("zurich"))
    assert reply.checkpoint.startswith(b"fedseal/hearts/coordinator\n1\n")
    for wrong in (b"", b"garbage", reply.checkpoint[:-9]):
        cosignature = pb.Cosignature(checkpoint=wrong, cosignature=b"no line")
        with pytest.raises(Aborted):
            services.nodes.Cosign(cosignature, services.by("zurich"))
    for link in (b"short", b"x" * 33):
        with pytest.raises(Aborted):
            services.nodes.Cosign(
                pb.Cosignature(checkpoint=reply.checkpoint, cosignature=b"no line", log_link=link),
                services.by("zurich"),
            )
    for size in (99, 2**63):
        with pytest.raises(Aborted):
            services.nodes.FetchCheckpoint(pb.CheckpointRequest(known_size=size), services.by("zurich"))
