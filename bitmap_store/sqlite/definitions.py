"""Reading the catalog from its tables, and changing it inside a write transaction.

A change of a definition is a change of the catalog, not of the data: it makes no version.
"""

import json
import sqlite3
from dataclasses import replace
from datetime import timedelta

from sqlmodel import select

from bitmap_store.bitmaps import bitmap_of
from bitmap_store.catalog import Catalog, ValueTable, kept_expression
from bitmap_store.definitions import (
    CATEGORY_DEPTH_MAX,
    WORDS,
    TagChange,
    TagDefinition,
    canonical_text,
    check_definition,
    check_names,
    check_rules,
    checked_key,
)
from bitmap_store.errors import Conflict, Invalid
from bitmap_store.rows import rows_of
from bitmap_store.sqlite.changes import check_value
from bitmap_store.sqlite.experiments import load_experiments
from bitmap_store.sqlite.layers import Change
from bitmap_store.sqlite.writer import Transaction
from bitmap_store.tables import AudienceRow, CategoryRow, EntityRow, TagRow
from bitmap_store.values import (
    VALUED_KINDS,
    Category,
    DatePrecision,
    EntityKind,
    SavedAudience,
    Sensitivity,
    Tag,
    TagKind,
    TagOrigin,
    TagState,
    ValueRule,
    WriteResult,
    moment_of,
)

_TAG_COLUMNS = (
    "id, key, entity, name, kind, origin, state, sensitivity, category, definition, rule, rules, valid_for, "
    "open, hierarchical, scale, precision, owner, method, scope, unit, version, defined_at"
)


def load_catalog(raw: sqlite3.Connection) -> Catalog:
    """All definitions as the connection sees them."""
    (version,) = raw.execute("SELECT catalog FROM store").fetchone()
    entities = {row[1]: EntityKind(*row) for row in raw.execute("SELECT id, key, name FROM entity ORDER BY id")}
    categories = _categories(raw)
    tags = {row[1]: _tag(row) for row in raw.execute(f"SELECT {_TAG_COLUMNS} FROM tag ORDER BY id")}
    names: dict[int, dict[str, int]] = {}
    for tag, id_, value in raw.execute("SELECT tag_id, id, value FROM tag_value ORDER BY tag_id, id"):
        names.setdefault(tag, {})[value] = id_
    audiences = {
        row[1]: SavedAudience(*row)
        for row in raw.execute("SELECT id, key, name, entity, text, owner, version FROM audience ORDER BY id")
    }
    return Catalog(
        version=version,
        entities=entities,
        categories=categories,
        tags=tags,
        audiences=audiences,
        experiments=load_experiments(raw),
        value_tables={tag: ValueTable(table) for tag, table in names.items()},
        tags_by_id={tag.id: tag for tag in tags.values()},
    )


def _categories(raw: sqlite3.Connection) -> dict[str, Category]:
    rows = {row[1]: row for row in raw.execute("SELECT id, key, name, parent FROM category ORDER BY id")}

    def depth(key: str) -> int:
        parent = rows[key][3]
        return 1 + (depth(parent) if parent else 0)

    return {key: Category(id_, key, name, parent, depth(key)) for key, (id_, _, name, parent) in rows.items()}


def _tag(row: tuple[object, ...]) -> Tag:
    named = dict(zip(_TAG_COLUMNS.split(", "), row, strict=True))
    return Tag(
        id=int(str(named["id"])),
        key=str(named["key"]),
        entity=str(named["entity"]),
        name=str(named["name"]),
        kind=TagKind(str(named["kind"])),
        origin=TagOrigin(str(named["origin"])),
        state=TagState(str(named["state"])),
        sensitivity=Sensitivity(str(named["sensitivity"])),
        category=_text(named["category"]),
        definition=_text(named["definition"]),
        rule=_text(named["rule"]),
        rules=tuple(ValueRule(*pair) for pair in json.loads(str(named["rules"]))),
        valid_for=None if named["valid_for"] is None else timedelta(microseconds=int(str(named["valid_for"]))),
        open=bool(named["open"]),
        hierarchical=bool(named["hierarchical"]),
        scale=int(str(named["scale"])),
        precision=DatePrecision(str(named["precision"])),
        owner=_text(named["owner"]),
        method=_text(named["method"]),
        scope=_text(named["scope"]),
        unit=_text(named["unit"]),
        version=int(str(named["version"])),
        defined_at=moment_of(int(str(named["defined_at"]))),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _rules_json(rules: tuple[ValueRule, ...]) -> str:
    return json.dumps([[rule.value, canonical_text(rule.text)] for rule in rules], ensure_ascii=False)


# ---------------------------------------------------------------- entities and categories


def define_entity(transaction: Transaction, key: str, name: str | None) -> EntityKind:
    """The entity kind with this key, new or renamed."""
    key = checked_key(key, "entity kind", "key")
    known = transaction.catalog.entities.get(key)
    if known is None or (name is not None and name != known.name):
        with transaction.session() as session:
            row = session.exec(select(EntityRow).where(EntityRow.key == key)).first() or EntityRow(key=key, name=key)
            row.name = name or row.name
            session.add(row)
            session.flush()
        transaction.catalog_changed()
    return transaction.catalog.entities[key]


def define_category(transaction: Transaction, key: str, name: str | None, parent: str | None) -> Category:
    """The category with this key, new or changed; INVALID when the tree would be deeper than three levels."""
    key = checked_key(key, "category", "key")
    catalog = transaction.catalog
    above = None if parent is None else catalog.category(parent, argument="parent")
    known = catalog.categories.get(key)
    if known is not None and parent is None:
        above = catalog.categories.get(known.parent or "")
    if above is not None and (above.key == key or key in _ancestors(catalog, above)):
        raise Invalid(f"{key!r} cannot stand below itself", argument="parent")
    depth = (above.depth if above else 0) + _height(catalog, key)
    if depth > CATEGORY_DEPTH_MAX:
        raise Invalid(
            f"categories have at most {CATEGORY_DEPTH_MAX} levels; this would be level {depth}", argument="parent"
        )
    with transaction.session() as session:
        row = session.exec(select(CategoryRow).where(CategoryRow.key == key)).first() or CategoryRow(key=key, name=key)
        row.name = name or row.name
        row.parent = above.key if above else None
        session.add(row)
        session.flush()
    transaction.catalog_changed()
    return transaction.catalog.categories[key]


def _ancestors(catalog: Catalog, category: Category) -> list[str]:
    found: list[str] = []
    parent = category.parent
    while parent is not None:
        found.append(parent)
        parent = catalog.categories[parent].parent
    return found


def _height(catalog: Catalog, key: str) -> int:
    below = [category.key for category in catalog.categories.values() if category.parent == key]
    return 1 + max((_height(catalog, child) for child in below), default=0)


# ---------------------------------------------------------------- tags


def define_tag(transaction: Transaction, definition: TagDefinition) -> Tag:
    """The new tag; the same definition again gives the tag that is there, another one is CONFLICT."""
    definition = replace(definition, key=checked_key(definition.key, "tag", "input.key"))
    catalog = transaction.catalog
    check_definition(definition, catalog)
    values = _values_of(definition)
    row = TagRow(
        key=definition.key,
        entity=catalog.entity(definition.entity).key,
        name=definition.name or definition.key,
        kind=definition.kind,
        origin=definition.origin or _origin(definition),
        state=TagState.ACTIVE,
        sensitivity=definition.sensitivity,
        category=definition.category,
        definition=definition.definition,
        rule=None if definition.rule is None else canonical_text(definition.rule),
        rules=_rules_json(definition.rules),
        valid_for=None if definition.valid_for is None else definition.valid_for // timedelta(microseconds=1),
        open=definition.kind in VALUED_KINDS and definition.values is None and not definition.rules,
        hierarchical=definition.hierarchical,
        scale=definition.scale,
        precision=definition.precision,
        owner=definition.owner,
        method=definition.method,
        scope=definition.scope,
        unit=definition.unit,
        defined_at=transaction.moment,
    )
    known = catalog.tags.get(definition.key)
    if known is not None:
        return _same_tag(catalog, known, row, values)
    with transaction.session() as session:
        session.add(row)
        session.flush()
    tag = transaction.catalog_changed().tags[definition.key]
    if values:
        transaction.add_values(tag, values)
    return tag


def _origin(definition: TagDefinition) -> TagOrigin:
    return TagOrigin.RULE if definition.rule is not None or definition.rules else TagOrigin.DECLARED


def _values_of(definition: TagDefinition) -> list[str]:
    declared = definition.values if definition.values is not None else tuple(rule.value for rule in definition.rules)
    shape = Tag(0, definition.key, definition.entity, "", definition.kind, hierarchical=definition.hierarchical)
    found: dict[str, None] = {}
    for i, value in enumerate(declared):
        try:
            found[check_value(value, shape)] = None
        except Invalid as error:
            error.argument = f"input.values.{i}"
            raise
    return list(found)


def _same_tag(catalog: Catalog, known: Tag, row: TagRow, values: list[str]) -> Tag:
    fields = {"id", "version", "defined_at", "state"}
    asked = _tag(tuple(getattr(row, name) if name != "id" else 0 for name in _TAG_COLUMNS.split(", ")))
    different = [
        name for name in Tag.__dataclass_fields__ if name not in fields and getattr(asked, name) != getattr(known, name)
    ]
    if not different and not known.open and not set(values) <= set(catalog.values(known).names):
        different = ["values"]
    if different:
        raise Conflict(
            f"there is a tag {known.key!r} with another {different[0].replace('_', ' ')}; update it instead",
            argument="input.key",
        )
    return known


def update_tag(transaction: Transaction, key: str, change: TagChange, if_version: int | None) -> Tag:
    """The tag with the change applied; CONFLICT unless it has the version that the caller saw."""
    catalog = transaction.catalog
    tag = catalog.tag(key, argument="key")
    check_version(tag.version, if_version, f"the tag {tag.key!r}")
    if change.category is not None:
        catalog.category(change.category, argument="input.category")
    if change.rule is not None or change.rules is not None:
        if not tag.is_rule:
            raise Invalid(f"{tag.key!r} holds data, so it cannot follow from a rule", argument="input.rule")
        check_rules(tag.key, tag.entity, tag.kind, change.rule, change.rules or (), catalog)
    if change.valid_for is not None and tag.is_rule:
        raise Invalid("a rule is read afresh each time, so nothing of it ends", argument="input.validFor")
    if change.add_values is not None and (tag.kind not in VALUED_KINDS or tag.is_rule):
        raise Invalid(f"no values can be added to {tag.key!r}", argument="input.addValues")
    with transaction.session() as session:
        row = session.exec(select(TagRow).where(TagRow.key == tag.key)).one()
        for name in (*WORDS, "category", "sensitivity"):
            if getattr(change, name) is not None:
                setattr(row, name, getattr(change, name))
        if change.rule is not None:
            row.rule = canonical_text(change.rule)
        if change.rules is not None:
            row.rules = _rules_json(change.rules)
        if change.valid_for is not None:
            row.valid_for = change.valid_for // timedelta(microseconds=1)
        row.version += 1
        if change.rule is not None or change.rules is not None:
            row.defined_at = transaction.moment
        session.add(row)
        session.flush()
    transaction.catalog_changed()
    added = list(change.add_values or ()) + [rule.value for rule in change.rules or ()]
    if added:
        checked: list[str] = []
        for i, value in enumerate(added):
            try:
                checked.append(check_value(value, tag))
            except Invalid as error:
                error.argument = f"input.addValues.{i}"
                raise
        transaction.add_values(tag, checked)
    return transaction.catalog.tags[tag.key]


def check_version(version: int, if_version: int | None, what: str) -> None:
    """CONFLICT unless the caller saw this version, or did not say which it saw."""
    if if_version is not None and if_version != version:
        raise Conflict(f"{what} has version {version}, not {if_version}; read it again", argument="ifVersion")


def delete_tag(transaction: Transaction, key: str) -> WriteResult:
    """Takes a tag out of the catalog and its members out of the data. CONFLICT, naming them, while others use it."""
    catalog = transaction.catalog
    tag = catalog.tag(key, argument="key")
    users = catalog.used_by("tag", tag.key)
    if users:
        names = ", ".join(f"@{user.key}" if isinstance(user, SavedAudience) else user.key for user in users)
        raise Conflict(f"the tag {tag.key!r} is used by {names}", argument="key")
    changed = 0
    if not tag.is_rule:
        before = transaction.memberships.rows(tag.id, transaction.current)
        changed = len(before)
        if changed:
            transaction.record(tag.id, Change(bitmap_of(before["user"]), before, rows_of(0)))
    with transaction.session() as session:
        session.delete(session.exec(select(TagRow).where(TagRow.key == tag.key)).one())
        session.flush()
    transaction.raw.execute("DELETE FROM tag_value WHERE tag_id = ?", (tag.id,))
    transaction.catalog_changed()
    return WriteResult(transaction.current, changed, 0)


# ---------------------------------------------------------------- saved audiences


def save_audience(
    transaction: Transaction,
    key: str,
    name: str | None,
    text: str,
    entity: str,
    owner: str | None,
    if_version: int | None,
) -> SavedAudience:
    """The saved audience, new or with a new definition. if_version 0: it must not exist yet."""
    key = checked_key(key, "saved audience", "input.key")
    catalog = transaction.catalog
    entity = catalog.entity(entity, argument="input.entity").key
    check_names(kept_expression(text), entity, catalog, "input.where", own_audience=key)
    known = catalog.audiences.get(key)
    check_version(known.version if known else 0, if_version, f"the saved audience {key!r}")
    if known is not None and known.entity != entity:
        raise Conflict(f"the saved audience {key!r} is of entity {known.entity!r}", argument="input.entity")
    with transaction.session() as session:
        row = session.exec(select(AudienceRow).where(AudienceRow.key == key)).first()
        if row is None:
            row = AudienceRow(key=key, name=name or key, entity=entity, text=canonical_text(text), owner=owner)
        else:
            row.name, row.text, row.version = name or row.name, canonical_text(text), row.version + 1
        session.add(row)
        session.flush()
    return transaction.catalog_changed().audiences[key]


def delete_audience(transaction: Transaction, key: str) -> WriteResult:
    """Takes a saved audience out of the catalog; CONFLICT, naming them, while others use it."""
    audience = transaction.catalog.audience(key, argument="key")
    users = transaction.catalog.used_by("audience", audience.key)
    if users:
        names = ", ".join(f"@{user.key}" if isinstance(user, SavedAudience) else user.key for user in users)
        raise Conflict(f"the saved audience {audience.key!r} is used by {names}", argument="key")
    with transaction.session() as session:
        session.delete(session.exec(select(AudienceRow).where(AudienceRow.key == audience.key)).one())
        session.flush()
    transaction.catalog_changed()
    return WriteResult(transaction.current, 1, 0)
