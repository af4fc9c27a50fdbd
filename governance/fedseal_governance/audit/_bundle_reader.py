"""Reading a bundle's members from a folder or a zip file, without trusting either.

Rules kept here: nothing is ever extracted, so no name can lead out of the bundle; symbolic links, encrypted
members and names that occur twice are refused; every read is bounded by the caller, never by a size that the
bundle claims.
"""

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fedseal_governance.audit import _bundle_format as form
from fedseal_governance.audit.errors import BundleMalformed

_DOCUMENT = re.compile(r"documents/[0-9a-f]{64}")
_KNOWN = form.REQUIRED | {form.LEAVES, form.README, form.VERIFIER}
_MAX_MEMBERS = form.MAX_DOCUMENTS + 1000  # some unknown files are tolerated, such as a file browser's
_MAX_DIRECTORY = 256 * _MAX_MEMBERS  # bytes of a zip file's list of members; a document's line has 118 or 138
_ZIP_TAIL = 65_535 + 22 + 76  # longest comment, end record, and the two records for large files before it
_ZIP64_ENDS = 56 + 20  # end record for large files and its locator
_ENCRYPTED = 0x1  # general-purpose flag of a zip member

READ_FAULTS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""What the zip and file libraries raise for damaged or unsupported content."""


class BundleReader:
    """The members of a bundle, by name.

    Attributes:
        unknown: Names that are not part of the format; nothing is said about them.
    """

    def __init__(self, members: Mapping[str, Callable[[], IO[bytes]]]) -> None:
        self._members = {name: opener for name, opener in members.items() if _is_known(name)}
        self.unknown = tuple(sorted(name for name in members if not _is_known(name)))
        missing = sorted(form.REQUIRED - set(self._members))
        if missing:
            raise BundleMalformed(f"the bundle has no file {missing[0]}; export it again.")

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._members

    def documents(self) -> list[str]:
        """The digests by which documents are named, sorted."""
        names = [name for name in self._members if name.startswith(form.DOCUMENTS)]
        return sorted(name.removeprefix(form.DOCUMENTS) for name in names)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A member to read from.

        Raises:
            BundleMalformed: It is damaged, here or while the caller reads.
        """
        try:
            with self._members[name]() as stream:
                yield stream
        except READ_FAULTS as error:
            raise BundleMalformed(f"the file {name} of the bundle is damaged: {error}") from error

    def small_text(self, name: str) -> str:
        """A whole small member as text.

        Raises:
            BundleMalformed: It is too large, damaged, or not UTF-8.
        """
        with self.open(name) as stream:
            data = stream.read(form.MAX_SMALL + 1)
        if len(data) > form.MAX_SMALL:
            raise BundleMalformed(f"the file {name} of the bundle has more than {form.MAX_SMALL} bytes.")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleMalformed(f"the file {name} of the bundle is not UTF-8 text.") from error


@contextmanager
def opened_bundle(path: Path) -> Iterator[BundleReader]:
    """Open a folder or zip file as a bundle.

    Raises:
        BundleMalformed: It is neither, or breaks a rule of this module.
    """
    if path.is_dir():
        yield BundleReader(_folder_members(path))
        return
    try:
        _require_small_directory(path)
        archive = zipfile.ZipFile(path)
    except READ_FAULTS as error:
        raise BundleMalformed(f"{path} is neither a folder nor a readable zip file: {error}") from error
    with archive:
        yield BundleReader(_zip_members(archive))


def _is_known(name: str) -> bool:
    return name in _KNOWN or _DOCUMENT.fullmatch(name) is not None


def _folder_members(folder: Path) -> dict[str, Callable[[], IO[bytes]]]:
    members: dict[str, Callable[[], IO[bytes]]] = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        members[name] = _file_opener(path)
        _require_few(members)
    return members


def _files(folder: Path) -> Iterator[Path]:
    """The files of a bundle's folder and of its documents; deeper folders are unknown members."""
    documents = folder / form.DOCUMENTS.rstrip("/")
    for path in folder.iterdir():
        if path == documents and not path.is_symlink() and path.is_dir():
            yield from path.iterdir()
        else:
            yield path


def _file_opener(path: Path) -> Callable[[], IO[bytes]]:
    def opener() -> IO[bytes]:
        # A link could make the verifier read, and a report quote, a file from elsewhere.
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundleMalformed(f"{path.name} in the bundle is not a regular file.")
        return path.open("rb")

    return opener


def _require_small_directory(path: Path) -> None:
    """Refuse a zip file whose list of members would fill the memory: the library reads it whole.

    Looked at are the end records (APPNOTE 6.3.10, sections 4.3.14 and 4.3.16) where the library looks for them.

    Raises:
        BundleMalformed: The list is larger than that of the largest bundle.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _ZIP_TAIL))
        tail = stream.read(_ZIP_TAIL)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        return  # not a zip file; the library says so
    listed = int.from_bytes(tail[end + 12 : end + 16], "little")
    large = end - _ZIP64_ENDS
    if large >= 0 and tail[large : large + 4] == b"PK\x06\x06":
        listed = max(int.from_bytes(tail[large + 40 : large + 48], "little"), listed if listed < 0xFFFFFFFF else 0)
    if listed > _MAX_DIRECTORY:
        raise BundleMalformed(f"{path.name} lists more files than a bundle can have.")


def _zip_members(archive: zipfile.ZipFile) -> dict[str, Callable[[], IO[bytes]]]:
    members: dict[str, Callable[[], IO[bytes]]] = {}
    for info in archive.infolist():
        if info.is_dir():
            continue
        if info.filename in members or info.flag_bits & _ENCRYPTED:
            raise BundleMalformed(f"{info.filename[:100]!r} occurs twice in the zip file or is encrypted.")
        members[info.filename] = _zip_opener(archive, info)
        _require_few(members)
    return members


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(info)


def _require_few(members: Mapping[str, object]) -> None:
    if len(members) > _MAX_MEMBERS:
        raise BundleMalformed(f"the bundle has more than {_MAX_MEMBERS} files.")
