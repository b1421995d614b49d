"""What an agent's exception means in the words of its model, where Python's own words name neither class nor field.

An explanation is made of the class and the code alone, so that it is the same wherever the agent lives.
"""

from __future__ import annotations

import difflib
import dis
import re
import types
from typing import Any

from novel_actors.simulation.agent import Agent
from novel_actors.simulation.message import Record, is_message
from novel_actors.simulation.population import Population, PopulationType

ABSENT = re.compile(r"'(\w+)' object has no attribute '(\w+)'")
READ_ONLY = re.compile(r"'(\w+)' object attribute '(\w+)' is read-only")
UNEXPECTED = re.compile(r"Unexpected keyword argument '(\w+)'")
MISSING = re.compile(r"Missing required argument '(\w+)'")


def explained(kind: type[Agent] | type[Population], error: BaseException) -> str:
    """Return the message of an exception that an agent of `kind` raised, in the words of its model."""
    found = None
    if isinstance(error, AttributeError):
        found = explained_attribute(kind, str(error))
    elif isinstance(error, TypeError):
        found = explained_message(error)
    return str(error) if found is None else found


def explained_attribute(kind: type[Agent] | type[Population], text: str) -> str | None:
    """Return what is wrong with an attribute of an agent that is no field."""
    match = ABSENT.fullmatch(text) or READ_ONLY.fullmatch(text)
    if match is None or match[1] != kind.__name__:
        return None
    name, known = match[2], [field.name for field in kind.fields]
    if name in known:
        return None
    value = getattr(kind, name, None)
    if match.re is READ_ONLY and not callable(value):
        how = f"as a column, {name} = na.column(np.{'float64' if isinstance(value, float) else 'int64'})"
        if not isinstance(kind, PopulationType):
            how = f"with an annotation, {name}: {type(value).__name__} = {value!r:.80}"
        return f"{kind.__name__}.{name} is no field: declare it {how}"
    near = difflib.get_close_matches(name, [*known, *(n for n in dir(kind) if not n.startswith("_"))], 1)
    return f"{kind.__name__} has no field {name!r}; " + (
        f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
    )


def explained_message(error: TypeError) -> str | None:
    """Return which field of which message class was given wrongly where one was made."""
    unexpected, missing = UNEXPECTED.fullmatch(str(error)), MISSING.fullmatch(str(error))
    message = message_class_of(error)
    if message is None:
        return None
    names = [field.name for field in message.__message_fields__]
    if unexpected is not None and unexpected[1] not in names:
        return f"{message.__name__} has no field {unexpected[1]!r}; it has {', '.join(names) or 'none'}"
    if missing is not None and missing[1] in names:
        return f"{message.__name__}.{missing[1]} has no default: give {missing[1]}="
    return None


def message_class_of(error: BaseException) -> type[Record] | None:
    """Return the message class that the code used last before it raised, or None.

    msgspec's errors do not name the class, and a check of our own would cost time for every message that is made.
    """
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    known: dict[str, Any] = {**frame.f_globals, **frame.f_locals}
    found, value = None, None
    for step in dis.get_instructions(frame.f_code):
        if step.offset >= trace.tb_lasti:
            break
        if step.opname.startswith("LOAD_") and step.opname != "LOAD_CONST" and isinstance(step.argval, str):
            of_module = step.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(value, types.ModuleType)
            value = getattr(value, step.argval, None) if of_module else known.get(step.argval)
            found = value if is_message(value) else found
    return found
