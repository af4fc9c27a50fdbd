"""Secret keys at rest: one sealed file a job, and nothing else of a secret on any disk.

Rules kept here:

1. A secret key is written sealed, whole or not at all, and opened in the custodian's process only.
2. Destroying a key overwrites and removes its file and drops the key from memory. What the disk below keeps of
   overwritten blocks (snapshots, wear levelling, backups) is out of its reach: seal under a passphrase or a key
   file that is kept elsewhere, and these leftovers open nothing.
3. A key that was split opens with shares only. Reassembled, it is sealed under the custodian's own lock for one
   run of its process, which removes that file when it has read it.

Files: ``<job>.key`` sealed, ``<job>.public``, and after a reassembly ``<job>.released``. Of a job whose method has
scalars also ``<job>.scalars.key``, ``<job>.scalars.public`` and ``<job>.scalars.evaluation``.
"""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from fedseal.errors import RefusalError, SetupError
from fedseal.files import make_folder, read_limited, require_private, sync_folder, write_atomic
from fedseal_crypto.digests import parse_digest
from fedseal_crypto.homomorphic import (
    KeyFile,
    OpenedShare,
    Parameters,
    Passphrase,
    SealRefused,
    SecretContext,
    SplitKey,
    generate_keys,
    new_key_file,
    reassemble_key,
    seal_key,
    sealed_facts,
    split_key,
    unseal_key,
)
from fedseal_crypto.secret import SecretBytes

MAX_SEALED_BYTES = 64 << 20
"""A sealed secret key; for sums it is under 1 MB."""

_KEY, _PUBLIC, _RELEASED = ".key", ".public", ".released"
_SCALARS, _EVALUATION = ".scalars", ".evaluation"
_SHARES = "shares"
_KEY_FILE_BYTES = 4096

Lock = Passphrase | KeyFile


class KeyLocked(RefusalError):
    """A job's key is split and has not been reassembled for this run."""


class Vault:
    """The sealed keys of one custodian. Only its worker thread calls in."""

    def __init__(self, folder: Path, lock: Lock) -> None:
        make_folder(folder)
        self._folder = folder
        self._lock = lock
        self._open: dict[str, SecretContext] = {}

    def create(self, job: str, parameters: Parameters, *, scalars: bool = False) -> SecretContext:
        """Make a job's key (or its second one, for scalars) and seal it; what an interrupted try left is replaced.

        Raises:
            OSError: the disk cannot be written.
        """
        secret = generate_keys(parameters)
        kind = _SCALARS if scalars else ""
        public = secret.public.to_bytes()
        write_atomic(self._path(job, kind + _PUBLIC), public)
        if scalars:
            write_atomic(self._path(job, _SCALARS + _EVALUATION), secret.evaluation_keys())
        write_atomic(self._path(job, kind + _KEY), seal_key(secret, lock=self._lock), private=True)
        self._open[job + kind] = secret
        return secret

    def public(self, job: str) -> bytes:
        """The public part of the job's key, or parts of its keys one after the other, as they are published."""
        suffixes = [_PUBLIC]
        if self.has_scalars(job):
            suffixes += [_SCALARS + _PUBLIC, _SCALARS + _EVALUATION]
        paths = [self._path(job, item) for item in suffixes]
        return b"".join(read_limited(path, max_bytes=MAX_SEALED_BYTES, what="a public key") for path in paths)

    def has_scalars(self, job: str) -> bool:
        """Whether the job has a second key, for scalars."""
        return self._path(job, _SCALARS + _KEY).is_file()

    def scalar_secret(self, job: str) -> SecretContext:
        """A job's second secret key, opened once in this process.

        Raises:
            SetupError: its file is missing.
            SealRefused, WrongLock: it does not open.
        """
        held = self._open.get(job + _SCALARS)
        if held is None:
            sealed = self._sealed(job, kind=_SCALARS)
            held = self._open[job + _SCALARS] = unseal_key(sealed, lock=self._lock)
        return held

    def secret(self, job: str) -> SecretContext:
        """A job's secret key, opened once in this process.

        Raises:
            KeyLocked: it is split; shares must be brought together first.
            SetupError: its file is missing.
            SealRefused, WrongLock: it does not open.
        """
        held = self._open.get(job)
        if held is None:
            held = self._open[job] = self._unsealed(job)
        return held

    def require_lock(self, jobs: Iterable[str]) -> None:
        """Refuse to go on under a lock that does not open the keys of these jobs; those that shares open are left out.

        Raises:
            SetupError: one does not open.
        """
        for job in jobs:
            try:
                if self.has(job) and not self.is_split(job):
                    self.secret(job)
                if self.has_scalars(job):
                    self.scalar_secret(job)
            except SealRefused as error:
                raise SetupError(
                    f"{self._path(job, _KEY)} does not open: {str(error).rstrip('.')}; start with the passphrase or "
                    "key file that sealed it, or, if that is lost, stop the job and remove the file"
                ) from error

    def has(self, job: str) -> bool:
        """Whether there is a sealed key of that job."""
        return self._path(job, _KEY).is_file()

    def is_split(self, job: str) -> bool:
        """Whether a job's key opens with shares only."""
        return sealed_facts(self._sealed(job)).lock == _SHARES

    def jobs(self) -> frozenset[str]:
        """The jobs that have a file here."""
        return frozenset(path.name.partition(".")[0] for path in self._folder.iterdir() if path.is_file())

    def destroy(self, job: str) -> None:
        """Overwrite and remove a job's key, and drop it from memory; nothing happens if it is gone.

        Raises:
            OSError: the disk cannot be written.
        """
        for kind in ("", _SCALARS):
            held = self._open.pop(job + kind, None)
            if held is not None:
                held.destroy()
        for suffix in (_KEY, _RELEASED, _PUBLIC, *(_SCALARS + item for item in (_KEY, _PUBLIC, _EVALUATION))):
            _shred(self._path(job, suffix))
        sync_folder(self._folder)

    def split(self, job: str, *, threshold: int, holders: dict[str, Passphrase]) -> SplitKey:
        """A job's key sealed so that only shares open it; nothing is replaced before `keep_split`.

        Raises:
            MisuseError: that threshold is impossible.
            SealRefused, WrongLock, SetupError: the key does not open.
        """
        if self.has_scalars(job):
            raise SetupError(
                f"job {job[:12]} has a second key for scalars, which cannot be split; run it without a split key"
            )
        return split_key(self._unsealed(job), threshold=threshold, holders=holders)

    def keep_split(self, job: str, parts: SplitKey) -> None:
        """Replace a job's sealed key by the split one, once every share is on a disk.

        Raises:
            OSError: the disk cannot be written; the key is as it was.
        """
        path = self._path(job, _KEY)
        with path.open("r+b") as former:  # the file that the name stands for now, also after the name is another's
            write_atomic(path, parts.sealed, private=True)
            _overwrite(former)

    def release(self, job: str, shares: list[OpenedShare]) -> None:
        """Bring shares together and seal the key under this custodian's lock, for the next run of its process.

        Raises:
            SealRefused, ShareRefused, SharesInsufficient: they do not open it.
        """
        secret = reassemble_key(self._sealed(job), shares)
        write_atomic(self._path(job, _RELEASED), seal_key(secret, lock=self._lock), private=True)
        secret.destroy()

    def _unsealed(self, job: str) -> SecretContext:
        sealed = self._sealed(job)
        if sealed_facts(sealed).lock != _SHARES:
            return unseal_key(sealed, lock=self._lock)
        released = self._path(job, _RELEASED)
        if not released.is_file():
            raise KeyLocked(
                f"the key of job {job[:12]} is split; bring enough shares together with "
                f"`fedseal custodian reassemble {job[:12]}`"
            )
        secret = unseal_key(read_limited(released, max_bytes=MAX_SEALED_BYTES, what="a sealed key"), lock=self._lock)
        _shred(released)
        sync_folder(self._folder)
        return secret

    def _sealed(self, job: str, *, kind: str = "") -> bytes:
        path = self._path(job, kind + _KEY)
        if not path.is_file():
            raise SetupError(f"{path} is missing; restore it from a backup, or let the job end")
        return read_limited(path, max_bytes=MAX_SEALED_BYTES, what="a sealed key")

    def _path(self, job: str, suffix: str) -> Path:
        return self._folder / f"{parse_digest(job)}{suffix}"


def lock_of(passphrase: SecretBytes | None, key_file: Path) -> Lock:
    """What seals keys at rest: a passphrase if one is given, else the key file, made when there is none.

    Raises:
        SetupError: the key file cannot be made, is too short, or others may read it.
    """
    if passphrase is not None:
        return Passphrase(passphrase)
    if not key_file.exists():
        write_atomic(key_file, new_key_file().reveal(), private=True)
    require_private(key_file)
    return KeyFile(SecretBytes(read_limited(key_file, max_bytes=_KEY_FILE_BYTES, what="a key file")))


def has_sealed_keys(folder: Path) -> bool:
    """Whether a vault's folder holds any sealed key."""
    return any(folder.glob(f"*{_KEY}"))


def sealed_how(folder: Path, job: str) -> str:
    """How a job's key is sealed: "passphrase", "key file" or "shares"; empty when there is none.

    Raises:
        SealRefused: the file is not a sealed key.
    """
    path = folder / f"{parse_digest(job)}{_KEY}"
    if not path.is_file():
        return ""
    return sealed_facts(read_limited(path, max_bytes=MAX_SEALED_BYTES, what="a sealed key")).lock


def _shred(path: Path) -> None:
    if path.exists():
        with path.open("r+b") as stream:
            _overwrite(stream)
        path.unlink()


def _overwrite(stream: BinaryIO) -> None:
    """Write random bytes over an open file's own, in place."""
    stream.write(secrets.token_bytes(os.fstat(stream.fileno()).st_size))
    stream.flush()
    os.fsync(stream.fileno())
