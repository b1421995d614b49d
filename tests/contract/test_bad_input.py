"""Bad input at every door: one clear error, an exit code that is not 0, no traceback unless asked, nothing lost."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import pytest

import novel_actors as na
from novel_actors import cli
from novel_actors.config import AsyncSettings
from novel_actors.errors import AgentTimeout, ModelError, NovelActorsError, StateError
from novel_actors.simulation import checkpoint
from novel_actors.simulation.checkpoint import BLOB, INPUT, MANIFEST, OUTSIDE, Manifest
from novel_actors.simulation.run_folder import read_manifest, write_manifest
from novel_actors.storage.sealed import pack, unpack

PROGRAM = Path(sys.executable).parent / "novel-actors"
LIMIT_S = 120
LMDB_BYTES = 1 << 30

# A file `armed` in the current folder names what goes wrong at tick 7. Without it the model does the same as ever, so a
# run that stood before the fault goes on to the digest of one that had none.
MODEL = '''"""Something goes wrong."""

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

import novel_actors as na


@na.message
class Note:
    value: int
    text: str = ""


def fault(tick):
    armed = Path("armed")
    return armed.read_text() if tick.number == 7 and armed.exists() else ""


def break_off():
    for seconds in (0.05, 0.1):
        threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT)).start()


async def silent(request):
    await asyncio.Event().wait()


class Victim(na.Agent):
    count: int = 0

    def step(self, tick):
        self.count += int(tick.rng.integers(0, 10))
        tick.send(tick.random_peer(Victim), Note(value=1))
        wrong, me = fault(tick), np.array([self.id])
        if wrong == "raise":
            raise ValueError("a bad step")
        if wrong == "field":
            tick.send(self.id, Note(value=1, colour=2))
        if wrong == "type":
            tick.send(self.id, Note(value="seven"))
        if wrong == "many field":
            tick.send_many(None, me, Note, value=1, colour=2)
        if wrong == "many missing":
            tick.send_many(None, me, Note, text="x")
        if wrong == "many dtype":
            tick.send_many(None, me, Note, value=np.array([0.5]))
        if wrong == "many length":
            tick.send_many(None, me, Note, value=np.array([1, 2]))
        if wrong == "targets":
            tick.send_many(None, me.astype(np.float32), Note, value=1)
        if wrong == "no message":
            tick.send(self.id, "hello")
        if wrong == "delay":
            tick.send(self.id, Note(value=1), delay=0)
        if wrong == "state":
            self.count = "seven"
        if wrong == "endless":
            break_off()
            while True:
                pass

    @na.on(Note)
    def hear(self, note, tick):
        self.count += note.value


class Columns(na.Population):
    score = na.column(np.int32)

    def step(self, tick):
        self.score += tick.rng.integers(0, 10, len(self.ids), dtype=np.int32)
        if fault(tick) == "column":
            self.score[:] = np.array(["x"] * len(self.ids))
        if fault(tick) == "column shape":
            self.score = np.zeros(len(self.ids) + 1, np.int32)


class Asker(na.Agent):
    heard: int = 0

    async def step(self, tick):
        self.heard += await tick.ask(answer, tick.number)
        wrong = fault(tick)
        if wrong == "ask":
            await tick.ask(silent, None, timeout_s=0.01)
        if wrong == "step":
            await silent(None)
        if wrong == "unseen state":
            self.heard = "seven"
        if wrong == "answer":
            await tick.ask(answer_object, None)
        if wrong == "endless async":
            break_off()
            while True:
                pass


async def answer(request):
    return request % 5


async def answer_object(request):
    return object()


def build(
    sim: na.Simulation, *, agents: Annotated[int, Ge(0)] = 8, share: float = 0.5, refuse: bool = False
) -> None:
    if refuse:
        raise ValueError("it will not be built")
    sim.add(Victim, count=agents)
    sim.add(Columns, count=50)
    sim.add(Asker, count=2)
    sim.collect("count", of=Victim, reduce=["sum"])
'''
SCENARIO = "model: faulty.py\nseed: 3\nticks: 12\nruntime: {partitions: 3, checkpoint_every: 3}\n"


@dataclass
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


Door = Callable[..., Said]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a scenario and its model."""
    (tmp_path / "faulty.py").write_text(MODEL)
    (tmp_path / "faulty.yaml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def door(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    """The command line, in this process."""

    def novel_actors(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["novel-actors", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return novel_actors


def check(said: Said, code: int, *words: str) -> None:
    """Check that there is one error, of one line, that has these words, and no traceback."""
    assert said.code == code, said.err
    assert said.out == ""
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said.err
    assert "Traceback" not in said.err
    for word in words:
        assert word in errors[0], f"{word!r} is not in {errors[0]!r}"


def run_digest(door: Door, name: str, *arguments: object) -> str:
    said = door("run", "faulty.yaml", "--store", name, "--json", *arguments)
    assert said.code == 0, said.err
    return str(json.loads(said.out)["digest"])


def resume_digest(door: Door, path: object) -> str:
    said = door("resume", path, "--json")
    assert said.code == 0, said.err
    return str(json.loads(said.out)["digest"])


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file, but for those that say who has the store open."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock.mdb", "writer.lock")
    }


# The scenario file and the command line


@pytest.mark.parametrize(
    ("scenario", "arguments", "words"),
    [
        (SCENARIO + "sead: 4\n", [], ["faulty.yaml:5", "unknown key sead", "did you mean seed?"]),
        (SCENARIO + "parameters: {agent: 4}\n", [], ["parameters.agent", "did you mean agents?"]),
        (SCENARIO.replace("partitions: 3", "partition: 3"), [], ["runtime.partition", "did you mean partitions?"]),
        (SCENARIO.replace("12", "twelve"), [], ["faulty.yaml:3", "ticks", "valid integer", "'twelve'"]),
        (SCENARIO.replace("seed: 3", "seed: 2.5"), [], ["faulty.yaml:2", "seed", "valid integer", "2.5"]),
        (SCENARIO + "parameters: {refuse: maybe}\n", [], ["parameters.refuse", "valid boolean", "'maybe'"]),
        (SCENARIO.replace("12", "-12"), [], ["faulty.yaml:3", "ticks", "greater than or equal to 0", "-12"]),
        (SCENARIO, ["--set", "agents=-1"], ["parameters.agents", "greater than or equal to 0", "-1"]),
        (SCENARIO, ["--set", "runtime.keep_checkpoints=0"], ["keep_checkpoints", "greater than or equal to 1", "0"]),
        (SCENARIO.replace("model: faulty.py\n", ""), [], ["model wants the name of a model or a .py file"]),
        (SCENARIO.replace("faulty.py", "fautly.py"), [], ["fautly.py", "does not exist beside the scenario"]),
        (SCENARIO.replace("faulty.py", "weelth"), [], ["unknown model weelth", "did you mean wealth?", "known models"]),
        (SCENARIO, ["--shards", "4"], ["4 shards for 3 partitions", "use at most 3 shards"]),
        (SCENARIO, ["--set", "refuse=true"], ["build of the model", "ValueError: it will not be built"]),
        ("", [], ["the file is empty", "model: NAME"]),
        ("model: [", [], ["no valid YAML"]),
        ("x", [], ["a scenario is a mapping", "'x'"]),
        (SCENARIO + "collect: [{name: n, of: Victm}]\n", [], ["unknown agent class Victm", "did you mean Victim?"]),
        (SCENARIO + "collect: [{name: n, of: Victim}]\n", [], ["Victim has no field 'n'", "it has count"]),
    ],
)
def test_a_wrong_scenario_starts_nothing(
    folder: Path, door: Door, scenario: str, arguments: list[str], words: list[str]
) -> None:
    (folder / "faulty.yaml").write_text(scenario)
    before = contents(folder)
    check(door("run", "faulty.yaml", "--store", "new", *arguments), 1, *words)
    assert contents(folder) == before


def test_a_scenario_that_is_not_there_is_named(door: Door) -> None:
    check(door("run", "absent.yaml"), 1, "absent.yaml", "cannot be read", "No such file")


def test_a_number_that_cannot_be_is_refused_before_anything_is_read(door: Door, folder: Path) -> None:
    said = door("run", "faulty.yaml", "--ticks", "-1")
    assert (said.code, "Traceback" in said.err) == (2, False)
    assert "'--ticks'" in said.err
    assert not (folder / "runs").exists()


# What a model does when it runs

RAISED = "Victim 0 of partition 0 raised at tick 7: "
FAULTS = {
    "raise": [RAISED, "ValueError: a bad step (at faulty.py:"],
    "field": [RAISED, "'colour'", "Note(value=1, colour=2)"],
    "type": [RAISED, "Note.value wants int, got 'seven' (str)"],
    "many field": [RAISED, "Note has no field 'colour'", "value, text"],
    "many missing": [RAISED, "Note.value"],
    "many dtype": [RAISED, "Note.value wants int", "float64"],
    "many length": [RAISED, "Note.value", "1", "2"],
    "targets": [RAISED, "send_many wants targets as (n,) int64 ids, got float32"],
    "no message": [RAISED, "str is no message: declare it with @na.message"],
    "delay": [RAISED, "a delay is a whole number of ticks, at least 1, got 0"],
    "column": ["Columns (a population) of partition 0 raised at tick 7: ValueError"],
    "column shape": ["Columns (a population) of partition 0 raised at tick 7: ValueError"],
    "ask": ["Asker", "tick 7", "ServiceTimeout: no answer within 0.01 s"],
    "answer": ["Asker", "tick 7", "a service's answer wants plain values, got <object object"],
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_an_agent_that_fails_is_named_and_its_run_goes_on_from_the_whole_tick_before(
    folder: Path, door: Door, fault: str
) -> None:
    good = run_digest(door, "good")
    (folder / "armed").write_text(fault)
    said = door("run", "faulty.yaml", "--store", "bad")
    check(said, 3, *FAULTS[fault])
    assert "novel-actors resume bad" in said.err
    assert na.Result.load("bad").tick == 6
    check(door("resume", "bad"), 3, *FAULTS[fault])
    (folder / "armed").unlink()
    assert resume_digest(door, "bad") == good


def test_a_traceback_is_shown_when_it_is_asked_for(folder: Path, door: Door) -> None:
    (folder / "armed").write_text("raise")
    said = door("run", "faulty.yaml", "--no-store", "--debug")
    assert said.code == 3
    assert 'raise ValueError("a bad step")' in said.err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("state", ["collect 'count' of Victim failed at tick 7", "got <U5"]),
        ("unseen state", ["Asker.heard is declared int and holds 'seven' (str)", "convert it"]),
    ],
)
def test_a_value_of_another_type_is_named_and_the_run_goes_on_from_its_last_checkpoint(
    folder: Path, door: Door, fault: str, words: list[str]
) -> None:
    good = run_digest(door, "good")
    (folder / "armed").write_text(fault)
    said = door("run", "faulty.yaml", "--store", "bad")
    check(said, 1, *words)
    assert "novel-actors resume bad" in said.err
    assert na.Result.load("bad").tick == 6
    (folder / "armed").unlink()
    assert resume_digest(door, "bad") == good


def test_an_async_step_that_never_ends_runs_out_of_time_and_the_run_goes_on(folder: Path, door: Door) -> None:
    good = run_digest(door, "good")
    (folder / "armed").write_text("step")
    with pytest.raises(AgentTimeout, match=r"Asker \d+ of partition \d raised at tick 7: TimeoutError"):
        load("faulty.yaml").run(12, store="bad", checkpoint_every=3, async_settings=AsyncSettings(step_s_max=0.05))
    assert na.Result.load("bad").tick == 6
    (folder / "armed").unlink()
    assert resume_digest(door, "bad") == good


def load(path: str) -> na.Simulation:
    from novel_actors.simulation.scenario import load_scenario

    return load_scenario(path).build()


@pytest.mark.parametrize("fault", ["endless", "endless async"])
def test_a_step_that_never_ends_is_broken_off_by_two_interruptions_and_the_run_goes_on(
    folder: Path, door: Door, fault: str
) -> None:
    good = run_digest(door, "good")
    (folder / "armed").write_text(fault)
    ended = subprocess.run(
        [PROGRAM, "run", "faulty.yaml", "--store", "bad"], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "error: broken off in the middle of a tick" in ended.stderr
    assert "novel-actors resume bad" in ended.stderr
    assert na.Result.load("bad").tick == 6
    (folder / "armed").unlink()
    assert resume_digest(door, "bad") == good


# Python's own door


@na.message
class Note:
    value: int


class Walker(na.Agent):
    place: int = 0

    def step(self, tick: na.Tick) -> None:
        self.place += int(tick.rng.integers(-1, 2))

    @na.on(Note)
    def hear(self, note: Note, tick: na.Tick) -> None:
        self.place += note.value


class Flock(na.Population):
    height = na.column(np.float32)

    def step(self, tick: na.Tick) -> None:
        self.height += 1


def walkers(count: int = 6, partitions: int = 2) -> na.Simulation:
    sim = na.Simulation(seed=5, partitions=partitions)
    sim.add(Walker, count=count)
    return sim


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: na.Simulation(seed=-1), ["seed", "-1"]),
        (lambda: na.Simulation(partitions=0), ["1 to 65536 partitions", "0"]),
        (lambda: walkers(count=-1), ["add Walker wants a count >= 0, got -1"]),
        (lambda: walkers(count=2.5), ["add Walker wants a count >= 0, got 2.5"]),  # type: ignore[arg-type]
        (lambda: walkers().add(Walker, count=1, plaice=1), ["Walker has no field 'plaice'", "it has place"]),
        (lambda: walkers().add(Walker, count=1, place="x"), ["Walker.place", "'x'"]),
        (lambda: walkers().add(Flock, count=2, height=["x", "y"]), ["Flock.height", "x"]),
        (lambda: walkers().add(Flock, count=2, height=[1.0, 2.0, 3.0]), ["Flock.height", "2", "3"]),
        (lambda: walkers().add(int, count=2), ["add wants an Agent or Population class, got <class 'int'>"]),
        (lambda: walkers().collect("place", of=Flock), ["Flock", "height"]),
        (lambda: walkers().collect("place", of=Walker, reduce=["men"]), ["reducer 'men' is unknown", "mean"]),
        (lambda: walkers().collect("place", of=Walker, every=0), ["every >= 1, got 0"]),
        (lambda: walkers().run(3, shards=3, runtime="local"), ["3 shards for 2 partitions"]),
        (lambda: walkers().run(3, shards=0, runtime="local"), ["at least 1 shard, got 0"]),
        (lambda: walkers().run(-3), ["ticks >= 0, got -3"]),
        (lambda: walkers().run(2.5), ["ticks >= 0, got 2.5"]),  # type: ignore[arg-type]
        (lambda: walkers().run(), ["no goal and no stop rule"]),
        (lambda: walkers().run(3, checkpoint_every=1), ["checkpoint_every wants a store", "store=PATH"]),
        (lambda: walkers().run(3, checkpoint_every=0, store="new"), ["checkpoint_every", "at least 1, got 0"]),
        (lambda: walkers().run(3, on_error="ignore"), ["'fail' or 'isolate', got 'ignore'"]),
        (lambda: na.Simulation().run(3), ["sim.add(Kind, count=...)"]),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[], object], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NovelActorsError) as caught:
        call()
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in {caught.value}"
    assert list(tmp_path.iterdir()) == []


def test_first_values_that_do_not_fit_leave_no_run_behind(tmp_path: Path) -> None:
    sim = na.Simulation(partitions=2)
    sim.add(Flock, count=4, height=lambda index, rng: ["low"] * len(index))
    with pytest.raises(StateError, match=r"Flock\.height"):
        sim.run(3, store=tmp_path / "run")
    assert contents(tmp_path) == {}
    walkers().run(3, store=tmp_path / "run")


def test_an_injection_that_cannot_be_is_refused_and_the_run_goes_on() -> None:
    with walkers().start() as run:
        run.advance(2)
        for agent, message, words in (
            (0, "hello", "str is no message: declare it with @na.message"),
            (0, Note, "inject wants a message, got the class Note"),
            (-4, Note(1), "-4"),
            (1 << 62, Note(1), str(1 << 62)),
            ("0", Note(1), "'0'"),
        ):
            with pytest.raises(NovelActorsError, match=words):
                run.inject(agent, message)  # type: ignore[arg-type]
        run.advance(2)
        assert run.digest == walkers().run(4).digest


def test_a_message_field_of_a_type_that_no_column_holds_is_refused_when_it_is_declared() -> None:
    with pytest.raises(ModelError, match=r"Bad\.values is declared"):

        @na.message
        class Bad:
            values: list[int]


# Folders and stores


@pytest.fixture
def saved(folder: Path, door: Door) -> tuple[Path, str]:
    """A run whose program was killed between two checkpoints, and the digest that it goes on to."""
    path = folder / "saved"
    good = run_digest(door, "good")
    run = load("faulty.yaml").start(store=folder / "alive", checkpoint_every=3)
    run.advance(8)
    run.checkpoint()
    shutil.copytree(folder / "alive", path)
    manifest = read_manifest(path)
    assert manifest.goal == 8
    manifest.goal = 12
    write_manifest(path, manifest)
    run.close()
    said = door("resume", folder / "alive", "--ticks", "4", "--json")
    assert json.loads(said.out)["digest"] == good
    return path, good


def test_a_folder_without_a_run_is_named(door: Door, folder: Path) -> None:
    for command in (["resume"], ["show"], ["replay", "--to-tick", "1"], ["fork", "--at-tick", "1"]):
        check(door(command[0], folder, *command[1:]), 1, str(folder), "no run folder", "run.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"version": 1', '"version": 7'), ["version 7", "reads 1", "use the version"]),
        (lambda text: text.replace("novel_actors.run", "other.run"), ["is not the manifest of a run"]),
        (lambda text: text[: len(text) // 2], ["run.json", "cannot be read"]),
        (lambda text: text.replace('"seed": "3"', '"seed": "2"'), ["run.json", "altered", "restore a copy"]),
        (lambda text: text.replace('"goal"', '"gaol"'), ["run.json", "altered"]),
        (lambda text: "", ["run.json", "cannot be read"]),
        (lambda text: "[]", ["is not the manifest of a run"]),
    ],
)
def test_a_manifest_of_another_version_or_damaged_is_refused(
    saved: tuple[Path, str], door: Door, change: Callable[[str], str], words: list[str]
) -> None:
    path, _ = saved
    manifest = path / "run.json"
    changed = change(manifest.read_text())
    assert changed != manifest.read_text()
    manifest.write_text(changed)
    before = contents(path)
    check(door("resume", path), 1, *words)
    assert contents(path) == before


def test_a_run_whose_scenario_or_classes_are_others_now_is_refused(
    saved: tuple[Path, str], door: Door, folder: Path
) -> None:
    path, good = saved
    whole = (path / "run.json").read_bytes()
    for change, words in (
        ({"source.model_file": str(folder / "gone.py")}, ["gone.py", "cannot be read"]),
        ({"source.runtime.partitions": 4}, ["saved with 3 partitions, the simulation makes 4"]),
        ({"model.collectors.0.name": "counts"}, ["other collectors (counts) than the simulation has (count)"]),
        ({"schema.0.0.0": "Martyr"}, ["kind Martyr", "Victim now has"]),
    ):
        manifest = read_manifest(path)
        for dotted, value in change.items():
            attribute, *steps = dotted.split(".")
            at = getattr(manifest, attribute)
            for step in steps[:-1]:
                at = at[int(step) if isinstance(at, list) else step]
            at[int(steps[-1]) if isinstance(at, list) else steps[-1]] = value
        write_manifest(path, manifest)
        before = contents(path)
        check(door("resume", path), 1, *words)
        assert contents(path) == before
        (path / "run.json").write_bytes(whole)
    assert resume_digest(door, path) == good


def test_a_model_that_changed_since_is_refused(saved: tuple[Path, str], door: Door, folder: Path) -> None:
    (folder / "faulty.py").write_text(MODEL.replace("count: int = 0", "count: int = 1"))
    check(door("resume", saved[0]), 1, "faulty.py has changed since the run was started", "put the old file back")
    (folder / "faulty.py").write_text(MODEL)
    assert resume_digest(door, saved[0]) == saved[1]


def records(path: Path, prefix: bytes) -> list[tuple[bytes, bytes]]:
    with lmdb.open(str(path / "state.lmdb"), map_size=LMDB_BYTES) as store, store.begin() as look:
        return [(bytes(key), bytes(value)) for key, value in look.cursor() if key.startswith(prefix)]


def put(path: Path, key: bytes, value: bytes | None) -> None:
    with lmdb.open(str(path / "state.lmdb"), map_size=LMDB_BYTES) as store, store.begin(write=True) as change:
        if value is None:
            change.delete(key)
        else:
            change.put(key, value)


def flip(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "first bit flipped": lambda value: flip(value, 0),
    "bit flipped in the middle": lambda value: flip(value, len(value) * 4),
    "last bit flipped": lambda value: flip(value, len(value) * 8 - 1),
    "last byte cut": lambda value: value[:-1],
    "half cut": lambda value: value[: len(value) // 2],
    "byte added": lambda value: value + b"\0",
}


def last_blobs(path: Path) -> dict[str, bytes]:
    """Return a key for each name of a blob of the last checkpoint that is not empty."""
    values = dict(records(path, BLOB))
    _, data = records(path, MANIFEST)[-1]
    manifest = unpack(data, Manifest, checkpoint.KIND, checkpoint.VERSION)
    blobs = [blob for _, blobs in manifest.partitions for blob in blobs]
    return {blob.name: BLOB + blob.digest for blob in blobs if values[BLOB + blob.digest]}


@pytest.mark.parametrize("damage", [*DAMAGES, "gone"])
def test_a_damaged_blob_of_any_kind_is_named_and_changes_nothing(
    saved: tuple[Path, str], door: Door, damage: str
) -> None:
    path, good = saved
    blobs = last_blobs(path)
    assert {"header", "outbox", "0.", "0.count", "1.score", "2.heard"} <= set(blobs)
    for name, key in blobs.items():
        value = dict(records(path, BLOB))[key]
        put(path, key, None if damage == "gone" else DAMAGES[damage](value))
        before = contents(path)
        check(
            door("resume", path), 1, str(path), f"blob '{name}'", "tick 8", "missing" if damage == "gone" else "altered"
        )
        check(door("show", path), 1, str(path), f"blob '{name}'")
        assert contents(path) == before
        put(path, key, value)
    forked = door("fork", path, "--at-tick", "6", "--ticks", "6", "--store", "forked", "--json")
    assert json.loads(forked.out)["digest"] == good
    assert resume_digest(door, path) == good


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("which", [0, -1])
def test_a_damaged_manifest_of_a_checkpoint_is_named_and_changes_nothing(
    saved: tuple[Path, str], door: Door, damage: str, which: int
) -> None:
    path, good = saved
    key, value = records(path, MANIFEST)[which]
    put(path, key, DAMAGES[damage](value))
    before = contents(path)
    for command in (["resume"], ["show"], ["replay", "--to-tick", "4"]):
        check(door(command[0], path, *command[1:]), 1, str(path), "record")
    assert contents(path) == before
    put(path, key, value)
    assert resume_digest(door, path) == good


def test_a_checkpoint_of_another_version_is_named(saved: tuple[Path, str], door: Door) -> None:
    path, good = saved
    key, value = records(path, MANIFEST)[-1]
    manifest = unpack(value, Manifest, checkpoint.KIND, checkpoint.VERSION)
    put(path, key, pack(manifest, checkpoint.KIND, checkpoint.VERSION + 1))
    check(door("resume", path), 1, str(path), "has version 2, this program reads version 1", "with the version")
    put(path, key, value)
    assert resume_digest(door, path) == good


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("prefix", [INPUT, OUTSIDE])
def test_a_damaged_input_is_named_and_changes_nothing(folder: Path, door: Door, prefix: bytes, damage: str) -> None:
    run = load("faulty.yaml").start(store=folder / "alive")
    note = next(message for message in run.model.messages if message.__name__ == "Note")
    run.advance(4)
    run.inject(0, note(value=5))
    run.advance(2)
    shutil.copytree(folder / "alive", folder / "saved")
    run.close()
    path = folder / "saved"
    key, value = records(path, prefix)[-1]
    put(path, key, DAMAGES[damage](value))
    before = contents(path)
    check(door("resume", path, "--ticks", "6"), 1, str(path), "record")
    assert contents(path) == before
    put(path, key, value)
    # The run went on to its goal of tick 6, with what was injected.
    with na.resume(path) as resumed:
        resumed.advance(6)
        assert resumed.digest == na.Result.load("alive").digest


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_store_is_refused(saved: tuple[Path, str], door: Door, part: float) -> None:
    path, good = saved
    data = path / "state.lmdb" / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole[: int(len(whole) * part)])
    before = contents(path)
    for command in (["resume"], ["show"], ["fork", "--at-tick", "3", "--store", "forked"]):
        check(door(command[0], path, *command[1:]), 1, str(path), "damaged")
    assert contents(path) == before
    assert not (path.parent / "forked").exists() or contents(path.parent / "forked") == {}
    data.write_bytes(whole)
    assert resume_digest(door, path) == good


def test_a_store_that_is_gone_is_named_rather_than_begun_anew(saved: tuple[Path, str], door: Door) -> None:
    path, _ = saved
    (path / "state.lmdb" / "data.mdb").unlink()
    before = contents(path)
    check(door("resume", path), 1, str(path), "data.mdb", "restore a copy")
    assert contents(path) == before


# In a process of its own, for what reads a damaged map may end by a signal.
FLIPS = """
    import json, pathlib, random, shutil, sys
    import novel_actors as na
    from novel_actors.errors import NovelActorsError
    source, seed, rounds, good = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    rng, found = random.Random(seed), []
    for number in range(rounds):
        path = source.with_name(f"flipped{number}")
        shutil.copytree(source, path)
        data = path / "state.lmdb" / "data.mdb"
        content = bytearray(data.read_bytes())
        bit = rng.randrange(len(content) * 8)
        print(f"bit {bit} of seed {seed}", file=sys.stderr, flush=True)
        content[bit // 8] ^= 1 << bit % 8
        data.write_bytes(content)
        try:
            with na.resume(path) as run:
                digest = run.complete().digest
            assert digest == good, "another digest"
            found.append("same")
        except NovelActorsError as error:
            found.append("refused")
        shutil.rmtree(path)
    print(json.dumps(found))
"""


def test_any_bit_flipped_in_the_store_is_refused_or_makes_no_difference(saved: tuple[Path, str]) -> None:
    path, good = saved
    flips = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FLIPS), str(path), "1", "30", good],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert flips.returncode == 0, flips.stderr
    assert len(json.loads(flips.stdout)) == 30


HOLD = """
    import sys
    from novel_actors.simulation.scenario import load_scenario
    with load_scenario("faulty.yaml").build().start(store=sys.argv[1], checkpoint_every=3) as run:
        run.advance(5)
        print("open", flush=True)
        sys.stdin.readline()
        run.advance(7)
        print(run.digest, flush=True)
"""


@contextmanager
def held(store: str) -> Iterator[subprocess.Popen[str]]:
    """Yield another process that has a run open, at tick 5."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def test_a_run_open_in_another_process_is_left_alone(door: Door, folder: Path) -> None:
    good = run_digest(door, "good")
    with held("open") as process:
        check(door("resume", "open"), 1, "open", f"in use by process {process.pid}")
        check(door("run", "faulty.yaml", "--store", "open"), 1, "open is not empty", "resume it")
        shown = door("show", "open", "--json")
        assert json.loads(shown.out)["tick"] == 3
        out, _ = process.communicate("go on\n", timeout=LIMIT_S)
    assert out.split() == [good]


def test_of_two_runs_begun_in_one_folder_at_one_time_one_goes_on(folder: Path, door: Door) -> None:
    good = run_digest(door, "good")
    for number in range(3):
        processes = [
            subprocess.Popen(
                [PROGRAM, "run", "faulty.yaml", "--store", f"same{number}", "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        ended = [process.communicate(timeout=LIMIT_S) for process in processes]
        assert sorted(process.returncode for process in processes) == [0, 1], ended
        out, err = max(out for out, _ in ended), max(err for _, err in ended)
        assert json.loads(out)["digest"] == good
        assert json.loads(err)["error"] in ("RunFolderError", "StoreInUse")
        assert resume_digest(door, f"same{number}") == good


def test_a_folder_that_holds_something_is_left_alone(door: Door, folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "letter.txt").write_text("dear")
    check(door("run", "faulty.yaml", "--store", "mine"), 1, "mine is not empty", "name a new folder")
    assert contents(folder / "mine") == {"letter.txt": b"dear"}


def test_a_store_path_that_is_a_file_or_below_one_is_refused(door: Door, folder: Path) -> None:
    (folder / "letter.txt").write_text("dear")
    check(door("run", "faulty.yaml", "--store", "letter.txt"), 1, "letter.txt", "File exists")
    check(door("run", "faulty.yaml", "--store", "letter.txt/run"), 1, "letter.txt/run", "Not a directory")
    check(door("resume", "letter.txt"), 1, "letter.txt")
    assert (folder / "letter.txt").read_text() == "dear"


@contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a disk in memory."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily, so that a test that failed with a store open leaves no disk behind either.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_read_only_folder_is_refused_to_writers_and_shown_to_readers(
    saved: tuple[Path, str], door: Door, folder: Path
) -> None:
    path, good = saved
    with disk(folder / "disk", "size=64m"):
        shutil.copytree(path, folder / "disk" / "run")
        remount(folder / "disk", "ro")
        check(door("run", "faulty.yaml", "--store", "disk/new"), 1, "disk/new", "Read-only file system")
        check(door("resume", "disk/run"), 1, "disk/run", "Read-only file system")
        shown = door("show", "disk/run", "--json")
        assert shown.code == 0, shown.err
        assert json.loads(shown.out)["tick"] == 8
        with na.replay("disk/run", 8) as again:
            assert again.digest == json.loads(shown.out)["digest"]
        remount(folder / "disk", "rw")
        assert resume_digest(door, "disk/run") == good


GROW = '''"""It takes more room at every tick."""

import numpy as np

import novel_actors as na


class Rows(na.Population):
    value = na.column(np.float64, shape=(64,))

    def step(self, tick):
        self.value[...] = tick.rng.random(self.value.shape)


def build(sim: na.Simulation, *, agents: int = 200) -> None:
    sim.add(Rows, count=agents)
    sim.collect("mean", of=Rows, value=lambda rows: rows.value[:, 0], reduce=["mean"])
    sim.collect("each", of=Rows, value=lambda rows: rows.value[:, 0])
'''


@pytest.mark.parametrize("room", ["300k", "700k", "1200k", "2m"])
def test_a_full_disk_is_one_error_and_the_run_goes_on_when_there_is_room(folder: Path, door: Door, room: str) -> None:
    (folder / "grow.py").write_text(GROW)
    (folder / "faulty.yaml").write_text(
        "model: grow.py\nticks: 400\nruntime: {partitions: 4, checkpoint_every: 4, keep_checkpoints: 40}\n"
    )
    good = run_digest(door, "good")
    with disk(folder / "disk", f"size={room}"):
        said = door("run", "faulty.yaml", "--store", "disk/run")
        assert re.search(r"full|No space left", said.err), said.err
        check(said, 1, "disk/run")
        remount(folder / "disk", "size=256m")
        if (folder / "disk" / "run" / "run.json").exists():
            assert resume_digest(door, "disk/run") == good
        else:
            assert contents(folder / "disk") == {}
            assert run_digest(door, "disk/run") == good
