"""Options of the tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make property` try more random models than every test run does."""
    parser.addoption(
        "--models", type=int, default=0, help="try so many random models in every way, not a few in some ways"
    )
    parser.addoption("--first-model", type=int, default=0, help="the seed of the first random model")
