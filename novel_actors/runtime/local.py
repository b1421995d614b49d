"""A runtime in this process: actors are plain objects, their calls are coroutines run in turn by one thread.

There is no event loop, so a run works inside a notebook's; and no clock, so whatever happens is decided by the order
of turns. Tests give `Faults`: from a seed, turns and frames are reordered, frames delayed, doubled and lost, and shards
die, and every run with that seed does the same.
"""

from __future__ import annotations

import dataclasses
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from novel_actors.errors import ActorDiedError, ExchangeTimeout
from novel_actors.runtime.runtime import ActorRef, Exchange, Runtime, pause

T = TypeVar("T")
R = TypeVar("R")

RESEND_TURNS = 16
"""A shard that has waited so many turns asks for the missing frames again."""
STUCK_TURNS = 100_000
"""A shard that has waited so many turns gives up: nobody can send what it waits for."""


@dataclasses.dataclass(slots=True)
class Faults:
    """What goes wrong, from a seed.

    Attributes:
        seed: Of all choices below.
        delay_turns: Frames arrive up to this many turns late, and so out of order.
        loss: The part of frames that are lost (0 to 1, below 1) and have to be asked for again.
        double: The part of frames that arrive twice.
        deaths: (shard, tick): the shard dies as it is about to swap after that tick; once each.
    """

    seed: int = 0
    delay_turns: int = 0
    loss: float = 0.0
    double: float = 0.0
    deaths: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    rng: random.Random = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)


class LocalActorRef(ActorRef[T], Generic[T]):
    """An object of this process."""

    def __init__(self, target: T, name: str) -> None:
        self._target: T | None = target
        self.name = name

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See `ActorRef`."""
        if self._target is None:
            raise ActorDiedError(f"{self.name} is gone")
        result = method(self._target, *args, **kwargs)
        return await result if isinstance(result, Coroutine) else result

    def die(self) -> None:
        """Forget the object."""
        self._target = None

    def __repr__(self) -> str:
        return f"<LocalActorRef {self.name}{'' if self._target is not None else ', gone'}>"


class Network:
    """The frames under way between the shards of this process."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.turn = 0
        self.stale_total = 0
        self._arriving: dict[int, list[tuple[int, int, int, int, bytes]]] = {}
        self._sent: dict[tuple[int, int], deque[tuple[int, int, bytes]]] = {}

    def send(self, source: int, target: int, epoch: int, tick: int, data: bytes) -> None:
        """Put a frame under way, and keep it in case it is asked for again.

        Two are kept: a shard that has all frames of a tick sends that of the next while others may miss its last.
        """
        self._sent.setdefault((source, target), deque(maxlen=2)).append((epoch, tick, data))
        self._post(source, target, epoch, tick, data)

    def _post(self, source: int, target: int, epoch: int, tick: int, data: bytes) -> None:
        faults, rng = self.faults, self.faults.rng
        if faults.loss and rng.random() < faults.loss:
            return
        copies = 2 if faults.double and rng.random() < faults.double else 1
        for _ in range(copies):
            late = rng.randint(0, faults.delay_turns) if faults.delay_turns else 0
            self._arriving.setdefault(target, []).append((self.turn + late, source, epoch, tick, data))

    def resend(self, source: int, target: int, epoch: int, tick: int) -> None:
        """Put a kept frame under way again, if it was sent."""
        for kept in self._sent.get((source, target), ()):
            if kept[:2] == (epoch, tick):
                self._post(source, target, *kept)

    def forget(self, shard: int) -> None:
        """Drop all frames from and to a shard: another takes its number."""
        self._arriving.pop(shard, None)
        self._sent = {pair: frames for pair, frames in self._sent.items() if shard not in pair}

    def receive(self, target: int, epoch: int, tick: int, known: dict[int, bytes]) -> None:
        """Move what has arrived for (epoch, tick) into `known`; drop what is older, leave what is newer."""
        waiting: list[tuple[int, int, int, int, bytes]] = []
        for item in self._arriving.get(target, ()):
            due, source, of_epoch, of_tick, data = item
            if of_epoch < epoch or (of_epoch == epoch and of_tick < tick):
                self.stale_total += 1
            elif due > self.turn or (of_epoch, of_tick) != (epoch, tick):
                waiting.append(item)
            else:
                known.setdefault(source, data)
        self._arriving[target] = waiting


class LocalExchange(Exchange):
    """One shard's end of a `Network`."""

    def __init__(self, network: Network, shard: int, die: Callable[[], None]) -> None:
        self._network, self._shard, self._die = network, shard, die

    async def swap(self, epoch: int, tick: int, frames: Mapping[int, bytes]) -> Sequence[bytes]:
        """See `Exchange`."""
        network, shard = self._network, self._shard
        if (shard, tick) in network.faults.deaths:
            network.faults.deaths.discard((shard, tick))
            self._die()
            raise ActorDiedError(f"shard {shard} is gone")
        for target, data in frames.items():
            network.send(shard, target, epoch, tick, data)
        known: dict[int, bytes] = {}
        for turn in range(1, STUCK_TURNS):
            network.receive(shard, epoch, tick, known)
            if len(known) == len(frames):
                return [known[source] for source in sorted(known)]
            if turn % RESEND_TURNS == 0:
                for source in frames:
                    if source not in known:
                        network.resend(source, shard, epoch, tick)
            await pause()
        missing = sorted(set(frames) - set(known))
        raise ExchangeTimeout(f"shard {shard} has no frame of shards {missing} for tick {tick}")


class LocalRuntime(Runtime):
    """Hosts actors in this process.

    Args:
        faults: What goes wrong; None for nothing.
    """

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.loses_actors = bool(self.faults.deaths)
        self.network = Network(self.faults)
        self._shards: dict[int, LocalActorRef[Any]] = {}

    async def spawn(self, kind: Callable[..., T], *args: Any, **kwargs: Any) -> LocalActorRef[T]:
        """See `Runtime`."""
        target = kind(*args, **kwargs)
        return LocalActorRef(target, f"{type(target).__name__} {getattr(target, 'number', '')}".strip())

    async def stop(self, ref: ActorRef[Any]) -> None:
        """See `Runtime`."""
        cast("LocalActorRef[Any]", ref).die()

    async def gather(self, *calls: Coroutine[Any, Any, R]) -> list[R]:
        """See `Runtime`."""
        if len(calls) == 1:
            return [await calls[0]]
        results: dict[int, R] = {}
        waiting = dict(enumerate(calls))
        rng = self.faults.rng
        try:
            while True:
                order = list(waiting)
                if self.faults.delay_turns:
                    rng.shuffle(order)
                for index in order:
                    try:
                        waiting[index].send(None)
                    except StopIteration as stop:
                        results[index] = stop.value
                        del waiting[index]
                self.network.turn += 1
                if not waiting:
                    return [results[index] for index in range(len(calls))]
                await pause()
        finally:
            for call in waiting.values():
                call.close()

    def exchange(self, shard: int, epoch: int) -> LocalExchange:
        """See `Runtime`."""
        return LocalExchange(self.network, shard, lambda: self._shards[shard].die())

    def bind(self, shard: int, ref: ActorRef[Any]) -> None:
        """Say which actor is a shard, so that a fault can end it."""
        self._shards[shard] = cast("LocalActorRef[Any]", ref)
        self.network.forget(shard)

    def kill(self, shard: int) -> None:
        """End a shard between two calls, as a fault of its process would."""
        self._shards[shard].die()

    def close(self) -> None:
        """See `Runtime`: nothing of it outlives its objects."""

    def run(self, call: Coroutine[Any, Any, R]) -> R:
        """See `Runtime`."""
        try:
            while True:
                call.send(None)
        except StopIteration as stop:
            return cast("R", stop.value)
        finally:
            call.close()
