"""The lineages of genomes: the leaves of their tree, each summed up by the shares of its genomes that have a variant.

The share is drawn towards that of the node above, and so on to the root: a few genomes are little evidence by
themselves. The rate of chance, mutations of one genome, is counted from those that no other genome of a lineage has.

Some pipelines leave the reference's base where they cannot call. Such genomes lack what nearly everyone has, and they
are no clade: their reporting style is another one than that of complete genomes. Which variants each style does not
report follows from the lineages of complete genomes.

Shape suffixes: N genomes, M genomes of a block or a style, S sites, V variants, C common variants, K lineages, J nodes
of the tree, E entries, Z reporting styles.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.alphabet import codes_of
from genomai_cli.inputs.samples import TrainingRows
from genomai_cli.mapping.reference import Reference, VariableSites
from genomai_cli.phylogeny.lineage_mixture import MIN_PROBABILITY, LineageNetwork, LineagesConfig
from genomai_cli.phylogeny.variant_clustering import (
    Flags,
    Floats,
    Numbers,
    Tree,
    VariantLists,
    grow_tree,
)
from genomai_cli.phylogeny.variant_network import BASES, GenomeNetwork, VariantTable, known_variants
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.batch import encode_rows

GENOMES_PER_BLOCK = 512


@dataclass(frozen=True, eq=False)
class GenotypeMatrix:
    """Genomes: the ids of their letters (N, S), the variants that they have, and those of which nothing is known."""

    table: VariantTable
    ids: NDArray[np.uint8]
    present: VariantLists
    unknown: VariantLists

    @classmethod
    def of(
        cls, corpus: TrainingRows, table: VariantTable, tokenizer: Tokenizer
    ) -> "GenotypeMatrix":
        """The matrix of the genomes to train on."""
        site_V, letter_V = table.site.numpy(), table.letter.numpy()
        ids, present, unknown = [], [], []
        for letters_MS in corpus.training_blocks(GENOMES_PER_BLOCK):
            ids.append(encode_rows(tokenizer, letters_MS).astype(np.uint8))
            letters_MV = ids[-1][:, site_V]
            present.append(letters_MV == letter_V)
            unknown.append(letters_MV >= BASES)
        return cls(table, np.concatenate(ids), VariantLists.of(present), VariantLists.of(unknown))

    def without(self, genomes_N: Flags, variants_V: Flags) -> "GenotypeMatrix":
        """The same, with nothing known of some variants of some genomes."""
        return GenotypeMatrix(
            self.table,
            self.ids,
            self.present.without(genomes_N, variants_V),
            self.unknown.without(genomes_N, variants_V).joined(genomes_N, variants_V),
        )

    def at(self, rows_M: Numbers) -> "GenotypeMatrix":
        """Some of the genomes."""
        return GenotypeMatrix(
            self.table, self.ids[rows_M], self.present.at(rows_M), self.unknown.at(rows_M)
        )


def blocks(rows: Numbers) -> Iterator[Numbers]:
    """The rows, so many at a time."""
    return (
        rows[start : start + GENOMES_PER_BLOCK] for start in range(0, len(rows), GENOMES_PER_BLOCK)
    )


def variant_table_of(sites: VariableSites, reference: Reference, min_count: int) -> VariantTable:
    """The letters that are not the reference's and that `min_count` genomes have."""
    reference_S = codes_of(reference.letters)[sites.positions]
    counts_SW = sites.counts.copy()
    counts_SW[np.arange(len(sites)), reference_S] += counts_SW.sum(
        axis=1
    )  # the most frequent, then
    counts = torch.from_numpy(counts_SW)
    table = VariantTable(len(sites), int(known_variants(counts, min_count).sum()))
    table.fit(counts, min_count)
    return table


PARENT_WEIGHT = 0.5  # in genomes, of the shares of the node above
PRIVATE_PSEUDOCOUNT = 0.3  # genomes with a variant by chance, added to those counted
# Ratio to the share by chance, and share, at least.
ENTRY_THRESHOLDS = (3.0, 0.01)


@dataclass(frozen=True, eq=False)
class Lineages:
    """The values of a `LineageNetwork`: the `share` of a lineage's genomes that have a variant (E,), that by `chance`
    (V,), how frequent each style and lineage is (Z, K), and the share of carriers `reported` in each style (Z, V)."""

    lineage: Numbers
    variant: Numbers
    share: Floats
    chance: Floats
    frequency: Floats
    reported: Floats
    table: VariantTable

    def sizes(self) -> dict[str, int]:
        """The sizes of the network that holds them."""
        styles, lineages = self.frequency.shape
        return {
            "sites": len(self.table.major),
            "variants": len(self.table.site),
            "lineages": lineages,
            "entries": len(self.lineage),
            "styles": styles,
        }

    def fill(self, network: GenomeNetwork) -> None:
        """Give the network these values."""
        network.table.load_state_dict(self.table.state_dict())
        values = {
            "lineage": self.lineage,
            "variant": self.variant,
            "odds": _logit(self.share),
            "chance": _logit(self.chance),
            "weight": np.log(np.maximum(self.frequency, MIN_PROBABILITY)),
            "reported": _logit(self.reported),
        }
        with torch.no_grad():
            for name, array in values.items():
                getattr(network, name).copy_(torch.from_numpy(array))

    def network(self) -> LineageNetwork:
        """A network of them."""
        network = LineageNetwork(LineagesConfig(**self.sizes()))
        self.fill(network)
        return network.eval().requires_grad_(False)


def summarize_lineages(
    matrix: GenotypeMatrix,
    tree: Tree,
    style_N: Numbers | None = None,
    reported_ZV: Floats | None = None,
) -> Lineages:
    """The lineages that are the leaves of a tree, of genomes of one style or of several."""
    if style_N is None or reported_ZV is None:
        style_N = np.zeros(len(matrix.present), np.int64)
        reported_ZV = np.ones((1, matrix.present.variants))
    nodes, leaves = len(tree.parent), np.unique(tree.leaf)
    present_JV = tree.summed(matrix.present.counts(tree.leaf, nodes))
    known_JV = tree.summed(np.bincount(tree.leaf, minlength=nodes)[:, None].astype(np.float32))
    known_JV = known_JV - tree.summed(matrix.unknown.counts(tree.leaf, nodes))
    private_V = (present_JV[leaves] == 1).sum(axis=0)
    chance_V = (private_V + PRIVATE_PSEUDOCOUNT) / len(matrix.present)
    shares_KV = _shares(tree, present_JV, known_JV)[leaves]
    ratio, min_share = ENTRY_THRESHOLDS
    lineage_E, variant_E = np.nonzero(shares_KV > np.maximum(ratio * chance_V, min_share))
    lineage_N = np.searchsorted(leaves, tree.leaf)
    code_N = style_N * len(leaves) + lineage_N
    members_ZK = np.bincount(code_N, minlength=len(reported_ZV) * len(leaves))
    return Lineages(
        lineage_E,
        variant_E,
        shares_KV[lineage_E, variant_E].astype(np.float64),
        chance_V,
        _frequencies(members_ZK.reshape(len(reported_ZV), -1)),
        reported_ZV,
        matrix.table,
    )


def _frequencies(members_ZK: Numbers) -> Floats:
    """How frequent each style and lineage is: a style half as in the corpus and half as all styles, since the
    styles of future files are unknown; a lineage half as in the style and half as in all genomes."""
    style_Z1 = members_ZK.sum(axis=1, keepdims=True) / members_ZK.sum()
    style_Z1 = (style_Z1 + 1 / len(members_ZK)) / 2
    within_style_ZK = members_ZK / np.maximum(members_ZK.sum(axis=1, keepdims=True), 1)
    overall_K = members_ZK.sum(axis=0) / members_ZK.sum()
    frequency_ZK: Floats = style_Z1 * (within_style_ZK + overall_K) / 2
    return frequency_ZK


def _shares(
    tree: Tree, present_JV: NDArray[np.float32], known_JV: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The share of each node's genomes with each variant (J, V), drawn towards that of the node above."""
    shares_JV = np.empty_like(present_JV)
    shares_JV[0] = (present_JV[0] + 0.01) / (known_JV[0] + 1)
    for node, parent in enumerate(tree.parent[1:].tolist(), start=1):
        shares_JV[node] = (present_JV[node] + PARENT_WEIGHT * shares_JV[parent]) / (
            known_JV[node] + PARENT_WEIGHT
        )
    return shares_JV


def _logit(share: Floats) -> Floats:
    clipped = np.clip(share, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    logit: Floats = np.log(clipped) - np.log1p(-clipped)
    return logit


COMMON_FREQUENCY = 0.9  # a variant that more genomes have shows who lacks it
MIN_LACKING = 2  # of the common variants, for a suspected style
# Relative to that of all genomes; genomes that lack the same variants and are more diverse are no clade.
MIN_RELATIVE_DIVERSITY = 0.5
MIN_STYLE_GENOMES = 200  # of the same pattern
EM_ROUNDS = 3
# Of a variant's carriers: where fewer are reported, a letter of this style is no evidence.
REPORTED_SHARE = 0.2
REPORTING_PSEUDOCOUNT = 2.0  # carriers, all of them reported


def fit_lineages(
    corpus: TrainingRows, table: VariantTable, tokenizer: Tokenizer, min_genomes: int
) -> Lineages:
    """The lineages of the corpus's genomes to train on, of at least `min_genomes` genomes each."""
    matrix = GenotypeMatrix.of(corpus, table, tokenizer)
    everything_V = np.ones(matrix.present.variants, np.bool_)
    style_N = reporting_styles(matrix)
    reported_ZV = np.ones((int(style_N.max()) + 1, matrix.present.variants))
    if len(reported_ZV) > 1:
        complete = matrix.at(np.flatnonzero(style_N == 0))
        lineages = summarize_lineages(
            complete, grow_tree(complete.present, min_genomes, everything_V)
        )
        for style in range(1, len(reported_ZV)):
            members = matrix.at(np.flatnonzero(style_N == style))
            reported_ZV[style] = reported_shares(members, lineages)
            matrix = matrix.without(style_N == style, reported_ZV[style] < REPORTED_SHARE)
    reliable_V: Flags = (reported_ZV >= REPORTED_SHARE).min(axis=0)
    return summarize_lineages(
        matrix, grow_tree(matrix.present, min_genomes, reliable_V), style_N, reported_ZV
    )


def reporting_styles(matrix: GenotypeMatrix) -> Numbers:
    """The style of each genome (N,): 0, complete, or one of those that lack variants which nearly everyone has.

    A clade's genomes are like each other; those that a pipeline has left incomplete are nearly as unlike as all genomes
    are. By that diversity, patterns of missing variants are a pipeline's; genomes that lack more by chance are of the
    same style.
    """
    known_V = len(matrix.present) - matrix.unknown.total()
    common_V = np.flatnonzero(matrix.present.total() > COMMON_FREQUENCY * known_V)
    absent_NC = ~(matrix.present.flags(common_V) | matrix.unknown.flags(common_V))
    patterns, pattern_N = np.unique(absent_NC, axis=0, return_inverse=True)
    pattern_N = pattern_N.reshape(-1)
    min_diversity = MIN_RELATIVE_DIVERSITY * diversity(matrix.present)
    suspects = [
        p
        for p in np.flatnonzero(patterns.sum(axis=1) >= MIN_LACKING)
        if diversity(matrix.present.at(np.flatnonzero(pattern_N == p))) > min_diversity
    ]
    sizes = np.bincount(pattern_N)
    styles = sorted((p for p in suspects if sizes[p] >= MIN_STYLE_GENOMES), key=lambda p: -sizes[p])
    style_of_pattern = np.zeros(len(patterns), np.int64)
    for p in suspects:
        within = [k for k, style in enumerate(styles) if (patterns[p] >= patterns[style]).all()]
        style_of_pattern[p] = within[0] + 1 if within else 0
    style_N: Numbers = style_of_pattern[pattern_N]
    return style_N


def diversity(genomes: VariantLists) -> float:
    """In how many variants two of the genomes differ, on average."""
    share_V = genomes.total() / len(genomes)
    return float((2 * share_V * (1 - share_V)).sum())


def reported_shares(members: GenotypeMatrix, lineages: Lineages) -> Floats:
    """The share of carriers (V,) that the genomes of a style report, given the lineages of complete ones: few or all.

    By rounds of expectation and maximisation: which variants they should have, given what is reported.
    """
    observed_V = members.present.total()
    reported_V = np.ones(len(observed_V))
    for _ in range(EM_ROUNDS):
        current = replace(lineages, reported=reported_V[None])
        genomes_K = _posterior(current.network(), members.ids)[0].sum(axis=1)
        excess_E = genomes_K[lineages.lineage] * (
            lineages.share - lineages.chance[lineages.variant]
        )
        by_lineage_V = np.bincount(lineages.variant, excess_E, len(reported_V))
        expected_V = lineages.chance * len(members.present) + by_lineage_V
        reported_V = (observed_V + REPORTING_PSEUDOCOUNT) / (
            np.maximum(expected_V, observed_V) + REPORTING_PSEUDOCOUNT
        )
    return np.where(reported_V < REPORTED_SHARE, reported_V, 1.0)


@torch.inference_mode()
def _posterior(network: LineageNetwork, ids_NS: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts = [
        network.posterior(torch.from_numpy(ids_NS[rows].astype(np.int64))).numpy()
        for rows in blocks(np.arange(len(ids_NS)))
    ]
    return np.concatenate(parts, axis=2)
