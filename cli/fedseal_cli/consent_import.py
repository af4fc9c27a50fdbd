"""What a person sees of an import of consents: a progress bar, and a report of the bad rows as a file."""

import csv
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

    from fedseal_governance.errors import Problem

COLUMNS = ("line", "field", "value", "fault", "remedy")
_FORMULAS = ("=", "+", "-", "@")


def format_of(word: str | None) -> Literal["csv", "fhir"] | None:
    """The format a person named.

    Raises:
        SetupError: there is no such format.
    """
    from fedseal.errors import SetupError

    formats: dict[str, Literal["csv", "fhir"]] = {"csv": "csv", "fhir": "fhir"}
    if word is None or word in formats:
        return None if word is None else formats[word]
    raise SetupError(f"--format is {word}; write csv or fhir, or leave it out.")


class ImportScreen:
    """Watches an import; see `fedseal_governance.consent.Watch`."""

    def __init__(self, *, size: int, progress: "Progress | None", report: TextIO | None) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("reading", total=size)
        self._report = report

    def begin(self) -> None:
        """Start again: a repeated transaction reads the file anew."""
        self.advance(0)
        if self._report is not None:
            self._report.seek(0)
            self._report.truncate()
            csv.writer(self._report, lineterminator="\n").writerow(COLUMNS)

    def advance(self, done: int) -> None:
        """Move the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done)

    def bad_row(self, problem: "Problem") -> None:
        """Write the row to the report."""
        if self._report is None:
            return
        cells = ("" if problem.line is None else str(problem.line), problem.field, problem.value or "")
        row = [_plain(cell) for cell in (*cells, problem.fault, problem.remedy)]
        csv.writer(self._report, lineterminator="\n").writerow(row)


@contextmanager
def watching(file: Path, report: Path | None, *, quiet: bool) -> Iterator[ImportScreen]:
    """A bar on stderr if a person looks at it, and the report file if one is wanted.

    Raises:
        SetupError: the report cannot be written.
    """
    size = file.stat().st_size if file.is_file() else 0
    with _bar(quiet=quiet) as progress, _report_file(report) as stream:
        yield ImportScreen(size=size, progress=progress, report=stream)


@contextmanager
def _bar(*, quiet: bool) -> "Iterator[Progress | None]":
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


def _report_file(path: Path | None) -> "nullcontext[None] | TextIO":
    from fedseal.errors import SetupError

    if path is None:
        return nullcontext()
    try:
        # Private: values of a hospital's file, though never a pseudonym.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SetupError(f"{path} cannot be written ({error.strerror}); name another file for --report.") from None
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")


def _plain(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULAS) else cell
