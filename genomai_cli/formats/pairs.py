"""Pairs of a sample and a phenotype record, as a table gives them."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import Table, read_table

SAMPLE, PHENOTYPE = "sample", "phenotype"


@dataclass(frozen=True)
class Pairs:
    """Samples and phenotypes, pair by pair in the order of the file; `lines` says where each one stands."""

    path: str
    samples: tuple[str, ...]
    phenotypes: tuple[str, ...]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def require_phenotypes(self, known: Container[str], where: str) -> None:
        """InputError for the first phenotype that is none of the `known`, which stand in `where`."""
        for phenotype, line in zip(self.phenotypes, self.lines, strict=True):
            if phenotype not in known:
                message = f"no phenotype '{phenotype}' in {where}"
                raise InputError(message, path=self.path, line=line)

    def require_samples(self, known: Container[str]) -> None:
        """InputError for the first sample that is not in the input."""
        for sample, line in zip(self.samples, self.lines, strict=True):
            if sample not in known:
                raise InputError(f"no sample '{sample}' in the input", path=self.path, line=line)


def read_pairs(path: str | Path) -> Pairs:
    """The pairs in the columns `sample` and `phenotype` of a TSV, as `genomai align` writes it.

    Raises InputError, with the line, for an empty table, a missing name, and a pair that is there twice.
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
