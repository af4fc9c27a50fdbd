"""Loading a dataset: everything that fits is understood, everything else is refused with a place and no content."""

from pathlib import Path

import numpy as np
import pytest

from fedseal.learning import DatasetError, LocalData, content_digest, load_dataset
from fedseal.learning.data import parse_dataset
from fedseal_governance.datasets import DatasetSchema

HEADER = "person,age,chol,smoker,pain,ill\n"
GOOD = HEADER + "p1,40,200,TRUE,none,TRUE\np2,,0,false,some,FALSE\np3,60.5,250,,unknown,1\n"


def test_cells_are_understood(small_schema: DatasetSchema) -> None:
    data = parse_dataset(GOOD, small_schema, source="good.csv")
    assert data.record_ids == ("p1", "p2", "p3")
    np.testing.assert_array_equal(data.frame["age"], [40, np.nan, 60.5])
    np.testing.assert_array_equal(data.frame["chol"], [200, np.nan, 250])  # 0 is declared to mean "not measured"
    np.testing.assert_array_equal(data.frame["smoker"], [1, 0, np.nan])
    assert data.frame["pain"].isna().tolist() == [False, False, True]
    target = small_schema.target
    assert target is not None
    assert data.labels(target).tolist() == [1, 0, 1]


def test_the_example_has_its_known_rows(hospitals: dict[str, LocalData], heart_schema: DatasetSchema) -> None:
    target = heart_schema.target
    assert target is not None
    rows = {name: data.row_count for name, data in hospitals.items()}
    ill = {name: round(100 * float(data.labels(target).mean())) for name, data in hospitals.items()}
    assert rows == {"cleveland": 304, "hungary": 293, "va-long-beach": 200, "switzerland": 123}
    assert ill == {"cleveland": 46, "hungary": 36, "va-long-beach": 74, "switzerland": 93}
    assert hospitals["switzerland"].frame["chol"].isna().all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("person,age,chol,smoker,pain\np1,1,100,TRUE,none\n", "columns missing: ill"),
        (HEADER.replace("ill", "ill,name") + "p1,1,100,TRUE,none,TRUE,Ann\n", "not in the schema: name"),
        (HEADER.replace("age", "chol") + "p1,1,100,TRUE,none,TRUE\n", "more than once"),
        (HEADER + "p1,secret,100,TRUE,none,TRUE\n", 'line 2, column "age": is not a number'),
        (HEADER + "p1,inf,100,TRUE,none,TRUE\n", "is not a number"),
        (HEADER + "p1,40,100,TRUE,none,TRUE\np2,140,100,TRUE,none,TRUE\n", 'line 3, column "age": is outside'),
        (HEADER + "p1,40,49,TRUE,none,TRUE\n", 'column "chol": is outside the schema\'s range 50 to 700'),
        (HEADER + "p1,40,100,secret,none,TRUE\n", "neither TRUE nor FALSE"),
        (HEADER + "p1,40,100,TRUE,secret,TRUE\n", "none of the schema's categories (none, some)"),
        (HEADER + "p1,40,100,TRUE,none,\n", 'column "ill": has no target'),
        (HEADER + ",40,100,TRUE,none,TRUE\n", "has no record id"),
        (HEADER + "p1,40,100,TRUE,none,TRUE\np1,40,100,TRUE,none,TRUE\n", "repeats a record id"),
        (HEADER + "p1,40,100,TRUE\n", "line 2: has 4 cells, the header has 6"),
        (HEADER + 'p1,40,100,TRUE,"none,TRUE\n', "is not valid CSV"),
        (HEADER, "has no rows below its header line"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, says: str, small_schema: DatasetSchema) -> None:
    with pytest.raises(DatasetError) as caught:
        parse_dataset(text, small_schema, source="bad.csv")
    assert says in str(caught.value)
    assert str(caught.value).startswith("bad.csv")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "is not a UTF-8 text file"),
        (b"person,age\x00\n", "is not a UTF-8 text file"),
    ],
)
def test_unreadable_files_are_refused(content: bytes, says: str, tmp_path: Path, small_schema: DatasetSchema) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=says):
        load_dataset(path, small_schema)


def test_a_missing_file_is_refused(tmp_path: Path, small_schema: DatasetSchema) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        load_dataset(tmp_path / "absent.csv", small_schema)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, small_schema: DatasetSchema) -> None:
    path = tmp_path / "windows.csv"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    plain = parse_dataset(GOOD, small_schema, source="good.csv")
    assert content_digest(load_dataset(path, small_schema)) == content_digest(plain)


def test_the_content_digest_ignores_order_and_sees_every_cell(small_schema: DatasetSchema) -> None:
    def digest(text: str) -> str:
        return content_digest(parse_dataset(text, small_schema, source="x.csv"))

    lines = GOOD.splitlines()
    assert digest("\n".join([lines[0], lines[3], lines[1], lines[2]])) == digest(GOOD)
    assert digest(GOOD.replace("p1,40,", "p1,40.0,")) == digest(GOOD)
    for old, new in [("p1,40", "p1,41"), ("none", "some"), ("p3", "p4"), ("250", "0"), ("p2,,0,false", "p2,,0,")]:
        assert digest(GOOD.replace(old, new)) != digest(GOOD)


def test_restricting_keeps_rows_and_records_together(hospitals: dict[str, LocalData]) -> None:
    data = hospitals["cleveland"]
    part = data.restrict({"CLE-0300", "CLE-0002", "HUN-0001"})
    assert part.record_ids == ("CLE-0002", "CLE-0300")
    assert part.frame["age"].tolist() == [data.frame["age"][1], data.frame["age"][299]]
