"""Scenario files: what they may say, and the one clear error for everything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from novel_actors.config import RuntimeSettings, StopSettings
from novel_actors.errors import ScenarioError
from novel_actors.simulation.scenario import (
    Scenario,
    known_models,
    load_model,
    load_scenario,
    model_from_file,
    parse_value,
)

MODEL = '''"""Savers and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Lt

import novel_actors as na

if TYPE_CHECKING:
    from nowhere import Unimportable


class Saver(na.Agent):
    wealth: int = 0

    def step(self, tick: na.Tick) -> None:
        self.wealth += 2


def build(
    sim: Unimportable,
    *,
    agents: Annotated[int, Ge(1)] = 10,
    rate: Annotated[float, Ge(0), Lt(1)] = 0.5,
    mode: Literal["calm", "wild"] = "calm",
    pair: tuple[int, int] = (1, 2),
    stop_at: int | None = None,
) -> None:
    sim.add(Saver, count=agents)
    sim.collect("wealth", of=Saver, reduce=["sum"])
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "savers.py").write_text(MODEL)
    return tmp_path


def write(text: str, name: str = "x.yaml") -> str:
    Path(name).write_text(text)
    return name


def error_of(text: str, **overrides: object) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(write(text), {key.replace("__", "."): value for key, value in overrides.items()})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_full_scenario_keeps_every_value(folder: Path) -> None:
    path = write(
        """\
model: savers.py
parameters: {agents: 1_000, rate: 1e-3, mode: wild, pair: [3, 4]}
seed: 42
ticks: 200
runtime: {shards: 2, partitions: 16, checkpoint_every: 10, keep_checkpoints: 5, on_error: isolate}
collect:
  - {name: poor, of: Saver, value: wealth, reduce: [mean, {histogram: [0, 1.5]}], every: 2}
stop: {quiescent: true, wall_time_s: 60}
"""
    )
    scenario = load_scenario(path)
    assert scenario.name == "x"
    assert scenario.parameters == {"agents": 1000, "rate": 0.001, "mode": "wild", "pair": [3, 4], "stop_at": None}
    assert (scenario.seed, scenario.ticks) == (42, 200)
    assert scenario.runtime == RuntimeSettings(2, 16, 10, 5, "isolate")
    assert scenario.stop == StopSettings(quiescent=True, wall_time_s=60.0)
    assert (scenario.collect[0].reduce, scenario.collect[0].every) == (["mean", {"histogram": [0.0, 1.5]}], 2)


def test_a_scenario_needs_only_a_model(folder: Path) -> None:
    scenario = load_scenario(write("model: savers.py\nparameters:\n"))
    assert scenario.parameters["agents"] == 10
    assert scenario.runtime == RuntimeSettings()


def test_the_record_of_a_scenario_survives_json(folder: Path) -> None:
    scenario = load_scenario(
        write(
            "model: savers.py\nseed: 340282366920938463463374607431768211455\n"
            "collect: [{name: a, of: Saver, reduce: [mean]}]"
        )
    )
    assert Scenario.from_record(json.loads(json.dumps(scenario.to_record()))) == scenario


def test_overrides_set_parameters_and_every_other_key(folder: Path) -> None:
    path = write("model: savers.py\nruntime: {shards: 1}\ncollect: [{name: a, of: Saver}]")
    scenario = load_scenario(
        path,
        {
            "agents": 7,
            "parameters.rate": 0.25,
            "runtime.partitions": 8,
            "seed": 3,
            "collect.0.every": 5,
            "stop.quiescent": True,
        },
    )
    assert scenario.parameters["agents"] == 7
    assert scenario.parameters["rate"] == 0.25
    assert (scenario.runtime.shards, scenario.runtime.partitions, scenario.seed) == (1, 8, 3)
    assert scenario.collect[0].every == 5
    assert scenario.stop.quiescent


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: savers.py\nparameters:\n  agnets: 3", "x.yaml:3: unknown key parameters.agnets; did you mean agents?"),
        ("modle: savers.py", "x.yaml:1: unknown key modle; did you mean model?"),
        ("model: savers.py\nruntime: {shard: 2}", "x.yaml:2: unknown key runtime.shard; did you mean shards?"),
        (
            "model: savers.py\ncollect:\n- name: a\n  of: Saver\n  evry: 2",
            "x.yaml:5: unknown key collect.0.evry; did you mean every?",
        ),
        (
            "model: savers.py\n\nparameters: {agents: abc}",
            "x.yaml:3: parameters.agents should be a valid integer, got 'abc'",
        ),
        (
            "model: savers.py\nparameters: {agents: '3'}",
            "x.yaml:2: parameters.agents should be a valid integer, got '3'",
        ),
        (
            "model: savers.py\nparameters: {agents: 2.5}",
            "x.yaml:2: parameters.agents should be a valid integer, got 2.5",
        ),
        (
            "model: savers.py\nparameters: {agents: true}",
            "x.yaml:2: parameters.agents should be a valid integer, got True",
        ),
        ("model: savers.py\nparameters:\n  agents:", "x.yaml:3: parameters.agents should be a valid integer, got None"),
        (
            "model: savers.py\nparameters: {agents: -3}",
            "x.yaml:2: parameters.agents should be greater than or equal to 1, got -3",
        ),
        ("model: savers.py\nparameters: {rate: 1.0}", "x.yaml:2: parameters.rate should be less than 1, got 1.0"),
        (
            "model: savers.py\nparameters: {rate: .nan}",
            "x.yaml:2: parameters.rate should be a valid number, got '.nan'",
        ),
        (
            "model: savers.py\nparameters: {mode: mad}",
            "x.yaml:2: parameters.mode should be 'calm' or 'wild', got 'mad'",
        ),
        (
            "model: savers.py\nparameters:\n  pair:\n  - 1\n  - x",
            "x.yaml:5: parameters.pair.1 should be a valid integer, got 'x'",
        ),
        (
            "model: savers.py\nparameters: 3",
            "x.yaml:2: parameters wants a mapping of agents, rate, mode, pair, stop_at, got 3",
        ),
        ("model: savers.py\nseed: -1", "x.yaml:2: seed should be greater than or equal to 0, got -1"),
        ("model: savers.py\nticks: 1.5", "x.yaml:2: ticks should be a valid integer, got 1.5"),
        ("model: savers.py\nticks: 010", "x.yaml:2: ticks should be a valid integer, got '010'"),
        (
            "model: savers.py\nruntime: {shards: 0}",
            "x.yaml:2: runtime.shards should be greater than or equal to 1, got 0",
        ),
        (
            "model: savers.py\nruntime: {on_error: ignore}",
            "x.yaml:2: runtime.on_error should be 'fail' or 'isolate', got 'ignore'",
        ),
        ("model: savers.py\nstop: {wall_time_s: 0}", "x.yaml:2: stop.wall_time_s should be greater than 0, got 0"),
        ("model: savers.py\ncollect: {name: a}", "x.yaml:2: collect wants a list of collectors, got {'name': 'a'}"),
        ("model: savers.py\ncollect:\n- name: a", "x.yaml:3: collect.0.of is missing"),
        ("model: savers.py\nticks: 1\nticks: 2", "x.yaml:3: duplicate key ticks"),
        ("model: savers.py\nruntime:\n  shards: 1\n  shards: 1", "x.yaml:4: duplicate key runtime.shards"),
        ("model: savers.py\nruntime: {shards: [1}", "x.yaml:2: no valid YAML: "),
        ("model: savers.py\nx: &a 1", "x.yaml:2: no valid YAML: anchors and aliases are not allowed"),
        (
            "model: !!python/name:os.system ''",
            "x.yaml:1: no valid YAML: the tag !!python/name:os.system is not allowed",
        ),
        ("[" * 5000, "x.yaml: no valid YAML: nested too deeply"),
        ("model: \x00", "x.yaml: no valid YAML: "),
        ("- model", "x.yaml: a scenario is a mapping of model, "),
        ("seed: 3", "x.yaml: model wants the name of a model or a .py file; known models: "),
        ("model: [a]", "x.yaml:1: model wants the name of a model or a .py file, got ['a']; known models: "),
        ("", "x.yaml: the file is empty"),
        ("# only a comment\n", "x.yaml: the file is empty"),
        ("model: lost.py", "x.yaml:1: the model file lost.py does not exist beside the scenario"),
        ("model: ../savers.py", "x.yaml:1: the model file ../savers.py is not in the folder of the scenario"),
    ],
)
def test_a_wrong_scenario_gives_one_error_with_its_place(folder: Path, text: str, message: str) -> None:
    assert error_of(text).startswith(message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("agnets", 5, "--set agnets: unknown key parameters.agnets; did you mean agents?"),
        ("runtime.shard", 5, "--set runtime.shard: unknown key runtime.shard; did you mean shards?"),
        ("agents", "many", "--set agents: parameters.agents should be a valid integer, got 'many'"),
        ("agents", float("inf"), "--set agents: parameters.agents wants plain finite values, got inf"),
        ("seed.x", 5, "--set seed.x: seed is 1, it has no x"),
        ("collect.1.every", 5, "--set collect.1.every: collect has 1 items, none is 1"),
    ],
)
def test_a_wrong_override_names_itself(folder: Path, key: str, value: object, message: str) -> None:
    path = write("model: savers.py\nseed: 1\ncollect: [{name: a, of: Saver}]")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path, {key: value})
    assert str(caught.value) == message


def test_an_absolute_model_file_is_refused(folder: Path) -> None:
    assert "is not in the folder of the scenario" in error_of(f"model: {folder / 'savers.py'}")


def test_a_model_file_behind_a_link_out_of_the_folder_is_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "model.py"
    outside.write_text(MODEL)
    (folder / "link.py").symlink_to(outside)
    assert "is not in the folder of the scenario" in error_of("model: link.py")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("agents = 3", "the model bad.py has no function `build(sim, *, ...)`"),
        ("def build(sim, *, n=3): ...", "n of build of the model bad.py must be a keyword with a type: `*, n: int`"),
        (
            "def build(sim, n: int = 3): ...",
            "n of build of the model bad.py must be a keyword with a type: `*, n: int`",
        ),
        ("def build(): ...", "build of the model bad.py must take the simulation as its first argument"),
        (
            "def build(sim, *, n: 'Unknown' = 3): ...",
            "a type in the signature of build of the model bad.py is unknown: ",
        ),
        ("def build(sim, *, n: object() = 3): ...", "parameters.n has a type that a scenario cannot hold"),
        ("def build(sim:", "cannot be loaded: SyntaxError: "),
        (
            "import not_installed_at_all",
            "cannot be loaded: ModuleNotFoundError: No module named 'not_installed_at_all'",
        ),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
    ],
)
def test_a_bad_model_file_gives_one_error(folder: Path, code: str, message: str) -> None:
    (folder / "bad.py").write_text(code)
    error = error_of("model: bad.py\nparameters: {n: 1}" if "n:" in code else "model: bad.py")
    assert error.startswith("x.yaml:")
    assert message in error


def test_a_required_parameter_must_be_given(folder: Path) -> None:
    (folder / "strict.py").write_text("def build(sim, *, n: int): ...")
    assert error_of("model: strict.py\nparameters: {}") == "x.yaml:2: parameters.n is missing"
    assert load_scenario(write("model: strict.py\nparameters: {n: 4}")).parameters == {"n": 4}


def test_an_unknown_model_is_told_the_known_ones(folder: Path) -> None:
    known = known_models()
    assert {"rumour", "wealth"} <= set(known)
    assert (
        error_of("model: rumor")
        == f"x.yaml:1: unknown model rumor; did you mean rumour?; known models: {', '.join(known)}"
    )


@pytest.mark.parametrize("name", known_models())
def test_every_known_model_builds_from_its_defaults_and_says_what_it_is(folder: Path, name: str) -> None:
    assert load_model(name).summary
    sim = load_scenario(write(f"model: {name}")).build()
    assert sim.source == load_scenario("x.yaml").to_record()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("lost.yaml", "lost.yaml: the scenario file cannot be read: No such file"),
        (".", ".: the scenario file cannot be read: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, path: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(message)


def test_a_file_that_is_no_text_or_too_long_is_refused(folder: Path) -> None:
    Path("x.yaml").write_bytes(b"model: \xff")
    with pytest.raises(ScenarioError, match=r"^x.yaml: the file is no UTF-8 text \(byte 7\)$"):
        load_scenario("x.yaml")
    assert "at most 1048576 bytes" in error_of("#" * (1 << 20) + "\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e6", 1e6), ("-3", -3), ("1_000", 1000), (".5", 0.5), ("true", True), ("yes", "yes"), ("null", None),
        ("", None),
        ("[1, a]", [1, "a"]), ("{a: 1}", {"a": 1}), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"), ("'5'", "5"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_json_would_have_it(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_build_makes_the_simulation_that_the_file_describes(folder: Path) -> None:
    path = write(
        "model: savers.py\nticks: 3\nparameters: {agents: 4}\n"
        "collect: [{name: all, of: Saver, value: wealth, reduce: [max]}]"
    )
    scenario = load_scenario(path)
    result = scenario.build().run(ticks=scenario.ticks)
    assert result.frame("wealth")["sum"].to_list() == [0, 8, 16, 24]
    assert result.frame("all")["max"].to_list() == [0, 2, 4, 6]
    assert result.digest == Scenario.from_record(scenario.to_record()).build().run(ticks=3).digest


def test_a_collector_of_an_unknown_class_is_told_the_nearest(folder: Path) -> None:
    scenario = load_scenario(write("model: savers.py\ncollect: [{name: a, of: Savre, reduce: [mean]}]"))
    with pytest.raises(ScenarioError, match=r"unknown agent class Savre; did you mean Saver\?"):
        scenario.build()


def test_an_exception_in_build_is_an_error_of_the_scenario(folder: Path) -> None:
    (folder / "bad.py").write_text("def build(sim, *, n: int = 0):\n    raise ValueError('n must be even')")
    scenario = load_scenario(write("model: bad.py"))
    with pytest.raises(ScenarioError, match=r"^x.yaml: build of the model bad.py raised ValueError: n must be even$"):
        scenario.build()


def test_a_model_file_that_changed_is_refused_before_it_runs(folder: Path) -> None:
    scenario = load_scenario(write("model: savers.py"))
    (folder / "savers.py").write_text("raise SystemExit('this must not run')")
    with pytest.raises(ScenarioError, match=r"savers\.py has changed since the run was started"):
        scenario.build()
    with pytest.raises(ScenarioError, match=r"savers\.py has changed since the run was started"):
        Scenario.from_record(scenario.to_record())
    (folder / "savers.py").unlink()
    with pytest.raises(ScenarioError, match=r"savers\.py cannot be read: No such file"):
        Scenario.from_record(scenario.to_record())


def test_the_same_model_file_gives_the_same_classes(folder: Path) -> None:
    first, second = (model_from_file(folder / "savers.py").build for _ in range(2))
    assert first is second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "names no source or no model"),
        ({"source": 3}, "names no source or no model"),
        ({"model_file_sha256": None}, "names no model file"),
        ({"parameters": {"agents": 0}}, "parameters.agents should be greater than or equal to 1"),
        ({"extra": 0}, "unknown key extra"),
    ],
)
def test_a_damaged_record_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    record = load_scenario(write("model: savers.py")).to_record() | change
    with pytest.raises(ScenarioError, match=message):
        Scenario.from_record(record)
