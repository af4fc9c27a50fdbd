"""A federation's root is made once, is protected, and never changes."""

import json
import os
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from fedseal.authority.config import AuthorityConfig
from fedseal.authority.founding import NewFederation, found_federation
from fedseal.authority.home import AuthorityHome
from fedseal.authority.office import Office
from fedseal.errors import SetupError
from fedseal.folders import FolderError
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import WrongPassphrase
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.errors import DocumentError

PLAN = NewFederation(name="heart", organisation="Heart Consortium", config=AuthorityConfig())


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_authority_is_private_and_verifies(founded_folder: Path, now: datetime, passphrase: SecretBytes) -> None:
    home = AuthorityHome.load(founded_folder)
    assert home.folder.verify(now, passphrase).label == "authority/authority"
    assert home.origin == "fedseal/heart/authority"
    for name in ("keys/root.pem", "keys/tls.pem", "keys/identity.pem", "authority.db"):
        assert stat.S_IMODE((founded_folder / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(founded_folder.stat().st_mode) == 0o700


def test_no_private_key_is_on_disk_unprotected(founded_folder: Path) -> None:
    for name, data in _contents(founded_folder).items():
        assert b"-----BEGIN PRIVATE KEY-----" not in data, name
        if name.startswith("keys/"):
            assert b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data, name


def test_founding_again_refuses_and_changes_nothing(
    founded_folder: Path, now: datetime, passphrase: SecretBytes
) -> None:
    before = _contents(founded_folder)
    with pytest.raises(FolderError, match="already holds an enrolled party"):
        found_federation(founded_folder, PLAN, passphrase=passphrase, now=now, entropy=os.urandom)
    assert _contents(founded_folder) == before


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (NewFederation(name="Heart!", organisation="X", config=AuthorityConfig()), "is not a federation name"),
        (NewFederation(name="heart", organisation="", config=AuthorityConfig()), "is not an organisation's name"),
        (
            NewFederation(name="heart", organisation="X", config=AuthorityConfig(address="Bad_Host:7400")),
            "neither an IP address nor a lower-case DNS name",
        ),
    ],
)
def test_an_impossible_federation_leaves_nothing(
    tmp_path: Path, now: datetime, passphrase: SecretBytes, plan: NewFederation, sentence: str
) -> None:
    with pytest.raises(CryptoError, match=sentence):
        found_federation(tmp_path / "authority", plan, passphrase=passphrase, now=now, entropy=os.urandom)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_nothing(
    tmp_path: Path, now: datetime, passphrase: SecretBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedseal.authority.founding.create_database", full)
    with pytest.raises(OSError, match="No space left"):
        found_federation(tmp_path / "authority", PLAN, passphrase=passphrase, now=now, entropy=os.urandom)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_passphrase_opens_nothing(federation_path: Path) -> None:
    office = Office.open(federation_path)
    with pytest.raises(WrongPassphrase):
        office.unlock(SecretBytes(b"wrong"))
    office.close()


def test_another_root_key_in_its_place_is_found(
    federation_path: Path, foreign_folder: Path, passphrase: SecretBytes
) -> None:
    (federation_path / "keys/root.pem").write_bytes((foreign_folder / "keys/root.pem").read_bytes())
    office = Office.open(federation_path)
    with pytest.raises(SetupError, match="restore the right file, a root never changes"):
        office.unlock(passphrase)
    office.close()


def test_another_root_certificate_in_its_place_is_found(federation_path: Path, foreign_folder: Path) -> None:
    name = "certificates/authority.pem"
    (federation_path / name).write_bytes((foreign_folder / name).read_bytes())
    with pytest.raises(FolderError, match="a federation's root never changes"):
        Office.open(federation_path)


@pytest.mark.parametrize("name", ["keys/root.pem", "authority.db", "party.json", "certificates/tls.pem"])
def test_a_missing_file_is_named(federation_path: Path, name: str) -> None:
    (federation_path / name).unlink()
    with pytest.raises(SetupError, match=name.rpartition("/")[2]):
        Office.open(federation_path)


def test_settings_are_read_strictly(federation_path: Path) -> None:
    path = federation_path / "authority.yaml"
    path.write_text(path.read_text().replace("certificate_days", "certificate_day"))
    with pytest.raises(DocumentError, match="did you mean `certificate_days`"):
        Office.open(federation_path)
    path.write_text("address: nowhere\n")
    with pytest.raises(DocumentError, match="write host:port"):
        Office.open(federation_path)


def test_a_nodes_folder_is_no_authority(federation_path: Path) -> None:
    record = json.loads((federation_path / "party.json").read_text())
    record["kind"] = "node"
    (federation_path / "party.json").write_text(json.dumps(record))
    with pytest.raises(SetupError, match="give the authority's folder"):
        AuthorityHome.load(federation_path)


@pytest.fixture
def federation_path(tmp_path: Path, founded_folder: Path) -> Path:
    """A private copy that is not open."""
    import shutil

    return Path(shutil.copytree(founded_folder, tmp_path / "authority"))


def test_own_certificates_are_renewed_in_time_and_after_a_move(
    open_federation: Callable[[Path], object], founded_folder: Path, tmp_path: Path
) -> None:
    from datetime import timedelta

    federation = open_federation(founded_folder)
    office: Office = federation.office  # type: ignore[attr-defined]  # the fixture's own class
    now: datetime = federation.now  # type: ignore[attr-defined]
    assert not office.renew_own_certificates(now=now)
    before = office.tls().certificate_pem
    assert office.renew_own_certificates(now=now + timedelta(days=340))
    assert office.tls().certificate_pem != before
    assert not office.renew_own_certificates(now=now + timedelta(days=341))
    settings = tmp_path / "authority" / "authority.yaml"
    settings.write_text(settings.read_text().replace("address: localhost:7400", "address: moved.example.org:7400"))
    moved = Office.open(tmp_path / "authority").unlock(SecretBytes(b"correct horse battery"))
    assert moved.renew_own_certificates(now=now + timedelta(days=341))
    moved.close()
