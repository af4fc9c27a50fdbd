"""Purposes of the Data Use Ontology and which consent covers which request."""

import pytest

from fedseal_governance.purposes import TERMS, covering, is_purpose, label_of, permits, problem_with

NRES, GRU, HMB, POA = "DUO:0000004", "DUO:0000042", "DUO:0000006", "DUO:0000011"
HEART = "DUO:0000007/MONDO:0005267"
LUNG = "DUO:0000007/MONDO:0005275"


@pytest.mark.parametrize(
    ("consented", "asked", "covered"),
    [
        (HMB, HMB, True),
        (GRU, HMB, True),
        (NRES, HMB, True),
        (HMB, GRU, False),
        (HMB, POA, False),
        (POA, HMB, False),
        (GRU, POA, True),
        (HMB, HEART, True),
        (GRU, HEART, True),
        (HEART, HEART, True),
        (HEART, LUNG, False),
        (HEART, HMB, False),
        (HMB, "DUO:9999999", False),
        ("DUO:9999999", HMB, False),
        ("DUO:9999999", "DUO:9999999", False),
        ("DUO:0000007", "DUO:0000007", False),
        ("", "", False),
    ],
)
def test_permits(consented: str, asked: str, covered: bool) -> None:
    assert permits(consented, asked) is covered


def test_covering_is_reflexive_and_transitive() -> None:
    known = [code for code in TERMS if is_purpose(code)] + [HEART]
    for asked in known:
        assert asked in covering(asked)
        for broader in covering(asked):
            assert covering(broader) <= covering(asked)


def test_labels_are_the_ontologys() -> None:
    assert label_of(HMB) == "health or medical or biomedical research"
    assert label_of(HEART) == "disease specific research (MONDO:0005267)"


@pytest.mark.parametrize(
    ("purpose", "remedy"),
    [
        ("HMB", "did you mean DUO:0000006 (health or medical or biomedical research)?"),
        ("general research", "did you mean DUO:0000042 (general research use)?"),
        ("DUO:0000007", "add it, as in DUO:0000007/MONDO:0005267"),
    ],
)
def test_wrong_purpose_has_a_remedy(purpose: str, remedy: str) -> None:
    problem = problem_with(purpose)
    assert problem is not None
    assert problem[1] == remedy


def test_a_modifier_is_no_purpose() -> None:
    problem = problem_with("DUO:0000018")
    assert problem is not None
    assert "choose one of DUO:0000004 (no restriction)" in problem[1]
