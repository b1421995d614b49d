from __future__ import annotations

import pytest

from novel_actors.errors import BenchCheckFailed
from novel_actors.validation.child import measure_in_child
from novel_actors.validation.harness import Measurement


def test_child_hands_back_its_measurement() -> None:
    program = (
        "from novel_actors.validation.child import tell_parent; "
        "from novel_actors.validation.harness import Measurement; tell_parent(Measurement(1.5, 'd'))"
    )
    assert measure_in_child("-c", program) == Measurement(1.5, "d")


def test_child_that_raises_is_named_with_its_error() -> None:
    with pytest.raises(BenchCheckFailed, match=r"(?s)ended with 1:.*ValueError: no luck"):
        measure_in_child("-c", "raise ValueError('no luck')")


def test_child_that_says_something_else_is_refused() -> None:
    with pytest.raises(BenchCheckFailed, match="JSON is malformed"):
        measure_in_child("-c", "print('hello')")
