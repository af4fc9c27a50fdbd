"""One consortium, a node prepared once, and a copy of it for each test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.node.attempts import Coordinator
from tests.unit.node.papers import JobFile
from tests.unit.node.parties import Consortium, SettableClock
from tests.unit.node.site import Site, SiteMaker, prepare


@pytest.fixture(scope="session")
def _consortium() -> Consortium:
    prepare()
    return Consortium.found()


@pytest.fixture(scope="session")
def _template(_consortium: Consortium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The usual node's folder and data; copied, never run."""
    folder = tmp_path_factory.mktemp("sites")
    maker = SiteMaker(folder=folder, consortium=_consortium.branch(), clock=SettableClock(), template=None)
    maker.fresh().close()
    return folder


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
    return _consortium.branch()


@pytest.fixture
def sites(tmp_path: Path, consortium: Consortium, clock: SettableClock, _template: Path) -> Iterator[SiteMaker]:
    maker = SiteMaker(folder=tmp_path / "sites", consortium=consortium, clock=clock, template=_template)
    maker.folder.mkdir()
    yield maker
    maker.close()


@pytest.fixture
def site(sites: SiteMaker) -> Site:
    """A node with dataset, consents and policy, connected to a coordinator."""
    site = sites.usual()
    site.welcome()
    return site


@pytest.fixture
def coordinator(site: Site, consortium: Consortium) -> Coordinator:
    """The coordinator of a statistics job that the node has accepted."""
    coordinator = Coordinator(site, JobFile().signed(consortium))
    assert coordinator.offer().accepted
    return coordinator
