"""`Tick`: the object through which an agent acts.

One tick object serves all partitions of a shard, one after the other; it gathers what the acting partition sends,
spawns, removes and emits. An async agent gets one of its own, whose effects are added in the order of ids.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from novel_actors.core.random_streams import Purpose, RandomStreams
from novel_actors.errors import ModelError, StateError
from novel_actors.simulation.agent import Agent, AgentType
from novel_actors.simulation.batch import Batch, Broadcast, ColumnData, Entry, Letter, Run, make_columns
from novel_actors.simulation.census import Census
from novel_actors.simulation.fields import is_whole
from novel_actors.simulation.ids import KIND_SHIFT, NOBODY, SERIAL_BITS, AgentId, agent_id
from novel_actors.simulation.lazy_ids import PeerIds
from novel_actors.simulation.message import Record, is_message
from novel_actors.simulation.model import Model
from novel_actors.simulation.population import Population, new_rows

if TYPE_CHECKING:
    from novel_actors.simulation.partition import Partition

Ids = NDArray[np.int64]
PEERS_MIN, PEERS_MAX = 16, 4096
CONSTANTS_MAX = 4096
HOMES_END = 1 << (63 - SERIAL_BITS)
TICKS_MAX = 1 << 53
"""The longest delay or sleep: far beyond any run, and far from what 64 bits hold."""


class Effects:
    """What a partition, or one async agent, has done in a tick, in order.

    Attributes:
        outbox: Due tick -> entries.
        spawned: (kind number, count, columns, author) in order.
        removed: Kind number -> ids of objects, as an ordered set.
        removed_rows: Kind number -> arrays of ids of rows.
        events: (agent id, event, author), or (ids, (event class, columns), author).
        sleeps: Agent id or, for a population, its kind number under `population_sleeps` -> ticks.
        authors: Due tick -> who made each entry: kept only where an agent's effects may have to be dropped.
        dropped: Whose effects are dropped.
    """

    __slots__ = (
        "authors",
        "dropped",
        "events",
        "outbox",
        "population_sleeps",
        "removed",
        "removed_rows",
        "sleeps",
        "spawned",
    )

    def __init__(self) -> None:
        self.outbox: dict[int, list[Entry]] = {}
        self.spawned: list[tuple[int, int, dict[str, Any], int]] = []
        self.removed: dict[int, dict[int, None]] = {}
        self.removed_rows: dict[int, list[Ids]] = {}
        self.events: list[tuple[Any, Any, int]] = []
        self.sleeps: dict[int, int] = {}
        self.population_sleeps: dict[int, int] = {}
        self.authors: dict[int, list[int | None]] = {}
        self.dropped: frozenset[int] = frozenset()


class Tick:
    """The acting agent's or population's view of the world in one tick.

    Attributes:
        number: The tick that runs, from 1.
        sender: In a handler declared with `sender=True`, the sender's id (-1: injected from outside).
    """

    __slots__ = (
        "_agent",
        "_census",
        "_constants",
        "_effects",
        "_keeps_senders",
        "_letters",
        "_model",
        "_partition",
        "_peer_stream",
        "_peers",
        "_peers_ready",
        "_pools",
        "_population",
        "_rng",
        "_sendable",
        "_stream",
        "number",
        "sender",
    )

    def __init__(self, model: Model, census: Census, streams: RandomStreams) -> None:
        self._model, self._census = model, census
        self._sendable = model.entries.numbers
        self._keeps_senders = bool(model.sender_messages) or model.on_error == "isolate"
        self._stream, self._peer_stream = streams.reusable(), streams.reusable()
        self._constants: dict[tuple[Any, ...], tuple[ColumnData, ...]] = {}
        self.number = 0
        self.sender: AgentId = NOBODY
        self._agent: Agent | None = None
        self._population = -1

    def _enter(self, partition: Partition, number: int, actors: int) -> None:
        """Begin a partition's turn; `actors` is how many peers are likely to be asked for."""
        self.number, self._partition, self.sender = number, partition, NOBODY
        self._effects = Effects()
        self._rng: np.random.Generator | None = None
        self._peers: np.random.Generator | None = None
        self._peers_ready = min(max(actors, PEERS_MIN), PEERS_MAX)
        self._pools: dict[type, list[int]] = {}
        self._letters: dict[int, list[Letter]] = {}

    def _add(self, effects: Effects) -> None:
        """Add what an async agent of this partition did."""
        self._close_runs()
        mine = self._effects
        for due, entries in effects.outbox.items():
            mine.outbox.setdefault(due, []).extend(entries)
        for due, authors in effects.authors.items():
            mine.authors.setdefault(due, []).extend(authors)
        for kind, gone in effects.removed.items():
            mine.removed.setdefault(kind, {}).update(gone)
        mine.spawned += effects.spawned
        mine.events += effects.events
        mine.sleeps |= effects.sleeps

    def _leave(self) -> Effects:
        """End the turn and return what was done in it."""
        self._close_runs()
        self._agent, self._population = None, -1
        return self._effects

    # Randomness and the world -----------------------------------------------------------------------------------

    @property
    def rng(self) -> np.random.Generator:
        """The random generator of this partition in this tick (of the agent itself in async agents)."""
        if self._rng is None:
            self._rng = self._stream.reset(self._partition.number, self.number, Purpose.PARTITION)
        return self._rng

    def _peer_rng(self) -> np.random.Generator:
        if self._peers is None:
            self._peers = self._peer_stream.reset(self._partition.number, self.number, Purpose.PEERS)
        return self._peers

    def random_peer(self, kind: type) -> AgentId:
        """Return the id of an agent of `kind`, drawn uniformly from all that lived as the tick began, oneself included.

        Raises:
            StateError: None of the kind lives.
        """
        try:
            return self._pools[kind].pop()  # type: ignore[return-value]
        except (KeyError, IndexError):
            census = self._census.kinds[self._model.number_of(kind)]
            pool = self._pools[kind] = census.draw_list(self._peer_rng(), self._peers_ready)
            pool.reverse()
            return pool.pop()  # type: ignore[return-value]

    def random_peers(self, kind: type, n: int) -> Any:
        """Return (n,) int64 ids drawn uniformly and with replacement: see `random_peer`.

        They are an array whose numbers are made when they are first read; `send_many` does not read them.
        """
        if n < 0:
            raise StateError(f"random_peers wants n >= 0, got {n}")
        return self._census.kinds[self._model.number_of(kind)].draw(self._peer_rng(), int(n))

    def census(self, kind: type) -> int:
        """Return how many agents of `kind` lived as the tick began."""
        return self._census.kinds[self._model.number_of(kind)].total

    def published(self, kind: type, name: str, ids: Ids | None = None) -> NDArray[Any]:
        """Return a published column as it stood when the tick began; read-only.

        Args:
            kind: The population.
            name: A column declared with `publish=True`.
            ids: Whose values; None gives those of all living agents, in the order of their ids.

        Raises:
            StateError: The column is not published, or an id does not live.
        """
        number = self._model.number_of(kind)
        values = self._census.published(number, name)
        return values if ids is None else values[self._census.kinds[number].places(np.asarray(ids, np.int64))]

    def neighbours(self, space: str, ids: Ids | None = None) -> Any:
        """Return neighbours in a space.

        Args:
            space: A name given to `sim.add_space`.
            ids: None asks for the acting agent: (k,) ids are returned. For (n,) ids a pair is returned: the neighbours
                of all, one behind the other, and the (n + 1,) offsets of each one's part.
        """
        try:
            found = self._model.spaces[space]
        except KeyError:
            known = ", ".join(self._model.spaces) or "none"
            raise ModelError(f"space {space!r} is unknown; the model has {known}") from None
        if ids is not None:
            return found.neighbours_of(np.asarray(ids, np.int64))
        if self._agent is None:
            raise StateError("a population asks tick.neighbours(space, ids)")
        return found.neighbours(self._agent.id)

    # Sending ----------------------------------------------------------------------------------------------------

    def send(self, to: int, message: object, delay: int = 1) -> None:
        """Send a message to one agent; it arrives `delay` ticks later, or is counted as dead when the agent is gone.

        Raises:
            ModelError: No agent of the model receives messages of this class.
            StateError: `to` is no id, or the delay is below 1.
        """
        if message.__class__ not in self._sendable:
            refuse_message("send", message)
        if delay == 1 and not self._keeps_senders and to.__class__ is int:
            try:
                self._letters[to >> SERIAL_BITS].append((to, message))
                return
            except KeyError:
                pass  # the first letter to its partition in this turn
        if to.__class__ is not int:
            to = checked_id(to)
        home = to >> SERIAL_BITS
        if not -HOMES_END <= home < HOMES_END:
            raise StateError(f"send wants the id of an agent, got {to}")
        letter: Any = (to, message, self._author()) if self._keeps_senders else (to, message)
        if delay == 1:
            self._letters.setdefault(home, []).append(letter)
        else:
            self._put(Run(home, [letter]), delay)

    def send_many(self, senders: Any, targets: Any, message: type, delay: int = 1, **columns: object) -> None:
        """Send one message to each of many agents, as columns.

        Args:
            senders: (n,) ids, or one id; None where no handler reads the senders of this message.
            targets: (n,) ids.
            message: A message class.
            delay: Ticks until the messages arrive, at least 1.
            **columns: A value for all, or (n, ...) values, for each field; fields with a default may be left out.

        Raises:
            ModelError: No agent of the model receives messages of this class.
            StateError: A column does not fit the declared field, or lengths differ.
        """
        if message not in self._model.entries.numbers:
            refuse_class(message)
        count = len(targets)
        made = self._columns(message, columns, count)
        if senders is not None and np.ndim(senders) and len(senders) != count:
            raise StateError(f"send_many got {len(senders)} senders for {count} targets")
        origin = None
        if message in self._model.sender_messages:
            if senders is None:
                raise StateError(f"{message.__name__} carries its senders: a handler reads them, so give senders")
            origin = np.array(np.broadcast_to(np.asarray(senders, np.int64), (count,)))
        if not count:
            return
        if isinstance(targets, PeerIds):
            self._put(Batch(targets.first >> KIND_SHIFT, message, targets, made, origin), delay)
            return
        aims = np.array(targets)
        if aims.dtype != np.int64 or aims.ndim != 1:
            raise StateError(f"send_many wants targets as (n,) int64 ids, got {aims.dtype} of shape {aims.shape}")
        low, high = int(aims.min()) >> KIND_SHIFT, int(aims.max()) >> KIND_SHIFT
        if low < 0 or high >= len(self._model.kinds):
            raise StateError(f"send_many wants ids of agents, got {int(aims.min() if low < 0 else aims.max())}")
        whole = Batch(low, message, aims, made, origin)
        if low == high:
            self._put_batch(whole, delay)
            return
        kinds = aims >> KIND_SHIFT
        for kind in np.unique(kinds).tolist():
            part = whole.select(kinds == kind)
            part.kind = kind
            self._put_batch(part, delay)

    def _columns(self, message: type[Record], values: dict[str, object], count: int) -> tuple[ColumnData, ...]:
        """Return checked columns; those that are one number for all are made once in a run, not in every turn."""
        for value in values.values():
            # 0.0 and -0.0 would be one key.
            if value.__class__ is not int and (value.__class__ is not float or not value):
                return make_columns(message, values, count)
        key = (message, *values, *values.values(), *map(type, values.values()))
        found = self._constants.get(key)
        if found is None:
            if len(self._constants) >= CONSTANTS_MAX:
                self._constants.clear()
            found = self._constants[key] = make_columns(message, values, count)
        return found

    def broadcast(self, kind: type, message: object, delay: int = 1) -> None:
        """Send a message to every agent of a kind that lives when it arrives."""
        if message.__class__ not in self._model.entries.numbers:
            refuse_message("broadcast", message)
        self._put(Broadcast(self._model.number_of(kind), message, self._actor()), delay)

    def _put_batch(self, batch: Batch, delay: int) -> None:
        highest = int(batch.targets.max())
        if highest >= (batch.kind << KIND_SHIFT) + (self._model.partitions << SERIAL_BITS):
            raise StateError(f"no agent has the id {highest}: its partition does not exist")
        self._put(batch, delay)

    def _put(self, entry: Entry, delay: int) -> None:
        if delay.__class__ is not int or not 1 <= delay <= TICKS_MAX:
            raise StateError(f"a delay is a whole number of ticks, at least 1, got {delay!r} (2**53 at most)")
        self._close_runs()
        entries = self._effects.outbox.setdefault(self.number + delay, [])
        entries.append(entry)
        if self._model.on_error == "isolate":
            self._effects.authors.setdefault(self.number + delay, []).append(self._author())

    def _close_runs(self) -> None:
        """Put the single messages sent so far into the outbox, ahead of what is sent next."""
        if self._letters:
            entries = self._effects.outbox.setdefault(self.number + 1, [])
            entries += [Run(home, letters) for home, letters in self._letters.items()]
            if self._model.on_error == "isolate":
                self._effects.authors.setdefault(self.number + 1, []).extend([None] * len(self._letters))
            self._letters = {}

    def _actor(self) -> int:
        return NOBODY if self._agent is None else self._agent.id

    def _author(self) -> int:
        return -2 - self._population if self._agent is None else self._agent.id

    # Birth, death, rest, record ---------------------------------------------------------------------------------

    def spawn(self, kind: type, count: int = 1, **fields: object) -> Ids:
        """Bring agents of `kind` to life in this partition; they are there from the next tick on.

        Args:
            kind: An agent or population class of the model.
            count: How many.
            **fields: First values: one for all or one for each; others take their default.

        Returns:
            (count,) ids, which may be sent to at once.
        """
        number = self._model.number_of(kind)
        if not is_whole(count) or count < 0:
            raise StateError(f"spawn wants a count >= 0, got {count!r}")
        count = int(count)
        if isinstance(kind, AgentType):
            rows = agent_rows(kind, fields, count)
        else:
            rows = cast("dict[str, Any]", new_rows(cast("type[Population]", kind), fields, count))
        first = self._partition.next_serial(number) + sum(n for k, n, _, _ in self._effects.spawned if k == number)
        if count:
            self._effects.spawned.append((number, count, rows, self._author()))
        start = agent_id(number, self._partition.number, first)
        return np.arange(start, start + count, dtype=np.int64)

    def remove(self, ids: Ids | int | None = None) -> None:
        """End the life of the acting agent, or of rows of the acting population, with the end of the tick.

        Args:
            ids: Only for populations: ids of its rows in this partition.
        """
        if self._agent is not None:
            if ids is not None:
                raise StateError("an agent removes itself: tick.remove(); tell others by a message")
            self._effects.removed.setdefault(self._agent.id >> KIND_SHIFT, {})[self._agent.id] = None
            return
        if ids is None or self._population < 0:
            raise StateError("a population names the rows to remove: tick.remove(self.ids[rows])")
        gone = np.atleast_1d(np.asarray(ids, np.int64))
        window = self._partition.number | self._population << (KIND_SHIFT - SERIAL_BITS)
        if (gone >> SERIAL_BITS != window).any():
            raise StateError("a population removes rows of its own partition: tick.remove(self.ids[rows])")
        self._effects.removed_rows.setdefault(self._population, []).append(gone)

    def sleep(self, ticks: int) -> None:
        """Do not step before `ticks` ticks have passed (1: the next tick, as usual); messages still arrive."""
        if not is_whole(ticks) or not 1 <= ticks <= TICKS_MAX:
            raise StateError(f"sleep wants a whole number of ticks, at least 1, got {ticks!r} (2**53 at most)")
        if self._agent is not None:
            self._effects.sleeps[self._agent.id] = int(ticks)
        elif self._population >= 0:
            self._effects.population_sleeps[self._population] = int(ticks)

    def emit(self, event: object) -> None:
        """Append an event, a record made by `@na.event`, to the run's log."""
        if not isinstance(event, Record):
            raise ModelError(f"an event is a record made by @na.event, got {event!r:.80}")
        check_event(type(event))
        self._effects.events.append((self._actor(), event, self._author()))

    def emit_many(self, event: type, agents: Ids, **columns: object) -> None:
        """Append one event of a class for each of (n,) agents, as columns: see `send_many`."""
        if not is_message(event):
            raise ModelError(f"an event class is made by @na.event, got {event!r:.80}")
        check_event(cast("type[Record]", event))
        who = np.array(agents, np.int64)
        rows = make_columns(cast("type[Record]", event), columns, len(who))
        if len(who):
            self._effects.events.append((who, (event, rows), self._author()))

    def ask(
        self, service: Callable[[Any], Awaitable[Any]], request: Any, timeout_s: float | None = None
    ) -> Awaitable[Any]:
        """Return a service's answer, and record it: a replay, a resume or a recovery gets it without asking again.

        Only async agents may ask. See `AsyncTick.ask`.
        """
        raise StateError("only async agents ask services: write async def step(self, tick)")


class RowTick:
    """What a rowwise handler sees of the tick: its number, and nothing that depends on a partition."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __getattr__(self, name: str) -> Any:
        raise StateError(f"a rowwise handler cannot use tick.{name}: declare it without rowwise")


def refuse_message(call: str, message: object) -> NoReturn:
    """Raise the `ModelError` for what was given as a message and is none of the model's."""
    if isinstance(message, type) and is_message(message):
        raise ModelError(f"{call} wants a message, got the class {message.__name__}: write {message.__name__}(...)")
    refuse_class(type(message))


def refuse_class(kind: object) -> NoReturn:
    """Raise the `ModelError` for what was given as a message class and is none of the model's."""
    if isinstance(kind, Record):
        raise ModelError(f"send_many wants a message class and its fields as columns, got one {type(kind).__name__}")
    name = getattr(kind, "__name__", f"{kind!r:.80}")
    if not is_message(kind):
        raise ModelError(f"{name} is no message: declare it with @na.message")
    raise ModelError(f"no agent of this model receives {name}: add a handler with @na.on({name})")


@functools.cache
def check_event(event: type[Record]) -> None:
    """Raise `ModelError` when a class of events has a field that its table needs for itself."""
    for field in event.__message_fields__:
        if field.name in ("tick", "agent", "event"):
            raise ModelError(f"event field {event.__name__}.{field.name} has a reserved name: choose another")


def checked_id(to: object) -> int:
    """Return an id given as a numpy integer as a Python one; raises `StateError` for anything else."""
    if isinstance(to, np.integer):
        return int(to)
    raise StateError(f"send wants the id of an agent, got {to!r:.80} ({type(to).__name__})")


def agent_rows(kind: AgentType, values: Mapping[str, object], count: int) -> dict[str, Any]:
    """Return the first values of `count` new agents as lists."""
    from novel_actors.simulation.model import Addition, KindModel

    unknown = [name for name in values if name not in {field.name for field in kind.fields}]
    if unknown:
        known = ", ".join(field.name for field in kind.fields) or "none"
        raise ModelError(f"{kind.__name__} has no field {unknown[0]!r}; it has {known}")
    born = KindModel(cast("type[Agent]", kind), 0, [Addition(count, values, None, 0, 1)])
    return born.first_columns(0, lambda: np.random.default_rng(0))[1]
