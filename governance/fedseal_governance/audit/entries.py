"""The audit log's entries: what one may say, and its exact bytes.

An entry is a JSON object in RFC 8785 form with the fields `seq`, `time`, `log`, `type`, `actor`, `subject`
and `details`. Rules kept here:

1. Nothing but JSON goes in. Line breaks and other control characters are escaped by the encoding, so that no
   text can look like another entry.
2. No payloads: long numeric lists, long text and text that looks like encoded binary are refused; the log
   refers to documents by digest, which it never contains. Callers name patients by nothing at all.
3. Times never run backwards by accident. An entry's time is the later of the clock and the previous entry's
   time while the two differ by at most `CLOCK_TOLERANCE` (processes that waited for a lock). A larger step
   back is a clock that was set: the log says so in an entry of the type `log.clock_set_back` and goes on with
   the clock. Readers accept a smaller time at an entry of that type only.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from fedseal_crypto.canonical import JsonInvalid, NotJson, canonical_json, parse_canonical
from fedseal_governance.audit.errors import EntryRefused, EntryWrong

MAX_ENTRY = 16 * 1024
"""Bytes of one entry; a round with a thousand nodes refers to its list by digest."""

MAX_NAME = 200
"""Characters of actor and subject."""

MAX_TEXT = 2000
"""Characters of one text in details: a sentence for people."""

MAX_ENCODED = 128
"""Characters of one text without spaces in a base64 or hexadecimal alphabet; a signature has 88."""

MAX_NUMBERS = 64
"""Numbers in one list; model updates have thousands."""

CLOCK_TOLERANCE = timedelta(seconds=60)
"""By how much the clock may lag behind the last entry before it counts as set back; locks wait up to 20 s."""

CLOCK_SET_BACK = "log.clock_set_back"
"""The type of the entry that admits a smaller time."""

KEY_CHANGED = "log.key_changed"
"""The type of the entry from which on checkpoints are signed with another key."""

REMOVED = "document.removed"
"""The type of the entry that remains of a deleted document."""

_FIELDS = frozenset({"seq", "time", "log", "type", "actor", "subject", "details"})
_TYPE = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_ENCODED = re.compile(rf"[A-Za-z0-9+/=_-]{{{MAX_ENCODED + 1},}}")
_MAX_TYPE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of an audit log.

    Attributes:
        seq: Position in the log, from 0.
        time: When it was recorded: UTC, whole milliseconds.
        log: The log's origin.
        type: What happened, dotted: `job.submitted`.
        actor: Who did it: `person/alice`.
        subject: What it happened to: `job/0a1b…`.
        details: A JSON object with everything else.
    """

    seq: int
    time: datetime
    log: str
    type: str
    actor: str
    subject: str
    details: Mapping[str, object]

    def to_bytes(self) -> bytes:
        """The canonical bytes, which are hashed, stored and exported.

        Raises:
            EntryRefused: The entry breaks a rule of this module.
        """
        _require_fit(self)
        try:
            data = canonical_json(
                {
                    "seq": self.seq,
                    "time": shown_time(self.time),
                    "log": self.log,
                    "type": self.type,
                    "actor": self.actor,
                    "subject": self.subject,
                    "details": dict(self.details),
                }
            )
        except NotJson as error:
            raise EntryRefused(f"the details of a {self.type} entry are not JSON: {error}") from error
        if len(data) > MAX_ENTRY:
            raise EntryRefused(
                f"a {self.type} entry would have {len(data)} bytes and the limit is {MAX_ENTRY}; "
                "put the data into a document and name its digest."
            )
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read an entry back; only the shape is checked, not what `to_bytes` refuses to write.

        Raises:
            EntryWrong: The bytes are not those of an entry.
        """
        try:
            fields = parse_canonical(data, max_bytes=MAX_ENTRY)
        except JsonInvalid as error:
            raise EntryWrong(f"it is not an entry: {error}") from error
        if frozenset(fields) != _FIELDS:
            raise EntryWrong(f"an entry has exactly the fields {', '.join(sorted(_FIELDS))}")
        seq, details = fields["seq"], fields["details"]
        # In Python a boolean is an integer; in an entry it is not a position.
        if not isinstance(seq, int) or isinstance(seq, bool) or not isinstance(details, dict):
            raise EntryWrong("the field seq is not an integer or details is not an object")
        return cls(
            seq=seq,
            time=_parsed_time(_text(fields, "time")),
            log=_text(fields, "log"),
            type=_text(fields, "type"),
            actor=_text(fields, "actor"),
            subject=_text(fields, "subject"),
            details=details,
        )


def shown_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-03-01T08:30:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def whole_milliseconds(moment: datetime) -> datetime:
    """`moment` as an entry can say it: in UTC, cut to milliseconds.

    Raises:
        EntryRefused: `moment` has no time zone.
    """
    if moment.tzinfo is None:
        raise EntryRefused(f"the time {moment.isoformat()} has no time zone; pass an aware time in UTC.")
    utc = moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def follows(entry: Entry, previous_time: datetime | None) -> bool:
    """Whether an entry's time may come after the previous entry's (rule 3)."""
    return previous_time is None or entry.time >= previous_time or entry.type == CLOCK_SET_BACK


def _require_fit(entry: Entry) -> None:
    if len(entry.type) > _MAX_TYPE or _TYPE.fullmatch(entry.type) is None:
        raise EntryRefused(f"{entry.type[:80]!r} is not an entry type; write it like job.submitted.")
    for field, text in (("actor", entry.actor), ("subject", entry.subject)):
        if not 0 < len(text) <= MAX_NAME or not text.isprintable():
            raise EntryRefused(
                f"the {field} {text[:80]!r} of a {entry.type} entry is not 1 to {MAX_NAME} printable characters."
            )
    _require_payload_free(entry.type, entry.details)


def _require_payload_free(entry_type: str, details: Mapping[str, object]) -> None:
    """Walk through JSON values; what is not JSON is left to the encoder to refuse."""
    waiting: list[object] = [details]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            _require_short(entry_type, value)
        elif isinstance(value, Mapping):
            waiting.extend(value.keys())
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            _require_few_numbers(entry_type, value)
            waiting.extend(value)


def _require_short(entry_type: str, text: str) -> None:
    if len(text) > MAX_ENCODED and (len(text) > MAX_TEXT or _ENCODED.search(text) is not None):
        raise EntryRefused(
            f"a text of {len(text)} characters in a {entry_type} entry is too long or looks like encoded "
            "binary; put it into a document and name its digest."
        )


def _require_few_numbers(entry_type: str, values: Sequence[object]) -> None:
    if sum(isinstance(value, int | float) for value in values) > MAX_NUMBERS:
        raise EntryRefused(
            f"a list of more than {MAX_NUMBERS} numbers in a {entry_type} entry looks like data; "
            "put it into a document and name its digest."
        )


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise EntryWrong(f"the field {name} is not text")
    return value


def _parsed_time(text: str) -> datetime:
    if _TIME.fullmatch(text) is None:
        raise EntryWrong(f"the time {text[:40]!r} is not RFC 3339 in UTC with milliseconds")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise EntryWrong(f"the time {text!r} does not exist") from None
