"""Measure in a fresh process: what memory and start-up cost cannot be seen in a process that has done other things."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from novel_actors.config import BENCH
from novel_actors.errors import BenchCheckFailed
from novel_actors.validation.harness import Measurement

# glibc keeps freed arrays for later unless a fixed threshold sends them back: then what is counted is what is alive.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def measure_in_child(*arguments: str) -> Measurement:
    """Run Python with these arguments and return the `Measurement` that it writes as JSON, as `tell_parent` does.

    Raises:
        BenchCheckFailed: The process failed, took too long, or wrote something else.
    """
    shown = " ".join(arguments)
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=BENCH.child_s_max,
            env=os.environ | ENVIRONMENT,
        )
        return msgspec.json.decode(done.stdout, type=Measurement)
    except subprocess.CalledProcessError as error:
        raise BenchCheckFailed(f"python {shown} ended with {error.returncode}:\n{error.stderr}") from error
    except (subprocess.TimeoutExpired, msgspec.DecodeError) as error:
        raise BenchCheckFailed(f"python {shown}: {error}") from error


def tell_parent(measurement: Measurement) -> None:
    """Write a measurement for `measure_in_child`."""
    sys.stdout.write(msgspec.json.encode(measurement).decode())
