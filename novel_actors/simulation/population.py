"""Agents written as columns, and the table that holds the columns of one population on one shard.

All partitions of a population on a shard lie one behind the other in one array per column, each with some room to grow.
The object on which a step or handler runs is a window on one partition; a rowwise handler runs on one over them all.
Rows of a partition are in order of age, so the ids of the table ascend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from novel_actors.errors import ModelError, StateError
from novel_actors.simulation.fields import Column, Field, coerce_column
from novel_actors.simulation.handler import Handler, collect_handlers
from novel_actors.simulation.ids import KIND_SHIFT, PARTITION_MASK, SERIAL_BITS, SERIAL_MASK, agent_id
from novel_actors.simulation.lazy_ids import PeerIds, RowIds
from novel_actors.simulation.message import Record
from novel_actors.simulation.recipe import recipe_of

Ids = NDArray[np.int64]


class PopulationType(type):
    """Collects the columns of a population class and closes its instances to undeclared names."""

    columns: dict[str, Column]
    _handlers: dict[type[Record], Handler]

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> PopulationType:
        """Make the class."""
        namespace.setdefault("__slots__", ())
        if "__init__" in namespace and bases:
            raise ModelError(f"{name} defines __init__: give initial values as defaults or to sim.add instead")
        for field in namespace.get("__annotations__", {}):
            if bases and not field.startswith("_") and not isinstance(namespace.get(field), Column):
                raise ModelError(f"{name}.{field} is annotated: a population's fields are columns, na.column(dtype)")
        made = super().__new__(mcs, name, bases, namespace, **kwargs)
        made.columns = {}
        for base in reversed(made.__mro__):
            made.columns.update({k: v for k, v in base.__dict__.items() if isinstance(v, Column)})
        for reserved in ("id", "ids", "columns", "fields"):
            if reserved in made.columns:
                raise ModelError(f"{name}.{reserved} has a reserved name: choose another")
        made._handlers = collect_handlers(made, namespace)
        return made

    def __recipe__(cls) -> Any:
        """Return how to make the class again elsewhere: see `recipe`."""
        own = {name: value for name, value in cls.__dict__.items() if isinstance(value, Column)}
        return recipe_of(cls, make_population_class, (own,), own)

    @property
    def fields(cls) -> tuple[Field, ...]:
        """The columns as fields, in declared order."""
        return tuple(Field(c.name, np.ndarray, c.default, c.dtype, c.shape) for c in cls.columns.values())


def make_population_class(
    name: str, bases: tuple[type, ...], identity: dict[str, Any], columns: dict[str, Column]
) -> PopulationType:
    """Return a population class with its columns and no methods yet."""
    return PopulationType(name, bases, {**identity, **columns})


class Population(metaclass=PopulationType):
    """The base of agents written as columns.

    A column is declared with `na.column`; the attribute is an array of one row per agent of the partition that acts.
    Assigning to it writes the rows in place. `step(self, tick)` is called once per partition and tick.
    """

    __slots__ = ("_columns", "_count", "_first", "_serials")
    _handlers: ClassVar[dict[type[Record], Handler]]

    def __init__(
        self, columns: dict[str, NDArray[Any]], count: int, first: int, serials: NDArray[np.int64] | None
    ) -> None:
        self._columns, self._count, self._first, self._serials = columns, count, first, serials

    def __len__(self) -> int:
        return self._count

    @property
    def ids(self) -> Any:
        """(n,) int64 ids of the rows, ascending: an array whose numbers are made when they are first read."""
        if self._first < 0:
            raise StateError("a rowwise handler has no ids: declare it without rowwise")
        return RowIds(self._first, self._serials, None, self._count)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._count} rows of {', '.join(self._columns) or 'no columns'}>"


class Table:
    """The rows of one population kind in the partitions of one shard."""

    def __init__(self, kind: type[Population], number: int, partitions_total: int) -> None:
        self.kind, self.number = kind, number
        self.fields = kind.fields
        self.partitions: list[int] = []
        self.starts = np.zeros(partitions_total, np.int64)
        self.counts = np.zeros(partitions_total, np.int64)
        self.capacities = np.zeros(partitions_total, np.int64)
        self.next_serials = np.zeros(partitions_total, np.int64)
        self.serials: dict[int, NDArray[np.int64]] = {}
        self.columns: dict[str, NDArray[Any]] = {f.name: np.zeros((0, *f.shape), f.dtype) for f in self.fields}
        self.windows: dict[int, Population] = {}
        self.whole = kind(self.columns, 0, -1, None)
        self._bases = np.zeros(partitions_total, np.int64)
        self._stride = 0
        self._live: tuple[Ids, Ids] | None = None

    def first(self, partition: int) -> int:
        """Return the id of serial 0 in a partition."""
        return agent_id(self.number, partition, 0)

    def load(
        self,
        parts: Mapping[int, tuple[int, int, NDArray[np.int64] | None, Mapping[str, NDArray[Any]]]],
    ) -> None:
        """Lay out the table anew from partition -> (count, next serial, serials or None when dense, columns)."""
        self.partitions = sorted(parts)
        self.counts[:] = self.capacities[:] = self.next_serials[:] = 0
        self.serials = {}
        for partition, (count, next_serial, serials, _) in parts.items():
            self.counts[partition] = self.capacities[partition] = count
            self.next_serials[partition] = next_serial
            if serials is not None:
                self.serials[partition] = serials
        pieces: dict[str, list[NDArray[Any]]] = {
            f.name: [parts[p][3][f.name] for p in self.partitions] for f in self.fields
        }
        self._lay_out(pieces)

    def _lay_out(self, pieces: Mapping[str, list[NDArray[Any]]]) -> None:
        own = np.array(self.partitions, np.int64)
        ends = np.cumsum(self.capacities[own])
        self.starts[own] = ends - self.capacities[own]
        total = int(ends[-1]) if len(own) else 0
        for field in self.fields:
            whole = np.zeros((total, *field.shape), field.dtype)
            for partition, piece in zip(self.partitions, pieces[field.name], strict=True):
                start = self.starts[partition]
                whole[start : start + len(piece)] = piece
            self.columns[field.name] = whole
        numbers = np.arange(len(self._bases), dtype=np.int64)
        self._bases[:] = (self.number << KIND_SHIFT) + (numbers << SERIAL_BITS) - self.starts
        for partition in self.partitions:
            self.refresh(partition)
        self.whole = self.kind(self.columns, total, -1, None)
        stride = int(self.capacities[0])
        uniform = bool((self.capacities == stride).all()) and bool((self.counts == stride).all())
        self._stride = stride if uniform else 0

    def refresh(self, partition: int) -> None:
        """Make the partition's window show its live rows."""
        start, count = int(self.starts[partition]), int(self.counts[partition])
        views = {name: column[start : start + count] for name, column in self.columns.items()}
        self.windows[partition] = self.kind(views, count, self.first(partition), self.serials.get(partition))
        self._live = None

    def spawn(self, partition: int, columns: Mapping[str, NDArray[Any]], count: int) -> None:
        """Append rows to a partition; their serials follow on."""
        old, serial = int(self.counts[partition]), int(self.next_serials[partition])
        if old + count > self.capacities[partition]:
            self._grow(partition, old + count)
        start = int(self.starts[partition]) + old
        for name, column in self.columns.items():
            column[start : start + count] = columns[name]
        if partition in self.serials:
            self.serials[partition] = np.concatenate((self.serials[partition], np.arange(serial, serial + count)))
        self.counts[partition] = old + count
        self.next_serials[partition] = serial + count
        self.refresh(partition)

    def _grow(self, partition: int, needed: int) -> None:
        pieces = {
            name: [column[self.starts[p] : self.starts[p] + self.counts[p]] for p in self.partitions]
            for name, column in self.columns.items()
        }
        self.capacities[partition] = needed + needed // 2
        self._lay_out(pieces)

    def remove(self, partition: int, ids: Ids) -> Ids:
        """Remove agents of a partition, closing the gaps; return the serials that were alive, ascending."""
        start, count = int(self.starts[partition]), int(self.counts[partition])
        serials = self.serials.get(partition)
        if serials is None:
            serials = np.arange(count, dtype=np.int64)
        gone = np.isin(serials, ids & SERIAL_MASK)
        if not gone.any():
            # Rows stay dense, as the census has them.
            return serials[gone]
        keep = ~gone
        left = int(keep.sum())
        for column in self.columns.values():
            column[start : start + left] = column[start : start + count][keep]
        self.serials[partition] = serials[keep]
        self.counts[partition] = left
        self.refresh(partition)
        return serials[gone]

    @property
    def is_gapless(self) -> bool:
        """Tell whether every row of the arrays is a live agent and serials count from 0."""
        return not self.serials and bool((self.counts == self.capacities).all())

    def rows(self, ids: Ids) -> tuple[Ids, NDArray[np.bool_] | None]:
        """Return the table's row of each id and, when some are not alive here, the mask of those that are."""
        partitions = ids >> SERIAL_BITS & PARTITION_MASK
        if not self.serials:
            alive = (ids & SERIAL_MASK) < self.counts[partitions]
            return ids - self._bases[partitions], None if alive.all() else alive
        if self._live is None:
            own = [self.windows[p].ids.array for p in self.partitions]
            rows = [np.arange(self.starts[p], self.starts[p] + self.counts[p]) for p in self.partitions]
            self._live = (np.concatenate(own), np.concatenate(rows))
        live, rows_of_live = self._live
        at = np.searchsorted(live, ids)
        at[at == len(live)] = 0
        alive = live[at] == ids if len(live) else np.zeros(len(ids), np.bool_)
        return rows_of_live[at] if len(live) else at, None if alive.all() else alive

    def rows_of_peers(self, peers: PeerIds) -> Ids | None:
        """Return the table's row of each drawn peer, all of whom are here; None unless slots are rows."""
        if self.serials or peers.serials is not None:
            return None
        if self._stride == peers.stride:
            return peers.places
        partitions = peers.places // peers.stride
        return self.starts[partitions] - partitions * peers.stride + peers.places

    def part(self, partition: int) -> tuple[int, int, NDArray[np.int64] | None, dict[str, NDArray[Any]]]:
        """Return (count, next serial, serials, columns) of a partition; the columns are copies."""
        window = self.windows[partition]
        columns = {name: column.copy() for name, column in window._columns.items()}
        return len(window), int(self.next_serials[partition]), window._serials, columns


def new_rows(kind: type[Population], values: Mapping[str, object], count: int) -> dict[str, NDArray[Any]]:
    """Return checked columns of `count` rows of a population; fields that are not given take their default."""
    unknown = [name for name in values if name not in kind.columns]
    if unknown:
        raise ModelError(f"{kind.__name__} has no column {unknown[0]!r}; it has {', '.join(kind.columns) or 'none'}")
    rows: dict[str, NDArray[Any]] = {}
    for field in kind.fields:
        given = values.get(field.name, field.default)
        rows[field.name] = cast("NDArray[Any]", coerce_column(kind.__name__, field, given, count))
    return rows


def concatenate(pieces: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Return the pieces one behind the other; a single piece is returned as it is."""
    pieces = list(pieces)
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
