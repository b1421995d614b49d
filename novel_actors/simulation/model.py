"""What a run executes: the kinds of agents with their first values, messages, spaces, collectors and stop rules.

A model is plain data made by `Simulation`; every shard holds the same one. Nothing in it changes while a run lives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from novel_actors.errors import ModelError
from novel_actors.simulation.agent import Agent, AgentCodec, AgentType
from novel_actors.simulation.batch import EntryCodec
from novel_actors.simulation.collect import Collector
from novel_actors.simulation.fields import INT64_MAX, Field, coerce_column, initial, is_text
from novel_actors.simulation.ids import KIND_SHIFT, KINDS_MAX, SERIAL_BITS, SERIAL_MASK, agent_id
from novel_actors.simulation.message import Record
from novel_actors.simulation.population import Population, PopulationType
from novel_actors.simulation.spaces.network import Network

Ids = NDArray[np.int64]
Kind = type[Agent] | type[Population]
OnError = Literal["fail", "isolate"]


@dataclasses.dataclass(slots=True)
class Addition:
    """One call of `Simulation.add`: how many agents, their first values, and the partitions they are spread over."""

    count: int
    values: Mapping[str, object]
    dedicated: Mapping[str, float] | None = None
    first_partition: int = 0
    partitions: int = 0

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the range of this addition's agents that begin in a partition."""
        at = partition - self.first_partition
        if not 0 <= at < self.partitions:
            return 0, 0
        return self.count * at // self.partitions, self.count * (at + 1) // self.partitions


@dataclasses.dataclass(slots=True)
class KindModel:
    """One kind of a model: its class, its number, and what was added.

    Attributes:
        is_population: Whether the agents are columns.
        is_async: Whether they are objects with coroutine methods.
    """

    cls: Kind
    number: int
    additions: list[Addition]
    is_population: bool = dataclasses.field(init=False)
    is_async: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.is_population = isinstance(self.cls, PopulationType)
        self.is_async = isinstance(self.cls, AgentType) and self.cls.is_async

    @property
    def name(self) -> str:
        """The class name."""
        return self.cls.__name__

    @property
    def count(self) -> int:
        """Agents at the start."""
        return sum(addition.count for addition in self.additions)

    def first_columns(self, partition: int, streams: Callable[[], np.random.Generator]) -> tuple[int, dict[str, Any]]:
        """Return how many agents begin in a partition, and their fields as columns: arrays, or lists of text.

        Args:
            partition: The partition.
            streams: Gives the random stream for first values of this kind and partition.
        """
        counts, pieces = [], []
        rng: np.random.Generator | None = None
        for addition in self.additions:
            low, high = addition.bounds(partition)
            if high == low:
                continue
            columns = {}
            for field in self.cls.fields:
                value = addition.values.get(field.name, field.default)
                if callable(value):
                    rng = streams() if rng is None else rng
                    value = value(np.arange(low, high), rng)
                elif is_typed(field) and is_per_agent(field.shape, value):
                    value = cast("Sequence[object]", value)[low:high]
                elif not is_typed(field) and isinstance(value, list) and len(value) == addition.count:
                    value = value[low:high]
                columns[field.name] = (
                    coerce_column(self.name, field, value, high - low)
                    if is_typed(field)
                    else one_each(value, high - low)
                )
            counts.append(high - low)
            pieces.append(columns)
        joined: dict[str, Any] = {}
        for field in self.cls.fields:
            parts: list[Any] = [columns[field.name] for columns in pieces]
            if field.dtype is not None:
                joined[field.name] = np.concatenate(parts) if parts else np.zeros((0, *field.shape), field.dtype)
            else:
                joined[field.name] = [value for part in parts for value in part]
        return sum(counts), joined

    def first_ids(self) -> Ids:
        """Return the (n,) ids of the agents that a run begins with, in the order in which they were added."""
        taken: dict[int, int] = {}
        pieces = []
        for addition in self.additions:
            for partition in range(addition.first_partition, addition.first_partition + addition.partitions):
                low, high = addition.bounds(partition)
                serial = taken.get(partition, 0)
                taken[partition] = serial + high - low
                first = agent_id(self.number, partition, serial)
                pieces.append(np.arange(first, first + high - low, dtype=np.int64))
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def check_first_values(owner: str, field: Field, value: object, count: int) -> None:
    """Raise `StateError` when values given to `sim.add` do not fit the field; those of functions are checked later."""
    if callable(value) or not is_typed(field):
        return
    whole = is_per_agent(field.shape, value)
    coerce_column(owner, field, value, count if whole else 1)


def is_per_agent(shape: tuple[int, ...], value: object) -> bool:
    """Tell whether the first value of a typed field is one for each agent, rather than one for all."""
    return np.ndim(value) == len(shape) + 1  # type: ignore[arg-type]


def is_typed(field: Field) -> bool:
    """Tell whether a field is a number, text or a fixed array, rather than a container."""
    return field.dtype is not None or is_text(field)


def one_each(value: object, count: int) -> list[object]:
    """Return `count` values of a container field: those of a list of that length, or copies of one value."""
    if isinstance(value, list) and len(value) == count:
        return [initial(item) for item in value]
    return [initial(value) for _ in range(count)]


@dataclasses.dataclass(slots=True)
class SpaceModel:
    """A network and the kind whose agents stand on its nodes: node i is the i-th added agent."""

    name: str
    network: Network
    kind: int
    node_ids: Ids
    order: NDArray[np.int64] | None
    """The nodes in the order of their ids, or None when that is the order of the nodes."""

    def nodes_of(self, ids: Ids) -> NDArray[np.int64]:
        """Return the node of each id; -1 for agents that stand on none (born later, or of another kind)."""
        ranked = self.node_ids if self.order is None else self.node_ids[self.order]
        at = np.minimum(np.searchsorted(ranked, ids), max(len(ranked) - 1, 0))
        found = ranked[at] == ids if len(ranked) else np.zeros(len(ids), np.bool_)
        nodes = at if self.order is None else self.order[at]
        return np.where(found, nodes, -1)

    def neighbours(self, agent: int) -> Ids:
        """Return the ids of one agent's neighbours, ascending by node."""
        node = int(self.nodes_of(np.array([agent], np.int64))[0])
        return self.node_ids[self.network.neighbours(node)] if node >= 0 else np.zeros(0, np.int64)

    def neighbours_of(self, ids: Ids) -> tuple[Ids, NDArray[np.int64]]:
        """Return the neighbours of many agents one behind the other, and the (n + 1,) offsets of each agent's part."""
        nodes = self.nodes_of(ids)
        known = nodes >= 0
        flat, offsets = self.network.neighbours_of(nodes[known])
        lengths = np.zeros(len(ids), np.int64)
        lengths[known] = np.diff(offsets)
        return self.node_ids[flat], np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))


@dataclasses.dataclass
class Model:
    """Everything that a shard must know to run partitions.

    Attributes:
        seed: Of all random streams.
        partitions: All of them, dedicated ones last.
        kinds: By kind number.
        messages: Every class that a handler receives, in the order of kinds and handlers.
        on_error: Whether an exception of an agent stops the run or parks the agent.
        check_rowwise: Run rowwise handlers both ways and compare.
    """

    seed: int
    partitions: int
    kinds: list[KindModel]
    spaces: dict[str, SpaceModel]
    collectors: list[Collector]
    stop_predicates: list[Callable[[Mapping[str, Mapping[str, Any]]], bool]]
    stop_quiescent: bool = False
    stop_wall_time_s: float | None = None
    on_error: OnError = "fail"
    check_rowwise: bool = False

    @cached_property
    def messages(self) -> tuple[type[Record], ...]:
        """Every message class that some kind receives."""
        return tuple({message: None for kind in self.kinds for message in kind.cls._handlers})

    @cached_property
    def entries(self) -> EntryCodec:
        """The wire codec of the model's messages."""
        return EntryCodec(self.messages)

    @cached_property
    def sender_messages(self) -> frozenset[type[Record]]:
        """The message classes that carry their senders, because a handler reads them."""
        return frozenset(h.message for kind in self.kinds for h in kind.cls._handlers.values() if h.sender)

    @cached_property
    def numbers(self) -> dict[type, int]:
        """Class -> kind number."""
        return {kind.cls: kind.number for kind in self.kinds}

    @cached_property
    def codecs(self) -> dict[int, AgentCodec]:
        """Kind number -> codec, for kinds of objects."""
        return {k.number: AgentCodec(cast("type[Agent]", k.cls)) for k in self.kinds if not k.is_population}

    def forget_first_values(self) -> None:
        """Let go of all first values, once nobody can need them again: they may be as large as the run."""
        for kind in self.kinds:
            for addition in kind.additions:
                addition.values = {}

    @property
    def shared_classes(self) -> tuple[type, ...]:
        """The classes that every process of a run knows."""
        return (*(kind.cls for kind in self.kinds), *self.messages)

    def __getstate__(self) -> dict[str, Any]:
        fields = {field.name for field in dataclasses.fields(self)}
        return {name: value for name, value in self.__dict__.items() if name in fields}

    def number_of(self, kind: type) -> int:
        """Return a kind's number; raises `ModelError` when the model does not have it."""
        try:
            return self.numbers[kind]
        except KeyError:
            known = ", ".join(k.name for k in self.kinds) or "none"
            name = getattr(kind, "__name__", repr(kind))
            raise ModelError(f"{name} is no kind of this model; it has {known}: add it with sim.add") from None

    def schema(self) -> list[list[Any]]:
        """Return the kinds and messages in words: what must be the same for a saved state to be read."""
        kinds = [[k.name, k.is_population, [[f.name, f.described] for f in k.cls.fields]] for k in self.kinds]
        messages = [[m.__name__, [[f.name, f.described] for f in m.__message_fields__]] for m in self.messages]
        return [kinds, messages]


def check_kind_count(count: int) -> None:
    """Raise `ModelError` when a model has more kinds than ids can tell apart."""
    if count > KINDS_MAX:
        raise ModelError(f"a model wants at most {KINDS_MAX} kinds of agents, got {count}")


assert KINDS_MAX << KIND_SHIFT <= INT64_MAX + 1 and SERIAL_MASK < 1 << SERIAL_BITS
