"""Ids that are worked out when somebody looks at them.

A population that sends to random peers names hundreds of thousands of ids in a tick, and nobody ever reads most of
them: the shard wants rows, which it knows already. So the ids of a window and of drawn peers are arrays in all respects
but one: their numbers are made on first use. Everything that takes an array takes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from novel_actors.simulation.ids import SERIAL_BITS

Ids = NDArray[np.int64]


class LazyIds(NDArrayOperatorsMixin):
    """(n,) int64 ids, read-only, made on first use."""

    __slots__ = ("_array", "size")
    ndim = 1
    dtype = np.dtype(np.int64)

    def __init__(self, size: int) -> None:
        self.size = size
        self._array: Ids | None = None

    def _make(self) -> Ids:
        raise NotImplementedError

    @property
    def array(self) -> Ids:
        """The ids as a numpy array; the same one each time."""
        if self._array is None:
            self._array = self._make()
            self._array.setflags(write=False)
        return self._array

    @property
    def shape(self) -> tuple[int]:
        """(n,)."""
        return (self.size,)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.array, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = (value.array if isinstance(value, LazyIds) else value for value in inputs)
        return getattr(ufunc, method)(*plain, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.array, name)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[np.int64]:
        return iter(self.array)

    def __getitem__(self, key: Any) -> Any:
        return self.array[key]

    def __repr__(self) -> str:
        return repr(self.array)


class RowIds(LazyIds):
    """The ids of all rows of a population's window, or of some of them."""

    __slots__ = ("_first", "_rows", "_serials")

    def __init__(self, first: int, serials: Ids | None, rows: Ids | None, size: int) -> None:
        super().__init__(size)
        self._first, self._serials, self._rows = first, serials, rows

    def _make(self) -> Ids:
        if self._serials is not None:
            return (self._serials if self._rows is None else self._serials[self._rows]) + self._first
        if self._rows is None:
            return np.arange(self._first, self._first + self.size)
        return self._rows + self._first

    def __getitem__(self, key: Any) -> Any:
        if self._array is not None or self._rows is not None or not is_rows(key, self.size):
            return self.array[key]
        return RowIds(self._first, self._serials, key.copy(), key.size)


def is_rows(key: object, size: int) -> bool:
    """Tell whether an index is an array of row numbers, all in range and none counted from the end."""
    if not isinstance(key, np.ndarray) or key.dtype != np.int64 or key.ndim != 1:
        return False
    return key.size == 0 or bool(key.min() >= 0 and key.max() < size)


class PeerIds(LazyIds):
    """Peers as they were drawn: a place each, which is partition * stride + slot.

    Attributes:
        places: (n,) int64.
        stride: Places of a partition.
        first: The id of partition 0, serial 0 of the kind.
        serials: The serial in each place that is taken, and where each partition's begin; None when a slot is a serial.
    """

    __slots__ = ("first", "places", "serials", "stride")

    def __init__(self, places: Ids, stride: int, first: int, serials: tuple[Ids, Ids] | None) -> None:
        super().__init__(len(places))
        self.places, self.stride, self.first, self.serials = places, stride, first, serials

    def select(self, mask: NDArray[np.bool_]) -> PeerIds:
        """Return the peers where `mask` holds."""
        # Of a mask without a pattern, numpy takes numbered rows several times as fast as the marked ones.
        return PeerIds(self.places.take(np.flatnonzero(mask)), self.stride, self.first, self.serials)

    def _make(self) -> Ids:
        partitions = self.places // self.stride
        if self.serials is None:
            partitions *= (1 << SERIAL_BITS) - self.stride
            partitions += self.places
            return partitions + self.first
        flat, offsets = self.serials
        slots = self.places - partitions * self.stride
        return flat[offsets[partitions] + slots] + (partitions << SERIAL_BITS) + self.first
