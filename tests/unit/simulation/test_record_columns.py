"""Columns keep the values they were given, whatever form these had."""

from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from novel_actors.simulation.record_columns import arrow_type, examine, is_kind, join, to_arrow

INTS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS: list[st.SearchStrategy[Any]] = [INTS, st.floats(allow_nan=False), st.booleans(), TEXT, st.binary(max_size=8)]
LISTS = [st.lists(each, max_size=4) for each in SCALARS]


def columns(cell: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | cell, max_size=6)


@given(st.data())
def test_lists_come_back_from_arrow_as_they_were(data: st.DataObject) -> None:
    cell = data.draw(st.sampled_from(SCALARS + LISTS))
    chunks = data.draw(st.lists(columns(cell), max_size=4))
    kind, kept = "null", []
    for chunk in chunks:
        found, copy, size_bytes = examine(chunk)
        kind = join(kind, found)
        kept.append(copy)
        assert size_bytes > 0
    array = to_arrow(kind, kept)
    array.validate(full=True)
    assert is_kind(kind)
    assert array.type == arrow_type(kind)
    assert array.to_pylist() == [value for chunk in chunks for value in chunk]


DTYPES = npst.integer_dtypes() | npst.unsigned_integer_dtypes() | npst.floating_dtypes() | npst.boolean_dtypes()
ARRAYS = DTYPES.filter(lambda dtype: dtype.itemsize <= 8).flatmap(
    lambda dtype: npst.arrays(
        dtype,
        st.tuples(st.integers(0, 5)) | st.tuples(st.integers(0, 5), st.integers(1, 3)),
        elements={"allow_nan": False} if dtype.kind == "f" else None,
    )
)


@given(ARRAYS, ARRAYS)
def test_arrays_come_back_from_arrow_as_they_were(one: np.ndarray, other: np.ndarray) -> None:
    for arrays in ([one], [one, one[::-1]], [other[::2]]):
        examined = [examine(array) for array in arrays]
        result = to_arrow(examined[0][0], [chunk for _, chunk, _ in examined])
        result.validate(full=True)
        assert result.to_pylist() == [value for array in arrays for value in array.tolist()]


def test_a_copy_is_taken() -> None:
    array, values, cell = np.arange(3), [1, 2], np.arange(2)
    copies = [examine(array)[1], examine(values)[1], examine([cell])[1]]
    array[0], values[0], cell[0] = 9, 9, 9
    assert [np.asarray(copy).tolist() for copy in copies] == [[0, 1, 2], [1, 2], [[0, 1]]]


class Colour(IntEnum):
    RED = 3


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([np.float64(1.5)], "float64", [1.5]),
        ([np.float32(1.5), 2], "float64", [1.5, 2.0]),
        ([np.int64(2), None], "int64", [2, None]),
        ([np.bool_(True)], "bool", [True]),
        ([Colour.RED], "int64", [3]),
        ([np.array(7)], "int64", [7]),
        ([1, 2.5, None], "float64", [1.0, 2.5, None]),
        ([2**60 + 1, 0.5], "float64", [float(2**60 + 1), 0.5]),
        ([(1, 2), [], None], "list<int64>", [[1, 2], [], None]),
        ([[1], [0.5]], "list<float64>", [[1.0], [0.5]]),
        ([np.array([1, 2], np.uint8)], "list<uint8>", [[1, 2]]),
        (np.array(["a", "bc"]), "string", ["a", "bc"]),
        (np.array([None, 1], object), "int64", [None, 1]),
        ([None, None], "null", [None, None]),
    ],
)
def test_values_are_told_apart_by_kind(values: Any, kind: str, expected: list[Any]) -> None:
    found, chunk, _ = examine(values)
    assert found == kind
    assert to_arrow(found, [chunk]).to_pylist() == expected


def test_missing_values_go_with_rows_of_arrays() -> None:
    chunks = [examine([None])[1], examine(np.array([[1, 2]], np.float32))[1]]
    assert to_arrow("float32[2]", chunks).to_pylist() == [None, [1.0, 2.0]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, "a"], "do not go together"),
        ([True, 1], "do not go together"),
        ([[1], 2], "not both"),
        ([[[1]]], "lists of lists"),
        ([np.zeros((2, 2))], "lists of lists"),
        ([object()], "type object"),
        ([1j], "type complex"),
        (np.zeros((2, 2, 2)), "no column"),
        (np.zeros((2, 0)), "no column"),
        (np.array(["2020-01-01"], "M8[D]"), "no column"),
        ("text", "got str"),
    ],
)
def test_what_no_table_keeps_is_refused(values: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        examine(values)


@pytest.mark.parametrize("values", [[2**63], [-(2**63) - 1], [1, 2**70], [None, 2**63], [[2**63, 1]]])
def test_integers_beyond_64_bits_are_refused(values: list[Any]) -> None:
    with pytest.raises(OverflowError):
        examine(values)


@pytest.mark.parametrize(
    "text", ["", "int", "object", "list<", "list<list<int64>>", "int64[]", "int64[0]", "string[2]"]
)
def test_a_text_that_names_no_kind_is_told(text: str) -> None:
    assert not is_kind(text)
