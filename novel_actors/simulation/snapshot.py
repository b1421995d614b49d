"""The state of a partition as it is saved: captured in a moment, encoded later, the same bytes on any shard.

A state becomes named blobs: one per column and field, so that a store which knows blobs by their content keeps one that
did not change only once. The digest of a partition is that of its blobs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from novel_actors.errors import RecordDamaged, StateError
from novel_actors.simulation.agent import Agent
from novel_actors.simulation.batch import Entry, WireEntry, int64s, raw
from novel_actors.simulation.model import Model
from novel_actors.simulation.partition import Partition
from novel_actors.simulation.population import Table

TablePart = tuple[int, int, NDArray[np.int64] | None, dict[str, NDArray[Any]]]
"""(count, next serial, serials or None when dense, columns) of a population in a partition."""


class GroupHeader(msgspec.Struct, array_like=True, frozen=True):
    """What is known of the objects of one kind beside their ids and fields."""

    kind: int
    next_serial: int
    sleepers: list[tuple[int, int]]
    parked: list[int]


class TableHeader(msgspec.Struct, array_like=True, frozen=True):
    """What is known of the rows of one kind beside their columns."""

    kind: int
    count: int
    next_serial: int
    wakes: int
    parked: bool


class Header(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a partition beside its blobs."""

    partition: int
    event_chain: bytes
    groups: list[GroupHeader]
    tables: list[TableHeader]


class PartitionState:
    """A partition's state: either captured (parts that nobody changes any more) or read back.

    Attributes:
        partition: Its number.
        header: See `Header`.
        blobs: Name -> bytes: the fields of objects, encoded at once since objects go on changing.
        arrays: Name -> array: columns, serials; copies.
        outbox: Due tick -> entries; shared, never changed.
    """

    __slots__ = ("arrays", "blobs", "header", "outbox", "partition")

    def __init__(
        self,
        header: Header,
        blobs: dict[str, bytes | memoryview],
        arrays: dict[str, NDArray[Any]],
        outbox: dict[int, list[Entry]],
    ) -> None:
        self.partition, self.header = header.partition, header
        self.blobs, self.arrays, self.outbox = blobs, arrays, outbox

    def encode(self, model: Model) -> dict[str, bytes | memoryview]:
        """Return all blobs, in a fixed order."""
        found: dict[str, bytes | memoryview] = {"header": msgspec.msgpack.encode(self.header)}
        found |= self.blobs
        found |= {name: raw(array) for name, array in self.arrays.items()}
        wire = {
            due: [model.entries.to_wire(entry) for entry in entries] for due, entries in sorted(self.outbox.items())
        }
        found["outbox"] = msgspec.msgpack.encode(wire)
        return found


_HEADER = msgspec.msgpack.Decoder(Header)
_OUTBOX = msgspec.msgpack.Decoder(dict[int, list[WireEntry]])


def decode_state(model: Model, partition: int, blobs: Mapping[str, bytes]) -> PartitionState:
    """Return the state that was encoded.

    Raises:
        RecordDamaged: A blob is missing or is not what its name says.
    """
    try:
        header = _HEADER.decode(blobs["header"])
        wire = _OUTBOX.decode(blobs["outbox"])
        if header.partition != partition:
            raise StateError(f"it is of partition {header.partition}")
        outbox = {due: [model.entries.from_wire(entry) for entry in entries] for due, entries in wire.items()}
        fields: dict[str, bytes | memoryview] = {}
        arrays: dict[str, NDArray[Any]] = {}
        for group in header.groups:
            prefix = f"{group.kind}."
            fields |= {name: data for name, data in blobs.items() if name.startswith(prefix)}
        for table in header.tables:
            if f"{table.kind}" in blobs:
                arrays[f"{table.kind}"] = np.frombuffer(blobs[f"{table.kind}"], np.int64)
            for field in model.kinds[table.kind].cls.fields:
                name = f"{table.kind}.{field.name}"
                arrays[name] = np.frombuffer(blobs[name], field.dtype).reshape(table.count, *field.shape)
        return PartitionState(header, fields, arrays, outbox)
    except (KeyError, ValueError, IndexError, StateError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RecordDamaged(f"state of partition {partition}", f"{type(error).__name__}: {error}") from error


def agent_counts(partition: int, blobs: Mapping[str, bytes]) -> dict[int, int]:
    """Return the number of agents by kind number, from the header of a partition and the ids of its objects.

    Raises:
        RecordDamaged: A blob is missing or is not what its name says.
    """
    try:
        header = _HEADER.decode(blobs["header"])
        objects = {group.kind: len(blobs[f"{group.kind}."]) // np.dtype(np.int64).itemsize for group in header.groups}
    except (KeyError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RecordDamaged(f"state of partition {partition}", f"{type(error).__name__}: {error}") from error
    return objects | {table.kind: table.count for table in header.tables}


def capture_partition(model: Model, partition: Partition, tables: Mapping[int, Table]) -> PartitionState:
    """Return a partition's state after a commit; raises `StateError` for a value that is not of its declared type."""
    groups, rows = [], []
    blobs: dict[str, bytes | memoryview] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for kind, group in partition.groups.items():
        agents = list(group.agents.values())
        sleepers = sorted((tick, agent) for agent, tick in group.sleeping.items())
        groups.append(GroupHeader(kind, group.next_serial, sleepers, sorted(group.parked)))
        blobs[f"{kind}."] = np.array([agent.id - group.first for agent in agents], np.int64).tobytes()
        for name, data in model.codecs[kind].encode(agents).items():
            blobs[f"{kind}.{name}"] = data
    for kind, table in tables.items():
        count, next_serial, serials, columns = table.part(partition.number)
        wakes = partition.population_wakes.get(kind, 0)
        rows.append(TableHeader(kind, count, next_serial, wakes, kind in partition.parked_populations))
        if serials is not None:
            arrays[f"{kind}"] = serials
        arrays |= {f"{kind}.{name}": column for name, column in columns.items()}
    header = Header(partition.number, partition.event_chain, groups, rows)
    outbox = {due: list(entries) for due, entries in partition.outbox.items()}
    return PartitionState(header, blobs, arrays, outbox)


def restore_partition(
    model: Model, state: PartitionState, tables: Mapping[int, Table]
) -> tuple[Partition, dict[int, TablePart]]:
    """Return the partition that a state describes, and its rows for the shard's tables."""
    partition = Partition(model, state.partition, tables)
    partition.event_chain = state.header.event_chain
    partition.outbox = {due: list(entries) for due, entries in state.outbox.items()}
    for header in state.header.groups:
        group = partition.groups[header.kind]
        serials = int64s(memoryview(state.blobs[f"{header.kind}."]))
        prefix = f"{header.kind}."
        fields = {n[len(prefix) :]: bytes(d) for n, d in state.blobs.items() if n.startswith(prefix) and n != prefix}
        agents: list[Agent] = model.codecs[header.kind].decode((serials + group.first).tolist(), fields)
        group.parked = set(header.parked)
        group.alarms = [(tick, agent) for tick, agent in header.sleepers]
        group.next_serial = header.next_serial
        group.add(agents)
        for agent in (*group.parked, *(number for _, number in header.sleepers)):
            group.rest(agent)
        group.sleeping = {number: tick for tick, number in header.sleepers}
    parts: dict[int, TablePart] = {}
    for table in state.header.tables:
        prefix = f"{table.kind}."
        columns = {n[len(prefix) :]: a for n, a in state.arrays.items() if n.startswith(prefix)}
        parts[table.kind] = (table.count, table.next_serial, state.arrays.get(f"{table.kind}"), columns)
        if table.wakes:
            partition.population_wakes[table.kind] = table.wakes
        if table.parked:
            partition.parked_populations.add(table.kind)
    return partition, parts


def digest_of_blobs(blobs: Mapping[str, bytes | memoryview]) -> bytes:
    """Return the digest of a partition from the digests of its blobs, in order."""
    return joint_digest((name, blob_digest(data)) for name, data in blobs.items())


def joint_digest(blobs: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the digest of a partition from the names and digests of its blobs, in order."""
    whole = hashlib.blake2b(digest_size=32)
    for name, digest in blobs:
        whole.update(name.encode())
        whole.update(digest)
    return whole.digest()


def blob_digest(data: bytes | memoryview) -> bytes:
    """Return the 16 bytes under which a store knows a blob."""
    return hashlib.sha256(data).digest()[:16]


def run_digest(tick: int, partitions: Sequence[bytes], collected_chain: bytes) -> str:
    """Return the digest of a run: of its tick, its partitions' digests in order, and all that was collected."""
    whole = hashlib.blake2b(tick.to_bytes(8, "big"), digest_size=16)
    for digest in partitions:
        whole.update(digest)
    whole.update(collected_chain)
    return whole.hexdigest()
