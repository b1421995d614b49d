"""The baseline arms compute the model that they are compared in."""

from __future__ import annotations

import sys

import pytest

from novel_actors.validation import bare, peers
from novel_actors.validation.harness import Arm, Measurement

AGENTS = 4_000
TICKS = 25


@pytest.fixture(scope="module")
def expected() -> float:
    """The Gini coefficient of the model without an engine."""
    result = bare.wealth_columns(AGENTS, TICKS, bare.plain, every_gini=False).result
    assert result is not None
    return result


def test_mesa_simultaneous_is_the_model_of_the_columns(expected: float) -> None:
    measured = peers.mesa_objects(AGENTS, TICKS, "simultaneous")
    assert measured.result == pytest.approx(expected, abs=bare.gini_tolerance(AGENTS))


@pytest.mark.parametrize("activation", ["in order", "shuffled"])
def test_mesa_sequential_is_another_model(activation: str, expected: float) -> None:
    measured = peers.mesa_objects(AGENTS, TICKS, activation)
    assert measured.result is not None
    assert measured.result < expected - bare.gini_tolerance(AGENTS)


def test_mesa_frames_is_the_model_of_the_columns(expected: float) -> None:
    measured = peers.mesa_frames_columns(AGENTS, TICKS)
    assert measured.result == pytest.approx(expected, abs=bare.gini_tolerance(AGENTS))


def test_ambr_with_one_seed_ends_in_the_wealth_of_the_bare_loop() -> None:
    assert peers.ambr_columns(AGENTS, TICKS).digest == bare.wealth_columns(AGENTS, TICKS, bare.tuned, True).digest


def test_an_absent_peer_is_missing_and_excused_only_on_a_newer_python() -> None:
    arms = [Arm("peer", lambda: Measurement(1.0))]
    absent = peers.Peer("nobody", "no_such_module_of_ours")
    assert peers.arms_of(absent, arms) == ([], [absent.missing("peer")])
    assert not absent.missing("peer").excused
    older = peers.Peer("nobody", "no_such_module_of_ours", newest_python=(3, 10))
    assert older.missing("peer").excused
    assert f"Python {sys.version_info[0]}.{sys.version_info[1]}" in older.missing("peer").reason
