"""Given pairs of a sample and a phenotype record: their similarities, and ranks among all records.

Shape suffixes: N pairs whose sample has a similarity, U records of the pairs, P all records.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import Table, read_table
from genomai_cli.population.alignment.similarity import Aligned
from genomai_cli.population.alignment.tables import order_of

SAMPLE, PHENOTYPE = "sample", "phenotype"


@dataclass(frozen=True)
class Pairs:
    """Samples and phenotypes, pair by pair in the order of the file; `lines` gives the line of each."""

    path: str
    samples: tuple[str, ...]
    phenotypes: tuple[str, ...]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def require_phenotypes(self, known: Container[str], records_path: str) -> None:
        """InputError for the first phenotype that is not among the `known` ones of the file `records_path`."""
        for phenotype, line in zip(self.phenotypes, self.lines, strict=True):
            if phenotype not in known:
                message = f"no phenotype '{phenotype}' in {records_path}"
                raise InputError(message, path=self.path, line=line)

    def require_samples(self, known: Container[str]) -> None:
        """InputError for the first sample that is not in the input."""
        for sample, line in zip(self.samples, self.lines, strict=True):
            if sample not in known:
                raise InputError(f"no sample '{sample}' in the input", path=self.path, line=line)


def read_pairs(path: str | Path) -> Pairs:
    """The pairs in the columns `sample` and `phenotype` of a TSV, as `genomai align` writes it.

    Raises InputError, with the line, for an empty table, a missing name, and a pair that is repeated.
    """
    table = read_table(path)
    samples, phenotypes = (
        tuple(map(str.strip, table.column(name))) for name in (SAMPLE, PHENOTYPE)
    )
    if not len(table):
        raise InputError("a header, but no pairs", path=table.path)
    _check(list(zip(samples, phenotypes, strict=True)), table)
    return Pairs(table.path, samples, phenotypes, table.lines)


def _check(pairs: list[tuple[str, str]], table: Table) -> None:
    seen: dict[tuple[str, str], int] = {}
    for pair, line in zip(pairs, table.lines, strict=True):
        if "" in pair:
            message = f"a row without a {SAMPLE if not pair[0] else PHENOTYPE}"
            raise InputError(message, path=table.path, line=line)
        if pair in seen:
            message = f"the pair of {pair[0]} and {pair[1]} again (first in line {seen[pair]})"
            raise InputError(message, path=table.path, line=line)
        seen[pair] = line


Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairScores:
    """The similarity and the rank of every pair, in order, None where the sample has no usable site.

    For `metrics.resampling`, `matrix` (N, U) holds the similarities of every such pair's sample to the records of all
    pairs, and `partners` (N,) the index of its own among them.
    """

    similarity: list[float | None]
    rank: list[int | None]
    matrix: Array
    partners: NDArray[np.int64]


class PairScorer:
    """Gathers the similarities of the samples in pairs from those of all samples, one after the other.

    InputError, with the line of the pair, for a phenotype that is no record of the table `records_path`.
    """

    def __init__(self, pairs: Pairs, records: Sequence[str], records_path: str) -> None:
        index = {name: number for number, name in enumerate(records)}
        pairs.require_phenotypes(index, records_path)
        self.pairs = pairs
        self._record_indices = sorted({index[name] for name in pairs.phenotypes})
        self._column_of = {
            records[record]: column for column, record in enumerate(self._record_indices)
        }
        self._line_of = dict(zip(reversed(pairs.samples), reversed(pairs.lines), strict=True))
        self._records_of: dict[str, list[int]] = {}
        for sample, phenotype in zip(pairs.samples, pairs.phenotypes, strict=True):
            self._records_of.setdefault(sample, []).append(index[phenotype])
        self._scores_of: dict[str, tuple[Array, NDArray[np.int64]] | None] = {}

    def records_of(self, aligned: Aligned) -> list[int]:
        """The indices of the records that a sample is paired with."""
        return self._records_of.get(aligned.name, [])

    def add(self, aligned: Aligned) -> None:
        """Add a sample; InputError for one that is in pairs and was added before."""
        name = aligned.name
        if name not in self._line_of:
            return
        if name in self._scores_of:
            message = f"sample '{name}' is there twice in the input"
            raise InputError(message, path=self.pairs.path, line=self._line_of[name])
        similarity_P = aligned.similarities
        if similarity_P is None:
            self._scores_of[name] = None
        else:
            rank_P = np.empty(len(similarity_P), np.int64)
            rank_P[order_of(similarity_P)] = np.arange(1, len(similarity_P) + 1)
            self._scores_of[name] = similarity_P[self._record_indices], rank_P[self._record_indices]

    def scores(self) -> PairScores:
        """The scores of the pairs; InputError, with the line, for a pair whose sample was not seen."""
        self.pairs.require_samples(self._scores_of)
        rows, partners = [], []
        similarity: list[float | None] = []
        rank: list[int | None] = []
        for sample, phenotype in zip(self.pairs.samples, self.pairs.phenotypes, strict=True):
            scores, column = self._scores_of[sample], self._column_of[phenotype]
            similarity.append(None if scores is None else float(scores[0][column]))
            rank.append(None if scores is None else int(scores[1][column]))
            if scores is not None:
                rows.append(scores[0])
                partners.append(column)
        matrix = np.array(rows).reshape(len(rows), len(self._record_indices))
        return PairScores(similarity, rank, matrix, np.array(partners, np.int64))
