"""What a user waits for before anything happens, the import, and the tick of a model so small that overhead is all."""

from __future__ import annotations

from functools import partial

from novel_actors.validation.child import measure_in_child
from novel_actors.validation.columns import OURS
from novel_actors.validation.harness import Arm, Measurement, Target, Workload
from novel_actors.validation.objects import few_agents

NUMPY = "numpy"


def workloads(small: bool) -> list[Workload]:
    """Return the workloads of this family."""
    imports = Workload(
        name="import",
        title="Import in a fresh process",
        unit="s",
        arms=[Arm(OURS, partial(import_time, "novel_actors")), Arm(NUMPY, partial(import_time, "numpy"))],
        targets=[Target(OURS, "limit", 0.3)],
    )
    return [imports, few_agents(small)]


def import_time(module: str) -> Measurement:
    """Return the seconds that the import of a module takes in a fresh process, without the start of Python itself."""
    program = (
        "import time; started_s = time.monotonic(); "
        f"import {module}; "
        "print('{\"value\": %r}' % (time.monotonic() - started_s))"
    )
    return measure_in_child("-c", program)
