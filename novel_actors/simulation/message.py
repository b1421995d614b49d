"""Messages: small immutable typed records, alone or as columnar batches.

A message class is made from the annotated fields of the decorated class. Its instances are frozen msgspec structs:
cheap to make, unknown to the garbage collector, impossible to change, so that sender and receivers may share one.
Events are the same kind of record.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

import msgspec
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
RESERVED = ("count", "delay", "message", "senders", "targets")
"""What `send_many` and the batches that handlers get call their own."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """What every message class derives from."""

    __message_fields__: ClassVar[tuple[Field, ...]] = ()
    __message_body__: ClassVar[tuple[str, ...]] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(msgspec.structs.astuple(self))

    @classmethod
    def __recipe__(cls) -> tuple[Any, ...]:
        """Return how to make the class again in a process that cannot import it: see `recipe`."""
        body = {name: cls.__dict__[name] for name in cls.__message_body__}
        about = (cls.__name__, cls.__module__, cls.__qualname__, cls.__doc__, cls.__message_fields__)
        return remake_class, about, body, None, None, give_body


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
        if field.name.startswith("_") or field.name in RESERVED:
            raise ModelError(f"message field {cls.__name__}.{field.name} has a reserved name: choose another")
        if isinstance(names[field.name], Column):
            continue
        if field.default is REQUIRED and not needs_value:
            raise ModelError(f"message field {cls.__name__}.{field.name} without default follows one with a default")
        needs_value = field.default is REQUIRED
    taken = {*names, "__dict__", "__weakref__", "__annotations__", "__module__", "__qualname__", "__doc__"}
    body: dict[str, Any] = {name: value for name, value in cls.__dict__.items() if name not in taken}
    return cast("type[T]", make_class(cls.__name__, cls.__module__, cls.__qualname__, cls.__doc__, fields, body))


def make_class(
    name: str, module: str, qualname: str, doc: str | None, fields: tuple[Field, ...], body: dict[str, Any]
) -> type[Record]:
    """Return the message class: a struct whose values are checked when it is made.

    Args:
        name: Its name.
        module: Where it was declared.
        qualname: Its name within the module.
        doc: Its docstring.
        fields: Its fields.
        body: Its own methods and properties.
    """
    whole = dict(body)
    if fields:
        whole["__post_init__"] = make_check(name, fields)
    if any(field.shape for field in fields):
        whole |= {"__eq__": equal_records, "__hash__": hash_record}
    parts: list[Any] = []
    for field in fields:
        declared = struct_type(field)
        if field.default is REQUIRED:
            parts.append((field.name, declared))
        else:
            default = coerce_scalar(name, field, field.default)
            parts.append((field.name, declared, share(default)))
    made: Any = msgspec.defstruct(name, parts, bases=(Record,), namespace=whole, module=module, frozen=True, gc=False)
    made.__message_fields__, made.__message_body__ = fields, tuple(body)
    made.__qualname__, made.__doc__ = qualname, doc
    return cast("type[Record]", made)


def remake_class(name: str, module: str, qualname: str, doc: str | None, fields: tuple[Field, ...]) -> type[Record]:
    """Return a message class without its own methods, which may name it."""
    return make_class(name, module, qualname, doc, fields, {})


def give_body(cls: Any, body: dict[str, Any]) -> None:
    """Give a message class its own methods."""
    for name, value in body.items():
        setattr(cls, name, value)
    cls.__message_body__ = tuple(body)


def share(default: object) -> Any:
    """Return a default as msgspec takes it: an array, which is read-only, is the same one for all messages."""
    return msgspec.field(default_factory=lambda: default) if isinstance(default, np.ndarray) else default


def struct_type(field: Field) -> Any:
    """Return the type of a field's value in a single message."""
    if field.type is AgentId:
        return int
    if field.type is not np.ndarray or field.shape:
        return field.type
    assert field.dtype is not None
    return {"b": bool, "f": float}.get(field.dtype.kind, int)


def make_check(owner: str, fields: tuple[Field, ...]) -> Any:
    """Return the method that checks the values of a new message; what has the declared type costs next to nothing."""
    namespace: dict[str, object] = {
        "_coerce": coerce_scalar,
        "_force": msgspec.structs.force_setattr,
        "_owner": owner,
        "_fields": fields,
    }
    body = []
    for i, field in enumerate(fields):
        name = field.name
        if field.type in (int, AgentId):
            test = f"value.__class__ is not int or not {INT64_MIN} <= value <= {INT64_MAX}"
        elif field.type is np.ndarray:
            test = "True"
        elif field.type is str:
            test = "value.__class__ is not str or not value.isascii()"
        else:
            test = f"value.__class__ is not {field.type.__name__}"
        body.append(f"    value = self.{name}")
        body.append(f"    if {test}: _force(self, {name!r}, _coerce(_owner, _fields[{i}], value))")
    exec("def __post_init__(self):\n" + "\n".join(body), namespace)
    return namespace["__post_init__"]


def equal_records(left: Record, right: object) -> bool:
    """Tell whether two messages with arrays are of one class and equal."""
    if not isinstance(right, type(left)):
        return False
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def hash_record(record: Record) -> int:
    """Return the hash of a message with arrays."""
    return hash(tuple(v.tobytes() if isinstance(v, np.ndarray) else v for v in record))


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
