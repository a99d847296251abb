"""How near generated samples lie to real ones: indistinguishable is the aim, copied is the failure.

Rows are haplotypes, or genotypes where the phase is not known, as alleles 0, 1 and -1 where missing. A distance is the
share of the alleles known in both rows that differ (Hamming), so that rows with missing alleles are not nearer for it;
infinite where nothing is known in both. Distances are computed as products of matrices.

Shape suffixes: N samples, R and Q rows, A alleles of a row (sites, or twice the sites).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.metrics.resampling import bootstrap_intervals
from genomai_cli.metrics.roc import area_interval
from genomai_cli.population.evaluation.genotypes import SampleGenotypes

Alleles = NDArray[np.int8]
Distances = NDArray[np.float32]
_BLOCK = 2048  # rows at once: a block of distances to 10,000 others takes 80 MB


def distances(first_RA: Alleles, second_QA: Alleles) -> Distances:
    """The distances (R, Q) of every row from every other.

    With alleles a, b in {0, 1} the number of differences is sum a + sum b - 2 a.b.
    """
    known_RA, known_QA = first_RA >= 0, second_QA >= 0
    first, second = (
        np.where(known, rows, 0).astype(np.float32)
        for known, rows in ((known_RA, first_RA), (known_QA, second_QA))
    )
    if known_RA.all() and known_QA.all():
        differing = first.sum(1)[:, None] + second.sum(1) - 2 * (first @ second.T)
        return np.asarray(differing / np.float32(max(1, first.shape[1])), np.float32)
    seen_R, seen_Q = known_RA.astype(np.float32), known_QA.astype(np.float32)
    differing = first @ seen_Q.T + seen_R @ second.T - 2 * (first @ second.T)
    common = seen_R @ seen_Q.T
    return np.where(common > 0, differing / np.maximum(common, 1), np.float32(np.inf))


def nearest(first_RA: Alleles, second_QA: Alleles) -> Distances:
    """The distance (R,) of every row from its nearest among the second ones."""
    return _joined(block.min(axis=1) for _, block in _blocks(first_RA, second_QA))


def nearest_other(rows_RA: Alleles) -> Distances:
    """The distance (R,) of every row from its nearest among the others."""
    return _joined(_without_self(start, block) for start, block in _blocks(rows_RA, rows_RA))


def _without_self(start: int, block: Distances) -> Distances:
    rows = np.arange(len(block))
    block[rows, start + rows] = np.inf
    smallest: Distances = block.min(axis=1)
    return smallest


def _blocks(first_RA: Alleles, second_QA: Alleles) -> Iterator[tuple[int, Distances]]:
    for start in range(0, len(first_RA), _BLOCK):
        yield start, distances(first_RA[start : start + _BLOCK], second_QA)


def _joined(parts: Iterator[Distances]) -> Distances:
    return np.concatenate([np.empty(0, np.float32), *parts])


Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Adversary:
    """Nearest-neighbour adversarial accuracy and its halves, each with a 95 % interval, over `samples` of each kind."""

    samples: int
    values: dict[str, float]
    intervals: dict[str, Interval]


def adversarial_accuracy(
    real: SampleGenotypes, synthetic: SampleGenotypes, rng: np.random.Generator
) -> Adversary:
    """The accuracy of telling real from generated rows by their nearest neighbours (Yale et al. 2020, Neurocomputing
    416:244; for genomes Yelmen et al. 2021, PLoS Genet 17:e1009303).

    `aats_truth` is the share of real rows that lie nearer to another real one than to any generated one, and
    `aats_synthetic` that of generated rows that lie nearer to another generated one; `aats` is their mean. 0.5 is
    ideal; less means copies, more means that they can be told apart. A tie counts as not nearer. The larger set is
    thinned at random to the size of the smaller, since more rows have nearer neighbours. Intervals are of a bootstrap
    of samples.
    """
    count = min(len(real), len(synthetic))
    real, synthetic = (_thinned(samples, count, rng) for samples in (real, synthetic))
    truth_R = nearest(real.rows, synthetic.rows) > nearest_other(real.rows)
    synthetic_R = nearest(synthetic.rows, real.rows) > nearest_other(synthetic.rows)
    truth_N, synthetic_N = (wins.reshape(count, -1).mean(axis=1) for wins in (truth_R, synthetic_R))

    def measures(chosen: NDArray[np.int64]) -> dict[str, float]:
        halves = float(truth_N[chosen].mean()), float(synthetic_N[chosen].mean())
        return {"aats": sum(halves) / 2, "aats_truth": halves[0], "aats_synthetic": halves[1]}

    values = measures(np.arange(count))
    return Adversary(count, values, bootstrap_intervals(measures, count, rng))


def _thinned(samples: SampleGenotypes, count: int, rng: np.random.Generator) -> SampleGenotypes:
    if len(samples) == count:
        return samples
    return samples.chosen(np.sort(rng.choice(len(samples), count, replace=False)))


def exact_copies(synthetic: SampleGenotypes, real: SampleGenotypes) -> tuple[int, int]:
    """How many rows and how many samples (phase aside) equal a real one at every site."""
    rows = _equal(synthetic.rows, real.rows)
    return rows, _equal(synthetic.copies, real.copies)


def _equal(first: NDArray[np.int8], second: NDArray[np.int8]) -> int:
    known = {row.tobytes() for row in second}
    called = (first >= 0).any(axis=1)  # a row without a known allele is no copy
    return sum(row.tobytes() in known for row in first[called])


def nearest_by_sample(samples: SampleGenotypes, others: SampleGenotypes) -> Distances:
    """How far each sample (N,) lies from the others: the mean over the haplotypes of the distance of the nearest."""
    found: Distances = nearest(samples.rows, others.rows).reshape(len(samples), -1).mean(axis=1)
    return found


def membership_auc(members: Distances, others: Distances) -> tuple[float, Interval]:
    """How well training samples can be told from others by lying nearer to a generated one: the area under
    the ROC curve, ties counting half, with the 95 % interval of Hanley and McNeil 1982 (Radiology 143:29).

    0.5 says that nothing is given away.
    """
    order = np.sort(others)
    below, upto = (np.searchsorted(order, members, side=side) for side in ("left", "right"))
    farther = len(others) - (below + upto) / 2
    area = float(farther.mean() / len(others))
    return area, area_interval(area, len(members), len(others))
