"""One running service a database: a second process that would drive the same jobs is turned away.

Commands beside a running service are welcome, they take their turn as writers (`database`). Two coordinators, or two
nodes, on one database are not: each would believe that it alone drives the jobs in it.

Rules kept here: the claim ends with the process, however it ends, because the operating system or the database server
holds it, not a row; a claim on PostgreSQL that is lost with its connection is taken again, and only if somebody else
keeps it for `GRACE_SECONDS` the process is told to end.
Reference: flock(2); PostgreSQL 15, section 13.3.5 (session-level advisory locks).
"""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self, final

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from fedseal_governance.database import Database, storage_errors
from fedseal_governance.errors import StorageError

SERVICE_LOCK = 0x66656473_65616C32
"""Key of the PostgreSQL advisory lock ("fedseal2"): one running service for each database."""

GRACE_SECONDS = 60.0
"""How long a server may take to notice that the connection which held the claim is gone."""

PATIENCE_SECONDS = 5.0
"""How long a start waits for a server to notice that the process before has died."""

_PAUSE_SECONDS = 0.25
_TRY = text("SELECT pg_try_advisory_lock(:key)")
_GIVE_UP = text("SELECT pg_advisory_unlock(:key)")


@final
class ServiceClaim:
    """The right to run a service on a database; make one with `take`, and `release` it at the end."""

    def __init__(self, database: Database, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._elapsed = elapsed
        self._file: int | None = None
        self._connection: Connection | None = None
        self._lost_at: float | None = None

    @classmethod
    def take(
        cls,
        database: Database,
        *,
        elapsed: Callable[[], float] = time.monotonic,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> Self:
        """Claim the database for this process.

        Args:
            database: the party's own.
            elapsed: a clock that only goes forward, in seconds.
            patience_seconds: how long to wait for a server that has not noticed yet that a process has died.

        Raises:
            StorageError: another process runs on it, or it cannot be reached.
        """
        claim = cls(database, elapsed=elapsed)
        trying = Retrying(
            retry=retry_if_result(lambda taken: not taken),
            stop=stop_after_delay(0 if database.is_sqlite else patience_seconds),
            wait=wait_fixed(_PAUSE_SECONDS),
            retry_error_callback=lambda _state: False,
        )
        with storage_errors("service.claim", database.engine):
            taken = trying(claim._try)
        if not taken:
            raise claim._refusal()
        return claim

    def require(self) -> None:
        """Check that the claim still holds; called every few seconds by the service.

        Raises:
            StorageError: another process has it now; this one must end.
        """
        if self._file is not None or self._database.engine.url.database in (None, "", ":memory:"):
            return
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return
            taken = self._try()
        except SQLAlchemyError:
            # Whoever writes now hears of it in a better place; here it only means: claim it again.
            self._forget_connection()
            taken = False
        if taken:
            self._lost_at = None
            return
        now = self._elapsed()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if now - self._lost_at > GRACE_SECONDS:
            raise self._refusal()

    def release(self) -> None:
        """Give the claim up."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._connection is not None:
            with suppress(SQLAlchemyError):  # a connection that is gone holds nothing
                self._connection.execute(_GIVE_UP, {"key": SERVICE_LOCK})
        self._forget_connection()

    def _try(self) -> bool:
        url = self._database.engine.url
        if not self._database.is_sqlite:
            return self._try_server()
        if url.database in (None, "", ":memory:"):
            return True  # nobody else can open it
        return self._try_file(Path(f"{url.database}.service"))

    def _try_file(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StorageError(
                f"{path}: the file that marks a running service cannot be opened ({error.strerror}); check that the "
                "folder belongs to you"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._file = descriptor
        return True

    def _try_server(self) -> bool:
        connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            taken = bool(connection.execute(_TRY, {"key": SERVICE_LOCK}).scalar_one())
        except SQLAlchemyError:
            connection.invalidate()
            raise
        if taken:
            self._connection = connection
        else:
            connection.close()
        return taken

    def _forget_connection(self) -> None:
        if self._connection is not None:
            # Not back into the pool: the lock must go with the connection.
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _refusal(self) -> StorageError:
        return StorageError(
            f"{self._database.shown_url}: another running service uses this database; stop that process first, two "
            "of them would drive the same jobs"
        )
