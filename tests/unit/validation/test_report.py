from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from novel_actors.config import BenchSettings
from novel_actors.validation.harness import Arm, Measurement, Missing, Target, Unit, Workload, WorkloadReport, measure
from novel_actors.validation.report import Environment, amount, print_report, version_of, write_json, write_markdown


@pytest.fixture
def report() -> WorkloadReport:
    workload = Workload(
        name="race",
        title="A race",
        unit="s",
        arms=[Arm("hare", lambda: Measurement(0.5, "d" * 64, 0.25)), Arm("tortoise", lambda: Measurement(2.0))],
        targets=[Target("hare", "faster", 3.0, "tortoise"), Target("hare", "faster", 5.0, "tortoise")],
        missing=[Missing("snail", "still on its way", excused=True)],
        work=1_000_000,
        work_unit="steps",
    )
    return measure(workload, BenchSettings(rounds=2, warmups=0), lambda arm: None)


def test_table_shows_arms_targets_and_the_missing(report: WorkloadReport) -> None:
    console = Console(width=160)
    with console.capture() as captured:
        print_report(console, report)
    text = captured.get()
    assert "500 ms" in text
    assert "2 M steps/s" in text
    assert "dddddddddddd" in text
    assert "not measured: still on its way" in text
    assert [line.split()[-2] for line in text.splitlines() if "speed of hare" in line] == ["reached", "missed"]


def test_json_holds_every_value_and_where_it_was_measured(report: WorkloadReport, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "race.json"
    write_json(path, "race", True, Environment.read(), [report])
    document = json.loads(path.read_text())
    assert document["schema"] == "novel_actors.bench/1"
    assert document["small"] is True
    (workload,) = document["workloads"]
    assert workload["arms"][0]["values"] == [0.5, 0.5]
    assert [target["reached"] for target in workload["targets"]] == [True, False]
    assert workload["sound"] is True
    environment = document["environment"]
    assert environment["cores"] >= 1
    assert environment["versions"]["numpy"] == version_of("numpy")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert environment["commit"].rstrip("+") == head.stdout.strip()
    assert [file.name for file in path.parent.iterdir()] == ["race.json"]


def test_markdown_has_a_row_for_each_arm_and_target(report: WorkloadReport, tmp_path: Path) -> None:
    write_markdown(tmp_path / "race.md", Environment.read(), [report])
    lines = (tmp_path / "race.md").read_text().splitlines()
    assert "| hare | 500 ms | 500 ms to 500 ms | 2 M steps/s |" in lines
    assert "| snail | not measured: still on its way | | |" in lines
    assert "| speed of hare / tortoise | 4 x | 4 x to 4 x | >= 5 x | missed |" in lines


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123456, "s", "12.35 ms"),
        (12.3456, "s", "12.35 s"),
        (123.456, "bytes", "123.5 bytes"),
        (12_345_678.0, "bytes", "12.35 MB"),
    ],
)
def test_amount_fits_its_unit(value: float, unit: Unit, text: str) -> None:
    assert amount(value, unit) == text


def test_version_of_what_is_not_installed_is_empty() -> None:
    assert version_of("no-such-distribution-of-ours") == ""
