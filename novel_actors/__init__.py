"""novel_actors: an actor-model concurrent simulator whose results depend on the model and the seed alone.

    import novel_actors as na

Every public name is here, and loaded when it is first used: `import novel_actors` itself is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from novel_actors.config import AsyncSettings
    from novel_actors.errors import NovelActorsError
    from novel_actors.simulation.agent import Agent
    from novel_actors.simulation.collect import histogram, reducer
    from novel_actors.simulation.fields import column
    from novel_actors.simulation.handler import on
    from novel_actors.simulation.ids import AgentId
    from novel_actors.simulation.message import message
    from novel_actors.simulation.message import message as event
    from novel_actors.simulation.population import Population
    from novel_actors.simulation.result import Result
    from novel_actors.simulation.run import Run, fork, replay, resume
    from novel_actors.simulation.simulation import Simulation
    from novel_actors.simulation.spaces.network import Network
    from novel_actors.simulation.tick import Tick

_HOMES = {
    "Agent": "simulation.agent",
    "AgentId": "simulation.ids",
    "AsyncSettings": "config",
    "Network": "simulation.spaces.network",
    "NovelActorsError": "errors",
    "Population": "simulation.population",
    "Result": "simulation.result",
    "Run": "simulation.run",
    "Simulation": "simulation.simulation",
    "Tick": "simulation.tick",
    "column": "simulation.fields",
    "event": "simulation.message",
    "fork": "simulation.run",
    "histogram": "simulation.collect",
    "message": "simulation.message",
    "on": "simulation.handler",
    "reducer": "simulation.collect",
    "replay": "simulation.run",
    "resume": "simulation.run",
}

__all__ = [
    "Agent",
    "AgentId",
    "AsyncSettings",
    "Network",
    "NovelActorsError",
    "Population",
    "Result",
    "Run",
    "Simulation",
    "Tick",
    "column",
    "event",
    "fork",
    "histogram",
    "message",
    "on",
    "reducer",
    "replay",
    "resume",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"novel_actors has no {name!r}; it has {', '.join(__all__)}")
    found = getattr(import_module(f"novel_actors.{home}"), "message" if name == "event" else name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
