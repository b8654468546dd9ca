"""Experiments with a name: defining one finds it room in its layer, ending one gives the room back.

A change of the catalog, as in `definitions.py`: it makes no version of the data.
"""

import json
import sqlite3
from collections.abc import Iterable

from sqlmodel import select

from bitmap_store.bind import HASH_SPACE
from bitmap_store.catalog import kept_expression
from bitmap_store.definitions import canonical_text, check_names, checked_key
from bitmap_store.errors import Conflict
from bitmap_store.sqlite.writer import Transaction
from bitmap_store.tables import ExperimentRow
from bitmap_store.values import Experiment, NewExperiment, WriteResult, moment_of

_COLUMNS = "id, key, name, entity, text, layer, starts_at, ends_at, parts, control, owner, defined_at, ended_at"


def load_experiments(raw: sqlite3.Connection) -> dict[str, Experiment]:
    """All experiments, by key, in the order in which they were defined."""
    found = {}
    for row in raw.execute(f"SELECT {_COLUMNS} FROM experiment ORDER BY id"):
        id_, key, name, entity, text, layer, start, end, parts, control, owner, defined_at, ended_at = row
        shares = tuple((str(part), float(share)) for part, share in json.loads(parts))
        ended = None if ended_at is None else moment_of(ended_at)
        found[key] = Experiment(
            id_, key, name, entity, text, layer, start, end, shares, control, owner, moment_of(defined_at), ended
        )
    return found


def define_experiment(transaction: Transaction, new: NewExperiment, owner: str | None) -> Experiment:
    """The new experiment, with the first room in its layer that is wide enough; CONFLICT where there is none.

    The same definition again gives the experiment that is there, another one of its key is CONFLICT.
    """
    key = checked_key(new.key, "experiment", "input.key")
    layer = None if new.layer is None else checked_key(new.layer, "layer", "input.layer")
    catalog = transaction.catalog
    entity = catalog.entity(new.entity, argument="input.entity").key
    check_names(kept_expression(new.text), entity, catalog, "input.where")
    width = round(new.share * HASH_SPACE)
    row = ExperimentRow(
        key=key,
        name=new.name or key,
        entity=entity,
        text=canonical_text(new.text),
        layer=layer,
        starts_at=0,
        ends_at=width,
        parts=json.dumps([[name, share] for name, share in new.parts], ensure_ascii=False),
        control=new.control,
        owner=owner,
        defined_at=transaction.moment,
    )
    known = catalog.experiments.get(key)
    if known is not None:
        return _same(known, row, new)
    if layer is not None:
        others = [each for each in catalog.experiments.values() if each.holds(entity, layer)]
        row.starts_at = _room([(each.start, each.end) for each in others], width, layer)
        row.ends_at = row.starts_at + width
    with transaction.session() as session:
        session.add(row)
        session.flush()
    return transaction.catalog_changed().experiments[key]


def _room(taken: Iterable[tuple[int, int]], width: int, layer: str) -> int:
    """Where the first gap of this width begins."""
    start = widest = 0
    for low, high in [*sorted(taken), (HASH_SPACE, HASH_SPACE)]:
        if low - start >= width:
            return start
        widest = max(widest, low - start)
        start = max(start, high)
    raise Conflict(
        f"the layer {layer!r} has no room for a share of {width / HASH_SPACE:.6g}; the widest that is free is"
        f" {widest / HASH_SPACE:.6g}, until an experiment in it ends",
        argument="input.share",
    )


def _same(known: Experiment, row: ExperimentRow, new: NewExperiment) -> Experiment:
    """The experiment that is there, if it is defined as the new one would be."""
    said = {
        "name": (known.name, row.name),
        "entity": (known.entity, row.entity),
        "where": (known.text, row.text),
        "layer": (known.layer, row.layer),
        "share": (known.end - known.start, row.ends_at),
        "parts": (known.parts, new.parts),
        "control": (known.control, row.control),
    }
    different = [name for name, (one, other) in said.items() if one != other]
    if different or known.ended_at is not None:
        what = f"with another {different[0]}" if different else "that has ended"
        raise Conflict(f"there is an experiment {known.key!r} {what}; take another key", argument="input.key")
    return known


def end_experiment(transaction: Transaction, key: str) -> Experiment:
    """The experiment with its end, which was now unless it had ended; its room in the layer is free."""
    experiment = transaction.catalog.experiment(key, argument="key")
    if experiment.ended_at is not None:
        return experiment
    with transaction.session() as session:
        row = session.exec(select(ExperimentRow).where(ExperimentRow.key == experiment.key)).one()
        row.ended_at = transaction.moment
        session.add(row)
        session.flush()
    return transaction.catalog_changed().experiments[experiment.key]


def delete_experiment(transaction: Transaction, key: str) -> WriteResult:
    """Takes an experiment out of the catalog; what was saved of its parts goes on."""
    experiment = transaction.catalog.experiment(key, argument="key")
    with transaction.session() as session:
        session.delete(session.exec(select(ExperimentRow).where(ExperimentRow.key == experiment.key)).one())
        session.flush()
    transaction.catalog_changed()
    return WriteResult(transaction.current, 1, 0)
