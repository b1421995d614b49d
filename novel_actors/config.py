"""Every setting: its unit in the name, its bound in the type or the check, its default beside it."""

from __future__ import annotations
