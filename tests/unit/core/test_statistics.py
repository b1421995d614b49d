from __future__ import annotations

import copy
import math
from fractions import Fraction
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novel_actors.core.statistics import (
    Histogram,
    Moments,
    QuantileHistogram,
    ValueCounts,
    distribution_of,
    merge_distributions,
)
from novel_actors.errors import (
    IncompatibleStatistics,
    InvalidStatisticsRecord,
    NonFiniteValues,
    TooManyDistinctValues,
    UnsuitableValues,
)

int64s = st.integers(-(2**63), 2**63 - 1)
integers = st.one_of(
    st.lists(int64s, max_size=30),
    st.lists(st.integers(-(2**31), 2**31), max_size=30),
    st.lists(st.integers(-5, 50), max_size=60),
)
not_negative = st.one_of(st.lists(st.integers(0, 2**63 - 1), max_size=25), st.lists(st.integers(0, 9), max_size=60))
floats = st.lists(st.floats(-1e100, 1e100, allow_subnormal=False), max_size=60)
positive = st.lists(st.floats(1e-200, 1e200), min_size=1, max_size=60)
quantiles = st.floats(0, 1)


def through_msgpack(record: object) -> object:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(record))


def cut(data: st.DataObject, values: list[int] | list[float], dtype: type[np.generic]) -> list[np.ndarray]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    bounds = [0, *cuts, len(values)]
    return [np.array(values[low:high], dtype=dtype) for low, high in pairwise(bounds)]


def gini_by_definition(values: list[int]) -> float:
    if not sum(values):
        return 0.0
    apart = sum(abs(one - other) for one in values for other in values)
    mean = Fraction(sum(values), len(values))
    return float(apart / (2 * len(values) ** 2 * mean))


# Moments


@given(values=integers, data=st.data())
def test_moments_of_integers_are_exact_however_they_are_cut(values: list[int], data: st.DataObject) -> None:
    parts = [Moments.from_array(part) for part in cut(data, values, np.int64)]
    moments = Moments.merged(data.draw(st.permutations(parts)))
    assert (moments.count, moments.total) == (len(values), sum(values))
    if values:
        assert moments.mean == sum(values) / len(values)
        assert (moments.minimum, moments.maximum) == (min(values), max(values))
    if len(values) > 1:
        mean = Fraction(sum(values), len(values))
        assert moments.variance == float(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


@given(values=floats, data=st.data())
def test_moments_of_floats_agree_with_exact_arithmetic_however_they_are_cut(
    values: list[float], data: st.DataObject
) -> None:
    moments = Moments.merged(Moments.from_array(part) for part in cut(data, values, np.float64))
    assert moments.count == len(values)
    if values:
        scale = max(map(abs, values))
        exact = list(map(Fraction, values))
        mean = sum(exact) / len(exact)
        assert moments.mean == pytest.approx(float(mean), rel=1e-12, abs=1e-12 * scale)
        assert (moments.minimum, moments.maximum) == (min(values), max(values))
        if len(values) > 1:
            variance = float(sum((value - mean) ** 2 for value in exact) / (len(exact) - 1))
            assert moments.variance == pytest.approx(variance, rel=1e-9, abs=1e-22 * scale**2)


def test_variance_survives_a_large_mean() -> None:
    # The textbook formula sum(x**2) - n * mean**2 gives nonsense here.
    values = 1e9 + np.array([4.0, 7.0, 13.0, 16.0])
    merged = Moments.from_array(values[:1]).merge(Moments.from_array(values[1:]))
    assert merged.variance == pytest.approx(30.0, rel=1e-9)


@pytest.mark.parametrize("largest", [2**31, 2**32 - 1, 2**32, 3_037_000_499, 2**62, 2**63 - 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_large_integers_do_not_overflow(largest: int, sign: int) -> None:
    moments = Moments.from_array(np.full(1_000, sign * largest))
    assert (moments.total, moments.squares, moments.variance) == (1_000 * sign * largest, 1_000 * largest**2, 0.0)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.float32, np.float64])
def test_moments_of_any_number_type_and_shape(dtype: type[np.generic]) -> None:
    info = np.finfo(dtype) if np.issubdtype(dtype, np.floating) else np.iinfo(dtype)
    top = 1.5 if isinstance(info, np.finfo) else info.max
    moments = Moments.from_array(np.array([[top, 0], [top, 1]], dtype=dtype)[:, ::-1])
    assert moments.total == 2 * top + 1
    assert (moments.count, moments.minimum, moments.maximum) == (4, 0, top)
    assert isinstance(moments.total, int) == np.issubdtype(dtype, np.integer)


def test_moments_of_booleans_count_the_true_ones() -> None:
    moments = Moments.from_array(np.array([True, False, True, True])[::-1])
    assert (moments.total, moments.mean, moments.minimum, moments.maximum) == (3, 0.75, 0, 1)


def test_moments_of_nothing_are_nan_and_change_nothing() -> None:
    nothing = Moments.from_array(np.array([], dtype=np.float64))
    assert (nothing.count, nothing.total) == (0, 0)
    assert all(map(math.isnan, (nothing.mean, nothing.variance, nothing.minimum, nothing.maximum)))
    something = Moments.from_array(np.array([3, 4]))
    assert something.merge(nothing) == nothing.merge(something) == Moments.merged([something]) == something
    assert math.isnan(Moments.from_array(np.array([1.0])).variance)


def test_moments_of_integers_and_floats_do_not_merge() -> None:
    with pytest.raises(IncompatibleStatistics, match="integers and of floats"):
        Moments.from_array(np.array([1])).merge(Moments.from_array(np.array([1.0])))


@given(values=st.one_of(integers.filter(bool), floats.filter(bool)))
def test_record_of_moments_survives_msgpack(values: list[int] | list[float]) -> None:
    moments = Moments.from_array(np.array(values))
    again = Moments.from_record(through_msgpack(moments.to_record()))
    assert again == moments
    assert type(again.total) is type(moments.total)


# ValueCounts


@given(values=integers, q=quantiles, data=st.data())
def test_counts_are_exact_however_they_are_cut(values: list[int], q: float, data: st.DataObject) -> None:
    parts = [ValueCounts.from_array(part) for part in cut(data, values, np.int64)]
    counts = ValueCounts.merged(data.draw(st.permutations(parts)))
    assert counts.values.tolist() == sorted(set(values))
    assert counts.counts.tolist() == [values.count(value) for value in sorted(set(values))]
    assert counts.count == len(values)
    if values:
        array = np.array(values, dtype=np.int64)
        assert counts.quantile(q) == np.quantile(array, q, method="inverted_cdf")
        assert (counts.quantile(0), counts.quantile(1)) == (min(values), max(values))
    again = ValueCounts.from_record(through_msgpack(counts.to_record()))
    assert again.to_record() == counts.to_record()


@given(values=not_negative.filter(bool))
def test_gini_is_that_of_the_definition(values: list[int]) -> None:
    assert ValueCounts.from_array(np.array(values)).gini() == gini_by_definition(values)


@pytest.mark.parametrize(
    ("values", "gini"), [([7, 7, 7], 0.0), ([0, 0, 0, 1], 0.75), ([1, 3], 0.25), ([0, 0], 0.0), ([5], 0.0)]
)
def test_gini_of_known_cases(values: list[int], gini: float) -> None:
    assert ValueCounts.from_array(np.array(values)).gini() == gini
    assert QuantileHistogram.from_array(np.array(values)).gini() == pytest.approx(gini, abs=0.002)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.uint64])
def test_counts_of_any_integer_type(dtype: type[np.generic]) -> None:
    counts = ValueCounts.from_array(np.array([[1, 0], [1, 1]], dtype=dtype))
    assert (counts.values.tolist(), counts.counts.tolist()) == ([0, 1], [1, 3])


def test_counts_of_nothing_are_nan_and_change_nothing() -> None:
    nothing = ValueCounts.merged([])
    assert nothing.count == 0
    assert math.isnan(nothing.quantile(0.5))
    assert math.isnan(nothing.gini())
    something = ValueCounts.from_array(np.array([4, 2, 4]))
    assert nothing.merge(something).to_record() == something.to_record()


def test_too_many_distinct_values_are_refused_with_both_numbers() -> None:
    with pytest.raises(TooManyDistinctValues, match="keep 3 distinct values, got 4") as refused:
        ValueCounts.from_array(np.arange(4), distinct_max=3)
    assert str(copy.copy(refused.value)) == str(refused.value)
    halves = [ValueCounts.from_array(np.arange(2), distinct_max=3), ValueCounts.from_array(np.arange(2, 4))]
    with pytest.raises(TooManyDistinctValues):
        ValueCounts.merged(halves, distinct_max=3)


def test_counts_refuse_what_they_cannot_hold() -> None:
    with pytest.raises(UnsuitableValues, match="booleans or integers, got float64"):
        ValueCounts.from_array(np.array([1.0]))
    with pytest.raises(UnsuitableValues, match=r"below 2\*\*63, got 9223372036854775808"):
        ValueCounts.from_array(np.array([2**63], dtype=np.uint64))
    with pytest.raises(UnsuitableValues, match="Gini coefficient wants values >= 0, got -3"):
        ValueCounts.from_array(np.array([1, -3])).gini()


# QuantileHistogram

accuracies = st.sampled_from([0.001, 0.01, 0.2])


@given(values=st.one_of(floats.filter(bool), positive), q=quantiles, accuracy=accuracies)
def test_quantiles_are_within_the_relative_accuracy(values: list[float], q: float, accuracy: float) -> None:
    array = np.array(values)
    exact = float(np.quantile(array, q, method="inverted_cdf"))
    estimate = QuantileHistogram.from_array(array, accuracy).quantile(q)
    assert abs(estimate - exact) <= accuracy * abs(exact) * (1 + 1e-9)


@given(
    values=st.one_of(floats, positive), data=st.data(), accuracy=accuracies, bins_max=st.sampled_from([1, 2, 5, 16_384])
)
def test_bins_are_the_same_however_the_values_are_cut(
    values: list[float], data: st.DataObject, accuracy: float, bins_max: int
) -> None:
    whole = QuantileHistogram.from_array(np.array(values), accuracy, bins_max)
    parts = [QuantileHistogram.from_array(part, accuracy, bins_max) for part in cut(data, values, np.float64)]
    merged = QuantileHistogram.merged(data.draw(st.permutations(parts)))
    assert merged.to_record() == whole.to_record()
    assert QuantileHistogram.from_record(through_msgpack(whole.to_record())).to_record() == whole.to_record()
    assert whole.count == len(values)
    assert whole.positions.size <= bins_max


def test_collapsed_bins_keep_high_quantiles_accurate() -> None:
    values = 1.5 ** np.arange(100)
    histogram = QuantileHistogram.from_array(values, bins_max=20)
    assert histogram.is_collapsed
    assert not QuantileHistogram.from_array(values).is_collapsed
    for rank in range(82, 101):
        assert histogram.quantile(rank / 100) == pytest.approx(values[rank - 1], rel=0.001)
    assert histogram.quantile(0) == pytest.approx(values[80], rel=0.001)


@given(values=st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=40), accuracy=accuracies)
def test_gini_of_bins_is_within_its_bound(values: list[float], accuracy: float) -> None:
    array = np.array(values)
    exact = np.abs(array[:, np.newaxis] - array).sum() / (2 * array.size**2 * array.mean())
    estimate = QuantileHistogram.from_array(array, accuracy).gini()
    assert abs(estimate - exact) <= 2 * accuracy / (1 - accuracy) + 1e-12


def test_extreme_floats_have_their_accuracy() -> None:
    for value in (np.finfo(np.float64).max, np.finfo(np.float64).tiny, -np.finfo(np.float64).max):
        assert QuantileHistogram.from_array(np.array([value])).quantile(1) == pytest.approx(value, rel=0.001)
    assert QuantileHistogram.from_array(np.array([0.0, -0.0])).quantile(0.5) == 0.0


def test_histogram_of_nothing_is_nan_and_changes_nothing() -> None:
    nothing = QuantileHistogram.from_array(np.array([]))
    assert math.isnan(nothing.quantile(0.5))
    assert math.isnan(nothing.gini())
    something = QuantileHistogram.from_array(np.array([1.0, 2.0]))
    assert nothing.merge(something).to_record() == something.to_record()


def test_histograms_of_other_form_do_not_merge() -> None:
    one, other = (QuantileHistogram.from_array(np.array([1.0]), accuracy) for accuracy in (0.001, 0.01))
    with pytest.raises(IncompatibleStatistics, match=r"accuracy 0\.001 and 0\.01"):
        one.merge(other)


def test_gini_of_negative_values_is_refused() -> None:
    with pytest.raises(UnsuitableValues, match=r"wants values >= 0, got about -(2\.00|1\.99)"):
        QuantileHistogram.from_array(np.array([1.0, -2.0])).gini()


# Histogram


@given(
    values=st.lists(st.one_of(st.floats(-10, 10), st.integers(-10, 10)), max_size=40),
    edges=st.lists(st.one_of(st.floats(-10, 10), st.integers(-10, 10).map(float)), min_size=2, max_size=6, unique=True),
    data=st.data(),
)
def test_histogram_counts_as_numpy_does_however_values_are_cut(
    values: list[float], edges: list[float], data: st.DataObject
) -> None:
    edges = sorted(edges)
    merged = Histogram.merged([Histogram.from_array(part, edges) for part in cut(data, values, np.float64)])
    assert merged.counts.tolist() == np.histogram(np.array(values), bins=edges)[0].tolist()
    again = Histogram.from_record(through_msgpack(merged.to_record()))
    assert again.to_record() == merged.to_record()


@pytest.mark.parametrize("edges", [[], [1.0], [1.0, 1.0], [2.0, 1.0], [0.0, math.nan], [0.0, math.inf]])
def test_bad_edges_are_refused(edges: list[float]) -> None:
    with pytest.raises(UnsuitableValues, match="at least 2 finite ascending edges"):
        Histogram.from_array(np.array([1.0]), edges)


def test_histograms_with_other_edges_do_not_merge() -> None:
    one, other = (Histogram.from_array(np.array([1.0]), edges) for edges in ([0, 1], [0, 2]))
    with pytest.raises(IncompatibleStatistics, match="edges"):
        one.merge(other)


# Exact where that is possible


@given(data=st.data())
def test_distribution_is_a_function_of_the_values_alone(data: st.DataObject) -> None:
    spread = data.draw(st.sampled_from([100, 70_000]))
    values = np.arange(80_000) % spread
    cuts = sorted(data.draw(st.lists(st.integers(0, 80_000), max_size=3)))
    whole = distribution_of(values)
    merged = merge_distributions(distribution_of(part) for part in np.split(values, cuts))
    assert isinstance(whole, ValueCounts) == (spread == 100)
    assert type(merged) is type(whole)
    assert merged.to_record() == whole.to_record()


def test_distribution_of_floats_is_a_quantile_histogram() -> None:
    assert isinstance(distribution_of(np.array([1.0])), QuantileHistogram)
    assert isinstance(merge_distributions([]), ValueCounts)


# Bad values and records


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_and_counted(bad: float) -> None:
    values = np.array([1.0, bad, 2.0, bad])
    message = "2 of 4 values are NaN or infinite"
    for make in (Moments.from_array, QuantileHistogram.from_array, lambda array: Histogram.from_array(array, [0, 1])):
        with pytest.raises(NonFiniteValues, match=message) as refused:
            make(values)
        assert str(copy.copy(refused.value)) == str(refused.value)


@pytest.mark.parametrize("values", [np.array(["a"]), np.array([1j]), np.array([None])])
def test_values_that_are_no_numbers_are_refused(values: np.ndarray) -> None:
    for make in (
        Moments.from_array,
        ValueCounts.from_array,
        distribution_of,
        lambda array: Histogram.from_array(array, [0, 1]),
    ):
        with pytest.raises(UnsuitableValues, match=str(values.dtype)):
            make(values)


def words(*numbers: int) -> bytes:
    return np.array(numbers, dtype="<i8").tobytes()


@pytest.mark.parametrize(
    ("statistic", "record"),
    [
        (Moments, None),
        (Moments, [1, 2, 3]),
        (Moments, ["1", 2, 3, 4, 5]),
        (Moments, [-1, 2, 3, 4, 5]),
        (Moments, [1, 2.0, 3, 4, 5]),
        (ValueCounts, [words(1), words(1, 2)]),
        (ValueCounts, [b"123", b"123"]),
        (ValueCounts, [words(2, 1), words(1, 1)]),
        (ValueCounts, [words(1, 1), words(1, 1)]),
        (ValueCounts, [words(1), words(0)]),
        (QuantileHistogram, [words(1), words(1), 0.0, 9, False]),
        (QuantileHistogram, [words(1), words(1), 0.01, 0, False]),
        (QuantileHistogram, [words(1, 2), words(1, 1), 0.01, 1, False]),
        (QuantileHistogram, [words(2, 1), words(1, 1), 0.01, 9, False]),
        (Histogram, [[0.0, 1.0], words(1, 2)]),
        (Histogram, [[1.0, 0.0], words(1)]),
        (Histogram, [[0.0, "1"], words(1)]),
        (Histogram, [[0.0, 1.0], words(-1)]),
    ],
)
def test_damaged_record_is_refused(statistic: type[Moments], record: object) -> None:
    with pytest.raises(InvalidStatisticsRecord, match=f"not a record of {statistic.__name__}: "):
        statistic.from_record(record)
