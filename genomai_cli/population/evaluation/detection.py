"""How well classifiers tell generated samples from real ones, and by which sites and pairs of sites they do.

A penalised regression and boosted trees see of each sample its dosages, where it is heterozygous, and how the dosages
of near sites fit together; of phased samples, once more, the alleles of each haplotype, and where near ones differ.
They are trained on half of the samples and tested on the other half, and the other way round; both haplotypes of a
sample are in one half. An area under the ROC curve of 0.5 says that nothing gives generated samples away.

Shape suffixes: N samples or haplotypes, S sites, E pairs of near sites, F features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from genomai_cli.metrics.classification import Estimate
from genomai_cli.metrics.roc import area_interval, roc_area
from genomai_cli.population.evaluation import structure
from genomai_cli.population.evaluation.genotypes import SampleGenotypes
from genomai_cli.population.panel import Panel, linked_pairs
from genomai_cli.training.minimisation import minimise

Features = NDArray[np.float32]
Flags = NDArray[np.bool_]
Classifier = Callable[[Features, Flags, Features], NDArray[np.float64]]
"""From training features (N, F), which of them are generated, and test features to scores of being generated."""

MAX_PAIRS = 2000  # near ones, of those in strongest linkage
PENALTY = 500.0  # of the regression on standardised features: that of so many samples with features of unit size
TREES, LEAVES, RATE = 150, 8, 0.08
BINS = 32  # of a feature's values: nearly all features have three
TOP_DIFFERENCES = 5  # sites, and pairs, that give generated samples away


@dataclass(frozen=True, eq=False)
class Detection:
    """The areas under the ROC curve by classifier, and the sites and pairs that differ most: for each measure of them,
    by name, what is seen in generated samples and in real ones."""

    areas: dict[str, Estimate]
    differing: dict[str, dict[str, tuple[float, float]]]


def detection(
    real: SampleGenotypes, other: SampleGenotypes, panel: Panel, rng: np.random.Generator
) -> Detection:
    """How well `other` is told from `real`, and by what."""
    linkage_SS = structure.linkage(real)
    pairs_2E = near_pairs(linkage_SS, panel)
    differing = {"frequency": _sites(real, other, panel, _frequency)}
    if real.alleles.shape[1] > 1:
        differing["heterozygosity"] = _sites(real, other, panel, _heterozygosity)
    differing["linkage_r"] = _pairs(linkage_SS[tuple(pairs_2E)], other, panel, pairs_2E)
    return Detection(_areas(real, other, pairs_2E, rng), differing)


def areas(
    real: SampleGenotypes, other: SampleGenotypes, panel: Panel, rng: np.random.Generator
) -> dict[str, Estimate]:
    """How well `other` is told from `real` alone."""
    return _areas(real, other, near_pairs(structure.linkage(real), panel), rng)


def _areas(
    real: SampleGenotypes,
    other: SampleGenotypes,
    pairs_2E: NDArray[np.int64],
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    """By classifier; without scikit-learn there are no boosted trees."""
    generated_N = np.repeat([False, True], [len(real), len(other)])
    half_N = np.concatenate([rng.permutation(len(each)) % 2 == 0 for each in (real, other)])
    dosages = _dosages(np.concatenate([real.copies, other.copies]))
    pair_features = _pair_features(dosages, pairs_2E)
    measures = _by_classifier("auc", ("dosages", dosages), pair_features, generated_N, half_N)
    if real.haplotypes > 1:
        alleles = _dosages(np.concatenate([real.rows, other.rows]))
        differing = np.abs(alleles[:, pairs_2E[0]] - alleles[:, pairs_2E[1]])
        measures |= _by_classifier(
            "haplotype_auc", ("alleles", alleles), differing, generated_N, half_N
        )
    return measures


def _by_classifier(
    name: str, sites: tuple[str, Features], pairs: Features, generated_N: Flags, half_N: Flags
) -> dict[str, Estimate]:
    """The areas of regressions without features of pairs and with them, and of trees; rows are samples, or all
    haplotypes of each."""
    sites_only, site_features = sites
    all_features = np.concatenate([site_features, pairs], axis=1)
    classifiers: dict[str, tuple[Classifier, Features]] = {
        sites_only: (regression, site_features),
        "regression": (regression, all_features),
    }
    if _has_trees():
        classifiers["trees"] = boosted_trees, all_features
    return {
        f"{name}_{kind}": _area(classifier, features, generated_N, half_N)
        for kind, (classifier, features) in classifiers.items()
    }


def near_pairs(linkage_SS: NDArray[np.float64], panel: Panel) -> NDArray[np.int64]:
    """The pairs (2, E) of sites near each other, each once; of more than `MAX_PAIRS` those in strongest linkage."""
    pairs_2E = linked_pairs(panel)
    pairs_2E = pairs_2E[:, pairs_2E[0] < pairs_2E[1]]
    strength_E = np.nan_to_num(linkage_SS[tuple(pairs_2E)] ** 2)
    return pairs_2E[:, np.sort(np.argsort(-strength_E, kind="stable")[:MAX_PAIRS])]


def _dosages(copies_NS: NDArray[np.int8]) -> Features:
    """The copies (N, S) of the alternate allele; a missing genotype or allele counts as the mean of all, which
    separates no kind from the other."""
    known_NS = copies_NS >= 0
    means_S = np.where(known_NS, copies_NS, 0).sum(axis=0) / np.maximum(1, known_NS.sum(axis=0))
    return np.where(known_NS, copies_NS, means_S).astype(np.float32)


def _pair_features(dosages_NS: Features, pairs_2E: NDArray[np.int64]) -> Features:
    """Where samples are heterozygous, in how many sites, and how the dosages of pairs agree (N, F)."""
    heterozygous_NS = (np.abs(dosages_NS - 1) < 0.5).astype(np.float32)
    one, two = (dosages_NS[:, sites] for sites in pairs_2E)
    total_N1 = heterozygous_NS.sum(axis=1, keepdims=True)
    return np.concatenate(
        [heterozygous_NS, total_N1, np.abs(one - two), (one - 1) * (two - 1)], axis=1
    )


def _area(
    classifier: Classifier, features_NF: Features, generated_N: Flags, half_N: Flags
) -> Estimate:
    """The mean of both halves' areas; its interval is that of so many samples, since haplotypes of one are alike."""
    rows_per_sample = len(features_NF) // len(generated_N)
    row_generated_N, row_half_N = (
        np.repeat(generated_N, rows_per_sample),
        np.repeat(half_N, rows_per_sample),
    )
    values = []
    for train_N in (row_half_N, ~row_half_N):
        score = classifier(features_NF[train_N], row_generated_N[train_N], features_NF[~train_N])
        values.append(roc_area(score, row_generated_N[~train_N]))
    area = float(np.mean(values))
    return Estimate(area, *area_interval(area, int(generated_N.sum()), int((~generated_N).sum())))


def regression(train_NF: Features, generated_N: Flags, test_NF: Features) -> NDArray[np.float64]:
    """Logistic regression with a penalty on squares."""
    mean, deviation = train_NF.mean(axis=0), train_NF.std(axis=0) + 1e-6
    x_NF = torch.from_numpy((train_NF - mean) / deviation)
    y_N = torch.from_numpy(generated_N.astype(np.float32))
    weights_F = torch.zeros(x_NF.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)

    def loss() -> torch.Tensor:
        logits_N = x_NF @ weights_F + bias
        fit = functional.binary_cross_entropy_with_logits(logits_N, y_N, reduction="sum")
        return fit + PENALTY / 2 * weights_F.square().sum()

    minimise([weights_F, bias], loss, iterations=50, history=10)
    coefficients_F = weights_F.detach().numpy().astype(np.float64)
    scores_N: NDArray[np.float64] = (test_NF - mean) / deviation @ coefficients_F
    return scores_N


def boosted_trees(train_NF: Features, generated_N: Flags, test_NF: Features) -> NDArray[np.float64]:
    """Gradient boosting of small trees over histograms."""
    ensemble = import_module("sklearn.ensemble")
    trees = ensemble.HistGradientBoostingClassifier(
        max_iter=TREES, learning_rate=RATE, max_leaf_nodes=LEAVES, max_bins=BINS, random_state=0
    )
    scores_N: NDArray[np.float64] = trees.fit(train_NF, generated_N).decision_function(test_NF)
    return scores_N


def _has_trees() -> bool:
    try:
        import_module("sklearn.ensemble")
    except ImportError:
        return False
    return True


def _frequency(samples: SampleGenotypes) -> NDArray[np.float64]:
    return np.nan_to_num(structure.frequencies(samples))


def _heterozygosity(samples: SampleGenotypes) -> NDArray[np.float64]:
    """The share of heterozygous samples at each site (S,)."""
    known_NS = samples.copies >= 0
    share_S: NDArray[np.float64] = (samples.copies == 1).sum(0) / np.maximum(1, known_NS.sum(0))
    return share_S


def _sites(
    real: SampleGenotypes,
    other: SampleGenotypes,
    panel: Panel,
    share: Callable[[SampleGenotypes], NDArray[np.float64]],
) -> dict[str, tuple[float, float]]:
    """A share at the sites where it differs most, by standard errors; generated and real."""
    generated_S, real_S = (share(each) for each in (other, real))
    pairs = ((generated_S, other), (real_S, real))
    squares_S = sum(p * (1 - p) / len(each) + 1e-6 for p, each in pairs)
    largest = np.argsort(-np.abs(generated_S - real_S) / np.sqrt(squares_S), kind="stable")
    return {
        panel.loci[s]: (float(generated_S[s]), float(real_S[s])) for s in largest[:TOP_DIFFERENCES]
    }


def _pairs(
    real_E: NDArray[np.float64], other: SampleGenotypes, panel: Panel, pairs_2E: NDArray[np.int64]
) -> dict[str, tuple[float, float]]:
    """r of the near pairs whose linkage differs most from the real one (by Fisher's z), generated and real."""
    generated_E = structure.linkage(other)[tuple(pairs_2E)]
    limit = 1 - 1e-3
    gaps_E = np.arctanh(np.clip(generated_E, -limit, limit)) - np.arctanh(
        np.clip(real_E, -limit, limit)
    )
    largest = np.argsort(-np.nan_to_num(np.abs(gaps_E)), kind="stable")[:TOP_DIFFERENCES]
    return {
        "-".join(panel.loci[s] for s in pairs_2E[:, e]): (
            float(generated_E[e]),
            float(real_E[e]),
        )
        for e in largest
    }
