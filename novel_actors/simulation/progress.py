"""A line that says how far a run is: on a terminal, or in a notebook."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from novel_actors.config import PROGRESS_APPEARS_S, PROGRESS_INTERVAL_S
from novel_actors.core.clock import Clock, SystemClock

if TYPE_CHECKING:
    from tqdm import tqdm

_WIDTH_UNKNOWN = 100
"""Columns of a bar on a terminal that does not know its own width."""


@dataclass(frozen=True, slots=True)
class _Reading:
    now_s: float
    tick: int
    agents: int
    messages_total: int
    extra: str


class ProgressBar:
    """Shows ticks, ticks/s, agents, messages/s and the time left of a run that lasts long enough to be watched.

    Rates are those since the first update, so a resumed run does not count what it did before. Whatever a terminal does
    wrong ends the bar, never the run.

    Args:
        total_ticks: The tick at which the run ends; None when only a stop rule knows.
        enabled: None shows it only where somebody looks: stderr is a terminal, or this is a notebook.
        clock: Where time is read.
        stream: Where a bar of text is written; None: stderr.
    """

    __slots__ = ("_bar", "_clock", "_drawn_s", "_enabled", "_first", "_last", "_started_s", "_stream", "_total_ticks")

    def __init__(
        self,
        total_ticks: int | None,
        enabled: bool | None = None,
        *,
        clock: Clock | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self._clock = SystemClock() if clock is None else clock
        self._total_ticks = total_ticks
        self._stream = stream
        self._enabled = _is_watched(sys.stderr if stream is None else stream) if enabled is None else enabled
        self._bar: tqdm[Any] | None = None
        self._started_s = self._clock.now_s()
        self._drawn_s = float("-inf")
        self._first: _Reading | None = None
        self._last: _Reading | None = None

    def update(self, tick: int, agents: int, messages_total: int, extra: str = "") -> None:
        """Take the state after a tick; draw it if the last drawing is old enough.

        Args:
            tick: The last whole tick.
            agents: How many there are.
            messages_total: Sent so far in the whole run.
            extra: Words to add at the end of the line.
        """
        if not self._enabled:
            return
        now_s = self._clock.now_s()
        self._last = _Reading(now_s, tick, agents, messages_total, extra)
        if self._first is None:
            self._first = self._last
        if now_s - self._started_s >= PROGRESS_APPEARS_S and now_s - self._drawn_s >= PROGRESS_INTERVAL_S:
            self._drawn_s = now_s
            self._draw()

    def close(self) -> None:
        """Draw the last state, if a bar was ever shown, and end its line."""
        if self._bar is not None and self._enabled:
            self._draw()
        self._end()

    def _draw(self) -> None:
        assert self._first is not None
        assert self._last is not None
        try:
            if self._bar is None:
                self._bar = _open_bar(self._total_ticks, self._first.tick, self._stream)
            self._bar.n = self._last.tick
            self._bar.set_postfix_str(_words(self._first, self._last, self._total_ticks), refresh=False)
            self._bar.refresh()
        except Exception:  # noqa: BLE001 - a closed stream, a strange encoding, a widget that is not there: run on
            self._end()

    def _end(self) -> None:
        self._enabled = False
        bar, self._bar = self._bar, None
        if bar is not None:
            try:
                bar.close()
            except Exception:  # noqa: BLE001 - as above
                bar.disable = True  # or tqdm closes it again when it is collected


def _words(first: _Reading, last: _Reading, total_ticks: int | None) -> str:
    from tqdm import tqdm

    words = [f"{tqdm.format_sizeof(last.agents) if last.agents >= 1000 else last.agents} agents"]
    seconds = last.now_s - first.now_s
    if seconds > 0:
        ticks_per_s = (last.tick - first.tick) / seconds
        words.insert(0, f"{_rate(ticks_per_s)} ticks/s")
        words.append(f"{_rate((last.messages_total - first.messages_total) / seconds)} messages/s")
        if total_ticks is not None and ticks_per_s > 0:
            words.append(f"{tqdm.format_interval(round(max(0, total_ticks - last.tick) / ticks_per_s))} left")
    if last.extra:
        words.append(last.extra)
    return ", ".join(words)


def _rate(per_s: float) -> str:
    from tqdm import tqdm

    return tqdm.format_sizeof(per_s) if per_s >= 1000 else f"{per_s:.3g}"


def _open_bar(total_ticks: int | None, first_tick: int, stream: TextIO | None) -> tqdm[Any]:
    """Return a bar; a notebook without widgets gets one of text."""
    from tqdm import tqdm

    kind: type[tqdm[Any]] = tqdm
    if stream is None and _is_notebook():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm warns where it finds no widgets
            from tqdm.auto import tqdm as kind
    layout = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} ticks" if total_ticks else "{n_fmt} ticks"
    blind = _has_no_width(sys.stderr if stream is None else stream)
    settings: dict[str, Any] = {
        "total": total_ticks or None,
        "initial": first_tick,
        "bar_format": layout + "{postfix}",
        "file": stream,
        "ncols": _WIDTH_UNKNOWN if blind else None,
        "dynamic_ncols": not blind,
        "mininterval": 0,  # drawing is paced by `update`
        "miniters": 1,
    }
    try:
        return kind(**settings)
    except ImportError:
        return tqdm(**settings)


def _has_no_width(stream: TextIO) -> bool:
    """Tell whether a terminal says that it is 0 columns wide, as those of containers and test tools do."""
    try:
        return os.get_terminal_size(stream.fileno()).columns == 0
    except (OSError, ValueError):  # no terminal at all: tqdm does not limit the line
        return False


def _is_watched(stream: TextIO | None) -> bool:
    try:
        return _is_notebook() or (stream is not None and stream.isatty())
    except Exception:  # noqa: BLE001 - a stream that cannot even be asked is not watched
        return False


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"
