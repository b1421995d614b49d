from __future__ import annotations

import copy
import subprocess
import sys
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novel_actors.core.partition_table import PartitionTable, rendezvous_weights
from novel_actors.errors import (
    InvalidPartitionCount,
    InvalidPartitionTable,
    InvalidShards,
    NovelActorsError,
    TooManyShards,
)

shard_sets = st.sets(st.integers(0, 30), min_size=1, max_size=12)


def fewest_moves(table: PartitionTable, shards: set[int]) -> int:
    """The lower bound: a shard that stays keeps at most its new bound, and `spare` bounds are one above the floor."""
    floor, spare = divmod(table.partitions, len(shards))
    held = Counter(table.assignment.tolist())
    kept = sum(min(held[shard], floor) for shard in shards)
    above_floor = sum(held[shard] > floor for shard in shards)
    return table.partitions - kept - min(spare, above_floor)


def loads(table: PartitionTable) -> list[int]:
    return [table.partitions_of(shard).size for shard in table.shards]


def assert_balanced(table: PartitionTable) -> None:
    floor, spare = divmod(table.partitions, len(table.shards))
    expected = [floor] * (len(table.shards) - spare) + [floor + 1] * spare
    assert sorted(loads(table)) == expected


def test_weights_are_the_splitmix64_sequence_of_the_partition() -> None:
    # The published first outputs of SplitMix64 from seed 0; the finaliser leaves partition 0 at seed 0.
    weights = rendezvous_weights(np.array([0]), np.array([0, 1, 2]))
    assert weights.tolist() == [[0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]]


@given(partitions=st.integers(1, 300), shards=shard_sets, data=st.data())
def test_build_is_balanced_and_does_not_heed_the_order_of_shards(
    partitions: int, shards: set[int], data: st.DataObject
) -> None:
    partitions = max(partitions, len(shards))
    shuffled = data.draw(st.permutations(sorted(shards)))
    table = PartitionTable.build(partitions, shuffled, epoch=4)
    assert_balanced(table)
    assert table == PartitionTable.build(partitions, sorted(shards), epoch=4)
    assert table.epoch == 4
    assert table.shards == tuple(sorted(shards))
    assert set(table.assignment.tolist()) == shards


@given(partitions=st.integers(1, 300), steps=st.lists(shard_sets, min_size=2, max_size=6))
def test_each_change_of_shards_is_balanced_with_the_fewest_moves(partitions: int, steps: list[set[int]]) -> None:
    partitions = max(partitions, *(len(shards) for shards in steps))
    table = PartitionTable.build(partitions, steps[0])
    for epoch, shards in enumerate(steps[1:], start=1):
        changed = table.with_shards(shards)
        assert_balanced(changed)
        assert changed.epoch == epoch
        assert len(table.moves(changed)) == fewest_moves(table, shards)
        table = changed


@given(data=st.data(), partitions=st.integers(12, 200), shards=shard_sets)
def test_change_from_any_assignment_has_the_fewest_moves(
    data: st.DataObject, partitions: int, shards: set[int]
) -> None:
    hosts = data.draw(st.lists(st.integers(0, 8), min_size=partitions, max_size=partitions))
    table = PartitionTable(tuple(range(9)), 0, np.array(hosts))
    changed = table.with_shards(shards)
    assert_balanced(changed)
    assert len(table.moves(changed)) == fewest_moves(table, shards)


@given(partitions=st.integers(12, 300), shards=st.integers(1, 8), more=st.integers(1, 4))
def test_new_shards_take_what_they_need_and_nothing_else_moves(partitions: int, shards: int, more: int) -> None:
    table = PartitionTable.build(partitions, range(shards))
    grown = table.with_shards(range(shards + more))
    moves = table.moves(grown)
    assert len(moves) == sum(grown.partitions_of(shard).size for shard in range(shards, shards + more))
    assert all(to >= shards for _, to in moves.values())


@given(partitions=st.integers(12, 300), shards=st.integers(2, 12), data=st.data())
def test_only_partitions_of_dead_shards_move(partitions: int, shards: int, data: st.DataObject) -> None:
    dead = data.draw(st.sets(st.integers(0, shards - 1), min_size=1, max_size=shards - 1))
    table = PartitionTable.build(partitions, range(shards))
    shrunk = table.with_shards(table.shards, dead=dead)
    lost = {partition for shard in dead for partition in table.partitions_of(shard).tolist()}
    assert set(table.moves(shrunk)) == lost
    assert shrunk.shards == tuple(shard for shard in range(shards) if shard not in dead)


def test_equal_shards_move_nothing_but_open_a_new_epoch() -> None:
    table = PartitionTable.build(64, range(3))
    same = table.with_shards(range(3))
    assert table.moves(same) == {}
    assert same.epoch == 1
    assert same != table


def test_unbounded_first_choices_are_kept_where_there_is_room() -> None:
    # Rendezvous hashing without a bound is the argmax of each row; the bound may displace only what does not fit.
    table = PartitionTable.build(4096, range(4))
    first = rendezvous_weights(np.arange(4096), np.arange(4)).argmax(axis=1)
    overflow = np.maximum(np.bincount(first, minlength=4) - 1024, 0).sum()
    assert np.count_nonzero(first != table.assignment) == overflow


def test_largest_table_is_balanced() -> None:
    table = PartitionTable.build(65_536, range(7))
    assert_balanced(table)
    assert PartitionTable.from_record(table.to_record()) == table


def test_one_partition_for_each_shard() -> None:
    table = PartitionTable.build(50, range(50))
    assert sorted(table.assignment.tolist()) == list(range(50))


def test_lookups_agree_with_each_other() -> None:
    table = PartitionTable.build(40, [9, 2, 5])
    for shard in table.shards:
        hosted = table.partitions_of(shard).tolist()
        assert hosted == sorted(hosted)
        assert [table.shard_of(partition) for partition in hosted] == [shard] * len(hosted)
    assert table.partitions_of(3).size == 0


def test_moves_name_the_partition_and_both_shards() -> None:
    before = PartitionTable((0, 1, 2), 0, np.array([0, 1, 2, 0]))
    after = PartitionTable((0, 1), 1, np.array([0, 1, 1, 1]))
    assert before.moves(after) == {2: (2, 1), 3: (0, 1)}


def test_assignment_is_read_only_and_apart_from_the_array_given() -> None:
    given_array = np.array([0, 0])
    table = PartitionTable((0,), 0, given_array)
    given_array[0] = 7
    assert table.assignment.tolist() == [0, 0]
    for kept in (table, copy.deepcopy(table), PartitionTable.from_record(table.to_record())):
        assert kept == table
        assert hash(kept) == hash(table)
        with pytest.raises(ValueError, match="read-only"):
            kept.assignment[0] = 1


@given(partitions=st.integers(12, 300), shards=shard_sets, later=shard_sets)
def test_record_survives_msgpack(partitions: int, shards: set[int], later: set[int]) -> None:
    table = PartitionTable.build(partitions, shards, epoch=3).with_shards(later)
    assert PartitionTable.from_record(msgspec.msgpack.decode(msgspec.msgpack.encode(table.to_record()))) == table


def test_another_process_builds_the_same() -> None:
    program = (
        "from novel_actors.core.partition_table import PartitionTable as T; "
        "print(T.build(100, [5, 1, 9]).with_shards({1, 2, 9, 30}).assignment.tolist())"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
    assert answer == str(PartitionTable.build(100, [5, 1, 9]).with_shards([30, 2, 9, 1]).assignment.tolist())


@pytest.mark.parametrize("partitions", [0, -1, 65_537, True, 2.0, "3"])
def test_number_of_partitions_out_of_range_is_refused(partitions: object) -> None:
    with pytest.raises(InvalidPartitionCount, match=f"partition table wants 1 to 65536 partitions, got {partitions!r}"):
        PartitionTable.build(partitions, [0])  # type: ignore[arg-type]


def test_more_shards_than_partitions_names_both_and_the_way_out() -> None:
    message = (
        "more shards than partitions: 5 shards for 4 partitions; "
        "use at most 4 shards, or start a run with at least 5 partitions"
    )
    with pytest.raises(TooManyShards) as refused:
        PartitionTable.build(4, range(5))
    assert str(refused.value) == message
    assert str(copy.copy(refused.value)) == message
    with pytest.raises(TooManyShards):
        PartitionTable.build(4, range(4)).with_shards(range(5))


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([], "at least 1 shard, got none"),
        ([3, 1, 3], "shard 3 is named twice"),
        ([-1], "shard numbers are 0 to 2147483647, got -1"),
        ([2**31], "got 2147483648"),
        (["a"], "got 'a'"),
        ([True], "got True"),
    ],
)
def test_bad_shards_are_refused(shards: list[int], message: str) -> None:
    with pytest.raises(InvalidShards, match=message):
        PartitionTable.build(8, shards)
    with pytest.raises(InvalidShards, match=message):
        PartitionTable.build(8, [0]).with_shards(shards)


def test_death_of_all_shards_is_refused() -> None:
    with pytest.raises(InvalidShards, match="got none"):
        PartitionTable.build(8, [0, 1]).with_shards([0, 1], dead={0, 1})


def test_tables_of_other_runs_do_not_compare() -> None:
    with pytest.raises(InvalidPartitionTable, match="tables of 8 and of 9 partitions"):
        PartitionTable.build(8, [0]).moves(PartitionTable.build(9, [0]))


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        [0, [0]],
        [0, [0], "text"],
        [0, [0], b"\0"],
        [0, [0], b""],
        [0, [0], b"\1\0"],
        [-1, [0], b"\0\0"],
        [True, [0], b"\0\0"],
        ["0", [0], b"\0\0"],
        [0, [], b"\0\0"],
        [0, [0, 0], b"\0\0\0\0"],
        [0, ["a"], b"\0\0"],
        [0, [0, 1], b"\0\0"],
        [0, [0], b"\0\0" * 65_537],
    ],
)
def test_damaged_record_is_refused(record: object) -> None:
    with pytest.raises(NovelActorsError):
        PartitionTable.from_record(record)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (np.zeros((2, 2), dtype=np.int64), "one dimension of integers, got 2 of int64"),
        (np.zeros(3), "got 1 of float64"),
        (np.array([0, 4]), "assignment names shard 4"),
    ],
)
def test_bad_assignment_is_refused(assignment: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidPartitionTable, match=message):
        PartitionTable((0, 1), 0, assignment)
