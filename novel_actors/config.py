"""Every setting: its unit in the name, its bound in the type or the check, its default beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from annotated_types import Ge, Gt, Le, MinLen

SCENARIO_BYTES_MAX = 1 << 20
"""A longer scenario file is refused before it is parsed."""

TICKS_DEFAULT = 100
"""Ticks of a scenario that names no number."""

Ticks = Annotated[int, Ge(0), Le(2**40)]
Seed = Annotated[int, Ge(0), Le(2**128 - 1)]


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How a run is executed and kept: the section `runtime` of a scenario. Only `partitions` can change a result."""

    shards: Annotated[int, Ge(1), Le(65536)] = 1
    partitions: Annotated[int, Ge(1), Le(65536)] | None = None
    checkpoint_every: Annotated[int, Ge(1), Le(2**40)] | None = None
    keep_checkpoints: Annotated[int, Ge(1), Le(1000)] = 3
    on_error: Literal["fail", "isolate"] = "fail"


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """One collector beside the model's own: an item of the section `collect` of a scenario.

    Attributes:
        of: The name of an agent class of the model.
        value: A field of it; without one, the field called `name`.
        reduce: Names of reducers, or `{histogram: [edges]}`; without any, one value per agent.
    """

    name: Annotated[str, MinLen(1)]
    of: Annotated[str, MinLen(1)]
    value: Annotated[str, MinLen(1)] | None = None
    reduce: list[str | dict[Literal["histogram"], list[float]]] | None = None
    every: Annotated[int, Ge(1), Le(2**40)] = 1


@dataclass(frozen=True, slots=True)
class StopSettings:
    """When a run ends before its last tick: the section `stop` of a scenario."""

    quiescent: bool = False
    wall_time_s: Annotated[float, Gt(0), Le(1e9)] | None = None


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Bounds of an LMDB store. None of them is written into the file: the next opening may name others.

    Attributes:
        map_bytes: Address space reserved for the file, so also its largest size; halved until the system grants it.
        map_bytes_min: With less address space than this the store does not open.
        readers_max: Read transactions open at one time, over all processes of the node.
        queue_batches_max: Batches that wait for the writer thread; at this bound `write` waits.
        queue_bytes_max: Bytes that wait for the writer thread; at this bound `write` waits. A larger batch enters an
            empty queue.
        group_batches_max: Batches of one transaction.
        group_bytes_max: Bytes of one transaction; a larger batch has one to itself.
        scan_chunk_bytes: What a scan reads ahead.
        scan_s_max: A scan keeps its snapshot this long, then it ends with an error: an old snapshot keeps the writer
            from using freed pages again.
        verify_bytes_max: Files up to this size are verified page by page when they are opened for writing.
    """

    map_bytes: Annotated[int, Ge(1 << 20), Le(1 << 46)] = 1 << 40
    map_bytes_min: Annotated[int, Ge(1 << 20), Le(1 << 46)] = 1 << 26
    readers_max: Annotated[int, Ge(8), Le(65536)] = 1024
    queue_batches_max: Annotated[int, Ge(1), Le(1 << 20)] = 4096
    queue_bytes_max: Annotated[int, Ge(1), Le(1 << 36)] = 1 << 28
    group_batches_max: Annotated[int, Ge(1), Le(1 << 20)] = 1024
    group_bytes_max: Annotated[int, Ge(1), Le(1 << 32)] = 1 << 26
    scan_chunk_bytes: Annotated[int, Ge(1), Le(1 << 30)] = 1 << 20
    scan_s_max: Annotated[float, Gt(0), Le(1e6)] = 300.0
    verify_bytes_max: Annotated[int, Ge(0), Le(1 << 40)] = 1 << 26


QUANTILE_RELATIVE_ACCURACY = 0.001
"""How far a quantile of a `QuantileHistogram` may be from the true one, as a part of it."""

QUANTILE_BINS_MAX = 16_384
"""Bins of a `QuantileHistogram`; beyond, the lowest values share one. At the accuracy above, 14 decades."""

VALUE_COUNTS_MAX = 65_536
"""Distinct values of a `ValueCounts`; beyond, refused (`merge_distributions` goes on in a `QuantileHistogram`)."""


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """How often a benchmark measures each of its arms.

    Attributes:
        rounds: Measured rounds; each runs every arm once, in turn.
        warmups: Rounds before them whose measurements are dropped.
        child_s_max: A measurement in a process of its own that takes longer is ended and has failed.
    """

    rounds: Annotated[int, Ge(1), Le(1000)] = 5
    warmups: Annotated[int, Ge(0), Le(1000)] = 1
    child_s_max: Annotated[float, Gt(0), Le(1e5)] = 300.0


BENCH = BenchSettings()
BENCH_SMALL = BenchSettings(rounds=2, warmups=0)
BENCH_FOLDER = "build/bench"
"""Where `novel-actors bench` leaves its JSON, below the current folder."""


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """Bounds of what a run records (collected frames, events, agents' columns).

    Attributes:
        rows_in_memory_max: Rows kept in memory over all tables; beyond, the longest tail becomes a Parquet part.
        bytes_in_memory_max: The same in bytes, as far as they can be told; one append may pass it while it is made.
        bytes_in_checkpoint_max: With a run folder, a checkpoint writes larger tails as parts first.
    """

    rows_in_memory_max: Annotated[int, Ge(1), Le(1 << 40)] = 1 << 20
    bytes_in_memory_max: Annotated[int, Ge(1), Le(1 << 40)] = 1 << 26
    bytes_in_checkpoint_max: Annotated[int, Ge(0), Le(1 << 30)] = 1 << 20


RESULT_PREVIEW_ROWS_MAX = 100_000
"""Frames up to this length are drawn small in the HTML view of a result; longer ones are only counted."""

PROGRESS_APPEARS_S = 0.5
PROGRESS_INTERVAL_S = 0.1
"""A progress bar appears when a run has lasted longer than this, and is drawn no more often than this."""


@dataclass(frozen=True, slots=True)
class AsyncSettings:
    """Bounds of async agents.

    Attributes:
        concurrency_max: Turns under way at one time on a shard; the others wait.
        step_s_max: A turn that takes longer is ended, and has failed.
        close_s_max: How long the end of a run waits for turns that do not end when cancelled.
    """

    concurrency_max: Annotated[int, Ge(1), Le(100_000)] = 256
    step_s_max: Annotated[float, Gt(0), Le(1e6)] = 60.0
    close_s_max: Annotated[float, Gt(0), Le(1e3)] = 5.0


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """Bounds of a run's coordinator.

    Attributes:
        stretch_s: About how long shards advance before the coordinator looks after progress, signals and time limits.
        stretch_ticks_max: The most ticks of a stretch.
        recoveries_max: Recoveries in a row that bring the run no further before it stops.
        inputs_max: Injected messages that a run without a store remembers, to begin anew when a shard dies.
    """

    stretch_s: Annotated[float, Gt(0), Le(60)] = 0.1
    stretch_ticks_max: Annotated[int, Ge(1), Le(1 << 20)] = 4096
    recoveries_max: Annotated[int, Ge(1), Le(1000)] = 3
    inputs_max: Annotated[int, Ge(1), Le(1 << 30)] = 100_000


AGENTS_FEW: Final = 1000
PARTITIONS_FEW: Final = 2
PARTITIONS_DEFAULT_MIN: Final = 4
PARTITIONS_DEFAULT_MAX: Final = 64
AGENTS_PER_PARTITION: Final = 32768
"""A simulation that names no number of partitions: below `AGENTS_FEW` agents it is cut into `PARTITIONS_FEW`; else so
that each has about so many agents, within the bounds."""


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """When Python's garbage collector looks for cycles while ticks run (see `gc.set_threshold`).

    Attributes:
        young_objects: Objects made and not freed before the youngest generation is searched.
        middle_rounds: Searches of the youngest before the middle one is.
        old_rounds: Searches of the middle before the oldest is.
    """

    young_objects: Annotated[int, Ge(700), Le(1 << 30)] = 50_000
    middle_rounds: Annotated[int, Ge(1), Le(1 << 20)] = 20
    old_rounds: Annotated[int, Ge(1), Le(1 << 20)] = 50


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """Bounds of the exchange between the shards of a run.

    Attributes:
        frame_bytes_max: A larger frame is refused by the receiving socket.
        early_frames_max: Frames of later ticks held until their tick; beyond it they are dropped.
        poll_ms: How long a shard waits before it looks whether it was told to stop.
        silence_s_max: A peer that sends nothing for so long fails the tick; a shard that is stopped for less goes on.
    """

    frame_bytes_max: Annotated[int, Ge(1 << 20), Le(1 << 40)] = 1 << 33
    early_frames_max: Annotated[int, Ge(2), Le(1 << 20)] = 4096
    poll_ms: Annotated[int, Ge(1), Le(10_000)] = 50
    silence_s_max: Annotated[float, Gt(0), Le(1e6)] = 600.0


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How a run uses Ray.

    Attributes:
        shard_cpus: What each shard asks for.
        object_store_bytes: Of a cluster that the run starts itself.
        resources_s_max: How long a run waits for a cluster to have room for its shards.
        stop_s_max: How long a shard has to end by itself before it is ended.
    """

    shard_cpus: Annotated[float, Gt(0), Le(1024)] = 1.0
    object_store_bytes: Annotated[int, Ge(80 << 20), Le(1 << 44)] = 256 << 20
    resources_s_max: Annotated[float, Gt(0), Le(1e6)] = 60.0
    stop_s_max: Annotated[float, Gt(0), Le(1e3)] = 5.0


LOCAL_CPUS_MAX: Final = 64
"""CPUs that a Ray cluster of one's own says it has, at the most: one a partition, so that any rescale has room."""
