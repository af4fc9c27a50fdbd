"""One running service a database: who comes second is told so, and nobody is shut out by a process that died."""

import os
import signal
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from fedseal_governance.claims import GRACE_SECONDS, SERVICE_LOCK, ServiceClaim
from fedseal_governance.database import Database
from fedseal_governance.errors import StorageError


class Watch:
    """A stopwatch that tests move."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def other(database_url: str) -> Database:
    return Database(database_url, pause=lambda _seconds: None)


def test_the_second_service_is_refused_until_the_first_has_ended(database_url: str) -> None:
    first, second = other(database_url), other(database_url)
    claim = ServiceClaim.take(first)
    with pytest.raises(StorageError, match="another running service uses this database; stop that process first"):
        ServiceClaim.take(second, patience_seconds=0)
    claim.require()
    second.run("beside", lambda session: session.execute(text("SELECT 1")))  # commands are welcome
    claim.release()
    again = ServiceClaim.take(second)
    again.require()
    again.release()


def test_a_killed_process_leaves_no_claim(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'node.db'}"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        ServiceClaim.take(Database(url))
        os.write(writer, b"taken")
        signal.pause()
        os._exit(1)
    assert os.read(reader, 5) == b"taken"
    with pytest.raises(StorageError):
        ServiceClaim.take(Database(url))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    ServiceClaim.take(Database(url)).release()
    assert stat.S_IMODE((tmp_path / "node.db.service").stat().st_mode) == 0o600


def test_a_marker_that_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "node.db.service").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="the file that marks a running service cannot be opened"):
        ServiceClaim.take(Database(f"sqlite:///{tmp_path / 'node.db'}"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_database_in_memory_needs_no_claim() -> None:
    database = Database("sqlite://")
    first, second = ServiceClaim.take(database), ServiceClaim.take(database)
    first.require()
    second.require()


def _holders(database: Database) -> list[int]:
    query = text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = :low AND granted")
    return list(database.read(lambda session: session.scalars(query, {"low": SERVICE_LOCK & 0xFFFFFFFF}).all()))


def _terminate(database: Database) -> None:
    for pid in _holders(database):
        database.read(lambda session, pid=pid: session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid}))  # type: ignore[misc]  # bound per loop


@pytest.mark.postgresql
def test_a_claim_that_was_lost_with_its_connection_is_taken_again(postgresql_url: str) -> None:
    mine, theirs = other(postgresql_url), other(postgresql_url)
    claim = ServiceClaim.take(mine)
    _terminate(theirs)
    claim.require()  # notices
    claim.require()  # and has it again
    assert len(_holders(theirs)) == 1
    with pytest.raises(StorageError):
        ServiceClaim.take(theirs, patience_seconds=0)
    claim.release()


@pytest.mark.postgresql
def test_a_claim_that_another_process_took_ends_this_one(postgresql_url: str) -> None:
    watch = Watch()
    mine, theirs = other(postgresql_url), other(postgresql_url)
    claim = ServiceClaim.take(mine, elapsed=watch)
    _terminate(theirs)
    taken = ServiceClaim.take(theirs)
    claim.require()
    watch.seconds = GRACE_SECONDS
    claim.require()
    watch.seconds = GRACE_SECONDS + 1
    with pytest.raises(StorageError, match="stop that process first"):
        claim.require()
    taken.release()
    claim.require()
    claim.release()
