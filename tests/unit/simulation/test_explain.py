"""Errors of a model are told in its own words: its classes, its fields, what to write instead."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import novel_actors as na
from novel_actors.errors import AgentError, ModelError, NovelActorsError, StateError
from novel_actors.simulation import explain


@na.message
class Gift:
    amount: int


@na.message
class Ping:
    pass


@na.message
class Small:
    w = na.column(np.int8)
    at = na.column(np.float64, shape=(3,))


class Trader(na.Agent):
    """Does at each tick what a test says."""

    does: str = ""
    wealth: int = 1
    luck = 2

    def step(self, tick: na.Tick) -> None:
        DEEDS[self.does](self, tick)

    @na.on(Gift)
    def receive(self, gift: Gift, tick: na.Tick) -> None:
        self.wealth += gift.amount

    @na.on(Ping)
    def answer(self, ping: Ping, tick: na.Tick) -> None:
        pass

    @na.on(Small)
    def shrink(self, small: Small, tick: na.Tick) -> None:
        pass


class Herd(na.Population):
    weight = na.column(np.float64)
    bonus = 1.5

    def step(self, tick: na.Tick) -> None:
        if tick.number == 1:
            self.wieght = 2
        self.bonus = 2.5


def misspell(agent: Any, tick: Any) -> None:
    agent.welth = 2


def read_misspelt(agent: Any, tick: Any) -> None:
    agent.wealth = agent.amount_of_wood


def set_unannotated(agent: Any, tick: Any) -> None:
    agent.luck = 3


def of_another(agent: Any, tick: Any) -> None:
    np.zeros(1).welth = 1  # type: ignore[attr-defined]


async def service(request: object) -> object:
    return request


OWN = sys.modules[__name__]
DEEDS: dict[str, Callable[[Any, Any], Any]] = {
    "misspell": misspell,
    "read_misspelt": read_misspelt,
    "set_unannotated": set_unannotated,
    "of_another": of_another,
    "colour": lambda agent, tick: (Ping(), tick.send(agent.id, Gift(colour=agent.wealth))),  # type: ignore[call-arg]
    "of_module": lambda agent, tick: OWN.Gift(colour=1),
    "nothing": lambda agent, tick: Gift(),  # type: ignore[call-arg]
    "ask": lambda agent, tick: tick.ask(service, 1),
    "send class": lambda agent, tick: tick.send(agent.id, Ping),
    "broadcast class": lambda agent, tick: tick.broadcast(Trader, Gift),
    "send_many one": lambda agent, tick: tick.send_many(None, np.array([agent.id]), Ping()),
    "send_many field": lambda agent, tick: tick.send_many(None, np.array([agent.id]), Gift, m=1),
    "send_many text": lambda agent, tick: tick.send_many(None, np.array([agent.id]), "Gift", amount=1),
    "send text": lambda agent, tick: tick.send(agent.id, "hello"),
    "w": lambda agent, tick: Small(w=300, at=[1, 2, 3]),  # type: ignore[call-arg]
    "w many": lambda agent, tick: tick.send_many(None, np.array([agent.id]), Small, w=[300], at=[1.0, 2.0, 3.0]),
    "at": lambda agent, tick: Small(w=1, at=["x", "y", "z"]),  # type: ignore[call-arg]
    "large": lambda agent, tick: Gift(amount=2**70),
    "large many": lambda agent, tick: tick.send_many(None, np.array([agent.id]), Gift, amount=[2**70]),
}


@pytest.mark.parametrize(
    ("deed", "cause"),
    [
        ("misspell", "AttributeError: Trader has no field 'welth'; did you mean 'wealth'?"),
        ("read_misspelt", "AttributeError: Trader has no field 'amount_of_wood'; it has does, wealth"),
        ("set_unannotated", "AttributeError: Trader.luck is no field: declare it with an annotation, luck: int = 2"),
        ("of_another", "AttributeError: 'numpy.ndarray' object has no attribute 'welth'"),
        ("colour", "TypeError: Gift has no field 'colour'; it has amount"),
        ("of_module", "TypeError: Gift has no field 'colour'; it has amount"),
        ("nothing", "TypeError: Gift.amount has no default: give amount="),
        ("ask", "StateError: only async agents ask services: write async def step(self, tick)"),
        ("send class", "ModelError: send wants a message, got the class Ping: write Ping(...)"),
        ("broadcast class", "ModelError: broadcast wants a message, got the class Gift: write Gift(...)"),
        ("send_many one", "ModelError: send_many wants a message class and its fields as columns, got one Ping"),
        ("send_many field", "StateError: Gift has no field 'm'; it has amount"),
        ("send_many text", "ModelError: 'Gift' is no message: declare it with @na.message"),
        ("send text", "ModelError: str is no message: declare it with @na.message"),
        ("w", "StateError: Small.w wants int8, got 300, which it cannot hold"),
        ("w many", "StateError: Small.w wants int8, got 300, which it cannot hold"),
        ("at", "StateError: Small.at wants float64[3], got 'x' (str)"),
        ("large", f"StateError: Gift.amount wants an integer of 64 bits, got {2**70}"),
        ("large many", f"StateError: Gift.amount wants int, got {2**70}, which 64 bits cannot hold"),
    ],
)
def test_the_cause_of_an_agents_error_names_what_to_write(deed: str, cause: str) -> None:
    sim = na.Simulation(partitions=1)
    sim.add(Trader, count=1, does=deed)
    with pytest.raises(AgentError) as caught:
        sim.run(1)
    assert caught.value.cause == cause
    isolated = sim.run(1, on_error="isolate").events()
    assert isolated["cause"].tolist() == [cause]


def test_a_population_is_told_to_declare_a_column() -> None:
    sim = na.Simulation(partitions=1)
    sim.add(Herd, count=1)
    with pytest.raises(AgentError) as caught:
        sim.run(1)
    assert caught.value.cause == "AttributeError: Herd has no field 'wieght'; did you mean 'weight'?"
    text = "'Herd' object attribute 'bonus' is read-only"
    assert explain.explained(Herd, AttributeError(text)).endswith("as a column, bonus = na.column(np.float64)")


def test_an_integer_beyond_64_bits_is_named() -> None:
    sim = na.Simulation(partitions=1)
    with pytest.raises(StateError, match=r"Trader.wealth wants int, got 1180591620717411303424, which 64 bits cannot"):
        sim.add(Trader, count=1, wealth=2**70)
    sim.add(Trader, count=1, wealth=2**63 - 1, does="grow")
    DEEDS["grow"] = lambda agent, tick: setattr(agent, "wealth", agent.wealth + 1)
    with pytest.raises(NovelActorsError, match=f"64 bits, which cannot hold {2**63}"):
        sim.run(1)


def test_a_graph_is_told_how_to_become_a_network() -> None:
    sim = na.Simulation()
    sim.add(Trader, count=1)
    with pytest.raises(ModelError, match=r"got \{0: \[1\]\}: na\.Network\.from_networkx\(graph\)"):
        sim.add_space("friends", {0: [1]}, of=Trader)  # type: ignore[arg-type]


class Stepless(na.Agent):
    def step(self) -> None:
        pass


class Deaf(na.Agent):
    @na.on(Ping)
    def hear(self, tick: na.Tick) -> None:
        pass


class Rowless(na.Population):
    @na.on(Ping)
    def hear(self, pings: na.Messages, tick: na.Tick) -> None:
        pass


class Optional(na.Agent):
    def step(self, tick: na.Tick, more: int = 0) -> None:
        pass

    @na.on(Ping)
    def hear(self, *rest: object) -> None:
        pass


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Stepless, r"Stepless\.step wants \(self, tick\), it is declared with \(self\)"),
        (Deaf, r"Deaf\.hear wants \(self, message, tick\), it is declared with \(self, tick\)"),
        (Rowless, r"Rowless\.hear wants \(self, rows, messages, tick\), it is declared with \(self, pings, tick\)"),
    ],
)
def test_a_method_that_cannot_be_called_is_refused_when_its_class_is_added(kind: type, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        na.Simulation().add(kind, count=1)
    na.Simulation().add(Optional, count=1)
