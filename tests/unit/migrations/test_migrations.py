"""Migrations up and down on both databases, agreement with the models, and refusal of unknown schemas."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

import fedseal_migrations
from fedseal_governance.database import Database
from fedseal_governance.errors import StorageError
from fedseal_governance.tables import metadata
from fedseal_migrations import (
    UnknownSchema,
    current_revision,
    downgrade,
    needed_revision,
    require_current,
    upgrade,
)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    database = Database(database_url, pause=lambda _seconds: None)
    yield database.engine
    database.close()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_up_down_and_up_again(engine: Engine) -> None:
    with pytest.raises(UnknownSchema, match="has no fedseal tables yet; run `fedseal db upgrade`"):
        require_current(engine)
    upgrade(engine)
    require_current(engine)
    assert current_revision(engine) == needed_revision()
    assert tables(engine) == {*metadata.tables, "alembic_version"}
    upgrade(engine)
    downgrade(engine)
    assert tables(engine) == {"alembic_version"}
    assert current_revision(engine) is None
    upgrade(engine)
    require_current(engine)


def test_models_and_migrations_agree(engine: Engine) -> None:
    upgrade(engine)
    options: dict[str, Any] = {"compare_type": True, "compare_server_default": True}
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


def test_migrated_tables_are_exactly_the_models_tables(engine: Engine) -> None:
    """Also what Alembic does not compare: checks, names of keys, partial indexes, storage options."""
    upgrade(engine)
    migrated = description(engine)
    downgrade(engine)
    metadata.create_all(engine)
    assert migrated == description(engine)


def description(engine: Engine) -> dict[str, object]:
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            found = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
            # Alembic writes a table's constraints in another order.
            return {
                name: sorted(part.strip(" )") for part in " ".join(sql.split()).split(", "))
                for name, sql in found
                if "alembic_version" not in name
            }
    inspector = inspect(engine)
    return {
        name: (
            [{**column, "type": str(column["type"])} for column in inspector.get_columns(name)],
            inspector.get_pk_constraint(name),
            sorted(map(str, inspector.get_foreign_keys(name))),
            sorted(map(str, inspector.get_unique_constraints(name))),
            sorted(map(str, inspector.get_check_constraints(name))),
            sorted(map(str, inspector.get_indexes(name))),
        )
        for name in metadata.tables
    }


def test_older_and_newer_schemas_are_refused(engine: Engine) -> None:
    upgrade(engine)
    execute(engine, "UPDATE alembic_version SET version_num = '9999'")
    for action in (require_current, upgrade, downgrade):
        with pytest.raises(UnknownSchema, match="the schema 9999, which this version of fedseal does not know"):
            action(engine)


def test_an_older_schema_names_the_remedy(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(engine)
    monkeypatch.setattr(fedseal_migrations, "needed_revision", lambda: "9998")
    with pytest.raises(UnknownSchema, match="works with 9998; make a backup, then run `fedseal db upgrade`"):
        require_current(engine)


def test_somebody_elses_database_is_left_alone(engine: Engine) -> None:
    execute(engine, "CREATE TABLE patients (name VARCHAR(10))")
    with pytest.raises(UnknownSchema, match="tables that fedseal did not make \\(patients\\)"):
        upgrade(engine)
    assert tables(engine) == {"patients"}


def test_failed_upgrade_leaves_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    create = op.create_table

    def break_late(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "round_messages":
            raise LookupError(name)
        return create(name, *args, **kwargs)

    monkeypatch.setattr(op, "create_table", break_late)
    with pytest.raises(LookupError):
        upgrade(engine)
    assert tables(engine) - {"alembic_version"} == set()
    monkeypatch.undo()
    upgrade(engine)
    require_current(engine)


def test_two_upgrades_at_once(database_url: str) -> None:
    errors: list[Exception] = []

    def work() -> None:
        database = Database(database_url)
        try:
            upgrade(database.engine)
        except StorageError as error:
            errors.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    require_current(Database(database_url).engine)
