from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import novel_actors as na
from novel_actors.errors import FrameError, StateError
from novel_actors.simulation.batch import Batch, Broadcast, Constant, EntryCodec, Run, as_array, as_list, split_entry
from novel_actors.simulation.frame import Frame, decode_frame, encode_frame

PARTITIONS = 5


@na.message
class Letter:
    number: int
    weight: float
    known: bool
    to: na.AgentId
    text: str = ""
    data: bytes = b""


@na.message
class Arrays:
    place: np.ndarray = na.column(np.float32, shape=(2, 2))
    small = na.column(np.int8)
    share = na.column(np.float32)
    mark = na.column(np.bool_, shape=3)


@na.message
class Nothing:
    pass


CODEC = EntryCodec([Letter, Arrays, Nothing])
INTEGERS = st.integers(-(2**63), 2**63 - 1)
SINGLES = st.floats(width=32, allow_nan=True)
# Zeros at the end are what arrays of characters lose.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=9) | st.just("nul\0")
BYTES = st.binary(max_size=9) | st.just(b"nul\0")
PLACES = hnp.arrays(np.float32, (2, 2), elements=SINGLES)
MARKS = hnp.arrays(np.bool_, 3)

letters = st.builds(
    Letter,
    number=INTEGERS,
    weight=st.floats(),
    known=st.booleans(),
    to=INTEGERS,
    text=TEXTS,
    data=BYTES,
)
arrays = st.builds(Arrays, place=PLACES, small=st.integers(-128, 127), share=SINGLES, mark=MARKS)
records = st.one_of(letters, arrays, st.builds(Nothing))


@st.composite
def ids(draw: st.DrawFn, kind: int, count: int) -> np.ndarray:
    partitions = draw(st.lists(st.integers(0, PARTITIONS - 1), min_size=count, max_size=count))
    serials = draw(st.lists(st.integers(0, 2**37 - 1), min_size=count, max_size=count))
    return np.array([(kind << 53) + (p << 37) + s for p, s in zip(partitions, serials, strict=True)], np.int64)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    home = (draw(st.integers(0, 3)) << 16) + draw(st.integers(0, PARTITIONS - 1))
    messages = draw(st.lists(records, min_size=1, max_size=6))
    targets = [(home << 37) + draw(st.integers(0, 2**37 - 1)) for _ in messages]
    if draw(st.booleans()):
        return Run(home, list(zip(targets, messages, strict=True)))
    return Run(home, [(t, m, draw(st.integers(-5, 2**62))) for t, m in zip(targets, messages, strict=True)])


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(1, 6))
    kind = draw(st.integers(0, 3))
    columns: tuple[Any, ...]
    if draw(st.booleans()):
        rows = draw(st.lists(letters, min_size=count, max_size=count))
        columns = (
            np.array([row.number for row in rows], np.int64),
            np.array([row.weight for row in rows], np.float64),
            np.array([row.known for row in rows], np.bool_),
            np.array([row.to for row in rows], np.int64),
            [row.text for row in rows],
            [row.data for row in rows],
        )
        values = tuple(rows[0])
        sort = Letter
    else:
        columns = (
            draw(hnp.arrays(np.float32, (count, 2, 2), elements=SINGLES)),
            draw(hnp.arrays(np.int8, count)),
            draw(hnp.arrays(np.float32, count, elements=SINGLES)),
            draw(hnp.arrays(np.bool_, (count, 3))),
        )
        values = tuple(draw(arrays))
        sort = Arrays
    chosen = tuple(
        Constant(value) if draw(st.booleans()) else column for column, value in zip(columns, values, strict=True)
    )
    senders = draw(st.one_of(st.none(), hnp.arrays(np.int64, count)))
    return Batch(kind, sort, draw(ids(kind, count)), chosen, senders)


broadcasts = st.builds(Broadcast, kind=st.integers(0, 3), message=records, sender=st.integers(-1, 2**62))
entries = st.one_of(runs(), batches(), broadcasts)


def words(value: Any) -> Any:
    """Return a value so that different bits differ and equal ones do not."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, float):
        return "nan" if value != value else value.hex()
    return (type(value).__name__, value)


def described(entry: Any) -> Any:
    """Return what an entry holds."""
    if isinstance(entry, Run):
        return entry.home, [
            (letter[0], type(letter[1]), list(map(words, letter[1])), letter[2:]) for letter in entry.letters
        ]
    if isinstance(entry, Broadcast):
        return entry.kind, type(entry.message), list(map(words, entry.message)), entry.sender
    columns = [list(map(words, as_list(column, entry.count))) for column in entry.columns]
    senders = None if entry.senders is None else entry.senders.tolist()
    return entry.kind, entry.message, entry.targets.tolist(), columns, senders


def frame_of(*mail: Any) -> Frame:
    return Frame(3, 7, 1, 8, [(2, [CODEC.to_wire(entry) for entry in mail])], [], [], [])


@given(st.lists(entries, max_size=4))
def test_entries_come_out_of_a_frame_as_they_went_in(sent: list[Any]) -> None:
    data = encode_frame(frame_of(*sent))
    frame = decode_frame(data)
    assert (frame.epoch, frame.tick, frame.source, frame.due) == (3, 7, 1, 8)
    received = [CODEC.from_wire(entry) for entry in frame.mail[0][1]]
    assert list(map(described, received)) == list(map(described, sent))
    # The same bytes again: a saved outbox has one digest wherever its entries came from.
    assert encode_frame(frame_of(*received)) == data


@given(entries)
def test_messages_of_a_batch_are_the_same_before_and_after_the_wire(sent: Any) -> None:
    received = CODEC.from_wire(decode_frame(encode_frame(frame_of(sent))).mail[0][1][0])
    if isinstance(sent, Batch):
        before, after = sent.messages(), received.messages()
        assert [list(map(words, message)) for message in before] == [list(map(words, message)) for message in after]


@given(batches())
def test_arrays_of_a_batch_hold_what_its_messages_hold(batch: Batch) -> None:
    fields = batch.message.__message_fields__
    columns = [as_array(field, column, batch.count) for field, column in zip(fields, batch.columns, strict=True)]
    for row, message in enumerate(batch.messages()):
        for field, column, value in zip(fields, columns, message, strict=True):
            assert words(column[row] if field.shape else column.tolist()[row]) == words(value)


@given(entries, st.lists(st.integers(0, 2), min_size=PARTITIONS, max_size=PARTITIONS))
def test_every_shard_gets_what_is_for_its_partitions_in_order(entry: Any, homes: list[int]) -> None:
    parts = split_entry(entry, np.array(homes, np.int64), range(3))
    if isinstance(entry, Broadcast):
        assert set(parts) == {0, 1, 2}
        return
    targets = [letter[0] for letter in entry.letters] if isinstance(entry, Run) else entry.targets.tolist()
    for shard in range(3):
        wanted = [target for target in targets if homes[(target >> 37) % 2**16] == shard]
        part: Any = parts.get(shard)
        if part is None:
            assert not wanted
        else:
            found = [letter[0] for letter in part.letters] if isinstance(part, Run) else part.targets.tolist()
            assert found == wanted


@given(st.binary(max_size=60))
def test_bytes_that_are_no_frame_are_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(b"\x00" + data)


def test_a_message_class_that_the_model_does_not_have_is_refused() -> None:
    wire = EntryCodec([Letter, Arrays, Nothing]).to_wire(Broadcast(0, Nothing(), -1))
    with pytest.raises(StateError, match="message class 2 is unknown"):
        EntryCodec([Letter]).from_wire(wire)
