"""The coordinator starts, watches, checkpoints, recovers and rescales a run; it takes no part in a tick.

It calls shards to advance a stretch of ticks at a time. When a shard dies, all partitions return to the last
checkpoint that counts (or to the beginning, when there is no store), under a new epoch of the partition table, and the
run goes on: every tick that is computed again comes out the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from novel_actors.config import AsyncSettings, CoordinatorSettings
from novel_actors.core.clock import Clock
from novel_actors.core.partition_table import PartitionTable
from novel_actors.errors import ActorDiedError, AgentError, RunError
from novel_actors.runtime.runtime import ActorRef, Runtime
from novel_actors.simulation.async_steps import Forgotten, Journal
from novel_actors.simulation.checkpoint import CheckpointStore
from novel_actors.simulation.message import Record
from novel_actors.simulation.model import Model
from novel_actors.simulation.records import RecordLog
from novel_actors.simulation.shard import Progress, Rows, Shard, ShardCounters, Standing
from novel_actors.simulation.snapshot import PartitionState

R = TypeVar("R")


@dataclasses.dataclass(frozen=True, slots=True)
class ShardStatistics:
    """One shard: how many partitions it hosts, and what it has done (see `ShardCounters`)."""

    shard: int
    partitions: int
    counters: ShardCounters


@dataclasses.dataclass(frozen=True, slots=True)
class RunStatistics:
    """What a run has done so far in this process.

    Attributes:
        tick: The last whole tick.
        agents: How many live.
        ticks_total: Ticks that ran; those that were jumped over are not counted.
        messages_total: Messages that arrived, dead ones included.
        dead_letters_total: Messages to agents that were gone.
        events_total: Events emitted.
        advance_s: Wall time of all advancing.
        ticks_per_s: Ticks that ran in a second of it.
        checkpoints_total: Checkpoints that count, made in this process.
        checkpoint_wait_s: Time for which the run waited for them.
        checkpoint_bytes_total: Bytes written for them.
        recoveries_total: How often dead shards were replaced.
        shards: By shard.
    """

    tick: int
    agents: int
    ticks_total: int
    messages_total: int
    dead_letters_total: int
    events_total: int
    advance_s: float
    ticks_per_s: float
    checkpoints_total: int
    checkpoint_wait_s: float
    checkpoint_bytes_total: int
    recoveries_total: int
    shards: tuple[ShardStatistics, ...]


class Coordinator:
    """One run.

    Args:
        model: What is run.
        runtime: Where shards live.
        checkpoints: None for a run without a store.
        log: The run's tables.
        clock: Wall time limits and statistics are read from it.
        every: Ticks between checkpoints; None makes none but the first and the last.
        async_settings: Bounds of async agents.
        settings: Bounds of the coordinator.

    Attributes:
        tick: The last whole tick.
        is_whole: Whether all shards stand at it; not so when something broke off their advance.
    """

    def __init__(
        self,
        model: Model,
        runtime: Runtime,
        checkpoints: CheckpointStore | None,
        log: RecordLog,
        clock: Clock,
        every: int | None = None,
        async_settings: AsyncSettings | None = None,
        settings: CoordinatorSettings | None = None,
    ) -> None:
        self.model, self.runtime, self.checkpoints, self.log, self.clock = model, runtime, checkpoints, log, clock
        self.every = every
        self.async_settings = async_settings or AsyncSettings()
        self.settings = settings or CoordinatorSettings()
        self.tick = 0
        self.is_whole = True
        self.reason: str | None = None
        self.agents = 0
        self.messages_total = 0
        self.advance_s = 0.0
        self._earlier_s = 0.0
        self._shards: dict[int, ActorRef[Shard]] = {}
        self._table = PartitionTable.build(model.partitions, [0])
        self._inputs: list[tuple[int, int, Record]] = []
        self._origin: tuple[Sequence[PartitionState], Standing] | None = None
        self._saving: Future[int] | None = None
        self._saved_tick = -1
        self._checkpoints_total = 0
        self._checkpoint_wait_s = 0.0
        self._recoveries_total = 0
        self._recoveries_here = 0
        self._furthest_tick = -1
        self._stretch = 1

    # Beginning and end ------------------------------------------------------------------------------------------

    async def start(self, shards: int) -> None:
        """Begin the run at tick 0 on so many shards, and make the first checkpoint."""
        self._table = PartitionTable.build(self.model.partitions, range(shards))
        await self._respawn()
        await self._outlive(self._populate())
        if self.checkpoints is not None:
            await self.checkpoint()
        if self.checkpoints is not None or not self.runtime.loses_actors:
            self.model.forget_first_values()

    async def restore(self, shards: int, tick: int) -> None:
        """Begin at a checkpoint, on so many shards."""
        assert self.checkpoints is not None
        self._table = PartitionTable.build(self.model.partitions, range(shards))
        await self._respawn()
        await self._outlive(self._load(tick))

    async def start_at(self, shards: int, states: Sequence[PartitionState], standing: Standing) -> None:
        """Begin with partitions as they once stood, on so many shards."""
        self._table = PartitionTable.build(self.model.partitions, range(shards))
        self._origin = (states, standing)
        await self._respawn()
        await self._outlive(self._to_origin())

    async def become(self, model: Model, checkpoints: CheckpointStore | None, every: int | None) -> None:
        """Go on as another run: with a model that differs by its seed, and a store of its own."""
        states, standing = await self.capture()
        self._origin = (states, dataclasses.replace(standing, inputs={}, known=[]))
        self.model, self.checkpoints, self.every = model, checkpoints, every
        for shard in self._shards.values():
            await self._end(shard)
        self._shards = {}
        self._table = self._table.with_shards(self._table.shards)
        await self._respawn()
        await self._outlive(self._to_origin())
        if checkpoints is not None:
            await self.checkpoint()

    async def _to_origin(self) -> None:
        assert self._origin is not None
        states, standing = self._origin
        await self._distribute(states, standing)
        await self._tell_remembered()
        self.log.cut(standing.tick)
        self.tick, self.reason = standing.tick, None
        await self._advance_shards(standing.tick)

    async def close(self) -> None:
        """End all shards and the store; the last checkpoint under way is waited for."""
        try:
            for shard in self._shards.values():
                await self._end(shard)
            self._settle_saving()
        finally:
            self._shards = {}
            if self.checkpoints is not None:
                self.checkpoints.close()

    async def _end(self, shard: ActorRef[Shard]) -> None:
        with contextlib.suppress(ActorDiedError):
            await shard.call(Shard.close)
            await self.runtime.stop(shard)

    async def _respawn(self) -> None:
        """Have a living shard for every number of the table, and no other."""
        for number in [n for n in self._shards if n not in self._table.shards]:
            await self._end(self._shards.pop(number))
        journal: Journal = Forgotten()
        if self.checkpoints is not None:
            journal = self.checkpoints.remote_journal() if self.runtime.is_remote else self.checkpoints
        for number in self._table.shards:
            if number not in self._shards:
                self._shards[number] = await self.runtime.spawn(
                    Shard, self.model, number, self.clock, journal, self.async_settings
                )
                self.runtime.bind(number, self._shards[number])

    async def _populate(self) -> None:
        await self.runtime.gather(*(shard.call(Shard.populate, self._table) for shard in self._shards.values()))
        await self._tell_remembered()
        self.log.cut(-1)
        self.tick, self.reason = 0, None
        await self._advance_shards(0)

    async def _load(self, tick: int) -> None:
        """Return all shards to a checkpoint."""
        assert self.checkpoints is not None
        states, standing = self.checkpoints.read(tick)
        await self._distribute(states, standing)
        self.log.cut(tick)
        self.tick, self.reason, self._saved_tick = tick, None, tick
        await self._advance_shards(tick)

    async def _distribute(self, states: Sequence[PartitionState], standing: Standing) -> None:
        homes = self._table.assignment
        await self.runtime.gather(
            *(
                shard.call(Shard.load, self._table, [s for s in states if homes[s.partition] == number], standing)
                for number, shard in self._shards.items()
            )
        )

    # Advancing --------------------------------------------------------------------------------------------------

    async def advance(self, to_tick: int, should_stop: Callable[[], bool], on_progress: Callable[[], None]) -> None:
        """Advance to a tick, or until a stop rule holds or `should_stop` says so between two whole ticks.

        Raises:
            AgentError: An agent raised. With a store the run stands at the whole tick before, saved.
            RunError: Shards die again and again at the same place.
        """
        started = self.clock.now_s()
        try:
            while self.tick < to_tick and self.reason is None:
                if should_stop():
                    self.reason = "interrupted"
                    break
                limit = self.model.stop_wall_time_s
                if limit is not None and self._earlier_s + self.clock.now_s() - started >= limit:
                    self.reason = "wall_time"
                    break
                await self._stretch_once(to_tick)
                on_progress()
        finally:
            self._earlier_s += self.clock.now_s() - started
            self.advance_s = self._earlier_s
        self._settle_saving(wait=False)

    async def _stretch_once(self, to_tick: int) -> None:
        """Advance a stretch: about as many ticks as fit the progress interval, never across a checkpoint."""
        target = min(self.tick + self._stretch, to_tick)
        if self.every is not None and self.checkpoints is not None:
            target = min(target, (self.tick // self.every + 1) * self.every)
        started, before = self.clock.now_s(), self.tick
        try:
            await self._advance_shards(target)
            if self.every is not None and self.checkpoints is not None and self.tick % self.every == 0:
                await self._begin_checkpoint()
        except ActorDiedError:
            await self._recover()
            return
        except AgentError as error:
            await self._stand_before(error.tick)
            raise
        if self._saving is not None and self._saving.done():
            self._settle_saving()
        taken_s = self.clock.now_s() - started
        if taken_s < self.settings.stretch_s / 2 and target - before >= self._stretch:
            self._stretch = min(self._stretch * 2, self.settings.stretch_ticks_max)
        elif taken_s > self.settings.stretch_s * 2:
            self._stretch = max(1, self._stretch // 2)

    async def _advance_shards(self, to_tick: int) -> None:
        self.is_whole = False
        told = await self.runtime.gather(
            *(
                shard.call(Shard.advance, to_tick, self.runtime.exchange(number, self._table.epoch))
                for number, shard in self._shards.items()
            )
        )
        self._take_progress(told)
        self.is_whole = True

    def _take_progress(self, told: Sequence[Progress]) -> None:
        first = told[0]
        rows: list[Rows] = [row for row in first.rows if row[1] < 0]
        for progress in told:
            rows += [row for row in progress.rows if row[1] >= 0]
        rows.sort(key=lambda row: row[:2])
        for tick, _, table, columns in rows:
            self.log.append(table, tick, columns)
        if first.tick > self._furthest_tick:
            self._furthest_tick = first.tick
            self._recoveries_here = 0
        self.tick, self.agents = first.tick, first.agents
        self.messages_total = sum(progress.messages_total for progress in told)
        self.reason = first.reason

    # Checkpoints ------------------------------------------------------------------------------------------------

    async def checkpoint(self) -> int:
        """Make a checkpoint of this tick, wait until it counts, and return the tick."""
        if self.checkpoints is None:
            raise RunError("a run without a store keeps no checkpoints: start it with store=PATH")
        if self._saved_tick != self.tick:
            await self._with_living(self._begin_checkpoint)
        self._settle_saving()
        return self.tick

    async def _begin_checkpoint(self) -> None:
        assert self.checkpoints is not None
        self._settle_saving()
        states, standing = await self._capture()
        self._saving = self.checkpoints.save(states, standing, self.log.to_record(), self.reason)
        self._saved_tick = self.tick

    def _settle_saving(self, wait: bool = True) -> None:
        if self._saving is None or not (wait or self._saving.done()):
            return
        started = self.clock.now_s()
        saving, self._saving = self._saving, None
        try:
            saving.result()
            self._checkpoints_total += 1
        except BaseException:
            self._saved_tick = -1
            raise
        finally:
            self._checkpoint_wait_s += self.clock.now_s() - started

    # Faults and change ------------------------------------------------------------------------------------------

    async def _outlive(self, beginning: Coroutine[Any, Any, None]) -> None:
        """Await the beginning of a run, and begin anew with other shards when one dies in it."""
        try:
            await beginning
        except ActorDiedError:
            await self._recover()

    async def _recover(self) -> None:
        """Replace dead shards (by the survivors, if there are any) and return to the last checkpoint that counts.

        Raises:
            RunError: Shards die again and again at the same place, or while they are replaced.
        """
        while True:
            self._count_recovery()
            try:
                await self._replace_dead()
                return
            except ActorDiedError:
                continue

    def _count_recovery(self) -> None:
        self._recoveries_total += 1
        self._recoveries_here += 1
        if self._recoveries_here > self.settings.recoveries_max:
            raise RunError(
                f"shards died {self._recoveries_here} times after tick {self._furthest_tick} without getting on; "
                "see why they end, then resume what was saved, if there is a store"
            )

    async def _replace_dead(self) -> None:
        alive = []
        for number, shard in list(self._shards.items()):
            try:
                await shard.call(Shard.standing)
                alive.append(number)
            except ActorDiedError:
                del self._shards[number]
        self._table = self._table.with_shards(alive or self._table.shards)
        await self._respawn()
        await self._return()

    async def _return(self) -> None:
        if self._saving is not None:
            self._settle_saving()
        if self.checkpoints is not None and self.checkpoints.ticks:
            await self._load(self.checkpoints.ticks[-1])
        elif self._origin is not None:
            await self._to_origin()
        else:
            await self._populate()

    async def _stand_before(self, tick: int) -> None:
        """After an agent raised at `tick`: stand at the whole tick before it, saved, when there is a store."""
        if self.checkpoints is None:
            return
        self._table = self._table.with_shards(self._table.shards)
        await self._return()
        while self.tick < tick - 1:
            await self._advance_shards(tick - 1)
        await self.checkpoint()

    async def rescale(self, shards: int) -> None:
        """Go on with so many shards; partitions move as little as they can."""
        reason = self.reason
        await self._with_living(lambda: self._move(shards))
        self.reason = reason

    async def _with_living(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Return what `work` does; when a shard dies in it, recover, come back to this tick, and work again."""
        tick, reason = self.tick, self.reason
        while True:
            try:
                return await work()
            except ActorDiedError:
                await self._recover()
                while self.tick < tick:
                    await self._stretch_once(tick)
                self.reason = reason

    async def _move(self, shards: int) -> None:
        states, standing = await self._capture()
        self._table = self._table.with_shards(range(shards))
        await self._respawn()
        await self._distribute(states, standing)
        await self._advance_shards(self.tick)

    async def inject(self, agent: int, message: Record) -> int:
        """Let a message enter at the next tick, recorded; return that tick."""
        tick = self.tick + 1
        if self.checkpoints is not None:
            self.checkpoints.record_input(tick, agent, message)
        else:
            if len(self._inputs) >= self.settings.inputs_max:
                raise RunError(
                    f"a run without a store keeps {self.settings.inputs_max} inputs: start it with store=PATH"
                )
            self._inputs.append((tick, agent, message))
        # It is recorded: where a shard died, the recovery to come tells it to all.
        with contextlib.suppress(ActorDiedError):
            await self._tell_inputs(tick, [(agent, message)])
        if self.reason == "quiescent":
            self.reason = None
        return tick

    async def _tell_remembered(self) -> None:
        """Tell new shards what was injected since the run began, where no store remembers it."""
        inputs: dict[int, list[tuple[int, Record]]] = {}
        for tick, agent, message in self._inputs:
            inputs.setdefault(tick, []).append((agent, message))
        for tick, items in inputs.items():
            await self._tell_inputs(tick, items)

    async def _tell_inputs(self, tick: int, items: Sequence[tuple[int, Record]]) -> None:
        await self.runtime.gather(*(shard.call(Shard.inject, tick, items) for shard in self._shards.values()))

    # Reading ----------------------------------------------------------------------------------------------------

    async def capture(self) -> tuple[list[PartitionState], Standing]:
        """Return all partitions' states, in order, and the standing."""
        return await self._with_living(self._capture)

    async def _capture(self) -> tuple[list[PartitionState], Standing]:
        parts = await self.runtime.gather(*(shard.call(Shard.capture) for shard in self._shards.values()))
        standing = await next(iter(self._shards.values())).call(Shard.standing)
        return sorted((state for part in parts for state in part), key=lambda state: state.partition), standing

    async def columns(self, kind: int) -> list[dict[str, Any]]:
        """Return a kind's agents as columns, by partition, in order."""
        return await self._with_living(lambda: self._columns(kind))

    async def _columns(self, kind: int) -> list[dict[str, Any]]:
        parts = await self.runtime.gather(*(shard.call(Shard.columns, kind) for shard in self._shards.values()))
        return [columns for _, columns in sorted((item for part in parts for item in part), key=lambda item: item[0])]

    async def statistics(self) -> RunStatistics:
        """Return what the run has done."""
        return await self._with_living(self._statistics)

    async def _statistics(self) -> RunStatistics:
        shards = []
        for number, shard in self._shards.items():
            counters = dataclasses.replace(await shard.call(Shard.statistics))
            shards.append(ShardStatistics(number, len(self._table.partitions_of(number)), counters))
        ticks_total = max((shard.counters.ticks_total for shard in shards), default=0)
        return RunStatistics(
            tick=self.tick,
            agents=self.agents,
            ticks_total=ticks_total,
            messages_total=sum(shard.counters.messages_total for shard in shards),
            dead_letters_total=sum(shard.counters.dead_letters_total for shard in shards),
            events_total=sum(shard.counters.events_total for shard in shards),
            advance_s=self.advance_s,
            ticks_per_s=ticks_total / self.advance_s if self.advance_s else 0.0,
            checkpoints_total=self._checkpoints_total,
            checkpoint_wait_s=self._checkpoint_wait_s,
            checkpoint_bytes_total=0 if self.checkpoints is None else self.checkpoints.written_bytes_total,
            recoveries_total=self._recoveries_total,
            shards=tuple(shards),
        )
