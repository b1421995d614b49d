"""What every shard knows of every partition: who lives there as a tick begins, and the columns that are published."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from novel_actors.core.random_streams import draw_below
from novel_actors.errors import StateError
from novel_actors.simulation.ids import KIND_SHIFT, PARTITION_MASK, SERIAL_BITS, SERIAL_MASK
from novel_actors.simulation.lazy_ids import PeerIds

Ids = NDArray[np.int64]
FEW = 1024
"""Of no more agents than this, peers are drawn from the list of all ids."""


class KindCensus:
    """The living agents of one kind, by partition.

    Serials of a partition are 0 to count - 1 until an agent is removed there; from then on they are kept one by one.
    """

    def __init__(self, name: str, kind: int, partitions: int) -> None:
        self.name, self.kind, self.partitions = name, kind, partitions
        self.counts = np.zeros(partitions, np.int64)
        self.next_serials = np.zeros(partitions, np.int64)
        self.serials: dict[int, NDArray[np.int64]] = {}
        self._total = 0
        self._largest = 0
        self._ids: Ids | None = None
        self._id_list: list[int] | None = None
        self._flat: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def set(self, partition: int, count: int, next_serial: int, serials: NDArray[np.int64] | None) -> None:
        """Put down what lives in a partition."""
        self.counts[partition], self.next_serials[partition] = count, next_serial
        self.serials.pop(partition, None)
        if serials is not None:
            self.serials[partition] = serials
        self._changed()

    def change(self, partition: int, spawned: int, removed: NDArray[np.int64]) -> None:
        """Apply one tick's births and deaths of a partition; `removed` are serials."""
        serial = int(self.next_serials[partition])
        serials = self.serials.get(partition)
        if serials is None and removed.size:
            serials = np.arange(serial, dtype=np.int64)
        if serials is not None:
            serials = np.concatenate((serials, np.arange(serial, serial + spawned)))
            self.serials[partition] = serials[~np.isin(serials, removed)] if removed.size else serials
        self.counts[partition] += spawned - removed.size
        self.next_serials[partition] += spawned
        self._changed()

    def _changed(self) -> None:
        self._total = -1
        self._flat = None
        self._ids = self._id_list = None

    @property
    def total(self) -> int:
        """How many live."""
        if self._total < 0:
            self._total = int(self.counts.sum())
            self._largest = int(self.counts.max())
        return self._total

    def draw(self, rng: np.random.Generator, count: int) -> PeerIds | Ids:
        """Return `count` ids drawn uniformly, with replacement, from all living agents of the kind.

        Of few, the number within all ids is drawn. Of many, a place is drawn, (partition, slot in the fullest
        partition), and drawn again where the partition has no such slot; when more than half would be drawn again, the
        cumulated counts are searched instead.
        """
        if not self.total:
            raise StateError(f"no {self.name} lives: there is no peer to draw")
        if self.total <= FEW:
            return self.ids()[draw_below(rng, self.total, count)]
        stride, counts = self._largest, self.counts
        places = self.partitions * stride
        if 2 * self.total >= places:
            drawn = draw_below(rng, places, count)
            if self.total != places:
                partitions = drawn // stride
                missed = np.flatnonzero(drawn - partitions * stride >= counts[partitions])
                while missed.size:
                    again = draw_below(rng, places, missed.size)
                    drawn[missed] = again
                    partitions = again // stride
                    missed = missed[again - partitions * stride >= counts[partitions]]
        else:
            ends = np.cumsum(counts)
            numbers = draw_below(rng, self.total, count)
            partitions = np.searchsorted(ends, numbers, "right")
            drawn = numbers - (ends - counts)[partitions] + partitions * stride
        return PeerIds(drawn, stride, self.kind << KIND_SHIFT, self._all_serials() if self.serials else None)

    def draw_list(self, rng: np.random.Generator, count: int) -> list[int]:
        """Return what `draw` would, as a list."""
        if not 0 < self.total <= FEW:
            drawn: list[int] = np.asarray(self.draw(rng, count)).tolist()
            return drawn
        if self._id_list is None:
            self._id_list = self.ids().tolist()
        return list(map(self._id_list.__getitem__, draw_below(rng, self.total, count).tolist()))

    def _all_serials(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._flat is None:
            offsets = np.cumsum(self.counts) - self.counts
            pieces = [self.serials_of(p) for p in np.flatnonzero(self.counts).tolist()]
            self._flat = (np.concatenate(pieces) if pieces else np.zeros(0, np.int64), offsets)
        return self._flat

    def serials_of(self, partition: int) -> NDArray[np.int64]:
        """Return the living serials of a partition, ascending."""
        serials = self.serials.get(partition)
        return np.arange(self.counts[partition], dtype=np.int64) if serials is None else serials

    def ids(self) -> Ids:
        """Return all living ids, ascending."""
        if self._ids is None:
            first = self.kind << KIND_SHIFT
            pieces = [self.serials_of(p) + (first + (p << SERIAL_BITS)) for p in np.flatnonzero(self.counts).tolist()]
            self._ids = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        return self._ids

    def places(self, ids: Ids) -> Ids:
        """Return the place of each id within `ids()`; raises `StateError` naming the first that does not live."""
        # An id of a partition that does not exist is looked up in another, and refused below.
        partitions, serials = ids >> SERIAL_BITS & PARTITION_MASK, ids & SERIAL_MASK
        known = partitions < self.partitions
        partitions = np.where(known, partitions, 0)
        _, offsets = self._all_serials()
        if not self.serials:
            alive = serials < self.counts[partitions]
            places: Ids = offsets[partitions] + serials
        else:
            every = self.ids()
            places = np.minimum(np.searchsorted(every, ids), max(len(every) - 1, 0))
            alive = every[places] == ids if len(every) else np.zeros(len(ids), np.bool_)
        alive = alive & known & (ids >> KIND_SHIFT == self.kind)
        if not alive.all():
            raise StateError(f"{self.name} {ids[~alive][0]} does not live: published values are of the living")
        return places


class Census:
    """All kinds' census, and the published columns, as they stood when the tick began."""

    def __init__(self, kinds: list[KindCensus]) -> None:
        self.kinds = kinds
        self._published: dict[tuple[int, str], dict[int, NDArray[Any]]] = {}
        self._joined: dict[tuple[int, str], NDArray[Any]] = {}

    def publish(self, kind: int, name: str, partition: int, values: NDArray[Any]) -> None:
        """Put down a partition's rows of a published column; `values` is kept and must not change."""
        self._published.setdefault((kind, name), {})[partition] = values
        self._joined.pop((kind, name), None)

    def is_published_as(self, kind: int, name: str, partition: int, values: NDArray[Any]) -> bool:
        """Tell whether a partition's rows are what is published already."""
        known = self._published.get((kind, name), {}).get(partition)
        return known is not None and known.shape == values.shape and known.tobytes() == values.tobytes()

    def published(self, kind: int, name: str) -> NDArray[Any]:
        """Return a published column of all living agents of a kind, in the order of their ids; read-only."""
        joined = self._joined.get((kind, name))
        if joined is None:
            parts = self._published.get((kind, name))
            if parts is None:
                raise StateError(
                    f"{self.kinds[kind].name}.{name} is not published: declare it na.column(..., publish=True)"
                )
            joined = np.concatenate([parts[p] for p in sorted(parts)])
            joined.setflags(write=False)
            self._joined[kind, name] = joined
        return joined
