"""A durable store on LMDB with one writer thread.

Group commit (DeWitt et al. 1984, SIGMOD, "Implementation Techniques for Main Memory Database Systems"): the writer
thread takes all that is queued, applies it in one transaction and syncs once, so that writers who wait together pay one
sync together. No timer is involved: while one group is being synced, the next one gathers.

Invariants: batches are committed in the order of acceptance; a group is committed whole or not at all; the writer
thread alone opens write transactions; a batch acknowledged as queued and then lost raises from the next call.
"""

from __future__ import annotations

import atexit
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Lock, RLock, Thread, current_thread

import lmdb

from novel_actors.config import StorageSettings
from novel_actors.errors import (
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreForked,
    StoreFull,
    StoreReadOnly,
    StoreScanExpired,
)
from novel_actors.storage.lmdb_environment import (
    LmdbEnvironment,
    free_disk_bytes,
    is_disk_full,
    open_environment,
    verify_file,
)
from novel_actors.storage.store import (
    FORMAT_KEY,
    Durability,
    Operation,
    Store,
    StoreStatistics,
    WriteBatch,
    check_key,
    check_start,
)

_SCAN_ITEMS_MAX = 4096

_DONE: Future[None] = Future()
_DONE.set_result(None)


@dataclass(slots=True, eq=False)
class _Accepted:
    """A batch in the queue."""

    operations: list[Operation]
    size_bytes: int
    durability: Durability
    future: Future[None]


class LmdbStore(Store):
    """A directory with one LMDB file: one process writes, every process of the node reads the map directly.

    Made by `LmdbStore.open`. Reads run in the caller's thread against the last commit, so that a batch is seen once its
    "durable" future is done or after `flush`.
    """

    durable = True

    def __init__(
        self, environment: LmdbEnvironment, settings: StorageSettings, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.path: Path = environment.path
        self.readonly = environment.writer_lock is None
        self._environment = environment
        self._settings = settings
        self._monotonic_s = monotonic_s
        # Held during every look at the map, so that `close` cannot unmap it under a reader. Reentrant: the garbage
        # collector may end an abandoned scan of this very thread while it is held.
        self._map_lock = RLock()
        self._unmapped = False
        self._reads_total = 0

        # All below belongs to the queue and its lock.
        self._queue_lock = Lock()
        self._work = Condition(self._queue_lock)
        """Signalled when the writer thread has something to do."""
        self._progress = Condition(self._queue_lock)
        """Signalled when the queue has room, and when batches are settled."""
        self._queue: deque[_Accepted] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._lost: StoreError | None = None
        """A batch acknowledged as queued was not committed, and nobody was told yet."""
        self._broken: str | None = None
        """Why no further write can succeed before the store is opened again."""
        self._writes_total = 0
        self._batches_total = 0
        self._batches_settled_total = 0
        self._batches_failed_total = 0
        self._commits_total = 0
        self._bytes_written_total = 0
        self._writer: Thread | None = None
        if not self.readonly:
            # A daemon, so that a program that forgot to close can end; the exit hook then closes.
            self._writer = Thread(target=self._run_writer, name=f"store-writer {self.path}", daemon=True)
            self._writer.start()
            atexit.register(self._close_at_exit)

    @classmethod
    def open(cls, path: Path, settings: StorageSettings | None = None, *, readonly: bool = False) -> LmdbStore:
        """Open the store in a directory; a missing one is created, with its parents, unless `readonly`.

        A read-only store sees every commit of the process that writes, has no writer thread and refuses `write`.

        Raises:
            StoreInUse: Open in this process, or, unless `readonly`, open for writing in another.
            StoreUnreachable: Missing (`readonly`), no directory, or no rights.
            StoreDamaged, StoreVersionMismatch: Not a whole store of this format. Files larger than
                `StorageSettings.verify_bytes_max` are not walked: use `verify`.
            StoreFull, StoreFailed: The system refused to create or to map the file.
        """
        settings = settings or StorageSettings()
        return cls(open_environment(path, settings, readonly=readonly), settings)

    @staticmethod
    def verify(path: Path) -> None:
        """Check every page of a store that no process has open for writing; about 1 s for each million small records.

        Raises:
            StoreDamaged: With the first fault.
        """
        verify_file(path)

    def __repr__(self) -> str:
        return f"LmdbStore({str(self.path)!r}{', readonly' if self.readonly else ''})"

    def get(self, key: bytes) -> bytes | None:
        """Return a copy of the value of a key in the last commit, None if it is not there."""
        check_key(key)
        self._check_process()
        try:
            with self._map_lock, self._begin_read() as transaction:
                self._reads_total += 1
                return transaction.get(key)
        except lmdb.Error as error:
            raise StoreDamaged(str(self.path), str(error)) from error

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Return the values of several keys in one commit, in the order asked."""
        keys = list(keys)
        for key in keys:
            check_key(key)
        self._check_process()
        try:
            with self._map_lock, self._begin_read() as transaction:
                self._reads_total += len(keys)
                return [transaction.get(key) for key in keys]
        except lmdb.Error as error:
            raise StoreDamaged(str(self.path), str(error)) from error

    def scan(
        self, start: bytes = b"", end: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Return the items of [start, end) of the last commit at the time of this call, in the order of their keys.

        The iterator holds a read transaction until it is exhausted, closed or forgotten, for `scan_s_max` at most.
        """
        check_start(start)
        assert limit is None or limit >= 0, limit
        self._check_process()
        with self._map_lock:
            transaction = self._begin_read()
        return self._walk(transaction, start, end, limit, self._monotonic_s() + self._settings.scan_s_max)

    def write(self, batch: WriteBatch, durability: Durability) -> Future[None]:
        """Queue a batch for the writer thread; wait while the queue is full."""
        if self.readonly:
            raise StoreReadOnly(str(self.path))
        self._check_process()
        # Acknowledged at once, or never cancelled: a promise to a caller who has gone is kept all the same.
        future = _DONE if durability == "queued" else Future[None]()
        accepted = _Accepted(list(batch.operations), batch.size_bytes, durability, future)
        if durability == "durable":
            future.set_running_or_notify_cancel()
        with self._queue_lock:
            self._check_writable()
            while not self._has_room(accepted.size_bytes):
                assert current_thread() is not self._writer, "a future's callback must not wait for the store"
                self._progress.wait()
                self._check_writable()
            self._queue.append(accepted)
            self._queued_bytes += accepted.size_bytes
            self._batches_total += 1
            self._writes_total += len(accepted.operations)
            self._work.notify()
        return future

    def flush(self) -> None:
        """Wait until every batch accepted before is durable; a read-only store has none."""
        self._check_process()
        assert current_thread() is not self._writer, "a future's callback must not wait for the store"
        with self._queue_lock:
            if self._closing:
                raise StoreClosed(str(self.path))
            accepted_total = self._batches_total
            while self._batches_settled_total < accepted_total:
                self._progress.wait()
            self._raise_lost()

    def statistics(self) -> StoreStatistics:
        """Return the counts of this store."""
        self._check_process()
        with self._map_lock:
            if self._unmapped:
                raise StoreClosed(str(self.path))
            info = self._environment.handle.info()
            page_bytes = self._environment.handle.stat()["psize"]
            reads_total = self._reads_total
        with self._queue_lock:
            return StoreStatistics(
                reads_total=reads_total,
                writes_total=self._writes_total,
                batches_total=self._batches_total,
                batches_failed_total=self._batches_failed_total,
                commits_total=self._commits_total,
                bytes_written_total=self._bytes_written_total,
                queued_batches=len(self._queue),
                queued_bytes=self._queued_bytes,
                map_bytes_used=(info["last_pgno"] + 1) * page_bytes,
                map_bytes=info["map_size"],
            )

    def close(self) -> None:
        """Commit what is queued and release the files; a second call does nothing."""
        self._check_process()
        assert current_thread() is not self._writer, "a future's callback must not close the store"
        with self._queue_lock:
            self._closing = True
            self._work.notify_all()
            self._progress.notify_all()
        if self._writer is not None:
            self._writer.join()
            atexit.unregister(self._close_at_exit)
        with self._map_lock:
            if not self._unmapped:
                self._unmapped = True
                self._environment.close()
        with self._queue_lock:
            self._raise_lost()

    # Reading

    def _check_process(self) -> None:
        # Before any lock: in a forked child a lock may be held for ever by a thread that was not copied.
        if os.getpid() != self._environment.pid:
            raise StoreForked(str(self.path))

    def _begin_read(self) -> lmdb.Transaction[bytes]:
        """Return a read transaction. The caller holds the map lock."""
        if self._unmapped:
            raise StoreClosed(str(self.path))
        handle = self._environment.handle
        try:
            return handle.begin()
        except lmdb.ReadersFullError:
            # Readers that were killed keep their places until somebody looks.
            handle.reader_check()
        except lmdb.Error as error:
            raise StoreFailed(str(self.path), 0, str(error)) from error
        try:
            return handle.begin()
        except lmdb.Error as error:
            raise StoreFailed(str(self.path), 0, f"{error} (StorageSettings.readers_max)") from error

    def _walk(
        self,
        transaction: lmdb.Transaction[bytes],
        start: bytes,
        end: bytes | None,
        limit: int | None,
        deadline_s: float,
    ) -> Iterator[tuple[bytes, bytes]]:
        cursor: lmdb.Cursor[bytes] | None = None
        try:
            while True:
                self._check_process()
                with self._map_lock:
                    if self._unmapped:
                        raise StoreClosed(str(self.path))
                    if self._monotonic_s() > deadline_s:
                        raise StoreScanExpired(str(self.path), self._settings.scan_s_max)
                    if cursor is None:
                        cursor = transaction.cursor()
                        _seek(cursor, start)
                    items, more = self._read_chunk(cursor, end, limit)
                    if not more:
                        # Not after the last item is consumed: that may be never.
                        transaction.abort()
                    self._reads_total += len(items)
                yield from items
                if not more:
                    return
                if limit is not None:
                    limit -= len(items)
        except lmdb.Error as error:
            raise StoreDamaged(str(self.path), str(error)) from error
        finally:
            if os.getpid() == self._environment.pid:
                with self._map_lock:
                    if not self._unmapped:
                        transaction.abort()

    def _read_chunk(
        self, cursor: lmdb.Cursor[bytes], end: bytes | None, limit: int | None
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Return items from the cursor on, move it behind them, and say whether there may be more."""
        items: list[tuple[bytes, bytes]] = []
        size_bytes = 0
        # Behind the last key a cursor has the empty key.
        while (key := cursor.key()) and (end is None or key < end) and (limit is None or len(items) < limit):
            if len(items) >= _SCAN_ITEMS_MAX or size_bytes >= self._settings.scan_chunk_bytes:
                return items, True
            if key != FORMAT_KEY:
                value = cursor.value()
                items.append((key, value))
                size_bytes += len(key) + len(value)
            cursor.next()
        return items, False

    # Writing

    def _has_room(self, size_bytes: int) -> bool:
        if not self._queue:
            return True
        settings = self._settings
        return (
            len(self._queue) < settings.queue_batches_max
            and self._queued_bytes + size_bytes <= settings.queue_bytes_max
        )

    def _check_writable(self) -> None:
        if self._closing:
            raise StoreClosed(str(self.path))
        self._raise_lost()
        if self._broken is not None:
            raise StoreFailed(str(self.path), 0, self._broken)

    def _raise_lost(self) -> None:
        if self._lost is not None:
            lost, self._lost = self._lost, None
            raise lost

    def _run_writer(self) -> None:
        group: list[_Accepted] = []
        try:
            while group := self._take_group():
                self._settle(group, self._commit(group))
        except BaseException as error:
            # A fault of this program. Nobody may wait for ever for a thread that is gone.
            with self._queue_lock:
                self._broken = f"its writer thread ended: {error!r}"
                group += self._queue
                self._queue.clear()
                self._queued_bytes = 0
            self._settle(group, StoreFailed(str(self.path), len(group), self._broken))
            raise

    def _take_group(self) -> list[_Accepted]:
        """Wait for batches and return those of the next transaction; none when the store closes."""
        group: list[_Accepted] = []
        size_bytes = 0
        with self._queue_lock:
            while not self._queue and not self._closing:
                self._work.wait()
            while self._queue and len(group) < self._settings.group_batches_max:
                size_bytes += self._queue[0].size_bytes
                if group and size_bytes > self._settings.group_bytes_max:
                    break
                accepted = self._queue.popleft()
                self._queued_bytes -= accepted.size_bytes
                group.append(accepted)
            self._progress.notify_all()
        return group

    def _commit(self, group: list[_Accepted]) -> StoreError | None:
        """Apply a group in one transaction and sync it; return why nothing of it was written."""
        if self._broken is not None:
            return StoreFailed(str(self.path), len(group), self._broken)
        put_before: set[bytes] = set()
        try:
            with self._environment.handle.begin(write=True) as transaction:
                for accepted in group:
                    for operation in accepted.operations:
                        _apply(transaction, operation, put_before)
        except (lmdb.Error, OSError, MemoryError) as error:
            return self._explain(error, group)
        return None

    def _explain(self, error: Exception, group: list[_Accepted]) -> StoreError:
        """Return the operating error for a failed transaction, and remember if no other can succeed."""
        path = str(self.path)
        if isinstance(error, lmdb.MapFullError):
            return StoreFull(path, len(group), free_disk_bytes(self.path), "map")
        if is_disk_full(error, self.path, sum(accepted.size_bytes for accepted in group)):
            return StoreFull(path, len(group), free_disk_bytes(self.path), "disk")
        if isinstance(error, lmdb.PanicError):
            self._broken = str(error)
        if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError):
            self._broken = str(error)
            return StoreDamaged(path, str(error))
        return StoreFailed(path, len(group), str(error))

    def _settle(self, group: list[_Accepted], error: StoreError | None) -> None:
        """Count a group as done and tell those who wait for it."""
        with self._queue_lock:
            if error is None:
                self._commits_total += 1
                self._bytes_written_total += sum(accepted.size_bytes for accepted in group)
            else:
                self._batches_failed_total += len(group)
                if any(accepted.durability == "queued" for accepted in group):
                    self._lost = self._lost or error
            self._batches_settled_total += len(group)
            self._progress.notify_all()
        for accepted in group:
            if accepted.durability == "queued":
                continue
            if error is None:
                accepted.future.set_result(None)
            else:
                # Each waiter raises an error of its own: a traceback is written into the instance that is raised.
                accepted.future.set_exception(type(error)(*error.args))

    def _close_at_exit(self) -> None:
        if os.getpid() == self._environment.pid:
            self.close()


def _seek(cursor: lmdb.Cursor[bytes], start: bytes) -> None:
    """Place a cursor on the first key that is not before `start`, or behind the last key."""
    if start:
        cursor.set_range(start)
    else:
        cursor.first()


def _apply(transaction: lmdb.Transaction[bytes], operation: Operation, put_before: set[bytes]) -> None:
    """Apply an operation; `put_before` has the keys that this transaction has put.

    Within one transaction liblmdb leaves a shorter value in the pages of a longer one, and the verifier of py-lmdb
    calls that a fault. So the longer one is removed first.
    """
    verb, key, other = operation
    if verb == "put":
        if key in put_before:
            transaction.delete(key)
        put_before.add(key)
        transaction.put(key, other)
    elif verb == "delete":
        transaction.delete(key)
    else:
        with transaction.cursor() as cursor:
            _seek(cursor, key)
            # Behind the last key a cursor has the empty key; deleting moves to the next key.
            while (at := cursor.key()) and at < other:
                if at == FORMAT_KEY:
                    cursor.next()
                else:
                    cursor.delete()
