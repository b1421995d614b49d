"""Wealth as columns against a bare numpy loop, and with Gini every tick against the fastest peers."""

from __future__ import annotations

from functools import partial

from novel_actors.validation import bare, engine, peers
from novel_actors.validation.harness import Arm, Target, Workload

OURS = "novel_actors"
TUNED = "numpy, tuned"
PLAIN = "numpy, plain"
MESA_FRAMES = "mesa-frames"
AMBR = "ambr ArrayKernel"


def workloads(small: bool) -> list[Workload]:
    """Return the workloads of this family; small ones show that everything works, not how fast."""
    return [
        against_numpy(agents=2_000 if small else 1_000_000, ticks=5 if small else 50),
        against_peers(agents=2_000 if small else 100_000, ticks=5 if small else 100),
    ]


def against_numpy(agents: int, ticks: int) -> Workload:
    """Return the row on one large population."""
    return Workload(
        name="columns",
        title=f"Wealth as columns, {agents:,} agents x {ticks} ticks, in process",
        unit="s",
        arms=[
            Arm(OURS, partial(engine.columns, agents, ticks, every_gini=False), model="simultaneous"),
            *numpy_arms(agents, ticks, every_gini=False),
        ],
        targets=[Target(OURS, "faster", 0.9, TUNED), Target(OURS, "faster", 0.9, PLAIN)],
        work=agents * ticks,
        work_unit="agent-ticks",
        tolerance=bare.gini_tolerance(agents),
    )


def against_peers(agents: int, ticks: int) -> Workload:
    """Return the row with Gini every tick."""
    arms = [
        Arm(OURS, partial(engine.columns, agents, ticks, every_gini=True), model="simultaneous"),
        *numpy_arms(agents, ticks, every_gini=True),
    ]
    missing = []
    for peer, name, run in (
        (peers.MESA_FRAMES, MESA_FRAMES, peers.mesa_frames_columns),
        (peers.AMBR, AMBR, peers.ambr_columns),
    ):
        some, none = peers.arms_of(peer, [Arm(name, partial(run, agents, ticks), model="simultaneous")])
        arms += some
        missing += none
    return Workload(
        name="columns-gini",
        title=f"Wealth as columns with Gini every tick, {agents:,} agents x {ticks} ticks, in process",
        unit="s",
        arms=arms,
        missing=missing,
        targets=[Target(OURS, "faster", 4.0, MESA_FRAMES)],
        work=agents * ticks,
        work_unit="agent-ticks",
        tolerance=bare.gini_tolerance(agents),
    )


def numpy_arms(agents: int, ticks: int, every_gini: bool) -> list[Arm]:
    """Return the two bare loops; they draw the same numbers and so must end in the same wealth."""
    return [
        Arm(name, partial(bare.wealth_columns, agents, ticks, tick, every_gini), "simultaneous", "numpy")
        for name, tick in ((TUNED, bare.tuned), (PLAIN, bare.plain))
    ]
