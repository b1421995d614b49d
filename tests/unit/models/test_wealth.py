"""The wealth model against the stationary law of its own Markov chain."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest

import novel_actors as na
from novel_actors.models import wealth
from novel_actors.models.wealth import Trader, Traders
from novel_actors.simulation.scenario import load_scenario

FloatArray = npt.NDArray[np.float64]

LEVEL = 1e-3
STATES = 120


def simulation_of(seed: int, partitions: int | None = None, **parameters: int | bool) -> na.Simulation:
    sim = na.Simulation(seed=seed, partitions=partitions)
    wealth.build(sim, **parameters)  # type: ignore[arg-type]
    return sim


def stationary_law(mean: float) -> FloatArray:
    """The stationary law of w -> w - [w > 0] + Poisson(share of givers), truncated at `STATES`."""
    givers = 1 + mean - math.sqrt(1 + mean**2)
    arrivals = np.exp([k * math.log(givers) - givers - math.lgamma(k + 1) for k in range(STATES)])
    transitions = np.zeros((STATES, STATES))
    for units in range(STATES):
        left = max(units - 1, 0)
        transitions[units, left:] = arrivals[: STATES - left]
    transitions /= transitions.sum(axis=1, keepdims=True)
    balance = np.vstack((transitions.T - np.eye(STATES), np.ones(STATES)))
    law: FloatArray = np.linalg.lstsq(balance, np.append(np.zeros(STATES), 1.0))[0]
    # The share of givers was put in; that it and the mean come out again shows that the pair is consistent.
    assert law @ np.arange(STATES) == pytest.approx(mean, abs=1e-9)
    assert 1 - law[0] == pytest.approx(givers, abs=1e-9)
    return law


def chi_square_quantile(probability: float, freedom: int) -> float:
    """The quantile of the chi-square distribution after Wilson and Hilferty 1931, good to a percent."""
    z = NormalDist().inv_cdf(probability)
    return freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3


def gini_of(law: FloatArray) -> tuple[float, float]:
    """Gini coefficient of a law on 0, 1, 2, ..., and the standard deviation of one agent's share in its estimate.

    G = 1 - E min(W, W') / E W. As a U-statistic (Hoeffding 1948) its estimate from n values with a known mean has the
    standard error 2 sd(h(W)) / E W / sqrt(n), h(w) = E min(w, W').
    """
    units = np.arange(law.size)
    mean = float(law @ units)
    smaller = np.minimum.outer(units, units) @ law
    smallest = float(law @ smaller)
    return 1 - smallest / mean, 2 * math.sqrt(float(law @ smaller**2) - smallest**2) / mean


def assert_drawn_from(law: FloatArray, values: npt.NDArray[np.int64]) -> None:
    """Chi-square test of goodness of fit at `LEVEL`; the tail is put together until it expects five values."""
    cells = int(np.searchsorted(-law * values.size, -5.0))
    expected = np.append(law[:cells], law[cells:].sum()) * values.size
    observed = np.bincount(np.minimum(values, cells), minlength=cells + 1)
    assert ((observed - expected) ** 2 / expected).sum() < chi_square_quantile(1 - LEVEL, cells)


def test_gini_of_the_law_is_that_of_simultaneous_models() -> None:
    # Peers with simultaneous activation show 0.575 to 0.588, with sequential activation 0.61 to 0.64.
    assert 0.575 < gini_of(stationary_law(1.0))[0] < 0.588


@pytest.mark.parametrize("mean", [1, 2])
def test_columns_reach_the_stationary_law(mean: int) -> None:
    agents, ticks = 200_000, 400
    result = simulation_of(7, agents=agents, wealth=mean, collect_every=ticks).run(ticks=ticks)
    law = stationary_law(mean)
    gini, deviation = gini_of(law)
    assert abs(result.frame("wealth")["gini"].iloc[-1] - gini) < 4 * deviation / math.sqrt(agents)
    # Agents meet, so that all of them together are no independent sample; a small part of them is.
    held = result.agents(Traders)
    sample = np.random.default_rng(1).choice(agents, agents // 20, replace=False)
    assert_drawn_from(law, (held["wealth"] + held["given"]).to_numpy(np.int64)[sample])


def test_objects_reach_the_stationary_law() -> None:
    agents = 10_000
    result = simulation_of(8, agents=agents, columns=False).run(ticks=150)
    gini, deviation = gini_of(stationary_law(1.0))
    assert abs(result.frame("wealth")["gini"].iloc[-1] - gini) < 4 * deviation / math.sqrt(agents)
    held = result.agents(Trader)
    sample = np.random.default_rng(1).choice(agents, agents // 10, replace=False)
    assert_drawn_from(stationary_law(1.0), (held["wealth"] + held["given"]).to_numpy(np.int64)[sample])


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("units", [0, 1, 3])
def test_money_is_conserved_to_the_unit_at_every_tick(columns: bool, units: int) -> None:
    frame = simulation_of(1, agents=500, wealth=units, columns=columns).run(ticks=50).frame("wealth")
    assert frame.index.tolist() == list(range(51))
    assert (frame["sum"] == 500 * units).all()
    assert (frame["mean"] == units).all()


@pytest.mark.parametrize("columns", [True, False])
def test_one_agent_alone_gives_to_itself(columns: bool) -> None:
    kind = Traders if columns else Trader
    held = simulation_of(1, agents=1, wealth=2, columns=columns).run(ticks=5).agents(kind)
    assert held[["wealth", "given"]].to_numpy(np.int64).tolist() == [[1, 1]]


@pytest.mark.parametrize("columns", [True, False])
def test_ids_are_unique(columns: bool) -> None:
    held = simulation_of(1, agents=1_000, columns=columns).run(ticks=3).agents(Traders if columns else Trader)
    assert held.index.nunique() == len(held) == 1_000


@pytest.mark.parametrize("columns", [True, False])
def test_digest_does_not_depend_on_the_shards(columns: bool) -> None:
    digests = {
        simulation_of(3, partitions=7, agents=300, columns=columns).run(ticks=20, shards=shards, runtime="local").digest
        for shards in (1, 2, 3, 5)
    }
    assert len(digests) == 1


def test_digest_depends_on_the_seed() -> None:
    assert simulation_of(3).run(ticks=5).digest != simulation_of(4).run(ticks=5).digest


def test_rowwise_handler_keeps_its_word() -> None:
    result = simulation_of(3, agents=300).run(ticks=20, check_rowwise=True)
    assert result.digest == simulation_of(3, agents=300).run(ticks=20).digest


def test_the_scenario_runs_as_it_says() -> None:
    scenario = load_scenario(Path(__file__).parents[3] / "configs" / "wealth.yaml")
    assert (scenario.ticks, scenario.parameters["agents"]) == (100, 10_000)
    assert scenario.build().run(ticks=2).frame("wealth")["sum"].tolist() == [10_000] * 3
