"""What travels: batches of messages as columns, runs of single messages, broadcasts; and the bytes that carry them.

A partition's outbox is a list of entries in the order of sending. Nothing in an entry is changed after it was sent, so
entries are shared freely inside a process and copied to a checkpoint while the next tick runs. On the wire and on disk
an entry is msgpack around the raw little-endian buffers of its columns; a value that is the same for all messages
travels once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from novel_actors.errors import StateError
from novel_actors.simulation.fields import REQUIRED, Field, coerce_column, coerce_scalar, is_text
from novel_actors.simulation.ids import KIND_SHIFT, PARTITION_MASK, SERIAL_BITS
from novel_actors.simulation.lazy_ids import PeerIds
from novel_actors.simulation.message import Record

Ids = NDArray[np.int64]
Letter = tuple[int, Record] | tuple[int, Record, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Constant:
    """A column in which all rows are the same value."""

    value: Any


ColumnData = NDArray[Any] | list[Any] | Constant


class Batch:
    """Messages of one class to agents of one kind: (n,) targets, one column per field, senders when carried."""

    __slots__ = ("_targets", "columns", "count", "kind", "message", "senders")

    def __init__(
        self,
        kind: int,
        message: type[Record],
        targets: Ids | PeerIds,
        columns: tuple[ColumnData, ...],
        senders: Ids | None,
    ) -> None:
        self.kind, self.message, self.columns, self.senders = kind, message, columns, senders
        self._targets = targets
        self.count = len(targets)

    @property
    def targets(self) -> Ids:
        """(n,) ids."""
        return self._targets if isinstance(self._targets, np.ndarray) else self._targets.array

    @property
    def peers(self) -> PeerIds | None:
        """The targets as they were drawn, when they were."""
        return None if isinstance(self._targets, np.ndarray) else self._targets

    def select(self, mask: NDArray[np.bool_]) -> Batch:
        """Return the messages where `mask` holds."""
        columns = tuple(select_column(column, mask) for column in self.columns)
        senders = None if self.senders is None else self.senders[mask]
        peers = self.peers
        targets = self.targets[mask] if peers is None else peers.select(mask)
        return Batch(self.kind, self.message, targets, columns, senders)

    def messages(self) -> list[Record]:
        """Return the messages as objects."""
        count = self.count
        if not self.columns:
            return [self.message()] * count
        if all(isinstance(column, Constant) for column in self.columns):
            values = (cast("Constant", column).value for column in self.columns)
            return [self.message(*values)] * count
        return list(map(self.message, *(as_list(column, count) for column in self.columns)))


@dataclasses.dataclass(slots=True)
class Run:
    """Single messages of any classes to agents of one kind in one partition, in the order of sending.

    Attributes:
        home: The bits of the targets' ids above the serial: kind and partition.
        letters: (target, message), or (target, message, sender) where senders are carried.
    """

    home: int
    letters: list[Letter]


@dataclasses.dataclass(slots=True)
class Broadcast:
    """One message to every agent of a kind that lives when it arrives."""

    kind: int
    message: Record
    sender: int


Entry = Batch | Run | Broadcast


def select_column(column: ColumnData, mask: NDArray[np.bool_]) -> ColumnData:
    """Return the rows of a column where `mask` holds."""
    if isinstance(column, Constant):
        return column
    if isinstance(column, list):
        return [value for value, wanted in zip(column, mask.tolist(), strict=True) if wanted]
    return column[mask]


def as_list(column: ColumnData, count: int) -> list[Any]:
    """Return a column as Python values; rows of fixed arrays stay arrays, read-only."""
    if isinstance(column, Constant):
        return [column.value] * count
    if isinstance(column, list):
        return column
    if column.ndim == 1:
        return cast("list[Any]", column.tolist())
    column.setflags(write=False)
    return list(column)


def as_array(field: Field, column: ColumnData, count: int) -> NDArray[Any]:
    """Return a column as a read-only array of `count` rows; text becomes an object array."""
    if isinstance(column, Constant):
        if is_text(field):
            # np.full would take a text for an array of characters, and drop zeros at its end.
            array = np.empty(count, object)
            array.fill(column.value)
            return array
        return np.broadcast_to(np.asarray(column.value, field.dtype), (count, *field.shape))
    if isinstance(column, list):
        array = np.empty(count, object)
        array[:] = column
        return array
    return column


def join_columns(field: Field, columns: Sequence[ColumnData], counts: Sequence[int]) -> ColumnData:
    """Return columns of one field one behind the other; equal constants stay one."""
    if len(columns) == 1:
        return columns[0]
    head = columns[0]
    if (
        isinstance(head, Constant)
        and not isinstance(head.value, np.ndarray)
        # One NaN is not the bits of another.
        and head.value == head.value
        # By their text, since 0.0 and -0.0 are equal and yet not the same.
        and all(isinstance(column, Constant) and repr(column.value) == repr(head.value) for column in columns)
    ):
        return head
    if is_text(field):
        return [value for column, count in zip(columns, counts, strict=True) for value in as_list(column, count)]
    return np.concatenate([as_array(field, column, count) for column, count in zip(columns, counts, strict=True)])


def make_columns(message: type[Record], values: Mapping[str, object], count: int) -> tuple[ColumnData, ...]:
    """Return the columns of `send_many`: scalars become constants, arrays are checked and copied."""
    owner = message.__name__
    columns: list[ColumnData] = []
    for name in values:
        if not has_field(message, name):
            known = ", ".join(f.name for f in message.__message_fields__) or "no fields"
            raise StateError(f"{owner} has no field {name!r}; it has {known}")
    for field in message.__message_fields__:
        if field.name in values:
            value = values[field.name]
        elif field.default is REQUIRED:
            raise StateError(f"{owner}.{field.name} has no default: give {field.name}=")
        else:
            value = field.default
        if np.shape(cast("Any", value)) == field.shape and not isinstance(value, list):
            columns.append(Constant(coerce_scalar(owner, field, value)))
        else:
            columns.append(coerce_column(owner, field, value, count))
    return tuple(columns)


def has_field(message: type[Record], name: str) -> bool:
    """Tell whether a message class declares a field."""
    return any(field.name == name for field in message.__message_fields__)


def columns_of(message: type[Record], records: Sequence[Record]) -> tuple[ColumnData, ...]:
    """Return single messages of one class as columns."""
    columns: list[ColumnData] = []
    for field, values in zip(message.__message_fields__, zip(*records, strict=True), strict=True):
        columns.append(list(values) if is_text(field) else np.array(values, field.dtype).reshape(-1, *field.shape))
    return tuple(columns)


def partitions_of(targets: Ids) -> Ids:
    """Return the partition of each id."""
    return targets >> SERIAL_BITS & PARTITION_MASK


def split_entry(entry: Entry, assignment: NDArray[np.int64], shards: Sequence[int]) -> dict[int, Entry]:
    """Return shard -> the part of an entry whose targets are there; shards without any are left out.

    Args:
        entry: Any entry.
        assignment: (partitions,) shard of each partition; ids of partitions beyond it are dropped.
        shards: All of them.
    """
    if isinstance(entry, Broadcast):
        return dict.fromkeys(shards, entry)
    if isinstance(entry, Run):
        return {int(assignment[min(entry.home & PARTITION_MASK, len(assignment) - 1)]): entry}
    peers = entry.peers
    if peers is None:
        homes = assignment[np.minimum(partitions_of(entry.targets), len(assignment) - 1)]
    else:
        homes = assignment[peers.places // peers.stride]
    parts: dict[int, Entry] = {}
    for shard in shards:
        mask = homes == shard
        if mask.any():
            parts[shard] = entry.select(mask)
    return parts


class WireColumn(msgspec.Struct, array_like=True, frozen=True):
    """A column: `c` one value, `a` an array, `t` text (lengths as int32, then all of it in one piece)."""

    form: str
    value: Any = None
    data: memoryview = memoryview(b"")
    lengths: memoryview = memoryview(b"")


class WireBatch(msgspec.Struct, array_like=True, frozen=True, tag="b"):
    """A `Batch`; with a stride, `targets` are places of drawn peers as uint32, else ids."""

    kind: int
    message: int
    stride: int
    targets: memoryview
    columns: list[WireColumn]
    senders: memoryview | None


class WireRun(msgspec.Struct, array_like=True, frozen=True, tag="r"):
    """A `Run`: the class of each message, and each class's messages as columns."""

    home: int
    targets: memoryview
    classes: memoryview
    columns: dict[int, list[WireColumn]]
    senders: memoryview | None


class WireBroadcast(msgspec.Struct, array_like=True, frozen=True, tag="c"):
    """A `Broadcast`."""

    kind: int
    message: int
    columns: list[WireColumn]
    sender: int


WireEntry = WireBatch | WireRun | WireBroadcast


class EntryCodec:
    """Entries to wire structs and back, for the message classes of one model."""

    def __init__(self, messages: Sequence[type[Record]]) -> None:
        self.messages = tuple(messages)
        self.numbers = {message: number for number, message in enumerate(messages)}

    def to_wire(self, entry: Entry) -> WireEntry:
        """Return the wire form of an entry."""
        if isinstance(entry, Batch):
            number = self.numbers[entry.message]
            columns = self._columns_to_wire(entry.message, entry.columns)
            peers, senders = entry.peers, raw_or_none(entry.senders)
            if peers is None or peers.serials is not None or int(peers.places.max()) >= 1 << 32:
                return WireBatch(entry.kind, number, 0, raw(entry.targets), columns, senders)
            places = raw(peers.places.astype(np.uint32))
            return WireBatch(entry.kind, number, peers.stride, places, columns, senders)
        if isinstance(entry, Broadcast):
            sort = type(entry.message)
            columns = self._columns_to_wire(sort, [Constant(value) for value in entry.message])
            return WireBroadcast(entry.kind, self.numbers[sort], columns, entry.sender)
        letters = entry.letters
        classes = np.array([self.numbers[type(letter[1])] for letter in letters], np.int32)
        by_class: dict[int, list[Record]] = {}
        for number, letter in zip(classes.tolist(), letters, strict=True):
            by_class.setdefault(number, []).append(letter[1])
        tables = {
            number: self._columns_to_wire(self.messages[number], columns_of(self.messages[number], records))
            for number, records in by_class.items()
        }
        senders = None
        if len(letters[0]) == 3:
            senders = raw(np.array([letter[2] for letter in letters], np.int64))  # type: ignore[misc]
        return WireRun(
            entry.home, raw(np.array([letter[0] for letter in letters], np.int64)), raw(classes), tables, senders
        )

    def from_wire(self, entry: WireEntry) -> Entry:
        """Return the entry; buffers are views of the frame."""
        if isinstance(entry, WireBatch):
            message, targets = self.message(entry.message), targets_from_wire(entry)
            columns = self._columns_from_wire(message, entry.columns, len(targets))
            return Batch(
                entry.kind, message, targets, columns, None if entry.senders is None else int64s(entry.senders)
            )
        if isinstance(entry, WireBroadcast):
            message = self.message(entry.message)
            values = self._columns_from_wire(message, entry.columns, 1)
            record = message(*(cast("Constant", value).value for value in values))
            return Broadcast(entry.kind, record, entry.sender)
        classes = np.frombuffer(entry.classes, np.int32)
        feeds = {}
        for number, table in entry.columns.items():
            message, count = self.message(number), int((classes == number).sum())
            rows = Batch(0, message, np.zeros(count, np.int64), self._columns_from_wire(message, table, count), None)
            feeds[number] = iter(rows.messages())
        messages = [next(feeds[number]) for number in classes.tolist()]
        targets = int64s(entry.targets).tolist()
        if entry.senders is None:
            return Run(entry.home, list(zip(targets, messages, strict=True)))
        return Run(entry.home, list(zip(targets, messages, int64s(entry.senders).tolist(), strict=True)))

    def message(self, number: int) -> type[Record]:
        """Return the class with this number; a frame that names another is refused."""
        if not 0 <= number < len(self.messages):
            raise StateError(f"message class {number} is unknown: the model has {len(self.messages)}")
        return self.messages[number]

    def _columns_to_wire(self, message: type[Record], columns: Sequence[ColumnData]) -> list[WireColumn]:
        return [column_to_wire(f, column) for f, column in zip(message.__message_fields__, columns, strict=True)]

    def _columns_from_wire(
        self, message: type[Record], columns: Sequence[WireColumn], count: int
    ) -> tuple[ColumnData, ...]:
        fields = message.__message_fields__
        if len(columns) != len(fields):
            raise StateError(f"{message.__name__} has {len(fields)} fields, the frame carries {len(columns)}")
        return tuple(column_from_wire(field, column, count) for field, column in zip(fields, columns, strict=True))


def targets_from_wire(entry: WireBatch) -> Ids | PeerIds:
    """Return the targets of a batch as they were drawn or named."""
    if not entry.stride:
        return int64s(entry.targets)
    places = np.frombuffer(entry.targets, np.uint32).astype(np.int64)
    return PeerIds(places, entry.stride, entry.kind << KIND_SHIFT, None)


def column_to_wire(field: Field, column: ColumnData) -> WireColumn:
    """Return the wire form of one column."""
    if isinstance(column, Constant):
        value = column.value
        return WireColumn("c", value.tobytes() if isinstance(value, np.ndarray) else value)
    if isinstance(column, list):
        texts = [value.encode() if isinstance(value, str) else value for value in column]
        lengths = np.array([len(text) for text in texts], np.int32)
        return WireColumn("t", None, memoryview(b"".join(texts)), raw(lengths))
    return WireColumn("a", None, raw(column))


def column_from_wire(field: Field, column: WireColumn, count: int) -> ColumnData:
    """Return a column of `count` rows; raises `StateError` when it does not fit the declared field."""
    if column.form == "c":
        if field.shape:
            return Constant(np.frombuffer(column.value, field.dtype).reshape(field.shape))
        return Constant(coerce_scalar("frame", field, column.value))
    if column.form == "t":
        ends = np.cumsum(np.frombuffer(column.lengths, np.int32)).tolist()
        data = bytes(column.data)
        pieces = [data[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)] if ends else []
        return [piece.decode() for piece in pieces] if field.type is str else pieces
    array = np.frombuffer(column.data, field.dtype)
    return array.reshape(count, *field.shape)


def raw(array: NDArray[Any]) -> memoryview:
    """Return the bytes of an array without a copy when it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def raw_or_none(array: NDArray[Any] | None) -> memoryview | None:
    """Return the bytes of an array, or None."""
    return None if array is None else raw(array)


def int64s(data: memoryview) -> Ids:
    """Return a buffer as int64."""
    return np.frombuffer(data, np.int64)
