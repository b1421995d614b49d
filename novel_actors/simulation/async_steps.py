"""Async agents: all that act in a tick run concurrently, within a bound, on an event loop in a thread of its own.

What an agent does is gathered in a tick object of its own and applied in the order of ids, so latency decides nothing.
Whatever comes from outside (the answer of a service, a time-out) is put into the journal before it has an effect; with
the journal's entries at hand, nobody outside is asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from novel_actors.config import AsyncSettings
from novel_actors.core.random_streams import RandomStreams
from novel_actors.errors import ServiceError, ServiceTimeout, StateError, UnhandledMessage
from novel_actors.simulation.agent import Agent
from novel_actors.simulation.batch import Letter
from novel_actors.simulation.census import Census
from novel_actors.simulation.ids import AgentId
from novel_actors.simulation.message import Record
from novel_actors.simulation.model import Model
from novel_actors.simulation.partition import Partition
from novel_actors.simulation.tick import Effects, Tick


class Outside(msgspec.Struct, array_like=True, frozen=True):
    """Something that came from outside to an async agent.

    Attributes:
        tick: When it entered.
        agent: Whose step it entered.
        number: The how-manieth of this agent and tick; -1 stands for the end of its step by time-out.
        form: `answer`, `timeout` or `error`.
        value: The answer, or the text of the error.
    """

    tick: int
    agent: int
    number: int
    form: str
    value: Any = None


class Journal(Protocol):
    """Where what came from outside is recorded; `record` returns when it is as safe as the run promises."""

    def record(self, entries: Sequence[Outside]) -> None:
        """Record entries of one tick."""


class Forgotten:
    """The journal of a run without a store."""

    def record(self, entries: Sequence[Outside]) -> None:
        """Keep nothing."""


Known = Mapping[tuple[int, int, int], Outside]
AsyncTurn = tuple[Partition, Agent, Sequence[Letter], bool]
"""(partition, agent, letters, whether it steps)."""


class AsyncTick(Tick):
    """The tick of one async agent: its own random stream, its own effects, and services to ask."""

    __slots__ = ("_asked", "_journal", "_known", "_streams")

    def __init__(
        self, model: Model, census: Census, streams: RandomStreams, journal: list[Outside], known: Known
    ) -> None:
        super().__init__(model, census, streams)
        self._streams, self._journal, self._known = streams, journal, known
        self._asked = 0

    @property
    def rng(self) -> np.random.Generator:
        """The random generator of this agent in this tick."""
        if self._rng is None:
            assert self._agent is not None
            self._rng = self._streams.agent(self._agent.id, self.number)
        return self._rng

    def _peer_rng(self) -> np.random.Generator:
        return self.rng

    def spawn(self, kind: type, count: int = 1, **fields: object) -> NDArray[np.int64]:
        """Bring agents to life: see `Tick.spawn`; no ids are returned, for they are known only when all have acted."""
        return super().spawn(kind, count, **fields)[:0]

    async def ask(self, service: Callable[[Any], Awaitable[Any]], request: Any, timeout_s: float | None = None) -> Any:
        """Return `await service(request)`, recorded before it is returned.

        Args:
            service: Any coroutine function. It is not called when the answer is recorded already.
            request: Handed to it.
            timeout_s: How long to wait; None waits as long as the step may take.

        Returns:
            The answer as msgpack carries it: None, numbers, text, bytes, lists and dicts.

        Raises:
            ServiceTimeout: It took longer (recorded too: it happens again in a replay).
            ServiceError: It raised; the message is its type and text (recorded too).
        """
        assert self._agent is not None
        key = (self.number, int(self._agent.id), self._asked)
        self._asked += 1
        entry = self._known.get(key)
        if entry is None:
            entry = await self._ask_outside(key, service, request, timeout_s)
            self._journal.append(entry)
        if entry.form == "timeout":
            raise ServiceTimeout(f"no answer within {entry.value} s")
        if entry.form == "error":
            raise ServiceError(entry.value)
        return entry.value

    async def _ask_outside(
        self,
        key: tuple[int, int, int],
        service: Callable[[Any], Awaitable[Any]],
        request: Any,
        timeout_s: float | None,
    ) -> Outside:
        try:
            async with asyncio.timeout(timeout_s):
                answer = await service(request)
        except TimeoutError:
            return Outside(*key, "timeout", timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever a service raises is its answer
            return Outside(*key, "error", f"{type(error).__name__}: {error}")
        try:
            return Outside(*key, "answer", msgspec.msgpack.decode(msgspec.msgpack.encode(answer)))
        except (TypeError, OverflowError, msgspec.DecodeError) as error:
            raise StateError(f"a service's answer wants plain values, got {answer!r:.80}: {error}") from error


class Outcome:
    """How the turn of one async agent ended: its effects, or the error; `saved` are its fields before."""

    __slots__ = ("agent", "effects", "error", "limit_s", "saved", "timed_out")

    def __init__(self, agent: Agent, limit_s: float) -> None:
        self.agent, self.limit_s = agent, limit_s
        self.saved = {f.name: copy.deepcopy(getattr(agent, f.name)) for f in type(agent).fields}
        self.effects: Effects | None = None
        self.error: BaseException | None = None
        self.timed_out = False


class AsyncSteps:
    """Runs the turns of async agents; owns the thread with the event loop, started when first needed."""

    def __init__(self, model: Model, streams: RandomStreams, settings: AsyncSettings, journal: Journal) -> None:
        self._model, self._streams = model, streams
        self._settings, self._journal = settings, journal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.known: dict[tuple[int, int, int], Outside] = {}

    def run(self, census: Census, tick: int, turns: Sequence[AsyncTurn]) -> list[Outcome]:
        """Run turns: the agents' letters, and their step where the flag says so.

        Returns:
            Outcomes in the order given. What came from outside has been recorded.
        """
        if not turns:
            return []
        news: list[Outside] = []
        outcomes = self._await(self._all(census, tick, turns, news))
        if news:
            self._journal.record(sorted(news, key=lambda entry: (entry.agent, entry.number)))
        return outcomes

    async def _all(self, census: Census, tick: int, turns: Sequence[AsyncTurn], news: list[Outside]) -> list[Outcome]:
        places = asyncio.Semaphore(self._settings.concurrency_max)

        async def bounded(partition: Partition, agent: Agent, letters: Sequence[Letter], steps: bool) -> Outcome:
            async with places:
                return await self._turn(census, partition, tick, agent, letters, steps, news)

        return await asyncio.gather(*(bounded(*turn) for turn in turns))

    async def _turn(
        self,
        census: Census,
        partition: Partition,
        number: int,
        agent: Agent,
        letters: Sequence[Letter],
        steps: bool,
        news: list[Outside],
    ) -> Outcome:
        outcome = Outcome(agent, self._settings.step_s_max)
        end = (number, int(agent.id), -1)
        if end in self.known:
            outcome.timed_out = True
            return outcome
        own: list[Outside] = []
        tick = AsyncTick(self._model, census, self._streams, own, self.known)
        tick._enter(partition, number, 1)
        tick._agent = agent
        limit = asyncio.timeout(self._settings.step_s_max)
        try:
            async with limit:
                await self._act(agent, letters, steps, tick)
        except TimeoutError as error:
            if limit.expired():
                outcome.timed_out = True
                if self._model.on_error == "isolate":
                    own = [*own, Outside(*end, "timeout", self._settings.step_s_max)]
            else:
                outcome.error = error
        except Exception as error:  # noqa: BLE001 - handed on: the turn of a partition decides what it means
            outcome.error = error
        outcome.effects = tick._leave()
        news.extend(own)
        return outcome

    async def _act(self, agent: Agent, letters: Sequence[Letter], steps: bool, tick: AsyncTick) -> None:
        handlers = type(agent)._handlers
        for letter in letters:
            handler = handlers.get(type(letter[1]))
            if handler is None:
                raise unhandled(agent, letter[1])
            tick.sender = AgentId(max(letter[2], -1)) if len(letter) == 3 and handler.sender else AgentId(-1)
            result = handler.function(agent, letter[1], tick)
            if result is not None:
                await result
        if steps:
            result = cast("Any", agent).step(tick)
            if result is not None:
                await result

    def _await(self, work: Coroutine[Any, Any, list[Outcome]]) -> list[Outcome]:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="novel-actors-async", daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the event loop and its thread."""
        if self._loop is None or self._thread is None:
            return
        loop, self._loop = self._loop, None
        with contextlib.suppress(RuntimeError, TimeoutError):
            asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(timeout=self._settings.close_s_max)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(timeout=self._settings.close_s_max)
        if not self._thread.is_alive():
            loop.close()


async def cancel_all() -> None:
    """Cancel what still runs on this loop, and wait for it to end."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def unhandled(agent: Agent, message: Record) -> UnhandledMessage:
    """Return the error for a message that an agent has no handler for."""
    name = type(message).__name__
    return UnhandledMessage(f"{type(agent).__name__} has no handler for {name}: add one with @na.on({name})")
