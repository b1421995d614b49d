"""What a run leaves: its digest, what was recorded, the agents as they stood at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from novel_actors.errors import MissingExtra, TableError, UnknownResult
from novel_actors.simulation.record_columns import Array
from novel_actors.simulation.records import TICK, RecordLog

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from novel_actors.simulation.simulation import Simulation

EVENT_PREFIX = "event."
"""Tables of events are called by this and the name of the class; every other table is a frame."""

AGENT_ID = "id"
"""A frame with this column has one row for each agent and tick; one without it, a row for each tick."""


class FinalState(Protocol):
    """The agents at the end of a run."""

    def kinds(self) -> tuple[str, ...]:
        """Return the names of all kinds of agents."""
        ...

    def columns(self, kind_name: str) -> Mapping[str, Array | list[object]]:
        """Return the fields of all agents of a kind, `id` first, all of one length."""
        ...

    def count(self, kind_name: str) -> int:
        """Return the number of agents of a kind."""
        ...


class Result:
    """The outcome of a run. It holds no part of the run itself, so it stays what it is when the run goes on or closes.

    Attributes:
        run_id: Name of the run.
        seed: What its random numbers came from.
        tick: The last whole tick.
        reason: Why it ended there: ticks, quiescent, predicate, wall_time or interrupted.
        path: The run folder; None without a store.
        seconds: Wall time of its ticks.
    """

    __slots__ = ("_digest", "_log", "_state", "_statistics", "path", "reason", "run_id", "seconds", "seed", "tick")

    def __init__(
        self,
        run_id: str,
        seed: int,
        tick: int,
        reason: str,
        digest: str | Callable[[], str],
        log: RecordLog,
        state: FinalState,
        statistics: object,
        path: Path | None,
        seconds: float,
    ) -> None:
        self.run_id = run_id
        self.seed = seed
        self.tick = tick
        self.reason = reason
        self.path = path
        self.seconds = seconds
        self._digest = digest
        self._log = log
        self._state = state
        self._statistics = statistics

    @classmethod
    def load(cls, path: str | Path, *, simulation: Simulation | None = None) -> Result:
        """Return what a saved run has computed so far; the folder is only read.

        Where its classes or functions are not here, all but `agents` can be read.

        Args:
            path: The run folder.
            simulation: The model, where it cannot be made from the folder: see `na.resume`.

        Raises:
            RunFolderError: No run, a damaged one, or a model that does not fit it.
        """
        from novel_actors.simulation.run import load_result

        return load_result(Path(path), simulation)

    @property
    def digest(self) -> str:
        """The run in one hexadecimal number: equal for equal model, seed, inputs and partitions. Computed once."""
        if not isinstance(self._digest, str):
            self._digest = self._digest()
        return self._digest

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the collected tables."""
        return tuple(name for name in self._log.tables() if not name.startswith(EVENT_PREFIX))

    def frame(self, name: str) -> pd.DataFrame:
        """Return a collected table: indexed by tick, or, of one row per agent, with the columns tick, id and value.

        Raises:
            UnknownResult: Nothing was collected under this name.
            TableError: A file of the table is missing or damaged.
        """
        if name not in self.frames:
            raise UnknownResult("frame", name, self.frames)
        frame = to_pandas(self._log.table(name))
        return frame if AGENT_ID in frame else frame.set_index(TICK)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.frame(name)

    def events(self, event: type | str | None = None) -> pd.DataFrame:
        """Return the events of one class, in order, or all of them with a column `event` that names the class.

        Of several classes, those of one tick are ordered by agent, then by class, then as they were emitted; fields
        that a class does not have are missing values.

        Args:
            event: The class or its name. A class that was never emitted gives an empty table.

        Raises:
            UnknownResult: No event of this name was ever emitted.
            TableError: A file of the table is missing or damaged.
        """
        if event is None:
            return self._all_events()
        name = event if isinstance(event, str) else event.__name__
        if EVENT_PREFIX + name in self._log.tables():
            return to_pandas(self._log.table(EVENT_PREFIX + name))
        if isinstance(event, str):
            raise UnknownResult("event", event, self._event_names())
        import pandas as pd

        return pd.DataFrame(columns=[TICK, "agent", *getattr(event, "__annotations__", {})])

    def agents(self, kind: type | str) -> pd.DataFrame:
        """Return the agents of a kind as they stood after the last tick, a row each, indexed by id.

        Raises:
            UnknownResult: The run has no such kind.
            RunFolderError: The result was loaded where the classes or functions of the model are not.
        """
        name = kind if isinstance(kind, str) else kind.__name__
        if name not in self._state.kinds():
            raise UnknownResult("kind of agents", name, self._state.kinds())
        return to_frame(self._state.columns(name))

    def statistics(self) -> object:
        """Return the record of what the run did: messages, ticks and times."""
        return self._statistics

    def plot(self, *names: str, ax: Axes | list[Axes] | None = None) -> Figure:
        """Draw frames over ticks, one below the other: numbers as lines (those of another size in a panel of their
        own), histograms as heat maps, agents as mean and the range of 5 to 95 %.

        The figure belongs to the caller and is not known to pyplot: a notebook shows it as the value of a cell, a
        script saves it, or gives `ax` of its own figure.

        Args:
            names: Frames to draw; without any, all that hold numbers.
            ax: Where to draw instead: one for the numbers of each frame, whatever their size, and for each histogram.

        Raises:
            MissingExtra: matplotlib is not installed.
            UnknownResult: Nothing was collected under a name.
            TableError: There is nothing to draw, or another number of panels than axes.
        """
        try:
            from novel_actors.simulation.result_plot import draw, panels_of
        except ImportError as error:
            raise MissingExtra("plot", "matplotlib", "notebook") from error
        panels = {name: panels_of(name, self.frame(name), by_size=ax is None) for name in names or self.frames}
        for name in names:
            if not panels[name]:
                raise TableError(f"frame {name!r} holds no numbers to plot")
        drawable = [panel for several in panels.values() for panel in several]
        if not drawable:
            raise TableError("this result has no frame to plot; have one collected with sim.collect(...)")
        return draw(drawable, ax)

    def save_plot(self, path: str | Path, *names: str) -> None:
        """Write the figure of `plot` to a file; its suffix says the format, such as .png, .svg, .pdf.

        Raises:
            MissingExtra, UnknownResult: As for `plot`.
            TableError: As for `plot`, or the file cannot be written.
        """
        figure = self.plot(*names)
        try:
            figure.savefig(path)
        except (OSError, ValueError) as error:
            raise TableError(f"cannot write plot {path}: {error}") from error

    def __repr__(self) -> str:
        agents = ", ".join(f"{count:,} {kind}" for kind, count in self.agent_counts().items()) or "no agents"
        known = f", digest {self._digest:.12}" if isinstance(self._digest, str) else ""
        return f"<Result of run {self.run_id}: tick {self.tick} ({self.reason}), seed {self.seed}, {agents}{known}>"

    def agent_counts(self) -> dict[str, int]:
        """Return the number of agents by kind."""
        return {kind: self._state.count(kind) for kind in self._state.kinds()}

    def _repr_html_(self) -> str:
        from novel_actors.simulation.result_html import result_html

        return result_html(self, self._log)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.frames)

    def _event_names(self) -> tuple[str, ...]:
        names = (name for name in self._log.tables() if name.startswith(EVENT_PREFIX))
        return tuple(sorted(name.removeprefix(EVENT_PREFIX) for name in names))

    def _all_events(self) -> pd.DataFrame:
        import pandas as pd

        names = self._event_names()
        tables = [self._log.table(EVENT_PREFIX + name) for name in names]
        columns = list(dict.fromkeys([TICK, "agent", *(name for table in tables for name in table.column_names)]))
        if not tables:
            return pd.DataFrame(columns=[TICK, "event", "agent"])
        merged = {name: _stack(name, tables) for name in columns}
        ticks = merged[TICK].to_numpy()
        agents = merged["agent"].to_numpy(dtype=np.int64, na_value=-1)
        # A stable order, on rows that come class by class.
        order = np.lexsort((agents, ticks))
        events = np.repeat(np.array(names, dtype=object), [table.num_rows for table in tables])
        frame = pd.DataFrame({TICK: merged.pop(TICK), "event": events, **merged})
        return frame.iloc[order].reset_index(drop=True)


def to_frame(columns: Mapping[str, Array | list[object]]) -> pd.DataFrame:
    """Return the fields of agents as a data frame indexed by id; rows of fixed arrays are arrays."""
    import pandas as pd

    flat = {
        name: list(values) if isinstance(values, np.ndarray) and values.ndim > 1 else values
        for name, values in columns.items()
    }
    return pd.DataFrame(flat).set_index(AGENT_ID)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a table as a data frame; whole numbers stay whole where some are missing, for ids do not fit in floats."""
    import pandas as pd

    return pd.DataFrame({name: _series(table.column(name)) for name in table.column_names})


def _series(column: pa.ChunkedArray) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_integer(column.type) and column.null_count:
        nullable = pd.api.types.pandas_dtype(str(column.type).replace("i", "I").replace("u", "U"))
        return column.to_pandas(types_mapper=lambda _: nullable)  # type: ignore[no-any-return]
    return column.to_pandas()  # type: ignore[no-any-return]


def _stack(name: str, tables: list[pa.Table]) -> pd.Series[Any]:
    """Return one column of several tables below each other; of types that do not go together, as objects."""
    import pandas as pd
    import pyarrow as pa

    present = [pa.schema([table.schema.field(name)]) for table in tables if name in table.column_names]
    try:
        kind = pa.unify_schemas(present, promote_options="permissive").field(name).type if present else pa.int64()
        pieces = [
            table.column(name).cast(kind)
            if name in table.column_names
            else pa.chunked_array([pa.nulls(len(table), kind)])
            for table in tables
        ]
    except pa.ArrowException:
        values = [
            table.column(name).to_pylist() if name in table.column_names else [None] * len(table) for table in tables
        ]
        return pd.Series([value for each in values for value in each], dtype=object)
    return _series(pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], type=kind))
