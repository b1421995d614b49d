from __future__ import annotations

import numpy as np
import pytest

from novel_actors.validation import bare


def gini_by_definition(values: list[int]) -> float:
    """Half of the mean absolute difference of all pairs, over the mean."""
    array = np.array(values, dtype=float)
    return float(np.abs(array[:, None] - array[None, :]).mean() / (2 * array.mean()))


@pytest.mark.parametrize("values", [[1, 1, 1], [0, 0, 5], [1, 2, 3, 4], [7], [0, 1, 1, 0, 9, 3, 3]])
def test_gini_is_that_of_the_definition(values: list[int]) -> None:
    assert bare.gini(np.array(values)) == pytest.approx(gini_by_definition(values), abs=1e-15)


def test_gini_of_nothing_is_zero() -> None:
    assert bare.gini(np.zeros(4, dtype=np.int64)) == 0.0


def test_both_loops_do_the_same_ticks() -> None:
    tuned, plain = (bare.wealth_columns(500, 20, tick, every_gini=True) for tick in (bare.tuned, bare.plain))
    assert (tuned.digest, tuned.result) == (plain.digest, plain.result)


@pytest.mark.parametrize("tick", [bare.tuned, bare.plain])
def test_a_tick_receives_then_gives(tick: bare.Tick) -> None:
    wealth = np.array([0, 2, 0])
    targets = tick(wealth, np.array([0, 0, 2]), np.random.default_rng(0))
    # With their income they have 2, 2 and 1, and each gives one.
    assert wealth.tolist() == [1, 1, 0]
    assert targets.size == 3
    assert set(targets.tolist()) <= {0, 1, 2}


def test_objects_and_columns_are_one_model() -> None:
    objects = bare.wealth_objects(3_000, 30)
    columns = bare.wealth_columns(3_000, 30, bare.tuned, every_gini=False)
    assert objects.result == pytest.approx(columns.result, abs=0.05)
