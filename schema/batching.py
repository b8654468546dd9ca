"""Gathering: what fields ask for one by one becomes one question, by the loader that Strawberry ships."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from strawberry.dataloader import DataLoader

from resolvers.loaders import Loader

K = TypeVar("K")
V = TypeVar("V")


def batching(load: Callable[[list[K]], Awaitable[Sequence[V]]]) -> Loader[K, V]:
    """A loader that asks for all keys of one turn of the event loop together, and for each key once."""
    return DataLoader(load_fn=load)
