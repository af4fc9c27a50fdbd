"""Which jobs a node accepts, and that a decision once made is repeated and never made again."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from fedseal.documents import JOB_TYPE
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.limits import DOCUMENT_BYTES
from fedseal_crypto.dsse import sign_document
from fedseal_crypto.identity import FederationName
from fedseal_governance import participation
from tests.unit.node.attempts import Coordinator, assert_counts, assert_refused
from tests.unit.node.papers import ROWS, JobFile, policy_with
from tests.unit.node.parties import NODES, NOW, Consortium
from tests.unit.node.site import Site, SiteMaker


@pytest.mark.parametrize(
    ("policy", "job", "clause"),
    [
        ({}, {"purpose": "DUO:0000004"}, "purposes"),
        ({"kinds: [training, statistics]": "kinds: [training]"}, {}, "jobs.kinds"),
        ({"minimum_cohort: 3}": "minimum_cohort: 4}"}, {}, "protection.minimum_cohort"),
        ({"minimum_records: 8": "minimum_records: 13"}, {}, "consent.minimum_records"),
        ({"max_rounds: 10": "max_rounds: 1"}, {"training_rounds": 2}, "jobs.max_rounds"),
        ({"learners: [logistic-regression]": "learners: [tabular-mlp]"}, {"training_rounds": 2}, "jobs.learners"),
        ({"node_operator_per_job: false": "node_operator_per_job: true"}, {}, "approval.node_operator_per_job"),
        ({"datasets: [hearts]": "datasets: [lungs]"}, {}, "policy"),
        ({}, {"dataset": "lungs"}, "policy"),
    ],
)
def test_a_job_that_the_policy_forbids(
    sites: SiteMaker, consortium: Consortium, policy: Mapping[str, str], job: Mapping[str, object], clause: str
) -> None:
    site = sites.fresh(policy=policy)
    coordinator = Coordinator(site, replace(JobFile(), **job).signed(consortium))  # type: ignore[arg-type]  # fields by name
    verdict = coordinator.offer()
    assert not verdict.accepted
    assert clause in [reason.clause for reason in verdict.reasons if not reason.allowed]
    [entry] = site.audit("job.refused")
    assert entry.details["refusals"] == [
        {"clause": reason.clause, "sentence": reason.sentence} for reason in verdict.reasons if not reason.allowed
    ]
    if coordinator.job.document.dataset == "hearts":
        assert_refused(site, coordinator.attempt().begin, code="RefusalError", says="has not accepted job")


def test_a_refused_job_stays_refused(sites: SiteMaker, consortium: Consortium) -> None:
    """Also when a later policy would allow it: the officers decide about jobs, not the order of offers."""
    site = sites.fresh(policy={"minimum_cohort: 3}": "minimum_cohort: 4}"})
    coordinator = Coordinator(site, JobFile().signed(consortium))
    first = coordinator.offer()
    site.approve_policy(policy_with({"version: 1": "version: 2"}))
    assert coordinator.offer() == first
    coordinator.end("refused")
    assert coordinator.offer() == first
    assert len(site.audit("job.refused")) == 1


def test_an_offer_is_answered_alike_however_often_it_comes(coordinator: Coordinator) -> None:
    site = coordinator.site
    first = coordinator.offer()
    site.restart()
    assert coordinator.offer() == first
    assert len(site.audit("job.accepted")) == 1
    coordinator.end()
    assert coordinator.offer().accepted
    assert_refused(site, coordinator.attempt().begin, code="RefusalError", says="or the job has ended")


def test_an_operator_agrees_to_a_job(sites: SiteMaker, consortium: Consortium) -> None:
    site = sites.fresh(policy={"node_operator_per_job: false": "node_operator_per_job: true"})
    coordinator = Coordinator(site, JobFile().signed(consortium))
    site.act(
        lambda act: participation.agree(act.session, coordinator.job.digest, operator="person/otto", now=site.clock())
    )
    assert coordinator.offer().accepted
    assert_counts(coordinator.attempt().finish(), ROWS)


# --- offers that are no jobs --------------------------------------------------------------------------


def verdict_on(site: Site, document: bytes) -> pb.JobVerdict:
    mark = site.mark()
    site.tell(job_offer=pb.JobOffer(job="ab" * 32, document=document))
    left = site.left_since(mark)
    assert (left.messages, left.vectors, left.refusals) == ([], [], [])
    [verdict] = left.verdicts
    return verdict


def test_a_job_that_no_data_scientist_signed(site: Site, consortium: Consortium) -> None:
    for signer in ("grace", "zurich", "coordinator"):
        verdict = verdict_on(site, JobFile().signed(consortium, by=signer).envelope)
        assert not verdict.accepted
        assert "must be signed by one person with the role data scientist" in verdict.reasons[0].sentence
    assert site.ledger.accepted_jobs() == ()


def test_a_job_signed_in_another_federation(site: Site) -> None:
    elsewhere = Consortium.found(FederationName("hearts"))
    verdict = verdict_on(site, JobFile().signed(elsewhere).envelope)
    assert not verdict.accepted
    assert "not issued by the authority of federation hearts" in verdict.reasons[0].sentence


def test_a_job_whose_signer_is_revoked(site: Site, consortium: Consortium) -> None:
    envelope = JobFile().signed(consortium).envelope
    consortium.revoke("ada")
    site.me.trust.update(consortium.crl(at=NOW))
    assert "person/ada was revoked" in verdict_on(site, envelope).reasons[0].sentence


def test_a_job_that_was_changed_after_signing(site: Site, consortium: Consortium) -> None:
    signed = JobFile().signed(consortium)
    ada = consortium.parties["ada"]
    other = JobFile(minimum_cohort=4).to_yaml()
    forged = sign_document(JOB_TYPE, other, key=consortium.parties["grace"].key, certificate_pem=ada.identity_pem)
    assert not verdict_on(site, forged.to_json()).accepted
    assert not verdict_on(site, signed.envelope[:-20]).accepted
    assert site.ledger.accepted_jobs() == ()


def test_another_kind_of_document(site: Site, consortium: Consortium) -> None:
    ada = consortium.parties["ada"]
    policy = sign_document(
        "application/vnd.fedseal.policy+yaml", JobFile().to_yaml(), key=ada.key, certificate_pem=ada.identity_pem
    )
    assert not verdict_on(site, policy.to_json()).accepted


@pytest.mark.parametrize("document", [b"", b"{}", b"\xff\xfe", bytes(DOCUMENT_BYTES + 1)])
def test_an_offer_that_cannot_be_read(site: Site, document: bytes) -> None:
    verdict = verdict_on(site, document)
    assert not verdict.accepted
    assert [reason.clause for reason in verdict.reasons] == ["document"]


def test_a_job_that_does_not_name_this_node(site: Site, consortium: Consortium) -> None:
    """Accepting it would be harmless, and a round with this node in it is refused by every member, itself included."""
    others = tuple(name for name in NODES if name != site.name)
    coordinator = Coordinator(site, JobFile(nodes=others).signed(consortium))
    coordinator.offer()
    attack = coordinator.attempt(roster=NODES)
    assert_refused(site, attack.begin, code="PeerFault", says="cleveland is not a node of this job")


def test_the_end_of_a_job_that_was_never_offered_changes_nothing(site: Site) -> None:
    entries = len(site.audit())
    site.tell(job_end=pb.JobEnd(job="ab" * 32, state="finished"))
    site.tell(job_end=pb.JobEnd(job="../../etc", state="finished"))
    assert len(site.audit()) == entries


def test_what_the_coordinator_says_at_the_end_is_kept_readable(
    coordinator: Coordinator, consortium: Consortium
) -> None:
    """Whatever it writes: the node's log takes it, shortened and on one line."""
    coordinator.end("failed", "\x00" + "A" * 5_000 + "\n" + "word " * 900)
    [entry] = coordinator.site.audit("job.ended")
    outcome = entry.details["outcome"]
    assert isinstance(outcome, str)
    assert outcome.startswith("failed:  AAAA")
    assert outcome.isprintable()
    assert len(outcome) <= 2_000
