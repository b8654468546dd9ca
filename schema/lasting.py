"""Which fields say the same until something is written or a membership ends, whatever moment it is.

An operation of other fields is never answered from memory: what is not listed here may show the moment, how
long something took, who asks, or work that goes on.
"""

from typing import Any

from graphql import DocumentNode, FieldNode, TypeInfo, TypeInfoVisitor, Visitor, visit

from schema.served import SCHEMA

LASTING: dict[str, set[str]] = {
    "Query": {
        *("audience", "audiences", "memberships", "profile", "profiles", "node", "tag", "tags", "categories"),
        *("entities", "savedAudience", "savedAudiences", "compare"),
    },
    "Node": {"id"},
    "Audience": {
        *("id", "entity", "text", "size", "share", "dataVersion", "contains", "portrait", "breakdown", "numbers"),
        "differentiators",
    },
    "Comparison": {
        *("audiences", "sizes", "unionSize", "overlaps", "jaccard", "containment", "regions", "differentiators"),
    },
    "Region": {"inAudiences", "size", "audience"},
    "Differentiator": {
        *("tag", "value", "size", "share", "baselineSize", "baselineShare", "outsideShare", "tgi", "difference"),
        *("zScore", "pValue", "adjustedPValue", "significant", "numbers", "audience"),
    },
    "Difference": {"value", "low", "high"},
    "NumberDifference": {"mean", "outsideMean", "difference", "effectSize", "medians"},
    "MedianDifference": {"median", "outsideMedian", "difference"},
    "BreakdownRow": {"kind", "values", "size", "share", "baselineShare", "tgi", "audience"},
    "TagPortrait": {"tag", "known", "exclusive", "rows", "numbers"},
    "NumberSummary": {"count", "sum", "mean", "min", "max", "median", "quantiles", "histogram"},
    "HistogramBin": {"from", "to", "size"},
    "Profile": {
        *("id", "entity", "userId", "identifiers", "attributes", "tags", "expiredTags", "savedAudiences", "isIn"),
    },
    "Identifier": {"kind", "value"},
    "AttributeValue": {"key", "value"},
    "TagOnProfile": {"tag", "values", "number", "date", "memberships"},
    "Membership": {"value", "since", "expiresAt", "source", "score", "count", "lastAt"},
    "Tag": {
        *("id", "key", "entity", "name", "kind", "origin", "state", "sensitivity", "definition", "validFor", "open"),
        *("hierarchical", "owner", "method", "scope", "unit", "version", "rule", "example", "scale", "precision"),
        *("category", "rules", "values", "coverage", "size", "usedBy"),
    },
    "TagRule": {"value", "text"},
    "TagValue": {"value", "name", "parent", "size"},
    "Category": {"id", "key", "name", "depth", "parent", "children"},
    "EntityKind": {"key", "name", "count"},
    "SavedAudience": {"id", "key", "name", "entity", "owner", "version", "text", "audience", "usedBy"},
    "PageInfo": {"hasNextPage", "hasPreviousPage", "startCursor", "endCursor"},
    **{f"{each}Connection": {"edges", "pageInfo", "totalCount"} for each in ("Tag", "TagValue", "SavedAudience")},
    **{f"{each}Edge": {"cursor", "node"} for each in ("Tag", "TagValue", "SavedAudience")},
}


def is_lasting(document: DocumentNode) -> bool:
    """Whether all fields of a valid document are such."""
    types = TypeInfo(SCHEMA._schema)
    found = _Fields(types)
    visit(document, TypeInfoVisitor(types, found))
    return found.lasting


class _Fields(Visitor):
    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self._types = types
        self.lasting = True

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        """Looks at one field."""
        parent = self._types.get_parent_type()
        known = LASTING.get(parent.name, set()) if parent is not None else set()
        self.lasting = self.lasting and (node.name.value == "__typename" or node.name.value in known)
