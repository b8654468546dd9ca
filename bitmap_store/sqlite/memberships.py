"""Memberships at any version: the base of each tag and the changes around it, per process.

At version v a user's rows of a tag are those before the earliest change after v, else those after the
latest change that the base does not hold, else the base's. So a write touches no fragment, and any base
serves any version; a tag's base is loaded when it is first asked for, with the log from there on.
"""

import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import RLock

from pyroaring import BitMap

from bitmap_store.bitmaps import intersection
from bitmap_store.errors import Stale
from bitmap_store.plan import ANY_SPAN, Alike, Leaf, Reading, Tagged, Universe, tags_of
from bitmap_store.rows import Rows, in_order, joined
from bitmap_store.sqlite.base import TagBase
from bitmap_store.sqlite.bases import Bases
from bitmap_store.sqlite.layers import (
    FEW_USERS,
    Change,
    Layer,
    covered,
    grown,
    members_in,
    merged,
    next_end,
    rows_in,
    taken_back,
)
from bitmap_store.sqlite.leaves import KnownLeaf, LeafCache
from bitmap_store.sqlite.log import Forgotten, Log, LogEntry, version_of
from bitmap_store.sqlite.moves import Moves
from bitmap_store.sqlite.standing import Standing, TagState
from bitmap_store.stopping import Stop
from bitmap_store.values import NEVER

TAIL_MAX = 64
"""Changes of a tag that readings look at one by one; more are made into a layer."""
WAIT_SECONDS = 0.05
"""How long to wait for others' look-alikes before looking whether anybody waits for one's own."""


class Memberships:
    """Who has which tag at which version; the leaves of evaluation.

    `lock` guards the log entries and the read connection; it is held for look-ups, never for a commit.
    cache_bytes_max: of evaluated leaves, and again of bases that are not mapped. files: the directory of mapped ones.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        cache_bytes_max: int,
        tail_max: int = TAIL_MAX,
        files: Path | None = None,
    ) -> None:
        self.lock = RLock()
        self.version = 0
        self._folds = 0
        self._tail_max = tail_max
        self._connection = connection
        self._log = Log(connection, self.lock, tail_max)
        self._tags: dict[int, TagState] = {}
        self._provisional: dict[int, set[int]] = {}
        self._moves = Moves()
        self._cache = LeafCache(cache_bytes_max)
        self._scoring = RLock()  # again by the same thread where the seeds are a look-alike themselves
        self.bases = Bases(connection, cache_bytes_max, files)

    @property
    def cached_bytes(self) -> int:
        """Memory for evaluated leaves and for layers; bases that are not mapped are on top of it."""
        return self._cache.nbytes

    # ------------------------------------------------------------ the log

    def tail(self) -> int:
        """Learns of every version that any process has committed; the version of the file."""
        with self.lock:
            version, folds = self._connection.execute("SELECT version, folds FROM store").fetchone()
            self.learn(version, folds)
            return int(version)

    def learn(self, version: int, folds: int) -> None:
        """Learns that the file has come to a version, and how often bases were brought up to date there."""
        with self.lock:
            if version > self.version:
                self._read_log(version)
            if folds != self._folds:
                self._forget_old_bases()
                self._folds = folds

    def _forget_old_bases(self) -> None:
        """Lets go of bases that have been brought up to date in the file, so that log entries can be too."""
        for tag, stamp in self._connection.execute("SELECT tag_id, stamp FROM base"):
            state = self._tags.get(tag)
            if state is not None and state.standing is not None and state.standing.base.stamp != stamp:
                state.standing = None
                self._moves.add(tag)

    def look_for_files(self) -> None:
        """Lets go of bases in memory for which there is a file by now; the next reading maps that."""
        with self.lock:
            for tag, state in self._tags.items():
                base = None if state.standing is None else state.standing.base
                if base is not None and base.private_bytes and self.bases.is_mappable(tag, base.stamp):
                    state.standing = None
                    self._moves.add(tag)
        self.bases.look_again()

    def _read_log(self, version: int) -> None:
        """Learns of the changes up to a version; of tags that were never asked for the file keeps them."""
        for id_, made, tag, in_base in self._log.news(self.version, version):
            self._moves.add(tag)
            state = self._tags.get(tag)
            if state is None:
                continue
            if made not in self._provisional:
                state.add(LogEntry(made, bool(in_base), id_))
            if in_base:
                state.standing = None  # the base in the file has moved on
        self._provisional = {made: tags for made, tags in self._provisional.items() if made > version}
        self.version = version

    def committed(self, version: int) -> None:
        """Learns that what was proposed up to a version is in the file; the other versions up to it are known."""
        with self.lock:
            if version > self.version:
                for tag in {tag for tags in self._provisional.values() for tag in tags}:
                    self._moves.add(tag)
                    state = self._tags[tag]
                    if state.flips and state.flips[-1].version > self.version:
                        state.standing = None  # the base in the file has moved on
                self._provisional = {}
                self.version = version

    def moved_since(self, moves: int) -> tuple[int, int, list[int]]:
        """The version that is known, how many moves of tags there were, and those that moved after the first `moves`.

        A tag moves when what `over_bases` says of it at the newest version may become something else.
        """
        with self.lock:
            return self.version, self._moves.count, self._moves.since(moves)

    def propose(self, tag: int, version: int, change: Change, id_: int) -> None:
        """Adds the change of a version that is being written; readings of earlier versions do not see it."""
        with self.lock:
            self._standing(tag)
            self._provisional.setdefault(version, set()).add(tag)
            self._tags[tag].add(LogEntry(version, change.after is None, id_, change))

    def propose_flip(self, tag: int, version: int, id_: int) -> None:
        """Adds that a version that is being written moves the base of a tag; the file says what that changes."""
        with self.lock:
            if tag in self._tags:
                self._provisional.setdefault(version, set()).add(tag)
                self._tags[tag].add(LogEntry(version, True, id_))

    def withdraw(self, version: int) -> None:
        """Takes back what was proposed from `version` on, because it is not committed."""
        with self.lock:
            proposed = [made for made in self._provisional if made >= version]
            for tag in {tag for made in proposed for tag in self._provisional.pop(made)}:
                state = self._tags[tag]
                state.withdraw(version)
                if state.standing is not None:
                    state.standing = replace(state.standing, entries=state.entries)

    def logged_tags(self) -> list[int]:
        """The tags that have entries in the log of the file."""
        return self._log.tags()

    # ------------------------------------------------------------ how a tag stands

    def _standing(self, tag: int) -> Standing:
        state = self._tags.get(tag)
        standing = None if state is None else state.standing
        if standing is None:
            return self._load(tag)
        self.bases.used(tag, standing.base)
        return standing

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Looks at the file as it is at one moment, and knows all versions that it has then."""
        with self.lock:
            self._connection.execute("BEGIN")
            try:
                (version,) = self._connection.execute("SELECT version FROM store").fetchone()
                if version > self.version:
                    self._read_log(version)
                yield
            finally:
                self._connection.execute("COMMIT")

    def _load(self, tag: int) -> Standing:
        """Takes the base of a tag, together with the log that belongs to it."""
        with self.lock:
            _, stamp = self.bases.stamp(tag)
        base = self.bases.mapped(tag, stamp)  # which may take a while, and holds nobody else back
        with self._snapshot():
            _, now = self.bases.stamp(tag)
            if now != stamp:  # swapped meanwhile
                base = self.bases.mapped(tag, now)
            if base is None:
                base = self.bases.read(tag)
            self._moves.add(tag)
            for other in self.bases.admit(tag, base):
                self._tags[other].standing = None
            state = self._tags.get(tag)
            if state is None:
                # Where nothing is kept up to the base's version, what was before may have been forgotten.
                floor = self._log.last_change(tag, base.version) or base.version
                state = self._tags[tag] = TagState(floor, self._log.entries(tag, base.version, self.version))
            state.rise(base.version)
            flips = [entry for entry in state.flips if entry.version <= self.version]
            if flips:  # layers from before an import are not right over what it left
                # All entries are read again: of a version that has two, one alone may have been let go.
                proposed = state.entries[bisect_right(state.entries, self.version, key=version_of) :]
                state.layers, state.old = (), array("q")
                state.entries = self._log.entries(tag, base.version, self.version) + proposed
            sealed = state.layers[-1].until if state.layers else state.floor
            self._account(state)
            state.standing = Standing(base, state.floor, state.old, state.entries, flips, state.layers, sealed)
            return state.standing

    def _sealed(self, tag: int, standing: Standing) -> Standing:
        """Makes the committed changes of the tail a layer, if nobody else does so at the moment."""
        state = self._tags[tag]
        if not state.merging.acquire(blocking=False):
            return standing
        try:
            version = self.version
            tail = standing.between(standing.sealed, version)
            if standing is not state.standing or len(tail) <= self._tail_max:
                return standing
            fresh = self._between(tag, standing, standing.sealed, version)
            layers = grown(standing.layers, merged(fresh)) if fresh else standing.layers
            with self.lock:
                if state.standing is not standing:  # its base has moved on, or entries were withdrawn
                    return standing
                # Changes that are just behind are kept in hand for readings under way.
                count = max(len(standing.between(0, version)) - self._tail_max, 0)
                state.age(count)
                state.layers = layers
                self._account(state)
                state.standing = replace(
                    standing, old=state.old, entries=state.entries, layers=layers, sealed=tail[-1].version
                )
                return state.standing
        finally:
            state.merging.release()

    def _account(self, state: TagState) -> None:
        """What is known of changes takes of the memory for leaves."""
        size = state.nbytes
        self._cache.reserve(size - state.reserved)
        state.reserved = size

    def _between(self, tag: int, standing: Standing, after: int, until: int) -> list[Layer]:
        """A layer for each change in versions after..until that no base holds."""
        if standing.has_all(after):
            entries = [entry for entry in standing.between(after, until) if not entry.in_base]
            changes = [
                (each.version, found) for each, found in zip(entries, self._log.changes(tag, entries), strict=True)
            ]
        else:
            changes = self._changes(tag, standing, after, until)
        return [Layer(version, change.touched, change.after) for version, change in changes if change.after is not None]

    def _changes(self, tag: int, standing: Standing, after: int, until: int) -> list[tuple[int, Change]]:
        """Version and change of all entries in versions after..until, the first not included."""
        if standing.has_all(after):
            entries = standing.between(after, until)
            return [(e.version, change) for e, change in zip(entries, self._log.changes(tag, entries), strict=True)]
        found = self._log.read(tag, after, until)
        if len(found) != standing.count(after, until):
            raise Forgotten
        return [(version, change) for _, version, change in found]

    def _layers(self, tag: int, standing: Standing, version: int) -> list[Layer]:
        """What is to be said instead of the base at a version, newest first."""
        flips: list[Layer] = []
        if standing.flips and standing.flips[-1].version > version:
            # Of users that were written while an import was at work the base has what only their entries put right.
            undone = self._changes(tag, standing, max(version, standing.floor), standing.flips[-1].version)
            flips.append(taken_back([change for _, change in undone], version))
        if version < standing.floor:
            return [merged([*flips, self._taken_back(tag, version, standing.base.version)])]
        if version < standing.sealed:
            return flips + self._inside(tag, standing, version)
        if len(standing.entries) > 2 * self._tail_max:
            standing = self._sealed(tag, standing)
        if version < standing.sealed:
            return flips + self._inside(tag, standing, version)
        tail = self._between(tag, standing, standing.sealed, version)
        return [*flips, *reversed(tail), *reversed(standing.layers)]

    def _inside(self, tag: int, standing: Standing, version: int) -> list[Layer]:
        """The layers at a version inside of one: from below, or from above and back, whichever is shorter."""
        layers = standing.layers
        whole = bisect_right(layers, version, key=_until_of)
        below = layers[whole - 1].until if whole else standing.floor
        above = layers[whole].until if whole < len(layers) else standing.sealed
        if whole == len(layers) or standing.count(below, version) <= standing.count(version, above):
            fresh = self._between(tag, standing, below, version)
            return ([merged(fresh)] if fresh else []) + list(reversed(layers[:whole]))
        later = [change for _, change in self._changes(tag, standing, version, above) if change.after is not None]
        return [taken_back(later, version), *reversed(layers[: whole + 1])]

    def _taken_back(self, tag: int, version: int, until: int) -> Layer:
        """What takes a base of version `until` back to an earlier one. Costs reading all of the log between."""
        known = self._cache.find_layer(tag, version, until)
        if known is None:
            with self.lock:
                forgotten, read = self._log.forgotten(), self._log.read(tag, version, until)
            if version < forgotten:
                raise Stale("this moment is no longer kept; ask again")
            known = taken_back([change for _, _, change in read], version)
            self._cache.keep_layer(tag, version, until, known)
        return known

    def _at(self, tag: int, version: int) -> tuple[Standing, list[Layer]]:
        """The standing of a tag, and the layers over its base at a version."""
        standing = self._standing(tag)
        try:
            return standing, self._layers(tag, standing, version)
        except Forgotten:  # since the base was loaded the tag was folded; the base in the file needs fewer entries
            with self.lock:
                self._tags[tag].standing = None
            standing = self._standing(tag)
        try:
            return standing, self._layers(tag, standing, version)
        except Forgotten:
            raise Stale("this moment is no longer kept; ask again") from None

    def _since(self, tag: int, since: int, version: int) -> list[Layer] | None:
        """What was written after one version up to another, newest first, maybe with some of before; None where
        that is not known without the base."""
        standing = self._standing(tag)
        at_hand = standing.says_all_since(since) and standing.has_all(since)
        if at_hand and len(standing.between(since, version)) <= self._tail_max:
            with suppress(Forgotten):
                return self._between(tag, standing, since, version)[::-1]
        standing, layers = self._at(tag, version)
        return [layer for layer in layers if layer.until > since] if standing.says_all_since(since) else None

    def _stamp(self, tag: int, standing: Standing, version: int) -> int:
        """The last version up to `version` that changed the tag: the same stamp, the same members."""
        stamp = standing.stamp(version)
        return self._log.last_change(tag, version) or 0 if stamp is None else stamp

    # ------------------------------------------------------------ what readings ask

    def universe(self, reading: Reading) -> BitMap:
        """Everyone of the reading's entity who exists."""
        return self.leaf(Tagged(-reading.entity), reading)

    def leaf(self, node: Leaf, reading: Reading) -> BitMap:
        """The users of a leaf; must not be changed."""
        at_hand = self.known(node, reading)
        if at_hand is not None:
            return at_hand
        tag, version, moment = node.tag, reading.version, reading.moment
        stamp = self._stamp(tag, self._standing(tag), version)
        known = self._cache.find(node, stamp, moment)
        if known is not None:
            return known
        earlier = self._cache.newest(node, moment)
        if earlier is not None and earlier.stamp < stamp:
            layers = self._since(tag, earlier.stamp, version)
            if layers is not None:  # only whom these touch can have come or gone
                found = _with(layers, node, earlier.users, moment, stamp, earlier.until)
                self._cache.keep(node, found, earlier.stamp)
                return found.users
        standing, over_base = self._at(tag, version)
        base = standing.base
        users = base.members(node, moment)
        if over_base or not _held_by(base, node, moment):
            found = _with(over_base, node, users, moment, stamp, base.next_end(moment))
            self._cache.keep(node, found)
            return found.users
        return users

    def scored(self, node: Alike, reading: Reading, make: Callable[[], BitMap], stop: Stop) -> BitMap:
        """The users of a look-alike, kept for the version; one is made at a time, which bounds the memory for it."""
        while not self._scoring.acquire(timeout=WAIT_SECONDS):
            stop.check()
        try:
            known = self.known(node, reading)
            if known is None:
                known = make()
                ends = (self.next_end(tag, reading.version, reading.moment) for tag in {*tags_of(node, reading)})
                until = min(ends, default=NEVER)
                self._cache.keep(node, KnownLeaf(reading.version, known, reading.moment, until))
            return known
        finally:
            self._scoring.release()

    def next_end(self, tag: int, version: int, moment: int) -> int:
        """The first moment after this one at which a membership of a tag ends."""
        standing, layers = self._at(tag, version)
        return min([standing.base.next_end(moment), *(next_end(layer.rows, moment) for layer in layers)])

    def known(self, node: Leaf | Universe | Alike, reading: Reading) -> BitMap | None:
        """What `leaf`, `universe` or `scored` gives, where it is at hand; None where it would have to be made."""
        if isinstance(node, Alike):
            return self._cache.find(node, reading.version, reading.moment)
        leaf = Tagged(-reading.entity) if isinstance(node, Universe) else node
        state = self._tags.get(leaf.tag)
        standing = None if state is None else state.standing
        if standing is None or reading.version < standing.floor:
            return None
        if standing.is_base(reading.version):
            if type(leaf) is Tagged and leaf.span is ANY_SPAN:  # what most leaves are, and everyone
                tables = standing.base.values
                values = tables if leaf.values is None else leaf.values
                table = tables.get(next(iter(values))) if len(values) == 1 else None
                if table is not None and reading.moment < table.ends_first:
                    return table.users
            if _held_by(standing.base, leaf, reading.moment):
                return standing.base.members(leaf, reading.moment)
        return self._cache.find(leaf, self._stamp(leaf.tag, standing, reading.version), reading.moment)

    def rows(self, tag: int, version: int, users: BitMap | None = None) -> Rows:
        """The rows of these users (or of all) at a version, expired ones included, in canonical order."""
        if users is not None and len(users) <= FEW_USERS:
            parts, left, standing = self._few(tag, version, users)
            if left:
                parts.append(standing.base.rows(left))
            return in_order(joined(parts))
        standing, layers = self._at(tag, version)
        if users is None:
            touched = covered(layers)
            parts, _ = rows_in(layers, touched)
            return in_order(joined([standing.base.rows().without(touched), *parts]))
        parts, left = rows_in(layers, users)
        if left:
            parts.append(standing.base.rows(left))
        return in_order(joined(parts))

    def over_bases(self, tags: Iterable[int], version: int) -> Iterator[tuple[TagBase, list[Layer]]]:
        """Of each tag its base and the layers over it at a version, newest first."""
        for tag in tags:
            state = self._tags.get(tag)
            standing = None if state is None else state.standing
            if standing is not None and version >= standing.floor and standing.is_base(version):
                yield standing.base, []  # most tags of a store that is mostly read
            else:
                standing, layers = self._at(tag, version)
                yield standing.base, layers

    def holders(self, tag: int, version: int, users: BitMap) -> BitMap:
        """Those of the users who have any row of a tag at a version, be it an expired one."""
        parts, left, standing = self._few(tag, version, users)
        found = BitMap([user for part in parts for user in part["user"].tolist()])
        if left:
            for value in standing.base.values.values():
                found |= intersection(left, value.users)
        return found

    def _few(self, tag: int, version: int, users: BitMap) -> tuple[list[Rows], BitMap, Standing]:
        """The rows of users that were written since the base, and the users who were not. For few users, as a writer
        asks for, no layer is made of what was written last."""
        standing = self._standing(tag)
        if len(standing.entries) > 2 * self._tail_max:
            standing = self._sealed(tag, standing)
        found = standing.later_rows(version, users) if len(users) <= FEW_USERS else None
        if found is None:
            standing, layers = self._at(tag, version)
            return *rows_in(layers, users), standing
        parts, left = found
        if left and standing.layers:
            older, left = rows_in(reversed(standing.layers), left)
            parts += older
        return parts, left, standing

    def touched_since(self, tag: int, version: int) -> BitMap:
        """The users whose rows of a tag changed after `version`, those of the version that is being written too."""
        state = self._tags.get(tag)
        entries = self._standing(tag).entries if state is None else state.entries
        later = entries[bisect_right(entries, version, key=version_of) :]
        earlier = self._log.read(tag, version, later[0].version - 1 if later else self.version)
        changes = [change for _, _, change in earlier] + self._log.changes(tag, later)
        return BitMap.union(BitMap(), *(change.touched for change in changes))

    def is_empty(self, tag: int, version: int) -> bool:
        """Whether nobody has a row of a tag at a version: its base has none, and nothing was written since."""
        standing, layers = self._at(tag, version)
        return not standing.base.values and not layers

    def overlaid(self, tag: int, version: int) -> BitMap:
        """The users whose rows of a tag are not in its base as they are at a version."""
        return covered(self._at(tag, version)[1])


def _with(layers: Sequence[Layer], leaf: Leaf, users: BitMap, moment: int, stamp: int, until: int) -> KnownLeaf:
    """A leaf with what layers say of it. until: up to when the users are right by themselves."""
    if layers:
        touched, members, ends = members_in(layers, leaf, moment)
        users = users - touched
        users |= members
        until = min(until, ends)
    return KnownLeaf(stamp, users, moment, until)


def _held_by(base: TagBase, node: Leaf, moment: int) -> bool:
    """Whether the base gives a leaf without making a set of its own."""
    if not isinstance(node, Tagged) or node.span != ANY_SPAN:
        return False
    values = base.values if node.values is None else [value for value in node.values if value in base.values]
    return len(values) == 1 and all(moment < base.values[value].ends_first for value in values)


def _until_of(layer: Layer) -> int:
    return layer.until
