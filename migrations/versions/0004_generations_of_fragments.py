"""Generations of fragments: which holds is said by shard, so that a flip writes a few numbers and no set."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Brings the tables to this revision."""
    op.create_table(
        "shard",
        sa.Column("tag_id", sa.Integer(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tag_id", "shard"),
    )
    op.create_table(
        "staged_change",
        sa.Column("tag_id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("touched", sa.LargeBinary(), nullable=False),
        sa.Column("before", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tag_id", "generation"),
    )
    op.add_column("store", sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("change", sa.Column("generation", sa.Integer(), nullable=True))
    op.create_index(
        "change_generation", "change", ["tag_id", "generation"], sqlite_where=sa.text("generation IS NOT NULL")
    )
    op.execute("DELETE FROM fragment WHERE staged = 1")
    op.execute("INSERT INTO shard (tag_id, shard, generation) SELECT DISTINCT tag_id, shard, 0 FROM fragment")
    with op.batch_alter_table("fragment", schema=None, recreate="always") as batch_op:
        batch_op.drop_index("fragment_tag")
        # Before the sets, as what stands behind them is reached through all of their pages.
        batch_op.add_column(
            sa.Column("generation", sa.Integer(), nullable=False, server_default="0"), insert_after="shard"
        )
        batch_op.drop_column("staged")
    with op.batch_alter_table("fragment", schema=None) as batch_op:
        batch_op.alter_column("generation", server_default=None)
        batch_op.create_index("fragment_tag", ["tag_id", "generation", "value_id", "shard"], unique=False)


def downgrade() -> None:
    """Takes this revision back."""
    op.execute(
        "DELETE FROM fragment WHERE generation IS NOT (SELECT shard.generation FROM shard "
        "WHERE shard.tag_id = fragment.tag_id AND shard.shard = fragment.shard)"
    )
    # Older programs do not find what an import changed, so the past before the last one cannot be asked for any more.
    op.execute(
        "UPDATE store SET horizon = max(horizon, coalesce((SELECT max(moment) FROM version JOIN change "
        "ON change.version = version.version WHERE change.generation IS NOT NULL), 0))"
    )
    op.execute("DELETE FROM change WHERE generation IS NOT NULL")
    with op.batch_alter_table("fragment", schema=None, recreate="always") as batch_op:
        batch_op.drop_index("fragment_tag")
        batch_op.add_column(sa.Column("staged", sa.Boolean(), nullable=False, server_default="0"), insert_after="shard")
        batch_op.drop_column("generation")
        batch_op.create_index("fragment_tag", ["tag_id", "staged", "value_id", "shard"], unique=False)
    op.drop_index("change_generation", "change")
    with op.batch_alter_table("change", schema=None) as batch_op:
        batch_op.drop_column("generation")
    with op.batch_alter_table("store", schema=None) as batch_op:
        batch_op.drop_column("generation")
    op.drop_table("staged_change")
    op.drop_table("shard")
