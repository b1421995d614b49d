"""Figures of collected frames. The only module of the kernel that imports matplotlib; `Result.plot` imports it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from novel_actors.errors import TableError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from novel_actors.simulation.record_columns import Array


LIKE_SIZE = 10.0
"""Columns share a panel when the largest of their peaks is at most this many times the smallest."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One set of axes of a figure."""

    title: str
    paint: Callable[[Axes], None]


def panels_of(name: str, frame: pd.DataFrame, by_size: bool = True) -> list[Panel]:
    """Return what can be drawn of a frame: its numbers, and a panel for each histogram.

    Args:
        name: The title.
        frame: As `Result.frame` returns it.
        by_size: Whether numbers of different size get a panel for each size; else they share one.
    """
    import pandas as pd

    numbers = [column for column in frame.columns if pd.api.types.is_numeric_dtype(frame[column])]
    if "id" in frame:
        values = [column for column in numbers if column not in ("tick", "id")]
        return [Panel(f"{name} {column}".strip(), partial(_paint_agents, frame, column)) for column in values]
    groups = _by_size(frame[numbers]) if by_size else [numbers] * bool(numbers)
    panels = [Panel(name, partial(_paint_lines, frame[group])) for group in groups]
    for column in frame.columns:
        cells = frame[column]
        if column not in numbers and any(isinstance(cell, np.ndarray) for cell in cells):
            panels.append(Panel(f"{name} {column}", partial(_paint_heat, cells)))
    return panels


def _by_size(frame: pd.DataFrame) -> list[list[str]]:
    """Return the columns in groups whose peaks are of like size, so that none is a flat line beside another."""
    groups: list[dict[str, float]] = []
    for column in frame.columns:
        values = np.abs(_floats(frame[column]))
        peak = float(values[np.isfinite(values)].max(initial=0.0))
        for group in groups:
            peaks = [known for known in (*group.values(), peak) if known > 0]
            if not peaks or max(peaks) <= LIKE_SIZE * min(peaks):
                group[column] = peak
                break
        else:
            groups.append({column: peak})
    return [list(group) for group in groups]


def draw(panels: list[Panel], ax: Axes | list[Axes] | None) -> Figure:
    """Draw panels below each other with one axis of ticks, or on the axes given."""
    if ax is None:
        figure: Any = _NotebookFigure(figsize=(7.0, 1.0 + 2.2 * len(panels)), layout="constrained")
        axes = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
        axes[-1].set_xlabel("tick")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes = list(np.atleast_1d(np.asarray(ax, dtype=object)).ravel())
        figure = axes[0].get_figure(root=True) if axes else None
    if len(axes) != len(panels):
        raise TableError(f"the frames take {len(panels)} axes, got {len(axes)}: name fewer frames, or pass a list")
    for panel, each in zip(panels, axes, strict=True):
        each.set_title(panel.title, loc="left", fontsize="medium")
        panel.paint(each)
    return figure  # type: ignore[no-any-return]


class _NotebookFigure(Figure):
    """A figure that a notebook shows though pyplot does not know it, so that none is left open or shown twice."""

    def _repr_png_(self) -> bytes:
        sink = io.BytesIO()
        self.savefig(sink, format="png")
        return sink.getvalue()


def _floats(values: pd.Series[Any]) -> Array:
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _paint_lines(frame: pd.DataFrame, ax: Axes) -> None:
    marker = "o" if len(frame) == 1 else ""
    for column in frame.columns:
        ax.plot(frame.index.to_numpy(), _floats(frame[column]), label=column, marker=marker)
    if len(frame.columns) > 1:
        ax.legend(loc="best", fontsize="small")
    else:
        ax.set_ylabel(str(frame.columns[0]))


def _paint_agents(frame: pd.DataFrame, column: str, ax: Axes) -> None:
    by_tick = frame.assign(**{column: _floats(frame[column])}).groupby("tick")[column]
    mean = by_tick.mean()
    ticks = mean.index.to_numpy()
    low, high = by_tick.quantile(0.05).to_numpy(), by_tick.quantile(0.95).to_numpy()
    ax.fill_between(ticks, low, high, alpha=0.25, linewidth=0, label="5 to 95 %")
    ax.plot(ticks, mean.to_numpy(), label="mean")
    ax.legend(loc="best", fontsize="small")


def _paint_heat(cells: pd.Series[Any], ax: Axes) -> None:
    width = max((len(cell) for cell in cells if isinstance(cell, np.ndarray)), default=0)
    heat = np.full((len(cells), width), np.nan)
    for row, cell in zip(heat, cells, strict=True):
        if isinstance(cell, np.ndarray):
            row[: len(cell)] = cell.astype(np.float64)
    mesh = ax.pcolormesh(_edges(cells.index.to_numpy()), np.arange(width + 1) - 0.5, heat.T, shading="flat")
    ax.set_ylabel("bin")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.figure.colorbar(mesh, ax=ax)


def _edges(ticks: Array) -> Array:
    """Return the borders of cells around increasing ticks, half-way between neighbours."""
    if len(ticks) == 1:
        return np.array([ticks[0] - 0.5, ticks[0] + 0.5])
    middle = (ticks[1:] + ticks[:-1]) / 2
    return np.concatenate([[2 * ticks[0] - middle[0]], middle, [2 * ticks[-1] - middle[-1]]])
