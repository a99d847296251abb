"""Models of genotypes at a panel's sites, and the posterior genotypes of individuals given their calls.

The model of reference haplotypes is here, those of networks in `network_models`.

Shape suffixes: B individuals, S sites; 2 haplotypes; 3 genotypes, by copies of allele 1; 4 ordered pairs of alleles 00
01 10 11.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.denoising.base import Flags, Probabilities, Settings, leave_out, normalised
from genomai_cli.population.networks.haplotype_copying import pairs_of
from genomai_cli.population.networks.haplotype_imputer import (
    HaplotypeImputer,
    Window,
    allele_probabilities,
)
from genomai_cli.population.networks.kriging import KrigingReference
from genomai_cli.population.panel import Panel

Alleles = NDArray[np.int8]
ALLELES_PER_BATCH = 1 << 22
MAX_BATCH = 128  # the system takes pages of larger arrays back each time: a tenth of the time


class GenotypeModel(Protocol):
    """Predicts alleles at the sites of a panel."""

    panel: Panel
    batch_size: int  # the maximum number of individuals at once
    windows: list[Window]  # of the panel's sites
    frequency: NDArray[np.float64] | None  # of allele 1 (S,), of models that read likelihoods

    def haplotypes(self, calls: "Calls", window: Window) -> Probabilities:
        """The probabilities (B, 2, S) of allele 1 on both haplotypes at the input sites of a window, given the calls
        there; given these the two are independent.

        At a site with known alleles they need not agree with these.
        """


class ReferenceHaplotypeModel:
    """The model of a `HaplotypeImputer`; the kriging of the last window is cached."""

    def __init__(self, imputer: HaplotypeImputer, panel: Panel) -> None:
        self.panel, self.windows = panel, imputer.windows
        self.frequency: NDArray[np.float64] | None = imputer.haplotypes.frequencies()
        self.batch_size = batch_size(max(w.end - w.begin for w in self.windows))
        self._imputer = imputer
        self._kriging: tuple[Window, KrigingReference] | None = None

    def haplotypes(self, calls: "Calls", window: Window) -> Probabilities:
        """See `GenotypeModel`."""
        if self._kriging is None or self._kriging[0] != window:
            self._kriging = None
            self._kriging = window, self._imputer.kriging_reference(window)
        known = calls.alleles, calls.phased, calls.likelihoods
        probability_B2S: Probabilities = allele_probabilities(self._kriging[1], *known)
        return probability_B2S


def batch_size(sites: int) -> int:
    """The number of individuals of a batch, at so many sites."""
    return max(1, min(MAX_BATCH, ALLELES_PER_BATCH // sites))


PAIRS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
COPIES = PAIRS.sum(axis=1)
HAS_ALLELE = np.stack([COPIES < 2, COPIES > 0])  # which pairs have the allele 0, and 1
TINY = 1e-30  # so that pairs which a model excludes are in proportion


@dataclass(frozen=True, eq=False)
class Calls:
    """The calls of individuals: alleles (B, 2, S), 0, 1 or `MISSING`; whether they are `phased` (B, S); which
    individuals (B,) are `haploid`: haplotypes rather than genotypes, each allele read by itself; and, for models that
    read them, likelihoods (B, S, 3) of genotypes of which an allele is unknown, equal where there are none."""

    names: Sequence[str]
    alleles: Alleles
    phased: Flags
    haploid: Flags
    likelihoods: NDArray[np.float32] | None = None

    def at(self, sites: slice) -> "Calls":
        """The calls at some of the sites."""
        alleles, phased = self.alleles[..., sites], self.phased[:, sites]
        likelihoods = None if self.likelihoods is None else self.likelihoods[:, sites]
        return replace(self, alleles=alleles, phased=phased, likelihoods=likelihoods)

    def of(self, rows: NDArray[np.int64]) -> "Calls":
        """The calls of some of the individuals."""
        columns = (self.alleles[rows], self.phased[rows], self.haploid[rows])
        likelihoods = None if self.likelihoods is None else self.likelihoods[rows]
        return Calls([self.names[row] for row in rows], *columns, likelihoods)

    def masked(self, sites_BS: Flags) -> "Calls":
        """The calls without the alleles at some sites."""
        alleles = np.where(sites_BS[:, None], np.int8(MISSING), self.alleles)
        return replace(self, alleles=alleles)

    @property
    def certain(self) -> Flags:
        """Which alleles (B, 2, S) are known to lie on that haplotype, or on either: all that are known but that of a
        genotype half of which is missing, without phase."""
        known = self.alleles != MISSING
        unplaced_BS = ~known.all(axis=1) & ~self.phased
        certain: Flags = known & ~unplaced_BS[:, None]
        return certain

    @property
    def correctable(self) -> Flags:
        """Where (B, S) there is a call that may be wrong: a full genotype, or an allele of a haplotype."""
        known = self.alleles != MISSING
        correctable: Flags = known.all(axis=1) | (self.haploid[:, None] & known.any(axis=1))
        return correctable


def posterior(model: GenotypeModel, calls: Calls, settings: Settings) -> Probabilities:
    """The probabilities (B, S, 4) of the ordered pairs at all sites of the panel; see `posterior_in`."""
    parts = [
        posterior_in(window, model, calls.at(window.input), settings) for window in model.windows
    ]
    return np.concatenate(parts, axis=1)


def posterior_in(
    window: Window, model: GenotypeModel, calls: Calls, settings: Settings
) -> Probabilities:
    """The probabilities (B, S, 4) of the ordered pairs at the output sites of a window, given the calls at its input.

    Known alleles are certain; with an error rate, a correctable call is the likelihood, and the model's prediction from
    all other calls the prior. At most the model's `batch_size` individuals.
    """
    probability_B2S = model.haplotypes(calls, window)
    probability_B2S = np.where(calls.certain, calls.alleles, probability_B2S)
    correctable_BS = calls.correctable
    if settings.error_rate is None or not correctable_BS.any():
        output_calls = calls.at(window.output)
        return _with_halves(pairs_of(probability_B2S[..., window.output]), output_calls)
    pairs_BS4 = _with_halves(pairs_of(probability_B2S), calls)
    left_out_BS2 = leave_out(
        lambda masked_BS: model.haplotypes(calls.masked(masked_BS), window).swapaxes(1, 2),
        correctable_BS,
        [settings.seeds(name) for name in calls.names],
    )
    left_out_BS4 = pairs_of(left_out_BS2.swapaxes(1, 2))
    likelihood_BS4 = _likelihood(calls, settings.error_rate)
    corrected = normalised(left_out_BS4[correctable_BS] * likelihood_BS4[correctable_BS])
    pairs_BS4[correctable_BS] = corrected
    return pairs_BS4[:, window.output]


def _with_halves(pairs_BS4: Probabilities, calls: Calls) -> Probabilities:
    """The pairs, of which only those remain that have the known allele of a genotype half of which is missing."""
    unplaced_BS = ((calls.alleles != MISSING) & ~calls.certain).any(axis=1)
    has_seen_N4 = HAS_ALLELE[calls.alleles.max(axis=1)[unplaced_BS]]
    pairs_BS4[unplaced_BS] = normalised(np.maximum(pairs_BS4[unplaced_BS], TINY) * has_seen_N4)
    return pairs_BS4


def _likelihood(calls: Calls, error_rate: float) -> Probabilities:
    """The probability (B, S, 4) of the call given the true pair: one of the two other genotypes at this rate, or of a
    haplotype the other allele."""
    copies_BS1 = calls.alleles.sum(axis=1)[..., None]
    of_genotype = np.where(copies_BS1 == COPIES, 1 - error_rate, error_rate / 2)
    of_haplotypes = np.ones_like(of_genotype)
    for alleles_BS, pair_4 in zip(calls.alleles.swapaxes(0, 1), PAIRS.T, strict=True):
        likelihood = np.where(alleles_BS[..., None] == pair_4, 1 - error_rate, error_rate)
        of_haplotypes *= np.where(alleles_BS[..., None] == MISSING, 1.0, likelihood)
    return np.where(calls.haploid[:, None, None], of_haplotypes, of_genotype)


def haplotype(pairs: Probabilities, number: int) -> Probabilities:
    """The alleles (..., 2) of the first (0) or the second (1) haplotype."""
    table = pairs.reshape(*pairs.shape[:-1], 2, 2)
    alleles: Probabilities = table.sum(axis=-2 if number else -1)
    return alleles
