"""Wealth: everyone who has money gives one unit to somebody drawn at random, and a few end up with most of it.

Activation is simultaneous: all who have money in a tick give in that tick, and what they give arrives in the next.
Receivers are drawn from all agents with equal chance, the giver included, who may so give to itself. Under sequential
activation, where a gift can be passed on within the tick, wealth is another model, with a larger Gini coefficient.

A gift on its way counts as its giver's, so that money is conserved to the unit at the end of every tick: what is
collected is `wealth + given`.

The stationary law, for many agents: one who has w units has w - [w > 0] + A a tick later, where A is Poisson and its
mean is the share r of givers. That is the queue of constant service time (M/D/1) under load r. Its mean
r + r**2 / (2 (1 - r)) is the mean wealth m, which gives r = 1 + m - sqrt(1 + m**2).

Source: Dragulescu and Yakovenko 2000, "Statistical mechanics of money", Eur. Phys. J. B 17, for sequential exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

import novel_actors as na

if TYPE_CHECKING:
    from novel_actors.simulation.message import Messages

IntArray = npt.NDArray[np.int64]


@na.message
class Gift:
    """Money that changes hands."""

    amount: int


class Trader(na.Agent):
    """One agent as an object.

    Attributes:
        wealth: Units in hand.
        given: Units given in the last tick, not yet received.
    """

    wealth: int = 1
    given: int = 0

    def step(self, tick: na.Tick) -> None:
        """Give one unit away, if there is one."""
        if self.wealth > 0:
            self.wealth -= 1
            self.given = 1
            tick.send(tick.random_peer(Trader), Gift(amount=1))
        else:
            self.given = 0

    @na.on(Gift)
    def receive(self, gift: Gift, tick: na.Tick) -> None:
        """Take what was given."""
        self.wealth += gift.amount


class Traders(na.Population):
    """The same agents as columns."""

    wealth = na.column(np.int64, default=1)
    given = na.column(np.bool_, default=False)

    def step(self, tick: na.Tick) -> None:
        """Let all who have a unit give it away."""
        np.greater(self.wealth, 0, out=self.given)
        np.subtract(self.wealth, self.given, out=self.wealth)
        givers = int(np.count_nonzero(self.given))
        tick.send_many(None, tick.random_peers(Traders, givers), Gift, amount=1)

    @na.on(Gift, rowwise=True)
    def receive(self, rows: IntArray, gifts: Messages, tick: na.Tick) -> None:
        """Take what was given, also several gifts to one."""
        np.add.at(self.wealth, rows, gifts.amount)


def holdings(agents: Trader | Traders) -> int | IntArray:
    """Return what an agent, or each of a population, has in hand and on its way to others."""
    held: int | IntArray = agents.wealth + agents.given
    return held


def build(
    sim: na.Simulation,
    *,
    agents: Annotated[int, Ge(1)] = 1000,
    wealth: Annotated[int, Ge(0)] = 1,
    columns: bool = True,
    collect_every: Annotated[int, Ge(1)] = 1,
) -> None:
    """Put the model together.

    The table `wealth` has the mean, Gini coefficient, maximum and sum of `holdings`.

    Args:
        sim: The simulation to fill.
        agents: Number of agents.
        wealth: Units that everyone starts with.
        columns: Whether agents are columns (`Traders`) or objects (`Trader`).
        collect_every: Ticks between two rows of the table.
    """
    kind = Traders if columns else Trader
    sim.add(kind, count=agents, wealth=wealth)
    sim.collect("wealth", of=kind, value=holdings, reduce=["mean", "gini", "max", "sum"], every=collect_every)
