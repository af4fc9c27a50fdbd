"""Files that hold private keys: written whole, readable by their owner only, and refused otherwise.

Rules kept here: a reader never sees half a file; the content is on disk before it has its name; an
unencrypted key that others can read is refused instead of used.
"""

import os
import stat
import tempfile
from pathlib import Path

from fedseal_governance.errors import StorageError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def write_private(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write a file with mode 0600, all or nothing.

    Args:
        path: Where; its folder must exist.
        data: The content.
        replace: Whether an existing file may be replaced; by default it is kept and the call fails.

    Raises:
        StorageError: The file exists, or cannot be written; nothing was changed.
    """
    try:
        # mkstemp creates with mode 0600, so that the content is never readable by others, not for a moment.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if replace:
                Path(temporary).replace(path)
            else:
                os.link(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except FileExistsError:
        raise StorageError(f"{path} exists already; it was not changed. Move it away first.") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}); nothing was changed.") from error


def read_private(path: Path, *, max_bytes: int) -> bytes:
    """Read a private file after checking that only its owner can.

    Raises:
        StorageError: It is missing, too large, or readable by others.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); check its name and owner.") from error
    if os.name == "posix" and mode & _OTHERS:
        raise StorageError(f"{path} can be read by others (mode {mode & 0o777:03o}); run: chmod 600 {path}")
    if len(data) > max_bytes:
        raise StorageError(f"{path} has more than {max_bytes} bytes; check that it is the right file.")
    return data
