"""Exporting: what a good bundle holds, and what is never written."""

import os
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.merkle import leaf_hash
from fedseal_governance.audit import (
    ExportRefused,
    NotCovered,
    verifier_source,
    verify_bundle,
)
from fedseal_governance.errors import StorageError

if TYPE_CHECKING:
    from tests.unit.audit.conftest import Party

POLICY = b"policy: heart-risk-research\n"


def test_a_good_bundle_tells_what_was_verified(bundle: Path, central: "Party") -> None:
    verified = verify_bundle(bundle, keys=[central.verifier])
    assert (verified.origin, verified.size, verified.pinned) == ("fedseal/hearts/central", 13, True)
    assert verified.log_key == central.verifier
    assert verified.documents == (sha256_hex(POLICY),)
    assert verified.last_time == central.now
    assert verified.first_time == central.now - timedelta(milliseconds=120)
    assert verified.unknown_files == ()
    assert not verify_bundle(bundle).pinned


def test_folder_and_zip_hold_the_same(bundle: Path, central: "Party", tmp_path: Path) -> None:
    target = central.export(tmp_path / "out.zip", {sha256_hex(POLICY): POLICY})
    with zipfile.ZipFile(target) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert packed == {path.relative_to(bundle).as_posix(): path.read_bytes() for path in files}
    assert verify_bundle(target) == verify_bundle(bundle)
    again = central.export(tmp_path / "again.zip", {sha256_hex(POLICY): POLICY})
    assert again.read_bytes() == target.read_bytes()


def test_the_bundle_has_the_documented_form(bundle: Path, central: "Party") -> None:
    names = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    assert names == sorted(
        [
            "README.txt",
            "checkpoint",
            f"documents/{sha256_hex(POLICY)}",
            "entries.jsonl",
            "keys.txt",
            "leaves",
            "verify.py",
        ]
    )
    assert (bundle / "verify.py").read_bytes() == verifier_source()
    lines = (bundle / "entries.jsonl").read_bytes().splitlines()
    leaves = (bundle / "leaves").read_text().splitlines()
    assert [leaf_hash(line).hex() for line in lines] == leaves
    assert (bundle / "keys.txt").read_text() == central.verifier.vkey + "\n"


def test_an_empty_log_is_a_bundle_too(central: "Party", tmp_path: Path) -> None:
    verified = verify_bundle(central.export(tmp_path / "empty"))
    assert (verified.size, verified.first_time) == (0, None)


def test_entries_after_the_checkpoint_are_counted_not_exported(central: "Party", tmp_path: Path) -> None:
    central.grow(2)
    central.checkpoint()
    central.grow(3)
    exported = central.database.read(lambda session: central.log.export(session, tmp_path / "out", {}))
    assert (exported.size, exported.later) == (2, 3)
    assert verify_bundle(tmp_path / "out").size == 2


def test_without_checkpoint_there_is_no_export(central: "Party", tmp_path: Path) -> None:
    with pytest.raises(NotCovered):
        central.database.read(lambda session: central.log.export(session, tmp_path / "out", {}))


@pytest.mark.parametrize("name", ["taken", "taken.zip"])
def test_nothing_is_overwritten(name: str, central: "Party", tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(ExportRefused, match="exists already"):
        central.export(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ExportRefused):
        central.export(tmp_path / "link")
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize(
    ("digest", "message"),
    [("0" * 64, "has another digest"), (sha256_hex(b"unnamed"), "no entry up to the checkpoint names")],
)
@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_documents_must_be_what_the_log_speaks_of(
    name: str, digest: str, message: str, central: "Party", tmp_path: Path
) -> None:
    central.grow(1)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ExportRefused, match=message):
        central.export(tmp_path / name, {Digest(digest): b"unnamed"})
    assert sorted(path for path in tmp_path.iterdir() if "central" not in path.name) == [
        path for path in before if "central" not in path.name
    ]


def test_a_full_disk_leaves_nothing(central: "Party", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    central.grow(1)
    monkeypatch.setattr(os, "fsync", full)
    for name in ("out", "out.zip"):
        with pytest.raises(StorageError, match="No space left on device"):
            central.export(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".out", "out"))] == []


def test_a_missing_folder_is_a_clear_error(central: "Party", tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not be written"):
        central.export(tmp_path / "no" / "such")
