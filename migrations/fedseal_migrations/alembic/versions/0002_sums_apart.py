"""What a node's later attempts ask about earlier ones: dataset, roster, proof of death, released answer.

Revision: 0002
Revises: 0001

Attempts begun before have no row: they count for every dataset, and no proof of their death is ever complete.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "node_sums",
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=128), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("roster", sa.Text(), nullable=False, comment="JSON list of the members that hold shares"),
        sa.Column("dead", sa.Boolean(), nullable=False, comment="proven never to be opened"),
        sa.Column("answer", sa.LargeBinary(), nullable=True, comment="the shares that open it, as they leave the node"),
        sa.ForeignKeyConstraint(
            ["job", "stage", "round", "attempt"],
            ["node_attempts.job", "node_attempts.stage", "node_attempts.round", "node_attempts.attempt"],
            name=op.f("fk_node_sums_job_stage_round_attempt_node_attempts"),
        ),
        sa.PrimaryKeyConstraint("job", "stage", "round", "attempt", name=op.f("pk_node_sums")),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("node_sums")
