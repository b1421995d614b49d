"""`@na.on`: which method of an agent or population receives which message."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from novel_actors.errors import ModelError
from novel_actors.simulation.message import Record, is_message

F = TypeVar("F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, slots=True)
class Handler:
    """A method that receives one message class."""

    message: type[Record]
    function: Callable[..., Any]
    rowwise: bool
    sender: bool


def on(message: type, *, rowwise: bool = False, sender: bool = False) -> Callable[[F], F]:
    """Mark a method as the receiver of `message`.

    An agent's handler is called as `(self, message, tick)` for each message, in the order of the inbox. A population's
    is called as `(self, rows, messages, tick)` once per tick with all messages of the class: `rows` are (n,) row
    numbers, repeated where a row has several messages, in the order of the inbox.

    Args:
        message: A class made by `@na.message`.
        rowwise: Populations only: the result for a row depends on that row and its messages alone, and the handler
            sends, spawns and draws nothing. It is then run once over all partitions of a shard.
        sender: Carry the senders' ids, readable as `tick.sender` (agents) or `messages.senders` (populations).
    """
    if not is_message(message):
        raise ModelError(f"@na.on wants a class made by @na.message, got {message!r}")

    def mark(function: F) -> F:
        function.__na_on__ = (message, rowwise, sender)  # type: ignore[attr-defined]
        return function

    return mark


def collect_handlers(cls: type, namespace: Mapping[str, object]) -> dict[type[Record], Handler]:
    """Return the handlers of a class, inherited ones first; two for one message in one class body are refused."""
    handlers: dict[type[Record], Handler] = {}
    for base in reversed(cls.__mro__[1:]):
        handlers.update(getattr(base, "__dict__", {}).get("_handlers", {}))
    own: set[type[Record]] = set()
    inherited = {handler.function.__name__: message for message, handler in handlers.items()}
    for name, value in namespace.items():
        mark = getattr(value, "__na_on__", None)
        if mark is None:
            if name in inherited:
                message = inherited[name].__name__
                raise ModelError(f"{cls.__name__}.{name} hides a handler: mark it with @na.on({message}), or rename it")
            continue
        message, rowwise, sender = mark
        if message in own:
            raise ModelError(f"{cls.__name__} has two handlers for {message.__name__}: keep one")
        own.add(message)
        handlers[message] = Handler(message, value, rowwise, sender)  # type: ignore[arg-type]
    return handlers
