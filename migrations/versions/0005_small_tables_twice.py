"""What the rows of small tables say stands in an index too, where a check compares it; attributes get a checksum."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TWICE = {
    "store": ["version", "catalog", "folds", "horizon", "generation"],
    "entity": ["key", "name", "next_dense"],
    "category": ["key", "name", "parent"],
    "tag": [
        "key", "entity", "name", "kind", "origin", "state", "sensitivity", "category", "definition", "rule", "rules",
        "valid_for", "open", "hierarchical", "scale", "precision", "owner", "method", "scope", "unit", "version",
        "defined_at",
    ],
    "audience": ["key", "name", "entity", "text", "owner", "version"],
    "base": ["version", "stamp"],
    "shard": ["generation"],
    "fragment": ["ends_first"],
    "token": ["digest", "scopes"],
}  # fmt: skip


def upgrade() -> None:
    """Brings the tables to this revision."""
    for table, columns in TWICE.items():
        op.create_index(f"{table}_twice", table, columns)
    op.add_column("attribute", sa.Column("checksum", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Takes this revision back."""
    op.drop_column("attribute", "checksum")
    for table in TWICE:
        op.drop_index(f"{table}_twice", table)
