"""What no method can know: how well outsiders could be told at all, and how often few sites are enough for a label.

    python -m benchmarks.ancestry.limits > benchmarks/ancestry/limits.tsv

`outsiders`: the share of a group left out that is beyond what 1 % of known people reach, out of fold (five folds), by
tests that know more than a model can. `frequencies` knows the allele frequencies of the group: the likelihood ratio to
the likeliest known population. `place` knows of which mixture of known populations it is nearest, and how far it has
drifted from there (F_ST), but not in which direction at each site (beta-binomial): no model that has never seen the
group can know more than that. `few`: accuracy of the super-population by the likelihood of the recipe `ancestry`, out
of fold, and whether the shipped model's bound raises LOW_CALL_RATE.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.ancestry.sites import EXOME, Genotypes, kinds_of
from benchmarks.ancestry.unlike import FOLDS, LEFT_OUT, LikelihoodClassifier
from benchmarks.command_line import DATA, say
from genomai_cli.bundles import bundle as bundles
from genomai_cli.population.networks.likelihood_fit import shrunken_frequencies
from genomai_cli.population.networks.novelty import confusion
from genomai_cli.population.networks.novelty_trials import LabelledGenotypes

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
KINDS = ("kidd55", "aisnp169", "snp967", "exome-tenth")
FALSE_POSITIVE_RATE = 0.01
SHRINKAGE = 30.0
MIN_FREQUENCY = 0.004
MIXTURE_STEPS = 300
SITE_COUNTS = (("kidd55", (20, 35, 55)), ("aisnp169", (80, 169)), ("snp967", (20, 40, 80, 160, 300)),
       (EXOME, (50, 100, 200, 400, 800)))  # fmt: skip


def detected_shares(data: Genotypes, group: str, sites: Rows) -> tuple[float, float]:
    """The shares of the group that both tests detect."""
    copies, folds = data.copies[:, sites].astype(np.float64), data.folds(FOLDS)
    is_outsider = data.group == data.groups.index(group)
    group_S, sample_count = copies[is_outsider].mean(0) / 2, is_outsider.sum()
    known_ratios: list[Array] = []
    for fold in range(FOLDS):
        train, test = ~is_outsider & (folds != fold), ~is_outsider & (folds == fold)
        frequency_PS = _frequencies(data, copies, train)
        mixture_S = nearest_mixture(group_S, frequency_PS)
        fst = max(_drift(group_S, mixture_S, 2 * sample_count), 1e-4)
        known_ratios.append(_tests(copies[test], group_S[None], mixture_S, fst, frequency_PS))
    leave_one_out_NS = (group_S * 2 * sample_count - copies[is_outsider]) / (
        2 * sample_count - 2
    )  # without each one's own
    outsider_ratios = _tests(copies[is_outsider], leave_one_out_NS, mixture_S, fst, frequency_PS)
    bounds = np.quantile(np.concatenate(known_ratios), 1 - FALSE_POSITIVE_RATE, axis=0)
    by_frequency, by_mixture = (outsider_ratios > bounds).mean(0).tolist()
    return by_frequency, by_mixture


def _frequencies(data: Genotypes, copies: Array, rows: NDArray[np.bool_]) -> Array:
    populations, numbers = np.unique(data.population[rows], return_inverse=True)
    groups = data.group_of[populations].tolist()
    counts = LabelledGenotypes(copies[rows].astype(np.int8), numbers, groups).counts()
    return shrunken_frequencies(*counts, SHRINKAGE)


def nearest_mixture(group_S: Array, frequency_PS: Array) -> Array:
    """The frequencies (S,) of the mixture of populations that explains those of the group best, by
    expectation-maximisation."""
    share_P = np.full(len(frequency_PS), 1 / len(frequency_PS))
    for _ in range(MIXTURE_STEPS):
        mixed_S = share_P @ frequency_PS
        explained_P = frequency_PS @ (group_S / mixed_S)
        explained_P += (1 - frequency_PS) @ ((1 - group_S) / (1 - mixed_S))
        share_P = share_P * explained_P
        share_P /= share_P.sum()
    mixed: Array = share_P @ frequency_PS
    return mixed


def _drift(group_S: Array, mixture_S: Array, alleles: int) -> float:
    squared_S = (group_S - mixture_S) ** 2 - group_S * (1 - group_S) / alleles
    return float(squared_S.mean() / (mixture_S * (1 - mixture_S)).mean())


def _tests(
    copies_NS: Array, group_NS: Array, mixture_S: Array, fst: float, frequency_PS: Array
) -> Array:
    """The log likelihood ratios (N, 2) of both tests against the likeliest population."""
    best_known_N = _log_likelihood(copies_NS[:, None], frequency_PS[None]).max(1)
    group_N = _log_likelihood(copies_NS, np.clip(group_NS, MIN_FREQUENCY, 1 - MIN_FREQUENCY))
    scale = (1 - fst) / fst
    alternate_S, reference_S = mixture_S * scale, (1 - mixture_S) * scale
    # The chances of no, one and two copies: Polya's urn; the factor 2 of heterozygotes cancels.
    probability_3S = np.stack(
        [
            reference_S * (reference_S + 1),
            alternate_S * reference_S,
            alternate_S * (alternate_S + 1),
        ]
    )
    logs_3S = np.log(probability_3S / (scale * (scale + 1)))
    mixture_N = sum((copies_NS == number) @ logs_S for number, logs_S in enumerate(logs_3S))
    return np.stack([group_N - best_known_N, mixture_N - best_known_N], axis=1)


def _log_likelihood(copies: Array, frequency: Array) -> Array:
    logs: Array = np.sum(copies * np.log(frequency) + (2 - copies) * np.log1p(-frequency), axis=-1)
    return logs


def accuracy_with_few_sites(
    data: Genotypes, sites: Rows, max_confusion: float
) -> tuple[float, float, float, bool]:
    """Accuracy at these sites, that of the worst group, the groups' confusion, and whether that is above the model's
    bound."""
    copies, folds = data.copies[:, sites], data.folds(FOLDS)
    is_correct = np.zeros(len(copies), np.bool_)
    for fold in range(FOLDS):
        learn = folds != fold
        classifier = LikelihoodClassifier.fitted(
            copies[learn], data.population[learn], data.group_of, novel=False
        )
        is_correct[~learn] = classifier(copies[~learn]).group == data.group[~learn]
    frequency_GS = np.stack([copies[data.group == g].mean(0) / 2 for g in range(len(data.groups))])
    clipped_GS = torch.from_numpy(np.clip(frequency_GS, MIN_FREQUENCY, 1 - MIN_FREQUENCY))
    group_confusion = float(confusion(torch.full((1, len(sites)), 2.0).double(), clipped_GS))
    worst = min(is_correct[data.group == group].mean() for group in range(len(data.groups)))
    return (
        float(is_correct.mean()),
        float(worst),
        group_confusion,
        group_confusion > max_confusion,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables, one below the other."""
    description, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help="default: %(default)s"
    )
    torch.set_num_threads(1)
    data = Genotypes.read(parser.parse_args(arguments).data)
    say(f"{len(data.copies)} people, {data.copies.shape[1]} sites")
    for line in lines(data):
        print(line, flush=True)


def lines(data: Genotypes) -> Iterator[str]:
    """The lines of both tables."""
    kinds = kinds_of(data)
    yield "part\tsites\tgroup left out\tfrequencies\tplace"
    for group in LEFT_OUT:
        for kind in KINDS:
            by_frequency, by_mixture = detected_shares(data, group, kinds[kind])
            yield f"outsiders\t{kind}\t{group}\t{by_frequency:.4f}\t{by_mixture:.4f}"
    evidence = bundles.load("ancestry", torch.device("cpu"), torch.float64).classifier.evidence
    max_confusion = float(evidence.novelty.enough)  # type: ignore[union-attr]
    yield "part\tsites\tof\taccuracy\tworst group\tconfusion\tLOW_CALL_RATE"
    rng = np.random.default_rng(3)
    for kind, counts in SITE_COUNTS:
        for count in counts:
            sites = np.sort(rng.permutation(kinds[kind])[:count])
            accuracy, worst, group_confusion, low = accuracy_with_few_sites(
                data, sites, max_confusion
            )
            yield f"few\t{count}\t{kind}\t{accuracy:.4f}\t{worst:.4f}\t{group_confusion:.3g}\t{'yes' if low else 'no'}"


if __name__ == "__main__":
    main()
