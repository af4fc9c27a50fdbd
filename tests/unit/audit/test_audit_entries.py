import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedseal_governance.audit import CLOCK_SET_BACK, Entry, EntryRefused, EntryWrong
from fedseal_governance.audit.entries import MAX_ENTRY, follows, shown_time, whole_milliseconds

TIME = datetime(2026, 3, 1, 8, 30, 0, 123000, tzinfo=UTC)


def _entry(**changes: object) -> Entry:
    fields: dict[str, Any] = {
        "seq": 7,
        "time": TIME,
        "log": "fedseal/hearts/central",
        "type": "job.submitted",
        "actor": "person/alice",
        "subject": "job/0a1b",
        "details": {"rounds": 20},
    }
    return Entry(**(fields | changes))


def test_an_entry_has_these_exact_bytes() -> None:
    assert _entry().to_bytes() == (
        b'{"actor":"person/alice","details":{"rounds":20},"log":"fedseal/hearts/central","seq":7,'
        b'"subject":"job/0a1b","time":"2026-03-01T08:30:00.123Z","type":"job.submitted"}'
    )


JSON_DETAILS = st.dictionaries(
    st.text(max_size=10),
    st.recursive(
        st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(-1e300, 1e300) | st.text(max_size=60),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=8,
    ),
    max_size=4,
)


@given(details=JSON_DETAILS, seq=st.integers(0, 2**40))
def test_what_is_written_is_read_back_in_one_line(details: dict[str, object], seq: int) -> None:
    data = _entry(details=details, seq=seq).to_bytes()
    assert b"\n" not in data
    assert b"\r" not in data
    again = Entry.from_bytes(data)
    assert again.seq == seq
    assert again.details == details
    assert again.to_bytes() == data


def test_a_text_cannot_look_like_another_entry() -> None:
    data = _entry(details={"note": 'x"}\n{"actor":"person/mallory"}\r\u2028'}).to_bytes()
    assert data.count(b"\n") == 0
    assert Entry.from_bytes(data).details == {"note": 'x"}\n{"actor":"person/mallory"}\r\u2028'}


def test_times_are_utc_and_whole_milliseconds() -> None:
    zone = timezone(timedelta(hours=2))
    moment = whole_milliseconds(datetime(2026, 3, 1, 10, 30, 0, 123999, tzinfo=zone))
    assert (moment, shown_time(moment)) == (TIME, "2026-03-01T08:30:00.123Z")
    assert shown_time(TIME.replace(microsecond=0)) == "2026-03-01T08:30:00.000Z"
    with pytest.raises(EntryRefused, match="no time zone"):
        whole_milliseconds(datetime(2026, 3, 1))  # noqa: DTZ001  the mistake that is tested


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "submitted"}, "not an entry type"),
        ({"type": "Job.submitted"}, "not an entry type"),
        ({"type": "job.submitted\n"}, "not an entry type"),
        ({"type": "a." + "b" * 100}, "not an entry type"),
        ({"actor": ""}, "the actor"),
        ({"actor": "alice\nbob"}, "the actor"),
        ({"subject": "x" * 201}, "the subject"),
        ({"details": {"x": b"bytes"}}, "not JSON"),
        ({"details": {1: "x"}}, "not JSON"),
        ({"details": {"x": float("nan")}}, "not JSON"),
        ({"details": {"x": 2**60}}, "not JSON"),
        ({"details": {"x": {1, 2}}}, "not JSON"),
        ({"details": {"x": "\ud800"}}, "not JSON"),
        ({"details": {"x": "word " * 500}}, "too long or looks like encoded binary"),
        ({"details": {"x": "QUJD" * 40}}, "looks like encoded binary"),
        ({"details": {"deep": [{"x": "0123456789abcdef" * 9}]}}, "looks like encoded binary"),
        ({"details": {"QUJD" * 40: 1}}, "looks like encoded binary"),
        ({"details": {"update": [0.1] * 65}}, "looks like data"),
        ({"details": {"update": list(range(65))}}, "looks like data"),
        ({"details": {f"part {number}": "word " * 300 for number in range(12)}}, f"the limit is {MAX_ENTRY}"),
    ],
)
def test_what_an_entry_may_not_say(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EntryRefused, match=message):
        _entry(**changes).to_bytes()


def test_bottomless_details_are_refused() -> None:
    details: dict[str, object] = {}
    for _ in range(100_000):
        details = {"x": details}
    with pytest.raises(EntryRefused, match="nested too deeply"):
        _entry(details=details).to_bytes()


def test_digests_signatures_and_lists_of_names_are_fine() -> None:
    details = {
        "digest": "a" * 64,
        "signature": "A" * 88,
        "nodes": [f"node-{number}" for number in range(300)],
        "sentence": "Refused because the purpose DUO:0000018 is not among the purposes of the policy. " * 5,
    }
    assert Entry.from_bytes(_entry(details=details).to_bytes()).details == details


def _spoil(change: Callable[[dict[str, Any]], object]) -> bytes:
    fields = json.loads(_entry().to_bytes())
    change(fields)
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        _entry().to_bytes() + b" ",
        _entry().to_bytes().replace(b":7", b": 7"),
        _spoil(lambda fields: fields.pop("actor")),
        _spoil(lambda fields: fields.update(extra=1)),
        _spoil(lambda fields: fields.update(seq="7")),
        _spoil(lambda fields: fields.update(seq=True)),
        _spoil(lambda fields: fields.update(seq=7.5)),
        _spoil(lambda fields: fields.update(details=[])),
        _spoil(lambda fields: fields.update(actor=None)),
        _spoil(lambda fields: fields.update(time="2026-03-01T08:30:00Z")),
        _spoil(lambda fields: fields.update(time="2026-02-30T08:30:00.000Z")),
        _spoil(lambda fields: fields.update(time="2026-03-01T08:30:00.123+00:00")),
        _spoil(lambda fields: fields.update(subject="x" * MAX_ENTRY)),
    ],
)
def test_what_is_not_an_entry(data: bytes) -> None:
    with pytest.raises(EntryWrong):
        Entry.from_bytes(data)


@given(data=st.binary(max_size=100))
def test_any_bytes_are_refused_with_the_typed_error(data: bytes) -> None:
    with pytest.raises(EntryWrong):
        Entry.from_bytes(data)


def test_time_may_only_run_back_where_the_log_admits_it() -> None:
    earlier = TIME - timedelta(milliseconds=1)
    assert follows(_entry(), None)
    assert follows(_entry(), TIME)
    assert not follows(_entry(time=earlier), TIME)
    assert follows(_entry(time=earlier, type=CLOCK_SET_BACK), TIME)
