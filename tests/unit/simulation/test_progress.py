"""A progress bar says how far a run is, and never stops one."""

import io
import os
import pty
import subprocess
import sys
import termios
import types
from typing import TextIO

import pytest

from novel_actors.core.clock import VirtualClock
from novel_actors.simulation.progress import ProgressBar


class Terminal(io.StringIO):
    """Text that claims to be a terminal, and counts what is written."""

    writes = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes += bool(text.strip())
        return super().write(text)

    def last_line(self) -> str:
        return self.getvalue().rstrip().rpartition("\r")[2].strip()


def run(stream: TextIO, total_ticks: int | None, ticks: range, seconds_per_tick: float) -> None:
    clock = VirtualClock()
    bar = ProgressBar(total_ticks, clock=clock, stream=stream)
    for tick in ticks:
        bar.update(tick, 1_500_000, tick * 2000, "2 shards")
        clock.advance(seconds_per_tick)
    bar.close()


def test_a_bar_shows_rates_agents_and_time_left() -> None:
    terminal = Terminal()
    # Ten ticks a second; at tick 50 of 100 there are five seconds left.
    run(terminal, 100, range(51), 0.1)
    line = terminal.last_line()
    assert line.startswith("50%")
    assert "50/100 ticks" in line
    assert line.endswith("10 ticks/s, 1.50M agents, 20.0k messages/s, 00:05 left, 2 shards")


def test_a_bar_without_a_goal_shows_no_time_left() -> None:
    terminal = Terminal()
    run(terminal, None, range(51), 0.1)
    assert terminal.last_line().startswith("50 ticks")
    assert terminal.last_line().endswith("10 ticks/s, 1.50M agents, 20.0k messages/s, 2 shards")


def test_a_resumed_run_counts_only_what_it_does_itself() -> None:
    terminal = Terminal()
    run(terminal, 1000, range(900, 951), 0.1)
    assert "10 ticks/s" in terminal.last_line()
    assert "00:05 left" in terminal.last_line()


def test_a_short_run_shows_nothing() -> None:
    terminal = Terminal()
    run(terminal, 100, range(101), 0.004)
    assert terminal.getvalue() == ""


def test_a_bar_is_drawn_at_most_ten_times_a_second() -> None:
    terminal = Terminal()
    run(terminal, 20_000, range(20_000), 0.0001)
    # Two seconds from 0.5 s on: 15 drawings, two for the opening and two for the end.
    assert 10 <= terminal.writes <= 19


def test_a_bar_is_off_where_nobody_looks_unless_asked_for() -> None:
    for enabled, shown in ((None, False), (False, False), (True, True)):
        stream, clock = io.StringIO(), VirtualClock()
        bar = ProgressBar(10, enabled, clock=clock, stream=stream)
        clock.advance(1.0)
        bar.update(1, 5, 0)
        bar.close()
        assert bool(stream.getvalue()) == shown


def test_a_goal_of_no_ticks_is_shown_without_a_bar() -> None:
    terminal = Terminal()
    clock = VirtualClock()
    bar = ProgressBar(0, clock=clock, stream=terminal)
    clock.advance(1.0)
    bar.update(0, 5, 0)
    bar.close()
    assert terminal.last_line().startswith("0 ticks")
    assert terminal.last_line().endswith("5 agents")


class Broken(Terminal):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


class Ascii(Terminal):
    encoding = "ascii"

    def write(self, text: str) -> int:
        text.encode("ascii")
        return super().write(text)


def closed() -> Terminal:
    terminal = Terminal()
    terminal.close()
    return terminal


@pytest.mark.parametrize("stream", [Broken(), Ascii(), closed()], ids=["broken pipe", "ascii", "closed"])
def test_an_odd_terminal_never_breaks_a_run(stream: Terminal) -> None:
    for enabled in (None, True):
        clock = VirtualClock()
        bar = ProgressBar(100, enabled, clock=clock, stream=stream)
        for tick in range(100):
            clock.advance(0.1)
            bar.update(tick, 10, tick, "été")
        bar.close()


def test_a_program_without_stderr_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    for enabled in (None, True):
        clock = VirtualClock()
        bar = ProgressBar(100, enabled, clock=clock)
        clock.advance(1.0)
        bar.update(1, 10, 1)
        bar.close()


def test_a_stream_that_closes_in_mid_run_ends_the_bar_alone() -> None:
    terminal, clock = Terminal(), VirtualClock()
    bar = ProgressBar(100, clock=clock, stream=terminal)
    for tick in range(20):
        clock.advance(1.0)
        bar.update(tick, 10, tick)
        if tick == 10:
            terminal.close()
    bar.close()


PROGRAM = """
from novel_actors.core.clock import VirtualClock
from novel_actors.simulation.progress import ProgressBar

clock = VirtualClock()
bar = ProgressBar(20, clock=clock)
for tick in range(1, 21):
    clock.advance(0.2)
    bar.update(tick, 3, 10 * tick)
bar.close()
print("done")
"""


def read_to_end(descriptor: int) -> bytes:
    shown = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # how Linux says that nobody has the other end of a terminal open
            return shown
        if not chunk:
            return shown
        shown += chunk


@pytest.mark.parametrize("columns", [0, 100])
def test_a_real_terminal_shows_the_bar(columns: int) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=theirs) as child:
        os.close(theirs)
        shown = read_to_end(ours)
        os.close(ours)
        assert child.communicate()[0] == b"done\n"
    last = shown.decode().strip().rpartition("\r")[2]
    assert "20/20 ticks" in last
    assert "5 ticks/s, 3 agents, 50 messages/s, 00:00 left" in last


def test_a_pipe_does_not_show_the_bar() -> None:
    piped = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert piped.stderr == b""


def test_a_notebook_shows_the_bar_though_its_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = type("ZMQInteractiveShell", (), {})()
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    stream, clock = io.StringIO(), VirtualClock()
    bar = ProgressBar(10, clock=clock, stream=stream)
    clock.advance(1.0)
    bar.update(1, 5, 0)
    bar.close()
    assert "1/10 ticks" in stream.getvalue()
