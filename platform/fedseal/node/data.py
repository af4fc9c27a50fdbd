"""The data room: the node's registered datasets, loaded when their files change and compared at every use.

Rows leave this module only as ``JobData`` for a contribution; nothing here is ever sent.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fedseal.errors import RefusalError
from fedseal.learning import DatasetError, LocalData, dataset_files, load_dataset
from fedseal.profiles import dataset_facts
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_governance.database import Database
from fedseal_governance.datasets import (
    DatasetFacts,
    DatasetSchema,
    Drift,
    Registration,
    baseline_of,
    compare,
    list_registered,
    registered,
)
from fedseal_governance.errors import NotFound

FileStamp: TypeAlias = tuple[int, int, int]
"""Modification time in nanoseconds, size in bytes, inode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A dataset in memory, and the state of its files when they were read."""

    data: LocalData
    facts: DatasetFacts
    stamp: tuple[FileStamp, ...]


class DataRoom:
    """Registered datasets of one node. Used by one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loaded: dict[tuple[str, Digest], Loaded] = {}

    def registrations(self) -> tuple[Registration, ...]:
        """Every current registration."""
        return self._database.read(list_registered)

    def registration(self, name: str) -> Registration:
        """One current registration.

        Raises:
            RefusalError: the dataset is not registered here.
        """
        try:
            return self._database.read(lambda session: registered(session, name))
        except NotFound as error:
            raise RefusalError(str(error)) from error

    def schema(self, name: str) -> DatasetSchema:
        """Schema of a registered dataset."""
        return self.registration(name).schema

    def drift(self, name: str, *, max_rows_changed_percent: float = 0) -> Drift:
        """What changed since the dataset was approved, and whether it is more than the policy tolerates."""
        registration = self.registration(name)
        try:
            loaded = self._load(registration)
        except DatasetError as error:
            return Drift(sentences=(f"Dataset {name}: {error}",), beyond=True)
        if loaded.facts.content_digest == registration.facts.content_digest:
            return Drift()
        before = self._database.read(lambda session: baseline_of(session, registration))
        return compare(registration, loaded.facts, before=before, max_rows_changed_percent=max_rows_changed_percent)

    def rows(self, name: str, *, max_rows_changed_percent: float = 0) -> LocalData:
        """The whole dataset, as approved or within what the policy tolerates.

        Raises:
            RefusalError: it changed more; what changed is not told here, because the sentence travels to the
                coordinator.
        """
        if self.drift(name, max_rows_changed_percent=max_rows_changed_percent).beyond:
            sentence = f"the dataset {name} has changed since it was registered; its operator must approve it again"
            raise RefusalError(sentence)
        return self._load(self.registration(name)).data

    def _load(self, registration: Registration) -> Loaded:
        path = Path(registration.source)
        stamp = tuple(_stamp(file) for file in dataset_files(path, registration.schema))
        key = (registration.name, sha256_hex(registration.facts.schema_content))
        known = self._loaded.get(key)
        if known is not None and known.stamp == stamp:
            return known
        data = load_dataset(path, registration.schema)
        facts = dataset_facts(data, registration.facts.schema_content)
        loaded = Loaded(data=data, facts=facts, stamp=stamp)
        self._loaded[key] = loaded
        return loaded


def _stamp(path: Path) -> FileStamp:
    try:
        status = path.stat()
    except OSError as error:
        sentence = f"the file {path} cannot be read ({error.strerror}); put it back or register the dataset again"
        raise DatasetError(str(path), sentence) from error
    return status.st_mtime_ns, status.st_size, status.st_ino
