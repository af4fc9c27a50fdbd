"""All tables of the first version.

Revision: 0001
Revises: none
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "audit_checkpoints",
    "audit_cosignatures",
    "audit_entries",
    "audit_head",
    "audit_nodes",
    "audit_seen",
    "consent_withdrawals",
    "consents",
    "datasets",
    "invitations",
    "jobs",
    "node_agreements",
    "node_jobs",
    "policies",
    "record_snapshots",
    "revocation_lists",
    "artefacts",
    "certificates",
    "job_answers",
    "node_attempts",
    "policy_signatures",
    "rounds",
    "revocations",
    "round_messages",
)
"""In the order in which they can be created: each after those it refers to."""


def upgrade() -> None:
    _create_audit_checkpoints()
    _create_audit_cosignatures()
    _create_audit_entries()
    _create_audit_head()
    _create_audit_nodes()
    _create_audit_seen()
    _create_consent_withdrawals()
    _create_consents()
    _create_datasets()
    _create_invitations()
    _create_jobs()
    _create_node_agreements()
    _create_node_jobs()
    _create_policies()
    _create_record_snapshots()
    _create_revocation_lists()
    _create_artefacts()
    _create_certificates()
    _create_job_answers()
    _create_node_attempts()
    _create_policy_signatures()
    _create_rounds()
    _create_revocations()
    _create_round_messages()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_audit_checkpoints() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column(
            "size",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
            comment="entries it covers",
        ),
        sa.Column("note", sa.Text(), nullable=False, comment="the signed note without cosignatures"),
        sa.Column("vkey", sa.Text(), nullable=False, comment="the key that signed it"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_checkpoints")),
    )


def _create_audit_cosignatures() -> None:
    op.create_table(
        "audit_cosignatures",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False, comment="the checkpoint's size"),
        sa.Column("vkey", sa.String(length=315), nullable=False, comment="the witness's verifier key"),
        sa.Column("line", sa.Text(), nullable=False, comment="the signature line, with its newline"),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", "vkey", name=op.f("pk_audit_cosignatures")),
    )


def _create_audit_entries() -> None:
    op.create_table(
        "audit_entries",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
            comment="position in the log, from 0 without gaps",
        ),
        sa.Column("leaf", sa.LargeBinary(length=32), nullable=False, comment="SHA-256(0x00 || entry)"),
        sa.Column("entry", sa.LargeBinary(), nullable=False, comment="the exact RFC 8785 bytes"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entries")),
    )


def _create_audit_head() -> None:
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(length=255), nullable=False, comment="whose log this database holds"),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="number of entries"),
        sa.Column(
            "last_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="time of the last entry; none before the first",
        ),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )


def _create_audit_nodes() -> None:
    op.create_table(
        "audit_nodes",
        sa.Column("level", sa.SmallInteger(), nullable=False, comment="height above the leaves"),
        sa.Column("index", sa.BigInteger(), nullable=False, comment="covers the leaves from index * 2^level on"),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False, comment="SHA-256(0x01 || left || right)"),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_audit_nodes")),
        sqlite_with_rowid=False,
    )


def _create_audit_seen() -> None:
    op.create_table(
        "audit_seen",
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("note", sa.Text(), nullable=False, comment="as it was offered, with the signatures it had"),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("origin", name=op.f("pk_audit_seen")),
    )


def _create_consent_withdrawals() -> None:
    op.create_table(
        "consent_withdrawals",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("pseudonym", sa.String(length=128), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=True, comment="none: every purpose"),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_withdrawals")),
    )
    op.create_index("ix_consent_withdrawals_person", "consent_withdrawals", ["dataset", "pseudonym"], unique=False)


def _create_consents() -> None:
    op.create_table(
        "consents",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
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
    op.create_index(
        "ix_consents_in_force",
        "consents",
        ["dataset", "purpose", "withdrawn_at", "valid_until", "given_on", "pseudonym"],
        unique=False,
    )


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("schema_content", sa.LargeBinary(), nullable=False),
        sa.Column("schema_digest", sa.String(length=64), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("content_digest", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registered_by", sa.String(length=128), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    op.create_index(
        "ix_datasets_one_current",
        "datasets",
        ["name"],
        unique=True,
        sqlite_where=sa.text("replaced_at IS NULL"),
        postgresql_where=sa.text("replaced_at IS NULL"),
    )


def _create_invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("invitation_digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("hosts", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tls_key_digest", sa.String(length=64), nullable=True),
        sa.Column("identity_key_digest", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_invitations")),
    )
    op.create_index("ix_invitations_party", "invitations", ["kind", "name"], unique=False)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False, comment="the job file with its signature, as received"),
        sa.Column("schema", sa.LargeBinary(), nullable=False, comment="the schema file that the nodes share"),
        sa.Column("submitted_by", sa.String(length=128), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stage", sa.Integer(), nullable=False, comment="next stage, by its place in the programme"),
        sa.Column("round", sa.Integer(), nullable=False, comment="next round of that stage"),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="next attempt of that round"),
        sa.Column("state_digest", sa.String(length=64), nullable=True, comment="the last good state"),
        sa.Column("record", sa.LargeBinary(), nullable=True, comment="the signed job record"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_submitted_at", "jobs", ["submitted_at"], unique=False)


def _create_node_agreements() -> None:
    op.create_table(
        "node_agreements",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("operator", sa.String(length=128), nullable=False),
        sa.Column("agreed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_node_agreements")),
    )


def _create_node_jobs() -> None:
    op.create_table(
        "node_jobs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False, comment="the job file with its signature, as received"),
        sa.Column(
            "policy", sa.String(length=64), nullable=False, comment="digest of the policy that decided, or empty"
        ),
        sa.Column("reasons", sa.Text(), nullable=False, comment="JSON list of clause, sentence and verdict"),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False, comment="how the coordinator said it ended"),
        sa.Column("record", sa.LargeBinary(), nullable=True, comment="the coordinator's signed job record"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_node_jobs")),
    )


def _create_policies() -> None:
    op.create_table(
        "policies",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("signed", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("proposer", sa.String(length=128), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("in_force_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_policies")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_policies_name_version")),
    )
    op.create_index(
        "ix_policies_one_in_force",
        "policies",
        ["name"],
        unique=True,
        sqlite_where=sa.text("state = 'in_force'"),
        postgresql_where=sa.text("state = 'in_force'"),
    )


def _create_record_snapshots() -> None:
    op.create_table(
        "record_snapshots",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("pseudonyms", sa.LargeBinary(), nullable=False, comment="compressed JSON list, sorted"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_record_snapshots")),
    )


def _create_revocation_lists() -> None:
    op.create_table(
        "revocation_lists",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_update", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_revocation_lists")),
    )


def _create_artefacts() -> None:
    op.create_table(
        "artefacts",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.digest"], name=op.f("fk_artefacts_job_jobs")),
        sa.PrimaryKeyConstraint("job", "kind", "digest", name=op.f("pk_artefacts")),
    )


def _create_certificates() -> None:
    op.create_table(
        "certificates",
        sa.Column("serial", sa.String(length=49), nullable=False),
        sa.Column("use", sa.String(length=20), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("token_digest", sa.String(length=64), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["token_digest"], ["invitations.token_digest"], name=op.f("fk_certificates_token_digest_invitations")
        ),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_certificates")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_certificates_fingerprint")),
    )
    op.create_index("ix_certificates_party", "certificates", ["kind", "name"], unique=False)


def _create_job_answers() -> None:
    op.create_table(
        "job_answers",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=128), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("policy", sa.String(length=128), nullable=False, comment="digest of the policy it was judged by"),
        sa.Column("reasons", sa.Text(), nullable=False, comment="JSON list of clause, sentence and verdict"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.digest"], name=op.f("fk_job_answers_job_jobs")),
        sa.PrimaryKeyConstraint("job", "node", name=op.f("pk_job_answers")),
    )


def _create_node_attempts() -> None:
    op.create_table(
        "node_attempts",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=128), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("context", sa.String(length=64), nullable=False, comment="digest by which peers know the attempt"),
        sa.Column("broadcast", sa.String(length=64), nullable=False),
        sa.Column("holders", sa.Integer(), nullable=False, comment="members that hold shares"),
        sa.Column("corrupted", sa.Integer(), nullable=False, comment="members that may collude with the coordinator"),
        sa.Column("threshold", sa.Integer(), nullable=False, comment="shares that open a mask"),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("input_sent", sa.Boolean(), nullable=False, comment="whether the masked vector may be out"),
        sa.Column("survivors", sa.Text(), nullable=False, comment="JSON list of the sites in the sum"),
        sa.Column("records", sa.BigInteger(), nullable=False, comment="records used"),
        sa.Column("snapshot", sa.String(length=64), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot"], ["record_snapshots.digest"], name=op.f("fk_node_attempts_snapshot_record_snapshots")
        ),
        sa.PrimaryKeyConstraint("job", "stage", "round", "attempt", name=op.f("pk_node_attempts")),
    )
    op.create_index("ix_node_attempts_broadcast", "node_attempts", ["job", "broadcast"], unique=False)


def _create_policy_signatures() -> None:
    op.create_table(
        "policy_signatures",
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.Column("signer", sa.String(length=128), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["policy"], ["policies.digest"], name=op.f("fk_policy_signatures_policy_policies")),
        sa.PrimaryKeyConstraint("policy", "signer", name=op.f("pk_policy_signatures")),
    )


def _create_rounds() -> None:
    op.create_table(
        "rounds",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=128), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.LargeBinary(), nullable=False, comment="encoded parameters of the protocol"),
        sa.Column("broadcast", sa.String(length=64), nullable=False),
        sa.Column("roster", sa.Text(), nullable=False, comment="JSON list of node, session and certificate"),
        sa.Column("log_size", sa.BigInteger(), nullable=False, comment="entries in the audit log before this attempt"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("closed_steps", sa.Integer(), nullable=False, comment="protocol steps that take no more messages"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("survivors", sa.Text(), nullable=False, comment="JSON list of nodes in the sum"),
        sa.Column("recovered", sa.Text(), nullable=False, comment="JSON list of nodes whose masks were removed"),
        sa.Column("figures", sa.Text(), nullable=False, comment="JSON object of published figures"),
        sa.ForeignKeyConstraint(["job"], ["jobs.digest"], name=op.f("fk_rounds_job_jobs")),
        sa.PrimaryKeyConstraint("job", "stage", "round", "attempt", name=op.f("pk_rounds")),
    )
    op.create_index(
        "ix_rounds_one_open",
        "rounds",
        ["job"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )


def _create_revocations() -> None:
    op.create_table(
        "revocations",
        sa.Column("serial", sa.String(length=49), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["serial"], ["certificates.serial"], name=op.f("fk_revocations_serial_certificates")),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_revocations")),
    )


def _create_round_messages() -> None:
    op.create_table(
        "round_messages",
        sa.Column("id", sa.Integer(), nullable=False, comment="order of arrival"),
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=128), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=20), nullable=False),
        sa.Column("client", sa.String(length=128), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job", "stage", "round", "attempt"],
            ["rounds.job", "rounds.stage", "rounds.round", "rounds.attempt"],
            name=op.f("fk_round_messages_job_stage_round_attempt_rounds"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round_messages")),
        sa.UniqueConstraint(
            "job",
            "stage",
            "round",
            "attempt",
            "step",
            "client",
            name=op.f("uq_round_messages_job_stage_round_attempt_step_client"),
        ),
    )
