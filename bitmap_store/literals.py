"""How keys, moments, durations and numbers are written: the one reading and writing of each, for every layer.

Text from outside goes through `check_key` and the `parse_*` functions, which refuse with a sentence;
the `*_text` functions write values that have passed. Expressions are written in `text.py`.
"""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from bitmap_store.errors import Invalid
from bitmap_store.expression import nfc

# fmt: off
RESERVED = frozenset((
    "or", "and", "not", "everyone", "users", "known", "of", "at", "part", "snapshot", "any", "all", "none", "in",
    "times", "score", "after", "before", "within", "skip", "ahead",
))
# fmt: on
"""Words that are no keys, in any case; in backticks they are."""

KEY_CHARACTERS_MAX = 200
DURATION_MAX = timedelta(days=36_525)
"""100 years."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN_CHARACTERS_MAX = 40
_DURATION_CHARACTERS_MAX = 80
_BARE_ASCII = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d(?P<time>[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?P<offset>[Zz]|[+-]\d\d:\d\d)?)?", re.A
)
_DURATION = re.compile(
    r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,6}))?S)?)?", re.A | re.I
)
_CALENDAR_DURATION = re.compile(r"P\d+[^T]*[YM]", re.A | re.I)


# ---------------------------------------------------------------- keys


def check_key(key: str, what: str = "key", *, argument: str | None = None) -> str:
    """The key in NFC; INVALID, naming `what` it is, when it cannot be a key at all.

    1 to 200 characters, no spaces around, no backtick, no control or format character, no half of a
    surrogate pair: all else can be written in backticks.
    """
    key = nfc(key)
    if len(key) <= KEY_CHARACTERS_MAX and _BARE_ASCII.fullmatch(key):
        return key
    one = f"an {what}" if what[0] in "aeio" else f"a {what}"  # "a user"
    if not key:
        raise Invalid(f"{one} cannot be empty", argument=argument)
    if len(key) > KEY_CHARACTERS_MAX:
        raise Invalid(f"{one} has at most {KEY_CHARACTERS_MAX} characters", argument=argument)
    if key != key.strip():
        raise Invalid(f"the {what} {shown(key)} begins or ends with a space", argument=argument)
    odd = next((c for c in key if c == "`" or unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")), None)
    if odd is not None:
        raise Invalid(f"{one} cannot contain {shown(odd)}", argument=argument)
    return key


def check_string(text: str, argument: str | None = None) -> str:
    """The text; INVALID when half of a surrogate pair stands in it, which no encoding can write."""
    found = _SURROGATE.search(text)
    if found:
        raise Invalid(f"half of a surrogate pair, {shown(found[0])}, is not a character", argument=argument)
    return text


def key_text(key: str) -> str:
    """A key as the language writes it: bare where it can be, else in backticks."""
    bare = odd_place(key) is None and key.lower() not in RESERVED
    return key if bare else f"`{key}`"


def odd_place(word: str) -> int | None:
    """Where the first character stands that a bare key cannot have there; None when it can be bare."""
    if _BARE_ASCII.fullmatch(word):
        return None
    for place, c in enumerate(word):
        letter = c == "_" or unicodedata.category(c)[0] == "L"
        # A mark belongs to its letter: most words of Hindi or Thai cannot be written without.
        inner = c in "-." or unicodedata.category(c) in ("Nd", "Mn", "Mc")
        if not (letter or (inner and place > 0)):
            return place
    return None if word else 0


def shown(text: str) -> str:
    """A piece of input in quotes for a sentence: shortened, and with nothing in it that does not print."""
    cut = text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + "…"
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut) + "'"


# ---------------------------------------------------------------- moments, durations, numbers


def parse_moment(text: str) -> datetime:
    """A moment in UTC from RFC 3339, or from a day, which is its midnight in UTC; else INVALID."""
    found = _MOMENT.fullmatch(text)
    if not found:
        raise Invalid(f"{shown(text)} is no moment; write 2026-11-01 or 2026-11-01T00:00:00Z")
    if found["time"] and not found["offset"]:
        raise Invalid(f"{shown(text)} does not say which time zone it is in; end it with Z or an offset as +01:00")
    try:
        moment = datetime.fromisoformat(text.upper())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"{shown(text)} is not in the calendar") from None


def moment_text(moment: datetime) -> str:
    """An aware moment as RFC 3339 in UTC, with as many decimals of a second as it has."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if moment.microsecond else text) + "Z"


def parse_duration(text: str) -> timedelta:
    """A duration from ISO 8601 in weeks, days, hours, minutes and seconds, up to 100 years; else INVALID."""
    known = len(text) <= _DURATION_CHARACTERS_MAX  # the search for Y and M is quadratic in the length
    found = _DURATION.fullmatch(text) if known else None
    if known and _CALENDAR_DURATION.match(text):
        raise Invalid(f"years and months differ in length, so {shown(text)} is no duration; write days, as in P30D")
    if not found or not any(found.groups()):
        raise Invalid(f"{shown(text)} is no duration; write days, hours, minutes or seconds, as in P30D or PT1H")
    *counts, decimals = found.groups(default="")
    if max(map(len, counts)) > 12:
        raise Invalid("a duration is at most 100 years")
    weeks, days, hours, minutes, seconds = (int(count or 0) for count in counts)
    total = (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total > DURATION_MAX.total_seconds():
        raise Invalid("a duration is at most 100 years")
    return check_duration(timedelta(seconds=total, microseconds=int(decimals.ljust(6, "0"))))


def check_duration(duration: timedelta, *, argument: str | None = None) -> timedelta:
    """The duration; INVALID unless it is more than nothing and at most 100 years."""
    if not timedelta() < duration <= DURATION_MAX:
        raise Invalid("a duration is more than nothing and at most 100 years", argument=argument)
    return duration


def duration_text(duration: timedelta) -> str:
    """A duration of more than nothing as ISO 8601 in days, hours, minutes and seconds."""
    hours, rest = divmod(duration.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f".{duration.microseconds:06d}".rstrip("0").rstrip(".")
    clock = [
        f"{hours}H" if hours else "",
        f"{minutes}M" if minutes else "",
        f"{seconds}{fraction}S" if seconds or fraction else "",
    ]
    return "P" + (f"{duration.days}D" if duration.days else "") + (f"T{''.join(clock)}" if any(clock) else "")


def number_text(number: Decimal) -> str:
    """A finite number written out, without exponent and idle zeros."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def float_text(number: float) -> str:
    """The shortest text that reads back as the same float: 0.5, 1, 1e-07."""
    return repr(float(number) + 0.0).removesuffix(".0")  # + 0.0 takes the sign from -0.0
