from __future__ import annotations

import time

import pytest

from novel_actors.core.clock import Clock, SystemClock, VirtualClock


def test_virtual_clock_stands_still_until_advanced() -> None:
    clock = VirtualClock(now_s=5.0, wall_s=1_000.0)
    assert (clock.now_s(), clock.wall_s()) == (5.0, 1_000.0)
    clock.advance(2.5)
    assert (clock.now_s(), clock.wall_s()) == (7.5, 1_002.5)
    clock.advance(0)
    assert (clock.now_s(), clock.wall_s()) == (7.5, 1_002.5)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_virtual_clock_never_goes_back_nor_nowhere(seconds: float) -> None:
    clock = VirtualClock()
    with pytest.raises(AssertionError, match="a clock advances by finite seconds"):
        clock.advance(seconds)
    assert clock.now_s() == 0.0


def test_system_clock_reads_the_clocks_of_the_machine() -> None:
    clock: Clock = SystemClock()
    before = time.monotonic(), time.time()
    read = clock.now_s(), clock.wall_s()
    after = time.monotonic(), time.time()
    assert before[0] <= read[0] <= after[0]
    assert before[1] - 60 < read[1] < after[1] + 60
