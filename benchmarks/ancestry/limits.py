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
from benchmarks.ancestry.unlike import FOLDS, LEFT_OUT, Judge
from benchmarks.command_line import DATA, say
from genomai_cli.bundles import bundle as bundles
from genomai_cli.population.networks.likelihood_fit import shrunken_frequencies
from genomai_cli.population.networks.novelty import confusion
from genomai_cli.population.networks.novelty_trials import LabelledGenotypes

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
KINDS = ("kidd55", "aisnp169", "snp967", "exome-tenth")
KNOWN_BEYOND = 0.01
SHRINKAGE = 30.0
LEAST = 0.004
MIXTURE_STEPS = 300
FEW = (("kidd55", (20, 35, 55)), ("aisnp169", (80, 169)), ("snp967", (20, 40, 80, 160, 300)),
       (EXOME, (50, 100, 200, 400, 800)))  # fmt: skip


def outsiders(data: Genotypes, group: str, sites: Rows) -> tuple[float, float]:
    """The shares of the group that both tests find."""
    copies, folds = data.copies[:, sites].astype(np.float64), data.folds(FOLDS)
    out = data.group == data.groups.index(group)
    own_S, people = copies[out].mean(0) / 2, out.sum()
    known: list[Array] = []
    for fold in range(FOLDS):
        learn, judged = ~out & (folds != fold), ~out & (folds == fold)
        frequency_PS = _frequencies(data, copies, learn)
        place_S = nearest_mixture(own_S, frequency_PS)
        fst = max(_drift(own_S, place_S, 2 * people), 1e-4)
        known.append(_tests(copies[judged], own_S[None], place_S, fst, frequency_PS))
    alone_NS = (own_S * 2 * people - copies[out]) / (2 * people - 2)  # without each one's own
    found = _tests(copies[out], alone_NS, place_S, fst, frequency_PS)
    bounds = np.quantile(np.concatenate(known), 1 - KNOWN_BEYOND, axis=0)
    by_frequency, by_place = (found > bounds).mean(0).tolist()
    return by_frequency, by_place


def _frequencies(data: Genotypes, copies: Array, rows: NDArray[np.bool_]) -> Array:
    kept, numbers = np.unique(data.population[rows], return_inverse=True)
    groups = data.group_of[kept].tolist()
    counts = LabelledGenotypes(copies[rows].astype(np.int8), numbers, groups).counts()
    return shrunken_frequencies(*counts, SHRINKAGE)


def nearest_mixture(own_S: Array, frequency_PS: Array) -> Array:
    """The frequencies (S,) of the mixture of populations that explains others best, by expectation-maximisation."""
    share_P = np.full(len(frequency_PS), 1 / len(frequency_PS))
    for _ in range(MIXTURE_STEPS):
        mixed_S = share_P @ frequency_PS
        explained_P = frequency_PS @ (own_S / mixed_S)
        explained_P += (1 - frequency_PS) @ ((1 - own_S) / (1 - mixed_S))
        share_P = share_P * explained_P
        share_P /= share_P.sum()
    mixed: Array = share_P @ frequency_PS
    return mixed


def _drift(own_S: Array, place_S: Array, alleles: int) -> float:
    squared_S = (own_S - place_S) ** 2 - own_S * (1 - own_S) / alleles
    return float(squared_S.mean() / (place_S * (1 - place_S)).mean())


def _tests(
    copies_NS: Array, own_NS: Array, place_S: Array, fst: float, frequency_PS: Array
) -> Array:
    """The log likelihood ratios (N, 2) of both tests against the likeliest population."""
    known_N = _log_likelihood(copies_NS[:, None], frequency_PS[None]).max(1)
    own_N = _log_likelihood(copies_NS, np.clip(own_NS, LEAST, 1 - LEAST))
    scale = (1 - fst) / fst
    one_S, other_S = place_S * scale, (1 - place_S) * scale
    # The chances of no, one and two copies: Polya's urn; the factor 2 of heterozygotes cancels.
    chance_3S = np.stack([other_S * (other_S + 1), one_S * other_S, one_S * (one_S + 1)])
    logs_3S = np.log(chance_3S / (scale * (scale + 1)))
    place_N = sum((copies_NS == number) @ logs_S for number, logs_S in enumerate(logs_3S))
    return np.stack([own_N - known_N, place_N - known_N], axis=1)


def _log_likelihood(copies: Array, frequency: Array) -> Array:
    logs: Array = np.sum(copies * np.log(frequency) + (2 - copies) * np.log1p(-frequency), axis=-1)
    return logs


def few(data: Genotypes, sites: Rows, enough: float) -> tuple[float, float, float, bool]:
    """Accuracy at these sites, that of the worst group, the confusion, and whether it is too much."""
    copies, folds = data.copies[:, sites], data.folds(FOLDS)
    right = np.zeros(len(copies), np.bool_)
    for fold in range(FOLDS):
        learn = folds != fold
        judge = Judge.fitted(copies[learn], data.population[learn], data.group_of, novel=False)
        right[~learn] = judge(copies[~learn]).group == data.group[~learn]
    frequency_GS = np.stack([copies[data.group == g].mean(0) / 2 for g in range(len(data.groups))])
    clipped_GS = torch.from_numpy(np.clip(frequency_GS, LEAST, 1 - LEAST))
    found = float(confusion(torch.full((1, len(sites)), 2.0).double(), clipped_GS))
    worst = min(right[data.group == group].mean() for group in range(len(data.groups)))
    return float(right.mean()), float(worst), found, found > enough


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables, one below the other."""
    description, _, _ = (__doc__ or "").partition("\n")
    options = argparse.ArgumentParser(description=description)
    options.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help="default: %(default)s"
    )
    torch.set_num_threads(1)
    data = Genotypes.read(options.parse_args(arguments).data)
    say(f"{len(data.copies)} people, {data.copies.shape[1]} sites")
    for line in lines(data):
        print(line, flush=True)


def lines(data: Genotypes) -> Iterator[str]:
    """The lines of both tables."""
    kinds = kinds_of(data)
    yield "part\tsites\tgroup left out\tfrequencies\tplace"
    for group in LEFT_OUT:
        for kind in KINDS:
            by_frequency, by_place = outsiders(data, group, kinds[kind])
            yield f"outsiders\t{kind}\t{group}\t{by_frequency:.4f}\t{by_place:.4f}"
    evidence = bundles.load("ancestry", torch.device("cpu"), torch.float64).classifier.evidence
    enough = float(evidence.novelty.enough)  # type: ignore[union-attr]
    yield "part\tsites\tof\taccuracy\tworst group\tconfusion\tLOW_CALL_RATE"
    rng = np.random.default_rng(3)
    for kind, counts in FEW:
        for count in counts:
            sites = np.sort(rng.permutation(kinds[kind])[:count])
            right, worst, found, low = few(data, sites, enough)
            yield f"few\t{count}\t{kind}\t{right:.4f}\t{worst:.4f}\t{found:.3g}\t{'yes' if low else 'no'}"


if __name__ == "__main__":
    main()
