"""A custodian that dies before each SQL statement of its work: asked again, it ends where it would have ended.

The real keeper, database and vault. Death is an exception that nothing in the product catches; what memory held is
gone with it, and the next process finds what the disk holds.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from fedseal_governance import custody
from fedseal_governance.audit import check_log
from fedseal_governance.custody import ServedState
from tests.unit.custodian.house import House, job_file, play, world_of

STEPS = ("offer", "ask", "end")
_MOST = 60  # statements; a step that needs more would be a surprise


class Death(BaseException):
    """Not an error of the product."""


@contextmanager
def dying(house: House, number: int) -> Iterator[None]:
    """The process dies before its statement ``number`` from now."""
    count = itertools.count()

    def die(*_arguments: object) -> None:
        if next(count) == number:
            raise Death

    engine = house.database.engine
    for name in ("before_cursor_execute", "commit"):
        event.listen(engine, name, die)
    try:
        yield
    finally:
        for name in ("before_cursor_execute", "commit"):
            event.remove(engine, name, die)


def life(house: House, name: str, fatal: str, number: int) -> bool:
    """A job from its offer to its end; whether it came through without dying in the step ``fatal``."""
    lived = True

    def do(step: str, work: Callable[[], object]) -> None:
        nonlocal lived
        if step == fatal:
            try:
                with dying(house, number):
                    work()
            except Death:
                lived = False
                house.database.engine.dispose()  # its connections die with it
                house.start()
                house.keeper.tidy()
        if step != fatal or not lived:
            work()  # the coordinator asks again, because it has no answer

    digests: list[str] = []
    do("offer", lambda: digests.append(house.offer(job_file(name=name))))
    job = digests[-1]
    collected = play(house, world_of(house, job))
    request = collected.request()
    do("ask", lambda: house.ask(request))
    do("end", lambda: house.end(job))
    assert_one_of_each(house, job)
    return lived


def assert_one_of_each(house: House, job: str) -> None:
    """One key, published as it was stored; one opened sum, at most twice; the key gone; a log that verifies."""

    def details(kind: str) -> list[dict[str, object]]:
        return [dict(entry.details) for entry in house.entries(kind) if entry.subject == f"job/{job}"]

    row = house.me.ledger.served(job)
    assert row is not None
    assert row.state is ServedState.ENDED
    assert [item["key"] for item in details("key.created")] == [row.key_digest]
    assert {header.statement for header, _ in house.outbox.keys if header.job == job} == {row.statement}
    opened = details("sum.opened")
    (stored,) = house.database.read(lambda session: custody.opened_sums(session, job))
    assert [item["time"] for item in opened] == list(range(1, stored.times + 1))
    assert stored.times <= 2
    assert len({item["opened"] for item in opened}) == 1
    assert [item["key"] for item in details("key.destroyed")] == [row.key_digest]
    assert job not in house.vault.jobs()
    assert house.outbox.declined == []
    house.party.read(lambda session: check_log(session, house.party.log().origin))


@pytest.mark.parametrize("step", STEPS)
def test_each_step(house: House, step: str) -> None:
    for number in range(_MOST):
        if life(house, f"job-{number}", step, number):
            assert number >= 4, "statements were counted"
            return
    pytest.fail(f"more than {_MOST} statements")
