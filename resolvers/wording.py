"""What the sentences of every language have in common: how names are shown, quoted and kept apart.

The languages themselves: `english.py` and `chinese.py`. Who puts them to use: `sentences.py`.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Protocol

from bitmap_store.catalog import Catalog
from bitmap_store.expression import Lookalike, Match, Quantifier
from bitmap_store.literals import float_text, number_text
from bitmap_store.values import Tag, TagKind


class Language(Enum):
    """Languages of sentences."""

    EN = "EN"
    ZH = "ZH"


class Grammar(Protocol):
    """How one language says each kind of node. What comes in as text is said already, and reads as a clause.

    Different arguments are to give different clauses: names and values stand in quotes, groups in parentheses.
    """

    def sentence(self, clause: str | None, entity: str | None) -> str:
        """The whole sentence. clause: None is everyone, "" nobody. entity: the name of its kind, None for users."""

    def everyone(self) -> str:
        """Everyone, in a group."""

    def match(self, match: Match, told: "Told") -> str:
        """A tag."""

    def no_match(self, match: Match, told: "Told") -> str:
        """Everyone but those of a tag."""

    def all_of(self, of: Sequence[str]) -> str:
        """All of several clauses."""

    def any_of(self, of: Sequence[str]) -> str:
        """Any of several clauses."""

    def not_(self, of: str) -> str:
        """Everyone but these."""

    def at_least(self, count: int, of: Sequence[str]) -> str:
        """So many of several clauses."""

    def saved(self, name: str) -> str:
        """A saved audience."""

    def users(self, ids: Sequence[str], id_kind: str | None) -> str:
        """Users by their ids."""

    def at(self, moment: datetime, of: str) -> str:
        """As it was."""

    def part(self, seed: str, start: str, end: str) -> str:
        """A slice."""

    def snapshot(self, id_: str) -> str:
        """A frozen audience."""

    def related(self, relation: str, quantifier: Quantifier, of: str) -> str:
        """Across entities."""

    def lookalike(self, node: Lookalike, of: str, but: Sequence[str]) -> str:
        """The most alike."""

    def group(self, clause: str) -> str:
        """A clause that is one thing among others."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a tag: its name as it is shown, and of which kind it is; None where it is not in the catalog."""

    name: str
    kind: TagKind | None = None
    hierarchical: bool = False
    unit: str | None = None


class Names:
    """How the tags and saved audiences of a catalog are called in sentences: no two of them alike.

    By name, where that is the name of no other; else by key, in backticks, which stand in no name that is shown.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._tags: Mapping[str, Tag] = catalog.tags
        self._audiences = catalog.audiences
        self._entities = catalog.entities
        self._tag_names = Counter(tag.name for tag in catalog.tags.values())
        self._audience_names = Counter(each.name for each in catalog.audiences.values())

    def tag(self, key: str, shown: Callable[[str], str]) -> Told:
        """What is told of a tag. shown: how the language shows a name."""
        tag = self._tags.get(key)
        if tag is None:
            return Told(f"`{key}`")
        unit = tag.unit if tag.kind is TagKind.NUMBER and tag.unit and is_plain(tag.unit) else None
        return Told(self._shown(tag.name, key, self._tag_names, shown), tag.kind, tag.hierarchical, unit)

    def audience(self, key: str) -> str:
        """A saved audience."""
        saved = self._audiences.get(key)
        return f"`{key}`" if saved is None else self._shown(saved.name, key, self._audience_names, quoted)

    def entity(self, key: str) -> str | None:
        """The name of an entity kind; None for the one of persons that there always is."""
        return None if key == "user" else quoted(self._entities[key].name)

    def _shown(self, name: str, key: str, names: Counter[str], shown: Callable[[str], str]) -> str:
        is_own = bool(name) and names[name] == 1
        return shown(name) if is_own else f"`{key}`"


# ---------------------------------------------------------------- words

_PLAIN = re.compile(r"[^\W_][\w%$€£-]*( [\w%$€£&-]+)*")


def is_plain(name: str) -> bool:
    """Whether a name is words and single spaces, and nothing that a sentence is made of."""
    return _PLAIN.fullmatch(name) is not None


def quoted(text: str) -> str:
    """A text in quotation marks, and no other text looks so: what would end it, or does not print, is escaped."""
    return "“" + "".join(map(_escaped, text)) + "”"


def _escaped(char: str) -> str:
    if char in "\\”":
        return "\\" + char
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def grouped(number: Decimal) -> str:
    """A number in groups of three digits, exactly: 1,234.5."""
    whole, dot, decimals = number_text(number).partition(".")
    return number_text(number) if whole == "-0" else f"{int(whole):,}{dot}{decimals}"


def percent(share: float) -> str:
    """A share in percent, exactly as its shortest text says it: 0.155 is 15.5%."""
    return f"{number_text(Decimal(float_text(share)).scaleb(2))}%"


def pieces(duration: timedelta) -> list[tuple[str, str]]:
    """A duration as amounts of days, hours, minutes and seconds, without those that are nothing."""
    hours, rest = divmod(duration.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    exact = number_text(seconds + Decimal(duration.microseconds).scaleb(-6))
    amounts = (("day", str(duration.days)), ("hour", str(hours)), ("minute", str(minutes)), ("second", exact))
    return [(unit, amount) for unit, amount in amounts if amount != "0"]


def clock(moment: datetime) -> str | None:
    """The time of day of a moment in UTC with the decimals that it has, None at midnight."""
    time = moment.time()
    if not (time.hour or time.minute or time.second or time.microsecond):
        return None
    return time.isoformat().rstrip("0") if time.microsecond else time.isoformat()
