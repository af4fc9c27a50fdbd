"""Importing consents from CSV: all or nothing, a report of bad rows, repeats, withdrawals, hostile files."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedseal_crypto.digests import sha256_hex
from fedseal_governance.consent import ImportReport, import_consents, in_force, withdraw
from fedseal_governance.consent.rows import MAX_REPORTED
from fedseal_governance.errors import DocumentError
from tests.unit.governance.registers import HEART

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Office

HEADER = "pseudonym,purpose,given_on,valid_until,form_version,recorded_by\n"
EXAMPLES = Path(__file__).parents[3] / "examples" / "heart-disease" / "consents"


def rows(*pseudonyms: str, given_on: str = "2026-01-05") -> str:
    return "".join(f"{name},DUO:0000006,{given_on},,v2,dr-lee\n" for name in pseudonyms)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "consents.csv"


def bring_in(office: "Office", path: Path, content: str | bytes) -> ImportReport:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return office.change(lambda act: import_consents(act, HEART, path))


def usable(office: "Office") -> set[str]:
    return set(office.read(lambda session: in_force(session, dataset="heart", purpose="DUO:0000006", now=office.now)))


def problems(office: "Office", path: Path, content: str | bytes) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        bring_in(office, path, content)
    assert usable(office) == set()
    assert office.journal.entries == []
    return str(caught.value).split("\n")


def test_import(office: "Office", path: Path) -> None:
    text = HEADER + rows("A", "B") + 'C,DUO:0000042,2026-01-05,2026-12-31,"v2, signed",dr-lee\n\n'
    report = bring_in(office, path, text)
    assert report == ImportReport(
        form="csv",
        rows=3,
        consents=3,
        added=3,
        known=0,
        withdrawn=0,
        denials=0,
        ended=0,
        digest=sha256_hex(text.encode()),
    )
    assert usable(office) == {"A", "B", "C"}
    (entry,) = office.journal.entries
    assert (entry.type, entry.subject) == ("consent.imported", "dataset/heart")
    assert entry.details["file"] == report.digest
    assert entry.details["added"] == 3


def test_columns_in_any_order_and_byte_order_mark(office: "Office", path: Path) -> None:
    text = (
        "\ufeffrecorded_by,form_version,valid_until,given_on,purpose,pseudonym\r\nlee,v1,,2026-01-05,DUO:0000006,A\r\n"
    )
    assert bring_in(office, path, text).added == 1


@pytest.mark.parametrize(
    "path_of_example", sorted(set(EXAMPLES.glob("*.csv")) - {EXAMPLES / "withdrawn.csv"}), ids=lambda item: item.name
)
def test_examples_are_valid(office: "Office", path_of_example: Path) -> None:
    report = office.change(lambda act: import_consents(act, HEART, path_of_example))
    assert report.rows == report.added + report.known > 0


def test_import_again_changes_nothing(office: "Office", path: Path) -> None:
    bring_in(office, path, HEADER + rows("A", "B"))
    report = bring_in(office, path, HEADER + rows("A", "B", "C", "C"))
    assert (report.rows, report.added, report.known) == (4, 1, 3)


def test_old_export_never_revives_a_withdrawn_consent(office: "Office", path: Path) -> None:
    bring_in(office, path, HEADER + rows("A", "B"))
    office.change(lambda act: withdraw(act, HEART, "A"))
    other_form = HEADER + rows("A", "B").replace("v2", "v3") + rows("A", given_on="2026-05-04")
    report = bring_in(office, path, other_form)
    assert (report.added, report.known, report.withdrawn) == (1, 0, 2)
    assert usable(office) == {"B"}
    office.now = office.now.replace(day=6)
    bring_in(office, path, HEADER + rows("A", given_on="2026-05-05"))
    assert usable(office) == {"A", "B"}


def test_one_bad_row_stops_all_and_every_bad_row_is_reported(office: "Office", path: Path) -> None:
    text = (
        HEADER
        + rows("GOOD-1")
        + "P2,HMB,2026-01-05,,v2,lee\n"
        + "P3,DUO:0000006,05.01.2026,,v2,lee\n"
        + "P4,DUO:0000006,2026-01-05,2025-01-05,v2,lee\n"
        + "P5,DUO:0000006,2026-09-01,,v2,lee\n"
        + "P6,DUO:0000006,2026-01-05,,v2\n"
        + ",DUO:0000006,2026-01-05,,v2,lee\n"
        + "P8,DUO:0000006,2026-01-05,,,lee\n"
        + rows("GOOD-2")
    )
    assert problems(office, path, text) == [
        (
            'consents.csv, line 3: `purpose` is "HMB": "HMB" is not a purpose of the Data Use Ontology; '
            "did you mean DUO:0000006 (health or medical or biomedical research)?"
        ),
        'consents.csv, line 4: `given_on` is "05.01.2026", which is no date; write it as 2026-12-31.',
        (
            'consents.csv, line 5: `valid_until` is "2025-01-05": it is before `given_on` (2026-01-05); '
            "swap the two, or leave it empty for no end."
        ),
        (
            'consents.csv, line 6: `given_on` is "2026-09-01": it lies in the future; '
            "enter the day on which the form was signed."
        ),
        "consents.csv, line 7: the row has 5 values instead of 6; check its commas.",
        (
            "consents.csv, line 8: `pseudonym`: it is not 1 to 128 printable characters without spaces; "
            "enter the record's pseudonym, never a name."
        ),
        "consents.csv, line 9: `form_version`: it is not 1 to 200 printable characters; enter it.",
    ]


def test_report_is_bounded(office: "Office", path: Path) -> None:
    found = problems(office, path, HEADER + rows("A").replace("DUO:0000006", "HMB") * 200)
    assert len(found) == MAX_REPORTED + 1
    assert found[-1] == (
        f"consents.csv: {200 - MAX_REPORTED} more rows are bad; correct those above first; nothing was imported."
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "consents.csv, line 1: the column `pseudonym` is missing"),
        (HEADER, "has no rows below its header"),
        (HEADER.replace("purpose", "purpos") + rows("A"), "line 1: unknown column `purpos`; did you mean `purpose`?"),
        (HEADER.replace(",purpose", "") + rows("A"), "line 1: the column `purpose` is missing"),
        (HEADER.replace("form_version", "purpose") + rows("A"), "line 1: the column `purpose` is there twice"),
        (HEADER.encode() + b"A\xff\n", "line 2: the line is not UTF-8 text"),
        (HEADER.encode() + b"A\x00\n", "line 2: the line contains a NUL byte"),
        (HEADER + "x" * 5000, "line 2: the line has more than 4096 bytes"),
        (HEADER + '"A,DUO:0000006\n', "not valid CSV"),
        (b"PK\x03\x04\x14\x00\x08", "line 1: the line contains a NUL byte"),
    ],
)
def test_hostile_files(office: "Office", path: Path, content: str | bytes, words: str) -> None:
    assert words in problems(office, path, content)[0]


def test_missing_file_and_folder(office: "Office", path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read"):
        office.change(lambda act: import_consents(act, HEART, path))
    with pytest.raises(DocumentError, match="cannot be read"):
        office.change(lambda act: import_consents(act, HEART, path.parent))


def test_report_never_quotes_a_pseudonym(office: "Office", path: Path) -> None:
    text = HEADER + "Maria\tMüller,DUO:0000006,2026-01-05,,v2,lee\nMaria,HMB,2026-01-05,,v2,lee\n"
    assert "Maria" not in " ".join(problems(office, path, text))


def test_many_rows_in_batches(office: "Office", path: Path) -> None:
    names = [f"P-{number:06d}" for number in range(25_000)]
    report = bring_in(office, path, HEADER + rows(*names))
    assert (report.rows, report.added) == (25_000, 25_000)
    assert len(usable(office)) == 25_000


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_error(office: "Office", path: Path, data: bytes) -> None:
    for content in (data, HEADER.encode() + data + b"\n"):
        if content.strip() != HEADER.encode().strip():
            problems(office, path, content)
