"""Which shard hosts which partition.

Rendezvous hashing (Thaler and Ravishankar 1998, "Using name-based mappings to increase hit rates"): every pair of
partition and shard has a pseudo-random weight, and a partition goes to the shard that weighs most. Alone that leaves
some shards with far more than others, so loads are bounded (Mirrokni, Thorup, Zadimoghaddam 2018, "Consistent hashing
with bounded loads"): a full shard takes no more, and the partition goes to its next. The bound is the tightest there
is, floor or ceiling of partitions / shards.

With a bound that tight, hashing again after a change of shards would move far more than it must: one shard more changes
the bound of all. So a table is changed from what it was: every shard that stays keeps as many partitions as the new
bound lets it, and only the rest are placed by weight. The table is then a function of its history, which is why the
assignment itself is recorded and not only its shards.

Invariant of `build` and `with_shards`: loads of any two shards differ by at most one.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from novel_actors.errors import InvalidPartitionCount, InvalidPartitionTable, InvalidShards, TooManyShards

PARTITIONS_END: Final = 65_537
"""A table has fewer partitions than this; agent ids have 16 bits for the partition."""
SHARD_END: Final = 2**31
"""Shard numbers are below this."""

_GOLDEN_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_WEIGHTS_PER_BLOCK: Final = 1 << 20


def mix64(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the words mixed by a bijection in which every input bit changes about half of the output bits.

    Source: the finaliser of SplitMix64; Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
    """
    mixed = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def rendezvous_weights(partitions: npt.NDArray[np.int64], shards: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return the (partitions, shards) weights: number `shard` of the SplitMix64 sequence that each partition seeds."""
    seeds = mix64(partitions.astype(np.uint64))
    steps = (shards.astype(np.uint64) + np.uint64(1)) * _GOLDEN_GAMMA
    return mix64(seeds[:, np.newaxis] + steps[np.newaxis, :])


@dataclass(frozen=True, slots=True, eq=False)
class PartitionTable:
    """A mapping of partitions 0 .. n-1 to shards, with the epoch in which it holds.

    Any assignment may be handed to the constructor, balanced or not; `build` and `with_shards` make balanced ones.

    Attributes:
        shards: Shard numbers, ascending, each once; one may host nothing.
        epoch: Grows by one with each change.
        assignment: (partitions,) int64 shard numbers, read-only.

    Raises:
        InvalidPartitionTable: A field is not of that form.
        InvalidPartitionCount, InvalidShards, TooManyShards: As in `build`.
    """

    shards: tuple[int, ...]
    epoch: int
    assignment: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        shards = _checked_shards(self.shards)
        assignment = np.array(self.assignment)
        if assignment.ndim != 1 or assignment.dtype.kind not in "iu":
            raise InvalidPartitionTable(
                f"assignment wants one dimension of integers, got {assignment.ndim} of {assignment.dtype}"
            )
        _check_counts(assignment.size, len(shards))
        _check_epoch(self.epoch)
        foreign = np.setdiff1d(assignment, shards)
        if foreign.size:
            raise InvalidPartitionTable(f"assignment names shard {foreign[0]}, which is not among its shards")
        assignment = assignment.astype(np.int64)
        assignment.setflags(write=False)
        object.__setattr__(self, "shards", shards)
        object.__setattr__(self, "assignment", assignment)

    @classmethod
    def build(cls, partitions: int, shards: Iterable[int], epoch: int = 0) -> Self:
        """Return the balanced table of partitions over shards; the order in which shards are given does not matter.

        Costs time in proportion to partitions x shards.

        Raises:
            InvalidPartitionCount: Partitions are not 1 .. 65536.
            InvalidShards: None is given, one twice, or one is not 0 .. 2**31 - 1.
            TooManyShards: More shards than partitions.
        """
        numbers = _checked_shards(shards)
        _check_counts(partitions, len(numbers))
        nowhere = np.full(partitions, -1, dtype=np.int64)
        return cls(numbers, epoch, _place(nowhere, np.array(numbers, dtype=np.int64)))

    def with_shards(self, shards: Iterable[int], dead: Collection[int] = ()) -> Self:
        """Return the table of the next epoch over other shards, balanced, with the fewest moves that allow it.

        New shards take what they need and nothing else moves; of shards that go, only their partitions move.

        Args:
            shards: All shards of the new table, not only the new ones.
            dead: Shards to leave out of them, so that `table.with_shards(table.shards, dead={3})` reads as it should.

        Raises:
            InvalidShards, TooManyShards: As in `build`; this table is unchanged.
        """
        numbers = tuple(shard for shard in _checked_shards(shards) if shard not in dead)
        _check_counts(self.partitions, len(_checked_shards(numbers)))
        over = np.array(numbers, dtype=np.int64)
        return type(self)(numbers, self.epoch + 1, _place(_kept(self.assignment, over), over))

    @property
    def partitions(self) -> int:
        """Number of partitions, 1 .. 65536."""
        return int(self.assignment.size)

    def shard_of(self, partition: int) -> int:
        """Return the shard that hosts a partition."""
        assert 0 <= partition < self.assignment.size, f"partition {partition} of {self.assignment.size}"
        return int(self.assignment[partition])

    def partitions_of(self, shard: int) -> npt.NDArray[np.int64]:
        """Return the partitions of a shard, ascending; none when the shard is not in the table."""
        return np.flatnonzero(self.assignment == shard).astype(np.int64, copy=False)

    def moves(self, to: PartitionTable) -> dict[int, tuple[int, int]]:
        """Return what has to move on the way to another table: partition -> (from shard, to shard), ascending.

        Raises:
            InvalidPartitionTable: The other table has another number of partitions.
        """
        if self.partitions != to.partitions:
            raise InvalidPartitionTable(
                f"tables of {self.partitions} and of {to.partitions} partitions do not compare; "
                "a run keeps its number of partitions"
            )
        moved = np.flatnonzero(self.assignment != to.assignment)
        pairs = zip(self.assignment[moved].tolist(), to.assignment[moved].tolist(), strict=True)
        return dict(zip(moved.tolist(), pairs, strict=True))

    def to_record(self) -> tuple[int, list[int], bytes]:
        """Return (epoch, shards, assignment): values that msgpack packs, two bytes for each partition."""
        return self.epoch, list(self.shards), np.searchsorted(self.shards, self.assignment).astype("<u2").tobytes()

    @classmethod
    def from_record(cls, record: object) -> Self:
        """Return the table that `to_record` gave, also after msgpack made lists of its tuples.

        Raises:
            InvalidPartitionTable, InvalidPartitionCount, InvalidShards, TooManyShards: The record is not such a one.
        """
        match record:
            case [int(epoch), [*shards], bytes(packed)] if len(packed) % 2 == 0:
                numbers = _checked_shards(shards)
                positions = np.frombuffer(packed, dtype="<u2")
                if positions.size and int(positions.max()) >= len(numbers):
                    raise InvalidPartitionTable(f"record names shard {int(positions.max())} of {len(numbers)}")
                return cls(numbers, epoch, np.array(numbers, dtype=np.int64)[positions])
            case _:
                raise InvalidPartitionTable(f"record wants (epoch, shards, assignment), got {record!r:.80}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartitionTable):
            return NotImplemented
        return (
            self.shards == other.shards
            and self.epoch == other.epoch
            and np.array_equal(self.assignment, other.assignment)
        )

    def __hash__(self) -> int:
        return hash((self.shards, self.epoch, self.assignment.tobytes()))

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[int, ...], int, npt.NDArray[np.int64]]]:
        # Through the constructor, because a pickled array comes back writeable.
        return type(self), (self.shards, self.epoch, self.assignment)

    def __repr__(self) -> str:
        return f"PartitionTable({self.partitions} partitions, shards={list(self.shards)}, epoch={self.epoch})"


def _checked_shards(shards: Iterable[object]) -> tuple[int, ...]:
    numbers: list[int] = []
    for shard in shards:
        if isinstance(shard, bool) or not isinstance(shard, int | np.integer) or not 0 <= shard < SHARD_END:
            raise InvalidShards(f"shard numbers are 0 to {SHARD_END - 1}, got {shard!r}")
        numbers.append(operator.index(shard))
    numbers.sort()
    for number, after in pairwise(numbers):
        if number == after:
            raise InvalidShards(f"shard {number} is named twice; name each shard once")
    if not numbers:
        raise InvalidShards("partition table wants at least 1 shard, got none")
    return tuple(numbers)


def _check_epoch(epoch: object) -> None:
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
        raise InvalidPartitionTable(f"epoch wants a whole number >= 0, got {epoch!r}")


def _check_counts(partitions: object, shards: int) -> None:
    if isinstance(partitions, bool) or not isinstance(partitions, int) or not 1 <= partitions < PARTITIONS_END:
        raise InvalidPartitionCount(partitions)
    if shards > partitions:
        raise TooManyShards(shards, partitions)


def _kept(assignment: npt.NDArray[np.int64], shards: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the assignment with -1 for each partition that must leave its shard, as few as the bounds allow."""
    floor, spare = divmod(assignment.size, shards.size)
    kept = np.where(np.isin(assignment, shards), assignment, -1)
    for shard in shards.tolist():
        held = np.flatnonzero(kept == shard)
        quota = floor
        if held.size > floor and spare > 0:
            quota, spare = floor + 1, spare - 1
        if held.size > quota:
            weights = rendezvous_weights(held, np.array([shard], dtype=np.int64))[:, 0]
            lightest_first = np.argsort(weights, kind="stable")
            kept[held[lightest_first[: held.size - quota]]] = -1
    return kept


def _place(kept: npt.NDArray[np.int64], shards: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the assignment with a shard for each -1 in it, so that each shard hosts floor or ceiling.

    Args:
        kept: (partitions,) shard numbers or -1; no shard above the ceiling, no more at it than there are to be.
        shards: (shards,) ascending.
    """
    placed = kept.copy()
    floor = placed.size // shards.size
    # First all shards to the floor, then what is left to one more each: filling to the ceiling at once can starve one.
    for bound in (floor, floor + 1):
        while True:
            homeless = np.flatnonzero(placed < 0)
            hosted = np.searchsorted(shards, placed[placed >= 0])
            room = bound - np.bincount(hosted, minlength=shards.size)
            is_open = room > 0
            if homeless.size == 0 or not is_open.any():
                break
            choice, weight = _heaviest(homeless, shards[is_open])
            by_choice = np.lexsort((~weight, choice))
            sorted_choice = choice[by_choice]
            rank = np.arange(choice.size) - np.searchsorted(sorted_choice, sorted_choice)
            accepted = by_choice[rank < room[is_open][sorted_choice]]
            placed[homeless[accepted]] = shards[is_open][choice[accepted]]
    return placed


def _heaviest(
    partitions: npt.NDArray[np.int64], shards: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Return for each partition the position of the shard that weighs most, and that weight, in bounded memory."""
    choice = np.empty(partitions.size, dtype=np.int64)
    weight = np.empty(partitions.size, dtype=np.uint64)
    rows = max(1, _WEIGHTS_PER_BLOCK // shards.size)
    for start in range(0, partitions.size, rows):
        block = slice(start, start + rows)
        weights = rendezvous_weights(partitions[block], shards)
        choice[block] = weights.argmax(axis=1)
        weight[block] = weights.max(axis=1)
    return choice, weight
