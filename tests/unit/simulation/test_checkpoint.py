"""Checkpoints: what is written, what is kept, what is read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import novel_actors as na
from novel_actors.config import StorageSettings
from novel_actors.errors import RecordDamaged, RecordForeign, RunFolderError, StoreFull
from novel_actors.simulation.async_steps import Outside
from novel_actors.simulation.checkpoint import (
    BLOB,
    MANIFEST,
    CheckpointStore,
    big_endian,
    last_before,
    live_blobs,
    prefix_end,
)
from novel_actors.simulation.run import Run
from novel_actors.simulation.shard import Standing
from novel_actors.simulation.snapshot import PartitionState, blob_digest, digest_of_blobs
from novel_actors.storage import LmdbStore, MemoryStore, WriteBatch

PARTITIONS, ROWS = 4, 800


@na.message
class Ping:
    text: str


class Rows(na.Population):
    fixed = na.column(np.float64, default=1.5)
    moving = na.column(np.int64)

    def step(self, tick: na.Tick) -> None:
        self.moving += 1


class Sender(na.Agent):
    sent: int = 0

    def step(self, tick: na.Tick) -> None:
        self.sent += 1
        tick.send(tick.random_peer(Sender), Ping(text=str(tick.number)), delay=3)

    @na.on(Ping)
    def hear(self, ping: Ping, tick: na.Tick) -> None:
        self.sent += len(ping.text)


def begin(rows: int = ROWS, senders: int = 0) -> Run:
    sim = na.Simulation(seed=1, partitions=PARTITIONS)
    sim.add(Rows, count=rows, fixed=np.arange(rows, dtype=np.float64))
    sim.add(Sender, count=senders)
    return sim.start()


def capture(run: Run) -> tuple[list[PartitionState], Standing]:
    return run._runtime.run(run._coordinator.capture())


def save(checkpoints: CheckpointStore, run: Run) -> None:
    states, standing = capture(run)
    assert checkpoints.save(states, standing, b"log", None).result() == run.tick


def blobs_of(states: Sequence[PartitionState], run: Run) -> dict[bytes, int]:
    """Return digest -> size of all blobs."""
    return {blob_digest(data): len(data) for state in states for data in state.encode(run.model).values()}


def test_only_blobs_that_changed_are_written() -> None:
    run, store = begin(), MemoryStore()
    checkpoints = CheckpointStore(store, run.model, keep=3)
    save(checkpoints, run)
    first = blobs_of(capture(run)[0], run)
    assert checkpoints.written_bytes_total == sum(first.values())
    run.advance(1)
    save(checkpoints, run)
    second = blobs_of(capture(run)[0], run)
    fresh = {digest: size for digest, size in second.items() if digest not in first}
    # One column of integers, the same in all partitions, moved; the other column stayed.
    assert sum(fresh.values()) == ROWS // PARTITIONS * 8
    assert checkpoints.written_bytes_total == sum(first.values()) + sum(fresh.values())
    save(checkpoints, run)
    assert checkpoints.written_bytes_total == sum(first.values()) + sum(fresh.values())
    run.close()


def test_the_first_and_the_last_few_are_kept_and_nothing_else() -> None:
    run, store = begin(), MemoryStore()
    checkpoints = CheckpointStore(store, run.model, keep=2)
    for tick in range(7):
        save(checkpoints, run)
        assert checkpoints.ticks == sorted({0, max(tick - 1, 0), tick})
        run.advance(1)
    assert [key for key, _ in store.scan(MANIFEST, prefix_end(MANIFEST))] == [
        MANIFEST + big_endian(t) for t in (0, 5, 6)
    ]
    named = live_blobs(checkpoints.manifest(tick) for tick in checkpoints.ticks)
    assert {key[len(BLOB) :] for key, _ in store.scan(BLOB, prefix_end(BLOB))} == named
    run.close()


def test_what_is_read_back_is_what_was_saved(tmp_path: Path) -> None:
    run = begin(senders=9)
    run.advance(5)
    states, standing = capture(run)
    checkpoints = CheckpointStore(LmdbStore.open(tmp_path / "store"), run.model, keep=1)
    save(checkpoints, run)
    checkpoints.close()
    again = CheckpointStore(LmdbStore.open(tmp_path / "store"), run.model, keep=1)
    assert again.ticks == [5]
    assert again.manifest(5).log == b"log"
    read, found = again.read(5)
    assert [digest_of_blobs(s.encode(run.model)) for s in read] == [
        digest_of_blobs(s.encode(run.model)) for s in states
    ]
    assert any(state.outbox for state in read)
    assert (found.tick, found.collected_chain) == (standing.tick, standing.collected_chain)
    again.close()
    run.close()


def test_a_reader_passes_over_checkpoints_that_the_writer_has_dropped() -> None:
    run, store = begin(), MemoryStore()
    writer = CheckpointStore(store, run.model, keep=1)
    for _ in range(2):
        run.advance(1)
        save(writer, run)
    reader = CheckpointStore(store, run.model, keep=1)
    assert reader.ticks == [1, 2]
    for _ in range(2):
        run.advance(1)
        save(writer, run)
    tick, states, _ = reader.read_before(100)
    assert tick == 4
    expected = [digest_of_blobs(state.encode(run.model)) for state in capture(run)[0]]
    assert [digest_of_blobs(state.encode(run.model)) for state in states] == expected
    assert reader.read_before(3)[0] == 1
    with pytest.raises(RunFolderError, match="no checkpoint at or before tick 0"):
        reader.read_before(0)
    run.close()


def test_a_missing_blob_is_named() -> None:
    run, store = begin(), MemoryStore()
    checkpoints = CheckpointStore(store, run.model, keep=1)
    save(checkpoints, run)
    partition, blobs = checkpoints.manifest(0).partitions[2]
    batch = WriteBatch()
    batch.delete(BLOB + next(blob.digest for blob in blobs if blob.name == "0.fixed"))
    store.write(batch, "queued").result()
    with pytest.raises(RecordDamaged, match=f"blob '0.fixed' of partition {partition} at tick 0 is missing"):
        checkpoints.read(0)
    with pytest.raises(RecordDamaged, match=f"blob '0.fixed' of partition {partition} at tick 0 is missing"):
        checkpoints.read_before(5)
    run.close()


def test_a_checkpoint_that_finds_no_room_leaves_the_earlier_ones_and_the_next_one_counts(tmp_path: Path) -> None:
    settings = StorageSettings(map_bytes=1 << 20, map_bytes_min=1 << 20)
    run = begin(rows=20_000)
    checkpoints = CheckpointStore(LmdbStore.open(tmp_path / "store", settings), run.model, keep=50)
    saved: list[int] = []

    def fill() -> None:
        for tick in range(100):
            save(checkpoints, run)
            saved.append(tick)
            run.advance(1)

    with pytest.raises(StoreFull):
        fill()
    assert saved
    assert checkpoints.ticks == saved
    digests = [digest_of_blobs(state.encode(run.model)) for state in checkpoints.read(saved[-1])[0]]
    checkpoints.close()
    larger = CheckpointStore(LmdbStore.open(tmp_path / "store"), run.model, keep=50)
    assert [digest_of_blobs(state.encode(run.model)) for state in larger.read(saved[-1])[0]] == digests
    save(larger, run)
    assert larger.ticks == [*saved, run.tick]
    larger.close()
    run.close()


def test_inputs_come_back_in_the_order_in_which_they_were_recorded(tmp_path: Path) -> None:
    run = begin(senders=2)
    checkpoints = CheckpointStore(LmdbStore.open(tmp_path / "store"), run.model, keep=1)
    for tick, agent, text in ((2, 7, "a"), (1, 9, "b"), (2, 3, "c")):
        checkpoints.record_input(tick, agent, Ping(text=text))  # type: ignore[arg-type]
    checkpoints.close()
    checkpoints = CheckpointStore(LmdbStore.open(tmp_path / "store"), run.model, keep=1)
    checkpoints.record_input(2, 1, Ping(text="d"))  # type: ignore[arg-type]
    assert checkpoints.inputs(0) == {
        1: [(9, Ping(text="b"))],
        2: [(7, Ping(text="a")), (3, Ping(text="c")), (1, Ping(text="d"))],
    }
    assert set(checkpoints.inputs(1)) == {2}
    assert checkpoints.inputs(2) == {}
    checkpoints.close()
    run.close()


def test_what_came_from_outside_comes_back_by_tick_agent_and_number() -> None:
    run = begin()
    checkpoints = CheckpointStore(MemoryStore(), run.model, keep=1)
    entries = [
        Outside(4, 1, 0, "answer", {"words": ["a", 1, None]}),
        Outside(4, 1, 1, "timeout", 0.5),
        Outside(4, 2, -1, "timeout", 60.0),
        Outside(5, 0, 0, "error", "ValueError: no"),
    ]
    checkpoints.record(entries[3:])
    checkpoints.record(entries[:3])
    assert checkpoints.outside(3) == entries
    assert checkpoints.outside(4) == entries[3:]
    run.close()


def test_a_store_with_a_damaged_manifest_is_closed_again(tmp_path: Path) -> None:
    run = begin()
    store = LmdbStore.open(tmp_path / "store")
    batch = WriteBatch()
    batch.put(MANIFEST + big_endian(0), b"nothing")
    store.write(batch, "durable").result()
    with pytest.raises(RecordForeign):
        CheckpointStore(store, run.model, keep=1)
    LmdbStore.open(tmp_path / "store").close()
    run.close()


def test_last_before_names_the_ticks_there_are() -> None:
    assert last_before([0, 10, 20], 19) == 10
    assert last_before([0, 10, 20], 20) == 20
    with pytest.raises(RunFolderError, match=r"no checkpoint at or before tick 4: there are \[10, 20\]"):
        last_before([10, 20], 4)
