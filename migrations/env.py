"""Alembic's entry: runs revisions on the connection that the store hands over, or on -x url=… by hand."""

from alembic import context
from sqlalchemy import Connection, create_engine
from sqlmodel import SQLModel

from bitmap_store import tables

assert tables  # importing it declares the tables


def run(connection: Connection) -> None:
    """Runs the revisions inside the transaction that is open."""
    context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
    context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(context.get_x_argument(as_dictionary=True)["url"]).begin() as opened:
        run(opened)
