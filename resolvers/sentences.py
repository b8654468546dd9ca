"""Sentences: an expression in words, for people. Different expressions have different sentences in each language.

The text of the audience language is what is parsed back; a sentence is for reading (decision 0031).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from math import floor

from bitmap_store.catalog import Catalog
from bitmap_store.expression import (
    NOTHING,
    And,
    At,
    AtLeast,
    Everyone,
    Expression,
    InSnapshot,
    Lookalike,
    Match,
    Not,
    Or,
    Part,
    Related,
    Saved,
    Users,
)
from bitmap_store.literals import moment_text
from bitmap_store.text import canonical
from bitmap_store.values import Tag, TagKind
from resolvers import english
from resolvers.answers import Portrait, Question, Row, RowKind, number_or_day
from resolvers.chinese import Chinese
from resolvers.context import Context
from resolvers.english import English
from resolvers.wording import Grammar, Language, Names, Told, grouped, percent, quoted

GRAMMARS: Mapping[Language, Grammar] = {Language.EN: English(), Language.ZH: Chinese()}


def sentence(context: Context, question: Question, language: Language) -> str:
    """The question in words, with the names of the catalog."""
    context.viewer.require("count", "members")
    return sentence_of(question.expression, question.entity, context.view.catalog, language)


def sentence_of(expression: Expression, entity: str, catalog: Catalog, language: Language) -> str:
    """An expression of an entity kind in words."""
    node = canonical(expression)
    speaker = Speaker(GRAMMARS[language], Names(catalog), language)
    clause = None if node == Everyone() else "" if node == NOTHING else speaker.clause(node)
    return speaker.grammar.sentence(clause, speaker.names.entity(entity))


class Speaker:
    """Says nodes in one language, with the names of one catalog."""

    def __init__(self, grammar: Grammar, names: Names, language: Language) -> None:
        self.grammar = grammar
        self.names = names
        self._shown = english.name if language is Language.EN else quoted

    def clause(self, node: Expression) -> str:
        """A canonical node as a clause; what joins several is not in parentheses."""
        grammar = self.grammar
        match node:
            case Everyone():
                return grammar.everyone()
            case Match():
                return grammar.match(node, self.told(node.key))
            case Not(Match() as of):
                return grammar.no_match(of, self.told(of.key))
            case Not(of):
                return grammar.not_(self.one(of))
            case And(of):
                return grammar.all_of([self.one(child) for child in of])
            case Or(of):
                return grammar.any_of([self.one(child) for child in of])
            case AtLeast(count, of):
                return grammar.at_least(count, [self.clause(child) for child in of])
            case Saved(key):
                return grammar.saved(self.names.audience(key))
            case Users(ids, id_kind):
                return grammar.users(ids, id_kind)
            case At(as_of, of):
                return grammar.at(as_of.astimezone(UTC), self.one(of))
            case Part(seed, start, end):
                return grammar.part(seed, percent(start), percent(end))
            case InSnapshot(id_):
                return grammar.snapshot(id_)
            case Related(relation, quantifier, of):
                return grammar.related(relation, quantifier, self.one(of))
            case Lookalike(of=of, exclude_tags=but):
                return grammar.lookalike(node, self.one(of), [self.told(key).name for key in but])
        raise TypeError(f"{type(node).__name__} has no sentence")

    def one(self, node: Expression) -> str:
        """A canonical node as one thing among others: in parentheses where it could be read apart."""
        clause = self.clause(node)
        return self.grammar.group(clause) if isinstance(node, And | Or) else clause

    def told(self, key: str) -> Told:
        """What is told of a tag."""
        return self.names.tag(key, self._shown)


# ---------------------------------------------------------------- changes

_CHANGES = {
    Language.EN: {
        "GIVE": "give {0}", "GIVE value": "give {0} {1}", "TAKE": "take {0}", "TAKE value": "take {0} {1}",
        "RECORD": "record {2:,} more of {0}, on {3}", "RECORD value": "record {2:,} more of {0} of {1}, on {3}",
    },
    Language.ZH: {
        "GIVE": "给予{0}", "GIVE value": "将{0}设为{1}", "TAKE": "移除{0}", "TAKE value": "从{0}中移除{1}",
        "RECORD": "在{3}再记录{2:,}次{0}", "RECORD value": "在{3}再记录{2:,}次{0}（{1}）",
    },
}  # fmt: skip
SCORED = {Language.EN: " with a score of {}", Language.ZH: "，分数为{}"}
"""What follows a change that gives a score."""


def change_sentence(
    catalog: Catalog,
    kind: str,
    tag: Tag,
    value: str | None,
    amount: Decimal | date | None,
    count: int | None,
    day: date | None,
    language: Language,
) -> str:
    """A write in words. kind: GIVE, TAKE or RECORD; amount: the number or the date that is given."""
    name = Speaker(GRAMMARS[language], Names(catalog), language).told(tag.key).name
    said = quoted(value) if value is not None else None if amount is None else _amount(amount)
    form = _CHANGES[language][kind if said is None else f"{kind} value"]
    return form.format(name, said, count or 0, day)


def _amount(amount: Decimal | date) -> str:
    if isinstance(amount, Decimal):
        return grouped(amount)
    return moment_text(amount) if isinstance(amount, datetime) else amount.isoformat()


# ---------------------------------------------------------------- portraits


def portrait_sentence(context: Context, portrait: Portrait, language: Language) -> str:
    """What a portrait by one tag shows, in words: its largest values beside the baseline, and its numbers."""
    context.viewer.require("count")
    name = Speaker(GRAMMARS[language], Names(context.view.catalog), language).told(portrait.tag.key).name
    words = _PORTRAYED[language]
    has_range = portrait.numbers is not None  # whose rows are ranges of equal width
    rows = [row for row in portrait.rows if row.kind is RowKind.VALUE and row.size and not has_range]
    largest = sorted(rows, key=lambda row: -row.size)[:ROWS_SAID]
    is_flag = portrait.tag.kind is TagKind.FLAG
    form = words.flagged if is_flag else words.row
    said = [form.format(_share(row.share), quoted(row.values[0] or ""), _beside(row, words)) for row in largest]
    numbers = portrait.numbers
    if numbers is not None and numbers.summary.min is not None and numbers.summary.max is not None:
        low, high = (number_or_day(portrait.tag, units) for units in (numbers.summary.min, numbers.summary.max))
        middle = number_or_day(portrait.tag, floor(numbers.summary.median or 0))
        said.append(words.numbers.format(low, high, middle))
    whole = words.flag if is_flag else words.whole
    return whole.format(name, f"{portrait.known:,}", words.between.join(said)) if said else words.nobody.format(name)


ROWS_SAID = 3
"""How many values of a tag are said."""


@dataclass(frozen=True, slots=True)
class _Portrayed:
    """How a language says the figures of a portrait."""

    whole: str
    nobody: str
    flag: str
    between: str
    row: str
    flagged: str
    beside: str
    as_many: str
    nowhere: str
    numbers: str


_PORTRAYED = {
    Language.EN: _Portrayed(
        "{} is known of {}: {}.",
        "{} is known of nobody.",
        "{1} have {0}: {2}.",
        "; ",
        "{} have {}, {}",
        "{0}, {2}",
        "{} times the {} of the baseline",
        "as many as of the baseline",
        "and nobody of the baseline has",
        "the values are from {} to {}, half of them up to {}",
    ),
    Language.ZH: _Portrayed(
        "{}已知的有{}人：{}。",
        "{}没有已知的人。",
        "有{}的有{}人：{}。",
        "；",
        "{}为{}，{}",
        "{0}，{2}",
        "是基准{1}的{0}倍",
        "与基准相同",
        "而基准中没有",
        "取值从{}到{}，一半不超过{}",
    ),
}


def _share(share: float) -> str:
    return f"{share * 100:.1f}%"


def _beside(row: Row, words: _Portrayed) -> str:
    if row.tgi is None:
        return words.nowhere
    times = f"{row.tgi / 100:.1f}"
    return words.as_many if times == "1.0" else words.beside.format(times, _share(row.baseline_share))
