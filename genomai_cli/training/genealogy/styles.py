"""What files tell of genomes: complete ones, and those in which a pipeline has left letters of the reference.

Some pipelines leave the reference's letter where they cannot call. Such genomes lack what nearly everyone has, and they
are no clade. Which variants each style does not report follows from the lineages of complete genomes.

Shape suffixes: N genomes, V variants, C common variants, K lineages, E entries, Z styles, M genomes of a style.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.nets.lineages import LineageNetwork
from genomai_cli.nets.profile import VariantTable
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.training.genealogy.census import Census, blocks
from genomai_cli.training.genealogy.lineages import Lineages, summary
from genomai_cli.training.genealogy.tree import Flags, Floats, Lists, Numbers, grow
from genomai_cli.training.unlabelled.corpus import Corpus

COMMON = 0.9  # a variant that more genomes have is telling
TELLING = 2  # to lack so many of them is suspicious
UNLIKE = 0.5  # of the diversity of all genomes: more among those who lack the same is not that of a clade
MANY = 200  # such genomes are a style
ROUNDS = 3
UNREPORTED = (
    0.2  # of a variant's carriers: where fewer are reported, a letter of this style tells nothing
)
BELIEF = 2.0  # carriers that the belief that all of them are reported is worth


def lineages_of(corpus: Corpus, table: VariantTable, tokenizer: Tokenizer, least: int) -> Lineages:
    """The lineages of the corpus's genomes to learn from, of at least `least` genomes each."""
    census = Census.of(corpus, table, tokenizer)
    everything_V = np.ones(census.has.variants, np.bool_)
    style_N = styles_of(census)
    reported_ZV = np.ones((int(style_N.max()) + 1, census.has.variants))
    if len(reported_ZV) > 1:
        complete = census.at(np.flatnonzero(style_N == 0))
        found = summary(complete, grow(complete.has, least, everything_V))
        for style in range(1, len(reported_ZV)):
            members = census.at(np.flatnonzero(style_N == style))
            reported_ZV[style] = reported(members, found)
            census = census.without(style_N == style, reported_ZV[style] < UNREPORTED)
    told_V: Flags = (reported_ZV >= UNREPORTED).min(axis=0)
    return summary(census, grow(census.has, least, told_V), style_N, reported_ZV)


def styles_of(census: Census) -> Numbers:
    """The style of each genome (N,): 0, complete, or one of those that lack variants which nearly everyone has.

    A clade's genomes are like each other; those that a pipeline has left incomplete are nearly as unlike as all genomes
    are. So much tells which lacks are a pipeline's; where it lacks more by chance, the style is the same.
    """
    told_V = len(census.has) - census.unknown.total()
    common_V = np.flatnonzero(census.has.total() > COMMON * told_V)
    lacks_NC = ~(census.has.flags(common_V) | census.unknown.flags(common_V))
    patterns, pattern_N = np.unique(lacks_NC, axis=0, return_inverse=True)
    pattern_N = pattern_N.reshape(-1)
    unlike = UNLIKE * diversity(census.has)
    suspects = [
        p
        for p in np.flatnonzero(patterns.sum(axis=1) >= TELLING)
        if diversity(census.has.at(np.flatnonzero(pattern_N == p))) > unlike
    ]
    sizes = np.bincount(pattern_N)
    kinds = sorted((p for p in suspects if sizes[p] >= MANY), key=lambda p: -sizes[p])
    style_of_pattern = np.zeros(len(patterns), np.int64)
    for p in suspects:
        within = [k for k, kind in enumerate(kinds) if (patterns[p] >= patterns[kind]).all()]
        style_of_pattern[p] = within[0] + 1 if within else 0
    found_N: Numbers = style_of_pattern[pattern_N]
    return found_N


def diversity(genomes: Lists) -> float:
    """In how many variants two of the genomes differ, on average."""
    share_V = genomes.total() / len(genomes)
    return float((2 * share_V * (1 - share_V)).sum())


def reported(members: Census, found: Lineages) -> Floats:
    """The share of carriers (V,) that the genomes of a style report, given the lineages of complete ones: few or all.

    By rounds of expectation and maximisation: which variants they should have, given what is reported.
    """
    got_V = members.has.total()
    reported_V = np.ones(len(got_V))
    for _ in range(ROUNDS):
        now = replace(found, reported=reported_V[None])
        lineage_K = _posterior(now.network(), members.ids)[0].sum(axis=1)
        more_E = lineage_K[found.lineage] * (found.share - found.chance[found.variant])
        by_lineage_V = np.bincount(found.variant, more_E, len(reported_V))
        expected_V = found.chance * len(members.has) + by_lineage_V
        reported_V = (got_V + BELIEF) / (np.maximum(expected_V, got_V) + BELIEF)
    return np.where(reported_V < UNREPORTED, reported_V, 1.0)


@torch.inference_mode()
def _posterior(network: LineageNetwork, ids_NS: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts = [
        network.posterior(torch.from_numpy(ids_NS[rows].astype(np.int64))).numpy()
        for rows in blocks(np.arange(len(ids_NS)))
    ]
    return np.concatenate(parts, axis=2)
