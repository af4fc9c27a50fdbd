"""Policy files: the sketch of the design loads, refusals, the explanation and the difference leave nothing out."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from fedseal_governance.documents import Document
from fedseal_governance.errors import DocumentError
from fedseal_governance.policy import Direction, PolicyDocument, diff, explain, load_policy
from fedseal_governance.vocabulary import Disclosure, JobKind, Protection

EXAMPLES = Path(__file__).parents[3] / "examples" / "heart-disease"

# For each field of a policy: text to find, text to put there, and which way the change goes.
CHANGES = {
    "policy": (b"policy: heart-risk-research", b"policy: other", Direction.OTHER),
    "version": (b"version: 3", b"version: 4", Direction.OTHER),
    "owner": (b"owner: Cleveland Clinic", b"owner: Other", Direction.OTHER),
    "datasets": (b"[heart-disease]", b"[heart-disease, lungs]", Direction.ALLOWED),
    "purposes.code": (b"DUO:0000006", b"DUO:0000011", Direction.FORBIDDEN),
    "purposes.label": (b"DUO:0000006", b"DUO:0000011", Direction.ALLOWED),
    "jobs.kinds": (b"[training, statistics]", b"[training]", Direction.FORBIDDEN),
    "jobs.methods": (b"fedprox, lockdown", b"fedprox", Direction.FORBIDDEN),
    "jobs.learners": (b"[tabular-mlp]", b"[tabular-mlp, boost]", Direction.ALLOWED),
    "jobs.learner_digests": (
        b"max_rounds",
        b"learner_digests: {tabular-mlp: " + b"a" * 64 + b"}, max_rounds",
        Direction.FORBIDDEN,
    ),
    "jobs.max_rounds": (b"max_rounds: 200", b"max_rounds: 2", Direction.FORBIDDEN),
    "jobs.max_local_epochs": (b"max_local_epochs: 5", b"max_local_epochs: 6", Direction.ALLOWED),
    "protection.allowed": (b"[masking, hybrid]", b"[masking]", Direction.FORBIDDEN),
    "protection.coordinator_may_learn": (b"learn: SUM", b"learn: SCALARS", Direction.ALLOWED),
    "protection.minimum_cohort": (b"minimum_cohort: 3", b"minimum_cohort: 4", Direction.FORBIDDEN),
    "protection.corrupted_fraction": (b"cohort: 3", b"cohort: 3, corrupted_fraction: 0.3", Direction.FORBIDDEN),
    "protection.dropout_fraction": (b"cohort: 3", b"cohort: 3, dropout_fraction: 0.05", Direction.ALLOWED),
    "protection.history.scope": (b"cohort: 3", b"cohort: 3, history: {scope: job}", Direction.FORBIDDEN),
    "protection.history.minimum_difference": (
        b"cohort: 3",
        b"cohort: 3, history: {minimum_difference: 2}",
        Direction.ALLOWED,
    ),
    "privacy.mechanism": (
        b"{mechanism: none}",
        b"{epsilon_per_job: 2, epsilon_total: 8, delta: 1e-5}",
        Direction.FORBIDDEN,
    ),
    "consent.required": (b"required: true", b"required: false", Direction.ALLOWED),
    "consent.minimum_records": (b"minimum_records: 50", b"minimum_records: 40", Direction.ALLOWED),
    "approval.compliance_officers": (b"compliance_officers: 2", b"compliance_officers: 1", Direction.ALLOWED),
    "approval.node_operator_per_job": (b"per_job: false", b"per_job: true", Direction.FORBIDDEN),
    "retention.audit_years": (b"audit_years: 10", b"audit_years: 5", Direction.OTHER),
    "retention.model_years": (b"model_years: 2", b"model_years: 0", Direction.OTHER),
    "valid.from": (b"2026-01-01", b"2026-02-01", Direction.FORBIDDEN),
    "valid.until": (b"2027-12-31", b"2028-12-31", Direction.ALLOWED),
}

BUDGET = b"{epsilon_per_job: 2, epsilon_total: 8, delta: 1e-5}"
BUDGET_CHANGES = {
    "privacy.epsilon_per_job": (b"per_job: 2", b"per_job: 1", Direction.FORBIDDEN),
    "privacy.epsilon_total": (b"total: 8", b"total: 9", Direction.ALLOWED),
    "privacy.delta": (b"1e-5", b"1e-6", Direction.FORBIDDEN),
}


def changed(text: bytes, old: bytes, new: bytes) -> bytes:
    text = text.replace(old, new)
    if b"DUO:0000011" in text:
        text = text.replace(
            b"health or medical or biomedical research", b"population origins or ancestry research only"
        )
    return text


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted names of all fields of a model that are no models themselves."""
    found: set[str] = set()
    for name, info in model.model_fields.items():
        key = f"{prefix}{info.alias or name}"
        inner = [
            part
            for part in (info.annotation, *getattr(info.annotation, "__args__", ()))
            if isinstance(part, type) and issubclass(part, Document)
        ]
        found |= leaves(inner[0], f"{key}.") if inner else {key}
    return found


def test_the_sketch_loads_with_its_meaning(policy_bytes: bytes) -> None:
    policy = load_policy(policy_bytes, "policy.yaml")
    assert policy.title == "policy heart-risk-research, version 3"
    assert policy.jobs.kinds == (JobKind.TRAINING, JobKind.STATISTICS)
    assert policy.protection.allowed == (Protection.MASKING, Protection.HYBRID)
    assert policy.protection.coordinator_may_learn is Disclosure.SUM
    assert not policy.privacy.has_budget
    assert str(policy.valid.until) == "2027-12-31"


def test_the_sketchs_budget_loads(policy_bytes: bytes) -> None:
    policy = load_policy(policy_bytes.replace(b"{mechanism: none}", BUDGET), "policy.yaml")
    assert policy.privacy.has_budget
    assert policy.privacy.delta == 1e-5


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("policy*.yaml")), ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    assert load_policy(path.read_bytes(), path.name).datasets == ("heart-disease",)


def test_every_field_is_covered_by_these_tests() -> None:
    assert set(CHANGES) | set(BUDGET_CHANGES) == leaves(PolicyDocument)


@pytest.mark.parametrize("field", CHANGES)
def test_each_field_is_explained_and_compared(policy_bytes: bytes, field: str) -> None:
    old_text, new_text, direction = CHANGES[field]
    before = load_policy(policy_bytes, "policy.yaml")
    after = load_policy(changed(policy_bytes, old_text, new_text), "policy.yaml")
    assert explain(before) != explain(after)
    assert direction in [change.kind for change in diff(before, after)]
    assert len(diff(before, after)) == len(diff(after, before)) > 0


@pytest.mark.parametrize("field", BUDGET_CHANGES)
def test_each_figure_of_a_budget_is_explained_and_compared(policy_bytes: bytes, field: str) -> None:
    old_text, new_text, direction = BUDGET_CHANGES[field]
    text = policy_bytes.replace(b"{mechanism: none}", BUDGET)
    before, after = load_policy(text, "a.yaml"), load_policy(text.replace(old_text, new_text), "b.yaml")
    assert explain(before) != explain(after)
    assert [change.kind for change in diff(before, after)] == [direction]
    reverse = {Direction.ALLOWED: Direction.FORBIDDEN, Direction.FORBIDDEN: Direction.ALLOWED}
    assert [change.kind for change in diff(after, before)] == [reverse[direction]]


ASSUMPTIONS = (
    (b"corrupted_fraction: 0.1", b"corrupted_fraction: 0.2"),
    (b"dropout_fraction: 0.1", b"dropout_fraction: 0.2"),
    (b"history: {scope: model}", b"history: {scope: job}"),
    (b"history: {scope: job}", b"history: {scope: dataset}"),
    (b"history: {minimum_difference: 3}", b"history: {minimum_difference: 4}"),
)


@pytest.mark.parametrize(("weaker", "stronger"), ASSUMPTIONS, ids=lambda text: bytes(text).decode())
def test_assuming_more_of_the_hostile_forbids(policy_bytes: bytes, weaker: bytes, stronger: bytes) -> None:
    before, after = (
        load_policy(policy_bytes.replace(b"cohort: 3", b"cohort: 3, " + text), "policy.yaml")
        for text in (weaker, stronger)
    )
    assert [change.kind for change in diff(before, after)] == [Direction.FORBIDDEN]
    assert [change.kind for change in diff(after, before)] == [Direction.ALLOWED]


def test_without_a_minimum_difference_the_minimum_cohort_is_meant(policy_bytes: bytes) -> None:
    raised = load_policy(policy_bytes.replace(b"cohort: 3", b"cohort: 5"), "policy.yaml")
    assert raised.protection.minimum_difference == 5
    assert "differ by one to 4 sites" in explain(raised)
    said = [change.clause for change in diff(load_policy(policy_bytes, "old.yaml"), raised)]
    assert said == ["protection.minimum_cohort", "protection.history.minimum_difference"]


def test_explanation_is_the_same_every_time_and_speaks_plainly(policy_bytes: bytes) -> None:
    policy = load_policy(policy_bytes, "policy.yaml")
    text = explain(policy)
    assert text == explain(load_policy(policy_bytes, "other.yaml"))
    assert "health or medical or biomedical research (DUO:0000006)" in text
    assert "1 January 2026 until the end of 31 December 2027" in text
    assert "never learns what this site alone contributed" in text
    assert "_" not in text


def test_same_policy_has_no_difference(policy_bytes: bytes) -> None:
    policy = load_policy(policy_bytes, "policy.yaml")
    assert diff(policy, policy) == []


def test_difference_in_words(policy_bytes: bytes) -> None:
    before = load_policy(policy_bytes, "a.yaml")
    after = load_policy(policy_bytes.replace(b"max_rounds: 200", b"max_rounds: 20"), "b.yaml")
    (change,) = diff(before, after)
    assert change.sentence == "At most 20 instead of 200 rounds of a job are allowed."
    assert (change.kind, change.clause) == (Direction.FORBIDDEN, "jobs.max_rounds")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            b"health or medical",
            b"health and medical",
            'line 5: the label of DUO:0000006 is not "health and medical or biomedical research"; write "health',
        ),
        (b"DUO:0000006", b"DUO:0000066", 'line 5: "DUO:0000066" is not a purpose of the Data Use Ontology'),
        (
            b"[masking, hybrid]",
            b"[masking, none]",
            "line 7: without protection the coordinator sees what each site contributed",
        ),
        (
            b"minimum_cohort: 3",
            b"minimum_cohort: 2",
            "line 7: with a minimum cohort of 2 a site could learn another's contribution; write 3 or more.",
        ),
        (
            b"cohort: 3",
            b"cohort: 3, corrupted_fraction: 0.5, dropout_fraction: 0.3",
            "line 7: no masks withstand that 0.5 of the sites collude while 0.3 leave; lower one",
        ),
        (b"cohort: 3", b"cohort: 3, corrupted_fraction: 0.6", "line 7: `protection.corrupted_fraction` is 0.6"),
        (
            b"cohort: 3",
            b"cohort: 3, history: {minimum_difference: 1}",
            "line 7: `protection.history.minimum_difference` is 1",
        ),
        (b"cohort: 3", b"cohort: 3, history: {scope: model, scope: job}", "scope"),
        (b"cohort: 3", b"cohort: 3, history: {scope: jobs}", "did you mean `job`?"),
        (b"{mechanism: none}", b"{epsilon_per_job: 2}", "line 8: `epsilon_total` is missing"),
        (b"{mechanism: none}", b"{}", "line 8: `epsilon_per_job` is missing"),
        (
            b"{mechanism: none}",
            b"{mechanism: none, delta: 1e-5}",
            "line 8: `mechanism: none` contradicts `delta`; keep one of the two.",
        ),
        (
            b"{mechanism: none}",
            b"{epsilon_per_job: 9, epsilon_total: 8, delta: 1e-5}",
            "line 8: one job may spend more than all jobs together; lower it.",
        ),
        (b"valid: {from", b"valid: {form", "line 12: unknown key `form` in `valid`; did you mean `from`?"),
        (
            b"from: 2026-01-01",
            b"from: 2028-01-01",
            "line 12: the last day 2027-12-31 is before the first day 2028-01-01; swap them.",
        ),
        (
            b"until: 2027-12-31",
            b"until: 31.12.2027",
            'line 12: `valid.until` is "31.12.2027", but a date is expected; write it as 2026-12-31.',
        ),
        (
            b"methods: [fedavg, fedprox, lockdown]",
            b"methods: []",
            "line 6: training is allowed, but `methods` is empty; list at least one.",
        ),
        (b"[fedavg, fedprox, lockdown]", b"[fedavg, fedavg]", "line 6: `methods` lists fedavg twice; keep one."),
        (
            b"max_rounds: 200,",
            b"max_round: 200,",
            "line 6: unknown key `max_round` in `jobs`; did you mean `max_rounds`?",
        ),
        (b"compliance_officers: 2", b"compliance_officers: 0", "line 10: `approval.compliance_officers` is 0"),
        (
            b"required: true",
            b"required: yes",
            'line 9: `consent.required` is "yes", but a truth value is expected; write true or false.',
        ),
        (
            b"max_rounds",
            b"learner_digests: {other: " + b"a" * 64 + b"}, max_rounds",
            "line 6: a digest is given for other, which is not among the learners",
        ),
        (
            b"learn: SUM",
            b"learn: sum",
            (
                "line 7: `protection.coordinator_may_learn` is sum, which is not one of SUM, GROUP_SUMS, "
                "SCALARS, INDIVIDUAL; did you mean `SUM`?"
            ),
        ),
    ],
)
def test_refusals(policy_bytes: bytes, old: bytes, new: bytes, expected: str) -> None:
    assert policy_bytes.count(old) == 1
    with pytest.raises(DocumentError) as caught:
        load_policy(policy_bytes.replace(old, new), "policy.yaml")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_disclosure_is_ordered() -> None:
    assert Disclosure.SUM < Disclosure.GROUP_SUMS < Disclosure.SCALARS < Disclosure.INDIVIDUAL
    assert max(Disclosure) is Disclosure.INDIVIDUAL
    assert Disclosure.SUM <= Disclosure.SUM
