"""What every store promises, checked on all of them."""

import pickle
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from novel_actors.config import StorageSettings
from novel_actors.errors import NovelActorsError, StoreClosed, StoreKeyInvalid, StoreValueTooLarge
from novel_actors.storage import LmdbStore, MemoryStore, Store, WriteBatch

# A chunk of one byte makes a scan go back to the file for each item.
SMALL_CHUNKS = StorageSettings(scan_chunk_bytes=1)

MAKERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda path: MemoryStore(),
    "lmdb": lambda path: LmdbStore.open(path / "store"),
    "lmdb, small chunks": lambda path: LmdbStore.open(path / "store", SMALL_CHUNKS),
}


@pytest.fixture(params=list(MAKERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with MAKERS[request.param](tmp_path) as store:
        yield store


def write(store: Store, **items: bytes) -> None:
    batch = WriteBatch()
    for key, value in items.items():
        batch.put(key.encode(), value)
    store.write(batch, "queued").result()
    store.flush()


def test_get_returns_none_for_a_key_never_written(store: Store) -> None:
    assert store.get(b"absent") is None


def test_get_returns_what_was_put_and_the_last_put_counts(store: Store) -> None:
    write(store, a=b"1")
    write(store, a=b"2", b=b"")
    assert store.get(b"a") == b"2"
    assert store.get(b"b") == b""


def test_get_many_keeps_the_order_asked(store: Store) -> None:
    write(store, a=b"1", b=b"2")
    assert store.get_many(key for key in (b"b", b"absent", b"a", b"b")) == [b"2", None, b"1", b"2"]


def test_operations_of_a_batch_apply_in_order(store: Store) -> None:
    batch = WriteBatch()
    batch.put(b"a", b"1")
    batch.delete(b"a")
    batch.put(b"b", b"1")
    batch.delete_range(b"a", b"z")
    batch.put(b"c", b"1")
    batch.put(b"c", b"2")
    assert len(batch) == 6
    store.write(batch, "queued")
    store.flush()
    assert list(store.scan()) == [(b"c", b"2")]


def test_delete_of_an_absent_key_is_no_error(store: Store) -> None:
    batch = WriteBatch()
    batch.delete(b"absent")
    store.write(batch, "queued").result()
    store.flush()
    assert list(store.scan()) == []


@pytest.mark.parametrize(
    ("start", "end", "left"),
    [
        (b"b", b"d", "ade"),
        (b"", b"c", "cde"),
        (b"c", b"c", "abcde"),
        (b"d", b"b", "abcde"),
        (b"bb", b"z" * 600, "ab"),
        (b"x", b"z", "abcde"),
        (b"", b"", "abcde"),
    ],
)
def test_delete_range_removes_from_start_to_before_end(store: Store, start: bytes, end: bytes, left: str) -> None:
    write(store, a=b"", b=b"", c=b"", d=b"", e=b"")
    batch = WriteBatch()
    batch.delete_range(start, end)
    store.write(batch, "queued")
    store.flush()
    assert "".join(key.decode() for key, _ in store.scan()) == left


@pytest.mark.parametrize(
    ("start", "end", "limit", "found"),
    [
        (b"", None, None, "abcde"),
        (b"b", b"d", None, "bc"),
        (b"bb", None, 2, "cd"),
        (b"", None, 0, ""),
        (b"d", b"b", None, ""),
        (b"f", None, None, ""),
        (b"", b"", None, ""),
        (b"", b"z" * 600, 9, "abcde"),
    ],
)
def test_scan_returns_a_range_in_order(
    store: Store, start: bytes, end: bytes | None, limit: int | None, found: str
) -> None:
    write(store, d=b"", b=b"", e=b"", a=b"", c=b"")
    assert "".join(key.decode() for key, _ in store.scan(start, end, limit)) == found


def test_keys_are_ordered_as_bytes(store: Store) -> None:
    keys = [b"\x00", b"\x00\x00", b"\x00formas", b"\x00formatt", b"\x01", b"a", b"aa", b"b", b"\xff", b"\xff" * 511]
    batch = WriteBatch()
    for key in reversed(keys):
        batch.put(key, key)
    store.write(batch, "queued")
    store.flush()
    assert list(store.scan()) == [(key, key) for key in keys]


def test_scan_shows_the_moment_at_which_it_was_called(store: Store) -> None:
    write(store, a=b"1", b=b"1", c=b"1")
    scan = store.scan()
    write(store, a=b"2", b=b"2", bb=b"2", d=b"2")
    first = next(scan)
    batch = WriteBatch()
    batch.delete_range(b"a", b"z")
    store.write(batch, "queued")
    store.flush()
    assert [first, *scan] == [(b"a", b"1"), (b"b", b"1"), (b"c", b"1")]
    assert list(store.scan()) == []


def test_a_batch_may_be_changed_and_written_again(store: Store) -> None:
    buffer = bytearray(b"before")
    batch = WriteBatch()
    batch.put(b"a", memoryview(buffer))
    store.write(batch, "queued")
    buffer[:] = b"after!"
    batch.put(b"b", b"1")
    store.flush()
    assert list(store.scan()) == [(b"a", b"before")]
    store.write(batch, "queued")
    store.flush()
    assert list(store.scan()) == [(b"a", b"before"), (b"b", b"1")]


@pytest.mark.parametrize("key", [b"", b"k" * 512, b"\x00format"], ids=["empty", "long", "own"])
def test_a_key_that_cannot_be_is_refused_at_once(store: Store, key: bytes) -> None:
    batch = WriteBatch()
    for act in (lambda: batch.put(key, b""), lambda: batch.delete(key), lambda: store.get(key)):
        with pytest.raises(StoreKeyInvalid):
            act()
    with pytest.raises(StoreKeyInvalid):
        store.get_many([b"good", key])
    assert len(batch) == 0
    assert batch.size_bytes == 0


def test_a_start_longer_than_a_key_is_refused(store: Store) -> None:
    with pytest.raises(StoreKeyInvalid, match="1 to 511 bytes, got 512"):
        store.scan(b"k" * 512)
    with pytest.raises(StoreKeyInvalid):
        WriteBatch().delete_range(b"k" * 512, b"z")


def test_a_value_of_two_gibibytes_is_refused() -> None:
    class Long(bytes):
        def __len__(self) -> int:
            return 2**31

    with pytest.raises(StoreValueTooLarge, match="2147483648 bytes"):
        WriteBatch().put(b"a", Long())


def test_size_of_a_batch_counts_keys_and_values() -> None:
    batch = WriteBatch()
    batch.put(b"ab", b"123")
    batch.put(b"c", memoryview(b"12345678").cast("d"))
    batch.delete(b"abc")
    batch.delete_range(b"a", b"bc")
    assert batch.size_bytes == 2 + 3 + 1 + 8 + 3 + 1 + 2


def test_statistics_count_what_was_done(store: Store) -> None:
    write(store, a=b"12", b=b"345")
    write(store, a=b"1")
    store.get(b"a")
    store.get_many([b"a", b"b"])
    list(store.scan(limit=2))
    found = store.statistics()
    assert found.reads_total == 5
    assert found.writes_total == 3
    assert found.batches_total == 2
    assert found.commits_total == 2
    assert found.batches_failed_total == 0
    assert found.bytes_written_total == 3 + 4 + 2
    assert (found.queued_batches, found.queued_bytes) == (0, 0)
    assert found.map_bytes_used >= 2 + 1 + 3


def test_a_closed_store_refuses_everything_and_closes_twice(store: Store) -> None:
    write(store, a=b"1", b=b"2")
    store.close()
    store.close()
    for act in (
        lambda: store.get(b"a"),
        lambda: store.get_many([b"a"]),
        lambda: store.scan(),
        lambda: store.write(WriteBatch(), "queued"),
        lambda: store.flush(),
    ):
        with pytest.raises(StoreClosed):
            act()


def test_no_reader_sees_a_part_of_a_batch(store: Store) -> None:
    """Writers move units between two keys; every reader finds the sum that the first batch put there."""
    moves, total = 60, 1_000
    keys = [b"left", b"right"]

    def put(left: int) -> None:
        batch = WriteBatch()
        batch.put(keys[0], str(left).encode())
        batch.put(keys[1], str(total - left).encode())
        store.write(batch, "queued").result()

    put(0)
    store.flush()
    start = Barrier(5)

    def move(offset: int) -> None:
        start.wait()
        for step in range(moves):
            put((offset + step * 7) % total)
        store.flush()

    def look() -> int:
        start.wait()
        for _ in range(moves):
            assert sum(int(value or b"") for value in store.get_many(keys)) == total
            assert sum(int(value) for _, value in store.scan()) == total
        return moves

    with ThreadPoolExecutor(5) as pool:
        writers = [pool.submit(move, offset) for offset in (0, 300, 600)]
        readers = [pool.submit(look) for _ in range(2)]
        for writer in writers:
            writer.result()
        assert [reader.result() for reader in readers] == [moves, moves]
    assert store.statistics().batches_total == 1 + 3 * moves


def test_batches_of_one_thread_keep_their_order_among_others(store: Store) -> None:
    def count(name: bytes) -> None:
        for value in range(100):
            batch = WriteBatch()
            batch.put(name, str(value).encode())
            store.write(batch, "queued")

    names = [b"a", b"b", b"c", b"d"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, names))
    store.flush()
    assert store.get_many(names) == [b"99"] * 4


def test_errors_of_a_store_survive_a_pickle(store: Store) -> None:
    store.close()
    with pytest.raises(NovelActorsError) as caught:
        store.flush()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


KEYS = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from([b"\x00", b"\x00formas", b"\x00formau", b"k" * 510, b"k" * 511, b"k" * 510 + b"l"]),
)
BOUNDS = st.one_of(st.just(b""), KEYS)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.binary(max_size=40)),
        st.tuples(st.just("put"), KEYS, st.just(b"v" * 5000)),
        st.tuples(st.just("delete"), KEYS, st.just(b"")),
        st.tuples(st.just("delete_range"), BOUNDS, BOUNDS),
    ),
    max_size=8,
)


class StoreAgainstDict(RuleBasedStateMachine):
    """The store and a dict, sorted when asked, take the same operations."""

    make: Callable[[Path], Store]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = type(self).make(Path(self.folder.name))
        self.model: dict[bytes, bytes] = {}

    @rule(operations=OPERATIONS)
    def write(self, operations: list[tuple[str, bytes, bytes]]) -> None:
        batch = WriteBatch()
        for verb, key, other in operations:
            if verb == "put":
                batch.put(key, other)
                self.model[key] = other
            elif verb == "delete":
                batch.delete(key)
                self.model.pop(key, None)
            else:
                batch.delete_range(key, other)
                self.model = {k: v for k, v in self.model.items() if not key <= k < other}
        self.store.write(batch, "durable" if self.store.durable else "queued").result()

    @rule(keys=st.lists(KEYS, max_size=5))
    def get_many(self, keys: list[bytes]) -> None:
        assert self.store.get_many(keys) == [self.model.get(key) for key in keys]
        assert [self.store.get(key) for key in keys] == [self.model.get(key) for key in keys]

    @rule(start=BOUNDS, end=st.none() | BOUNDS, limit=st.none() | st.integers(0, 6))
    def scan(self, start: bytes, end: bytes | None, limit: int | None) -> None:
        wanted = [(k, v) for k, v in sorted(self.model.items()) if start <= k and (end is None or k < end)][:limit]
        assert list(self.store.scan(start, end, limit)) == wanted

    @rule()
    def reopen(self) -> None:
        if self.store.durable:
            self.store.close()
            self.store = type(self).make(Path(self.folder.name))

    @invariant()
    def holds_the_same(self) -> None:
        assert list(self.store.scan()) == sorted(self.model.items())

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_store_behaves_as_a_sorted_dict(name: str) -> None:
    machine = type("Machine", (StoreAgainstDict,), {"make": staticmethod(MAKERS[name])})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))
