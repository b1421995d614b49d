"""Benchmarks for people (tables on the screen and in Markdown) and for machines (JSON)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from novel_actors.core.clock import SystemClock
from novel_actors.validation.harness import ArmReport, TargetReport, Unit, WorkloadReport

SCHEMA = "novel_actors.bench/1"
VERSIONS_OF = ("novel-actors", "numpy", "pandas", "pyarrow", "lmdb", "mesa", "mesa-frames", "polars", "ambr")


@dataclass(frozen=True, slots=True)
class Environment:
    """Where and with what a benchmark ran; `load_1m` is the machine's load before it, near 0 on a quiet machine."""

    python: str
    system: str
    processor: str
    cores: int
    memory_bytes: int
    load_1m: float
    versions: dict[str, str]
    commit: str
    started: str
    command: str

    @classmethod
    def read(cls) -> Environment:
        """Read the environment of this process."""
        return cls(
            python=platform.python_version(),
            system=platform.platform(),
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            memory_bytes=psutil.virtual_memory().total,
            load_1m=os.getloadavg()[0],
            versions={name: version for name in VERSIONS_OF if (version := version_of(name))},
            commit=_commit(),
            started=datetime.fromtimestamp(SystemClock().wall_s(), UTC).isoformat(timespec="seconds"),
            command=" ".join(["novel-actors", *sys.argv[1:]]),
        )


def version_of(distribution: str) -> str:
    """Return the installed version of a distribution, or an empty string."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def write_json(path: Path, name: str, small: bool, environment: Environment, reports: Sequence[WorkloadReport]) -> None:
    """Write a benchmark to a file, whole or not at all; missing folders are made."""
    document = {
        "schema": SCHEMA,
        "name": name,
        "small": small,
        "environment": asdict(environment),
        "workloads": [asdict(report) | {"sound": report.sound} for report in reports],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def write_markdown(path: Path, environment: Environment, reports: Sequence[WorkloadReport]) -> None:
    """Write what `docs/performance.md` shows of a benchmark."""
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    machine = f"{environment.processor}, {environment.cores} cores, {environment.memory_bytes / 1e9:.0f} GB"
    changed = " with changes" if environment.commit.endswith("+") else ""
    lines = [
        f"{machine}; {environment.system};",
        f"Python {environment.python}; {versions}.",
        f"Commit {environment.commit[:12]}{changed}, {environment.started}; load {environment.load_1m:.2f} before.",
    ]
    for report in reports:
        lines += ["", f"**{report.title}** ({report.rounds} rounds)", ""]
        lines += ["| arm | median | quartiles | rate |", "|---|---:|---:|---:|"]
        lines += [f"| {' | '.join((arm.name, *_arm_cells(arm, report)[:3]))} |" for arm in report.arms]
        lines += [f"| {missing.arm} | not measured: {missing.reason} | | |" for missing in report.missing]
        if report.targets:
            lines += ["", "| target | measured | lowest to highest round | must be | |", "|---|---:|---:|---:|---|"]
            lines += [f"| {' | '.join(_target_cells(target, report.unit))} |" for target in report.targets]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def print_report(console: Console, report: WorkloadReport) -> None:
    """Print the arms of a workload, then its targets, then whatever is wrong."""
    arms = Table(title=report.title, title_justify="left", title_style="bold")
    for heading in ("arm", "median", "quartiles", "rate", "result", "digest"):
        arms.add_column(heading, justify="left" if heading in ("arm", "digest") else "right")
    for arm in report.arms:
        arms.add_row(arm.name, *_arm_cells(arm, report))
    for missing in report.missing:
        arms.add_row(missing.arm, f"not measured: {missing.reason}", "", "", "", "", style="yellow")
    console.print(arms)
    if report.targets:
        targets = Table()
        for heading in ("target", "measured", "lowest to highest round", "must be", ""):
            targets.add_column(heading, justify="left" if heading in ("target", "") else "right")
        for target in report.targets:
            style = {True: "green", False: "red", None: "yellow"}[target.reached]
            targets.add_row(*_target_cells(target, report.unit), style=style)
        console.print(targets)
    for arm in report.arms:
        if arm.failure:
            console.print(f"[red]failed[/red] {arm.name}")
            console.print(arm.failure, markup=False, highlight=False)
    for complaint in report.complaints:
        console.print(f"[red]wrong[/red] {complaint}")


def amount(value: float, unit: Unit) -> str:
    """Return a cost with four significant digits and a unit that fits it."""
    if unit == "s" and value < 1:
        return f"{value * 1e3:.4g} ms"
    if unit == "bytes" and abs(value) >= 1e6:
        return f"{value / 1e6:.4g} MB"
    return f"{value:.4g} {unit}"


def _arm_cells(arm: ArmReport, report: WorkloadReport) -> tuple[str, str, str, str, str]:
    if arm.spread is None:
        return "failed", "", "", "", ""
    rate = ""
    if report.work and report.unit == "s":
        per_second = report.work / arm.spread.median
        rate = f"{per_second / 1e6:.3g} M {report.work_unit}/s"
    quartiles = f"{amount(arm.spread.quartile_low, report.unit)} to {amount(arm.spread.quartile_high, report.unit)}"
    result = "" if arm.result is None else f"{arm.result:.4g}"
    return amount(arm.spread.median, report.unit), quartiles, rate, result, arm.digest[:12]


def _target_cells(report: TargetReport, unit: Unit) -> tuple[str, str, str, str, str]:
    target = report.target

    def shown(value: float) -> str:
        return f"{value:.3g} x" if target.form in ("faster", "cost") else amount(value, unit)

    what = {
        "faster": f"speed of {target.arm} / {target.baseline}",
        "cost": f"cost of {target.arm} / {target.baseline}",
        "excess": f"{target.arm} above {target.baseline}",
        "limit": target.arm,
    }[target.form]
    bound = f"{'>=' if target.form == 'faster' else '<='} {shown(target.bound)}"
    if report.spread is None:
        return what, "not measured", "", bound, "unknown"
    spread = report.spread
    extremes = f"{shown(spread.low)} to {shown(spread.high)}"
    return what, shown(spread.median), extremes, bound, "reached" if report.reached else "missed"


def _processor() -> str:
    """Return the processor's name; Linux keeps it from `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit that this package is imported from, with a `+` when files differ from it; '' outside of git."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
