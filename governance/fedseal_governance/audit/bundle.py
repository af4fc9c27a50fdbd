"""Exporting a log as a bundle that anybody can verify offline.

Rules kept here: the entries leave the database as the bytes they were hashed as; the bundle appears under its
name only when it is whole and on disk; nothing that exists is overwritten; a document goes in only if its
digest is right and an entry names it. The format is described in `_bundle_format`.
"""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_governance.audit import _bundle_format as form
from fedseal_governance.audit.checkpoints import SignedCheckpoint
from fedseal_governance.audit.errors import ExportRefused
from fedseal_governance.audit.tables import AuditEntry
from fedseal_governance.errors import StorageError

_PAGE = 1000  # rows fetched at a time
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first date: equal logs give equal bundles


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: The folder or zip file.
        size: Entries in it.
        later: Entries that were appended after its checkpoint and are not in it.
        documents: Number of documents in it.
    """

    path: Path
    size: int
    later: int
    documents: int


class _Sink(Protocol):
    """Where members of a bundle are written."""

    def member(self, name: str) -> IO[bytes]:
        """A member to write; closed by the caller."""
        ...


class _FolderSink:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def member(self, name: str) -> IO[bytes]:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        return path.open("xb")


class _ZipSink:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def member(self, name: str) -> IO[bytes]:
        info = zipfile.ZipInfo(name, _ZIP_EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        return self._archive.open(info, "w", force_zip64=True)


def write_bundle(
    session: Session, latest: SignedCheckpoint, target: Path, documents: Mapping[Digest, bytes]
) -> Exported:
    """Write the log up to a checkpoint as a folder, or as a zip file if `target` ends in `.zip`.

    Args:
        session: A session on one snapshot of the database.
        latest: The checkpoint.
        target: A path that does not exist yet.
        documents: Every document to include, by digest.

    Raises:
        ExportRefused: `target` exists, or a document is not what the log speaks of.
        StorageError: The disk is full or the folder cannot be written; nothing remains there.
    """
    if target.exists() or target.is_symlink():
        raise ExportRefused(f"{target} exists already; choose another name.")
    _require_documents(documents)
    try:
        with _published(target) as sink:
            _write(sink, session, latest, documents)
    except OSError as error:
        raise StorageError(
            f"{target}: the bundle could not be written ({error.strerror}); free space or choose another folder."
        ) from error
    total = session.execute(select(func.count()).select_from(AuditEntry)).scalar_one()
    return Exported(path=target, size=latest.size, later=total - latest.size, documents=len(documents))


def verifier_source() -> bytes:
    """The verifier that each bundle holds as `verify.py`."""
    return files(__package__).joinpath("verifier.py").read_bytes()


def _require_documents(documents: Mapping[Digest, bytes]) -> None:
    if len(documents) > form.MAX_DOCUMENTS:
        raise ExportRefused(f"there are {len(documents)} documents; the limit is {form.MAX_DOCUMENTS}.")
    for digest, data in documents.items():
        if sha256_hex(data) != digest:
            raise ExportRefused(f"the document {digest} has another digest, {sha256_hex(data)}.")
        if len(data) > form.MAX_DOCUMENT:
            raise ExportRefused(f"the document {digest} has {len(data)} bytes; the limit is {form.MAX_DOCUMENT}.")


def _write(sink: _Sink, session: Session, latest: SignedCheckpoint, documents: Mapping[Digest, bytes]) -> None:
    unnamed = set(documents)
    _write_lines(sink, form.ENTRIES, _entry_lines(session, latest.size, unnamed))
    if unnamed:
        raise ExportRefused(
            f"no entry up to the checkpoint names the document {min(unnamed)}; leave it out of the bundle."
        )
    _write_lines(sink, form.LEAVES, _leaf_lines(session, latest.size))
    _write_lines(sink, form.CHECKPOINT, [latest.note.encode()])
    _write_lines(sink, form.KEYS, [f"{vkey}\n".encode() for vkey in latest.vkeys])
    _write_lines(sink, form.README, [form.README_TEXT.encode()])
    _write_lines(sink, form.VERIFIER, [verifier_source()])
    for digest in sorted(documents):
        _write_lines(sink, form.DOCUMENTS + digest, [documents[digest]])


def _write_lines(sink: _Sink, name: str, lines: Iterable[bytes]) -> None:
    with sink.member(name) as stream:
        for line in lines:
            stream.write(line)


def _entry_lines(session: Session, size: int, unnamed: set[Digest]) -> Iterator[bytes]:
    query = select(AuditEntry.entry).where(AuditEntry.seq < size).order_by(AuditEntry.seq)
    for data in session.execute(query.execution_options(yield_per=_PAGE)).scalars():
        if unnamed:
            unnamed.difference_update(Digest(found.decode()) for found in _DIGEST.findall(data))
        yield data + b"\n"


def _leaf_lines(session: Session, size: int) -> Iterator[bytes]:
    query = select(AuditEntry.leaf).where(AuditEntry.seq < size).order_by(AuditEntry.seq)
    for leaf in session.execute(query.execution_options(yield_per=_PAGE)).scalars():
        yield leaf.hex().encode() + b"\n"


@contextmanager
def _published(target: Path) -> Iterator[_Sink]:
    """Collect members under a temporary name beside `target`; rename when all is on disk."""
    working = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        if target.suffix == ".zip":
            finished = working / "bundle.zip"
            with zipfile.ZipFile(finished, "x") as archive:
                yield _ZipSink(archive)
        else:
            finished = working / "bundle"
            finished.mkdir(mode=0o700)
            yield _FolderSink(finished)
        _flush_tree(finished)
        finished.rename(target)
        _flush(target.parent)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _flush_tree(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _flush_tree(child)
    _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
