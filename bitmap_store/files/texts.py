"""Columns as text: bare, as JSON and as CSV. Vectorised; a null stays null."""

from collections.abc import Mapping

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from bitmap_store.errors import Invalid

_TO_BE_ESCAPED = '["\\\\\\x00-\\x1f]'
_TO_BE_QUOTED = '[",\\r\\n]'


def plain_text(column: pa.Array) -> pa.StringArray:
    """The text of scalars, exact; moments in RFC 3339 in UTC, floats in the shortest form that reads back the same.

    Lists and structs are their JSON. A type that has no text is INVALID.
    """
    type_ = column.type
    if pa.types.is_string(type_):
        return column
    if pa.types.is_dictionary(type_):
        return plain_text(column.dictionary).take(column.indices)
    if pa.types.is_timestamp(type_):
        return _moments(column)
    if pa.types.is_nested(type_):
        return json_text(column)
    if pa.types.is_float16(type_):
        column = column.cast(pa.float32())
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Invalid(f"a column of type {type_} has no text") from error


def _moments(column: pa.TimestampArray) -> pa.StringArray:
    in_utc = column.view(pa.timestamp(column.type.unit))  # what is stored is UTC; no time zone database is asked
    text = pc.strftime(in_utc, "%Y-%m-%dT%H:%M:%SZ")
    return text if column.type.unit == "s" else pc.replace_substring_regex(text, r"\.?0*Z$", "Z")


def json_text(column: pa.Array) -> pa.StringArray:
    """Each cell as JSON: numbers, truth values and lists as such, all else as a string.

    A float that is not finite has no JSON and becomes null.
    """
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return json_text(column.dictionary).take(column.indices)
    if pa.types.is_struct(type_):
        fields = {field.name: json_text(part) for field, part in zip(type_, column.flatten(), strict=True)}
        return pc.if_else(column.is_valid(), json_objects(fields, len(column)), None)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return _json_lists(column)
    if pa.types.is_floating(type_):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, type_))
    text = plain_text(column)
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return text
    if pa.types.is_decimal(type_):
        return text
    return _json_strings(text)


def _json_strings(text: pa.StringArray) -> pa.StringArray:
    wrapped = pc.binary_join_element_wise('"', text, '"', "")
    special = pc.match_substring_regex(text, _TO_BE_ESCAPED)
    if not pc.any(special).as_py():
        return wrapped
    escaped = [orjson.dumps(one).decode() for one in text.filter(special).to_pylist()]
    return pc.replace_with_mask(wrapped, special, pa.array(escaped, pa.string()))


def _json_lists(column: pa.ListArray) -> pa.StringArray:
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths.cast(pa.int64()))])
    members = pc.fill_null(json_text(column.flatten()), "null")
    lists = pa.ListArray.from_arrays(offsets.cast(pa.int32()), members, mask=column.is_null())
    return pc.binary_join_element_wise("[", pc.binary_join(lists, ","), "]", "")


def json_objects(columns: Mapping[str, pa.StringArray], rows: int, *, sparse: bool = False) -> pa.StringArray:
    """One JSON object a row, of columns that are JSON text already; `sparse` leaves out what is null."""
    if not columns:
        return pa.array(["{}"] * rows, pa.string())
    members = []
    for key, text in columns.items():
        cells = text if sparse else pc.fill_null(text, "null")
        member = pc.binary_join_element_wise(f",{orjson.dumps(key).decode()}:", cells, "")
        members.append(pc.fill_null(member, ""))
    inside = pc.binary_join_element_wise(*members, "")
    return pc.binary_join_element_wise(pc.utf8_replace_slice(inside, 0, 1, "{"), "}", "")  # the first comma gives way


def csv_text(column: pa.Array) -> pa.StringArray:
    """Each cell as a CSV field: quoted by RFC 4180 where it holds a comma, a quote or a line break; null is empty."""
    text = pc.fill_null(plain_text(column), "")
    special = pc.match_substring_regex(text, _TO_BE_QUOTED)
    if not pc.any(special).as_py():
        return text
    doubled = pc.replace_substring(text, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), text)
