"""What keeps names quick to find: small blocks joined into large ones, the file of names renewed.

Bulk work, done under its lock; it changes no answer.
"""

from bitmap_store.sqlite import name_blocks, name_snapshots
from bitmap_store.sqlite.writer import Transaction, Writer


def is_due(writer: Writer, blocks_max: int) -> bool:
    """Whether there is something to do."""
    names = writer.names
    return bool(names.small_runs(blocks_max)) or any(map(names.outgrown, names.entities()))


def keep_up(writer: Writer, blocks_max: int) -> None:
    """Joins runs of more than `blocks_max` small blocks, each in a short transaction, and renews files."""
    for entity, run in writer.names.small_runs(blocks_max):
        _merge(writer, entity, run)
    for entity in writer.names.entities():
        renew_file(writer, entity)


def _merge(writer: Writer, entity: int, run: name_blocks.Run) -> None:
    writer.submit(lambda transaction: name_blocks.merge(transaction.raw, entity, run)).result()


def renew_file(writer: Writer, entity: int) -> None:
    """Writes the file of names anew, and takes to it, where so many have been given since the last."""
    names = writer.names
    names.learn(entity)
    if names.outgrown(entity):
        names.adopt(entity)  # another process may have written one
    if not names.outgrown(entity):
        return
    count, digest = names.write_file(entity)

    def record(transaction: Transaction) -> None:
        name_snapshots.record(transaction.raw, entity, count, digest)

    writer.submit(record).result()
    name_snapshots.drop_others(names.directory, entity, count, digest)
    names.adopt(entity)
