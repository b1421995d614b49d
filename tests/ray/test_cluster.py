"""Shards as Ray actors: the bytes of one process, also after kills, rescaling and a resume elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import novel_actors as na
from novel_actors.config import ClusterSettings
from novel_actors.errors import AgentError, ClusterError, ShippingError
from novel_actors.models import rumour, wealth
from novel_actors.runtime.cluster import RayActorRef, RayRuntime
from novel_actors.simulation.scenario import load_scenario

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.timeout(240)]


def objects(seed: int = 1) -> na.Simulation:
    """Return the wealth model as objects."""
    sim = na.Simulation(seed=seed, partitions=6)
    wealth.build(sim, agents=600, columns=False)
    return sim


def columns(seed: int = 1) -> na.Simulation:
    """Return the wealth model as columns."""
    sim = na.Simulation(seed=seed, partitions=6)
    wealth.build(sim, agents=3000)
    return sim


def network(seed: int = 1) -> na.Simulation:
    """Return the rumour on a network, which ends by itself."""
    sim = na.Simulation(seed=seed, partitions=6)
    rumour.build(sim)
    return sim


def crowd(seed: int = 1) -> na.Simulation:
    """Return the rumour in a mixed population."""
    sim = na.Simulation(seed=seed, partitions=6)
    rumour.build(sim, network="mixed", agents=4000)
    return sim


@na.message
class Question:
    """Asks an oracle."""

    number: int


@na.message
class Reply:
    """What it says."""

    words: str
    size: float


@na.event
class Asked:
    """A question was asked."""

    number: int


class Asker(na.Agent):
    """Asks, lives, multiplies and dies."""

    heard: int = 0
    notes: list[str] = []  # noqa: RUF012 - every agent gets one of its own

    def step(self, tick: na.Tick) -> None:
        """Ask one of the oracles; now and then have a child or die."""
        tick.send(tick.random_peer(Oracle), Question(number=int(tick.rng.integers(100))), delay=1 + self.heard % 3)
        tick.emit(Asked(number=self.heard))
        if tick.rng.random() < 0.1:
            tick.spawn(Asker)
        if tick.rng.random() < 0.1:
            tick.remove()
        if self.heard > 3:
            tick.sleep(ticks=2)

    @na.on(Reply)
    def listen(self, reply: Reply, tick: na.Tick) -> None:
        """Keep what was said."""
        self.heard += 1
        self.notes = [*self.notes[-3:], reply.words]


class Oracle(na.Agent):
    """Answers by a service."""

    asked: int = 0

    async def step(self, tick: na.Tick) -> None:
        """Think."""
        self.asked += len(await tick.ask(think, self.asked))

    @na.on(Question, sender=True)
    async def answer(self, question: Question, tick: na.Tick) -> None:
        """Answer whoever asked."""
        self.asked += 1
        tick.send(tick.sender, Reply(words=f"{question.number} again", size=question.number / 7))


async def think(question: int) -> str:
    """Answer as a service would."""
    return "x" * (question % 5)


def mixed(seed: int = 1) -> na.Simulation:
    """Return a model of objects, async agents, births, deaths, delays and events."""
    sim = na.Simulation(seed=seed, partitions=6)
    sim.add(Asker, count=60)
    sim.add(Oracle, count=7)
    sim.collect("heard", of=Asker, reduce=["mean", "p90", "count"], every=2)
    return sim


MODELS = {"objects": objects, "columns": columns, "network": network, "crowd": crowd, "mixed": mixed}


@pytest.mark.parametrize("name", MODELS)
def test_shards_on_ray_give_the_bytes_of_one_process(name: str) -> None:
    here = MODELS[name]().run(ticks=24)
    for shards in (1, 2, 3):
        there = MODELS[name]().run(ticks=24, shards=shards, runtime="ray")
        assert there.digest == here.digest
        assert there.frames == here.frames
        for frame in here.frames:
            assert there.frame(frame).equals(here.frame(frame))
        assert there.events().equals(here.events())


@pytest.mark.parametrize("name", ["columns", "mixed"])
def test_a_run_rescaled_on_ray_gives_the_same_bytes(name: str) -> None:
    here = MODELS[name]().run(ticks=20)
    with MODELS[name]().start(shards=2, runtime="ray") as run:
        run.advance(7)
        run.rescale(3)
        run.advance(5)
        run.rescale(1)
        run.advance(8)
        assert run.digest == here.digest


@pytest.mark.parametrize("stored", [False, True])
def test_a_shard_killed_at_any_tick_changes_no_byte(stored: bool, tmp_path: Path) -> None:
    here = mixed().run(ticks=30)
    rng = np.random.default_rng(5)
    for round_ in range(3):
        store = tmp_path / f"run-{round_}" if stored else None
        with mixed().start(shards=3, runtime="ray", store=store, checkpoint_every=4 if stored else None) as run:
            run.advance(int(rng.integers(1, 20)))
            shards = run._coordinator._shards
            victim = shards[int(rng.choice(sorted(shards)))]
            assert isinstance(victim, RayActorRef)
            os.kill(victim.pid, signal.SIGKILL)
            run.advance(30 - run.tick)
            assert run.digest == here.digest
            assert run.statistics().recoveries_total == 1


def test_a_run_begun_on_ray_is_resumed_in_this_process(tmp_path: Path) -> None:
    here = mixed().run(ticks=30)
    with mixed().start(shards=2, runtime="ray", store=tmp_path / "run", checkpoint_every=5) as run:
        run.advance(12)
    with na.resume(tmp_path / "run", simulation=mixed(), shards=3) as run:
        run.advance(30 - run.tick)
        assert run.digest == here.digest


def test_an_agent_that_raises_on_ray_is_named(tmp_path: Path) -> None:
    class Fragile(na.Agent):
        age: int = 0

        def step(self, tick: na.Tick) -> None:
            self.age += 1
            if self.age == 5 and tick.census(Fragile) == 8 and self.id % 2**37 == 1:
                raise ZeroDivisionError("too old")

    sim = na.Simulation(seed=1, partitions=4)
    sim.add(Fragile, count=8)
    with sim.start(shards=2, runtime="ray", store=tmp_path / "run") as run:
        with pytest.raises(AgentError, match=r"Fragile .* raised at tick 5: ZeroDivisionError: too old"):
            run.advance(10)
        assert run.tick == 4
        assert set(run.agents(Fragile)["age"]) == {4}


def test_a_class_that_cannot_be_sent_is_named() -> None:
    lock = __import__("threading").Lock()

    class Locked(na.Agent):
        x: int = 0

        def step(self, tick: na.Tick) -> None:
            with lock:
                self.x += 1

    sim = na.Simulation(seed=1, partitions=2)
    sim.add(Locked, count=2)
    with pytest.raises(ShippingError, match=r"cannot be sent to a shard: .*lock"):
        sim.run(ticks=1, shards=2, runtime="ray")


def test_more_cpus_than_there_are_is_said_with_what_is_missing() -> None:
    runtime = RayRuntime(settings=ClusterSettings(shard_cpus=1000, resources_s_max=1.0))
    try:
        with pytest.raises(ClusterError, match=r"waited 1 s for 1000 CPU, of which the cluster has 8 free"):
            columns().run(ticks=1, runtime=runtime)
    finally:
        runtime.close()


def test_a_model_in_a_file_beside_its_scenario_runs_on_shards(tmp_path: Path) -> None:
    (tmp_path / "walkers.py").write_text(
        textwrap.dedent(
            """
            import novel_actors as na

            PACE = 3

            @na.message
            class Push:
                strength: float

            class Walker(na.Agent):
                place: float = 0.0

                def step(self, tick):
                    self.place += PACE * tick.rng.random()
                    tick.send(tick.random_peer(Walker), Push(strength=self.place))

                @na.on(Push)
                def be_pushed(self, push, tick):
                    self.place -= push.strength / 9

            def build(sim, *, agents: int = 50) -> None:
                sim.add(Walker, count=agents)
                sim.collect("place", of=Walker, reduce=["mean", "std"])
            """
        )
    )
    (tmp_path / "walk.yaml").write_text("model: walkers.py\nticks: 12\nruntime: {partitions: 4}\n")
    scenario = load_scenario(tmp_path / "walk.yaml")
    here = scenario.build().run(ticks=12)
    there = scenario.build().run(ticks=12, shards=2)
    assert there.digest == here.digest
    assert there.frame("place").equals(here.frame("place"))


def test_a_program_whose_classes_are_in_its_main_module_runs_on_shards(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            from __future__ import annotations
            import sys
            import numpy as np
            import novel_actors as na

            @na.message
            class Gift:
                amount: int
                def doubled(self) -> "Gift":
                    return Gift(amount=2 * self.amount)

            class Being(na.Agent):
                wealth: int = 1

            class Trader(Being):
                log: list[int] = []
                def step(self, tick: na.Tick) -> None:
                    if self.wealth > 0:
                        self.wealth -= 1
                        tick.send(tick.random_peer(Trader), Gift(amount=1).doubled())
                @na.on(Gift)
                def receive(self, gift: Gift, tick: na.Tick) -> None:
                    self.wealth += gift.amount // 2
                    self.log = [*self.log[-2:], gift.amount]

            class Traders(na.Population):
                wealth = na.column(np.int64, default=1)
                def step(self, tick: na.Tick) -> None:
                    givers = np.flatnonzero(self.wealth > 0)
                    self.wealth[givers] -= 1
                    tick.send_many(self.ids[givers], tick.random_peers(Traders, givers.size), Gift, amount=1)
                @na.on(Gift)
                def receive(self, rows, gifts, tick) -> None:
                    np.add.at(self.wealth, rows, gifts.amount)

            if __name__ == "__main__":
                sim = na.Simulation(seed=3, partitions=4)
                sim.add(Trader, count=100)
                sim.add(Traders, count=500)
                print(sim.run(ticks=10).digest)
                print(sim.run(ticks=10, shards=2, address="local").digest)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    here, there = done.stdout.split()
    assert here == there
