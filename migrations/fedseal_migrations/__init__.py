"""Schema migrations: services check the schema when they start, and only `fedseal db upgrade` changes it.

Rules kept here:

1. A service never runs on a schema it does not know (`require_current`).
2. An upgrade is one transaction by one writer: it happens as a whole or not at all, also when two processes try.
3. A database that holds somebody else's tables is left alone.

Alembic's own files are in the folder ``alembic`` beside this module, which nobody imports.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from fedseal_governance.database import storage_errors, take_writer_lock
from fedseal_governance.errors import StorageError

__all__ = ["UnknownSchema", "current_revision", "downgrade", "needed_revision", "require_current", "upgrade"]

_LOCATION = "fedseal_migrations:alembic"


class UnknownSchema(StorageError):
    """The database's tables are not the ones this version of fedseal works with."""


def upgrade(engine: Engine, *, record_key: bytes | None = None) -> None:
    """Bring the database to the schema of this version; an up-to-date one is left as it is.

    Args:
        engine: the database.
        record_key: a node's key for digests of pseudonyms; needed where an older schema holds withdrawals.

    Raises:
        UnknownSchema: it was written by a newer version, or holds tables that are not fedseal's.
        StorageError: the database cannot be used.
    """
    with _locked(engine, "db.upgrade") as connection:
        _require_ours(connection)
        config = _config(connection)
        config.attributes["record_key"] = record_key
        command.upgrade(config, "head")


def downgrade(engine: Engine, revision: str = "base") -> None:
    """Go back to an earlier revision, or to an empty database. Destroys what the later ones hold.

    Raises:
        UnknownSchema: it was written by a newer version, or holds tables that are not fedseal's.
        StorageError: the database cannot be used.
    """
    with _locked(engine, "db.downgrade") as connection:
        _require_ours(connection)
        command.downgrade(_config(connection), revision)


def require_current(engine: Engine) -> None:
    """Refuse a database whose schema is not exactly this version's.

    Raises:
        UnknownSchema: with the remedy.
        StorageError: the database cannot be read.
    """
    have, need = current_revision(engine), needed_revision()
    if have == need:
        return
    if have is None:
        raise UnknownSchema("the database has no fedseal tables yet; run `fedseal db upgrade`")
    if not _is_known(have):
        raise _too_new(have)
    raise UnknownSchema(
        f"the database has the schema {have}, but this version of fedseal works with {need}; "
        "make a backup, then run `fedseal db upgrade`"
    )


def current_revision(engine: Engine) -> str | None:
    """The schema the database has, or None when it has none.

    Raises:
        StorageError: the database cannot be read.
    """
    with storage_errors("db.status", engine), engine.connect() as connection:
        return _revision(connection)


def needed_revision() -> str:
    """The schema this version works with."""
    head = _scripts().get_current_head()
    if head is None:
        raise UnknownSchema("this installation contains no migrations; install fedseal again")
    return head


@contextmanager
def _locked(engine: Engine, name: str) -> Iterator[Connection]:
    with storage_errors(name, engine), engine.begin() as connection:
        take_writer_lock(connection)
        yield connection


def _require_ours(connection: Connection) -> None:
    have = _revision(connection)
    if have is None:
        foreign = sorted(set(inspect(connection).get_table_names()) - {"alembic_version"})
        if foreign:
            raise UnknownSchema(
                f"the database holds tables that fedseal did not make ({', '.join(foreign[:3])}); "
                "use an empty database of its own, then run `fedseal db upgrade`"
            )
    elif not _is_known(have):
        raise _too_new(have)


def _too_new(revision: str) -> UnknownSchema:
    return UnknownSchema(
        f"the database has the schema {revision[:40]}, which this version of fedseal does not know; "
        "install the newer version that wrote it, then run `fedseal db upgrade`"
    )


def _revision(connection: Connection) -> str | None:
    heads = MigrationContext.configure(connection).get_current_heads()
    return ", ".join(sorted(heads)) or None


def _is_known(revision: str) -> bool:
    return revision in {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(None))


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", _LOCATION)
    if connection is not None:
        config.attributes["connection"] = connection
    return config
