"""Every setting: its unit in the name, its bound in the type or the check, its default beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen

SCENARIO_BYTES_MAX = 1 << 20
"""A longer scenario file is refused before it is parsed."""

TICKS_DEFAULT = 100
"""Ticks of a scenario that names no number."""

Ticks = Annotated[int, Ge(0), Le(2**40)]
Seed = Annotated[int, Ge(0), Le(2**128 - 1)]


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How a run is executed and kept: the section `runtime` of a scenario. Only `partitions` can change a result."""

    shards: Annotated[int, Ge(1), Le(65536)] = 1
    partitions: Annotated[int, Ge(1), Le(65536)] | None = None
    checkpoint_every: Annotated[int, Ge(1), Le(2**40)] | None = None
    keep_checkpoints: Annotated[int, Ge(1), Le(1000)] = 3
    on_error: Literal["fail", "isolate"] = "fail"


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """One collector beside the model's own: an item of the section `collect` of a scenario.

    Attributes:
        of: The name of an agent class of the model.
        value: A field of it; without one, the field called `name`.
        reduce: Names of reducers, or `{histogram: [edges]}`; without any, one value per agent.
    """

    name: Annotated[str, MinLen(1)]
    of: Annotated[str, MinLen(1)]
    value: Annotated[str, MinLen(1)] | None = None
    reduce: list[str | dict[Literal["histogram"], list[float]]] | None = None
    every: Annotated[int, Ge(1), Le(2**40)] = 1


@dataclass(frozen=True, slots=True)
class StopSettings:
    """When a run ends before its last tick: the section `stop` of a scenario."""

    quiescent: bool = False
    wall_time_s: Annotated[float, Gt(0), Le(1e9)] | None = None
