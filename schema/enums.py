"""Enums: those of the store, with a word on each of their values."""

from enum import Enum
from typing import Any, TypeVar

import strawberry

from bitmap_store.expression import Quantifier
from bitmap_store.values import DatePrecision, JobState, Sensitivity, TagKind, TagOrigin, TagState
from resolvers.analysis import FindingKind
from resolvers.answers import RowKind
from resolvers.changes import ChangeKind
from resolvers.differences import Order as DifferentiatorOrder
from resolvers.goals import EditKind
from resolvers.wording import Language

E = TypeVar("E", bound=type[Enum])


def described(kind: E, description: str, *, name: str | None = None, **values: str) -> E:
    """Declares an enum in GraphQL; every value has to be described."""
    declared: E = strawberry.enum(kind, name=name, description=description)
    definition: Any = getattr(declared, "__strawberry_definition__")  # noqa: B009 (strawberry does not declare it)
    for value in definition.values:
        value.description = values.pop(value.name)
    if values:
        raise TypeError(f"{kind.__name__} has no {', '.join(values)}")
    return declared


described(Language, "A language for sentences.", EN="English.", ZH="Chinese.")
described(
    TagKind,
    "What a tag can say of a user.",
    FLAG="Has it or not.",
    CHOICE="One of several values.",
    CHOICES="Any number of several values.",
    NUMBER="An exact decimal number.",
    DATE="A day or a moment.",
    EVENT="Things that happened, counted by day and value.",
)
described(
    TagOrigin,
    "Where the values of a tag come from.",
    DECLARED="Somebody said so.",
    STATISTICAL="Computed from facts.",
    RULE="Follows from a rule when it is read.",
    MINED="A model said so, with a score.",
)
described(
    TagState,
    "The stage of a tag in its life cycle.",
    DRAFT="Being written.",
    TESTING="Being tried.",
    IN_REVIEW="Waiting for a second person.",
    ACTIVE="In use.",
    DEPRECATED="Not to be used in anything new.",
    RETIRED="Out of use.",
)
described(
    Sensitivity,
    "Who may learn a tag.",
    PUBLIC="Anybody.",
    INTERNAL="Whoever may use the service.",
    PERSONAL="Whoever works with persons.",
    RESTRICTED="Few.",
)
described(DatePrecision, "The unit of a DATE tag.", DAY="Days.", SECOND="Seconds.")
described(
    JobState,
    "The stage of a piece of long work.",
    QUEUED="Waiting.",
    RUNNING="Under way.",
    DONE="Done.",
    FAILED="Given up, and taken back; `error` says why.",
    CANCELLED="Stopped on demand, and taken back.",
)
described(
    RowKind,
    "What the users of a row have in common.",
    VALUE="The values of the row.",
    OTHER="A value of every tag, but of none of the rows shown.",
    UNKNOWN="No value of one tag or more.",
)
described(
    ChangeKind,
    "What is written of a tag.",
    GIVE="The tag, or a value of it, is given: `assignTags`.",
    TAKE="The value is taken, or all of the tag: `removeTags`.",
    RECORD="Events are recorded: `recordEvents`.",
)
described(
    FindingKind,
    "What is odd about a node.",
    CONTRADICTION="Nobody is in it.",
    TAUTOLOGY="Everybody is in it.",
    REDUNDANT="The whole is the same without it.",
    EQUAL="It is the same as a saved audience.",
    CONTAINED="A saved audience holds all of it.",
    CONTAINS="It holds all of a saved audience.",
)
described(
    EditKind,
    "What is changed of a clause.",
    BOUND="The number, the date or the score that it compares with.",
    WINDOW="The time it looks at.",
    TIMES="How often it has to happen.",
    VALUES="One value more or less in its list.",
    DROP="It is left out.",
    COUNT="How many of several clauses have to hold: all, any, or so many.",
)
described(
    DifferentiatorOrder,
    "What comes first among differentiators, behind whether they are significant.",
    name="DifferentiatorOrder",
    SCORE="The farthest apart, in standard errors.",
    TGI="The highest index.",
    DIFFERENCE="The largest difference of shares.",
)
described(
    Quantifier,
    "How many of the related have to be in the audience.",
    ANY="At least one.",
    ALL="All of them, and at least one.",
    NONE="Not one.",
)

__all__ = [
    "ChangeKind",
    "DatePrecision",
    "DifferentiatorOrder",
    "EditKind",
    "FindingKind",
    "JobState",
    "Language",
    "Quantifier",
    "RowKind",
    "Sensitivity",
    "TagKind",
    "TagOrigin",
    "TagState",
]
