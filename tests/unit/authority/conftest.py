"""One founded federation, copied for each test: making its keys and database takes a second."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedseal.authority.config import AuthorityConfig
from fedseal.authority.founding import NewFederation, found_federation
from fedseal.authority.invitations import Invitation
from fedseal.authority.office import Office
from fedseal.authority.views import Invitee
from fedseal_crypto.secret import SecretBytes

NOW = datetime.now(UTC).replace(microsecond=0)
PASSPHRASE = SecretBytes(b"correct horse battery")


@dataclass(frozen=True)
class Federation:
    """A founded federation and its open, unlocked office."""

    path: Path
    office: Office
    now: datetime

    def invite(self, kind: str = "node", name: str = "cleveland", **fields: object) -> Invitation:
        """An invitation with a fresh token."""
        roles = fields.pop("roles", ("data_scientist",) if kind == "person" else ())
        invitee = Invitee.parse(
            kind=kind,
            name=name,
            organisation=str(fields.pop("organisation", "Cleveland Clinic")),
            roles=roles,  # type: ignore[arg-type]  # test data
            hosts=fields.pop("hosts", ()),  # type: ignore[arg-type]  # test data
        )
        hours = fields.pop("hours", None)
        assert not fields
        return self.office.invite(invitee, token=os.urandom(32), hours=hours, now=self.now)  # type: ignore[arg-type]

    def later(self, **span: float) -> datetime:
        """A time after ``now``."""
        return self.now + timedelta(**span)


@pytest.fixture
def now() -> datetime:
    """The time at which everything in these tests happens."""
    return NOW


@pytest.fixture
def passphrase() -> SecretBytes:
    """Opens the authority's keys."""
    return PASSPHRASE


def _found(path: Path, name: str) -> None:
    config = AuthorityConfig(address="localhost:7400", coordinator="hub.example.org:7443")
    plan = NewFederation(name=name, organisation="Heart Consortium", config=config)
    found_federation(path, plan, passphrase=PASSPHRASE, now=NOW, entropy=os.urandom)


@pytest.fixture(scope="session")
def founded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A founded federation that nobody changes."""
    path = tmp_path_factory.mktemp("federation") / "authority"
    _found(path, "heart")
    return path


@pytest.fixture(scope="session")
def foreign_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another federation of the same name, with another root."""
    path = tmp_path_factory.mktemp("foreign") / "authority"
    _found(path, "heart")
    return path


@pytest.fixture
def open_federation(tmp_path: Path) -> Iterator[Callable[[Path], Federation]]:
    """Opens a private copy of a founded federation."""
    offices: list[Office] = []

    def opened(folder: Path) -> Federation:
        path = tmp_path / f"authority{len(offices) or ''}"
        shutil.copytree(folder, path)
        office = Office.open(path).unlock(PASSPHRASE)
        offices.append(office)
        return Federation(path=path, office=office, now=NOW)

    yield opened
    for office in offices:
        office.close()


@pytest.fixture
def federation(open_federation: Callable[[Path], Federation], founded_folder: Path) -> Federation:
    """A private copy of the federation."""
    return open_federation(founded_folder)


@pytest.fixture
def foreign(open_federation: Callable[[Path], Federation], foreign_folder: Path) -> Federation:
    """A private copy of the other federation."""
    return open_federation(foreign_folder)
