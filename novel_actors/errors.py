"""Every exception class of the package.

Operating errors (bad input, damaged files, dead actors) derive from `NovelActorsError`; their message names the thing,
the value and the way out. Programmer errors are assertions. Every class hands its fields to `super().__init__`, so that an
error raised inside a hosted actor arrives as itself.
"""

from __future__ import annotations


class NovelActorsError(Exception):
    """Base of every operating error of novel_actors."""


class InvalidSeed(NovelActorsError):
    """A seed is no integer, or out of range."""

    def __init__(self, seed: object) -> None:
        super().__init__(seed)
        self.seed = seed

    def __str__(self) -> str:
        return f"seed wants an integer of 0 to 2**128 - 1, got {self.seed!r:.80}"


class InvalidPartitionCount(NovelActorsError):
    """A number of partitions is out of range."""

    def __init__(self, partitions: object) -> None:
        super().__init__(partitions)
        self.partitions = partitions

    def __str__(self) -> str:
        return f"partition table wants 1 to 65536 partitions, got {self.partitions!r:.80}"


class InvalidShards(NovelActorsError):
    """The shards of a partition table are none, named twice, or out of range; the message says which."""


class TooManyShards(NovelActorsError):
    """A table would leave a shard without a partition."""

    def __init__(self, shards: int, partitions: int) -> None:
        super().__init__(shards, partitions)
        self.shards = shards
        self.partitions = partitions

    def __str__(self) -> str:
        return (
            f"more shards than partitions: {self.shards} shards for {self.partitions} partitions; "
            f"use at most {self.partitions} shards, or start a run with at least {self.shards} partitions"
        )


class InvalidPartitionTable(NovelActorsError):
    """A partition table, or the record of one, contradicts itself; the message says where."""


class ScenarioError(NovelActorsError):
    """A scenario, or the model that it names, cannot be used; the message says where and what, nothing was started."""
