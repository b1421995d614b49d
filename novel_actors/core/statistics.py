"""Statistics of parts that merge into the statistics of the whole.

Each is made from an array, merged with others of its kind, packed into plain values for a frame and unpacked again.
Statistics of integers are exact, so they do not depend on how the values were cut into parts. Sums of floats depend on
the cut and on the order of merging; merge them in partition order. All other statistics of floats count bins, and so do
not depend on either.

NaN and infinity are refused by all with `NonFiniteValues`. Statistics of no values are allowed: they change nothing
that they are merged with, and their mean, variance, quantiles and Gini coefficient are NaN.

BLAS is not used for sums: its order of adding depends on the number of its threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from novel_actors.config import QUANTILE_BINS_MAX, QUANTILE_RELATIVE_ACCURACY, VALUE_COUNTS_MAX
from novel_actors.errors import (
    IncompatibleStatistics,
    InvalidStatisticsRecord,
    NonFiniteValues,
    TooManyDistinctValues,
    UnsuitableValues,
)

Values = npt.NDArray[np.generic]
"""Booleans, integers or floats of any shape; a statistic counts every element."""
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_INT64_END: Final = 2**63
_LOW_32_BITS: Final = 2**32 - 1
_LOG_FLOAT_MAX: Final = math.log(np.finfo(np.float64).max)
_LOG_FLOAT_MIN: Final = math.log(math.ulp(0.0))


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, total, mean, sample variance, minimum and maximum; exact for integers and booleans.

    Totals of floats beyond their range become infinite.

    Attributes:
        count: Number of values.
        total: Their sum: an int for integers, a float for floats.
        squares: For integers the sum of their squares; for floats that of the squared distances from their mean.
        minimum: NaN when there is no value.
        maximum: NaN when there is no value.

    Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """

    count: int
    total: int | float
    squares: int | float
    minimum: int | float
    maximum: int | float

    @classmethod
    def from_array(cls, values: Values) -> Self:
        """Return the moments of all elements.

        Raises:
            NonFiniteValues: A value is NaN or infinite.
            UnsuitableValues: The elements are neither booleans, integers nor floats.
        """
        kind = values.dtype.kind
        if kind == "f":
            return cls._of_floats(values.astype(np.float64, copy=False).ravel())
        if kind == "b":
            return cls._of_integers(values.view(np.uint8).ravel())
        if kind in "iu":
            return cls._of_integers(values.ravel())
        raise UnsuitableValues(f"moments want booleans, integers or floats, got {values.dtype}")

    @classmethod
    def _of_floats(cls, values: FloatArray) -> Self:
        if values.size == 0:
            return cls(0, 0.0, 0.0, math.nan, math.nan)
        # NaN and infinity show in the extremes, so finite values cost no pass of their own.
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise _non_finite(values)
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(values.sum())
            squares = float(np.square(values - total / values.size).sum())
        return cls(values.size, total, squares, low, high)

    @classmethod
    def _of_integers(cls, values: Values) -> Self:
        if values.size == 0:
            return cls(0, 0, 0, math.nan, math.nan)
        low, high = values.min().item(), values.max().item()
        largest = max(abs(low), abs(high))
        if largest >= _INT64_END:
            exact: list[int] = values.tolist()
            return cls(values.size, sum(exact), sum(value * value for value in exact), low, high)
        words = values.astype(np.int64, copy=False)
        return cls(values.size, _exact_total(words, largest), _exact_squares(words, largest), low, high)

    @property
    def mean(self) -> float:
        """The mean; NaN when there is no value."""
        return self.total / self.count if self.count else math.nan

    @property
    def variance(self) -> float:
        """The sample variance (divided by count - 1); NaN below two values."""
        if self.count < 2:
            return math.nan
        if isinstance(self.total, int):
            return (self.count * self.squares - self.total**2) / (self.count * (self.count - 1))
        return self.squares / (self.count - 1)

    def merge(self, other: Self) -> Self:
        """Return the moments of both.

        Raises:
            IncompatibleStatistics: One is of integers, the other of floats.
        """
        if other.count == 0:
            return self
        if self.count == 0:
            return other
        if isinstance(self.total, int) != isinstance(other.total, int):
            raise IncompatibleStatistics("moments of integers and of floats do not merge; convert the values first")
        count = self.count + other.count
        squares = self.squares + other.squares
        if isinstance(self.total, float):
            apart = other.mean - self.mean
            squares += apart * apart * (self.count * other.count / count)
        return type(self)(
            count,
            self.total + other.total,
            squares,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    @classmethod
    def merged(cls, parts: Iterable[Self]) -> Self:
        """Return the moments of all parts, merged in the order given.

        Raises:
            IncompatibleStatistics: Some are of integers, some of floats.
        """
        return reduce(cls.merge, parts, cls(0, 0, 0, math.nan, math.nan))

    def to_record(self) -> tuple[int, int | float | bytes, int | float | bytes, int | float, int | float]:
        """Return (count, total, squares, minimum, maximum); integers too large for msgpack are bytes."""
        return self.count, _packed(self.total), _packed(self.squares), self.minimum, self.maximum

    @classmethod
    def from_record(cls, record: object) -> Self:
        """Return the moments that `to_record` gave.

        Raises:
            InvalidStatisticsRecord: The record is not such a one.
        """
        match record:
            case [
                int(count),
                (int() | float() | bytes()) as total,
                (int() | float() | bytes()) as squares,
                (int() | float()) as minimum,
                (int() | float()) as maximum,
            ] if count >= 0 and isinstance(total, float) == isinstance(squares, float):
                return cls(count, _unpacked(total), _unpacked(squares), minimum, maximum)
        raise InvalidStatisticsRecord("Moments", record)


@dataclass(frozen=True, slots=True, eq=False)
class ValueCounts:
    """How often each integer occurs: exact quantiles and an exact Gini coefficient, in memory of the distinct values.

    Attributes:
        values: (distinct,) int64, ascending.
        counts: (distinct,) int64, each > 0.
    """

    values: IntArray
    counts: IntArray

    @classmethod
    def from_array(cls, values: Values, distinct_max: int = VALUE_COUNTS_MAX) -> Self:
        """Return the counts of all elements.

        Costs time in proportion to their number when the range of values is small against it, else a sort.

        Raises:
            UnsuitableValues: The elements are neither booleans nor integers below 2**63.
            TooManyDistinctValues: They are more than distinct_max different ones.
        """
        return cls._bounded(*_grouped(_as_int64(values)), distinct_max)

    @classmethod
    def merged(cls, parts: Iterable[Self], distinct_max: int = VALUE_COUNTS_MAX) -> Self:
        """Return the counts of all parts together; their order does not matter.

        Raises:
            TooManyDistinctValues: They hold more than distinct_max different values.
        """
        return cls._bounded(*_merged_groups([(part.values, part.counts) for part in parts]), distinct_max)

    @classmethod
    def _bounded(cls, values: IntArray, counts: IntArray, distinct_max: int) -> Self:
        if values.size > distinct_max:
            raise TooManyDistinctValues(values.size, distinct_max)
        return cls(values, counts)

    def merge(self, other: Self) -> Self:
        """Return the counts of both; raises as `merged` does."""
        return self.merged([self, other])

    @property
    def count(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    def quantile(self, q: float) -> int | float:
        """Return the smallest value that at least a part q of all values does not exceed; NaN when there is none.

        This is numpy's method "inverted_cdf".

        Args:
            q: 0 <= q <= 1.
        """
        at = _position_of_quantile(self.counts, q)
        return math.nan if at is None else int(self.values[at])

    def gini(self) -> float:
        """Return sum of abs(x_i - x_j) over all i and j / (2 n**2 mean), exact up to one rounding.

        It is 0 when all values are 0, NaN when there is none.

        Raises:
            UnsuitableValues: A value is negative.
        """
        if self.values.size == 0:
            return math.nan
        if self.values[0] < 0:
            raise UnsuitableValues(f"a Gini coefficient wants values >= 0, got {self.values[0]}")
        count = self.count
        ranks = _rank_weights(self.counts)
        if int(self.values[-1]) * count * count < _INT64_END:
            total = int((self.values * self.counts).sum())
            spread = int((self.values * ranks).sum())
        else:
            values: list[int] = self.values.tolist()
            total = sum(value * times for value, times in zip(values, self.counts.tolist(), strict=True))
            spread = sum(value * rank for value, rank in zip(values, ranks.tolist(), strict=True))
        return spread / (count * total) if total else 0.0

    def to_record(self) -> tuple[bytes, bytes]:
        """Return (values, counts), eight bytes for each."""
        return _int64_bytes(self.values), _int64_bytes(self.counts)

    @classmethod
    def from_record(cls, record: object) -> Self:
        """Return the counts that `to_record` gave.

        Raises:
            InvalidStatisticsRecord: The record is not such a one.
        """
        match record:
            case [bytes(values), bytes(counts)] if len(values) == len(counts) and len(values) % 8 == 0:
                keys, times = _int64_array(values), _int64_array(counts)
                if _are_groups(keys, times):
                    return cls(keys, times)
        raise InvalidStatisticsRecord("ValueCounts", record)


@dataclass(frozen=True, slots=True, eq=False)
class QuantileHistogram:
    """Counts in bins whose bounds grow by a constant factor, so that every quantile has the same relative accuracy.

    A value x > 0 belongs to bin ceil(log(x) / log(g)), g = (1 + accuracy) / (1 - accuracy); negative values have bins
    of their own, and so has 0. Only bins that hold something are kept. When they are too many, the lowest values share
    the lowest bin that is kept: quantiles in it are then too high, all others stay accurate. Any cut of the values into
    parts and any order of merging gives the same bins.

    Attributes:
        positions: (bins,) int64, ascending; in the order of the values they stand for, 0 for the value 0.
        counts: (bins,) int64, each > 0.
        relative_accuracy: For normal floats; those below 2.3e-308 have what their digits allow.
        bins_max: The most bins kept.
        is_collapsed: Whether the lowest bin holds values that lie below it.

    Source: Masson, Rim, Lee 2019, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
    guarantees", Proc. VLDB Endow. 12(12).
    """

    positions: IntArray
    counts: IntArray
    relative_accuracy: float = QUANTILE_RELATIVE_ACCURACY
    bins_max: int = QUANTILE_BINS_MAX
    is_collapsed: bool = False

    def __post_init__(self) -> None:
        assert 1e-6 <= self.relative_accuracy <= 0.5, f"relative accuracy {self.relative_accuracy}"
        assert self.bins_max >= 1, f"bins_max {self.bins_max}"

    @classmethod
    def from_array(
        cls,
        values: Values,
        relative_accuracy: float = QUANTILE_RELATIVE_ACCURACY,
        bins_max: int = QUANTILE_BINS_MAX,
    ) -> Self:
        """Return the histogram of all elements, taken as float64.

        Args:
            values: Booleans, integers or floats.
            relative_accuracy: 1e-6 .. 0.5.
            bins_max: At least 1.

        Raises:
            NonFiniteValues: A value is NaN or infinite.
            UnsuitableValues: The elements are neither booleans, integers nor floats.
        """
        floats = _as_float64(values)
        return cls._collapsed(*_grouped(_positions(floats, relative_accuracy)), relative_accuracy, bins_max)

    @classmethod
    def from_counts(
        cls,
        exact: ValueCounts,
        relative_accuracy: float = QUANTILE_RELATIVE_ACCURACY,
        bins_max: int = QUANTILE_BINS_MAX,
    ) -> Self:
        """Return the histogram of the values that were counted, equal to that of the array they came from."""
        positions = _positions(exact.values.astype(np.float64), relative_accuracy)
        return cls._collapsed(*_merged_groups([(positions, exact.counts)]), relative_accuracy, bins_max)

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Return the histogram of all parts together, at least one; their order does not matter.

        Raises:
            IncompatibleStatistics: They differ in accuracy or bound.
        """
        accuracy, bins_max = parts[0].relative_accuracy, parts[0].bins_max
        for part in parts:
            if (part.relative_accuracy, part.bins_max) != (accuracy, bins_max):
                raise IncompatibleStatistics(
                    f"quantile histograms of accuracy {accuracy} and {part.relative_accuracy}, "
                    f"of {bins_max} and {part.bins_max} bins do not merge"
                )
        groups = _merged_groups([(part.positions, part.counts) for part in parts])
        return cls._collapsed(*groups, accuracy, bins_max, any(part.is_collapsed for part in parts))

    @classmethod
    def _collapsed(
        cls,
        positions: IntArray,
        counts: IntArray,
        relative_accuracy: float,
        bins_max: int,
        is_collapsed: bool = False,
    ) -> Self:
        surplus = positions.size - bins_max
        if surplus > 0:
            lowest = counts[: surplus + 1].sum()
            positions, counts = positions[surplus:], counts[surplus:].copy()
            counts[0] = lowest
        return cls(positions, counts, relative_accuracy, bins_max, is_collapsed or surplus > 0)

    def merge(self, other: Self) -> Self:
        """Return the histogram of both; raises as `merged` does."""
        return self.merged([self, other])

    @property
    def count(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    def values(self) -> FloatArray:
        """Return the (bins,) value that each bin stands for, within the accuracy of all that it counts."""
        log_growth = _log_growth(self.relative_accuracy)
        exponents = (np.abs(self.positions) + _lowest_index(log_growth)) * log_growth
        to_middle = math.log(2) - math.log1p(math.exp(log_growth))
        magnitudes = np.exp(np.minimum(exponents + to_middle, _LOG_FLOAT_MAX))
        return np.sign(self.positions) * magnitudes

    def quantile(self, q: float) -> float:
        """Return a value within the relative accuracy of the exact quantile ("inverted_cdf"); NaN when there is none.

        Args:
            q: 0 <= q <= 1.
        """
        at = _position_of_quantile(self.counts, q)
        return math.nan if at is None else float(self.values()[at])

    def gini(self) -> float:
        """Return the Gini coefficient of the bins, within 2 accuracy / (1 - accuracy) of that of the values.

        It is 0 when all values are 0, NaN when there is none; of no use when `is_collapsed`.

        Raises:
            UnsuitableValues: A value is negative.
        """
        if self.positions.size == 0:
            return math.nan
        values = self.values()
        if self.positions[0] < 0:
            raise UnsuitableValues(f"a Gini coefficient wants values >= 0, got about {values[0]:.6g}")
        if self.positions[-1] == 0:
            return 0.0
        # Relative to the largest, so that no product overflows.
        shares = values / values[-1]
        total = float((shares * self.counts).sum())
        return float((shares * _rank_weights(self.counts)).sum()) / (self.count * total)

    def to_record(self) -> tuple[bytes, bytes, float, int, bool]:
        """Return (positions, counts, relative_accuracy, bins_max, is_collapsed), 16 bytes for each bin."""
        packed = _int64_bytes(self.positions), _int64_bytes(self.counts)
        return *packed, self.relative_accuracy, self.bins_max, self.is_collapsed

    @classmethod
    def from_record(cls, record: object) -> Self:
        """Return the histogram that `to_record` gave.

        Raises:
            InvalidStatisticsRecord: The record is not such a one.
        """
        match record:
            case [bytes(positions), bytes(counts), float(accuracy), int(bins_max), bool(is_collapsed)] if (
                len(positions) == len(counts) <= 8 * bins_max and len(counts) % 8 == 0 and 1e-6 <= accuracy <= 0.5
            ):
                keys, times = _int64_array(positions), _int64_array(counts)
                if bins_max >= 1 and _are_groups(keys, times):
                    return cls(keys, times, accuracy, bins_max, is_collapsed)
        raise InvalidStatisticsRecord("QuantileHistogram", record)


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts of values between fixed edges, as numpy.histogram counts them: the last bin includes its upper edge.

    Values outside the edges are not counted.

    Attributes:
        edges: Finite, ascending, at least 2.
        counts: (len(edges) - 1,) int64.
    """

    edges: tuple[float, ...]
    counts: IntArray

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.edges, self.edges[1:], strict=False))
        if len(self.edges) < 2 or not rising or not all(math.isfinite(edge) for edge in self.edges):
            raise UnsuitableValues(f"histogram wants at least 2 finite ascending edges, got {self.edges!r:.80}")
        assert self.counts.size == len(self.edges) - 1, f"{self.counts.size} counts, {len(self.edges)} edges"

    @classmethod
    def from_array(cls, values: Values, edges: Iterable[float]) -> Self:
        """Return the counts of all elements, taken as float64.

        Raises:
            NonFiniteValues: A value is NaN or infinite.
            UnsuitableValues: The elements are no numbers, or the edges not as above.
        """
        bounds = tuple(float(edge) for edge in edges)
        empty = cls(bounds, np.zeros(max(len(bounds) - 1, 0), dtype=np.int64))
        floats = _as_float64(values)
        if not np.isfinite(floats).all():
            raise _non_finite(floats)
        position = np.searchsorted(np.array(bounds), floats, side="right")
        position[floats == bounds[-1]] -= 1
        counts = np.bincount(position, minlength=len(bounds) + 1)[1:-1]
        return cls(empty.edges, counts.astype(np.int64, copy=False))

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Return the histogram of all parts together, at least one; their order does not matter.

        Raises:
            IncompatibleStatistics: Their edges differ.
        """
        for part in parts:
            if part.edges != parts[0].edges:
                raise IncompatibleStatistics(
                    f"histograms with edges {parts[0].edges!r:.80} and {part.edges!r:.80} do not merge"
                )
        return cls(parts[0].edges, np.sum([part.counts for part in parts], axis=0, dtype=np.int64))

    def merge(self, other: Self) -> Self:
        """Return the histogram of both; raises as `merged` does."""
        return self.merged([self, other])

    def to_record(self) -> tuple[list[float], bytes]:
        """Return (edges, counts)."""
        return list(self.edges), _int64_bytes(self.counts)

    @classmethod
    def from_record(cls, record: object) -> Self:
        """Return the histogram that `to_record` gave.

        Raises:
            InvalidStatisticsRecord: The record is not such a one.
        """
        match record:
            case [[*edges], bytes(packed)] if len(edges) >= 2 and len(packed) == 8 * (len(edges) - 1):
                counts = _int64_array(packed)
                bounds = tuple(edge for edge in edges if isinstance(edge, float))
                if len(bounds) == len(edges) and counts.min() >= 0:
                    try:
                        return cls(bounds, counts)
                    except UnsuitableValues as error:
                        raise InvalidStatisticsRecord("Histogram", record) from error
        raise InvalidStatisticsRecord("Histogram", record)


def distribution_of(values: Values) -> ValueCounts | QuantileHistogram:
    """Return exact counts of integers that have few distinct values, else a quantile histogram.

    Raises:
        NonFiniteValues, UnsuitableValues: As `QuantileHistogram.from_array` does.
    """
    if values.dtype.kind in "biu":
        try:
            return ValueCounts.from_array(values)
        except UnsuitableValues:
            pass
    return QuantileHistogram.from_array(values)


def merge_distributions(parts: Iterable[ValueCounts | QuantileHistogram]) -> ValueCounts | QuantileHistogram:
    """Return the distribution of all parts together: exact if all are and the whole fits, else a quantile histogram.

    Which of the two it is depends on the values alone, never on how they were cut into parts, when each part came from
    `distribution_of`.

    Raises:
        IncompatibleStatistics: Histograms among them are not of the default accuracy and bound.
    """
    exact: list[ValueCounts] = []
    estimates: list[QuantileHistogram] = []
    for part in parts:
        if isinstance(part, ValueCounts):
            exact.append(part)
        else:
            estimates.append(part)
    if not estimates:
        try:
            return ValueCounts.merged(exact)
        except TooManyDistinctValues:
            pass
    return QuantileHistogram.merged([*estimates, *map(QuantileHistogram.from_counts, exact)])


def _non_finite(values: FloatArray) -> NonFiniteValues:
    return NonFiniteValues(int(np.count_nonzero(~np.isfinite(values))), values.size)


def _as_float64(values: Values) -> FloatArray:
    if values.dtype.kind not in "biuf":
        raise UnsuitableValues(f"a histogram wants booleans, integers or floats, got {values.dtype}")
    return values.astype(np.float64, copy=False).ravel()


def _as_int64(values: Values) -> IntArray:
    if values.dtype.kind not in "biu":
        raise UnsuitableValues(f"exact counts want booleans or integers, got {values.dtype}")
    if values.dtype == np.uint64 and values.size and int(values.max()) >= _INT64_END:
        raise UnsuitableValues(f"exact counts want integers below 2**63, got {values.max()}")
    return values.astype(np.int64, copy=False).ravel()


def _exact_total(values: IntArray, largest: int) -> int:
    if largest * values.size < _INT64_END:
        return int(values.sum())
    # Halves of 32 bits: either sum stays below 2**63 for any array that fits in memory.
    return (int((values >> 32).sum()) << 32) + int((values & _LOW_32_BITS).sum())


def _exact_squares(values: IntArray, largest: int) -> int:
    if largest * largest * values.size < _INT64_END:
        # Integers never go through BLAS.
        return int(np.dot(values, values))
    if largest <= _LOW_32_BITS:
        squares = np.square(values.view(np.uint64))
        return (int((squares >> np.uint64(32)).sum()) << 32) + int((squares & np.uint64(_LOW_32_BITS)).sum())
    return sum(value * value for value in values.tolist())


def _grouped(keys: IntArray) -> tuple[IntArray, IntArray]:
    """Return the distinct keys, ascending, and how often each occurs."""
    if keys.size == 0:
        return keys, keys
    low, high = int(keys.min()), int(keys.max())
    if _is_dense(low, high, keys.size):
        occurrences = np.bincount(keys - low)
        present = np.flatnonzero(occurrences)
        return present + low, occurrences[present]
    distinct, occurrences = np.unique(keys, return_counts=True)
    return distinct, occurrences.astype(np.int64, copy=False)


def _merged_groups(groups: Sequence[tuple[IntArray, IntArray]]) -> tuple[IntArray, IntArray]:
    """Return the distinct keys, ascending, and the sum of the counts of each."""
    keys = np.concatenate([keys for keys, _ in groups]) if groups else np.empty(0, dtype=np.int64)
    if keys.size == 0:
        return keys, keys
    counts = np.concatenate([counts for _, counts in groups])
    low, high = int(keys.min()), int(keys.max())
    if _is_dense(low, high, keys.size):
        totals = np.zeros(high - low + 1, dtype=np.int64)
        np.add.at(totals, keys - low, counts)
        present = np.flatnonzero(totals)
        return present + low, totals[present]
    distinct, where = np.unique(keys, return_inverse=True)
    totals = np.zeros(distinct.size, dtype=np.int64)
    np.add.at(totals, where, counts)
    return distinct, totals


def _is_dense(low: int, high: int, size: int) -> bool:
    # A table of the entire range is then cheaper than a sort, and its memory in proportion to the input.
    return high - low < 8 * size + 1024


def _rank_weights(counts: IntArray) -> IntArray:
    """Return w such that sum(w * values), values ascending, is half the sum of abs(x_i - x_j) over all i and j.

    In it a value of rank k (1 .. n) has the weight 2 k - n - 1; this adds the weights of equal values.
    """
    up_to = np.cumsum(counts)
    weights: IntArray = counts * (2 * up_to - counts - up_to[-1])
    return weights


def _position_of_quantile(counts: IntArray, q: float) -> int | None:
    assert 0.0 <= q <= 1.0, f"a quantile is asked for by a number of 0 to 1, not {q}"
    if counts.size == 0:
        return None
    up_to = np.cumsum(counts)
    rank = max(1, math.ceil(q * int(up_to[-1])))
    return int(np.searchsorted(up_to, rank))


def _log_growth(relative_accuracy: float) -> float:
    return 2.0 * math.atanh(relative_accuracy)


def _lowest_index(log_growth: float) -> int:
    """Return an index below that of every float, so that positions of positive values start above 0."""
    return math.floor(_LOG_FLOAT_MIN / log_growth) - 2


def _positions(values: FloatArray, relative_accuracy: float) -> IntArray:
    if not np.isfinite(values).all():
        raise _non_finite(values)
    log_growth = _log_growth(relative_accuracy)
    positions = np.zeros(values.size, dtype=np.int64)
    filled = values != 0.0
    indices = np.ceil(np.log(np.abs(values[filled])) / log_growth).astype(np.int64)
    positions[filled] = np.where(values[filled] > 0.0, 1, -1) * (indices - _lowest_index(log_growth))
    return positions


def _packed(number: int | float) -> int | float | bytes:
    if isinstance(number, float) or -_INT64_END <= number < _INT64_END:
        return number
    return number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)


def _unpacked(number: int | float | bytes) -> int | float:
    return int.from_bytes(number, "little", signed=True) if isinstance(number, bytes) else number


def _int64_bytes(numbers: IntArray) -> bytes:
    return numbers.astype("<i8", copy=False).tobytes()


def _int64_array(packed: bytes) -> IntArray:
    return np.frombuffer(packed, dtype="<i8").astype(np.int64, copy=False)


def _are_groups(keys: IntArray, counts: IntArray) -> bool:
    return bool((keys[1:] > keys[:-1]).all() and (counts > 0).all())
