"""The genomes of a corpus as a tree needs them: their letters, which variants each has, and which are not told.

Shape suffixes: N genomes, V variants, S sites, M genomes of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.anchoring.kmers import codes_of
from genomai_cli.anchoring.reference import Reference
from genomai_cli.anchoring.sites import VariableSites
from genomai_cli.nets.profile import BASES, VariantTable, known_variants
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.rows import encode_rows
from genomai_cli.training.genealogy.tree import Flags, Lists, Numbers
from genomai_cli.training.unlabelled.corpus import Corpus

BLOCK = 512


@dataclass(frozen=True, eq=False)
class Census:
    """Genomes: the ids of their letters (N, S), the variants that they have, and those of which nothing is known."""

    table: VariantTable
    ids: NDArray[np.uint8]
    has: Lists
    unknown: Lists

    @classmethod
    def of(cls, corpus: Corpus, table: VariantTable, tokenizer: Tokenizer) -> "Census":
        """The census of the genomes to learn from."""
        site_V, letter_V = table.site.numpy(), table.letter.numpy()
        ids, has, unknown = [], [], []
        for rows in blocks(corpus.learn):
            letters_MS = corpus.windows(rows, np.zeros(len(rows)), corpus.about.sites or 0)
            ids.append(encode_rows(tokenizer, letters_MS).astype(np.uint8))
            letters_MV = ids[-1][:, site_V]
            has.append(letters_MV == letter_V)
            unknown.append(letters_MV >= BASES)
        return cls(table, np.concatenate(ids), Lists.of(has), Lists.of(unknown))

    def without(self, genomes_N: Flags, variants_V: Flags) -> "Census":
        """The same, with nothing known of some variants of some genomes."""
        return Census(
            self.table,
            self.ids,
            self.has.without(genomes_N, variants_V),
            self.unknown.without(genomes_N, variants_V).joined(genomes_N, variants_V),
        )

    def at(self, rows_M: Numbers) -> "Census":
        """Some of the genomes."""
        return Census(self.table, self.ids[rows_M], self.has.at(rows_M), self.unknown.at(rows_M))


def blocks(rows: Numbers) -> Iterator[Numbers]:
    """The rows, so many at a time."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def variants_of(sites: VariableSites, reference: Reference, fewest: int) -> VariantTable:
    """The letters that are not the reference's and that `fewest` genomes have."""
    number_S = codes_of(reference.letters)[sites.positions]
    counts_SW = sites.counts.copy()
    counts_SW[np.arange(len(sites)), number_S] += counts_SW.sum(axis=1)  # the most frequent, then
    counts = torch.from_numpy(counts_SW)
    table = VariantTable(len(sites), int(known_variants(counts, fewest).sum()))
    table.learn(counts, fewest)
    return table
