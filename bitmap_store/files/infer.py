"""The tags that a file would need, inferred from what it holds: for `--define`, shown before anything is defined."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import ANY_TABLE, Block, Shape
from bitmap_store.files.buffers import filled
from bitmap_store.files.cells import EVERY, BlockRows, Cells, Users
from bitmap_store.files.coded import Coded, Codes, said
from bitmap_store.files.columns import USUAL_DAY, USUAL_MOMENT
from bitmap_store.files.reader import BLOCK_BYTES, Format, read_blocks
from bitmap_store.files.repeats import settle
from bitmap_store.files.texts import plain_text
from bitmap_store.values import SCALE_MAX, DatePrecision, TagKind

_SAMPLE_MAX = 3
_USUAL_NUMBER = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?$"
_USUAL_TRUTH = "^(?i:true|false)$"


@dataclass(frozen=True, slots=True)
class Inferred:
    """A tag as a file uses it: in so many rows, with values such as the sample."""

    key: str
    kind: TagKind
    rows: int
    sample: tuple[str, ...] = ()
    scale: int = 0
    precision: DatePrecision = DatePrecision.SECOND

    def __str__(self) -> str:
        """One line for a person."""
        detail = {TagKind.NUMBER: f" with {self.scale} decimals", TagKind.DATE: f" by {self.precision.lower()}"}
        such_as = f", such as {', '.join(self.sample)}" if self.sample else ""
        return f"{self.key}: {self.kind}{detail.get(self.kind, '')}, {self.rows:,} rows{such_as}"


def infer(path: Path, format: Format, shape: Shape, *, block_bytes: int = BLOCK_BYTES) -> list[Inferred]:
    """The tags of a file of memberships, events or a table, in the order of the file; broken rows are skipped.

    Of memberships the column that most rows of a tag use decides; of a table what all cells of a column look like.
    Values that a user has several of make CHOICES. One pass; memory is about 12 bytes a row of each tag with values,
    and the names of the users.
    """
    if shape.route not in _SURVEYS:
        raise Invalid(f"a file of {shape.route} defines no tags")
    survey = _SURVEYS[shape.route]()
    shape = ANY_TABLE if shape.route == "table" else shape
    for block in read_blocks(path, format, shape, block_bytes=block_bytes):
        survey.see(block)
    return survey.result()


# ---------------------------------------------------------------- evidence


@dataclass(slots=True)
class _Tag:
    """What was seen of one tag. `looks`: what all cells of a column can be; `values`: by block, with the users."""

    key: str
    rows: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    looks: frozenset[TagKind] = frozenset((TagKind.FLAG, TagKind.NUMBER, TagKind.DATE))
    sample: dict[str, None] = field(default_factory=dict)
    scale: int = 0
    by_day: bool = True
    values: list[tuple[int, Codes, Coded]] = field(default_factory=list)
    has_lists: bool = False
    has_unseen_values: bool = False

    def see_sample(self, texts: pa.StringArray) -> None:
        """Takes some of these distinct texts as examples."""
        for text in texts.slice(0, _SAMPLE_MAX).to_pylist()[: _SAMPLE_MAX - len(self.sample)]:
            self.sample[text if len(text) <= 30 else f"{text[:30]}…"] = None

    def see_numbers(self, texts: pa.StringArray) -> None:
        """Widens the scale to the decimals of these numbers."""
        self.scale = max(self.scale, min(SCALE_MAX, _decimals(texts)))

    def see_dates(self, texts: pa.StringArray) -> None:
        """Notes whether these dates are days."""
        self.by_day = self.by_day and _all_match(texts, USUAL_DAY)

    def inferred(self, kind: TagKind) -> Inferred:
        """The tag, as one of this kind."""
        precision = DatePrecision.DAY if kind is TagKind.DATE and self.by_day else DatePrecision.SECOND
        return Inferred(self.key, kind, self.rows, tuple(self.sample), self.scale, precision)


class _Survey:
    """The tags of a file of memberships."""

    def __init__(self) -> None:
        self._tags: dict[str, _Tag] = {}
        self._names: list[pa.StringArray] = []

    def see(self, block: Block) -> None:
        """Takes the rows of a block as evidence."""
        users = self._users(block)
        texts = {name: block.columns[name] for name in ("value", "number", "date") if name in block.columns}
        here = {name: said(column) for name, column in texts.items()}
        values = Coded.of(texts["value"]).in_nfc() if "value" in texts else None
        order, groups = Coded.of(block.columns["tag"]).in_nfc().groups()
        for key, places in groups:
            rows = order[places]
            tag = self._tag(key)
            tag.rows += len(rows)
            for name in texts:
                part = rows[here[name][rows]]
                if not len(part):
                    continue
                tag.columns[name] += len(part)
                if name == "value" and values is not None:
                    self._see_values(tag, users.codes[part], values.take(part))
                    continue
                distinct = pc.unique(plain_text(texts[name].take(pa.array(part))))
                tag.see_sample(distinct)
                (tag.see_numbers if name == "number" else tag.see_dates)(distinct)

    def result(self) -> list[Inferred]:
        """What the evidence says."""
        ids = self._ids()
        return [tag.inferred(self._kind(tag, ids)) for tag in self._tags.values()]

    def _kind(self, tag: _Tag, ids: list[Users]) -> TagKind:
        if not tag.columns:
            return TagKind.FLAG
        match tag.columns.most_common(1)[0][0]:
            case "number":
                return TagKind.NUMBER
            case "date":
                return TagKind.DATE
            case _:
                return TagKind.CHOICES if self._has_several(tag, ids) else TagKind.CHOICE

    def _tag(self, key: str) -> _Tag:
        return self._tags.setdefault(key, _Tag(key))

    def _users(self, block: Block) -> Coded:
        users = Coded.of(block.columns["user"]).compact()
        self._names.append(users.names)
        return users

    def _see_values(self, tag: _Tag, users: Codes, values: Coded) -> None:
        values = values.compact()
        tag.see_sample(values.names)
        tag.values.append((len(self._names) - 1, users, values))

    def _ids(self) -> list[Users]:
        """For each block a number for each of its names that is one for the whole file."""
        blocks = [
            pa.DictionaryArray.from_arrays(pa.array(range(len(names)), pa.int32()), names) for names in self._names
        ]
        unified = pa.chunked_array(blocks, pa.dictionary(pa.int32(), pa.string())).unify_dictionaries()
        return [block.indices.to_numpy() for block in unified.chunks]

    @staticmethod
    def _has_several(tag: _Tag, ids: list[Users]) -> bool:
        """Whether any user has two values that differ."""
        cells = []
        for block, users, values in tag.values:
            named = users >= 0
            numbers = ids[block][users[named]]
            rows = BlockRows(numbers, range(len(numbers)))
            cells.append(Cells(tag.key, TagKind.CHOICES, rows, EVERY, values.take(named)))
        different = settle(cells).users
        return len(np.unique(different)) < len(different)


class _EventSurvey(_Survey):
    """The tags of a file of events."""

    def see(self, block: Block) -> None:
        """Takes the rows of a block as evidence."""
        values = Coded.of(block.columns.get("value", pa.nulls(len(block.lines))))
        order, groups = Coded.of(block.columns["tag"]).in_nfc().groups()
        for key, places in groups:
            rows = order[places]
            tag = self._tag(key)
            tag.rows += len(rows)
            tag.see_sample(values.take(rows).compact().names)

    def result(self) -> list[Inferred]:
        """What the evidence says."""
        return [tag.inferred(TagKind.EVENT) for tag in self._tags.values()]


class _TableSurvey(_Survey):
    """The tags of a table."""

    def __init__(self) -> None:
        super().__init__()
        self._rows = 0

    def see(self, block: Block) -> None:
        """Takes the rows of a block as evidence."""
        users = self._users(block)
        self._rows += int((users.codes >= 0).sum())
        for column, array in block.columns.items():
            if column != "user":
                self._see_column(self._tag(column), users, array)

    def _see_column(self, tag: _Tag, users: Coded, array: pa.Array) -> None:
        rows = np.arange(len(array))
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            lengths = filled(pc.list_value_length(array))
            tag.has_lists |= bool((lengths > 1).any())
            rows, array = np.repeat(rows, lengths), array.flatten()
        rows = rows[said(array)]
        if not len(rows):
            return
        cells = Coded.of(array)
        cells = cells.take(cells.codes >= 0).compact()
        could_be, tag.looks = tag.looks, tag.looks & _looks(array.type, cells.names)
        if TagKind.NUMBER in tag.looks:
            tag.see_numbers(cells.names)
        if TagKind.DATE in tag.looks:
            tag.see_dates(cells.names)
        if tag.looks:
            tag.see_sample(cells.names)
        else:
            tag.has_unseen_values |= bool(could_be and tag.rows)
            self._see_values(tag, users.codes[rows], cells.in_nfc())
        tag.rows += len(np.unique(rows))

    def _kind(self, tag: _Tag, ids: list[Users]) -> TagKind:
        if tag.rows and tag.looks:
            return min(tag.looks)
        # A column that looked like numbers in earlier blocks has values there that were not kept: CHOICES loses none.
        unsure = tag.has_unseen_values and self._rows > len(np.unique(np.concatenate(ids)))
        several = tag.has_lists or unsure or (tag.values and self._has_several(tag, ids))
        return TagKind.CHOICES if several else TagKind.CHOICE


_SURVEYS = {"memberships": _Survey, "events": _EventSurvey, "table": _TableSurvey}


def _looks(type_: pa.DataType, names: pa.StringArray) -> frozenset[TagKind]:
    """What cells of this type, or with these distinct texts, can be; text with leading zeros is no number."""
    if pa.types.is_boolean(type_) or _all_match(names, _USUAL_TRUTH):
        return frozenset((TagKind.FLAG,))
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return frozenset((TagKind.NUMBER,))
    if _all_match(names, _USUAL_NUMBER):
        return frozenset((TagKind.NUMBER,))
    if _all_match(names, f"{USUAL_DAY}|{USUAL_MOMENT}"):
        return frozenset((TagKind.DATE,))
    return frozenset()


def _all_match(texts: pa.StringArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py())


def _decimals(texts: pa.StringArray) -> int:
    """The most digits after the point; of numbers with an exponent, those that they have without it."""
    with_exponent = pc.match_substring_regex(texts, "[0-9][eE]")
    places = [-int(Decimal(text).as_tuple().exponent) for text in texts.filter(with_exponent).to_pylist()]
    plain = texts.filter(pc.invert(with_exponent))
    point = pc.find_substring(plain, ".")
    places += pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.binary_length(plain), pc.add(point, 1))).to_pylist()
    return max(places, default=0)
