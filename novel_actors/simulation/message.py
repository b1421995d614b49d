"""Messages: small immutable typed records, alone or as columnar batches.

A message class is made from the annotated fields of the decorated class. Its instances are tuples underneath: cheap to
make, impossible to change, so that sender and receivers may share one. Events are the same kind of record.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any, TypeVar, cast, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from novel_actors.errors import ModelError, StateError
from novel_actors.simulation.fields import (
    INT64_MAX,
    INT64_MIN,
    REQUIRED,
    Column,
    Field,
    coerce_scalar,
    declared_fields,
    is_text,
)
from novel_actors.simulation.ids import AgentId

T = TypeVar("T")
TUPLE_NEW = tuple.__new__


class Record(tuple[Any, ...]):
    """What every message class derives from."""

    __slots__ = ()
    __message_fields__: tuple[Field, ...] = ()

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        values = ", ".join(f"{f.name}={v!r}" for f, v in zip(self.__message_fields__, self, strict=True))
        return f"{type(self).__name__}({values})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in zip(self, other, strict=True)
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((type(self).__name__, *(v.tobytes() if isinstance(v, np.ndarray) else v for v in self)))


@dataclass_transform(frozen_default=True)
def message(cls: type[T]) -> type[T]:
    """Turn a class with annotated fields into a message.

    Fields are `int` (64 bits), `float`, `bool`, `str`, `bytes`, `na.AgentId`, or `na.column(dtype, shape=...)` for a
    fixed array. Defaults are allowed. Methods and properties stay. Values are checked when a message is made.

    Raises:
        ModelError: a field of another type, no plain class, or a name that starts with an underscore.
    """
    if cls.__bases__ != (object,):
        raise ModelError(f"message {cls.__name__} wants a plain class, got bases {cls.__bases__}")
    names: dict[str, object] = {name: cls.__dict__.get(name, REQUIRED) for name in inspect.get_annotations(cls)}
    names.update({name: value for name, value in cls.__dict__.items() if isinstance(value, Column)})
    fields = tuple(declared_fields(cls, names, sys._getframe(1).f_locals))
    needs_value = True
    for field in fields:
        if field.dtype is None and not is_text(field):
            raise ModelError(
                f"message field {cls.__name__}.{field.name} is declared {field.described}: use int, float, bool, str, "
                "bytes, na.AgentId or na.column(dtype, shape=...)"
            )
        if field.name.startswith("_") or field.name in ("senders", "count", "index"):
            raise ModelError(f"message field {cls.__name__}.{field.name} has a reserved name: choose another")
        if isinstance(names[field.name], Column):
            continue
        if field.default is REQUIRED and not needs_value:
            raise ModelError(f"message field {cls.__name__}.{field.name} without default follows one with a default")
        needs_value = field.default is REQUIRED
    body = {k: v for k, v in cls.__dict__.items() if k not in names and k not in ("__dict__", "__weakref__")}
    body |= {"__slots__": (), "__message_fields__": fields, "__match_args__": tuple(f.name for f in fields)}
    body["__new__"] = make_new(cls.__name__, fields)
    made = type(cls.__name__, (Record,), body)
    for position, field in enumerate(fields):
        setattr(made, field.name, make_property(position, field))
    return cast("type[T]", made)


def make_property(position: int, field: Field) -> object:
    """Return the attribute that reads one field; the tuple getter of named tuples is the quickest there is."""
    from collections import _tuplegetter  # type: ignore[attr-defined]

    return _tuplegetter(position, f"{field.described}")


def make_new(owner: str, fields: tuple[Field, ...]) -> Any:
    """Return `__new__` with the fields as parameters; what has the declared type is taken, the rest is coerced."""
    parameters, body = [], []
    namespace: dict[str, object] = {"_new": TUPLE_NEW, "_coerce": coerce_scalar, "_owner": owner, "_fields": fields}
    ordered = [f for f in fields if f.default is REQUIRED] + [f for f in fields if f.default is not REQUIRED]
    for field in ordered:
        i = fields.index(field)
        if field.default is not REQUIRED:
            namespace[f"_default_{i}"] = coerce_scalar(owner, field, field.default)
        parameters.append(field.name if field.default is REQUIRED else f"{field.name}=_default_{i}")
        name = field.name
        if field.type in (int, AgentId):
            test = f"{name}.__class__ is not int or not {INT64_MIN} <= {name} <= {INT64_MAX}"
        elif field.type is np.ndarray:
            test = "True"
        else:
            test = f"{name}.__class__ is not {field.type.__name__}"
        body.append(f"    if {test}: {name} = _coerce(_owner, _fields[{i}], {name})")
    values = ", ".join(f.name for f in fields) + ("," if len(fields) == 1 else "")
    source = f"def __new__(_cls, {', '.join(parameters)}):\n" + "\n".join(body) + f"\n    return _new(_cls, ({values}))"
    exec(source, namespace)
    function = namespace["__new__"]
    function.__qualname__ = f"{owner}.__new__"  # type: ignore[attr-defined]
    return function


def is_message(kind: object) -> bool:
    """Tell whether `kind` is a message class."""
    return isinstance(kind, type) and issubclass(kind, Record)


class Messages:
    """A batch of messages of one class as a handler on arrays sees it.

    Each field is an attribute: an array of one row per message (read-only; text as an object array). `senders` is the
    (n,) int64 array of ids, for handlers declared with `sender=True`.
    """

    __slots__ = ("_columns", "_kind", "_senders", "count")

    def __init__(
        self, kind: type[Record], columns: dict[str, NDArray[Any]], senders: NDArray[np.int64] | None, count: int
    ) -> None:
        self._kind, self._columns, self._senders, self.count = kind, columns, senders, count

    def __len__(self) -> int:
        return self.count

    def __getattr__(self, name: str) -> NDArray[Any]:
        try:
            return self._columns[name]
        except KeyError:
            pass
        fields = ", ".join(self._columns) or "no fields"
        raise AttributeError(f"{self._kind.__name__} has no field {name!r}; it has {fields}")

    @property
    def senders(self) -> NDArray[np.int64]:
        """(n,) ids of the senders; -1 for what was injected from outside."""
        if self._senders is None:
            raise StateError(
                f"{self._kind.__name__} carries no senders here: declare @na.on({self._kind.__name__}, sender=True)"
            )
        return self._senders

    def __repr__(self) -> str:
        return f"<{self.count} {self._kind.__name__} messages: {', '.join(self._columns)}>"
