"""The frame that one shard sends another at the end of a tick: all that the other must know to begin the next."""

from __future__ import annotations

from typing import Any

import msgspec

from novel_actors.errors import FrameError
from novel_actors.simulation.batch import WireEntry


class PartitionCensus(msgspec.Struct, array_like=True, frozen=True):
    """What lives in a partition: everything (`whole`), or what changed: see `KindCensus`."""

    kind: int
    partition: int
    whole: bool
    count: int
    next_serial: int
    serials: memoryview | None


class Publication(msgspec.Struct, array_like=True, frozen=True):
    """The rows of a published column of one partition."""

    kind: int
    name: str
    partition: int
    rows: memoryview


class Share(msgspec.Struct, array_like=True, frozen=True):
    """One partition's (or, where that is exact, one shard's) contribution to a collector: by source."""

    collector: int
    partition: int
    partials: list[Any]


class Frame(msgspec.Struct, array_like=True, frozen=True):
    """One shard's word to another after a tick.

    Attributes:
        epoch: Of the partition table; frames of another epoch are dropped.
        tick: After which it was sent.
        source: The sending shard.
        due: The next tick at which the sender has anything to do.
        mail: (sender partition, entries due in the next tick) in the order of partitions.
    """

    epoch: int
    tick: int
    source: int
    due: int
    mail: list[tuple[int, list[WireEntry]]]
    census: list[PartitionCensus]
    published: list[Publication]
    shares: list[Share]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Frame)


def encode_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    return _ENCODER.encode(frame)


def decode_frame(data: bytes | memoryview) -> Frame:
    """Return the frame; its buffers are views of `data`.

    Raises:
        FrameError: The bytes are no frame.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FrameError(f"{len(data)} bytes are no frame of novel_actors: {error}") from error
