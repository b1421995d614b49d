"""What README and guide show is run: Python with what it prints, files, command lines; links lead somewhere."""

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
COMMAND = Path(sys.executable).with_name("novel-actors")
PAGES = ["README.md", "docs/guide.md"]
FILE_NAME = re.compile(r"# (\S+\.(?:py|yaml))\n")


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Each block of a page: what it says it is, and its text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


BLOCKS = blocks_of("README.md")


def programs(page: str) -> list[tuple[str, str]]:
    """Each Python block that is no file, and the text block behind it, or nothing."""
    blocks = blocks_of(page)
    following = [*blocks[1:], ("", "")]
    return [
        (text, after if kind_after == "text" else "")
        for (kind, text), (kind_after, after) in zip(blocks, following, strict=True)
        if kind == "python" and not FILE_NAME.match(text)
    ]


def shell_lines() -> list[str]:
    return [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    blocks = blocks_of(page)
    assert {"python", "text"} <= {kind for kind, _ in blocks} <= {"python", "text", "yaml", "sh"}
    assert sum(kind == "text" for kind, _ in blocks) == sum(bool(printed) for _, printed in programs(page))


@pytest.mark.parametrize("page", PAGES)
def test_python_prints_what_the_page_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("shown")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for program, expected in programs(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(program, page, "exec"), vars(module))
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
