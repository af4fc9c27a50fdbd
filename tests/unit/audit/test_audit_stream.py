"""Entries for a security information system: complete, in order, resumable, and one line each."""

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from fedseal_governance.audit import Entry
from fedseal_governance.audit.stream import PAGE, entries_from, follow, line, severity, syslog_message

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party

HEADER = re.compile(
    r"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) "
    r'\[(\S+?@\d+)((?: \w+="(?:[^"\\\]]|\\["\\\]])*")*)\] \ufeff(.*)'
)


def delivered(party: "Party", start: int, *, rounds: int = 0) -> list[bytes]:
    """What a stream gives from `start` on, looking again `rounds` times and growing in between."""

    def page(number: int) -> list[bytes]:
        def work(session: Session) -> list[bytes]:
            return entries_from(session, number)

        return party.database.read(work)

    waits = iter(range(rounds))

    def wait() -> bool:
        if next(waits, None) is None:
            return False
        party.grow(2)
        return True

    return [data for _, entries in follow(page, start, wait=wait) for data in entries]


def test_a_stream_gives_every_entry_once_and_in_order(central: "Party") -> None:
    central.grow(PAGE + 7)
    found = delivered(central, 0, rounds=3)
    assert [Entry.from_bytes(data).seq for data in found] == list(range(PAGE + 13))
    assert [Entry.from_bytes(data).seq for data in delivered(central, PAGE + 10)] == [PAGE + 10, PAGE + 11, PAGE + 12]
    assert delivered(central, PAGE + 13) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    actor=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.isprintable),
    note=st.text(max_size=80),
)
def test_a_syslog_message_is_one_line_of_rfc_5424(actor: str, note: str, central: "Party") -> None:
    def work(session: Session) -> int:
        return central.log.append(
            session, time=central.now, type="job.refused", actor=actor, subject="job/1", details={"note": note}
        )

    data = delivered(central, central.database.run("one", work))[-1]
    message = line(syslog_message(data, host="node one\n"))
    assert message.count(b"\n") == 1
    found = HEADER.fullmatch(message.decode()[:-1])
    assert found is not None
    assert (int(found[1]), found[3], found[4]) == (13 * 8 + 4, "node_one_", "fedseal")
    assert found[9].encode() == data
    parameters = dict(re.findall(r'(\w+)="((?:[^"\\\]]|\\.)*)"', found[8]))
    assert re.sub(r"\\(.)", r"\1", parameters["actor"]) == actor
    assert parameters["seq"] == str(Entry.from_bytes(data).seq)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("witness.alarm", 1), ("round.refused", 4), ("document.removed", 4), ("round.completed", 5), ("job.refused", 4)],
)
def test_what_asks_for_a_person_is_more_severe(kind: str, expected: int) -> None:
    assert severity(kind) == expected
