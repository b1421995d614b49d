"""Collectors: what a run records at the end of a tick.

Values are reduced inside partitions and combined in partition order, so that floating sums do not depend on shards.
Reductions of integers are exact; they may be made over several partitions at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from novel_actors.core.statistics import (
    Histogram,
    Moments,
    QuantileHistogram,
    ValueCounts,
    distribution_of,
    merge_distributions,
)
from novel_actors.errors import ModelError, NovelActorsError, StateError
from novel_actors.simulation.agent import Agent, AgentType
from novel_actors.simulation.fields import is_whole
from novel_actors.simulation.population import PopulationType

Values = NDArray[Any]
Partial = Any
"""What one partition contributes: plain values that msgpack carries."""


class Source:
    """A mergeable summary from which reducers read their values."""

    name: str

    def partial(self, values: Values) -> Partial:
        """Return the summary of one partition's values, as plain values."""
        raise NotImplementedError

    def merge(self, partials: Sequence[Partial]) -> Any:
        """Return the summary of the whole; partials come in partition order."""
        raise NotImplementedError

    def is_exact(self, dtype: np.dtype[Any]) -> bool:
        """Tell whether the summary of several partitions' values at once is the merged one, to the bit."""
        return dtype.kind in "biu"


class MomentsSource(Source):
    """Count, total, variance, extremes."""

    name = "moments"

    def partial(self, values: Values) -> Partial:
        """See `Source`."""
        return Moments.from_array(values).to_record()

    def merge(self, partials: Sequence[Partial]) -> Moments:
        """See `Source`."""
        return Moments.merged(Moments.from_record(record) for record in partials)


class CountsSource(Source):
    """How often each value occurs: exact for integers while they are few, else bins of 0.1 % accuracy."""

    name = "counts"

    def partial(self, values: Values) -> Partial:
        """See `Source`."""
        distribution = distribution_of(values)
        form = "exact" if isinstance(distribution, ValueCounts) else "bins"
        return (form, *distribution.to_record())

    def merge(self, partials: Sequence[Partial]) -> ValueCounts | QuantileHistogram:
        """See `Source`."""
        return merge_distributions(
            ValueCounts.from_record(list(record)) if form == "exact" else QuantileHistogram.from_record(list(record))
            for form, *record in partials
        )

    def is_exact(self, dtype: np.dtype[Any]) -> bool:
        """See `Source`."""
        return True


class HistogramSource(Source):
    """Counts between fixed edges."""

    def __init__(self, edges: Sequence[float]) -> None:
        try:
            self.empty = Histogram.from_array(np.zeros(0), edges)
        except NovelActorsError as error:
            raise ModelError(f"histogram of edges {edges!r:.80}: {error}") from error
        self.name = f"histogram{self.empty.edges}"

    def partial(self, values: Values) -> Partial:
        """See `Source`."""
        return Histogram.from_array(values, self.empty.edges).to_record()

    def merge(self, partials: Sequence[Partial]) -> list[int]:
        """See `Source`."""
        parts = [Histogram.from_record(record) for record in partials]
        return cast("list[int]", np.asarray(Histogram.merged(parts).counts).tolist())

    def is_exact(self, dtype: np.dtype[Any]) -> bool:
        """See `Source`."""
        return True


class CustomSource(Source):
    """A user's own pair of functions."""

    def __init__(self, name: str, map_: Callable[[Values], Partial], combine: Callable[[list[Partial]], Any]) -> None:
        self.name, self.map, self.combine = f"custom {name}", map_, combine

    def partial(self, values: Values) -> Partial:
        """See `Source`."""
        partial = self.map(values)
        try:
            # As the frames carry it, also where it never leaves this shard.
            return msgspec.msgpack.decode(msgspec.msgpack.encode(partial, enc_hook=plain_or_refuse))
        except (TypeError, OverflowError) as error:
            raise StateError(f"the map of reducer {self.name[7:]!r} wants to return plain values: {error}") from error

    def merge(self, partials: Sequence[Partial]) -> Any:
        """See `Source`."""
        return self.combine(list(partials))

    def is_exact(self, dtype: np.dtype[Any]) -> bool:
        """See `Source`."""
        return False


@dataclasses.dataclass(frozen=True, slots=True)
class Reducer:
    """One column of a collected table: where its value is read from."""

    name: str
    source: Source
    read: Callable[[Any], Any]


MOMENTS, COUNTS = MomentsSource(), CountsSource()
READERS: dict[str, tuple[Source, Callable[[Any], Any]]] = {
    "count": (MOMENTS, lambda m: m.count),
    "sum": (MOMENTS, lambda m: m.total),
    "mean": (MOMENTS, lambda m: m.mean),
    "var": (MOMENTS, lambda m: m.variance),
    "std": (MOMENTS, lambda m: float(np.sqrt(m.variance))),
    "min": (MOMENTS, lambda m: m.minimum),
    "max": (MOMENTS, lambda m: m.maximum),
    "median": (COUNTS, lambda c: c.quantile(0.5)),
    "gini": (COUNTS, lambda c: c.gini()),
}
PERCENTILE = re.compile(r"p(\d{1,2}(\.\d+)?)")


def histogram(edges: Sequence[float], name: str = "histogram") -> Reducer:
    """Return a reducer that counts values between ascending edges; the last bin includes its right edge."""
    return Reducer(name, HistogramSource(edges), list)


def reducer(
    name: str,
    map: Callable[[Values], Partial],  # noqa: A002 - the field's word
    combine: Callable[[list[Partial]], Any],
) -> Reducer:
    """Return a reducer of your own.

    Args:
        name: The column of the collected table.
        map: Called with each partition's values (n,); returns plain values (numbers, text, lists of them).
        combine: Called with the list of what `map` returned, in partition order; returns the value to record.
    """
    return Reducer(name, CustomSource(name, map, combine), lambda value: value)


def find_reducer(wanted: object) -> Reducer:
    """Return the reducer that a name or a `Reducer` stands for."""
    if isinstance(wanted, Reducer):
        return wanted
    if isinstance(wanted, Mapping) and list(wanted) == ["histogram"]:
        return histogram(wanted["histogram"])
    if isinstance(wanted, str):
        if wanted in READERS:
            source, read = READERS[wanted]
            return Reducer(wanted, source, read)
        percentile = PERCENTILE.fullmatch(wanted)
        if percentile is not None:
            q = float(percentile[1]) / 100
            return Reducer(wanted, COUNTS, lambda counts: counts.quantile(q))
    known = ", ".join(READERS)
    raise ModelError(f"reducer {wanted!r} is unknown: use {known}, p1 to p99.9, na.histogram or na.reducer")


@dataclasses.dataclass(frozen=True, slots=True)
class Collector:
    """One table: values of one kind, read at every `every`-th tick, reduced or as they are.

    Attributes:
        name: The table.
        kind: The class whose agents are read.
        value: A field's name, or a function of an agent (objects) or of a population window (columns).
        reducers: None keeps one row per agent.
        every: Ticks whose number this divides are recorded.
    """

    name: str
    kind: type
    value: str | Callable[[Any], Any]
    reducers: tuple[Reducer, ...] | None
    every: int

    @property
    def sources(self) -> tuple[Source, ...]:
        """The distinct summaries that the reducers read."""
        return tuple({r.source.name: r.source for r in self.reducers or ()}.values())

    def values_of_agents(self, agents: Sequence[Agent]) -> Values | list[Any]:
        """Return (n,) values of agent objects; kept one by one they are a list, since arrays would cut text."""
        if isinstance(self.value, str):
            name = self.value
            values = [getattr(agent, name) for agent in agents]
        else:
            values = [self.value(agent) for agent in agents]
        keeps_each = self.reducers is None and not isinstance(values[0], (int, float, np.ndarray, np.generic))
        return values if keeps_each else np.array(values)

    def values_of_window(self, window: Any) -> Values:
        """Return the (n,) values of a population window."""
        values = getattr(window, self.value) if isinstance(self.value, str) else np.asarray(self.value(window))
        return cast("Values", values)

    def combine(self, partials: Mapping[str, Sequence[Partial]]) -> dict[str, Any]:
        """Return the recorded row: source name -> partials in partition order, to reducer name -> value."""
        merged = {source.name: source.merge(partials[source.name]) for source in self.sources}
        return {r.name: plain(r.read(merged[r.source.name])) for r in self.reducers or ()}


def plain(value: Any) -> Any:
    """Return numpy scalars and arrays as Python values."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def plain_or_refuse(value: Any) -> Any:
    """Tell msgspec how to write what numpy made."""
    if not isinstance(value, (np.generic, np.ndarray)):
        raise TypeError(f"got {value!r:.80} ({type(value).__name__})")
    return value.tolist()


def make_collector(name: str, of: type, value: object, reduce: Sequence[object] | None, every: int) -> Collector:
    """Return a checked collector; see `Simulation.collect`."""
    if not isinstance(of, (AgentType, PopulationType)):
        raise ModelError(f"collect {name!r} wants of= an Agent or Population class, got {of!r}")
    if not is_whole(every) or every < 1:
        raise ModelError(f"collect {name!r} wants every >= 1, got {every!r}")
    value = name if value is None else value
    if isinstance(value, str):
        fields = [field.name for field in of.fields]
        if value not in fields and not hasattr(of, value):
            raise ModelError(f"collect {name!r}: {of.__name__} has no field {value!r}; it has {', '.join(fields)}")
    elif not callable(value):
        raise ModelError(f"collect {name!r} wants value= a field's name or a function, got {value!r}")
    if isinstance(reduce, str):
        reduce = [reduce]
    reducers = None if reduce is None else tuple(find_reducer(wanted) for wanted in reduce)
    if reducers is not None and len({r.name for r in reducers}) != len(reducers):
        raise ModelError(f"collect {name!r} names a reducer twice: {', '.join(r.name for r in reducers)}")
    return Collector(name, of, cast("Any", value), reducers, every)
