"""The one way into a party's database: named, retry-safe transactions on SQLite or PostgreSQL.

Rules kept here:

1. One writer at a time. SQLite begins writes with BEGIN IMMEDIATE; on PostgreSQL a write first takes an
   advisory lock. Both databases therefore behave alike: a write sees every write committed before it, and a
   log that counts without gaps needs no further lock.
2. A write happens once. Work is repeated after a lock conflict, a serialisation failure or a lost connection;
   when the connection is lost during COMMIT, PostgreSQL is asked whether the transaction took effect
   (``pg_xact_status``) before anything is repeated.
3. Evidence survives power loss: SQLite runs in WAL mode with ``synchronous=FULL``, in a private file (0600).
4. No error, log line or ``repr`` contains the URL's password or a bound parameter.

The work function must have no effect outside its session, because it may run more than once.
Left to others: creating and checking the schema (``fedseal_migrations``).

Reference: SQLAlchemy 2.1, "SQLite / Transactions with SAVEPOINT"; PostgreSQL 15, sections 9.27.8 and 13.3.5.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from fedseal_governance._faults import Fault, classify, sentence_for
from fedseal_governance.columns import Base, UtcDateTime, Word
from fedseal_governance.errors import StorageError

__all__ = ["Base", "Database", "UtcDateTime", "Word", "storage_errors", "take_writer_lock"]

T = TypeVar("T")

ATTEMPTS = 6
"""How often a transaction is tried in all; with the pauses below about six seconds beyond lock waits."""

FIRST_PAUSE_SECONDS = 0.1
"""Pause before the second attempt; it doubles each time."""

LOCK_WAIT_SECONDS = 20
"""How long one attempt waits for another writer; an import of a million consents holds the lock for less."""

WRITER_LOCK = 0x66656473_65616C31
"""Key of the PostgreSQL advisory lock ("fedseal1"): one writer for each database."""

_READ_ONLY = "fedseal_read_only"


class Database:
    """A party's database.

    Args:
        url: ``sqlite:///path/to/file.db`` or ``postgresql+pg8000://user:password@host/name``.
        pause: called with a number of seconds between attempts; tests pass their own.

    Raises:
        StorageError: the URL is malformed or names another kind of database, or the file cannot be opened.
    """

    def __init__(self, url: str, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._url = _parse(url)
        self._pause = pause
        self.shown_url = _redacted(self._url)
        self.engine = _engine(self._url, self.shown_url)
        self._reader = self.engine.execution_options(**{_READ_ONLY: True})

    def __repr__(self) -> str:
        return f"Database({self.shown_url})"

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self._url.get_backend_name() == "sqlite"

    def run(self, name: str, work: Callable[[Session], T]) -> T:
        """Run ``work`` in one write transaction and commit it, repeating it when the database asks for that.

        Args:
            name: what the transaction does, such as ``job.submit``; it appears in errors.
            work: changes rows through the session it is given, and nothing else.

        Returns:
            What ``work`` returned in the attempt that was committed.

        Raises:
            StorageError: the database cannot do it; nothing was changed.
        """
        return self._repeat(name, lambda: self._write_once(name, work))

    def read(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` on one consistent snapshot; an attempt to write in it fails.

        Raises:
            StorageError: the database cannot be read.
        """
        return self._repeat("read", lambda: self._read_once(work))

    @contextmanager
    def transaction(self, name: str) -> Iterator[Session]:
        """One write transaction that is not repeated; for interactive code that cannot run twice.

        Raises:
            StorageError: the database cannot do it; nothing was changed.
        """
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                take_writer_lock(session.connection())
                yield session
                session.commit()
        except SQLAlchemyError as error:
            raise StorageError(sentence_for(error, name, self.shown_url)) from None

    def close(self) -> None:
        """Return all connections."""
        self.engine.dispose()

    def _repeat(self, name: str, attempt: Callable[[], T]) -> T:
        for number in range(ATTEMPTS):
            try:
                return attempt()
            except SQLAlchemyError as error:
                # `from None`: PostgreSQL puts the conflicting row, a pseudonym perhaps, into the cause.
                if not classify(error).passes or number == ATTEMPTS - 1:
                    raise StorageError(sentence_for(error, name, self.shown_url)) from None
            self._pause(FIRST_PAUSE_SECONDS * 2**number)
        raise StorageError(f"{self.shown_url}: no attempt was made to run {name!r}")

    def _write_once(self, name: str, work: Callable[[Session], T]) -> T:
        with Session(self.engine, expire_on_commit=False) as session:
            transaction_id = take_writer_lock(session.connection())
            result = work(session)
            session.flush()
            try:
                session.commit()
            except SQLAlchemyError as error:
                if transaction_id is None or classify(error) is not Fault.CONNECTION_LOST:
                    raise
                if not self._took_effect(name, transaction_id):
                    raise
            return result

    def _read_once(self, work: Callable[[Session], T]) -> T:
        with Session(self._reader, expire_on_commit=False) as session:
            return work(session)

    def _took_effect(self, name: str, transaction_id: str) -> bool:
        """Ask PostgreSQL for the fate of a transaction whose COMMIT was not answered."""
        status = self._repeat(f"{name} (outcome)", lambda: self._status(transaction_id))
        if status == "committed":
            return True
        if status == "aborted":
            return False
        message = (
            f"{self.shown_url}: the connection was lost while '{name}' was being committed and the server "
            "does not know its outcome; check the audit log for the change before repeating the command"
        )
        raise StorageError(message)

    def _status(self, transaction_id: str) -> str | None:
        query = text("SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))")
        for number in range(ATTEMPTS):
            status = self._read_once(lambda session: session.execute(query, {"id": transaction_id}).scalar())
            if status != "in progress":
                break
            self._pause(FIRST_PAUSE_SECONDS * 2**number)
        return None if status is None else str(status)


@contextmanager
def storage_errors(name: str, engine: Engine) -> Iterator[None]:
    """Turn the library's errors into sentences, for code that works on an engine itself.

    Raises:
        StorageError: whatever the database refused.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise StorageError(sentence_for(error, name, _redacted(engine.url))) from None


def take_writer_lock(connection: Connection) -> str | None:
    """Make this transaction the only writing one; on PostgreSQL return its identifier.

    SQLite has done so when the transaction began.
    """
    if connection.dialect.name == "sqlite":
        return None
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER_LOCK})
    return str(connection.execute(text("SELECT CAST(pg_current_xact_id() AS text)")).scalar_one())


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text is not repeated: a malformed URL may still hold a password.
        raise StorageError(
            "the database URL cannot be read; write sqlite:///folder/file.db or "
            "postgresql+pg8000://user:password@host/name"
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+pg8000")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+pg8000"):
        raise StorageError(
            f"the database URL begins with '{parsed.drivername}', which is not supported; "
            "use sqlite:///folder/file.db or postgresql+pg8000://user:password@host/name"
        )
    return parsed


def _redacted(url: URL) -> str:
    """The URL without password and without query, where drivers also accept secrets."""
    return url.set(query={}).render_as_string(hide_password=True)


def _engine(url: URL, shown_url: str) -> Engine:
    if url.get_backend_name() != "sqlite":
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True)
        event.listen(engine, "begin", _begin_postgresql)
        return engine
    if url.database in (None, "", ":memory:"):
        # Tests only: every session shares one connection, so one thread at a time.
        engine = create_engine(
            url, hide_parameters=True, poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
    else:
        _prepare_file(Path(str(url.database)), shown_url)
        engine = create_engine(url, hide_parameters=True)
    event.listen(engine, "connect", _open_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_file(path: Path, shown_url: str) -> None:
    """Create the file privately before SQLite would create it under the process's umask.

    SQLite gives its -wal and -shm files the mode of the database file.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageError(
            f"{shown_url}: the database file cannot be opened ({error.strerror}); "
            "check that its folder exists and belongs to you"
        ) from None


def _open_sqlite(connection: Any, _record: object) -> None:
    # SQLAlchemy, not the driver, begins transactions (see _begin_sqlite).
    connection.isolation_level = None
    cursor = connection.cursor()
    # First, so that switching the journal mode already waits for another process.
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = bool(connection.get_execution_options().get(_READ_ONLY))
    if connection.info.get(_READ_ONLY) is not read_only:  # kept for as long as the pooled connection lives
        connection.exec_driver_sql(f"PRAGMA query_only = {int(read_only)}")
        connection.info[_READ_ONLY] = read_only
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_READ_ONLY):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
