"""The interface of a store: bytes by key, ordered, written in atomic batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from novel_actors.errors import StoreKeyInvalid, StoreValueTooLarge

Durability = Literal["queued", "durable"]
"""What a write promises when its future is done.

queued: the batch was accepted, in order; it survives a normal `close`, nothing else.
durable: the batch is on the disk; it survives the death of the process and of the machine.
"""

KEY_BYTES_MAX = 511
VALUE_BYTES_MAX = 2**31 - 1

FORMAT_KEY = b"\x00format"
"""The store's own record. No caller can write or read it, and no range or scan contains it."""

Operation = tuple[Literal["put", "delete", "delete_range"], bytes, bytes]
"""What to do; the key or the start of a range; the value or the end of a range."""


def check_key(key: bytes) -> None:
    """Raise StoreKeyInvalid unless the key has 1 to 511 bytes and is not the store's own."""
    if not 0 < len(key) <= KEY_BYTES_MAX or key == FORMAT_KEY:
        raise StoreKeyInvalid(key, KEY_BYTES_MAX)


def check_start(start: bytes) -> None:
    """Raise StoreKeyInvalid if the start of a range is longer than a key can be."""
    if len(start) > KEY_BYTES_MAX:
        raise StoreKeyInvalid(start, KEY_BYTES_MAX)


@dataclass(slots=True)
class WriteBatch:
    """Operations that a store applies in order, all or none. It can be written again, to any store.

    Attributes:
        size_bytes: Bytes of all keys and values.
    """

    operations: list[Operation] = field(default_factory=list)
    size_bytes: int = 0

    def put(self, key: bytes, value: bytes | memoryview) -> None:
        """Set the value of a key. A view is copied now, so its buffer may change afterwards.

        Raises:
            StoreKeyInvalid, StoreValueTooLarge: The batch is unchanged.
        """
        check_key(key)
        length = value.nbytes if isinstance(value, memoryview) else len(value)
        if length > VALUE_BYTES_MAX:
            raise StoreValueTooLarge(key, length, VALUE_BYTES_MAX)
        self._append("put", key, bytes(value))

    def delete(self, key: bytes) -> None:
        """Remove a key; one that is not there is no error.

        Raises:
            StoreKeyInvalid: The batch is unchanged.
        """
        check_key(key)
        self._append("delete", key, b"")

    def delete_range(self, start: bytes, end: bytes) -> None:
        """Remove every key of [start, end).

        Raises:
            StoreKeyInvalid: `start` is longer than a key can be; the batch is unchanged.
        """
        check_start(start)
        self._append("delete_range", start, end)

    def __len__(self) -> int:
        return len(self.operations)

    def _append(self, verb: Literal["put", "delete", "delete_range"], key: bytes, other: bytes) -> None:
        self.operations.append((verb, key, other))
        self.size_bytes += len(key) + len(other)


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Counts since the store was opened, and its present load.

    Attributes:
        reads_total: Keys looked up, and items scanned.
        writes_total: Operations accepted.
        batches_total: Batches accepted.
        batches_failed_total: Batches accepted and then not committed.
        commits_total: Transactions that committed them.
        bytes_written_total: Bytes of keys and values committed.
        queued_batches: Batches waiting for the writer thread.
        queued_bytes: Bytes of these.
        map_bytes_used: Bytes of the file in use, freed pages included; in memory, bytes of keys and values.
        map_bytes: Bytes that the file can grow to; 0 in memory.
    """

    reads_total: int
    writes_total: int
    batches_total: int
    batches_failed_total: int
    commits_total: int
    bytes_written_total: int
    queued_batches: int
    queued_bytes: int
    map_bytes_used: int
    map_bytes: int


class Store(ABC):
    """Bytes by key, in the order of the keys. Every method may be called from any thread."""

    path: Path | None
    durable: bool
    """Whether `write` can promise "durable"."""

    @abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """Return a copy of the value of a key, None if it is not there.

        Raises:
            StoreKeyInvalid: No such key can exist.
        """

    @abstractmethod
    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Return the values of several keys as they stood at one moment, in the order asked."""

    @abstractmethod
    def write(self, batch: WriteBatch, durability: Durability) -> Future[None]:
        """Accept a batch and return a future that is done when the promise of the durability holds.

        Batches take effect in the order in which they were accepted. The batch may be changed and used again after
        the call. Callbacks of the future run in the writer thread: they must be short and must not wait for the store.

        Raises:
            NotDurable: This store cannot promise "durable".
            StoreReadOnly, StoreClosed, StoreForked: The store takes no writes.
            StoreFull, StoreFailed: A batch acknowledged as queued before was lost; this batch was not accepted. Told
                once; the next call is accepted again if the store can still write.
        """

    @abstractmethod
    def scan(
        self, start: bytes = b"", end: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Return the items of [start, end) in the order of their keys, as they stood at the time of this call.

        Args:
            end: None for no end.
            limit: Most items returned, >= 0; None for all.

        Raises:
            StoreKeyInvalid: `start` is longer than a key can be.
            StoreScanExpired: While iterating: the snapshot was kept for too long.
        """

    @abstractmethod
    def flush(self) -> None:
        """Wait until every batch accepted before is committed (on LMDB: durable).

        Raises:
            StoreFull, StoreFailed: A batch acknowledged as queued was lost. Told once.
        """

    @abstractmethod
    def statistics(self) -> StoreStatistics:
        """Return the counts of this store."""

    @abstractmethod
    def close(self) -> None:
        """Flush and release everything; a second call does nothing.

        Raises:
            StoreFull, StoreFailed: As for `flush`; the store is closed all the same.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
