"""Columns of records: what a caller hands in, told apart once, kept compactly, and turned into Arrow when needed.

A column has a kind, a short text: `null` (no value seen yet), `bool`, `int8` ... `uint64`, `float16` ... `float64`,
`string`, `binary`, `list<KIND>` (cells of any length) and `KIND[k]` (k numbers in each cell). A chunk is the part of a
column from one append: an array, or a list where arrays do not fit (text, missing values, cells that are lists).

Arrow arrays are laid out here from their buffers, since `pyarrow.array` imports pandas, and a run that nobody reads
frames of must not pay for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Chunk: TypeAlias = "Array | list[Any]"

_KIND_OF_TYPE = {type(None): "null", bool: "bool", int: "int64", float: "float64", str: "string", bytes: "binary"}
_NUMBERS = {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"} | {
    "float16",
    "float32",
    "float64",
}
# What a Python list and an object in it cost beside the payload: estimates that keep the memory bound honest.
_LIST_BYTES = 88
_ARRAY_BYTES = 120
_OBJECT_BYTES = 48


def examine(values: Array | Sequence[object]) -> tuple[str, Chunk, int]:
    """Return the kind of a column, a copy of it that nobody else holds, and about how many bytes the copy takes.

    Args:
        values: A (n,) or (n, k) array; or n Python or numpy scalars, None, or lists and (k,) arrays of such.

    Raises:
        TypeError: The values are of a type that no table keeps, or of several that do not go together.
        OverflowError: An integer does not fit in 64 bits.
    """
    if isinstance(values, np.ndarray):
        if values.dtype.name in _NUMBERS and (values.ndim == 1 or (values.ndim == 2 and values.shape[1] > 0)):
            kind = values.dtype.name if values.ndim == 1 else f"{values.dtype.name}[{values.shape[1]}]"
            copy = np.array(values, dtype=values.dtype.newbyteorder("="), order="C")
            return kind, copy, copy.nbytes + _ARRAY_BYTES
        if values.ndim != 1 or values.dtype.kind not in "OSU":
            raise TypeError(f"an array of {values.dtype} and shape {values.shape} is no column")
        values = list(values.tolist())
    if isinstance(values, str | bytes):
        raise TypeError(f"a column wants an array or a list, got {type(values).__name__}")
    if len(values) == 1:
        # One number in each column is what collectors append in every tick: a list is the cheapest form.
        value = values[0]
        if isinstance(value, float) or (type(value) is int and -(2**63) <= value < 2**63):
            plain: int | float = float(value) if isinstance(value, float) else value
            return _KIND_OF_TYPE[type(plain)], [plain], _LIST_BYTES + _OBJECT_BYTES
    types = set(map(type, values))
    if not types <= _KIND_OF_TYPE.keys():
        values = [_plain(value) for value in values]
        types = set(map(type, values))
        if list in types:
            return _examine_lists(values)
    kind = reduce(join, [_KIND_OF_TYPE[each] for each in types], "null")
    if kind in ("string", "binary"):
        texts: list[Any] = [v.encode() if isinstance(v, str) else v for v in values]
        return kind, texts, _LIST_BYTES + sum(_OBJECT_BYTES + len(text or b"") for text in texts)
    if kind == "null":
        return kind, list(values), _LIST_BYTES + 8 * len(values)
    if type(None) not in types:
        dense = np.array(values, kind)
        return kind, dense, dense.nbytes + _ARRAY_BYTES
    np.array([0 if v is None else v for v in values], kind)  # an integer that does not fit must fail now, not later
    return kind, list(values), _LIST_BYTES + _OBJECT_BYTES * len(values)


def _plain(value: object) -> object:
    """Return a value as one of the types that tables keep, with every kind of list as list."""
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _plain(value.item())
    if isinstance(value, list | tuple | np.ndarray):
        return [value]  # boxed, so that an array stays one for `_examine_lists`
    raise TypeError(f"no table keeps a value of type {type(value).__name__}")


def _examine_lists(boxes: Sequence[object]) -> tuple[str, Chunk, int]:
    kind, size = "null", _LIST_BYTES
    cells: list[Chunk | None] = []
    for box in boxes:
        if box is None:
            cells.append(None)
            continue
        if not isinstance(box, list):
            raise TypeError(f"a column holds lists or {type(box).__name__}, not both")
        inner, chunk, inner_bytes = examine(box[0])
        if inner.endswith((">", "]")):
            raise TypeError("no table keeps lists of lists")
        kind = join(kind, inner)
        cells.append(chunk)
        size += inner_bytes + 8
    return f"list<{kind}>", cells, size


def join(left: str, right: str) -> str:
    """Return the kind that holds the values of both: of null and another the other, of int64 and float64 float64.

    Raises:
        TypeError: There is none.
    """
    if left == right or right == "null":
        return left
    if left == "null":
        return right
    if {left, right} == {"int64", "float64"}:
        return "float64"
    if left.startswith("list<") and right.startswith("list<"):
        return f"list<{join(left[5:-1], right[5:-1])}>"
    raise TypeError(f"{left} and {right} do not go together")


def is_kind(text: str) -> bool:
    """Tell whether a text from a file names a kind."""
    if text.startswith("list<") and text.endswith(">"):
        text = text[5:-1]
    elif text.endswith("]"):
        text, _, width = text[:-1].partition("[")
        return text in _NUMBERS and width.isascii() and width.isdigit() and 0 < int(width) < 2**31
    return text in _NUMBERS or text in ("null", "string", "binary")


def arrow_type(kind: str) -> pa.DataType:
    """Return the Arrow type of a kind; text and lists have 64-bit offsets, so that no size is too long for one."""
    import pyarrow as pa

    if kind.startswith("list<"):
        return pa.large_list(arrow_type(kind[5:-1]))
    if kind.endswith("]"):
        inner, _, width = kind[:-1].partition("[")
        return pa.list_(arrow_type(inner), int(width))
    if kind in ("string", "binary"):
        return pa.large_string() if kind == "string" else pa.large_binary()
    return pa.null() if kind == "null" else pa.from_numpy_dtype(np.dtype(kind))


def to_arrow(kind: str, chunks: Sequence[Chunk]) -> pa.Array:
    """Return chunks, each of this kind or one that `join` widens to it, as one Arrow array."""
    import pyarrow as pa

    chunks = _merged(chunks)
    length = sum(map(len, chunks))
    if kind == "null" or not length:
        return pa.nulls(length, arrow_type(kind))
    validity = _validity(chunks)
    if kind in ("string", "binary"):
        texts = [cell or b"" for chunk in chunks for cell in chunk]
        buffers = [validity, _offsets(texts), pa.py_buffer(b"".join(texts))]
        return pa.Array.from_buffers(arrow_type(kind), length, buffers)
    if kind.startswith("list<"):
        cells = [[] if cell is None else cell for chunk in chunks for cell in chunk]
        children = [to_arrow(kind[5:-1], cells)]
        return pa.Array.from_buffers(arrow_type(kind), length, [validity, _offsets(cells)], children=children)
    inner, _, width = kind.rstrip("]").partition("[")
    numbers = np.concatenate([_numbers(chunk, inner, int(width or 0)) for chunk in chunks])
    if width:
        children = [to_arrow(inner, [numbers.reshape(-1)])]
        return pa.Array.from_buffers(arrow_type(kind), length, [validity], children=children)
    data = np.packbits(numbers, bitorder="little") if inner == "bool" else numbers
    return pa.Array.from_buffers(arrow_type(kind), length, [validity, pa.py_buffer(data)])


def _merged(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return the chunks with neighbouring lists made one, since each chunk costs a few calls."""
    merged: list[Chunk] = []
    for is_list, group in groupby(chunks, key=lambda chunk: isinstance(chunk, list)):
        if is_list:
            merged.append(list(chain.from_iterable(group)))
        else:
            merged.extend(group)
    return merged


def _numbers(chunk: Chunk, kind: str, width: int) -> Array:
    if isinstance(chunk, np.ndarray):
        return chunk.astype(kind, copy=False)
    if width:  # a list stands for such a column only where no value was seen yet
        return np.zeros((len(chunk), width), kind)
    return np.array([0 if value is None else value for value in chunk], kind)


def _validity(chunks: Sequence[Chunk]) -> pa.Buffer | None:
    import pyarrow as pa

    if not any(isinstance(chunk, list) and any(value is None for value in chunk) for chunk in chunks):
        return None
    bits = [
        np.ones(len(chunk), bool) if isinstance(chunk, np.ndarray) else np.array([v is not None for v in chunk], bool)
        for chunk in chunks
    ]
    return pa.py_buffer(np.packbits(np.concatenate(bits), bitorder="little"))


def _offsets(cells: Sequence[Chunk | bytes]) -> pa.Buffer:
    import pyarrow as pa

    offsets = np.zeros(len(cells) + 1, np.int64)
    np.cumsum([len(cell) for cell in cells], out=offsets[1:])
    return pa.py_buffer(offsets)
