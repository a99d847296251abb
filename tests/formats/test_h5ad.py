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
        arguments = [*options[:-1], folder / options[-1]]
        result = run(["embed", "--model", tiny_bundle, cohort.newcomers, *arguments])
        assert result.status == 0, result.stderr
    return folder


def test_its_parts_are_those_of_the_specification(files, cohort):
    with h5py.File(files / "x.h5ad") as h5ad, h5py.File(files / "x.h5") as hdf5:
        assert h5ad.attrs["encoding-type"] == "anndata"
        assert set(h5ad) == {"X", "obs", "var", "uns", "layers", "obsm", "obsp", "varm", "varp"}
        np.testing.assert_array_equal(h5ad["X"], hdf5["embeddings"])
        assert h5ad["obs/_index"].asstr()[:].tolist() == cohort.names
        assert h5ad["var/_index"].asstr()[0] == "e1"
        assert h5ad["uns/genomai/model_name"].asstr()[()] == hdf5.attrs["model_name"] == "tiny"
    assert (files / "x.h5ad").read_bytes()[:8] == (files / "y").read_bytes()[:8]


@pytest.mark.filterwarnings("ignore")
def test_anndata_opens_it(files, cohort):
    anndata = pytest.importorskip("anndata")
    for name in ("x.h5ad", "y"):
        adata = anndata.read_h5ad(files / name)
        assert adata.obs_names.tolist() == cohort.names
        assert adata.X.dtype == np.float32
        assert adata.uns["genomai"]["model_name"] == "tiny"
        assert adata.n_vars == len(adata.var_names)


@pytest.mark.filterwarnings("ignore")
def test_scanpy_works_on_it(files):
    scanpy = pytest.importorskip("scanpy")
    adata = scanpy.read_h5ad(files / "x.h5ad")
    adata = adata[np.isfinite(adata.X).all(axis=1)].copy()
    scanpy.pp.pca(adata, n_comps=2)
    assert adata.obsm["X_pca"].shape == (adata.n_obs, 2)


@pytest.mark.parametrize("option", ["--append", "--resume", "--per-token"])
def test_what_it_cannot_hold_is_refused(option, tiny_bundle, cohort, tmp_path):
    arguments = ["embed", "--model", tiny_bundle, cohort.newcomers, option]
    assert run([*arguments, "-o", tmp_path / "x.h5ad"]).status == 2
    assert not list(tmp_path.iterdir())
