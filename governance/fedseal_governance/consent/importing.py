"""Brings a CSV file of consents in: all of it, or nothing with a report of the bad rows.

Rules kept here:

1. The file is read row by row and stored in batches within one transaction; memory does not grow with the
   file.
2. A row that is known already is skipped and counted. So is a row that was given on or before the day on
   which the person withdrew: an old export never revives a consent.
3. The report names row, column, value, fault and remedy, but never a pseudonym.
4. The log holds the file's digest and the counts.

Format: UTF-8, comma, a header with exactly the six columns of `COLUMNS` in any order; dates as
2026-12-31; an empty ``valid_until`` means no end.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from fedseal_crypto.digests import Digest
from fedseal_governance.acts import Act
from fedseal_governance.consent.model import Consent, Flaw, day_of, first_flaw, is_related
from fedseal_governance.consent.tables import ConsentRow, WithdrawalRow
from fedseal_governance.documents import suggestion
from fedseal_governance.errors import DocumentError, Problem, shown

COLUMNS = ("pseudonym", "purpose", "given_on", "valid_until", "form_version", "recorded_by")

MAX_LINE = 4096
"""Bytes; the longest valid row has fewer than 700."""

MAX_REPORTED = 50
"""Rows named in a report; the rest is counted."""

_BATCH = 10_000

_POSTGRESQL_INSERT = text(
    """
    INSERT INTO consents (dataset, pseudonym, purpose, given_on, valid_until, form_version, recorded_by,
    recorded_at,
                          repetition)
    SELECT :dataset, pseudonym, purpose, given_on, valid_until, form_version, recorded_by, :recorded_at, 0
    FROM unnest(CAST(:pseudonym AS text[]), CAST(:purpose AS text[]), CAST(:given_on AS date[]),
                CAST(:valid_until AS date[]), CAST(:form_version AS text[]), CAST(:recorded_by AS text[]))
         AS new (pseudonym, purpose, given_on, valid_until, form_version, recorded_by)
    ON CONFLICT DO NOTHING
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        rows: rows in the file.
        added: consents that are new.
        known: rows that were stored before.
        withdrawn: rows left out because the person has withdrawn since.
        digest: SHA-256 of the file.
    """

    rows: int
    added: int
    known: int
    withdrawn: int
    digest: Digest


def import_consents(act: Act, dataset: str, path: Path) -> ImportReport:
    """Import a CSV file of consents.

    Args:
        act: who imports it, and when.
        dataset: which dataset's records the pseudonyms are.
        path: the file; read anew if the transaction is repeated.

    Raises:
        DocumentError: with every bad row up to `MAX_REPORTED`; nothing was stored.
    """
    reader = _Reader(path, today=day_of(act.now), withdrawals=_withdrawals(act.session, dataset))
    added = 0
    for batch in reader.batches():
        # After the first bad row the file is read to its end for the report, but nothing more is stored.
        if not reader.problems:
            added += _store(act, dataset, batch)
    reader.require_good()
    report = ImportReport(
        rows=reader.rows,
        added=added,
        known=reader.rows - reader.withdrawn - added,
        withdrawn=reader.withdrawn,
        digest=reader.digest,
    )
    act.note(
        "consent.imported",
        f"dataset/{dataset}",
        file=report.digest,
        rows=report.rows,
        added=report.added,
        known=report.known,
        withdrawn=report.withdrawn,
    )
    return report


class _Reader:
    """Turns lines into checked consents; collects problems instead of stopping at the first."""

    def __init__(self, path: Path, *, today: date, withdrawals: Mapping[str, list[tuple[str | None, date]]]) -> None:
        self._path = path
        self._today = today
        self._withdrawals = withdrawals
        self._hash = hashlib.sha256()
        self._bad_rows = 0
        self.rows = 0
        self.withdrawn = 0
        self.problems: list[Problem] = []

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())

    def batches(self) -> Iterator[list[Consent]]:
        rows = csv.reader(self._lines(), strict=True)
        batch: list[Consent] = []
        try:
            order = self._header(next(rows, []))
            for row in rows:
                consent = self._consent(row, order, rows.line_num)
                if consent is not None:
                    batch.append(consent)
                if len(batch) >= _BATCH:
                    yield batch
                    batch = []
        except csv.Error as error:
            raise self._stop(rows.line_num, f"the line is not valid CSV ({error})", "check its quotes") from None
        if self.rows == 0:
            raise self._stop(None, "the file has no rows below its header", "name the right file")
        yield batch

    def require_good(self) -> None:
        if not self.problems:
            return
        hidden = self._bad_rows - len(self.problems)
        if hidden > 0:
            self.problems.append(
                self._problem(None, f"{hidden} more rows are bad", "correct those above first; nothing was imported")
            )
        raise DocumentError(*self.problems)

    def _lines(self) -> Iterator[str]:
        try:
            with self._path.open("rb") as stream:
                number = 0
                while line := stream.readline(MAX_LINE + 1):
                    number += 1
                    self._hash.update(line)
                    yield self._text(line, number)
        except OSError as error:
            raise self._stop(None, f"the file cannot be read ({error.strerror})", "check the path") from None

    def _text(self, line: bytes, number: int) -> str:
        if len(line) > MAX_LINE:
            raise self._stop(number, f"the line has more than {MAX_LINE} bytes", "name the right file")
        if b"\x00" in line:
            raise self._stop(number, "the line contains a NUL byte, as binary files do", "name the right file")
        try:
            return line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise self._stop(number, "the line is not UTF-8 text", "save the file as UTF-8") from None

    def _header(self, header: list[str]) -> tuple[int, ...]:
        names = [name.strip() for name in header]
        for name in names:
            if name not in COLUMNS:
                near = suggestion(name, list(COLUMNS))
                remedy = f"did you mean `{near}`?" if near else f"the columns are {', '.join(COLUMNS)}"
                raise self._stop(1, f"unknown column `{shown(name)}`", remedy)
        for column in COLUMNS:
            if names.count(column) != 1:
                fault = f"the column `{column}` is {'missing' if column not in names else 'there twice'}"
                raise self._stop(1, fault, f"the columns are {', '.join(COLUMNS)}")
        return tuple(names.index(column) for column in COLUMNS)

    def _consent(self, row: list[str], order: tuple[int, ...], line: int) -> Consent | None:
        """The row's consent; None when it is empty, bad, or withdrawn since."""
        if not row:
            return None
        self.rows += 1
        if len(row) != len(COLUMNS):
            self._report(line, "", f"the row has {len(row)} values instead of {len(COLUMNS)}", "check its commas")
            return None
        pseudonym, purpose, given_on, valid_until, form_version, recorded_by = (row[i].strip() for i in order)
        given, until = self._day(given_on, "given_on", line), None
        if valid_until:
            until = self._day(valid_until, "valid_until", line)
        if given is None or (valid_until and until is None):
            return None
        consent = Consent(
            pseudonym=pseudonym,
            purpose=purpose,
            given_on=given,
            valid_until=until,
            form_version=form_version,
            recorded_by=recorded_by,
        )
        flaw = first_flaw(consent, today=self._today)
        if flaw is not None:
            self._report_flaw(line, flaw)
            return None
        for withdrawn_purpose, day in self._withdrawals.get(pseudonym, ()):
            if given <= day and is_related(purpose, withdrawn_purpose):
                self.withdrawn += 1
                return None
        return consent

    def _day(self, value: str, column: str, line: int) -> date | None:
        try:
            if len(value) == 10:  # 2026-12-31 only, none of ISO 8601's other forms
                return date.fromisoformat(value)
        except ValueError:
            pass
        self._report(line, column, f'`{column}` is "{shown(value)}", which is no date', "write it as 2026-12-31")
        return None

    def _report_flaw(self, line: int, flaw: Flaw) -> None:
        value = f' is "{shown(flaw.value)}"' if flaw.value else ""
        self._report(line, flaw.column, f"`{flaw.column}`{value}: {flaw.fault}", flaw.remedy)

    def _report(self, line: int, column: str, fault: str, remedy: str) -> None:
        self._bad_rows += 1
        if len(self.problems) < MAX_REPORTED:
            self.problems.append(self._problem(line, fault, remedy, column))

    def _problem(self, line: int | None, fault: str, remedy: str, column: str = "") -> Problem:
        return Problem(file=self._path.name, line=line, field=column, fault=fault, remedy=remedy)

    def _stop(self, line: int | None, fault: str, remedy: str) -> DocumentError:
        return DocumentError(*self.problems, self._problem(line, fault, remedy))


def _withdrawals(session: Session, dataset: str) -> dict[str, list[tuple[str | None, date]]]:
    query = select(WithdrawalRow.pseudonym, WithdrawalRow.purpose, WithdrawalRow.withdrawn_at).where(
        WithdrawalRow.dataset == dataset
    )
    found: dict[str, list[tuple[str | None, date]]] = {}
    for pseudonym, purpose, withdrawn_at in session.execute(query):
        found.setdefault(pseudonym, []).append((purpose, day_of(withdrawn_at)))
    return found


def _store(act: Act, dataset: str, batch: list[Consent]) -> int:
    """Insert a batch in one statement and return how many rows were new."""
    if not batch:
        return 0
    if act.session.connection().dialect.name == "sqlite":
        return _store_in_sqlite(act.session, dataset, batch, act.now)
    result = act.session.connection().execute(
        # One statement for the whole batch; row by row the driver would wait for the network each time.
        _POSTGRESQL_INSERT,
        {
            "dataset": dataset,
            "recorded_at": act.now,
            "pseudonym": [item.pseudonym for item in batch],
            "purpose": [item.purpose for item in batch],
            "given_on": [item.given_on for item in batch],
            "valid_until": [item.last_day for item in batch],
            "form_version": [item.form_version for item in batch],
            "recorded_by": [item.recorded_by for item in batch],
        },
    )
    return result.rowcount


def _store_in_sqlite(session: Session, dataset: str, batch: list[Consent], now: datetime) -> int:
    statement = sqlite.insert(ConsentRow).on_conflict_do_nothing()
    rows = [
        {
            "dataset": dataset,
            "pseudonym": item.pseudonym,
            "purpose": item.purpose,
            "given_on": item.given_on,
            "valid_until": item.last_day,
            "form_version": item.form_version,
            "recorded_by": item.recorded_by,
            "recorded_at": now,
            "repetition": 0,
        }
        for item in batch
    ]
    # On the connection, because the session would turn the rows into objects first.
    return session.connection().execute(statement, rows).rowcount
