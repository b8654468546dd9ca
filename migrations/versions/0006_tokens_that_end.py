"""A token may come to its end by itself."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Brings the tables to this revision."""
    op.add_column("token", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    op.drop_index("token_twice", "token")
    op.create_index("token_twice", "token", ["digest", "scopes", "expires_at"])


def downgrade() -> None:
    """Takes this revision back. Tokens that would have ended are revoked, as an older program would let them in."""
    op.execute("DELETE FROM token WHERE expires_at IS NOT NULL")
    op.drop_index("token_twice", "token")
    op.create_index("token_twice", "token", ["digest", "scopes"])
    op.drop_column("token", "expires_at")
