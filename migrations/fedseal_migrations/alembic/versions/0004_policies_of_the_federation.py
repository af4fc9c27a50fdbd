"""Policies of the federation as a party has pinned them, and which of them governed a job.

Revision: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pinned_policies",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("signed", sa.LargeBinary(), nullable=False),
        sa.Column("officers", sa.Text(), nullable=False),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revocation", sa.LargeBinary(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_pinned_policies")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_pinned_policies_name_version")),
    )
    op.create_table(
        "job_federation_policies",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["policy"],
            ["pinned_policies.digest"],
            name=op.f("fk_job_federation_policies_policy_pinned_policies"),
        ),
        sa.PrimaryKeyConstraint("job", "policy", name=op.f("pk_job_federation_policies")),
    )


def downgrade() -> None:
    op.drop_table("job_federation_policies")
    op.drop_table("pinned_policies")
