"""Checkpoints of a run, and the record of all that came from outside, in a store.

A checkpoint is a manifest that names the blobs of every partition by their content. A blob that did not change since an
earlier checkpoint is there already, so only what changed is written; what no kept manifest names is deleted in the same
transaction in which a new manifest is put. A checkpoint counts once its manifest is durable.

The first checkpoint is always kept, so that any later tick can be computed again; of the others, the last few.

    b/ + 16 bytes of digest          a blob
    m/ + tick, 8 bytes big-endian    a manifest
    i/ + tick + number               what was injected to enter at a tick
    o/ + tick + agent + number       what came from outside to an async agent
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from novel_actors.errors import RecordDamaged, RunFolderError
from novel_actors.simulation.async_steps import Outside
from novel_actors.simulation.batch import Run, WireRun
from novel_actors.simulation.ids import SERIAL_BITS
from novel_actors.simulation.message import Record
from novel_actors.simulation.model import Model
from novel_actors.simulation.partition import NEVER
from novel_actors.simulation.shard import Standing
from novel_actors.simulation.snapshot import (
    PartitionState,
    agent_counts,
    blob_digest,
    decode_state,
    joint_digest,
    run_digest,
)
from novel_actors.storage.lmdb_store import LmdbStore
from novel_actors.storage.sealed import pack, unpack
from novel_actors.storage.store import Durability, Store, WriteBatch

T = TypeVar("T")

VERSION = 1
KIND = "novel_actors.checkpoint"
INPUT_KIND = "novel_actors.input"
OUTSIDE_KIND = "novel_actors.outside"

BLOB, MANIFEST, INPUT, OUTSIDE = b"b/", b"m/", b"i/", b"o/"
OUTSIDE_FOLDER = "outside"

READS_MAX = 100
"""How often a reader looks for another checkpoint, when the one that it reads is dropped by the writer."""


class BlobName(msgspec.Struct, array_like=True, frozen=True):
    """A blob of a partition: what it is, and the digest under which it is stored."""

    name: str
    digest: bytes


class Manifest(msgspec.Struct, array_like=True, frozen=True):
    """One checkpoint: see the module."""

    tick: int
    partitions: list[tuple[int, list[BlobName]]]
    collected_chain: bytes
    collected: bytes
    log: bytes
    reason: str | None


class Injected(msgspec.Struct, array_like=True, frozen=True):
    """A message injected to enter at a tick."""

    tick: int
    entry: WireRun


class CheckpointStore:
    """The checkpoints and inputs of one run in one store.

    Writing goes on in a thread of its own, one checkpoint at a time.

    Raises:
        RecordError: A manifest is damaged or of another version; the store is closed.
    """

    def __init__(self, store: Store, model: Model, keep: int) -> None:
        self.store, self.model, self.keep = store, model, keep
        self.durability: Durability = "durable" if store.durable else "queued"
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="novel-actors-checkpoint")
        try:
            self._find_manifests()
            self._known = live_blobs(self._manifests.values())
            self._inputs_total = sum(1 for _ in store.scan(INPUT, prefix_end(INPUT)))
        except BaseException:
            self.close()
            raise
        self.written_bytes_total = 0
        self.skipped_bytes_total = 0

    def _find_manifests(self) -> None:
        found = (unpack(data, Manifest, KIND, VERSION) for _, data in self.store.scan(MANIFEST, prefix_end(MANIFEST)))
        self._manifests = {manifest.tick: manifest for manifest in found}

    @property
    def ticks(self) -> list[int]:
        """The ticks of the checkpoints that count, ascending."""
        return sorted(self._manifests)

    def save(self, states: Sequence[PartitionState], standing: Standing, log: bytes, reason: str | None) -> Future[int]:
        """Write a checkpoint in the background; the future gives its tick when it counts.

        Args:
            states: Of all partitions; nobody changes them any more.
            standing: See `Shard.standing`.
            log: The record of the run's tables.
            reason: The stop rule that held at this tick, or None.
        """
        collected = msgspec.msgpack.encode(standing.collected)
        return self._writer.submit(self._save, states, standing.tick, standing.collected_chain, collected, log, reason)

    def _save(
        self,
        states: Sequence[PartitionState],
        tick: int,
        chain: bytes,
        collected: bytes,
        log: bytes,
        reason: str | None,
    ) -> int:
        batch, fresh = WriteBatch(), set()
        partitions: list[tuple[int, list[BlobName]]] = []
        for state in sorted(states, key=lambda state: state.partition):
            names = []
            for name, data in state.encode(self.model).items():
                digest = blob_digest(data)
                names.append(BlobName(name, digest))
                size = len(data)
                if digest in self._known or digest in fresh:
                    self.skipped_bytes_total += size
                else:
                    fresh.add(digest)
                    batch.put(BLOB + digest, data if size else b"")
                    self.written_bytes_total += size
            partitions.append((state.partition, names))
        manifest = Manifest(tick, partitions, chain, collected, log, reason)
        batch.put(MANIFEST + big_endian(tick), pack(manifest, KIND, VERSION))
        kept = {**self._manifests, tick: manifest}
        for old in sorted(kept)[1 : -self.keep]:
            del kept[old]
            batch.delete(MANIFEST + big_endian(old))
        dead = self._known - live_blobs(kept.values())
        for digest in dead:
            batch.delete(BLOB + digest)
        self.store.write(batch, self.durability).result()
        self._manifests = kept
        self._known = (self._known | fresh) - dead
        return tick

    def manifest(self, tick: int) -> Manifest:
        """Return the manifest of a checkpoint that counts."""
        return self._manifests[tick]

    def read(self, tick: int) -> tuple[list[PartitionState], Standing]:
        """Return the partitions' states and the standing of a checkpoint, with all inputs after it.

        Raises:
            RecordDamaged: A blob is missing or altered.
        """
        manifest = self._manifests[tick]
        blobs = self._blobs(tick, manifest.partitions)
        states = [decode_state(self.model, partition, named) for partition, named in blobs]
        collected: dict[str, dict[str, Any]] = msgspec.msgpack.decode(
            manifest.collected, type=dict[str, dict[str, Any]]
        )
        standing = Standing(tick, manifest.collected_chain, collected, self.inputs(tick), self.outside(tick))
        return states, standing

    def _blobs(
        self, tick: int, partitions: Sequence[tuple[int, Sequence[BlobName]]]
    ) -> Iterator[tuple[int, dict[str, bytes]]]:
        # All at once: they are as they stood at one moment, also when another process writes.
        values = iter(self.store.get_many(BLOB + item.digest for _, names in partitions for item in names))
        for partition, names in partitions:
            blobs: dict[str, bytes] = {}
            for item in names:
                data = next(values)
                if data is None or blob_digest(data) != item.digest:
                    problem = "is missing" if data is None else "was altered"
                    raise RecordDamaged(KIND, f"blob {item.name!r} of partition {partition} at tick {tick} {problem}")
                blobs[item.name] = data
            yield partition, blobs

    def read_before(self, tick: int) -> tuple[int, list[PartitionState], Standing]:
        """Return the last checkpoint that is not after `tick`, and its tick: see `read`.

        A checkpoint that the process which writes has dropped in the meantime is passed over for a newer one.

        Raises:
            RunFolderError: There is none.
            RecordDamaged: A blob is missing or altered.
        """
        base, read = self._before(tick, self.read)
        return (base, *read)

    def read_counts(self) -> tuple[int, dict[int, int]]:
        """Return the last checkpoint and the number of agents by kind number, without the model.

        Raises:
            RunFolderError: There is none.
            RecordDamaged: A blob is missing or altered.
        """
        return self._before(NEVER, self._counts)

    def _counts(self, tick: int) -> dict[int, int]:
        # A name with nothing behind the dot is that of the ids of objects.
        wanted = [
            (partition, [item for item in names if item.name == "header" or item.name.endswith(".")])
            for partition, names in self._manifests[tick].partitions
        ]
        counts: Counter[int] = Counter()
        for partition, blobs in self._blobs(tick, wanted):
            counts.update(agent_counts(partition, blobs))
        return counts

    def digest(self, tick: int) -> str:
        """Return the digest of a run as a checkpoint has it, without the model: see `run_digest`."""
        manifest = self._manifests[tick]
        partitions = [joint_digest((item.name, item.digest) for item in names) for _, names in manifest.partitions]
        return run_digest(tick, partitions, manifest.collected_chain)

    def _before(self, tick: int, read: Callable[[int], T]) -> tuple[int, T]:
        for _ in range(READS_MAX):
            base = last_before(self.ticks, tick)
            try:
                return base, read(base)
            except RecordDamaged:
                self._find_manifests()
                if base in self._manifests:
                    raise
        raise RunFolderError(f"checkpoints are dropped more quickly than they can be read, {READS_MAX} times in a row")

    def inputs(self, after: int) -> dict[int, list[tuple[int, Record]]]:
        """Return what was injected for ticks after `after`."""
        found: dict[int, list[tuple[int, Record]]] = {}
        for _, data in self.store.scan(INPUT + big_endian(after + 1), prefix_end(INPUT)):
            injected = unpack(data, Injected, INPUT_KIND, VERSION)
            entry = self.model.entries.from_wire(injected.entry)
            assert isinstance(entry, Run)
            found.setdefault(injected.tick, []).extend((letter[0], letter[1]) for letter in entry.letters)
        return found

    def record_input(self, tick: int, agent: int, message: Record) -> None:
        """Record an injected message; it is safe when this returns."""
        wire = self.model.entries.to_wire(Run(agent >> SERIAL_BITS, [(agent, message)]))
        assert isinstance(wire, WireRun)
        self._inputs_total += 1
        key = INPUT + big_endian(tick) + big_endian(self._inputs_total)
        batch = WriteBatch()
        batch.put(key, pack(Injected(tick, wire), INPUT_KIND, VERSION))
        self.store.write(batch, self.durability).result()

    def outside(self, after: int) -> list[Outside]:
        """Return what came from outside to async agents in ticks after `after`."""
        found = outside_of(self.store, after)
        folder = None if self.store.path is None else self.store.path.parent / OUTSIDE_FOLDER
        for path in sorted(folder.glob("*.lmdb")) if folder is not None else ():
            with LmdbStore.open(path, readonly=True) as store:
                found += outside_of(store, after)
        return found

    def remote_journal(self) -> ShardJournal:
        """Return a journal for a shard in a process of its own."""
        assert self.store.path is not None
        return ShardJournal(str(self.store.path.parent / OUTSIDE_FOLDER))

    def record(self, entries: Sequence[Outside]) -> None:
        """Record what came from outside (the journal of the shards); it is safe when this returns."""
        record_outside(self.store, entries, self.durability)

    def close(self) -> None:
        """Wait for the checkpoint under way and close the store."""
        self._writer.shutdown()
        self.store.close()


class ShardJournal:
    """The journal of a shard in a process of its own: a store beside the run's, made when first needed.

    Args:
        folder: Of all such stores of the run, on a disk that the run's own process sees too.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._store: LmdbStore | None = None

    def record(self, entries: Sequence[Outside]) -> None:
        """See `Journal`."""
        if self._store is None:
            folder = Path(self._folder)
            folder.mkdir(exist_ok=True)
            self._store = LmdbStore.open(folder / f"{secrets.token_hex(8)}.lmdb")
        record_outside(self._store, entries, "durable")


def record_outside(store: Store, entries: Sequence[Outside], durability: Durability) -> None:
    """Put what came from outside into a store, and wait until it is safe."""
    batch = WriteBatch()
    for entry in entries:
        key = OUTSIDE + big_endian(entry.tick) + big_endian(entry.agent) + big_endian(entry.number + 1)
        batch.put(key, pack(entry, OUTSIDE_KIND, VERSION))
    store.write(batch, durability).result()


def outside_of(store: Store, after: int) -> list[Outside]:
    """Return what a store says came from outside after a tick."""
    items = store.scan(OUTSIDE + big_endian(after + 1), prefix_end(OUTSIDE))
    return [unpack(data, Outside, OUTSIDE_KIND, VERSION) for _, data in items]


def live_blobs(manifests: Iterable[Manifest]) -> set[bytes]:
    """Return the digests of all blobs that manifests name."""
    return {blob.digest for manifest in manifests for _, blobs in manifest.partitions for blob in blobs}


def last_before(ticks: Sequence[int], tick: int) -> int:
    """Return the last of the checkpoints' ticks that is not after `tick`."""
    earlier = [known for known in ticks if known <= tick]
    if not earlier:
        raise RunFolderError(f"no checkpoint at or before tick {tick}: there are {list(ticks) or 'none'}")
    return earlier[-1]


def big_endian(number: int) -> bytes:
    """Return 8 bytes that sort as the number does."""
    return number.to_bytes(8, "big")


def prefix_end(prefix: bytes) -> bytes:
    """Return the end of the range of keys with a prefix."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
