"""The notebooks of examples/ run from top to bottom, hold no outputs, and are listed."""

import os
import shutil

import pytest
from conftest import REPOSITORY

FOLDER = REPOSITORY / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries that run notebooks
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch, shipped_only):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    for library in ("ipykernel", "pandas", "sklearn"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    import nbformat

    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(REPOSITORY / "examples" / "samples.vcf.gz", tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    nb = nbformat.read(notebook, as_version=4)
    client = nbclient.NotebookClient(
        nb, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs_and_is_listed(notebook):
    text = notebook.read_text()
    assert '"outputs": []' in text
    assert '"output_type"' not in text
    assert '"execution_count": null' in text
    assert f"`{notebook.name}`" in (FOLDER / "README.md").read_text()
