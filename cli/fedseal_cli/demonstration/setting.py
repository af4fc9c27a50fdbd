"""Names, files and folders of the demonstration."""

import shutil
import socket
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fedseal.errors import SetupError
from fedseal_governance.vocabulary import Protection

FEDERATION = "heart"
CONSORTIUM = "Heart Disease Consortium"
DATASET = "heart-disease"
HOSPITALS = {
    "cleveland": "Cleveland Clinic",
    "hungary": "Hungarian Institute of Cardiology, Budapest",
    "va-long-beach": "VA Medical Center, Long Beach",
    "switzerland": "University Hospitals Zurich and Basel",
}
CUSTODIAN, CUSTODIAN_ORGANISATION = "data-trust", "Patients' Data Trust"
MARKER = "fedseal-demo.txt"
_MARKER_TEXT = "Made by `fedseal demo`. The passphrases in it are known to everybody: use nothing of it elsewhere.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where the demonstration plays.

    Attributes:
        folder: everything it makes; stays for inspection.
        examples: the four hospitals' files.
        authority_port: of the enrolment service, on loopback.
        coordinator_port: of the coordinator, on loopback.
        protection: of the job.
    """

    folder: Path
    examples: Path
    authority_port: int
    coordinator_port: int
    protection: Protection = Protection.MASKING

    @property
    def custodian(self) -> str | None:
        """Who holds the decryption key; None where nothing is encrypted."""
        return CUSTODIAN if self.protection.has_custodian else None

    def job(self) -> bytes:
        """The example job under this demonstration's protection."""
        text = self.example("job.yaml").read_text()
        if self.custodian is None:
            return text.encode()
        chosen = f"protection: {self.protection.value}\ncustodian: {self.custodian}"
        return text.replace("protection: masking", chosen).encode()

    @property
    def passphrase_file(self) -> Path:
        """The one passphrase of all people of the demonstration."""
        return self.folder / "passphrase.txt"

    def party(self, name: str) -> Path:
        """Folder of a machine party."""
        return self.folder / name

    def person(self, name: str) -> Path:
        """Folder of a person."""
        return self.folder / "people" / name

    def example(self, name: str) -> Path:
        """One of the example files."""
        return self.examples / name


def prepare(folder: Path, *, force: bool, protection: Protection = Protection.MASKING) -> Setting:
    """Make an empty folder for the demonstration and choose free ports.

    Raises:
        SetupError: the folder holds something else than an earlier demonstration, or ``force`` is not given.
    """
    examples = _examples()
    target = folder.resolve()
    if target.exists() and any(target.iterdir()):
        if not (target / MARKER).is_file():
            sentence = f"{folder} is not empty and not an earlier demonstration; choose another --folder"
            raise SetupError(sentence)
        if not force:
            sentence = f"{folder} holds an earlier demonstration; give --force to replace it, or another --folder"
            raise SetupError(sentence)
        shutil.rmtree(target)
    target.mkdir(parents=True, exist_ok=True)
    (target / MARKER).write_text(_MARKER_TEXT)
    return Setting(
        folder=target,
        examples=examples,
        authority_port=_free_port(),
        coordinator_port=_free_port(),
        protection=protection,
    )


def _examples() -> Path:
    """The example files: beside the package when installed, in the repository when developed."""
    packaged = Path(str(resources.files("fedseal_cli"))) / "_examples" / DATASET
    repository = Path(__file__).parents[3] / "examples" / DATASET
    for candidate in (packaged, repository):
        if (candidate / "schema.yaml").is_file():
            return candidate
    sentence = "the example files of the demonstration are not installed; install fedseal again"
    raise SetupError(sentence)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
