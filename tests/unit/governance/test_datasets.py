"""Schemas and registrations: rules of a schema, what is pinned, and drift in words."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_governance.datasets import (
    Baseline,
    ColumnRole,
    ColumnType,
    DatasetFacts,
    Drift,
    Registration,
    RowChanges,
    approve,
    baseline_of,
    compare,
    list_registered,
    load_schema,
    register,
    registered,
    row_changes,
)
from fedseal_governance.datasets.tables import DatasetRow
from fedseal_governance.errors import AlreadyDone, DocumentError, NotFound, RefusedError, TamperError

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Office

EXAMPLE = Path(__file__).parents[3] / "examples" / "heart-disease" / "schema.yaml"
CONTENT = Digest("c" * 64)


def test_schema(schema_bytes: bytes) -> None:
    schema = load_schema(schema_bytes, "schema.yaml")
    assert schema.record_id.name == "pseudonym"
    assert [column.name for column in schema.features] == ["age", "sex", "chol", "fbs"]
    assert schema.target is not None
    assert schema.target.positive == ("1", "2")
    assert schema.column("chol").missing_values == (0,)
    assert (schema.column("age").type, schema.column("age").role) == (ColumnType.NUMBER, ColumnRole.FEATURE)
    with pytest.raises(KeyError):
        schema.column("weight")


def test_example_is_valid() -> None:
    assert load_schema(EXAMPLE.read_bytes(), "schema.yaml").dataset == "heart-disease"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"role: record_id", b"role: ignored", "0 columns have the role record_id"),
        (b"name: sex,", b"name: age,", "the column `age` is described twice; keep one."),
        (b", range: [18, 110]", b"", "line 4: the column `age` has no range"),
        (b"[18, 110]", b"[110, 18]", "line 4: the range of the column `age` is empty"),
        (b", categories: [Female, Male]", b"", "line 5: the column `sex` lists no categories"),
        (b"[Female, Male]", b"[Female, Female]", "line 5: the column `sex` lists a category twice"),
        (
            b'["0", "1", "2"], positive: ["1", "2"]',
            b'["0", "1"]',
            "line 8: the column `num` does not say which values count as yes",
        ),
        (b'positive: ["1", "2"]', b'positive: ["3"]', "line 8: `3` is no category of the column `num`"),
        (
            b'positive: ["1", "2"]',
            b'positive: ["0", "1", "2"]',
            "line 8: every category of the column `num` counts as yes",
        ),
        (b"unit: years", b"role: target", "line 4: the column `age` is a target but a number"),
        (
            b"type: boolean",
            b"type: bool",
            "line 7: `columns[4].type` is bool, which is not one of number, category, boolean, image",
        ),
        (b"type: boolean", b"type: boolean, role: target", "more than one column has the role target"),
    ],
)
def test_schema_refusals(schema_bytes: bytes, old: bytes, new: bytes, expected: str) -> None:
    assert schema_bytes.count(old) == 1
    with pytest.raises(DocumentError) as caught:
        load_schema(schema_bytes.replace(old, new), "schema.yaml")
    assert expected in str(caught.value)


@pytest.fixture
def facts(schema_bytes: bytes) -> DatasetFacts:
    return DatasetFacts(schema_content=schema_bytes, row_count=304, content_digest=CONTENT)


def enter(office: "Office", facts: DatasetFacts) -> Registration:
    return office.change(lambda act: register(act, facts, filename="schema.yaml", source="/data/heart.csv"))


def test_registration_is_pinned_and_noted(office: "Office", facts: DatasetFacts) -> None:
    made = enter(office, facts)
    found = office.read(lambda session: registered(session, "heart-disease"))
    assert found == made
    assert (found.facts, found.schema_digest) == (facts, sha256_hex(facts.schema_content))
    assert (found.source, found.registered_by, found.registered_at) == ("/data/heart.csv", "person/olga", office.now)
    (entry,) = office.journal.entries
    assert entry.type == "dataset.registered"
    assert entry.details["rows"] == 304
    assert "/data/heart.csv" not in str(entry)


def test_registering_again_replaces_and_keeps_the_old_one(office: "Office", facts: DatasetFacts) -> None:
    enter(office, facts)
    enter(office, replace(facts, row_count=310))
    (only,) = office.read(list_registered)
    assert only.facts.row_count == 310
    rows = office.read(lambda session: session.query(DatasetRow).count())
    assert rows == 2


def test_unknown_empty_and_edited(office: "Office", facts: DatasetFacts) -> None:
    with pytest.raises(NotFound, match="fedseal dataset register"):
        office.read(lambda session: registered(session, "heart-disease"))
    with pytest.raises(RefusedError, match="has no rows"):
        enter(office, replace(facts, row_count=0))
    enter(office, facts)
    statement = update(DatasetRow).values(schema_content=facts.schema_content + b"#")
    office.database.run("edit", lambda session: session.execute(statement))
    with pytest.raises(TamperError):
        office.read(lambda session: registered(session, "heart-disease"))


@pytest.fixture
def registration(office: "Office", facts: DatasetFacts) -> Registration:
    return enter(office, facts)


def rows_of(cells: dict[str, str]) -> Baseline:
    """A baseline of rows by record id; the column's words tell how many there are."""
    pairs = (sha256(text.encode()).digest()[:8] for item in sorted(cells.items()) for text in item)
    return Baseline(rows=b"".join(pairs), columns={"age": f"{len(cells)} values"})


def facts_of(facts: DatasetFacts, cells: dict[str, str]) -> DatasetFacts:
    content = sha256_hex(repr(sorted(cells.items())).encode())
    return replace(facts, row_count=len(cells), content_digest=content, baseline=rows_of(cells))


CELLS = {f"P-{number}": "a" for number in range(100)}
EDITED = {**{name: cell for name, cell in CELLS.items() if name != "P-0"}, "P-1": "b", "P-new": "a"}


def test_unchanged_data_has_no_drift(registration: Registration, facts: DatasetFacts) -> None:
    assert compare(registration, facts) == Drift()


def test_without_a_baseline_any_change_is_too_much(registration: Registration, facts: DatasetFacts) -> None:
    other = Digest("d" * 64)
    drift = compare(registration, replace(facts, content_digest=other), max_rows_changed_percent=100)
    assert drift == Drift(sentences=("Dataset heart-disease: cells have changed since it was approved.",), beyond=True)
    drift = compare(registration, replace(facts, row_count=320, content_digest=other))
    assert drift.sentences == ("Dataset heart-disease: the number of rows is 320 instead of 304.",)
    assert drift.beyond


@pytest.mark.parametrize(("percent", "beyond"), [(0, True), (2.9, True), (3, False), (100, False)])
def test_rows_are_counted_against_the_tolerance(
    office: "Office", facts: DatasetFacts, percent: float, beyond: bool
) -> None:
    approved = enter(office, facts_of(facts, CELLS))
    before = office.read(lambda session: baseline_of(session, approved))
    drift = compare(approved, facts_of(facts, EDITED), before=before, max_rows_changed_percent=percent)
    assert drift.rows == RowChanges(added=1, removed=1, edited=1)
    assert drift.beyond is beyond
    counted = "Dataset heart-disease: 1 rows were added, 1 removed and 1 edited since it was approved, 3 % of 100"
    assert drift.sentences == (f"{counted}; {percent:g} % may be.",)


def test_columns_that_look_different_are_shown(office: "Office", facts: DatasetFacts) -> None:
    approved = enter(office, facts_of(facts, CELLS))
    before = office.read(lambda session: baseline_of(session, approved))
    fewer = facts_of(facts, dict(list(CELLS.items())[:50]))
    assert "the column age was: 100 values; it is: 50 values" in compare(approved, fewer, before=before).sentences[1]


def test_approval_replaces_what_is_compared_with(office: "Office", facts: DatasetFacts) -> None:
    enter(office, facts_of(facts, CELLS))
    with pytest.raises(AlreadyDone, match="as it was approved"):
        office.change(lambda act: approve(act, "heart-disease", facts_of(facts, CELLS)))
    done = office.change(lambda act: approve(act, "heart-disease", facts_of(facts, EDITED)))
    assert compare(done, facts_of(facts, EDITED)) == Drift()
    entry = office.journal.entries[-1]
    assert (entry.type, entry.details["rows_added"], entry.details["rows_edited"]) == ("dataset.approved", 1, 1)
    assert "P-new" not in str(office.journal.entries)
    other = replace(facts_of(facts, CELLS), schema_content=facts.schema_content + b"# edited\n")
    with pytest.raises(RefusedError, match="register it again"):
        office.change(lambda act: approve(act, "heart-disease", other))
    with pytest.raises(NotFound):
        office.change(lambda act: approve(act, "lungs", facts))


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 3)), st.dictionaries(st.text(max_size=3), st.integers(0, 3)))
def test_rows_are_counted_right(before: dict[str, int], now: dict[str, int]) -> None:
    old, new = ({name: str(value) for name, value in cells.items()} for cells in (before, now))
    assert row_changes(rows_of(old), rows_of(new)) == RowChanges(
        added=len(new.keys() - old.keys()),
        removed=len(old.keys() - new.keys()),
        edited=sum(old[name] != new[name] for name in old.keys() & new.keys()),
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"name: fbs,", b"name: fbp,", ["the column fbp was added", "the column fbs was removed"]),
        (b"type: boolean", b'type: category, categories: ["a"]', ["the column fbs is a category instead of a boolean"]),
        (b"type: boolean", b"type: boolean, role: ignored", ["the column fbs has the role ignored instead of feature"]),
        (b"[18, 110]", b"[0, 110]", ["the range of the column age is (0.0, 110.0) instead of (18.0, 110.0)"]),
        (b"[Female, Male]", b"[Female, Male, Other]", ["the column sex has other categories"]),
        (b"[Female, Male]", b"[Male, Female]", ["the values of the column sex are coded differently"]),
        (b"missing_values: [0]", b"missing_values: [1]", ["the values of the column chol are coded differently"]),
        (b"unit: years", b"unit: months", ["the text of its schema changed"]),
    ],
)
def test_schema_drift_names_columns(
    registration: Registration, facts: DatasetFacts, old: bytes, new: bytes, expected: list[str]
) -> None:
    now = replace(facts, schema_content=facts.schema_content.replace(old, new))
    found = compare(registration, now, max_rows_changed_percent=100).sentences
    assert compare(registration, now, max_rows_changed_percent=100).beyond
    assert len(found) >= len(expected)
    for words, sentence in zip(expected, found, strict=False):
        assert words in sentence
