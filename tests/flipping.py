"""One bit of a store flipped after the other: what is answered then is right, or an error that says so.

Runs in a process of its own, so that one that crashes is seen: `python -m tests.flipping STORE COUNT SEED`. It prints a
line for each flip before it asks, and at the end a line of JSON: how many flips changed nothing, gave errors, or a
wrong answer.
"""

import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from sqlite3 import DatabaseError
from typing import Any

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import Damaged
from bitmap_store.sqlite.database import FILE
from bitmap_store.values import Assign, Event, Identifier, Operation, ProfileChange, TagKind
from tests.worlds import MONDAY, StillClock, StoreWorld

QUESTIONS = [
    "everyone",
    "vip",
    "not vip",
    "spend >= 100",
    "spend > 20 and spend < 130",
    "buy times 2",
    'buy["p1"]',
    "@both",
    'likes and not city = "c3"',
    '2 of (vip, spend > 100, buy["p2"])',
    *(f'city = "c{i}"' for i in range(19)),
    *(f'likes = "l{i}"' for i in range(7)),
]
USERS = 1_000
STEPS = 6
ENDED = MONDAY + timedelta(hours=4 * STEPS)
"""The moment at which the store is asked."""


def _said(user: int) -> list[Operation]:
    name = f"u{user}"
    found: list[Operation] = [
        Assign(name, "city", value=f"c{user % 17}"),
        Assign(name, "likes", value=f"l{user % 5}", score=user / USERS),
        Assign(name, "likes", value=f"l{user % 7}"),
        Assign(name, "spend", number=Decimal(user * 7 % 400)),
        Event(name, "buy", f"p{user % 3}", count=1 + user % 2),
    ]
    if user % 3:
        found.append(Assign(name, "vip"))
    if user % 5 == 0:
        found.append(ProfileChange(name, (Identifier("email", f"{name}@example.org"),), (("plan", f"p{user % 4}"),)))
    return found


def make(directory: Path) -> None:
    """A store with something of everything: fragments, files of the cache, and a log on top."""
    world = StoreWorld(directory, StillClock())
    world.define_tag(TagDefinition("vip", valid_for=timedelta(days=3)))
    world.define_tag(TagDefinition("city", kind=TagKind.CHOICE))
    world.define_tag(TagDefinition("likes", kind=TagKind.CHOICES))
    world.define_tag(TagDefinition("spend", kind=TagKind.NUMBER, scale=2))
    world.define_tag(TagDefinition("buy", kind=TagKind.EVENT))
    world.save_audience("both", 'vip and city = "c1"')
    for step in range(STEPS):
        world.apply(*(said for user in range(step, USERS, STEPS) for said in _said(user)))
        world.clock.tick(hours=4)
    world.run(world.store.fold(0))
    for user in range(60):
        world.apply(Assign(f"u{user * 3}", "city", value=f"c{user % 19}"), Assign(f"n{user}", "likes", value="l2"))
    world.run(world.store.build_cache())
    world.close()


def told(ask: Callable[[], Any]) -> Any:
    """What is answered, or that it was an error of damage; any other error is an answer, and a wrong one."""
    try:
        return ask()
    except (Damaged, DatabaseError):
        return Damaged


def answers(directory: Path) -> list[Any]:
    """What a store says, question by question."""
    try:
        world = StoreWorld(directory, StillClock(ENDED))
    except Damaged:
        return [Damaged]
    found: list[Any] = []
    for day in (None, ENDED - timedelta(hours=10)):
        found += [told(lambda q=q, day=day: world.view().size(q, as_of=day)) for q in QUESTIONS]
        found += [told(lambda q=q, day=day: world.view().members(q, as_of=day)) for q in QUESTIONS[:6]]
        found.append(told(lambda day=day: world.view().breakdown("spend >= 3", "city", as_of=day)))
        found.append(told(lambda day=day: world.view().summary("vip", "spend", [0.1, 0.9], 4, as_of=day)))
        for user in ("u0", "u3", "u500", "u999", "n5"):
            found.append(told(lambda user=user, day=day: world.view().tags_of(user, as_of=day)))
            found.append(told(lambda user=user, day=day: world.view().profile(user, as_of=day)))
    emails = [f"u{user}@example.org" for user in range(0, USERS, 5)]
    found.append(told(lambda: world.run(world.store.resolve("user", emails, "email"))))
    found.append(told(lambda: [world.view().profile(f"u{user}") for user in range(0, USERS, 5)]))
    found.append(told(lambda: world.apply(Assign("u1", "city", value="c1")).changed))
    found += [told(lambda q=q: world.view().size(q)) for q in QUESTIONS]
    world.close()
    return found


def flip(path: Path, bit: int) -> None:
    """Flips one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def main(store: Path, count: int, seed: int) -> None:
    """As many flips over the database, and as many over the cache, each on a fresh copy."""
    choose = random.Random(seed)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "store"
        shutil.copytree(store, copy)
        right = answers(copy)
        assert Damaged not in right
        for number in range(2 * count):
            shutil.rmtree(copy)
            shutil.copytree(store, copy)
            of_cache = sorted(path for path in (copy / "cache").rglob("*") if path.is_file())
            files = [copy / FILE] if number < count else of_cache
            (path,) = choose.choices(files, [each.stat().st_size for each in files])
            bit = choose.randrange(8 * path.stat().st_size)
            print(f"bit {bit} of {path.relative_to(copy)}", flush=True)
            flip(path, bit)
            found = answers(copy)
            if Damaged in found[:1] and len(found) == 1:
                outcomes["not opened"] += 1
                continue
            wrong = [
                at for at, (one, other) in enumerate(zip(found, right, strict=True)) if one not in (other, Damaged)
            ]
            outcomes["wrong" if wrong else "right" if Damaged not in found else "some errors"] += 1
            if number >= count and Damaged in found:
                outcomes["errors of the cache"] += 1
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
