"""Files named by their digest: broadcasts, states, models, job records.

A file appears whole (written beside, synced, renamed) and is checked against its name when it is read.
"""

from pathlib import Path

from fedseal.errors import SetupError
from fedseal.files import make_folder, write_atomic
from fedseal_crypto.digests import Digest, parse_digest, sha256_hex


class ArtefactFolder:
    """A folder of files, two levels deep: ``ab/abcdef…``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> Digest:
        """Store ``data``; storing it again changes nothing."""
        digest = sha256_hex(data)
        path = self.path(digest)
        if not path.exists():
            make_folder(path.parent)
            write_atomic(path, data, private=True)
        return digest

    def get(self, digest: str) -> bytes:
        """Read a file back.

        Raises:
            SetupError: it is missing or was changed.
        """
        path = self.path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            sentence = f"{path} is missing; restore the folder from a backup"
            raise SetupError(sentence) from None
        if sha256_hex(data) != digest:
            sentence = f"{path} is not what was stored (its digest differs from its name); restore it from a backup"
            raise SetupError(sentence)
        return data

    def path(self, digest: str) -> Path:
        """Where the file with that digest is or would be.

        Raises:
            DigestInvalid: ``digest`` is not one, so it cannot lead out of the folder.
        """
        checked = parse_digest(digest)
        return self._folder / checked[:2] / checked

    def remove(self, digest: str) -> None:
        """Delete a file if it is there."""
        self.path(digest).unlink(missing_ok=True)
