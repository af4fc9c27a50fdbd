"""Adding a restriction never allows more: for each field of a policy, over generated policies, jobs and sites."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from fedseal_governance.documents import Document
from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy import NodeFacts, PolicyDocument, Rules, decide, decide_at_both_levels
from fedseal_governance.purposes import TERMS, permits
from fedseal_governance.vocabulary import Disclosure, JobKind, Protection

DAY = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
NAMES = ["alpha", "beta", "gamma"]
ONE_DISEASE = {"code": "DUO:0000007/MONDO:0005267", "label": "disease specific research (MONDO:0005267)"}
PURPOSES = [{"code": term.code, "label": term.label} for term in TERMS.values() if term.code != "DUO:0000007"]
PURPOSES += [ONE_DISEASE]
PINS = ["a" * 64, "b" * 64]
BUDGET = {"epsilon_per_job": 1.0, "epsilon_total": 2.0, "delta": 1e-5}

Values = dict[str, Any]


def base() -> Values:
    """A policy whose every clause the job of `job_values` just meets."""
    return {
        "policy": "p",
        "version": 1,
        "owner": "O",
        "datasets": ["alpha", "beta"],
        "purposes": [PURPOSES[1]],
        "jobs": {
            "kinds": [JobKind.TRAINING, JobKind.STATISTICS],
            "methods": ["alpha", "beta"],
            "learners": ["alpha", "beta"],
            "max_rounds": 3,
            "max_local_epochs": 3,
        },
        "protection": {
            "allowed": [Protection.MASKING, Protection.HYBRID],
            "coordinator_may_learn": Disclosure.SCALARS,
            "minimum_cohort": 3,
        },
        "privacy": {"mechanism": "none"},
        "consent": {"required": False, "minimum_records": 3},
        "approval": {"compliance_officers": 2, "node_operator_per_job": False},
        "retention": {"audit_years": 1, "model_years": 1},
        "valid": {"from": date(2026, 5, 4), "until": date(2026, 5, 4)},
    }


def job_values() -> Values:
    return {
        "job": "j",
        "purpose": PURPOSES[1]["code"],
        "dataset": "alpha",
        "kind": JobKind.TRAINING,
        "method": {"name": "alpha", "rounds": 3, "settings": {"local_epochs": 3}},
        "learner": {"name": "alpha"},
        "features": ["age"],
        "target": "num",
        "evaluation": {"holdout": 0.3},
        "protection": Protection.MASKING,
        "disclosure": Disclosure.SCALARS,
        "nodes": ["a", "b", "c", "d", "e"],
        "minimum_cohort": 3,
    }


FACTS = NodeFacts(
    now=DAY,
    datasets=frozenset({"alpha"}),
    usable_records=3,
    method_discloses=Disclosure.SCALARS,
    learner_digest=PINS[1],
)


def without_first(*path: str) -> Callable[[Values, int], None]:
    def work(policy: Values, _amount: int) -> None:
        place = policy
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = place[path[-1]][1:]

    return work


def moved(section: str, key: str, sign: int) -> Callable[[Values, int], None]:
    def work(policy: Values, amount: int) -> None:
        policy[section][key] += sign * amount

    return work


def put(section: str, key: str, value: object) -> Callable[[Values, int], None]:
    def work(policy: Values, _amount: int) -> None:
        policy[section][key] = value

    return work


def narrower_purpose(policy: Values, _amount: int) -> None:
    first, *others = policy["purposes"]
    if permits(first["code"], ONE_DISEASE["code"]) and ONE_DISEASE not in others:
        policy["purposes"] = [*others, ONE_DISEASE]


def pin(policy: Values, _amount: int) -> None:
    policy["jobs"]["learner_digests"] = {policy["jobs"]["learners"][0]: PINS[0]}


def budget(policy: Values, _amount: int) -> None:
    policy["privacy"] = dict(BUDGET)


def later(policy: Values, amount: int) -> None:
    policy["valid"]["from"] += timedelta(days=amount)
    policy["valid"]["until"] += timedelta(days=10)


def earlier(policy: Values, amount: int) -> None:
    policy["valid"]["until"] -= timedelta(days=amount)
    policy["valid"]["from"] -= timedelta(days=10)


RESTRICTIONS: dict[str, Callable[[Values, int], None]] = {
    "datasets": without_first("datasets"),
    "purposes.code": narrower_purpose,
    "jobs.kinds": without_first("jobs", "kinds"),
    "jobs.methods": without_first("jobs", "methods"),
    "jobs.learners": without_first("jobs", "learners"),
    "jobs.learner_digests": pin,
    "jobs.max_rounds": moved("jobs", "max_rounds", -1),
    "jobs.max_local_epochs": moved("jobs", "max_local_epochs", -1),
    "protection.allowed": without_first("protection", "allowed"),
    "protection.coordinator_may_learn": put("protection", "coordinator_may_learn", Disclosure.SUM),
    "protection.minimum_cohort": moved("protection", "minimum_cohort", 1),
    "privacy.mechanism": budget,
    "privacy.epsilon_per_job": budget,
    "privacy.epsilon_total": budget,
    "privacy.delta": budget,
    "consent.minimum_records": moved("consent", "minimum_records", 1),
    "approval.node_operator_per_job": put("approval", "node_operator_per_job", True),
    "approval.federation_policy": put("approval", "federation_policy", True),
    "valid.from": later,
    "valid.until": earlier,
}

ELSEWHERE = {
    # names and duties of people
    "policy",
    "version",
    "level",
    "owner",
    "purposes.label",
    "approval.compliance_officers",
    "retention.audit_years",
    "retention.model_years",
    # decide on the facts that are handed in
    "consent.required",
    "consent.purpose_codes",
    "data.max_rows_changed_percent",
    # enforced in each round
    "protection.corrupted_fraction",
    "protection.dropout_fraction",
    "protection.history.scope",
    "protection.history.minimum_difference",
}
"""Fields that no verdict on a job depends on, with where they count instead."""


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, info in model.model_fields.items():
        key = f"{prefix}{info.alias or name}"
        parts = (info.annotation, *getattr(info.annotation, "__args__", ()))
        inner = [part for part in parts if isinstance(part, type) and issubclass(part, Document)]
        found |= leaves(inner[0], f"{key}.") if inner else {key}
    return found


def restricted(values: Values, field: str, amount: int) -> Values:
    new = deepcopy(values)
    RESTRICTIONS[field](new, amount)
    return new


def policy_or_none(values: Values) -> PolicyDocument | None:
    try:
        return PolicyDocument.model_validate(values)
    except ValidationError:
        return None


def test_every_field_is_restricted_here_or_counts_elsewhere() -> None:
    assert RESTRICTIONS.keys() | ELSEWHERE == leaves(PolicyDocument)
    assert not RESTRICTIONS.keys() & ELSEWHERE


@pytest.mark.parametrize("field", RESTRICTIONS)
def test_each_restriction_does_restrict(field: str) -> None:
    """Otherwise the property below would be empty."""
    job = JobDocument.model_validate(job_values())
    before, after = base(), restricted(base(), field, 1)
    assert decide(job, PolicyDocument.model_validate(before), FACTS).allowed
    refusals = decide(job, PolicyDocument.model_validate(after), FACTS).refusals
    clause = {"purposes.code": "purposes"}.get(field, field.removesuffix(".from").removesuffix(".until"))
    assert [reason.clause for reason in refusals] == ["privacy" if clause.startswith("privacy") else clause]


def some(options: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(options), min_size=1, unique_by=str, max_size=len(options))


def around(values: dict[str, st.SearchStrategy[Any]], usual: Values) -> st.SearchStrategy[Values]:
    """Mostly the usual value of each key, so that whole jobs are allowed often enough."""
    return st.fixed_dictionaries(
        {key: st.one_of(st.just(usual[key]), st.just(usual[key]), values[key]) for key in values}
    )


@st.composite
def policies(draw: st.DrawFn) -> Values:
    usual = base()
    made = draw(around({"datasets": some(NAMES), "purposes": some(PURPOSES), "privacy": st.just(dict(BUDGET))}, usual))
    lists = {"kinds": some(list(JobKind)), "methods": some(NAMES), "learners": some(NAMES)}
    few = {"max_rounds": st.integers(1, 5), "max_local_epochs": st.integers(1, 5)}
    protection = {
        "allowed": some(list(Protection)),
        "coordinator_may_learn": st.sampled_from(Disclosure),
        "minimum_cohort": st.integers(3, 5),
    }
    usual["approval"]["federation_policy"] = False
    return {
        **usual,
        **made,
        "jobs": draw(around({**lists, **few}, usual["jobs"])),
        "protection": draw(around(protection, usual["protection"])),
        "consent": draw(around({"required": st.booleans(), "minimum_records": st.integers(1, 5)}, usual["consent"])),
        "approval": {
            "compliance_officers": 2,
            **draw(
                around({"node_operator_per_job": st.booleans(), "federation_policy": st.booleans()}, usual["approval"])
            ),
        },
        "valid": {
            "from": draw(st.dates(date(2026, 5, 1), date(2026, 5, 5))),
            "until": draw(st.dates(date(2026, 5, 3), date(2026, 5, 8))),
        },
    }


@st.composite
def jobs(draw: st.DrawFn) -> JobDocument:
    usual = job_values()
    made = draw(
        around(
            {
                "purpose": st.sampled_from([purpose["code"] for purpose in PURPOSES]),
                "dataset": st.sampled_from(NAMES),
                "protection": st.sampled_from(Protection),
                "disclosure": st.sampled_from(Disclosure),
                "minimum_cohort": st.integers(3, 5),
            },
            usual,
        )
    )
    settings_of_method = st.sampled_from([{}, {"local_epochs": 1}, {"local_epochs": 0}])
    method = draw(
        around(
            {"name": st.sampled_from(NAMES), "rounds": st.integers(1, 5), "settings": settings_of_method},
            usual["method"],
        )
    )
    return JobDocument.model_validate({**usual, **made, "method": method})


sites = st.builds(
    NodeFacts,
    now=st.just(DAY),
    datasets=st.sampled_from([frozenset({"alpha"}), frozenset(NAMES), frozenset[str]()]),
    usable_records=st.sampled_from([5, 5, 3, 0, None]),
    method_discloses=st.sampled_from([Disclosure.SUM, Disclosure.SUM, Disclosure.SCALARS, None]),
    learner_digest=st.sampled_from([*PINS, None]),
    operator_agreed=st.booleans(),
    federation_policy=st.booleans(),
)


@settings(max_examples=250, deadline=None)
@given(
    values=policies(), job=jobs(), facts=sites, field=st.sampled_from(sorted(RESTRICTIONS)), amount=st.integers(0, 3)
)
def test_a_restriction_never_allows_more(
    values: Values, job: JobDocument, facts: NodeFacts, field: str, amount: int
) -> None:
    policy, narrower = policy_or_none(values), policy_or_none(restricted(values, field, amount))
    assume(policy is not None and narrower is not None)
    assert policy is not None
    assert narrower is not None
    if field.startswith("valid."):
        # The other end moves along only to keep the period a period; it is put back for the comparison.
        key = "until" if field == "valid.from" else "start"
        narrower = narrower.model_copy(
            update={"valid": narrower.valid.model_copy(update={key: getattr(policy.valid, key)})}
        )
    before, after = decide(job, policy, facts), decide(job, narrower, facts)
    assert before.allowed or not after.allowed
    # Not only as a whole: no single clause that refused may now allow.
    allowed_now = {reason.clause for reason in after.reasons if reason.allowed}
    assert not allowed_now & {reason.clause for reason in before.refusals}


@settings(max_examples=100, deadline=None)
@given(first=policies(), second=policies(), job=jobs(), facts=sites)
def test_a_second_level_never_allows_more(first: Values, second: Values, job: JobDocument, facts: NodeFacts) -> None:
    second = {**second, "level": "federation", "approval": {"compliance_officers": 2}}
    node, federation = policy_or_none(first), policy_or_none(second)
    assume(node is not None and federation is not None)
    assert node is not None
    assert federation is not None
    both = Rules(node=node, federation=(federation,))
    known = decide_at_both_levels(job, both, facts)
    assert known.allowed is (
        decide_at_both_levels(job, Rules(node=None, federation=(federation,)), facts).allowed
        and decide(job, node, replace(facts, federation_policy=True)).allowed
    )
    strictest = both.protection
    for policy in (node, federation):
        assert strictest.minimum_cohort >= policy.protection.minimum_cohort
        assert strictest.minimum_difference >= policy.protection.minimum_difference
        assert strictest.coordinator_may_learn <= policy.protection.coordinator_may_learn
        assert set(strictest.allowed) <= set(policy.protection.allowed)
        assert both.consent_required or not policy.consent.required


def test_no_policy_at_all_allows_nothing() -> None:
    job = JobDocument.model_validate(job_values())
    assert not decide_at_both_levels(job, Rules(node=None), FACTS).allowed
    with pytest.raises(ValueError, match="no policy"):
        Rules(node=None).protection.minimum_cohort  # noqa: B018 - it is the looking that fails


def test_a_level_that_lapsed_refuses_whatever_the_node_says() -> None:
    job = JobDocument.model_validate(job_values())
    node = PolicyDocument.model_validate(base())
    decision = decide_at_both_levels(job, Rules(node=node, missing="The policy was revoked."), FACTS)
    assert [(reason.label, reason.sentence) for reason in decision.refusals] == [
        ("federation: policy", "The policy was revoked.")
    ]
