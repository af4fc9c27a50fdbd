"""What the readers of consent files share: findings, the collector of bad rows, reading within limits.

Rules kept here:

1. A bad row is told by line, field, value, fault and remedy, and never by a pseudonym.
2. What a message quotes is shortened and printable (`fedseal_governance.errors.shown`).
3. Memory does not grow with the file: `MAX_REPORTED` problems are kept, all are handed to the caller's `Watch`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from fedseal_crypto.digests import Digest
from fedseal_governance.consent.model import Consent, Denial, Flaw
from fedseal_governance.errors import DocumentError, Problem, shown

MAX_REPORTED = 50
"""Problems kept for the error; the rest is counted."""


class Watch(Protocol):
    """Who looks on while a file is imported: a progress bar, a report of bad rows. May see a file more than once."""

    def begin(self) -> None:
        """The file is read from its beginning."""
        ...

    def advance(self, done: int) -> None:
        """So many bytes have been read."""
        ...

    def bad_row(self, problem: Problem) -> None:
        """A row cannot be used."""
        ...


class Unwatched:
    """Nobody looks on."""

    def begin(self) -> None:
        """Nothing to prepare."""

    def advance(self, done: int) -> None:
        """Nothing to show."""

    def bad_row(self, problem: Problem) -> None:
        """Kept in the error alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What one row says.

    Attributes:
        consents: what the person permitted.
        denials: what the person refused or took back.
    """

    consents: tuple[Consent, ...] = ()
    denials: tuple[Denial, ...] = ()


class Reader(Protocol):
    """Reads one file once."""

    rows: int

    def findings(self) -> Iterator[Findings]:
        """What each good row says; bad rows go to the `Problems` the reader was made with.

        Raises:
            DocumentError: the file as a whole cannot be read.
        """
        ...


class Problems:
    """Collects what is wrong with a file."""

    def __init__(self, filename: str, watch: Watch) -> None:
        self._filename = filename
        self._watch = watch
        self._kept: list[Problem] = []
        self._count = 0

    @property
    def found(self) -> bool:
        """Whether there are any."""
        return self._count > 0

    def report(self, line: int | None, field: str, fault: str, remedy: str, *, value: str | None = None) -> None:
        """Note a bad row; ``value`` must not be a pseudonym."""
        quoted = None if value is None else shown(value)
        problem = Problem(file=self._filename, line=line, field=shown(field), value=quoted, fault=fault, remedy=remedy)
        self._count += 1
        if len(self._kept) < MAX_REPORTED:
            self._kept.append(problem)
        self._watch.bad_row(problem)

    def report_flaw(self, line: int | None, flaw: Flaw, *, field: str | None = None) -> None:
        """Note a value that cannot be part of a consent."""
        where = field or flaw.column
        value = f' is "{shown(flaw.value)}"' if flaw.value else ""
        self.report(line, where, f"`{where}`{value}: {flaw.fault}", flaw.remedy, value=flaw.value or None)

    def stop(self, line: int | None, fault: str, remedy: str) -> DocumentError:
        """The error for a file that cannot be read any further."""
        self.report(line, "", fault, remedy)
        return DocumentError(*self._kept)

    def require_none(self) -> None:
        """Refuse the file if anything is wrong.

        Raises:
            DocumentError: with the first problems and the number of the others.
        """
        if not self._count:
            return
        hidden = self._count - len(self._kept)
        if hidden:
            fault = f"{hidden} more rows are bad"
            remedy = "correct those above first; nothing was imported"
            raise DocumentError(*self._kept, Problem(file=self._filename, fault=fault, remedy=remedy))
        raise DocumentError(*self._kept)


class HashedFile:
    """A file read piece by piece while its digest is computed.

    Args:
        stream: the open file.
        watch: told how far it is.
    """

    def __init__(self, stream: BinaryIO, watch: Watch) -> None:
        self._stream = stream
        self._watch = watch
        self._hash = hashlib.sha256()
        self.done = 0

    @property
    def digest(self) -> Digest:
        """SHA-256 of what has been read."""
        return Digest(self._hash.hexdigest())

    def line(self, limit: int) -> bytes:
        """The next line with its end, or ``limit`` bytes of it; empty at the end."""
        return self._seen(self._stream.readline(limit))

    def rest(self, limit: int) -> bytes:
        """Everything that is left, or ``limit`` bytes of it."""
        return self._seen(self._stream.read(limit))

    def _seen(self, data: bytes) -> bytes:
        self._hash.update(data)
        before, self.done = self.done, self.done + len(data)
        # A bar needs no more than a step each quarter of a megabyte.
        if before >> 18 != self.done >> 18:
            self._watch.advance(self.done)
        return data


def decoded(line: bytes, number: int, problems: Problems, *, limit: int) -> str:
    """A line as text.

    Raises:
        DocumentError: it is too long, binary, or not UTF-8.
    """
    if len(line) > limit:
        raise problems.stop(number, f"the line has more than {limit} bytes", "name the right file")
    if b"\x00" in line:
        raise problems.stop(number, "the line contains a NUL byte, as binary files do", "name the right file")
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise problems.stop(number, "the line is not UTF-8 text", "save the file as UTF-8") from None


def named(path: Path) -> str:
    """A file's name for messages."""
    return shown(path.name)
