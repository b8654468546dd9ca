"""Random questions of one rich world: the store answers what the oracle does, by every verb."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.expression import At, AtLeast, Expression, Not, walk
from bitmap_store.language import parse, render
from bitmap_store.values import Assign, Event, Remove
from tests.histories import CHOICES, DAY, EVENTS, HOUR, PRODUCTS, USERS, define, questions
from tests.oracle import Oracle
from tests.worlds import MONDAY, OracleWorld, StillClock, StoreWorld, copied
