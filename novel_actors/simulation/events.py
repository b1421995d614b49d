"""Events: what happened, as append-only typed records; their chain of digests and their tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from novel_actors.simulation.batch import ColumnData, as_array, as_list, columns_of
from novel_actors.simulation.fields import encode_custom, is_text
from novel_actors.simulation.message import Record, message

EVENT_TABLE = "event."
"""Begins the name of every table of events."""

CANONICAL = msgspec.msgpack.Encoder(enc_hook=encode_custom)


@message
class AgentFailed:
    """An agent raised and was parked (`on_error="isolate"`); its effects of that tick were dropped."""

    kind: str
    cause: str


@message
class AgentTimedOut:
    """An async agent's step took too long (`on_error="isolate"`); its effects of that tick were dropped."""

    kind: str
    limit_s: float


Emitted = tuple[Any, Any, int]


def chain_events(chain: bytes, tick: int, emitted: Sequence[Emitted]) -> bytes:
    """Return the digest that covers `chain` and a tick's events, in order."""
    digest = hashlib.blake2b(chain, digest_size=32)
    for agents, event, _ in emitted:
        if isinstance(event, Record):
            digest.update(CANONICAL.encode([tick, agents, type(event).__name__, list(event)]))
        else:
            kind, columns = event
            digest.update(CANONICAL.encode([tick, len(agents), kind.__name__]))
            digest.update(agents.tobytes())
            for field, column in zip(kind.__message_fields__, columns, strict=True):
                if is_text(field):
                    digest.update(CANONICAL.encode(as_list(column, len(agents))))
                else:
                    digest.update(np.ascontiguousarray(as_array(field, column, len(agents))).tobytes())
    return digest.digest()


def event_tables(emitted: Sequence[Emitted]) -> list[tuple[str, dict[str, Any]]]:
    """Return a partition's events of a tick as (table, columns), one for each run of equal classes, in order."""
    tables: list[tuple[str, dict[str, Any]]] = []
    for kind, run in groupby(emitted, key=lambda item: type(item[1])):
        if issubclass(kind, Record):
            singles = list(run)
            agents: Any = np.array([agent for agent, _, _ in singles], np.int64)
            tables.append(event_table(kind, agents, columns_of(kind, [event for _, event, _ in singles])))
        else:
            tables += [event_table(many, agents, columns) for agents, (many, columns), _ in run]
    return tables


def event_table(
    kind: type[Record], agents: NDArray[np.int64], columns: Sequence[ColumnData]
) -> tuple[str, dict[str, Any]]:
    """Return the rows of events of one class, as their table takes them."""
    rows: dict[str, Any] = {"agent": agents}
    for field, column in zip(kind.__message_fields__, columns, strict=True):
        rows[field.name] = event_column(field, column, len(agents))
    return EVENT_TABLE + kind.__name__, rows


def event_column(field: Any, column: ColumnData, count: int) -> Any:
    """Return a column as a table keeps it: an array, or a list of text."""
    return as_list(column, count) if is_text(field) else np.ascontiguousarray(as_array(field, column, count))
