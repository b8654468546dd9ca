"""A dictionary in arrays finds what one of Python's finds, whatever the texts and however they hash."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bitmap_store.dictionary import Dictionary, GrowingDictionary, dictionary_of, empty_dictionary, merged
from bitmap_store.hashing import Hash, Hashed, Texts, Words, equal, joined


class WeakHash(Hash):
    """A hash that tells texts apart only by its lowest two bits, at the end of the range: everything meets there."""

    def of(self, texts: Texts) -> Words:
        return super().of(texts) | np.uint64(0xFFFFFFFC)

    def of_one(self, text: bytes) -> int:
        return super().of_one(text) | 0xFFFFFFFC


HASHES = {"strong": Hash(b"a seed"), "weak": WeakHash(b"a seed")}
# Lengths around the words of eight bytes, texts that differ only in their last bytes, and beyond ASCII.
STEMS = ["x" * length for length in (0, 6, 7, 8, 9, 15, 16, 503, 510, 511)]
TEXTS = st.one_of(
    st.text(st.sampled_from("ab"), min_size=1, max_size=3),
    st.builds(str.__add__, st.sampled_from(STEMS), st.sampled_from("ab")),
    st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
    st.integers(-(2**63), 2**63 - 1).map(str),
)
COLUMNS = st.lists(TEXTS, max_size=40)
DISTINCT = st.lists(TEXTS, max_size=40, unique=True)


def texts_of(texts: Sequence[str]) -> Texts:
    return Texts.of(pa.array(texts, pa.string()))


def hashed(texts: Sequence[str], hash_: Hash) -> Hashed:
    return Hashed.of(texts_of(texts), hash_)


def places_in(dictionary: Dictionary, texts: Sequence[str]) -> list[int]:
    found: list[int] = dictionary.find(hashed(texts, dictionary.hash)).tolist()
    one_by_one = [dictionary.find_one(text.encode(), dictionary.hash.of_one(text.encode())) for text in texts]
    assert one_by_one == found
    assert dictionary.find(hashed(texts, Hash(b"another"))).tolist() == found
    return found


@pytest.mark.parametrize("weak", HASHES)
@given(known=DISTINCT, asked=COLUMNS)
@example(known=["a", "b", "ab"], asked=["", "a\0", "x" * 600, "b" * 9])
@example(known=[f"u{i}" for i in range(500)], asked=[f"u{i}" for i in range(0, 1000, 7)])
def test_finds_what_is_there(weak: str, known: list[str], asked: list[str]) -> None:
    hash_ = HASHES[weak]
    places = {text: place for place, text in enumerate(known)}
    expected = [places.get(text, -1) for text in [*known, *asked]]
    dictionary = dictionary_of(hashed(known, hash_))
    assert places_in(dictionary, [*known, *asked]) == expected
    assert dictionary.take(np.arange(len(known))[::-1]).to_pylist() == known[::-1]


@pytest.mark.parametrize("weak", HASHES)
@given(parts=st.lists(DISTINCT, max_size=6), asked=COLUMNS)
@example(parts=[[f"{part}.{i}" for i in range(9)] for part in range(60)], asked=["0.0", "59.8", "60.0"])
def test_grows(weak: str, parts: list[list[str]], asked: list[str]) -> None:
    growing = GrowingDictionary(HASHES[weak])
    known: dict[str, int] = {}
    for part in parts:
        before, places_before = growing.now, dict(known)
        fresh = [text for text in part if text not in known]
        growing.add(hashed(fresh, HASHES[weak]))
        known |= {text: len(known) + i for i, text in enumerate(fresh)}
        # Who still looks into what was there before sees just that.
        assert places_in(before, [*fresh, *asked]) == [places_before.get(text, -1) for text in [*fresh, *asked]]
    assert places_in(growing.now, [*known, *asked]) == [known.get(text, -1) for text in [*known, *asked]]
    assert growing.now.texts.array().to_pylist() == list(known)
    assert growing.now.slots[-1] == 0


@pytest.mark.parametrize("weak", HASHES)
@given(parts=st.lists(DISTINCT, min_size=1, max_size=4))
def test_merging_puts_one_after_the_other(weak: str, parts: list[list[str]]) -> None:
    hash_, known, dictionaries = HASHES[weak], dict[str, int](), []
    for part in parts:
        fresh = [text for text in part if text not in known]
        known |= {text: len(known) + i for i, text in enumerate(fresh)}
        growing = GrowingDictionary(hash_)
        growing.add(hashed(fresh, hash_))
        dictionaries.append(growing.now)
    growing.add(hashed(["not yet"], hash_))  # in the table of the last, beyond its texts
    whole = merged(dictionaries)
    assert places_in(whole, [*known, "not yet"]) == [*known.values(), -1]
    assert whole.texts.array().to_pylist() == list(known)


def test_the_empty_text_has_a_place_and_is_not_found() -> None:
    hash_ = HASHES["strong"]
    dictionary = dictionary_of(hashed(["a", "", "b", ""], hash_))
    assert places_in(dictionary, ["", "b"]) == [-1, 2]
    assert places_in(empty_dictionary(hash_), ["", "b"]) == [-1, -1]
    assert dictionary.take(np.array([1, 2])).to_pylist() == ["", "b"]


def test_of_equal_texts_each_finds_the_first() -> None:
    dictionary = dictionary_of(hashed(["a", "b", "a", "c", "b", "a"], HASHES["weak"]))
    assert places_in(dictionary, ["a", "b", "c"]) == [0, 1, 3]


@given(column=COLUMNS, seed=st.binary(min_size=1, max_size=16))
def test_a_text_hashes_alone_as_in_a_column(column: list[str], seed: bytes) -> None:
    hash_ = Hash(seed)
    assert hash_.of(texts_of(column)).tolist() == [hash_.of_one(text.encode()) for text in column]


def test_hashes_of_many_blocks() -> None:
    """More rows than are worked on together."""
    texts = [f"user-{i}" for i in range(40_000)]
    column = hashed(texts, HASHES["strong"])
    assert len(np.unique(column.hashes)) > 39_990
    assert all(column.hashes[i] == column.hash.of_one(texts[i].encode()) for i in (0, 20_000, 39_999))
    dictionary = dictionary_of(column)
    assert (dictionary.find(column) == np.arange(40_000)).all()
    some = np.arange(1, 40_000, 2)
    assert (dictionary.find(column, some)[some] == some).all()
    part = column.take(some)
    assert (dictionary.find(part) == some).all()
    assert column.take(np.arange(40_000)) is column


@given(a=COLUMNS, b=COLUMNS, data=st.data())
def test_equality_is_by_every_byte(a: list[str], b: list[str], data: st.DataObject) -> None:
    b = [*b, *a, "x" * 8, "x" * 9]
    a = [*a, "x" * 8 + "y", "x" * 8, "x" * 16]
    pairs = data.draw(st.lists(st.tuples(st.integers(0, len(a) - 1), st.integers(0, len(b) - 1)), max_size=50))
    rows, places = np.array([p for p, _ in pairs], np.int64), np.array([p for _, p in pairs], np.int64)
    assert equal(texts_of(a), rows, texts_of(b), places).tolist() == [a[i] == b[j] for i, j in pairs]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_any_column_of_texts(type_: pa.DataType) -> None:
    column = pa.array(["skipped", "a", None, "", "čaj" * 9, "last"], type_)
    expected = ["a", "", "", "čaj" * 9, "last"]
    for given_column in (column.slice(1), pa.chunked_array([column.slice(1, 2), column.slice(3)])):
        texts = Texts.of(given_column)
        assert texts.array().to_pylist() == expected
        assert [texts.text(i).decode() for i in range(len(texts))] == expected
        assert joined([texts.slice(1, 4), texts.slice(0, 0), texts.slice(4, 5)]).array().to_pylist() == expected[1:]
    assert Texts.of_list(["\ud800", "b"]).text(0) == b"\xed\xa0\x80"
    assert len(Texts.of(column.slice(6))) == 0
