from __future__ import annotations

import pytest

from novel_actors.errors import UnknownBench
from novel_actors.validation import bench


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownBench, match=r"no benchmark is named 'speed'; known: columns, objects, .*, all"):
        bench.run_bench("speed", small=True)


@pytest.mark.parametrize("small", [True, False])
def test_all_has_every_workload_once(small: bool) -> None:
    names = [workload.name for workload in bench.workloads_of("all", small)]
    assert sorted(names) == sorted(set(names))
    for family in bench.FAMILIES:
        assert {workload.name for workload in bench.workloads_of(family, small)} <= set(names)
