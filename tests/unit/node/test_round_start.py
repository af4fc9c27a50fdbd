"""A hostile coordinator begins a round: other parameters, other members, another broadcast, old revocation lists.

Each attack is refused before anything but the refusal leaves the node, and the honest beginning of the same attempt
still works afterwards: a refused beginning uses nothing up.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.limits import ARTEFACT_BYTES, CERTIFICATE_BYTES, REVOCATION_BYTES, ROSTER_MEMBERS
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.encoding import WordRun
from fedseal_crypto.identity import FederationName, PartyKind, Role
from fedseal_crypto.masking import Advertisement, ClientId, Step
from tests.unit.node.attempts import Attempt, Coordinator, assert_ignored, assert_refused
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import COORDINATOR, NODES, NOW, Consortium
from tests.unit.node.site import Site

OTHER = Digest("ab" * 32)


def assert_still_enters(coordinator: Coordinator, number: int = 0) -> None:
    """The honest attempt is entered, and its advertisement is the only thing that leaves."""
    site = coordinator.site
    mark = site.mark()
    coordinator.attempt(number).begin()
    left = site.left_since(mark)
    assert [type(message) for message in left.messages] == [Advertisement]
    assert (left.refusals, left.vectors) == ([], [])


# --- parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        ({"federation": "lungs"}, "PeerFault", "name another federation than this node's"),
        ({"job_digest": OTHER}, "PeerFault", "name another job digest"),
        ({"stage": "evaluation"}, "PeerFault", "name another stage"),
        ({"round": 1}, "PeerFault", "name another round"),
        ({"attempt": 1}, "PeerFault", "name another attempt"),
        ({"plan_digest": OTHER}, "PeerFault", "name another plan digest"),
        ({"layout_digest": bytes(32)}, "PeerFault", "layout is not the one this node computes"),
        ({"words": (WordRun(bits=64, count=2),)}, "PeerFault", "layout is not the one this node computes"),
        ({"threshold": 3}, "WeakParameters", "a threshold of 3; expected at least 4"),
        ({"neighbours": 2}, "WeakParameters", "a sparse graph; expected the complete graph"),
        ({"minimum_cohort": 2}, "PeerFault", "would release a sum of 2 and the job asks for at least 3"),
    ],
)
def test_parameters_that_are_not_the_nodes_own(
    coordinator: Coordinator, changed: dict[str, Any], code: str, says: str
) -> None:
    attack = coordinator.attempt(**changed)
    assert_refused(coordinator.site, attack.begin, code=code, says=says)
    assert coordinator.site.attempts(coordinator.job.digest) == ()
    assert_still_enters(coordinator)


def test_fewer_corrupted_members_than_the_node_computes(sites_of_seven: Coordinator) -> None:
    attack = sites_of_seven.attempt(roster=sites_of_seven.job.document.nodes, corrupted=1, threshold=5)
    assert_refused(
        sites_of_seven.site, attack.begin, code="WeakParameters", says="corrupted members of 1; expected at least 2"
    )


@pytest.fixture
def sites_of_seven(site: Site, consortium: Consortium) -> Coordinator:
    names = (*NODES, "utrecht", "vienna")
    for name in names[5:]:
        consortium.enrol(PartyKind.NODE, name)
    coordinator = Coordinator(site, JobFile(nodes=names).signed(consortium))
    assert coordinator.offer().accepted
    return coordinator


def test_stronger_parameters_are_welcome(coordinator: Coordinator) -> None:
    attempt = coordinator.attempt(threshold=5, minimum_cohort=4)
    attempt.finish()


@pytest.mark.parametrize(("stage", "round_"), [("training", 0), ("statistics", 1), ("statistics", 4_000)])
def test_a_stage_or_round_outside_the_programme(coordinator: Coordinator, stage: str, round_: int) -> None:
    attack = coordinator.attempt(stage=stage, round=round_)
    attack.address = RoundAddress(coordinator.job.digest, stage, round_, 0)
    assert_refused(coordinator.site, attack.begin, code="PeerFault", says="is not part of the job's programme")
    assert_still_enters(coordinator)


def test_the_parameters_of_another_job_under_its_own_address(coordinator: Coordinator, consortium: Consortium) -> None:
    """The node has accepted both jobs; what belongs to one is not taken for the other."""
    second = Coordinator(coordinator.site, JobFile(name="second", seed=2).signed(consortium))
    assert second.offer().accepted
    attack = coordinator.attempt()
    elsewhere = second.attempt()
    assert_refused(
        coordinator.site,
        lambda: attack.begin(parameters=elsewhere.parameters.encode()),
        code="PeerFault",
        says="another job digest",
    )
    assert_still_enters(coordinator)


# --- broadcast ----------------------------------------------------------------------------------------


def test_another_broadcast_than_the_parameters_name(coordinator: Coordinator) -> None:
    attack = coordinator.attempt()
    attack.broadcast = b"a model that isolates this node"
    assert_refused(coordinator.site, attack.begin, code="PeerFault", says="broadcast is not the one")
    assert_still_enters(coordinator)


def test_a_broadcast_that_does_not_belong_to_the_round(coordinator: Coordinator) -> None:
    """Its digest is right, its content is none of this job's."""
    foreign = b"\x08" + bytes(7) + b"{}      "
    attack = coordinator.attempt(broadcast_digest=sha256_hex(foreign + b"x"))
    attack.broadcast = foreign + b"x"
    assert_refused(coordinator.site, attack.begin, code="BroadcastRefused", says="broadcast of round 0")
    assert not list((coordinator.site.folder.path / "incoming").iterdir())
    assert_still_enters(coordinator)


@pytest.mark.parametrize("size", [0, ARTEFACT_BYTES + 1])
def test_a_broadcast_of_an_impossible_size_is_not_even_fetched(coordinator: Coordinator, size: int) -> None:
    attack = coordinator.attempt()
    assert_refused(
        coordinator.site, lambda: attack.begin(broadcast_size=size), code="PeerFault", says="larger than any can be"
    )
    assert coordinator.site.outbox.downloads == []
    assert_still_enters(coordinator)


# --- members ------------------------------------------------------------------------------------------


def pem_of(consortium: Consortium, name: str) -> str:
    return consortium.parties[name].identity_pem.decode()


def certificates(attempt: Attempt, **replaced: str) -> list[str]:
    """The roster's certificates, some of them exchanged."""
    consortium = attempt.coordinator.consortium
    return [replaced.get(name, pem_of(consortium, name)) for name in attempt.parameters.roster]


def a_person(consortium: Consortium) -> str:
    return pem_of(consortium, "ada")


def a_person_called_zurich(consortium: Consortium) -> str:
    made = consortium.certify(
        PartyKind.PERSON, "zurich", roles=(Role.NODE_OPERATOR,), lifetime=timedelta(days=60), at=NOW
    )
    return made.identity_pem.decode()


def the_coordinator(consortium: Consortium) -> str:
    return pem_of(consortium, COORDINATOR)


def a_tls_certificate(consortium: Consortium) -> str:
    return consortium.parties["zurich"].tls_pem.decode()


def another_federations(_consortium: Consortium) -> str:
    return _lungs().parties["zurich"].identity_pem.decode()


def another_root_of_the_same_name(_consortium: Consortium) -> str:
    return _twin().parties["zurich"].identity_pem.decode()


def an_expired_one(consortium: Consortium) -> str:
    made = consortium.certify(
        PartyKind.NODE, "zurich", roles=(), lifetime=timedelta(days=1), at=NOW - timedelta(days=2)
    )
    return made.identity_pem.decode()


def one_from_the_future(consortium: Consortium) -> str:
    made = consortium.certify(
        PartyKind.NODE, "zurich", roles=(), lifetime=timedelta(days=9), at=NOW + timedelta(days=1)
    )
    return made.identity_pem.decode()


def somebody_elses(consortium: Consortium) -> str:
    return pem_of(consortium, "hungary")


def two_at_once(consortium: Consortium) -> str:
    return pem_of(consortium, "zurich") + pem_of(consortium, "hungary")


def nothing(_consortium: Consortium) -> str:
    return ""


def _lungs() -> Consortium:
    return _foreign(FederationName("lungs"))


def _twin() -> Consortium:
    return _foreign(FederationName("hearts"))


def _foreign(name: FederationName) -> Consortium:
    return Consortium.found(name)


@pytest.mark.parametrize(
    ("forge", "code", "says"),
    [
        (a_person, "PeerFault", "zurich is not a node of this job with that certificate"),
        (a_person_called_zurich, "PeerFault", "zurich is not a node of this job with that certificate"),
        (the_coordinator, "PeerFault", "zurich is not a node of this job with that certificate"),
        (somebody_elses, "PeerFault", "zurich is not a node of this job with that certificate"),
        (a_tls_certificate, "CertificateInvalid", "is not for identity use"),
        (another_federations, "ForeignCertificate", "not issued by the authority of federation hearts"),
        (another_root_of_the_same_name, "ForeignCertificate", "not issued by the authority"),
        (an_expired_one, "CertificateExpired", "node/zurich expired at 2026-05-31"),
        (one_from_the_future, "CertificateNotYetValid", "is valid from 2026-06-02"),
        (two_at_once, "CertificateInvalid", "not exactly one PEM certificate"),
        (nothing, "CertificateInvalid", "not exactly one PEM certificate"),
    ],
)
def test_a_member_with_a_certificate_that_is_not_its_own(
    coordinator: Coordinator, consortium: Consortium, forge: Callable[[Consortium], str], code: str, says: str
) -> None:
    attack = coordinator.attempt()
    listed = certificates(attack, zurich=forge(consortium))
    assert_refused(coordinator.site, lambda: attack.begin(member_certificates=listed), code=code, says=says)
    assert coordinator.site.attempts(coordinator.job.digest) == ()
    assert_still_enters(coordinator)


def test_a_node_that_the_job_does_not_name(coordinator: Coordinator, consortium: Consortium) -> None:
    consortium.enrol(PartyKind.NODE, "oslo")
    attack = coordinator.attempt(roster=(*NODES, "oslo"))
    assert_refused(coordinator.site, attack.begin, code="PeerFault", says="oslo is not a node of this job")
    assert_still_enters(coordinator)


def test_an_invented_member(coordinator: Coordinator) -> None:
    """A name that nobody has, with a certificate that somebody has."""
    attack = coordinator.attempt()
    attack.parameters = replace(
        attack.parameters, roster=tuple(sorted((*attack.parameters.roster[:-1], ClientId("mallory"))))
    )
    parties = coordinator.consortium.parties
    listed = [parties[name if name in parties else "zurich"].identity_pem.decode() for name in attack.parameters.roster]
    assert_refused(
        coordinator.site,
        lambda: attack.begin(member_certificates=listed),
        code="PeerFault",
        says="mallory is not a node of this job",
    )
    assert_still_enters(coordinator)


@pytest.mark.parametrize("count", [4, 6])
def test_another_number_of_certificates_than_of_members(coordinator: Coordinator, count: int) -> None:
    attack = coordinator.attempt()
    listed = [*certificates(attack), pem_of(coordinator.consortium, "zurich")][:count]
    assert_refused(
        coordinator.site,
        lambda: attack.begin(member_certificates=listed),
        code="PeerFault",
        says=f"5 members and {count} certificates",
    )
    assert_still_enters(coordinator)


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ([], "a round names 1 to 10000 members, this one 0"),
        (["x"] * (ROSTER_MEMBERS + 1), "this one 10001"),
        (["x" * (CERTIFICATE_BYTES + 1)], "larger than any can be"),
    ],
)
def test_lists_of_certificates_beyond_every_limit(coordinator: Coordinator, listed: list[str], says: str) -> None:
    attack = coordinator.attempt()
    assert_refused(coordinator.site, lambda: attack.begin(member_certificates=listed), code="PeerFault", says=says)
    assert_still_enters(coordinator)


def test_a_roster_without_this_node(coordinator: Coordinator) -> None:
    """Nothing of this node would be in the sum, but its advertisement would make an honest looking round."""
    attack = coordinator.attempt(roster=[name for name in NODES if name != coordinator.site.name])
    assert_refused(coordinator.site, attack.begin, code="ParametersInvalid", says="not among the members")
    assert_still_enters(coordinator)


def test_a_member_with_this_nodes_certificate_twice(coordinator: Coordinator) -> None:
    attack = coordinator.attempt()
    listed = certificates(attack, zurich=pem_of(coordinator.consortium, coordinator.site.name))
    assert_refused(
        coordinator.site,
        lambda: attack.begin(member_certificates=listed),
        code="PeerFault",
        says="zurich is not a node of this job",
    )


# --- revocation ---------------------------------------------------------------------------------------


def test_a_revoked_member(coordinator: Coordinator, consortium: Consortium) -> None:
    consortium.revoke("zurich")
    newer = consortium.crl()
    attack = coordinator.attempt()
    assert_refused(
        coordinator.site,
        lambda: attack.begin(revocation_list=newer),
        code="CertificateRevoked",
        says="node/zurich was revoked",
    )
    # The list is the node's own from now on: an older one does not bring the member back.
    again = coordinator.attempt()
    assert_refused(
        coordinator.site, lambda: again.begin(revocation_list=newer), code="CertificateRevoked", says="zurich"
    )
    coordinator.attempt(roster=[name for name in NODES if name != "zurich"]).finish()


def test_this_node_revoked(coordinator: Coordinator, consortium: Consortium) -> None:
    consortium.revoke(coordinator.site.name)
    attack = coordinator.attempt()
    newer = consortium.crl()
    assert_refused(
        coordinator.site,
        lambda: attack.begin(revocation_list=newer),
        code="CertificateRevoked",
        says="node/cleveland was revoked",
    )


def older(consortium: Consortium) -> bytes:
    consortium.lists = 0
    return consortium.crl()


def stale(consortium: Consortium) -> bytes:
    return consortium.crl(at=NOW - timedelta(days=40), days=39)


def from_the_future(consortium: Consortium) -> bytes:
    return consortium.crl(at=NOW + timedelta(days=1))


def foreign(_consortium: Consortium) -> bytes:
    twin = _twin()
    twin.lists = 50
    return twin.crl()


def garbage(_consortium: Consortium) -> bytes:
    return b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"


@pytest.mark.parametrize(
    ("forge", "code", "says"),
    [
        (stale, "RevocationListStale", "was to be renewed by"),
        (from_the_future, "RevocationListInvalid", "was issued at 2026-06-02"),
        (foreign, "RevocationListInvalid", "not signed by this federation's authority"),
        (garbage, "RevocationListInvalid", "list"),
        (lambda _consortium: b"", "PeerFault", "sent no revocation list"),
        (lambda _consortium: bytes(REVOCATION_BYTES + 1), "PeerFault", "larger than any can be"),
    ],
)
def test_a_revocation_list_that_is_not_the_newest(
    coordinator: Coordinator, consortium: Consortium, forge: Callable[[Consortium], bytes], code: str, says: str
) -> None:
    """The node holds list 3; the coordinator would rather that nobody was ever revoked."""
    site = coordinator.site
    consortium.lists = 2
    site.me.trust.update(consortium.crl())
    attack = coordinator.attempt()
    forged = forge(consortium)
    assert_refused(site, lambda: attack.begin(revocation_list=forged), code=code, says=says)
    assert site.me.trust.revocations.number == 3
    assert_still_enters(coordinator)


def test_an_older_revocation_list_changes_nothing(coordinator: Coordinator, consortium: Consortium) -> None:
    """The coordinator has not heard of the newest list; the node judges by its own and goes on."""
    site = coordinator.site
    consortium.lists = 2
    site.me.trust.update(consortium.crl())
    coordinator.attempt().begin(revocation_list=older(consortium))
    assert site.me.trust.revocations.number == 3
    assert_still_enters(coordinator)


def test_a_revocation_list_goes_stale_while_nobody_sends_a_new_one(coordinator: Coordinator) -> None:
    """A coordinator that holds a revocation back stops its own rounds."""
    attack = coordinator.attempt()
    coordinator.site.clock.forward(days=31)
    assert_refused(coordinator.site, attack.begin, code="RevocationListStale", says="fetch the current list")


# --- addresses ----------------------------------------------------------------------------------------


def test_a_job_that_was_never_offered(coordinator: Coordinator, consortium: Consortium) -> None:
    stranger = Coordinator(coordinator.site, JobFile(name="stranger").signed(consortium))
    attack = stranger.attempt()
    assert_refused(coordinator.site, attack.begin, code="RefusalError", says="was never offered to this node")
    assert_still_enters(coordinator)


def test_steps_before_any_round_are_ignored(coordinator: Coordinator) -> None:
    assert_ignored(coordinator.site, lambda: coordinator.attempt().instruct(b"anything"))


def test_refusals_of_jobs_never_offered_do_not_fill_the_log(coordinator: Coordinator, consortium: Consortium) -> None:
    """The first hundred are evidence; the coordinator is told each time."""
    site = coordinator.site
    stranger = Coordinator(site, JobFile(name="stranger").signed(consortium))
    start = pb.Instruction(round_start=stranger.attempt().start())
    for _ in range(103):
        site.agent.handle(start)
    assert len(site.audit("round.refused")) == 100
    assert len(site.left_since((0, 0)).refusals) == 103


def test_nothing_is_fetched_for_a_round_that_is_refused_anyway(coordinator: Coordinator) -> None:
    """A broadcast may be large; it is asked for when everything else is right."""
    coordinator.attempt(plan_digest=OTHER).begin()
    coordinator.attempt(roster=[name for name in NODES if name != "zurich"]).begin(member_certificates=["x"] * 4)
    assert coordinator.site.outbox.downloads == []
    attempt = coordinator.attempt()
    assert_refused(
        coordinator.site,
        lambda: attempt.begin(broadcast_size=10_000_000),
        code="PeerFault",
        says="a broadcast of 10000000 bytes is announced, [0-9]+ is the most",
    )
    assert coordinator.site.outbox.downloads == []


def test_a_coordinator_that_does_not_hand_the_broadcast_out(coordinator: Coordinator) -> None:
    """It has refused, not this node: the attempt is over and nothing is noted."""
    attempt = coordinator.attempt()
    start = attempt.start()
    assert_ignored(coordinator.site, lambda: coordinator.site.tell(round_start=start))
    assert coordinator.site.attempts(coordinator.job.digest) == ()
    assert_still_enters(coordinator)


def test_a_broken_line_while_the_vector_is_handed_in(coordinator: Coordinator) -> None:
    """The coordinator turns the vector away and asks again: the same bytes leave, made and noted once."""
    attempt, site = coordinator.attempt(), coordinator.site
    delivery = attempt.reach(Step.MASK)
    assert delivery is not None
    site.outbox.turns_away = 1
    attempt.instruct(delivery)
    attempt.instruct(delivery)
    [first, second] = site.outbox.vectors
    assert first == second
    assert len(site.audit("round.contributed")) == 1
    assert site.left_since((0, 0)).refusals == []
