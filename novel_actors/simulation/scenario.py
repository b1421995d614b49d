"""A scenario: the file that names a model, its parameters and how to run it.

The file is read once, here, and everything in it is checked before anything is started. The YAML is the plain core of
it: no anchors, no tags, no dates, and numbers as people write them (`1e6` is a number, `010` is not one). Every value
keeps the place it came from, so that an error can name a line, or the override that brought the value in.

A model is a module with a function `build(sim, *, name: type = default, ...)`. Its signature is the whole description
of its parameters: `Annotated[int, Ge(1)]` bounds them.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import json
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import yaml

from novel_actors.config import (
    SCENARIO_BYTES_MAX,
    TICKS_DEFAULT,
    CollectSettings,
    RuntimeSettings,
    Seed,
    StopSettings,
    Ticks,
)
from novel_actors.errors import NovelActorsError, ScenarioError

if TYPE_CHECKING:
    from novel_actors.simulation.simulation import Simulation

KeyPath = tuple[str | int, ...]

MODELS_GROUP: Final = "novel_actors.models"
REQUIRED: Final = MISSING
SECTIONS: Final = ("model", "parameters", "seed", "ticks", "runtime", "collect", "stop")


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a value may be: its type with the bounds in it, and its default (`REQUIRED` when there is none)."""

    annotation: object
    default: object = REQUIRED


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be built.

    Attributes:
        build: Called with an empty simulation and the parameters as keywords.
        file: The .py file it was read from, absolute, and the SHA-256 of its bytes; None for an installed model.
    """

    name: str
    summary: str
    build: Callable[..., object]
    parameters: Mapping[str, Parameter]
    file: str | None = None
    file_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A checked scenario.

    Attributes:
        source: The scenario file, as it was named.
        parameters: Every parameter of the model, the defaults too, in the form in which JSON writes it.
        model_file: See `Model.file`.
    """

    source: str
    model: str
    parameters: Mapping[str, object]
    seed: int
    ticks: int
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    collect: tuple[CollectSettings, ...] = ()
    stop: StopSettings = field(default_factory=StopSettings)
    model_file: str | None = None
    model_file_sha256: str | None = None

    @property
    def name(self) -> str:
        """The name of the file without its folder and ending."""
        return Path(self.source).stem

    def build(self) -> Simulation:
        """Return a new simulation of this scenario.

        Raises:
            ScenarioError: The model file is gone or has changed since it was loaded, the model's `build` failed, or a
                collector names what the model does not have.
        """
        from novel_actors.simulation.simulation import Simulation

        places = _Places(self.source)
        model = _load_file(self) if self.model_file is not None else load_model(self.model)
        parameters = _check_all(self.parameters, model.parameters, ("parameters",), places)
        sim = Simulation(seed=self.seed, partitions=self.runtime.partitions)
        try:
            model.build(sim, **parameters)
        except NovelActorsError:
            raise
        except Exception as error:
            raise ScenarioError(f"{self.source}: build of the model {self.model} raised {_one_line(error)}") from error
        self._add_collectors(sim, places)
        if self.stop.quiescent or self.stop.wall_time_s is not None:
            sim.stop_when(quiescent=self.stop.quiescent, wall_time_s=self.stop.wall_time_s)
        sim.source = self.to_record()
        return sim

    def _add_collectors(self, sim: Simulation, places: _Places) -> None:
        from novel_actors.simulation.collect import histogram

        kinds = {kind.__name__: kind for kind in sim.kinds}
        for index, item in enumerate(self.collect):
            if item.of not in kinds:
                raise places.error(("collect", index, "of"), f"unknown agent class {item.of}{_nearest(item.of, kinds)}")
            reducers: list[object] | None = None
            if item.reduce is not None:
                reducers = [each if isinstance(each, str) else histogram(each["histogram"]) for each in item.reduce]
            sim.collect(item.name, of=kinds[item.of], value=item.value, reduce=reducers, every=item.every)

    def to_record(self) -> dict[str, object]:
        """Return this scenario as a dictionary that JSON can write; `from_record` reads it."""
        record = asdict(replace(self, parameters=dict(self.parameters)))
        record["collect"] = list(record["collect"])
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Scenario:
        """Return the scenario that a run was started from.

        Raises:
            ScenarioError: The record is damaged, the model is no longer installed, its parameters have changed, or its
                file does not have the bytes it had.
        """
        content = dict(record)
        source = content.pop("source", None)
        file, sha256 = content.pop("model_file", None), content.pop("model_file_sha256", None)
        if not isinstance(source, str) or not isinstance(content.get("model"), str):
            raise ScenarioError("the record of the scenario names no source or no model: the run's manifest is damaged")
        if file is None:
            return _scenario(content, _Places(source), load_model)
        if not isinstance(file, str) or not isinstance(sha256, str):
            raise ScenarioError(f"the record of {source} names no model file: the run's manifest is damaged")
        return _scenario(content, _Places(source), lambda _: model_from_file(Path(file), file_sha256=sha256))


def load_scenario(path: str | Path, overrides: Mapping[str, object] | None = None) -> Scenario:
    """Read and check a scenario file.

    Args:
        path: The file.
        overrides: Values by dotted key (`runtime.shards`, `collect.0.every`); a key that begins with no section of the
            file is a parameter of the model (`agents`).

    Raises:
        ScenarioError: The file cannot be read, or anything in it or in the overrides is wrong.
    """
    places = _Places(str(path))
    document = _parse(_read(Path(path), places), places)
    if document is None:
        raise places.error((), f"the file is empty; a scenario needs at least `model: NAME` ({_known_models()})")
    if not isinstance(document, dict):
        raise places.error((), f"a scenario is a mapping of {', '.join(SECTIONS)}, got {_shown(document)}")
    for key, value in (overrides or {}).items():
        _override(document, key, value, places)
    folder = Path(path).resolve().parent

    def load(name: str) -> Model:
        try:
            return model_from_file(_inside(folder, name)) if name.endswith(".py") else load_model(name)
        except ScenarioError as error:
            raise places.error(("model",), str(error)) from error.__cause__

    return _scenario(document, places, load)


def parse_value(text: str) -> object:
    """Return one value written as YAML, as in `--set key=value`.

    Raises:
        ScenarioError: It is no plain YAML.
    """
    return _parse(text, _Places(f"value {text[:80]!r}"))


# Models


def known_models() -> list[str]:
    """Return the names that `load_model` takes, sorted."""
    names = {entry.name for entry in entry_points(group=MODELS_GROUP)}
    package = importlib.import_module(MODELS_GROUP)
    names.update(each.name for each in pkgutil.iter_modules(package.__path__) if not each.name.startswith("_"))
    return sorted(names)


def load_model(name: str) -> Model:
    """Return the model of `novel_actors.models`, or of an entry point, with this name.

    Raises:
        ScenarioError: There is none (the message lists the known ones), or it cannot be imported or read as a model.
    """
    known = known_models()
    if name not in known:
        raise ScenarioError(f"unknown model {name}{_nearest(name, known, listed=False)}; {_known_models()}")
    entries = [entry for entry in entry_points(group=MODELS_GROUP) if entry.name == name]
    package = importlib.import_module(MODELS_GROUP)
    own = any(each.name == name for each in pkgutil.iter_modules(package.__path__))
    try:
        module = importlib.import_module(f"{MODELS_GROUP}.{name}") if own else entries[0].load()
    except Exception as error:
        raise ScenarioError(f"the model {name} cannot be imported: {_one_line(error)}") from error
    return _model(name, module)


def model_from_file(file: Path, *, file_sha256: str | None = None) -> Model:
    """Return the model that a .py file defines.

    The bytes that are digested are the bytes that run, and the module's name holds their digest: two versions of one
    file never share classes.

    Args:
        file: The file.
        file_sha256: When given, other bytes are refused before they run.

    Raises:
        ScenarioError: The file cannot be read, has other bytes, raises, or has no `build`.
    """
    file = file.resolve()
    try:
        code = file.read_bytes()
    except OSError as error:
        raise ScenarioError(f"the model file {file} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(code).hexdigest()
    if file_sha256 not in (None, digest):
        raise ScenarioError(
            f"the model file {file} has changed since the run was started "
            f"(SHA-256 {digest[:12]}, was {str(file_sha256)[:12]}): put the old file back, or start a new run"
        )
    name = f"novel_actors_scenario_{file.stem}_{digest[:16]}"
    module = sys.modules.get(name)
    if module is None:
        module = types.ModuleType(name)
        module.__file__ = str(file)
        sys.modules[name] = module  # Before it runs: its dataclasses and annotations look themselves up there.
        try:
            exec(compile(code, str(file), "exec"), module.__dict__)
        except BaseException as error:
            del sys.modules[name]
            if not isinstance(error, Exception):
                raise
            raise ScenarioError(f"the model file {file} cannot be loaded: {_one_line(error)}") from error
    return replace(_model(file.name, module), file=str(file), file_sha256=digest)


def _load_file(scenario: Scenario) -> Model:
    assert scenario.model_file is not None
    return model_from_file(Path(scenario.model_file), file_sha256=scenario.model_file_sha256)


def _inside(folder: Path, name: str) -> Path:
    file = (folder / name).resolve()
    if Path(name).is_absolute() or not file.is_relative_to(folder):
        raise ScenarioError(f"the model file {name} is not in the folder of the scenario: copy it beside the scenario")
    if not file.is_file():
        raise ScenarioError(f"the model file {name} does not exist beside the scenario")
    return file


def _model(name: str, module: types.ModuleType | Callable[..., object]) -> Model:
    build = getattr(module, "build", None) if isinstance(module, types.ModuleType) else module
    if not callable(build):
        raise ScenarioError(f"the model {name} has no function `build(sim, *, ...)`")
    everything = list(inspect.signature(build).parameters.values())
    first, others = next(iter(everything), None), everything[1:]
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        raise ScenarioError(f"build of the model {name} must take the simulation as its first argument")
    for each in others:
        if each.kind is not each.KEYWORD_ONLY or each.annotation is each.empty:
            raise ScenarioError(
                f"{each.name} of build of the model {name} must be a keyword with a type: `*, {each.name}: int`"
            )
    # The simulation's own annotation is often importable by type checkers only, so only the parameters are resolved.
    holder = types.SimpleNamespace(__annotations__={each.name: each.annotation for each in others})
    try:
        hints = get_type_hints(holder, getattr(inspect.unwrap(build), "__globals__", {}), include_extras=True)
    except NameError as error:
        raise ScenarioError(f"a type in the signature of build of the model {name} is unknown: {error}") from error
    parameters = {
        each.name: Parameter(hints[each.name], REQUIRED if each.default is each.empty else each.default)
        for each in others
    }
    summary = (inspect.getdoc(module) or "").partition("\n")[0]
    return Model(name, summary, build, parameters)


def _known_models() -> str:
    return f"known models: {', '.join(known_models()) or 'none'}"


# Checking


class _Places:
    """Where each value of a scenario came from, for error messages."""

    __slots__ = ("_places", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._places: dict[KeyPath, str] = {(): source}

    def add_line(self, path: KeyPath, line: int) -> None:
        self._places[path] = f"{self.source}:{line}"

    def add_override(self, path: KeyPath, key: str) -> None:
        """Say that the value at `path`, and all that is in it, came from an override."""
        for other in [other for other in self._places if other[: len(path)] == path]:
            del self._places[other]
        self._places[path] = f"--set {key}"

    def error(self, path: KeyPath, message: str) -> ScenarioError:
        """Return an error that begins with the most exact known place of `path`."""
        place = next(self._places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._places)
        return ScenarioError(f"{place}: {message}")


def _scenario(document: Mapping[str, object], places: _Places, load: Callable[[str], Model]) -> Scenario:
    _refuse_unknown(document, SECTIONS, (), places)
    name = document.get("model")
    if not isinstance(name, str) or not name:
        got = f", got {_shown(name)}" if name is not None else ""
        raise places.error(("model",), f"model wants the name of a model or a .py file{got}; {_known_models()}")
    model = load(name)
    collect = document.get("collect")
    if collect is not None and not isinstance(collect, list | tuple):
        raise places.error(("collect",), f"collect wants a list of collectors, got {_shown(collect)}")
    return Scenario(
        source=places.source,
        model=name,
        parameters=_plain(_check_section(document, "parameters", model.parameters, places), model.parameters, places),
        seed=_check(document.get("seed", 0), Seed, ("seed",), places),
        ticks=_check(document.get("ticks", TICKS_DEFAULT), Ticks, ("ticks",), places),
        runtime=RuntimeSettings(**_check_section(document, "runtime", _fields(RuntimeSettings), places)),
        collect=tuple(
            CollectSettings(**_check_mapping(item, _fields(CollectSettings), ("collect", index), places))
            for index, item in enumerate(collect or ())
        ),
        stop=StopSettings(**_check_section(document, "stop", _fields(StopSettings), places)),
        model_file=model.file,
        model_file_sha256=model.file_sha256,
    )


def _fields(settings: type[RuntimeSettings | CollectSettings | StopSettings]) -> dict[str, Parameter]:
    hints = get_type_hints(settings, include_extras=True)
    return {each.name: Parameter(hints[each.name], each.default) for each in fields(settings)}


def _check_section(
    document: Mapping[str, object], key: str, known: Mapping[str, Parameter], places: _Places
) -> dict[str, Any]:
    section = document.get(key)
    return _check_mapping({} if section is None else section, known, (key,), places)


def _check_mapping(value: object, known: Mapping[str, Parameter], path: KeyPath, places: _Places) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise places.error(path, f"{_dotted(path)} wants a mapping of {', '.join(known)}, got {_shown(value)}")
    return _check_all(value, known, path, places)


def _check_all(
    values: Mapping[str, object], known: Mapping[str, Parameter], path: KeyPath, places: _Places
) -> dict[str, Any]:
    _refuse_unknown(values, known, path, places)
    checked: dict[str, Any] = {}
    for name, parameter in known.items():
        if name in values:
            checked[name] = _check(values[name], parameter.annotation, (*path, name), places)
        elif parameter.default is REQUIRED:
            raise places.error(path, f"{_dotted((*path, name))} is missing")
        else:
            checked[name] = parameter.default
    return checked


def _check(value: object, annotation: object, path: KeyPath, places: _Places) -> Any:
    """Return `value` in the form `annotation` asks for.

    The value goes through JSON: strict JSON takes a list for a tuple or a name for an enumeration, which a file cannot
    write otherwise, and still refuses "3" or 2.5 for an integer.
    """
    from pydantic import ValidationError

    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise places.error(path, f"{_dotted(path)} wants plain finite values, got {_shown(value)}") from error
    try:
        return _adapter(annotation, path, places).validate_json(text, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        at = path
        inner: Any = value
        for step in problem["loc"]:  # A location holds the names of the members of a union too.
            try:
                inner = inner[step]
            except (TypeError, LookupError):
                break
            at = (*at, step)
        message = problem["msg"].replace("Input ", f"{_dotted(at)} ", 1)
        message = message if message.startswith(_dotted(at)) else f"{_dotted(at)}: {message}"
        raise places.error(at, f"{message}, got {_shown(problem['input'])}") from None


def _adapter(annotation: object, path: KeyPath, places: _Places) -> Any:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter[Any](annotation)  # type: ignore[arg-type]  # what a signature says is no static type
    except PydanticUserError as error:
        raise places.error(path, f"{_dotted(path)} has a type that a scenario cannot hold: {annotation}") from error


def _plain(values: Mapping[str, object], known: Mapping[str, Parameter], places: _Places) -> dict[str, object]:
    return {
        name: _adapter(known[name].annotation, ("parameters", name), places).dump_python(
            value, mode="json", warnings="none"
        )
        for name, value in values.items()
    }


def _refuse_unknown(values: Iterable[str], known: Iterable[str], path: KeyPath, places: _Places) -> None:
    known = list(known)
    for key in values:
        if key not in known:
            at = (*path, key)
            raise places.error(at, f"unknown key {_dotted(at)}{_nearest(str(key), known)}")


def _override(document: dict[str, Any], key: str, value: object, places: _Places) -> None:
    steps = key.split(".")
    if steps[0] not in SECTIONS:
        steps = ["parameters", *steps]
    path: KeyPath = ()
    at: Any = document
    for step in steps:
        index: Any = int(step) if isinstance(at, list) and step.isdecimal() else step
        last = len(path) == len(steps) - 1
        if isinstance(at, list) and not (isinstance(index, int) and index < len(at)):
            raise ScenarioError(f"--set {key}: {_dotted(path)} has {len(at)} items, none is {step}")
        if not isinstance(at, dict | list):
            raise ScenarioError(f"--set {key}: {_dotted(path)} is {_shown(at)}, it has no {step}")
        path = (*path, index)
        if last:
            at[index] = value
        elif isinstance(at, dict) and at.get(step) is None:
            at[index] = {}
            places.add_override(path, key)
        at = at[index]
    places.add_override(path, key)


# Reading


class _Loader(yaml.SafeLoader):
    """YAML without anchors, tags and surprises: the scalars are those of JSON."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012  (yaml's own attribute)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)


def _resolve(tag: str, pattern: str, first: str) -> None:
    firsts = [*first, ""] if tag == "null" else list(first)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), firsts)


_resolve("null", "~|null|Null|NULL|", "~nN")
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789")
_resolve("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", "-+.0123456789")


def _read(path: Path, places: _Places) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SCENARIO_BYTES_MAX + 1)
    except OSError as error:
        raise places.error((), f"the scenario file cannot be read: {error.strerror}") from error
    if len(content) > SCENARIO_BYTES_MAX:
        raise places.error((), f"a scenario file has at most {SCENARIO_BYTES_MAX} bytes, this one has more")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise places.error((), f"the file is no UTF-8 text (byte {error.start})") from error


def _parse(text: str, places: _Places) -> object:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _value(node, loader, (), places)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            places.add_line((), mark.line + 1)
        raise places.error((), f"no valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        raise places.error((), f"no valid YAML: character {error.character!r} at position {error.position}") from error
    except RecursionError as error:
        raise places.error((), "no valid YAML: nested too deeply") from error
    except ValueError as error:
        raise places.error((), f"no valid YAML: {error}") from error


def _value(node: yaml.Node, loader: _Loader, path: KeyPath, places: _Places) -> object:
    """Return what a node holds, with every key as text, and note the line of every value."""
    if path:
        places.add_line(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_value(each, loader, (*path, index), places) for index, each in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        mapping: dict[str, object] = {}
        for key, each in node.value:
            at = (*path, str(key.value))
            places.add_line(at, key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                raise places.error(at, f"a key of {_dotted(path) or 'the scenario'} must be a word")
            if key.value in mapping:
                raise places.error(at, f"duplicate key {_dotted(at)}")
            mapping[key.value] = _value(each, loader, at, places)
            places.add_line(at, key.start_mark.line + 1)
        return mapping
    if isinstance(node, yaml.ScalarNode) and node.tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str"):
        return loader.construct_object(node)
    raise places.error(path, f"no valid YAML: the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is not allowed")


# Words


def _nearest(word: str, known: Iterable[str], *, listed: bool = True) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known: {', '.join(known) or 'none'}" if listed else ""


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")
