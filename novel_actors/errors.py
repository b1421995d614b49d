"""Every exception class of the package.

Operating errors (bad input, damaged files, dead actors) derive from `NovelActorsError`; their message names the thing,
the value and the way out. Programmer errors are assertions. Every class hands its fields to `super().__init__`, so that an
error raised inside a hosted actor arrives as itself.
"""

from __future__ import annotations


class NovelActorsError(Exception):
    """Base of every operating error of novel_actors."""
