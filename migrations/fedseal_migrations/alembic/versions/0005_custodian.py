"""Keys of homomorphic jobs, and what a custodian served and opened.

Revision: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "job_keys",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("custodian", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="of the public key"),
        sa.Column("statement", sa.LargeBinary(), nullable=False, comment="the custodian's signed statement"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_job_keys")),
    )
    op.create_table(
        "custodian_jobs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False, comment="the job file with its signature, as received"),
        sa.Column(
            "policy", sa.String(length=64), nullable=False, comment="digest of the policy that decided, or empty"
        ),
        sa.Column("reasons", sa.Text(), nullable=False, comment="JSON list of clause, sentence and verdict"),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("key_digest", sa.String(length=64), nullable=False, comment="of the public key, or empty"),
        sa.Column("statement", sa.LargeBinary(), nullable=True, comment="the signed statement of the key"),
        sa.Column(
            "destroyed_at", sa.DateTime(timezone=True), nullable=True, comment="when the secret key was destroyed"
        ),
        sa.Column("outcome", sa.Text(), nullable=False, comment="how the coordinator said it ended"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_custodian_jobs")),
    )
    op.create_table(
        "custodian_sums",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=128), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False, comment="digest of the request that was answered"),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("broadcast", sa.String(length=64), nullable=False),
        sa.Column("members", sa.Text(), nullable=False, comment="JSON list of the sites in the sum"),
        sa.Column("sum_digest", sa.String(length=64), nullable=False, comment="of the encrypted sum"),
        sa.Column("times", sa.Integer(), nullable=False, comment="how often the same request was answered"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["custodian_jobs.digest"], name=op.f("fk_custodian_sums_job_custodian_jobs")),
        sa.PrimaryKeyConstraint("job", "stage", "round", name=op.f("pk_custodian_sums")),
    )
    op.create_index(op.f("ix_custodian_sums_at"), "custodian_sums", ["at"], unique=False)


def downgrade() -> None:
    """Remove the tables with everything in them."""
    op.drop_index(op.f("ix_custodian_sums_at"), table_name="custodian_sums")
    op.drop_table("custodian_sums")
    op.drop_table("custodian_jobs")
    op.drop_table("job_keys")
