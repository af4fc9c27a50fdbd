"""Migrations up and down on both databases, agreement with the models, and refusal of unknown schemas."""

import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.orm import Session

import fedseal_migrations
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.consent import RecordKey, Register, history, root_of, status
from fedseal_governance.consent.model import content_of
from fedseal_governance.database import Database
from fedseal_governance.errors import StorageError
from fedseal_governance.snapshots import leaves_in
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


def test_withdrawn_consents_and_lists_of_records_become_digests(engine: Engine) -> None:
    """From the first schema, with the key of the node: no pseudonym of a withdrawn person is left."""
    upgrade(engine)
    downgrade(engine, "0001")
    day = "'2026-01-05'"
    for number, withdrawn in ((1, "NULL"), (2, "'2026-05-04 09:30:00+00:00'")):
        execute(
            engine,
            "INSERT INTO consents (dataset, pseudonym, purpose, given_on, valid_until, form_version, recorded_by, "  # noqa: S608 - constants
            f"recorded_at, withdrawn_at, repetition) VALUES ('heart', 'P-{number}', 'DUO:0000006', {day}, "
            f"'9999-12-31', 'v2', 'lee', '2026-02-01 00:00:00+00:00', {withdrawn}, 0)",
        )
    execute(
        engine,
        "INSERT INTO consent_withdrawals (dataset, pseudonym, withdrawn_at, recorded_by) "
        "VALUES ('heart', 'P-2', '2026-05-04 09:30:00+00:00', 'lee')",
    )
    names = [f"P-{number}" for number in range(1, 11)]
    key = RecordKey(SecretBytes(bytes(range(32))))
    digest = root_of(key.leaves(names))
    with engine.begin() as connection:
        insert = text("INSERT INTO record_snapshots (digest, pseudonyms) VALUES (:digest, :content)")
        connection.execute(insert, {"digest": digest, "content": zlib.compress(json.dumps(names).encode())})
    with pytest.raises(StorageError, match="run `fedseal db upgrade` with the node's folder"):
        upgrade(engine)
    assert current_revision(engine) == "0001"

    upgrade(engine, record_key=key.reveal())
    register = Register(dataset="heart", key=key)
    now = datetime(2026, 6, 1, tzinfo=UTC)
    with Session(engine) as session:
        (stands,) = status(session, register, "P-1", now=now)
        (gone,) = status(session, register, "P-2", now=now)
        assert stands.consent is not None
        assert (stands.state, stands.consent.first_day, gone.state) == ("in force", date(2026, 1, 5), "withdrawn")
        assert gone.digest == key.seal(content_of(replace(stands.consent, pseudonym="P-2"), "heart"))
        assert [event.what for event in history(session, register, "P-2")] == ["given", "withdrawn"]
        assert leaves_in(session, digest) == key.leaves(names)
        everything = repr([session.execute(table.select()).all() for table in metadata.sorted_tables])
    assert "P-1" in everything
    assert "P-2" not in everything
    downgrade(engine, "0001")
    upgrade(engine)
