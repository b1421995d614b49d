"""A sealed record is believed whole or not at all."""

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novel_actors.errors import RecordDamaged, RecordError, RecordForeign, RecordVersionMismatch
from novel_actors.storage import pack, seal, unpack, unseal


class Snapshot(msgspec.Struct):
    tick: int
    names: list[str]
    column: bytes


@given(st.text(min_size=1, max_size=60), st.integers(0, 2**32 - 1), st.binary(max_size=300))
def test_unseal_gives_back_the_payload(kind: str, version: int, payload: bytes) -> None:
    assert unseal(seal(kind, version, payload), kind, version) == payload


def test_every_truncation_is_refused() -> None:
    record = seal("snapshot", 3, b"some payload")
    for length in range(len(record)):
        with pytest.raises(RecordDamaged):
            unseal(record[:length], "snapshot", 3)


def test_every_single_flipped_bit_is_refused() -> None:
    record = seal("snapshot", 3, b"some payload")
    for bit in range(8 * len(record)):
        altered = bytearray(record)
        altered[bit // 8] ^= 1 << bit % 8
        # A flip within the first four bytes makes it another program's file, any other one damages ours.
        expected = RecordForeign if bit < 32 else RecordDamaged
        with pytest.raises(expected):
            unseal(bytes(altered), "snapshot", 3)


def test_bytes_behind_the_record_are_refused() -> None:
    with pytest.raises(RecordDamaged, match="its seal says"):
        unseal(seal("snapshot", 3, b"payload") + b"\x00", "snapshot", 3)


def test_another_kind_is_named() -> None:
    with pytest.raises(RecordForeign, match=r"'snapshot'.*found a record of kind 'event'"):
        unseal(seal("event", 3, b""), "snapshot", 3)


def test_foreign_bytes_are_named() -> None:
    with pytest.raises(RecordForeign, match=r"begin with b'\\x89PNG'"):
        unseal(b"\x89PNG\r\n\x1a\n and more", "snapshot", 3)


def test_another_version_is_named_with_the_one_that_is_read() -> None:
    with pytest.raises(RecordVersionMismatch, match=r"has version 4, this program reads version 3") as caught:
        unseal(seal("snapshot", 4, b""), "snapshot", 3)
    assert (caught.value.found, caught.value.expected) == (4, 3)


def test_a_kind_without_a_name_is_a_programmers_error() -> None:
    with pytest.raises(AssertionError):
        seal("", 1, b"")
    with pytest.raises(AssertionError):
        seal("k" * 256, 1, b"")


def test_unpack_gives_back_the_declared_value() -> None:
    value = Snapshot(tick=7, names=["a", "é"], column=b"\x00\xff")
    assert unpack(pack(value, "snapshot", 1), Snapshot, "snapshot", 1) == value


@pytest.mark.parametrize(
    "wrong",
    [
        {"tick": "7", "names": [], "column": b""},
        {"tick": 7, "names": [1], "column": b""},
        {"tick": 7, "names": []},
        [7],
        None,
    ],
)
def test_a_payload_of_another_type_is_damage(wrong: Any) -> None:
    with pytest.raises(RecordDamaged, match="payload is no Snapshot"):
        unpack(pack(wrong, "snapshot", 1), Snapshot, "snapshot", 1)


def test_a_payload_that_is_no_msgpack_is_damage() -> None:
    with pytest.raises(RecordDamaged):
        unpack(seal("snapshot", 1, b"\xc1"), Snapshot, "snapshot", 1)


def test_a_pickle_is_never_loaded() -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return pytest.fail, ("a pickle was loaded",)

    with pytest.raises(RecordError):
        unpack(seal("snapshot", 1, pickle.dumps(Trap())), Snapshot, "snapshot", 1)
