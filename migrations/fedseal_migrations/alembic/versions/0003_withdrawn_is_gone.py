"""What is withdrawn is gone: tombstones, sets of records without pseudonyms, baselines of datasets.

Digests of pseudonyms are made with the node's record key, which is a file in its folder. It is needed only where there
is something to turn into digests; `fedseal db upgrade` hands it in as ``record_key``.

Revision: 0003
Revises: 0002
"""

import hmac
import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from fedseal_governance.errors import StorageError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_LEAF = 32
_BLOCK = 1 << 16
_BATCH = 1_000
_IDENTIFIER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_imports()
    _create_tombstones()
    _create_record_keys()
    _create_record_leaves()
    _create_baselines()
    _bury_withdrawn()
    _rebuild_consents()
    _rebuild_withdrawals()
    _turn_snapshots_into_bits()


def downgrade() -> None:
    """Keeps what is in force; who withdrew and which records were used is lost, because only digests are left."""
    op.execute("UPDATE node_attempts SET snapshot = NULL")
    op.execute("DELETE FROM record_snapshots")
    op.execute("ALTER TABLE record_snapshots RENAME COLUMN members TO pseudonyms")
    _comment("record_snapshots", "pseudonyms", "compressed JSON list, sorted")
    op.drop_table("consent_withdrawals")
    _create_old_withdrawals()
    _rebuild_old_consents()
    for table in ("dataset_baselines", "record_leaves", "record_keys", "consent_tombstones", "consent_imports"):
        op.drop_table(table)


def _create_imports() -> None:
    op.create_table(
        "consent_imports",
        sa.Column("id", _IDENTIFIER, nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of the file"),
        sa.Column("form", sa.String(length=10), nullable=False, comment="csv or fhir"),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("imported_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_imports")),
        sa.UniqueConstraint("dataset", "digest", name="uq_consent_imports_file"),
    )


def _create_tombstones() -> None:
    op.create_table(
        "consent_tombstones",
        sa.Column("id", _IDENTIFIER, nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False, comment=_PERSON),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column(
            "content", sa.String(length=64), nullable=False, comment="digest of the consent under the node's key"
        ),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_tombstones")),
    )
    op.create_index("ix_consent_tombstones_person", "consent_tombstones", ["dataset", "person"], unique=False)


_PERSON = "digest of the pseudonym under the node's key"


def _create_record_keys() -> None:
    op.create_table(
        "record_keys",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_record_keys")),
    )


def _create_record_leaves() -> None:
    op.create_table(
        "record_leaves",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "leaves", sa.LargeBinary(), nullable=False, comment="32 bytes each; all blocks but the last are full"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_record_leaves")),
    )


def _create_baselines() -> None:
    op.create_table(
        "dataset_baselines",
        sa.Column("dataset", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "rows",
            sa.LargeBinary(),
            nullable=False,
            comment="compressed: 8 bytes of the record id's digest, 8 of the row's",
        ),
        sa.Column("columns", sa.Text(), nullable=False, comment="JSON: each column in words, with disclosure control"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"], name=op.f("fk_dataset_baselines_dataset_datasets")),
        sa.PrimaryKeyConstraint("dataset", name=op.f("pk_dataset_baselines")),
    )


def _bury_withdrawn() -> None:
    tombstones = sa.table(
        "consent_tombstones",
        *map(sa.column, ("dataset", "person", "purpose", "content", "recorded_at", "withdrawn_at")),
    )
    query = "SELECT * FROM consents WHERE withdrawn_at IS NOT NULL ORDER BY id"
    for rows in _batches(query):
        op.get_bind().execute(
            tombstones.insert(),
            [
                {
                    "dataset": row["dataset"],
                    "person": _leaf(row["pseudonym"]).hex(),
                    "purpose": row["purpose"],
                    "content": _seal(row),
                    "recorded_at": row["recorded_at"],
                    "withdrawn_at": row["withdrawn_at"],
                }
                for row in rows
            ],
        )


def _seal(row: Mapping[str, Any]) -> str:
    names = ("dataset", "form_version", "given_on", "pseudonym", "purpose", "recorded_by", "valid_until")
    content = {name: str(row[name]) for name in names} | {"valid_from": str(row["given_on"])}
    # Strings only, with sorted keys: the same bytes as RFC 8785.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hmac.digest(_key(), b"\0consent\0" + text.encode(), "sha256").hex()


def _rebuild_consents() -> None:
    op.execute("CREATE TABLE consents_before AS SELECT * FROM consents WHERE withdrawn_at IS NULL")
    op.drop_table("consents")
    op.create_table(
        "consents",
        sa.Column("id", _IDENTIFIER, nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("pseudonym", sa.String(length=128), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("given_on", sa.Date(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("form_version", sa.String(length=200), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", _IDENTIFIER, nullable=True, comment="the file it came from, if any"),
        sa.ForeignKeyConstraint(["source"], ["consent_imports.id"], name="fk_consents_source"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
        sa.UniqueConstraint(
            "dataset",
            "pseudonym",
            "purpose",
            "given_on",
            "valid_from",
            "valid_until",
            "form_version",
            name="uq_consents_once",
        ),
    )
    op.execute(
        "INSERT INTO consents (id, dataset, pseudonym, purpose, given_on, valid_from, valid_until, form_version, "
        "recorded_by, recorded_at) SELECT id, dataset, pseudonym, purpose, given_on, given_on, valid_until, "
        "form_version, recorded_by, recorded_at FROM consents_before"
    )
    _finish_copy("consents")
    op.create_index(
        "ix_consents_in_force",
        "consents",
        ["dataset", "purpose", "valid_until", "valid_from", "pseudonym"],
        unique=False,
    )


def _rebuild_old_consents() -> None:
    op.execute("CREATE TABLE consents_before AS SELECT * FROM consents")
    op.drop_table("consents")
    op.create_table(
        "consents",
        sa.Column("id", _IDENTIFIER, nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("pseudonym", sa.String(length=128), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("given_on", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("form_version", sa.String(length=64), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "repetition", sa.Integer(), nullable=False, comment="counts equal consents given again after a withdrawal"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
        sa.UniqueConstraint(
            "dataset",
            "pseudonym",
            "purpose",
            "given_on",
            "valid_until",
            "form_version",
            "repetition",
            name="uq_consents_once",
        ),
    )
    # Consents that differ in their first day only stay apart by their number.
    op.execute(
        "INSERT INTO consents (id, dataset, pseudonym, purpose, given_on, valid_until, form_version, recorded_by, "
        "recorded_at, repetition) SELECT id, dataset, pseudonym, purpose, valid_from, valid_until, "
        "substr(form_version, 1, 64), recorded_by, recorded_at, row_number() OVER (ORDER BY id) FROM consents_before"
    )
    _finish_copy("consents")
    op.create_index(
        "ix_consents_in_force",
        "consents",
        ["dataset", "purpose", "withdrawn_at", "valid_until", "given_on", "pseudonym"],
        unique=False,
    )


def _finish_copy(table: str) -> None:
    op.drop_table(f"{table}_before")
    if op.get_bind().dialect.name == "postgresql":
        sequence = f"pg_get_serial_sequence('{table}', 'id')"
        op.execute(f"SELECT setval({sequence}, COALESCE(MAX(id), 0) + 1, false) FROM {table}")  # noqa: S608 - a constant


def _rebuild_withdrawals() -> None:
    found = [row for rows in _batches("SELECT * FROM consent_withdrawals ORDER BY id") for row in rows]
    op.drop_table("consent_withdrawals")
    made = op.create_table(
        "consent_withdrawals",
        sa.Column("id", _IDENTIFIER, nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False, comment=_PERSON),
        sa.Column("purpose", sa.String(length=40), nullable=True, comment="none: every purpose"),
        sa.Column("until", sa.Date(), nullable=False, comment="last day on which an ended consent can have been given"),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_withdrawals")),
    )
    op.create_index("ix_consent_withdrawals_person", "consent_withdrawals", ["dataset", "person"], unique=False)
    insert = sa.text(
        f"INSERT INTO {made.name} (dataset, person, purpose, until, withdrawn_at, recorded_by) "  # noqa: S608 - a constant
        "VALUES (:dataset, :person, :purpose, :until, :withdrawn_at, :recorded_by)"
    )
    for row in found:
        values = {name: row[name] for name in ("dataset", "purpose", "withdrawn_at", "recorded_by")}
        moment = row["withdrawn_at"]
        # SQLite answers a plain query with its text, PostgreSQL with a time in the session's zone.
        until = moment.astimezone(UTC).date() if isinstance(moment, datetime) else str(moment)[:10]
        op.get_bind().execute(insert, values | {"person": _leaf(row["pseudonym"]).hex(), "until": until})


def _create_old_withdrawals() -> None:
    op.create_table(
        "consent_withdrawals",
        sa.Column("id", _IDENTIFIER, nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("pseudonym", sa.String(length=128), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=True, comment="none: every purpose"),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_withdrawals")),
    )
    op.create_index("ix_consent_withdrawals_person", "consent_withdrawals", ["dataset", "pseudonym"], unique=False)


def _turn_snapshots_into_bits() -> None:
    op.execute("ALTER TABLE record_snapshots RENAME COLUMN pseudonyms TO members")
    _comment("record_snapshots", "members", "compressed bits, one for each place in the list")
    bind = op.get_bind()
    places: dict[bytes, int] = {}
    digests = [row[0] for row in bind.execute(sa.text("SELECT digest FROM record_snapshots ORDER BY digest"))]
    for digest in digests:
        query = sa.text("SELECT members FROM record_snapshots WHERE digest = :digest")
        stored = bytes(bind.execute(query, {"digest": digest}).scalar_one())
        leaves = [_leaf(name) for name in json.loads(zlib.decompress(stored))]
        chosen = [places.setdefault(leaf, len(places)) for leaf in leaves]
        bits = bytearray(len(places) // 8 + 1)
        for place in chosen:
            bits[place >> 3] |= 0x80 >> (place & 7)
        update = sa.text("UPDATE record_snapshots SET members = :members WHERE digest = :digest")
        bind.execute(update, {"members": zlib.compress(bytes(bits)), "digest": digest})
    listed = list(places)
    insert = sa.text("INSERT INTO record_leaves (number, leaves) VALUES (:number, :leaves)")
    for number in range((len(listed) + _BLOCK - 1) // _BLOCK):
        block = b"".join(listed[number * _BLOCK : (number + 1) * _BLOCK])
        bind.execute(insert, {"number": number, "leaves": block})


def _comment(table: str, column: str, words: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{words}'")


def _leaf(pseudonym: str) -> bytes:
    return hmac.digest(_key(), pseudonym.encode(), "sha256")


def _key() -> bytes:
    """The node's record key; from here on the database remembers which one it was."""
    key = context.config.attributes.get("record_key")
    if not isinstance(key, bytes):
        raise StorageError(
            "the database holds withdrawals or used records, whose pseudonyms become digests under the node's own key; "
            "run `fedseal db upgrade` with the node's folder"
        )
    bind = op.get_bind()
    if bind.execute(sa.text("SELECT COUNT(*) FROM record_keys")).scalar_one() == 0:
        fingerprint = hmac.digest(key, b"\0record-key", "sha256").hex()
        insert = sa.text("INSERT INTO record_keys (id, fingerprint) VALUES (1, :fingerprint)")
        bind.execute(insert, {"fingerprint": fingerprint})
    return key


def _batches(query: str) -> Iterator[list[Mapping[str, Any]]]:
    found = op.get_bind().execute(sa.text(query)).mappings().all()
    for start in range(0, len(found), _BATCH):
        yield [dict(row) for row in found[start : start + _BATCH]]
