"""What once differed with the number of shards, or was lost with one: each case is a small model of its own."""

from __future__ import annotations

import dataclasses
import enum
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import novel_actors as na
from novel_actors.errors import AgentError, ModelError, StateError
from novel_actors.runtime.local import Faults, LocalRuntime


@na.message
class Push:
    force: float = 0.0


@na.message
class Poke:
    pass


def digests(simulation: na.Simulation, ticks: int = 6, **options: Any) -> list[str]:
    """Return the digests of a model on 1, 2, 3 and 4 shards, and rescaled at each tick."""
    found = [simulation.run(ticks, shards=shards, runtime="local", **options).digest for shards in (1, 2, 3, 4)]
    with simulation.start(**options) as run:
        for number in range(ticks):
            run.rescale(1 + number % 4)
            run.advance(1)
        found.append(run.digest)
    return found


def assert_one(found: list[str]) -> None:
    assert len(set(found)) == 1, found


class Pusher(na.Agent):
    sign: float = 1.0

    def step(self, tick: na.Tick) -> None:
        tick.send_many(self.id, tick.random_peers(Signs, 3), Push, force=0.0 * self.sign)


class Signs(na.Population):
    minus = na.column(np.int64)
    seen = na.column(np.int64)
    shown = na.column(np.float64, publish=True)

    @na.on(Push)
    def push(self, rows: Any, pushes: Any, tick: na.Tick) -> None:
        np.add.at(self.minus, rows, np.signbit(pushes.force))

    def step(self, tick: na.Tick) -> None:
        self.seen += int(np.signbit(tick.published(Signs, "shown")).sum())
        self.shown = 0.0 if tick.number % 2 else -0.0


def test_the_sign_of_a_zero_is_the_same_on_all_shards() -> None:
    simulation = na.Simulation(seed=3, partitions=6)
    simulation.add(Pusher, count=12, sign=lambda index, rng: np.where(index % 2, -1.0, 1.0))
    simulation.add(Signs, count=12)
    assert_one(digests(simulation))


def test_a_negative_zero_arrives_as_one() -> None:
    simulation = na.Simulation(seed=3, partitions=2)
    simulation.add(Pusher, count=4, sign=[1.0, -1.0, 1.0, -1.0])
    simulation.add(Signs, count=4)
    agents = simulation.run(2).agents(Signs)
    assert agents["minus"].sum() == 2 * 3
    assert agents["seen"].sum() == 0
    # What is published after tick 2 is seen in tick 3: four minus signs by each of four rows.
    assert simulation.run(3).agents(Signs)["seen"].sum() == 16


class Meddler(na.Population):
    x = na.column(np.float64)

    def step(self, tick: na.Tick) -> None:
        tick.send_many(None, tick.random_peers(Meddler, len(self)), Push, force=self.x)

    @na.on(Push)
    def push(self, rows: Any, pushes: Any, tick: na.Tick) -> None:
        pushes.force[:] = 7.0


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_handler_cannot_write_into_messages(partitions: int) -> None:
    simulation = na.Simulation(partitions=partitions)
    simulation.add(Meddler, count=8)
    for shards in {1, partitions}:
        with pytest.raises(AgentError, match="read-only"):
            simulation.run(3, shards=shards, runtime="local")


class Gossip(na.Agent):
    last: int = -7

    def step(self, tick: na.Tick) -> None:
        self.last = int(tick.sender)
        if tick.rng.random() < 0.3:
            tick.send(tick.random_peer(Gossip), Poke())

    @na.on(Poke, sender=True)
    def poked(self, poke: Poke, tick: na.Tick) -> None:
        pass


@pytest.mark.parametrize("on_error", ["fail", "isolate"])
def test_the_sender_of_a_message_is_not_seen_in_other_partitions(on_error: str) -> None:
    simulation = na.Simulation(seed=1, partitions=5)
    simulation.add(Gossip, count=15)
    assert_one(digests(simulation, on_error=on_error))


def test_a_reducer_of_ones_own_gets_the_same_values_on_all_shards() -> None:
    simulation = na.Simulation(partitions=4)
    simulation.add(Meddler, count=8, x=np.arange(8.0))
    kinds: set[str] = set()

    def combine(parts: list[Any]) -> float:
        kinds.update(f"{type(part).__name__} of {type(part[0]).__name__}" for part in parts)
        return float(sum(part[0] for part in parts))

    simulation.collect("tuples", of=Meddler, value="x", reduce=[na.reducer("t", lambda v: (v.sum(), v.max()), combine)])
    simulation.collect("arrays", of=Meddler, value="x", reduce=[na.reducer("a", lambda v: np.sort(v), combine)])
    assert_one([simulation.run(0, shards=shards, runtime="local").digest for shards in (1, 2, 4)])
    assert kinds == {"list of float"}


class Diary(na.Agent):
    lines: list[int] = []  # noqa: RUF012
    mark: bytes = b""
    title: str = ""


def test_each_agents_lists_and_texts_are_collected_as_they_are() -> None:
    simulation = na.Simulation(partitions=2)
    simulation.add(Diary, count=3, mark=[b"a\0", b"", b"\0"], title=["x\0", "", "long"])
    simulation.add(Diary, count=1, lines=[1, 2])
    for name in ("lines", "mark", "title"):
        simulation.collect(name, of=Diary)
    result = simulation.run(0, shards=2, runtime="local")
    assert sorted(map(list, result.frame("lines")["value"])) == [[], [], [], [1, 2]]
    assert sorted(result.frame("mark")["value"]) == [b"", b"", b"\0", b"a\0"]
    assert sorted(result.frame("title")["value"]) == ["", "", "long", "x\0"]


class Sleeper(na.Agent):
    pokes: int = 0

    @na.on(Poke)
    def poked(self, poke: Poke, tick: na.Tick) -> None:
        self.pokes += 1


def test_a_run_that_was_quiescent_goes_on_when_a_message_is_injected(tmp_path: Path) -> None:
    simulation = na.Simulation(partitions=2)
    simulation.add(Sleeper, count=2)
    simulation.stop_when(quiescent=True)
    with simulation.start(shards=2, runtime="local", store=tmp_path / "run") as run:
        run.advance(5)
        assert (run.tick, run.reason) == (0, "quiescent")
        run.inject(0, Poke())
        run.advance(5)
        assert (run.tick, run.reason) == (1, "quiescent")
        assert run.agents(Sleeper)["pokes"].sum() == 1


def test_a_message_to_an_id_that_no_agent_can_have_is_dead() -> None:
    class Lost(na.Agent):
        to: int

        def step(self, tick: na.Tick) -> None:
            tick.send(self.to, Push())

    simulation = na.Simulation(partitions=3)
    simulation.add(Signs, count=3)
    ids = [(999 << 37) + 1, -1, (700 << 53) + 5, (2 << 37) + 900, 1 << 62]
    simulation.add(Lost, count=len(ids), to=ids)
    results = [simulation.run(2, shards=shards, runtime="local") for shards in (1, 3)]
    assert_one([result.digest for result in results])
    assert [result.statistics().dead_letters_total for result in results] == [len(ids)] * 2  # type: ignore[attr-defined]


def test_to_draw_a_peer_of_an_extinct_kind_is_an_error_that_says_so() -> None:
    class Alone(na.Agent):
        def step(self, tick: na.Tick) -> None:
            tick.random_peer(Sleeper)

    simulation = na.Simulation(partitions=2)
    simulation.add(Sleeper)
    simulation.add(Alone, count=1)
    with pytest.raises(AgentError, match="no Sleeper lives"):
        simulation.run(1)


class Fuse(na.Agent):
    burns: int
    heat: float = 0.0

    def step(self, tick: na.Tick) -> None:
        self.heat += float(tick.rng.random())
        if tick.number == self.burns:
            raise ValueError("burnt")


def test_a_failed_run_stands_at_the_same_whole_tick_on_any_shards(tmp_path: Path) -> None:
    simulation = na.Simulation(partitions=6)
    simulation.add(Fuse, count=12, burns=[9, 9, 9, 5, 9, 5, 5, 9, 9, 5, 9, 9])
    found = []
    for shards in (1, 2, 3, 6):
        with simulation.start(shards=shards, runtime="local", store=tmp_path / str(shards), checkpoint_every=3) as run:
            with pytest.raises(AgentError) as caught:
                run.advance(8)
            assert (caught.value.tick, run.tick) == (5, 4)
            found.append(run.digest)
    found.append(simulation.run(4).digest)
    assert_one(found)


class Asker(na.Agent):
    answers: list[int] = []  # noqa: RUF012

    async def step(self, tick: na.Tick) -> None:
        self.answers = [*self.answers, await tick.ask(count_up, None)]


asked: list[None] = []


async def count_up(request: None) -> int:
    asked.append(request)
    return len(asked)


def test_a_recorded_answer_is_not_asked_for_again_after_a_resume_and_a_rescale(tmp_path: Path) -> None:
    asked.clear()
    simulation = na.Simulation(partitions=3)
    simulation.add(Asker, count=3)
    store = tmp_path / "run"
    with simulation.start(store=store, shards=2, runtime="local", checkpoint_every=4) as run:
        run.advance(7)
        wanted = run.digest
        # Nothing is saved at the end, as if the process had ended here.
        run._is_broken = True
    assert len(asked) == 21
    with na.resume(store, simulation=simulation, shards=1, runtime="local") as run:
        assert run.tick == 4
        run.rescale(3)
        run.advance(3)
        assert run.digest == wanted
    assert len(asked) == 21
    with na.replay(store, 6, simulation=simulation, shards=2, runtime="local") as run:
        assert run.agents(Asker)["answers"].map(len).tolist() == [6, 6, 6]
    assert len(asked) == 21


@pytest.mark.parametrize("keeps", [True, False])
def test_what_was_injected_is_not_lost_with_a_shard(tmp_path: Path, keeps: bool) -> None:
    simulation = na.Simulation(seed=5, partitions=4)
    simulation.add(Sleeper, count=8)
    simulation.add(Gossip, count=8)
    simulation.run(4, store=tmp_path / "run")
    found = []
    for number, deaths in enumerate(([], [(0, 7)], [(1, 6), (0, 8)])):
        runtime = LocalRuntime(Faults(deaths=set(deaths)))
        store = tmp_path / f"fork{number}" if keeps else None
        with na.fork(tmp_path / "run", 4, store=store, simulation=simulation, shards=3, runtime=runtime) as run:
            run.advance(1)
            run.inject(0, Poke())
            run.advance(4)
            found.append(run.digest)
            assert run.agents(Sleeper)["pokes"].sum() == 1
            assert run.statistics().recoveries_total == len(deaths)
    assert_one(found)


def test_a_death_at_the_start_or_while_rescaling_changes_nothing() -> None:
    simulation = na.Simulation(seed=5, partitions=4)
    simulation.add(Gossip, count=12)
    found = [simulation.run(6).digest]
    runtime = LocalRuntime(Faults(deaths={(1, 0)}))
    with simulation.start(shards=2, runtime=runtime) as run:
        run.advance(6)
        found.append(run.digest)
    runtime = LocalRuntime()
    with simulation.start(shards=2, runtime=runtime) as run:
        run.advance(3)
        runtime.faults.deaths.add((2, 3))
        run.rescale(3)
        assert run.tick == 3
        run.advance(3)
        found.append(run.digest)
    assert_one(found)


def test_integers_beyond_what_msgpack_holds_are_summed_on_all_shards_alike() -> None:
    simulation = na.Simulation(partitions=4)
    simulation.add(Signs, count=8, minus=2**62)
    simulation.collect("minus", of=Signs, reduce=["mean", "var"])
    results = [simulation.run(0, shards=shards, runtime="local") for shards in (1, 4)]
    assert_one([result.digest for result in results])
    assert math.isclose(results[1].frame("minus")["mean"][0], 2.0**62)


def test_a_death_between_two_calls_changes_nothing(tmp_path: Path) -> None:
    simulation = na.Simulation(seed=5, partitions=4)
    simulation.add(Gossip, count=12)
    simulation.add(Sleeper, count=4)
    first = int(simulation.run(0).agents(Sleeper).index[0])
    calls: list[Callable[[Any], object]] = [
        lambda run: run.agents(Gossip),
        lambda run: run.statistics(),
        lambda run: run.digest,
        lambda run: run.result().digest,
        lambda run: run.rescale(3),
        lambda run: run.checkpoint(),
    ]
    with simulation.start() as run:
        run.advance(3)
        run.inject(first, Poke())
        run.advance(4)
        wanted = run.digest
    for number, call in enumerate(calls):
        runtime = LocalRuntime()
        with simulation.start(shards=4, runtime=runtime, store=tmp_path / str(number), checkpoint_every=2) as run:
            run.advance(3)
            runtime.kill(1 + number % 3)
            run.inject(first, Poke())
            run.advance(2)
            runtime.kill(0)
            call(run)
            assert run.tick == 5
            run.advance(2)
            assert run.statistics().recoveries_total == 2
            assert run.digest == wanted


def test_frames_of_an_earlier_run_do_not_reach_the_next(tmp_path: Path) -> None:
    simulation = na.Simulation(seed=5, partitions=4)
    simulation.add(Gossip, count=12)
    other = na.Simulation(seed=6, partitions=4)
    other.add(Gossip, count=12)
    wanted = simulation.run(6).digest
    for seed in range(20):
        runtime = LocalRuntime(Faults(seed, delay_turns=9, double=0.9, loss=0.3))
        other.run(6, shards=3, runtime=runtime)
        assert simulation.run(6, shards=3, runtime=runtime).digest == wanted


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the first shard that fails ends the others, so another agent may be named; the tick and the state are one",
)
def test_of_several_agents_that_raise_in_one_tick_the_same_is_named_on_any_shards() -> None:
    simulation = na.Simulation(partitions=6)
    simulation.add(Fuse, count=12, burns=[9, 9, 9, 9, 9, 5, 5, 9, 9, 5, 9, 9])
    named = set()
    for shards in (1, 2, 3, 6):
        with pytest.raises(AgentError) as caught:
            simulation.run(8, shards=shards, runtime="local")
        named.add(caught.value.agent_id)
    assert len(named) == 1


@na.message
class Table:
    cells: Any = na.column(np.float64, shape=(3, 50))


@na.message
class Word:
    text: str = ""


class Surveyor(na.Agent):
    total: float = 0.0

    def step(self, tick: na.Tick) -> None:
        tick.send(tick.random_peer(Surveyor), Table(cells=np.asfortranarray(tick.rng.random((3, 50)))))

    @na.on(Table)
    def add(self, table: Table, tick: na.Tick) -> None:
        self.total += float(table.cells.sum())


def test_the_order_of_an_arrays_bytes_is_the_same_on_all_shards() -> None:
    simulation = na.Simulation(seed=1, partitions=4)
    simulation.add(Surveyor, count=8)
    assert_one(digests(simulation))


class Careful(na.Population):
    x = na.column(np.float64)

    def step(self, tick: na.Tick) -> None:
        tick.remove(self.ids[self.x > 1e9])
        tick.send_many(None, tick.random_peers(Careful, len(self)), Push, force=1.0)

    @na.on(Push)
    def push(self, rows: Any, pushes: Any, tick: na.Tick) -> None:
        np.add.at(self.x, rows, pushes.force)


def test_to_remove_nobody_changes_nothing() -> None:
    simulation = na.Simulation(seed=1, partitions=4)
    simulation.add(Careful, count=2000)
    assert_one(digests(simulation, ticks=4))


class Undefined(na.Agent):
    force: float = 0.0
    to: int = 0

    def step(self, tick: na.Tick) -> None:
        tick.send_many(self.id, np.array([self.to]), Push, force=self.force)


class Taker(na.Population):
    x = na.column(np.float64)

    @na.on(Push)
    def push(self, rows: Any, pushes: Any, tick: na.Tick) -> None:
        self.x[rows] = pushes.force


def test_the_bits_of_nan_are_the_same_on_all_shards() -> None:
    simulation = na.Simulation(partitions=4)
    simulation.add(Taker, count=4)
    simulation.add(Undefined, count=2, force=[math.nan, -math.nan], to=[0, 1 << 37])
    assert_one(digests(simulation))


class Mood(enum.StrEnum):
    GOOD = "good"


class Speaker(na.Agent):
    heard: str = ""

    def step(self, tick: na.Tick) -> None:
        tick.send(tick.random_peer(Speaker), Word(text=Mood.GOOD))

    @na.on(Word)
    def hear(self, word: Word, tick: na.Tick) -> None:
        self.heard = type(word.text).__name__


def test_a_text_arrives_as_a_plain_one_on_all_shards() -> None:
    simulation = na.Simulation(seed=1, partitions=4)
    simulation.add(Speaker, count=8)
    assert_one(digests(simulation))


def test_text_that_utf8_cannot_carry_is_refused_where_it_is_made() -> None:
    with pytest.raises(StateError, match="UTF-8"):
        Word(text="\ud83d")
    assert Word(text="ü").text == "ü"


class Broken(na.Agent):
    def step(self, tick: na.Tick) -> None:
        raise ValueError("\ud83d")


def test_an_agent_is_isolated_whatever_its_error_says() -> None:
    simulation = na.Simulation(partitions=2)
    simulation.add(Broken, count=2)
    result = simulation.run(2, on_error="isolate")
    assert result.events("AgentFailed")["cause"].tolist() == ["ValueError: \\ud83d"] * 2


class Collector(na.Agent):
    bag: tuple[list[int], int] = ([], 0)

    def step(self, tick: na.Tick) -> None:
        self.bag[0].append(tick.number)


def test_agents_do_not_share_what_is_in_a_tuple() -> None:
    simulation = na.Simulation(partitions=4)
    simulation.add(Collector, count=8)
    assert_one(digests(simulation))
    assert simulation.run(2).agents(Collector)["bag"].tolist() == [([1, 2], 0)] * 8


class Keeper(na.Agent):
    kept = na.column(np.float64, shape=(3, 50))
    fails: int = 0

    def step(self, tick: na.Tick) -> None:
        tick.send(self.id, Table(cells=tick.rng.random((3, 50))))
        try:
            self.kept += 1.0
        except ValueError:
            self.fails += 1

    @na.on(Table)
    def keep(self, table: Table, tick: na.Tick) -> None:
        self.kept = table.cells


def test_a_kept_array_of_a_message_stays_read_only() -> None:
    simulation = na.Simulation(partitions=4)
    simulation.add(Keeper, count=4)
    assert_one(digests(simulation))


class Turner(na.Agent):
    cells = na.column(np.float64, shape=(3, 3))

    def step(self, tick: na.Tick) -> None:
        self.cells = self.cells.T


class Mixed(na.Agent):
    values: list[float] = []  # noqa: RUF012

    def step(self, tick: na.Tick) -> None:
        self.values = [7] if tick.number == 5 else []


@pytest.mark.parametrize(("kind", "match"), [(Turner, "ascontiguousarray"), (Mixed, r"\[7\]")])
def test_a_value_that_a_save_would_change_is_refused_at_each_save(kind: type, match: str, tmp_path: Path) -> None:
    simulation = na.Simulation(partitions=2)
    simulation.add(kind, count=2)
    with pytest.raises((AgentError, StateError), match=match):
        simulation.run(6, store=tmp_path / "run", checkpoint_every=5)


@dataclasses.dataclass
class Bag:
    items: set[str] = dataclasses.field(default_factory=set)


class Owner(na.Agent):
    bag: Bag = Bag()


def test_a_set_within_a_dataclass_is_refused() -> None:
    simulation = na.Simulation()
    simulation.add(Owner, count=1)
    with pytest.raises(ModelError, match=r"Bag\.items is a set"):
        simulation.run(1)


class Stray(na.Agent):
    to: int = 0

    def step(self, tick: na.Tick) -> None:
        tick.send(2**63 + self.to, Poke())


def test_an_id_beyond_64_bits_is_refused_on_any_shards() -> None:
    simulation = na.Simulation(partitions=2)
    simulation.add(Stray, count=2)
    simulation.add(Sleeper, count=2)
    for shards in (1, 2):
        with pytest.raises(AgentError, match="wants the id of an agent, got 92"):
            simulation.run(2, shards=shards, runtime="local")


def test_first_values_are_those_that_were_given() -> None:
    values = np.array([1.0, -1.0])
    simulation = na.Simulation(partitions=1)
    simulation.add(Undefined, count=2, force=values)
    simulation.add(Signs, count=1)
    values[:] = 5.0
    assert simulation.run(0).agents(Undefined)["force"].tolist() == [1.0, -1.0]


def test_two_kinds_of_one_name_are_refused() -> None:
    simulation = na.Simulation()
    simulation.add(Poker, count=1)
    with pytest.raises(ModelError, match="two kinds are called Poker"):
        simulation.add(type(Poker)("Poker", (na.Agent,), {"__module__": __name__}), count=1)


class Poker(na.Agent):
    pass


@na.message
class Count:
    n: int = 0


class Counters(na.Population):
    total = na.column(np.int64)

    def step(self, tick: na.Tick) -> None:
        tick.send_many(None, tick.random_peers(Counters, len(self)), Count, n=np.arange(len(self)))

    @na.on(Count, rowwise=True)
    def count(self, rows: Any, counts: Any, tick: Any) -> None:
        np.add.at(self.total, rows, counts.n)


def test_the_check_of_rowwise_handlers_passes_one_that_is_rowwise() -> None:
    simulation = na.Simulation(seed=1, partitions=4)
    simulation.add(Counters, count=2000)
    checked = simulation.run(3, check_rowwise=True).digest
    assert checked == simulation.run(3).digest


class Stranger(na.Agent):
    about: int = 0

    def step(self, tick: na.Tick) -> None:
        tick.published(Signs, "shown", np.array([self.about]))


@pytest.mark.parametrize("about", [40 << 37, 0, -1, 1 << 53])
def test_a_published_value_of_nobody_is_an_error_that_says_so(about: int) -> None:
    simulation = na.Simulation(partitions=2)
    simulation.add(Signs, count=1)
    simulation.add(Stranger, count=1, about=about)
    with pytest.raises(AgentError, match=f"Signs {about} does not live"):
        simulation.run(1)


@na.message
class Nudge:
    """Wakes or lulls."""

    ticks: int


class Dozer(na.Agent):
    """Counts its steps, and sleeps as long as it is told."""

    steps: int = 0

    def step(self, tick: na.Tick) -> None:
        """Count, and sleep."""
        self.steps += 1
        tick.sleep(ticks=10)

    @na.on(Nudge)
    def nudge(self, nudge: Nudge, tick: na.Tick) -> None:
        """Sleep anew from now on."""
        tick.sleep(ticks=nudge.ticks)


@pytest.mark.parametrize(("ticks", "second_step"), [(1, 6), (3, 8), (20, 25)])
def test_a_sleeper_that_sleeps_anew_steps_at_its_new_time(ticks: int, second_step: int) -> None:
    simulation = na.Simulation(partitions=2)
    simulation.add(Dozer, count=2)
    with simulation.start() as run:
        run.advance(4)
        run.inject(int(run.agents(Dozer).index[0]), Nudge(ticks=ticks))
        run.advance(second_step - 5)
        assert run.agents(Dozer)["steps"].iloc[0] == 1
        run.rescale(1)
        run.advance(1)
        assert run.agents(Dozer)["steps"].iloc[0] == 2


def test_a_handler_overridden_without_its_mark_is_refused() -> None:
    with pytest.raises(na.NovelActorsError, match=r"Deaf\.nudge hides a handler: mark it with @na\.on\(Nudge\)"):
        type(Dozer)("Deaf", (Dozer,), {"nudge": lambda self, nudge, tick: None})


def test_an_id_cannot_be_changed_or_declared() -> None:
    with pytest.raises(AttributeError):
        Dozer(id=4).id = 5  # type: ignore[misc]
    with pytest.raises(na.NovelActorsError, match=r"Odd\.id has a reserved name"):
        type(Dozer)("Odd", (na.Agent,), {"__annotations__": {"id": int}})


class Whole(na.Population):
    """A column of small whole numbers."""

    size = na.column(np.int8, default=3)


def test_a_column_assigned_what_it_cannot_hold_is_refused() -> None:
    whole = Whole({"size": np.full(3, 3, np.int8)}, 3, 0, None)
    whole.size += 1
    whole.size = [5, 6, 7]
    assert whole.size.tolist() == [5, 6, 7]
    for value in (1.5, [1, 2, 300], whole.size * 0.5):
        with pytest.raises(na.NovelActorsError, match=r"Whole\.size wants int8"):
            whole.size = value
    assert whole.size.tolist() == [5, 6, 7]


class Interrupter(na.Agent):
    """Does what Ctrl-C does, once."""

    steps: int = 0

    def step(self, tick: na.Tick) -> None:
        """Count; in the third step, interrupt."""
        self.steps += 1
        if self.steps == 3:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_run_stands_at_a_whole_tick_is_saved_and_tells_python(tmp_path: Path) -> None:
    simulation = na.Simulation(partitions=2)
    simulation.add(Interrupter, count=1)
    with simulation.start(store=tmp_path / "run") as run:
        with pytest.raises(KeyboardInterrupt, match="stands at the whole tick"):
            run.advance(1000)
        tick = run.tick
        assert 3 <= tick < 1000
    with na.resume(tmp_path / "run", simulation=simulation) as run:
        assert run.tick == tick
        assert set(run.agents(Interrupter)["steps"]) == {tick}
        run.advance(2)
        assert set(run.agents(Interrupter)["steps"]) == {tick + 2}
