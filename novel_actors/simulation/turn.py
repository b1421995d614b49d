"""One partition's turn in a tick: the order in which handlers and steps are called.

Rowwise handlers run first (usually over all partitions at once, before any turn), then each kind receives its messages,
then each kind steps; kinds in the order in which the model names them, objects in the order of ids.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from novel_actors.errors import AgentError, AgentTimeout, UnhandledMessage
from novel_actors.simulation.agent import Agent
from novel_actors.simulation.async_steps import Outcome, unhandled
from novel_actors.simulation.batch import Letter
from novel_actors.simulation.events import AgentFailed, AgentTimedOut
from novel_actors.simulation.explain import explained
from novel_actors.simulation.handler import Handler
from novel_actors.simulation.ids import NOBODY, SERIAL_BITS, AgentId
from novel_actors.simulation.inbox import Inbox, Mail
from novel_actors.simulation.message import Messages, Record
from novel_actors.simulation.model import KindModel, Model
from novel_actors.simulation.partition import Group, Partition, drop_effects
from novel_actors.simulation.population import Table
from novel_actors.simulation.tick import Effects, RowTick, Tick

HERE = Path(__file__).parent


class Turn:
    """A turn in which the first exception stops the run."""

    def __init__(self, model: Model, tick: Tick, partition: Partition) -> None:
        self.model, self.tick, self.partition = model, tick, partition
        self.dead_total = 0

    def run(self, inbox: Inbox, runs_rowwise: bool, outcomes: Sequence[Outcome]) -> Effects:
        """Deliver and step; return what was done.

        Args:
            inbox: Of the shard, for this tick.
            runs_rowwise: Whether rowwise handlers are still to be run.
            outcomes: Of this partition's async agents, which have acted already.

        Raises:
            AgentError: An agent raised.
        """
        if runs_rowwise:
            for kind in self.model.kinds:
                if kind.is_population:
                    self.deliver_rows(kind, inbox, rowwise=True)
        for kind in self.model.kinds:
            if kind.is_population:
                self.deliver_rows(kind, inbox, rowwise=False)
            elif not kind.is_async:
                group = self.partition.groups[kind.number]
                box = inbox.boxes[group.first >> SERIAL_BITS]
                if box:
                    self.deliver(group, box)
        for kind in self.model.kinds:
            if kind.is_population:
                self.step_rows(kind)
            elif kind.is_async:
                group = self.partition.groups[kind.number]
                self.take([outcome for outcome in outcomes if outcome.agent.id in group.agents])
            else:
                group = self.partition.groups[kind.number]
                if group.alarms:
                    group.wake(self.tick.number)
                if group.awake and group.steps:
                    self.step(group)
        return self.tick._leave()

    # Objects ----------------------------------------------------------------------------------------------------

    def deliver(self, group: Group, box: Sequence[Letter]) -> None:
        """Hand each letter to its agent."""
        tick, find, gone = self.tick, group.agents.get, self.gone(group)
        handlers: Mapping[type[Record], Callable[..., Any]] = group.functions
        agent: Agent | None = None
        message: Record = box[0][1]
        try:
            if len(box[0]) == 2:
                for to, message in box:  # type: ignore[misc]
                    agent = find(to)
                    if agent is None or (gone and to in gone):
                        self.dead_total += 1
                        continue
                    tick._agent = agent
                    handlers[message.__class__](agent, message, tick)
            else:
                for to, message, sender in box:  # type: ignore[misc]
                    agent = find(to)
                    if agent is None or (gone and to in gone):
                        self.dead_total += 1
                        continue
                    tick._agent = agent
                    tick.sender = AgentId(sender) if sender > NOBODY else NOBODY
                    handlers[message.__class__](agent, message, tick)
        except Exception as error:
            assert agent is not None
            if isinstance(error, KeyError) and message.__class__ not in handlers:
                error = unhandled(agent, message)
            raise self.error(group.kind, agent.id, error) from error
        tick._agent = None

    def step(self, group: Group) -> None:
        """Let each agent that is awake step."""
        tick, gone = self.tick, self.gone(group)
        step: Callable[..., Any] = group.kind.cls.step  # type: ignore[union-attr]
        agent: Agent | None = None
        acting = [a for a in group.awake.values() if a.id not in gone] if gone else group.awake.values()
        try:
            for agent in acting:
                tick._agent = agent
                step(agent, tick)
        except Exception as error:
            assert agent is not None
            raise self.error(group.kind, agent.id, error) from error
        tick._agent = None

    def gone(self, group: Group) -> dict[int, None]:
        """Return the set of agents of a group that were removed in this turn; it grows as more are."""
        return self.tick._effects.removed.setdefault(group.kind.number, {})

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Add the effects of async agents, in the order of ids."""
        for outcome in outcomes:
            kind = self.model.kinds[self.model.numbers[type(outcome.agent)]]
            if outcome.timed_out:
                cause = "TimeoutError: its step did not end in time"
                raise AgentTimeout(kind.name, outcome.agent.id, self.partition.number, self.tick.number, cause, cause)
            if outcome.error is not None:
                raise self.error(kind, outcome.agent.id, outcome.error) from outcome.error
            assert outcome.effects is not None
            self.tick._add(outcome.effects)

    # Rows -------------------------------------------------------------------------------------------------------

    def deliver_rows(self, kind: KindModel, inbox: Inbox, rowwise: bool) -> None:
        """Call a population's handlers, in the order of their declaration."""
        table = self.partition.tables[kind.number]
        for message, handler in kind.cls._handlers.items():
            mail = inbox.mail.get((kind.number, message))
            if mail is not None and handler.rowwise == rowwise:
                rows, messages, dead = rows_of_mail(table, mail, self.partition.number)
                self.dead_total += dead
                if len(rows):
                    self.handle_rows(kind, handler, rows, messages)

    def handle_rows(self, kind: KindModel, handler: Handler, rows: NDArray[np.int64], messages: Messages) -> None:
        """Call one handler of a population."""
        self.tick._population = kind.number
        window = self.partition.tables[kind.number].windows[self.partition.number]
        try:
            handler.function(window, rows, messages, RowTick(self.tick.number) if handler.rowwise else self.tick)
        except Exception as error:
            raise self.error(kind, NOBODY, error) from error
        self.tick._population = -1

    def step_rows(self, kind: KindModel) -> None:
        """Let a population step."""
        step: Callable[..., Any] | None = getattr(kind.cls, "step", None)
        window = self.partition.tables[kind.number].windows[self.partition.number]
        if step is None or not len(window) or self.partition.population_wakes.get(kind.number, 0) > self.tick.number:
            return
        self.tick._population = kind.number
        try:
            step(window, self.tick)
        except Exception as error:
            raise self.error(kind, NOBODY, error) from error
        self.tick._population = -1

    def error(self, kind: KindModel, agent: int, error: BaseException) -> AgentError:
        """Return the error that stops the run."""
        return agent_error(kind, agent, self.partition.number, self.tick.number, error)


class IsolatedTurn(Turn):
    """A turn in which an agent that raises is parked, as it stood before the tick, and its effects are dropped."""

    def __init__(self, model: Model, tick: Tick, partition: Partition) -> None:
        super().__init__(model, tick, partition)
        self._saved: dict[int, dict[str, Any]] = {}
        self._failed: dict[int, AgentFailed | AgentTimedOut] = {}

    def run(self, inbox: Inbox, runs_rowwise: bool, outcomes: Sequence[Outcome]) -> Effects:
        """See `Turn`; nothing is raised for an agent's exception."""
        effects = super().run(inbox, runs_rowwise, outcomes)
        if self._failed:
            drop_effects(effects, set(self._failed))
            for author in sorted(self._failed):
                effects.events.append((max(author, NOBODY), self._failed[author], NOBODY))
        return effects

    def deliver(self, group: Group, box: Sequence[Letter]) -> None:
        """See `Turn`."""
        gone = self.gone(group)
        for letter in box:
            agent = group.agents.get(letter[0])
            if agent is None or letter[0] in gone or letter[0] in group.parked:
                self.dead_total += 1
                continue
            handler = group.functions.get(letter[1].__class__)
            self.tick.sender = AgentId(max(letter[2], NOBODY)) if len(letter) == 3 else NOBODY
            self.call(group, agent, handler, letter[1])

    def step(self, group: Group) -> None:
        """See `Turn`."""
        gone = self.gone(group)
        for agent in list(group.awake.values()):
            if agent.id not in gone:
                self.call(group, agent, group.kind.cls.step, None)  # type: ignore[union-attr]

    def call(self, group: Group, agent: Agent, function: Callable[..., Any] | None, message: Record | None) -> None:
        """Call a handler or step; park the agent when it raises."""
        if agent.id not in self._saved:
            self._saved[agent.id] = saved_fields(agent)
        self.tick._agent = agent
        try:
            if function is None:
                assert message is not None
                raise unhandled(agent, message)
            if message is None:
                function(agent, self.tick)
            else:
                function(agent, message, self.tick)
        except Exception as error:  # noqa: BLE001 - an agent may raise anything; it is parked and an event says so
            self.fail(
                group,
                agent,
                self._saved[agent.id],
                AgentFailed(kind=group.kind.name, cause=cause_of(group.kind, error)),
            )
        self.tick._agent = None

    def fail(self, group: Group, agent: Agent, saved: Mapping[str, Any], event: AgentFailed | AgentTimedOut) -> None:
        """Put an agent back as it stood; park it unless it was only late."""
        for name, value in saved.items():
            setattr(agent, name, value)
        self._failed[agent.id] = event
        if isinstance(event, AgentFailed):
            group.parked.add(agent.id)
            group.rest(agent.id)

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """See `Turn`; an agent whose step took too long is not parked."""
        for outcome in outcomes:
            agent = outcome.agent
            group = self.partition.groups[self.model.numbers[type(agent)]]
            if outcome.timed_out:
                self.fail(group, agent, outcome.saved, AgentTimedOut(kind=group.kind.name, limit_s=outcome.limit_s))
            elif outcome.error is not None:
                event = AgentFailed(kind=group.kind.name, cause=cause_of(group.kind, outcome.error))
                self.fail(group, agent, outcome.saved, event)
            else:
                assert outcome.effects is not None
                self.tick._add(outcome.effects)

    def handle_rows(self, kind: KindModel, handler: Handler, rows: NDArray[np.int64], messages: Messages) -> None:
        """See `Turn`."""
        if kind.number in self.partition.parked_populations:
            self.dead_total += len(rows)
            return
        self.guard_rows(kind, lambda: super(IsolatedTurn, self).handle_rows(kind, handler, rows, messages))

    def step_rows(self, kind: KindModel) -> None:
        """See `Turn`."""
        if kind.number not in self.partition.parked_populations:
            self.guard_rows(kind, lambda: super(IsolatedTurn, self).step_rows(kind))

    def guard_rows(self, kind: KindModel, call: Callable[[], None]) -> None:
        """Call; on an exception put the partition's rows back as they stood, and park them."""
        author = -2 - kind.number
        window = self.partition.tables[kind.number].windows[self.partition.number]
        if author not in self._saved:
            self._saved[author] = {name: column.copy() for name, column in window._columns.items()}
        try:
            call()
        except AgentError as error:
            for name, column in self._saved[author].items():
                window._columns[name][...] = column
            self.partition.parked_populations.add(kind.number)
            self._failed[author] = AgentFailed(kind=kind.name, cause=error.cause)
            self.tick._population = -1


def saved_fields(agent: Agent) -> dict[str, Any]:
    """Return copies of an agent's fields."""
    return {field.name: copy.deepcopy(getattr(agent, field.name)) for field in type(agent).fields}


def rows_of_mail(table: Table, mail: Mail, partition: int) -> tuple[NDArray[np.int64], Messages, int]:
    """Return the rows of a partition's window that mail is for, the messages, and how many were for the dead."""
    ids, messages = mail.of_partition(partition)
    window = table.windows[partition]
    serials = ids - table.first(partition)
    if window._serials is None:
        rows, alive = serials, serials < len(window)
    else:
        rows = np.minimum(np.searchsorted(window._serials, serials), max(len(window) - 1, 0))
        alive = window._serials[rows] == serials if len(window) else np.zeros(len(ids), np.bool_)
    if alive.all():
        return rows, messages, 0
    columns = {name: column[alive] for name, column in messages._columns.items()}
    senders = None if messages._senders is None else messages._senders[alive]
    return rows[alive], Messages(mail.message, columns, senders, int(alive.sum())), int(len(alive) - alive.sum())


def line_of(error: BaseException) -> str:
    """Return an exception in one line."""
    return one_line(f"{type(error).__name__}: {error}")


def one_line(text: str) -> str:
    """Return the first line of a text, in characters that any store can hold."""
    line = text.split("\n")[0]
    return line.encode(errors="backslashreplace").decode()


def agent_error(kind: KindModel, agent: int, partition: int, tick: int, error: BaseException) -> AgentError:
    """Return the error that names the agent, the tick and what it raised."""
    trace = "".join(traceback.format_exception(error))
    return AgentError(kind.name, int(agent), partition, tick, cause_of(kind, error), trace, place_of(error))


def cause_of(kind: KindModel, error: BaseException) -> str:
    """Return an agent's exception in one line, in the words of its model."""
    return one_line(f"{type(error).__name__}: {explained(kind.cls, error)}")


def place_of(error: BaseException) -> str:
    """Return file, number and text of the innermost line of a model that an exception went through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.parent != HERE and "numpy" not in path.parts:
            return f"{path.name}:{frame.lineno}: {frame.line}"
    return ""


def unhandled_rows(kind: KindModel, message: type[Record]) -> UnhandledMessage:
    """Return the error for messages that a population has no handler for."""
    return UnhandledMessage(
        f"{kind.name} has no handler for {message.__name__}: add one with @na.on({message.__name__})"
    )
