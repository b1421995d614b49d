"""`Run`: one execution of a model, from outside; and how one is begun, resumed, replayed and forked."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import signal
import threading
import time
import types
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from novel_actors.config import LOCAL_CPUS_MAX, AsyncSettings, CollectorSettings, RecordSettings
from novel_actors.core.clock import SystemClock
from novel_actors.core.random_streams import RandomStreams
from novel_actors.errors import (
    ModelError,
    ModelNotFound,
    NovelActorsError,
    RecordDamaged,
    RecordError,
    RunError,
    RunFolderError,
    TooManyShards,
)
from novel_actors.memory.collector import seldom_collection
from novel_actors.runtime.local import LocalRuntime
from novel_actors.runtime.runtime import Runtime
from novel_actors.simulation.checkpoint import CheckpointStore, last_before
from novel_actors.simulation.coordinator import Coordinator, RunStatistics
from novel_actors.simulation.fields import is_whole
from novel_actors.simulation.ids import KIND_SHIFT, agent_id, partition_of
from novel_actors.simulation.message import Record
from novel_actors.simulation.model import Model
from novel_actors.simulation.partition import NEVER
from novel_actors.simulation.progress import ProgressBar
from novel_actors.simulation.records import RecordLog
from novel_actors.simulation.result import Result, to_frame
from novel_actors.simulation.run_folder import (
    MANIFEST,
    STORE,
    RunManifest,
    clear_folder,
    create_folder,
    make_manifest,
    make_model,
    read_manifest,
    write_manifest,
)
from novel_actors.simulation.shard import Standing
from novel_actors.simulation.snapshot import PartitionState, digest_of_blobs, restore_partition, run_digest
from novel_actors.simulation.tick import refuse_message
from novel_actors.storage.lmdb_environment import DATA_NAME
from novel_actors.storage.lmdb_store import LmdbStore

if TYPE_CHECKING:
    import pandas as pd

    from novel_actors.simulation.simulation import Simulation


class SavedAgents:
    """The agents of a run's end, read out of the saved states when somebody asks (`FinalState` of a result)."""

    def __init__(self, model: Model, states: Sequence[PartitionState]) -> None:
        self._model, self._states = model, states

    def kinds(self) -> tuple[str, ...]:
        """See `FinalState`."""
        return tuple(kind.name for kind in self._model.kinds)

    def count(self, kind_name: str) -> int:
        """See `FinalState`."""
        return len(self.columns(kind_name)["id"])

    def columns(self, kind_name: str) -> dict[str, Any]:
        """See `FinalState`."""
        kind = next(kind for kind in self._model.kinds if kind.name == kind_name)
        pieces: list[dict[str, Any]] = []
        for state in self._states:
            partition, parts = restore_partition(self._model, state, {})
            if kind.is_population:
                count, _, serials, columns = parts[kind.number]
                first = agent_id(kind.number, state.partition, 0)
                ids = np.arange(count) if serials is None else serials
                pieces.append({"id": ids + first, **columns})
            else:
                agents = list(partition.groups[kind.number].agents.values())
                ids = np.array([agent.id for agent in agents], np.int64)
                pieces.append({"id": ids, **self._model.codecs[kind.number].columns(agents)})
        return join_pieces(pieces)


class CountedAgents:
    """The agents of a run's end where the model is not at hand: how many, and no more (`FinalState` of a result)."""

    def __init__(self, counts: dict[str, int], missing: ModelNotFound) -> None:
        self._counts, self._missing = counts, missing

    def kinds(self) -> tuple[str, ...]:
        """See `FinalState`."""
        return tuple(self._counts)

    def count(self, kind_name: str) -> int:
        """See `FinalState`."""
        return self._counts[kind_name]

    def columns(self, kind_name: str) -> dict[str, Any]:
        """Raise `ModelNotFound`: only the model knows what the fields are."""
        raise ModelNotFound(self._missing.path, self._missing.missing)


def join_pieces(pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return columns of partitions one behind the other."""
    joined: dict[str, Any] = {}
    for name in pieces[0]:
        parts = [piece[name] for piece in pieces]
        joined[name] = (
            np.concatenate(parts) if isinstance(parts[0], np.ndarray) else [value for part in parts for value in part]
        )
    return joined


class Run:
    """One execution of a model. Made by `Simulation.start`, `na.resume`, `na.replay` and `na.fork`.

    Attributes:
        id: Its name.
        path: Its folder, or None.
        model: What it runs.
    """

    def __init__(
        self,
        model: Model,
        coordinator: Coordinator,
        runtime: Runtime,
        manifest: RunManifest,
        path: Path | None,
        progress: bool | None,
        owns_runtime: bool,
    ) -> None:
        self.id, self.path, self.model = manifest.id, path, model
        self._coordinator, self._runtime, self._manifest = coordinator, runtime, manifest
        self._progress = progress
        self._interrupted = threading.Event()
        self._is_open = True
        self._is_broken = False
        self._result: Result | None = None
        self._owns_runtime = owns_runtime

    # Going on ---------------------------------------------------------------------------------------------------

    @property
    def tick(self) -> int:
        """The last whole tick."""
        return self._coordinator.tick

    @property
    def reason(self) -> str | None:
        """Why the run stopped by itself, or None when it can go on."""
        return self._coordinator.reason

    def advance(self, ticks: int | None = None) -> None:
        """Run so many ticks, or fewer when a stop rule holds or the run is interrupted.

        Args:
            ticks: At least 0; None goes on to the goal that was set before, or until a stop rule holds.

        Raises:
            KeyboardInterrupt: Ctrl-C: the run stands at a whole tick, and can go on; a second one breaks off in a tick.
            AgentError: An agent raised. With a store the run stands at the whole tick before it, saved.
            RunError: The run is closed or was broken off, or there is no goal and no stop rule.
        """
        self._check_usable()
        if ticks is not None and (not is_whole(ticks) or ticks < 0):
            raise RunError(f"advance wants a number of ticks >= 0, got {ticks!r}")
        goal = self._goal(ticks)
        if self._coordinator.reason == "interrupted":
            self._coordinator.reason = None
        bar = ProgressBar(None if goal == NEVER else goal, self._progress)
        by_signal = False
        try:
            with self._stop_on_sigint() as signals, seldom_collection(CollectorSettings()):
                self._runtime.run(self._coordinator.advance(goal, self._interrupted.is_set, lambda: self._show(bar)))
            by_signal = bool(signals)
        except BaseException:
            self._is_broken = not self._coordinator.is_whole
            raise
        finally:
            self._interrupted.clear()
            bar.close()
        if by_signal:
            raise KeyboardInterrupt(f"run {self.id} stands at the whole tick {self.tick}")

    def _goal(self, ticks: int | None) -> int:
        manifest = self._manifest
        if ticks is not None:
            goal = self.tick + int(ticks)
        elif manifest.goal is not None and manifest.goal > self.tick:
            return manifest.goal
        elif manifest.goal is not None:
            return self.tick
        elif self.model.stop_predicates or self.model.stop_quiescent or self.model.stop_wall_time_s is not None:
            return NEVER
        else:
            raise RunError("advance wants a number of ticks: the run has no goal and no stop rule")
        if goal != manifest.goal:
            manifest.goal = goal
            self._write_manifest()
        return goal

    def _show(self, bar: ProgressBar) -> None:
        coordinator = self._coordinator
        bar.update(coordinator.tick, coordinator.agents, coordinator.messages_total)

    @contextlib.contextmanager
    def _stop_on_sigint(self) -> Iterator[list[int]]:
        """Let Ctrl-C end the run at a whole tick, where nobody else handles it; a second one breaks off.

        Yields:
            A list to which the signals that come are added.
        """
        came: list[int] = []
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        ):
            yield came
            return

        def handle(number: int, frame: types.FrameType | None) -> None:
            if came:
                raise KeyboardInterrupt
            came.append(number)
            self._interrupted.set()

        signal.signal(signal.SIGINT, handle)
        try:
            yield came
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(self) -> None:
        """Ask the run to stop at the end of this tick; may be called from a signal handler or another thread."""
        self._interrupted.set()

    def complete(self) -> Result:
        """Advance to the goal, close the run and return the result."""
        try:
            self.advance()
            return self.result()
        finally:
            self.close()

    def rescale(self, shards: int) -> None:
        """Go on with another number of shards; the result stays the same.

        Raises:
            ModelError: More shards than partitions, or less than one.
        """
        self._check_usable()
        check_shards(self.model, shards)
        self._runtime.run(self._coordinator.rescale(shards))

    def inject(self, agent_id: int, message: object) -> int:
        """Let a message enter at the next tick, ahead of all others; it is recorded first. Return that tick.

        Raises:
            ModelError: Nobody receives messages of this class.
            RunError: No agent can have this id.
        """
        self._check_usable()
        if message.__class__ not in self.model.entries.numbers:
            refuse_message("inject", message)
        if not is_whole(agent_id):
            raise RunError(f"inject wants the id of an agent, got {agent_id!r:.80}")
        number = int(agent_id)
        known = 0 <= number >> KIND_SHIFT < len(self.model.kinds) and partition_of(number) < self.model.partitions
        if not known:
            raise RunError(f"no agent can have the id {number}: see run.agents(Kind)")
        assert isinstance(message, Record)
        return self._runtime.run(self._coordinator.inject(number, message))

    def checkpoint(self) -> int:
        """Make a checkpoint of this tick, wait until it counts, and return the tick.

        Raises:
            RunError: The run has no store.
            StoreFull: There is no room; earlier checkpoints are as they were.
        """
        self._check_usable()
        return self._runtime.run(self._coordinator.checkpoint())

    # Reading ----------------------------------------------------------------------------------------------------

    def agents(self, kind: type | str) -> pd.DataFrame:
        """Return the living agents of a kind as a DataFrame indexed by id, one column for each field."""
        self._check_usable()
        number = self._kind_number(kind)
        return to_frame(join_pieces(self._runtime.run(self._coordinator.columns(number))))

    def _kind_number(self, kind: type | str) -> int:
        if isinstance(kind, str):
            named = {k.name: k.number for k in self.model.kinds}
            if kind not in named:
                raise ModelError(f"{kind} is no kind of this model; it has {', '.join(named)}")
            return named[kind]
        return self.model.number_of(kind)

    def statistics(self) -> RunStatistics:
        """Return what the run has done in this process."""
        return self._runtime.run(self._coordinator.statistics())

    @property
    def digest(self) -> str:
        """The run as it stands, in one number: equal for equal model, seed, inputs, partitions and tick."""
        self._check_usable()
        states, standing = self._runtime.run(self._coordinator.capture())
        return digest_of(self.model, states, standing.tick, standing.collected_chain)

    def result(self) -> Result:
        """Return the result so far; it stays what it is when the run goes on."""
        if self._result is not None and self._result.tick == self.tick and not self._is_open:
            return self._result
        self._check_usable()
        states, standing = self._runtime.run(self._coordinator.capture())
        self._result = Result(
            run_id=self.id,
            seed=self.model.seed,
            tick=self.tick,
            reason=self.reason or "ticks",
            digest=lambda: digest_of(self.model, states, standing.tick, standing.collected_chain),
            log=self._coordinator.log.snapshot(),
            state=SavedAgents(self.model, states),
            statistics=self.statistics(),
            path=self.path,
            seconds=self._coordinator.advance_s,
        )
        return self._result

    # The end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the run; with a store a checkpoint of the last tick is made first, unless the run was broken off."""
        if not self._is_open:
            return
        try:
            if self.path is not None and not self._is_broken:
                result = self.result()
                self.checkpoint()
                manifest = self._manifest
                done = manifest.goal is not None and self.tick >= manifest.goal
                done = done or self.reason in ("predicate", "quiescent", "wall_time")
                manifest.state = "finished" if done else "stopped"
                manifest.reason, manifest.tick = result.reason, result.tick
                manifest.digest, manifest.seconds = result.digest, result.seconds
                self._coordinator.log.finish()
                self._write_manifest()
        finally:
            self._is_open = False
            try:
                self._runtime.run(self._coordinator.close())
            finally:
                if self._owns_runtime:
                    self._runtime.close()

    def _write_manifest(self) -> None:
        if self.path is not None:
            write_manifest(self.path, self._manifest)

    def _check_usable(self) -> None:
        if not self._is_open:
            raise RunError(
                f"run {self.id} is closed" + ("" if self.path is None else f": na.resume({str(self.path)!r})")
            )
        if self._is_broken:
            where = "start it with store=PATH" if self.path is None else f"na.resume({str(self.path)!r})"
            raise RunError(f"run {self.id} was broken off in the middle of a tick: {where}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except NovelActorsError as another:
            if error is None:
                raise
            # What went wrong first is what the user has to know.
            if str(another) != str(error):
                error.add_note(f"the run could not be saved as it stood: {another}")

    def __repr__(self) -> str:
        state = "closed" if not self._is_open else f"at tick {self.tick}"
        return f"<Run {self.id} {state}, {self._coordinator.agents} agents, seed {self.model.seed}>"


def digest_of(model: Model, states: Sequence[PartitionState], tick: int, chain: bytes) -> str:
    """Return the digest of a run in these states."""
    return run_digest(tick, [digest_of_blobs(state.encode(model)) for state in states], chain)


def check_shards(model: Model, shards: int) -> None:
    """Raise unless the model has a partition for every shard."""
    if not is_whole(shards) or shards < 1:
        raise ModelError(f"a run wants at least 1 shard, got {shards!r}")
    if shards > model.partitions:
        raise TooManyShards(shards, model.partitions)


def begin(
    model: Model,
    *,
    shards: int,
    runtime: Runtime | str | None,
    address: str | None,
    store: Path | None,
    checkpoint_every: int | None,
    keep_checkpoints: int,
    progress: bool | None,
    async_settings: AsyncSettings,
    source: dict[str, Any] | None,
) -> Run:
    """Begin a run at tick 0: see `Simulation.start`."""
    check_shards(model, shards)
    for name, value, least in (("checkpoint_every", checkpoint_every, 1), ("keep_checkpoints", keep_checkpoints, 1)):
        if value is not None and (not is_whole(value) or value < least):
            raise ModelError(f"{name} wants a whole number of at least {least}, got {value!r}")
    if checkpoint_every is not None and store is None:
        raise ModelError("checkpoint_every wants a store: give store=PATH")
    run_id = new_run_id() if store is None else store.resolve().name
    manifest = make_manifest(run_id, model, source, checkpoint_every, keep_checkpoints)
    manifest.goal = None if source is None else source.get("ticks")
    checkpoints = None
    if store is not None:
        create_folder(store)
        checkpoints = make_checkpoints(store, model, keep_checkpoints)
    log = RecordLog(store, RecordSettings())
    try:
        if store is not None:
            write_manifest(store, manifest)
        return open_run(
            model, manifest, checkpoints, log, store, shards, runtime, address, progress, async_settings, None
        )
    except Exception:
        if store is not None and checkpoints is not None:
            checkpoints.close()
            clear_folder(store)
        raise


def make_checkpoints(folder: Path, model: Model, keep: int) -> CheckpointStore:
    """Return the store of a run that begins in a new folder.

    It is made before the manifest, for its lock: of two runs that begin in one folder at one time, one goes on.

    Raises:
        RunFolderError: There are checkpoints already.
        StoreError: The store cannot be made, or another run has begun here.
    """
    checkpoints = CheckpointStore(LmdbStore.open(folder / STORE), model, keep)
    if checkpoints.ticks:
        checkpoints.close()
        raise RunFolderError(f"{folder} holds the checkpoints of a run, but no {MANIFEST}: name a new folder")
    return checkpoints


def open_run(
    model: Model,
    manifest: RunManifest,
    checkpoints: CheckpointStore | None,
    log: RecordLog,
    path: Path | None,
    shards: int,
    runtime: Runtime | str | None,
    address: str | None,
    progress: bool | None,
    async_settings: AsyncSettings,
    at_checkpoint: int | None,
) -> Run:
    """Return a run that stands at tick 0, or at a checkpoint; everything is closed again when that fails."""
    coordinator = None
    home = choose_runtime(runtime, address, shards, model)
    try:
        coordinator = Coordinator(
            model, home, checkpoints, log, SystemClock(), manifest.checkpoint_every, async_settings
        )
        if at_checkpoint is None:
            home.run(coordinator.start(shards))
        else:
            home.run(coordinator.restore(shards, at_checkpoint))
    except BaseException:
        try:
            if coordinator is not None:
                home.run(coordinator.close())
        finally:
            if home is not runtime:
                home.close()
        raise
    return Run(model, coordinator, home, manifest, path, progress, home is not runtime)


def choose_runtime(runtime: Runtime | str | None, address: str | None, shards: int, model: Model) -> Runtime:
    """Return where a run's shards live: see `Simulation.start`."""
    if isinstance(runtime, Runtime):
        return runtime
    if runtime == "ray" or (runtime is None and (shards > 1 or address is not None)):
        from novel_actors.runtime.cluster import RayRuntime

        return RayRuntime(address, max(os.cpu_count() or 1, min(model.partitions, LOCAL_CPUS_MAX)))
    if runtime in ("local", None):
        return LocalRuntime()
    raise ModelError(f"runtime wants 'local', 'ray' or a Runtime, got {runtime!r}")


def new_run_id() -> str:
    """Return a name that no other run has."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"


def resume(
    path: str | Path,
    *,
    simulation: Simulation | None = None,
    shards: int = 1,
    runtime: Runtime | str | None = None,
    address: str | None = None,
    progress: bool | None = None,
    async_settings: AsyncSettings | None = None,
) -> Run:
    """Return a saved run, standing at its last checkpoint; `run.complete()` goes on to the goal that it had.

    Args:
        path: The run folder.
        simulation: The model, where it cannot be made from the folder: classes of a notebook that is gone, functions.
        shards: As for `Simulation.start`; any number gives the same bytes.
        runtime: As for `Simulation.start`.
        address: As for `Simulation.start`.
        progress: As for `Simulation.start`.
        async_settings: As for `Simulation.start`.

    Raises:
        RunFolderError: No run, a damaged one, or a model that does not fit it.
        StoreInUse: Another process has the run open.
    """
    folder = Path(path)
    manifest, model = open_folder(folder, simulation)
    check_shards(model, shards)
    checkpoints = open_checkpoints(folder, model, manifest, readonly=False)
    try:
        tick, log = None, RecordLog(folder, RecordSettings())
        if checkpoints.ticks:
            tick = checkpoints.ticks[-1]
            with naming(folder):
                # Read before anything is changed, so that damage leaves the folder as it was.
                checkpoints.read(tick)
                log = RecordLog.from_record(folder, checkpoints.manifest(tick).log, RecordSettings())
        elif manifest.forked_from is not None or (simulation is None and manifest.source is None):
            raise RunFolderError(f"{folder} was ended before its first checkpoint: begin it again in another folder")
        manifest.state, manifest.reason, manifest.digest = "running", None, None
        write_manifest(folder, manifest)
    except BaseException:
        checkpoints.close()
        raise
    return open_run(
        model,
        manifest,
        checkpoints,
        log,
        folder,
        shards,
        runtime,
        address,
        progress,
        async_settings or AsyncSettings(),
        tick,
    )


def replay(
    path: str | Path,
    to_tick: int,
    *,
    simulation: Simulation | None = None,
    shards: int = 1,
    runtime: Runtime | str | None = None,
    address: str | None = None,
    progress: bool | None = None,
) -> Run:
    """Return a run as it stood at an earlier tick, computed again from a checkpoint and the recorded inputs.

    The saved run is only read; the one returned keeps nothing.

    Args:
        path: The run folder.
        to_tick: At least 0 and not later than what was computed.
        simulation: As for `resume`.
        shards: As for `resume`.
        runtime: As for `resume`.
        address: As for `resume`.
        progress: As for `resume`.

    Raises:
        RunFolderError: As for `resume`, or a tick that the run never reached.
    """
    return branch(Path(path), to_tick, simulation, None, None, shards, runtime, address, progress, is_fork=False)


def fork(
    path: str | Path,
    at_tick: int,
    *,
    seed: int | None = None,
    store: str | Path | None = None,
    simulation: Simulation | None = None,
    shards: int = 1,
    runtime: Runtime | str | None = None,
    address: str | None = None,
    progress: bool | None = None,
) -> Run:
    """Return a new run that begins as another stood at `at_tick` and goes its own way from there.

    Args:
        path: The folder of the run to leave; it is only read.
        at_tick: Where to leave it.
        seed: Of all random streams after `at_tick`; None keeps the seed, for a fork that differs by what is injected.
        store: A new folder for the new run; None keeps nothing beyond this process.
        simulation: As for `resume`.
        shards: As for `resume`.
        runtime: As for `resume`.
        address: As for `resume`.
        progress: As for `resume`.

    Raises:
        RunFolderError: As for `replay`, or a store's folder that holds something.
    """
    folder = None if store is None else Path(store)
    return branch(Path(path), at_tick, simulation, seed, folder, shards, runtime, address, progress, is_fork=True)


def open_folder(folder: Path, simulation: Simulation | None) -> tuple[RunManifest, Model]:
    """Return the manifest and model of a run folder; warn when this machine may not give the same bytes."""
    manifest = read_manifest(folder)
    here = make_manifest("", model := make_model(folder, manifest, simulation), None, None, 1)
    for what in ("numpy", "processor"):
        then, now = getattr(manifest, what), getattr(here, what)
        if then != now:
            warnings.warn(
                f"{folder} was run with {what} {then}, this is {now}: the bytes may differ",
                RuntimeWarning,
                stacklevel=3,
            )
    return manifest, model


def open_checkpoints(folder: Path, model: Model, manifest: RunManifest, *, readonly: bool) -> CheckpointStore:
    """Return the checkpoints of a run folder.

    Raises:
        RunFolderError: There is no store, or a record in it is damaged or of another version.
        StoreError: The store cannot be opened.
    """
    if not (folder / STORE / DATA_NAME).is_file():
        raise RunFolderError(f"{folder} has no {STORE}/{DATA_NAME}, where its checkpoints were: restore a copy")
    with naming(folder):
        return CheckpointStore(LmdbStore.open(folder / STORE, readonly=readonly), model, manifest.keep_checkpoints)


@contextlib.contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Name the run folder in errors of its records."""
    try:
        yield
    except RecordError as error:
        hint = "; novel-actors fork goes on from an earlier tick" if isinstance(error, RecordDamaged) else ""
        raise RunFolderError(f"{folder}: {error}{hint}") from error


def branch(
    folder: Path,
    tick: int,
    simulation: Simulation | None,
    seed: int | None,
    store: Path | None,
    shards: int,
    runtime: Runtime | str | None,
    address: str | None,
    progress: bool | None,
    is_fork: bool,
) -> Run:
    """Return a run that stands where another stood at `tick`: see `replay` and `fork`."""
    if not is_whole(tick) or tick < 0:
        raise RunFolderError(f"a tick to return to is a number >= 0, got {tick!r}")
    manifest, model = open_folder(folder, simulation)
    check_shards(model, shards)
    source = open_checkpoints(folder, model, manifest, readonly=True)
    coordinator, checkpoints, made_folder, home = None, None, False, None
    try:
        home = choose_runtime(runtime, address, shards, model)
        latest = last_before(source.ticks, NEVER)
        if tick > latest:
            raise RunFolderError(f"{folder} was saved up to tick {latest}, not {tick}: resume it and go on")
        if is_fork and store is not None:
            create_folder(store)
            made_folder = True
        with naming(folder):
            base, states, standing = source.read_before(int(tick))
            log = RecordLog.fork(folder, source.manifest(base).log, store, RecordSettings())
        # The run got as far in its time, however long it takes here.
        timeless = dataclasses.replace(model, stop_wall_time_s=None)
        coordinator = Coordinator(timeless, home, None, log, SystemClock())
        home.run(coordinator.start_at(shards, states, standing_until(standing, int(tick))))
        home.run(coordinator.advance(int(tick), lambda: False, lambda: None))
        forked = dataclasses.replace(model, seed=model.seed if seed is None else RandomStreams(seed).seed)
        run_id = new_run_id() if store is None else store.resolve().name
        fresh = make_manifest(run_id, forked, manifest.source, None, manifest.keep_checkpoints)
        fresh.forked_from = f"{folder.resolve()} at tick {int(tick)}"
        coordinator.model = forked
        if is_fork:
            if store is not None:
                fresh.checkpoint_every = manifest.checkpoint_every
                checkpoints = make_checkpoints(store, forked, manifest.keep_checkpoints)
                write_manifest(store, fresh)
            home.run(coordinator.become(forked, checkpoints, fresh.checkpoint_every))
    except BaseException as error:
        if coordinator is not None and home is not None:
            home.run(coordinator.close())
        if home is not None and home is not runtime:
            home.close()
        if checkpoints is not None:
            checkpoints.close()
        if made_folder and store is not None and isinstance(error, Exception):
            clear_folder(store)
        raise
    finally:
        source.close()
    return Run(forked, coordinator, home, fresh, store, progress, home is not runtime)


def load_result(folder: Path, simulation: Simulation | None) -> Result:
    """Return the result of a run folder as of its last checkpoint: see `Result.load`."""
    try:
        manifest, model = open_folder(folder, simulation)
    except ModelNotFound as missing:
        return load_without_model(folder, missing)
    source = open_checkpoints(folder, model, manifest, readonly=True)
    try:
        with naming(folder):
            tick, states, standing = source.read_before(NEVER)
        saved = source.manifest(tick)
        log = RecordLog.fork(folder, saved.log, None, RecordSettings())
    finally:
        source.close()
    return Result(
        run_id=manifest.id,
        seed=model.seed,
        tick=tick,
        reason=manifest.reason or saved.reason or manifest.state,
        digest=lambda: digest_of(model, states, tick, standing.collected_chain),
        log=log,
        state=SavedAgents(model, states),
        statistics=None,
        path=folder,
        seconds=manifest.seconds or 0.0,
    )


def load_without_model(folder: Path, missing: ModelNotFound) -> Result:
    """Return the result of a run folder whose classes are not here: all but the fields of its agents."""
    manifest = read_manifest(folder)
    nothing = Model(int(manifest.seed), manifest.partitions, [], {}, [], [])
    source = open_checkpoints(folder, nothing, manifest, readonly=True)
    try:
        with naming(folder):
            tick, counts = source.read_counts()
        saved, digest = source.manifest(tick), source.digest(tick)
        log = RecordLog.fork(folder, saved.log, None, RecordSettings())
    finally:
        source.close()
    kinds, _ = manifest.schema
    return Result(
        run_id=manifest.id,
        seed=nothing.seed,
        tick=tick,
        reason=manifest.reason or saved.reason or manifest.state,
        digest=digest,
        log=log,
        state=CountedAgents({kind[0]: counts.get(number, 0) for number, kind in enumerate(kinds)}, missing),
        statistics=None,
        path=folder,
        seconds=manifest.seconds or 0.0,
    )


def standing_until(standing: Standing, tick: int) -> Standing:
    """Return a standing without what came from outside after `tick`."""
    inputs = {at: items for at, items in standing.inputs.items() if at <= tick}
    known = [entry for entry in standing.known if entry.tick <= tick]
    return dataclasses.replace(standing, inputs=inputs, known=known)
