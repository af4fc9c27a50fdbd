"""Small files: whole or unchanged, private from the first moment, never read without a limit."""

import errno
import os
import stat
from pathlib import Path

import pytest

from fedseal.errors import SetupError
from fedseal.files import make_folder, read_limited, require_private, write_atomic


def test_a_private_file_is_the_owners_alone_even_under_an_open_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_atomic(tmp_path / "key", b"secret", private=True)
        write_atomic(tmp_path / "certificate", b"public")
        make_folder(tmp_path / "keys")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "certificate").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    write_atomic(path, b"old", private=True)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new", private=True)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["key"]


def test_a_symbolic_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"untouched")
    (tmp_path / "key").symlink_to(target)
    write_atomic(tmp_path / "key", b"new", private=True)
    assert target.read_bytes() == b"untouched"


def test_reading_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 11)
    cases = {
        tmp_path / "missing": "does not exist; an invitation is expected there",
        tmp_path: "is a folder; an invitation is a file",
        tmp_path / "large": "is larger than 10 bytes and cannot be an invitation",
        tmp_path / "large" / "below": "a part of that path is a file",
    }
    for path, sentence in cases.items():
        with pytest.raises(SetupError, match=sentence):
            read_limited(path, max_bytes=10, what="an invitation")


def test_a_key_that_others_can_read_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(0o640)
    with pytest.raises(SetupError, match=f"mode 0640.*chmod 600 {path}"):
        require_private(path)
    path.chmod(0o600)
    require_private(path)


def test_a_folder_cannot_take_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"")
    with pytest.raises(SetupError, match="is a file, and a folder is needed there"):
        make_folder(tmp_path / "keys")
