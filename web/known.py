"""Documents that a request names instead of sending them: trusted ones of a file, and those that clients have sent.

The first are what `relay-compiler`, GraphQL Code Generator and Apollo's manifest write; the second are automatic
persisted queries, where a client sends a hash and, only where that is not known, the document along with it.
"""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

from graphql import GraphQLError, parse

from bitmap_store.errors import Forbidden, Invalid, NotFound
from schema.limits import DOCUMENT_CHARACTERS_MAX

PERSISTED_CHARACTERS_MAX = 4 << 20
ID_CHARACTERS_MAX = 512
APOLLO_MANIFEST = "apollo-persisted-query-manifest"
_HASH = re.compile("[0-9a-f]{64}")


class PersistedQueryNotFound(NotFound):
    """The hash is not known here; the client sends the document along. The message is what clients look for."""

    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound")


class PersistedQueryNotSupported(NotFound):
    """No hashes are taken here; the client sends documents. The message is what clients look for."""

    code = "PERSISTED_QUERY_NOT_SUPPORTED"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotSupported")


class Known:
    """The documents that this process knows by name.

    trusted: document by id. only: nothing else is answered. persisted_max: how many that clients sent are
    remembered, the least recently used out first; 0 is none, and there are none where only the trusted are answered.
    """

    def __init__(
        self, trusted: Mapping[str, str] | None = None, *, only: bool = False, persisted_max: int = 1_024
    ) -> None:
        self._trusted = dict(trusted or {})
        self._trusted |= {f"sha256:{_sha256(text)}": text for text in self._trusted.values()}
        self._texts = frozenset(self._trusted.values())
        self._only = only
        self._persisted_max = 0 if only else persisted_max
        self._persisted: OrderedDict[str, str] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._persisted)

    def document(self, sent: Mapping[str, object]) -> str:
        """The document of a request, sent or named; NOT_FOUND, INVALID, or FORBIDDEN where it is not trusted."""
        query, name = sent.get("query"), sent.get("documentId")
        hash_ = _persisted_hash(sent)
        if query == "" and (name is not None or hash_ is not None):
            query = None  # there are clients that cannot leave it out
        if query is not None and (not isinstance(query, str) or not query.strip()):
            raise Invalid("query is a GraphQL document", argument="query")
        if name is not None:
            if query is not None:
                raise Invalid("a request has a query or a documentId, not both", argument="documentId")
            return self._trusted_one(name, "documentId")
        if hash_ is not None and (hash_ in self._trusted or self._only) and query is None:
            return self._trusted_one(hash_, "extensions.persistedQuery.sha256Hash")
        if hash_ is not None:
            return self._by_hash(hash_, query)
        if query is None:
            raise Invalid("query is a GraphQL document", argument="query")
        return self._allowed(query)

    def _allowed(self, query: str) -> str:
        if self._only and query not in self._texts:
            raise Forbidden("only trusted documents are answered here; send the id of one as documentId")
        return query

    def _trusted_one(self, name: object, argument: str) -> str:
        if not isinstance(name, str) or not 0 < len(name) <= ID_CHARACTERS_MAX:
            raise Invalid(f"a document has an id of 1 to {ID_CHARACTERS_MAX} characters", argument=argument)
        found = self._trusted.get(name)
        if found is None:
            raise NotFound(f"there is no trusted document {name!r}", argument=argument)
        return found

    def _by_hash(self, hash_: str, query: str | None) -> str:
        if query is None:
            if not self._persisted_max:
                raise PersistedQueryNotSupported
            found = self._persisted.get(hash_)
            if found is None:
                raise PersistedQueryNotFound
            self._persisted.move_to_end(hash_)
            return found
        if _sha256(query) != hash_:
            raise Invalid("the hash is not that of the document", argument="extensions.persistedQuery.sha256Hash")
        self._allowed(query)
        if self._persisted_max and hash_ not in self._persisted and len(query) <= DOCUMENT_CHARACTERS_MAX:
            self._persisted[hash_] = query
            self._characters += len(query)
            while len(self._persisted) > self._persisted_max or self._characters > PERSISTED_CHARACTERS_MAX:
                _, dropped = self._persisted.popitem(last=False)
                self._characters -= len(dropped)
        return query


def trusted_documents(path: Path) -> dict[str, str]:
    """The documents of a file by id, or of all `*.json` of a directory; INVALID with a sentence where one is wrong.

    A file holds an object of documents by id, as Relay's and GraphQL Code Generator's, or Apollo's manifest.
    """
    found: dict[str, str] = {}
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        for id_, text in _read(file):
            if not isinstance(id_, str) or not 0 < len(id_) <= ID_CHARACTERS_MAX:
                raise Invalid(f"{file}: a document has an id of 1 to {ID_CHARACTERS_MAX} characters, not {id_!r:.80}")
            if not isinstance(text, str) or not _is_document(text):
                raise Invalid(f"{file}: what stands at {id_!r:.80} is not a GraphQL document")
            if found.setdefault(id_, text) != text:
                raise Invalid(f"{file}: {id_!r:.80} names two documents")
    if not found:
        raise Invalid(f"{path} holds no document")
    return found


def _read(file: Path) -> Iterator[tuple[object, object]]:
    try:
        written = json.loads(file.read_bytes(), object_pairs_hook=_once)
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}") from None
    except RecursionError:
        raise Invalid(f"{file} is not a file of trusted documents: it is nested too deeply") from None
    except ValueError as error:
        raise Invalid(f"{file} is not a file of trusted documents: {error}") from None
    return _listed(file, written)


def _is_document(text: str) -> bool:
    try:
        return bool(parse(text).definitions)
    except (GraphQLError, RecursionError):
        return False


def _listed(path: Path, written: object) -> Iterator[tuple[object, object]]:
    """Ids and documents as they stand in a file."""
    if not isinstance(written, dict):
        raise Invalid(f"{path} is not a file of trusted documents: it holds no object of documents by id")
    if "format" not in written:
        yield from written.items()
        return
    operations = written.get("operations")
    if written["format"] != APOLLO_MANIFEST or written.get("version") != 1 or not isinstance(operations, list):
        raise Invalid(f"{path} is not a file of trusted documents: of manifests only version 1 of Apollo's is read")
    for operation in operations:
        if not isinstance(operation, dict):
            raise Invalid(f"{path}: an operation of the manifest is not an object")
        yield operation.get("id"), operation.get("body")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object that says nothing twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _persisted_hash(sent: Mapping[str, object]) -> str | None:
    """The hash that a request gives as Apollo's clients do; None where it gives none."""
    extensions = sent.get("extensions")
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if persisted is None:
        return None
    hash_ = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    if not isinstance(hash_, str) or not isinstance(persisted, dict) or persisted.get("version", 1) != 1:
        raise Invalid('persistedQuery is {"version": 1, "sha256Hash": "…"}', argument="extensions.persistedQuery")
    if not _HASH.fullmatch(hash_):
        raise Invalid(
            "sha256Hash is 64 hexadecimal digits in lower case", argument="extensions.persistedQuery.sha256Hash"
        )
    return hash_


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
