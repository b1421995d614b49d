"""The command line, run as its users run it: as a process, by its output and its exit code."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from novel_actors.cli import _failures

PROGRAM = Path(sys.executable).parent / "novel-actors"
COMMANDS = ("run", "resume", "replay", "fork", "show", "models", "bench", "demo")

# Walkers draw random numbers every tick. When a file `armed` lies in the folder, tick 5 removes it and sends its own
# process the signals named in it: an interruption at a known moment, once, that does not change the model's state.
MODEL = '''"""Walkers."""

import os
import signal
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

import novel_actors as na


class Walker(na.Agent):
    position: int = 0

    def step(self, tick: na.Tick) -> None:
        self.position += int(tick.rng.integers(-1, 2))


class Trap(na.Agent):
    fails_at: int = -1

    def step(self, tick: na.Tick) -> None:
        if tick.number == self.fails_at:
            raise ValueError("a bad step")
        armed = Path("armed")
        if tick.number == 5 and armed.exists():
            names = armed.read_text().split()
            armed.unlink()
            for name in names:
                os.kill(os.getpid(), getattr(signal, name))


def build(sim: na.Simulation, *, walkers: Annotated[int, Ge(1)] = 20, fails_at: int = -1) -> None:
    sim.add(Walker, count=walkers)
    sim.add(Trap, count=1, fails_at=fails_at)
    sim.collect("position", of=Walker, reduce=["mean", "max"])
'''
SCENARIO = "model: walkers.py\nseed: 1\nticks: 12\nruntime: {checkpoint_every: 2, partitions: 4}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "walkers.py").write_text(MODEL)
    (tmp_path / "walk.yaml").write_text(SCENARIO)
    return tmp_path


def call(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the program, and check what holds for every call: its exit code, and that no traceback is shown."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    assert "--debug" in arguments or "Traceback" not in done.stderr
    return done


def answer(*arguments: object, code: int = 0) -> dict[str, Any]:
    done = call(*arguments, "--json", code=code)
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


def hinted(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the arguments of the resume command that was printed."""
    line = next(line for line in done.stderr.splitlines() if "novel-actors resume" in line)
    return shlex.split(line.partition("novel-actors ")[2])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_examples_and_exit_codes(command: str) -> None:
    text = call(command, "--help").stdout
    assert f"Examples:\n    novel-actors {command}" in text
    assert "Exit codes:\n    0 " in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom novel_actors.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "print([n for n in ('ray', 'numpy', 'pandas', 'pyarrow', 'matplotlib', 'networkx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_is_printed() -> None:
    assert call("--version").stdout.startswith("novel-actors ")


def test_run_keeps_a_run_folder_and_prints_where_everything_is(folder: Path) -> None:
    text = call("run", "walk.yaml").stdout
    (run,) = (folder / "runs").iterdir()
    assert run.name.startswith("walk-")
    assert f"path: {run.relative_to(folder)}" in text
    assert f"tables: {run.relative_to(folder)}/tables" in text
    assert list((run / "tables" / "position").glob("*.parquet"))
    assert (run / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(call("show", run, "--json").stdout)["digest"] in text


def test_json_is_one_object_with_the_same_digest_on_every_number_of_shards(folder: Path) -> None:
    one, three = (answer("run", "walk.yaml", "--runtime", "local", "--shards", shards) for shards in (1, 3))
    assert one["digest"] == three["digest"]
    assert (one["tick"], one["reason"], one["agents"], one["seed"]) == (12, "ticks", 21, 1)
    assert set(one["last"]["position"]) == {"tick", "mean", "max"}
    assert one["path"] != three["path"]
    assert Path(one["tables"]).is_dir()
    assert Path(one["plot"]).is_file()


def test_options_and_assignments_override_the_file(folder: Path) -> None:
    changed = answer(
        "run",
        "walk.yaml",
        "--no-store",
        "--ticks",
        3,
        "--seed",
        9,
        "--set",
        "walkers=5",
        "--set",
        "runtime.partitions=2",
    )
    assert (changed["tick"], changed["seed"], changed["agents"], changed["path"]) == (3, 9, 6, None)
    assert not (folder / "runs").exists()


def test_no_progress_leaves_the_standard_error_empty(folder: Path) -> None:
    assert call("run", "walk.yaml", "--no-progress").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "lost.yaml"], "lost.yaml: the scenario file cannot be read: No such file"),
        (["run", "walk.yaml", "--set", "walker=3"], "unknown key parameters.walker; did you mean walkers?"),
        (
            ["run", "walk.yaml", "--set", "walkers=-3"],
            "parameters.walkers should be greater than or equal to 1, got -3",
        ),
        (["run", "walk.yaml", "--set", "walkers=[1"], "no valid YAML"),
        (["run", "walk.yaml", "--set", "model=rumor"], "unknown model rumor; did you mean rumour?"),
        (["run", "walk.yaml", "--shards", "5"], "more shards than partitions: 5 shards for 4 partitions"),
        (["resume", "lost"], "lost"),
        (["show", "lost"], "lost"),
        (["replay", "lost", "--to-tick", "3"], "lost"),
        (["fork", "lost", "--at-tick", "3"], "lost"),
        (["resume", "walk.yaml"], "walk.yaml"),
    ],
)
def test_an_operating_error_is_one_line_and_starts_nothing(folder: Path, arguments: list[str], message: str) -> None:
    done = call(*arguments, code=1)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == ["walk.yaml", "walkers.py"]
    as_json = json.loads(call(*arguments, "--json", code=1).stderr)
    assert message in as_json["message"]
    assert as_json["error"].isidentifier()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["rnu"],
        ["run", "walk.yaml", "--set", "walkers"],
        ["run", "walk.yaml", "--ticks", "-1"],
        ["run", "walk.yaml", "--store", "a", "--no-store"],
        ["run", "walk.yaml", "--on-error", "ignore"],
        ["replay", "runs/x"],
        ["bench", "nothing"],
    ],
)
def test_a_command_line_that_cannot_be_understood_is_told_the_usage(folder: Path, arguments: list[str]) -> None:
    done = call(*arguments, code=2)
    assert "Usage: novel-actors" in done.stdout + done.stderr


def test_an_agent_that_raises_is_named_and_its_traceback_is_shown_on_request(folder: Path) -> None:
    arguments = ["run", "walk.yaml", "--set", "fails_at=7"]
    done = call(*arguments, code=3)
    assert done.stderr.startswith("error: ")
    assert "Trap" in done.stderr
    assert "tick 7" in done.stderr
    assert "ValueError: a bad step" in done.stderr
    assert "--debug" in done.stderr
    assert 'raise ValueError("a bad step")' in call(*arguments, "--debug", code=3).stderr
    assert json.loads(call(*arguments, "--json", code=3).stderr)["error"] == "AgentError"


def test_an_agent_that_raises_can_be_isolated(folder: Path) -> None:
    assert answer("run", "walk.yaml", "--set", "fails_at=7", "--on-error", "isolate")["tick"] == 12


@pytest.mark.parametrize(
    ("signals", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGINT SIGINT", 130), ("SIGTERM SIGINT", 143)]
)
def test_a_signal_saves_and_the_printed_command_goes_on_to_the_same_digest(
    folder: Path, signals: str, code: int
) -> None:
    undisturbed = answer("run", "walk.yaml", "--no-store")
    (folder / "armed").write_text(signals)
    done = call("run", "walk.yaml", "--store", "cut", code=code)
    assert hinted(done) == ["resume", "cut"]
    # Ticks run in stretches that end at every checkpoint, here at 4 and 6.
    shown = answer("show", "cut")
    assert shown["resume"] == "novel-actors resume cut"
    assert shown["tick"] in ((5, 6) if " " not in signals else (4, 5))
    resumed = answer(*hinted(done))
    assert (resumed["tick"], resumed["reason"]) == (12, "ticks")
    assert resumed["digest"] == undisturbed["digest"]


def test_an_interrupted_run_prints_json_with_the_command_to_resume(folder: Path) -> None:
    (folder / "armed").write_text("SIGINT")
    cut = answer("run", "walk.yaml", "--store", "a folder", code=130)
    assert (cut["reason"], cut["resume"]) == ("interrupted", "novel-actors resume 'a folder'")
    assert cut["tick"] in (5, 6)


SCRIPT = """
import novel_actors as na
class Walker(na.Agent):
    steps: int = 0
    def step(self, tick):
        self.steps += 1
sim = na.Simulation()
sim.add(Walker, count=3)
sim.collect("steps", of=Walker, reduce=["sum"])
sim.stop_when(lambda collected: False)
with sim.start(store="mine") as run:
    run.interrupt()
    run.advance(9)
    print(run.digest)
"""


def test_a_run_of_a_script_is_shown_and_sent_back_to_python_to_go_on(folder: Path) -> None:
    digest = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.strip()
    shown = answer("show", "mine")
    assert (shown["digest"], shown["agents"], shown["resume"]) == (digest, 3, None)
    assert shown["last"]["steps"] == {"tick": shown["tick"], "sum": 3 * shown["tick"]}
    assert "resume" not in call("show", "mine").stderr
    for arguments in (["resume", "mine"], ["replay", "mine", "--to-tick", 0], ["fork", "mine", "--at-tick", 0]):
        told = call(*arguments, code=1).stderr
        assert "a lambda of stop_when, the class Walker of __main__. The run was started from Python" in told
        assert "na.resume('mine', simulation=...)" in told


def test_a_run_can_be_resumed_replayed_forked_and_shown(folder: Path) -> None:
    first = answer("run", "walk.yaml", "--store", "first")
    shown = answer("show", "first")
    assert (shown["digest"], shown["plot"], shown["resume"]) == (first["digest"], first["plot"], None)
    short = answer("run", "walk.yaml", "--no-store", "--ticks", 7)
    assert answer("replay", "first", "--to-tick", 7)["digest"] == short["digest"]
    longer = answer("run", "walk.yaml", "--no-store", "--ticks", 15)
    assert answer("fork", "first", "--at-tick", 6, "--ticks", 6, "--store", "same")["digest"] == first["digest"]
    assert (
        answer("fork", "first", "--at-tick", 6, "--seed", 2, "--ticks", 6, "--store", "other")["digest"]
        != first["digest"]
    )
    assert answer("show", "first")["digest"] == first["digest"]
    assert answer("resume", "first", "--ticks", 3)["digest"] == longer["digest"]


def test_a_folder_that_holds_a_run_is_not_overwritten(folder: Path) -> None:
    first = answer("run", "walk.yaml", "--store", "first")
    assert "first" in call("run", "walk.yaml", "--store", "first", "--seed", 2, code=1).stderr
    assert answer("show", "first")["digest"] == first["digest"]


def test_models_are_listed_with_types_bounds_and_defaults() -> None:
    text = call("models").stdout
    assert "    agents: integer >= 1 = 1000\n" in text
    listed = answer("models")
    assert listed["wealth"]["parameters"]["agents"] == {"type": "integer", "minimum": 1, "default": 1000}


def test_the_demo_runs_both_models_from_any_folder(folder: Path) -> None:
    text = call("demo", "--agents", 2000, "--no-progress").stdout
    assert text.count("digest") == 2
    assert {path.name.partition("-")[0] for path in (folder / "runs").iterdir()} == {"rumour", "wealth"}
    assert all((path / "plot.png").is_file() for path in (folder / "runs").iterdir())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run wa", {"walk.yaml"}),
        ("run ", {"configs/some.yaml", "walk.yaml"}),
        ("run configs/s", {"configs/some.yaml"}),
        ("resume ", {"runs/mine"}),
        ("show runs/m", {"runs/mine"}),
        ("bench col", {"columns"}),
    ],
)
def test_completion_offers_scenarios_runs_and_workloads(folder: Path, line: str, expected: set[str]) -> None:
    (folder / "configs").mkdir()
    (folder / "configs" / "some.yaml").touch()
    (folder / "runs" / "mine").mkdir(parents=True)
    (folder / "runs" / "mine" / "run.json").touch()
    words = f"novel-actors {line}"
    environment = {
        **os.environ,
        "_NOVEL_ACTORS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert expected <= set(done.stdout.split())
    assert not {each for each in done.stdout.split() if each.endswith(".py")}


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            ZeroDivisionError("division by zero"),
            70,
            "error: unexpected ZeroDivisionError: division by zero\n--debug shows the traceback\n",
        ),
        (OSError(28, "No space left on device", "runs/x"), 1, "error: No space left on device: runs/x\n"),
        (MemoryError("1 TiB"), 1, "error: out of memory: 1 TiB\n"),
    ],
)
def test_every_other_exception_has_its_code_and_line(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, message: str
) -> None:
    with pytest.raises(SystemExit) as caught, _failures(debug=False):
        raise error
    assert caught.value.code == code
    assert capsys.readouterr().err == message
