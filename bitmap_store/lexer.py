"""The lexer of the audience language: a text as tokens, one at a time.

Lazily, so that of two errors the reader is told the first, and a text is read only as far as it is
right. What the tokens mean is in `language.py`.
"""

import json
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple, TypeVar

from bitmap_store.errors import Invalid, TagroarError
from bitmap_store.literals import RESERVED, check_string, odd_place, shown

_Error = TypeVar("_Error", bound=TagroarError)


class Kind(Enum):
    """`FIXED` is what the grammar puts in quotes: marks and reserved words; its value is in lower case."""

    FIXED = auto()
    WORD = auto()
    QUOTED = auto()
    STRING = auto()
    NUMBER = auto()
    END = auto()


class Token(NamedTuple):
    """A piece of text: what it says, how it is written, and where it starts."""

    kind: Kind
    value: str
    source: str
    start: int


_WORD = r"(?:[A-Za-z_]|[^\x00-\x7f\s])(?:[A-Za-z0-9_.\-]|[^\x00-\x7f\s])*"
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<word>{_WORD})
    | (?P<quoted>`[^`]*`)
    | (?P<string>"[^"\\]*(?:\\.[^"\\]*)*")
    | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<foreign>==|<>|&&|\|\||!(?!=))
    | (?P<mark><=|>=|!=|[()\[\],@=<>])
    | (?P<end>\Z)
    | (?P<odd>.))""",
    re.VERBOSE | re.DOTALL,
)
_UNCLOSED = {
    '"': "the text that begins here has no closing quote",
    "`": "the key that begins here has no closing backtick",
}
_ESCAPES = r"a text in quotes is JSON: its escapes are \" \\ \/ \b \f \n \r \t \uXXXX, and a line break is \n"
_FOREIGN = {
    **{"==": "=", "＝": "=", "<>": "!=", "≠": "!=", "＜": "<", "＞": ">", "≤": "<=", "≥": ">="},
    **{"&": "and", "&&": "and", "|": "or", "||": "or", "!": "not", "！": "not", "＠": "@", "，": ",", "、": ","},
    **{"（": "(", "）": ")", "［": "[", "］": "]", "【": "[", "】": "]"},
    **dict.fromkeys("'‘’“”", '"'),
}
"""What other languages and keyboards write, and what is written here."""


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text, `END` last; INVALID, located, at the first piece that is none."""
    place = 0
    while True:
        found = _TOKEN.match(text, place)
        assert found and found.lastgroup  # there is an alternative for every character
        start, place = found.span(found.lastgroup)
        source = found[found.lastgroup]
        match found.lastgroup:
            case "word":
                odd = odd_place(source)
                if odd is not None:
                    raise _foreign(source[odd], text, start + odd)
                lower = source.lower()
                reserved = lower in RESERVED
                yield Token(Kind.FIXED if reserved else Kind.WORD, lower if reserved else source, source, start)
            case "mark":
                yield Token(Kind.FIXED, source, source, start)
            case "string":
                yield Token(Kind.STRING, _decoded(text, source, start), source, start)
            case "number":
                yield Token(Kind.NUMBER, source, source, start)
            case "quoted":
                yield Token(Kind.QUOTED, source[1:-1], source, start)
            case "end":
                yield Token(Kind.END, "", "", start)
                return
            case _:
                raise _foreign(source, text, start)


def located(error: _Error, text: str, place: int) -> _Error:
    """The error with the line and column, from 1, of a place in the text instead of an argument."""
    error.argument = None
    error.line = text.count("\n", 0, place) + 1
    error.column = place - text.rfind("\n", 0, place)
    return error


def _decoded(text: str, source: str, place: int) -> str:
    try:
        value: str = json.loads(source)
    except json.JSONDecodeError as error:
        raise located(Invalid(_ESCAPES), text, place + error.pos) from None
    try:
        return check_string(value)
    except Invalid as error:
        located(error, text, place)
        raise


def _foreign(mark: str, text: str, place: int) -> Invalid:
    hint = f"; write {shown(_FOREIGN[mark])}" if mark in _FOREIGN else ""
    message = _UNCLOSED.get(mark) or f"{shown(mark)} does not belong to the language{hint}"
    return located(Invalid(message), text, place)
