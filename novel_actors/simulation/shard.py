"""A shard hosts partitions and runs their ticks: deliver, act, swap, commit.

`act` runs the partitions against the mail of a tick. `outgoing` makes the frames for the other shards, `commit` takes
theirs: then census, mail of the next tick and collected rows are the same as on any number of shards, because they are
put together in the order of partitions. What partitions do depends on their state, the census and their mail alone.

After every tick, and after a load, `outgoing` and `commit` follow; a tick is complete when they have.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from novel_actors.config import AsyncSettings
from novel_actors.core.clock import Clock
from novel_actors.core.partition_table import PartitionTable
from novel_actors.core.random_streams import Purpose, RandomStreams
from novel_actors.errors import AgentError, CollectorError, ModelError, StateError
from novel_actors.simulation.agent import Agent
from novel_actors.simulation.async_steps import AsyncSteps, AsyncTurn, Journal, Outcome, Outside
from novel_actors.simulation.batch import Entry, Letter, Run, int64s, raw, split_entry
from novel_actors.simulation.census import Census, KindCensus
from novel_actors.simulation.collect import Collector
from novel_actors.simulation.events import chain_events, event_tables
from novel_actors.simulation.frame import Frame, PartitionCensus, Publication, Share, decode_frame, encode_frame
from novel_actors.simulation.ids import NOBODY, SERIAL_BITS, partition_of
from novel_actors.simulation.inbox import Inbox, Mail
from novel_actors.simulation.message import Record
from novel_actors.simulation.model import KindModel, Model
from novel_actors.simulation.partition import NEVER, Group, Partition, strip_senders
from novel_actors.simulation.population import Population, Table
from novel_actors.simulation.snapshot import (
    PartitionState,
    capture_partition,
    digest_of_blobs,
    restore_partition,
)
from novel_actors.simulation.tick import RowTick, Tick
from novel_actors.simulation.turn import (
    IsolatedTurn,
    Turn,
    agent_error,
    line_of,
    place_of,
    rows_of_mail,
    unhandled_rows,
)

Rows = tuple[int, int, str, dict[str, Any]]
"""(tick, partition or -1 for rows of the whole run, table, columns) of a recorded table."""

Inputs = Mapping[int, Sequence[tuple[int, Record]]]
"""Tick -> (agent id, message) of what is injected to enter at it."""


class Exchange(Protocol):
    """How a shard's frames get to the others."""

    async def swap(self, epoch: int, tick: int, frames: Mapping[int, bytes]) -> Sequence[bytes]:
        """Send a frame to each shard named; return the frame that each of them sent for this epoch and tick."""


@dataclasses.dataclass(slots=True)
class ShardCounters:
    """What a shard has done since it was made; seconds are those of its clock."""

    ticks_total: int = 0
    messages_total: int = 0
    dead_letters_total: int = 0
    events_total: int = 0
    act_s: float = 0.0
    swap_s: float = 0.0
    commit_s: float = 0.0
    sent_bytes_total: int = 0


@dataclasses.dataclass(slots=True)
class Progress:
    """Where a shard stands after `advance`: the same on all shards, but for its rows.

    Attributes:
        tick: The tick that is complete.
        due: The next tick at which anything happens; `NEVER` when nothing ever will.
        reason: The stop rule that holds (`predicate` or `quiescent`), or None.
        agents: How many live.
        messages_total: See `ShardCounters`.
        rows: Recorded since the last call; those of partition -1 are on every shard.
    """

    tick: int
    due: int
    reason: str | None
    agents: int
    messages_total: int
    rows: list[Rows]


@dataclasses.dataclass(slots=True)
class Standing:
    """What all shards know alike after a commit, and a shard that is loaded must be told.

    Attributes:
        tick: The tick that is complete.
        collected_chain: The digest of all collected rows.
        collected: The last row of each reduced table, for stop rules.
        inputs: Injected for later ticks.
        known: What came from outside in later ticks, in an earlier life of the run.
    """

    tick: int
    collected_chain: bytes
    collected: dict[str, dict[str, Any]]
    inputs: Inputs
    known: Sequence[Outside]


class Shard:
    """Some partitions of a model, and the whole census.

    Args:
        model: The same on all shards.
        number: This shard's.
        clock: Times the parts of a tick.
        journal: Where the answers of services are recorded.
        async_settings: Bounds of async agents.
    """

    def __init__(
        self, model: Model, number: int, clock: Clock, journal: Journal, async_settings: AsyncSettings | None = None
    ) -> None:
        self.model, self.number, self.clock = model, number, clock
        self.counters = ShardCounters()
        self.tables: dict[int, Table] = {
            kind.number: Table(cast("type[Population]", kind.cls), kind.number, model.partitions)
            for kind in model.kinds
            if kind.is_population
        }
        self.partitions: dict[int, Partition] = {}
        self.census = Census([])
        self.tick = 0
        self.due = NEVER
        self.reason: str | None = None
        self.collected: dict[str, dict[str, Any]] = {}
        self.collected_chain = bytes(32)
        self._streams = RandomStreams(model.seed)
        self._async = AsyncSteps(model, self._streams, async_settings or AsyncSettings(), journal)
        self._table = PartitionTable.build(model.partitions, [number])
        self._inputs: dict[int, list[tuple[int, Record]]] = {}
        self._mail: list[tuple[int, list[Entry]]] = []
        self._changes: list[tuple[int, int, int, NDArray[np.int64]]] = []
        self._rows: list[Rows] = []
        self._whole_census, self._acted, self._is_committed = True, False, False
        self._own_frame: Frame
        self._collected_tick = -1
        self._forget_census()

    # State ------------------------------------------------------------------------------------------------------

    def populate(self, table: PartitionTable) -> None:
        """Take the partitions that the table gives this shard as the model begins them, in place of all that it had."""
        self.partitions = {}
        parts: dict[int, dict[int, Any]] = {kind: {} for kind in self.tables}
        for number in table.partitions_of(self.number).tolist():
            partition = self.partitions[number] = Partition(self.model, number, self.tables)
            for kind in self.model.kinds:
                count, columns = kind.first_columns(number, self._first_stream(kind, number))
                if kind.is_population:
                    parts[kind.number][number] = (count, count, None, columns)
                else:
                    partition.groups[kind.number].born(columns, count)
        for kind_number, rows in self.tables.items():
            rows.load(parts[kind_number])
        self._begin(table, Standing(0, bytes(32), {}, {}, []))
        self._collected_tick = -1

    def _first_stream(self, kind: KindModel, partition: int) -> Any:
        return lambda: self._streams.partition(partition, kind.number, Purpose.INITIAL)

    def load(self, table: PartitionTable, states: Iterable[PartitionState], standing: Standing) -> None:
        """Take these partitions as they were saved after `standing.tick`, in place of all that the shard had."""
        self.partitions = {}
        parts: dict[int, dict[int, Any]] = {kind: {} for kind in self.tables}
        for state in sorted(states, key=lambda state: state.partition):
            self.partitions[state.partition], rows = restore_partition(self.model, state, self.tables)
            for kind, part in rows.items():
                parts[kind][state.partition] = part
        for kind, table_of_kind in self.tables.items():
            table_of_kind.load(parts[kind])
        self._begin(table, standing)

    def _begin(self, table: PartitionTable, standing: Standing) -> None:
        self._table = table
        self.tick = self._collected_tick = standing.tick
        self.reason = None
        self.collected_chain = standing.collected_chain
        self.collected = {name: dict(row) for name, row in standing.collected.items()}
        self._inputs = {tick: list(inputs) for tick, inputs in standing.inputs.items() if tick > standing.tick}
        self._async.known = {(entry.tick, entry.agent, entry.number): entry for entry in standing.known}
        self._mail, self._changes, self._rows = [], [], []
        self._whole_census, self._acted, self._is_committed = True, False, False
        self._forget_census()

    def _forget_census(self) -> None:
        kinds = [KindCensus(kind.name, kind.number, self.model.partitions) for kind in self.model.kinds]
        self.census = Census(kinds)
        self._tick = Tick(self.model, self.census, self._streams)

    def standing(self) -> Standing:
        """Return what all shards know alike."""
        known = [entry for entry in self._async.known.values() if entry.tick > self.tick]
        return Standing(self.tick, self.collected_chain, self.collected, self._inputs, known)

    def capture(self) -> list[PartitionState]:
        """Return the partitions' states after the last commit; quick, since most of it is encoded later."""
        return [capture_partition(self.model, partition, self.tables) for partition in self.partitions.values()]

    def digests(self) -> list[tuple[int, bytes]]:
        """Return (partition, digest) of each partition."""
        return [(state.partition, digest_of_blobs(state.encode(self.model))) for state in self.capture()]

    def inject(self, tick: int, inputs: Sequence[tuple[int, Record]]) -> None:
        """Take what enters at `tick`, ahead of all messages; every shard is told of all inputs."""
        self._inputs.setdefault(tick, []).extend(inputs)
        self.due = min(self.due, tick)
        if self.reason == "quiescent":
            self.reason = None

    def columns(self, kind: int) -> list[tuple[int, dict[str, Any]]]:
        """Return (partition, {"id": ids, field: values}) of a kind's agents, for each partition here; all copies."""
        found = []
        for number, partition in self.partitions.items():
            if kind in self.tables:
                window = self.tables[kind].windows[number]
                columns: dict[str, Any] = {"id": window.ids.array}
                columns |= {name: column.copy() for name, column in window._columns.items()}
            else:
                agents = list(partition.groups[kind].agents.values())
                columns = {"id": np.array([agent.id for agent in agents], np.int64)}
                columns |= {n: copy.deepcopy(v) for n, v in self.model.codecs[kind].columns(agents).items()}
            found.append((number, columns))
        return found

    def statistics(self) -> ShardCounters:
        """Return what the shard has done."""
        return self.counters

    def close(self) -> None:
        """End the thread of async agents."""
        self._async.close()

    # Advance ----------------------------------------------------------------------------------------------------

    async def advance(self, to_tick: int, exchange: Exchange) -> Progress:
        """Run up to and including `to_tick`, or until a stop rule holds.

        Raises:
            AgentError: An agent raised; the shard is of no use until the next `load`.
        """
        if not self._is_committed:
            await self._swap(exchange)
        while self.tick < to_tick and self.reason is None:
            if self.due > self.tick + 1:
                self.tick, self._acted = min(self.due - 1, to_tick), False
            else:
                self.act()
            await self._swap(exchange)
        rows, self._rows = self._rows, []
        agents = sum(kind.total for kind in self.census.kinds)
        return Progress(self.tick, self.due, self.reason, agents, self.counters.messages_total, rows)

    async def _swap(self, exchange: Exchange) -> None:
        started = self.clock.now_s()
        frames = {peer: encode_frame(frame) for peer, frame in self.outgoing().items()}
        incoming: Sequence[bytes] = ()
        if frames:
            self.counters.sent_bytes_total += sum(map(len, frames.values()))
            incoming = await exchange.swap(self._table.epoch, self.tick, frames)
        swapped = self.clock.now_s()
        self.commit([decode_frame(data) for data in incoming])
        self.counters.swap_s += swapped - started
        self.counters.commit_s += self.clock.now_s() - swapped

    def act(self) -> None:
        """Run the partitions at the next tick.

        Raises:
            AgentError: An agent raised and the model does not isolate.
        """
        assert self._is_committed
        started = self.clock.now_s()
        tick = self.tick + 1
        self._tick.number = tick
        inbox = self._open_inbox(tick)
        runs_rowwise = not self._act_rowwise(tick, inbox)
        outcomes = self._act_async(tick, inbox)
        kind_of_turn = IsolatedTurn if self.model.on_error == "isolate" else Turn
        keeps_senders = bool(self.model.sender_messages)
        dead_total = 0
        for number, partition in self.partitions.items():
            self._tick._enter(partition, tick, sum(len(group.awake) for group in partition.groups.values()))
            turn = kind_of_turn(self.model, self._tick, partition)
            effects = turn.run(inbox, runs_rowwise, outcomes.get(number, ()))
            dead_total += turn.dead_total
            if effects.events:
                partition.event_chain = chain_events(partition.event_chain, tick, effects.events)
                self.counters.events_total += sum(np.size(event[0]) for event in effects.events)
                self._rows += [(tick, number, table, rows) for table, rows in event_tables(effects.events)]
            if not keeps_senders and self.model.on_error == "isolate":
                effects.outbox = {due: strip_senders(entries) for due, entries in effects.outbox.items()}
            changes = partition.settle(tick, effects)
            self._changes += [(kind, number, spawned, removed) for kind, (spawned, removed) in changes.items()]
            partition.outbox.pop(tick, None)
        self._inputs.pop(tick, None)
        self._mail = []
        self.tick, self._acted, self._is_committed = tick, True, False
        self.counters.ticks_total += 1
        self.counters.messages_total += inbox.received_total
        self.counters.dead_letters_total += inbox.dead_total + dead_total
        if tick & (tick - 1) == 0:
            self._check_states()
        self.counters.act_s += self.clock.now_s() - started

    def _check_states(self) -> None:
        """Find values that a save would change early, and ever more seldom, rather than at the end of a long run."""
        for partition in self.partitions.values():
            for kind, group in partition.groups.items():
                agents = list(group.agents.values())
                try:
                    self.model.codecs[kind].check(agents)
                except StateError as error:
                    raise self._name_culprit(partition, group, agents, error) from None

    def _name_culprit(
        self, partition: Partition, group: Group, agents: Sequence[Agent], error: StateError
    ) -> AgentError:
        """Return the error that names the first agent whose fields a save would change."""
        codec = self.model.codecs[group.kind.number]
        for agent in agents:
            try:
                codec.check([agent])
            except StateError as found:
                return agent_error(group.kind, agent.id, partition.number, self.tick, found)
        return agent_error(group.kind, NOBODY, partition.number, self.tick, error)

    def _open_inbox(self, tick: int) -> Inbox:
        inbox = Inbox(self.model, self.partitions.values(), self.tables)
        for to, message in self._inputs.get(tick, ()):
            if to >> SERIAL_BITS in inbox.boxes or self._is_here(to):
                letter = (to, message, NOBODY) if self.model.sender_messages else (to, message)
                inbox.add(Run(to >> SERIAL_BITS, [letter]))
        for _, entries in self._mail:
            for entry in entries:
                inbox.add(entry)
        inbox.close()
        for kind, sort in inbox.mail:
            if sort not in self.model.kinds[kind].cls._handlers and self.model.on_error == "fail":
                found = self.model.kinds[kind]
                raise agent_error(found, NOBODY, -1, tick, unhandled_rows(found, sort))
        return inbox

    def _is_here(self, agent: int) -> bool:
        return partition_of(agent) in self.partitions

    def _act_rowwise(self, tick: int, inbox: Inbox) -> bool:
        """Run rowwise handlers over all partitions at once; return False when turns are to run them one by one."""
        if self.model.on_error == "isolate":
            return False
        for kind in self.model.kinds:
            for message, handler in kind.cls._handlers.items():
                mail = inbox.mail.get((kind.number, message))
                if mail is None or not handler.rowwise:
                    continue
                table = self.tables[kind.number]
                before = None
                if self.model.check_rowwise:
                    before = {name: column.copy() for name, column in table.columns.items()}
                rows, alive = mail.rows(table)
                if alive is not None:
                    inbox.dead_total += int(len(alive) - alive.sum())
                    rows = rows[alive]
                try:
                    handler.function(table.whole, rows, mail.whole(alive), RowTick(tick))
                except Exception as error:
                    raise agent_error(kind, NOBODY, -1, tick, error) from error
                if before is not None:
                    self._compare_rowwise(table, mail, before, tick)
        return True

    def _compare_rowwise(self, table: Table, mail: Mail, before: dict[str, NDArray[Any]], tick: int) -> None:
        after = {name: column.copy() for name, column in table.columns.items()}
        for name, column in before.items():
            table.columns[name][...] = column
        handler = table.kind._handlers[mail.message]
        for number in self.partitions:
            rows, messages, _ = rows_of_mail(table, mail, number)
            if len(rows):
                handler.function(table.windows[number], rows, messages, RowTick(tick))
        for name, column in after.items():
            if column.tobytes() != table.columns[name].tobytes():
                raise ModelError(
                    f"{table.kind.__name__}.{handler.function.__name__} is not rowwise: run over all partitions "
                    f"at once it leaves another {name} at tick {tick} than run on each; declare it without rowwise"
                )

    def _act_async(self, tick: int, inbox: Inbox) -> dict[int, list[Outcome]]:
        """Run the turns of all async agents of the shard; return their outcomes by partition, in the order of ids."""
        turns: list[AsyncTurn] = []
        for partition in self.partitions.values():
            for group in partition.groups.values():
                if group.kind.is_async:
                    group.wake(tick)
                    turns += self._async_turns(partition, group, inbox)
        outcomes: dict[int, list[Outcome]] = {}
        for outcome, turn in zip(self._async.run(self.census, tick, turns), turns, strict=True):
            outcomes.setdefault(turn[0].number, []).append(outcome)
        return outcomes

    def _async_turns(self, partition: Partition, group: Group, inbox: Inbox) -> list[AsyncTurn]:
        letters: dict[int, list[Letter]] = {}
        for letter in inbox.boxes[group.first >> SERIAL_BITS]:
            if letter[0] in group.agents and letter[0] not in group.parked:
                letters.setdefault(letter[0], []).append(letter)
            else:
                inbox.dead_total += 1
        acting = sorted({*letters, *(group.awake if group.steps else ())})
        return [(partition, group.agents[n], letters.get(n, []), group.steps and n in group.awake) for n in acting]

    # Swap and commit --------------------------------------------------------------------------------------------

    def outgoing(self) -> dict[int, Frame]:
        """Return the frame for each other shard; what stays here is kept for `commit`."""
        due = self._own_due()
        peers = [shard for shard in self._table.shards if shard != self.number]
        mail: dict[int, list[tuple[int, list[Any]]]] = {peer: [] for peer in peers}
        self._mail = []
        for number, partition in self.partitions.items():
            entries = partition.outbox.get(self.tick + 1)
            if not entries:
                continue
            if not peers:
                self._mail.append((number, entries))
                continue
            parts = [split_entry(entry, self._table.assignment, self._table.shards) for entry in entries]
            for shard in self._table.shards:
                kept = [part[shard] for part in parts if shard in part]
                if kept and shard == self.number:
                    self._mail.append((number, kept))
                elif kept:
                    mail[shard].append((number, [self.model.entries.to_wire(entry) for entry in kept]))
        own = Frame(
            self._table.epoch,
            self.tick,
            self.number,
            due,
            [],
            self._census_news(),
            self._publications(),
            self._shares(),
        )
        self._own_frame = own
        return {peer: msgspec.structs.replace(own, mail=mail[peer]) for peer in peers}

    def _own_due(self) -> int:
        due = min(self._inputs, default=NEVER)
        for partition in self.partitions.values():
            due = min(due, partition.due(self.tick))
        return due

    def _census_news(self) -> list[PartitionCensus]:
        """Return births and deaths of this tick, or all that live here when the other shards know nothing."""
        if not self._whole_census:
            return [
                PartitionCensus(kind, partition, False, spawned, 0, raw(removed))
                for kind, partition, spawned, removed in self._changes
            ]
        news = []
        for number, partition in self.partitions.items():
            for kind, group in partition.groups.items():
                serials = None
                if len(group.agents) != group.next_serial:
                    serials = raw(np.array([agent - group.first for agent in group.agents], np.int64))
                news.append(PartitionCensus(kind, number, True, len(group.agents), group.next_serial, serials))
            for kind, table in self.tables.items():
                dense = table.serials.get(number)
                count, next_serial = int(table.counts[number]), int(table.next_serials[number])
                serials = None if dense is None else raw(dense)
                news.append(PartitionCensus(kind, number, True, count, next_serial, serials))
        return news

    def _publications(self) -> list[Publication]:
        """Return the published columns that changed; they are in the own census already."""
        news = []
        for kind, table in self.tables.items():
            for column in table.kind.columns.values():
                if not column.publish:
                    continue
                for number in self.partitions:
                    rows = table.windows[number]._columns[column.name]
                    if self._whole_census or not self.census.is_published_as(kind, column.name, number, rows):
                        kept = rows.copy()
                        self.census.publish(kind, column.name, number, kept)
                        news.append(Publication(kind, column.name, number, raw(kept)))
        return news

    def _shares(self) -> list[Share]:
        """Return what this shard contributes to the collectors that are due."""
        shares: list[Share] = []
        if self.tick <= self._collected_tick or (self.tick and not self._acted):
            return shares
        for index, collector in enumerate(self.model.collectors):
            if self.tick % collector.every == 0:
                try:
                    shares += self._shares_of(index, collector)
                except Exception as error:
                    raise collector_error(collector, self.tick, error) from error
        return shares

    def _shares_of(self, index: int, collector: Collector) -> list[Share]:
        kind = self.model.number_of(collector.kind)
        if kind in self.tables:
            table = self.tables[kind]
            if isinstance(collector.value, str) and collector.reducers is not None and table.is_gapless:
                whole = table.columns.get(collector.value)
                if whole is not None and all(source.is_exact(whole.dtype) for source in collector.sources):
                    return [share(index, next(iter(self.partitions)), collector, whole)] if len(whole) else []
            values: list[tuple[int, Any]] = [
                (n, collector.values_of_window(table.windows[n])) for n in self.partitions if table.counts[n]
            ]
        else:
            values = [
                (number, collector.values_of_agents(list(partition.groups[kind].agents.values())))
                for number, partition in self.partitions.items()
                if partition.groups[kind].agents
            ]
        if collector.reducers is None:
            for number, column in values:
                ids = self._ids_of(kind, number)
                self._rows.append((self.tick, number, collector.name, {"id": ids, "value": copy.deepcopy(column)}))
            return []
        return [share(index, number, collector, column) for number, column in values]

    def _ids_of(self, kind: int, partition: int) -> NDArray[np.int64]:
        if kind in self.tables:
            return self.tables[kind].windows[partition].ids.array  # type: ignore[no-any-return]
        return np.array(list(self.partitions[partition].groups[kind].agents), np.int64)

    def commit(self, frames: Sequence[Frame]) -> None:
        """Complete the tick with the frames of all other shards.

        Raises:
            FrameError: A frame does not fit the model.
        """
        own = self._own_frame
        every = sorted([own, *frames], key=lambda frame: frame.source)
        for frame in every:
            for news in frame.census:
                census = self.census.kinds[news.kind]
                serials = None if news.serials is None else int64s(news.serials)
                if news.whole:
                    census.set(news.partition, news.count, news.next_serial, serials)
                else:
                    assert serials is not None
                    census.change(news.partition, news.count, serials)
        for frame in frames:
            for item in frame.published:
                column = self.tables[item.kind].kind.columns[item.name]
                rows = np.frombuffer(item.rows, column.dtype).reshape(-1, *column.shape)
                self.census.publish(item.kind, item.name, item.partition, rows)
            for partition, entries in frame.mail:
                self._mail.append((partition, [self.model.entries.from_wire(entry) for entry in entries]))
        if frames:
            self._mail.sort(key=lambda mail: mail[0])
        self._changes, self._whole_census = [], False
        self.due = min(frame.due for frame in every)
        self._collect([item for frame in every for item in frame.shares])
        self._is_committed = True
        if self.collected and self._holds_predicate():
            self.reason = "predicate"
        elif self.due == NEVER and self.model.stop_quiescent:
            self.reason = "quiescent"

    def _holds_predicate(self) -> bool:
        try:
            return any(predicate(self.collected) for predicate in self.model.stop_predicates)
        except Exception as error:
            raise CollectorError("a predicate of stop_when", self.tick, line_of(error)) from error

    def _collect(self, shares: list[Share]) -> None:
        if self.tick <= self._collected_tick or (self.tick and not self._acted):
            return
        self._collected_tick = self.tick
        by_collector: dict[int, list[Share]] = {}
        for item in shares:
            by_collector.setdefault(item.collector, []).append(item)
        for index, collector in enumerate(self.model.collectors):
            if collector.reducers is None or self.tick % collector.every:
                continue
            parts = sorted(by_collector.get(index, []), key=lambda item: item.partition)
            try:
                if not parts:
                    parts = [share(index, 0, collector, np.zeros(0, np.int64))]
                partials = {s.name: [part.partials[i] for part in parts] for i, s in enumerate(collector.sources)}
                row = collector.combine(partials)
                record = msgspec.msgpack.encode([self.tick, collector.name, row])
            except Exception as error:
                raise collector_error(collector, self.tick, error) from error
            self.collected[collector.name] = row
            self._rows.append((self.tick, -1, collector.name, {name: [value] for name, value in row.items()}))
            self.collected_chain = hashlib.blake2b(self.collected_chain + record, digest_size=32).digest()


def collector_error(collector: Collector, tick: int, error: Exception) -> CollectorError:
    """Return the error that names the collector that raised."""
    what = f"collect {collector.name!r} of {collector.kind.__name__}"
    return CollectorError(what, tick, f"{line_of(error)}{f' (at {place})' if (place := place_of(error)) else ''}")


def share(index: int, partition: int, collector: Collector, values: NDArray[Any]) -> Share:
    """Return a contribution to a collector, one partial for each source."""
    return Share(index, partition, [source.partial(values) for source in collector.sources])
