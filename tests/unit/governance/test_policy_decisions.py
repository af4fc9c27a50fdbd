"""Decisions: every clause refuses with its name and what to change."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.policy import Decision, NodeFacts, PolicyDocument, decide, load_policy
from fedseal_governance.vocabulary import Disclosure

DAY = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
FACTS = NodeFacts(
    now=DAY,
    datasets=frozenset({"heart-disease"}),
    usable_records=50,
    method_discloses=Disclosure.SUM,
)


@pytest.fixture
def policy(policy_bytes: bytes) -> PolicyDocument:
    return load_policy(policy_bytes, "policy.yaml")


@pytest.fixture
def job(training_bytes: bytes) -> JobDocument:
    return load_job(training_bytes, "job.yaml")


def refused(decision: Decision) -> dict[str, str]:
    assert decision.allowed is (not decision.refusals)
    return {reason.clause: reason.sentence for reason in decision.refusals}


def test_allowed_job_has_a_reason_for_every_clause(job: JobDocument, policy: PolicyDocument) -> None:
    decision = decide(job, policy, FACTS)
    assert decision.allowed
    assert [reason.clause for reason in decision.reasons] == [
        "datasets",
        "purposes",
        "jobs.kinds",
        "jobs.methods",
        "jobs.learners",
        "jobs.max_rounds",
        "jobs.max_local_epochs",
        "protection.allowed",
        "protection.coordinator_may_learn",
        "protection.minimum_cohort",
        "privacy",
        "consent.minimum_records",
        "valid",
    ]
    assert all(reason.sentence.endswith(".") for reason in decision.reasons)


def test_statistics_job_needs_neither_method_nor_learner(statistics_bytes: bytes, policy: PolicyDocument) -> None:
    assert decide(load_job(statistics_bytes, "job.yaml"), policy, FACTS).allowed


@pytest.mark.parametrize(
    ("old", "new", "clause", "words"),
    [
        (b"dataset: heart-disease", b"dataset: lungs", "datasets", "covers the datasets heart-disease, not lungs"),
        (
            b"DUO:0000006",
            b"DUO:0000011",
            "purposes",
            "the job asks for population origins or ancestry research only (DUO:0000011)",
        ),
        (b"DUO:0000006", b"DUO:0000042", "purposes", "change the job's purpose"),
        (
            b"name: fedavg",
            b"name: fedsgd",
            "jobs.methods",
            "The allowed methods are fedavg, fedprox, lockdown, but the job uses fedsgd",
        ),
        (b"name: tabular-mlp", b"name: boost", "jobs.learners", "the job uses boost"),
        (
            b"rounds: 20",
            b"rounds: 201",
            "jobs.max_rounds",
            "At most 200 rounds may be run, but the job asks for 201; lower `rounds`.",
        ),
        (b"local_epochs: 2", b"local_epochs: 6", "jobs.max_local_epochs", "the job makes 6; lower `local_epochs`."),
        (b"{local_epochs: 2}", b"{}", "jobs.max_local_epochs", "add `local_epochs` to the settings of its method"),
        (b"local_epochs: 2", b"local_epochs: 0", "jobs.max_local_epochs", "the job makes 0"),
        (
            b"protection: masking",
            b"protection: homomorphic",
            "protection.allowed",
            "must be protected by masking or hybrid",
        ),
        (
            b"disclosure: SUM",
            b"disclosure: SCALARS",
            "protection.coordinator_may_learn",
            "choose a method that discloses less",
        ),
    ],
)
def test_each_clause_of_the_job(
    training_bytes: bytes, policy: PolicyDocument, old: bytes, new: bytes, clause: str, words: str
) -> None:
    found = refused(decide(load_job(training_bytes.replace(old, new), "job.yaml"), policy, FACTS))
    assert list(found) == [clause]
    assert words in found[clause]


@pytest.mark.parametrize(
    ("old", "new", "clause", "words"),
    [
        (b"[training, statistics]", b"[statistics]", "jobs.kinds", "Jobs for training a model are not allowed"),
        (
            b"minimum_cohort: 3",
            b"minimum_cohort: 4",
            "protection.minimum_cohort",
            "at least 4 sites, but the job would release them for 3; raise `minimum_cohort`.",
        ),
        (
            b"{mechanism: none}",
            b"{epsilon_per_job: 2, epsilon_total: 8, delta: 1e-5}",
            "privacy",
            "the job declares no privacy mechanism",
        ),
        (
            b"minimum_records: 50",
            b"minimum_records: 51",
            "consent.minimum_records",
            "At least 51 records with a consent in force are needed",
        ),
        (b"per_job: false", b"per_job: true", "approval.node_operator_per_job", "ask the operator"),
        (
            b"from: 2026-01-01",
            b"from: 2026-05-05",
            "valid",
            "valid from 2026-05-05 until 2027-12-31, and today is 2026-05-04",
        ),
        (b"until: 2027-12-31", b"until: 2026-05-03", "valid", "have a new version of the policy approved"),
        (
            b"max_rounds",
            b"learner_digests: {tabular-mlp: " + b"a" * 64 + b"}, max_rounds",
            "jobs.learner_digests",
            "is not the one that was approved",
        ),
    ],
)
def test_each_clause_of_the_policy(
    policy_bytes: bytes, job: JobDocument, old: bytes, new: bytes, clause: str, words: str
) -> None:
    found = refused(decide(job, load_policy(policy_bytes.replace(old, new), "policy.yaml"), FACTS))
    assert list(found) == [clause]
    assert words in found[clause]


@pytest.mark.parametrize(
    ("facts", "clause"),
    [
        (replace(FACTS, datasets=frozenset()), "datasets"),
        (replace(FACTS, usable_records=None), "consent.minimum_records"),
        (replace(FACTS, usable_records=49), "consent.minimum_records"),
        (replace(FACTS, method_discloses=None), "protection.coordinator_may_learn"),
        (replace(FACTS, method_discloses=Disclosure.GROUP_SUMS), "protection.coordinator_may_learn"),
        (replace(FACTS, now=datetime(2028, 1, 1, tzinfo=UTC)), "valid"),
    ],
)
def test_each_fact(job: JobDocument, policy: PolicyDocument, facts: NodeFacts, clause: str) -> None:
    assert list(refused(decide(job, policy, facts))) == [clause]


def test_first_and_last_day_count(job: JobDocument, policy: PolicyDocument) -> None:
    for moment in (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC)):
        assert decide(job, policy, replace(FACTS, now=moment)).allowed


def test_record_counts_never_travel(job: JobDocument, policy: PolicyDocument) -> None:
    for count in (49, 731):
        decision = decide(job, policy, replace(FACTS, usable_records=count))
        assert all(str(count) not in reason.sentence for reason in decision.reasons)


def test_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        replace(FACTS, now=datetime(2026, 5, 4))  # noqa: DTZ001
