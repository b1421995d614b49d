"""A partition: a fixed part of the agents, the unit of order, placement, checkpoint and recovery.

Its objects live in groups, one per kind; its rows of populations lie in the shard's tables. Within a partition a tick
is sequential: rowwise handlers, then each kind's messages in the order of kinds, then each kind's steps. What was sent
stays in the partition's outbox until it is due, so a checkpoint of a partition is complete without any inbox.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from novel_actors.simulation.agent import Agent
from novel_actors.simulation.batch import Entry, Run
from novel_actors.simulation.ids import KIND_SHIFT, AgentId, agent_id
from novel_actors.simulation.model import KindModel, Model
from novel_actors.simulation.population import Table
from novel_actors.simulation.tick import Effects

NEVER = 1 << 62
"""A tick that never comes."""


class Group:
    """The objects of one kind in one partition.

    Attributes:
        agents: All of them by id, in the order of ids.
        awake: Those that step in the next tick, in the order of ids.
        sleeping: The others that step at all -> the tick at which they wake.
        alarms: A heap of (tick, id); one that is not what `sleeping` says is of no account.
        functions: Message class -> handler.
        parked: Ids of agents set aside after an error; they keep their state, and act no more.
    """

    __slots__ = (
        "agents",
        "alarms",
        "awake",
        "first",
        "functions",
        "kind",
        "next_serial",
        "parked",
        "sleeping",
        "steps",
    )

    def __init__(self, kind: KindModel, partition: int) -> None:
        self.kind = kind
        self.first: int = agent_id(kind.number, partition, 0)
        self.steps = getattr(kind.cls, "step", None) is not None
        self.functions = {message: handler.function for message, handler in kind.cls._handlers.items()}
        self.agents: dict[int, Agent] = {}
        self.awake: dict[int, Agent] = {}
        self.sleeping: dict[int, int] = {}
        self.alarms: list[tuple[int, int]] = []
        self.parked: set[int] = set()
        self.next_serial = 0

    def wake(self, tick: int) -> None:
        """Move those whose sleep ends at `tick` among the awake, in the order of ids."""
        woken = False
        while self.alarms and self.alarms[0][0] <= tick:
            until, number = heapq.heappop(self.alarms)
            if self.sleeping.get(number) == until:
                del self.sleeping[number]
                self.awake[number] = self.agents[number]
                woken = True
        if woken:
            self.awake = dict(sorted(self.awake.items()))

    def due(self, tick: int) -> int:
        """Return the next tick after `tick` at which somebody steps."""
        if not self.steps:
            return NEVER
        if self.awake:
            return tick + 1
        while self.alarms and self.sleeping.get(self.alarms[0][1]) != self.alarms[0][0]:
            heapq.heappop(self.alarms)
        return self.alarms[0][0] if self.alarms else NEVER

    def sleep(self, agent: int, tick: int, ticks: int) -> None:
        """Let an agent step again so many ticks after `tick`, and not before, whether it is awake or asleep."""
        if agent in self.awake:
            if ticks == 1:
                return
            del self.awake[agent]
        elif agent not in self.sleeping:
            return
        self.sleeping[agent] = tick + ticks
        heapq.heappush(self.alarms, (tick + ticks, agent))

    def rest(self, agent: int) -> None:
        """Let an agent step no more."""
        self.awake.pop(agent, None)
        self.sleeping.pop(agent, None)

    def add(self, agents: Iterable[Agent]) -> None:
        """Take in agents whose ids follow on."""
        for agent in agents:
            self.agents[agent.id] = agent
            if self.steps:
                self.awake[agent.id] = agent

    def remove(self, ids: Iterable[int]) -> list[int]:
        """Forget agents; return the serials of those that were there."""
        gone = []
        for number in ids:
            if self.agents.pop(number, None) is not None:
                self.rest(number)
                self.parked.discard(number)
                gone.append(number - self.first)
        return gone

    def born(self, columns: Mapping[str, Any], count: int) -> list[Agent]:
        """Make `count` agents from columns and take them in."""
        cls: Any = self.kind.cls
        agents: list[Agent] = [cls.__new__(cls) for _ in range(count)]
        number = self.first + self.next_serial
        for agent in agents:
            agent._id = AgentId(number)
            number += 1
        for name, values in columns.items():
            if isinstance(values, np.ndarray):
                values = values.tolist() if values.ndim == 1 else [row.copy() for row in values]
            for agent, value in zip(agents, values, strict=True):
                setattr(agent, name, value)
        self.next_serial += count
        self.add(agents)
        return agents


class Partition:
    """One partition's objects, outbox and small change; its population rows are in the shard's tables.

    Attributes:
        outbox: Due tick -> entries, in the order of sending.
        population_wakes: Kind number -> tick before which the population does not step here.
        parked_populations: Kind numbers set aside after an error.
        event_chain: A digest that every event of the partition has gone through.
    """

    __slots__ = (
        "event_chain",
        "groups",
        "number",
        "outbox",
        "parked_populations",
        "population_wakes",
        "tables",
    )

    def __init__(self, model: Model, number: int, tables: Mapping[int, Table]) -> None:
        self.number = number
        self.tables = tables
        self.groups = {kind.number: Group(kind, number) for kind in model.kinds if not kind.is_population}
        self.outbox: dict[int, list[Entry]] = {}
        self.population_wakes: dict[int, int] = {}
        self.parked_populations: set[int] = set()
        self.event_chain = bytes(32)

    def next_serial(self, kind: int) -> int:
        """Return the serial that the next agent of a kind will have here."""
        group = self.groups.get(kind)
        return int(self.tables[kind].next_serials[self.number]) if group is None else group.next_serial

    def due(self, tick: int) -> int:
        """Return the next tick after `tick` at which something happens here or comes from here."""
        due = min(self.outbox, default=NEVER)
        for group in self.groups.values():
            due = min(due, group.due(tick))
        for kind, table in self.tables.items():
            if getattr(table.kind, "step", None) is None or kind in self.parked_populations:
                continue
            if table.counts[self.number]:
                due = min(due, max(tick + 1, self.population_wakes.get(kind, 0)))
        return due

    def settle(self, tick: int, effects: Effects) -> dict[int, tuple[int, NDArray[np.int64]]]:
        """Make a tick's effects the partition's state; return kind number -> (spawned, removed serials)."""
        changes: dict[int, list[Any]] = {}
        for kind, gone in effects.removed.items():
            if not gone:
                continue
            changes[kind] = [0, np.array(sorted(self.groups[kind].remove(gone)), np.int64)]
        for kind, rows in effects.removed_rows.items():
            changes[kind] = [0, self.tables[kind].remove(self.number, np.concatenate(rows))]
        for kind, count, columns, author in effects.spawned:
            group = self.groups.get(kind)
            change = changes.setdefault(kind, [0, np.zeros(0, np.int64)])
            change[0] += count
            first = agent_id(kind, self.number, self.next_serial(kind))
            if group is None:
                self.tables[kind].spawn(self.number, columns, count)
            else:
                group.born(columns, count)
            if author in effects.dropped:
                # Others may know ids that follow, so the serials are used up all the same.
                stillborn = np.arange(first, first + count, dtype=np.int64)
                if group is None:
                    gone_serials = self.tables[kind].remove(self.number, stillborn)
                else:
                    gone_serials = np.array(group.remove(stillborn.tolist()), np.int64)
                change[1] = np.concatenate((change[1], gone_serials))
        for agent, ticks in effects.sleeps.items():
            self.groups[agent >> KIND_SHIFT].sleep(agent, tick, ticks)
        for kind, ticks in effects.population_sleeps.items():
            self.population_wakes[kind] = tick + ticks
        for due, entries in effects.outbox.items():
            if due in self.outbox:
                self.outbox[due] += entries
            else:
                self.outbox[due] = entries
        return {kind: (spawned, removed) for kind, (spawned, removed) in changes.items()}


def drop_effects(effects: Effects, authors: set[int]) -> None:
    """Remove from a tick's effects all that these agents (or, as -2 - kind, populations) have done."""
    effects.dropped = frozenset(authors)
    for due in list(effects.outbox):
        kept: list[Entry] = []
        for entry, author in zip(effects.outbox[due], effects.authors[due], strict=True):
            if isinstance(entry, Run):
                letters = [letter for letter in entry.letters if letter[2] not in authors]  # type: ignore[misc]
                if letters:
                    kept.append(Run(entry.home, letters))
            elif author not in authors:
                kept.append(entry)
        if kept:
            effects.outbox[due] = kept
        else:
            del effects.outbox[due]
    effects.events = [event for event in effects.events if event[2] not in authors]
    effects.sleeps = {agent: ticks for agent, ticks in effects.sleeps.items() if agent not in authors}
    effects.population_sleeps = {k: ticks for k, ticks in effects.population_sleeps.items() if -2 - k not in authors}
    for kind, gone in effects.removed.items():
        effects.removed[kind] = {agent: None for agent in gone if agent not in authors}
    effects.removed_rows = {kind: rows for kind, rows in effects.removed_rows.items() if -2 - kind not in authors}


def strip_senders(entries: list[Entry]) -> list[Entry]:
    """Return entries without the senders that were only kept to drop effects."""
    return [
        Run(entry.home, [letter[:2] for letter in entry.letters]) if isinstance(entry, Run) else entry
        for entry in entries
    ]
