"""A stamp for each base: its version alone does not say which fragments it is of."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Brings the tables to this revision."""
    with op.batch_alter_table("base", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stamp", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE base SET stamp = 1 + (random() & 4611686018427387903)")


def downgrade() -> None:
    """Takes this revision back."""
    with op.batch_alter_table("base", schema=None) as batch_op:
        batch_op.drop_column("stamp")
