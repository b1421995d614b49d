"""The folder of a run: its manifest `run.json`, its store of checkpoints and inputs, its tables.

The manifest says what the run is; everything that changes from tick to tick is in the store. It is written to a
temporary name, synced and renamed, so it is always whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from novel_actors.errors import ModelError, ModelNotFound, RunFolderError
from novel_actors.simulation.collect import READERS, Collector
from novel_actors.simulation.model import Model

FORMAT, VERSION = "novel_actors.run", 1
MANIFEST, STORE, CHECKSUM = "run.json", "state.lmdb", "sha256"


class RunManifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What `run.json` holds.

    Attributes:
        format: Always "novel_actors.run".
        version: Of this layout.
        id: The run's name.
        seed: As text, since it may have 128 bits.
        partitions: All, dedicated ones included.
        on_error: See `Simulation.start`.
        checkpoint_every: See `Simulation.start`.
        keep_checkpoints: See `Simulation.start`.
        goal: The tick that the run was last asked to reach; None: until a stop rule holds.
        kinds: module:qualname of each class, in the order of kind numbers.
        schema: See `Model.schema`.
        model: What is needed to make the model again where its source is Python, see `describe_model`.
        source: The scenario, where the run came from one.
        python: Version.
        numpy: Version; the same bytes are promised for the same numpy on processors of one kind.
        processor: Architecture.
        state: running, stopped or finished.
        reason: Why it ended.
        tick: At which it ended.
        digest: Of its end.
        seconds: Wall time of its ticks.
        forked_from: The folder and tick of the run from which it was forked.
    """

    format: str
    version: int
    id: str
    seed: str
    partitions: int
    on_error: str
    checkpoint_every: int | None
    keep_checkpoints: int
    goal: int | None
    kinds: list[str]
    schema: list[Any]
    model: dict[str, Any]
    source: dict[str, Any] | None
    python: str
    numpy: str
    processor: str
    state: str = "running"
    reason: str | None = None
    tick: int | None = None
    digest: str | None = None
    seconds: float | None = None
    forked_from: str | None = None


def make_manifest(
    run_id: str, model: Model, source: dict[str, Any] | None, every: int | None, keep: int
) -> RunManifest:
    """Return the manifest of a run that begins."""
    return RunManifest(
        format=FORMAT,
        version=VERSION,
        id=run_id,
        seed=str(model.seed),
        partitions=model.partitions,
        on_error=model.on_error,
        checkpoint_every=every,
        keep_checkpoints=keep,
        goal=None,
        kinds=[f"{kind.cls.__module__}:{kind.cls.__qualname__}" for kind in model.kinds],
        schema=model.schema(),
        model=describe_model(model),
        source=source,
        python=platform.python_version(),
        numpy=np.__version__,
        processor=platform.machine(),
    )


def describe_model(model: Model) -> dict[str, Any]:
    """Return collectors and rules as data, so far as they are data; `code` names what is not."""
    code: list[str] = []
    collectors = []
    for collector in model.collectors:
        reducers = collector.reducers
        if not isinstance(collector.value, str):
            code.append(f"{function_name(collector.value)} of collect {collector.name!r}")
        code += [
            f"reducer {reducer.name!r} of collect {collector.name!r}"
            for reducer in reducers or ()
            if not is_data(reducer.name) and not reducer.source.name.startswith("histogram")
        ]
        collectors.append(
            {
                "name": collector.name,
                "kind": model.number_of(collector.kind),
                "value": collector.value if isinstance(collector.value, str) else None,
                "reduce": None if reducers is None else [describe_reducer(collector, r.name) for r in reducers],
                "every": collector.every,
            }
        )
    code += [f"{function_name(predicate)} of stop_when" for predicate in model.stop_predicates]
    code += [f"the space {name!r}" for name in model.spaces]
    return {
        "collectors": collectors,
        "quiescent": model.stop_quiescent,
        "wall_time_s": model.stop_wall_time_s,
        "code": code,
    }


def function_name(function: object) -> str:
    """Return what to call a function in a message."""
    name = getattr(function, "__name__", type(function).__name__)
    return "a lambda" if name == "<lambda>" else f"the function {name}"


def is_data(reducer: str) -> bool:
    """Tell whether a reducer can be named in a file."""
    from novel_actors.simulation.collect import PERCENTILE

    return reducer in READERS or PERCENTILE.fullmatch(reducer) is not None


def describe_reducer(collector: Collector, name: str) -> Any:
    """Return a reducer as data."""
    from novel_actors.simulation.collect import HistogramSource

    source = next(r.source for r in collector.reducers or () if r.name == name)
    return {"histogram": list(source.empty.edges)} if isinstance(source, HistogramSource) else name


def create_folder(path: Path) -> None:
    """Make a run folder; one that holds anything but what a start that was killed leaves is refused.

    Raises:
        RunFolderError: It exists and is not empty, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if {item.name for item in path.iterdir()} - {STORE, f"{MANIFEST}.new"}:
            hint = "resume it with na.resume(...)" if (path / MANIFEST).exists() else "name a new folder"
            raise RunFolderError(f"{path} is not empty: {hint}")
    except OSError as error:
        raise RunFolderError(f"{path} cannot be a run folder: {error.strerror or error}") from error


def clear_folder(path: Path) -> None:
    """Empty a run folder of a run that could not begin."""
    for name in (STORE, "tables"):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in (MANIFEST, f"{MANIFEST}.new"):
        with contextlib.suppress(OSError):
            (path / name).unlink(missing_ok=True)


def write_manifest(path: Path, manifest: RunManifest) -> None:
    """Put the manifest into the folder, whole or not at all.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written to.
    """
    temporary = path / f"{MANIFEST}.new"
    record = msgspec.to_builtins(manifest)
    data = json.dumps({**record, CHECKSUM: checksum(record)}, indent=2).encode() + b"\n"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path / MANIFEST)
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunFolderError(
            f"{path / MANIFEST} cannot be written: {error.strerror or error}; "
            "make room or get the rights, then resume the run"
        ) from error


def checksum(record: dict[str, Any]) -> str:
    """Return the digest of a manifest's content, without which an altered seed would be another run unnoticed."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def read_manifest(path: Path) -> RunManifest:
    """Return the manifest of a run folder.

    Raises:
        RunFolderError: There is none, or it is damaged or of another version.
    """
    try:
        raw = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{path} is no run folder: it has no {MANIFEST}; name the folder of a run") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path / MANIFEST} cannot be read: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise RunFolderError(f"{path / MANIFEST} is not the manifest of a run of novel_actors")
    if raw.get("version") != VERSION:
        raise RunFolderError(
            f"{path} was written in version {raw.get('version')} of the run folder, this program reads {VERSION}: "
            "use the version of novel_actors that wrote it"
        )
    found = raw.pop(CHECKSUM, None)
    if found != checksum(raw):
        raise RunFolderError(f"{path / MANIFEST} is damaged: it was altered since it was written; restore a copy")
    try:
        return msgspec.convert(raw, RunManifest)
    except msgspec.ValidationError as error:
        raise RunFolderError(f"{path / MANIFEST} is damaged: {error}") from error


def make_model(path: Path, manifest: RunManifest, simulation: Any) -> Model:
    """Return the model of a saved run: of `simulation` if given, else of its scenario, else of its classes by name.

    Raises:
        ModelNotFound: Its classes or functions are not here.
        RunFolderError: The model cannot be made again, or is not the one that was saved; the message says what to give.
    """
    from novel_actors.simulation.scenario import Scenario
    from novel_actors.simulation.simulation import Simulation

    simulation_given = simulation is not None
    if simulation is None and manifest.source is not None:
        simulation = Scenario.from_record(manifest.source).build()
    if simulation is None:
        simulation = Simulation(int(manifest.seed))
        missing: list[str] = list(manifest.model["code"])
        kinds: list[type] = []
        for name in manifest.kinds:
            try:
                kinds.append(find_class(path, name))
            except ModelNotFound as error:
                missing.append(error.missing)
        if missing:
            raise ModelNotFound(path, ", ".join(missing))
        for kind in kinds:
            simulation.add(kind)
        for item in manifest.model["collectors"]:
            simulation.collect(
                item["name"], of=kinds[item["kind"]], value=item["value"], reduce=item["reduce"], every=item["every"]
            )
        if manifest.model["quiescent"] or manifest.model["wall_time_s"]:
            simulation.stop_when(quiescent=manifest.model["quiescent"], wall_time_s=manifest.model["wall_time_s"])
    try:
        model: Model = simulation.model(on_error=manifest.on_error)
    except ModelError as error:
        raise RunFolderError(f"{path}: its model cannot be made again: {error}") from error
    check_schema(path, msgspec.to_builtins(model.schema()), manifest.schema)
    if manifest.source is not None or simulation_given:
        check_simulation(path, model, manifest)
    model.seed, model.partitions = int(manifest.seed), manifest.partitions
    return model


def check_simulation(path: Path, model: Model, manifest: RunManifest) -> None:
    """Raise `RunFolderError` when a simulation cuts or records otherwise than the saved run."""
    if model.partitions != manifest.partitions:
        raise RunFolderError(
            f"{path} does not fit the model: it was saved with {manifest.partitions} partitions, the simulation makes "
            f"{model.partitions}: give Simulation(partitions=...) and the agents that it began with"
        )
    now, then = (msgspec.to_builtins(found)["collectors"] for found in (describe_model(model), manifest.model))
    if now != then:
        names = [", ".join(item["name"] for item in items) or "nothing" for items in (then, now)]
        raise RunFolderError(
            f"{path} does not fit the model: it was saved with other collectors ({names[0]}) than the simulation has "
            f"({names[1]}): collect the same values in the same way"
        )


def check_schema(path: Path, found: list[Any], saved: list[Any]) -> None:
    """Raise `RunFolderError` naming the first class whose fields are not those that were saved."""
    for what, now, then in zip(("kind", "message"), found, saved, strict=True):
        for mine, theirs in zip(now, then, strict=False):
            if mine != theirs:
                raise RunFolderError(
                    f"{path} does not fit the model: {what} {theirs[0]} was saved with fields {theirs[-1]}, "
                    f"and {mine[0]} now has {mine[-1]}"
                )
        if len(now) != len(then):
            raise RunFolderError(f"{path} does not fit the model: it has {len(then)} {what}s, the model {len(now)}")


def find_class(path: Path, name: str) -> type:
    """Return the class that `module:qualname` names."""
    module, _, qualname = name.partition(":")
    try:
        found: Any = sys.modules[module] if module in sys.modules else importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        raise ModelNotFound(path, f"the class {qualname} of {module}") from None
    if not isinstance(found, type):
        raise RunFolderError(f"{path} needs the class {qualname} of {module}, which is {found!r:.80}")
    return found
