"""A store in the memory of one process."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from threading import Lock

from novel_actors.errors import NotDurable, StoreClosed
from novel_actors.storage.store import Durability, Operation, Store, StoreStatistics, WriteBatch, check_key, check_start


class MemoryStore(Store):
    """A dict and the sorted list of its keys. It is bounded by its callers: nothing is ever evicted.

    A new key costs a move of the keys behind it, so that it is meant for some 100,000 keys.
    """

    path = None
    durable = False

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._order: list[bytes] = []
        self._lock = Lock()
        self._closed = False
        self._reads_total = 0
        self._writes_total = 0
        self._batches_total = 0
        self._bytes_written_total = 0
        self._held_bytes = 0

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._values)} keys)"

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if it is not there."""
        check_key(key)
        with self._lock:
            self._check_open()
            self._reads_total += 1
            return self._values.get(key)

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Return the values of several keys as they stood at one moment, in the order asked."""
        keys = list(keys)
        for key in keys:
            check_key(key)
        with self._lock:
            self._check_open()
            self._reads_total += len(keys)
            return [self._values.get(key) for key in keys]

    def write(self, batch: WriteBatch, durability: Durability) -> Future[None]:
        """Apply a batch at once; "durable" is refused with NotDurable."""
        if durability == "durable":
            raise NotDurable("memory")
        with self._lock:
            self._check_open()
            for operation in batch.operations:
                self._apply(operation)
            self._batches_total += 1
            self._writes_total += len(batch)
            self._bytes_written_total += batch.size_bytes
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def scan(
        self, start: bytes = b"", end: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Return the items of [start, end) in the order of their keys, as they stood at the time of this call."""
        check_start(start)
        assert limit is None or limit >= 0, limit
        with self._lock:
            self._check_open()
            first, last = self._span(start, end)
            keys = self._order[first : last if limit is None else min(last, first + limit)]
            items = [(key, self._values[key]) for key in keys]
            self._reads_total += len(items)
        return iter(items)

    def flush(self) -> None:
        """Do nothing: every batch is applied at once."""
        with self._lock:
            self._check_open()

    def statistics(self) -> StoreStatistics:
        """Return the counts of this store."""
        with self._lock:
            return StoreStatistics(
                reads_total=self._reads_total,
                writes_total=self._writes_total,
                batches_total=self._batches_total,
                batches_failed_total=0,
                commits_total=self._batches_total,
                bytes_written_total=self._bytes_written_total,
                queued_batches=0,
                queued_bytes=0,
                map_bytes_used=self._held_bytes,
                map_bytes=0,
            )

    def close(self) -> None:
        """Drop everything; a second call does nothing."""
        with self._lock:
            self._closed = True
            self._values.clear()
            self._order.clear()
            self._held_bytes = 0

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("memory")

    def _span(self, start: bytes, end: bytes | None) -> tuple[int, int]:
        """Return the places of [start, end) in the sorted keys, the second not before the first."""
        first = bisect_left(self._order, start)
        return first, len(self._order) if end is None else max(first, bisect_left(self._order, end))

    def _apply(self, operation: Operation) -> None:
        verb, key, other = operation
        if verb == "put":
            before = self._values.get(key)
            if before is None:
                insort(self._order, key)
                self._held_bytes += len(key)
            else:
                self._held_bytes -= len(before)
            self._values[key] = other
            self._held_bytes += len(other)
            return
        if verb == "delete":
            first = bisect_left(self._order, key)
            last = first + (key in self._values)
        else:
            first, last = self._span(key, other)
        for gone in self._order[first:last]:
            self._held_bytes -= len(gone) + len(self._values.pop(gone))
        del self._order[first:last]
