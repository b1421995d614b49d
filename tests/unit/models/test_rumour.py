"""The rumour against its definition on small networks and its final size in a large crowd."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import networkx as nx
import numpy as np
import pytest

import novel_actors as na
from novel_actors.errors import ModelError
from novel_actors.models import rumour
from novel_actors.models.rumour import IGNORANT, NEVER, SPREADER, STIFLER, Character, Crowd, Heard
from novel_actors.simulation.scenario import load_scenario

NEVER_HEARS = 0.203188
"""The share that never hears, to six digits: the root below 1 of x = exp(-2 (1 - x)) (Sudbury 1985: 0.203)."""

CALLS = 2 * (1 - NEVER_HEARS)
DEVIATION = math.sqrt(NEVER_HEARS - (1 + CALLS) * NEVER_HEARS**2) / (1 - 2 * NEVER_HEARS)
"""Standard deviation of the final share times the root of the number of agents: see `novel_actors.models.rumour`."""


def chi_square_quantile(probability: float, freedom: int) -> float:
    """The quantile of the chi-square distribution after Wilson and Hilferty 1931, good to a percent."""
    z = NormalDist().inv_cdf(probability)
    return freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3


def crowd_of(agents: int, seed: int, partitions: int | None = None) -> na.Simulation:
    sim = na.Simulation(seed=seed, partitions=partitions)
    rumour.build(sim, network="mixed", agents=agents)
    return sim


def les_miserables(seed: int, origin: str = "Valjean", partitions: int | None = None) -> na.Simulation:
    sim = na.Simulation(seed=seed, partitions=partitions)
    rumour.build(sim, origin=origin)
    return sim


def characters_on(graph: nx.Graph[str], origin: str, seed: int = 1) -> na.Simulation:
    sim = na.Simulation(seed=seed)
    rumour.add_characters(sim, na.Network.from_networkx(graph), origin)
    sim.stop_when(quiescent=True)
    return sim


def test_the_share_that_never_hears_solves_its_equation() -> None:
    assert abs(NEVER_HEARS - math.exp(-2 * (1 - NEVER_HEARS))) < 5e-7


def test_a_fifth_of_a_large_crowd_never_hears() -> None:
    agents, seeds = 100_000, 8
    shares = []
    for seed in range(seeds):
        result = crowd_of(agents, seed).run(ticks=1_000)
        assert result.reason == "quiescent"
        last = result.frame("rumour").iloc[-1]
        assert last["spreaders"] == 0
        shares.append(last["ignorants"] / agents)
    errors = (np.array(shares) - NEVER_HEARS) / (DEVIATION / math.sqrt(agents))
    assert np.abs(errors).max() < 4
    assert abs(errors.mean()) < 3.3 / math.sqrt(seeds)


def test_final_share_fluctuates_as_derived() -> None:
    # The sum of squares of independent normal errors is chi-square distributed; a level of 0.001 in two tails.
    agents, seeds = 5_000, 60
    shares = [
        crowd_of(agents, seed).run(ticks=1_000).frame("rumour")["ignorants"].iloc[-1] / agents for seed in range(seeds)
    ]
    errors = (np.array(shares) - NEVER_HEARS) / (DEVIATION / math.sqrt(agents))
    assert chi_square_quantile(0.0005, seeds) < errors @ errors < chi_square_quantile(0.9995, seeds)


def test_everyone_is_counted_once_at_every_tick() -> None:
    for sim, total in ((crowd_of(1_000, 1), 1_000), (les_miserables(1), 77)):
        frame = sim.run(ticks=1_000).frame("rumour")
        assert (frame[["ignorants", "spreaders", "stiflers"]].sum(axis=1) == total).all()
        assert frame["ignorants"].iloc[0] == total
        assert (frame["ignorants"].diff().dropna() <= 0).all()
        assert (frame["stiflers"].diff().dropna() >= 0).all()


class Person(NamedTuple):
    id: int
    name: str
    status: int
    heard_tick: int
    heard_from: int


def people_of(result: na.Result) -> dict[int, Person]:
    rows = result.agents(Character).reset_index()[list(Person._fields)].to_numpy().tolist()
    return {row[0]: Person(*row) for row in rows}


def test_a_rumour_travels_along_the_network() -> None:
    graph = nx.les_miserables_graph()
    result = les_miserables(5).run(ticks=1_000)
    assert result.reason == "quiescent"
    people = people_of(result)
    assert sorted(person.name for person in people.values()) == sorted(graph)
    heard = [person for person in people.values() if person.heard_tick != NEVER]
    assert len(heard) > 1
    for person in people.values():
        assert person.status == (IGNORANT if person.heard_tick == NEVER else STIFLER)
        assert (person.heard_from == -1) == (person.heard_tick == NEVER)
    for person in heard:
        if person.name == "Valjean":
            assert person.heard_from not in people
        else:
            teller = people[person.heard_from]
            assert graph.has_edge(person.name, teller.name)
            assert teller.heard_tick < person.heard_tick


def test_each_hearing_is_an_event() -> None:
    result = les_miserables(5).run(ticks=1_000)
    heard = [p for p in people_of(result).values() if p.heard_tick != NEVER]
    events = result.events(Heard)[["tick", "agent", "name", "source"]].to_numpy().tolist()
    assert sorted(events) == sorted([p.heard_tick, p.id, p.name, p.heard_from] for p in heard)


def test_two_friends_take_the_steps_of_the_protocol() -> None:
    # The source starts a in tick 1; a hears and calls b (2); b hears, answers and calls a (3); a learns of its success,
    # calls b again, and tells b that it knows (4); b stops, and tells a that it knows (5); a stops (6).
    status = {}
    with characters_on(nx.Graph([("a", "b")]), "a").start() as run:
        for tick in range(1, 7):
            run.advance(ticks=1)
            people = run.agents(Character).set_index("name")["status"]
            status[tick] = (people["a"], people["b"])
    assert status == {
        1: (IGNORANT, IGNORANT),
        2: (SPREADER, IGNORANT),
        3: (SPREADER, SPREADER),
        4: (SPREADER, SPREADER),
        5: (SPREADER, STIFLER),
        6: (STIFLER, STIFLER),
    }


def test_the_run_ends_when_nobody_tells() -> None:
    result = characters_on(nx.Graph([("a", "b")]), "a").run(ticks=1_000)
    assert (result.reason, result.tick) == ("quiescent", 6)


def test_one_without_acquaintances_tells_nobody() -> None:
    graph: nx.Graph[str] = nx.Graph([("b", "c")])
    graph.add_node("a")
    people = characters_on(graph, "a").run(ticks=100).agents(Character).set_index("name")["status"]
    assert people.to_dict() == {"a": STIFLER, "b": IGNORANT, "c": IGNORANT}


def test_a_crowd_of_one_calls_itself_and_stops() -> None:
    result = crowd_of(1, 1).run(ticks=100)
    assert result.agents(Crowd)["status"].tolist() == [STIFLER]


def test_an_unknown_origin_is_named_with_the_nearest() -> None:
    with pytest.raises(ModelError, match="no character is named 'Valjan'; did you mean Valjean"):
        les_miserables(1, origin="Valjan")


@pytest.mark.parametrize(
    "build", [lambda: les_miserables(3, partitions=7), lambda: crowd_of(500, 3, partitions=7)], ids=["network", "crowd"]
)
def test_digest_does_not_depend_on_the_shards(build: Callable[[], na.Simulation]) -> None:
    digests = {build().run(ticks=1_000, shards=shards, runtime="local").digest for shards in (1, 2, 3, 5)}
    assert len(digests) == 1


def test_the_scenario_ends_before_its_last_tick() -> None:
    scenario = load_scenario(Path(__file__).parents[3] / "configs" / "rumour.yaml")
    result = scenario.build().run(ticks=scenario.ticks)
    assert result.reason == "quiescent"
    assert result.frame("rumour")["spreaders"].iloc[-1] == 0
