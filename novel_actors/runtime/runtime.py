"""The interface of a runtime: where hosted classes live, and how they are called."""

from __future__ import annotations

import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


class ActorRef(ABC, Generic[T]):
    """A hosted object of class T, wherever it lives."""

    @overload
    async def call(
        self, method: Callable[Concatenate[T, P], Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    async def call(self, method: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    @abstractmethod
    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what the method, given as `Class.method`, returns; what it raises is raised here.

        Raises:
            ActorDiedError: The actor is gone, and the call may or may not have run.
        """


class Exchange(ABC):
    """How one shard's frames get to the others."""

    @abstractmethod
    async def swap(self, epoch: int, tick: int, frames: Mapping[int, bytes]) -> Sequence[bytes]:
        """Send a frame to each shard named; return the frames that these sent for the same epoch and tick.

        Having a frame of every peer is the barrier between two ticks. Frames of another epoch are dropped.
        """


class Runtime(ABC):
    """Hosts actors.

    Attributes:
        is_remote: Whether they live in processes of their own.
        loses_actors: Whether one may die while the others live.
    """

    is_remote = False
    loses_actors = True

    @abstractmethod
    async def spawn(self, kind: Callable[..., T], *args: Any, **kwargs: Any) -> ActorRef[T]:
        """Return a new actor, hosted; its constructor has run."""

    @abstractmethod
    async def stop(self, ref: ActorRef[Any]) -> None:
        """End an actor; further calls raise `ActorDiedError`. One that is gone already is no error."""

    @abstractmethod
    async def gather(self, *calls: Coroutine[Any, Any, R]) -> list[R]:
        """Return the results of calls made at the same time; the first exception ends the others."""

    @abstractmethod
    def exchange(self, shard: int, epoch: int) -> Exchange:
        """Return a shard's end of the exchange, for an epoch of the partition table."""

    @abstractmethod
    def bind(self, shard: int, ref: ActorRef[Any]) -> None:
        """Say which actor is a shard of the exchange."""

    @abstractmethod
    def close(self) -> None:
        """End everything that the runtime has started."""

    @abstractmethod
    def run(self, call: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine to its end from outside, and return its result."""


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Let others run; the awaiting coroutine goes on afterwards."""
    yield
