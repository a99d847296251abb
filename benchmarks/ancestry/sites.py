"""The training individuals at all sites that are there, and kinds of files: which of the sites each has."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.crossvalidation.trials import LABELS, PANEL, VCF
from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import read_labels, read_table
from genomai_cli.population.barcode import letters_to_genotypes, read_barcodes
from genomai_cli.population.panel import GRCH37, GRCH38, Panel

Rows = NDArray[np.int64]
WIDE_VCF, WIDE_PANEL, EXOME = "wide.train.grch37.vcf.gz", "wide.panel.tsv", "exome"
SEED = 11


@dataclass(frozen=True, eq=False)
class Genotypes:
    """Allele copies (N, S) of labelled people at a panel's sites."""

    copies: NDArray[np.int8]
    panel: Panel
    population: Rows
    group: Rows
    populations: list[str]
    groups: list[str]

    @classmethod
    def read(cls, folder: Path) -> "Genotypes":
        """The people in a folder as shared/data/1kgp, at the 967 sites and the wide ones."""
        panel = union(Panel.read(folder / PANEL), wide_panel(folder / WIDE_PANEL))
        barcodes = read_barcodes(open_inputs([folder / VCF, folder / WIDE_VCF]), panel)
        table = read_labels(folder / LABELS)
        labels = [table.column(column) for column in ("population", "superpopulation")]
        letters = [r.sequence.encode() for r in barcodes.records()]
        copies = letters_to_genotypes(
            np.frombuffer(b"".join(letters), np.uint8).reshape(len(letters), -1), panel
        )
        indexed = [
            np.unique([label_of[name] for name in barcodes.names], return_inverse=True)
            for label_of in labels
        ]
        (populations, population), (groups, group) = indexed
        return cls(copies, panel, population, group, populations.tolist(), groups.tolist())

    @property
    def group_of(self) -> Rows:
        """The group of each population."""
        groups = {int(p): int(g) for p, g in zip(self.population, self.group, strict=True)}
        return np.array([groups[number] for number in range(len(self.populations))])

    def folds(self, count: int) -> Rows:
        """Each one's fold, populations spread over all of them."""
        order = np.random.default_rng(SEED).permutation(len(self.copies))
        fold = np.empty(len(order), np.int64)
        by_population = order[np.argsort(self.population[order], kind="stable")]
        fold[by_population] = np.arange(len(order)) % count
        return fold


def wide_panel(file: Path) -> Panel:
    """The wide sites of shared/data as a panel."""
    table = read_table(file)
    chrom, ids, ref, alt = (tuple(table.column(c)) for c in ("chrom", "id", "ref", "alt"))
    positions = {
        build: np.array(table.column(column), np.int64)
        for build, column in ((GRCH37, "pos37"), (GRCH38, "pos38"))
    }
    return Panel(EXOME, chrom, positions, ids, ref, alt, (EXOME,) * len(chrom))


def union(first: Panel, second: Panel) -> Panel:
    """All sites of the first panel, then those that only the second has."""
    known = set(first.index(GRCH37))
    keys = zip(second.chrom, second.positions[GRCH37].tolist(), strict=True)
    new_sites = second.subset([n for n, key in enumerate(keys) if key not in known])
    columns = [
        (*getattr(first, name), *getattr(new_sites, name))
        for name in ("rsid", "ref", "alt", "tags")
    ]
    positions = {
        build: np.concatenate([first.positions[build], new_sites.positions[build]])
        for build in (GRCH37, GRCH38)
    }
    return Panel("union", (*first.chrom, *new_sites.chrom), positions, *columns)


def kinds_of(data: Genotypes) -> dict[str, Rows]:
    """The sites that each kind of file has."""
    tagged = data.panel.by_tag()

    def tagged_any(*tags: str) -> Rows:
        return np.flatnonzero(np.any([tagged[tag] for tag in tags if tag in tagged], axis=0))

    exome = tagged_any(EXOME)
    tenth = np.sort(np.random.default_rng(SEED).permutation(exome)[: len(exome) // 10])
    return {
        "kidd55": tagged_any("kidd55"),
        "aisnp169": tagged_any("kidd55", "seldin128"),
        "snp967": tagged_any("kidd55", "seldin128", "snp805"),
        "exome-tenth": tenth,
        "exome": exome,
    }
