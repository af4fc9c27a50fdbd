"""Consents from FHIR: what permits, what refuses, what is not understood, and that no name gets in."""

import json
from copy import deepcopy
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedseal_governance.consent import Consent, ImportOptions, ImportReport, import_consents, in_force, status, withdraw
from fedseal_governance.consent import fhir_file as reading
from fedseal_governance.consent.fhir_file import FhirReader
from fedseal_governance.consent.fhir_meaning import Translation
from fedseal_governance.consent.rows import Findings, HashedFile, Problems, Unwatched
from fedseal_governance.errors import DocumentError, Problem
from fedseal_governance.tables import metadata
from tests.unit.governance.registers import HEART

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Office

ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
HMB, GRU, POA = "DUO:0000006", "DUO:0000042", "DUO:0000011"
EXAMPLES = Path(__file__).parents[3] / "examples" / "heart-disease" / "consents"

Json = dict[str, Any]


def code(word: str, system: str = ACT_REASON) -> Json:
    return {"system": system, "code": word, "display": "Maria Müller"}


def permit(*codes: str, **more: object) -> Json:
    return {"type": "permit", "purpose": [code(word) for word in codes], **more}


def deny(*codes: str, **more: object) -> Json:
    return {"type": "deny", "purpose": [code(word) for word in codes], **more}


def consent(provision: Json | None = None, **more: object) -> Json:
    """A resource with names wherever FHIR has room for them."""
    resource: Json = {
        "resourceType": "Consent",
        "id": "c1",
        "text": {"status": "generated", "div": "<div>Maria Müller</div>"},
        "contained": [{"resourceType": "Patient", "name": [{"family": "Müller", "given": ["Maria"]}]}],
        "status": "active",
        "scope": {"text": "Maria Müller"},
        "category": [{"text": "Maria Müller"}],
        "patient": {"reference": "Patient/CLE-0001", "display": "Maria Müller"},
        "dateTime": "2026-01-05T10:00:00+01:00",
        "performer": [{"display": "Maria Müller"}],
        "sourceAttachment": {"title": "Maria Müller"},
        "policy": [{"uri": "urn:form:2.1"}],
        "verification": [{"verified": True, "verifiedWith": {"display": "Maria Müller"}}],
        "provision": permit("HRESCH") if provision is None else provision,
    }
    resource.update(more)
    return {key: value for key, value in resource.items() if value is not None}


class Collected(Unwatched):
    """Every problem of one reading."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.all = Problems("f.ndjson", self)

    def bad_row(self, problem: Problem) -> None:
        self.sentences.append(problem.sentence)


HOW = Translation(today=date(2026, 5, 4), recorded_by="t", purpose_codes={}, form_version=None, identifier_system=None)


def file_of(content: bytes) -> HashedFile:
    return HashedFile(BytesIO(content), Unwatched())


def read(content: bytes, how: Translation = HOW) -> list[Findings]:
    """What a file says, without a database.

    Raises:
        DocumentError: with every problem.
    """
    problems = Collected()
    found = list(FhirReader(file_of(content), problems.all, how).findings())
    problems.all.require_none()
    return found


def first_problem(content: bytes) -> Problem:
    with pytest.raises(DocumentError) as caught:
        read(content)
    assert "Maria" not in str(caught.value)
    assert "Müller" not in str(caught.value)
    return caught.value.problems[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "consents.ndjson"


def lines(*resources: object) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in resources)


def bundle(*resources: object, kind: str = "collection", indent: int | None = 1) -> bytes:
    document = {"resourceType": "Bundle", "type": kind, "entry": [{"resource": item} for item in resources]}
    return json.dumps(document, indent=indent).encode()


def bring_in(office: "Office", path: Path, content: bytes, **options: Any) -> ImportReport:
    path.write_bytes(content)
    return office.change(lambda act: import_consents(act, HEART, path, options=ImportOptions(**options)))


def usable(office: "Office", purpose: str = HMB) -> set[str]:
    return set(office.read(lambda session: in_force(session, dataset="heart", purpose=purpose, now=office.now)))


def stored(office: "Office", pseudonym: str = "CLE-0001") -> list[Consent]:
    found = office.read(lambda session: status(session, HEART, pseudonym, now=office.now))
    return [item.consent for item in found if item.consent is not None]


def problem(office: "Office", path: Path, content: bytes, **options: Any) -> Problem:
    with pytest.raises(DocumentError) as caught:
        bring_in(office, path, content, **options)
    assert "Maria" not in str(caught.value)
    assert "Müller" not in str(caught.value)
    assert usable(office) == set()
    assert office.journal.entries == []
    return caught.value.problems[0]


@pytest.mark.parametrize("form", ["lines", "bundle", "minified bundle", "single"])
def test_every_form_of_file_and_no_name_gets_in(office: "Office", path: Path, form: str) -> None:
    patient = {"resourceType": "Patient", "id": "CLE-0001", "name": [{"family": "Müller"}]}
    content = {
        "lines": lines(patient, consent()),
        "bundle": bundle(patient, consent()),
        "minified bundle": bundle(patient, consent(), indent=None),
        "single": json.dumps(consent(), indent=2).encode(),
    }[form]
    report = bring_in(office, path, content)
    assert (report.form, report.rows, report.consents, report.added) == ("fhir", 1, 1, 1)
    (found,) = stored(office)
    assert (found.purpose, found.given_on, found.first_day, found.valid_until, found.form_version) == (
        HMB,
        date(2026, 1, 5),
        date(2026, 1, 5),
        None,
        "urn:form:2.1",
    )
    with office.database.engine.connect() as connection:
        everything = repr([connection.execute(table.select()).all() for table in metadata.sorted_tables])
    assert "ller" not in everything + str(office.journal.entries)


def test_the_example_states_what_the_csv_file_states(office: "Office") -> None:
    table = office.change(lambda act: import_consents(act, HEART, EXAMPLES / "switzerland.csv"))
    report = office.change(lambda act: import_consents(act, HEART, EXAMPLES / "switzerland.ndjson"))
    assert (report.consents, report.known, report.added) == (table.consents, table.consents, 0)


def test_the_same_file_again_changes_nothing(office: "Office", path: Path) -> None:
    content = lines(consent(), consent(deny("HRESCH"), patient={"reference": "Patient/CLE-0002"}))
    bring_in(office, path, content)
    report = bring_in(office, path, content)
    assert (report.added, report.known, report.denials, report.ended) == (0, 1, 0, 0)
    (found,) = office.read(lambda session: status(session, HEART, "CLE-0001", now=office.now))
    assert found.source == report.digest


RULES: dict[str, tuple[Json, set[str]]] = {
    "permit": (permit("HRESCH"), {HMB}),
    "two purposes": (permit("HRESCH", "POARCH"), {HMB, POA}),
    "no research": (permit("TREAT", "HPAYMT"), set()),
    "the ontology itself": (permit(purpose=[code("DUO_0000042", "http://purl.obolibrary.org/obo/duo.owl")]), {GRU}),
    "deny with an exception": (deny(provision=[permit("HRESCH")]), {HMB}),
    "permit with an exception": (permit("HRESCH", "POARCH", provision=[deny("POARCH")]), {HMB}),
    "an exception takes the broader purpose": (
        permit(purpose=[code("DUO:0000042", "http://purl.obolibrary.org/obo/duo.owl")], provision=[deny("HRESCH")]),
        set(),
    ),
    "deny wins side by side": (deny(provision=[deny("HRESCH"), permit("HRESCH")]), set()),
    "an exception to an exception": (
        permit("HRESCH", provision=[deny("HRESCH", provision=[permit("BIORCH")])]),
        {HMB},
    ),
    "an exception for everything": (permit("HRESCH", provision=[deny()]), set()),
    "a denial that is over": (permit("HRESCH", provision=[deny("HRESCH", period={"end": "2025-12"})]), {HMB}),
    "a denial of no research": (permit("HRESCH", provision=[deny("TREAT")]), {HMB}),
    "use": (permit("HRESCH", action=[{"coding": [{"code": "collect"}, {"code": "use"}]}]), {HMB}),
    "not for use": (permit("HRESCH", action=[{"coding": [{"code": "disclose"}]}]), set()),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_within_rules(name: str) -> None:
    provision, purposes = RULES[name]
    (found,) = read(lines(consent(deepcopy(provision))))
    assert {item.purpose for item in found.consents} == purposes


@pytest.mark.parametrize(("rule", "permitted"), [("OPTIN", True), ("OPTOUT", False)])
def test_the_policy_rule_gives_the_outermost_direction(rule: str, permitted: bool) -> None:
    (found,) = read(lines(consent({"purpose": [code("HRESCH")]}, policyRule={"coding": [{"code": rule}]})))
    assert (bool(found.consents), bool(found.denials)) == (permitted, not permitted)


def test_periods_hold_within_each_other(office: "Office", path: Path) -> None:
    inner = permit("HRESCH", period={"start": "2026-03", "end": "2030"})
    bring_in(office, path, lines(consent(deny(period={"start": "2026-02-01", "end": "2028-06"}, provision=[inner]))))
    (found,) = stored(office)
    assert (found.given_on, found.first_day, found.valid_until) == (
        date(2026, 1, 5),
        date(2026, 3, 1),
        date(2028, 6, 30),
    )


def test_codes_that_the_policy_explains(office: "Office", path: Path) -> None:
    broad = {"type": "permit", "code": [{"coding": [{"system": "urn:oid:1.2", "code": "3.8"}], "text": "Maria"}]}
    codes = {"urn:oid:1.2|3.8": HMB, "CLINTRCH": GRU, "HRESCH": "none"}
    content = lines(consent(deny(provision=[broad, permit("CLINTRCH", "HRESCH")])))
    found = problem(office, path, content)
    assert (found.line, found.field, found.value) == (1, "provision.provision[0].code[0]", "urn:oid:1.2|3.8")
    bring_in(office, path, content, purpose_codes=codes)
    assert {item.purpose for item in stored(office)} == {HMB, GRU}


@pytest.mark.parametrize("word", ["inactive", "rejected", "entered-in-error"])
def test_what_is_no_longer_active_takes_back_what_it_gave(office: "Office", path: Path, word: str) -> None:
    bring_in(office, path, lines(consent(), consent(permit("POARCH"))))
    report = bring_in(office, path, lines(consent(status=word)))
    assert (report.consents, report.denials, report.ended) == (0, 1, 1)
    assert usable(office) == set()
    assert usable(office, POA) == {"CLE-0001"}
    assert bring_in(office, path, lines(consent())).withdrawn == 1
    bring_in(office, path, lines(consent(dateTime="2026-02-01")))
    assert usable(office) == {"CLE-0001"}


def test_a_refusal_ends_older_consents_and_those_of_the_same_file(office: "Office", path: Path) -> None:
    report = bring_in(office, path, lines(consent(), consent(deny("HRESCH"), dateTime="2026-02-01")))
    assert (report.added, report.ended) == (1, 1)
    assert usable(office) == set()


def test_a_refusal_with_an_exception_leaves_the_exception(office: "Office", path: Path) -> None:
    bring_in(office, path, lines(consent(permit("HRESCH", "POARCH"))))
    bring_in(office, path, lines(consent(deny(provision=[permit("HRESCH")]), dateTime="2026-02-01")))
    assert (usable(office), usable(office, POA)) == ({"CLE-0001"}, set())


@pytest.mark.parametrize("word", ["draft", "proposed"])
def test_what_is_not_yet_active_says_nothing(office: "Office", path: Path, word: str) -> None:
    report = bring_in(office, path, lines(consent(status=word), consent(patient={"reference": "Patient/CLE-0002"})))
    assert (report.rows, report.consents) == (2, 1)
    assert usable(office) == {"CLE-0002"}


def test_a_withdrawal_here_outlives_an_old_export(office: "Office", path: Path) -> None:
    bring_in(office, path, lines(consent()))
    office.change(lambda act: withdraw(act, HEART, "CLE-0001"))
    assert bring_in(office, path, lines(consent())).withdrawn == 1
    assert usable(office) == set()


PATIENTS: list[tuple[Json, str | None, str]] = [
    ({"reference": "https://fhir.example/r4/Patient/CLE-0001/_history/3"}, None, "CLE-0001"),
    ({"identifier": {"system": "urn:psn", "value": "P/1"}}, None, "P/1"),
    ({"reference": "Patient/7", "identifier": {"system": "urn:psn", "value": "CLE-0001"}}, "urn:psn", "CLE-0001"),
]


@pytest.mark.parametrize(("patient", "system", "pseudonym"), PATIENTS)
def test_whose_consent_it_is(office: "Office", path: Path, patient: Json, system: str | None, pseudonym: str) -> None:
    bring_in(office, path, lines(consent(patient=patient)), identifier_system=system)
    assert usable(office) == {pseudonym}


REFUSED: dict[str, tuple[Json, str, str | None]] = {
    "unknown status": (consent(status="revoked"), "status", "revoked"),
    "no status": (consent(status=None), "status", None),
    "modifier": (consent(modifierExtension=[{"url": "urn:not"}]), "modifierExtension", None),
    "modifier of a rule": (
        consent(permit("HRESCH", modifierExtension=[{"url": "u"}])),
        "provision.modifierExtension",
        None,
    ),
    "implicit rules": (consent(implicitRules="urn:rules"), "implicitRules", None),
    "a later release": (consent(decision="deny"), "decision", None),
    "unknown element of a rule": (consent(permit("HRESCH", purposes=[])), "provision.purposes", None),
    "unknown code": (consent(permit("MARKETEER")), "provision.purpose[0]", f"{ACT_REASON}|MARKETEER"),
    "unknown system": (consent(permit(purpose=[code("HRESCH", "urn:x")])), "provision.purpose[0]", "urn:x|HRESCH"),
    "no code": (consent(permit(purpose=[{"display": "Maria"}])), "provision.purpose[0]", None),
    "no purpose": (consent(permit()), "provision.purpose", None),
    "no direction": (consent({"purpose": [code("HRESCH")]}), "provision.type", None),
    "no direction inside": (consent(deny(provision=[{"purpose": []}])), "provision.provision[0].type", None),
    "no provision": (consent({}), "provision.type", None),
    "only some actors": (consent(permit("HRESCH", actor=[{"display": "Maria"}])), "provision.actor", None),
    "only some data": (consent(permit("HRESCH", data=[{"meaning": "instance"}])), "provision.data", None),
    "a name for a patient": (consent(patient={"reference": "Patient/Maria Müller"}), "patient.reference", None),
    "a display alone": (consent(patient={"display": "Maria Müller"}), "patient", None),
    "no patient": (consent(patient=None), "patient", None),
    "no date": (consent(dateTime=None), "dateTime", None),
    "no such day": (consent(dateTime="2026-02-30"), "dateTime", "2026-02-30"),
    "a time without a zone": (consent(dateTime="2026-01-05T10:00:00"), "dateTime", "2026-01-05T10:00:00"),
    "the future": (consent(dateTime="2027-01-05"), "dateTime", "2027-01-05"),
    "no form": (consent(policy=None), "policy.uri", None),
    "over before it began": (consent(permit("HRESCH", period={"end": "2020"})), "provision.period", "2020-12-31"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused(name: str) -> None:
    resource, field, value = REFUSED[name]
    found = first_problem(lines(consent(), resource))
    assert (found.line, found.field, found.value) == (2, field, value)
    inside = first_problem(bundle(consent(), resource))
    assert (inside.line, inside.field) == (None, f"entry[1].resource.{field}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{}", "resourceType` is missing"),
        (b'{"resourceType": "Patient"}\n', "holds no Consent"),
        (b"[1]", "neither a Consent nor a Bundle"),
        (b"{\n", "the file is not JSON"),
        (lines(consent()) + b"oops\n", "line 2: the line is not JSON"),
        (lines(consent()) + b"\x00\n", "line 2: the line is not JSON"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "nested too deeply"),
        (lines(consent()) + b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "line 2: the line is not JSON, or is nested"),
        (lines(consent(), {"resourceType": "Bundle"}), "a Bundle stands inside"),
        (bundle(consent(), kind="history"), "neither a Consent nor a Bundle of the type batch"),
        (b'{"resourceType": "Bundle", "type": "batch", "entry": 7}', "`entry` is no list"),
        (b'{"resourceType": "Bundle", "type": "batch", "entry": [7]}', "holds no resource"),
        (
            b'{"resourceType": "Bundle", "type": "batch", "entry": [{"resource": {}, "request": {"method": "GET"}}]}',
            "no resource that is to be stored",
        ),
    ],
)
def test_hostile_files(content: bytes, words: str) -> None:
    assert words in first_problem(content).sentence


def test_rules_nested_too_deep() -> None:
    rule = permit("HRESCH")
    for _ in range(20):
        rule = deny(provision=[rule])
    assert "nested more than 16 deep" in first_problem(lines(consent(rule))).sentence


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With smaller limits, so that no test writes a gigabyte; what is read is counted."""
    monkeypatch.setattr(reading, "MAX_LINE", 3_000)
    monkeypatch.setattr(reading, "MAX_BUNDLE", 10_000)
    longer = lines(consent(language="x" * 4_000))
    assert "line 2: the line has more than 3000 bytes" in first_problem(lines(consent()) + longer).sentence
    assert "more than 10000 bytes; export the consents as NDJSON" in first_problem(b"{" * 50_000).sentence
    assert "more than 10000 bytes" in first_problem(bundle(*[consent()] * 20)).sentence


# --- fuzz ---------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["HRESCH", "TREAT", "MARKETEER", "", "\n2026-01-01 INFO forged", "x" * 3_000, "\u202e", "2026", "9999-12-31"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
KEYS = st.sampled_from(
    ["type", "purpose", "provision", "period", "start", "end", "code", "coding", "system", "action", "data", "id"]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@settings(max_examples=150, deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from(
            ["status", "patient", "dateTime", "policy", "policyRule", "provision", "resourceType", "extra"]
        ),
        VALUES,
        min_size=1,
    )
)
def test_any_resource_is_imported_or_refused_with_a_sentence(changes: Json) -> None:
    """No other exception, no line of anybody else's making; a second reading says the same."""
    said = []
    for _ in range(2):
        problems = Collected()
        reader = FhirReader(file_of(lines(consent(**changes))), problems.all, HOW)
        try:
            said.append([list(reader.findings()), problems.sentences])
        except DocumentError as error:
            said.append([str(error), problems.sentences])
    assert said[0] == said[1]
    assert all(text.isprintable() for text in problems.sentences)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_sentence(data: bytes) -> None:
    for content in (b"{" + data, lines(consent()) + data):
        problems = Collected()
        found = []
        try:
            found = list(FhirReader(file_of(content), problems.all, HOW).findings())
        except DocumentError:
            assert problems.sentences
        assert all(text.isprintable() for text in problems.sentences)
        assert len(found) <= 1
