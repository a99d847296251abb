"""AnnData's file of vectors, opened by anndata and scanpy."""

import h5py
import numpy as np
import pytest
from conftest import run


@pytest.fixture(scope="module")
def files(tiny_bundle, cohort, tmp_path_factory):
    """The vectors of the newcomers, as AnnData by the file's name and by option, and as HDF5."""
    folder = tmp_path_factory.mktemp("vectors")
    for options in (["-o", "x.h5ad"], ["--to", "h5ad", "-o", "y"], ["-o", "x.h5"]):
        words = [*options[:-1], folder / options[-1]]
        result = run(["embed", "--model", tiny_bundle, cohort.newcomers, *words])
        assert result.status == 0, result.stderr
    return folder


def test_its_parts_are_those_of_the_specification(files, cohort):
    with h5py.File(files / "x.h5ad") as made, h5py.File(files / "x.h5") as plain:
        assert made.attrs["encoding-type"] == "anndata"
        assert set(made) == {"X", "obs", "var", "uns", "layers", "obsm", "obsp", "varm", "varp"}
        np.testing.assert_array_equal(made["X"], plain["embeddings"])
        assert made["obs/_index"].asstr()[:].tolist() == cohort.names
        assert made["var/_index"].asstr()[0] == "e1"
        assert made["uns/genomai/model_name"].asstr()[()] == plain.attrs["model_name"] == "tiny"
    assert (files / "x.h5ad").read_bytes()[:8] == (files / "y").read_bytes()[:8]


@pytest.mark.filterwarnings("ignore")
def test_anndata_opens_it(files, cohort):
    anndata = pytest.importorskip("anndata")
    for name in ("x.h5ad", "y"):
        read = anndata.read_h5ad(files / name)
        assert read.obs_names.tolist() == cohort.names
        assert read.X.dtype == np.float32
        assert read.uns["genomai"]["model_name"] == "tiny"
        assert read.n_vars == len(read.var_names)


@pytest.mark.filterwarnings("ignore")
def test_scanpy_works_on_it(files):
    scanpy = pytest.importorskip("scanpy")
    read = scanpy.read_h5ad(files / "x.h5ad")
    read = read[np.isfinite(read.X).all(axis=1)].copy()
    scanpy.pp.pca(read, n_comps=2)
    assert read.obsm["X_pca"].shape == (read.n_obs, 2)


@pytest.mark.parametrize("option", ["--append", "--resume", "--per-token"])
def test_what_it_cannot_hold_is_refused(option, tiny_bundle, cohort, tmp_path):
    words = ["embed", "--model", tiny_bundle, cohort.newcomers, option]
    assert run([*words, "-o", tmp_path / "x.h5ad"]).status == 2
    assert not list(tmp_path.iterdir())
