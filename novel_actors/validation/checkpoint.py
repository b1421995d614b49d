"""What checkpoints cost a run: the same run in memory, into a run folder, and with a checkpoint every 10 ticks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from novel_actors.config import BENCH_FOLDER
from novel_actors.validation import engine
from novel_actors.validation.harness import Arm, Target, Workload

CHECKPOINTED = "a checkpoint every 10 ticks"
FOLDER_ONLY = "a run folder, no checkpoint"
MEMORY_ONLY = "in memory"


def workloads(small: bool) -> list[Workload]:
    """Return the workload of this family; its run folders are made where the JSON goes, on a disk and not in memory."""
    agents, ticks = (2_000, 20) if small else (1_000_000, 100)
    folder = Path(BENCH_FOLDER)
    arms = [
        Arm(name, partial(engine.to_end, agents, ticks, where, every), digest_group="novel_actors")
        for name, where, every in (
            (CHECKPOINTED, folder, 10),
            (FOLDER_ONLY, folder, None),
            (MEMORY_ONLY, None, None),
        )
    ]
    return [
        Workload(
            name="checkpoint",
            title=f"Wealth as columns with checkpoints in LMDB, {agents:,} agents x {ticks} ticks, from start to close",
            unit="s",
            arms=arms,
            targets=[Target(CHECKPOINTED, "cost", 1.1, MEMORY_ONLY), Target(CHECKPOINTED, "cost", 1.1, FOLDER_ONLY)],
            work=agents * ticks,
            work_unit="agent-ticks",
        )
    ]
