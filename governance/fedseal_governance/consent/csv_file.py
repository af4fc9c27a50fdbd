"""Consents in a CSV file: UTF-8, comma, a header, one row a pseudonym and purpose.

The header has the six columns of `COLUMNS` and, if wanted, ``valid_from``, in any order; dates as 2026-12-31; an empty
``valid_until`` means no end, an empty ``valid_from`` the day on which the consent was given.
"""

import csv
from collections.abc import Iterator
from datetime import date
from functools import lru_cache

from fedseal_governance.consent.model import Consent, first_flaw
from fedseal_governance.consent.rows import Findings, HashedFile, Problems, decoded
from fedseal_governance.documents import suggestion
from fedseal_governance.errors import shown

COLUMNS = ("pseudonym", "purpose", "given_on", "valid_until", "form_version", "recorded_by")
OPTIONAL = "valid_from"

MAX_LINE = 4096
"""Bytes; the longest valid row has fewer than 900."""


class CsvReader:
    """Turns lines into checked consents; collects problems instead of stopping at the first."""

    def __init__(self, file: HashedFile, problems: Problems, *, today: date) -> None:
        self._file = file
        self._problems = problems
        self._today = today
        self.rows = 0

    def findings(self) -> Iterator[Findings]:
        """The consent of each good row.

        Raises:
            DocumentError: the file is no CSV file of consents.
        """
        rows = csv.reader(self._lines(), strict=True)
        try:
            order = self._header(next(rows, []))
            for row in rows:
                if not row:
                    continue
                self.rows += 1
                consent = self._consent(row, order, rows.line_num)
                if consent is not None:
                    yield Findings(consents=(consent,))
        except csv.Error as error:
            raise self._problems.stop(
                rows.line_num, f"the line is not valid CSV ({error})", "check its quotes"
            ) from None
        if self.rows == 0:
            raise self._problems.stop(None, "the file has no rows below its header", "name the right file")

    def _lines(self) -> Iterator[str]:
        number = 0
        while line := self._file.line(MAX_LINE + 1):
            number += 1
            yield decoded(line, number, self._problems, limit=MAX_LINE)

    def _header(self, header: list[str]) -> dict[str, int]:
        names = [name.strip() for name in header]
        known = [*COLUMNS, OPTIONAL]
        listed = f"the columns are {', '.join(COLUMNS)} and, if wanted, {OPTIONAL}"
        for name in names:
            if name not in known:
                near = suggestion(name, known)
                remedy = f"did you mean `{near}`?" if near else listed
                raise self._problems.stop(1, f"unknown column `{shown(name)}`", remedy)
        for column in known:
            if names.count(column) > 1 or (column != OPTIONAL and column not in names):
                fault = f"the column `{column}` is {'missing' if column not in names else 'there twice'}"
                raise self._problems.stop(1, fault, listed)
        return {name: place for place, name in enumerate(names)}

    def _consent(self, row: list[str], order: dict[str, int], line: int) -> Consent | None:
        """The row's consent; None when it is bad."""
        if len(row) != len(order):
            self._problems.report(
                line, "", f"the row has {len(row)} values instead of {len(order)}", "check its commas"
            )
            return None
        cells = {name: row[place].strip() for name, place in order.items()}
        days = {name: self._day(cells.get(name, ""), name, line) for name in ("given_on", "valid_until", OPTIONAL)}
        given = days["given_on"]
        if given is None and not cells["given_on"]:
            self._problems.report(line, "given_on", "`given_on` is empty", "enter the day of the signature")
        if given is None or any(day is None and cells.get(name) for name, day in days.items()):
            return None
        consent = Consent(
            pseudonym=cells["pseudonym"],
            purpose=cells["purpose"],
            given_on=given,
            valid_from=days[OPTIONAL],
            valid_until=days["valid_until"],
            form_version=cells["form_version"],
            recorded_by=cells["recorded_by"],
        )
        flaw = first_flaw(consent, today=self._today)
        if flaw is not None:
            self._problems.report_flaw(line, flaw)
            return None
        return consent

    def _day(self, value: str, column: str, line: int) -> date | None:
        day = _as_day(value)
        if day is None and value:
            fault = f'`{column}` is "{shown(value)}", which is no date'
            self._problems.report(line, column, fault, "write it as 2026-12-31", value=value)
        return day


@lru_cache(maxsize=10_000)
def _as_day(value: str) -> date | None:
    try:
        # 2026-12-31 only, none of ISO 8601's other forms.
        return date.fromisoformat(value) if len(value) == 10 else None
    except ValueError:
        return None
