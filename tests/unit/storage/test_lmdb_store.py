"""What only a store on a disk promises: other processes, deaths, damage, full disks."""

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from novel_actors.config import StorageSettings
from novel_actors.errors import (
    NotDurable,
    StoreClosed,
    StoreDamaged,
    StoreForked,
    StoreFull,
    StoreInUse,
    StoreReadOnly,
    StoreScanExpired,
    StoreUnreachable,
    StoreVersionMismatch,
)
from novel_actors.storage import LmdbStore, MemoryStore, WriteBatch, seal
from novel_actors.storage.lmdb_environment import open_environment

LIMIT_S = 60


def put(store: LmdbStore, **items: bytes) -> None:
    batch = WriteBatch()
    for key, value in items.items():
        batch.put(key.encode(), value)
    store.write(batch, "durable").result(LIMIT_S)


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start a process that runs this code, as a user's program would."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: "subprocess.Popen[str]") -> str:
    """Return the next line that a process prints; fail if none comes."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
    assert ready, "the process printed nothing"
    return process.stdout.readline().rstrip("\n")


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate(timeout=LIMIT_S)


@contextmanager
def busy_store(path: Path, settings: StorageSettings) -> Iterator[tuple[LmdbStore, lmdb.Transaction]]:
    """Yield a store whose writer thread has a batch in hand and waits for a transaction of ours to end."""
    environment = open_environment(path, settings, readonly=False)
    with LmdbStore(environment, settings) as store:
        busy = environment.handle.begin(write=True)
        batch = WriteBatch()
        batch.put(b"first", b"")
        store.write(batch, "queued")
        while store.statistics().queued_batches:
            os.sched_yield()
        yield store, busy


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily, so that a test that failed with a store open leaves no disk behind either.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# Durability


def test_memory_refuses_durable_and_names_the_store_that_can() -> None:
    with MemoryStore() as store, pytest.raises(NotDurable, match="use an LmdbStore"):
        store.write(WriteBatch(), "durable")


def test_a_reopened_store_holds_what_was_written(tmp_path: Path) -> None:
    with LmdbStore.open(tmp_path / "deep" / "store") as store:
        assert store.durable
        put(store, a=b"1")
        batch = WriteBatch()
        batch.put(b"b", b"2")
        store.write(batch, "queued")
    with LmdbStore.open(tmp_path / "deep" / "store") as store:
        assert list(store.scan()) == [(b"a", b"1"), (b"b", b"2")]
        put(store, a=b"3")
    LmdbStore.verify(tmp_path / "deep" / "store")
    with LmdbStore.open(tmp_path / "deep" / "store", readonly=True) as store:
        assert store.get(b"a") == b"3"


def test_a_value_shortened_within_one_batch_leaves_a_file_that_verifies(tmp_path: Path) -> None:
    batch = WriteBatch()
    for length in (5_000, 0, 20_000, 5_000, 100):
        batch.put(b"a", b"v" * length)
    with LmdbStore.open(tmp_path) as store:
        store.write(batch, "durable").result(LIMIT_S)
    LmdbStore.verify(tmp_path)
    with LmdbStore.open(tmp_path) as store:
        assert store.get(b"a") == b"v" * 100


def test_waiting_writers_share_one_commit(tmp_path: Path) -> None:
    with busy_store(tmp_path, StorageSettings()) as (store, busy):
        with busy:
            futures = []
            for number in range(50):
                batch = WriteBatch()
                batch.put(b"%d" % number, b"")
                futures.append(store.write(batch, "durable"))
            assert store.statistics().queued_batches == 50
            assert not any(future.done() for future in futures)
            assert list(store.scan()) == []
        for future in futures:
            future.result(LIMIT_S)
        # The batch that kept the writer thread busy, and the fifty.
        assert store.statistics().commits_total == 2
        assert len(list(store.scan())) == 51


WRITER = """
    import os, sys, threading
    from pathlib import Path
    from novel_actors.storage import LmdbStore, WriteBatch

    store = LmdbStore.open(Path(sys.argv[1]))
    first = int(sys.argv[2])

    def write(name):
        # Each batch moves both of a thread's keys, so that a torn batch shows.
        for value in range(first, first + 1_000_000):
            batch = WriteBatch()
            batch.put(b"left-%d" % name, b"%d" % value)
            batch.put(b"blob-%d" % name, (b"%d," % value) * 3000)
            batch.put(b"right-%d" % name, b"%d" % value)
            store.write(batch, "durable").result()
            os.write(1, b"%d %d\\n" % (name, value))

    for name in range(3):
        threading.Thread(target=write, args=(name,)).start()
"""


def test_what_was_acknowledged_as_durable_survives_kill_9(tmp_path: Path) -> None:
    acknowledged: dict[int, int] = {}
    for round_number in range(8):
        process = python(WRITER, tmp_path, 1_000_000 * round_number)
        try:
            lines = [line(process) for _ in range(3 + 5 * round_number)]
            process.send_signal(signal.SIGKILL)
            rest, _ = process.communicate(timeout=LIMIT_S)
        finally:
            end(process)
        # What stands in the pipe was acknowledged too, but for a last line cut short.
        for text in [*lines, *rest.split("\n")[:-1]]:
            name, value = map(int, text.split())
            acknowledged[name] = value
        LmdbStore.verify(tmp_path)
        with LmdbStore.open(tmp_path) as store:
            found = dict(store.scan())
        for name, value in acknowledged.items():
            left = found[b"left-%d" % name]
            assert int(left) >= value
            assert found[b"right-%d" % name] == left
            assert found[b"blob-%d" % name] == (left + b",") * 3000


# Other processes


def test_another_process_reads_each_commit_directly(tmp_path: Path) -> None:
    reader = """
        import sys
        from pathlib import Path
        from novel_actors.storage import LmdbStore

        with LmdbStore.open(Path(sys.argv[1]), readonly=True) as store:
            for key in sys.stdin:
                print(store.get(key.strip().encode()), flush=True)
    """
    with LmdbStore.open(tmp_path) as store:
        put(store, a=b"0")
        process = python(reader, tmp_path)
        try:
            assert process.stdin is not None
            for value in range(50):
                put(store, a=b"%d" % value)
                process.stdin.write("a\n")
                process.stdin.flush()
                assert line(process) == str(b"%d" % value)
        finally:
            end(process)


def test_a_second_writer_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    process = python(
        """
        import sys
        from pathlib import Path
        from novel_actors.storage import LmdbStore

        store = LmdbStore.open(Path(sys.argv[1]))
        print("open", flush=True)
        sys.stdin.read()
        """,
        tmp_path,
    )
    try:
        assert line(process) == "open"
        with pytest.raises(StoreInUse, match=f"in use by process {process.pid}") as caught:
            LmdbStore.open(tmp_path)
        assert caught.value.pid == process.pid
        # A reader is welcome all the same.
        LmdbStore.open(tmp_path, readonly=True).close()
    finally:
        end(process)
    LmdbStore.open(tmp_path).close()


def test_a_store_opens_once_in_a_process(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    with LmdbStore.open(tmp_path / "store") as store:
        for readonly in (False, True):
            with pytest.raises(StoreInUse, match=f"process {os.getpid()}"):
                LmdbStore.open(tmp_path / "link", readonly=readonly)
        # The refusal must not have dropped the locks of the store that is open.
        other = python(
            """
            import sys
            from pathlib import Path
            from novel_actors.errors import StoreInUse
            from novel_actors.storage import LmdbStore

            try:
                LmdbStore.open(Path(sys.argv[1]))
            except StoreInUse:
                print("refused", flush=True)
            """,
            tmp_path / "store",
        )
        try:
            assert line(other) == "refused"
        finally:
            end(other)
        put(store, a=b"1")


def test_a_reader_refuses_to_write(tmp_path: Path) -> None:
    LmdbStore.open(tmp_path).close()
    with LmdbStore.open(tmp_path, readonly=True) as store:
        with pytest.raises(StoreReadOnly, match="read-only"):
            store.write(WriteBatch(), "queued")
        store.flush()
        assert list(store.scan()) == []


def test_a_forked_child_is_refused_and_leaves_the_parent_alone(tmp_path: Path) -> None:
    # In a process of its own: forking is not safe where other tests have left threads.
    process = python(
        """
        import os, sys
        from pathlib import Path
        from novel_actors.errors import StoreForked
        from novel_actors.storage import LmdbStore, WriteBatch

        store = LmdbStore.open(Path(sys.argv[1]))
        batch = WriteBatch()
        batch.put(b"a", b"1")
        store.write(batch, "durable").result()
        scan = store.scan()
        child = os.fork()
        if child == 0:
            refused = 0
            for act in (
                lambda: store.get(b"a"),
                lambda: store.get_many([b"a"]),
                lambda: store.scan(),
                lambda: next(scan),
                lambda: store.write(batch, "queued"),
                store.flush,
                store.statistics,
                store.close,
            ):
                try:
                    act()
                except StoreForked:
                    refused += 1
            sys.exit(refused)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        store.write(batch, "durable").result()
        print(store.get(b"a"), list(scan), flush=True)
        store.close()
        """,
        tmp_path,
    )
    try:
        assert line(process) == "8"
        assert line(process) == "b'1' [(b'a', b'1')]"
    finally:
        end(process)
    with LmdbStore.open(tmp_path) as store:
        assert store.get(b"a") == b"1"


def test_a_store_forgotten_open_is_closed_when_its_program_ends(tmp_path: Path) -> None:
    process = python(
        """
        import sys
        from pathlib import Path
        from novel_actors.storage import LmdbStore, WriteBatch

        store = LmdbStore.open(Path(sys.argv[1]))
        for number in range(1000):
            batch = WriteBatch()
            batch.put(b"%d" % number, b"x" * 1000)
            store.write(batch, "queued")
        """,
        tmp_path,
    )
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    with LmdbStore.open(tmp_path) as store:
        assert len(list(store.scan())) == 1000


def test_readers_that_were_killed_make_room(tmp_path: Path) -> None:
    settings = StorageSettings(readers_max=8)
    with LmdbStore.open(tmp_path, settings) as store:
        put(store, a=b"1")
        process = python(
            """
            import sys
            from pathlib import Path
            from novel_actors.config import StorageSettings
            from novel_actors.storage import LmdbStore

            store = LmdbStore.open(Path(sys.argv[1]), StorageSettings(readers_max=8), readonly=True)
            scans = [store.scan() for _ in range(7)]
            print("holding", flush=True)
            sys.stdin.read()
            """,
            tmp_path,
        )
        try:
            assert line(process) == "holding"
        finally:
            end(process)
        scans = [store.scan() for _ in range(5)]
        assert [list(scan) for scan in scans] == [[(b"a", b"1")]] * 5


# Bounds


def test_write_waits_while_the_queue_is_full(tmp_path: Path) -> None:
    """Many writers through a queue of one batch: all arrive, and the queue never holds more."""
    settings = StorageSettings(queue_batches_max=1, group_batches_max=1)
    with LmdbStore.open(tmp_path, settings) as store:

        def write(name: int) -> int:
            longest = 0
            for number in range(20):
                batch = WriteBatch()
                batch.put(b"%d-%d" % (name, number), b"")
                store.write(batch, "queued")
                longest = max(longest, store.statistics().queued_batches)
            return longest

        with ThreadPoolExecutor(6) as pool:
            assert max(pool.map(write, range(6))) <= 1
        store.flush()
        assert len(list(store.scan())) == 120
        assert store.statistics().commits_total == 120


def test_a_batch_larger_than_every_bound_is_still_one_commit(tmp_path: Path) -> None:
    settings = StorageSettings(queue_bytes_max=10, group_bytes_max=10)
    with LmdbStore.open(tmp_path, settings) as store:
        put(store, a=b"1" * 1000, b=b"2" * 1000)
        put(store, c=b"")
        assert store.statistics().commits_total == 2


def test_writers_waiting_for_room_are_told_of_the_close(tmp_path: Path) -> None:
    with busy_store(tmp_path, StorageSettings(queue_batches_max=1)) as (store, busy):

        def write(_: int) -> None:
            store.write(WriteBatch(), "queued")

        with ThreadPoolExecutor(5) as pool:
            with busy:
                write(0)
                writers = [pool.submit(write, number) for number in range(4)]
                closed = pool.submit(store.close)
                for writer in writers:
                    with pytest.raises(StoreClosed):
                        writer.result(LIMIT_S)
                assert not closed.done()
            closed.result(LIMIT_S)
        with LmdbStore.open(tmp_path) as again:
            assert [key for key, _ in again.scan()] == [b"first"]


def test_a_scan_ends_with_an_error_when_it_keeps_its_snapshot_too_long(tmp_path: Path) -> None:
    now_s = [0.0]
    settings = StorageSettings(scan_chunk_bytes=1, scan_s_max=5)
    store = LmdbStore(open_environment(tmp_path, settings, readonly=False), settings, lambda: now_s[0])
    with store:
        put(store, a=b"1", b=b"2", c=b"3")
        scan = store.scan()
        assert next(scan) == (b"a", b"1")
        now_s[0] = 5.0
        assert next(scan) == (b"b", b"2")
        now_s[0] = 5.1
        with pytest.raises(StoreScanExpired, match="longer than 5 s"):
            next(scan)
        assert [key for key, _ in store.scan()] == [b"a", b"b", b"c"]


def test_a_scan_under_way_is_told_of_the_close(tmp_path: Path) -> None:
    store = LmdbStore.open(tmp_path, StorageSettings(scan_chunk_bytes=1))
    put(store, a=b"1", b=b"2")
    scan, untouched = store.scan(), store.scan()
    next(scan)
    store.close()
    for left in (scan, untouched):
        with pytest.raises(StoreClosed):
            next(left)


def test_a_map_that_the_system_refuses_is_halved(tmp_path: Path) -> None:
    process = python(
        """
        import resource, sys
        from pathlib import Path
        from novel_actors.storage import LmdbStore, WriteBatch

        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        with LmdbStore.open(Path(sys.argv[1])) as store:
            batch = WriteBatch()
            batch.put(b"a", b"1")
            store.write(batch, "durable").result()
            print(store.get(b"a"), store.statistics().map_bytes, flush=True)
        """,
        tmp_path,
    )
    try:
        value, map_bytes = line(process).split()
    finally:
        end(process)
    assert value == "b'1'"
    assert 1 << 26 <= int(map_bytes) < 4 << 30


# Space


def fill(store: LmdbStore, name: str, blobs: int) -> WriteBatch:
    batch = WriteBatch()
    for number in range(blobs):
        batch.put(f"{name}-{number}".encode(), os.urandom(20_000))
    return batch


def test_a_full_disk_fails_the_batch_and_nothing_else(full_disk: Path) -> None:
    with LmdbStore.open(full_disk / "store") as store:
        store.write(fill(store, "kept", 20), "durable").result(LIMIT_S)
        before = list(store.scan())
        future = store.write(fill(store, "lost", 200), "durable")
        with pytest.raises(StoreFull, match=r"store .*/disk/store is full \(disk; \d+ bytes free") as caught:
            future.result(LIMIT_S)
        assert caught.value.batches_lost == 1
        assert list(store.scan()) == before
        ballast = WriteBatch()
        ballast.delete_range(b"kept-1", b"kept-2")
        store.write(ballast, "durable").result(LIMIT_S)
        put(store, later=b"1")
        assert store.statistics().batches_failed_total == 1
    LmdbStore.verify(full_disk / "store")
    with LmdbStore.open(full_disk / "store") as store:
        assert dict(store.scan()) == {k: v for k, v in before if not k.startswith(b"kept-1")} | {b"later": b"1"}


def test_a_lost_queued_batch_is_told_by_the_next_call(full_disk: Path) -> None:
    store = LmdbStore.open(full_disk / "store")
    put(store, kept=b"1")
    store.write(fill(store, "lost", 200), "queued").result(0)
    with pytest.raises(StoreFull):
        store.flush()
    # Told once; the store goes on.
    store.flush()
    put(store, later=b"1")
    store.write(fill(store, "lost", 200), "queued").result(0)
    with pytest.raises(StoreFull, match="earlier data is intact"):
        store.close()
    with LmdbStore.open(full_disk / "store") as store:
        assert [key for key, _ in store.scan()] == [b"kept", b"later"]


def test_a_disk_with_no_room_for_a_store_is_named(full_disk: Path) -> None:
    (full_disk / "ballast").write_bytes(bytes(2 << 20))
    for path in (full_disk, full_disk / "deep" / "store"):
        with pytest.raises(StoreFull, match=r"is full \(disk; 0 bytes free"):
            LmdbStore.open(path)
    (full_disk / "ballast").unlink()
    LmdbStore.open(full_disk).close()


def test_a_store_on_a_disk_that_is_almost_full_is_created_whole_or_not_at_all(full_disk: Path) -> None:
    ballast = full_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    refused = 0
    for room in range(0, 1 << 18, 4096):
        os.truncate(ballast, (2 << 20) - room)
        try:
            LmdbStore.open(full_disk / "store").close()
        except StoreFull:
            refused += 1
            assert not (full_disk / "store" / "data.mdb").exists()
        else:
            break
    assert refused > 0
    LmdbStore.verify(full_disk / "store")


def test_a_full_map_fails_the_batch_and_names_the_setting(tmp_path: Path) -> None:
    settings = StorageSettings(map_bytes=1 << 20, map_bytes_min=1 << 20)
    with LmdbStore.open(tmp_path, settings) as store:
        put(store, kept=b"1")
        with pytest.raises(StoreFull, match=r"\(map;.*StorageSettings\.map_bytes"):
            store.write(fill(store, "lost", 100), "durable").result(LIMIT_S)
        put(store, later=b"1")
        assert [key for key, _ in store.scan()] == [b"kept", b"later"]


# Damage


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The directory of a closed store with trees of several pages and values of several pages."""
    path = tmp_path / "store"
    with LmdbStore.open(path) as store:
        for first in range(0, 300, 100):
            batch = WriteBatch()
            for number in range(first, first + 100):
                batch.put(b"key-%03d" % number, b"%d" % number * (20 if number % 10 else 3000))
            store.write(batch, "durable").result(LIMIT_S)
    return path


def test_every_truncation_is_refused(filled: Path) -> None:
    data = (filled / "data.mdb").read_bytes()
    lengths = {0, 1, 100, 4095, 4096, 4097, 8191, *range(8192, len(data), 4096), len(data) - 1}
    for length in sorted(lengths):
        (filled / "data.mdb").write_bytes(data[:length])
        for readonly in (False, True):
            with pytest.raises(StoreDamaged, match=str(filled)):
                LmdbStore.open(filled, readonly=readonly)
    (filled / "data.mdb").write_bytes(data)
    with LmdbStore.open(filled) as store:
        assert len(list(store.scan())) == 300


def test_a_truncation_is_refused_without_the_walk_of_every_page(filled: Path) -> None:
    data = (filled / "data.mdb").read_bytes()
    (filled / "data.mdb").write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreDamaged):
        LmdbStore.open(filled, StorageSettings(verify_bytes_max=0))


def test_a_page_that_was_overwritten_is_refused(filled: Path) -> None:
    data = (filled / "data.mdb").read_bytes()
    refused = 0
    for page in range(2, len(data) // 4096):
        (filled / "data.mdb").write_bytes(data[: page * 4096] + b"\xff" * 16 + data[page * 4096 + 16 :])
        try:
            with LmdbStore.open(filled) as store:
                # A free page, or the middle of a value: the store itself is whole.
                assert len(list(store.scan())) == 300
        except StoreDamaged:
            refused += 1
    assert refused > 0


def test_a_flipped_bit_of_a_commit_number_is_refused(tmp_path: Path) -> None:
    """A lower number of the last commit, or a higher one of the commit before, would undo the last commit."""
    with LmdbStore.open(tmp_path) as store:
        for value in range(3):
            put(store, a=b"%d" % value)
    data = (tmp_path / "data.mdb").read_bytes()
    for page in range(2):
        for bit in range(64):
            altered = bytearray(data)
            altered[page * 4096 + 144 + bit // 8] ^= 1 << bit % 8
            (tmp_path / "data.mdb").write_bytes(altered)
            with pytest.raises(StoreDamaged):
                LmdbStore.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"not a store " * 1000, bytes(8192)], ids=["empty", "x", "text", "0"])
@pytest.mark.parametrize("readonly", [False, True])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: bytes, readonly: bool) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(StoreDamaged, match=str(tmp_path)):
        LmdbStore.open(tmp_path, readonly=readonly)
    assert (tmp_path / "data.mdb").read_bytes() == content


def test_an_lmdb_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"a", b"1")
    with pytest.raises(StoreDamaged, match="without the format record"):
        LmdbStore.open(tmp_path)


def test_a_store_of_another_format_is_refused_and_named(tmp_path: Path) -> None:
    LmdbStore.open(tmp_path).close()
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"\x00format", seal("store", 99, b""))
    for readonly in (False, True):
        with pytest.raises(StoreVersionMismatch, match="format version 99, this program reads version 1"):
            LmdbStore.open(tmp_path, readonly=readonly)


def test_a_refused_opening_leaves_nothing_locked(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x")
    for _ in range(2):
        with pytest.raises(StoreDamaged):
            LmdbStore.open(tmp_path)
    (tmp_path / "data.mdb").unlink()
    LmdbStore.open(tmp_path).close()


def test_the_leftovers_of_a_killed_creation_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "data.mdb").write_bytes(b"half")
    with LmdbStore.open(tmp_path) as store:
        assert list(store.scan()) == []
    assert not (tmp_path / "new").exists()


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        for readonly in (False, True):
            with pytest.raises(StoreUnreachable, match=str(path)):
                LmdbStore.open(path, readonly=readonly)
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_reader_of_a_missing_store_is_refused_and_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match=r"has no data\.mdb"):
        LmdbStore.open(tmp_path / "missing", readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_rights_is_refused(tmp_path: Path) -> None:
    process = python(
        """
        import os, sys
        from pathlib import Path
        from novel_actors.errors import StoreUnreachable
        from novel_actors.storage import LmdbStore

        folder = Path(sys.argv[1]) / "locked"
        folder.mkdir(mode=0o500)
        if os.getuid() == 0:
            # The superuser may write anywhere.
            os.setuid(65534)
        try:
            LmdbStore.open(folder / "store")
        except StoreUnreachable as error:
            print(error, flush=True)
        """,
        tmp_path,
    )
    try:
        said = line(process)
    finally:
        end(process)
    assert f"no store at {tmp_path / 'locked' / 'store'} can be opened" in said
    assert "Permission denied" in said


def test_a_callback_that_waits_for_the_store_is_a_programmers_error(tmp_path: Path) -> None:
    seen: list[BaseException] = []
    with busy_store(tmp_path, StorageSettings()) as (store, busy):

        def wait(_: object) -> None:
            for act in (store.flush, store.close):
                try:
                    act()
                except AssertionError as error:
                    seen.append(error)

        with busy:
            store.write(WriteBatch(), "durable").add_done_callback(wait)
        store.flush()
        store.close()
    assert len(seen) == 2


def test_a_forked_error_names_the_way_out() -> None:
    assert "use spawn" in str(StoreForked("p"))
