"""The wealth model without any engine: the arms that say what the rules alone cost.

One tick, in this order in every simultaneous arm: receive the coins given in the tick before; everybody who then has
one gives one to an agent drawn from all. Coins given in the last tick are under way when the run ends, so money is
counted as what is held and what is under way. The sequential arms hand a coin over at once, which is another model with
another stationary distribution.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from novel_actors.validation.harness import CLOCK, Measurement, check

SEED = 42

Wealth = NDArray[np.int64]
Tick = Callable[[Wealth, Wealth, np.random.Generator], Wealth]
"""Takes wealth (n,), changed in place, and the agents given a coin in the tick before; returns those given one now."""


def plain(wealth: Wealth, targets: Wealth, rng: np.random.Generator) -> Wealth:
    """Do a tick in the words of the rules: rows of givers, and coins added to rows."""
    np.add.at(wealth, targets, 1)
    givers = np.flatnonzero(wealth > 0)
    wealth[givers] -= 1
    return rng.integers(0, wealth.size, givers.size)


def tuned(wealth: Wealth, targets: Wealth, rng: np.random.Generator) -> Wealth:
    """Do a tick with the fewest and fastest passes over memory that numpy offers: counts and masks, no row lists."""
    np.add(wealth, np.bincount(targets, minlength=wealth.size), out=wealth)
    givers = wealth > 0
    np.subtract(wealth, givers.view(np.int8), out=wealth)
    return rng.integers(0, wealth.size, np.count_nonzero(givers))


def gini(wealth: Wealth) -> float:
    """Return the Gini coefficient of integers >= 0, exactly, by counting equal values.

    Source: Gini 1912, Variabilita e mutabilita; as sum over sorted x of (2 i - n - 1) x_i / (n sum x), i from 1.
    """
    counts = np.bincount(wealth)
    values = np.arange(counts.size)
    below = np.cumsum(counts) - counts
    agents, total = wealth.size, int(np.dot(counts, values))
    if total == 0:
        return 0.0
    # The ranks of a block of equal values are below + 1 ... below + count; their mean stands for each of them.
    return float(np.dot(counts * values, 2 * below + counts - agents)) / (agents * total)


def gini_tolerance(agents: int) -> float:
    """Return how far the Gini coefficients of two right runs may lie apart: some five standard errors."""
    return 3.0 / math.sqrt(agents)


def wealth_columns(agents: int, ticks: int, tick: Tick, every_gini: bool) -> Measurement:
    """Run the model on one array."""
    rng = np.random.default_rng(SEED)
    wealth = np.ones(agents, dtype=np.int64)
    targets = np.empty(0, dtype=np.int64)
    collected = []
    started_s = CLOCK.now_s()
    for _ in range(ticks):
        targets = tick(wealth, targets, rng)
        if every_gini:
            collected.append(gini(wealth))
    seconds = CLOCK.now_s() - started_s
    check(int(wealth.sum()) + targets.size == agents, "the bare loop lost or made money")
    return Measurement(seconds, digest_of(wealth), collected[-1] if collected else gini(wealth))


class Trader:
    """A trader without an engine."""

    __slots__ = ("income", "wealth")

    def __init__(self) -> None:
        self.wealth = 1
        self.income = 0

    def receive(self) -> None:
        """Take the coins given in the tick before."""
        self.wealth += self.income
        self.income = 0

    def give(self, everyone: list[Trader], uniform: Callable[[], float]) -> None:
        """Give a coin, to arrive in the next tick."""
        if self.wealth > 0:
            self.wealth -= 1
            everyone[int(uniform() * len(everyone))].income += 1


def wealth_objects(agents: int, ticks: int) -> Measurement:
    """Run the model on a list of objects: two calls per agent and tick, and nothing else."""
    uniform = random.Random(SEED).random
    everyone = [Trader() for _ in range(agents)]
    started_s = CLOCK.now_s()
    for _ in range(ticks):
        # Received before anybody gives, as on the engine: `income` is the inbox.
        for trader in everyone:
            trader.receive()
        for trader in everyone:
            trader.give(everyone, uniform)
    seconds = CLOCK.now_s() - started_s
    wealth = np.array([trader.wealth for trader in everyone], dtype=np.int64)
    check(
        int(wealth.sum()) + sum(trader.income for trader in everyone) == agents, "the bare objects lost or made money"
    )
    return Measurement(seconds, digest_of(wealth), gini(wealth))


def digest_of(wealth: Wealth) -> str:
    """Return a digest of who has what."""
    return hashlib.sha256(np.ascontiguousarray(wealth, dtype=np.int64).tobytes()).hexdigest()
