"""A `KrigingReference` of some individuals: rates of the copying model, and a calibration.

They are fitted on those individuals, each left out of the others in turn, at many sets of known sites, with phase and
without.

Shape suffixes: B individuals, N reference individuals, S sites, K known sites, C features of a prediction, X examples;
2 haplotypes, 3 genotypes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.population.networks.haplotype_copying import HaplotypeReference, genotypes_of
from genomai_cli.population.networks.kriging import (
    HIDDEN,
    SMALLEST_COPIED,
    Calibration,
    KrigingReference,
    copied_features,
    copies_of,
)

FEWEST = 4  # individuals of a reference that are left out by turns
SETS = 8  # of known sites
MIN_KNOWN, MAX_KNOWN = 0.01, 0.6  # shares of the sites that are known
EXAMPLES = 400_000
PEOPLE_A_SET = {True: 64, False: 24}  # whom the copying model restores, with phase and without
PEOPLE_TRIED, EVERY_TRIED = 64, 10  # people, and typed sites, of each trial of rates
PEOPLE_JUDGED = 64  # at most, and a quarter of all
RATES = (1e-7, 1e-6, 1e-5)  # switches a base
ERRORS = (1e-4, 1e-3, 1e-2)
STEPS, BATCH, LEARNING_RATE = 3500, 1024, 0.01
BETAS, SMALLEST_STEP = (0.9, 0.999), 1e-8  # of Adam
MOST_EPOCHS = 75  # of few examples
SEED = 0x11B


@dataclass(frozen=True)
class Examples:
    """Features (X, C) of predictions for people left out, and their genotypes (X,)."""

    features: Tensor
    genotypes: Tensor


Part = tuple[KrigingReference, Tensor]
"""What restores the genotypes of a window, and the alleles (N, 2, S) of its individuals there."""


def fill(library: KrigingReference, alleles_N2S: Tensor, place_S: Tensor) -> None:
    """Take over the people, and calibrate by them; the same people always give the same values. `place_S` says where
    the sites lie, in bases, and contigs far apart."""
    library.learn(copies_of(alleles_N2S))
    if library.haplotypes is not None:
        library.haplotypes.learn(alleles_N2S, place_S)
    fit([(library, alleles_N2S)])


@torch.no_grad()
def fit(parts: Sequence[Part]) -> None:
    """Choose the rates of the copying model and calibrate, on windows that have these values in common."""
    rng = np.random.default_rng(SEED)
    library, alleles_N2S = parts[len(parts) // 2]
    _, fitted_B = _judged_and_fitted(len(alleles_N2S))
    if library.haplotypes is not None:
        choose_rates(library.haplotypes, alleles_N2S, _some(fitted_B, PEOPLE_TRIED, rng))
    shares = [_examples(*part, fitted_B, EXAMPLES // len(parts), rng) for part in parts]
    found = [examples for share in shares for examples in share]
    features = torch.cat([examples.features for examples in found])
    genotypes = torch.cat([examples.genotypes for examples in found])
    calibrate(library.calibration, Examples(features, genotypes), rng)


@torch.no_grad()
def losses(library: KrigingReference, alleles_N2S: Tensor) -> Mapping[str, tuple[float, float]]:
    """The nats a hidden genotype where every tenth site is known, with phase and without, and those of how frequent
    genotypes are: of individuals on whom nothing was fitted, each left out of the reference in turn."""
    judged_B, _ = _judged_and_fitted(len(alleles_N2S))
    shown_S = torch.arange(alleles_N2S.shape[2]) % EVERY_TRIED == 0
    truth_BS = library.copies[judged_B].long()
    counted_BS = (truth_BS >= 0) & ~shown_S
    base_BS3 = library.calibration.base.expand(*truth_BS.shape, 3)
    found = {}
    for phased, name in ((True, "with phase"), (False, "without phase")):
        shown_K = shown_S.nonzero()[:, 0]
        features = _features(library, alleles_N2S, shown_K, judged_B, phased)
        told_BS3 = library.calibration.logits(features).log_softmax(dim=2)
        nats = (
            -float(logs.gather(2, truth_BS.clamp(min=0)[..., None])[..., 0][counted_BS].mean())
            for logs in (told_BS3, base_BS3)
        )
        found[f"genotypes {name}"] = (next(nats), next(nats))
    return found


def _judged_and_fitted(people: int) -> tuple[Tensor, Tensor]:
    """Individuals to judge by, and the others, to fit on."""
    order = torch.from_numpy(np.random.default_rng(SEED).permutation(people))
    count = min(PEOPLE_JUDGED, people // 4)
    return order[:count].sort().values, order[count:].sort().values


def _some(people_N: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Some of the people, in their order."""
    chosen = np.sort(rng.permutation(len(people_N))[:count])
    return people_N[torch.from_numpy(chosen)]


def choose_rates(reference: HaplotypeReference, alleles_N2S: Tensor, some_B: Tensor) -> None:
    """The rates of switches, and then of errors, that make hidden genotypes of some people, left out, likeliest."""
    shown_S = torch.arange(alleles_N2S.shape[2]) % EVERY_TRIED == 0
    copies_BS = copies_of(alleles_N2S[some_B])
    judged_BS = (copies_BS >= 0) & ~shown_S
    alleles_B2S = torch.where(shown_S, alleles_N2S[some_B], -1)
    phased_B = torch.ones(len(some_B), dtype=torch.bool)
    truth_BS1 = copies_BS.clamp(min=0).long().unsqueeze(2)

    @cache
    def loss(rate: float, error: float) -> float:
        reference.rate.fill_(rate)
        reference.error.fill_(error)
        genotypes_BS3 = genotypes_of(reference.pairs(alleles_B2S, phased_B, some_B))
        logs_BS = (genotypes_BS3.gather(2, truth_BS1)[..., 0] + SMALLEST_COPIED).log()
        return -float(logs_BS[judged_BS].mean())

    rate = min(RATES, key=lambda rate: loss(rate, ERRORS[1]))
    error = min(ERRORS, key=lambda error: loss(rate, error))
    reference.rate.fill_(rate)
    reference.error.fill_(error)


def calibrate(calibration: Calibration, examples: Examples, rng: np.random.Generator) -> float:
    """Set the values to those that make the genotypes likely, by Adam (Kingma and Ba 2015, arXiv:1412.6980); the last
    batch's cross-entropy in nats.

    The gradients of so small a network are written out: by autograd a step takes ten times as long. Sums are products
    with ones, which numpy has faster.
    """
    features_XC, genotypes_X = (x.cpu().numpy() for x in (examples.features, examples.genotypes))
    mean, scale = features_XC.mean(axis=0), features_XC.std(axis=0, ddof=1).clip(min=1e-3)
    features_XC = ((features_XC - mean) / scale).astype(np.float32)
    calibration.mean.copy_(torch.from_numpy(mean))
    calibration.scale.copy_(torch.from_numpy(scale))
    count = features_XC.shape[1]
    inner = rng.normal(scale=count**-0.5, size=(count, HIDDEN))
    outer = rng.normal(scale=0.1 * HIDDEN**-0.5, size=(HIDDEN + 1, 3))
    values = np.concatenate([inner.ravel(), np.zeros(HIDDEN), outer.ravel()]).astype(np.float32)
    shapes = ((count, HIDDEN), (HIDDEN,), (HIDDEN + 1, 3))
    parts = np.split(values, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
    weight, bias, last = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
    size = min(BATCH, 1 + len(features_XC) // 8)
    steps = min(STEPS, MOST_EPOCHS * len(features_XC) // size)
    first, second = np.zeros_like(values), np.zeros_like(values)
    order = rng.permutation(len(features_XC))  # so that a batch lies together
    features_XC, genotypes_X = features_XC[order], genotypes_X[order]
    ones, ones_3 = np.ones(size, np.float32), np.ones(3, np.float32)
    rows, loss = np.arange(size), 0.0
    for step in range(steps):
        begin = step % (len(features_XC) // size) * size
        batch, truth = features_XC[begin : begin + size], genotypes_X[begin : begin + size]
        hidden = np.tanh(batch @ weight + bias)
        logits = hidden @ last[:-1] + last[-1]
        logits -= np.maximum(np.maximum(logits[:, 0], logits[:, 1]), logits[:, 2])[:, None]
        share = np.exp(logits)
        share /= (share @ ones_3)[:, None]
        if step == steps - 1:
            loss = -float(np.log(share[rows, truth].clip(min=1e-30)).mean())
        share[rows, truth] -= 1
        share /= size
        back = (share @ last[:-1].T) * (1 - hidden * hidden)
        slope = np.concatenate(
            [(batch.T @ back).ravel(), ones @ back, (hidden.T @ share).ravel(), ones @ share]
        )
        first += (1 - BETAS[0]) * (slope - first)
        second += (1 - BETAS[1]) * (slope * slope - second)
        rate = LEARNING_RATE * (1 - step / steps) / (1 - BETAS[0] ** (step + 1))
        values -= rate * first / (np.sqrt(second / (1 - BETAS[1] ** (step + 1))) + SMALLEST_STEP)
    calibration.weight.copy_(torch.from_numpy(weight))
    calibration.bias.copy_(torch.from_numpy(bias))
    calibration.last.copy_(torch.from_numpy(last))
    return loss


def _examples(
    library: KrigingReference,
    alleles_N2S: Tensor,
    fitted_B: Tensor,
    most: int,
    rng: np.random.Generator,
) -> Iterator[Examples]:
    """Of each set of known sites, predictions at other sites where the person's genotype is known."""
    sites = library.copies.shape[1]
    for number, known_K in enumerate(known_site_sets(sites, rng)):
        hidden = np.setdiff1d(np.arange(sites), known_K)
        if not len(hidden):
            continue
        phased = number % 4 < 2  # two sets each, of which one has even gaps
        few = library.haplotypes is not None
        some_B = _some(fitted_B, PEOPLE_A_SET[phased], rng) if few else fitted_B
        features_BSC = _features(library, alleles_N2S, torch.from_numpy(known_K), some_B, phased)
        count = min(most // SETS, len(some_B) * len(hidden))
        row_X = torch.from_numpy(rng.integers(len(some_B), size=count))
        site_X = torch.from_numpy(rng.choice(hidden, size=count))
        truth_X = library.copies[some_B[row_X], site_X].long()
        known_X = truth_X >= 0
        yield Examples(features_BSC[row_X[known_X], site_X[known_X]], truth_X[known_X])


def _features(
    library: KrigingReference, alleles_N2S: Tensor, known_K: Tensor, some_B: Tensor, phased: bool
) -> Tensor:
    """What is told of some people (B, S, C) by these sites of theirs, each from the others."""
    left_out_BS2 = library.left_out(known_K, some_B)
    copied_BSC = None
    if library.haplotypes is not None:
        shown_B2S = torch.full_like(alleles_N2S[some_B], -1)
        shown_B2S[:, :, known_K] = alleles_N2S[some_B][:, :, known_K]
        phased_B = torch.full((len(some_B),), phased)
        copied_BSC = copied_features(
            library.haplotypes.pairs(shown_B2S, phased_B, some_B), phased_B
        )
    base_BS3 = library.calibration.base.expand(*left_out_BS2.shape[:2], 3)
    return library.calibration.features(left_out_BS2, base_BS3, len(known_K), copied_BSC)


def known_site_sets(sites: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Sets of sites as they may be known, sparse and dense, every other one with even gaps as on an array."""
    for number, share in enumerate(np.geomspace(MIN_KNOWN, MAX_KNOWN, SETS)):
        count = min(max(1, round(share * sites)), sites - 1)
        if number % 2:
            start = rng.random() * sites / count
            yield np.unique((start + np.arange(count) * sites / count).astype(np.int64) % sites)
        else:
            yield np.sort(rng.choice(sites, size=count, replace=False))
