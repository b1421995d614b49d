"""How classes of agents and messages are made again in a process that cannot import them.

A class comes in two steps, since its methods may name it: first with its fields alone, then its methods are put in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from novel_actors.simulation.handler import collect_handlers

KEPT_BACK = frozenset(
    {
        "__annotations__",
        "__dict__",
        "__doc__",
        "__match_args__",
        "__module__",
        "__qualname__",
        "__slots__",
        "__weakref__",
        "_fields",
        "_frame_locals",
        "_handlers",
        "_names",
        "columns",
    }
)


def recipe_of(cls: type, make: Callable[..., type], fields: tuple[Any, ...], names: Mapping[str, object]) -> Any:
    """Return a class as pickle takes it: a call that makes it with its fields, and the methods to put in.

    Args:
        cls: The class.
        make: Called in the other process with (name, bases, identity, *fields).
        fields: What `make` needs beside.
        names: The class's own fields, which are no methods.
    """
    identity = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    methods = {
        name: value
        for name, value in cls.__dict__.items()
        if name not in KEPT_BACK and name not in names and not isinstance(value, _DESCRIPTORS)
    }
    return make, (cls.__name__, cls.__bases__, identity, *fields), methods, None, None, put_in


_DESCRIPTORS = (MemberDescriptorType, GetSetDescriptorType)


def put_in(cls: Any, methods: Mapping[str, object]) -> None:
    """Give a class its methods."""
    for name, value in methods.items():
        setattr(cls, name, value)
    if hasattr(cls, "_handlers"):
        cls._handlers = collect_handlers(cls, methods)
