"""The door to time: whatever needs it is handed a `Clock`."""

from __future__ import annotations

import math
import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time; neither may decide anything in a simulation."""

    def now_s(self) -> float:
        """Return monotonic seconds from an arbitrary start: for durations and deadlines."""
        ...

    def wall_s(self) -> float:
        """Return seconds since 1970 in UTC: for records that people read. It may jump, also backwards."""
        ...


class SystemClock:
    """The clock of the machine."""

    __slots__ = ()

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def wall_s(self) -> float:
        """Return seconds since 1970."""
        return time.time()


class VirtualClock:
    """A clock that stands still until it is advanced, so that tests and simulated clusters need no real time."""

    __slots__ = ("_now_s", "_wall_s")

    def __init__(self, now_s: float = 0.0, wall_s: float = 0.0) -> None:
        self._now_s = now_s
        self._wall_s = wall_s

    def now_s(self) -> float:
        """Return the seconds set at the start and advanced since."""
        return self._now_s

    def wall_s(self) -> float:
        """Return the wall time set at the start, advanced by the same seconds."""
        return self._wall_s

    def advance(self, seconds: float) -> None:
        """Move both readings forward by finite seconds >= 0."""
        assert 0 <= seconds < math.inf, f"a clock advances by finite seconds >= 0, not {seconds}"
        self._now_s += seconds
        self._wall_s += seconds
