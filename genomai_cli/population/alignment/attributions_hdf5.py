"""Explanations of similarities as HDF5: attributions of sites, and weights of attention.

The layout is that of docs/outputs.md. A row is a sample and the record that it is explained for.

Shape suffixes: n rows, S sites, G genotypes, P phenotype records, L layers, H heads, V tokens of the vocabulary.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.spooled_hdf5 import describe, spooled_hdf5
from genomai_cli.names import printable
from genomai_cli.population.panel import BUILDS, Panel
from genomai_cli.population.phenotypes import PhenotypeTable

FORMAT, FORMAT_VERSION = "genomai explanations", 1
ROWS_PER_CHUNK = 64
MISSING = "."
_PACKED = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
_TEXT = h5py.string_dtype()
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Attention:
    """Weights of the heads that are the same for all samples: of every genotype of a site to the tokens of phenotypes
    (L, H, S, G, V), which are the `vocabulary`, and of every phenotype record to the sites (P, L, H, S)."""

    dna_to_vocabulary: Array
    records_to_sites: Array
    vocabulary: Sequence[str]


@dataclass(frozen=True, eq=False)
class Explanations:
    """Rows: samples, the indices of their records (n,), their similarities (n,), those of a sample without known
    sites (n,), the attributions of the sites (n, S), and how samples attend to the vocabulary (n, H, V)."""

    samples: Sequence[str]
    records: NDArray[np.int64]
    similarities: Array
    baselines: Array
    values: Array
    attention: Array


class MeanAttributions:
    """The mean attributions of the rows of each record; `rows` (P,) counts them."""

    def __init__(self, records: int, sites: int) -> None:
        self.rows = np.zeros(records, np.int64)
        self._sums = np.zeros((records, sites))

    def add(self, explanations: Explanations) -> None:
        """Add these rows."""
        np.add.at(self.rows, explanations.records, 1)
        np.add.at(self._sums, explanations.records, explanations.values)

    def of(self, records: Sequence[int]) -> Array:
        """The mean (S,) over all rows of these records; NaN if there are none."""
        chosen = np.asarray(records, np.int64)
        rows = int(self.rows[chosen].sum())
        total: Array = self._sums[chosen].sum(axis=0)
        return total / rows if rows else np.full_like(total, np.nan)

    def each(self) -> Array:
        """The means (P, S) of all records."""
        with np.errstate(invalid="ignore"):
            means: Array = self._sums / self.rows[:, None]
        return means


class ExplanationFile:
    """A file of explanations, written to `out` when the block ends without an error; HDF5 seeks, `out` need not."""

    def __init__(
        self,
        out: IO[bytes],
        panel: Panel,
        records: PhenotypeTable,
        attention: Attention,
        attributes: Mapping[str, str | int | float],
    ) -> None:
        self._exit_stack = ExitStack()
        self._file = self._exit_stack.enter_context(spooled_hdf5(out))
        describe(self._file, FORMAT, FORMAT_VERSION, attributes)
        self._add_sites(panel)
        self._add_records(records)
        self._add_attention(attention)
        heads, tokens = attention.dna_to_vocabulary.shape[1], len(attention.vocabulary)
        self._row_datasets = [
            self._resizable_dataset("ids", _TEXT),
            self._resizable_dataset("phenotype", np.int32),
            self._resizable_dataset("similarity", np.float64),
            self._resizable_dataset("baseline_similarity", np.float64),
            self._resizable_dataset("attributions", np.float32, len(panel)),
            self._resizable_dataset("attention/sample_to_phenotype", np.float32, heads, tokens),
        ]

    def _add_attention(self, attention: Attention) -> None:
        group = self._file.create_group("attention")
        _add_texts(group, "words", attention.vocabulary)
        by_record = (1, *attention.records_to_sites.shape[1:])
        for name, weights, chunk in (
            ("dna_to_phenotype", attention.dna_to_vocabulary, True),
            ("phenotype_to_dna", attention.records_to_sites, by_record),
        ):
            group.create_dataset(name, data=weights.astype(np.float32), chunks=chunk, **_PACKED)

    def add(self, explanations: Explanations) -> None:
        """The next rows."""
        names = np.array([printable(name) for name in explanations.samples], object)
        parts = (
            names,
            explanations.records,
            explanations.similarities,
            explanations.baselines,
            explanations.values,
            explanations.attention,
        )
        for dataset, part in zip(self._row_datasets, parts, strict=True):
            start = len(dataset)
            dataset.resize(start + len(part), axis=0)
            dataset[start:] = part

    def add_means(self, means: MeanAttributions) -> None:
        """How many rows each record has, and their mean attributions."""
        group = self._file["phenotypes"]
        group.create_dataset("rows", data=means.rows)
        group.create_dataset("attributions", data=means.each().astype(np.float32), **_PACKED)

    def _add_sites(self, panel: Panel) -> None:
        group = self._file.create_group("sites")
        columns = {"chrom": panel.chrom, "rsid": panel.rsid, "ref": panel.ref, "alt": panel.alt}
        for name, values in columns.items():
            _add_texts(group, name, values)
        for build in BUILDS:
            group.create_dataset(f"pos_{build.lower()}", data=panel.positions[build])

    def _add_records(self, records: PhenotypeTable) -> None:
        group = self._file.create_group("phenotypes")
        _add_texts(group, "ids", records.names)
        columns = group.create_group("columns")
        for name, values in records.columns.items():
            _add_texts(columns, name.replace("/", "_"), [v or MISSING for v in values])

    def _resizable_dataset(self, name: str, dtype: Any, *shape: int) -> h5py.Dataset:
        return self._file.create_dataset(
            name,
            (0, *shape),
            dtype,
            maxshape=(None, *shape),
            chunks=(ROWS_PER_CHUNK, *shape),
            **_PACKED,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit_stack.__exit__(kind, error, traceback)


def _add_texts(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    stored = np.array([printable(text) for text in texts], object)
    group.create_dataset(name, data=stored, dtype=_TEXT)
