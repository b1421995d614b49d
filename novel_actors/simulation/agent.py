"""Agents written as objects: a class whose annotated fields are its state."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from novel_actors.errors import ModelError, StateError
from novel_actors.simulation.fields import (
    INT64_MAX,
    INT64_MIN,
    REQUIRED,
    Codec,
    Column,
    Field,
    declared_fields,
    initial,
    is_text,
)
from novel_actors.simulation.handler import Handler, collect_handlers
from novel_actors.simulation.ids import NOBODY, AgentId
from novel_actors.simulation.message import Record
from novel_actors.simulation.recipe import recipe_of


@dataclass_transform(kw_only_default=True)
class AgentType(type):
    """Turns the annotated fields of an agent class into slots: small, quick, and closed to undeclared names."""

    _names: dict[str, object]
    _handlers: dict[type[Record], Handler]
    _frame_locals: Mapping[str, object]
    _fields: tuple[Field, ...] | None

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> AgentType:
        """Make the class, its fields as slots."""
        if "_names" not in namespace:
            names: dict[str, object] = {}
            for field, annotation in namespace.get("__annotations__", {}).items():
                if field.startswith("__") or "ClassVar" in str(annotation):
                    continue
                names[field] = namespace.pop(field, REQUIRED)
            for field in [f for f, value in namespace.items() if isinstance(value, Column)]:
                names[field] = namespace.pop(field)
            if "__init__" in namespace and bases:
                raise ModelError(f"{name} defines __init__: give initial values as defaults or to sim.add instead")
            if bases:
                for reserved in ("id", "_id", "step"):
                    if reserved in names:
                        raise ModelError(f"{name}.{reserved} has a reserved name: choose another")
            inherited = {field for base in bases for field in getattr(base, "_all_names", {})}
            namespace["__slots__"] = tuple(field for field in names if field not in inherited)
            namespace["_names"] = names
            namespace["_frame_locals"] = dict(sys._getframe(1).f_locals) if bases else {}
        namespace["_fields"] = None
        made = super().__new__(mcs, name, bases, namespace, **kwargs)
        made._handlers = collect_handlers(made, namespace)
        for handler in made._handlers.values():
            if handler.rowwise:
                raise ModelError(f"{name} is an agent: rowwise handlers are for populations")
        return made

    @property
    def _all_names(cls) -> dict[str, object]:
        names: dict[str, object] = {}
        for base in reversed(cls.__mro__):
            names.update(base.__dict__.get("_names", {}))
        names.pop("_id", None)
        return names

    @property
    def fields(cls) -> tuple[Field, ...]:
        """The declared fields, inherited ones first."""
        if cls.__dict__["_fields"] is None:
            frame: dict[str, object] = {}
            for base in reversed(cls.__mro__):
                frame.update(base.__dict__.get("_frame_locals", {}))
            cls._fields = tuple(declared_fields(cls, cls._all_names, frame))
        assert cls._fields is not None
        return cls._fields

    def __recipe__(cls) -> Any:
        """Return how to make the class again elsewhere: see `recipe`."""
        return recipe_of(cls, make_agent_class, (cls._names, cls.fields), cls._names)

    @property
    def is_async(cls) -> bool:
        """Tell whether the step or any handler is a coroutine function."""
        functions = [getattr(cls, "step", None), *(handler.function for handler in cls._handlers.values())]
        return any(inspect.iscoroutinefunction(function) for function in functions)


class Agent(metaclass=AgentType):
    """The base of agents written as objects.

    Annotated fields are the state; nothing else can be kept on an agent. `step(self, tick)`, sync or async, is called
    once per tick; methods marked with `@na.on` receive messages. A class without `step` acts on messages alone.

    Attributes:
        id: The agent's id, for ever.
    """

    _id: AgentId
    _handlers: ClassVar[dict[type[Record], Handler]]

    def __init__(self, id: int = NOBODY, **values: object) -> None:  # noqa: A002 - the attribute's name
        self._id = AgentId(id)
        for field in type(self).fields:
            if field.name in values:
                setattr(self, field.name, values.pop(field.name))
            elif field.default is REQUIRED:
                raise ModelError(f"{type(self).__name__}.{field.name} has no default: give it a value")
            else:
                default = initial(field.default)
                setattr(self, field.name, float(default) if field.type is float else default)  # type: ignore[arg-type]
        if values:
            known = ", ".join(f.name for f in type(self).fields)
            raise ModelError(f"{type(self).__name__} has no field {next(iter(values))!r}; it has {known}")

    id: ClassVar[Any] = property(attrgetter("_id"))
    """The agent's id, for ever."""

    def __repr__(self) -> str:
        values = "".join(f", {f.name}={getattr(self, f.name, '?')!r}" for f in type(self).fields)
        return f"{type(self).__name__}(id={self.id}{values})"


def make_agent_class(
    name: str, bases: tuple[type, ...], identity: dict[str, Any], names: dict[str, object], fields: tuple[Field, ...]
) -> AgentType:
    """Return an agent class with its fields and no methods yet."""
    inherited = {field for base in bases for field in getattr(base, "_all_names", {})}
    slots = tuple(field for field in names if field not in inherited)
    made = AgentType(name, bases, {**identity, "__slots__": slots, "_names": names, "_frame_locals": {}})
    made._fields = fields
    return made


class AgentCodec:
    """The state of many agents of one class as one blob per field, and back."""

    def __init__(self, kind: type[Agent]) -> None:
        self.kind = kind
        self.fields = kind.fields
        for field in self.fields:
            if field.type is np.ndarray and not field.shape:
                raise ModelError(
                    f"{kind.__name__}.{field.name} is a column of one number: declare a float, int or bool"
                )
        self._codecs: dict[str, Codec] = {
            f.name: Codec(kind.__name__, f) for f in self.fields if f.dtype is None or f.type is np.ndarray
        }

    def columns(self, agents: list[Agent]) -> dict[str, list[Any]]:
        """Return the fields as lists, in declared order."""
        return {f.name: [getattr(agent, f.name) for agent in agents] for f in self.fields}

    def encode(self, agents: list[Agent]) -> dict[str, bytes]:
        """Return one blob per field; raises `StateError` for a value that is not of its declared type."""
        blobs = {}
        for field, values in zip(self.fields, self.columns(agents).values(), strict=True):
            codec = self._codecs.get(field.name)
            if codec is None:
                self.check_scalars(field, values)
                assert field.dtype is not None
                blobs[field.name] = np.array(values, field.dtype).tobytes()
            elif is_text(field):
                self.check_scalars(field, values)
                blobs[field.name] = codec.encode(values)
            else:
                blobs[field.name] = codec.check(values)
        return blobs

    def decode(self, ids: list[int], blobs: Mapping[str, bytes]) -> list[Agent]:
        """Return the agents with these ids."""
        agents: list[Agent] = [self.kind.__new__(self.kind) for _ in ids]
        for agent, number in zip(agents, ids, strict=True):
            agent._id = AgentId(number)
        for field in self.fields:
            codec = self._codecs.get(field.name)
            if codec is None:
                assert field.dtype is not None
                values = np.frombuffer(blobs[field.name], field.dtype).tolist()
            else:
                values = codec.decode(blobs[field.name])
            for agent, value in zip(agents, values, strict=True):
                setattr(agent, field.name, value)
        return agents

    def check(self, agents: list[Agent]) -> None:
        """Raise `StateError` for the first value that a save would change: see `Codec.check`."""
        for field, values in zip(self.fields, self.columns(agents).values(), strict=True):
            codec = self._codecs.get(field.name)
            if codec is None:
                self.check_scalars(field, values)
            elif not is_text(field):
                codec.check(values)
            else:
                self.check_scalars(field, values)

    def check_scalars(self, field: Field, values: list[Any]) -> None:
        """Raise `StateError` unless every value has exactly the declared scalar type."""
        wanted = int if field.type is AgentId else field.type
        if all(value.__class__ is wanted for value in values) and wanted is not int:
            return
        for value in values:
            if wanted is int and value.__class__ is int and not INT64_MIN <= value <= INT64_MAX:
                raise StateError(f"{self.kind.__name__}.{field.name} is an int of 64 bits, which cannot hold {value}")
            if value.__class__ is not wanted:
                raise StateError(
                    f"{self.kind.__name__}.{field.name} is declared {field.described} and holds {value!r:.80} "
                    f"({type(value).__name__}): convert it, as in {field.described}(...)"
                )
