"""One consortium, a coordinator prepared once and copied for each test, and honest nodes for it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedseal.folders import PartyFolder
from fedseal.learning import LocalData
from fedseal_migrations import upgrade
from tests.unit.coordinator.members import Member, Play, rows_of
from tests.unit.coordinator.process import Process
from tests.unit.node.parties import COORDINATOR, NODES, Consortium, SettableClock
from tests.unit.node.site import open_quickly, prepare


@pytest.fixture(scope="session")
def _consortium() -> Consortium:
    prepare()
    return Consortium.found()


@pytest.fixture(scope="session")
def _template(_consortium: Consortium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The coordinator's folder with an empty database."""
    folder = _consortium.branch().make_folder(tmp_path_factory.mktemp("hub") / COORDINATOR, COORDINATOR)
    database = open_quickly(folder.database_url)
    upgrade(database.engine)
    database.close()
    return folder.path


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LocalData]:
    """Each node's rows."""
    folder = tmp_path_factory.mktemp("tables")
    return {name: rows_of(name, folder) for name in NODES}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut would lose is not tested here."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def consortium(_consortium: Consortium) -> Consortium:
    """The parties, with a revocation list of the test's own."""
    branch = _consortium.branch()
    branch.lists = 1
    return branch


Hubs = Callable[..., Process]


@pytest.fixture
def hubs(tmp_path: Path, consortium: Consortium, _template: Path) -> Iterator[Hubs]:
    """Starts coordinators, each on a copy of the prepared folder and with a clock of its own."""
    started: list[Process] = []

    def start(**settings: object) -> Process:
        folder = tmp_path / f"hub-{len(started)}"
        shutil.copytree(_template, folder)
        if "database_url" in settings:
            database = open_quickly(str(settings["database_url"]))
            upgrade(database.engine)
            database.close()
        process = Process(PartyFolder.load(folder), SettableClock(), consortium, **settings)  # type: ignore[arg-type]  # by name
        started.append(process)
        return process

    yield start
    for process in started:
        process.die()


@pytest.fixture
def plays(hubs: Hubs, consortium: Consortium, tables: dict[str, LocalData]) -> Callable[..., Play]:
    """A coordinator with some nodes that attend."""

    def begin(*names: str, **settings: object) -> Play:
        process = hubs(**settings)
        members = {name: Member(name, consortium, process, tables[name]) for name in names or NODES}
        play = Play(process, members)
        play.attend()
        return play

    return begin


@pytest.fixture
def play(plays: Callable[..., Play]) -> Play:
    """A coordinator with five nodes that attend."""
    return plays()
