"""The inboxes of a shard's partitions for one tick, sorted out of the outboxes of all partitions.

Entries are added in the order (sender partition, order of sending); what an agent finds in its inbox keeps that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from novel_actors.simulation.batch import (
    Batch,
    Broadcast,
    ColumnData,
    Constant,
    Entry,
    Letter,
    Run,
    as_array,
    columns_of,
    join_columns,
    partitions_of,
    select_column,
)
from novel_actors.simulation.ids import NOBODY, PARTITION_BITS, PARTITION_MASK, SERIAL_BITS
from novel_actors.simulation.message import Messages, Record
from novel_actors.simulation.model import Model
from novel_actors.simulation.partition import Partition
from novel_actors.simulation.population import Table, concatenate

Ids = NDArray[np.int64]


class Mail:
    """All messages of one class to one population on this shard: ids, columns and senders in inbox order."""

    __slots__ = ("_batches", "_ids", "_offsets", "columns", "count", "message", "senders")

    def __init__(self, message: type[Record], batches: Sequence[Batch]) -> None:
        self.message, self._batches = message, batches
        counts = [batch.count for batch in batches]
        self.count = sum(counts)
        self._ids: Ids | None = None
        self.columns: tuple[ColumnData, ...] = tuple(
            join_columns(field, [batch.columns[i] for batch in batches], counts)
            for i, field in enumerate(message.__message_fields__)
        )
        carried = [b.senders for b in batches if b.senders is not None]
        self.senders: Ids | None = np.concatenate(carried) if len(carried) == len(batches) else None
        self._offsets: Ids | None = None

    @property
    def ids(self) -> Ids:
        """(n,) targets."""
        if self._ids is None:
            self._ids = concatenate([batch.targets for batch in self._batches])
        return self._ids

    def rows(self, table: Table) -> tuple[Ids, NDArray[np.bool_] | None]:
        """Return the table's row of each target, and the mask of those that live when some do not: see `Table.rows`."""
        if self._offsets is not None:
            # Sorted: the batches are not in the order of the columns any more.
            return table.rows(self.ids)
        drawn = []
        for batch in self._batches:
            rows = None if batch.peers is None else table.rows_of_peers(batch.peers)
            if rows is None:
                return table.rows(self.ids)
            drawn.append(rows)
        return concatenate(drawn), None

    def sort(self, partitions_total: int) -> None:
        """Bring the messages into the order of their target partitions, keeping the order within each."""
        partitions = partitions_of(self.ids).astype(np.uint16)
        if partitions_total <= 256:
            partitions = partitions.astype(np.uint8)
        order = np.argsort(partitions, kind="stable")
        self._ids = self.ids[order]
        self.columns = tuple(
            column
            if isinstance(column, Constant)
            else [column[i] for i in order.tolist()]
            if isinstance(column, list)
            else column[order]
            for column in self.columns
        )
        if self.senders is not None:
            self.senders = self.senders[order]
        counts = np.bincount(partitions, minlength=partitions_total)
        self._offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))

    def of_partition(self, partition: int) -> tuple[Ids, Messages]:
        """Return ids and messages to one partition, after `sort`."""
        assert self._offsets is not None
        low, high = int(self._offsets[partition]), int(self._offsets[partition + 1])
        columns = [c if isinstance(c, Constant) else c[low:high] for c in self.columns]
        senders = None if self.senders is None else self.senders[low:high]
        return self.ids[low:high], make_messages(self.message, columns, senders, high - low)

    def whole(self, alive: NDArray[np.bool_] | None) -> Messages:
        """Return the messages where `alive` holds (all when it is None)."""
        if alive is None:
            return make_messages(self.message, self.columns, self.senders, self.count)
        columns = [select_column(column, alive) for column in self.columns]
        senders = None if self.senders is None else self.senders[alive]
        return make_messages(self.message, columns, senders, int(alive.sum()))


def make_messages(message: type[Record], columns: Sequence[ColumnData], senders: Ids | None, count: int) -> Messages:
    """Return columns as a handler on arrays sees them."""
    fields = message.__message_fields__
    arrays = {f.name: as_array(f, column, count) for f, column in zip(fields, columns, strict=True)}
    for array in arrays.values():
        array.setflags(write=False)
    return Messages(message, arrays, senders, count)


class Inbox:
    """What arrives at the partitions of a shard in one tick.

    Attributes:
        boxes: Kind and partition bits of an id -> letters to its objects, in order.
        mail: (kind number, message class) -> all messages to a population.
        dead_total: Messages that no partition of this shard can take.
    """

    def __init__(self, model: Model, partitions: Iterable[Partition], tables: dict[int, Table]) -> None:
        self._model, self._tables = model, tables
        self._partitions = list(partitions)
        self.boxes: dict[int, list[Letter]] = {
            group.first >> SERIAL_BITS: [] for partition in self._partitions for group in partition.groups.values()
        }
        self._batches: dict[tuple[int, type[Record]], list[Batch]] = {}
        self.mail: dict[tuple[int, type[Record]], Mail] = {}
        self.dead_total = 0
        self.received_total = 0

    def add(self, entry: Entry) -> None:
        """Add an entry, all of whose targets are on this shard or nowhere."""
        if isinstance(entry, Run):
            self._add_run(entry)
        elif isinstance(entry, Broadcast):
            self._add_broadcast(entry)
        else:
            self.received_total += entry.count
            if entry.kind in self._tables:
                self._batches.setdefault((entry.kind, entry.message), []).append(entry)
            else:
                senders = None if entry.senders is None else entry.senders.tolist()
                self._put(entry.targets.tolist(), entry.messages(), senders)

    def _add_run(self, run: Run) -> None:
        self.received_total += len(run.letters)
        box = self.boxes.get(run.home)
        if box is not None:
            box += run.letters
            return
        kind = run.home >> PARTITION_BITS
        if kind not in self._tables or run.home & PARTITION_MASK >= self._model.partitions:
            self.dead_total += len(run.letters)
            return
        sorted_out: dict[type[Record], list[Letter]] = {}
        for letter in run.letters:
            sorted_out.setdefault(type(letter[1]), []).append(letter)
        for message, letters in sorted_out.items():
            targets = np.array([letter[0] for letter in letters], np.int64)
            senders = None
            if message in self._model.sender_messages:
                senders = np.array([max(letter[2], NOBODY) for letter in letters], np.int64)  # type: ignore[misc]
            columns = columns_of(message, [letter[1] for letter in letters])
            self._batches.setdefault((kind, message), []).append(Batch(kind, message, targets, columns, senders))

    def _put(self, targets: list[int], messages: list[Record], senders: list[int] | None) -> None:
        """Put messages to objects into their boxes."""
        letters: Iterable[Letter] = zip(targets, messages, strict=True)
        if self._model.sender_messages:
            letters = zip(targets, messages, senders or repeat(NOBODY, len(targets)), strict=True)
        for letter in letters:
            box = self.boxes.get(letter[0] >> SERIAL_BITS)
            if box is None:
                self.dead_total += 1
            else:
                box.append(letter)

    def _add_broadcast(self, entry: Broadcast) -> None:
        message = type(entry.message)
        table = self._tables.get(entry.kind)
        for partition in self._partitions:
            if table is None:
                targets = list(partition.groups[entry.kind].agents)
                self.received_total += len(targets)
                senders = [entry.sender] * len(targets)
                self._put(targets, [entry.message] * len(targets), senders)
            else:
                ids = table.windows[partition.number].ids.array
                self.received_total += len(ids)
                columns = tuple(Constant(value) for value in entry.message)
                carried = np.full(len(ids), entry.sender) if message in self._model.sender_messages else None
                batch = Batch(entry.kind, message, ids, columns, carried)
                self._batches.setdefault((entry.kind, message), []).append(batch)

    def close(self) -> None:
        """Join what was added, once all entries are in."""
        for (kind, message), batches in self._batches.items():
            mail = self.mail[kind, message] = Mail(message, batches)
            handler = self._model.kinds[kind].cls._handlers.get(message)
            if handler is None or not handler.rowwise or self._model.check_rowwise or self._model.on_error == "isolate":
                mail.sort(self._model.partitions)
        self._batches = {}
