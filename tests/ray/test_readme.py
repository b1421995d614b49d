"""What README.md shows is run: its Python with what it prints, its files, its command lines; links lead somewhere."""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMAND = Path(sys.executable).with_name("novel-actors")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\S+\.(?:py|yaml))\n")


def programs() -> list[tuple[str, str]]:
    """Each Python block that is no file, and the text block behind it, or nothing."""
    following = [*BLOCKS[1:], ("", "")]
    return [
        (text, after if kind_after == "text" else "")
        for (kind, text), (kind_after, after) in zip(BLOCKS, following, strict=True)
        if kind == "python" and not FILE_NAME.match(text)
    ]


def shell_lines() -> list[str]:
    return [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


def test_every_block_says_what_it_is() -> None:
    assert {kind for kind, _ in BLOCKS} == {"python", "text", "yaml", "sh"}
    assert sum(kind == "text" for kind, _ in BLOCKS) == sum(bool(printed) for _, printed in programs())


def test_python_prints_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for program, expected in programs():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(program, "README.md", "exec"), vars(module))
        assert [line.rstrip() for line in printed.getvalue().splitlines()] == expected.splitlines()


def test_command_lines_run(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for kind, text in BLOCKS:
        named = FILE_NAME.match(text)
        if kind in ("python", "yaml") and named:
            (tmp_path / named[1]).write_text(text)
    for line in shell_lines():
        if line.startswith("novel-actors "):
            words = [str(COMMAND), *shlex.split(line, comments=True)[1:]]
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_other_shell_lines_are_make_targets() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    others = [shlex.split(line, comments=True) for line in shell_lines() if not line.startswith("novel-actors ")]
    assert [words for words in others if words[0] == "make" and not set(words[1:]) <= targets] == []
    assert [words for words in others if words[0] != "make"] == [[".", ".venv/bin/activate"]]


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())]
    assert len(links) > 1
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
