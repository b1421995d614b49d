"""A run from outside: going on, resuming, replaying, forking, what came from outside."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import novel_actors as na
from novel_actors.config import AsyncSettings
from novel_actors.errors import (
    AgentError,
    AgentTimeout,
    CollectorError,
    ModelError,
    RunError,
    RunFolderError,
    StateError,
    StoreInUse,
)
from novel_actors.simulation.run import Run
from novel_actors.simulation.run_folder import read_manifest, write_manifest

TICKS = 20
CALLS: list[tuple[int, int]] = []
MOOD = [1]


@na.message
class Gift:
    amount: int


@na.event
class Rich:
    wealth: int


class Giver(na.Agent):
    wealth: int = 3

    def step(self, tick: na.Tick) -> None:
        if self.wealth > 0:
            self.wealth -= 1
            tick.send(tick.random_peer(Giver), Gift(amount=1), delay=int(tick.rng.integers(1, 4)))
        if self.wealth > 6:
            tick.emit(Rich(wealth=self.wealth))

    @na.on(Gift)
    def receive(self, gift: Gift, tick: na.Tick) -> None:
        self.wealth += gift.amount


class Rows(na.Population):
    level = na.column(np.float64)

    def step(self, tick: na.Tick) -> None:
        self.level += tick.rng.normal(size=len(self.ids))
        if tick.number % 5 == 0:
            tick.remove(self.ids[:1])
            tick.spawn(Rows, count=2)


async def moody(request: Any) -> int:
    """Answer by the mood of the day, and keep a list of the questions."""
    number, agent = request
    CALLS.append((number, agent))
    if (number + agent) % 7 == 3:
        raise ValueError("out of order")
    return int((number * 31 + agent) * MOOD[0] % 17)


class Asker(na.Agent):
    heard: int = 0
    failures: int = 0

    async def step(self, tick: na.Tick) -> None:
        try:
            self.heard += await tick.ask(moody, [tick.number, int(self.id)])
        except na.errors.ServiceError:
            self.failures += 1
        if tick.rng.random() < 0.5:
            tick.send(tick.random_peer(Giver), Gift(amount=self.heard % 3))


def plain(seed: int = 4) -> na.Simulation:
    sim = na.Simulation(seed=seed, partitions=6)
    sim.add(Giver, count=40)
    sim.add(Rows, count=25)
    sim.collect("wealth", of=Giver, reduce=["sum", "max", "gini"])
    sim.collect("level", of=Rows, every=5)
    return sim


def asking() -> na.Simulation:
    sim = plain()
    sim.add(Asker, count=3)
    return sim


@pytest.fixture(scope="module")
def digest() -> str:
    return plain().run(TICKS).digest


def killed(run: Run, path: Path) -> Path:
    """Return a copy of a run's folder as kill -9 would leave it now; the run itself goes on."""
    assert run.path is not None
    run._coordinator._settle_saving()
    shutil.copytree(run.path, path)
    return path


# Going on


def test_a_run_in_pieces_is_the_run_in_one(digest: str) -> None:
    with plain().start() as run:
        for ticks in (0, 1, 7, 12):
            run.advance(ticks)
        assert (run.tick, run.digest) == (TICKS, digest)


def test_rescaling_at_any_time_changes_nothing(digest: str) -> None:
    with plain().start(shards=2, runtime="local") as run:
        for shards in (5, 1, 3, 6):
            run.advance(5)
            run.rescale(shards)
        assert run.digest == digest
        with pytest.raises(na.errors.TooManyShards):
            run.rescale(7)
        run.advance(1)


def test_a_result_stays_what_it_was_when_the_run_goes_on() -> None:
    with plain().start() as run:
        run.advance(10)
        early = run.result()
        before = (early.digest, len(early.frame("wealth")), early.agents(Giver)["wealth"].tolist())
        run.advance(10)
        assert (early.digest, len(early.frame("wealth")), early.agents(Giver)["wealth"].tolist()) == before
        assert run.result().digest != early.digest


def test_agents_are_read_while_the_run_lives() -> None:
    with plain().start(shards=3, runtime="local") as run:
        run.advance(TICKS)
        assert run.agents(Giver).equals(run.result().agents(Giver))
        assert len(run.agents("Rows")) == len(run.result().agents(Rows))
        with pytest.raises(ModelError, match="Nobody is no kind of this model; it has Giver, Rows"):
            run.agents("Nobody")


def test_a_closed_run_says_how_to_go_on(tmp_path: Path) -> None:
    with plain().start(store=tmp_path / "run") as run:
        run.advance(1)
    with pytest.raises(RunError, match=r"run run is closed: na\.resume\("):
        run.advance(1)
    run.close()


def test_an_interruption_that_comes_before_advance_is_not_lost_and_counts_once() -> None:
    with plain().start() as run:
        run.interrupt()
        run.advance(5)
        assert (run.tick, run.reason) == (0, "interrupted")
        run.advance(5)
        assert (run.tick, run.reason) == (5, None)


def test_a_predicate_and_quiescence_end_a_run_and_a_resumed_run_knows(tmp_path: Path) -> None:
    sim = plain()
    sim.stop_when(lambda collected: collected["wealth"]["max"] > 7)
    with sim.start(store=tmp_path / "run") as run:
        run.advance()
        assert run.reason == "predicate"
        end = run.tick
    with na.resume(tmp_path / "run", simulation=sim) as again:
        assert again.complete().reason == "predicate"
        assert again.tick == end


# Errors


class Fragile(na.Agent):
    steps: int = 0
    breaks_at: int = -1

    def step(self, tick: na.Tick) -> None:
        self.steps += 1
        if tick.number == self.breaks_at:
            raise ValueError("broken")


def fragile(breaks_at: int = 7) -> na.Simulation:
    sim = plain()
    sim.add(Fragile, count=3, breaks_at=[-1, breaks_at, -1])
    return sim


def test_after_an_agent_raised_the_run_stands_saved_at_the_whole_tick_before(tmp_path: Path) -> None:
    with fragile().start(shards=2, runtime="local", store=tmp_path / "run", checkpoint_every=4) as run:
        with pytest.raises(AgentError, match=r"Fragile \d+ of partition \d raised at tick 7: ValueError: broken"):
            run.advance(TICKS)
        assert run.tick == 6
        with fragile(-1).start() as good:
            good.advance(6)
            assert run.agents(Giver).equals(good.agents(Giver))
    with na.resume(tmp_path / "run") as again:
        assert again.tick == 6


def test_after_an_agent_raised_a_run_without_a_store_is_of_no_more_use() -> None:
    with fragile().start() as run:
        with pytest.raises(AgentError):
            run.advance(TICKS)
        with pytest.raises(RunError, match="broken off in the middle of a tick: start it with store=PATH"):
            run.advance(1)


def test_a_collector_or_predicate_that_raises_is_named_and_nothing_half_is_saved(tmp_path: Path) -> None:
    def late(agent: Giver) -> int:
        if CALLS:
            raise KeyError("late")
        return agent.wealth

    CALLS.clear()
    sim = plain()
    sim.collect("late", of=Giver, value=late, reduce=["sum"])
    with sim.start(store=tmp_path / "run", checkpoint_every=2) as run:
        run.advance(5)
        CALLS.append((0, 0))
        with pytest.raises(CollectorError, match="collect 'late' of Giver failed at tick 6: KeyError: 'late'"):
            run.advance(5)
        with pytest.raises(RunError, match="broken off"):
            run.checkpoint()
    CALLS.clear()
    with na.resume(tmp_path / "run", simulation=sim) as again:
        assert again.tick == 4
        again.advance(TICKS - 4)
        assert again.digest == sim.run(TICKS).digest

    sim = plain()
    sim.stop_when(lambda collected: collected["welth"]["max"] > 3)
    with pytest.raises(CollectorError, match="a predicate of stop_when failed at tick 0: KeyError: 'welth'"):
        sim.run(TICKS)


def test_the_error_of_a_with_block_is_not_hidden_by_that_of_the_end(tmp_path: Path) -> None:
    def fail() -> None:
        with plain().start(store=tmp_path / "run") as run:
            run.advance(2)
            (tmp_path / "run" / "run.json.new").mkdir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    assert any("could not be saved" in note for note in caught.value.__notes__)


class Silent(na.Agent):
    async def step(self, tick: na.Tick) -> None:
        if tick.number == 4:
            await tick.ask(never, None)


async def never(request: object) -> None:
    import asyncio

    await asyncio.Event().wait()


def test_an_async_step_without_end_is_a_time_out(tmp_path: Path) -> None:
    sim = plain()
    sim.add(Silent, count=2)
    settings = AsyncSettings(step_s_max=0.02)
    with sim.start(store=tmp_path / "fail", async_settings=settings) as run:
        with pytest.raises(AgentTimeout, match=r"Silent \d+ .* at tick 4"):
            run.advance(TICKS)
        assert run.tick == 3
    with sim.start(on_error="isolate", async_settings=settings, store=tmp_path / "isolate") as run:
        run.advance(6)
        assert len(run.result().events("AgentTimedOut")) == 2
        timed_out = run.digest
    # The time-out was recorded: a replay waits for nothing.
    with na.replay(tmp_path / "isolate", 6) as again:
        assert again.digest == timed_out


# Resume, replay, fork


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_a_resumed_run_ends_in_the_same_digest_on_any_number_of_shards(
    tmp_path: Path, digest: str, shards: int
) -> None:
    with plain().start(shards=2, runtime="local", store=tmp_path / "run", checkpoint_every=6) as run:
        run.advance(15)
        left = killed(run, tmp_path / "killed")
    with na.resume(left, shards=shards, runtime="local") as again:
        assert again.tick == 12
        again.advance(TICKS - 12)
        assert again.digest == digest
        frame = again.result().frame("wealth")
        assert list(frame.index) == list(range(TICKS + 1))
        assert again.result().frame("level").equals(plain().run(TICKS).frame("level"))


def test_a_resumed_run_remembers_its_goal(tmp_path: Path, digest: str) -> None:
    with plain().start(store=tmp_path / "run", checkpoint_every=6) as run:
        run.interrupt()
        run.advance(TICKS)
        left = killed(run, tmp_path / "killed")
    assert na.resume(left).complete().digest == digest
    finished = na.resume(left)
    assert (finished.tick, finished.complete().digest) == (TICKS, digest)
    assert na.Result.load(left).digest == digest


def test_a_run_that_is_open_cannot_be_resumed(tmp_path: Path, digest: str) -> None:
    with plain().start(store=tmp_path / "run") as run:
        run.advance(2)
        with pytest.raises(StoreInUse):
            na.resume(tmp_path / "run")
        run.advance(TICKS - 2)
        assert run.digest == digest


def test_a_run_killed_before_its_first_checkpoint_begins_anew_where_its_model_is_known(
    tmp_path: Path, digest: str
) -> None:
    from novel_actors.storage import LmdbStore

    with plain().start(store=tmp_path / "run") as run:
        run.advance(1)
    shutil.rmtree(tmp_path / "run" / "state.lmdb")
    LmdbStore.open(tmp_path / "run" / "state.lmdb").close()
    with pytest.raises(RunFolderError, match="was ended before its first checkpoint: begin it again"):
        na.resume(tmp_path / "run")
    with na.resume(tmp_path / "run", simulation=plain()) as again:
        assert again.tick == 0
        again.advance(TICKS)
        assert again.digest == digest


def test_a_replay_stands_at_any_earlier_tick_and_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    digests = {}
    with plain().start(store=tmp_path / "run", checkpoint_every=6, keep_checkpoints=1) as run:
        for tick in range(TICKS + 1):
            digests[tick] = run.digest
            run.advance(1 if tick < TICKS else 0)
    before = (tmp_path / "run" / "state.lmdb" / "data.mdb").read_bytes()
    for tick in (0, 1, 5, 6, 17, TICKS):
        with na.replay(tmp_path / "run", tick, shards=2, runtime="local") as again:
            assert (again.tick, again.digest) == (tick, digests[tick])
            assert len(again.result().frame("wealth")) == tick + 1
    assert (tmp_path / "run" / "state.lmdb" / "data.mdb").read_bytes() == before
    for tick, words in ((TICKS + 1, f"saved up to tick {TICKS}, not {TICKS + 1}"), (-1, ">= 0, got -1")):
        with pytest.raises(RunFolderError, match=words):
            na.replay(tmp_path / "run", tick)


def test_a_replay_does_not_end_early_for_want_of_wall_time(tmp_path: Path) -> None:
    sim = plain()
    sim.stop_when(wall_time_s=1e-9)
    with sim.start(store=tmp_path / "run") as run:
        run.advance(TICKS)
        assert (run.tick, run.reason) == (0, "wall_time")
    with plain().start(store=tmp_path / "long") as run:
        run.advance(TICKS)
    manifest = read_manifest(tmp_path / "long")
    manifest.model["wall_time_s"] = 1e-9
    write_manifest(tmp_path / "long", manifest)
    with na.replay(tmp_path / "long", 7) as again:
        assert again.tick == 7


def test_a_fork_keeps_the_past_and_draws_another_future(tmp_path: Path, digest: str) -> None:
    with plain().start(store=tmp_path / "run", checkpoint_every=6) as run:
        run.advance(TICKS)
    same = na.fork(tmp_path / "run", 9)
    other = na.fork(tmp_path / "run", 9, seed=99, store=tmp_path / "fork")
    past = na.replay(tmp_path / "run", 9)
    assert same.digest == other.digest == past.digest
    for each in (same, other):
        each.advance(TICKS - 9)
    assert same.digest == digest
    assert other.digest != digest
    assert other.result().seed == 99
    past_rows = past.result().frame("wealth")
    assert other.result().frame("wealth").iloc[:10].equals(past_rows)
    expected = other.digest
    for each in (same, other, past):
        each.close()
    assert na.Result.load(tmp_path / "run").digest == digest
    assert na.Result.load(tmp_path / "fork").digest == expected
    with na.replay(tmp_path / "fork", 15) as middle:
        middle.advance(TICKS - 15)
        assert middle.digest == expected
    with pytest.raises(RunFolderError, match=r"saved up to|no checkpoint at or before tick 3"):
        na.replay(tmp_path / "fork", 3)


def test_a_fork_that_cannot_be_leaves_nothing(tmp_path: Path) -> None:
    plain().run(3, store=tmp_path / "run")
    with pytest.raises(na.errors.InvalidSeed):
        na.fork(tmp_path / "run", 2, seed=-1, store=tmp_path / "fork")
    assert list((tmp_path / "fork").iterdir()) == []
    with na.fork(tmp_path / "run", 2, store=tmp_path / "fork") as run:
        run.advance(1)


# What comes from outside


def test_injected_messages_come_again_after_a_kill_and_in_a_replay(tmp_path: Path) -> None:
    with plain().start(store=tmp_path / "run", checkpoint_every=6) as run:
        ids = run.agents(Giver).index
        run.advance(7)
        assert run.inject(int(ids[0]), Gift(amount=100)) == 8
        run.inject(int(ids[-1]), Gift(amount=50))
        early = killed(run, tmp_path / "early")
        run.advance(3)
        run.inject(int(ids[0]), Gift(amount=7))
        late = killed(run, tmp_path / "late")
        run.advance(1)
        at_eleven = run.digest
        run.advance(TICKS - 11)
        expected = run.digest
        assert run.result().frame("wealth")["sum"].max() > 3 * 40
    with na.resume(late, shards=3, runtime="local") as again:
        assert again.tick == 6
        again.advance(TICKS - 6)
        assert again.digest == expected
    # The last of the three was injected after the first kill, so that life never knew it.
    with na.resume(early) as again:
        again.advance(4)
        again.inject(int(ids[0]), Gift(amount=7))
        again.advance(TICKS - 10)
        assert again.digest == expected
    with na.replay(tmp_path / "run", 11) as again:
        assert again.digest == at_eleven


def test_an_answer_that_was_recorded_is_never_asked_for_again(tmp_path: Path) -> None:
    CALLS.clear()
    with asking().start(store=tmp_path / "run", checkpoint_every=6) as run:
        run.advance(10)
        left = killed(run, tmp_path / "killed")
        assert Counter(number for number, _ in CALLS) == dict.fromkeys(range(1, 11), 3)
        run.advance(TICKS - 10)
        expected = run.digest
        assert run.agents(Asker)["failures"].sum() > 0
    CALLS.clear()
    MOOD[0] = 2
    try:
        with na.resume(left, shards=2, runtime="local") as again:
            assert again.tick == 6
            again.advance(4)
            assert CALLS == []
            MOOD[0] = 1
            again.advance(TICKS - 10)
            assert again.digest == expected
    finally:
        MOOD[0] = 1
    CALLS.clear()
    with na.replay(tmp_path / "run", TICKS) as again:
        assert again.digest == expected
    assert CALLS == []


def test_a_rescale_and_a_raise_ask_for_nothing_twice(tmp_path: Path) -> None:
    CALLS.clear()
    sim = asking()
    sim.add(Fragile, count=1, breaks_at=9)
    with sim.start(store=tmp_path / "run", checkpoint_every=6) as run:
        run.advance(4)
        run.rescale(3)
        with pytest.raises(AgentError):
            run.advance(TICKS)
        assert run.tick == 8
    with na.resume(tmp_path / "run") as again, pytest.raises(AgentError):
        again.advance(3)
    assert max(Counter(CALLS).values()) == 1
    assert max(number for number, _ in CALLS) == 9


# Options


def test_what_start_was_told_is_remembered(tmp_path: Path) -> None:
    with plain().start(store=tmp_path / "run", checkpoint_every=2, keep_checkpoints=4, on_error="isolate") as run:
        run.advance(13)
        assert run.checkpoint() == 13
    with na.resume(tmp_path / "run") as again:
        assert again.model.on_error == "isolate"
        assert again._coordinator.checkpoints is not None
        assert again._coordinator.checkpoints.ticks == [0, 8, 10, 12, 13]
        again.advance(5)
    with na.resume(tmp_path / "run") as again:
        assert again._coordinator.checkpoints is not None
        assert again._coordinator.checkpoints.ticks == [0, 13, 14, 16, 18]


def test_statistics_count_what_was_done(tmp_path: Path) -> None:
    with plain().start(shards=2, runtime="local", store=tmp_path / "run", checkpoint_every=5) as run:
        run.advance(TICKS)
        run.checkpoint()
        statistics = run.statistics()
    assert dataclasses.is_dataclass(statistics)
    assert (statistics.tick, statistics.ticks_total, statistics.checkpoints_total) == (TICKS, TICKS, 1 + TICKS // 5)
    assert [shard.partitions for shard in statistics.shards] == [3, 3]
    assert statistics.checkpoint_bytes_total > 0
    assert statistics.recoveries_total == 0


def test_a_first_value_that_does_not_fit_is_an_error_and_leaves_no_folder(tmp_path: Path) -> None:
    sim = na.Simulation(partitions=2)
    sim.add(Giver, count=4, wealth=lambda index, rng: ["x"] * len(index))
    with pytest.raises(StateError, match=r"Giver\.wealth"):
        sim.start(store=tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_run_whose_classes_are_gone_is_still_read_but_for_its_agents(tmp_path: Path) -> None:
    sim = na.Simulation(seed=5, partitions=3)
    sim.add(Giver, count=10, wealth=7)
    sim.add(Rows, count=4)
    sim.collect("wealth", of=Giver, reduce=["sum"])
    whole = sim.run(TICKS, store=tmp_path / "run")
    manifest = read_manifest(tmp_path / "run")
    manifest.kinds = [f"__main__:Gone.{name}" for name in ("Giver", "Rows")]
    write_manifest(tmp_path / "run", manifest)

    found = na.Result.load(tmp_path / "run")
    assert (found.digest, found.seed, found.tick, found.reason) == (whole.digest, 5, TICKS, "ticks")
    assert found.agent_counts() == whole.agent_counts() == {"Giver": 10, "Rows": len(whole.agents(Rows))}
    assert found.frame("wealth").equals(whole.frame("wealth"))
    assert found.events("Rich").equals(whole.events("Rich"))
    for call in (lambda: found.agents("Giver"), lambda: found.agents(Giver), lambda: na.resume(tmp_path / "run")):
        with pytest.raises(
            RunFolderError, match=r"here: the class Gone\.Giver of __main__, the class Gone\.Rows.*simulation="
        ):
            call()
    again = na.Result.load(tmp_path / "run", simulation=sim)
    assert again.agents(Giver).equals(whole.agents(Giver))
