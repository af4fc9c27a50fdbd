"""Decisions: every clause refuses with its name and what to change, and a restriction never allows more."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fedseal_governance.jobs import JobDocument, LearnerChoice, load_job
from fedseal_governance.policy import Decision, NodeFacts, PolicyDocument, decide, load_policy
from fedseal_governance.purposes import TERMS, permits
from fedseal_governance.vocabulary import Disclosure, JobKind, Protection

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


# -- a restriction never allows more ---------------------------------------------------------------------

PURPOSES = [{"code": code, "label": term.label} for code, term in TERMS.items() if code != "DUO:0000007"] + [
    {"code": "DUO:0000007/MONDO:0005267", "label": "disease specific research (MONDO:0005267)"}
]
NAMES = ["alpha", "beta", "gamma"]
BUDGET = {"epsilon_per_job": 1.0, "epsilon_total": 2.0, "delta": 1e-5}


def some(options: list[Any], least: int = 1) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(options), min_size=least, unique_by=str, max_size=len(options))


policies = st.fixed_dictionaries(
    {
        "policy": st.just("p"),
        "version": st.just(1),
        "owner": st.just("O"),
        "datasets": some(NAMES),
        "purposes": some(PURPOSES),
        "jobs": st.fixed_dictionaries(
            {
                "kinds": some(list(JobKind)),
                "methods": some(NAMES),
                "learners": some(NAMES),
                "max_rounds": st.integers(1, 4),
                "max_local_epochs": st.integers(1, 4),
            }
        ),
        "protection": st.fixed_dictionaries(
            {
                "allowed": some(list(Protection)),
                "coordinator_may_learn": st.sampled_from(Disclosure),
                "minimum_cohort": st.integers(3, 5),
            }
        ),
        "privacy": st.sampled_from([{"mechanism": "none"}, BUDGET]),
        "consent": st.fixed_dictionaries({"required": st.booleans(), "minimum_records": st.integers(1, 4)}),
        "approval": st.fixed_dictionaries(
            {"compliance_officers": st.integers(1, 2), "node_operator_per_job": st.booleans()}
        ),
        "retention": st.just({"audit_years": 1, "model_years": 1}),
        "valid": st.fixed_dictionaries(
            {
                "from": st.dates(date(2026, 5, 1), date(2026, 5, 5)),
                "until": st.dates(date(2026, 5, 3), date(2026, 5, 8)),
            }
        ),
    }
)

jobs = st.fixed_dictionaries(
    {
        "job": st.just("j"),
        "purpose": st.sampled_from([purpose["code"] for purpose in PURPOSES]),
        "dataset": st.sampled_from(NAMES),
        "kind": st.just("training"),
        "method": st.fixed_dictionaries(
            {
                "name": st.sampled_from(NAMES),
                "rounds": st.integers(1, 4),
                "settings": st.sampled_from([{}, {"local_epochs": 1}, {"local_epochs": 3}]),
            }
        ),
        "learner": st.fixed_dictionaries({"name": st.sampled_from(NAMES)}),
        "features": st.just(["age"]),
        "target": st.just("num"),
        "evaluation": st.just({"holdout": 0.3}),
        "protection": st.sampled_from(Protection),
        "disclosure": st.sampled_from(Disclosure),
        "nodes": st.just(["a", "b", "c", "d", "e"]),
        "minimum_cohort": st.integers(3, 5),
    }
)

facts_of_a_node = st.builds(
    NodeFacts,
    now=st.just(DAY),
    datasets=st.frozensets(st.sampled_from(NAMES)),
    usable_records=st.none() | st.integers(0, 5),
    method_discloses=st.none() | st.sampled_from(Disclosure),
    learner_digest=st.none() | st.sampled_from(["a" * 64, "b" * 64]),
    operator_agreed=st.booleans(),
)


def restricted(policy: dict[str, Any], which: str, amount: int) -> dict[str, Any]:
    """The policy with one clause made narrower."""
    new = {key: dict(value) if isinstance(value, dict) else value for key, value in policy.items()}
    drop: dict[str, tuple[dict[str, Any], str]] = {
        "datasets": (new, "datasets"),
        "purposes": (new, "purposes"),
        "kinds": (new["jobs"], "kinds"),
        "methods": (new["jobs"], "methods"),
        "learners": (new["jobs"], "learners"),
        "protections": (new["protection"], "allowed"),
    }
    if which in drop:
        place, key = drop[which]
        place[key] = place[key][:amount] + place[key][amount + 1 :]
    elif which == "narrower purpose":
        first, *others = new["purposes"]
        if PURPOSES[-1] not in new["purposes"] and permits(first["code"], PURPOSES[-1]["code"]):
            new["purposes"] = [*others, PURPOSES[-1]]
    elif which in ("max_rounds", "max_local_epochs"):
        new["jobs"][which] -= amount
    elif which == "disclosure":
        new["protection"]["coordinator_may_learn"] = Disclosure.SUM
    elif which == "minimum_cohort":
        new["protection"]["minimum_cohort"] += amount
    elif which == "pin":
        new["jobs"]["learner_digests"] = {new["jobs"]["learners"][0]: "a" * 64}
    elif which == "budget":
        new["privacy"] = BUDGET
    elif which == "consent":
        new["consent"] = {"required": True, "minimum_records": new["consent"]["minimum_records"] + amount}
    elif which == "operator":
        new["approval"]["node_operator_per_job"] = True
    elif which == "from":
        new["valid"]["from"] += timedelta(days=amount)
    else:
        new["valid"]["until"] -= timedelta(days=amount)
    return new


RESTRICTIONS = [
    "datasets",
    "purposes",
    "narrower purpose",
    "kinds",
    "methods",
    "learners",
    "protections",
    "max_rounds",
    "max_local_epochs",
    "disclosure",
    "minimum_cohort",
    "pin",
    "budget",
    "consent",
    "operator",
    "from",
    "until",
]


def policy_or_none(values: dict[str, Any]) -> PolicyDocument | None:
    try:
        return PolicyDocument.model_validate(values)
    except ValidationError:
        return None


@settings(max_examples=600, deadline=None)
@given(values=policies, job=jobs, facts=facts_of_a_node, which=st.sampled_from(RESTRICTIONS), amount=st.integers(0, 3))
def test_a_restriction_never_allows_more(
    values: dict[str, Any], job: dict[str, Any], facts: NodeFacts, which: str, amount: int
) -> None:
    policy = policy_or_none(values)
    narrower = policy_or_none(restricted(values, which, amount))
    assume(policy is not None and narrower is not None)
    assert policy is not None
    assert narrower is not None
    document = JobDocument.model_validate(job)
    before, after = decide(document, policy, facts), decide(document, narrower, facts)
    assert before.allowed or not after.allowed
    # Not only as a whole: no single clause that refused may now allow.
    allowed_now = {reason.clause for reason in after.reasons if reason.allowed}
    assert not allowed_now & {reason.clause for reason in before.refusals}


def test_a_learner_file_needs_its_digest_in_the_policy(policy_bytes: bytes, job: JobDocument) -> None:
    """A policy that lists `python-file` without a digest would admit any code."""
    chosen = job.model_copy(update={"learner": LearnerChoice(name="python-file", settings={"file": "a" * 64})})
    open_to_all = policy_bytes.replace(b"[tabular-mlp]", b"[python-file]")
    facts = NodeFacts(
        now=DAY,
        datasets=frozenset({job.dataset}),
        usable_records=1000,
        method_discloses=Disclosure.SUM,
        learner_digest="a" * 64,
    )
    pinned = open_to_all.replace(b"max_rounds", b"learner_digests: {python-file: " + b"a" * 64 + b"}, max_rounds")
    for content, refused in ((open_to_all, True), (pinned, False)):
        decision = decide(chosen, load_policy(content, "policy.yaml"), facts)
        clauses = {reason.clause for reason in decision.refusals}
        assert ("jobs.learner_digests" in clauses) is refused
