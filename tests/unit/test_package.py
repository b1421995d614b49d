import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLOW_TO_IMPORT = {
    "IPython",
    "ambr",
    "ipywidgets",
    "matplotlib",
    "mesa",
    "mesa_frames",
    "pandas",
    "polars",
    "pyarrow",
    "ray",
}


def test_import_leaves_slow_packages_alone() -> None:
    program = f"import sys, novel_actors; print(*({SLOW_TO_IMPORT!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.split() == []


def test_types_ship_with_the_package() -> None:
    assert (ROOT / "novel_actors" / "py.typed").is_file()


def test_constraints_are_releases_by_name() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", line)] == []


def test_every_requirement_is_pinned() -> None:
    pinned = {normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    required = {
        normal(re.split(r"[^A-Za-z0-9._-]", requirement)[0])
        for requirement in importlib.metadata.requires("novel-actors") or []
    }
    assert required - pinned == set()


def normal(name: str) -> str:
    """The name by which the package index knows a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
