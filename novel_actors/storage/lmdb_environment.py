"""Opening the files of an LMDB store: refuse whatever is not ours, whole and free, before liblmdb reads it.

liblmdb maps the file and trusts it: a truncated file ends the process with SIGBUS, a bad page with SIGSEGV. So length
and pages are checked first, by code that only reads bytes.

A new file is built beside its place and renamed into it. Hence an empty or partial `data.mdb` is always damage, never a
store that somebody was about to create, and it is never taken for a new one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import lmdb
from lmdb import verify

from novel_actors.config import StorageSettings
from novel_actors.errors import (
    RecordDamaged,
    RecordForeign,
    RecordVersionMismatch,
    StoreDamaged,
    StoreFailed,
    StoreFull,
    StoreInUse,
    StoreUnreachable,
    StoreVersionMismatch,
)
from novel_actors.storage.sealed import seal, unseal
from novel_actors.storage.store import FORMAT_KEY

FORMAT_KIND = "store"
FORMAT_VERSION = 1

DATA_NAME = "data.mdb"
WRITER_NAME = "writer.lock"
_LOCK_NAME = "lock.mdb"
# Of liblmdb 0.9; the head of its table takes the room of two more.
_READER_BYTES = 64
_NEW_NAME = "new"
_META_PAGES = 2
# Within a meta page of liblmdb 0.9 on a 64-bit machine: a page header of 16 bytes, then MDB_meta.
_PAGE_BYTES_AT = 40
_COMMIT_NUMBER_AT = 144
_FULL_CODES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# The trees, the free list and the table of readers take more than the bytes of keys and values.
_COMMIT_OVERHEAD_BYTES = 1 << 20

# LMDB's and fcntl's locks both belong to a process and a file, and closing any descriptor of the file drops them: a
# second opening in one process would silently unlock the first.
_open_here: dict[str, int] = {}
_open_here_lock = Lock()


@dataclass(slots=True)
class LmdbEnvironment:
    """An open environment and what must be given back when it is closed.

    Attributes:
        writer_lock: Descriptor of the locked file of the writer; None when read-only.
        pid: The process that opened it.
    """

    path: Path
    handle: lmdb.Environment
    writer_lock: int | None
    pid: int

    def close(self) -> None:
        """Unmap the file and let others write. Call once, in the process that opened it."""
        self.handle.close()
        if self.writer_lock is not None:
            os.close(self.writer_lock)
        _release(self.path)


def open_environment(path: Path, settings: StorageSettings, *, readonly: bool) -> LmdbEnvironment:
    """Open the store in a directory, and create both unless `readonly`.

    Raises:
        StoreInUse: Open in this process, or open for writing in another.
        StoreUnreachable: Missing, no directory, or no rights.
        StoreDamaged: Truncated, damaged, or not a store.
        StoreVersionMismatch: A store of another format.
        StoreFull, StoreFailed: The system refused to create or map the file.
    """
    path = Path(os.path.realpath(path))
    _claim(path)
    writer_lock = None
    try:
        if not readonly:
            _make_directory(path)
            writer_lock = _lock_writer(path)
            if not (path / DATA_NAME).exists():
                _create(path, settings)
        handle = _open_checked(path, settings, readonly=readonly)
        return LmdbEnvironment(path, handle, writer_lock, os.getpid())
    except BaseException as error:
        if writer_lock is not None:
            os.close(writer_lock)
        _release(path)
        if isinstance(error, OSError):
            if is_disk_full(error, path, 0):
                raise StoreFull(str(path), 0, free_disk_bytes(path), "disk") from error
            raise StoreUnreachable(str(path), str(error)) from error
        raise


def verify_file(path: Path) -> None:
    """Check every page of the file of a store that nobody has open for writing, without liblmdb.

    Raises:
        StoreDamaged: With the first findings.
    """
    try:
        findings: list[str] = verify.verify(str(path), subdir=True)  # type: ignore[no-untyped-call]
    except verify.VerifyError as error:
        raise StoreDamaged(str(path), str(error)) from error
    if findings:
        raise StoreDamaged(
            str(path),
            f"{len(findings)} faults in {DATA_NAME}, the first: {findings[0]} "
            "(a readonly opening, or StorageSettings(verify_bytes_max=0), shows what is left, at the risk of a crash)",
        )


def _claim(path: Path) -> None:
    with _open_here_lock:
        if _open_here.get(str(path)) == os.getpid():
            raise StoreInUse(str(path), os.getpid())
        _open_here[str(path)] = os.getpid()


def _release(path: Path) -> None:
    with _open_here_lock:
        _open_here.pop(str(path), None)


def _lock_writer(path: Path) -> int:
    """Return the descriptor of the locked writer file; the kernel unlocks it however this process ends."""
    descriptor = os.open(path / WRITER_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except OSError as error:
        holder = os.read(descriptor, 20)
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise StoreInUse(str(path), int(holder) if holder.isdigit() else 0) from error
        raise
    return descriptor


def _create(path: Path, settings: StorageSettings) -> None:
    """Put an empty store into the directory, whole or not at all. The caller holds the writer lock."""
    new = path / _NEW_NAME
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        handle = _map(new, settings, readonly=False)
        try:
            with handle.begin(write=True) as transaction:
                transaction.put(FORMAT_KEY, seal(FORMAT_KIND, FORMAT_VERSION, b""))
        finally:
            handle.close()
        # What is put beside the data at the next opening must find room now, or the directory is left without a store.
        (new / _LOCK_NAME).replace(path / _LOCK_NAME)
        (new / DATA_NAME).rename(path / DATA_NAME)
    except lmdb.Error as error:
        if is_disk_full(error, path, 0):
            raise StoreFull(str(path), 0, free_disk_bytes(path), "disk") from error
        raise StoreFailed(str(path), 0, str(error)) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    _sync_directory(path)


def _open_checked(path: Path, settings: StorageSettings, *, readonly: bool) -> lmdb.Environment:
    data = path / DATA_NAME
    if not data.is_file():
        raise StoreUnreachable(str(path), f"it has no {DATA_NAME}")
    file_bytes = data.stat().st_size
    if file_bytes < _META_PAGES * os.sysconf("SC_PAGE_SIZE"):
        raise StoreDamaged(str(path), f"{DATA_NAME} has {file_bytes} bytes, less than the smallest store")
    # A reader cannot verify: the writer may be changing pages under it.
    if not readonly:
        if file_bytes <= settings.verify_bytes_max:
            verify_file(path)
        _check_commit_numbers(path)
    try:
        handle = _map(path, settings, readonly=readonly)
    except (lmdb.InvalidError, lmdb.VersionMismatchError) as error:
        raise StoreDamaged(str(path), f"{DATA_NAME} is no LMDB file that can be read here: {error}") from error
    except lmdb.MemoryError as error:
        raise StoreFailed(str(path), 0, f"no address space for a map of {settings.map_bytes_min} bytes") from error
    except lmdb.Error as error:
        if is_disk_full(error, path, 0):
            raise StoreFull(str(path), 0, free_disk_bytes(path), "disk") from error
        raise StoreUnreachable(str(path), str(error)) from error
    try:
        _check_length(path, handle)
        _check_format(path, handle)
        handle.reader_check()
    except BaseException:
        handle.close()
        raise
    return handle


def _check_commit_numbers(path: Path) -> None:
    """Refuse a file whose two last commits are not consecutive.

    Commits alternate between the first two pages and the higher number counts. Pages of liblmdb bear no checksum: an
    altered number would quietly bring back the state before the last commit.
    """
    with (path / DATA_NAME).open("rb") as file:
        (page_bytes,) = struct.unpack("=I", os.pread(file.fileno(), 4, _PAGE_BYTES_AT))
        numbers = [
            struct.unpack("=Q", os.pread(file.fileno(), 8, page * page_bytes + _COMMIT_NUMBER_AT).ljust(8))[0]
            for page in range(_META_PAGES)
        ]
    if abs(numbers[0] - numbers[1]) != 1:
        raise StoreDamaged(
            str(path), f"the last two commits of {DATA_NAME} have the numbers {numbers[0]}, {numbers[1]}"
        )


def _map(path: Path, settings: StorageSettings, *, readonly: bool) -> lmdb.Environment:
    """Open the environment with the largest map that the system grants."""
    if not readonly:
        _allocate_reader_table(path, settings)
    map_bytes = settings.map_bytes
    while True:
        try:
            return lmdb.open(
                str(path),
                map_size=map_bytes,
                readonly=readonly,
                create=not readonly,
                max_readers=settings.readers_max,
                max_spare_txns=8,
                # Without either of these a power cut can lose a commit or the file.
                sync=True,
                metasync=True,
            )
        except lmdb.MemoryError:
            if map_bytes // 2 < settings.map_bytes_min:
                raise
            map_bytes //= 2


def _allocate_reader_table(path: Path, settings: StorageSettings) -> None:
    """Give the file of the reader table its blocks now.

    liblmdb makes it with holes and writes it through a map: on a full disk the first reader would end with SIGBUS. An
    existing table keeps its length, which other processes have mapped.
    """
    descriptor = os.open(path / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        table_bytes = os.fstat(descriptor).st_size or (settings.readers_max + 2) * _READER_BYTES
        os.posix_fallocate(descriptor, 0, table_bytes)
    finally:
        os.close(descriptor)


def _check_length(path: Path, handle: lmdb.Environment) -> None:
    """Refuse a file that ends before its last page; only its first two pages are read for it."""
    expected = (handle.info()["last_pgno"] + 1) * handle.stat()["psize"]
    found = (path / DATA_NAME).stat().st_size
    if found < expected:
        # Pages freed at the end of the file may never have been written, so only a walk can tell. The snapshot keeps a
        # writer from using pages of this walk again.
        with handle.begin():
            verify_file(path)


def _check_format(path: Path, handle: lmdb.Environment) -> None:
    try:
        with handle.begin() as transaction:
            record = transaction.get(FORMAT_KEY)
        unseal(record or b"", FORMAT_KIND, FORMAT_VERSION)
    except RecordVersionMismatch as error:
        raise StoreVersionMismatch(str(path), error.found, error.expected) from error
    except (RecordForeign, RecordDamaged) as error:
        raise StoreDamaged(str(path), "it is an LMDB file without the format record of novel_actors") from error
    except lmdb.Error as error:
        raise StoreDamaged(str(path), str(error)) from error


def free_disk_bytes(path: Path) -> int:
    """Return the bytes that a process without privileges may still write on the disk of a path, existing or not."""
    while not path.exists():
        path = path.parent
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def is_disk_full(error: Exception, path: Path, wanted_bytes: int) -> bool:
    """Return whether a write of some keys and values failed for want of space on the disk."""
    code = error.code if isinstance(error, lmdb.Error) else getattr(error, "errno", None)
    # liblmdb reports a short write, which is how a full disk shows, as an input/output error.
    return code in _FULL_CODES or (code == errno.EIO and free_disk_bytes(path) < wanted_bytes + _COMMIT_OVERHEAD_BYTES)


def _make_directory(path: Path) -> None:
    """Make a directory with its parents, durably."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _sync_directory(folder.parent)


def _sync_directory(path: Path) -> None:
    """Make the names in a directory durable; liblmdb syncs its file, not the directory that names it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
