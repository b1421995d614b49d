"""The notebooks run from top to bottom in a kernel of this Python, warn of nothing, and are kept without outputs."""

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

import novel_actors as na

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
all_notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS != []


@all_notebooks
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert [cell.source for cell in code(notebook) if cell.outputs or cell.execution_count is not None] == []


@all_notebooks
def test_a_notebook_uses_public_names_only(path: Path) -> None:
    tree = ast.parse("\n".join(cell.source.removesuffix(";") for cell in code(read(path))))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert [node.attr for node in attributes if node.attr.startswith("_")] == []
    used = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "na"}
    assert used <= set(na.__all__)
    inside = [module for module in modules if module.startswith("novel_actors.")]
    assert [module for module in inside if not module.startswith("novel_actors.models.")] == []


@all_notebooks
def test_a_notebook_runs_and_warns_of_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_kernel_spec(tmp_path / "kernels" / "this-python")
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    notebook = read(path)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=60, kernel_name="this-python", resources=where).execute()
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
    shown = {kind for output in outputs for kind in output.get("data", ())}
    assert {"text/html", "image/png"} <= shown
