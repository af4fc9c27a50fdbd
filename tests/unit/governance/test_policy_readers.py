"""Hostile policy and job files: a typed error or a document, nothing else, and no more memory than a file is worth."""

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_governance.documents import MAX_BYTES
from fedseal_governance.errors import DocumentError
from fedseal_governance.jobs import load_job
from fedseal_governance.policy import explain, load_policy
from fedseal_governance.policy.cases import load_cases
from tests.unit.governance.conftest import POLICY, TRAINING_JOB

CASES = b"cases:\n  - {case: x, job: job.yaml, expect: allowed, change: {method.rounds: 3}}\n"
Reader = Callable[[bytes, str], object]
READERS: list[tuple[Reader, bytes]] = [(load_policy, POLICY), (load_job, TRAINING_JOB), (load_cases, CASES)]

LAUGHS = b"a: &a [x, x, x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c, *%c, *%c]\n" % (next_, next_, before, before, before, before)
    for before, next_ in zip(b"abcdefgh", b"bcdefghi", strict=True)
)
PIECES = st.sampled_from([b"\n", b"\r", "\u2028".encode(), b"\x00", *b"&a *a !! { ] : \\n \" ' 1e9 ~ - >".split()])
BOMBS = {
    "a billion laughs": LAUGHS,
    "merge keys": b"a: &a {x: 1}\nb: {<<: *a, <<: *a}\n",
    "deep lists": b"policy: " + b"[" * 100_000,
    "deep mappings": b"{a: " * 50_000,
    "many keys": b"".join(b"k%d: 1\n" % number for number in range(25_000)),
    "many items": b"datasets: [" + b"a, " * 60_000 + b"]\n",
    "one long line": b"policy: " + b"x" * (MAX_BYTES - 20) + b"\n",
    "one long quoted text": b'policy: "' + b"x\\n" * 60_000 + b'"\n',
    "a long comment": b"# " + b"x" * (MAX_BYTES - 4),
    "longer than any file": b"x" * (MAX_BYTES + 1),
    "NUL": b"policy: a\x00b\n",
    "NUL escaped": b'policy: "a\\0b"\n',
    "a tag that builds objects": b'policy: !!python/object/apply:os.system ["true"]\n',
    "a binary tag": b"policy: !!binary aGVsbG8=\n",
    "two documents": b"policy: a\n---\npolicy: b\n",
    "a directive": b"%YAML 9.9\n---\npolicy: a\n",
    "digits without end": b"version: " + b"9" * 100_000 + b"\n",
    "an exponent": b"version: 1e999999\n",
    "UTF-16": "policy: a\n".encode("utf-16"),
    "half a character": b"policy: \xc3\n",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize(("read", "_good"), READERS, ids=lambda item: getattr(item, "__name__", ""))
def test_bombs_are_refused_in_a_files_worth_of_memory(read: Reader, _good: bytes, name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DocumentError) as caught:
            read(BOMBS[name], "bomb.yaml")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024 * 1024
    assert len(str(caught.value)) < 40_000
    assert all(line.startswith("bomb.yaml") and line.isprintable() for line in str(caught.value).split("\n"))


@settings(max_examples=150, deadline=None)
@given(
    which=st.sampled_from(range(len(READERS))),
    cuts=st.lists(
        st.tuples(
            st.integers(0, 900),
            st.integers(0, 12),
            st.binary(max_size=6) | PIECES,
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_damaged_files_give_a_document_or_a_typed_error(which: int, cuts: list[tuple[int, int, bytes]]) -> None:
    read, data = READERS[which]
    for place, length, piece in cuts:
        data = data[:place] + piece + data[place + length :]
    try:
        read(data, "file.yaml")
    except DocumentError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert all(problem.sentence.isprintable() for problem in problems)
    assert all(problem.column is None or problem.line is not None for problem in problems)


words = st.text(min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(owner=words, key=words, value=words)
def test_text_of_a_file_forges_no_lines(owner: str, key: str, value: str) -> None:
    """Whatever stands in a field that takes any text, the explanation has as many lines as for a good one."""
    import json

    data = POLICY.replace(b"owner: Cleveland Clinic", b"owner: " + json.dumps(owner).encode())
    try:
        told = [explain(load_policy(data, "policy.yaml"))]
        lines = explain(load_policy(POLICY, "policy.yaml")).count("\n")
    except DocumentError as error:
        told, lines = [problem.sentence for problem in error.problems], 0
    assert all(text.count("\n") == lines and text.replace("\n", "").isprintable() for text in told)
    extra = POLICY + json.dumps(key).encode() + b": " + json.dumps(value).encode() + b"\n"
    with pytest.raises(DocumentError) as caught:
        load_policy(extra, "policy.yaml")
    assert all(problem.sentence.isprintable() for problem in caught.value.problems)


def test_all_faults_of_a_file_are_told_at_once_with_line_and_column() -> None:
    text = POLICY.decode()
    for old, new in {
        "version: 3": "version: 0",
        "[heart-disease]": "[heart-disease, heart-disease]",
        "label: health": "label: wealth",
        "[training, statistics]": "[training, training]",
        "[tabular-mlp]": "[]",
        "max_rounds": "max_round",
        "learn: SUM": "learn: SUMM",
        "minimum_cohort: 3": "minimum_cohort: 2",
        "{mechanism: none}": "{epsilon_per_job: 9, epsilon_total: 8, delta: 1e-5}",
        "required: true": "required: maybe",
        "compliance_officers: 2": "compliance_officers: 0",
        "audit_years: 10": "audit_years: ten",
        "2027-12-31": "2025-12-31",
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    with pytest.raises(DocumentError) as caught:
        load_policy(text.encode(), "policy.yaml")
    found = {problem.field: (problem.line, problem.column) for problem in caught.value.problems}
    assert found == {
        "version": (2, 1),
        "datasets": (4, 1),
        "purposes[0].label": (5, 34),
        "jobs.kinds": (6, 8),
        "jobs.learners": (6, 75),
        "jobs.max_round": (6, 89),
        "protection.coordinator_may_learn": (7, 42),
        "protection.minimum_cohort": (7, 71),
        "privacy.epsilon_per_job": (8, 11),
        "consent.required": (9, 11),
        "approval.compliance_officers": (10, 12),
        "retention.audit_years": (11, 13),
        "valid.until": (12, 27),
    }


def test_a_file_full_of_faults_says_how_many_it_left_out() -> None:
    items = ", ".join(f"X{number}" for number in range(150))
    with pytest.raises(DocumentError) as caught:
        load_policy(POLICY.replace(b"[tabular-mlp]", f"[{items}]".encode()), "policy.yaml")
    assert len(caught.value.problems) <= 101
    assert "more problems" in caught.value.problems[-1].sentence
