"""Public rows that every party of a job holds, by digest: for methods that train on them at the coordinator.

    public/<sha256>.safetensors    in the party's folder; written by `fedseal dataset admit-public`

The file holds ``inputs`` (float32, shape (rows, values), encoded as the job's learner takes them) and ``labels``
(float32, shape (rows,), classes from 0). A name from a message never becomes a path, and the content is compared with
the digest every time.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from fedseal.errors import RefusalError, SetupError
from fedseal.files import make_folder, read_limited, write_atomic
from fedseal.learning.learner import Examples
from fedseal_crypto.digests import Digest, parse_digest, sha256_hex

FOLDER = "public"
VARIABLE = "FEDSEAL_PUBLIC"
MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicRows:
    """Admitted files of one party; ``folder`` None where there are none."""

    folder: Path | None = None

    @classmethod
    def of_party(cls, folder: Path) -> "PublicRows":
        """Those in a party's folder."""
        return cls(folder=folder / FOLDER)

    def admit(self, file: Path) -> Digest:
        """Keep a copy of ``file`` under its digest.

        Raises:
            SetupError: It cannot be read, or does not hold public rows.
        """
        if self.folder is None:
            raise SetupError("There is no folder to admit public rows into.")
        content = read_limited(file, max_bytes=MOST_BYTES, what="a file of public rows")
        try:
            _read(content)
        except ValueError as error:
            raise SetupError(f"{file} does not hold public rows: {error}.") from None
        make_folder(self.folder)
        digest = sha256_hex(content)
        write_atomic(self.folder / f"{digest}.safetensors", content, private=False)
        return digest

    def rows(self, digest: str) -> Examples:
        """The rows of an admitted file.

        Raises:
            RefusalError: It was never admitted here, or changed since.
        """
        known = parse_digest(digest)
        path = None if self.folder is None else self.folder / f"{known}.safetensors"
        if path is None or not path.exists():
            raise RefusalError(
                f"the public rows with the digest {known[:12]}… are not admitted here; admit them with "
                "`fedseal dataset admit-public FILE --folder DIR`"
            )
        content = read_limited(path, max_bytes=MOST_BYTES, what="a file of public rows")
        if sha256_hex(content) != known:
            raise RefusalError(f"the admitted public rows {known[:12]}… were changed; admit them again")
        try:
            return _read(content)
        except ValueError as error:
            raise RefusalError(f"the admitted public rows {known[:12]}… cannot be used: {error}") from None


def _read(content: bytes) -> Examples:
    try:
        tensors = load(content)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"it is no readable safetensors file ({type(error).__name__})") from None
    if tensors.keys() != {"inputs", "labels"}:
        raise ValueError(f"it holds {', '.join(sorted(tensors)) or 'nothing'} instead of inputs and labels")
    inputs, labels = tensors["inputs"], tensors["labels"]
    if inputs.dtype != np.float32 or labels.dtype != np.float32 or inputs.ndim != 2 or labels.shape != (len(inputs),):
        raise ValueError("inputs must be float32 of shape (rows, values) and labels float32 of shape (rows,)")
    if len(inputs) < 2 or not np.isfinite(inputs).all():
        raise ValueError("it has fewer than 2 rows, or numbers that are not finite")
    if not (np.isfinite(labels).all() and (labels >= 0).all() and (labels == np.rint(labels)).all()):
        raise ValueError("labels must be classes, from 0")
    return Examples(inputs=inputs, labels=labels.astype(np.float64))


_current: list[PublicRows] = []


def use_public_rows(rows: PublicRows) -> None:
    """Let this process use what a party admitted; called once when the party starts."""
    _current[:] = [rows]


def public_rows(digest: str) -> Examples:
    """Admitted rows, of the party in use or of the folder that ``FEDSEAL_PUBLIC`` names.

    Raises:
        RefusalError: They are not admitted here, or changed since.
    """
    named = os.environ.get(VARIABLE)
    store = _current[0] if _current else PublicRows(folder=Path(named) if named else None)
    stamp = None if store.folder is None else _stamp(store.folder / f"{parse_digest(digest)}.safetensors")
    return _cached(store, digest, stamp)


def _stamp(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None


@lru_cache(maxsize=2)
def _cached(store: PublicRows, digest: str, stamp: tuple[int, int] | None) -> Examples:  # noqa: ARG001 - a changed file
    return store.rows(digest)
