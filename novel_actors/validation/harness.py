"""Measure arms side by side.

A shared machine drifts, so two arms measured one after the other compare two moments, not two programs. Here every
round runs every arm once, in turn (A B A B ...), and a ratio is taken inside a round before rounds are summed up: drift
slower than a round divides out. The first rounds warm caches and are dropped. An arm checks what it computed and
returns a digest of it; an arm that computes something else, or something else in each round, has no time to show.
"""

from __future__ import annotations

import gc
import statistics
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from novel_actors.config import BenchSettings
from novel_actors.core.clock import SystemClock
from novel_actors.errors import BenchCheckFailed

CLOCK = SystemClock()

Unit = Literal["s", "us", "bytes"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one arm measured once.

    Attributes:
        value: The cost, in the unit of the workload; less is better.
        digest: A digest of what was computed: equal in every round, and in every arm of the same `Arm.digest_group`.
        result: A number that arms of one model must agree on within `Workload.tolerance`; None where there is none.
    """

    value: float
    digest: str = ""
    result: float | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to do the work.

    Attributes:
        name: Unique in its workload.
        measure: Sets up, does the work once, checks what came out; only the work is in `Measurement.value`.
        model: Arms of one model agree on `Measurement.result`: simultaneous and sequential activation are two models.
        digest_group: Arms of one group have one digest; empty for an arm of its own.
    """

    name: str
    measure: Callable[[], Measurement]
    model: str = ""
    digest_group: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What an arm must reach against another arm of its workload, or by itself.

    Attributes:
        arm: The arm that must reach it.
        form: `faster`: baseline / arm >= bound. `cost`: arm / baseline <= bound. `excess`: arm - baseline <= bound, in
            the unit of the workload. `limit`: arm <= bound, without a baseline.
    """

    arm: str
    form: Literal["faster", "cost", "excess", "limit"]
    bound: float
    baseline: str = ""

    def value(self, arm: float, baseline: float) -> float:
        """Return what is compared with the bound, from the costs of the two arms in one round."""
        match self.form:
            case "faster":
                return baseline / arm
            case "cost":
                return arm / baseline
            case "excess":
                return arm - baseline
            case "limit":
                return arm

    def reached_by(self, value: float) -> bool:
        """Say whether a value is on the right side of the bound."""
        return value >= self.bound if self.form == "faster" else value <= self.bound


@dataclass(frozen=True, slots=True)
class Missing:
    """A peer's arm that could not be measured; `excused` when that peer does not exist for this Python."""

    arm: str
    reason: str
    excused: bool


@dataclass(frozen=True, slots=True)
class Workload:
    """The same work done by several arms.

    Attributes:
        work: Units of work in one measurement, for rates; 0 where a rate means nothing.
        work_unit: What one of them is called.
        tolerance: The largest difference between the results of two arms of one model.
    """

    name: str
    title: str
    unit: Unit
    arms: Sequence[Arm]
    targets: Sequence[Target] = ()
    missing: Sequence[Missing] = ()
    work: int = 0
    work_unit: str = ""
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        assert len(set(names)) == len(names), f"workload {self.name} has two arms of one name: {names}"
        known = {*names, *(missing.arm for missing in self.missing), ""}
        for target in self.targets:
            assert target.arm in known, f"workload {self.name} has a target for an unknown arm {target.arm}"
            assert target.baseline in known, (
                f"workload {self.name} has a target against an unknown arm {target.baseline}"
            )


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, quartiles and extremes of a few values."""

    median: float
    quartile_low: float
    quartile_high: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], values[0], values[0])
        quartile_low, median, quartile_high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, quartile_low, quartile_high, min(values), max(values))


@dataclass(frozen=True, slots=True)
class ArmReport:
    """What an arm measured in all rounds; `failure` is a traceback, and then there is no spread."""

    name: str
    values: tuple[float, ...]
    spread: Spread | None
    digest: str
    result: float | None
    failure: str


@dataclass(frozen=True, slots=True)
class TargetReport:
    """A target and what was measured for it in each round; `reached` is None when an arm of it did not run."""

    target: Target
    spread: Spread | None
    reached: bool | None


@dataclass(frozen=True, slots=True)
class WorkloadReport:
    """A workload as measured; `complaints` are wrong or differing results."""

    name: str
    title: str
    unit: Unit
    work: int
    work_unit: str
    rounds: int
    arms: tuple[ArmReport, ...]
    targets: tuple[TargetReport, ...]
    missing: tuple[Missing, ...]
    complaints: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether every arm ran and computed the right thing; whether targets were reached is another question."""
        return (
            not self.complaints
            and not any(arm.failure for arm in self.arms)
            and all(missing.excused for missing in self.missing)
        )


def measure(workload: Workload, settings: BenchSettings, advance: Callable[[str], None]) -> WorkloadReport:
    """Measure all arms of a workload in alternation.

    Args:
        advance: Called after each measurement with the name of the arm, warm-ups included.
    """
    taken: dict[str, list[Measurement]] = {arm.name: [] for arm in workload.arms}
    failures: dict[str, str] = {}
    for number in range(settings.warmups + settings.rounds):
        for arm in workload.arms:
            if arm.name not in failures:
                gc.collect()
                # What other arms have imported is no garbage of this one: its collections need not walk through it.
                gc.freeze()
                try:
                    measurement = arm.measure()
                except Exception:  # noqa: BLE001 - foreign code may raise anything; the other arms still have a story to tell
                    failures[arm.name] = traceback.format_exc()
                else:
                    if number >= settings.warmups:
                        taken[arm.name].append(measurement)
                finally:
                    gc.unfreeze()
            advance(arm.name)
    whole = {name: measurements for name, measurements in taken.items() if name not in failures}
    return WorkloadReport(
        name=workload.name,
        title=workload.title,
        unit=workload.unit,
        work=workload.work,
        work_unit=workload.work_unit,
        rounds=settings.rounds,
        arms=tuple(_arm_report(arm, whole.get(arm.name, []), failures.get(arm.name, "")) for arm in workload.arms),
        targets=tuple(_target_report(target, whole) for target in workload.targets),
        missing=tuple(workload.missing),
        complaints=tuple(_complaints(workload, whole)),
    )


def check(condition: bool, what: str) -> None:
    """Refuse a measurement whose result is wrong.

    Raises:
        BenchCheckFailed: The condition does not hold.
    """
    if not condition:
        raise BenchCheckFailed(what)


def _arm_report(arm: Arm, measurements: Sequence[Measurement], failure: str) -> ArmReport:
    values = tuple(measurement.value for measurement in measurements)
    last = measurements[-1] if measurements else Measurement(0.0)
    return ArmReport(arm.name, values, Spread.of(values) if values else None, last.digest, last.result, failure)


def _target_report(target: Target, taken: dict[str, list[Measurement]]) -> TargetReport:
    arm = taken.get(target.arm)
    baseline = taken.get(target.baseline) if target.baseline else arm
    if not arm or not baseline:
        return TargetReport(target, None, None)
    spread = Spread.of([target.value(ours.value, theirs.value) for ours, theirs in zip(arm, baseline, strict=True)])
    return TargetReport(target, spread, target.reached_by(spread.median))


def _complaints(workload: Workload, taken: dict[str, list[Measurement]]) -> list[str]:
    """Name every arm whose results differ between rounds, or from those of the arms that it must agree with."""
    complaints = []
    groups: dict[str, set[str]] = {}
    results: dict[str, dict[str, float]] = {}
    for arm in workload.arms:
        measurements = taken.get(arm.name, [])
        digests = {measurement.digest for measurement in measurements}
        if len(digests) > 1:
            complaints.append(f"{arm.name} computed {len(digests)} different results in {len(measurements)} rounds")
        if arm.digest_group and measurements:
            groups.setdefault(arm.digest_group, set()).update(digests)
        if measurements and measurements[-1].result is not None:
            results.setdefault(arm.model, {})[arm.name] = measurements[-1].result
    complaints += [
        f"the arms of {group} have {len(digests)} digests, and must have one"
        for group, digests in groups.items()
        if len(digests) > 1
    ]
    for model, named in results.items():
        apart = max(named.values()) - min(named.values())
        if apart > workload.tolerance:
            complaints.append(f"{model}: results differ by {apart:.3g}, allowed {workload.tolerance:.3g}: {named}")
    return complaints
