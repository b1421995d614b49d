from __future__ import annotations

from collections.abc import Callable

import pytest

from novel_actors.config import BenchSettings
from novel_actors.errors import BenchCheckFailed
from novel_actors.validation.harness import (
    Arm,
    Measurement,
    Missing,
    Spread,
    Target,
    Workload,
    WorkloadReport,
    check,
    measure,
)


def arm(name: str, values: list[float], order: list[str] | None = None, **others: str) -> Arm:
    """An arm that costs what it is told, and notes when it ran."""
    left = iter(values)

    def run() -> Measurement:
        if order is not None:
            order.append(name)
        return Measurement(next(left))

    return Arm(name, run, **others)


def returning(name: str, measurements: list[Measurement], **others: str) -> Arm:
    left = iter(measurements)
    return Arm(name, lambda: next(left), **others)


def report_of(
    arms: list[Arm],
    rounds: int = 3,
    warmups: int = 0,
    targets: tuple[Target, ...] = (),
    missing: tuple[Missing, ...] = (),
    tolerance: float = 0.0,
    advance: Callable[[str], None] = lambda arm: None,
) -> WorkloadReport:
    workload = Workload("w", "W", "s", arms, targets, missing, tolerance=tolerance)
    return measure(workload, BenchSettings(rounds=rounds, warmups=warmups), advance)


def test_arms_alternate() -> None:
    order: list[str] = []
    report_of([arm("a", [1.0] * 3, order), arm("b", [1.0] * 3, order)])
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_warmups_are_run_and_dropped() -> None:
    report = report_of([arm("a", [100.0, 1.0, 2.0, 3.0])], warmups=1)
    assert report.arms[0].values == (1.0, 2.0, 3.0)


def test_progress_counts_every_measurement() -> None:
    seen: list[str] = []
    report_of([arm("a", [1.0] * 4), arm("b", [1.0] * 4)], warmups=1, advance=seen.append)
    assert seen == ["a", "b"] * 4


def test_spread_has_the_quartiles_of_the_definition() -> None:
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0, 1.0, 5.0)


def test_spread_of_one_value_is_that_value() -> None:
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 7.0, 7.0)


def test_ratio_is_taken_inside_each_round() -> None:
    # The machine doubles its time each round; the ratio of two arms does not notice.
    target = Target("a", "faster", 3.0, "b")
    (reported,) = report_of([arm("a", [1.0, 2.0, 4.0]), arm("b", [3.0, 6.0, 12.0])], targets=(target,)).targets
    assert reported.spread == Spread(3.0, 3.0, 3.0, 3.0, 3.0)
    assert reported.reached is True


@pytest.mark.parametrize(
    ("form", "arm_value", "baseline", "value", "bound_reached", "bound_missed"),
    [
        ("faster", 2.0, 3.0, 1.5, 1.5, 1.6),
        ("cost", 3.0, 2.0, 1.5, 1.5, 1.4),
        ("excess", 3.0, 2.0, 1.0, 1.0, 0.9),
        ("limit", 3.0, 2.0, 3.0, 3.0, 2.9),
    ],
)
def test_target_compares_as_its_form_says(
    form: str, arm_value: float, baseline: float, value: float, bound_reached: float, bound_missed: float
) -> None:
    assert Target("a", form, bound_reached).value(arm_value, baseline) == value  # type: ignore[arg-type]
    assert Target("a", form, bound_reached).reached_by(value)  # type: ignore[arg-type]
    assert not Target("a", form, bound_missed).reached_by(value)  # type: ignore[arg-type]


def test_a_limit_needs_no_baseline() -> None:
    (reported,) = report_of([arm("a", [0.1, 0.2, 0.3])], targets=(Target("a", "limit", 0.15),)).targets
    assert reported.spread is not None
    assert reported.spread.median == 0.2
    assert reported.reached is False


def test_a_missed_target_is_no_failure() -> None:
    report = report_of([arm("a", [1.0] * 3)], targets=(Target("a", "limit", 0.5),))
    assert report.targets[0].reached is False
    assert report.sound


def test_an_arm_that_raises_is_reported_and_the_others_go_on() -> None:
    def fail() -> Measurement:
        raise ZeroDivisionError("the arm fell off")

    report = report_of([Arm("a", fail), arm("b", [1.0] * 3)], targets=(Target("b", "faster", 1.0, "a"),))
    failed, other = report.arms
    assert "the arm fell off" in failed.failure
    assert failed.spread is None
    assert other.values == (1.0, 1.0, 1.0)
    assert report.targets[0].reached is None
    assert not report.sound


def test_an_arm_that_fails_late_keeps_no_values() -> None:
    report = report_of([arm("a", [1.0, 2.0])], rounds=3)
    assert report.arms[0].values == ()
    assert "StopIteration" in report.arms[0].failure


def test_an_arm_that_changes_its_digest_is_wrong() -> None:
    report = report_of([returning("a", [Measurement(1.0, "x"), Measurement(1.0, "y"), Measurement(1.0, "x")])])
    assert report.complaints == ("a computed 2 different results in 3 rounds",)
    assert not report.sound


def test_arms_of_one_digest_group_must_agree() -> None:
    arms = [
        returning(name, [Measurement(1.0, digest)] * 3, digest_group="engine")
        for name, digest in (("a", "x"), ("b", "y"))
    ]
    assert report_of(arms).complaints == ("the arms of engine have 2 digests, and must have one",)


def test_results_of_one_model_must_agree_and_of_two_models_need_not() -> None:
    def arms(second_model: str) -> list[Arm]:
        return [
            returning("a", [Measurement(1.0, result=0.80)] * 3, model="simultaneous"),
            returning("b", [Measurement(1.0, result=0.64)] * 3, model=second_model),
        ]

    assert report_of(arms("sequential"), tolerance=0.01).complaints == ()
    (complaint,) = report_of(arms("simultaneous"), tolerance=0.01).complaints
    assert "results differ by 0.16" in complaint


@pytest.mark.parametrize(("excused", "sound"), [(True, True), (False, False)])
def test_a_missing_peer_counts_unless_excused(excused: bool, sound: bool) -> None:
    target = Target("a", "faster", 1.0, "peer")
    report = report_of([arm("a", [1.0] * 3)], targets=(target,), missing=(Missing("peer", "not there", excused),))
    assert report.targets[0].reached is None
    assert report.sound is sound


def test_check_refuses_with_its_reason() -> None:
    check(True, "unused")
    with pytest.raises(BenchCheckFailed, match="lost money"):
        check(False, "lost money")
