"""Entries for a security information system: JSON lines, and syslog messages of RFC 5424.

A stream can stop and go on: what is needed is the number of the last entry that was delivered. Rules kept here:

1. One entry is one line. Line breaks and other control characters inside are escaped by the entry's
   JSON form, so that no text can look like another message.
2. A JSON line is the entry's exact canonical bytes: whoever keeps the lines can still verify them.
3. A syslog message names number, log and type as structured data and carries the same bytes as its text.
"""

import re
import socket
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal_governance.audit.entries import Entry, shown_time
from fedseal_governance.audit.tables import AuditEntry

PAGE = 500
"""Entries read at a time, each page in a transaction of its own: a long stream holds no snapshot."""

ENTERPRISE: Final = "fedseal@32473"
"""Structured-data identifier; 32473 is the number set aside for documentation (RFC 5612), as none is registered."""

_FACILITY = 13  # "log audit", RFC 5424, table 1
_NOTICE, _WARNING, _ALERT = 5, 4, 1
_ALERTS = frozenset({"witness.alarm", "log.clock_set_back", "log.key_changed"})
_WARNINGS = re.compile(r"\.(refused|declined|failed|denied|revoked|revocations|removed)$")
_ESCAPED = re.compile(r'(["\\\]])')


class StreamFormat(StrEnum):
    """How an entry is written."""

    JSONL = "jsonl"
    SYSLOG = "syslog"


def entries_from(session: Session, start: int, *, count: int = PAGE) -> list[bytes]:
    """The exact bytes of the next entries from number `start` on, at most `count`."""
    query = select(AuditEntry.entry).where(AuditEntry.seq >= start).order_by(AuditEntry.seq).limit(count)
    return list(session.execute(query).scalars())


def follow(
    page: Callable[[int], list[bytes]], start: int, *, wait: Callable[[], bool] | None = None
) -> Iterator[tuple[int, list[bytes]]]:
    """Pages of entries from number `start` on, each with the number of the entry after it.

    Args:
        page: Reads the next entries from a number on, such as `entries_from` in a transaction.
        start: The first number wanted.
        wait: Called when there are no more; True to look again, False to end. None to end at the first such time.
    """
    position = start
    while True:
        found = page(position)
        if found:
            position += len(found)
            yield position, found
        elif wait is None or not wait():
            return


def line(data: bytes) -> bytes:
    """An entry or a message as one line."""
    return data + b"\n"


def syslog_message(data: bytes, *, host: str) -> bytes:
    """The entry as a message of RFC 5424, without framing.

    Args:
        data: The entry's canonical bytes.
        host: HOSTNAME of the header.

    Raises:
        EntryWrong: The bytes are not those of an entry.
    """
    entry = Entry.from_bytes(data)
    priority = _FACILITY * 8 + severity(entry.type)
    parameters = {"seq": str(entry.seq), "log": entry.log, "type": entry.type, "actor": entry.actor}
    structured = " ".join(f'{name}="{_ESCAPED.sub(_escape, value)}"' for name, value in parameters.items())
    name = _printable(entry.type, 32)
    header = f"<{priority}>1 {shown_time(entry.time)} {_printable(host, 255)} fedseal - {name}"
    # RFC 5424, section 6.4: a text in UTF-8 begins with the byte-order mark
    return f"{header} [{ENTERPRISE} {structured}] ".encode() + b"\xef\xbb\xbf" + data


def severity(entry_type: str) -> int:
    """1 (alert) for what asks for a person at once, 4 (warning) for refusals and ends, 5 (notice) for the rest."""
    if entry_type in _ALERTS:
        return _ALERT
    return _WARNING if _WARNINGS.search(entry_type) else _NOTICE


def this_host() -> str:
    """HOSTNAME for messages from this machine."""
    return socket.gethostname() or "-"


def _escape(match: re.Match[str]) -> str:
    return f"\\{match.group(1)}"


def _printable(text: str, limit: int) -> str:
    """PRINTUSASCII of RFC 5424: no space, no control character."""
    return re.sub(r"[^\x21-\x7e]", "_", text)[:limit] or "-"
