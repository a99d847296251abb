"""How near generated samples lie to real ones: indistinguishable is the aim, copied is the failure.

Rows are haplotypes, or genotypes where the phase is not known, as alleles 0, 1 and -1 where missing. A distance is the
share of the alleles known in both rows that differ (Hamming), so that rows with missing alleles are not nearer for it;
infinite where nothing is known in both. Distances are computed as products of matrices.

Shape suffixes: N samples, R and Q rows, A alleles of a row (sites, or twice the sites).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.metrics.classification import Z_95
from genomai_cli.metrics.resampling import bootstrap_intervals
from genomai_cli.metrics.roc import area_interval
from genomai_cli.population.evaluation.genotypes import SampleGenotypes

Alleles = NDArray[np.int8]
Distances = NDArray[np.float32]
EXTREME = 0.01  # the share of samples that count as extremely near
MIN_SHARED = 0.9  # share of a row's known alleles that a copy has in common with it
_ROWS_PER_BLOCK = 2048  # rows at once: a block of distances to 10,000 others takes 80 MB


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
    known_R, known_Q = known_RA.astype(np.float32), known_QA.astype(np.float32)
    differing = first @ known_Q.T + known_R @ second.T - 2 * (first @ second.T)
    common = known_R @ known_Q.T
    return np.where(common > 0, differing / np.maximum(common, 1), np.float32(np.inf))


def nearest(first_RA: Alleles, second_QA: Alleles) -> Distances:
    """The distance (R,) of every row from its nearest among the second ones."""
    return _joined(block.min(axis=1) for _, block in _blocks(first_RA, second_QA))


def nearest_other(rows_RA: Alleles, rows_per_sample: int = 1) -> Distances:
    """The distance (R,) of every row from its nearest among those of other samples; `rows_per_sample` consecutive rows
    are of one sample."""
    return _joined(
        _without_own(start, block, rows_per_sample) for start, block in _blocks(rows_RA, rows_RA)
    )


def _without_own(start: int, block: Distances, rows_per_sample: int) -> Distances:
    rows_R, columns_Q = np.arange(start, start + len(block)), np.arange(block.shape[1])
    block[rows_R[:, None] // rows_per_sample == columns_Q // rows_per_sample] = np.inf
    smallest: Distances = block.min(axis=1)
    return smallest


def _blocks(first_RA: Alleles, second_QA: Alleles) -> Iterator[tuple[int, Distances]]:
    for start in range(0, len(first_RA), _ROWS_PER_BLOCK):
        yield start, distances(first_RA[start : start + _ROWS_PER_BLOCK], second_QA)


def _joined(parts: Iterator[Distances]) -> Distances:
    return np.concatenate([np.empty(0, np.float32), *parts])


Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class AdversarialAccuracy:
    """Nearest-neighbour adversarial accuracy and its halves, each with a 95 % interval, over `samples` of each kind."""

    samples: int
    values: dict[str, float]
    intervals: dict[str, Interval]


def adversarial_accuracy(
    real: SampleGenotypes, synthetic: SampleGenotypes, rng: np.random.Generator
) -> AdversarialAccuracy:
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
    return AdversarialAccuracy(count, values, bootstrap_intervals(measures, count, rng))


def _thinned(samples: SampleGenotypes, count: int, rng: np.random.Generator) -> SampleGenotypes:
    if len(samples) == count:
        return samples
    return samples.chosen(np.sort(rng.choice(len(samples), count, replace=False)))


def exact_copies(synthetic: SampleGenotypes, real: SampleGenotypes) -> tuple[int, int]:
    """How many rows and how many samples (phase aside) equal a real one at every site that is known of both, which must
    be the share `MIN_SHARED` of those known of the generated one: a missing call hides no copy."""
    rows = _equal(synthetic.rows, real.rows)
    return rows, _equal(synthetic.without_phase().rows, real.without_phase().rows)


def _equal(first_RA: Alleles, second_QA: Alleles) -> int:
    known_RA, known_QA = first_RA >= 0, second_QA >= 0
    if known_RA.all() and known_QA.all():
        real_rows = {row.tobytes() for row in second_QA}
        return sum(row.tobytes() in real_rows for row in first_RA)
    count, known_QA = 0, known_QA.astype(np.float32)
    for start, distance_RQ in _blocks(first_RA, second_QA):
        known = known_RA[start : start + len(distance_RQ)].astype(np.float32)
        needed_R1 = np.maximum(MIN_SHARED * known.sum(axis=1, keepdims=True), 1)
        is_copy_RQ = (distance_RQ == 0) & (known @ known_QA.T >= needed_R1)
        count += int(is_copy_RQ.any(axis=1).sum())
    return count


def nearest_by_sample(samples: SampleGenotypes, others: SampleGenotypes) -> Distances:
    """How far each sample (N,) lies from the others: the mean over the haplotypes of the distance of the nearest."""
    mean_N: Distances = nearest(samples.rows, others.rows).reshape(len(samples), -1).mean(axis=1)
    return mean_N


def nearest_other_by_sample(samples: SampleGenotypes) -> Distances:
    """The same of each sample (N,) and the others of its kind."""
    distance_R = nearest_other(samples.rows, samples.haplotypes)
    mean_N: Distances = distance_R.reshape(len(samples), -1).mean(axis=1)
    return mean_N


@dataclass(frozen=True)
class Extremes:
    """How many generated samples, and how many other real ones, are among the nearest `EXTREME` of both together; `p`
    is how likely at least so many generated ones are, were both alike."""

    generated: int
    others: int
    p: float


def extremes(generated: Distances, others: Distances) -> Extremes:
    """Whether generated samples are among the nearest to those trained on more often than other real samples are,
    which quantiles of the distances leave open (those of Yale et al. 2020, Neurocomputing 416:244): some
    copies among many samples hide in a mean.

    Samples as near as the farthest of the nearest belong to them. By Fisher's exact test, one-sided.
    """
    both = np.sort(np.concatenate([generated, others]))
    limit = both[max(1, math.ceil(EXTREME * len(both))) - 1]
    near, near_others = int((generated <= limit).sum()), int((others <= limit).sum())
    return Extremes(
        near, near_others, _hypergeometric_tail(near, near_others, len(generated), len(others))
    )


def _hypergeometric_tail(near: int, near_others: int, size: int, other_size: int) -> float:
    """The probability of so many of a kind or more among those drawn from both kinds without replacement."""
    total = near + near_others
    log_total = _log_choices(size + other_size, total)
    logs = [
        _log_choices(size, k) + _log_choices(other_size, total - k) - log_total
        for k in range(near, min(size, total) + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _log_choices(size: int, count: int) -> float:
    return math.lgamma(size + 1) - math.lgamma(count + 1) - math.lgamma(size - count + 1)


def nearer_training(
    generated: SampleGenotypes,
    training: SampleGenotypes,
    held_out: SampleGenotypes,
    rng: np.random.Generator,
) -> tuple[float, Interval]:
    """The share of generated rows that lie nearer to a training sample than to a held-out one, ties counting half, the
    larger of both sets thinned to the size of the smaller (Platzer and Reutterer 2021, Front Big Data 4:679939).

    0.5 says that nothing is given away. The 95 % interval is by chance in which samples were held out: each real
    sample counts as often as it is the nearest.
    """
    count = min(len(training), len(held_out))
    training, held_out = (_thinned(samples, count, rng) for samples in (training, held_out))
    (training_R, training_owner_R), (held_out_R, held_out_owner_R) = (
        _nearest_sample(generated.rows, samples) for samples in (training, held_out)
    )
    nearer_R = (training_R < held_out_R) + (training_R == held_out_R) / 2
    weights = (
        np.bincount(training_owner_R, nearer_R, count),
        np.bincount(held_out_owner_R, 1 - nearer_R, count),
    )
    share = float(nearer_R.mean())
    half = Z_95 / 2 * math.sqrt(sum(float((each**2).sum()) for each in weights)) / len(nearer_R)
    return share, (max(0.0, share - half), min(1.0, share + half))


def _nearest_sample(
    rows_RA: Alleles, samples: SampleGenotypes
) -> tuple[Distances, NDArray[np.int64]]:
    """The distance of every row from its nearest among the rows of samples, and which sample (R,) that is."""
    blocks = [block for _, block in _blocks(rows_RA, samples.rows)]
    owner_R = np.concatenate([block.argmin(axis=1) for block in blocks]) // samples.haplotypes
    return np.concatenate([block.min(axis=1) for block in blocks]), owner_R


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
