"""What a corpus of people tells before anything is learnt: the allele frequencies of their phenotypes, and, to those
that keep one, the library of their genotypes.

Shape suffixes: N people, S sites, P phenotypes, Q labels of the finest column, B people of a batch.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.backbones.classifier import Classifier
from genomai_cli.inputs.base import Places
from genomai_cli.population.barcode import letters_to_alleles
from genomai_cli.population.evaluation.genotypes import SampleGenotypes
from genomai_cli.population.evaluation.summary import Summary
from genomai_cli.population.labels import UNKNOWN, HaplotypeRows, Phenotypes
from genomai_cli.population.networks import kriging
from genomai_cli.population.networks.denoiser import DenoiserNetwork, GenotypeDenoiser
from genomai_cli.population.networks.likelihood_fit import likeliest_shrinkage, shrunken_frequencies
from genomai_cli.population.networks.windowed_imputer import RegionNetwork
from genomai_cli.population.panel import Panel, coordinates, linked_pairs
from genomai_cli.population.phenotype_encoding import Families
from genomai_cli.training.corpus import Corpus

RAREST = 0.003
PRIOR = 2.0  # haplotypes
EVERYBODY = 1e9  # haplotypes, of a group without people


def counted(corpus: Corpus, rows: HaplotypeRows, phenotypes: Phenotypes) -> Phenotypes:
    """The phenotypes with the numbers of people to learn from."""
    numbers_NP = rows.numbers(_rows(corpus, rows))
    if not numbers_NP.shape[1]:
        return phenotypes
    return phenotypes.counted(int(n) for n in numbers_NP[:, -1] if n)


def summary(corpus: Corpus, rows: HaplotypeRows) -> Summary:
    """The summaries of all people of the corpus, those held out included."""
    everyone = corpus.windows(
        np.arange(len(corpus.bounds)), np.zeros(len(corpus.bounds)), len(rows)
    )
    return Summary.of(SampleGenotypes([""] * len(everyone), rows.alleles(everyone), phased=True))


def frequencies(
    corpus: Corpus, rows: HaplotypeRows, phenotypes: Phenotypes, rarest: float = RAREST
) -> NDArray[np.float64]:
    """The frequency (P, S) of allele 1 among the people to learn from, for `null` and every label; none below `rarest`.

    Those of the finest labels are drawn towards what the other labels predict, as far as that is likely for each.
    """
    learnt = _rows(corpus, rows)
    alleles_N2S, numbers_NP = rows.alleles(learnt), rows.numbers(learnt)
    alternate_PS = np.zeros((len(phenotypes), rows.sites))
    total_PS = np.zeros_like(alternate_PS)
    alternate_NS = (alleles_N2S == 1).sum(axis=1)
    total_NS = (alleles_N2S != UNKNOWN).sum(axis=1)
    for number in range(len(phenotypes)):
        member_N = (numbers_NP == number).any(axis=1) if number else np.ones(len(learnt), bool)
        alternate_PS[number] = alternate_NS[member_N].sum(axis=0)
        total_PS[number] = total_NS[member_N].sum(axis=0)
    frequency_PS = (alternate_PS + 0.5) / (total_PS + 1)
    finest = len(list(phenotypes.labels.values())[-1]) if phenotypes.labels else 0
    if finest > 2:  # to predict one population takes two others
        counts = alternate_PS[-finest:], total_PS[-finest:]
        frequency_PS[-finest:] = shrunken_frequencies(*counts, likeliest_shrinkage(*counts))
    clipped: NDArray[np.float64] = np.clip(frequency_PS, rarest, 1 - rarest)
    return clipped


def group_frequencies(
    families: Families, panel: Panel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The frequency (P, S) of allele 1 among the people of every label of the category that groups them, and how many
    haplotypes it is worth (P,): their own and `PRIOR` at everybody's frequency.

    They are not drawn towards related groups', so that a person can be taken out of them again: see `nets.crossmodal`.
    """
    pool, present = families.pool, families.numbers != UNKNOWN
    alleles_HS = letters_to_alleles(pool.haplotypes, panel)
    everybody_S = (np.sum(alleles_HS == 1, axis=0) + 0.5) / (np.sum(alleles_HS >= 0, axis=0) + 1)
    alternate_PS = np.zeros((len(present), len(panel)))
    total_PS = np.zeros_like(alternate_PS)
    for label in np.flatnonzero(present):
        begin, size = (part[families.numbers[label]] for part in (pool.starts, pool.counts))
        part_HS = alleles_HS[begin : begin + size]
        alternate_PS[label] = (part_HS == 1).sum(axis=0)
        total_PS[label] = (part_HS != UNKNOWN).sum(axis=0)
    frequency_PS = (alternate_PS + PRIOR * everybody_S) / (total_PS + PRIOR)
    clipped_PS: NDArray[np.float64] = np.clip(frequency_PS, RAREST, 1 - RAREST)
    worth_P = total_PS.mean(axis=1) + PRIOR
    return clipped_PS, np.where(present, worth_P, EVERYBODY)


def fill(
    network: GenotypeDenoiser,
    corpus: Corpus,
    rows: HaplotypeRows,
    phenotypes: Phenotypes,
    panel: Panel,
) -> None:
    """Tell the network how frequent alleles are, where the sites lie, and who is in its library."""
    rarest = network.rarest if isinstance(network, RegionNetwork) else RAREST
    network.frequency.copy_(torch.from_numpy(frequencies(corpus, rows, phenotypes, rarest)))
    if isinstance(network, DenoiserNetwork):
        contig_S, position_S = coordinates(panel)
        network.linkage.learn(
            torch.from_numpy(linked_pairs(panel)),
            torch.from_numpy(contig_S),
            torch.from_numpy(position_S),
        )
    if isinstance(network, RegionNetwork) and network.library is not None:
        copies_NS = _genotypes(corpus, rows)[evenly(len(corpus.learn), len(network.library.copies))]
        kriging.fill(network.library, torch.from_numpy(copies_NS))


def evenly(count: int, chosen: int) -> NDArray[np.int64]:
    """So many of `count` numbers, evenly spread."""
    return np.linspace(0, count - 1, chosen).astype(np.int64)


def _genotypes(corpus: Corpus, rows: HaplotypeRows) -> NDArray[np.int8]:
    """The copies (N, S) of allele 1 of the people to learn from, -1 where one is unknown."""
    alleles_N2S = rows.alleles(_rows(corpus, rows))
    known_NS = (alleles_N2S != UNKNOWN).all(axis=1)
    return np.where(known_NS, alleles_N2S.sum(axis=1), UNKNOWN).astype(np.int8)


def independent_loss(network: GenotypeDenoiser, views: Mapping[str, Tensor]) -> float:
    """The nats a site of people whose sites are independent, at the frequencies of their phenotypes."""
    frequency_BS = network.frequency.cpu().double()[views["phenotype"][:, 0]]
    frequency_B2S = frequency_BS[:, None].expand(-1, 2, -1)
    truth_B2S = views["targets"].view(frequency_B2S.shape)
    chance_B2S = torch.where(truth_B2S == 1, frequency_B2S, 1 - frequency_B2S)
    known_B2S = truth_B2S != UNKNOWN
    nats_B = -(chance_B2S.log() * known_B2S).sum((1, 2)) / known_B2S.sum((1, 2)).clamp(min=1)
    return float(nats_B.mean())


def _rows(corpus: Corpus, rows: HaplotypeRows) -> NDArray[np.uint8]:
    return corpus.windows(corpus.learn, np.zeros(len(corpus.learn)), len(rows))


def _meet(classifier: Classifier, config: dict[str, Any], corpus: Corpus, places: Places) -> None:
    """What a network of people, and the config, know of them without learning: how many there are of each phenotype,
    and how frequent alleles are among them."""
    network, panel, rows, phenotypes = (
        classifier.members[0],
        places.panel,
        places.people,
        places.phenotypes,
    )
    assert isinstance(network, GenotypeDenoiser)
    assert panel is not None
    assert rows is not None
    assert phenotypes is not None
    config["phenotypes"] = counted(corpus, rows, phenotypes).to_config()
    fill(network, corpus, rows, phenotypes, panel)
