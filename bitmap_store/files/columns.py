"""Columns of a file as numbers: decimals, moments, counts, scores, truth values; exact or refused.

Each parser takes any column that a reader gives and answers one number a row, and the rows it refuses.
Text in a usual form is parsed by pyarrow in one piece; any other once per distinct text, in Python.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Context, Decimal, localcontext
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bitmap_store.errors import Invalid, TagroarError
from bitmap_store.files.blocks import Ints, shown
from bitmap_store.files.buffers import filled, truth, validity
from bitmap_store.files.coded import said
from bitmap_store.files.local_days import DAY_MAX, DAY_MICROS, DAY_MIN, MICROS_MAX, MICROS_MIN, day_of, day_starts
from bitmap_store.files.texts import plain_text
from bitmap_store.values import DECIMAL_DIGITS_MAX, MICROSECONDS, DatePrecision, micros, scaled

COUNT_MAX = 2**32 - 1

Floats = NDArray[np.float64]
Numbers = TypeVar("Numbers", Ints, Floats)


@dataclass(frozen=True, slots=True)
class Parsed(Generic[Numbers]):
    """One number a row, and the rows that have none, each with the reason; both by place in the column."""

    numbers: Numbers
    faults: dict[int, TagroarError]


# ---------------------------------------------------------------- decimals


def decimal_units(column: pa.Array, scale: int) -> Parsed[Ints]:
    """Numbers as integers of units of 10^-scale; 0 where nothing is said. Exact: what does not fit is a fault."""
    digits = DECIMAL_DIGITS_MAX - scale
    if pa.types.is_integer(column.type) and len(column):
        numbers = filled(column)
        if numbers.min() > -(10**digits) and numbers.max() < 10**digits:
            return Parsed(numbers.astype(np.int64) * 10**scale, {})
    if pa.types.is_decimal128(column.type) and len(column) and 0 <= column.type.scale <= DECIMAL_DIGITS_MAX:
        units, upper = _halves(column)
        if (upper == units >> 63).all():
            less = 10 ** max(column.type.scale - scale, 0)
            more = 10 ** max(scale - column.type.scale, 0)
            most = 10**DECIMAL_DIGITS_MAX // more
            exact = less == 1 or not (units % less).any()
            if exact and units.min() // less > -most and units.max() // less < most:
                return Parsed(units // less * more, {})
    if pa.types.is_float64(column.type):
        numbers = filled(column, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            units = np.rint(numbers * 10.0**scale)
            # Of decimals with up to 15 digits, only the one that a float was written as is nearest to it.
            if (np.abs(units) < 1e15).all() and (units / 10.0**scale == numbers).all():
                return Parsed(units.astype(np.int64), {})
    whole, fraction = rf"^-?[0-9]{{1,{digits}}}", rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
    ways: list[Way[Ints]] = [
        (rf"{whole}{fraction}$", lambda text: _units_at_once(text, scale)),
        (rf"{whole}\.[0-9]{{0,{scale}}}0+$", lambda text: _units_at_once(_without_zeros(text), scale)),
    ]
    return _parse(column, ways, lambda text: _units(text, scale), empty=np.int64(0))


def _without_zeros(text: pa.StringArray) -> pa.StringArray:
    return pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".")


def _units_at_once(text: pa.StringArray, scale: int) -> Ints:
    units: Ints
    if scale == 0:
        units = text.cast(pa.int64()).to_numpy()
        return units
    decimals = text.cast(pa.decimal128(38, scale))
    return _halves(decimals)[0]  # 18 digits are in the lower one


def _halves(decimals: pa.Decimal128Array) -> tuple[Ints, Ints]:
    """The lower and the upper halves of decimals, little-endian integers of 128 bits; 0 where one is null."""
    halves = np.frombuffer(decimals.buffers()[1], np.int64).reshape(-1, 2)
    halves = halves[decimals.offset : decimals.offset + len(decimals)]
    if decimals.null_count:
        halves = np.where(validity(decimals)[:, np.newaxis], halves, 0)
    return halves[:, 0], halves[:, 1]


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NUMBER_TEXT_MAX = 64
_EXACT = Context(prec=2 * _NUMBER_TEXT_MAX)


def _units(text: str, scale: int) -> int:
    if not _NUMBER.fullmatch(text):
        raise Invalid(f"{shown(text)} is not a number")
    if len(text) > _NUMBER_TEXT_MAX:
        raise Invalid(f"{shown(text)} has more than {DECIMAL_DIGITS_MAX} digits")
    with localcontext(_EXACT):
        return scaled(Decimal(text), scale)


# ---------------------------------------------------------------- scores and counts


def scores(column: pa.Array) -> Parsed[Floats]:
    """Finite floats; NaN where nothing is said."""
    return _parse(column, [(r"^-?[0-9]{1,17}(\.[0-9]{1,17})?$", _floats_at_once)], _score, empty=np.float64(math.nan))


def _floats_at_once(text: pa.StringArray) -> Floats:
    numbers: Floats = text.cast(pa.float64()).to_numpy()
    return numbers


def _score(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise Invalid(f"the score {shown(text)} is not a finite number")
    return float(text)


def counts(column: pa.Array) -> Parsed[Ints]:
    """Whole numbers from 1 to 4294967295; 1 where nothing is said."""
    return _parse(column, [("^[1-9][0-9]{0,8}$", lambda text: _units_at_once(text, 0))], _count, empty=np.int64(1))


def _count(text: str) -> int:
    digits = text.lstrip("0")
    if not re.fullmatch("[0-9]+", text) or not digits:
        raise Invalid(f"the count {shown(text)} is not a whole number from 1")
    if len(digits) > 10 or int(digits) > COUNT_MAX:
        raise Invalid(f"the count {shown(text)} is over {COUNT_MAX}")
    return int(digits)


# ---------------------------------------------------------------- truth values

_TRUTHS = {"true": 1, "1": 1, "false": 0, "0": 0}


def truths(column: pa.Array) -> Parsed[Ints]:
    """1 where a column says true (in any case) or 1; 0 where it says false, 0 or nothing."""
    if pa.types.is_boolean(column.type):
        return Parsed(truth(column).astype(np.int64), {})
    return _parse(column, [], _truth, empty=np.int64(0))


def _truth(text: str) -> int:
    if text.lower() not in _TRUTHS:
        raise Invalid(f"{shown(text)} is neither true nor false")
    return _TRUTHS[text.lower()]


# ---------------------------------------------------------------- dates and moments

_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}"
_OFFSET = "[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]"
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
USUAL_DAY = f"^{_DAY.pattern}$"
USUAL_MOMENT = rf"^{_DAY.pattern}[T ]{_CLOCK}(\.[0-9]{{1,6}})?(Z|{_OFFSET})$"
_MOMENT = re.compile(rf"({_DAY.pattern})[Tt ]({_CLOCK}(?:\.[0-9]{{1,6}})?)[0-9]*([Zz]|{_OFFSET})")
_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def date_units(column: pa.Array, precision: DatePrecision) -> Parsed[Ints]:
    """Dates in the unit of a DATE tag, rounded down: days or seconds since 1970 in UTC; 0 where nothing is said."""
    parsed = moments(column)
    return Parsed(parsed.numbers // (DAY_MICROS if precision is DatePrecision.DAY else MICROSECONDS), parsed.faults)


def moments(column: pa.Array, zone: tzinfo = UTC, *, empty: int = 0) -> Parsed[Ints]:
    """Moments in microseconds since 1970, rounded down; a date alone is the start of that day in `zone`.

    Text is RFC 3339 with an offset, or YYYY-MM-DD; a typed timestamp that has no zone is of UTC.
    """
    if pa.types.is_timestamp(column.type):
        return _from_timestamps(column, empty)
    if pa.types.is_date32(column.type):
        days = filled(column.view(pa.int32())).astype(np.int64)
        if len(days) and int(days.min()) >= DAY_MIN and int(days.max()) <= DAY_MAX:
            starts = day_starts(days, zone)
            return Parsed(np.where(validity(column), starts, empty) if column.null_count else starts, {})
    ways: list[Way[Ints]] = [
        (USUAL_MOMENT, _moments_at_once),
        (USUAL_DAY, lambda text: day_starts(text.cast(pa.date32()).cast(pa.int32()).to_numpy(), zone)),
    ]
    return _parse(column, ways, lambda text: _moment(text, zone), empty=np.int64(empty))


def _moments_at_once(text: pa.StringArray) -> Ints:
    numbers: Ints = text.cast(pa.timestamp("us", "UTC")).view(pa.int64()).to_numpy()
    if numbers.min() < MICROS_MIN or numbers.max() > MICROS_MAX:
        raise _beyond()
    return numbers


def _moment(text: str, zone: tzinfo) -> int:
    try:
        if _DAY.fullmatch(text):
            return int(day_starts(np.array([day_of(date.fromisoformat(text))]), zone)[0])
        if parts := _MOMENT.fullmatch(text):
            moment = micros(datetime.fromisoformat("T".join(parts.group(1, 2)) + parts[3].upper()))
            if MICROS_MIN <= moment <= MICROS_MAX:
                return moment
            raise _beyond()
    except ValueError:
        pass  # 30 February
    raise Invalid(f"{shown(text)} is not a date: YYYY-MM-DD, or RFC 3339 with an offset as in 2024-05-01T12:00:00Z")


def _beyond() -> Invalid:
    return Invalid("a moment lies within the years 1 to 9999")


def _from_timestamps(column: pa.TimestampArray, empty: int) -> Parsed[Ints]:
    a_second = _A_SECOND[column.type.unit]
    numbers = filled(column.view(pa.int64()))
    within = (numbers >= MICROS_MIN // MICROSECONDS * a_second) & (numbers // a_second <= MICROS_MAX // MICROSECONDS)
    numbers = np.where(within, numbers, 0)
    found = numbers // (a_second // MICROSECONDS) if a_second > MICROSECONDS else numbers * (MICROSECONDS // a_second)
    valid = validity(column)
    return Parsed(np.where(valid, found, empty), dict.fromkeys(np.flatnonzero(~within).tolist(), _beyond()))


# ---------------------------------------------------------------- text at once, or one by one

Way = tuple[str, Callable[[pa.StringArray], Numbers]]


def _parse(
    column: pa.Array, ways: Sequence[Way[Numbers]], one: Callable[[str], float], *, empty: np.int64 | np.float64
) -> Parsed[Numbers]:
    """`empty` where nothing is said. Each way takes all text of its pattern in one piece, `one` what is left."""
    text = plain_text(column)
    numbers: Numbers = np.full(len(text), empty)
    left = said(text)
    for pattern, at_once in ways:
        fits = left & truth(pc.match_substring_regex(text, pattern))
        if fits.any():
            try:
                numbers[fits] = at_once(text if fits.all() else text.filter(pa.array(fits)))
            except (pa.ArrowInvalid, Invalid):
                continue  # one of them, such as 30 February, is wrong after all
            left &= ~fits
    places = np.flatnonzero(left)
    encoded = text.take(pa.array(places)).dictionary_encode()
    codes = filled(encoded.indices)
    outcomes = np.zeros(len(encoded.dictionary), numbers.dtype)
    errors: dict[int, TagroarError] = {}
    for code, distinct in enumerate(encoded.dictionary.to_pylist()):
        try:
            outcomes[code] = one(distinct)
        except Invalid as error:
            errors[code] = error
    numbers[places] = outcomes[codes]
    wrong = np.flatnonzero(np.isin(codes, list(errors)))
    return Parsed(numbers, {int(places[i]): errors[int(codes[i])] for i in wrong})
