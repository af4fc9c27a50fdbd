"""What a compliance team works with: templates, remarks, example jobs, the look back, and advice on a job."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_crypto.digests import sha256_hex
from fedseal_governance.errors import DocumentError, RefusedError
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.policy import (
    NodeFacts,
    PolicyDocument,
    Reason,
    Rules,
    decide_at_both_levels,
    explain,
    load_policy,
)
from fedseal_governance.policy.advice import Advice, Offer, Site, advise
from fedseal_governance.policy.cases import judge_case, load_cases
from fedseal_governance.policy.decision import CLAUSES
from fedseal_governance.policy.editing import edited
from fedseal_governance.policy.impact import PastJob, replay
from fedseal_governance.policy.remarks import Installed, remarks
from fedseal_governance.policy.templates import Blanks, TemplateName, fill
from fedseal_governance.vocabulary import Disclosure, Protection

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
OFFER = Offer(
    methods={"fedavg": Disclosure.SUM, "scaffold": Disclosure.SCALARS},
    learners=("tabular-mlp", "logistic-regression"),
    protections=(Protection.MASKING,),
)
INSTALLED = Installed(methods=OFFER.methods, learners=OFFER.learners, protections=OFFER.protections)
BLANKS = Blanks(
    policy="heart-risk",
    owner="Cleveland Clinic",
    dataset="heart-disease",
    start=date(2026, 1, 1),
    until=date(2027, 12, 31),
)


@pytest.fixture
def policy(policy_bytes: bytes) -> PolicyDocument:
    return load_policy(policy_bytes, "policy.yaml")


@pytest.fixture
def job(training_bytes: bytes) -> JobDocument:
    return load_job(training_bytes, "job.yaml")


def facts(**other: object) -> NodeFacts:
    known = NodeFacts(
        now=NOON, datasets=frozenset({"heart-disease"}), usable_records=50, method_discloses=Disclosure.SUM
    )
    return replace(known, **other)  # type: ignore[arg-type]  # fields by name


# -- templates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TemplateName)
def test_a_template_is_a_valid_file_with_a_comment_for_every_section(name: TemplateName) -> None:
    content, document = fill(name, BLANKS, filename="new.yaml")
    assert (document.policy, document.owner, document.datasets) == (
        "heart-risk",
        "Cleveland Clinic",
        ("heart-disease",),
    )
    assert remarks(document, INSTALLED, today=NOON.date()) == ()
    assert "Cleveland Clinic" in explain(document)
    lines = content.decode().splitlines()
    assert max(map(len, lines)) <= 80
    starts = [index for index, line in enumerate(lines) if line[:1].isalpha() and not line.startswith("version")]
    assert all(lines[index - 1].startswith("#") for index in starts)


@pytest.mark.parametrize("owner", ["St. Mary's: Trust", 'The "Old" Bank', "true", "# 1 Bank", "Ünïted Bank", "1st"])
def test_an_owners_name_arrives_as_it_was_given(owner: str) -> None:
    _, document = fill(TemplateName.BANK, replace(BLANKS, owner=owner), filename="new.yaml")
    assert document.owner == owner


@pytest.mark.parametrize(
    "blanks",
    [
        {"owner": "Bank\njobs: {}"},
        {"owner": ""},
        {"dataset": "Heart Disease"},
        {"policy": "../x"},
        {"until": date(2020, 1, 1)},
    ],
)
def test_a_blank_that_cannot_stand_there_is_refused(blanks: dict[str, object]) -> None:
    with pytest.raises(DocumentError):
        fill(TemplateName.HOSPITAL, replace(BLANKS, **blanks), filename="new.yaml")  # type: ignore[arg-type]  # fields by name


# -- remarks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "clause", "words"),
    [
        (b"[fedavg, fedprox, lockdown]", b"[fedavgg]", "jobs.methods", "did you mean fedavg?"),
        (b"[tabular-mlp]", b"[trees]", "jobs.learners", "learner trees is not installed"),
        (b"[masking, hybrid]", b"[hybrid]", "protection.allowed", "every job would be refused; add masking"),
        (b"{mechanism: none}", b"{epsilon_per_job: 1, epsilon_total: 2, delta: 1e-5}", "privacy", "no mechanism"),
        (b"2027-12-31", b"2026-05-03", "valid.until", "is past"),
        (b"2026-01-01", b"2026-05-05", "valid.from", "not valid before 2026-05-05"),
    ],
)
def test_what_is_odd_is_said(policy_bytes: bytes, old: bytes, new: bytes, clause: str, words: str) -> None:
    usual = policy_bytes.replace(b"fedprox, lockdown", b"scaffold") if b"fedavg" not in old else policy_bytes
    changed = load_policy(usual.replace(old, new), "policy.yaml")
    (remark,) = remarks(changed, INSTALLED, today=NOON.date())
    assert remark.clause == clause
    assert words in remark.sentence


# -- examples with expected verdicts -----------------------------------------------------------------------

CASES = """\
cases:
  - {case: as it is, job: job.yaml, expect: allowed}
  - {case: longer, job: job.yaml, change: {method.rounds: 201}, expect: refused, clauses: [jobs.max_rounds]}
  - {case: no settings, job: job.yaml, change: {method.settings: null}, expect: refused}
  - {case: wrong key, job: job.yaml, change: {method.round: 2}, expect: refused}
  - {case: few, job: job.yaml, facts: {usable_records: 49}, expect: refused, clauses: [consent.minimum_records, valid]}
  - {case: late, job: job.yaml, today: 2028-01-01, expect: allowed}
"""


def test_cases_pass_and_differ(policy: PolicyDocument, job: JobDocument) -> None:
    cases = load_cases(CASES.encode(), "cases.yaml").cases
    outcomes = [judge_case(case, job, policy, today=None, discloses=OFFER.methods) for case in cases]
    assert [outcome.passed for outcome in outcomes] == [True, True, False, False, False, False]
    assert outcomes[1].clauses == ("jobs.max_rounds",)
    assert (outcomes[3].verdict, outcomes[3].fault) == ("error", "the job has no `method.round` that could be changed")
    assert outcomes[4].clauses == ("consent.minimum_records",)
    assert outcomes[5].clauses == ("valid",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cases: []", "cases"),
        ("cases: [{case: x, job: j.yaml, expect: alowed}]", "did you mean `allowed`?"),
        ("cases: [{case: x, job: j.yaml, expect: refused, clauses: [purpose]}]", "no clause is called purpose"),
        ("cases: [{case: x, jobs: j.yaml, expect: refused}]", "did you mean `job`?"),
    ],
)
def test_a_wrong_file_of_cases_is_refused(text: str, words: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_cases(text.encode(), "cases.yaml")
    assert words in str(caught.value)


def test_the_list_of_clauses_is_the_one_that_decides(policy_bytes: bytes, job: JobDocument) -> None:
    everything = policy_bytes.replace(b"per_job: false", b"per_job: true, federation_policy: true").replace(
        b"max_rounds", b"learner_digests: {tabular-mlp: " + b"a" * 64 + b"}, max_rounds"
    )
    strict = load_policy(everything, "policy.yaml")
    decision = decide_at_both_levels(job, Rules(node=strict), facts())
    assert tuple(reason.clause for reason in decision.reasons) == CLAUSES


# -- looking back ------------------------------------------------------------------------------------------


def past(job: JobDocument, known: NodeFacts, *refusals: str) -> PastJob:
    return PastJob(
        digest=sha256_hex(job.job.encode()),
        document=job,
        decided_at=NOON,
        allowed=not refusals,
        refusals=tuple(Reason(clause=item, sentence="So it was.", allowed=False) for item in refusals),
        facts=known,
    )


def test_past_jobs_are_judged_again(policy_bytes: bytes, job: JobDocument) -> None:
    shorter = load_policy(policy_bytes.replace(b"max_rounds: 200", b"max_rounds: 19"), "two.yaml")
    short = edited(job, {"method.rounds": 3})
    jobs = [
        past(job, facts()),
        past(short, facts()),
        past(short, facts(), "purposes"),
        past(short, facts(usable_records=None)),
    ]
    impacts = replay(jobs, shorter, today=NOON.date())
    assert [(item.before, item.after) for item in impacts] == [
        (True, False),
        (True, True),
        (False, True),
        (True, False),
    ]
    assert [reason.clause for reason in impacts[0].reasons] == ["jobs.max_rounds"]
    assert [reason.clause for reason in impacts[2].reasons] == ["purposes"]
    # what was not recorded counts as no
    assert [reason.clause for reason in impacts[3].reasons] == ["consent.minimum_records"]


def test_a_later_policy_is_replayed_on_its_first_day(policy_bytes: bytes, job: JobDocument) -> None:
    later = load_policy(policy_bytes.replace(b"2026-01-01", b"2027-01-01"), "two.yaml")
    (impact,) = replay([past(job, facts())], later, today=NOON.date())
    assert impact.after


# -- advice ------------------------------------------------------------------------------------------------


def advice_on(job: JobDocument, *policies: PolicyDocument, known: NodeFacts | None = None) -> Advice:
    names = job.nodes
    sites = [
        Site(name=name, rules=Rules(node=policy), facts=known or facts(datasets=frozenset(policy.datasets)))
        for name, policy in zip(names, policies, strict=False)
    ]
    return advise(job, sites, OFFER)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"purpose": "DUO:0000004"}, "purpose", "DUO:0000006"),
        ({"dataset": "lungs"}, "dataset", "heart-disease"),
        ({"method.rounds": 900}, "method.rounds", 150),
        ({"method.settings.local_epochs": 9}, "method.settings.local_epochs", 5),
        ({"method.settings.local_epochs": 0}, "method.settings.local_epochs", 1),
        ({"method.settings": {}}, "method.settings.local_epochs", 5),
        ({"method.name": "fedsgd"}, "method.name", "fedavg"),
        ({"learner.name": "trees"}, "learner.name", "tabular-mlp"),
        ({"protection": "homomorphic"}, "protection", "masking"),
        ({"disclosure": "SCALARS"}, "disclosure", "SUM"),
    ],
)
def test_each_field_gets_a_value_that_satisfies_everybody(
    policy_bytes: bytes, job: JobDocument, change: dict[str, object], field: str, value: object
) -> None:
    one = load_policy(policy_bytes, "one.yaml")
    two = load_policy(policy_bytes.replace(b"200", b"150"), "two.yaml")
    wrong = edited(job, change)
    advice = advice_on(wrong, one, two)
    assert [(item.field, item.value) for item in advice.changes] == [(field, value)]
    assert advice.sufficient
    assert advice.obstacles == ()


def test_a_cohort_is_raised_or_more_sites_are_named(policy_bytes: bytes, job: JobDocument) -> None:
    four, nine = (
        load_policy(policy_bytes.replace(b"minimum_cohort: 3", b"minimum_cohort: %d" % count), "p.yaml")
        for count in (4, 9)
    )
    raised = advice_on(job, four)
    assert [(item.field, item.value) for item in raised.changes] == [("minimum_cohort", 4)]
    assert raised.sufficient
    impossible = advice_on(job, nine)
    assert not impossible.sufficient
    assert "name at least 9" in impossible.obstacles[0]


def test_policies_with_nothing_in_common_leave_no_way(policy_bytes: bytes, job: JobDocument) -> None:
    ancestry = policy_bytes.replace(b"DUO:0000006", b"DUO:0000011").replace(
        b"health or medical or biomedical research", b"population origins or ancestry research only"
    )
    advice = advice_on(job, load_policy(policy_bytes, "one.yaml"), load_policy(ancestry, "two.yaml"))
    assert not advice.sufficient
    assert advice.obstacles == ("No purpose is allowed by every policy.",)


def test_a_site_that_refuses_in_any_case_is_left_out_if_enough_are_left(policy_bytes: bytes, job: JobDocument) -> None:
    usual = load_policy(policy_bytes, "one.yaml")
    ended = load_policy(policy_bytes.replace(b"2027-12-31", b"2026-01-31"), "two.yaml")
    advice = advice_on(job, usual, ended, usual, usual)
    assert [(item.field, item.value) for item in advice.changes] == [
        ("nodes", ["cleveland", "switzerland", "va-long-beach"])
    ]
    assert advice.sufficient
    assert "hungary: [valid]" in advice.obstacles[0]
    assert not advice_on(job, ended, ended, usual, usual).sufficient


def test_an_allowed_job_needs_no_advice(policy: PolicyDocument, job: JobDocument) -> None:
    assert advice_on(job, policy) == Advice(changes=(), obstacles=(), sufficient=True)


@settings(max_examples=60, deadline=None)
@given(
    rounds=st.integers(1, 400),
    epochs=st.integers(0, 9),
    cohort=st.integers(3, 4),
    purpose=st.sampled_from(["DUO:0000004", "DUO:0000042", "DUO:0000006", "DUO:0000011"]),
    disclosure=st.sampled_from(Disclosure),
    limits=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 6), st.integers(3, 5)), min_size=1, max_size=4),
)
def test_advice_that_calls_itself_sufficient_is(
    rounds: int, epochs: int, cohort: int, purpose: str, disclosure: Disclosure, limits: list[tuple[int, int, int]]
) -> None:
    from tests.unit.governance.conftest import POLICY, TRAINING_JOB

    job = edited(
        load_job(TRAINING_JOB, "job.yaml"),
        {
            "method.rounds": rounds,
            "method.settings.local_epochs": epochs,
            "minimum_cohort": cohort,
            "purpose": purpose,
            "disclosure": disclosure.value,
        },
    )
    texts = [
        POLICY.replace(
            b"max_rounds: 200, max_local_epochs: 5", b"max_rounds: %d, max_local_epochs: %d" % (most, passes)
        ).replace(b"minimum_cohort: 3", b"minimum_cohort: %d" % least)
        for most, passes, least in limits
    ]
    policies = [load_policy(text, "policy.yaml") for text in texts]
    sites = [
        Site(name=name, rules=Rules(node=policy), facts=facts())
        for name, policy in zip(job.nodes, policies, strict=False)
    ]
    advice = advise(job, sites, OFFER)
    changed = edited(job, {item.field: item.value for item in advice.changes})
    allowed = all(decide_at_both_levels(changed, site.rules, site.facts).allowed for site in sites)
    assert advice.sufficient is allowed
    # these policies have everything in common but their limits, so only the number of sites can stand in the way
    assert allowed is (max(least for _, _, least in limits) <= len(job.nodes))


def test_a_change_that_makes_no_job_is_refused(job: JobDocument) -> None:
    for change in ({"method": None}, {"nodes": ["a"]}, {"rounds": 3}, {"method.name.x": 3}, {"job": "A B"}):
        with pytest.raises(RefusedError):
            edited(job, change)
    assert edited(job, {"method.settings.new": 3}).method is not None
