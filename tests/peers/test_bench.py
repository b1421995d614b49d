"""Every benchmark runs, small: each arm does its work and its results are checked; nobody looks at the times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from novel_actors.validation import bench


@pytest.mark.parametrize("name", bench.FAMILIES)
def test_bench_runs_small(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status = bench.run_bench(name, small=True)
    document = json.loads((tmp_path / "build" / "bench" / f"{name}-small.json").read_text())
    assert [arm["failure"] for workload in document["workloads"] for arm in workload["arms"] if arm["failure"]] == []
    assert [complaint for workload in document["workloads"] for complaint in workload["complaints"]] == []
    assert status == 0
