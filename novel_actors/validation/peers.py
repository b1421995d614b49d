"""The same model on other simulators; each is imported when its arm runs.

Every arm is the fastest way found by trying those that its project documents. For mesa-frames counting with a sort
beats joining, and both beat its concise form. In ambr's array kernel the user brings the numpy code, so it gets the
tuned loop of `bare`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from novel_actors.validation import bare
from novel_actors.validation.bare import SEED, digest_of, gini
from novel_actors.validation.harness import CLOCK, Arm, Measurement, Missing, check


@dataclass(frozen=True, slots=True)
class Peer:
    """Another simulator.

    Attributes:
        newest_python: The newest Python that it declares; on a newer one its absence is excused.
    """

    name: str
    module: str
    newest_python: tuple[int, int] | None = None

    @property
    def installed(self) -> bool:
        """Whether it can be imported."""
        return find_spec(self.module) is not None

    def missing(self, arm: str) -> Missing:
        """Return the row of an arm that cannot be measured."""
        if self.newest_python is not None and sys.version_info[:2] > self.newest_python:
            python = ".".join(map(str, sys.version_info[:2]))
            return Missing(arm, f"{self.name} is not made for Python {python}", excused=True)
        return Missing(arm, f"{self.name} is not installed; `make setup` installs it", excused=False)


MESA = Peer("mesa", "mesa")
MESA_FRAMES = Peer("mesa-frames", "mesa_frames")
AMBR = Peer("ambr", "ambr", newest_python=(3, 13))


def arms_of(peer: Peer, arms: list[Arm]) -> tuple[list[Arm], list[Missing]]:
    """Return the arms of a peer to measure, and those that cannot be."""
    return (arms, []) if peer.installed else ([], [peer.missing(arm.name) for arm in arms])


def mesa_objects(agents: int, ticks: int, activation: str) -> Measurement:
    """Run the model on Mesa's AgentSet.

    Args:
        activation: `simultaneous` (two `do` a tick, the model of the other arms), `in order` (`do`: a coin arrives at
            once) or `shuffled` (`shuffle_do`, the usual way).
    """
    import mesa

    class Trader(mesa.Agent):  # type: ignore[misc]
        def __init__(self, model: mesa.Model) -> None:
            super().__init__(model)
            self.wealth = 1
            self.income = 0

        def receive(self) -> None:
            self.wealth += self.income
            self.income = 0

        def give(self) -> None:
            if self.wealth > 0:
                self.wealth -= 1
                self.random.choice(self.model.everyone).income += 1

        def step(self) -> None:
            if self.wealth > 0:
                self.wealth -= 1
                self.random.choice(self.model.everyone).wealth += 1

    class Market(mesa.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(seed=SEED)
            Trader.create_agents(self, agents)
            # An AgentSet makes a list of itself for every look-up by position; a list made once is what its users do.
            self.everyone = list(self.agents)

        def simultaneous(self) -> None:
            self.agents.do("receive")
            self.agents.do("give")

        def in_order(self) -> None:
            self.agents.do("step")

        def shuffled(self) -> None:
            self.agents.shuffle_do("step")

    market = Market()
    tick: Callable[[], None] = getattr(market, activation.replace(" ", "_"))
    started_s = CLOCK.now_s()
    for _ in range(ticks):
        tick()
    seconds = CLOCK.now_s() - started_s
    wealth = np.array([trader.wealth for trader in market.everyone], dtype=np.int64)
    under_way = sum(trader.income for trader in market.everyone)
    check(int(wealth.sum()) + under_way == agents, f"Mesa ({activation}) lost or made money")
    return Measurement(seconds, digest_of(wealth), gini(wealth))


def mesa_frames_columns(agents: int, ticks: int) -> Measurement:
    """Run the model on a mesa-frames agent set (polars, on all cores that polars takes), with Gini every tick."""
    import polars as pl
    from mesa_frames import AgentSetPolars, ModelDF

    class Traders(AgentSetPolars):  # type: ignore[misc]
        agents: pl.DataFrame

        def __init__(self, model: ModelDF) -> None:
            super().__init__(model)
            ids = pl.arange(agents, eager=True)
            self.add(pl.DataFrame({"unique_id": ids, "wealth": pl.ones(agents, dtype=pl.Int64, eager=True)}))
            self.targets = ids.clear()
            self.ticks = 0

        def step(self) -> None:
            # Every id once more than it was drawn, sorted: its run lengths are the incomes in id order, without a join.
            ids = self.agents["unique_id"]
            incomes = self.targets.extend(ids).sort().rle().struct.field("len").cast(pl.Int64) - 1
            wealth = self.agents["wealth"] + incomes
            giving = wealth > 0
            self.agents = self.agents.with_columns(wealth=wealth - giving.cast(pl.Int64))
            self.ticks += 1
            self.targets = ids.sample(n=int(giving.sum()), with_replacement=True, seed=SEED + self.ticks)

        def gini(self) -> float:
            groups = self.agents["wealth"].value_counts().sort("wealth")
            values, counts = groups["wealth"], groups["count"].cast(pl.Int64)
            weights = 2 * (counts.cum_sum() - counts) + counts - agents
            total = int((counts * values).sum())
            return float((counts * values * weights).sum()) / (agents * total) if total else 0.0

    class Market(ModelDF):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.traders = Traders(self)
            self.agents += self.traders

        def step(self) -> None:
            self.agents.do("step")

    market = Market()
    (traders,) = market.agents._agentsets
    started_s = CLOCK.now_s()
    collected = []
    for _ in range(ticks):
        market.step()
        collected.append(traders.gini())
    seconds = CLOCK.now_s() - started_s
    wealth = traders.agents["wealth"].to_numpy()
    check(int(wealth.sum()) + len(traders.targets) == agents, "mesa-frames lost or made money")
    check(abs(collected[-1] - gini(wealth)) < 1e-12, "the Gini coefficient of mesa-frames is wrong")
    return Measurement(seconds, digest_of(wealth), collected[-1])


def ambr_columns(agents: int, ticks: int) -> Measurement:
    """Run the model on ambr's ArrayKernelModel, with Gini every tick."""
    import ambr

    class Market(ambr.ArrayKernelModel):  # type: ignore[misc]
        started_s = 0.0
        ended_s = 0.0

        def init_state(self, xp: object, n: int, rng: object, p: object) -> dict[str, bare.Wealth]:
            state = {"wealth": np.ones(n, dtype=np.int64), "targets": np.empty(0, dtype=np.int64)}
            self.started_s = CLOCK.now_s()
            return state

        def step_state(
            self, xp: object, state: dict[str, bare.Wealth], rng: np.random.Generator, p: object
        ) -> dict[str, bare.Wealth]:
            state["targets"] = bare.tuned(state["wealth"], state["targets"], rng)
            return state

        def metrics(self, xp: object, state: dict[str, bare.Wealth]) -> dict[str, float]:
            collected = {"gini": gini(state["wealth"])}
            self.under_way = state["targets"].size
            self.ended_s = CLOCK.now_s()
            return collected

    market = Market({"n": agents, "steps": ticks, "seed": SEED, "show_progress": False, "prefer_gpu": False})
    results = market.run()
    wealth = results.agents["wealth"].to_numpy()
    check(int(wealth.sum()) + market.under_way == agents, "ambr lost or made money")
    return Measurement(market.ended_s - market.started_s, digest_of(wealth), float(results.model["gini"][-1]))
