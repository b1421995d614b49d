"""The append-only tables of one run: collected frames, events, columns of agents.

A table is a row of immutable Parquet parts and a tail in memory. A part is complete or not there: it is written under
a temporary name, synced and renamed, and never changed. Which parts count is not read from the folder but said by a
record: that of a checkpoint, or the one `finish` leaves beside the tables. So a run killed at any moment leaves, at
worst, files that no record names; they are deleted when the run goes on.

Rejected: one Parquet file with a row group for each flush, which is unreadable until its footer is written, and so lost
by a kill; and appending rows to the store of the checkpoints, whose old pages would pin every row that was cut.

Invariants of a table: ticks do not decrease along parts, head and open rows; each row is in one of them; the columns
are those of the first append.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from novel_actors.config import RecordSettings
from novel_actors.errors import TableError
from novel_actors.simulation.record_columns import Array, Chunk, arrow_type, examine, is_kind, join, to_arrow
from novel_actors.storage.sealed import pack, unpack

if TYPE_CHECKING:
    import pyarrow as pa

TICK = "tick"
"""The first column of every table."""

_FORMAT, _VERSION = "novel_actors.tables", 1
_FOLDER, _INDEX = "tables", "tables.msgpack"
_TABLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_PART_NAME = re.compile(r"\d{1,19}-\d{1,19}(\.\d{1,9})?\.parquet")
_TEMPORARY = ".partial"
_APPEND_BYTES = 200
"""What the bookkeeping of one append takes, for the memory bound."""


class _Part(msgspec.Struct, frozen=True, array_like=True):
    """One finished file. The sum covers all of it, so that every altered bit is found before Parquet parses it."""

    file: str
    first_tick: int
    last_tick: int
    rows: int
    size_bytes: int
    crc32: int


class _TableRecord(msgspec.Struct, frozen=True):
    name: str
    columns: list[str]
    kinds: list[str]
    born_tick: int
    last_tick: int
    parts: list[_Part]
    tail: bytes
    """Arrow IPC stream of the rows in memory; empty without any."""


class _LogRecord(msgspec.Struct, frozen=True):
    tables: list[_TableRecord]


@dataclass(slots=True)
class _Append:
    tick: int
    rows: int
    size_bytes: int
    chunks: list[Chunk]


@dataclass(slots=True)
class _Table:
    """Rows in `head` are already Arrow; `appends` follow them, as they came."""

    name: str
    columns: tuple[str, ...]
    kinds: list[str]
    born_tick: int
    last_tick: int
    parts: list[_Part] = field(default_factory=list)
    head: pa.Table | None = None
    appends: list[_Append] = field(default_factory=list)
    rows: int = 0
    """In memory, as `size_bytes`."""
    size_bytes: int = 0

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        fields = [(TICK, pa.int64())]
        fields += [(name, arrow_type(kind)) for name, kind in zip(self.columns, self.kinds, strict=True)]
        return pa.schema(fields)

    def tail(self) -> pa.Table:
        """Return the rows in memory, and keep them in this form."""
        import pyarrow as pa

        schema = self.schema()
        pieces = [] if self.head is None else [self.head.cast(schema, safe=False)]
        if self.appends:
            ticks = np.repeat([each.tick for each in self.appends], [each.rows for each in self.appends])
            arrays = [to_arrow("int64", [ticks.astype(np.int64)])]
            arrays += [to_arrow(k, [each.chunks[i] for each in self.appends]) for i, k in enumerate(self.kinds)]
            pieces.append(pa.Table.from_arrays(arrays, schema=schema))
        if not pieces:
            # `empty_table` would import pandas.
            return pa.Table.from_arrays([pa.nulls(0, each.type) for each in schema], schema=schema)
        self.head = pa.concat_tables(pieces).combine_chunks()
        self.appends = []
        self.size_bytes = self.head.nbytes
        return self.head

    def keep_to(self, tick: int) -> None:
        """Forget the rows in memory later than a tick."""
        kept = bisect_right(self.appends, tick, key=lambda each: each.tick)
        del self.appends[kept:]
        if self.head is not None:
            self.head = self.head.slice(0, int(np.searchsorted(_ticks(self.head), tick, side="right")))
        self._measure()

    def replace_tail(self, head: pa.Table | None) -> None:
        self.head, self.appends = head, []
        self._measure()

    def _measure(self) -> None:
        if self.head is not None and not self.head.num_rows:
            self.head = None
        head_rows, head_bytes = (0, 0) if self.head is None else (self.head.num_rows, self.head.nbytes)
        self.rows = head_rows + sum(each.rows for each in self.appends)
        self.size_bytes = head_bytes + sum(each.size_bytes for each in self.appends)


def _ticks(table: pa.Table) -> Array:
    """Return the tick column. It has no nulls; `to_numpy` is avoided since it imports pandas."""
    chunks = [
        np.frombuffer(chunk.buffers()[1], np.int64, len(chunk), chunk.offset * 8)
        for chunk in table.column(TICK).chunks
        if len(chunk)
    ]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.int64)


class _Folder:
    """Where parts are: the folder of the run, or a private one that goes when the last log on it is gone."""

    __slots__ = ("__weakref__", "_path", "private")

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.private = path is None

    def path(self) -> Path:
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix="novel-actors-"))
            weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        return self._path

    def part_path(self, table: str, file: str) -> Path:
        return self.path() / _FOLDER / table / file


class RecordLog:
    """What one run recorded, table by table; every table has a column `tick`, which never decreases.

    Appending costs microseconds. Memory is bounded by the settings; what passes the bound is written as Parquet parts,
    with a run folder under `tables/NAME/`, else in a private temporary folder. One thread uses a log at a time.

    Args:
        directory: The run folder; without one, what is recorded lasts as long as this log and its snapshots.
    """

    __slots__ = ("_closed", "_folder", "_recorded", "_rows", "_settings", "_size_bytes", "_tables")

    def __init__(self, directory: Path | None, settings: RecordSettings) -> None:
        self._folder = _Folder(directory)
        self._settings = settings
        self._tables: dict[str, _Table] = {}
        self._rows = 0
        self._size_bytes = 0
        self._closed = False
        # Files that a record or a snapshot made by this log may name: they outlive a cut.
        self._recorded: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<RecordLog of {len(self._tables)} tables, {self.rows_total} rows, {self._rows} of them in memory>"

    @property
    def rows_total(self) -> int:
        """Rows of all tables."""
        return sum(self.rows(name) for name in self._tables)

    @property
    def rows_in_memory(self) -> int:
        """Rows that no part holds yet."""
        return self._rows

    @property
    def bytes_in_memory(self) -> int:
        """About how many bytes they take."""
        return self._size_bytes

    def tables(self) -> tuple[str, ...]:
        """Return the names of all tables, in the order of their first appends."""
        return tuple(self._tables)

    def columns(self, name: str) -> tuple[str, ...]:
        """Return the columns of a table, `tick` first."""
        return (TICK, *self._tables[name].columns)

    def rows(self, name: str) -> int:
        """Return the length of a table."""
        table = self._tables[name]
        return table.rows + sum(part.rows for part in table.parts)

    def append(self, table: str, tick: int, columns: Mapping[str, Array | Sequence[object]]) -> None:
        """Append rows of one tick; the values are copied. The first append fixes the names and types of the columns.

        Later appends may give None, integers for floats, and floats for integers: the column is then one of floats.

        Args:
            table: Letters, digits, `_`, `-`, `.`; no more than 200.
            tick: Not below that of the rows already there.
            columns: By name, all of one length: (n,) or (n, k) arrays, or lists of int, float, bool, str, bytes, None,
                or lists of such.

        Raises:
            TableError: The rows do not fit; nothing was appended. Or a part could not be written: the rows are kept.
        """
        assert not self._closed, "a closed log or a snapshot takes no rows"
        found = self._tables.get(table)
        if found is None:
            found = _new_table(table, tick, columns)
        assert tick >= found.last_tick, f"table {table} is at tick {found.last_tick}, got rows of tick {tick}"
        append, kinds = _append(found, tick, columns)
        self._tables[table] = found
        found.kinds = kinds
        found.last_tick = tick
        if not append.rows:
            return
        found.appends.append(append)
        found.rows += append.rows
        found.size_bytes += append.size_bytes
        self._rows += append.rows
        self._size_bytes += append.size_bytes
        if self._rows > self._settings.rows_in_memory_max or self._size_bytes > self._settings.bytes_in_memory_max:
            self._spill(self._settings.rows_in_memory_max, self._settings.bytes_in_memory_max)

    def cut(self, tick: int) -> None:
        """Forget every row later than a tick, and every table that began later.

        Raises:
            TableError: A part that holds rows to keep is missing or damaged; nothing was forgotten.
        """
        assert not self._closed, "a closed log or a snapshot cannot be cut"
        # At most one part of a table goes across the tick; its earlier rows return to memory.
        torn = {
            table.name: self._read_part(table, part)
            for table in self._tables.values()
            for part in table.parts
            if part.first_tick <= tick < part.last_tick
        }
        for table in list(self._tables.values()):
            gone = [part for part in table.parts if part.last_tick > tick]
            table.parts = table.parts[: len(table.parts) - len(gone)]
            if table.name in torn:
                table.replace_tail(torn[table.name])
            table.keep_to(tick)
            table.last_tick = min(table.last_tick, tick)
            if table.born_tick > tick:
                del self._tables[table.name]
            for part in gone:
                if (table.name, part.file) not in self._recorded:
                    self._folder.part_path(table.name, part.file).unlink(missing_ok=True)
        self._count()

    def table(self, name: str) -> pa.Table:
        """Return a whole table, in memory.

        Raises:
            TableError: There is no such table, or a part is missing or damaged: the message names the file.
        """
        import pyarrow as pa

        if name not in self._tables:
            raise TableError(f"no table {name!r}; there are {', '.join(self._tables) or 'none'}")
        table = self._tables[name]
        schema = table.schema()
        parts = [self._read_part(table, part).cast(schema, safe=False) for part in table.parts]
        tail = table.tail()
        self._count()
        return pa.concat_tables([*parts, tail])

    def to_record(self) -> bytes:
        """Return what a checkpoint keeps: the names of finished parts, and the rows in memory.

        With a run folder, tails beyond `bytes_in_checkpoint_max` become parts first: the cost is bounded. Without one
        the record holds rows in memory only, and serves `from_record` as long as none had to leave it; this log itself
        can always be cut.
        """
        if not self._folder.private:
            self._spill(self._settings.rows_in_memory_max, self._settings.bytes_in_checkpoint_max)
        return self._record()

    @classmethod
    def from_record(cls, directory: Path | None, record: bytes, settings: RecordSettings) -> RecordLog:
        """Return the log as it was at `to_record`. Parts that the record does not name are deleted from the folder.

        Raises:
            TableError: A part is missing or has another size; the folder is unchanged.
            RecordError: The record is damaged, foreign or of another version.
        """
        log = cls(directory, settings)
        log._restore(record)
        log._recorded = log._named()
        if directory is not None:
            with _writing(directory / _INDEX):
                # The list of a finished run may name parts that are deleted next: the run is no longer finished.
                (directory / _INDEX).unlink(missing_ok=True)
                _sweep(directory, log._recorded)
        return log

    @classmethod
    def fork(cls, source: Path, record: bytes, directory: Path | None, settings: RecordSettings) -> RecordLog:
        """Return the log of a record of another run folder, which stays as it is; later parts go to `directory`.

        Raises:
            TableError, RecordError: As for `from_record`.
        """
        assert directory is None or directory.resolve() != source.resolve(), "a fork wants a folder of its own"
        original = cls(source, settings)
        original._restore(record)
        log = original.snapshot()
        log._folder = _Folder(directory)
        log._recorded = set()
        log._closed = False
        for table, file in original._named():
            target = log._folder.part_path(table, file)
            with _writing(target):
                _make_folder(target.parent)
                _link(original._folder.part_path(table, file), target)
        return log

    def snapshot(self) -> RecordLog:
        """Return a log that shows what is here now, whatever happens to this one later. It takes no rows itself."""
        self._recorded |= self._named()
        copy = RecordLog(None, self._settings)
        copy._folder = self._folder
        for table in self._tables.values():
            table.tail()
            copy._tables[table.name] = replace(table, kinds=list(table.kinds), parts=list(table.parts), appends=[])
        copy._closed = True
        self._count()
        copy._count()
        return copy

    def finish(self) -> None:
        """Write the rows in memory as last parts and say which parts count, so that the run folder alone holds all.

        More may be appended, and finished, afterwards. Without a run folder nothing happens.

        Raises:
            TableError: Something could not be written; nothing is lost from memory or from earlier parts.
        """
        if self._folder.private:
            return
        self._spill(0, 0)
        record = self._record()
        path = self._folder.path() / _INDEX
        with _writing(path):
            _make_folder(path.parent)
            _write(path, record)
        _sweep(self._folder.path(), self._recorded)

    def close(self) -> None:
        """Let go of memory and of a private folder; snapshots keep what they show. Nothing can be read afterwards."""
        self._closed = True
        self._tables = {}
        self._folder = _Folder(None)
        self._count()

    @classmethod
    def read(cls, directory: Path) -> RecordLog:
        """Open the tables of a finished run, to read.

        Raises:
            TableError: There is no finished run, or a part is missing or has another size.
            RecordError: The list of parts is damaged, foreign or of another version.
        """
        path = directory / _INDEX
        try:
            record = path.read_bytes()
        except OSError as error:
            raise TableError(f"no finished tables in {directory}: {path}: {error.strerror}; resume the run") from error
        log = cls(directory, RecordSettings())
        log._restore(record)
        log._closed = True
        return log

    def _named(self) -> set[tuple[str, str]]:
        return {(table.name, part.file) for table in self._tables.values() for part in table.parts}

    def _count(self) -> None:
        self._rows = sum(table.rows for table in self._tables.values())
        self._size_bytes = sum(table.size_bytes for table in self._tables.values())

    def _spill(self, rows_max: int, bytes_max: int) -> None:
        """Write the longest tails as parts until both bounds hold."""
        while self._rows > rows_max:
            self._write_part(max(self._tables.values(), key=lambda table: table.rows))
        while self._rows and self._size_bytes > bytes_max:
            self._write_part(max(self._tables.values(), key=lambda table: table.size_bytes if table.rows else 0))

    def _write_part(self, table: _Table) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        tail = table.tail()
        ticks = _ticks(tail)
        first, last = int(ticks[0]), int(ticks[-1])
        texts = [name for name, kind in zip(table.columns, table.kinds, strict=True) if kind in ("string", "binary")]
        sink = pa.BufferOutputStream()
        pq.write_table(tail, sink, compression="zstd", use_dictionary=texts)
        data = sink.getvalue()
        path = self._folder.part_path(table.name, f"{first}-{last}.parquet")
        with _writing(path):
            _make_folder(path.parent)
            again = 0
            while path.exists():  # rows of one tick in two parts, or a part that was cut but is still named by a record
                again += 1
                path = path.with_name(f"{first}-{last}.{again}.parquet")
            _write(path, data)
        table.parts.append(_Part(path.name, first, last, len(ticks), len(data), zlib.crc32(data)))
        table.replace_tail(None)
        self._count()

    def _read_part(self, table: _Table, part: _Part) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._folder.part_path(table.name, part.file)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TableError(f"table {table.name}: cannot read {path}: {error.strerror}") from error
        if len(data) != part.size_bytes or zlib.crc32(data) != part.crc32:
            raise TableError(f"table {table.name}: {path} is damaged: it is not the file that was written")
        return pq.ParquetFile(pa.BufferReader(data)).read()

    def _record(self) -> bytes:
        tables = []
        for table in self._tables.values():
            tail = _to_ipc(table.tail()) if table.rows else b""
            tables.append(
                _TableRecord(
                    name=table.name,
                    columns=list(table.columns),
                    kinds=table.kinds,
                    born_tick=table.born_tick,
                    last_tick=table.last_tick,
                    parts=table.parts,
                    tail=tail,
                )
            )
        self._recorded |= self._named()
        self._count()
        return pack(_LogRecord(tables), _FORMAT, _VERSION)

    def _restore(self, record: bytes) -> None:
        for each in unpack(record, _LogRecord, _FORMAT, _VERSION).tables:
            names = (_TABLE_NAME.fullmatch(each.name), *(_PART_NAME.fullmatch(part.file) for part in each.parts))
            if not all(names) or len(each.kinds) != len(each.columns) or not all(map(is_kind, each.kinds)):
                raise TableError(f"the record of table {each.name!r:.80} contradicts itself")
            table = _Table(each.name, tuple(each.columns), each.kinds, each.born_tick, each.last_tick, each.parts)
            table.replace_tail(_from_ipc(each.tail) if each.tail else None)
            self._tables[each.name] = table
            for part in each.parts:
                self._check_part(table, part)
        self._count()

    def _check_part(self, table: _Table, part: _Part) -> None:
        """Raise when a part is not there at its full size; its bytes are checked when they are read."""
        if self._folder.private:
            raise TableError(
                f"table {table.name}: {part.file} was kept in a private folder that is gone; give the run a store"
            )
        path = self._folder.part_path(table.name, part.file)
        try:
            size_bytes = path.stat().st_size
        except OSError as error:
            raise TableError(f"table {table.name}: cannot read {path}: {error.strerror}") from error
        if size_bytes != part.size_bytes:
            raise TableError(
                f"table {table.name}: {path} is damaged: it has {size_bytes} bytes, {part.size_bytes} were written"
            )


def _new_table(name: str, tick: int, columns: Mapping[str, Array | Sequence[object]]) -> _Table:
    if not _TABLE_NAME.fullmatch(name):
        raise TableError(f"a table's name wants 1 to 200 letters, digits, '_', '-', '.' (not first), got {name!r:.250}")
    if not columns or TICK in columns:
        raise TableError(
            f"table {name} wants columns, none of them called {TICK!r}, got {', '.join(columns) or 'none'}"
        )
    return _Table(name, tuple(columns), ["null"] * len(columns), born_tick=tick, last_tick=tick)


def _append(table: _Table, tick: int, columns: Mapping[str, Array | Sequence[object]]) -> tuple[_Append, list[str]]:
    """Return rows checked against a table and copied, and the kinds of its columns with them."""
    if len(columns) != len(table.columns) or any(name not in columns for name in table.columns):
        raise TableError(
            f"table {table.name} has columns {', '.join(table.columns)}; got {', '.join(columns)} at tick {tick}"
        )
    chunks: list[Chunk] = []
    kinds: list[str] = []
    size_bytes = 0
    for name, kind in zip(table.columns, table.kinds, strict=True):
        try:
            found, chunk, chunk_bytes = examine(columns[name])
            kinds.append(kind if kind == found else join(kind, found))
        except (TypeError, OverflowError, UnicodeEncodeError) as error:
            raise TableError(f"table {table.name}, column {name}, tick {tick}: {error}") from error
        chunks.append(chunk)
        size_bytes += chunk_bytes
    rows = len(chunks[0])
    if any(len(chunk) != rows for chunk in chunks):
        lengths = ", ".join(f"{name} {len(chunk)}" for name, chunk in zip(table.columns, chunks, strict=True))
        raise TableError(f"table {table.name} wants columns of one length, got {lengths} at tick {tick}")
    return _Append(tick, rows, size_bytes + _APPEND_BYTES, chunks), kinds


def _to_ipc(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _from_ipc(data: bytes) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_stream(data).read_all()


class _writing:  # noqa: N801 - reads as a phrase: with _writing(path)
    """Turn what the system says against a write into one error that names the file."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise TableError(f"cannot write {self._path}: {error.strerror}; earlier data is intact") from error


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, each durable in the one above."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync_folder(path.parent)


def _write(path: Path, data: bytes) -> None:
    """Write a file that is complete, durable and under its name, or not there."""
    temporary = path.with_name(path.name + _TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _link(source: Path, target: Path) -> None:
    """Give an immutable file a second name; copy it where the file systems differ."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        _write(target, source.read_bytes())
    else:
        _sync_folder(target.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(directory: Path, kept: set[tuple[str, str]]) -> None:
    """Delete parts that nobody names, and what a killed write left. Files of other names are not ours."""
    for path in (directory / _FOLDER).glob("*/*.parquet*"):
        ours = _PART_NAME.fullmatch(path.name.removesuffix(_TEMPORARY))
        if ours and (path.parent.name, path.name) not in kept:
            path.unlink(missing_ok=True)
    (directory / (_INDEX + _TEMPORARY)).unlink(missing_ok=True)
