"""What a user waits for before anything happens, the import, and the tick of a model so small that overhead is all."""

from __future__ import annotations

from functools import partial

from novel_actors.validation.child import measure_in_child
from novel_actors.validation.columns import OURS
from novel_actors.validation.harness import Arm, Measurement, Target, Workload
from novel_actors.validation.objects import few_agents

READY = "novel_actors, with a Simulation made"
NUMPY = "numpy"


def workloads(small: bool) -> list[Workload]:
    """Return the workloads of this family."""
    imports = Workload(
        name="import",
        title="Import in a fresh process",
        unit="s",
        arms=[
            Arm(OURS, partial(statement_time, "import novel_actors")),
            # Public names are loaded when they are first used, so this is what a user really waits for.
            Arm(READY, partial(statement_time, "import novel_actors; novel_actors.Simulation(seed=1)")),
            Arm(NUMPY, partial(statement_time, "import numpy")),
        ],
        targets=[Target(OURS, "limit", 0.3), Target(READY, "limit", 0.3)],
    )
    return [imports, few_agents(small)]


def statement_time(statement: str) -> Measurement:
    """Return the seconds that a statement takes in a fresh process, without the start of Python itself."""
    program = (
        "import time; started_s = time.monotonic(); "
        f"{statement}; "
        "print('{\"value\": %r}' % (time.monotonic() - started_s))"
    )
    return measure_in_child("-c", program)
