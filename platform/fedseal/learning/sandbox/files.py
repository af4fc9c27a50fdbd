"""The files that this party admitted, by digest, and how their processes are held.

    learners/<sha256>.py    in the party's folder; written by `fedseal learner admit`

Rules this module keeps:
- A file is read by its digest and its content compared with it every time, so that what runs is what was admitted.
- A name from a message never becomes a path: only 64 hexadecimal digits do.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from fedseal.errors import RefusalError, SetupError
from fedseal.files import make_folder, read_limited, write_atomic
from fedseal_crypto.digests import Digest, parse_digest, sha256_hex

FOLDER = "learners"
MOST_BYTES = 1 << 20
VARIABLE = "FEDSEAL_LEARNERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process of a learner may use.

    Attributes:
        seconds: For one training or prediction, by the clock.
        memory_bytes: Of address space, which torch alone needs some 2 GiB of.
    """

    seconds: float = 600.0
    memory_bytes: int = 8 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerFiles:
    """Admitted files of one party.

    Attributes:
        folder: With ``<digest>.py``; None where no file may run.
        limits: Of each process.
        hidden: Folders that the process shall not see, such as the party's own.
        unisolated: Run without namespaces where the system does not offer them; limits and digests still hold.
        python: Interpreter of the processes.
    """

    folder: Path | None = None
    limits: Limits = field(default_factory=Limits)
    hidden: tuple[Path, ...] = ()
    unisolated: bool = False
    python: str = sys.executable

    @classmethod
    def of_party(cls, folder: Path, *, limits: Limits | None = None, unisolated: bool = False) -> "LearnerFiles":
        """The files admitted in a party's folder, which the processes do not see."""
        return cls(folder=folder / FOLDER, limits=limits or Limits(), hidden=(folder.resolve(),), unisolated=unisolated)

    def admit(self, file: Path) -> Digest:
        """Keep a copy of ``file`` under its digest.

        Raises:
            SetupError: It cannot be read, is too large, or is no Python.
        """
        if self.folder is None:
            raise SetupError("There is no folder to admit learner files into.")
        content = read_limited(file, max_bytes=MOST_BYTES, what="a learner file")
        try:
            compile(content, file.name, "exec")
        except (SyntaxError, ValueError) as error:
            raise SetupError(f"{file} is not a Python file: {error}.") from None
        make_folder(self.folder)
        digest = sha256_hex(content)
        write_atomic(self.folder / f"{digest}.py", content, private=True)
        return digest

    def admitted(self) -> tuple[Digest, ...]:
        """Digests of all admitted files, sorted."""
        if self.folder is None or not self.folder.is_dir():
            return ()
        return tuple(sorted(parse_digest(path.stem) for path in self.folder.glob("*.py")))

    def content(self, digest: str) -> bytes:
        """An admitted file.

        Raises:
            RefusalError: It was never admitted here, or changed since.
        """
        known = parse_digest(digest)
        path = None if self.folder is None else self.folder / f"{known}.py"
        if path is None or not path.exists():
            raise RefusalError(
                f"the learner file with the digest {known[:12]}… is not admitted here; its operator admits it with "
                "`fedseal learner admit FILE --folder DIR`"
            )
        content = read_limited(path, max_bytes=MOST_BYTES, what="a learner file")
        if sha256_hex(content) != known:
            raise RefusalError(f"the admitted learner file {known[:12]}… was changed; its operator must admit it again")
        return content


_current: list[LearnerFiles] = []


def use_learner_files(files: LearnerFiles) -> None:
    """Let this process run the files that a party admitted; called once when the party starts."""
    _current[:] = [files]


def learner_files() -> LearnerFiles:
    """Those in use; without `use_learner_files` the folder that ``FEDSEAL_LEARNERS`` names, if any."""
    if _current:
        return _current[0]
    named = os.environ.get(VARIABLE)
    return LearnerFiles(folder=Path(named) if named else None)
