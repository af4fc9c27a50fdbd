"""The federation's policy at a node: verified, pinned and enforced by the node itself."""

import pytest

from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.masking import Step
from fedseal_governance.policy import pinning
from tests.unit.node.attempts import Coordinator, assert_counts, assert_refused
from tests.unit.node.common_policy import (
    ELSEWHERE,
    HERE,
    common_policy,
    enrol_officer_elsewhere,
    handed_out,
    revocation,
    signed,
)
from tests.unit.node.papers import MINIMUM_RECORDS, ROWS, JobFile
from tests.unit.node.parties import OFFICERS, SCIENTIST, Consortium
from tests.unit.node.site import Site, SiteMaker


@pytest.fixture
def two_organisations(consortium: Consortium) -> Consortium:
    enrol_officer_elsewhere(consortium)
    return consortium


def pinned(site: Site) -> list[str]:
    return [item.digest for item in site.database.read(pinning.pinned_policies)]


def give(site: Site, consortium: Consortium, content: bytes) -> None:
    site.tell(**handed_out((signed(consortium, content, HERE, ELSEWHERE), None)))


def clauses(verdict: pb.JobVerdict) -> list[str]:
    return [reason.clause for reason in verdict.reasons if not reason.allowed]


def test_both_levels_must_allow(site: Site, two_organisations: Consortium) -> None:
    give(site, two_organisations, common_policy(minimum_cohort__3="minimum_cohort: 4"))
    verdict = Coordinator(site, JobFile().signed(two_organisations)).offer()
    assert not verdict.accepted
    assert clauses(verdict) == ["federation: protection.minimum_cohort"]
    [entry] = site.audit("job.refused")
    assert entry.details["federation_policies"] == pinned(site)


def test_a_job_under_both_policies_runs_and_names_them(site: Site, two_organisations: Consortium) -> None:
    content = common_policy()
    give(site, two_organisations, content)
    coordinator = Coordinator(site, JobFile().signed(two_organisations))
    verdict = coordinator.offer()
    assert verdict.accepted
    assert list(verdict.federation_policies) == [sha256_hex(content)]
    assert_counts(coordinator.attempt().finish(), ROWS)
    [entry] = site.audit("federation.policy.pinned")
    assert entry.details["officers"] == [f"person/{HERE}", f"person/{ELSEWHERE}"]


@pytest.mark.parametrize("who", [(HERE,), OFFICERS, (HERE, SCIENTIST)])
def test_what_too_few_or_others_signed_is_not_pinned(
    site: Site, two_organisations: Consortium, who: tuple[str, ...]
) -> None:
    """The coordinator may invent what it likes; the node says so once in its log and goes by what it has."""
    invented = handed_out((signed(two_organisations, common_policy(), *who), None))
    site.tell(**invented)
    site.tell(**invented)
    assert pinned(site) == []
    [entry] = site.audit("federation.policy.refused")
    assert entry.details["code"] == "RefusedError"
    assert Coordinator(site, JobFile().signed(two_organisations)).offer().accepted


@pytest.mark.parametrize(
    "policy",
    [
        pb.FederationPolicy(document=b"garbage", approved_at="2026-01-01T00:00:00+00:00"),
        pb.FederationPolicy(document=b"{}", approved_at="yesterday"),
        pb.FederationPolicy(document=b"", approved_at=""),
        pb.FederationPolicy(document=b"x" * (1 << 20 | 1)),
    ],
)
def test_garbage_is_left_out(site: Site, policy: pb.FederationPolicy) -> None:
    site.tell(federation_policies=pb.FederationPolicies(policies=[policy]))
    assert pinned(site) == []
    site.tell(federation_policies=pb.FederationPolicies(policies=[policy] * 101))
    assert pinned(site) == []


def test_no_older_version_comes_back(site: Site, two_organisations: Consortium) -> None:
    give(site, two_organisations, common_policy(version__1="version: 2", max_rounds__10="max_rounds: 1"))
    give(site, two_organisations, common_policy())
    verdict = Coordinator(site, JobFile(training_rounds=2).signed(two_organisations)).offer()
    assert clauses(verdict) == ["federation: jobs.max_rounds"]


def test_a_revoked_policy_ends_every_job(site: Site, two_organisations: Consortium) -> None:
    content = common_policy()
    give(site, two_organisations, content)
    coordinator = Coordinator(site, JobFile().signed(two_organisations))
    assert coordinator.offer().accepted
    document = signed(two_organisations, content, HERE, ELSEWHERE)
    forged = revocation(two_organisations, content, SCIENTIST)
    site.tell(**handed_out((document, forged)))
    assert site.audit("federation.policy.ended") == []
    site.tell(**handed_out((document, revocation(two_organisations, content, ELSEWHERE))))
    [entry] = site.audit("federation.policy.ended")
    assert (entry.details["officer"], entry.details["reason"]) == (f"person/{ELSEWHERE}", "a mistake")
    assert_refused(site, coordinator.attempt().begin, code="RefusalError", says=r"\[federation: policy\].*was revoked")
    later = Coordinator(site, JobFile(name="later").signed(two_organisations)).offer()
    assert clauses(later) == ["federation: policy"]


def test_a_policy_adopted_during_a_job_wants_it_submitted_again(site: Site, two_organisations: Consortium) -> None:
    coordinator = Coordinator(site, JobFile().signed(two_organisations))
    assert coordinator.offer().accepted
    give(site, two_organisations, common_policy())
    assert_refused(
        site, coordinator.attempt().begin, code="RefusalError", says="another version of the federation's policy"
    )


def test_the_stricter_cohort_of_both_counts_in_a_round(site: Site, two_organisations: Consortium) -> None:
    give(site, two_organisations, common_policy(minimum_cohort__3="minimum_cohort: 5"))
    coordinator = Coordinator(site, JobFile(minimum_cohort=5).signed(two_organisations))
    assert coordinator.offer().accepted
    attempt = coordinator.attempt()
    attempt.reach(Step.CONFIRM)
    assert coordinator.site.ledger.judge(coordinator.job, now=site.clock()).rules.protection.minimum_cohort == 5


def test_consent_is_needed_if_either_level_says_so(sites: SiteMaker, consortium: Consortium) -> None:
    enrol_officer_elsewhere(consortium)
    site = sites.fresh(policy={"required: true": "required: false", "minimum_records: 8": "minimum_records: 1"})
    site.welcome()
    give(site, consortium, common_policy(minimum_records__8=f"minimum_records: {MINIMUM_RECORDS}"))
    signed_job = JobFile().signed(consortium)
    rules = site.ledger.judge(signed_job, now=site.clock()).rules
    assert rules.consent_required
    assert site.ledger.usable(signed_job, rules, now=site.clock()).record_count == ROWS


def test_a_node_may_insist_on_a_policy_of_the_federation(sites: SiteMaker, consortium: Consortium) -> None:
    enrol_officer_elsewhere(consortium)
    site = sites.fresh(policy={"node_operator_per_job: false": "node_operator_per_job: false, federation_policy: true"})
    site.welcome()
    without = Coordinator(site, JobFile().signed(consortium)).offer()
    assert clauses(without) == ["approval.federation_policy"]
    give(site, consortium, common_policy())
    assert Coordinator(site, JobFile(name="again").signed(consortium)).offer().accepted
