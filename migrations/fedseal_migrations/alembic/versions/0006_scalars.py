"""Numbers about single contributions that a custodian opened.

Revision: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "custodian_scalars",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=128), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False, comment="digest of the request that was answered"),
        sa.Column("numbers", sa.Integer(), nullable=False, comment="how many were opened"),
        sa.Column(
            "answer", sa.LargeBinary(), nullable=False, comment="the signed statements, to be sent again as they are"
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["custodian_jobs.digest"], name=op.f("fk_custodian_scalars_job_custodian_jobs")
        ),
        sa.PrimaryKeyConstraint("job", "stage", "round", name=op.f("pk_custodian_scalars")),
    )
    op.create_index(op.f("ix_custodian_scalars_at"), "custodian_scalars", ["at"])


def downgrade() -> None:
    """Remove the table."""
    op.drop_index(op.f("ix_custodian_scalars_at"), table_name="custodian_scalars")
    op.drop_table("custodian_scalars")
