"""One digest: whatever hosts a model, and whatever befalls its shards, its outcome is the same to the last bit.

`make test` tries a round of models, each in a few of the ways below; `make property` tries hundreds in all of them.
A failure names the seed: `random_model(seed)` is the model.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import novel_actors as na
from novel_actors.runtime.local import Faults, LocalRuntime
from tests.simulated.random_models import RandomModel, random_model

Outcome = dict[str, Any]

MODELS, WAYS = 60, 3
"""How many models every test run tries, each in so many ways."""


# Driving a run ------------------------------------------------------------------------------------------------------


def drive(run: Any, model: RandomModel, to_tick: int, injected: int = 0) -> int:
    """Advance to a tick, letting enter what is due on the way; return how many inputs have entered so far.

    A model that is quiescent before an input is due gets it at once.
    """
    for at, agent, message in model.inputs[injected:]:
        if at >= to_tick:
            break
        run.advance(at - run.tick)
        if run.reason not in (None, "quiescent"):
            break
        run.inject(agent, message)
        injected += 1
    run.advance(to_tick - run.tick)
    return injected


def outcome_of(result: Any, model: RandomModel) -> Outcome:
    """Return all that a result holds, as plain values that compare by value and type."""
    found: Outcome = {"digest": result.digest, "tick": result.tick, "reason": result.reason}
    for name in result.frames:
        found[f"frame {name}"] = table_of(result.frame(name))
    found["events"] = table_of(result.events())
    for kind in model.simulation.kinds:
        found[f"agents {kind.__name__}"] = table_of(result.agents(kind))
    return found


def table_of(frame: Any) -> str:
    """Return a DataFrame in words; floats are written so that different ones differ."""
    columns = frame.reset_index().to_dict("list")
    return repr([(name, str(frame.reset_index()[name].dtype), plain(values)) for name, values in columns.items()])


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [str(value.dtype), *map(plain, value.tolist())]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return repr(value)


def assert_same(found: Outcome, wanted: Outcome, what: str) -> None:
    """Assert that two outcomes are one, naming what differs first (the digest comes last: it says the least)."""
    for name in sorted(wanted, key=lambda name: name == "digest"):
        assert found.get(name) == wanted[name], f"{what}: {name} differs"
    assert found.keys() == wanted.keys(), what


# The ways of running ------------------------------------------------------------------------------------------------


class Ways:
    """One model, run in many ways; every choice that a way makes is drawn from the model's seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.model = random_model(seed)
        self.rng = random.Random(f"ways of {seed}")
        self.folder = folder
        self._folders = 0
        with self.start() as run:
            drive(run, self.model, self.model.ticks)
            self.base = outcome_of(run.result(), self.model)
            self.counts = run.statistics()

    def start(self, **options: Any) -> Any:
        return self.model.simulation.start(on_error=self.model.on_error, progress=False, **options)

    def new_folder(self) -> Path:
        self._folders += 1
        return self.folder / f"run{self._folders}"

    def some_tick(self) -> int:
        return self.rng.randint(0, self.model.ticks)

    def shards(self) -> int:
        return self.rng.choice([1, 2, 3, 5])

    def faults(self, deaths: int = 0, shards: int = 1, from_tick: int = 1) -> LocalRuntime:
        """Return a runtime in which frames are late, lost, doubled and out of order, and shards die."""
        rng = self.rng
        ends = {(rng.randrange(shards), rng.randint(from_tick, self.model.ticks)) for _ in range(deaths)}
        return LocalRuntime(
            Faults(
                rng.randrange(1 << 30),
                delay_turns=rng.choice([0, 1, 3, 40]),
                loss=rng.choice([0.0, 0.1, 0.5]),
                double=rng.choice([0.0, 0.3]),
                deaths=ends,
            )
        )

    def check(self, run: Any, what: str) -> None:
        assert_same(outcome_of(run.result(), self.model), self.base, f"seed {self.model.seed}, {what}")

    def finish(self, run: Any, what: str, injected: int = 0) -> None:
        """Drive a run to the end of the model and check its outcome."""
        drive(run, self.model, self.model.ticks, injected)
        self.check(run, what)

    # Each of these is one way.

    def straight(self) -> None:
        if not self.model.inputs:
            result = self.model.simulation.run(self.model.ticks, on_error=self.model.on_error, check_rowwise=True)
            assert_same(outcome_of(result, self.model), self.base, f"seed {self.model.seed}, straight through")

    def several_shards(self) -> None:
        for shards in (2, 3, 5):
            with self.start(shards=shards, runtime="local") as run:
                self.finish(run, f"{shards} shards")
                counts = run.statistics()
                for name in ("messages_total", "dead_letters_total", "events_total", "agents"):
                    assert getattr(counts, name) == getattr(self.counts, name), (self.model.seed, shards, name)

    def bad_network(self) -> None:
        shards = self.rng.choice([2, 3, 5])
        with self.start(shards=shards, runtime=self.faults()) as run:
            self.finish(run, f"{shards} shards on a bad network")

    def rescaled(self) -> None:
        ticks = sorted(self.some_tick() for _ in range(3))
        with self.start(shards=self.shards(), runtime=self.faults()) as run:
            injected = 0
            for tick in ticks:
                injected = drive(run, self.model, tick, injected)
                run.rescale(self.shards())
            self.finish(run, f"rescaled at {ticks}", injected)

    def died_without_store(self) -> None:
        shards = self.rng.choice([2, 3, 5])
        with self.start(shards=shards, runtime=self.faults(deaths=2, shards=shards)) as run:
            self.finish(run, f"deaths on {shards} shards, no store")

    def died_with_store(self) -> None:
        shards, every = self.rng.choice([2, 3, 5]), self.rng.choice([None, 1, 2, 5])
        runtime = self.faults(deaths=3, shards=shards)
        with self.start(shards=shards, runtime=runtime, store=self.new_folder(), checkpoint_every=every) as run:
            self.finish(run, f"deaths on {shards} shards, a checkpoint every {every}")

    def resumed(self) -> None:
        ticks, store = sorted(self.some_tick() for _ in range(2)), self.new_folder()
        with self.start(
            shards=self.shards(), runtime="local", store=store, checkpoint_every=self.rng.choice([None, 3])
        ) as run:
            injected = drive(run, self.model, ticks[0], 0)
        with na.resume(store, simulation=self.model.simulation, shards=self.shards(), runtime=self.faults()) as run:
            injected = drive(run, self.model, ticks[1], injected)
            run.rescale(self.shards())
        with na.resume(store, simulation=self.model.simulation, shards=self.shards(), runtime="local") as run:
            self.finish(run, f"resumed at {ticks}", injected)
        loaded = na.Result.load(store, simulation=self.model.simulation)
        assert_same(outcome_of(loaded, self.model), self.base, f"seed {self.model.seed}, loaded")

    def killed(self) -> None:
        tick, store, injected = self.some_tick(), self.new_folder(), 0
        with self.start(shards=self.shards(), runtime="local", store=store, checkpoint_every=3) as run:
            injected = drive(run, self.model, tick)
            # Nothing is saved at the end, as if the process had ended here.
            run._is_broken = True
        with na.resume(store, simulation=self.model.simulation, shards=self.shards(), runtime="local") as run:
            assert run.tick <= tick - tick % 3
            if self.rng.random() < 0.5:
                run.rescale(self.shards())
            self.finish(run, f"killed at {tick}", injected)

    def replayed(self) -> None:
        tick, store = self.some_tick(), self.new_folder()
        with self.start() as run:
            injected = drive(run, self.model, tick)
            then, wanted = run.tick, outcome_of(run.result(), self.model)
        with self.start(shards=self.shards(), runtime="local", store=store, checkpoint_every=4) as run:
            self.finish(run, "with a store")
        with na.replay(store, then, simulation=self.model.simulation, shards=self.shards(), runtime="local") as run:
            found = outcome_of(run.result(), self.model)
            assert_same(found, wanted, f"seed {self.model.seed}, replayed to {then}")
        other = self.rng.choice([None, self.new_folder()])
        with na.fork(
            store, then, simulation=self.model.simulation, shards=self.shards(), runtime="local", store=other
        ) as run:
            self.finish(run, f"forked at {then}", injected)

    ALL = (
        straight,
        several_shards,
        bad_network,
        rescaled,
        died_without_store,
        died_with_store,
        resumed,
        killed,
        replayed,
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    first, models = metafunc.config.getoption("first_model"), metafunc.config.getoption("models")
    metafunc.parametrize("seed", range(first, first + (models or MODELS)))


def test_a_model_has_one_outcome(seed: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    ways = Ways(seed, tmp_path)
    tries_all = request.config.getoption("models") > 0
    for way in Ways.ALL if tries_all else ways.rng.sample(Ways.ALL, WAYS):
        way(ways)
