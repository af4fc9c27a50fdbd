"""The YAML reader: what it accepts, every refusal with line and remedy, and only typed errors for any bytes."""

import contextlib
from collections.abc import Callable
from enum import StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from fedseal_governance.datasets import load_schema
from fedseal_governance.documents import MAX_BYTES, Document, fault, load_yaml, suggestion
from fedseal_governance.errors import DocumentError
from fedseal_governance.jobs import load_job
from fedseal_governance.policy import load_policy


class Taste(StrEnum):
    SWEET = "sweet"
    SOUR = "sour"


class Fruit(Document):
    name: str
    weight: float = 0.0


class Basket(Document):
    owner: str
    fruits: tuple[Fruit, ...] = ()
    taste: Taste = Taste.SWEET
    ripe: bool = False
    count: int = Field(default=1, ge=1, le=9)
    start: str = Field(default="", alias="from")


def sentences(data: bytes) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load_yaml(data, "basket.yaml", Basket)
    return str(caught.value).split("\n")


def test_reads_the_permitted_part() -> None:
    text = (
        b'\xef\xbb\xbf# basket\nowner: no\nfruits:\n  - {name: "1", weight: 1e-5}\n  - name: kiwi\n'
        b"taste: sour\nripe: true\nfrom: 2026-01-01\n"
    )
    basket = load_yaml(text, "basket.yaml", Basket)
    assert basket == Basket.model_validate(
        {
            "owner": "no",
            "fruits": [{"name": "1", "weight": 1e-5}, {"name": "kiwi"}],
            "taste": "sour",
            "ripe": True,
            "from": "2026-01-01",
        }
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ownr: a\n", "basket.yaml, line 1: unknown key `ownr`; did you mean `owner`?"),
        (
            "owner: a\nfruits: [{nam: b}]\n",
            "basket.yaml, line 2: unknown key `nam` in `fruits[0]`; did you mean `name`?",
        ),
        (
            "owner: a\nzebra: 1\n",
            (
                "basket.yaml, line 2: unknown key `zebra`; remove it; known keys are count, from, fruits, "
                "owner, ripe, taste."
            ),
        ),
        (
            "owner: a\ntaste: swet\n",
            "basket.yaml, line 2: `taste` is swet, which is not one of sweet, sour; did you mean `sweet`?",
        ),
        (
            "owner: a\ntaste: 7\n",
            "basket.yaml, line 2: `taste` is 7, which is not one of sweet, sour; choose one of sweet, sour.",
        ),
        ("count: 2\n", "basket.yaml, line 1: `owner` is missing; add it."),
        (
            "owner: a\nripe: yes\n",
            'basket.yaml, line 2: `ripe` is "yes", but a truth value is expected; write true or false.',
        ),
        (
            "owner: a\ncount: '2'\n",
            'basket.yaml, line 2: `count` is "2", but a whole number is expected; write digits only, without quotes.',
        ),
        (
            "owner: a\ncount: 12\n",
            "basket.yaml, line 2: `count` is 12, but it should be less than or equal to 9; correct the value.",
        ),
        (
            "owner: 7\n",
            "basket.yaml, line 1: `owner` is 7, but text is expected; put the value in quotes.",
        ),
        (
            "owner:\n",
            "basket.yaml, line 1: `owner` is empty, but text is expected; put the value in quotes.",
        ),
        (
            "owner: [a]\n",
            "basket.yaml, line 1: `owner` is a list, but text is expected; write a single value.",
        ),
        (
            "owner: a\nfruits: kiwi\n",
            'basket.yaml, line 2: `fruits` is "kiwi", but a list is expected; write [first, second].',
        ),
        ("owner: a\nowner: b\n", "basket.yaml, line 2: the key `owner` is already on line 1; keep one of the two."),
        ("owner: &a b\n", "basket.yaml, line 1: anchors and aliases (& and *) are not allowed; write the value out."),
        ("owner: *a\n", "basket.yaml, line 1: anchors and aliases (& and *) are not allowed; write the value out."),
        ("owner: !!str b\n", "basket.yaml, line 1: the tag tag:yaml.org,2002:str is not allowed; remove it."),
        ("a: 1\n---\nb: 2\n", "basket.yaml, line 2: a second document begins; put it into a file of its own."),
        ("? [a]\n: b\n", "basket.yaml, line 1: a key is not plain text; write a word before the colon."),
        (
            "- a\n",
            (
                "basket.yaml, line 1: the file is not a list of `key: value` lines; begin every line with "
                "a key and a colon."
            ),
        ),
        ("", "basket.yaml: the file is empty; write the document into it, or name the right file."),
        ("# only a comment\n", "basket.yaml: the file has no content; write the document into it."),
        (
            "owner: a\nweight: 1e999\n",
            "basket.yaml, line 2: the number 1e999 is too large; write a smaller one.",
        ),
        (
            'owner: "a\\0"\n',
            "basket.yaml, line 1: a text contains the control character U+0000; remove it.",
        ),
        (
            "owner: a\n\x1b[31m: 2\n",
            (
                "basket.yaml, line 2: the file contains the control character U+001B, as binary files do; "
                "remove it, or name the right file."
            ),
        ),
    ],
)
def test_each_fault_is_one_sentence(text: str, expected: str) -> None:
    assert sentences(text.encode()) == [expected]


def test_all_faults_are_reported_in_the_order_of_the_file() -> None:
    found = sentences(b"taste: swet\nripe: 1\nfruits: [{name: 3}]\n")
    assert [line.partition(": ")[0] for line in found] == [
        "basket.yaml, line 1",
        "basket.yaml, line 1",
        "basket.yaml, line 2",
        "basket.yaml, line 3",
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"owner: \xff\n", "line 1: the file is not UTF-8 text"),
        (b"\x7fELF\x02\x01\x01\x00", "the control character U+007F"),
        ("owner: a\n".encode("utf-16"), "not UTF-8 text"),
        (b"a" * (MAX_BYTES + 1), f"more than the {MAX_BYTES} allowed"),
        (b"[" * 5000, "nested deeper than 12 levels"),
        (b"a: [" + b"1," * 30_000 + b"]", "more than 20000 values"),
        (b"owner: " + b"x" * 5000, "more than 4096"),
        (b"%YAML 1." + b"9" * 5000 + b"\n---\na: 1\n", "not valid YAML"),
        (b'owner: "\\UFFFFFFFF"\n', "not valid YAML"),
        (b'owner: "\\uD800"\n', "control character U+D800"),
        (b"owner: [\n", "not valid YAML"),
        (b"\towner: a\n", "not valid YAML"),
    ],
)
def test_hostile_files_are_refused(data: bytes, words: str) -> None:
    assert words in sentences(data)[0]


def test_errors_carry_fields_for_programs() -> None:
    with pytest.raises(DocumentError) as caught:
        load_yaml(b"owner: a\ntaste: swet\n", "basket.yaml", Basket)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.field, problem.value) == ("basket.yaml", 2, "taste", "swet")
    assert problem.remedy == "did you mean `sweet`?"


def test_a_value_cannot_forge_lines() -> None:
    (line,) = sentences(b'owner: a\ntaste: "x\\nbasket.yaml: everything is fine"\n')
    assert "\\n" in line


def test_fault_names_the_key_inside_a_mapping() -> None:
    error = fault("too heavy", "take less", key="weight")
    assert error.context == {"what": "too heavy", "remedy": "take less", "key": "weight"}


def test_suggestion_ignores_case_and_finds_nothing_far_away() -> None:
    assert suggestion("FEDAVG", ["fedprox", "fedavg"]) == "fedavg"
    assert suggestion("zzz", ["fedprox", "fedavg"]) is None


LOADERS: tuple[Callable[[bytes, str], object], ...] = (load_policy, load_job, load_schema)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_a_document_or_a_document_error(data: bytes) -> None:
    for loader in LOADERS:
        try:
            loader(data, "fuzz.yaml")
        except DocumentError as error:
            found = error.problems
        else:
            continue
        assert found
        assert all("\n" not in problem.sentence for problem in found)


YAML_PIECES = st.sampled_from(
    [
        ":",
        " ",
        "\n",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "a",
        "policy",
        "version",
        '"',
        "'",
        "&x",
        "*x",
        "!t",
        "|\n",
        ">\n",
        "?",
        ",",
        "#",
        "---",
        "...",
        "%",
        "1",
        "1e5",
        "\\",
        "\t",
        "~",
        "@",
        "`",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(YAML_PIECES, max_size=40).map("".join))
def test_any_yaml_like_text_gives_a_document_error(text: str) -> None:
    for loader in LOADERS:
        with pytest.raises(DocumentError):
            loader(text.encode(), "fuzz.yaml")


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 2000), piece=st.binary(min_size=1, max_size=3), cut=st.integers(0, 20))
def test_damaged_documents_never_raise_anything_else(position: int, piece: bytes, cut: int) -> None:
    originals = (_POLICY, _JOB, _SCHEMA)
    for loader, original in zip(LOADERS, originals, strict=True):
        at = position % len(original)
        with contextlib.suppress(DocumentError):
            loader(original[:at] + piece + original[at + cut :], "fuzz.yaml")


_POLICY = b"""\
policy: heart-risk-research
version: 3
owner: Cleveland Clinic
datasets: [heart-disease]
purposes: [{code: "DUO:0000006", label: health or medical or biomedical research}]
jobs: {kinds: [training], methods: [fedavg], learners: [tabular-mlp], max_rounds: 200, max_local_epochs: 5}
protection: {allowed: [masking, hybrid], coordinator_may_learn: SUM, minimum_cohort: 3}
privacy: {epsilon_per_job: 2, epsilon_total: 8, delta: 1e-5}
consent: {required: true, minimum_records: 50}
approval: {compliance_officers: 2, node_operator_per_job: false}
retention: {audit_years: 10, model_years: 2}
valid: {from: 2026-01-01, until: 2027-12-31}
"""
_JOB = b"""\
job: heart-statistics
purpose: "DUO:0000006"
dataset: heart-disease
kind: statistics
features: [age, chol]
protection: masking
disclosure: SUM
nodes: [cleveland, hungary, switzerland]
minimum_cohort: 3
"""
_SCHEMA = b"""\
dataset: heart-disease
columns:
  - {name: pseudonym, role: record_id}
  - {name: age, type: number, range: [18, 110], unit: years}
  - {name: num, type: category, categories: ["0", "1"], positive: ["1"], role: target}
"""
