"""Agent ids: 63 bits that carry kind, partition and serial, so that nothing ever looks an address up.

The highest bits are the kind, so ids sort by kind, then partition, then age. Serials are counted per kind and partition
and are never given out twice.
"""

from __future__ import annotations

from typing import NewType

AgentId = NewType("AgentId", int)

SERIAL_BITS = 37
PARTITION_BITS = 16
KIND_BITS = 10

KIND_SHIFT = SERIAL_BITS + PARTITION_BITS
SERIAL_MASK = (1 << SERIAL_BITS) - 1
PARTITION_MASK = (1 << PARTITION_BITS) - 1
KINDS_MAX = 1 << KIND_BITS
PARTITIONS_MAX = 1 << PARTITION_BITS

NOBODY = AgentId(-1)
"""The sender of what was injected from outside."""


def agent_id(kind: int, partition: int, serial: int) -> AgentId:
    """Return the id of the agent with this kind number, partition and serial."""
    return AgentId(kind << KIND_SHIFT | partition << SERIAL_BITS | serial)


def partition_of(agent: int) -> int:
    """Return the partition within an id."""
    return agent >> SERIAL_BITS & PARTITION_MASK
