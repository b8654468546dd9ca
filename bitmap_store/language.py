"""The audience language: from text to expressions, and the door to all that belongs to it.

A parser by recursive descent: one method for each rule of the grammar in `docs/audience-language.md`.
Tokens are made in `lexer.py`; the way back to text is `text.py`; what is allowed, `validity.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import Any, NamedTuple, TypeVar

from bitmap_store.errors import Invalid, TagroarError, TooLarge
from bitmap_store.expression import (
    DEPTH_MAX,
    LEAVES_MAX,
    And,
    At,
    AtLeast,
    Everyone,
    Expression,
    InSnapshot,
    Lookalike,
    Match,
    Not,
    Operator,
    Or,
    Part,
    Quantifier,
    Related,
    Saved,
    Users,
    check_bounds,
)
from bitmap_store.lexer import Kind, Token, located, tokens
from bitmap_store.literals import RESERVED, check_key, parse_duration, parse_moment, shown
from bitmap_store.text import canonical, render
from bitmap_store.validity import check, check_match, check_node, check_number

__all__ = ["TEXT_BYTES_MAX", "canonical", "check", "check_key", "check_match", "parse", "render"]

TEXT_BYTES_MAX = 64 * 1024


def parse(
    text: str, *, leaves_max: int = LEAVES_MAX, depth_max: int = DEPTH_MAX, bytes_max: int = TEXT_BYTES_MAX
) -> Expression:
    """The canonical expression that a text of the audience language says. Linear in the text.

    INVALID with line, column and what was expected there; TOO_LARGE beyond a limit. Parentheses count as
    levels while they are open. Our own texts may be longer than what people may send: see `bytes_max`.
    """
    return _Parser(text, leaves_max, depth_max, bytes_max).expression()


def _integer(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise Invalid(f"{shown(text)} is not a whole number of at most 18 digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise Invalid(f"{shown(text)} is out of range")
    return number


def _decimal(text: str) -> Decimal:
    try:
        return check_number(Decimal(text))
    except InvalidOperation:  # an exponent that not even Decimal holds
        raise Invalid(f"{shown(text)} is out of range") from None


# ---------------------------------------------------------------- conditions of a tag


class _Condition(NamedTuple):
    """How the value behind the word of a condition is read, and the field of Match it goes to."""

    field: str
    kind: Kind
    what: str
    read: Callable[[str], object]


_DATE = (Kind.STRING, "a date in double quotes", parse_moment)
_SPAN = (Kind.WORD, "a duration such as P30D", parse_duration)
_CONDITIONS = {
    "times": _Condition("times", Kind.NUMBER, "a whole number", _integer),
    "score": _Condition("min_score", Kind.NUMBER, "a number", _float),
    "after": _Condition("after", *_DATE),
    "before": _Condition("before", *_DATE),
    "within": _Condition("within", *_SPAN),
    "skip": _Condition("skip", *_SPAN),
    "ahead": _Condition("ahead", *_SPAN),
}
_COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})

_S = TypeVar("_S")
_T = TypeVar("_T")


class _Parser:
    """One reading of one text. A method takes the tokens of its rule, `self._token` being the first."""

    def __init__(self, text: str, leaves_max: int, depth_max: int, bytes_max: int) -> None:
        self._text = text
        self._leaves_max, self._depth_max, self._bytes_max = leaves_max, depth_max, bytes_max
        self._leaves = self._level = 0
        self._tokens = tokens(text)

    def expression(self) -> Expression:
        self._check_text()
        self._token = next(self._tokens)
        node = self._or()
        if self._token.kind is not Kind.END:
            raise self._expected("'and', 'or' or the end")
        self._located(lambda node: check_bounds(node, self._leaves_max, self._depth_max), node, 0)
        return node

    # ------------------------------------------------------------ rules

    def _or(self) -> Expression:
        return self._chain("or", Or, self._and)

    def _and(self) -> Expression:
        return self._chain("and", And, self._unary)

    def _chain(self, word: str, node: type[And | Or], operand: Callable[[], Expression]) -> Expression:
        of = [operand()]
        while self._accepts(word):
            of.append(operand())
        return of[0] if len(of) == 1 else node(tuple(of))

    def _unary(self) -> Expression:
        nots = 0
        while self._stands("not"):
            self._enter()
            self._advance()
            nots += 1
        node = self._primary()
        self._level -= nots
        for _ in range(nots):
            node = Not(node)
        return node

    def _primary(self) -> Expression:
        start = self._token
        if self._stands("("):
            return self._inner()
        if start.kind in (Kind.WORD, Kind.QUOTED):
            return self._tag_or_lookalike()
        if start.kind is Kind.NUMBER:
            return self._at_least()
        form = _FORMS.get(start.value) if start.kind is Kind.FIXED else None
        if form is None:
            raise self._expected("a tag key, '(' or 'not'", key=True)
        self._advance()
        return form(self, start)

    def _inner(self) -> Expression:
        self._enter()
        self._expects("(")
        node = self._or()
        self._expects(")", "'and', 'or' or ')'")
        self._level -= 1
        return node

    def _at_least(self) -> Expression:
        start = self._token
        count = self._read(Kind.NUMBER, "a whole number", _integer)
        self._expects("of", "'of' (a key that begins with a digit stands in backticks)")
        self._enter()
        of = self._listed(self._or)
        self._level -= 1
        return self._checked(AtLeast(count, of), start.start)

    def _everyone(self, start: Token) -> Expression:
        return self._leaf(Everyone(), start)

    def _saved(self, start: Token) -> Expression:
        return self._leaf(Saved(self._key("saved audience key")), start)

    def _users(self, start: Token) -> Expression:
        id_kind = None if self._stands("(") else self._key("kind of identifier", "'(' or a kind of identifier")
        return self._leaf(Users(self._listed(self._string), id_kind), start)

    def _known(self, start: Token) -> Expression:
        self._expects("(")
        key = self._key("tag key")
        self._expects(")")
        return self._leaf(Match(key), start)

    def _at(self, start: Token) -> Expression:
        moment = self._read(*_DATE)
        return self._checked(At(moment, self._inner()), start.start)

    def _part(self, start: Token) -> Expression:
        self._expects("(")
        seed = self._string()
        bounds, places = [], {}
        for argument in ("part.from", "part.to"):
            self._expects(",")
            places[argument] = self._token.start
            bounds.append(self._read(Kind.NUMBER, "a number from 0 to 1", _float))
        self._expects(")")
        return self._leaf(Part(seed, *bounds), start, places)

    def _snapshot(self, start: Token) -> Expression:
        self._expects("(")
        id_ = self._string()
        self._expects(")")
        return self._leaf(InSnapshot(id_), start)

    def _related(self, start: Token) -> Expression:
        relation = self._key("relation")
        return self._checked(Related(relation, Quantifier(start.value.upper()), self._inner()), start.start)

    def _tag_or_lookalike(self) -> Expression:
        start = self._token
        key = self._key("tag key")
        # `like`, `size`, `threshold` and `except` came after the reserved words and take no tag's name away.
        if start.kind is Kind.WORD and key.lower() == "like" and self._stands("("):
            return self._lookalike(start)
        return self._tag(key, start)

    def _lookalike(self, start: Token) -> Expression:
        of = self._inner()
        by_size = self._accepts_word("size")
        if not by_size and not self._accepts_word("threshold"):
            raise self._expected("'size' or 'threshold'")
        bound = self._token.start
        if by_size:
            node = Lookalike(of, size=self._read(Kind.NUMBER, "a whole number", _integer))
        else:
            node = Lookalike(of, threshold=self._read(Kind.NUMBER, "a number", _float))
        if self._accepts_word("except"):
            node = replace(node, exclude_tags=self._listed(lambda: self._key("tag key")))
        return self._checked(node, start.start, {"lookalike.size": bound})

    def _tag(self, key: str, start: Token) -> Expression:
        """A tag with what follows its key. Conditions belong to what carries the comparison."""
        operator = self._token.value if self._token.kind is Kind.FIXED else ""
        own: dict[str, Any] = {}
        that_day: dict[str, Any] = {}
        places: dict[str, int] = {}
        if operator == "[":
            own = {"values": self._listed(self._string, "[", "]")}
        elif operator == "in":
            self._advance()
            own = {"values": self._listed(self._string)}
        elif operator in _COMPARISONS:
            self._advance()
            place = self._token.start
            own, that_day = self._comparison(operator)
            places = dict.fromkeys(own, place)
        conditions = self._conditions(places)

        def matched(own: dict[str, Any]) -> Match:
            return self._located(check_match, Match(key, **own, **conditions), start.start, places)

        node: Expression = matched(own)
        if operator == "!=":
            node = And((Match(key), Not(node)))
        elif operator == ">" and that_day:
            node = And((node, Not(matched(that_day))))
        elif operator == "<=" and that_day:
            node = Or((node, matched(that_day)))
        self._count(1 if isinstance(node, Match) else 2, start)
        return node

    def _comparison(self, operator: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields that a comparison fills; when it orders a date, also those of being that very day."""
        operand = self._token
        equality = operator in ("=", "!=")
        if operand.kind is Kind.NUMBER:
            symbol = Operator.EQ if equality else Operator(operator)
            return {"operator": symbol, "number": self._read(Kind.NUMBER, "a number", _decimal)}, {}
        if equality:
            return {"values": (self._read(Kind.STRING, "a number or a value in double quotes", str),)}, {}
        moment = self._read(Kind.STRING, "a number or a date in double quotes", parse_moment)
        return {"after" if operator in (">", ">=") else "before": moment}, {"values": (operand.value,)}

    def _conditions(self, places: dict[str, int]) -> dict[str, Any]:
        """The conditions behind a tag, each at most once; notes in `places` where their values stand."""
        found: dict[str, object] = {}
        while self._token.kind is Kind.FIXED and self._token.value in _CONDITIONS:
            field, kind, what, read = _CONDITIONS[self._token.value]
            if field in places:
                raise self._invalid(self._token.start, f"'{self._token.value}' is given a second time")
            self._advance()
            places[field] = self._token.start
            found[field] = self._read(kind, what, read)
        return found

    # ------------------------------------------------------------ pieces

    def _listed(self, item: Callable[[], _T], opening: str = "(", closing: str = ")") -> tuple[_T, ...]:
        self._expects(opening)
        items = [item()]
        while self._accepts(","):
            items.append(item())
        self._expects(closing, f"',' or '{closing}'")
        return tuple(items)

    def _string(self) -> str:
        return self._read(Kind.STRING, "a text in double quotes", str)

    def _key(self, what: str, expected: str = "") -> str:
        if self._token.kind not in (Kind.WORD, Kind.QUOTED):
            raise self._expected(expected or f"a {what}", key=True)
        return self._read(self._token.kind, what, lambda text: check_key(text, what))

    def _read(self, kind: Kind, what: str, read: Callable[[str], _T]) -> _T:
        token = self._token
        if token.kind is not kind:
            raise self._expected(what)
        value = self._located(read, token.value, token.start)
        self._advance()
        return value

    def _stands(self, fixed: str) -> bool:
        return self._token.kind is Kind.FIXED and self._token.value == fixed

    def _accepts(self, fixed: str) -> bool:
        stands = self._stands(fixed)
        if stands:
            self._advance()
        return stands

    def _accepts_word(self, word: str) -> bool:
        stands = self._token.kind is Kind.WORD and self._token.value.lower() == word
        if stands:
            self._advance()
        return stands

    def _expects(self, fixed: str, what: str = "") -> None:
        if not self._accepts(fixed):
            raise self._expected(what or f"'{fixed}'")

    def _advance(self) -> Token:
        token, self._token = self._token, next(self._tokens)
        return token

    # ------------------------------------------------------------ limits and errors

    def _enter(self) -> None:
        self._level += 1
        if self._level > self._depth_max:
            message = f"the expression is nested deeper than {self._depth_max} levels"
            raise located(TooLarge(message), self._text, self._token.start)

    def _leaf(self, node: Expression, start: Token, places: Mapping[str, int] | None = None) -> Expression:
        self._count(1, start)
        return self._checked(node, start.start, places)

    def _count(self, leaves: int, start: Token) -> None:
        self._leaves += leaves
        if self._leaves > self._leaves_max:
            message = f"the expression has more than {self._leaves_max} leaves"
            raise located(TooLarge(message), self._text, start.start)

    def _checked(self, node: Expression, start: int, places: Mapping[str, int] | None = None) -> Expression:
        return self._located(check_node, node, start, places)

    def _check_text(self) -> None:
        try:
            size = len(self._text.encode()) if len(self._text) <= self._bytes_max else len(self._text)
        except UnicodeEncodeError as error:
            raise self._invalid(error.start, "half of a surrogate pair is not a character") from None
        if size > self._bytes_max:
            raise located(TooLarge(f"the text is longer than {self._bytes_max} bytes"), self._text, 0)

    def _expected(self, what: str, *, key: bool = False) -> Invalid:
        token = self._token
        found = "the end" if token.kind is Kind.END else shown(token.source)
        if key and token.value in RESERVED and token.kind is Kind.FIXED:
            found = f"the reserved word {found} (as a key: `{token.source}`)"
        return self._invalid(token.start, f"expected {what}, found {found}")

    def _invalid(self, place: int, message: str) -> Invalid:
        return located(Invalid(message), self._text, place)

    def _located(self, check: Callable[[_S], _T], value: _S, place: int, places: Mapping[str, int] | None = None) -> _T:
        """What `check` gives; an error of it is located at the place of the argument it names, else at `place`."""
        try:
            return check(value)
        except TagroarError as error:
            located(error, self._text, (places or {}).get(error.argument or "", place))
            raise


_FORMS: dict[str, Callable[[_Parser, Token], Expression]] = {
    "everyone": _Parser._everyone,
    "@": _Parser._saved,
    "users": _Parser._users,
    "known": _Parser._known,
    "at": _Parser._at,
    "part": _Parser._part,
    "snapshot": _Parser._snapshot,
    "any": _Parser._related,
    "all": _Parser._related,
    "none": _Parser._related,
}
"""The rules by the reserved word or mark that each begins with."""
