"""Reading and writing the small files that a party keeps: keys, certificates, records.

Rules this module keeps:
- A file is either the old one or the new one, never half of either: temporary file beside it, ``fsync``,
  ``rename``, ``fsync`` of the folder (POSIX ``rename`` is atomic within one file system).
- Private files are 0600 and private folders 0700 from the moment they exist; the umask is never trusted.
- Nothing is read without a limit.

It leaves out encryption (see ``fedseal_crypto.identity``) and meaning (see ``fedseal.folders``).
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from fedseal.errors import SetupError

PRIVATE_FILE_MODE = 0o600
PUBLIC_FILE_MODE = 0o644
PRIVATE_FOLDER_MODE = 0o700
PUBLIC_FOLDER_MODE = 0o755


def write_atomic(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace ``path`` by ``data`` in one step, durable once this returns.

    Args:
        path: The file to write; its folder exists.
        data: The whole content.
        private: Readable by the owner only.

    Raises:
        OSError: The disk is full or the folder may not be written; the old file is untouched.
    """
    mode = PRIVATE_FILE_MODE if private else PUBLIC_FILE_MODE
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_once(path: Path, data: bytes) -> None:
    """Make a private file unless there is one; of two processes that try at once, one wins and both read its file.

    Raises:
        OSError: The disk is full or the folder may not be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    write_atomic(draft, data, private=True)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames inside ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, *, private: bool = True) -> None:
    """Create ``path`` and what is missing above it; a private folder is the owner's alone.

    Raises:
        SetupError: Something that is not a folder is already there.
    """
    if path.exists() and not path.is_dir():
        raise SetupError(f"{path} is a file, and a folder is needed there; choose another name.")
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(PRIVATE_FOLDER_MODE if private else PUBLIC_FOLDER_MODE)


def read_limited(path: Path, *, max_bytes: int, what: str) -> bytes:
    """The content of a file of at most ``max_bytes`` bytes.

    Args:
        path: The file.
        max_bytes: Larger files are refused unread.
        what: What the file should be, for the sentence: ``"an invitation"``.

    Raises:
        SetupError: Missing, not a file, too large or not readable by this user.
    """
    try:
        if path.is_dir():
            raise SetupError(f"{path} is a folder; {what} is a file.")
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except FileNotFoundError:
        raise SetupError(f"{path} does not exist; {what} is expected there.") from None
    except NotADirectoryError:
        raise SetupError(f"{path} cannot exist, a part of that path is a file.") from None
    except PermissionError:
        raise SetupError(f"{path} may not be read by this user; change its owner or permissions.") from None
    if len(data) > max_bytes:
        raise SetupError(f"{path} is larger than {max_bytes} bytes and cannot be {what}.")
    return data


def require_private(path: Path) -> None:
    """Refuse a secret that others on this machine could read.

    Raises:
        SetupError: Group or others have any permission on ``path``.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        wanted = PRIVATE_FOLDER_MODE if path.is_dir() else PRIVATE_FILE_MODE
        raise SetupError(
            f"{path} can be read by other users of this machine (mode {mode:04o}); run: chmod {wanted:o} {path}"
        )
