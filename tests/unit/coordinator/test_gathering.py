"""Who is asked where groups take turns: the group only, and comparisons with the group's own last sum."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fedseal.coordinator import gathering
from fedseal.coordinator.config import CoordinatorSettings
from fedseal.coordinator.gathering import Gathering
from fedseal.errors import RefusalError

NOW = datetime(2026, 1, 5, tzinfo=UTC)
FIRST, SECOND = frozenset("abcd"), frozenset("efgh")
EVERYBODY = FIRST | SECOND


@pytest.fixture(autouse=True)
def without_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "policy_for", lambda *_: None)


def made(last_sum: frozenset[str] | None = None, last_asked: frozenset[str] = frozenset()) -> Gathering:
    settings = CoordinatorSettings(listen="localhost:1")
    return Gathering(
        dataset="d", minimum_cohort=3, settings=settings, last_sum=last_sum, last_asked=last_asked, now=NOW
    )


def asked(where: Gathering, group: frozenset[str], present: frozenset[str] = EVERYBODY) -> set[str]:
    sessions: Any = [SimpleNamespace(node=name) for name in sorted(present)]
    found = where.roster(EVERYBODY, sessions, asked=group, now=NOW + timedelta(days=1))
    assert found is not None
    return {session.node for session in found}


def test_only_the_rounds_group_is_asked() -> None:
    where = made()
    assert asked(where, FIRST) == FIRST
    assert asked(where, SECOND) == SECOND
    assert asked(where, EVERYBODY) == EVERYBODY


def test_a_group_below_the_minimum_gets_no_round_however_many_others_are_present() -> None:
    with pytest.raises(RefusalError, match="only 2 nodes were present"):
        asked(made(), FIRST, present=SECOND | frozenset("ab"))


def test_where_sums_are_compared_each_group_is_compared_with_its_own_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "compares_every_round", lambda _: True)
    where = made(last_sum=frozenset("abc"), last_asked=FIRST)
    assert asked(where, SECOND) == SECOND
    where.completed(frozenset("efg"), now=NOW)
    assert asked(where, FIRST) == set("abc"), "d missed its group's last sum"
    assert asked(where, SECOND) == set("efg")
    assert asked(where, EVERYBODY) == EVERYBODY, "no sum over all has been"
