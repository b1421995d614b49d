"""A run whose whole program is killed at any moment goes on to the digest of the run that was left alone.

`make chaos` kills many more times. Every kill is named in the message of a failure, and can be repeated with
`CRASH=... novel-actors run tests/simulated/crash.yaml --store DIR`.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import novel_actors as na

PROGRAM = Path(sys.executable).parent / "novel-actors"
SCENARIO = Path(__file__).with_name("crash.yaml")
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "10"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
LIMIT_S = 120


def novel_actors(*arguments: object, crash: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *map(str, arguments), "--json"],
        env={**os.environ, "CRASH": crash},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def start(folder: Path, crash: str) -> subprocess.CompletedProcess[str]:
    return novel_actors("run", SCENARIO, "--store", folder, "--set", "calls=calls.txt", crash=crash)


@dataclass(frozen=True)
class Undisturbed:
    """The run that was left alone."""

    digest: str
    result: na.Result
    seconds: float
    changes: int
    batches: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A current folder for all processes, since the name of the list of calls is part of the model's state."""
    here, folder = Path.cwd(), tmp_path_factory.mktemp("crash")
    os.chdir(folder)
    yield folder
    os.chdir(here)


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Undisturbed:
    done = start(folder / "undisturbed", "count")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    counts = re.search(r"changes (\d+) batches (\d+)", done.stderr)
    assert counts is not None
    asked = Path("calls.txt").read_text().split("\n")[:-1]
    assert len(asked) == len(set(asked)) == 3 * 120
    result = na.Result.load(folder / "undisturbed")
    return Undisturbed(summary["digest"], result, summary["seconds"], int(counts[1]), int(counts[2]))


@pytest.fixture
def calls(folder: Path) -> Path:
    """The list of all questions asked of the service, empty."""
    path = folder / "calls.txt"
    path.unlink(missing_ok=True)
    return path


def go_on(folder: Path, expected: Undisturbed, calls: Path, what: str) -> None:
    """Resume, and compare the end with that of the run that was left alone."""
    with na.resume(folder) as run:
        result = run.complete()
    assert (result.tick, result.digest) == (120, expected.digest), what
    assert result.frames == expected.result.frames
    for name in result.frames:
        assert result.frame(name).equals(expected.result.frame(name)), f"{what}: table {name}"
    assert result.events("Given").equals(expected.result.events("Given")), what
    # Of what the service was asked twice, no answer had been recorded: that of the tick under way.
    twice = [line.split()[0] for line, times in Counter(calls.read_text().splitlines()).items() if times > 1]
    assert len(set(twice)) <= 1, f"{what}: asked again in ticks {sorted(set(twice))}"


def kill_and_go_on(folder: Path, expected: Undisturbed, calls: Path, crash: str) -> bool:
    """Start a run that dies as `crash` says, and resume it; return whether it died."""
    what = f"CRASH={crash} (seed {SEED})"
    done = start(folder, crash)
    assert done.returncode in (0, -9), f"{what}: {done.stderr}"
    if (folder / "run.json").exists():
        go_on(folder, expected, calls, what)
    else:
        refused = novel_actors("resume", folder)
        assert refused.returncode == 1, what
        assert "run.json" in json.loads(refused.stderr)["message"]
        again = start(folder, "")
        assert json.loads(again.stdout)["digest"] == expected.digest, f"{what}: {again.stderr}"
    return done.returncode == -9


@pytest.mark.parametrize("number", range(ROUNDS))
def test_resume_after_kill_at_a_random_moment_gives_the_undisturbed_digest(
    folder: Path, undisturbed: Undisturbed, calls: Path, number: int
) -> None:
    moment_s = random.Random(f"{SEED} moment {number}").uniform(0.0, undisturbed.seconds * 1.2)
    kill_and_go_on(folder / f"moment{number}", undisturbed, calls, f"kill:{moment_s:.4f}")


@pytest.mark.parametrize("number", range(max(2, ROUNDS // 4)))
def test_resume_after_kill_as_a_file_is_about_to_change_gives_the_undisturbed_digest(
    folder: Path, undisturbed: Undisturbed, calls: Path, number: int
) -> None:
    rng = random.Random(f"{SEED} files")
    order = rng.sample(range(undisturbed.changes), undisturbed.changes)
    change = order[number % len(order)]
    assert kill_and_go_on(folder / f"file{number}", undisturbed, calls, f"file:{change}")


@pytest.mark.parametrize("number", range(max(2, ROUNDS // 4)))
def test_resume_after_kill_during_a_write_of_the_store_gives_the_undisturbed_digest(
    folder: Path, undisturbed: Undisturbed, calls: Path, number: int
) -> None:
    rng = random.Random(f"{SEED} write {number}")
    batch, delay_s = rng.randrange(undisturbed.batches), rng.uniform(0.0, 0.003)
    assert kill_and_go_on(folder / f"write{number}", undisturbed, calls, f"write:{batch}:{delay_s:.5f}")


@pytest.mark.parametrize("number", range(max(1, ROUNDS // 8)))
def test_resume_after_kill_during_close_gives_the_undisturbed_digest(
    folder: Path, undisturbed: Undisturbed, calls: Path, number: int
) -> None:
    delay_s = random.Random(f"{SEED} close {number}").uniform(0.0, 0.05)
    kill_and_go_on(folder / f"close{number}", undisturbed, calls, f"close:{delay_s:.4f}")


@pytest.mark.parametrize("number", range(max(1, ROUNDS // 8)))
def test_a_run_killed_again_and_again_ends_in_the_undisturbed_digest(
    folder: Path, undisturbed: Undisturbed, calls: Path, number: int
) -> None:
    path = folder / f"again{number}"
    rng = random.Random(f"{SEED} again {number}")
    moments = [rng.uniform(0.2, 0.8) * undisturbed.seconds for _ in range(3)]
    what = f"kills after {moments} (seed {SEED})"
    start(path, f"kill:{moments[0]}")
    for moment_s in moments[1:]:
        done = novel_actors("resume", path, crash=f"kill:{moment_s}")
        assert done.returncode in (0, -9), f"{what}: {done.stderr}"
    resumed = novel_actors("resume", path, "--runtime", "local", "--shards", 3)
    assert json.loads(resumed.stdout)["digest"] == undisturbed.digest, f"{what}: {resumed.stderr}"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_at_a_whole_tick_saves_and_names_the_command_that_goes_on(
    folder: Path, undisturbed: Undisturbed, calls: Path, name: str, code: int
) -> None:
    path = folder / name
    moment_s = random.Random(f"{SEED} {name}").uniform(0.0, undisturbed.seconds / 2)
    stopped = start(path, f"{name}:{moment_s:.4f}")
    assert stopped.returncode == code, stopped.stderr
    summary = json.loads(stopped.stdout)
    assert summary["resume"] == f"novel-actors resume {path}"
    assert summary["reason"] == "interrupted"
    assert 0 < summary["tick"] < 120
    saved = na.Result.load(path)
    assert (saved.tick, saved.digest) == (summary["tick"], summary["digest"])
    resumed = novel_actors("resume", path)
    assert json.loads(resumed.stdout)["digest"] == undisturbed.digest, f"after {moment_s:.4f} s (seed {SEED})"
    assert max(Counter(calls.read_text().splitlines()).values()) == 1, "an answer that was saved was asked again"
