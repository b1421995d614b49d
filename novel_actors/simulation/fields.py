"""Declared fields of messages, agents and populations: their types, defaults and the bytes that carry them.

A field is either annotated (`wealth: int = 1`) or a column (`position = na.column(np.float32, shape=(2,))`). Values of
declared types travel through msgpack and back unchanged; a type that would not (a set, `Any`) is refused when the class
is first used.
"""

from __future__ import annotations

import builtins
import copy
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from novel_actors.errors import ModelError, StateError
from novel_actors.simulation.ids import AgentId

SCALARS: dict[object, np.dtype[Any]] = {
    int: np.dtype(np.int64),
    float: np.dtype(np.float64),
    bool: np.dtype(np.bool_),
    AgentId: np.dtype(np.int64),
}
TEXTS = (str, bytes)
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class Required:
    """Stands for the default of a field that has none."""


REQUIRED = Required


class Column:
    """A typed array field: of a population one row per agent, of a message or an agent one fixed array.

    Args:
        dtype: Any boolean, integer or floating numpy dtype.
        shape: The shape of one row; `()` is a scalar.
        default: The initial value of a row, broadcast to `shape`; None is zero.
        publish: Populations only: let every other partition read the column as it stood when the tick began,
            through `tick.published(Kind, name)`.
    """

    __slots__ = ("default", "dtype", "name", "publish", "shape")

    def __init__(
        self, dtype: DTypeLike, shape: int | tuple[int, ...] = (), default: object = None, publish: bool = False
    ) -> None:
        self.name = ""
        # numpy is quick only with its own dtype objects, not with equal ones.
        self.dtype = np.dtype(np.dtype(dtype).type)
        if self.dtype.kind not in "biuf":
            raise ModelError(f"a column wants a boolean, integer or floating dtype, got {self.dtype}")
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if any(side < 1 for side in self.shape):
            raise ModelError(f"a column's shape wants sides of at least 1, got {self.shape}")
        self.publish = publish
        try:
            start = np.zeros((), self.dtype) if default is None else np.asarray(default)
            if not can_hold(self.dtype, start):
                raise TypeError(f"{start.dtype} is not {self.dtype}")
            self.default = np.broadcast_to(start.astype(self.dtype), self.shape)
        except (TypeError, ValueError) as error:
            raise ModelError(f"a column of {self.dtype}{list(self.shape)} cannot start as {default!r}") from error

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return instance._columns[self.name]

    def __set__(self, instance: Any, value: object) -> None:
        rows = instance._columns[self.name]
        if value is rows:
            return  # what `self.x += 1` assigns at its end
        given = np.asarray(value)
        if not can_hold(self.dtype, given):
            owner = type(instance).__name__
            raise StateError(f"{owner}.{self.name} wants {self.dtype}, got {given.dtype} such as {first(given)!r}")
        rows[...] = given


def column(dtype: DTypeLike, shape: int | tuple[int, ...] = (), default: object = None, publish: bool = False) -> Any:
    """Declare a typed array field; see `Column`."""
    return Column(dtype, shape, default, publish)


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One declared field: its name, its type and its default (`REQUIRED` when there is none)."""

    name: str
    type: Any
    default: object
    dtype: np.dtype[Any] | None
    shape: tuple[int, ...] = ()

    @property
    def described(self) -> str:
        """The type in words, as the manifest of a run keeps it."""
        if self.dtype is not None and self.type not in SCALARS:
            return f"{self.dtype.name}{list(self.shape) if self.shape else ''}"
        return self.type.__name__ if isinstance(self.type, type) or self.type is AgentId else str(self.type)


def declared_fields(cls: type, names: Mapping[str, object], frame_locals: Mapping[str, object]) -> list[Field]:
    """Return the fields of `cls` in `names` (name -> default, column or `REQUIRED`), with their types resolved."""
    fields = []
    for name, default in names.items():
        if isinstance(default, Column):
            fields.append(Field(name, np.ndarray, default.default, default.dtype, default.shape))
        else:
            hint = resolve_hint(cls, name, frame_locals)
            fields.append(Field(name, hint, default, SCALARS.get(hint)))
    return fields


def resolve_hint(cls: type, name: str, frame_locals: Mapping[str, object]) -> Any:
    """Return the annotation of a field as a type, also when it is a string and its class is local to a function."""
    owner = next(base for base in cls.__mro__ if name in inspect.get_annotations(base))
    annotation = inspect.get_annotations(owner)[name]
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(vars(sys.modules.get(owner.__module__, builtins))), dict(frame_locals))
    except Exception as error:
        raise ModelError(
            f"{owner.__name__}.{name} is annotated {annotation!r}, which names no type known there: {error}"
        ) from error


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number: Python's or numpy's, but no boolean."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_text(field: Field) -> bool:
    """Tell whether the field is a `str` or `bytes`, carried as a list."""
    return field.dtype is None and field.type in TEXTS


def coerce_scalar(owner: str, field: Field, value: object) -> object:
    """Return `value` as the declared scalar type of a message field, or raise `StateError` naming both.

    Integers become floats where a float is declared; numpy scalars become Python's; nothing is truncated or parsed.
    """
    kind = field.type
    if isinstance(value, np.generic):
        value = value.item()
    if kind is np.ndarray:
        assert field.dtype is not None
        try:
            given = np.array(value)
            if not can_hold(field.dtype, given):
                raise StateError(f"{owner}.{field.name} wants {field.described}, got {misfit(field.dtype, given)}")
            array = given.astype(field.dtype, order="C").reshape(field.shape)
        except (TypeError, ValueError) as error:
            raise StateError(f"{owner}.{field.name} wants {field.described}, got {value!r:.80}") from error
        if not field.shape:
            return array.item()
        array.setflags(write=False)
        return array
    if kind is int or kind is AgentId:
        if isinstance(value, int):
            if INT64_MIN <= value <= INT64_MAX:
                return int(value)
            raise StateError(f"{owner}.{field.name} wants an integer of 64 bits, got {value}")
    elif kind is float:
        if isinstance(value, (int, float)):
            return float(value)
    elif kind in TEXTS and isinstance(value, kind):
        return plain_text(owner, field, value)
    elif isinstance(value, kind):
        return value
    raise StateError(f"{owner}.{field.name} wants {field.described}, got {value!r:.80} ({type(value).__name__})")


def coerce_column(owner: str, field: Field, values: object, count: int) -> NDArray[Any] | list[Any]:
    """Return `values` as a column of `count` rows of the field's type (an array, or a list for text)."""
    rows: NDArray[Any] | list[Any]
    if is_text(field):
        rows = [values] * count if isinstance(values, TEXTS) else list(typing.cast("list[Any]", values))
        for value in rows:
            if type(value) is not field.type:
                raise StateError(f"{owner}.{field.name} wants {field.described}, got {value!r:.80}")
            plain_text(owner, field, value)
    else:
        assert field.dtype is not None
        array = np.asarray(values)
        if array.dtype.kind in "OUS" or not can_hold(field.dtype, array):
            raise StateError(f"{owner}.{field.name} wants {field.described}, got {misfit(field.dtype, array)}")
        if array.shape == field.shape:
            array = np.broadcast_to(array, (count, *field.shape))
        if array.shape[1:] != field.shape:
            raise StateError(f"{owner}.{field.name} wants rows of shape {field.shape}, got an array of {array.shape}")
        # In C order, as it arrives on another shard: the order of bytes is that of floating sums.
        rows = array.astype(field.dtype, order="C")
    if len(rows) != count:
        raise StateError(f"{owner}.{field.name} wants {count} rows, got {len(rows)}")
    return rows


def plain_text(owner: str, field: Field, value: Any) -> Any:
    """Return text as exactly `str` or `bytes`, as it arrives elsewhere; raise `StateError` when UTF-8 has no form."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise StateError(f"{owner}.{field.name} holds text that UTF-8 cannot carry: {error}") from error
    return field.type().join((value,))


def can_hold(dtype: np.dtype[Any], array: NDArray[Any]) -> bool:
    """Tell whether every value of `array` fits `dtype` without losing more than floating precision."""
    if array.size == 0 or (np.can_cast(array.dtype, dtype, "same_kind") and dtype.kind == "f"):
        return True
    if array.dtype.kind == "b" or np.can_cast(array.dtype, dtype, "safe"):
        return np.can_cast(array.dtype, dtype, "safe")
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return array.size == 0 or (int(array.min()) >= bounds.min and int(array.max()) <= bounds.max)
    return False


def misfit(dtype: np.dtype[Any], array: NDArray[Any]) -> str:
    """Return what is wrong with values that a dtype cannot hold: a number out of its range, else their type."""
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        for value in array.flat:
            if is_whole(value) and not bounds.min <= value <= bounds.max:
                return f"{int(value)}, which {'64 bits' if dtype.itemsize == 8 else 'it'} cannot hold"
    value = first(array)
    plain = value.item() if isinstance(value, np.generic) else value
    return f"{plain!r:.80} ({array.dtype if array.dtype.kind in 'biuf' else type(plain).__name__})"


def first(array: NDArray[Any]) -> object:
    """Return the first value of an array, for messages."""
    return array.flat[0] if array.size else None


class Codec:
    """Lists of values of one declared Python type as msgpack, checked on the way back."""

    def __init__(self, owner: str, field: Field) -> None:
        check_type(f"{owner}.{field.name}", field.type)
        self.owner, self.field = owner, field
        self._decoder = msgspec.msgpack.Decoder(list[field.type], dec_hook=decode_custom)  # type: ignore[name-defined]

    def encode(self, values: list[Any]) -> bytes:
        """Return the msgpack of `values`."""
        try:
            return ENCODER.encode(values)
        except (TypeError, OverflowError, NotImplementedError, UnicodeEncodeError) as error:
            raise StateError(f"{self.owner}.{self.field.name} holds a value that cannot be saved: {error}") from error

    def decode(self, data: bytes) -> list[Any]:
        """Return the values; raises `StateError` when they are not of the declared type."""
        try:
            return self._decoder.decode(data)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise StateError(f"{self.owner}.{self.field.name} wants {self.field.described}: {error}") from error

    def check(self, values: list[Any]) -> bytes:
        """Return the msgpack of `values`; raise `StateError` for the first that would not come back as it is now."""
        data = self.encode(values)
        try:
            back = self.decode(data)
        except StateError:
            for value in values:
                self.decode(self.encode([value]))
            raise
        for value, restored in zip(values, back, strict=True):
            if not same(value, restored):
                raise StateError(
                    f"{self.owner}.{self.field.name} is declared {self.field.described} and holds {value!r:.80} "
                    f"({type(value).__name__}), which would be saved as {restored!r:.80}: keep to the declared type"
                )
        return data


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal in value and in type, all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return (
            len(left) == len(right)
            and all(map(same, left.keys(), right.keys()))
            and all(map(same, left.values(), right.values()))
        )
    if isinstance(left, np.ndarray):
        return bool(left.dtype == right.dtype) and left.shape == right.shape and left.tobytes() == right.tobytes()
    if dataclasses.is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left))
    return bool(left == right) or bool(left != left and right != right)


def check_type(place: str, declared: Any, within: tuple[type, ...] = ()) -> None:
    """Raise `ModelError` when values of a declared type would not survive a save unchanged."""
    origin = typing.get_origin(declared)
    if origin in (typing.Union, types.UnionType):
        for part in typing.get_args(declared):
            check_type(place, part, within)
        return
    if origin in (list, tuple, dict):
        for part in typing.get_args(declared):
            if part is not Ellipsis:
                check_type(place, part, within)
        return
    if origin is typing.Literal or declared in (int, float, bool, str, bytes, type(None), AgentId, np.ndarray):
        return
    if isinstance(declared, type) and dataclasses.is_dataclass(declared):
        if declared not in within:
            for name, part in hints_of(declared).items():
                check_type(f"{place}: {declared.__name__}.{name}", part, (*within, declared))
        return
    if isinstance(declared, type) and (hasattr(declared, "__message_fields__") or hasattr(declared, "_member_map_")):
        return
    name = getattr(declared, "__name__", str(declared))
    if declared in (set, frozenset) or origin in (set, frozenset):
        raise ModelError(f"{place} is a set, whose order differs from run to run: declare a dict or a sorted list")
    if declared in (list, dict, tuple) or declared in (Any, object):
        raise ModelError(f"{place} is declared {name}: declare what it holds, such as list[int] or dict[str, float]")
    raise ModelError(
        f"{place} is declared {name}, which cannot be saved: use int, float, bool, str, bytes, na.AgentId, an enum, a "
        "dataclass, a message, numpy arrays through na.column, or lists, tuples and dicts of them"
    )


def hints_of(declared: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields; none where its annotations name what is not known here."""
    try:
        hints = typing.get_type_hints(declared)
    except (NameError, TypeError):
        return {}
    return {field.name: hints[field.name] for field in dataclasses.fields(declared)}


def initial(default: object) -> object:
    """Return a default for one more agent: mutable defaults are copied."""
    return default if isinstance(default, (int, float, str, bytes, type(None))) else copy.deepcopy(default)


def encode_custom(value: Any) -> Any:
    """Tell msgspec how to write what msgpack has no form for."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise NotImplementedError(f"an array of {value.dtype}")
        if not value.flags.c_contiguous:
            raise NotImplementedError("an array that is a view in another order: keep np.ascontiguousarray(...)")
        form = (value.dtype.str, value.shape, value.tobytes())
        return form if value.flags.writeable else (*form, False)
    if isinstance(value, tuple):
        return list(value)
    raise NotImplementedError(f"{type(value).__name__} {value!r:.80}")


def decode_custom(declared: Any, value: Any) -> Any:
    """Tell msgspec how to read what `encode_custom` wrote."""
    if declared is np.ndarray:
        dtype, shape, data, *frozen = value
        array = np.frombuffer(data, np.dtype(dtype)).reshape(shape).copy()
        if frozen:  # as the arrays of messages are, which an agent may keep
            array.setflags(write=False)
        return array
    if hasattr(declared, "__message_fields__"):
        fields = zip(declared.__message_fields__, value, strict=True)
        return declared(**{f.name: decode_custom(np.ndarray, v) if f.shape else v for f, v in fields})
    raise NotImplementedError(f"{declared}")


ENCODER = msgspec.msgpack.Encoder(enc_hook=encode_custom)
