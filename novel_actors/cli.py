"""The command line: one thin command for each capability.

Everything heavy is imported by the command that needs it, so that help and completion answer at once. What a command
prints for people goes through rich to the standard output; `--json` prints one object there instead, and nothing else.
Progress, hints and errors go to the standard error.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from novel_actors.errors import AgentError, MissingExtra, ModelNotFound, NovelActorsError, TableError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from novel_actors.runtime.runtime import Runtime
    from novel_actors.simulation.result import Result
    from novel_actors.simulation.run import Run
    from novel_actors.simulation.scenario import Model, Scenario

EXIT_ERROR: Final = 1
EXIT_AGENT: Final = 3
EXIT_UNEXPECTED: Final = 70
RUNS: Final = Path("runs")
PLOT: Final = "plot.png"
DEMO_AGENTS: Final = 1_000_000

EXIT_CODES: Final = """\b
Exit codes:
  0    done
  1    an error of input or operation, told in one line
  2    the command line cannot be understood
  3    an agent raised an exception or ran out of time
  70   an unexpected error; --debug shows its traceback
  130  interrupted (Ctrl-C), 143 terminated: the state is saved at a whole tick"""


def _epilog(*examples: str) -> str:
    return "\n".join(["\b", "Examples:", *(f"  novel-actors {each}" for each in examples), "", EXIT_CODES])


app = typer.Typer(
    name="novel-actors",
    help="Agent-based simulations whose result depends on the model, the seed and the partitions, never on the shards.",
    epilog=_epilog("run configs/rumour.yaml", "run configs/wealth.yaml --set agents=1000000", "models", "demo"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line of this process."""
    with _failures(debug="--debug" in sys.argv[1:], as_json="--json" in sys.argv[1:]):
        app(prog_name="novel-actors")


# Completion


def _complete_scenario(incomplete: str) -> list[str]:
    beside = [] if incomplete else sorted(Path().glob("configs/*.yaml"))
    return [*map(str, beside), *_complete_paths(incomplete, lambda path: path.suffix in (".yaml", ".yml"))]


def _complete_run(incomplete: str) -> list[str]:
    inside = [] if incomplete else [path.parent for path in sorted(RUNS.glob("*/run.json"))]
    return [*map(str, inside), *_complete_paths(incomplete, lambda path: (path / "run.json").is_file())]


def _complete_paths(incomplete: str, wanted: Callable[[Path], bool]) -> list[str]:
    folder, _, start = incomplete.rpartition("/")
    root = Path(folder or ("/" if incomplete.startswith("/") else "."))
    prefix = incomplete[: len(incomplete) - len(start)]
    found = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.name.startswith(start) and (start or not path.name.startswith(".")):
            if wanted(path):
                found.append(f"{prefix}{path.name}")
            elif path.is_dir():
                found.append(f"{prefix}{path.name}/")
    return found


def _complete_bench(incomplete: str) -> list[str]:
    from novel_actors.validation.bench import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


# Arguments and options


class OnError(StrEnum):
    """What becomes of a run when an agent raises."""

    fail = "fail"
    isolate = "isolate"


class Where(StrEnum):
    """Where the shards of a run live."""

    local = "local"
    ray = "ray"


def _check_set(values: list[str] | None) -> list[str]:
    for value in values or []:
        if not value.partition("=")[1] or not value.partition("=")[0].strip():
            raise typer.BadParameter(f"{value!r} is not key=value")
    return values or []


def _check_bench(name: str) -> str:
    from novel_actors.validation.bench import NAMES

    if name not in NAMES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(NAMES)}")
    return name


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"novel-actors {version('novel-actors')}")
        raise typer.Exit


FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The scenario, a YAML file.", autocompletion=_complete_scenario)
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", autocompletion=_complete_run)]
TicksOption = Annotated[int | None, typer.Option(min=0, help="Ticks to run, instead of what the scenario says.")]
MoreTicksOption = Annotated[int | None, typer.Option(min=0, help="Run so many more ticks. [default: to its goal]")]
ShardsOption = Annotated[int | None, typer.Option(min=1, help="Shards to run on; the result does not depend on them.")]
RuntimeOption = Annotated[
    Where | None,
    typer.Option(
        "--runtime", help="Where shards live: in this process, or on Ray. [default: local for one shard, else ray]"
    ),
]
AddressOption = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Of a Ray cluster: local starts one, auto or IP:PORT joins one.")
]
ProfileOption = Annotated[bool, typer.Option("--profile", help="Show where the time of each shard went.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Seed of every random number.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        callback=_check_set,
        help="Set a parameter of the model, or any key by its dotted path (runtime.partitions=8). Repeatable.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object; errors are JSON too.")]
NoProgressOption = Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# Commands


@app.command(
    epilog=_epilog(
        "run configs/rumour.yaml --ticks 200",
        "run configs/wealth.yaml --set agents=1000000 --shards 2 --checkpoint-every 10",
        "run configs/wealth.yaml --no-store --json",
    )
)
def run(
    file: FileArgument,
    ticks: TicksOption = None,
    shards: ShardsOption = None,
    seed: SeedOption = None,
    assignments: SetOption = None,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder for the run. [default: runs/<id>]")
    ] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep nothing on disk.")] = False,
    checkpoint_every: Annotated[int | None, typer.Option(min=1, help="Ticks between two checkpoints.")] = None,
    on_error: Annotated[
        OnError | None, typer.Option(help="When an agent raises: end the run, or park the agent and go on.")
    ] = None,
    runtime: RuntimeOption = None,
    address: AddressOption = None,
    profile: ProfileOption = False,
    as_json: JsonOption = False,
    no_progress: NoProgressOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a scenario."""
    if no_store and (store is not None or checkpoint_every is not None):
        raise typer.BadParameter("--no-store keeps nothing: leave out --store and --checkpoint-every")
    with _failures(debug=debug, as_json=as_json):
        from novel_actors.simulation.scenario import load_scenario, parse_value

        overrides = {
            key.strip(): parse_value(value) for key, _, value in (each.partition("=") for each in assignments or [])
        }
        options = {
            "ticks": ticks,
            "seed": seed,
            "runtime.shards": shards,
            "runtime.checkpoint_every": checkpoint_every,
            "runtime.on_error": on_error and on_error.value,
        }
        overrides.update({key: value for key, value in options.items() if value is not None})
        scenario = load_scenario(file, overrides)
        folder = None if no_store else store or _new_folder(scenario.name)
        progress = _progress(no_progress or as_json)
        started = _start(scenario, folder, progress=progress, runtime=runtime and runtime.value, address=address)
        _drive(started, scenario.ticks, as_json=as_json, profile=profile)


@app.command(epilog=_epilog("resume runs/rumour-20260101T120000Z-3f2a", "resume runs/mine --shards 2 --ticks 100"))
def resume(
    path: RunArgument,
    shards: ShardsOption = None,
    ticks: MoreTicksOption = None,
    runtime: RuntimeOption = None,
    address: AddressOption = None,
    profile: ProfileOption = False,
    as_json: JsonOption = False,
    no_progress: NoProgressOption = False,
    debug: DebugOption = False,
) -> None:
    """Go on with a run from its last checkpoint, after Ctrl-C, an error or kill -9."""
    with _failures(debug=debug, as_json=as_json):
        import novel_actors as na

        where = runtime and runtime.value
        progress = _progress(no_progress or as_json)
        resumed = na.resume(path, shards=shards or 1, runtime=where, address=address, progress=progress)
        _drive(resumed, ticks, as_json=as_json, profile=profile)


@app.command(epilog=_epilog("replay runs/mine --to-tick 50"))
def replay(
    path: RunArgument,
    to_tick: Annotated[int, typer.Option(min=0, help="The tick to stop at.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compute the state of a run at an earlier tick again. The run itself stays as it is."""
    with _failures(debug=debug, as_json=as_json):
        import novel_actors as na

        with na.replay(path, to_tick=to_tick) as replayed:
            _report(replayed.result(), as_json=as_json, plot=False)


@app.command(epilog=_epilog("fork runs/mine --at-tick 50 --seed 7", "fork runs/mine --at-tick 50 --ticks 100"))
def fork(
    path: RunArgument,
    at_tick: Annotated[int, typer.Option(min=0, help="The tick at which the new run leaves the old one.")],
    seed: SeedOption = None,
    ticks: MoreTicksOption = None,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder for the new run. [default: runs/<id>]")
    ] = None,
    as_json: JsonOption = False,
    no_progress: NoProgressOption = False,
    debug: DebugOption = False,
) -> None:
    """Start a new run from a tick of an old one, with another seed from there on."""
    with _failures(debug=debug, as_json=as_json):
        import novel_actors as na
        from novel_actors.simulation.run_folder import read_manifest

        goal = read_manifest(path).goal
        if ticks is None and goal is not None:
            ticks = max(goal - at_tick, 0)
        folder = store or _new_folder(f"{path.resolve().name.partition('-')[0]}-fork")
        _drive(na.fork(path, at_tick=at_tick, seed=seed, store=folder), ticks, as_json=as_json)


@app.command(epilog=_epilog("show runs/mine", "show runs/mine --json"))
def show(path: RunArgument, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Show what a finished or stopped run has computed so far."""
    with _failures(debug=debug, as_json=as_json):
        import novel_actors as na

        result = na.Result.load(path)
        goes_on = result.reason in ("running", "interrupted") and _can_resume(path)
        _report(result, as_json=as_json, plot=False, resume=_resume_command(path) if goes_on else None)


@app.command(epilog=_epilog("models", "models --json"))
def models(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the models that a scenario can name, with their parameters, bounds and defaults."""
    with _failures(debug=debug, as_json=as_json):
        from novel_actors.simulation.scenario import known_models, load_model

        known = [load_model(name) for name in known_models()]
        if as_json:
            typer.echo(json.dumps({model.name: _describe_model(model) for model in known}))
            return
        for model in known:
            typer.echo(f"{model.name}: {model.summary}")
            for name, schema in _describe_model(model)["parameters"].items():
                default = f" = {json.dumps(schema['default'])}" if "default" in schema else ", must be given"
                typer.echo(f"    {name}: {_words(schema)}{default}")


@app.command(epilog=_epilog("bench columns", "bench objects --small --json objects.json"))
def bench(
    name: Annotated[
        str, typer.Argument(metavar="NAME", callback=_check_bench, autocompletion=_complete_bench, help="The workload.")
    ],
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every measurement to this file.")
    ] = None,
    small: Annotated[bool, typer.Option("--small", help="A small size, to see that it works.")] = False,
    debug: DebugOption = False,
) -> None:
    """Measure a workload beside its baseline."""
    with _failures(debug=debug):
        from novel_actors.validation.bench import run_bench

        raise SystemExit(run_bench(name, small, json_path))


@app.command(epilog=_epilog("demo", "demo --agents 10000"))
def demo(
    agents: Annotated[int, typer.Option(min=1, help="Agents of the wealth model.")] = DEMO_AGENTS,
    no_progress: NoProgressOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the rumour in Les Misérables and the wealth of a million agents, on one shard and on two."""
    with _failures(debug=debug):
        from novel_actors.simulation.scenario import load_scenario

        progress = _progress(no_progress)
        demos = [
            load_scenario(_demo_file(f"{name}.yaml"), overrides)
            for name, overrides in (("rumour", {}), ("wealth", {"agents": agents}))
        ]
        digests = []
        for scenario in demos:
            typer.echo(f"{scenario.source}: model {scenario.model}, {json.dumps(scenario.parameters)}")
            run = _start(scenario, _new_folder(scenario.name), progress=progress)
            digests.append(_drive(run, scenario.ticks).digest)
        typer.echo("the same on two shards, which are actors of a Ray cluster that is started now ...")
        from novel_actors.runtime.cluster import RayRuntime

        ray = RayRuntime("local", cpus=2)
        try:
            for scenario, digest in zip(demos, digests, strict=True):
                again = replace(scenario, runtime=replace(scenario.runtime, shards=2))
                with _start(again, None, progress=progress, runtime=ray) as run:
                    run.advance(scenario.ticks)
                    found = run.digest
                typer.echo(f"{scenario.name}: {digest} on one shard, {found} on two")
                if found != digest:
                    raise NovelActorsError(f"{scenario.name} has another digest on two shards: this is a defect")
        finally:
            ray.close()


# Running


def _new_folder(name: str) -> Path:
    return RUNS / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def _demo_file(name: str) -> Path:
    import novel_actors

    folders = Path("configs"), Path(novel_actors.__file__).parent.parent / "configs"
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise NovelActorsError(f"the demo needs configs/{name}: run it in a clone of the repository")


def _progress(off: bool) -> bool | None:
    return False if off else None


def _start(
    scenario: Scenario,
    folder: Path | None,
    *,
    progress: bool | None,
    runtime: Runtime | str | None = None,
    address: str | None = None,
) -> Run:
    return scenario.build().start(
        shards=scenario.runtime.shards,
        runtime=runtime,
        address=address,
        store=folder,
        checkpoint_every=None if folder is None else scenario.runtime.checkpoint_every,
        keep_checkpoints=scenario.runtime.keep_checkpoints,
        on_error=scenario.runtime.on_error,
        progress=progress,
    )


def _drive(run: Run, ticks: int | None, *, as_json: bool = False, profile: bool = False) -> Result:
    """Run to the end, or to a whole tick when a signal arrives, and report.

    Args:
        run: It is closed at the end.
        ticks: How many; None for the goal that the run remembers.
        as_json: Report in JSON.
        profile: Report where the time of each shard went.

    Returns:
        What was reported.

    Raises:
        SystemExit: A signal ended the run.
    """
    with run, _Signals(run, quiet=as_json) as signals:
        try:
            run.advance(ticks)
            result = run.result()
            run.close()
        except (KeyboardInterrupt, NovelActorsError, OSError, MemoryError) as error:
            if run.path is not None:
                error.add_note(f"go on from its last checkpoint with: {_resume_command(run.path)}")
            if isinstance(error, KeyboardInterrupt):
                _tell(error, "broken off in the middle of a tick", as_json=as_json)
                raise SystemExit(128 + signals.number) from None
            raise
    interrupted = result.reason == "interrupted"
    resume = _resume_command(run.path) if interrupted else None
    _report(result, as_json=as_json, plot=not interrupted, resume=resume, profile=profile)
    if interrupted:
        raise SystemExit(128 + signals.number)
    return result


def _resume_command(path: Path | None) -> str | None:
    """Return the command that goes on with a run; None without a store. The state at its start is always saved."""
    return None if path is None else f"novel-actors resume {shlex.quote(str(path))}"


def _can_resume(path: Path) -> bool:
    """Tell whether the classes and functions of a run can be found from the command line."""
    from novel_actors.simulation.run_folder import make_model, read_manifest

    try:
        make_model(path, read_manifest(path), None)
    except ModelNotFound:
        return False
    return True


class _Signals:
    """Turns the first SIGINT or SIGTERM into a request to stop at a whole tick, the second into KeyboardInterrupt.

    Attributes:
        number: The first signal that came; SIGINT until then.
    """

    __slots__ = ("_came", "_old", "_quiet", "_run", "number")

    def __init__(self, run: Run, *, quiet: bool) -> None:
        self._run = run
        self._quiet = quiet
        self._came = False
        self._old: dict[int, Any] = {}
        self.number: int = signal.SIGINT

    def __enter__(self) -> _Signals:
        self._old = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came, self.number = True, number
        self._run.interrupt()
        if not self._quiet:
            # A handler may run inside a write to the same stream, so it must not go through Python's buffers.
            os.write(2, b"\nstopping at a whole tick; once more breaks off at once\n")


# Output


def _report(
    result: Result, *, as_json: bool, plot: bool = True, resume: str | None = None, profile: bool = False
) -> None:
    summary = _summary(result)
    if profile:
        summary["shards"] = _profile(result)
    if plot and result.path is not None:
        summary["plot"] = _save_plot(result, result.path / PLOT, quiet=as_json)
    if as_json:
        summary["resume"] = resume
        typer.echo(json.dumps(summary, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    for key in ("digest", "seed", "tick", "reason", "agents", "messages", "ticks_per_s"):
        if summary[key] is not None:
            table.add_row(key, _shown(summary[key]))
    for name, row in summary["last"].items():
        table.add_row(name, "  ".join(f"{key} {_shown(value)}" for key, value in row.items()))
    Console().print(table)
    if profile:
        Console().print(_profile_table(summary["shards"]))
    for key in ("path", "tables", "plot"):
        if summary[key] is not None:
            typer.echo(f"{key}: {summary[key]}")
    if resume is not None:
        typer.echo(f"{result.reason} at tick {result.tick}; go on with: {resume}", err=True)


def _summary(result: Result) -> dict[str, Any]:
    """Return what is told of a run, in values that JSON knows."""
    statistics = result.statistics()
    drawn = None if result.path is None else result.path / PLOT
    return {
        "id": result.run_id,
        "digest": result.digest,
        "seed": result.seed,
        "tick": result.tick,
        "reason": result.reason,
        "agents": sum(result.agent_counts().values()),
        "messages": getattr(statistics, "messages_total", None),
        "seconds": result.seconds,
        "ticks_per_s": getattr(statistics, "ticks_per_s", None),
        "last": {name: _last_row(result.frame(name)) for name in result.frames},
        "path": None if result.path is None else str(result.path),
        "tables": None if result.path is None else str(result.path / "tables"),
        "plot": str(drawn) if drawn is not None and drawn.is_file() else None,
    }


def _profile(result: Result) -> list[dict[str, Any]]:
    """Return for each shard what it did, and how many milliseconds of a tick each part took."""
    rows = []
    for shard in getattr(result.statistics(), "shards", ()):
        counters = shard.counters
        ticks = max(counters.ticks_total, 1)
        rows.append(
            {
                "shard": shard.shard,
                "partitions": shard.partitions,
                "ticks": counters.ticks_total,
                "messages": counters.messages_total,
                "act_ms": 1000 * counters.act_s / ticks,
                "swap_ms": 1000 * counters.swap_s / ticks,
                "commit_ms": 1000 * counters.commit_s / ticks,
                "sent_bytes": counters.sent_bytes_total // ticks,
            }
        )
    mean_ms = sum(row["act_ms"] for row in rows) / max(len(rows), 1)
    for row in rows:
        row["imbalance"] = row["act_ms"] / mean_ms if mean_ms else 1.0
    return rows


def _profile_table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="a tick of each shard")
    for key in rows[0] if rows else ():
        table.add_column(key, justify="right")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    return table


def _last_row(frame: pd.DataFrame) -> dict[str, object]:
    if frame.empty or "id" in frame:
        return {"rows": len(frame)}
    row = {"tick": frame.index[-1]} | {str(name): frame[name].iloc[-1] for name in frame}
    return {name: _plain(value.tolist() if hasattr(value, "tolist") else value) for name, value in row.items()}


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _save_plot(result: Result, path: Path, *, quiet: bool) -> str | None:
    if not result.frames:
        return None
    try:
        result.save_plot(path)
    except (MissingExtra, TableError) as error:
        if not quiet:
            typer.echo(f"no plot: {error}", err=True)
        return None
    return str(path)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _describe_model(model: Model) -> dict[str, Any]:
    """Return the summary of a model and a JSON schema for each of its parameters."""
    from pydantic import TypeAdapter

    from novel_actors.simulation.scenario import REQUIRED

    parameters: dict[str, Any] = {}
    for name, parameter in model.parameters.items():
        adapter = TypeAdapter[Any](parameter.annotation)  # type: ignore[arg-type]  # what a signature says
        parameters[name] = adapter.json_schema()
        if parameter.default is not REQUIRED:
            parameters[name]["default"] = adapter.dump_python(parameter.default, mode="json")
    return {"summary": model.summary, "parameters": parameters}


def _words(schema: Mapping[str, Any]) -> str:
    """Return what a JSON schema allows, in a few words."""
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(_words(each) for each in schema["anyOf"])
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    return " ".join([str(schema.get("type", "value")), ", ".join(bounds)]).rstrip()


# Failures


@contextmanager
def _failures(*, debug: bool, as_json: bool = False) -> Iterator[None]:
    """Turn every exception into its exit code and one line for people, or one object for machines."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise
    except KeyboardInterrupt as error:
        _tell(error, "interrupted before the first tick; nothing was lost", as_json=as_json)
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:  # noqa: BLE001  (nobody is above this door)
        if debug:
            import traceback

            typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
            if isinstance(error, AgentError):
                typer.echo(f"The agent:\n{error.trace}", err=True)
        code = EXIT_ERROR
        if isinstance(error, AgentError):
            code = EXIT_AGENT
            message = str(error)
        elif isinstance(error, NovelActorsError):
            message = str(error)
        elif isinstance(error, OSError):
            message = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        elif isinstance(error, MemoryError):
            message = f"out of memory: {error}"
        else:
            code = EXIT_UNEXPECTED
            message = f"unexpected {type(error).__name__}: {error}"
        if code != EXIT_ERROR and not debug:
            error.add_note("--debug shows the traceback")
        _tell(error, message, as_json=as_json)
        raise SystemExit(code) from None


def _tell(error: BaseException, message: str, *, as_json: bool) -> None:
    message = " ".join(message.split())
    notes = list(getattr(error, "__notes__", ()))
    if as_json:
        typer.echo(json.dumps({"error": type(error).__name__, "message": message, "hints": notes}), err=True)
        return
    typer.echo("\n".join([f"error: {message}", *notes]), err=True)
