"""The notebooks, one after the other: the third reads what the second leaves."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted(Path("notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that takes the place of the repository; all that they need of it is a place."""
    folder = tmp_path_factory.mktemp("root")
    (folder / "notebooks").mkdir()
    return folder


def execute(path: Path, root: Path) -> list[nbformat.NotebookNode]:
    """Execute a notebook as it is opened from its folder; return its code cells."""
    notebook = nbformat.read(path, as_version=4)
    # Beneath pytest a kernel would not show what libraries write past Python to the terminal.
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    # The package is found wherever the kernel is started.
    env["PYTHONPATH"] = str(Path.cwd())
    where = {"metadata": {"path": str(root / "notebooks")}}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where)
    client.execute(env=env)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_shows_pictures_and_nothing_else_than_it_should(path: Path, root: Path) -> None:
    cells = execute(path, root)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert "Warning" not in str([output.get("data", {}).get("text/plain") for output in outputs])
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= len(cells) / 2
    assert {own.name for own in root.iterdir()} <= {"notebooks", "runs"}
    assert not any((root / "notebooks").iterdir())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_without_a_model_the_third_says_which_to_run_first(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(Exception, match=r"Run 2-training\.ipynb first"):
        execute(NOTEBOOKS[2], tmp_path)
