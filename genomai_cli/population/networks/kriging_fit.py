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
    COPYING_LOG_OFFSET,
    HIDDEN,
    Calibration,
    KrigingReference,
    copies_of,
    copying_features,
    softmax,
)
from genomai_cli.threads import single_threaded_blas

MIN_INDIVIDUALS = 4  # of a reference, whose individuals are left out in turn
SETS = 8  # of known sites
MIN_KNOWN, MAX_KNOWN = 0.01, 0.6  # shares of the sites that are known
EXAMPLES = 400_000
INDIVIDUALS_PER_SET = {
    True: 64,
    False: 24,
}  # that the copying model imputes, with phase and without
TRIAL_INDIVIDUALS, TRIAL_SITE_STEP = (
    64,
    10,
)  # of each trial of rates: individuals, and every tenth site is typed
MAX_VALIDATION = 64  # individuals, and at most a quarter of all
RATES = (1e-7, 1e-6, 1e-5)  # switches a base
ERRORS = (1e-4, 1e-3, 1e-2)
STEPS, BATCH, LEARNING_RATE = 3500, 1024, 0.01
BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8  # of Adam
MAX_EPOCHS = 75  # where examples are few
SEED = 0x11B


@dataclass(frozen=True)
class Examples:
    """Features (X, C) of predictions for individuals left out, and their genotypes (X,)."""

    features: Floats
    genotypes: Numbers


WindowData = tuple[KrigingReference, Alleles]
"""The kriging of a window, and the alleles (N, 2, S) of its individuals there."""


def fill(kriging: KrigingReference, alleles_N2S: Alleles, position_S: NDArray[np.float64]) -> None:
    """Set the training individuals, and calibrate on them, deterministically. `position_S` are the sites' positions, in
    bases, with contigs far apart."""
    kriging.set_genotypes(copies_of(alleles_N2S))
    if kriging.haplotypes is not None:
        kriging.haplotypes.set_haplotypes(alleles_N2S, position_S)
    fit([(kriging, alleles_N2S)])


@single_threaded_blas()
def fit(parts: Sequence[WindowData]) -> None:
    """Choose the rates of the copying model and calibrate, on windows that share these values."""
    rng = np.random.default_rng(SEED)
    kriging, alleles_N2S = parts[len(parts) // 2]
    _, training_B = _validation_split(len(alleles_N2S))
    if kriging.haplotypes is not None:
        choose_rates(kriging.haplotypes, alleles_N2S, _sampled(training_B, TRIAL_INDIVIDUALS, rng))
    by_window = [_examples(*part, training_B, EXAMPLES // len(parts), rng) for part in parts]
    all_examples = [
        part_examples for window_examples in by_window for part_examples in window_examples
    ]
    features = np.concatenate([part_examples.features for part_examples in all_examples])
    genotypes = np.concatenate([part_examples.genotypes for part_examples in all_examples])
    calibrate(kriging.calibration, Examples(features, genotypes), rng)


@single_threaded_blas()
def losses(kriging: KrigingReference, alleles_N2S: Alleles) -> Mapping[str, tuple[float, float]]:
    """The mean nats of hidden genotypes where every tenth site is known, with phase and without, and those of the
    genotypes' frequencies: of validation individuals, on whom nothing was fitted, each left out of the reference."""
    validation_B, _ = _validation_split(len(alleles_N2S))
    known_S = np.arange(alleles_N2S.shape[2]) % TRIAL_SITE_STEP == 0
    truth_BS = kriging.copies[validation_B]
    scored_BS = (truth_BS >= 0) & ~known_S
    truth_BS1 = np.maximum(truth_BS, 0)[..., None].astype(np.int64)
    base_BS3 = np.broadcast_to(kriging.calibration.base, (*truth_BS.shape, 3))
    nats_by_name = {}
    for phased, name in ((True, "with phase"), (False, "without phase")):
        known_K = np.flatnonzero(known_S)
        features = _features(kriging, alleles_N2S, known_K, validation_B, phased)
        log_BS3 = np.log(np.maximum(softmax(kriging.calibration.logits(features)), 1e-30))
        nats = (
            -float(np.take_along_axis(logs, truth_BS1, 2)[scored_BS].mean(dtype=np.float64))
            for logs in (log_BS3, base_BS3)
        )
        nats_by_name[f"genotypes {name}"] = (next(nats), next(nats))
    return nats_by_name


def _validation_split(individuals: int) -> tuple[Numbers, Numbers]:
    """The indices of individuals for validation, and of the others, for fitting."""
    order = np.random.default_rng(SEED).permutation(individuals)
    count = min(MAX_VALIDATION, individuals // 4)
    return np.sort(order[:count]), np.sort(order[count:])


def _sampled(individuals_N: Numbers, count: int, rng: np.random.Generator) -> Numbers:
    """A random sample of the individuals, in their order."""
    return individuals_N[np.sort(rng.permutation(len(individuals_N))[:count])]


def choose_rates(reference: HaplotypeReference, alleles_N2S: Alleles, sampled_B: Numbers) -> None:
    """Set the rate of switches, and then of errors, under which the hidden genotypes of the sampled individuals, each
    left out, are likeliest."""
    known_S = np.arange(alleles_N2S.shape[2]) % TRIAL_SITE_STEP == 0
    copies_BS = copies_of(alleles_N2S[sampled_B])
    scored_BS = (copies_BS >= 0) & ~known_S
    alleles_B2S = np.where(known_S, alleles_N2S[sampled_B], np.int8(-1))
    phased_B = np.ones(len(sampled_B), np.bool_)
    truth_BS1 = np.maximum(copies_BS, 0)[..., None].astype(np.int64)

    @cache
    def loss(rate: float, error: float) -> float:
        reference.rate[...], reference.error[...] = rate, error
        genotypes_BS3 = genotypes_of(reference.pairs(alleles_B2S, phased_B, sampled_B))
        probability_BS = np.take_along_axis(genotypes_BS3, truth_BS1, 2)[..., 0]
        return -float(np.log(probability_BS + COPYING_LOG_OFFSET)[scored_BS].mean(dtype=np.float64))

    rate = min(RATES, key=lambda rate: loss(rate, ERRORS[1]))
    error = min(ERRORS, key=lambda error: loss(rate, error))
    reference.rate[...], reference.error[...] = rate, error


def calibrate(calibration: Calibration, examples: Examples, rng: np.random.Generator) -> float:
    """Fit the MLP to the genotypes by Adam (Kingma and Ba 2015, arXiv:1412.6980); returns the last batch's
    cross-entropy in nats.

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
    steps = min(STEPS, MAX_EPOCHS * len(features_XC) // size)
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
        probability = np.exp(logits)
        probability /= (probability @ ones_3)[:, None]
        if step == steps - 1:
            loss = -float(np.log(probability[rows, truth].clip(min=1e-30)).mean())
        probability[rows, truth] -= 1
        probability /= size
        hidden_gradient = (probability @ last[:-1].T) * (1 - hidden * hidden)
        gradient = np.concatenate(
            [
                (batch.T @ hidden_gradient).ravel(),
                ones @ hidden_gradient,
                (hidden.T @ probability).ravel(),
                ones @ probability,
            ]
        )
        first += (1 - BETAS[0]) * (gradient - first)
        second += (1 - BETAS[1]) * (gradient * gradient - second)
        rate = LEARNING_RATE * (1 - step / steps) / (1 - BETAS[0] ** (step + 1))
        values -= rate * first / (np.sqrt(second / (1 - BETAS[1] ** (step + 1))) + ADAM_EPSILON)
    for name, value in (("weight", weight), ("bias", bias), ("last", last)):
        calibration.arrays[name][...] = value
    return loss


def _examples(
    kriging: KrigingReference,
    alleles_N2S: Alleles,
    training_B: Numbers,
    max_examples: int,
    rng: np.random.Generator,
) -> Iterator[Examples]:
    """Examples of each set of known sites: predictions at other sites where the individual's genotype is known."""
    sites = kriging.copies.shape[1]
    for number, known_K in enumerate(known_site_sets(sites, rng)):
        hidden = np.setdiff1d(np.arange(sites), known_K)
        if not len(hidden):
            continue
        phased = number % 4 < 2  # two sets each, of which one has even gaps
        subsampled = kriging.haplotypes is not None
        sampled_B = (
            _sampled(training_B, INDIVIDUALS_PER_SET[phased], rng) if subsampled else training_B
        )
        features_BSC = _features(kriging, alleles_N2S, known_K, sampled_B, phased)
        count = min(max_examples // SETS, len(sampled_B) * len(hidden))
        row_X = rng.integers(len(sampled_B), size=count)
        site_X = rng.choice(hidden, size=count)
        truth_X = kriging.copies[sampled_B[row_X], site_X].astype(np.int64)
        known_X = truth_X >= 0
        yield Examples(features_BSC[row_X[known_X], site_X[known_X]], truth_X[known_X])


def _features(
    kriging: KrigingReference,
    alleles_N2S: Alleles,
    known_K: Numbers,
    sampled_B: Numbers,
    phased: bool,
) -> Floats:
    """The features (B, S, C) of the sampled individuals, each predicted from the others by these known sites."""
    predicted_BS2 = kriging.leave_one_out(known_K, sampled_B)
    copying_BSC = None
    if kriging.haplotypes is not None:
        known_B2S = np.full_like(alleles_N2S[sampled_B], -1)
        known_B2S[:, :, known_K] = alleles_N2S[sampled_B][:, :, known_K]
        phased_B = np.full(len(sampled_B), phased)
        copying_BSC = copying_features(
            kriging.haplotypes.pairs(known_B2S, phased_B, sampled_B), phased_B
        )
    return kriging.calibration.features(predicted_BS2, len(known_K), copying_BSC)


def known_site_sets(sites: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Sets of sites as they may be known, sparse and dense, every other one with even gaps as on an array."""
    for number, share in enumerate(np.geomspace(MIN_KNOWN, MAX_KNOWN, SETS)):
        count = min(max(1, round(share * sites)), sites - 1)
        if number % 2:
            start = rng.random() * sites / count
            yield np.unique((start + np.arange(count) * sites / count).astype(np.int64) % sites)
        else:
            yield np.sort(rng.choice(sites, size=count, replace=False))
