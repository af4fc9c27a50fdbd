"""The federation's policy at the coordinator: proposed, signed, handed out, enforced at submission, looked back at."""

import json

import grpc
import pytest

from fedseal.coordinator.admission import RefusedByFederation
from fedseal.coordinator.service import AdministrationService
from fedseal.evidence import documents_of
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.records import read_record
from tests.unit.coordinator.members import Play
from tests.unit.coordinator.test_services import FAILED, Call, refused
from tests.unit.node.common_policy import ELSEWHERE, HERE, common_policy, enrol_officer_elsewhere, revocation, signed
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import OFFICERS, SCIENTIST, Consortium


class People:
    """Calls of people at the coordinator's administration service."""

    def __init__(self, play: Play, consortium: Consortium) -> None:
        process = play.process
        self.consortium = consortium
        self.service = AdministrationService(engine=process.engine, trust=process.trust, views=process.views)

    def by(self, name: str) -> grpc.ServicerContext:
        return Call(self.consortium.parties[name].tls_pem)  # type: ignore[return-value]  # as much of it as is used

    def propose(self, content: bytes, by: str = HERE) -> pb.PolicyView:
        return self.service.ProposePolicy(pb.PolicyFile(content=content, filename="common.yaml"), self.by(by))

    def sign(self, content: bytes, by: str, *, signer: str | None = None) -> pb.PolicyView:
        document = signed(self.consortium, content, signer or by).to_json()
        return self.service.SignPolicy(pb.SignedFile(document=document), self.by(by))

    def adopt(self, content: bytes) -> pb.PolicyView:
        self.propose(content)
        self.sign(content, HERE)
        return self.sign(content, ELSEWHERE)

    def revoke(self, content: bytes, by: str, *, signer: str | None = None) -> pb.PolicyView:
        document = revocation(self.consortium, content, signer or by).to_json()
        request = pb.PolicyRevocation(policy=sha256_hex(content), document=document)
        return self.service.RevokePolicy(request, self.by(by))


@pytest.fixture
def people(play: Play, consortium: Consortium) -> People:
    enrol_officer_elsewhere(consortium)
    consortium.enrol(PartyKind.PERSON, "root", roles=(Role.ADMINISTRATOR,))
    return People(play, consortium)


def told(play: Play) -> dict[str, list[pb.FederationPolicies]]:
    """What each node was handed out."""
    return {
        name: [item.federation_policies for item in member.read() if item.WhichOneof("kind") == "federation_policies"]
        for name, member in play.members.items()
    }


def test_a_policy_goes_from_proposal_to_every_node(play: Play, people: People) -> None:
    content = common_policy()
    assert people.propose(content, by="root").state == "proposed"
    assert people.sign(content, HERE).signatures_missing == 1
    assert all(not messages for messages in told(play).values())
    refused(FAILED, "another organisation must sign", lambda: people.sign(content, OFFICERS[1]))
    assert people.sign(content, ELSEWHERE).state == "in_force"
    for messages in told(play).values():
        [message] = messages
        [policy] = message.policies
        assert policy.document == signed(people.consortium, content, HERE, ELSEWHERE).to_json()
    [listed] = people.service.ListPolicies(pb.ListRequest(), people.by(SCIENTIST)).policies
    assert (listed.proposer, list(listed.signers)) == ("person/root", [f"person/{HERE}", f"person/{ELSEWHERE}"])
    steps = people.service.PolicyHistory(pb.PolicyRequest(policy="common"), people.by(SCIENTIST)).events
    assert [(step.what, step.who) for step in steps][:3] == [
        ("proposed", "person/root"),
        ("signed", f"person/{HERE}"),
        ("signed", f"person/{ELSEWHERE}"),
    ]


def test_a_node_that_comes_later_is_told_too(play: Play, people: People) -> None:
    people.adopt(common_policy())
    told(play)
    member = play.members["zurich"]
    member.leave()
    member.inbox.clear()
    play.process.restart()
    member.attend()
    assert [item.WhichOneof("kind") for item in member.read()] == ["welcome", "federation_policies"]


def test_who_may_do_what(play: Play, people: People) -> None:
    """Each denial is in the log."""
    content = common_policy()
    for name in (SCIENTIST, "basel"):
        refused(FAILED, "federation.policy.propose", lambda name=name: people.propose(content, by=name))  # type: ignore[misc]  # bound per loop
    people.propose(content)
    refused(FAILED, "federation.policy.approve", lambda: people.sign(content, "root"))
    with pytest.raises(Exception, match="is not signed by"):
        people.sign(content, HERE, signer=ELSEWHERE)
    refused(FAILED, "federation.policy.revoke", lambda: people.revoke(content, SCIENTIST))
    assert len(play.process.audit("permission.denied")) == 4


# --- enforced at submission ---------------------------------------------------------------------------------


def test_what_the_federation_forbids_is_not_submitted(play: Play, people: People, consortium: Consortium) -> None:
    people.adopt(common_policy(max_rounds__10="max_rounds: 1"))
    job = JobFile(training_rounds=2).signed(consortium)
    with pytest.raises(RefusedByFederation, match=r"\[federation: jobs.max_rounds\]"):
        play.submit(job.envelope)
    [entry] = play.process.audit("job.refused")
    assert entry.details["by_federation"] is True
    verdicts = play.process.engine.check_job(job.envelope)
    assert not verdicts.accepted
    assert (verdicts.federation.adopted, verdicts.federation.accepted) == (True, False)
    assert [item.clause for item in verdicts.federation.reasons if not item.allowed] == ["federation: jobs.max_rounds"]
    [change] = verdicts.advice.changes
    assert (change.field, json.loads(change.value), verdicts.advice.sufficient) == ("method.rounds", 1, True)


def test_without_one_the_nodes_decide_alone(play: Play, people: People, consortium: Consortium) -> None:
    verdicts = play.process.engine.check_job(JobFile().signed(consortium).envelope)
    assert verdicts.accepted
    assert not verdicts.federation.adopted
    assert verdicts.advice.sufficient
    del people


def test_a_job_record_and_a_bundle_hold_the_policy(play: Play, people: People, consortium: Consortium) -> None:
    content = common_policy()
    people.adopt(content)
    job = play.submit(JobFile().signed(consortium).envelope)
    assert play.run(job) == "finished"
    [submitted] = play.process.audit("job.submitted")
    assert submitted.details["federation_policies"] == [sha256_hex(content)]
    assert read_record(play.process.artefacts(job)["job-record"]).federation_policies == (sha256_hex(content),)
    process = play.process
    documents = process.database.read(lambda session: documents_of(session, process.ledger.log, process.folder.path))
    assert content in documents.values()
    assert signed(consortium, content, HERE, ELSEWHERE).to_json() in documents.values()
    process.assert_log_verifies()


# --- ended --------------------------------------------------------------------------------------------------


def test_one_officers_word_ends_it_everywhere(play: Play, people: People, consortium: Consortium) -> None:
    content = common_policy()
    people.adopt(content)
    told(play)
    with pytest.raises(Exception, match="is signed by person"):
        people.revoke(content, HERE, signer=ELSEWHERE)
    assert people.revoke(content, OFFICERS[1]).state == "revoked"
    with pytest.raises(RefusedByFederation, match=r"was revoked \(a mistake\)"):
        play.submit(JobFile().signed(consortium).envelope)
    newest = [messages[-1] for messages in told(play).values()]
    assert all(message.policies[0].revocation for message in newest)


def test_a_proposal_is_withdrawn_without_a_word_to_the_nodes(play: Play, people: People) -> None:
    content = common_policy()
    people.propose(content)
    assert people.revoke(content, HERE).state == "revoked"
    assert all(not messages for messages in told(play).values())


def test_a_policy_comes_into_force_on_its_day(play: Play, people: People) -> None:
    start = (play.process.clock().date()).toordinal() + 2
    from datetime import date

    people.adopt(common_policy(**{"from: 2026-01-01": f"from: {date.fromordinal(start)}"}))
    assert people.service.ListPolicies(pb.ListRequest(), people.by(HERE)).policies[0].state == "approved"
    play.process.tick(days=2)
    assert people.service.ListPolicies(pb.ListRequest(), people.by(HERE)).policies[0].state == "in_force"


def test_past_jobs_are_judged_again(play: Play, people: People, consortium: Consortium) -> None:
    people.adopt(common_policy(max_rounds__10="max_rounds: 2"))
    kept = play.submit(JobFile(training_rounds=2).signed(consortium).envelope)
    with pytest.raises(RefusedByFederation):
        play.submit(JobFile(name="long", training_rounds=3).signed(consortium).envelope)
    looser = common_policy(version__1="version: 2", **{"kinds: [training, statistics]": "kinds: [training]"})
    stricter = common_policy(version__1="version: 3", max_rounds__10="max_rounds: 1")

    def judged(content: bytes) -> list[tuple[str, bool, bool]]:
        request = pb.PolicyFile(content=content, filename="new.yaml")
        jobs = people.service.PolicyImpact(request, people.by(HERE)).jobs
        return [(item.name, item.before, item.after) for item in jobs]

    assert judged(looser) == [("small", True, True), ("long", False, True)]
    assert judged(stricter) == [("small", True, False), ("long", False, False)]
    assert play.process.state(kept) == "offered"
