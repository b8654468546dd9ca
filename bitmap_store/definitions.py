"""Definitions asked for: what a tag is to be, checked before anything is stored.

Pure checks against a catalog; `sqlite/definitions.py` stores what passes.
"""

from dataclasses import dataclass
from datetime import timedelta

from bitmap_store.catalog import Catalog, kept_expression
from bitmap_store.errors import Invalid, NotFound, TagroarError
from bitmap_store.expression import Expression, Lookalike, Match, Saved, nfc, walk
from bitmap_store.language import check_key, render
from bitmap_store.values import (
    SCALE_MAX,
    VALUED_KINDS,
    DatePrecision,
    Sensitivity,
    TagKind,
    TagOrigin,
    ValueRule,
)

WORDS = ("name", "definition", "method", "scope", "unit", "owner")
"""The fields of a tag that are for people only."""

CATEGORY_DEPTH_MAX = 3
VALUES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class TagDefinition:
    """What `defineTag` asks for. Rules are texts in the audience language."""

    key: str
    name: str | None = None
    kind: TagKind = TagKind.FLAG
    entity: str = "user"
    category: str | None = None
    values: tuple[str, ...] | None = None
    hierarchical: bool = False
    scale: int = 0
    precision: DatePrecision = DatePrecision.SECOND
    definition: str | None = None
    rule: str | None = None
    rules: tuple[ValueRule, ...] = ()
    valid_for: timedelta | None = None
    origin: TagOrigin | None = None
    sensitivity: Sensitivity = Sensitivity.INTERNAL
    owner: str | None = None
    method: str | None = None
    scope: str | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class TagChange:
    """What `updateTag` asks for; None leaves a field as it is."""

    name: str | None = None
    category: str | None = None
    add_values: tuple[str, ...] | None = None
    definition: str | None = None
    rule: str | None = None
    rules: tuple[ValueRule, ...] | None = None
    valid_for: timedelta | None = None
    sensitivity: Sensitivity | None = None
    owner: str | None = None
    method: str | None = None
    scope: str | None = None
    unit: str | None = None


def check_definition(definition: TagDefinition, catalog: Catalog) -> None:
    """INVALID or NOT_FOUND with the argument at fault, as "input.<field>"."""
    kind = definition.kind
    catalog.entity(definition.entity, argument="input.entity")
    if definition.category is not None:
        catalog.category(definition.category, argument="input.category")
    _check_texts(*(getattr(definition, name) for name in WORDS))
    if definition.values is not None and kind not in VALUED_KINDS:
        raise Invalid(f"a tag of kind {kind} has no values", argument="input.values")
    if definition.values is not None and len(definition.values) > VALUES_MAX:
        raise Invalid(f"a definition lists at most {VALUES_MAX} values", argument="input.values")
    if definition.hierarchical and kind not in VALUED_KINDS:
        raise Invalid(f"a tag of kind {kind} has no values to form a hierarchy", argument="input.hierarchical")
    if not 0 <= definition.scale <= SCALE_MAX:
        raise Invalid(f"a scale lies within 0..{SCALE_MAX}", argument="input.scale")
    if definition.scale and kind is not TagKind.NUMBER:
        raise Invalid(f"only a NUMBER tag has a scale, this is a {kind}", argument="input.scale")
    if definition.precision is not DatePrecision.SECOND and kind is not TagKind.DATE:
        raise Invalid(f"only a DATE tag has a precision, this is a {kind}", argument="input.precision")
    if definition.valid_for is not None and (definition.rule is not None or definition.rules):
        raise Invalid("a rule is read afresh each time, so nothing of it ends", argument="input.validFor")
    check_rules(definition.key, definition.entity, kind, definition.rule, definition.rules, catalog)
    if definition.origin is TagOrigin.RULE and definition.rule is None and not definition.rules:
        raise Invalid("a tag of origin RULE needs a rule", argument="input.rule")
    if definition.rules and definition.values is not None:
        missing = [rule.value for rule in definition.rules if rule.value not in definition.values]
        if missing:
            raise NotFound.named("declared value", missing[0], definition.values, argument="input.rules")


def _check_texts(*texts: str | None) -> None:
    for text in texts:
        if text is not None and len(text) > 10_000:
            raise Invalid("a text of a definition has at most 10000 characters", argument="input")


def check_rules(
    key: str, entity: str, kind: TagKind, rule: str | None, rules: tuple[ValueRule, ...], catalog: Catalog
) -> None:
    """INVALID for rules that the kind cannot have, that name what is not there, or that go round in a circle."""
    if rule is not None and kind is not TagKind.FLAG:
        raise Invalid(f"one rule makes a FLAG tag, not a {kind}; use rules", argument="input.rule")
    if rules and kind not in (TagKind.CHOICE, TagKind.CHOICES):
        raise Invalid(f"rules for values make a CHOICE or CHOICES tag, not a {kind}", argument="input.rules")
    texts = [("input.rule", rule)] if rule is not None else []
    texts += [(f"input.rules.{i}.where", value_rule.text) for i, value_rule in enumerate(rules)]
    for argument, text in texts:
        check_names(kept_expression(text), entity, catalog, argument, own_tag=key)


def check_names(
    expression: Expression,
    entity: str,
    catalog: Catalog,
    argument: str,
    own_tag: str | None = None,
    own_audience: str | None = None,
) -> None:
    """NOT_FOUND for a tag or saved audience that is not there; INVALID when a definition would contain itself."""
    pending: list[tuple[str, Expression]] = [(argument, expression)]
    seen: set[tuple[type, str]] = set()
    while pending:
        place, current = pending.pop()
        for path, node in walk(current):
            at = place if place != argument else (f"{argument}.{path}" if path else argument)
            if isinstance(node, Match):
                if own_tag is not None and nfc(node.key) == nfc(own_tag):
                    raise Invalid(f"the rule of {own_tag!r} would go round in a circle", argument=at)
                tag = catalog.tag_of(entity, node.key, argument=f"{at}.tag.key")
                texts = [tag.rule] if tag.rule else [rule.text for rule in tag.rules]
            elif isinstance(node, Saved):
                if own_audience is not None and nfc(node.key) == nfc(own_audience):
                    raise Invalid(f"the audience {own_audience!r} would contain itself", argument=at)
                audience = catalog.audience(node.key, argument=f"{at}.saved")
                if audience.entity != entity:
                    raise Invalid(f"{node.key!r} is of entity {audience.entity!r}", argument=f"{at}.saved")
                texts = [audience.text]
            else:
                if isinstance(node, Lookalike):
                    for i, key in enumerate(node.exclude_tags):
                        catalog.tag_of(entity, key, argument=f"{at}.lookalike.excludeTags.{i}")
                continue
            if (type(node), nfc(node.key)) not in seen:
                seen.add((type(node), nfc(node.key)))
                pending += [(at, kept_expression(text)) for text in texts]


def canonical_text(text: str) -> str:
    """A rule or an audience in the form in which it is kept."""
    return render(kept_expression(text))


def checked_key(key: str, what: str, argument: str) -> str:
    """A key in the form in which it is kept; INVALID with its argument when it cannot be one."""
    try:
        return check_key(key, what)
    except TagroarError as error:
        error.argument = argument
        raise
