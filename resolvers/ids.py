"""Ids and cursors: short texts in base64url that hold what they name, with their type first.

They are opaque to clients and say nothing that the client may not know: dense ids are never in them.
"""

import base64
import binascii
import json
from datetime import datetime

from bitmap_store.errors import Invalid
from bitmap_store.values import Category, Experiment, Job, SavedAudience, Tag, micros
from resolvers.answers import Profile, Question

Part = str | int | None
ID_CHARACTERS_MAX = 300_000


def id_of(thing: object) -> str:
    """The global id of a tag, category, profile, audience, saved audience, experiment or job."""
    match thing:
        case Tag(key=key):
            return encode("Tag", key)
        case Category(key=key):
            return encode("Category", key)
        case Experiment(key=key):
            return encode("Experiment", key)
        case SavedAudience(key=key):
            return encode("SavedAudience", key)
        case Profile():
            return encode("Profile", thing.entity, thing.user_id, _moment(thing.as_of))
        case Question():
            return encode("Audience", thing.entity, thing.text, _moment(thing.as_of))
        case Job(id=id_):
            return id_  # the same as in the paths of the bulk routes
    raise TypeError(f"{type(thing).__name__} has no id")


def encode(kind: str, *parts: Part) -> str:
    """An opaque text of a type and what names a thing of it."""
    content = json.dumps([kind, *parts], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()


def decode(text: str, *, argument: str) -> tuple[Part, ...]:
    """What `encode` was given; INVALID for everything else."""
    wrong = Invalid("this was not given out by this service", argument=argument)
    if len(text) > ID_CHARACTERS_MAX:
        raise wrong
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        parts = json.loads(content)
        if not isinstance(parts, list) or not parts or encode(*parts) != text:
            raise wrong
    except (binascii.Error, ValueError, RecursionError):
        raise wrong from None
    return tuple(parts)


def _moment(moment: datetime | None) -> int | None:
    return None if moment is None else micros(moment)
