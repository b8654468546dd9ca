"""The writes of a store that define something: each is one function, run in a transaction of the writer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from bitmap_store.definitions import TagChange, TagDefinition
from bitmap_store.sqlite import definitions, experiments, tokens
from bitmap_store.sqlite.writer import Transaction
from bitmap_store.values import Category, EntityKind, Experiment, NewExperiment, SavedAudience, Tag, WriteResult

T = TypeVar("T")


class Defining(ABC):
    """What a store gives that can write. What is refused, and with which code, is told by `sqlite.definitions`."""

    @abstractmethod
    async def write(self, run: Callable[[Transaction], T]) -> T:
        """Runs a function in a write transaction and waits until it is durable."""

    async def define_entity(self, key: str, name: str | None = None) -> EntityKind:
        """See `sqlite.definitions.define_entity`, and so for the following."""
        return await self.write(lambda transaction: definitions.define_entity(transaction, key, name))

    async def define_category(self, key: str, name: str | None = None, parent: str | None = None) -> Category:
        """Defines or changes a category."""
        return await self.write(lambda transaction: definitions.define_category(transaction, key, name, parent))

    async def define_tag(self, definition: TagDefinition) -> Tag:
        """Defines a tag."""
        return await self.write(lambda transaction: definitions.define_tag(transaction, definition))

    async def update_tag(self, key: str, change: TagChange, if_version: int | None = None) -> Tag:
        """Changes the definition of a tag."""
        return await self.write(lambda transaction: definitions.update_tag(transaction, key, change, if_version))

    async def delete_tag(self, key: str) -> WriteResult:
        """Deletes a tag and its members."""
        return await self.write(lambda transaction: definitions.delete_tag(transaction, key))

    async def save_audience(
        self,
        key: str,
        name: str | None,
        text: str,
        entity: str = "user",
        owner: str | None = None,
        if_version: int | None = None,
    ) -> SavedAudience:
        """Saves an audience under a key."""
        return await self.write(
            lambda transaction: definitions.save_audience(transaction, key, name, text, entity, owner, if_version)
        )

    async def delete_audience(self, key: str) -> WriteResult:
        """Deletes a saved audience."""
        return await self.write(lambda transaction: definitions.delete_audience(transaction, key))

    async def define_experiment(self, new: NewExperiment, owner: str | None = None) -> Experiment:
        """Defines an experiment; see `sqlite.experiments`."""
        return await self.write(lambda transaction: experiments.define_experiment(transaction, new, owner))

    async def end_experiment(self, key: str) -> Experiment:
        """Ends an experiment."""
        return await self.write(lambda transaction: experiments.end_experiment(transaction, key))

    async def delete_experiment(self, key: str) -> WriteResult:
        """Deletes an experiment."""
        return await self.write(lambda transaction: experiments.delete_experiment(transaction, key))

    async def create_token(self, name: str, scopes: Sequence[str], expires_at: datetime | None = None) -> str:
        """A new secret under a name; it is not kept and cannot be shown again. CONFLICT for a name in use."""
        return await self.write(lambda transaction: tokens.create(transaction, name, scopes, expires_at))

    async def revoke_token(self, name: str) -> None:
        """Ends a token at once, in every process."""
        await self.write(lambda transaction: tokens.revoke(transaction, name))
