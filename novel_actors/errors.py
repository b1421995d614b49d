"""Every exception class of the package.

Operating errors (bad input, damaged files, dead actors) derive from `NovelActorsError`; their message names the thing,
the value and the way out. Programmer errors are assertions. Every class hands its fields to `super().__init__`, so that
an error raised inside a hosted actor arrives as itself.
"""

from __future__ import annotations

import difflib


class NovelActorsError(Exception):
    """Base of every operating error of novel_actors."""


class InvalidSeed(NovelActorsError):
    """A seed is no integer, or out of range."""

    def __init__(self, seed: object) -> None:
        super().__init__(seed)
        self.seed = seed

    def __str__(self) -> str:
        return f"seed wants an integer of 0 to 2**128 - 1, got {self.seed!r:.80}"


class InvalidPartitionCount(NovelActorsError):
    """A number of partitions is out of range."""

    def __init__(self, partitions: object) -> None:
        super().__init__(partitions)
        self.partitions = partitions

    def __str__(self) -> str:
        return f"partition table wants 1 to 65536 partitions, got {self.partitions!r:.80}"


class InvalidShards(NovelActorsError):
    """The shards of a partition table are none, named twice, or out of range; the message says which."""


class TooManyShards(NovelActorsError):
    """A table would leave a shard without a partition."""

    def __init__(self, shards: int, partitions: int) -> None:
        super().__init__(shards, partitions)
        self.shards = shards
        self.partitions = partitions

    def __str__(self) -> str:
        return (
            f"more shards than partitions: {self.shards} shards for {self.partitions} partitions; "
            f"use at most {self.partitions} shards, or start a run with at least {self.shards} partitions"
        )


class InvalidPartitionTable(NovelActorsError):
    """A partition table, or the record of one, contradicts itself; the message says where."""


class ScenarioError(NovelActorsError):
    """A scenario, or the model that it names, cannot be used; the message says where and what, nothing was started."""


class ModelError(NovelActorsError):
    """A model is declared or put together wrongly; nothing has run."""


class StateError(NovelActorsError):
    """A value does not fit the declared type of a field."""


class AgentError(NovelActorsError):
    """An agent raised: the run stands at the last whole tick.

    Attributes:
        agent_id: The agent, or -1 when a whole population partition acted.
        kind: Its class name.
        partition: Its partition.
        tick: The tick in which it raised.
        cause: One line: the type and message of its exception.
        trace: The traceback as text.
        place: The line of the model that raised, where it is known.
    """

    def __init__(
        self, kind: str, agent_id: int, partition: int, tick: int, cause: str, trace: str, place: str = ""
    ) -> None:
        super().__init__(kind, agent_id, partition, tick, cause, trace, place)
        self.kind, self.agent_id, self.partition, self.tick = kind, agent_id, partition, tick
        self.cause, self.trace, self.place = cause, trace, place

    def __str__(self) -> str:
        who = f"{self.kind} {self.agent_id}" if self.agent_id >= 0 else f"{self.kind} (a population)"
        place = f" (at {self.place})" if self.place else ""
        return f"{who} of partition {self.partition} raised at tick {self.tick}: {self.cause}{place}"


class CollectorError(NovelActorsError):
    """A collector or a stop rule raised; what was saved before is intact."""

    def __init__(self, what: str, tick: int, cause: str) -> None:
        super().__init__(what, tick, cause)
        self.what, self.tick, self.cause = what, tick, cause

    def __str__(self) -> str:
        return f"{self.what} failed at tick {self.tick}: {self.cause}"


class UnhandledMessage(NovelActorsError):
    """A message reached an agent that has no handler for it."""


class ActorDiedError(NovelActorsError):
    """A hosted actor is gone; what it held in memory is lost."""


class RunError(NovelActorsError):
    """A run cannot do what is asked of it in the state in which it is."""


class NetworkError(NovelActorsError):
    """A network, or the record of one, contradicts itself; the message says how."""


class StoreError(NovelActorsError):
    """Base of the errors of a store; `path` names its directory, or is "memory"."""

    def __init__(self, path: str, *details: object) -> None:
        super().__init__(path, *details)
        self.path = path


class StoreKeyInvalid(NovelActorsError):
    """A key is empty, too long, or the one that the store keeps for itself; nothing was written."""

    def __init__(self, key: bytes, length_max: int) -> None:
        super().__init__(key, length_max)
        self.key = key

    def __str__(self) -> str:
        length_max = self.args[1]
        if 0 < len(self.key) <= length_max:
            return f"the key {self.key!r} is the store's own record; use another key"
        return f"a key wants 1 to {length_max} bytes, got {len(self.key)}: {self.key!r:.60}; shorten or hash it"


class StoreValueTooLarge(NovelActorsError):
    """A value is longer than a store can hold; nothing was written."""

    def __init__(self, key: bytes, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(key, size_bytes, size_bytes_max)
        self.key = key
        self.size_bytes = size_bytes

    def __str__(self) -> str:
        return (
            f"the value of key {self.key!r:.60} has {self.size_bytes} bytes, a store takes at most {self.args[2]}; "
            "split it over several keys"
        )


class NotDurable(StoreError):
    """Durability was asked of a store that has none; nothing was written."""

    def __str__(self) -> str:
        return 'a store in memory keeps nothing durably; write with durability "queued", or use an LmdbStore'


class StoreReadOnly(StoreError):
    """A store opened for reading was asked to write; nothing was written."""

    def __str__(self) -> str:
        return f"store {self.path} was opened read-only; write through the process that opened it for writing"


class StoreClosed(StoreError):
    """A closed store was used."""

    def __str__(self) -> str:
        return f"store {self.path} is closed; open it again"


class StoreForked(StoreError):
    """A store was used in a child that was forked from the process that opened it."""

    def __str__(self) -> str:
        return f"store {self.path} was opened before this process was forked; close it before the fork, or use spawn"


class StoreInUse(StoreError):
    """A store cannot be opened because it is open already; nothing was changed."""

    def __init__(self, path: str, pid: int) -> None:
        super().__init__(path, pid)
        self.pid = pid
        """The process that has it open, 0 when unknown."""

    def __str__(self) -> str:
        return (
            f"store {self.path} is in use by process {self.pid or '(unknown)'}; one process writes and each process "
            "opens a store once: share the open store, close it first, or open it with readonly=True in another process"
        )


class StoreUnreachable(StoreError):
    """The directory of a store is missing, no directory, or closed to this user; nothing was changed."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"no store at {self.path} can be opened: {self.reason}; name a directory that this user can write"


class StoreDamaged(StoreError):
    """The files of a store are truncated, damaged, or another program's; they were left as they are."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"store {self.path} is damaged or foreign: {self.reason}; restore a copy, or move it away and start anew"


class StoreVersionMismatch(StoreError):
    """A store was written by another version of the store format; it was left as it is."""

    def __init__(self, path: str, found: int, expected: int) -> None:
        super().__init__(path, found, expected)
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return (
            f"store {self.path} has format version {self.found}, this program reads version {self.expected}; "
            "open it with the version of novel_actors that wrote it"
        )


class StoreFull(StoreError):
    """Batches were not committed for want of space; what was committed before is intact, later writes work again."""

    def __init__(self, path: str, batches_lost: int, free_bytes: int, limit: str) -> None:
        super().__init__(path, batches_lost, free_bytes, limit)
        self.batches_lost = batches_lost
        self.free_bytes = free_bytes
        """Bytes free on the disk of the store."""
        self.limit = limit
        """What is full: the disk or the map."""

    def __str__(self) -> str:
        return (
            f"store {self.path} is full ({self.limit}; {self.free_bytes} bytes free on its disk): {self.batches_lost} "
            "batches were not written, earlier data is intact; make room (on the disk, or with a larger "
            "StorageSettings.map_bytes) and write again"
        )


class StoreFailed(StoreError):
    """The system refused a read or a write of a store; what was committed before is intact."""

    def __init__(self, path: str, batches_lost: int, reason: str) -> None:
        super().__init__(path, batches_lost, reason)
        self.batches_lost = batches_lost
        self.reason = reason

    def __str__(self) -> str:
        lost = f" ({self.batches_lost} batches were not written)" if self.batches_lost else ""
        return f"store {self.path} failed{lost}: {self.reason}; check the disk, then close the store and open it again"


class StoreScanExpired(StoreError):
    """A scan held its snapshot for too long and was ended."""

    def __init__(self, path: str, limit_s: float) -> None:
        super().__init__(path, limit_s)
        self.limit_s = limit_s

    def __str__(self) -> str:
        return (
            f"a scan of store {self.path} took longer than {self.limit_s:g} s; scan shorter ranges, "
            "or raise StorageSettings.scan_s_max"
        )


class RecordError(NovelActorsError):
    """Base of the errors of a sealed record; none of its bytes were used."""


class RecordForeign(RecordError):
    """Bytes are no sealed record, or one of another kind."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found, expected)
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return f"expected a record of kind {self.expected!r}, found {self.found}; name a file that holds such a record"


class RecordVersionMismatch(RecordError):
    """A record was written in another version of its kind."""

    def __init__(self, kind: str, found: int, expected: int) -> None:
        super().__init__(kind, found, expected)
        self.kind = kind
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return (
            f"record of kind {self.kind!r} has version {self.found}, this program reads version {self.expected}; "
            "read it with the version of novel_actors that wrote it"
        )


class RecordDamaged(RecordError):
    """A record is truncated, altered, or not of its declared type."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return f"record of kind {self.kind!r} is damaged: {self.reason}; restore a copy or an earlier checkpoint"


class UnsuitableValues(NovelActorsError):
    """A statistic is not defined for the values it was given; the message says why."""


class NonFiniteValues(UnsuitableValues):
    """Values to be summed up hold NaN or infinity."""

    def __init__(self, non_finite: int, values: int) -> None:
        super().__init__(non_finite, values)
        self.non_finite = non_finite
        self.values = values

    def __str__(self) -> str:
        return f"{self.non_finite} of {self.values} values are NaN or infinite; statistics want finite values"


class TooManyDistinctValues(UnsuitableValues):
    """Exact counts of values would outgrow their bound."""

    def __init__(self, distinct: int, limit: int) -> None:
        super().__init__(distinct, limit)
        self.distinct = distinct
        self.limit = limit

    def __str__(self) -> str:
        return f"exact counts keep {self.limit} distinct values, got {self.distinct}; use a quantile histogram"


class IncompatibleStatistics(NovelActorsError):
    """Two statistics of different form cannot be merged; the message says where they differ."""


class InvalidStatisticsRecord(NovelActorsError):
    """A record does not hold the statistic it should."""

    def __init__(self, statistic: str, record: object) -> None:
        super().__init__(statistic, record)
        self.statistic = statistic
        self.record = record

    def __str__(self) -> str:
        return f"not a record of {self.statistic}: {self.record!r:.80}"


class UnknownBench(NovelActorsError):
    """No benchmark has that name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name, known)
        self.name, self.known = name, known

    def __str__(self) -> str:
        return f"no benchmark is named {self.name!r:.80}; known: {', '.join(self.known)}"


class BenchCheckFailed(NovelActorsError):
    """An arm of a benchmark computed something wrong, so its time means nothing; the message says what."""


class TableError(NovelActorsError):
    """Rows do not fit a table of a run, or its files are missing, damaged or not writable; the message names it."""


class UnknownResult(NovelActorsError):
    """A result holds nothing under a name."""

    def __init__(self, what: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(what, name, known)
        self.what = what
        """What was looked for: a frame, an event, a kind of agents."""
        self.name = name
        self.known = known

    def __str__(self) -> str:
        near = difflib.get_close_matches(self.name, self.known, n=1)
        if near:
            return f"no {self.what} {self.name!r} in this result; did you mean {near[0]!r}?"
        return f"no {self.what} {self.name!r} in this result; it has {', '.join(self.known) or 'none'}"


class MissingExtra(NovelActorsError):
    """Something needs a package that an extra of novel_actors installs."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(what, package, extra)
        self.what, self.package, self.extra = what, package, extra

    def __str__(self) -> str:
        return f"{self.what} needs {self.package}: pip install novel-actors[{self.extra}]"


class AgentTimeout(AgentError):
    """An async agent did not end its step in time."""


class ServiceTimeout(NovelActorsError, TimeoutError):
    """A service did not answer `tick.ask` in time; raised inside the asking agent, which may catch it."""


class ServiceError(NovelActorsError):
    """A service that was asked raised; the recorded text of its exception. Raised inside the asking agent."""


class FrameError(NovelActorsError):
    """Bytes that came from another shard are no frame."""


class ExchangeTimeout(NovelActorsError):
    """A shard waited in vain for the frames of its peers."""


class RunFolderError(NovelActorsError):
    """A run folder is missing, damaged, of another version, in use, or does not fit the model."""


class ModelNotFound(RunFolderError):
    """A saved run needs classes or functions of Python that are not here."""

    def __init__(self, path: object, missing: str) -> None:
        super().__init__(path, missing)
        self.path, self.missing = path, missing

    def __str__(self) -> str:
        return (
            f"{self.path} needs what cannot be found here: {self.missing}. The run was started from Python: go on "
            f"there, and give its model with simulation=, as in na.resume({str(self.path)!r}, simulation=...)"
        )


class ShippingError(NovelActorsError):
    """Something of a model cannot be sent to another process."""


class ClusterError(NovelActorsError):
    """A Ray cluster cannot be reached, does not fit, or has not the resources asked for."""


class ExchangeAborted(NovelActorsError):
    """A shard was told to stop waiting for frames, because another shard is gone."""
