"""Sentences in English: how it says each kind of node, a finding, a change, a portrait's figures."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from bitmap_store.expression import Lookalike, Match, Operator, Quantifier
from bitmap_store.literals import float_text
from bitmap_store.values import TagKind
from resolvers.wording import Told, clock, grouped, is_plain, pieces, quoted

_COMPARED = {
    Operator.EQ: "exactly",
    Operator.LT: "less than",
    Operator.LTE: "at most",
    Operator.GT: "more than",
    Operator.GTE: "at least",
}
# fmt: off
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")
_SAID = frozenset((
    "a", "after", "all", "among", "an", "and", "any", "anything", "as", "at", "before", "below", "but", "day", "days",
    "does", "exactly", "exists", "from", "given", "has", "have", "hour", "hours", "in", "is", "known", "last", "least",
    "less", "like", "minute", "minutes", "month", "more", "most", "next", "not", "of", "on", "once", "one", "or",
    "second", "seconds", "so", "than", "that", "the", "times", "to", "was", "who", "with", "within",
))
# fmt: on
"""Words that clauses are made of: a name that holds one is shown in quotes."""


def name(text: str) -> str:
    """A name: bare where it cannot be taken for anything else."""
    bare = is_plain(text) and not any(word in _SAID or word.isdecimal() for word in text.split(" "))
    return text if bare else quoted(text)


class English:
    """See `wording.Grammar`: clauses go on from "everyone who"."""

    def sentence(self, clause: str | None, entity: str | None) -> str:
        """Everyone who ..."""
        if clause is None:
            return "Everyone." if entity is None else f"Every {entity}."
        if not clause:
            return "Nobody." if entity is None else f"No {entity}."
        return f"Everyone who {clause}." if entity is None else f"Every {entity} that {clause}."

    def everyone(self) -> str:
        """Exists: who is asked about does."""
        return "exists"

    def match(self, match: Match, told: Told) -> str:
        """Has ..."""
        return f"has {self._had(match, told)}"

    def no_match(self, match: Match, told: Told) -> str:
        """Does not have ..."""
        return f"does not have {self._had(match, told)}"

    def all_of(self, of: Sequence[str]) -> str:
        """A, b, and c."""
        return _listed(of, "and")

    def any_of(self, of: Sequence[str]) -> str:
        """A, b, or c."""
        return _listed(of, "or")

    def not_(self, of: str) -> str:
        """Is not ..."""
        return f"is not {of.removeprefix('is ')}" if of.startswith(_STATES) else f"is not one who {_one(of)}"

    def at_least(self, count: int, of: Sequence[str]) -> str:
        """Is at least 2 of these."""
        return f"fulfills at least {count} of these {len(of)}: ({'; '.join(of)})"

    def saved(self, name: str) -> str:
        """Is in an audience."""
        return f"is in the audience {name}"

    def users(self, ids: Sequence[str], id_kind: str | None) -> str:
        """Is one of these."""
        kind = "" if id_kind is None else f" with the {quoted(id_kind)}"
        return f"is {'the user' if len(ids) == 1 else 'one of the users'}{kind} {_quotes(ids)}"

    def at(self, moment: datetime, of: str) -> str:
        """Was, at the time ..."""
        return f"as of {_moment(moment)} was one who {_one(of)}"

    def part(self, seed: str, start: str, end: str) -> str:
        """Is in a slice."""
        return f"is in the slice from {start} to {end} by the seed {quoted(seed)}"

    def snapshot(self, id_: str) -> str:
        """Is in a snapshot."""
        return f"is in the snapshot {quoted(id_)}"

    def related(self, relation: str, quantifier: Quantifier, of: str) -> str:
        """Has among ..."""
        how = {Quantifier.ANY: "at least one", Quantifier.ALL: "none but ones", Quantifier.NONE: "not a single one"}
        return f"has among its {quoted(relation)} {how[quantifier]} that {_one(of)}"

    def lookalike(self, node: Lookalike, of: str, but: Sequence[str]) -> str:
        """Is one of those most like ..."""
        without = f" apart from ({', '.join(but)})" if but else ""
        if node.threshold is not None:
            return f"is like everyone who {_one(of)}{without} with a score of at least {float_text(node.threshold)}"
        return f"is among the {node.size:,} most like everyone who {_one(of)}{without}"

    def group(self, clause: str) -> str:
        """In parentheses."""
        return f"({clause})"

    def _had(self, match: Match, told: Told) -> str:
        """What of a tag one has: values, number, how often, when, with what score."""
        what = told.name
        if match.values is not None:
            below = " or anything below" if told.hierarchical else ""
            link = "of" if told.kind is TagKind.EVENT else "among" if told.kind is TagKind.CHOICES else "as"
            values = _quotes(match.values)
            if told.kind is TagKind.EVENT:
                what = f"{told.name} of {values}{below}"
            else:
                what = f"{values}{below} {link} {told.name}"
        elif match.operator is not None and match.number is not None:
            unit = "" if told.unit is None else f" {told.unit}"
            what = f"{told.name} of {_COMPARED[match.operator]} {grouped(match.number)}{unit}"
        elif not _is_limited(match) and told.kind not in (TagKind.FLAG, TagKind.EVENT, None):
            what = f"a known {told.name}"
        often = _often(match.times)
        score = "" if match.min_score is None else f" with a score of at least {float_text(match.min_score)}"
        when = _when(match)
        if when and told.kind not in (TagKind.EVENT, TagKind.DATE):
            when = " given" + when
        return f"{what}{often}{score}{when}"


_STATES = ("is in ", "is the user", "is one of ")
"""How clauses begin that are turned round by a word."""


def _one(clause: str) -> str:
    return clause if clause.startswith("(") else f"({clause})"


def _is_limited(match: Match) -> bool:
    given = (match.after, match.before, match.within, match.ahead, match.times, match.min_score)
    return any(each is not None for each in given)


def _often(times: int | None) -> str:
    if times is None:
        return ""
    return " at least once" if times == 1 else f" at least {times:,} times"


def _when(match: Match) -> str:
    found = []
    if match.after is not None:
        found.append(f"on or after {_moment(match.after)}")
    if match.before is not None:
        found.append(f"before {_moment(match.before)}")
    if match.within is not None:
        until = "" if match.skip is None else f" but not the last {duration(match.skip)}"
        found.append(f"within the last {duration(match.within)}{until}")
    if match.ahead is not None:
        found.append(f"within the next {duration(match.ahead)}")
    return f" {' and '.join(found)}" if found else ""


def duration(span: timedelta) -> str:
    """A duration: 1 day 12 hours."""
    return " ".join(f"{amount} {unit}{'' if amount == '1' else 's'}" for unit, amount in pieces(span))


def _moment(moment: datetime) -> str:
    day = f"{_MONTHS[moment.month - 1]} {moment.day}, {moment.year}"
    time = clock(moment)
    return day if time is None else f"{day} at {time} UTC"


def _quotes(texts: Sequence[str]) -> str:
    return _listed([quoted(text) for text in texts], "or")


def _listed(of: Sequence[str], word: str) -> str:
    if len(of) < 3:
        return f" {word} ".join(of)
    return f"{', '.join(of[:-1])}, {word} {of[-1]}"
