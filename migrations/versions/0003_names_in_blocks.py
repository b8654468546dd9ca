"""Names in blocks of consecutive dense ids instead of a row each."""

import zlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAMES = 1 << 17
CODEC = pa.Codec("zstd", compression_level=1)


def upgrade() -> None:
    """Brings the tables to this revision."""
    op.create_table(
        "name_block",
        sa.Column("entity_id", sa.Integer(), nullable=False),
        sa.Column("first_dense", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("entity_id", "first_dense"),
    )
    op.create_table(
        "name_snapshot",
        sa.Column("entity_id", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entity_id"),
    )
    connection = op.get_bind()
    insert = sa.text(
        "INSERT INTO name_block (entity_id, first_dense, count, size, checksum, body) "
        "VALUES (:entity, :first, :count, :size, :checksum, :body)"
    )
    for entity, after in connection.execute(sa.text("SELECT id, next_dense FROM entity")).all():
        for first in range(0, after, NAMES):
            names = [b""] * min(NAMES, after - first)  # an id without a name keeps its place
            found = connection.execute(
                sa.text(
                    "SELECT dense, name FROM user_name WHERE entity_id = :entity AND dense >= :first AND dense < :stop"
                ),
                {"entity": entity, "first": first, "stop": first + len(names)},
            )
            for dense, name in found:
                names[dense - first] = name.encode()
            connection.execute(insert, {"entity": entity, "first": first, **block(entity, first, names)})
    op.drop_table("user_name")


def block(entity: int, first: int, names: list[bytes]) -> dict[str, object]:
    """A block as revision 0003 has it: lengths as 16 bits each, then the names, compressed where that is shorter."""
    plain = np.array([len(name) for name in names], "<u2").tobytes() + b"".join(names)
    packed = CODEC.compress(plain, asbytes=True)
    body = packed if len(packed) < len(plain) else plain
    checksum = zlib.crc32(body, zlib.crc32(b"%d %d %d " % (entity, first, len(names))))
    return {"count": len(names), "size": len(plain), "checksum": checksum, "body": body}


def names_in(count: int, size: int, body: bytes) -> Iterator[str]:
    """The names of a block."""
    plain = body if len(body) == size else CODEC.decompress(body, size, asbytes=True)
    at = 2 * count
    for length in np.frombuffer(plain, "<u2", count).tolist():
        yield plain[at : at + length].decode()
        at += length


def downgrade() -> None:
    """Takes this revision back."""
    op.create_table(
        "user_name",
        sa.Column("entity_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("dense", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entity_id", "name"),
        sa.UniqueConstraint("entity_id", "dense"),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    keys = connection.execute(sa.text("SELECT entity_id, first_dense FROM name_block")).all()
    for entity, first in keys:
        count, size, body = connection.execute(
            sa.text("SELECT count, size, body FROM name_block WHERE entity_id = :entity AND first_dense = :first"),
            {"entity": entity, "first": first},
        ).one()
        rows = [
            {"entity": entity, "name": name, "dense": first + i}
            for i, name in enumerate(names_in(count, size, body))
            if name
        ]
        if rows:
            connection.execute(
                sa.text("INSERT INTO user_name (entity_id, name, dense) VALUES (:entity, :name, :dense)"), rows
            )
    op.drop_table("name_snapshot")
    op.drop_table("name_block")
