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
from numpy.typing import NDArray

from genomai_cli.population.networks.haplotype_copying import (
    Alleles,
    Floats,
    HaplotypeReference,
    Numbers,
    genotypes_of,
)
from genomai_cli.population.networks.kriging import (
    HIDDEN,
    SMALLEST_COPIED,
    Calibration,
    KrigingReference,
    copied_features,
    copies_of,
    softmax,
)
from genomai_cli.threads import single_threaded_blas

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

    features: Floats
    genotypes: Numbers


Part = tuple[KrigingReference, Alleles]
"""What restores the genotypes of a window, and the alleles (N, 2, S) of its individuals there."""


def fill(library: KrigingReference, alleles_N2S: Alleles, place_S: NDArray[np.float64]) -> None:
    """Take over the people, and calibrate by them; the same people always give the same values. `place_S` says where
    the sites lie, in bases, and contigs far apart."""
    library.learn(copies_of(alleles_N2S))
    if library.haplotypes is not None:
        library.haplotypes.learn(alleles_N2S, place_S)
    fit([(library, alleles_N2S)])


@single_threaded_blas()
def fit(parts: Sequence[Part]) -> None:
    """Choose the rates of the copying model and calibrate, on windows that have these values in common."""
    rng = np.random.default_rng(SEED)
    library, alleles_N2S = parts[len(parts) // 2]
    _, fitted_B = _judged_and_fitted(len(alleles_N2S))
    if library.haplotypes is not None:
        choose_rates(library.haplotypes, alleles_N2S, _some(fitted_B, PEOPLE_TRIED, rng))
    shares = [_examples(*part, fitted_B, EXAMPLES // len(parts), rng) for part in parts]
    found = [examples for share in shares for examples in share]
    features = np.concatenate([examples.features for examples in found])
    genotypes = np.concatenate([examples.genotypes for examples in found])
    calibrate(library.calibration, Examples(features, genotypes), rng)


@single_threaded_blas()
def losses(library: KrigingReference, alleles_N2S: Alleles) -> Mapping[str, tuple[float, float]]:
    """The nats a hidden genotype where every tenth site is known, with phase and without, and those of how frequent
    genotypes are: of individuals on whom nothing was fitted, each left out of the reference in turn."""
    judged_B, _ = _judged_and_fitted(len(alleles_N2S))
    shown_S = np.arange(alleles_N2S.shape[2]) % EVERY_TRIED == 0
    truth_BS = library.copies[judged_B]
    counted_BS = (truth_BS >= 0) & ~shown_S
    truth_BS1 = np.maximum(truth_BS, 0)[..., None].astype(np.int64)
    base_BS3 = np.broadcast_to(library.calibration.base, (*truth_BS.shape, 3))
    found = {}
    for phased, name in ((True, "with phase"), (False, "without phase")):
        shown_K = np.flatnonzero(shown_S)
        features = _features(library, alleles_N2S, shown_K, judged_B, phased)
        told_BS3 = np.log(np.maximum(softmax(library.calibration.logits(features)), 1e-30))
        nats = (
            -float(np.take_along_axis(logs, truth_BS1, 2)[counted_BS].mean(dtype=np.float64))
            for logs in (told_BS3, base_BS3)
        )
        found[f"genotypes {name}"] = (next(nats), next(nats))
    return found


def _judged_and_fitted(people: int) -> tuple[Numbers, Numbers]:
    """Individuals to judge by, and the others, to fit on."""
    order = np.random.default_rng(SEED).permutation(people)
    count = min(PEOPLE_JUDGED, people // 4)
    return np.sort(order[:count]), np.sort(order[count:])


def _some(people_N: Numbers, count: int, rng: np.random.Generator) -> Numbers:
    """Some of the people, in their order."""
    return people_N[np.sort(rng.permutation(len(people_N))[:count])]


def choose_rates(reference: HaplotypeReference, alleles_N2S: Alleles, some_B: Numbers) -> None:
    """The rates of switches, and then of errors, that make hidden genotypes of some people, left out, likeliest."""
    shown_S = np.arange(alleles_N2S.shape[2]) % EVERY_TRIED == 0
    copies_BS = copies_of(alleles_N2S[some_B])
    judged_BS = (copies_BS >= 0) & ~shown_S
    alleles_B2S = np.where(shown_S, alleles_N2S[some_B], np.int8(-1))
    phased_B = np.ones(len(some_B), np.bool_)
    truth_BS1 = np.maximum(copies_BS, 0)[..., None].astype(np.int64)

    @cache
    def loss(rate: float, error: float) -> float:
        reference.rate[...], reference.error[...] = rate, error
        genotypes_BS3 = genotypes_of(reference.pairs(alleles_B2S, phased_B, some_B))
        told_BS = np.take_along_axis(genotypes_BS3, truth_BS1, 2)[..., 0]
        return -float(np.log(told_BS + SMALLEST_COPIED)[judged_BS].mean(dtype=np.float64))

    rate = min(RATES, key=lambda rate: loss(rate, ERRORS[1]))
    error = min(ERRORS, key=lambda error: loss(rate, error))
    reference.rate[...], reference.error[...] = rate, error


def calibrate(calibration: Calibration, examples: Examples, rng: np.random.Generator) -> float:
    """Set the values to those that make the genotypes likely, by Adam (Kingma and Ba 2015, arXiv:1412.6980); the last
    batch's cross-entropy in nats.

    The gradients of so small a network are written out: by autograd a step takes ten times as long. Sums are products
    with ones, which numpy has faster.
    """
    features_XC, genotypes_X = examples.features, examples.genotypes
    mean, scale = features_XC.mean(axis=0), features_XC.std(axis=0, ddof=1).clip(min=1e-3)
    features_XC = ((features_XC - mean) / scale).astype(np.float32)
    calibration.arrays["mean"][...], calibration.arrays["scale"][...] = mean, scale
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
    for name, value in (("weight", weight), ("bias", bias), ("last", last)):
        calibration.arrays[name][...] = value
    return loss


def _examples(
    library: KrigingReference,
    alleles_N2S: Alleles,
    fitted_B: Numbers,
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
        features_BSC = _features(library, alleles_N2S, known_K, some_B, phased)
        count = min(most // SETS, len(some_B) * len(hidden))
        row_X = rng.integers(len(some_B), size=count)
        site_X = rng.choice(hidden, size=count)
        truth_X = library.copies[some_B[row_X], site_X].astype(np.int64)
        known_X = truth_X >= 0
        yield Examples(features_BSC[row_X[known_X], site_X[known_X]], truth_X[known_X])


def _features(
    library: KrigingReference,
    alleles_N2S: Alleles,
    known_K: Numbers,
    some_B: Numbers,
    phased: bool,
) -> Floats:
    """What is told of some people (B, S, C) by these sites of theirs, each from the others."""
    left_out_BS2 = library.left_out(known_K, some_B)
    copied_BSC = None
    if library.haplotypes is not None:
        shown_B2S = np.full_like(alleles_N2S[some_B], -1)
        shown_B2S[:, :, known_K] = alleles_N2S[some_B][:, :, known_K]
        phased_B = np.full(len(some_B), phased)
        copied_BSC = copied_features(
            library.haplotypes.pairs(shown_B2S, phased_B, some_B), phased_B
        )
    return library.calibration.features(left_out_BS2, len(known_K), copied_BSC)


def known_site_sets(sites: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Sets of sites as they may be known, sparse and dense, every other one with even gaps as on an array."""
    for number, share in enumerate(np.geomspace(MIN_KNOWN, MAX_KNOWN, SETS)):
        count = min(max(1, round(share * sites)), sites - 1)
        if number % 2:
            start = rng.random() * sites / count
            yield np.unique((start + np.arange(count) * sites / count).astype(np.int64) % sites)
        else:
            yield np.sort(rng.choice(sites, size=count, replace=False))
