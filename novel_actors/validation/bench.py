"""`novel-actors bench NAME`: measure, print a table, keep it as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from novel_actors.config import BENCH, BENCH_FOLDER, BENCH_SMALL, BenchSettings
from novel_actors.errors import UnknownBench
from novel_actors.validation.harness import Workload, WorkloadReport, measure
from novel_actors.validation.report import Environment, print_report, write_json, write_markdown

FAMILIES = ("columns", "objects", "checkpoint", "memory", "startup")
"""Each is a module of this package with `workloads(small)`."""

NAMES = (*FAMILIES, "all")


def run_bench(name: str, small: bool = False, json_path: Path | None = None) -> int:
    """Measure the workloads of one family, or of all.

    Args:
        small: Small sizes and few rounds: shows that every arm works, not how fast.
        json_path: Where the JSON goes, and beside it the same as Markdown; `build/bench/<name>.json` when None, for
            small sizes `<name>-small.json`.

    Returns:
        0 when every arm ran and computed what it must; 1 when one failed, was not there, or computed something else. A
        missed target is printed, and is no failure.

    Raises:
        UnknownBench: The name is not one of `NAMES`.
    """
    settings = BENCH_SMALL if small else BENCH
    path = json_path or Path(BENCH_FOLDER) / f"{name}{'-small' if small else ''}.json"
    workloads = workloads_of(name, small)
    environment = Environment.read()
    console = Console()
    console.print(
        f"{environment.processor}, {environment.cores} cores, load {environment.load_1m:.2f}", highlight=False
    )
    reports = []
    for report in _measured(workloads, settings):
        print_report(console, report)
        reports.append(report)
    write_json(path, name, small, environment, reports)
    write_markdown(path.with_suffix(".md"), environment, reports)
    targets = [target for report in reports for target in report.targets]
    reached = sum(target.reached is True for target in targets)
    console.print(f"{reached} of {len(targets)} targets reached; {path}", highlight=False)
    return 0 if all(report.sound for report in reports) else 1


def workloads_of(name: str, small: bool) -> list[Workload]:
    """Return the workloads of a family, each once; its modules are imported now.

    Raises:
        UnknownBench: The name is not one of `NAMES`.
    """
    if name not in NAMES:
        raise UnknownBench(name, NAMES)
    workloads: dict[str, Workload] = {}
    for family in FAMILIES if name == "all" else (name,):
        made: list[Workload] = import_module(f"novel_actors.validation.{family}").workloads(small)
        for workload in made:
            workloads.setdefault(workload.name, workload)
    return list(workloads.values())


def _measured(workloads: list[Workload], settings: BenchSettings) -> Iterator[WorkloadReport]:
    """Measure one workload after another, with a bar on standard error while one is at work."""
    rounds = settings.warmups + settings.rounds
    for workload in workloads:
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        with bar:
            task = bar.add_task(workload.name, total=rounds * len(workload.arms))

            def advance(arm: str) -> None:
                bar.update(task, advance=1, description=f"{workload.name}: {arm}")  # noqa: B023 - called in this turn only

            report = measure(workload, settings, advance)
        yield report
