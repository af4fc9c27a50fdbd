"""Fixtures of the system tests: a federation founded once, and copies of it with real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import founding, processes
from tests.system.federation import Federation


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a founded federation; copy them, never run them."""
    processes.warm_up()
    folder = tmp_path_factory.mktemp("template") / "federation"
    founding.found(folder)
    return folder


@pytest.fixture
def idle(template: Path, tmp_path: Path) -> Iterator[Federation]:
    """A federation in which nothing runs yet; ended after the test."""
    federation = Federation.copied(template, tmp_path / "federation")
    try:
        yield federation
    finally:
        federation.stop()


@pytest.fixture
def federation(idle: Federation) -> Federation:
    """A running federation with every node present."""
    idle.start()
    return idle
