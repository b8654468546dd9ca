"""Days of a time zone, vectorised: which day a moment falls on, and when a day begins."""

from datetime import UTC, date, datetime, timedelta, tzinfo

import numpy as np

from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import Ints
from bitmap_store.values import DAY_SECONDS, MICROSECONDS, micros

DAY_MICROS = DAY_SECONDS * MICROSECONDS
MICROS_MIN = micros(datetime.min.replace(tzinfo=UTC))
MICROS_MAX = micros(datetime.max.replace(tzinfo=UTC))


def day_of(day: date) -> int:
    """The number of a day since 1970."""
    return day.toordinal() - date(1970, 1, 1).toordinal()


DAY_MIN, DAY_MAX = day_of(date.min) + 1, day_of(date.max) - 1
"""Days that are within the years 1 to 9999 whatever the time zone."""


def local_days(moments: Ints, zone: tzinfo) -> Ints:
    """The day since 1970, in `zone`, of moments in microseconds; INVALID outside DAY_MIN..DAY_MAX.

    Asks the zone twice a distinct day. On a day on which the offset changes it asks per distinct second.
    """
    days = moments // DAY_MICROS
    if zone is UTC:
        return days
    _check(days)
    distinct = np.unique(days)
    offsets = np.array([_offset(int(day) * DAY_SECONDS, zone) for day in distinct], np.int64)
    ending = np.array([_offset((int(day) + 1) * DAY_SECONDS - 1, zone) for day in distinct], np.int64)
    place = np.searchsorted(distinct, days)
    shifts = offsets[place]
    changing = np.flatnonzero((offsets != ending)[place])
    seconds, which = np.unique(moments[changing] // MICROSECONDS, return_inverse=True)
    shifts[changing] = np.array([_offset(int(second), zone) for second in seconds], np.int64)[which]
    local: Ints = (moments + shifts) // DAY_MICROS
    return local


def day_starts(days: Ints, zone: tzinfo) -> Ints:
    """The moment, in microseconds, at which each day since 1970 begins in `zone`.

    Asks the zone once a distinct day; INVALID outside DAY_MIN..DAY_MAX, outside the years 1 to 9999 in UTC.
    """
    days = days.astype(np.int64)
    if zone is UTC:
        if len(days) and (days.min() < DAY_MIN - 1 or days.max() > DAY_MAX + 1):
            raise Invalid("a date lies within the years 1 to 9999")
        return days * DAY_MICROS
    _check(days)
    distinct, place = np.unique(days, return_inverse=True)
    starts = [micros(datetime(1970, 1, 1, tzinfo=zone) + timedelta(days=int(day))) for day in distinct]
    return np.array(starts, np.int64)[place]


def _check(days: Ints) -> None:
    if len(days) and (days.min() < DAY_MIN or days.max() > DAY_MAX):
        raise Invalid("a day of a time zone lies within 0001-01-02 and 9999-12-30")


def _offset(second: int, zone: tzinfo) -> int:
    offset = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).astimezone(zone).utcoffset()
    return (offset or timedelta()) // timedelta(microseconds=1)
