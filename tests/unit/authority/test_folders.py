"""A party's folder: whole or absent, checked before anything starts, never replaced by something older."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedseal.authority import applicant
from fedseal.errors import SetupError
from fedseal.folders import FolderError, PartyFolder, create_party_folder, require_free
from fedseal_crypto.certificates import CertificateExpired, CertificateRevoked, RevocationListOlder
from fedseal_crypto.identity import PassphraseMissing, WrongPassphrase
from fedseal_crypto.secret import SecretBytes

if TYPE_CHECKING:
    from tests.unit.authority.conftest import Federation

Enrol = Callable[..., PartyFolder]


@pytest.fixture
def enrol(federation: "Federation", tmp_path: Path) -> Enrol:
    """Enrols a party without a network."""

    def enrolled(kind: str = "node", name: str = "cleveland", passphrase: SecretBytes | None = None) -> PartyFolder:
        invitation = federation.invite(kind, name)
        folder = tmp_path / name
        pending = applicant.begin(invitation, folder, passphrase=passphrase, now=federation.now, entropy=os.urandom)
        return applicant.enrol(
            pending,
            folder,
            exchange=lambda sent: federation.office.issue(sent, now=federation.now),
            now=federation.now,
        )

    return enrolled


def test_an_enrolled_folder_verifies_and_is_private(enrol: Enrol, now: datetime) -> None:
    folder = enrol()
    assert folder.verify(now).label == "node/cleveland"
    assert folder.record.coordinator == "hub.example.org:7443"
    assert folder.config_path.name == "node.yaml"
    assert folder.database_path.is_file()
    for name, mode in {"": 0o700, "keys": 0o700, "keys/tls.pem": 0o600, "keys/identity.pem": 0o600}.items():
        assert stat.S_IMODE((folder.path / name).stat().st_mode) == mode, name
    for name in ("node.db",):
        assert stat.S_IMODE((folder.path / name).stat().st_mode) == 0o600


def test_a_persons_keys_open_with_the_passphrase_only(enrol: Enrol, now: datetime) -> None:
    folder = enrol("person", "ada", SecretBytes(b"long enough"))
    assert folder.needs_passphrase()
    folder.verify(now, SecretBytes(b"long enough"))
    with pytest.raises(PassphraseMissing):
        folder.verify(now)
    with pytest.raises(WrongPassphrase):
        folder.tls(SecretBytes(b"another one"))
    assert not (folder.path / "person.db").exists()


def test_secrets_do_not_show_in_a_repr(enrol: Enrol) -> None:
    assert "PRIVATE" not in repr(enrol().tls())


@pytest.mark.parametrize(
    "name",
    [
        "keys/tls.pem",
        "keys/identity.pem",
        "certificates/tls.pem",
        "certificates/identity.pem",
        "certificates/authority.pem",
        "certificates/revocations.pem",
    ],
)
def test_each_missing_file_is_named(enrol: Enrol, name: str) -> None:
    folder = enrol()
    (folder.path / name).unlink()
    with pytest.raises(FolderError, match=f"{name} is missing; restore it from a backup or enrol again"):
        PartyFolder.load(folder.path)


def test_what_is_no_partys_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="is not a folder; enrol first"):
        PartyFolder.load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match=r"holds no party\.json"):
        PartyFolder.load(tmp_path / "empty")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"version": 2}, "version: "),
        ({"root_fingerprint": "0" * 63}, "root_fingerprint: "),
        ({"root_fingerprint": "0" * 64}, "a federation's root never changes"),
    ],
)
def test_an_edited_record_is_found(enrol: Enrol, change: dict[str, object], sentence: str) -> None:
    path = enrol().path / "party.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FolderError, match=sentence):
        PartyFolder.load(path.parent)


def test_a_binary_record_is_one_sentence(enrol: Enrol) -> None:
    path = enrol().path / "party.json"
    path.write_bytes(os.urandom(200))
    with pytest.raises(FolderError, match=r"party\.json: the file: ") as caught:
        PartyFolder.load(path.parent)
    assert "\n" not in str(caught.value)


def test_a_key_of_another_party_is_found(enrol: Enrol, now: datetime) -> None:
    mine, theirs = enrol(), enrol("node", "va")
    for name, sentence in {
        "identity.pem": r"is not the key of certificates/identity\.pem",
        "tls.pem": r"is not the key of certificates/tls\.pem",
    }.items():
        kept = (mine.path / "keys" / name).read_bytes()
        (mine.path / "keys" / name).write_bytes((theirs.path / "keys" / name).read_bytes())
        with pytest.raises(FolderError, match=sentence):
            mine.verify(now)
        (mine.path / "keys" / name).write_bytes(kept)


def test_certificates_of_another_party_are_found(enrol: Enrol, now: datetime) -> None:
    mine, theirs = enrol(), enrol("node", "va")
    name = "certificates/identity.pem"
    (mine.path / name).write_bytes((theirs.path / name).read_bytes())
    with pytest.raises(FolderError, match=r"belong to heart/node/va, but party\.json says heart/node/cleveland"):
        mine.verify(now)


def test_keys_that_others_can_read_stop_the_start(enrol: Enrol, now: datetime) -> None:
    folder = enrol()
    (folder.path / "keys/tls.pem").chmod(0o644)
    with pytest.raises(SetupError, match="chmod 600"):
        folder.verify(now)


def test_an_expired_or_revoked_party_does_not_start(enrol: Enrol, federation: "Federation", now: datetime) -> None:
    folder = enrol()
    federation.office.renew_revocations(now=federation.later(days=300))
    folder.store_revocations(federation.office.revocations_pem(), federation.later(days=300))
    with pytest.raises(CertificateExpired, match="renew it with the authority"):
        folder.verify(federation.later(days=366))
    federation.office.revoke("node/cleveland", reason="superseded", now=now)
    folder.store_revocations(federation.office.revocations_pem(), now)
    with pytest.raises(CertificateRevoked):
        folder.verify(now)


def test_a_revocation_list_is_never_replaced_by_an_older_or_foreign_one(
    enrol: Enrol, federation: "Federation", foreign: "Federation", now: datetime
) -> None:
    folder = enrol()
    old = folder.revocations_pem()
    federation.office.renew_revocations(now=now)
    newer = federation.office.revocations_pem()
    assert folder.store_revocations(newer, now).number == 2
    assert folder.store_revocations(newer, now).number == 2  # the same again is no news
    with pytest.raises(RevocationListOlder):
        folder.store_revocations(old, now)
    foreign.office.renew_revocations(now=now)
    foreign.office.renew_revocations(now=now)
    from fedseal_crypto.certificates import RevocationListInvalid

    with pytest.raises(RevocationListInvalid):
        folder.store_revocations(foreign.office.revocations_pem(), now)
    assert folder.revocations_pem() == newer


def test_nothing_is_ever_overwritten(enrol: Enrol, tmp_path: Path) -> None:
    folder = enrol()
    with pytest.raises(FolderError, match="keys are never overwritten"):
        require_free(folder.path)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderError, match="is not an empty folder"):
        require_free(tmp_path / "papers")
    (tmp_path / "void").mkdir()
    require_free(tmp_path / "void")
    require_free(tmp_path / "new")


def test_a_folder_appears_whole_or_not_at_all(enrol: Enrol, tmp_path: Path) -> None:
    from fedseal.folders import PartyFiles

    folder = enrol()
    files = PartyFiles(
        tls_key_pem=b"1",
        identity_key_pem=b"2",
        tls_certificate_pem=b"3",
        identity_certificate_pem=b"4",
        root_pem=(folder.path / "certificates/authority.pem").read_bytes(),
        revocations_pem=b"6",
    )

    def killed(staging: Path) -> None:
        assert (staging / "keys/tls.pem").is_file()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_party_folder(tmp_path / "fresh", record=folder.record, files=files, also=killed)
    assert not (tmp_path / "fresh").exists()
    assert not [item for item in tmp_path.iterdir() if item.name.startswith(".fresh")]
    made = create_party_folder(tmp_path / "fresh", record=folder.record, files=files)
    assert made.record == folder.record
    shutil.rmtree(made.path)
