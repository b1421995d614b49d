"""The coordinator: deaths, limits, what a run without a store remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import novel_actors as na
from novel_actors.config import CoordinatorSettings, RecordSettings
from novel_actors.core.clock import VirtualClock
from novel_actors.errors import RunError
from novel_actors.runtime.local import Faults, LocalRuntime
from novel_actors.simulation.coordinator import Coordinator
from novel_actors.simulation.records import RecordLog

TICKS = 12


@na.message
class Gift:
    amount: int


class Giver(na.Agent):
    wealth: int = 3

    def step(self, tick: na.Tick) -> None:
        if self.wealth > 0:
            self.wealth -= 1
            tick.send(tick.random_peer(Giver), Gift(amount=1))

    @na.on(Gift)
    def receive(self, gift: Gift, tick: na.Tick) -> None:
        self.wealth += gift.amount


class Noise(na.Population):
    level = na.column(np.float64)

    def step(self, tick: na.Tick) -> None:
        self.level += tick.rng.normal(size=len(self.ids))


def model() -> na.Simulation:
    sim = na.Simulation(seed=9, partitions=6)
    sim.add(Giver, count=30)
    sim.add(Noise, count=40)
    sim.collect("wealth", of=Giver, reduce=["sum", "max"])
    return sim


class Again(set[tuple[int, int]]):
    """Deaths that come again: after each recovery the shard dies at the same place."""

    def discard(self, element: object, /) -> None:
        pass


@pytest.fixture(scope="module")
def digest() -> str:
    return model().run(TICKS).digest


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("shards", [2, 3])
def test_deaths_of_shards_do_not_change_the_digest(tmp_path: Path, digest: str, shards: int, store: bool) -> None:
    deaths = {(number, tick) for number, tick in ((0, 3), (1, 6), (2, 10)) if number < shards}
    options: dict[str, Any] = {"store": tmp_path / "run", "checkpoint_every": 4} if store else {}
    runtime = LocalRuntime(Faults(seed=shards, delay_turns=3, loss=0.1, deaths=set(deaths)))
    with model().start(shards=shards, runtime=runtime, **options) as run:
        run.advance(TICKS)
        assert run.digest == digest
        assert 1 <= run.statistics().recoveries_total <= len(deaths)


def test_shards_that_die_again_and_again_stop_the_run_with_an_error(tmp_path: Path, digest: str) -> None:
    # Each recovery goes on with the survivors, and one of them dies at the same tick.
    runtime = LocalRuntime(Faults(deaths=Again({(number, 7) for number in range(6)})))
    path = tmp_path / "run"
    with (
        pytest.raises(RunError, match=r"shards died 4 times after tick \d without getting on.*resume"),
        model().start(shards=6, runtime=runtime, store=path, checkpoint_every=2) as run,
    ):
        run.advance(TICKS)
    with na.resume(path) as resumed:
        assert resumed.tick == 6
        assert resumed.complete().digest == digest


def test_a_run_without_a_store_whose_shards_die_again_and_again_stops_too() -> None:
    runtime = LocalRuntime(Faults(deaths=Again({(number, 7) for number in range(6)})))
    with pytest.raises(RunError, match="shards died 4 times"), model().start(shards=6, runtime=runtime) as run:
        run.advance(TICKS)


def test_deaths_at_ever_later_ticks_do_not_stop_a_run(digest: str) -> None:
    runtime = LocalRuntime(Faults(deaths={(number, 2 * number + 2) for number in range(5)}))
    with model().start(shards=6, runtime=runtime) as run:
        run.advance(TICKS)
        assert run.digest == digest
        assert run.statistics().recoveries_total == 5


def test_a_death_while_the_dead_are_replaced_does_not_change_the_digest(tmp_path: Path, digest: str) -> None:
    model().run(4, store=tmp_path / "run")
    runtime = LocalRuntime(Faults(deaths={(1, 4), (2, 4)}))
    with na.resume(tmp_path / "run", shards=3, runtime=runtime) as run:
        run.advance(TICKS - 4)
        assert run.digest == digest
        assert run.statistics().recoveries_total == 2


def test_inputs_of_a_run_without_a_store_outlive_a_death() -> None:
    def injected(runtime: LocalRuntime) -> str:
        with model().start(shards=2, runtime=runtime) as run:
            run.advance(2)
            run.inject(0, Gift(amount=5))
            run.advance(2)
            run.inject(0, Gift(amount=7))
            run.advance(TICKS - 4)
            return run.digest

    assert injected(LocalRuntime(Faults(deaths={(1, 8)}))) == injected(LocalRuntime())


def test_inputs_of_a_fork_without_a_store_outlive_a_death(tmp_path: Path) -> None:
    model().run(4, store=tmp_path / "run")

    def forked(runtime: LocalRuntime) -> str:
        with na.fork(tmp_path / "run", 3, seed=2, shards=2, runtime=runtime) as run:
            run.advance(1)
            run.inject(0, Gift(amount=5))
            run.advance(8)
            return run.digest

    assert forked(LocalRuntime(Faults(deaths={(1, 9)}))) == forked(LocalRuntime())


def make(settings: CoordinatorSettings | None = None, clock: VirtualClock | None = None, **stop: float) -> Coordinator:
    sim = model()
    sim.stop_when(**stop)  # type: ignore[arg-type]
    log = RecordLog(None, RecordSettings())
    return Coordinator(sim.model(), LocalRuntime(), None, log, clock or VirtualClock(), settings=settings)


def test_inputs_beyond_the_bound_are_refused_and_the_run_goes_on() -> None:
    coordinator, run = make(CoordinatorSettings(inputs_max=2)), LocalRuntime().run
    run(coordinator.start(1))
    for _ in range(2):
        run(coordinator.inject(0, Gift(amount=1)))  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"keeps 2 inputs: start it with store=PATH"):
        run(coordinator.inject(0, Gift(amount=1)))  # type: ignore[arg-type]
    run(coordinator.advance(3, lambda: False, lambda: None))
    assert coordinator.tick == 3
    run(coordinator.close())


def test_a_wall_time_limit_ends_at_a_whole_tick() -> None:
    clock = VirtualClock()
    coordinator, run = make(CoordinatorSettings(stretch_ticks_max=1), clock, wall_time_s=10.0), LocalRuntime().run
    run(coordinator.start(2))
    run(coordinator.advance(100, lambda: False, lambda: clock.advance(2.0)))
    assert (coordinator.tick, coordinator.reason) == (5, "wall_time")
    run(coordinator.close())


def test_a_request_to_stop_is_heard_between_two_whole_ticks() -> None:
    coordinator, run = make(CoordinatorSettings(stretch_ticks_max=1)), LocalRuntime().run
    run(coordinator.start(2))
    run(coordinator.advance(100, lambda: coordinator.tick == 3, lambda: None))
    assert (coordinator.tick, coordinator.reason, coordinator.is_whole) == (3, "interrupted", True)
    run(coordinator.close())


def test_a_checkpoint_without_a_store_is_refused() -> None:
    with pytest.raises(RunError, match="store=PATH"), model().start() as run:
        run.checkpoint()
