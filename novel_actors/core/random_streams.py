"""Random numbers that depend on who asks and when, never on where or in which order.

One seed gives one Philox key; who asks is written into the counter. Philox4x64 is a keyed bijection of a 256-bit
counter (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"), so a stream is found by
setting four words, without drawing anything before it:

    counter = (0, tick, entity, purpose)        entity: a partition number or an agent id

Word 0 counts the blocks inside the stream. Two streams that differ in any other word therefore share no block before
2**64 blocks of four numbers each are drawn. Deriving a seed per stream by hashing was rejected: it is slower, and
disjoint only with high probability.
"""

from __future__ import annotations

import operator
from enum import IntEnum
from typing import Final, SupportsIndex

import numpy as np

from novel_actors.errors import InvalidSeed

SEED_END: Final = 2**128
"""Seeds are below this bound; a Philox key has no more bits."""


class Purpose(IntEnum):
    """What a stream is for; the last word of its counter. The numbers are part of every digest: add, never renumber."""

    PARTITION = 0
    """What the rules of a partition draw in a tick."""
    AGENT = 1
    """What one agent draws in a tick; its entity is an agent id, that of every other purpose is a partition."""
    PEERS = 2
    """Peers that the engine draws for a partition."""
    INITIAL = 3
    """First values of fields, before the first tick."""
    FORK = 4
    """What a fork changes."""


class ReusableStream:
    """One generator that becomes any stream of a seed in less than a microsecond, for the loop over partitions."""

    __slots__ = ("_bit_generator", "_counter", "_generator", "_state")

    def __init__(self, key: tuple[int, int]) -> None:
        self._bit_generator = np.random.Philox(key=np.array(key, dtype=np.uint64))
        self._generator = np.random.Generator(self._bit_generator)
        # numpy reads the state element by element; plain lists are the fastest it can be handed.
        # buffer_pos 4 and has_uint32 0 say that nothing drawn before the reset is left over.
        self._counter = [0, 0, 0, 0]
        self._state = {
            "bit_generator": "Philox",
            "state": {"counter": self._counter, "key": list(key)},
            "buffer": [0, 0, 0, 0],
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }

    def reset(self, entity: int, tick: int, purpose: int = Purpose.PARTITION) -> np.random.Generator:
        """Return the generator at the start of a stream; it is the same object each time, valid until the next reset.

        Args:
            entity: A partition number, or an agent id for `Purpose.AGENT`; 0 <= entity < 2**64.
            tick: 0 <= tick < 2**64.
            purpose: A `Purpose`.

        Raises:
            OverflowError: A number is negative or not below 2**64; the generator is of no use until the next reset.
        """
        counter = self._counter
        counter[1] = tick
        counter[2] = entity
        counter[3] = purpose
        self._bit_generator.state = self._state  # type: ignore[assignment]
        return self._generator


class RandomStreams:
    """All streams of one seed."""

    __slots__ = ("_key", "seed")

    def __init__(self, seed: SupportsIndex) -> None:
        """Derive the key.

        Args:
            seed: 0 <= seed < 2**128; Python's or numpy's integers, not bool.

        Raises:
            InvalidSeed: It is anything else.
        """
        if isinstance(seed, bool | np.bool_) or not isinstance(seed, SupportsIndex):
            raise InvalidSeed(seed)
        number = operator.index(seed)
        if not 0 <= number < SEED_END:
            raise InvalidSeed(number)
        self.seed: Final = number
        low, high = np.random.SeedSequence(number).generate_state(2, np.uint64).tolist()
        self._key: Final = (low, high)

    def __repr__(self) -> str:
        return f"RandomStreams({self.seed})"

    def partition(self, partition: int, tick: int, purpose: int = Purpose.PARTITION) -> np.random.Generator:
        """Return a new generator for a partition in a tick; a call with equal arguments gives equal numbers.

        Raises:
            OverflowError: A number is negative or not below 2**64.
        """
        assert purpose != Purpose.AGENT, "the agent purpose belongs to agent ids"
        return self._generator(partition, tick, purpose)

    def agent(self, agent_id: int, tick: int) -> np.random.Generator:
        """Return a new generator for one agent in a tick, apart from the streams of every partition.

        Raises:
            OverflowError: A number is negative or not below 2**64.
        """
        return self._generator(agent_id, tick, Purpose.AGENT)

    def reusable(self) -> ReusableStream:
        """Return an object that moves one generator from stream to stream, for hot loops."""
        return ReusableStream(self._key)

    def _generator(self, entity: int, tick: int, purpose: int) -> np.random.Generator:
        counter = np.array([0, tick, entity, purpose], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=np.array(self._key, dtype=np.uint64), counter=counter))


def draw_below(rng: np.random.Generator, bound: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return (count,) integers drawn uniformly from 0 to bound - 1, twice as fast as `Generator.integers`.

    Args:
        rng: Numbers are taken from its bit generator; 32 bits each while bound <= 2**32.
        bound: 1 to 2**63 - 1.
        count: At least 0.

    Source: Lemire 2019, "Fast random integer generation in an interval", over whole arrays: a draw whose low half falls
    below 2**32 mod bound is drawn again, so there is no bias.
    """
    if bound > 1 << 32:
        return rng.integers(0, bound, count)
    words = rng.bit_generator.random_raw((count + 1) // 2).view(np.uint32)[:count]
    products = words * np.uint64(bound)
    surplus = np.uint32((1 << 32) % bound)
    if surplus:
        low = products.astype(np.uint32)
        missed = (low < surplus).nonzero()[0]
        while missed.size:
            again = rng.bit_generator.random_raw((missed.size + 1) // 2).view(np.uint32)[: missed.size]
            products[missed] = again * np.uint64(bound)
            missed = missed[products[missed].astype(np.uint32) < surplus]
    products >>= np.uint64(32)
    return products.view(np.int64)
