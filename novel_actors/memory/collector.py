"""The garbage collector while a simulation runs.

Python looks for cycles after every 700 objects that were made and not freed; a simulation makes that many messages in
half a millisecond, none of them in a cycle. While ticks run it looks more seldom, and afterwards as before.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from novel_actors.config import CollectorSettings


@contextmanager
def seldom_collection(settings: CollectorSettings) -> Iterator[None]:
    """Let the collector of this process look more seldom; what the user had set, if it is more seldom still, stays."""
    before = gc.get_threshold()
    wanted = (settings.young_objects, settings.middle_rounds, settings.old_rounds)
    if before[0]:
        gc.set_threshold(*(max(mine, theirs) for mine, theirs in zip(wanted, before, strict=True)))
    try:
        yield
    finally:
        gc.set_threshold(*before)
