"""Small models drawn from a seed, that use the kernel in all its ways at once.

A seed gives a few classes of agents whose rules are data: a table of (when, what, with which numbers). What an agent
does depends on its state, its inbox, the census and its random stream alone, so a model has one outcome. The classes
are written to notice small differences: the sign of a zero, the precision of a number, the order of letters.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import novel_actors as na

KINDS_LIVING_MAX = 60
"""Nobody is born of a kind of which so many live, so that models stay small."""
TEXTS = ("", "a", "ß", "Ä∂", "nul\0", "long text " * 3)
ZEROS = (0.0, -0.0, 0.0, -0.0, 1.5, -2.25, 1e-300)


@na.message
class Note:
    value: int
    text: str = ""


@na.message
class Dose:
    amount: float
    on: bool = True


@na.message
class Call:
    pass


@na.message
class Parcel:
    owner: na.AgentId
    spot: np.ndarray = na.column(np.float32, shape=(2,))
    data: bytes = b""
    gain = na.column(np.float32, default=1)
    small = na.column(np.int8)


@na.event
class Seen:
    value: int
    text: str


@na.event
class Moved:
    spot = na.column(np.float32, shape=(2,))
    small = na.column(np.int8)
    level: float = 0.0


@dataclasses.dataclass(frozen=True)
class Rule:
    """Do `what` when (something of the agent) % modulus == remainder; a, b, c are its numbers."""

    what: str
    modulus: int
    remainder: int
    a: int
    b: int
    c: int


@dataclasses.dataclass
class World:
    """What the rules of one model refer to."""

    kinds: list[type] = dataclasses.field(default_factory=list)
    publishing: list[type] = dataclasses.field(default_factory=list)
    has_web: bool = False
    fails: bool = False


@dataclasses.dataclass
class RandomModel:
    """A simulation with what a test does to it.

    Attributes:
        seed: From which all of it was drawn.
        simulation: The model.
        ticks: How long it is run.
        inputs: (tick after which, agent id, message) of what is injected, by tick.
        on_error: For `start`.
        has_async: Whether agents ask services.
    """

    seed: int
    simulation: na.Simulation
    ticks: int
    inputs: list[tuple[int, int, object]]
    on_error: str
    has_async: bool


class Refused(Exception):
    """What agents raise in models that isolate errors."""


def wrap(number: int) -> int:
    """Keep a number small and not negative."""
    return number % (1 << 20)


def message_of(rule: Rule, number: int, me: int) -> object:
    """Return a message whose values depend on the rule and a number."""
    which = rule.b % 4
    if which == 0:
        return Note(value=number % 97, text=TEXTS[number % len(TEXTS)])
    if which == 1:
        return Dose(amount=ZEROS[number % len(ZEROS)], on=number % 3 != 0)
    if which == 2:
        return Call()
    return Parcel(
        spot=[number / 7, -0.0],
        owner=me,
        data=bytes([number % 256, 0]),
        gain=np.float32(number / 3),
        small=number % 100 - 50,
    )


# Rules of objects ---------------------------------------------------------------------------------------------------


def friend_of(agent: Any, rule: Rule) -> int | None:
    return agent.friends[(agent.load + rule.a) % len(agent.friends)] if agent.friends else None


def send_peer(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    kind = world.kinds[rule.a % len(world.kinds)]
    if tick.census(kind):
        peer = tick.random_peer(kind)
        agent.friends = [*agent.friends[-5:], int(peer)]
        tick.send(peer, message_of(rule, agent.load, agent.id), delay=1 + rule.c % 4 if rule.c % 2 else 1)


def send_friend(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    friend = friend_of(agent, rule)
    if friend is not None:
        tick.send(friend, message_of(rule, agent.load, agent.id), delay=1 + rule.c % 4)


def send_neighbours(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    if world.has_web:
        found = tick.neighbours("web")
        for neighbour in found[:3]:
            tick.send(neighbour, message_of(rule, agent.load, agent.id))
        if rule.c % 2:
            tick.send_many(agent.id, found, Note, value=rule.a)


def send_many(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    kinds = [world.kinds[rule.a % len(world.kinds)], world.kinds[rule.c % len(world.kinds)]]
    drawn = [np.asarray(tick.random_peers(kind, 1 + rule.b % 4)) for kind in kinds if tick.census(kind)]
    if not drawn:
        return
    targets = np.concatenate(drawn)
    me = np.full(len(targets), agent.id)
    if rule.b % 3 == 0:
        tick.send_many(me, targets, Note, delay=1 + rule.c % 3, value=np.arange(len(targets)), text=agent.name)
    elif rule.b % 3 == 1:
        tick.send_many(agent.id, targets, Dose, amount=ZEROS[agent.load % len(ZEROS)])
    else:
        spots = np.outer(np.arange(len(targets)), [0.1, -0.3]).astype(np.float32)
        datas = [bytes([i, rule.a % 256]) for i in range(len(targets))]
        tick.send_many(me, targets, Parcel, spot=spots, owner=me, data=datas, gain=np.float32(0.1))


def broadcast(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    kind = world.kinds[rule.a % len(world.kinds)]
    tick.broadcast(kind, message_of(rule, agent.load, agent.id), delay=1 + rule.c % 2)


def spawn(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    kind = world.kinds[rule.a % len(world.kinds)]
    if tick.census(kind) >= KINDS_LIVING_MAX:
        return
    many = 1 + rule.b % 3
    born = tick.spawn(kind, many, load=[rule.c + i for i in range(many)], level=0.5 * rule.c)
    for new in born:
        tick.send(new, Note(value=rule.b, text="born"))
        agent.friends = [*agent.friends[-5:], int(new)]


def remove(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    tick.remove()


def sleep(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    tick.sleep(1 + rule.a % 5)


def emit(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    if rule.a % 3 == 0:
        tick.emit(Seen(value=agent.load, text=agent.name))
    elif rule.a % 3 == 1:
        tick.emit(Moved(spot=agent.spot, small=agent.load % 100, level=agent.level))
    else:
        tick.emit_many(Seen, np.array(agent.friends, np.int64), value=agent.load, text=TEXTS[rule.b % len(TEXTS)])


def draw(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    agent.level = float((agent.level + tick.rng.random()) % 97)
    agent.load = wrap(agent.load + int(tick.rng.integers(0, 5)))


def look(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    agent.load = wrap(agent.load + tick.census(world.kinds[rule.a % len(world.kinds)]))
    for kind in world.publishing:
        values = tick.published(kind, "mass")
        with np.errstate(divide="ignore"):
            agent.level = float((agent.level + np.sign(1.0 / values).sum() + values.sum()) % 97)
        if tick.census(kind):
            agent.level += float(tick.published(kind, "mass", [tick.random_peer(kind)])[0]) % 1


def think(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    key = f"k{rule.a % 5}"
    agent.tally = {**agent.tally, key: agent.tally.get(key, 0) + 1}
    agent.raw = (agent.raw + bytes([rule.b % 256]))[-6:]
    agent.last = None if rule.c % 2 else agent.load
    agent.pair = (agent.load % 9, [agent.level])
    agent.spot = (agent.spot * np.float32(0.9) + np.float32(rule.a % 3)).astype(np.float32)
    agent.flag = not agent.flag


def fail(world: World, agent: Any, tick: Any, rule: Rule) -> None:
    if world.fails:
        agent.load += 1
        raise Refused(f"load {agent.load}")


OBJECT_RULES: dict[str, Callable[[World, Any, Any, Rule], None]] = {
    "send_peer": send_peer,
    "send_friend": send_friend,
    "send_neighbours": send_neighbours,
    "send_many": send_many,
    "broadcast": broadcast,
    "spawn": spawn,
    "remove": remove,
    "sleep": sleep,
    "emit": emit,
    "draw": draw,
    "look": look,
    "think": think,
    "fail": fail,
}
MODULI = {"broadcast": (5, 12), "spawn": (3, 8), "remove": (9, 25), "fail": (12, 40)}
"""How seldom a rule holds, where every fourth time would be too often."""


def obey(world: World, rules: list[Rule], agent: Any, tick: Any) -> None:
    """Let an agent follow its rules."""
    for rule in rules:
        if (agent.load * 7 + agent.id % 101 + tick.number) % rule.modulus == rule.remainder:
            OBJECT_RULES[rule.what](world, agent, tick, rule)


class Body(na.Agent):
    """The state and the handlers of all objects; `world` and `rules` are set by the classes of a model."""

    load: int = 0
    level: float = 0.0
    name: str = "x"
    raw: bytes = b""
    friends: list[int] = []  # noqa: RUF012 - each agent gets a copy
    tally: dict[str, int] = {}  # noqa: RUF012
    last: int | None = None
    pair: tuple[int, list[float]] = (0, [])
    spot = na.column(np.float32, shape=(2,))
    flag: bool = False
    who: na.AgentId = na.AgentId(-1)

    @na.on(Note)
    def hear(self, note: Note, tick: na.Tick) -> None:
        self.load = wrap(self.load * 3 + note.value)
        self.name = (self.name + note.text)[-9:]
        obey(self.world, self.answers, self, tick)

    @na.on(Dose)
    def take(self, dose: Dose, tick: na.Tick) -> None:
        self.level = (self.level * 0.5 + math.copysign(0.25, dose.amount) + dose.amount) % 97
        self.flag = self.flag != dose.on

    @na.on(Call, sender=True)
    def answer(self, call: Call, tick: na.Tick) -> None:
        self.who = tick.sender
        if tick.sender >= 0 and self.load % 2:
            tick.send(tick.sender, Note(value=self.load % 50), delay=1 + self.load % 3)

    @na.on(Parcel)
    def open(self, parcel: Parcel, tick: na.Tick) -> None:
        self.spot = (self.spot + parcel.spot).astype(np.float32) % np.float32(97)
        self.level = float(self.level + parcel.gain * 3) % 97
        self.load = wrap(self.load + int(parcel.small) * 2 + len(parcel.data))
        self.friends = [*self.friends[-5:], int(parcel.owner)]


async def service(request: int) -> dict[str, object]:
    """Answer after a while, or fail, as the request says."""
    for _ in range(request % 3):
        await asyncio.sleep(0)
    if request % 5 == 4:
        raise Refused(f"request {request}")
    return {"value": request * 7 % 31, "text": TEXTS[request % len(TEXTS)], "parts": [request / 3, None]}


def make_walker(world: World, rules: list[Rule], answers: list[Rule]) -> type:
    class Walker(Body):
        def step(self, tick: na.Tick) -> None:
            obey(world, rules, self, tick)

    return equip(Walker, world, answers)


def make_post(world: World, answers: list[Rule]) -> type:
    class Post(Body):
        """Acts on messages alone."""

    return equip(Post, world, answers)


def make_oracle(world: World, rules: list[Rule], answers: list[Rule]) -> type:
    class Oracle(Body):
        async def step(self, tick: na.Tick) -> None:
            if (self.load + tick.number) % 3 == 0:
                try:
                    answer = await tick.ask(service, self.load % 23)
                    self.load = wrap(self.load + answer["value"])
                    self.name = (self.name + answer["text"])[-9:]
                except na.errors.ServiceError as error:
                    self.name = str(error)[-9:]
            obey(world, rules, self, tick)

        @na.on(Note)
        async def hear(self, note: Note, tick: na.Tick) -> None:
            await asyncio.sleep(0)
            self.load = wrap(self.load * 5 + note.value)
            obey(world, self.answers, self, tick)

    return equip(Oracle, world, answers)


def equip(kind: type, world: World, answers: list[Rule]) -> type:
    kind.world, kind.answers = world, answers
    return kind


# Rules of populations -----------------------------------------------------------------------------------------------


def rows_for(window: Any, tick: Any, rule: Rule) -> np.ndarray:
    return np.flatnonzero((window.load * 7 + window.ids % 101 + tick.number) % rule.modulus == rule.remainder)


def rows_send_peers(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    kind = world.kinds[rule.a % len(world.kinds)]
    if not tick.census(kind):
        return
    peers = tick.random_peers(kind, rows.size)
    me = window.ids[rows]
    window.friend[rows] = peers
    delay = 1 + rule.c % 3 if rule.b % 2 else 1
    which = rule.c % 5
    if which == 0:
        tick.send_many(me, peers, Note, delay, value=window.load[rows])
    elif which == 1:
        tick.send_many(me, peers, Dose, delay, amount=ZEROS[rule.b % len(ZEROS)])
    elif which == 2:
        tick.send_many(me, peers, Call, delay)
    elif which == 3:
        tick.send_many(None, peers, Parcel, delay, spot=window.spot[rows], owner=me, small=window.load[rows] % 50)
    else:
        tick.send_many(me, peers, Note, delay, value=rule.a, text=[TEXTS[i % len(TEXTS)] for i in rows.tolist()])


def rows_send_friends(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    rows = rows[window.friend[rows] >= 0]
    friends = window.friend[rows]
    if rule.b % 2:
        tick.send_many(window.ids[rows], friends, Dose, 1 + rule.c % 4, amount=window.level[rows])
    else:
        for row, friend in zip(rows.tolist(), friends.tolist(), strict=True):
            tick.send(friend, message_of(rule, int(window.load[row]), int(window.ids[row])), 1 + rule.c % 2)


def rows_send_neighbours(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    if world.has_web:
        found, offsets = tick.neighbours("web", window.ids[rows])
        senders = np.repeat(window.ids[rows], np.diff(offsets))
        tick.send_many(senders, found, Note, value=np.arange(found.size))


def rows_broadcast(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    if rows.size:
        tick.broadcast(world.kinds[rule.a % len(world.kinds)], message_of(rule, rule.c, -1), delay=1 + rule.c % 3)


def rows_spawn(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    kind = world.kinds[rule.a % len(world.kinds)]
    many = min(rows.size, 3)
    if tick.census(kind) < KINDS_LIVING_MAX and many:
        born = tick.spawn(kind, many, load=window.load[rows[:many]], level=window.level[rows[:many]])
        tick.send_many(window.ids[rows[:many]], born, Note, value=5, text="born")
        window.friend[rows[:many]] = born


def rows_remove(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    tick.remove(window.ids[rows])
    if rule.a % 2 and rows.size:
        tick.remove(window.ids[rows[:1]])


def rows_sleep(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    if rows.size:
        tick.sleep(1 + rule.a % 4)


def rows_emit(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    if rule.a % 3 == 0:
        tick.emit_many(Moved, window.ids[rows], spot=window.spot[rows], small=3, level=window.level[rows])
    elif rule.a % 3 == 1:
        tick.emit_many(Seen, window.ids[rows], value=window.load[rows], text=[TEXTS[i % 6] for i in rows.tolist()])
    elif rows.size:
        tick.emit(Seen(value=int(rows.sum()), text="rows"))


def rows_draw(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    window.level[rows] = (window.level[rows] + tick.rng.random(rows.size)) % 97
    window.load[rows] += tick.rng.integers(0, 9, rows.size)


def rows_look(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    window.load[rows] += tick.census(world.kinds[rule.a % len(world.kinds)])
    for kind in world.publishing:
        values = tick.published(kind, "mass")
        with np.errstate(divide="ignore"):
            window.level[rows] = (window.level[rows] + np.sign(1.0 / values).sum() + values.sum()) % 97


def rows_think(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    window.spot[rows] = window.spot[rows] * np.float32(0.9) + rule.a % 3
    window.load %= 1 << 20
    window.mass[rows] = np.where(window.load[rows] % 3 == 0, -0.0, np.where(window.load[rows] % 3 == 1, 0.0, 0.5))


def rows_fail(world: World, window: Any, rows: np.ndarray, tick: Any, rule: Rule) -> None:
    if world.fails and rows.size:
        window.load += 1
        raise Refused(f"{rows.size} rows")


ROWS_RULES: dict[str, Callable[[World, Any, np.ndarray, Any, Rule], None]] = {
    "send_peer": rows_send_peers,
    "send_friend": rows_send_friends,
    "send_neighbours": rows_send_neighbours,
    "send_many": rows_send_peers,
    "broadcast": rows_broadcast,
    "spawn": rows_spawn,
    "remove": rows_remove,
    "sleep": rows_sleep,
    "emit": rows_emit,
    "draw": rows_draw,
    "look": rows_look,
    "think": rows_think,
    "fail": rows_fail,
}


def make_herd(world: World, rules: list[Rule], answers: list[Rule], publishes: bool, steps: bool) -> type:
    class Rows(na.Population):
        load = na.column(np.int64)
        level = na.column(np.float64)
        friend = na.column(np.int64, default=-1)
        spot = na.column(np.float32, shape=(2,))
        mass = na.column(np.float64, publish=publishes)
        who = na.column(np.int64, default=-1)
        ons = na.column(np.uint8)

        @na.on(Note)
        def hear(self, rows: Any, notes: Any, tick: na.Tick) -> None:
            np.add.at(self.load, rows, notes.value * np.arange(1, len(notes) + 1) % 97)
            np.add.at(self.load, rows, [len(text) for text in notes.text])
            for rule in answers:
                mine = np.unique(rows)
                some = mine[(self.load[mine] + tick.number) % rule.modulus == rule.remainder]
                ROWS_RULES[rule.what](world, self, some, tick, rule)

        @na.on(Dose, rowwise=True)
        def take(self, rows: Any, doses: Any, tick: na.Tick) -> None:
            for row, amount, on in zip(rows.tolist(), doses.amount.tolist(), doses.on.tolist(), strict=True):
                self.level[row] = (self.level[row] * 0.5 + math.copysign(0.25, amount) + amount) % 97
                self.ons[row] = (int(self.ons[row]) + on) % 256

        @na.on(Call, sender=True)
        def answer(self, rows: Any, calls: Any, tick: na.Tick) -> None:
            self.who[rows] = calls.senders
            known = (calls.senders >= 0) & (self.load[rows] % 2 == 1)
            tick.send_many(self.ids[rows[known]], calls.senders[known], Note, value=self.load[rows[known]] % 50)

        @na.on(Parcel)
        def open(self, rows: Any, parcels: Any, tick: na.Tick) -> None:
            np.add.at(self.spot, rows, parcels.spot)
            self.spot %= np.float32(97)
            np.add.at(self.level, rows, parcels.gain * np.float32(3))
            self.level %= 97
            np.add.at(self.load, rows, parcels.small.astype(np.int64) % 50 + [len(data) for data in parcels.data])
            self.friend[rows] = parcels.owner

    if not steps:
        return type("Flock", (Rows,), {})

    class Herd(Rows):
        def step(self, tick: na.Tick) -> None:
            for rule in rules:
                ROWS_RULES[rule.what](world, self, rows_for(self, tick, rule), tick, rule)

    return Herd


# Models -------------------------------------------------------------------------------------------------------------


def draw_rules(rng: random.Random, count: int) -> list[Rule]:
    """Draw rules; those that change much hold more seldom."""
    rules = []
    for what in rng.choices([*OBJECT_RULES, "send_peer", "send_friend", "spawn"], k=count):
        modulus = rng.randint(*MODULI.get(what, (1, 4)))
        rules.append(Rule(what, modulus, rng.randrange(modulus), *(rng.randrange(1000) for _ in range(3))))
    return rules


def draw_answers(rng: random.Random) -> list[Rule]:
    """Draw what receivers do: little enough that a message causes less than one other on average."""
    rules = draw_rules(rng, rng.randint(0, 2))
    return [
        dataclasses.replace(rule, modulus=rule.modulus + 4)
        for rule in rules
        if rule.what not in ("broadcast", "send_neighbours", "send_many")
    ]


ALL_REDUCERS = ["count", "sum", "mean", "var", "std", "min", "max", "median", "gini", "p1", "p33.3", "p99.9"]


def spread(values: np.ndarray) -> list[float]:
    return [float(values.min()), float(values.max())] if values.size else []


def joined(parts: list[list[float]]) -> float:
    return sum(part[1] - part[0] for part in parts if part)


def double_level(of: Any) -> Any:
    return of.level * 2 + 0.1


def collect(rng: random.Random, simulation: na.Simulation, kinds: list[type]) -> None:
    """Add collectors of all sorts."""
    reducers = [*ALL_REDUCERS, na.histogram([0, 1, 5, 20.5, 97]), na.reducer("spread", map=spread, combine=joined)]
    for kind in kinds:
        name = kind.__name__.lower()
        for field in ("load", "level"):
            if rng.random() < 0.8:
                chosen = rng.sample(reducers, rng.randint(1, len(reducers)))
                simulation.collect(f"{name}_{field}", of=kind, value=field, reduce=chosen, every=rng.choice([1, 1, 2]))
        if rng.random() < 0.4:
            simulation.collect(f"{name}_double", of=kind, value=double_level, reduce=["mean", "max"])
        if rng.random() < 0.5:
            fields = ["load", "level", "spot"] if issubclass(kind, na.Population) else ["name", "raw", "flag", "spot"]
            simulation.collect(f"{name}_each", of=kind, value=rng.choice(fields), every=rng.choice([1, 3]))


def random_model(seed: int) -> RandomModel:
    """Return the model of a seed."""
    rng = random.Random(seed)
    world = World()
    style = rng.choice(["objects", "rows", "both", "both"])
    is_quiet = rng.random() < 0.15
    on_error = "isolate" if rng.random() < 0.35 else "fail"
    world.fails = on_error == "isolate"
    partitions = rng.randint(5, 9)
    simulation = na.Simulation(seed=rng.randrange(1 << 64), partitions=partitions)
    makers: list[tuple[str, Callable[[], type]]] = []
    if style != "rows":
        if not is_quiet:
            makers.append(("Walker", lambda: make_walker(world, draw_rules(rng, rng.randint(4, 9)), draw_answers(rng))))
        if is_quiet or rng.random() < 0.4:
            makers.append(("Post", lambda: make_post(world, draw_answers(rng))))
        if not is_quiet and rng.random() < 0.35:
            makers.append(("Oracle", lambda: make_oracle(world, draw_rules(rng, rng.randint(2, 6)), draw_answers(rng))))
    if style != "objects":
        publishes = rng.random() < 0.4
        if not is_quiet:
            makers.append(
                (
                    "Herd",
                    lambda: make_herd(world, draw_rules(rng, rng.randint(3, 8)), draw_answers(rng), publishes, True),
                )
            )
        if is_quiet or rng.random() < 0.4:
            makers.append(("Flock", lambda: make_herd(world, [], draw_answers(rng), False, False)))
    rng.shuffle(makers)
    counts: list[int] = []
    for _, make in makers:
        kind = make()
        world.kinds.append(kind)
        count = rng.choice([rng.randint(0, 3), *(rng.randint(5, 30) for _ in range(4))])
        counts.append(count)
        add(rng, simulation, kind, count)
        if issubclass(kind, na.Population) and kind.columns["mass"].publish:
            world.publishing.append(kind)
    if rng.random() < 0.2:
        at = rng.randrange(len(world.kinds))
        extra = rng.randint(1, 2)
        counts[at] += extra
        simulation.add(world.kinds[at], count=extra, dedicated={"num_cpus": 1})
    at = rng.randrange(len(world.kinds))
    if counts[at] and rng.random() < 0.6:
        edges = rng.randint(0, 2 * counts[at])
        ends = [[rng.randrange(counts[at]) for _ in range(edges)] for _ in range(2)]
        network = na.Network.from_edges(counts[at], np.array(ends[0], np.int64), np.array(ends[1], np.int64))
        simulation.add_space("web", network, of=world.kinds[at])
        world.has_web = True
    collect(rng, simulation, world.kinds)
    if is_quiet and rng.random() < 0.7:
        simulation.stop_when(quiescent=True)
    if rng.random() < 0.15:
        simulation.collect("bound", of=world.kinds[0], value="load", reduce=["sum"])
        bound = rng.randint(500, 50_000)
        simulation.stop_when(lambda collected: collected["bound"]["sum"] > bound)
    ticks = rng.randint(6, 18)
    inputs = draw_inputs(rng, len(world.kinds), partitions, ticks, busy=is_quiet)
    has_async = any(name == "Oracle" for name, _ in makers)
    return RandomModel(seed, simulation, ticks, inputs, on_error, has_async)


def add(rng: random.Random, simulation: na.Simulation, kind: type, count: int) -> None:
    """Add agents with first values given in all the ways there are."""
    fields: dict[str, object] = {}
    if rng.random() < 0.8:
        start = rng.randrange(100)
        fields["load"] = rng.choice(
            [start, list(range(start, start + count)), lambda index, rng: index + rng.integers(0, 50, index.size)]
        )
    if rng.random() < 0.5:
        fields["level"] = rng.choice([1.5, np.linspace(0, 9, count), lambda index, rng: rng.random(index.size)])
    simulation.add(kind, count=count, **fields)


def draw_inputs(
    rng: random.Random, kinds: int, partitions: int, ticks: int, busy: bool
) -> list[tuple[int, int, object]]:
    """Draw what enters from outside; quiet models live by it."""
    inputs: list[tuple[int, int, object]] = []
    for _ in range(rng.randint(1, 6) if busy else rng.choice([0, 0, 1, 3])):
        agent = (rng.randrange(kinds) << 53) + (rng.randrange(partitions) << 37) + rng.randint(0, 2)
        rule = Rule("", 1, 0, 0, rng.randrange(4), 0)
        inputs.append((rng.randrange(ticks), agent, message_of(rule, rng.randrange(100), agent)))
    return sorted(inputs, key=lambda item: item[0])
