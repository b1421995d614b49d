"""The view of a result in a notebook: one table, everything in it escaped, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from novel_actors.config import RESULT_PREVIEW_ROWS_MAX

if TYPE_CHECKING:
    import pyarrow as pa

    from novel_actors.simulation.record_columns import Array
    from novel_actors.simulation.records import RecordLog
    from novel_actors.simulation.result import Result

_WIDTH, _HEIGHT = 160, 24


def result_html(result: Result, log: RecordLog) -> str:
    """Return a table of what a result says about its run, with a small line for each short frame."""
    rows = [
        ("run", escape(result.run_id)),
        ("seed", str(result.seed)),
        ("tick", f"{result.tick:,}"),
        ("reason", escape(result.reason)),
        ("digest", f"<code>{escape(result.digest)}</code>"),
        ("agents", escape(", ".join(f"{count:,} {kind}" for kind, count in result.agent_counts().items()) or "none")),
    ]
    messages = getattr(result.statistics(), "messages_total", None)
    if messages is not None:
        rows.append(("messages", f"{messages:,}"))
    if result.seconds > 0:
        rows.append(("ticks/s", f"{result.tick / result.seconds:,.1f}"))
    if result.path is not None:
        rows.append(("path", escape(str(result.path))))
    rows += [(f"frame {escape(name)}", _preview(name, log)) for name in result.frames]
    body = "".join(f'<tr><th style="text-align:left">{name}</th><td>{value}</td></tr>' for name, value in rows)
    return f"<table>{body}</table>"


def _preview(name: str, log: RecordLog) -> str:
    """Return the length of a frame, and of a short one its columns, each with a line and its last number."""
    text = f"{log.rows(name):,} row{'s' * (log.rows(name) != 1)}"
    columns = log.columns(name)[1:]
    if "id" in columns or not 0 < log.rows(name) <= RESULT_PREVIEW_ROWS_MAX:
        return f"{text}: {escape(', '.join(columns))}"
    table = log.table(name)
    return text + "".join(f"<br/>{escape(column)} {_line(table.column(column))}" for column in columns)


def _line(column: pa.ChunkedArray) -> str:
    import pyarrow as pa

    last = column[-1].as_py()
    if _is_list(column.type):
        return "" if last is None else f"{_spark(np.array(last, np.float64))} {len(last)} bins, at the last tick"
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        return ""
    values = column.cast(pa.float64(), safe=False).to_numpy()
    text = "missing" if last is None else f"{last:,}" if isinstance(last, int) else f"{last:,.6g}"
    return f"{_spark(values)} {text}"


def _is_list(kind: pa.DataType) -> bool:
    """Tell whether the cells of a column are lists of numbers, as those of a histogram are."""
    import pyarrow as pa

    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(listed and (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)))


def _spark(values: Array) -> str:
    """Return numbers as a line of SVG, with at most one point for each pixel."""
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), _WIDTH)).astype(np.int64))
    shown = values[places]
    finite = np.isfinite(shown)
    if not finite.any():
        return ""
    shown, x = shown[finite], places[finite] * (_WIDTH / max(len(values) - 1, 1))
    low, high = shown.min(), shown.max()
    part = (shown - low) / (high - low) if high > low else np.full(shown.size, 0.5)
    y = _HEIGHT - 2 - part * (_HEIGHT - 4)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    line = f'<polyline points="{points}" fill="none" stroke="currentColor"/>'
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" style="vertical-align:middle">{line}</svg>'
