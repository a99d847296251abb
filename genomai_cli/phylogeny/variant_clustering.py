"""A tree of genomes that were inherited without recombination, grown from the root by the variants that divide them.

A node is divided by the variant that predicts all others there best: the one with the largest gain in the likelihood of
independent variants, summed over them, as a decision tree would without anything to predict (the divisive clustering of
Lance and Williams 1968, with the information statistic). No part has fewer genomes than `min_genomes`.

It is grown for every model from its training genomes and is no haplogroup tree: haplogroups are labels like others
(`presets/mito.toml`).

Shape suffixes: N genomes, X their variants one after another, V variants, C candidates, M genomes of a node,
J nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_CANDIDATES = 64  # variants of middling frequency that a node may be divided by
Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class VariantLists:
    """The variants of genomes: those of genome n are `items[starts[n] : starts[n + 1]]`, ascending."""

    starts: Numbers
    items: Numbers
    variants: int

    @classmethod
    def of(cls, blocks: Sequence[Flags]) -> "VariantLists":
        """Blocks of flags (M, V), one after another, as lists."""
        sizes_N = np.concatenate([block.sum(axis=1) for block in blocks])
        items_X = np.concatenate([np.nonzero(block)[1] for block in blocks])
        return cls(np.concatenate([[0], np.cumsum(sizes_N)]), items_X, blocks[0].shape[1])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of_rows(self, rows_M: Numbers) -> tuple[Numbers, Numbers]:
        """The variants of some genomes, one after another, and the index of each one's genome in the rows."""
        sizes_M = self.starts[rows_M + 1] - self.starts[rows_M]
        owner_X = np.repeat(np.arange(len(rows_M)), sizes_M)
        ends_M = np.cumsum(sizes_M)
        within_X = np.arange(len(owner_X)) - np.repeat(ends_M - sizes_M, sizes_M)
        return self.items[self.starts[rows_M][owner_X] + within_X], owner_X

    def at(self, rows_M: Numbers) -> "VariantLists":
        """The lists of some genomes."""
        items_X, owner_X = self.of_rows(rows_M)
        return self._sorted(items_X, owner_X, len(rows_M))

    def without(self, genomes_N: Flags, variants_V: Flags) -> "VariantLists":
        """The lists without some variants of some genomes."""
        items_X, owner_X = self.of_rows(np.arange(len(self)))
        retained_X = ~(genomes_N[owner_X] & variants_V[items_X])
        return self._sorted(items_X[retained_X], owner_X[retained_X], len(self))

    def joined(self, genomes_N: Flags, variants_V: Flags) -> "VariantLists":
        """The lists with further variants added to some genomes."""
        items_X, owner_X = self.of_rows(np.arange(len(self)))
        added, rows = np.flatnonzero(variants_V), np.flatnonzero(genomes_N)
        items_X = np.concatenate([items_X, np.tile(added, len(rows))])
        owner_X = np.concatenate([owner_X, np.repeat(rows, len(added))])
        order_X = np.lexsort((items_X, owner_X))
        return self._sorted(items_X[order_X], owner_X[order_X], len(self))

    def total(self) -> Numbers:
        """How many genomes have each variant (V,)."""
        return np.bincount(self.items, minlength=self.variants)

    def flags(self, variants_C: Numbers) -> Flags:
        """Which genomes have which of some variants (N, C)."""
        column_V = np.full(self.variants, -1)
        column_V[variants_C] = np.arange(len(variants_C))
        items_X, owner_X = self.of_rows(np.arange(len(self)))
        selected_X = column_V[items_X] >= 0
        flags_NC = np.zeros((len(self), len(variants_C)), np.bool_)
        flags_NC[owner_X[selected_X], column_V[items_X[selected_X]]] = True
        return flags_NC

    def _sorted(self, items_X: Numbers, owner_X: Numbers, size: int) -> "VariantLists":
        starts = np.concatenate([[0], np.cumsum(np.bincount(owner_X, minlength=size))])
        return VariantLists(starts, items_X, self.variants)

    def counts(self, group_N: Numbers, groups: int) -> NDArray[np.float32]:
        """How many genomes of each group have each variant (groups, V)."""
        items_X, owner_X = self.of_rows(np.arange(len(self)))
        codes_X = group_N[owner_X] * self.variants + items_X
        size = groups * self.variants
        counted = np.bincount(codes_X, minlength=size).astype(np.float32)
        return counted.reshape(groups, self.variants)


@dataclass(frozen=True, eq=False)
class Tree:
    """`parent` of every node, which comes before it (-1: the root), and the `leaf` node of every genome (N,)."""

    parent: Numbers
    leaf: Numbers

    def summed(self, values_JV: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of the leaves, at their nodes (J, V), with the sum of what lies below at all others."""
        sums_JV = values_JV.copy()
        for node in range(len(self.parent) - 1, 0, -1):
            sums_JV[self.parent[node]] += sums_JV[node]
        return sums_JV


def grow_tree(genomes: VariantLists, min_genomes: int, usable_V: Flags) -> Tree:
    """The tree of the genomes, by the usable variants."""
    parent = [-1]
    leaf_N = np.zeros(len(genomes), np.int64)
    stack = [(0, np.arange(len(genomes)))]
    while stack:
        node, rows_M = stack.pop()
        carrier_M = _best_split(genomes, rows_M, min_genomes, usable_V)
        if carrier_M is None:
            leaf_N[rows_M] = node
            continue
        for part in (rows_M[carrier_M], rows_M[~carrier_M]):
            stack.append((len(parent), part))
            parent.append(node)
    return Tree(np.array(parent), leaf_N)


def _best_split(
    genomes: VariantLists, rows_M: Numbers, min_genomes: int, usable_V: Flags
) -> Flags | None:
    """Which of a node's genomes (M,) have the variant that it is divided by; None for a leaf."""
    items_X, owner_X = genomes.of_rows(rows_M)
    counts_V = np.bincount(items_X, minlength=genomes.variants)
    minor_count_V = np.minimum(counts_V, len(rows_M) - counts_V) * usable_V
    candidates = np.argsort(-minor_count_V, kind="stable")[:MAX_CANDIDATES]
    candidates = candidates[minor_count_V[candidates] >= min_genomes]
    if not len(candidates):
        return None
    number_V = np.cumsum(minor_count_V > 0) - 1  # of those that vary
    varies_X = minor_count_V[items_X] > 0
    varying_X, owner_X = number_V[items_X[varies_X]], owner_X[varies_X]
    carrier_CM = np.zeros((len(candidates), len(rows_M)), np.bool_)
    for carrier_M, number in zip(carrier_CM, number_V[candidates], strict=True):
        carrier_M[owner_X[varying_X == number]] = True
    varying = int(number_V[-1]) + 1
    carriers_CV = np.stack(
        [np.bincount(varying_X[m[owner_X]], minlength=varying) for m in carrier_CM]
    )
    gain_C = _gain(carriers_CV, counts_V[minor_count_V > 0], carrier_CM.sum(axis=1), len(rows_M))
    best_M: Flags = carrier_CM[gain_C.argmax()]
    return best_M


def _gain(carriers_CV: Numbers, counts_V: Numbers, members_C: Numbers, total: int) -> Floats:
    """The gain in the variants' log-likelihood by each division, up to a constant (that of the undivided node)."""
    members_C1 = members_C[:, None]
    log_likelihood_CV = _log_likelihood(carriers_CV, members_C1) + _log_likelihood(
        counts_V - carriers_CV, total - members_C1
    )
    gain_C: Floats = log_likelihood_CV.sum(axis=1)
    return gain_C


def _log_likelihood(counts: Numbers, total: Numbers) -> Floats:
    """The log-likelihood of so many out of a total at the most likely frequency."""
    return _xlogx(counts) + _xlogx(total - counts) - _xlogx(total)


def _xlogx(x: Numbers) -> Floats:
    values: Floats = np.multiply(x, np.log(np.maximum(x, 1)), dtype=np.float64)
    return values
