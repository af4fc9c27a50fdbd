import os
from pathlib import Path

import pytest

from fedseal_governance.errors import StorageError
from fedseal_governance.private_files import read_private, write_private


def test_a_private_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    previous = os.umask(0)
    try:
        write_private(path, b"secret")
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_private(path, max_bytes=6) == b"secret"


def test_an_existing_file_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_private(path, b"one")
    with pytest.raises(StorageError, match="exists already"):
        write_private(path, b"two")
    assert path.read_bytes() == b"one"
    write_private(path, b"two", replace=True)
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_private(path, b"secret")
    path.chmod(mode)
    with pytest.raises(StorageError, match="chmod 600"):
        read_private(path, max_bytes=100)


def test_missing_and_oversized_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        read_private(tmp_path / "absent", max_bytes=10)
    write_private(tmp_path / "large", b"x" * 11)
    with pytest.raises(StorageError, match="more than 10 bytes"):
        read_private(tmp_path / "large", max_bytes=10)
    with pytest.raises(StorageError, match="cannot be written"):
        write_private(tmp_path / "no" / "folder", b"x")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "key.pem"
    write_private(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_private(path, b"new", replace=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
