"""The tables of the SQLite file, declared once; `migrations/` brings files of any age to this shape.

Catalog, names and jobs are rows. Memberships are blobs: `fragment` holds them as of a version per tag,
`change` is the log of every batch since, with the rows before and after, as far back as asOf reaches.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

_NEVER_REUSED = {"sqlite_autoincrement": True}
"""An id of a deleted row is never given again: the log and plans may still name it."""


def _twice(table: str, *columns: str) -> Index:
    """An index that nothing is looked up in: what a small table says stands there again, so that a flipped bit in
    either is found when both are compared."""
    return Index(f"{table}_twice", *columns)


def _blob(nullable: bool = False) -> Column[bytes]:
    return Column(LargeBinary, nullable=nullable)


class StoreRow(SQLModel, table=True):
    """The one row that says where the store is: data version, catalog version, users ever created."""

    __tablename__ = "store"
    __table_args__ = (_twice("store", "version", "catalog", "folds", "horizon", "generation"),)
    id: int = Field(default=1, primary_key=True)
    version: int = 0
    catalog: int = 0
    folds: int = 0  # how often fragments were brought up to date; tells processes to read them again
    horizon: int = Field(default=0, sa_type=BigInteger)  # microseconds: the log reaches back to here
    generation: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))  # staged last


class EntityRow(SQLModel, table=True):
    """An entity kind and the next dense id of its space."""

    __tablename__ = "entity"
    __table_args__ = (_twice("entity", "key", "name", "next_dense"), _NEVER_REUSED)
    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    name: str
    next_dense: int = 0


class CategoryRow(SQLModel, table=True):
    """A shelf in the tag catalog."""

    __tablename__ = "category"
    __table_args__ = (_twice("category", "key", "name", "parent"), _NEVER_REUSED)
    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    name: str
    parent: str | None = None


_TAG_SAYS = (
    *("key", "entity", "name", "kind", "origin", "state", "sensitivity", "category", "definition", "rule", "rules"),
    *("valid_for", "open", "hierarchical", "scale", "precision", "owner", "method", "scope", "unit", "version"),
    "defined_at",
)


class TagRow(SQLModel, table=True):
    """The definition of a tag; `rules` is JSON: [[value, text], …]."""

    __tablename__ = "tag"
    __table_args__ = (
        _twice(
            "tag",
            "key",
            "entity",
            "name",
            "kind",
            "origin",
            "state",
            "sensitivity",
            "category",
            "definition",
            "rule",
            "rules",
            "valid_for",
            "open",
            "hierarchical",
            "scale",
            "precision",
            "owner",
            "method",
            "scope",
            "unit",
            "version",
            "defined_at",
        ),
        _NEVER_REUSED,
    )
    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    entity: str
    name: str
    kind: str
    origin: str
    state: str
    sensitivity: str
    category: str | None = None
    definition: str | None = None
    rule: str | None = None
    rules: str = "[]"
    valid_for: int | None = Field(default=None, sa_type=BigInteger)  # microseconds
    open: bool = True
    hierarchical: bool = False
    scale: int = 0
    precision: str = "SECOND"
    owner: str | None = None
    method: str | None = None
    scope: str | None = None
    unit: str | None = None
    version: int = 1
    defined_at: int = Field(default=0, sa_type=BigInteger)


class TagValueRow(SQLModel, table=True):
    """One value of a tag; `id` counts from 1 within the tag."""

    __tablename__ = "tag_value"
    __table_args__ = (UniqueConstraint("tag_id", "value"),)
    tag_id: int = Field(primary_key=True)
    id: int = Field(primary_key=True)
    value: str


class AudienceRow(SQLModel, table=True):
    """A saved audience."""

    __tablename__ = "audience"
    __table_args__ = (_twice("audience", "key", "name", "entity", "text", "owner", "version"), _NEVER_REUSED)
    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    name: str
    entity: str
    text: str
    owner: str | None = None
    version: int = 1


class ExperimentRow(SQLModel, table=True):
    """An experiment with a name. starts_at, ends_at: its range of the layer's hash; parts: JSON of names and shares."""

    __tablename__ = "experiment"
    __table_args__ = (
        _twice(
            "experiment",
            *("key", "name", "entity", "text", "layer", "starts_at", "ends_at", "parts", "control", "owner"),
            *("defined_at", "ended_at"),
        ),
        _NEVER_REUSED,
    )
    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    name: str
    entity: str
    text: str
    layer: str | None = None
    starts_at: int = Field(sa_type=BigInteger)
    ends_at: int = Field(sa_type=BigInteger)
    parts: str
    control: str
    owner: str | None = None
    defined_at: int = Field(sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)


class NameBlockRow(SQLModel, table=True):
    """The names of `count` dense ids from `first_dense` on, in order; whether their users exist is a membership.

    body: `size` bytes, the lengths of the names as 16 bits each and then the names, or fewer, those compressed (zstd).
    A first block of size 0: these ids have no names.
    """

    __tablename__ = "name_block"
    entity_id: int = Field(primary_key=True)
    first_dense: int = Field(primary_key=True, sa_type=BigInteger)
    count: int
    size: int = Field(sa_type=BigInteger)
    checksum: int = Field(sa_type=BigInteger)
    body: bytes = Field(sa_column=_blob())


class NameSnapshotRow(SQLModel, table=True):
    """Which file in the cache has the first `count` names of an entity kind."""

    __tablename__ = "name_snapshot"
    entity_id: int = Field(primary_key=True)
    count: int = Field(sa_type=BigInteger)
    checksum: int = Field(sa_type=BigInteger)


class IdentifierRow(SQLModel, table=True):
    """An identifier of a user from one version until another."""

    __tablename__ = "identifier"
    __table_args__ = (
        Index("identifier_value", "entity_id", "kind", "value"),
        Index("identifier_user", "entity_id", "dense"),
    )
    id: int | None = Field(default=None, primary_key=True)
    entity_id: int
    kind: str
    value: str
    dense: int = Field(sa_type=BigInteger)
    from_version: int
    to_version: int | None = None


class AttributeRow(SQLModel, table=True):
    """The attributes of a user, as a JSON object, from one version until another."""

    __tablename__ = "attribute"
    __table_args__ = (Index("attribute_user", "entity_id", "dense"),)
    id: int | None = Field(default=None, primary_key=True)
    entity_id: int
    dense: int = Field(sa_type=BigInteger)
    body: str
    from_version: int
    to_version: int | None = None
    checksum: int | None = Field(default=None, sa_type=BigInteger)  # of the body; older rows have none


class SourceRow(SQLModel, table=True):
    """A source that memberships name."""

    __tablename__ = "source"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)


class VersionRow(SQLModel, table=True):
    """When a version was made, in microseconds."""

    __tablename__ = "version"
    version: int = Field(primary_key=True)
    moment: int = Field(sa_type=BigInteger, index=True)


class ChangeRow(SQLModel, table=True):
    """What a version did to the memberships of one tag (below zero: to who exists of the entity -tag_id).

    touched: Roaring bitmap of users; before, after: their rows. after is NULL where the fragments hold it.
    generation: of an import, whose `staged_change` says it, except of the users who are touched here.
    """

    __tablename__ = "change"
    __table_args__ = (
        Index("change_version", "version"),
        Index("change_tag", "tag_id", "version"),
        Index("change_generation", "tag_id", "generation", sqlite_where=text("generation IS NOT NULL")),
    )
    id: int | None = Field(default=None, primary_key=True)
    version: int
    tag_id: int
    checksum: int = Field(sa_type=BigInteger)
    touched: bytes = Field(sa_column=_blob())
    before: bytes = Field(sa_column=_blob())
    after: bytes | None = Field(default=None, sa_column=_blob(nullable=True))
    generation: int | None = None


class StagedChangeRow(SQLModel, table=True):
    """What an import does to a tag, written before it becomes visible: the users touched and their rows before."""

    __tablename__ = "staged_change"
    tag_id: int = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    checksum: int = Field(sa_type=BigInteger)
    touched: bytes = Field(sa_column=_blob())
    before: bytes = Field(sa_column=_blob())


class ShardRow(SQLModel, table=True):
    """Which generation of fragments holds in a shard of a tag; fragments of others are staged, or left over."""

    __tablename__ = "shard"
    __table_args__ = (_twice("shard", "generation"),)
    tag_id: int = Field(primary_key=True)
    shard: int = Field(primary_key=True)
    generation: int


class FragmentRow(SQLModel, table=True):
    """The members of one tag value in one shard of 2^20 users, as an import or a fold made them."""

    __tablename__ = "fragment"
    __table_args__ = (
        Index("fragment_tag", "tag_id", "generation", "value_id", "shard"),
        _twice("fragment", "ends_first"),
    )
    id: int | None = Field(default=None, primary_key=True)
    tag_id: int
    value_id: int
    shard: int
    generation: int
    cardinality: int = Field(sa_type=BigInteger)
    ends_first: int = Field(sa_type=BigInteger)  # the earliest expiry, in microseconds
    checksum: int = Field(sa_type=BigInteger)
    users: bytes = Field(sa_column=_blob())
    columns: bytes = Field(sa_column=_blob())


class BaseRow(SQLModel, table=True):
    """Up to which version the fragments of a tag hold its changes; no row: none are held.

    stamp: which fragments these are, another one whenever any are swapped; by it files of the cache are known.
    """

    __tablename__ = "base"
    __table_args__ = (_twice("base", "version", "stamp"),)
    tag_id: int = Field(primary_key=True)
    version: int
    stamp: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))


class AppliedRow(SQLModel, table=True):
    """An idempotency key that was used, what it was used for, and what that did."""

    __tablename__ = "applied"
    key: str = Field(primary_key=True)
    fingerprint: str
    version: int
    changed: int = Field(sa_type=BigInteger)
    created: int = Field(sa_type=BigInteger)
    job_id: str | None = None


class JobRow(SQLModel, table=True):
    """A piece of long work; `request` is JSON."""

    __tablename__ = "job"
    __table_args__ = _NEVER_REUSED
    seq: int | None = Field(default=None, primary_key=True)
    id: str = Field(unique=True)
    kind: str
    title: str = ""
    state: str = "QUEUED"
    progress: float | None = None
    started_at: int | None = Field(default=None, sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    rows_read: int = Field(default=0, sa_type=BigInteger)
    rows_applied: int = Field(default=0, sa_type=BigInteger)
    rows_rejected: int = Field(default=0, sa_type=BigInteger)
    error: str | None = None
    request: str = "{}"
    cancel: bool = False
    key: str | None = Field(default=None, index=True)
    fingerprint: str = ""


class RejectionRow(SQLModel, table=True):
    """A row of an import that was not applied."""

    __tablename__ = "rejection"
    __table_args__ = (Index("rejection_job", "job_id", "line"),)
    id: int | None = Field(default=None, primary_key=True)
    job_id: str
    line: int = Field(sa_type=BigInteger)
    code: str
    message: str


class TokenRow(SQLModel, table=True):
    """An access token: its name, the SHA-256 of its secret, its scopes, and when it ends, if it does."""

    __tablename__ = "token"
    __table_args__ = (_twice("token", "digest", "scopes", "expires_at"),)
    name: str = Field(primary_key=True)
    digest: str = Field(unique=True)
    scopes: str
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int | None = Field(default=None, sa_type=BigInteger)
