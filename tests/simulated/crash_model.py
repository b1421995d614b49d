"""A model of everything that has to survive a kill, and the ways in which its own process can be killed.

The environment variable CRASH says how this process ends, once, counted from the moment at which the model is built or
(for signals) from its first tick:

    kill:SECONDS          kill -9 after so long
    file:N                kill -9 as the N-th change of a file in the run folder is about to be made
    write:N:SECONDS       kill -9 so long after the N-th batch was handed to the store
    close:SECONDS         kill -9 so long after the run began to close
    NAME:SECONDS          the signal of this name, after the first tick
    count                 nothing; the numbers of file changes and of batches are printed at the end
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

import novel_actors as na
from novel_actors.simulation.run import Run
from novel_actors.storage.lmdb_store import LmdbStore

ORDER = os.environ.get("CRASH", "").split(":")
FILE_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link")
PLACES = ("state.lmdb", "run.json", "tables")


@na.message
class Gift:
    amount: int
    note: str = ""


@na.event
class Given:
    to: int
    amount: int


async def oracle(request: Any) -> int:
    """Answer, and keep a list of the questions beside the run, as a service that is paid by the call would."""
    calls, number, agent = request
    if calls:
        with open(calls, "a") as file:  # noqa: ASYNC230 - a line, in a test
            file.write(f"{number} {agent}\n")
    return (number * 7 + agent) % 5


class Trader(na.Agent):
    wealth: int = 5
    memory: list[int] = []  # noqa: RUF012 - every agent gets a copy

    def step(self, tick: na.Tick) -> None:
        begin_signal()
        if self.wealth > 0:
            self.wealth -= 1
            to = tick.random_peer(Trader)
            tick.send(to, Gift(amount=1, note=str(tick.number)), delay=int(tick.rng.integers(1, 8)))
            if tick.rng.random() < 0.05:
                tick.emit(Given(to=to, amount=1))
        elif tick.rng.random() < 0.02:
            tick.spawn(Trader, wealth=0)
            tick.remove()
        else:
            tick.sleep(ticks=int(tick.rng.integers(1, 4)))

    @na.on(Gift)
    def receive(self, gift: Gift, tick: na.Tick) -> None:
        self.wealth += gift.amount
        self.memory = [*self.memory[-3:], tick.number]


class Crowd(na.Population):
    wealth = na.column(np.int64, default=3)

    def step(self, tick: na.Tick) -> None:
        givers = np.flatnonzero(self.wealth > 0)
        self.wealth[givers] -= 1
        tick.send_many(self.ids[givers], tick.random_peers(Crowd, givers.size), Gift, amount=1)

    @na.on(Gift)
    def receive(self, rows: Any, gifts: Any, tick: na.Tick) -> None:
        np.add.at(self.wealth, rows, gifts.amount)


class Asker(na.Agent):
    calls: str = ""
    heard: int = 0

    async def step(self, tick: na.Tick) -> None:
        self.heard += await tick.ask(oracle, [self.calls, tick.number, int(self.id)])


def build(sim: na.Simulation, *, traders: int = 60, crowd: int = 3000, askers: int = 3, calls: str = "") -> None:
    sim.add(Trader, count=traders)
    sim.add(Crowd, count=crowd)
    sim.add(Asker, count=askers, calls=calls)
    sim.collect("wealth", of=Trader, reduce=["count", "sum", "gini"])
    sim.collect("crowd", of=Crowd, value="wealth", reduce=["mean", "p90"])
    sim.collect("each", of=Trader, value="wealth", every=10)
    # So much that it is written in parts while the run goes on.
    sim.collect("all", of=Crowd, value="wealth", every=2)
    arm()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def later(seconds: str, action: Callable[[], None]) -> None:
    timer = threading.Timer(float(seconds), action)
    timer.daemon = True
    timer.start()


def begin_signal() -> None:
    """Start the timer of a signal, at the first step."""
    if ORDER[0].startswith("SIG"):
        number = getattr(signal, ORDER[0])
        later(ORDER[1], lambda: os.kill(os.getpid(), number))
        ORDER[0] = ""


def arm() -> None:
    changes, batches = 0, 0
    order, ORDER[0] = ORDER[0], ORDER[0] if ORDER[0].startswith("SIG") else ""

    def on_change(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in FILE_CHANGES) and any(place in str(arguments[0]) for place in PLACES):
            if order == "file" and changes == int(ORDER[1]):
                kill()
            changes += 1

    write = LmdbStore.write

    def on_write(store: LmdbStore, batch: Any, durability: Any) -> Any:
        nonlocal batches
        future = write(store, batch, durability)
        if order == "write" and batches == int(ORDER[1]):
            later(ORDER[2], kill)
        batches += 1
        return future

    close = Run.close

    def on_close(run: Run) -> None:
        later(ORDER[1], kill)
        close(run)

    if order == "kill":
        later(ORDER[1], kill)
    if order in ("file", "count"):
        sys.addaudithook(on_change)
    if order in ("write", "count"):
        LmdbStore.write = on_write  # type: ignore[method-assign]
    if order == "close":
        Run.close = on_close  # type: ignore[method-assign]
    if order == "count":
        atexit.register(lambda: print(f"changes {changes} batches {batches}", file=sys.stderr))  # noqa: T201
