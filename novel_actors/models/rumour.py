"""A rumour: those who know it tell it until they meet one who knows it too.

Everyone is ignorant, a spreader or a stifler. A spreader calls one other at a time. An ignorant who is called becomes a
spreader; a spreader who calls one who knows the rumour already loses interest and becomes a stifler.

Which rule. Daley and Kendall let pairs meet, and when two spreaders meet both become stiflers. A message goes from one
to another, so contacts here have a direction, as in the form of Maki and Thompson: the caller alone loses interest. In
the mean field the two are one: either of two spreaders may call the other, so they call twice as often as they would
meet, and each time half as many lose interest. (Both losing interest at each call would be neither model.)

The protocol. A call is answered, and a spreader waits for the answer before it calls again; of several calls that
reach an ignorant in one tick the first tells it, and the others find that it knows. So a contact takes two ticks, and
however many happen at once, every call either tells exactly one ignorant or stops exactly one spreader, who never
calls again. Nobody steps: calls and answers are messages, and the run is quiescent when the last spreader has stopped.

The final size. Let n agents call each other at random, and let x be the share that never hears. Nearly (1 - x) n calls
have told someone, and each of those (1 - x) n has been stopped by one call more: 2 (1 - x) n calls in all. Their
targets are independent and uniform, so an agent is missed by all of them with chance exp(-2 (1 - x)), and

    x = exp(-2 (1 - x)),    x = 0.203188 (the root below 1),

as in the differential equations, though ticks are no small steps of time: the count never asks when a call was made.

The fluctuation follows from the same count. After c n calls the number missed has the variance
n (exp(-c) - (1 + c) exp(-2 c)) of the occupancy problem, and the number of calls moves with it, which divides the
deviation by 1 - 2 x. With c = 2 (1 - x) the final share has the standard deviation
sqrt(x - (1 + c) x**2) / (1 - 2 x) / sqrt(n) = 0.5222 / sqrt(n).

Sources: Daley and Kendall 1965, "Stochastic rumours", J. Inst. Maths Applics 1; Maki and Thompson 1973, "Mathematical
Models and Applications"; Sudbury 1985, "The proportion of the population never hearing a rumour", J. Appl. Probab. 22.
The network of characters: Knuth 1993, "The Stanford GraphBase".
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

import novel_actors as na
from novel_actors.errors import ModelError

if TYPE_CHECKING:
    from novel_actors.simulation.message import Messages

IntArray = npt.NDArray[np.int64]
StatusArray = npt.NDArray[np.integer]

IGNORANT, SPREADER, STIFLER = 0, 1, 2
NEVER = -1
ACQUAINTANCES = "acquaintances"


@na.message
class Start:
    """The rumour as it comes into the world.

    Attributes:
        origin: The name of the character it is for; the others do not listen.
    """

    origin: str


@na.message
class Call:
    """A spreader tells the rumour."""


@na.message
class Answer:
    """What a call met.

    Attributes:
        news: Whether the one called did not know the rumour.
    """

    news: bool


@na.event
class Heard:
    """A character heard the rumour.

    Attributes:
        name: Who heard it.
        source: The id of the one who told it.
    """

    name: str
    source: na.AgentId


class Source(na.Agent):
    """Tells the rumour to its first spreader and leaves.

    Attributes:
        origin: The name of a character; empty for one of the crowd, drawn at random.
    """

    origin: str = ""

    def step(self, tick: na.Tick) -> None:
        """Start the rumour."""
        start = Start(origin=self.origin)
        if self.origin:
            tick.broadcast(Character, start)
        else:
            tick.send(tick.random_peer(Crowd), start)
        tick.remove()


class Character(na.Agent):
    """One who calls acquaintances.

    Attributes:
        name: The name in the network.
        status: `IGNORANT`, `SPREADER` or `STIFLER`.
        heard_tick: When it heard the rumour, or `NEVER`.
        heard_from: Who told it; -1 before.
    """

    name: str
    status: int = IGNORANT
    heard_tick: int = NEVER
    heard_from: na.AgentId = na.AgentId(-1)

    @na.on(Start, sender=True)
    def start(self, start: Start, tick: na.Tick) -> None:
        """Be the first spreader, if meant."""
        if start.origin == self.name:
            self.hear(tick)

    @na.on(Call, sender=True)
    def listen(self, call: Call, tick: na.Tick) -> None:
        """Hear the rumour, or say that it is known."""
        news = self.status == IGNORANT
        tick.send(tick.sender, Answer(news=news))
        if news:
            self.hear(tick)

    @na.on(Answer)
    def go_on(self, answer: Answer, tick: na.Tick) -> None:
        """Call another one, or lose interest."""
        if answer.news:
            self.call(tick)
        else:
            self.status = STIFLER

    def hear(self, tick: na.Tick) -> None:
        """Become a spreader."""
        self.status = SPREADER
        self.heard_tick = tick.number
        self.heard_from = tick.sender
        tick.emit(Heard(name=self.name, source=tick.sender))
        self.call(tick)

    def call(self, tick: na.Tick) -> None:
        """Call an acquaintance drawn at random; with none, lose interest."""
        acquaintances = tick.neighbours(ACQUAINTANCES)
        if acquaintances.size == 0:
            self.status = STIFLER
        else:
            tick.send(na.AgentId(int(tick.rng.choice(acquaintances))), Call())


class Crowd(na.Population):
    """A mixed population, as columns: each calls anyone with equal chance, itself included."""

    status = na.column(np.int8, default=IGNORANT)
    heard_tick = na.column(np.int64, default=NEVER)

    @na.on(Start)
    def start(self, rows: IntArray, starts: Messages, tick: na.Tick) -> None:
        """Be the first spreader."""
        self.hear(rows, tick)

    @na.on(Call, sender=True)
    def listen(self, rows: IntArray, calls: Messages, tick: na.Tick) -> None:
        """Hear the rumour from the first who calls, and tell the others that it is known."""
        news = np.zeros(rows.size, np.bool_)
        ignorant = np.flatnonzero(self.status[rows] == IGNORANT)
        told, first = np.unique(rows[ignorant], return_index=True)
        news[ignorant[first]] = True
        tick.send_many(self.ids[rows], calls.senders, Answer, news=news)
        self.hear(told, tick)

    @na.on(Answer)
    def go_on(self, rows: IntArray, answers: Messages, tick: na.Tick) -> None:
        """Call others, or lose interest. One who waits for one answer has one row here."""
        self.status[rows[~answers.news]] = STIFLER
        self.call(rows[answers.news], tick)

    def hear(self, rows: IntArray, tick: na.Tick) -> None:
        """Make spreaders of different rows."""
        self.status[rows] = SPREADER
        self.heard_tick[rows] = tick.number
        self.call(rows, tick)

    def call(self, rows: IntArray, tick: na.Tick) -> None:
        """Call one at random from each row."""
        tick.send_many(self.ids[rows], tick.random_peers(Crowd, rows.size), Call)


def ignorants(status: StatusArray) -> int:
    """Count those who have not heard."""
    return int(np.count_nonzero(status == IGNORANT))


def spreaders(status: StatusArray) -> int:
    """Count those who tell."""
    return int(np.count_nonzero(status == SPREADER))


def stiflers(status: StatusArray) -> int:
    """Count those who know and are silent."""
    return int(np.count_nonzero(status == STIFLER))


def build(
    sim: na.Simulation,
    *,
    network: Literal["les_miserables", "mixed"] = "les_miserables",
    agents: Annotated[int, Ge(1)] = 100_000,
    origin: str = "Valjean",
) -> None:
    """Put the model together; the run ends when nobody tells the rumour any more.

    The table `rumour` has the numbers of ignorants, spreaders and stiflers at each tick.

    Args:
        sim: The simulation to fill.
        network: Who can call whom: the 77 characters of Les Miserables, or a crowd in which everyone calls everyone.
        agents: The size of the crowd.
        origin: The character who hears the rumour first; one of the crowd is drawn at random.

    Raises:
        ModelError: There is no character of this name.
    """
    if network == "mixed":
        sim.add(Crowd, count=agents)
        sim.add(Source, count=1)
    else:
        add_characters(sim, les_miserables(), origin)
    status_of = Crowd if network == "mixed" else Character
    counts = [na.reducer(count.__name__, map=count, combine=sum) for count in (ignorants, spreaders, stiflers)]
    sim.collect("rumour", of=status_of, value="status", reduce=counts)
    sim.stop_when(quiescent=True)


def les_miserables() -> na.Network:
    """Return the network of the characters of Les Miserables: 77 names, 254 pairs that appear in one chapter."""
    import networkx

    return na.Network.from_networkx(networkx.les_miserables_graph())


def add_characters(sim: na.Simulation, network: na.Network, origin: str) -> None:
    """Add a character for each node of a network that is labelled by names, and the source of the rumour.

    Raises:
        ModelError: No node is labelled `origin`.
    """
    names = [str(label) for label in network.labels]
    if origin not in names:
        near = difflib.get_close_matches(origin, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
        raise ModelError(f"no character is named {origin!r}; {hint}")
    sim.add(Character, count=len(names), name=np.array(names, np.object_))
    sim.add_space(ACQUAINTANCES, network, of=Character)
    sim.add(Source, count=1, origin=origin)
