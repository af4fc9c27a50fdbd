"""A consortium with a custodian, and a custodian's house for each test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedseal.custodian.config import CustodianSettings
from fedseal_crypto.identity import PartyKind
from tests.unit.custodian.house import CUSTODIAN, House
from tests.unit.node.parties import Consortium, SettableClock


@pytest.fixture(scope="session")
def _consortium() -> Consortium:
    consortium = Consortium.found()
    consortium.enrol(PartyKind.CUSTODIAN, CUSTODIAN)
    return consortium


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut would lose is not tested here."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def new_house(_consortium: Consortium, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """A custodian with settings of the test's own."""
    houses: list[House] = []

    def make(**settings: int) -> House:
        branch = _consortium.branch()
        folder = branch.make_folder(tmp_path / CUSTODIAN, CUSTODIAN)
        houses.append(House(folder, SettableClock(), branch, settings=CustodianSettings(**settings)))  # type: ignore[arg-type]  # a table of fields
        return houses[-1]

    yield make
    for house in houses:
        house.database.close()


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    """A custodian whose policy is approved."""
    made = new_house()
    made.approve()
    return made
