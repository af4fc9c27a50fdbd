"""The table of permissions at the coordinator's door: each call by each kind of caller; each denial is in the log."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from fedseal.coordinator.custody_service import CustodyService
from fedseal.coordinator.service import AdministrationService, CoordinationService
from fedseal.coordinator.views import _NOTED_DENIALS
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire._generated import custody_pb2
from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.permissions import PERMISSIONS, Operation
from tests.unit.coordinator.members import Play
from tests.unit.coordinator.test_services import Aborted, Call
from tests.unit.node.parties import Consortium

# What each operation is at the door. The requests are empty: whoever is let in is refused for that, later.
PEOPLES_CALLS: dict[Operation, tuple[tuple[str, object], ...]] = {
    Operation.JOB_CHECK: (("CheckJob", pb.SignedFile()),),
    Operation.JOB_SUBMIT: (("SubmitJob", pb.SignedFile()),),
    Operation.JOB_READ: (
        ("ListJobs", pb.ListRequest()),
        ("ShowJob", pb.JobRequest()),
        ("WatchJob", pb.JobRequest()),
    ),
    Operation.JOB_STOP: (("StopJob", pb.StopRequest()),),
    Operation.NODE_LIST: (("ListNodes", pb.ListRequest()),),
    Operation.ARTEFACT_READ: (("Download", pb.ArtefactRequest()),),
    Operation.FEDERATION_POLICY_PROPOSE: (("ProposePolicy", pb.PolicyFile()),),
    Operation.FEDERATION_POLICY_APPROVE: (("SignPolicy", pb.SignedFile()),),
    Operation.FEDERATION_POLICY_REVOKE: (("RevokePolicy", pb.PolicyRevocation()),),
    Operation.FEDERATION_POLICY_READ: (
        ("ListPolicies", pb.ListRequest()),
        ("PolicyHistory", pb.PolicyRequest()),
        ("PolicyImpact", pb.PolicyFile()),
    ),
    Operation.REVOCATIONS_PUBLISH: (("PublishRevocations", pb.RevocationList()),),
}
NODES_CALLS: dict[Operation, tuple[tuple[str, object], ...]] = {
    Operation.ROUND_ATTEND: (("Attend", pb.Attendance()),),
    Operation.ROUND_REPORT: (("Report", pb.NodeReport()),),
    Operation.ROUND_CONTRIBUTE: (("Contribute", iter(())),),
    Operation.BROADCAST_READ: (("Download", pb.ArtefactRequest()),),
    Operation.CHECKPOINT_READ: (("FetchCheckpoint", pb.CheckpointRequest()),),
    Operation.CHECKPOINT_COSIGN: (("Cosign", pb.Cosignature()),),
}
CUSTODIANS_CALLS: dict[Operation, tuple[tuple[str, object], ...]] = {
    Operation.CUSTODY_ATTEND: (("Attend", custody_pb2.CustodianAttendance()),),
    Operation.CUSTODY_ANSWER: (
        ("Decline", custody_pb2.Declination()),
        ("PublishKey", iter(())),
        ("DeliverSum", iter(())),
        ("DeliverScalars", custody_pb2.ScalarDelivery()),
    ),
    Operation.CIPHERTEXT_READ: (("FetchCiphertext", custody_pb2.CiphertextRequest()),),
}
CALLERS: dict[str, Role | PartyKind] = {
    "ada": Role.DATA_SCIENTIST,
    "grace": Role.COMPLIANCE_OFFICER,
    "adam": Role.ADMINISTRATOR,
    "nora": Role.NODE_OPERATOR,
    "ursula": Role.AUDITOR,
    "zurich": PartyKind.NODE,
    "coordinator": PartyKind.COORDINATOR,
    "keeper": PartyKind.CUSTODIAN,
}


class Door:
    """The services of a coordinator in whose federation there is one caller of each kind."""

    def __init__(self, play: Play, consortium: Consortium) -> None:
        self.play, self.consortium = play, consortium
        for name in ("adam", "nora", "ursula"):
            role = CALLERS[name]
            assert isinstance(role, Role)
            consortium.enrol(PartyKind.PERSON, name, roles=(role,))
        consortium.enrol(PartyKind.CUSTODIAN, "keeper")
        process = play.process
        self.people = AdministrationService(engine=process.engine, trust=process.trust, views=process.views)
        self.nodes = CoordinationService(
            engine=process.engine,
            attendance=process.attendance,
            trust=process.trust,
            views=process.views,
            incoming=process.incoming,
        )
        self.custodians = CustodyService(
            engine=process.engine, trust=process.trust, views=process.views, incoming=process.incoming
        )

    def denied(self) -> list[tuple[str, str]]:
        return [(entry.actor, entry.subject) for entry in self.play.process.audit("permission.denied")]

    def call(self, service: object, method: str, request: object, caller: str) -> str:
        """What the caller hears: nothing, or a sentence."""
        context = Call(self.consortium.parties[caller].tls_pem)
        handler: Callable[[object, grpc.ServicerContext], Any] = getattr(service, method)
        try:
            answer = handler(request, context)  # type: ignore[arg-type]  # as much of it as is used
            if hasattr(answer, "__next__"):
                next(answer, None)
        except Aborted as aborted:
            return aborted.details
        return ""


@pytest.fixture
def door(play: Play, consortium: Consortium) -> Door:
    return Door(play, consortium)


def test_every_operation_at_a_coordinator_has_a_call() -> None:
    here = {operation for operation, rule in PERMISSIONS.items() if rule.at is PartyKind.COORDINATOR}
    assert here == PEOPLES_CALLS.keys() | NODES_CALLS.keys() | CUSTODIANS_CALLS.keys()


def test_each_cell_and_each_denial_is_logged(door: Door) -> None:
    expected: list[tuple[str, str]] = []
    doors = (
        (door.people, PEOPLES_CALLS),
        (door.nodes, NODES_CALLS),
        (door.custodians, CUSTODIANS_CALLS),
    )
    for service, calls in doors:
        for operation, variants in calls.items():
            rule = PERMISSIONS[operation]
            for method, request in variants:
                for caller, what in CALLERS.items():
                    heard = door.call(service, method, request, caller)
                    if what in rule.roles or what in rule.machines:
                        assert f"({operation.value})" not in heard, (method, caller)
                    else:
                        assert f"({operation.value})" in heard, (method, caller)
                        label = door.consortium.parties[caller].member.label
                        expected.append((label, f"operation/{operation.value}"))
    assert door.denied() == expected
    door.play.process.assert_log_verifies()


def test_a_revoked_person_is_noted_too(door: Door) -> None:
    door.consortium.revoke("adam")
    door.play.process.engine.take_revocations(door.consortium.crl(at=door.play.process.clock()))
    assert "person/adam was revoked" in door.call(door.people, "ListJobs", pb.ListRequest(), "adam")
    assert door.denied() == [("person/adam", "operation/job.read")]


def test_a_member_cannot_fill_the_log_with_denials(door: Door) -> None:
    for _ in range(_NOTED_DENIALS + 5):
        assert door.call(door.people, "StopJob", pb.StopRequest(), "ursula")
    assert door.denied() == [("person/ursula", "operation/job.stop")] * _NOTED_DENIALS
    assert door.call(door.people, "SubmitJob", pb.SignedFile(), "ursula")
    assert len(door.denied()) == _NOTED_DENIALS + 1


def test_a_person_revoked_while_watching_sees_no_more(door: Door) -> None:
    from tests.unit.node.papers import JobFile

    process = door.play.process
    job = door.play.submit(JobFile().signed(door.consortium).envelope)
    context = Call(door.consortium.parties["adam"].tls_pem)
    stream = door.people.WatchJob(pb.JobRequest(job=job), context)  # type: ignore[arg-type]  # as much as is used
    assert next(stream).kind == "state"
    process.engine.hub.publish(pb.JobEvent(job=job, kind="round", text="1"))
    assert next(stream).text == "1"
    door.consortium.revoke("adam")
    process.engine.take_revocations(door.consortium.crl(at=process.clock()))
    process.engine.hub.publish(pb.JobEvent(job=job, kind="round", text="2"))
    with pytest.raises(Aborted, match="person/adam was revoked"):
        next(stream)
