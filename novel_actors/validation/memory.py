"""Bytes of memory for each agent, every arm in a process of its own.

What counts is the private memory of the process (USS) after a tick, less that before the first agent was made, so
whatever the engine keeps beside the agents is in it, and the interpreter and the imports are not.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

import novel_actors as na
from novel_actors.validation.bare import SEED
from novel_actors.validation.child import measure_in_child, tell_parent
from novel_actors.validation.columns import OURS
from novel_actors.validation.harness import Arm, Measurement, Target, Workload

Column = NDArray[Any]

FIELDS = "the fields alone"
SLOTS = "objects with slots"
RAW = "raw columns"


class Resident(na.Agent):
    """An object agent with three fields and nothing to do."""

    age: int
    wealth: int
    energy: float


class Residents(na.Population):
    """A population with columns of five kinds, 45 bytes a row."""

    wealth = na.column(np.int64)
    energy = na.column(np.float64)
    position = na.column(np.float64, shape=(3,))
    age = na.column(np.int32)
    state = na.column(np.int8)


class SlottedResident:
    """The same resident without an engine."""

    __slots__ = ("age", "energy", "wealth")

    def __init__(self, age: int, wealth: int, energy: float) -> None:
        self.age = age
        self.wealth = wealth
        self.energy = energy


def workloads(small: bool) -> list[Workload]:
    """Return the workloads of this family."""
    objects = 2_000 if small else 300_000
    rows = 20_000 if small else 3_000_000
    return [
        Workload(
            name="memory-objects",
            title=f"Memory of an object agent with 3 fields, {objects:,} agents",
            unit="bytes",
            arms=[
                Arm(OURS, partial(in_child, "agents", objects)),
                Arm(SLOTS, partial(in_child, "slots", objects)),
                Arm(FIELDS, partial(in_child, "fields", objects)),
            ],
            targets=[Target(OURS, "excess", 400.0, FIELDS), Target(OURS, "excess", 400.0, SLOTS)],
        ),
        Workload(
            name="memory-columns",
            title=f"Memory of a row of 5 columns, {rows:,} rows",
            unit="bytes",
            arms=[Arm(OURS, partial(in_child, "population", rows)), Arm(RAW, partial(in_child, "raw", rows))],
            targets=[Target(OURS, "cost", 1.3, RAW)],
        ),
    ]


def in_child(what: str, count: int) -> Measurement:
    """Return the bytes for each agent or row, measured in a fresh process."""
    return measure_in_child("-m", "novel_actors.validation.memory", what, str(count))


def hold_fields(count: int) -> object:
    """Keep the values of the three fields in lists: each its object and one pointer."""
    return [column.tolist() for column in resident_columns(count).values()]


def hold_slots(count: int) -> object:
    """Keep plain objects in a list."""
    columns = resident_columns(count)
    return [SlottedResident(*values) for values in zip(*(column.tolist() for column in columns.values()), strict=True)]


def hold_raw(count: int) -> object:
    """Keep the columns of the population as arrays."""
    return [column.copy() for column in population_columns(count).values()]


def hold_agents(count: int) -> object:
    """Keep a run of object agents that has done a tick."""
    return _started(Resident, count, resident_columns(count))


def hold_population(count: int) -> object:
    """Keep a run of a population that has done a tick."""
    return _started(Residents, count, population_columns(count))


HOLDERS: dict[str, Callable[[int], object]] = {
    "agents": hold_agents,
    "slots": hold_slots,
    "fields": hold_fields,
    "population": hold_population,
    "raw": hold_raw,
}


def resident_columns(count: int) -> dict[str, Column]:
    """Return initial fields; whole numbers are above those that Python keeps one object of."""
    index = np.arange(count)
    return {"age": index % 1_000 + 1_000, "wealth": index + 10_000, "energy": index * 0.5}


def population_columns(count: int) -> dict[str, Column]:
    """Return initial columns."""
    index = np.arange(count)
    return {
        "wealth": index,
        "energy": index * 0.5,
        "position": np.repeat(index * 0.25, 3).reshape(count, 3),
        "age": (index % 100).astype(np.int32),
        "state": (index % 7).astype(np.int8),
    }


def main(what: str, count: int) -> None:
    """Measure in this process, which must be fresh, and tell the parent."""
    hold = HOLDERS[what]
    # Whatever is loaded or filled once for all, whatever the number of agents, is made by a first, small round.
    hold(100)
    gc.collect()
    process = psutil.Process()
    before_bytes = process.memory_full_info().uss
    held = hold(count)
    gc.collect()
    after_bytes = process.memory_full_info().uss
    tell_parent(Measurement((after_bytes - before_bytes) / count))
    del held


def _started(kind: type[na.Agent] | type[na.Population], count: int, columns: dict[str, Column]) -> na.Run:
    simulation = na.Simulation(seed=SEED)
    fields: dict[str, Any] = dict(columns)
    simulation.add(kind, count=count, **fields)
    run = simulation.start()
    # The simulation may keep the initial values for another run; a user who wants the memory lets go of it as here.
    del simulation
    run.advance(ticks=1)
    return run


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
