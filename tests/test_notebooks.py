"""The notebooks of docs/notebooks run, from top to bottom, and show what they should."""

import pytest

from tests.support.paths import ROOT

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]

FOLDER = ROOT / "docs" / "notebooks"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.ipynb")))
def test_notebook(name, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.delenv("CAFFEONSPARK_MNIST", raising=False)  # that takes longer
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    lines = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "Traceback" not in lines and "caffeonspark" not in lines  # no line of the library's
    assert len(nbformat.writes(notebook)) < 500_000
    assert any("<progress" in str(output) for output in outputs)


def test_committed_notebooks_show_no_errors():
    nbformat = pytest.importorskip("nbformat")
    for path in FOLDER.glob("*.ipynb"):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert not any(output.output_type == "error" for cell in cells for output in cell.outputs), path
