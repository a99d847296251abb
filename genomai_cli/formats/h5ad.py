"""Vectors as AnnData's file, .h5ad, which scanpy and its kin open: a row a record, a column a number of the vector.

Written by h5py to AnnData's specification of what lies on disk (versions as its library 0.10 to 0.12 writes them), so
that the program needs no pandas; the tests open it with anndata.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from genomai_cli.formats.embeddings import Hdf5Reader
from genomai_cli.formats.spooled_hdf5 import new_hdf5

EMPTY_GROUPS = ("layers", "obsm", "obsp", "varm", "varp")  # parts of an AnnData that are empty
PROVENANCE_KEY = "genomai"  # the key of `uns` that says how the vectors were made


def write_h5ad(vectors: Hdf5Reader, target: Path) -> None:
    """The file of the same vectors: X float32 (n, E), obs_names the records', var_names e1 to eE, uns["genomai"]."""
    with new_hdf5(target) as file:
        _set_encoding(file, "anndata", "0.1.0")
        rows = file.create_dataset("X", (vectors.size.rows, vectors.size.width), "float32")
        _set_encoding(rows, "array", "0.2.0")
        start = 0
        for block in vectors.blocks():
            rows[start : start + len(block)] = block
            start += len(block)
        _write_index(file, "obs", [name for name, _ in vectors.records()])
        _write_index(file, "var", [f"e{number}" for number in range(1, vectors.size.width + 1)])
        for name in EMPTY_GROUPS:
            _group(file, name)
        _write_mapping(_group(file, "uns"), PROVENANCE_KEY, vectors.attributes)


def _write_index(file: h5py.File, name: str, index: list[str]) -> None:
    """A data frame that has nothing but its index."""
    frame = file.create_group(name)
    _set_encoding(frame, "dataframe", "0.2.0")
    frame.attrs["_index"] = "_index"
    frame.attrs.create("column-order", [], dtype=h5py.string_dtype())
    names = frame.create_dataset("_index", data=index, dtype=h5py.string_dtype())
    _set_encoding(names, "string-array", "0.2.0")


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    group = parent.create_group(name)
    _set_encoding(group, "dict", "0.1.0")
    return group


def _write_mapping(parent: h5py.Group, name: str, values: Mapping[str, str | int]) -> None:
    group = _group(parent, name)
    for key, value in values.items():
        if isinstance(value, str):
            stored = group.create_dataset(key, data=value, dtype=h5py.string_dtype())
            _set_encoding(stored, "string", "0.2.0")
        else:
            _set_encoding(group.create_dataset(key, data=value), "numeric-scalar", "0.2.0")


def _set_encoding(item: Any, kind: str, version: str) -> None:
    item.attrs["encoding-type"], item.attrs["encoding-version"] = kind, version
