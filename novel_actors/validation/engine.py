"""The wealth model that ships with the package, as columns and as objects, run in this process."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import novel_actors as na
from novel_actors.models.wealth import Trader, Traders
from novel_actors.validation.bare import SEED, gini
from novel_actors.validation.harness import CLOCK, Measurement, check


def columns(agents: int, ticks: int, every_gini: bool) -> Measurement:
    """Run the model as columns; the time is that of the ticks, as in the bare loops."""
    return _in_process(Traders, agents, ticks, every_gini)


def objects(agents: int, ticks: int) -> Measurement:
    """Run the model as objects; the time is that of the ticks."""
    return _in_process(Trader, agents, ticks, every_gini=False)


def to_end(agents: int, ticks: int, folder: Path | None, checkpoint_every: int | None) -> Measurement:
    """Run the model as columns from start to close; the time is all of it, the last byte on disk too.

    Args:
        folder: Where a run folder is made, and removed after it was read back; None for a run without one.
    """
    simulation = na.Simulation(seed=SEED)
    simulation.add(Traders, count=agents)
    if folder is None:
        started_s = CLOCK.now_s()
        result = simulation.run(ticks=ticks)
        return Measurement(CLOCK.now_s() - started_s, result.digest)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "run"
        started_s = CLOCK.now_s()
        result = simulation.run(ticks=ticks, store=path, checkpoint_every=checkpoint_every)
        seconds = CLOCK.now_s() - started_s
        if checkpoint_every:
            with na.resume(path) as run:
                at = ticks - ticks % checkpoint_every
                check(run.tick == at, f"the last checkpoint is of tick {run.tick}, expected {at}")
                run.complete()
                check(run.result().digest == result.digest, "the run resumed from disk ends in another digest")
    return Measurement(seconds, result.digest)


def _in_process(kind: type[Trader] | type[Traders], agents: int, ticks: int, every_gini: bool) -> Measurement:
    simulation = na.Simulation(seed=SEED)
    simulation.add(kind, count=agents)
    if every_gini:
        simulation.collect("wealth", of=kind, reduce=["gini"])
    with simulation.start() as run:
        started_s = CLOCK.now_s()
        run.advance(ticks=ticks)
        seconds = CLOCK.now_s() - started_s
        agents_now = run.agents(kind)
        result = run.result()
    wealth = agents_now["wealth"].to_numpy()
    check(int(wealth.sum()) + int(agents_now["given"].sum()) == agents, "the engine lost or made money")
    return Measurement(seconds, result.digest, gini(wealth))
