"""Transactions on both databases: one writer, retries, outcomes after a lost connection, sentences."""

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from fedseal_governance.database import Database, UtcDateTime, Word
from fedseal_governance.errors import StorageError


class Mood(StrEnum):
    CALM = "calm"
    CROSS = "cross"


class OwnBase(DeclarativeBase):
    pass


class Thing(OwnBase):
    __tablename__ = "things"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    mood: Mapped[Mood] = mapped_column(Word(Mood))
    at: Mapped[datetime] = mapped_column(UtcDateTime())


NOON = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def things(database_url: str) -> Database:
    database = Database(database_url, pause=lambda _seconds: None)
    OwnBase.metadata.create_all(database.engine)
    return database


def add(name: str, at: datetime = NOON) -> Callable[[Session], None]:
    return lambda session: session.add(Thing(name=name, mood=Mood.CALM, at=at))


def names(database: Database) -> list[str]:
    return database.read(lambda session: list(session.scalars(text("SELECT name FROM things ORDER BY name"))))


def test_write_is_committed_and_read_back_aware_in_utc(things: Database) -> None:
    things.run("add", add("a", NOON.astimezone(timezone(timedelta(hours=5)))))
    row = things.read(lambda session: session.get(Thing, "a"))
    assert row is not None
    assert (row.at, row.at.tzinfo, row.mood) == (NOON, UTC, Mood.CALM)


def test_naive_time_is_refused(things: Database) -> None:
    with pytest.raises(StorageError):
        things.run("add", add("a", datetime(2026, 5, 4)))  # noqa: DTZ001
    assert names(things) == []


def test_unknown_word_is_an_error_and_no_default(things: Database) -> None:
    things.run("add", add("a"))
    things.run("edit", lambda session: session.execute(text("UPDATE things SET mood = 'merry'")))
    with pytest.raises(StorageError, match="'merry' where a Mood is expected"):
        things.read(lambda session: session.get(Thing, "a"))


def test_exception_in_work_rolls_back(things: Database) -> None:
    def work(session: Session) -> None:
        add("a")(session)
        session.flush()
        raise LookupError

    with pytest.raises(LookupError):
        things.run("add", work)
    assert names(things) == []


def test_read_cannot_write(things: Database) -> None:
    with pytest.raises(StorageError, match="read-only"):
        things.read(lambda session: session.execute(text("DELETE FROM things")))


def test_constraint_error_names_transaction_but_no_values(things: Database) -> None:
    things.run("add", add("secret-name"))
    with pytest.raises(StorageError) as caught:
        things.run("thing.add", add("secret-name"))
    assert "'thing.add'" in str(caught.value)
    assert "secret-name" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_table_names_the_upgrade(things: Database) -> None:
    with pytest.raises(StorageError, match="fedseal db upgrade"):
        things.run("x", lambda session: session.execute(text("DELETE FROM elsewhere")))


def test_transaction_context_commits_once(things: Database) -> None:
    with things.transaction("add") as session:
        add("a")(session)
    assert names(things) == ["a"]


def test_two_writers_never_interleave(things: Database) -> None:
    """Both read the largest name and add one: without a writer lock they would collide."""

    def work(session: Session) -> None:
        count = session.scalar(text("SELECT count(*) FROM things"))
        add(f"{count:04d}")(session)

    def many() -> None:
        for _ in range(15):
            things.run("count", work)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(things) == [f"{number:04d}" for number in range(60)]


def test_reader_sees_one_snapshot_beside_a_writer(things: Database) -> None:
    things.run("add", add("a"))

    def work(session: Session) -> tuple[int, int]:
        before = session.scalar(text("SELECT count(*) FROM things"))
        things.run("add", add("b"))
        return int(before or 0), int(session.scalar(text("SELECT count(*) FROM things")) or 0)

    assert things.read(work) == (1, 1)
    assert names(things) == ["a", "b"]


def test_work_is_repeated_after_a_conflict(things: Database) -> None:
    tried: list[int] = []

    def work(session: Session) -> None:
        tried.append(1)
        add("a")(session)
        session.flush()
        if len(tried) < 3:
            session.execute(text("SELECT 1"))
            raise conflict(things)

    things.run("add", work)
    assert len(tried) == 3
    assert names(things) == ["a"]


def test_repeating_is_bounded(things: Database) -> None:
    tried: list[int] = []

    def work(_session: Session) -> None:
        tried.append(1)
        raise conflict(things)

    with pytest.raises(StorageError, match="'add'"):
        things.run("add", work)
    assert 1 < len(tried) <= 10


def conflict(database: Database) -> Exception:
    """The library's error for a conflict that passes, as the driver would raise it."""
    from sqlalchemy.exc import OperationalError

    if database.is_sqlite:
        cause: Exception = sqlite3.OperationalError("database is locked")
        cause.sqlite_errorcode = sqlite3.SQLITE_BUSY  # type: ignore[attr-defined]  # the driver sets it in C
    else:
        cause = Exception({"C": "40001", "M": "could not serialize access"})
    return OperationalError("statement", {}, cause)


@pytest.mark.postgresql
def test_lost_connection_in_the_middle_is_repeated(postgresql_url: str) -> None:
    database = Database(postgresql_url, pause=lambda _seconds: None)
    OwnBase.metadata.create_all(database.engine)
    tried: list[int] = []

    def work(session: Session) -> None:
        tried.append(1)
        add("a")(session)
        session.flush()
        if len(tried) == 1:
            own = session.scalar(text("SELECT pg_backend_pid()"))
            with database.engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
            session.execute(text("SELECT 1"))

    database.run("add", work)
    assert len(tried) == 2
    assert names(database) == ["a"]


class ResetStream:
    """What the driver reads from, once the peer has reset the connection."""

    def read(self, _size: int) -> bytes:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    def __init__(self, stream: Any) -> None:
        self.write, self.flush, self.close = stream.write, stream.flush, stream.close


@pytest.mark.postgresql
def test_a_reset_connection_is_a_lost_one(postgresql_url: str) -> None:
    """In a transaction and when a pooled connection is tried; the driver passes the system's error on."""
    database = Database(postgresql_url, pause=lambda _seconds: None)
    OwnBase.metadata.create_all(database.engine)
    reset: list[int] = []

    def work(session: Session) -> None:
        if len(reset) < 1:
            reset.append(1)
            driver = session.connection().connection.driver_connection
            assert driver is not None
            driver._sock = ResetStream(driver._sock)
        add("a")(session)
        session.flush()

    database.run("add", work)
    assert names(database) == ["a"]
    pooled = database.engine.raw_connection()
    driver = pooled.driver_connection
    assert driver is not None
    driver._sock = ResetStream(driver._sock)
    pooled.close()
    assert names(database) == ["a"]


def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Each of them switches the journal mode; none is turned away."""
    for number in range(10):
        ready = threading.Barrier(6)
        failed: list[BaseException] = []

        def work(path: Path, ready: threading.Barrier = ready, failed: list[BaseException] = failed) -> None:
            database = Database(f"sqlite:///{path}", pause=lambda _seconds: None)
            ready.wait()
            try:
                with database.engine.begin() as connection:
                    assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
            except Exception as error:  # noqa: BLE001 - any of them fails the test
                failed.append(error)
            finally:
                database.close()

        threads = [threading.Thread(target=work, args=(tmp_path / f"{number}.db",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []


@pytest.mark.postgresql
@pytest.mark.parametrize("took_effect", [True, False])
def test_connection_lost_during_commit_never_repeats_a_committed_change(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, took_effect: bool
) -> None:
    """The server is asked for the fate of the transaction; the work runs again only if it was undone."""
    database = Database(postgresql_url, pause=lambda _seconds: None)
    OwnBase.metadata.create_all(database.engine)
    dialect = database.engine.dialect
    commit = dialect.do_commit
    lost: list[int] = []

    def break_once(connection: Any) -> None:
        if lost:
            commit(connection)
            return
        lost.append(1)
        if took_effect:
            commit(connection)
        connection._usock.close()
        connection._sock.close()
        raise connection.InterfaceError("network error")

    tried: list[int] = []

    def work(session: Session) -> None:
        tried.append(1)
        session.add(Thing(name=f"run-{len(tried)}", mood=Mood.CALM, at=NOON))

    monkeypatch.setattr(dialect, "do_commit", break_once)
    database.run("add", work)
    assert lost == [1]
    assert names(database) == (["run-1"] if took_effect else ["run-2"])


def test_sqlite_file_is_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    before = os.umask(0)
    try:
        database = Database(f"sqlite:///{path}")
        OwnBase.metadata.create_all(database.engine)
        database.run("add", add("a"))
        files = [file for file in tmp_path.iterdir() if file.name.startswith("node.db")]
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(before)
    assert "node.db-wal" in modes
    assert set(modes.values()) == {0o600}
    with database.engine.connect() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert settings == ["wal", 2, 1]


def test_full_disk_is_a_sentence_and_harms_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'small.db'}")
    OwnBase.metadata.create_all(database.engine)

    @event.listens_for(database.engine, "begin")
    def limit(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 6")

    def fill(session: Session) -> None:
        for number in range(1000):
            add(f"thing-{number}")(session)

    with pytest.raises(StorageError, match="no space left on its disk during 'fill'; free some space"):
        database.run("fill", fill)
    assert names(database) == []
    database.run("add", add("one"))
    assert names(database) == ["one"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"this is no database at all, but some text" * 50, "damaged or is no fedseal database")],
)
def test_foreign_file_is_a_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=words):
        Database(f"sqlite:///{path}").read(lambda session: session.execute(text("SELECT 1 FROM things")))
    assert path.read_bytes() == content


def test_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="check that its folder exists"):
        Database(f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}")


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/x", "postgresql://u:hunter2@h:port/x", "hunter2", ""])
def test_bad_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)


def test_password_is_never_shown() -> None:
    database = Database("postgresql://u:hunter2@localhost:1/x?password=hunter2", pause=lambda _seconds: None)
    with pytest.raises(StorageError) as caught:
        database.read(lambda session: session.execute(text("SELECT 1")))
    shown = f"{database!r} {database.shown_url} {caught.value}"
    assert "hunter2" not in shown
    assert "***" in shown
    assert "lost the connection" in str(caught.value)
