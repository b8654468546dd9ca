"""Experiments with a name, which share the users of a layer."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Brings the tables to this revision."""
    op.create_table(
        "experiment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("entity", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("layer", sa.String(), nullable=True),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.String(), nullable=False),
        sa.Column("control", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("defined_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "experiment_twice",
        "experiment",
        [
            *("key", "name", "entity", "text", "layer", "starts_at", "ends_at", "parts", "control", "owner"),
            *("defined_at", "ended_at"),
        ],
    )


def downgrade() -> None:
    """Takes this revision back, and every experiment with it; what was saved of their parts goes on."""
    op.drop_table("experiment")
