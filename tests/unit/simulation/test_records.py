"""A log keeps every row until it is cut, bounded in memory, and survives what a machine does to it."""

import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from novel_actors.config import RecordSettings
from novel_actors.errors import RecordError, TableError
from novel_actors.simulation.records import RecordLog

ROOMY = RecordSettings()
TIGHT = RecordSettings(rows_in_memory_max=7, bytes_in_memory_max=3000, bytes_in_checkpoint_max=500)

Model = dict[str, list[tuple[Any, ...]]]


def rows_of(log: RecordLog) -> Model:
    found = {}
    for name in log.tables():
        columns = log.table(name).to_pydict()
        assert tuple(columns) == log.columns(name)
        found[name] = list(zip(*columns.values(), strict=True))
        assert log.rows(name) == len(found[name])
    assert log.rows_total == sum(map(len, found.values()))
    return found


class LogAgainstLists(RuleBasedStateMachine):
    """Append, cut, checkpoint, restore, finish, snapshot in any order: the log equals plain lists of rows."""

    @initialize(stored=st.booleans(), tight=st.booleans())
    def start(self, stored: bool, tight: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.directory = self.folder / "run" if stored else None
        # Without a folder a record holds what is in memory only, so then nothing may leave it.
        self.settings = TIGHT if tight and stored else ROOMY
        self.log = RecordLog(self.directory, self.settings)
        self.tick = 0
        self.model: Model = {}
        self.born: dict[str, int] = {}
        self.record: tuple[bytes, int, Model, dict[str, int]] | None = None
        self.snapshots: list[tuple[RecordLog, Model]] = []

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for snapshot, model in self.snapshots:
                assert rows_of(snapshot) == model
            shutil.rmtree(self.folder)

    @rule(step=st.integers(0, 3))
    def go_on(self, step: int) -> None:
        self.tick += step

    def add(self, table: str, columns: dict[str, Any]) -> None:
        self.log.append(table, self.tick, columns)
        self.born.setdefault(table, self.tick)
        cells = [c.tolist() if isinstance(c, np.ndarray) else list(c) for c in columns.values()]
        self.model.setdefault(table, []).extend((self.tick, *row) for row in zip(*cells, strict=True))

    @rule(values=st.lists(st.none() | st.integers(-(2**50), 2**50) | st.floats(-1e9, 1e9), max_size=4), data=st.data())
    def append_lists(self, values: list[Any], data: st.DataObject) -> None:
        same = {"min_size": len(values), "max_size": len(values)}
        names = data.draw(st.lists(st.none() | st.text("aé€", max_size=3), **same))
        bins = data.draw(st.lists(st.none() | st.lists(st.integers(0, 9), max_size=3), **same))
        self.add("scalars", {"value": values, "name": names, "bins": bins})

    @rule(table=st.sampled_from(["agents", "event.Moved"]), rows=st.integers(0, 9))
    def append_arrays(self, table: str, rows: int) -> None:
        numbers = np.arange(2 * rows).reshape(rows, 2)
        self.add(table, {"id": numbers[:, 0], "at": numbers.astype(np.float32), "alive": numbers[:, 0] % 4 == 0})

    @rule(back=st.integers(0, 6))
    def cut(self, back: int) -> None:
        self.tick = max(0, self.tick - back)
        self.log.cut(self.tick)
        self.model = {
            table: [row for row in rows if row[0] <= self.tick]
            for table, rows in self.model.items()
            if self.born[table] <= self.tick
        }
        self.born = {table: self.born[table] for table in self.model}

    @rule()
    def checkpoint(self) -> None:
        self.record = (self.log.to_record(), self.tick, deepcopy(self.model), dict(self.born))
        if self.directory is not None:
            assert self.log.bytes_in_memory <= self.settings.bytes_in_checkpoint_max

    @precondition(lambda self: self.record is not None)
    @rule()
    def restore(self) -> None:
        for snapshot, model in self.snapshots:
            assert rows_of(snapshot) == model
        self.snapshots = []  # a restore belongs to a new process
        record, self.tick, model, born = self.record  # type: ignore[misc]
        self.model, self.born = deepcopy(model), dict(born)
        self.log = RecordLog.from_record(self.directory, record, self.settings)

    @rule()
    def snapshot(self) -> None:
        self.snapshots.append((self.log.snapshot(), deepcopy(self.model)))

    @rule()
    def finish(self) -> None:
        self.log.finish()
        if self.directory is not None:
            assert rows_of(RecordLog.read(self.directory)) == self.model
            assert self.log.rows_in_memory == 0

    @rule()
    def fork(self) -> None:
        if self.directory is not None:
            target = self.folder / "fork"
            shutil.rmtree(target, ignore_errors=True)
            fork = RecordLog.fork(self.directory, self.log.to_record(), target, self.settings)
            fork.append("forked", self.tick, {"x": [1]})
            fork.cut(-1)
            fork.finish()
            assert rows_of(RecordLog.read(target)) == {}

    @invariant()
    def equals_the_model(self) -> None:
        if hasattr(self, "log"):
            assert rows_of(self.log) == self.model


LogAgainstLists.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestLogAgainstLists = LogAgainstLists.TestCase


def fill(log: RecordLog, ticks: range) -> None:
    for tick in ticks:
        log.append("wealth", tick, {"mean": [tick / 2], "label": [f"tick {tick}"]})


def expected(ticks: range) -> Model:
    return {"wealth": [(tick, tick / 2, f"tick {tick}") for tick in ticks]}


@pytest.mark.parametrize("stored", [True, False])
def test_memory_stays_within_its_bounds(tmp_path: Path, stored: bool) -> None:
    log = RecordLog(tmp_path if stored else None, TIGHT)
    for tick in range(200):
        log.append("wealth", tick, {"mean": [1.0], "text": ["x" * (tick % 50)]})
        log.append("agents", tick, {"id": np.arange(tick % 9), "value": np.ones(tick % 9)})
        assert log.rows_in_memory <= TIGHT.rows_in_memory_max
        assert log.bytes_in_memory <= TIGHT.bytes_in_memory_max
    assert log.rows("wealth") == 200
    assert log.rows("agents") == sum(tick % 9 for tick in range(200))
    assert log.table("agents").column("tick").to_pylist() == [t for t in range(200) for _ in range(t % 9)]


def test_appends_without_rows_take_no_memory() -> None:
    log = RecordLog(None, ROOMY)
    for tick in range(100):
        log.append("event.Moved", tick, {"agent": np.zeros(0, np.int64)})
    assert (log.bytes_in_memory, log.rows_in_memory) == (0, 0)
    assert log.table("event.Moved").schema.names == ["tick", "agent"]


def test_a_private_folder_goes_with_the_last_log_on_it() -> None:
    log = RecordLog(None, TIGHT)
    fill(log, range(50))
    folder = log._folder.path()
    snapshot = log.snapshot()
    log.close()
    assert log.tables() == ()
    assert rows_of(snapshot) == expected(range(50))
    snapshot.close()
    assert not folder.exists()


def test_a_finished_folder_holds_every_row_as_plain_parquet(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, TIGHT)
    fill(log, range(50))
    log.cut(19)
    fill(log, range(20, 30))
    log.finish()
    tables = [pq.read_table(path) for path in (tmp_path / "tables" / "wealth").glob("*.parquet")]
    assert sorted(tick for table in tables for tick in table["tick"].to_pylist()) == list(range(30))


def test_finish_can_be_followed_by_more_rows(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, ROOMY)
    fill(log, range(5))
    log.finish()
    fill(log, range(5, 9))
    assert rows_of(RecordLog.read(tmp_path)) == expected(range(5))
    log.finish()
    assert rows_of(RecordLog.read(tmp_path)) == expected(range(9))


def test_restore_deletes_what_was_written_after_the_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, TIGHT)
    fill(log, range(20))
    record = log.to_record()
    named = set((tmp_path / "tables" / "wealth").iterdir())
    fill(log, range(20, 60))
    torn = tmp_path / "tables" / "wealth" / "60-70.parquet.partial"
    torn.write_bytes(b"half a part")
    foreign = tmp_path / "tables" / "wealth" / "notes.parquet"
    foreign.write_bytes(b"mine")
    restored = RecordLog.from_record(tmp_path, record, TIGHT)
    assert set((tmp_path / "tables" / "wealth").iterdir()) == named | {foreign}
    assert rows_of(restored) == expected(range(20))


def test_a_record_keeps_short_tails_itself_and_leaves_long_ones_to_parts(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, RecordSettings(bytes_in_checkpoint_max=20_000))
    fill(log, range(5))
    log.to_record()
    assert log.rows_in_memory == 5
    log.append("agents", 5, {"value": np.arange(10_000)})
    record = log.to_record()
    assert len(record) < 20_000
    assert (log.rows_in_memory, log.rows_total) == (5, 10_005)
    assert len(list((tmp_path / "tables" / "agents").iterdir())) == 1


def test_a_part_that_a_record_names_outlives_a_cut(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, TIGHT)
    fill(log, range(40))
    record = log.to_record()
    log.cut(3)
    fill(log, range(4, 30))
    assert rows_of(RecordLog.from_record(tmp_path, record, TIGHT)) == expected(range(40))


def test_a_part_that_no_record_names_goes_with_a_cut(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, TIGHT)
    fill(log, range(40))
    log.cut(-1)
    assert list((tmp_path / "tables" / "wealth").iterdir()) == []
    assert log.tables() == ()


def test_a_fork_leaves_its_source_alone(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "source", TIGHT)
    fill(log, range(20))
    record = log.to_record()
    fill(log, range(20, 40))
    log.finish()
    for target in (tmp_path / "fork", None):
        fork = RecordLog.fork(tmp_path / "source", record, target, TIGHT)
        fork.cut(9)
        fill(fork, range(10, 30))
        fork.finish()
        assert rows_of(fork) == expected(range(30))
    assert rows_of(RecordLog.read(tmp_path / "fork")) == expected(range(30))
    assert rows_of(RecordLog.read(tmp_path / "source")) == expected(range(40))


def test_a_column_widens_over_parts(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, RecordSettings(rows_in_memory_max=1))
    for tick, value in enumerate([None, None, 1, 2, 0.5, None, 3]):
        log.append("gini", tick, {"value": [value]})
    assert log.table("gini").column("value").to_pylist() == [None, None, 1.0, 2.0, 0.5, None, 3.0]


def test_a_private_record_serves_as_long_as_nothing_left_memory() -> None:
    log = RecordLog(None, TIGHT)
    fill(log, range(5))
    assert rows_of(RecordLog.from_record(None, log.to_record(), TIGHT)) == expected(range(5))
    fill(log, range(5, 50))
    with pytest.raises(TableError, match="give the run a store"):
        RecordLog.from_record(None, log.to_record(), TIGHT)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "é", "x" * 201])
def test_a_bad_name_of_a_table_is_refused(tmp_path: Path, name: str) -> None:
    log = RecordLog(tmp_path, ROOMY)
    with pytest.raises(TableError, match="letters, digits"):
        log.append(name, 0, {"x": [1]})
    assert log.tables() == ()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": [1], "y": [1]}, "has columns x; got x, y at tick 3"),
        ({}, "has columns x; got  at tick 3"),
        ({"z": [1]}, "has columns x; got z"),
        ({"x": ["a"]}, "column x, tick 3: int64 and string do not go together"),
        ({"x": [2**70]}, "column x, tick 3: "),
        ({"x": [object()]}, "column x, tick 3: .* type object"),
        ({"x": np.zeros((2, 2))}, "column x, tick 3: int64 and float64.2. do not go together"),
        ({"x": ["\ud800"]}, "column x, tick 3: .*surrogate"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_change_nothing(columns: dict[str, Any], words: str) -> None:
    log = RecordLog(None, ROOMY)
    log.append("wealth", 0, {"x": [1]})
    with pytest.raises(TableError, match=words) as caught:
        log.append("wealth", 3, columns)
    assert "wealth" in str(caught.value)
    log.append("wealth", 2, {"x": [2]})
    assert rows_of(log) == {"wealth": [(0, 1), (2, 2)]}


@pytest.mark.parametrize("columns", [{}, {"tick": [1]}, {"x": [1], "y": [1, 2]}, {"x": [[[1]]]}])
def test_a_first_append_that_does_not_fit_makes_no_table(columns: dict[str, Any]) -> None:
    log = RecordLog(None, ROOMY)
    with pytest.raises(TableError, match="wealth"):
        log.append("wealth", 0, columns)
    assert log.tables() == ()


def test_ticks_that_go_backwards_are_a_mistake_of_the_caller() -> None:
    log = RecordLog(None, ROOMY)
    fill(log, range(3))
    with pytest.raises(AssertionError):
        fill(log, range(1))


def finished(directory: Path) -> Path:
    log = RecordLog(directory, ROOMY)
    fill(log, range(10))
    log.finish()
    (part,) = (directory / "tables" / "wealth").iterdir()
    return part


def test_every_flipped_byte_of_a_part_is_found(tmp_path: Path) -> None:
    part = finished(tmp_path)
    data = part.read_bytes()
    log = RecordLog.read(tmp_path)
    for at in range(0, len(data), 7):
        part.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(TableError, match=part.name):
            log.table("wealth")
    part.write_bytes(data)
    assert rows_of(log) == expected(range(10))


def test_a_missing_or_truncated_part_is_named_when_a_folder_is_opened(tmp_path: Path) -> None:
    part = finished(tmp_path)
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(TableError, match=part.name):
        RecordLog.read(tmp_path)
    part.unlink()
    with pytest.raises(TableError, match=part.name):
        RecordLog.read(tmp_path)


def test_a_cut_through_a_damaged_part_changes_nothing(tmp_path: Path) -> None:
    part = finished(tmp_path)
    record = (tmp_path / "tables.msgpack").read_bytes()
    log = RecordLog.from_record(tmp_path, record, ROOMY)
    fill(log, range(10, 12))
    data = part.read_bytes()
    part.write_bytes(b"?" * len(data))
    with pytest.raises(TableError, match=part.name):
        log.cut(5)
    part.write_bytes(data)
    assert rows_of(log) == expected(range(12))


def test_a_folder_of_no_finished_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="resume the run"):
        RecordLog.read(tmp_path)


def test_damaged_records_are_refused_and_delete_nothing(tmp_path: Path) -> None:
    part = finished(tmp_path)
    record = (tmp_path / "tables.msgpack").read_bytes()
    for bad in (b"", record[:-1], b"\0" + record[1:], record[:-1] + b"?", b"{}"):
        with pytest.raises(RecordError):
            RecordLog.from_record(tmp_path, bad, ROOMY)
    assert part.exists()


def test_a_folder_that_cannot_be_written_is_one_error_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file where the folder should be")
    log = RecordLog(tmp_path, ROOMY)
    fill(log, range(5))
    with pytest.raises(TableError, match=r"cannot write .*wealth"):
        log.finish()
    (tmp_path / "tables").unlink()
    log.finish()
    assert rows_of(RecordLog.read(tmp_path)) == expected(range(5))


def test_a_disk_without_room_is_one_error_and_loses_nothing(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, ROOMY)
    fill(log, range(5))
    log.finish()
    fill(log, range(5, 1000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # every file ends after 100 bytes
    try:
        with pytest.raises(TableError, match=r"cannot write .*5-999\.parquet: .* earlier data is intact"):
            log.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(list((tmp_path / "tables" / "wealth").iterdir())) == 1
    assert rows_of(RecordLog.read(tmp_path)) == expected(range(5))
    assert rows_of(log) == expected(range(1000))
    log.finish()
    assert rows_of(RecordLog.read(tmp_path)) == expected(range(1000))


def test_a_finished_run_that_goes_on_is_unfinished_until_it_finishes_again(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, ROOMY)
    fill(log, range(5))
    record = log.to_record()
    fill(log, range(5, 9))
    log.finish()
    log = RecordLog.from_record(tmp_path, record, ROOMY)
    with pytest.raises(TableError, match="resume the run"):
        RecordLog.read(tmp_path)
    fill(log, range(5, 7))
    log.finish()
    assert rows_of(RecordLog.read(tmp_path)) == expected(range(7))


CHILD = """
import sys
from pathlib import Path
from novel_actors.config import RecordSettings
from novel_actors.simulation.records import RecordLog

folder = Path(sys.argv[1])
settings = RecordSettings(rows_in_memory_max=5, bytes_in_checkpoint_max=300)
log = RecordLog(folder, settings)
for tick in range(100_000):
    log.append("wealth", tick, {"mean": [tick / 2], "label": [f"tick {tick}"]})
    if tick % 3 == 0:
        record = folder / "record.new"
        folder.mkdir(exist_ok=True)
        record.write_bytes(log.to_record())
        record.replace(folder / "record")
        print(tick, flush=True)
assert "pandas" not in sys.modules
"""


@pytest.mark.parametrize("checkpoints", [1, 4, 17, 40])
def test_a_log_killed_at_any_moment_goes_on_from_its_checkpoint(tmp_path: Path, checkpoints: int) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, tmp_path / "run"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(checkpoints)]
        child.send_signal(signal.SIGKILL)
    log = RecordLog.from_record(tmp_path / "run", (tmp_path / "run" / "record").read_bytes(), TIGHT)
    rows = rows_of(log)
    last = rows["wealth"][-1][0]
    assert last >= seen[-1]
    assert rows == expected(range(last + 1))
    fill(log, range(last + 1, last + 30))
    log.finish()
    assert rows_of(RecordLog.read(tmp_path / "run")) == expected(range(last + 30))


def test_recording_and_reading_arrow_never_import_pandas(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from novel_actors.config import RecordSettings
from novel_actors.simulation.records import RecordLog
assert "pyarrow" not in sys.modules
log = RecordLog(Path(sys.argv[1]), RecordSettings())
columns = {
    "a": [1, None], "b": ["x", None], "c": np.ones((2, 3)), "d": [[1], []], "e": np.ones(2, bool),
    "f": [None] * 2,
}
log.append("t", 0, columns)
log.append("t", 1, columns)
assert "pyarrow" not in sys.modules
log = RecordLog.from_record(Path(sys.argv[1]), log.to_record(), RecordSettings())
log.append("t", 2, {**columns, "a": [0.5, 1]})
log.cut(2)
log.finish()
log.append("t", 4, columns)
log.append("t", 5, columns)
log.finish()
log.cut(4)
assert RecordLog.read(Path(sys.argv[1])).table("t").num_rows == 10
assert log.snapshot().table("t").num_rows == 8
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program, tmp_path], check=True)
