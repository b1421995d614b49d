"""Wealth as objects against Mesa and against a bare Python loop, large and small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from novel_actors.validation import bare, engine, peers
from novel_actors.validation.columns import OURS
from novel_actors.validation.harness import Arm, Measurement, Target, Workload

BARE = "Python loop"
MESA_SIMULTANEOUS = "Mesa, simultaneous"
MESA_IN_ORDER = "Mesa, sequential"
MESA_SHUFFLED = "Mesa, shuffled"


def workloads(small: bool) -> list[Workload]:
    """Return the workloads of this family; small ones show that everything works, not how fast."""
    return [
        against_mesa("objects", agents=300 if small else 10_000, ticks=5 if small else 100, at_least=1.2),
        few_agents(small),
    ]


def few_agents(small: bool) -> Workload:
    """Return the row that says what an engine costs a small model: a tick of 100 agents, in microseconds."""
    ticks = 5 if small else 2_000
    workload = against_mesa("objects-100", agents=100, ticks=ticks, at_least=1.0)
    arms = [replace(arm, measure=partial(per_tick_us, arm.measure, ticks)) for arm in workload.arms]
    return replace(workload, title=f"A tick of 100 object agents, mean of {ticks:,} ticks", unit="us", arms=arms)


def per_tick_us(measure: Callable[[], Measurement], ticks: int) -> Measurement:
    """Return a measurement of so many ticks as microseconds for one."""
    measured = measure()
    return replace(measured, value=measured.value / ticks * 1e6)


def against_mesa(name: str, agents: int, ticks: int, at_least: float) -> Workload:
    """Return the row of a number of object agents."""
    mesa, missing = peers.arms_of(
        peers.MESA,
        [
            Arm(name, partial(peers.mesa_objects, agents, ticks, activation), model)
            for name, activation, model in (
                (MESA_SIMULTANEOUS, "simultaneous", "simultaneous"),
                (MESA_IN_ORDER, "in order", "sequential"),
                (MESA_SHUFFLED, "shuffled", "sequential"),
            )
        ],
    )
    return Workload(
        name=name,
        title=f"Wealth as objects, {agents:,} agents x {ticks:,} ticks, in process",
        unit="s",
        arms=[
            Arm(OURS, partial(engine.objects, agents, ticks), model="simultaneous"),
            Arm(BARE, partial(bare.wealth_objects, agents, ticks), model="simultaneous"),
            *mesa,
        ],
        missing=missing,
        targets=[
            Target(OURS, "faster", at_least, baseline) for baseline in (MESA_SIMULTANEOUS, MESA_IN_ORDER, MESA_SHUFFLED)
        ],
        work=agents * ticks,
        work_unit="agent-ticks",
        tolerance=bare.gini_tolerance(agents),
    )
