"""`Simulation`: what a researcher puts together and runs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from novel_actors.config import (
    AGENTS_FEW,
    AGENTS_PER_PARTITION,
    PARTITIONS_DEFAULT_MAX,
    PARTITIONS_DEFAULT_MIN,
    PARTITIONS_FEW,
    AsyncSettings,
)
from novel_actors.core.random_streams import RandomStreams
from novel_actors.errors import ModelError
from novel_actors.simulation.agent import AgentType
from novel_actors.simulation.collect import Collector, make_collector
from novel_actors.simulation.events import EVENT_TABLE
from novel_actors.simulation.fields import REQUIRED, is_whole
from novel_actors.simulation.ids import PARTITIONS_MAX
from novel_actors.simulation.model import (
    Addition,
    KindModel,
    Model,
    OnError,
    SpaceModel,
    check_first_values,
    check_kind_count,
)
from novel_actors.simulation.population import PopulationType
from novel_actors.simulation.spaces.network import Network

if TYPE_CHECKING:
    from novel_actors.runtime.runtime import Runtime
    from novel_actors.simulation.result import Result
    from novel_actors.simulation.run import Run

Collected = Mapping[str, Mapping[str, Any]]


class Simulation:
    """A model under construction: agents, spaces, collectors and stop rules; it can be run any number of times.

    Args:
        seed: 0 <= seed < 2**128. The same seed gives the same bytes, on any number of shards.
        partitions: Into how many parts the agents are cut, 1 to 65536; part of the model, like the seed: another number
            gives another course of events. None chooses from the number of agents.

    Raises:
        InvalidSeed, ModelError: see the arguments.
    """

    def __init__(self, seed: int = 0, *, partitions: int | None = None) -> None:
        RandomStreams(seed)
        if partitions is not None and not (is_whole(partitions) and 1 <= partitions <= PARTITIONS_MAX):
            raise ModelError(f"a simulation wants 1 to {PARTITIONS_MAX} partitions, got {partitions!r}")
        self.seed = int(seed)
        self.partitions = partitions
        self.source: dict[str, Any] | None = None
        self._kinds: dict[type, list[Addition]] = {}
        self._spaces: dict[str, tuple[Network, type]] = {}
        self._collectors: list[Collector] = []
        self._predicates: list[Callable[[Collected], bool]] = []
        self._quiescent = False
        self._wall_time_s: float | None = None

    @property
    def kinds(self) -> tuple[type, ...]:
        """The classes of agents, in the order in which they were added."""
        return tuple(self._kinds)

    def add(
        self, kind: type, count: int = 0, *, dedicated: Mapping[str, float] | None = None, **fields: object
    ) -> None:
        """Add agents of a class.

        Args:
            kind: An `Agent` or `Population` class.
            count: How many, at least 0; 0 only makes the kind known, so that it can be spawned.
            dedicated: Give each of them a partition of its own, on a shard with these resources (`{"num_gpus": 1}`).
            **fields: First values: one for all; an array or list of `count` values; or a function of (indices, rng)
                that returns one value for each index, called for each partition with a random stream of its own.
                Fields called `kind`, `count` or `dedicated` can only begin with their default.

        Raises:
            ModelError: No such class or field, or a count below 0.
            StateError: A value does not fit the declared field.
        """
        if not isinstance(kind, (AgentType, PopulationType)):
            raise ModelError(f"add wants an Agent or Population class, got {kind!r}")
        if not is_whole(count) or count < 0:
            raise ModelError(f"add {kind.__name__} wants a count >= 0, got {count!r}")
        check_signatures(kind)
        if any(other is not kind and other.__name__ == kind.__name__ for other in self._kinds):
            raise ModelError(f"two kinds are called {kind.__name__}, and results name kinds: rename one")
        known = {field.name: field for field in kind.fields}
        for name, value in fields.items():
            if name not in known:
                raise ModelError(f"{kind.__name__} has no field {name!r}; it has {', '.join(known) or 'none'}")
            check_first_values(kind.__name__, known[name], value, count)
        for name, field in known.items():
            if field.default is REQUIRED and name not in fields and count:
                raise ModelError(f"{kind.__name__}.{name} has no default: give {name}= to add")
        if dedicated is not None and (not dedicated or any(not amount >= 0 for amount in dedicated.values())):
            raise ModelError(f"dedicated wants resources such as {{'num_cpus': 1}}, got {dedicated!r}")
        # What the caller changes later is no part of the model.
        values = {name: copy.deepcopy(v) if isinstance(v, (np.ndarray, list)) else v for name, v in fields.items()}
        addition = Addition(count, values, None if dedicated is None else dict(dedicated))
        self._kinds.setdefault(kind, []).append(addition)
        check_kind_count(len(self._kinds))

    def add_space(self, name: str, network: Network, of: type) -> None:
        """Put the agents of a class on the nodes of a network: node i is the i-th that was added.

        Raises:
            ModelError: The name is taken, or `network` is none.
        """
        if name in self._spaces:
            raise ModelError(f"space {name!r} is there already: choose another name")
        if not isinstance(network, Network):
            raise ModelError(
                f"space {name!r} wants a na.Network, got {network!r:.80}: na.Network.from_networkx(graph) makes one of "
                "a graph, na.Network.from_edges(...) of its edges"
            )
        self._spaces[name] = (network, of)

    def collect(
        self,
        name: str,
        *,
        of: type,
        value: str | Callable[[Any], Any] | None = None,
        reduce: Sequence[object] | None = None,
        every: int = 1,
    ) -> None:
        """Record values of a class at tick 0 and then at every `every`-th tick, as `result.frame(name)`.

        Args:
            name: Of the table.
            of: The class.
            value: A field, or a function of an agent (of a population: of its window, returning (n,) values). None
                takes the field called `name`.
            reduce: Names of reducers (count, sum, mean, var, std, min, max, median, gini, p1 to p99.9), or
                `na.histogram(edges)`, or `na.reducer(name, map=, combine=)`; one column each. None keeps every agent's
                value: columns tick, id, value.
            every: Ticks whose number it divides are recorded. A tick that was jumped over has no row.

        Raises:
            ModelError: The name is taken, or something named is not known.
        """
        if any(collector.name == name for collector in self._collectors) or name.startswith(EVENT_TABLE):
            raise ModelError(f"collect {name!r} is there already, or begins with {EVENT_TABLE!r}: choose another name")
        self._collectors.append(make_collector(name, of, value, reduce, every))

    def stop_when(
        self,
        predicate: Callable[[Collected], bool] | None = None,
        *,
        quiescent: bool = False,
        wall_time_s: float | None = None,
    ) -> None:
        """End a run before its last tick. Several rules may be given; the first that holds ends it.

        Args:
            predicate: A function of the last collected rows, `collected["wealth"]["gini"]`, asked after each tick.
            quiescent: When nobody will ever act again and no message is under way.
            wall_time_s: When the run has taken this long (at the end of a whole tick).
        """
        if predicate is not None:
            if not callable(predicate):
                raise ModelError(f"stop_when wants a function of the collected rows, got {predicate!r}")
            self._predicates.append(predicate)
        if wall_time_s is not None:
            if not wall_time_s > 0:
                raise ModelError(f"stop_when wants wall_time_s > 0, got {wall_time_s!r}")
            self._wall_time_s = float(wall_time_s)
        self._quiescent = self._quiescent or quiescent

    def run(self, ticks: int | None = None, **options: Any) -> Result:
        """Run to the end and return the result: `start`, `advance`, `close`.

        Args:
            ticks: How many; None runs until a stop rule holds.
            **options: See `start`.
        """
        with self.start(**options) as run:
            run.advance(ticks)
            return run.result()

    def start(
        self,
        *,
        shards: int = 1,
        runtime: Runtime | str | None = None,
        address: str | None = None,
        store: str | Path | None = None,
        checkpoint_every: int | None = None,
        keep_checkpoints: int = 3,
        on_error: OnError = "fail",
        check_rowwise: bool = False,
        progress: bool | None = None,
        async_settings: AsyncSettings | None = None,
    ) -> Run:
        """Begin a run at tick 0 and return it; use it in a `with` statement.

        Args:
            shards: How many shards host the partitions; the result does not depend on it.
            runtime: Where they live: "local" is this process, in turns; "ray" is processes of a Ray cluster. None is
                "local" for one shard without an address, else "ray".
            address: Of the cluster: "local" starts one for this run, "auto" or "IP:PORT" joins one; None takes the one
                that this process is connected to, else starts one.
            store: A new folder for checkpoints, inputs and tables; None keeps nothing beyond this process.
            checkpoint_every: Ticks between checkpoints; None makes one at the beginning and one at the end.
            keep_checkpoints: How many are kept, beside that of tick 0.
            on_error: What an agent's exception does: `fail` ends the run at a whole tick, `isolate` parks the agent.
            check_rowwise: Run rowwise handlers both ways and compare.
            progress: Show a progress bar; None shows one where somebody looks.
            async_settings: Bounds of async agents.

        Raises:
            ModelError: No agents, an unknown option, or more shards than partitions.
            RunFolderError: The store's folder holds something already.
        """
        from novel_actors.simulation.run import begin

        return begin(
            self.model(on_error=on_error, check_rowwise=check_rowwise),
            shards=shards,
            runtime=runtime,
            address=address,
            store=None if store is None else Path(store),
            checkpoint_every=checkpoint_every,
            keep_checkpoints=keep_checkpoints,
            progress=progress,
            async_settings=async_settings or AsyncSettings(),
            source=self.source,
        )

    def model(self, *, on_error: OnError = "fail", check_rowwise: bool = False) -> Model:
        """Return the model as shards run it."""
        if not self._kinds:
            raise ModelError("a simulation wants agents: use sim.add(Kind, count=...)")
        if on_error not in ("fail", "isolate"):
            raise ModelError(f"on_error wants 'fail' or 'isolate', got {on_error!r}")
        shared = sum(a.count for additions in self._kinds.values() for a in additions if a.dedicated is None)
        partitions = default_partitions(shared) if self.partitions is None else self.partitions
        total = partitions
        kinds = []
        for number, (kind, additions) in enumerate(self._kinds.items()):
            placed = []
            for addition in additions:
                first, parts = (0, partitions) if addition.dedicated is None else (total, addition.count)
                placed.append(Addition(addition.count, addition.values, addition.dedicated, first, parts))
                total += parts if addition.dedicated is not None else 0
            kinds.append(KindModel(cast("Any", kind), number, placed))
        if total > PARTITIONS_MAX:
            raise ModelError(f"a run wants at most {PARTITIONS_MAX} partitions, dedicated ones included, got {total}")
        model = Model(
            seed=self.seed,
            partitions=total,
            kinds=kinds,
            spaces={},
            collectors=list(self._collectors),
            stop_predicates=list(self._predicates),
            stop_quiescent=self._quiescent,
            stop_wall_time_s=self._wall_time_s,
            on_error=on_error,
            check_rowwise=check_rowwise,
        )
        for collector in self._collectors:
            model.number_of(collector.kind)
        for name, (network, kind) in self._spaces.items():
            model.spaces[name] = place_space(name, network, kinds[model.number_of(kind)])
        _ = model.codecs, model.entries
        return model

    def __repr__(self) -> str:
        counts = ", ".join(f"{sum(a.count for a in adds)} {kind.__name__}" for kind, adds in self._kinds.items())
        return f"<Simulation of {counts or 'no agents'}, seed {self.seed}>"


def check_signatures(kind: AgentType | PopulationType) -> None:
    """Raise `ModelError` for a step or handler that cannot be called as it will be."""
    receives = ("rows", "messages") if isinstance(kind, PopulationType) else ("message",)
    step = getattr(kind, "step", None)
    methods = [] if step is None else [(step, ("self", "tick"))]
    methods += [(handler.function, ("self", *receives, "tick")) for handler in kind._handlers.values()]
    for method, wanted in methods:
        found = inspect.signature(method)
        try:
            found.bind(*wanted)
        except TypeError:
            names = ", ".join(found.parameters)
            raise ModelError(
                f"{kind.__name__}.{method.__name__} wants ({', '.join(wanted)}), it is declared with ({names})"
            ) from None


def default_partitions(agents: int) -> int:
    """Return the number of partitions for so many agents: a power of two.

    Few agents are cut into few, since each costs some microseconds a tick; many into so many that each fits a cache.
    """
    partitions = PARTITIONS_FEW if agents < AGENTS_FEW else PARTITIONS_DEFAULT_MIN
    while partitions < PARTITIONS_DEFAULT_MAX and partitions * AGENTS_PER_PARTITION < agents:
        partitions *= 2
    return partitions


def place_space(name: str, network: Network, kind: KindModel) -> SpaceModel:
    """Return a space whose nodes are the first agents of a kind."""
    if network.nodes != kind.count:
        raise ModelError(f"space {name!r} has {network.nodes} nodes, but {kind.count} {kind.name} were added")
    ids = kind.first_ids()
    ascending = bool((np.diff(ids) > 0).all())
    return SpaceModel(name, network, kind.number, ids, None if ascending else np.argsort(ids, kind="stable"))
